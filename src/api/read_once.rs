//! Files that the server reads at its start and not again: whoever changes one is told that nothing came of it yet.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The largest part of a file that is compared, bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file as it was at the start.
#[derive(Debug, Clone)]
pub struct ReadOnce {
    path: PathBuf,
    /// None: it could not be read.
    digest: Option<Vec<u8>>,
}

impl ReadOnce {
    /// As it is now. To be asked before the file is read for good: what is changed between the two is told of.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), digest: digest(path) }
    }

    /// That it is another one now, in a sentence. Reads the file.
    pub fn changed(&self) -> Option<String> {
        let now = digest(&self.path);
        let what = match (&self.digest, &now) {
            (before, now) if before == now => return None,
            (_, None) => "cannot be read any more",
            _ => "was changed",
        };
        Some(format!("{} {what} since the server read it at its start; restart the server", self.path.display()))
    }
}

fn digest(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_since_the_start_is_told_of_until_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sources.yaml");
        std::fs::write(&path, "one").unwrap();
        let file = ReadOnce::of(&path);
        assert_eq!(file.changed(), None);
        std::fs::write(&path, "two").unwrap();
        assert!(file.changed().is_some_and(|said| said.contains("sources.yaml was changed since")));
        std::fs::remove_file(&path).unwrap();
        assert!(file.changed().is_some_and(|said| said.contains("cannot be read any more")));
        std::fs::write(&path, "one").unwrap();
        assert_eq!(file.changed(), None);
    }
}
