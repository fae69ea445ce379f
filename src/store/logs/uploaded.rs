//! Which logs an object store has too: a small file `JOB.uploaded` beside each says up to which length. It is only remembered, not
//! relied on: where it is lost, the log is uploaded again under the name that it has there already.

use super::{LogError, LogStore, PIECE_BYTES, failed};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::UNIX_EPOCH;

const LOG: &str = "log";
const UPLOADED: &str = "uploaded";
/// The longest such file, bytes.
const NUMBER_BYTES: u64 = 20;

/// A log as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The job.
    pub job: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// Up to which length an object store has it; `None` where nobody knows that it has.
    pub uploaded: Option<u64>,
    /// When it was last written to, Unix milliseconds.
    pub changed_unix_ms: i64,
}

impl Kept {
    /// Whether an object store has all of it.
    pub fn is_uploaded(&self) -> bool {
        self.uploaded.is_some_and(|uploaded| uploaded >= self.bytes)
    }
}

impl LogStore {
    /// All logs of this folder, in no order. Blocks, for longer than other calls.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn kept(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let job = path.file_stem().and_then(|name| name.to_str());
            let Some(job) = job.filter(|job| path.extension().is_some_and(|it| it == LOG) && self.path(job).is_ok())
            else {
                continue;
            };
            // One that was removed meanwhile is no more in the folder.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let changed =
                metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            kept.push(Kept {
                job: job.to_owned(),
                bytes: metadata.len(),
                uploaded: self.uploaded(job),
                changed_unix_ms: i64::try_from(changed.as_millis()).unwrap_or(i64::MAX),
            });
        }
        Ok(kept)
    }

    /// All of a log that can be read; empty where nothing came.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn whole(&self, job: &str) -> Result<Vec<u8>, LogError> {
        let mut whole = Vec::new();
        loop {
            let piece = self.read(job, whole.len() as u64, PIECE_BYTES)?;
            if piece.is_empty() {
                return Ok(whole);
            }
            whole.extend_from_slice(&piece);
        }
    }

    /// How much of a log can be read here, the note of one that was cut too; 0 where nothing came yet.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn readable(&self, job: &str) -> Result<u64, LogError> {
        Ok(self.job(job)?.state().readable())
    }

    /// Up to which length an object store has a log, as far as that is remembered.
    pub fn uploaded(&self, job: &str) -> Option<u64> {
        let path = self.path(job).ok()?.with_extension(UPLOADED);
        if path.symlink_metadata().ok()?.len() > NUMBER_BYTES {
            return None;
        }
        std::fs::read_to_string(path).ok()?.trim_end().parse().ok()
    }

    /// Remembers up to which length an object store has a log; `None`: that it has none after all.
    ///
    /// # Errors
    /// See [`LogError`]. Nothing is lost by it.
    pub fn note_uploaded(&self, job: &str, length: Option<u64>) -> Result<(), LogError> {
        use std::io::Write as _;
        let path = self.path(job)?.with_extension(UPLOADED);
        let noted = match length {
            Some(length) => {
                let mut options = std::fs::OpenOptions::new();
                let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
                options.write(true).create(true).truncate(true).mode(0o600).custom_flags(flags);
                options.open(path).and_then(|mut file| file.write_all(length.to_string().as_bytes()))
            }
            None => gone(std::fs::remove_file(path)),
        };
        noted.map_err(|error| failed(job, error))
    }
}

/// What is not there need not be removed.
pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::logs;
    use super::*;

    #[test]
    fn what_was_uploaded_is_remembered_for_as_long_as_the_log_is_here_and_no_longer() {
        let (store, dir) = logs();
        store.append("j", 0, b"abc").unwrap();
        let only = |store: &LogStore| {
            let kept = store.kept().unwrap();
            assert_eq!(kept.len(), 1, "{kept:?}");
            (kept[0].bytes, kept[0].uploaded, kept[0].is_uploaded())
        };
        assert_eq!(only(&store), (3, None, false));
        store.note_uploaded("j", Some(3)).unwrap();
        assert_eq!(only(&store), (3, Some(3), true));
        store.append("j", 3, b"d").unwrap();
        assert_eq!(only(&store), (4, Some(3), false), "it went on after its upload");
        let again = LogStore::open(&dir.path().join("logs")).unwrap();
        assert_eq!(only(&again), (4, Some(3), false), "also after a restart");
        store.note_uploaded("j", None).unwrap();
        store.note_uploaded("j", None).unwrap();
        assert_eq!(only(&store), (4, None, false));
        store.note_uploaded("j", Some(4)).unwrap();
        store.remove("j").unwrap();
        assert_eq!(store.kept().unwrap(), []);
        assert_eq!(store.uploaded("j"), None);
    }

    #[test]
    fn what_is_no_log_in_the_folder_is_none_and_a_torn_number_says_nothing() {
        let (store, dir) = logs();
        store.append("j", 0, b"abc").unwrap();
        let folder = dir.path().join("logs");
        for name in ["notes.txt", "BAD.log", ".log"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.join("folder.log")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link.log")).unwrap();
        for torn in ["", "3x", "-1", "123456789012345678901"] {
            std::fs::write(folder.join("j.uploaded"), torn).unwrap();
            let kept = store.kept().unwrap();
            assert_eq!(
                kept.iter().map(|it| (it.job.as_str(), it.uploaded)).collect::<Vec<_>>(),
                [("j", None)],
                "{torn}"
            );
        }
        for bad in ["../j", "", "A"] {
            assert!(store.note_uploaded(bad, Some(1)).is_err() && store.uploaded(bad).is_none());
        }
    }

    #[test]
    fn the_whole_of_a_log_is_all_that_can_be_read_of_it() {
        let (store, _dir) = logs();
        let long = vec![b'x'; PIECE_BYTES];
        store.append("j", 0, &long).unwrap();
        store.append("j", PIECE_BYTES as u64, b"end").unwrap();
        assert_eq!(store.whole("j").unwrap(), [long, b"end".to_vec()].concat());
        assert_eq!(store.readable("j").unwrap(), PIECE_BYTES as u64 + 3);
        assert!(store.whole("none").unwrap().is_empty());
        assert_eq!(store.readable("none").unwrap(), 0);
    }
}
