//! How much content one revision may hold. Bounds on memory, far above what a site needs.

use super::GitError;
use crate::content::{FINDINGS_MAX, Finding, Findings, Severity};

/// Files and folders of one revision.
pub const ENTRIES: usize = 100_000;
/// One file: scripts, templates and YAML, as many as content reads of it. Kernels and images are not content.
const FILE_BYTES: usize = crate::content::FILE_BYTES_MAX;
/// One object of any kind: one that says more is not read at all.
pub(super) const OBJECT_BYTES: usize = FILE_BYTES;
/// All files of one revision.
pub const TOTAL_BYTES: usize = 256 << 20;
/// Folders within folders.
pub const DEPTH: usize = 32;

/// A folder or commit of so many bytes.
pub(super) fn object(what: &str, bytes: usize) -> Result<(), GitError> {
    if bytes > FILE_BYTES {
        return Err(over(format!("{what} of {bytes} bytes"), format!("{} MiB", FILE_BYTES >> 20)));
    }
    Ok(())
}

/// Counts what one walk has met.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget {
    entries: usize,
    bytes: usize,
    /// Files that are too large, as many as are told.
    large: Vec<String>,
}

impl Budget {
    /// So much was met.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more entry, at this depth.
    pub(super) fn entry(&mut self, path: &str, depth: usize) -> Result<(), GitError> {
        self.entries += 1;
        if self.entries > ENTRIES {
            return Err(over(format!("the count of files at `{path}`"), format!("{ENTRIES} files")));
        }
        if depth > DEPTH {
            return Err(over(format!("the depth of `{path}`"), format!("{DEPTH} folders")));
        }
        Ok(())
    }

    /// One more file of so many bytes. False: it is too large and not to be read; the walk goes on, so that all such are told, and
    /// ends with [`Budget::judge`].
    pub(super) fn file(&mut self, path: &str, bytes: usize) -> Result<bool, GitError> {
        if bytes > FILE_BYTES {
            if self.large.len() < FINDINGS_MAX {
                self.large.push(path.to_owned());
            }
            return Ok(false);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > TOTAL_BYTES {
            return Err(over("the revision".to_owned(), format!("{} MiB in all", TOTAL_BYTES >> 20)));
        }
        Ok(true)
    }

    /// Whether a file was too large: then nothing that holds it is whole.
    pub(super) fn has_large(&self) -> bool {
        !self.large.is_empty()
    }

    /// Refuses the revision for its files that are too large.
    pub(super) fn judge(&self) -> Result<(), GitError> {
        if self.large.is_empty() {
            return Ok(());
        }
        let mut findings = Findings::default();
        findings.merge(self.large.iter().map(|path| {
            let (message, hint) = crate::content::too_large(path);
            Finding {
                severity: Severity::Error,
                code: "file-too-large",
                file: path.clone(),
                line: 1,
                column: 1,
                message,
                hint: Some(hint.to_owned()),
            }
        }));
        Err(GitError::LargeFiles(findings))
    }

    /// An entry of so many bytes (a folder of none) is there no more.
    pub(super) fn leave(&mut self, bytes: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn over(what: String, limit: String) -> GitError {
    GitError::TooLarge { what, limit }
}
