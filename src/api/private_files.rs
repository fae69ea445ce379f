//! Files of the server that nobody else on its host may read: one that is open to them is told of, once at the start and by
//! the status for as long as it is so. The server goes on: what was read is known by then, and machines need it all the same.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The bits of a mode that let others than the owner in.
pub(super) const OTHERS: u32 = 0o077;

/// Such files, by their paths.
#[derive(Debug, Clone, Default)]
pub struct PrivateFiles(Vec<PathBuf>);

impl PrivateFiles {
    /// These; one that is not there is nobody's to read.
    pub fn of(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// Tells of them in the log.
    pub fn warn(&self) {
        for said in self.open_to_others() {
            tracing::warn!("{said}");
        }
    }

    /// Those that others can read or write now, in sentences. Asks for their modes.
    pub fn open_to_others(&self) -> Vec<String> {
        self.0.iter().filter_map(|path| said(path)).collect()
    }
}

fn said(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let shown = path.display();
    (mode & OTHERS != 0).then(|| format!("{shown} is open to others (mode {mode:04o}): chmod 600 {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_told_of_until_they_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let (key, gone) = (folder.path().join("signing.key"), folder.path().join("gone.key"));
        std::fs::write(&key, "secret").unwrap();
        let files = PrivateFiles::of(vec![key.clone(), gone]);
        for (mode, open) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true), (0o602, true)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let said = files.open_to_others();
            assert_eq!(said.len(), usize::from(open), "{mode:o}: {said:?}");
            let words = format!("signing.key is open to others (mode {mode:04o}): chmod 600 /");
            assert!(said.iter().all(|said| said.contains(&words)), "{said:?}");
        }
    }
}
