//! Credentials: read from files, held in a type that cannot be printed.

use crate::git::regular::{must_be_regular, open_regular};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroize as _;

/// The largest credential, bytes: keys and tokens are far smaller.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// Why a credential is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("the credential {path} cannot be read: {message}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// Everybody on this machine can read it.
    #[error(
        "the credential {path} can be read by everybody on this machine, so it is not used; close it with: chmod 600 {path}"
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is empty, too large, or no single line of text.
    #[error("the credential {path} is not used: it must hold one line of text, 1 byte to 16 KiB")]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
}

/// A credential. It has neither `Debug` nor `Display`, so that no log, error or status can hold it by accident.
pub struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Reads one from a file that not everybody can read. Space around it (the newline of editors) is no part of it.
    ///
    /// # Errors
    /// [`SecretError`] names the file, and never what is in it.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = read_closed(path)?;
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(SecretError::NotOneLine { path: path.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }

    /// What it is: for the header or the hash that it goes into, and nothing else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Text that came from elsewhere, without this secret in it: a server may say back what it was sent.
    pub(crate) fn scrub(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

/// Whether a file that somebody else reads (an SSH key) is closed to others.
pub(super) fn must_be_closed(path: &Path) -> Result<(), SecretError> {
    let unreadable =
        |error: std::io::Error| SecretError::Unreadable { path: path.to_owned(), message: error.to_string() };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    must_be_regular(&about).map_err(unreadable)?;
    let mode = about.mode();
    if mode & 0o007 == 0 { Ok(()) } else { Err(SecretError::Open { path: path.to_owned() }) }
}

fn read_closed(path: &Path) -> Result<String, SecretError> {
    let unreadable =
        |error: std::io::Error| SecretError::Unreadable { path: path.to_owned(), message: error.to_string() };
    let (file, metadata) = open_regular(path).map_err(unreadable)?;
    if metadata.mode() & 0o007 != 0 {
        return Err(SecretError::Open { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > SECRET_BYTES_MAX {
        return Err(SecretError::NotOneLine { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| SecretError::NotOneLine { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn file(folder: &Path, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(format!("{mode:o}-{}", text.len()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_credential_that_everybody_can_read_is_refused_and_no_error_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o604, 0o602, 0o601] {
            let error = Secret::read(&file(folder.path(), "hunter22\n", mode)).err().unwrap();
            assert!(matches!(error, SecretError::Open { .. }) && error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("hunter22"));
        }
        for mode in [0o600, 0o400, 0o640] {
            let secret = Secret::read(&file(folder.path(), "  hunter22\n", mode)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(secret.expose(), "hunter22");
        }
    }

    #[test]
    fn what_is_no_file_is_refused_at_once_and_a_link_to_a_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, socket) = (folder.path().join("pipe"), folder.path().join("socket"));
        let closed = rustix::fs::Mode::from_bits_retain(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, closed, 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (pipe.as_path(), "a named pipe"),
            (&socket, "a socket"),
            (folder.path(), "a folder"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let path = path.to_owned();
            let (tell, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || tell.send((Secret::read(&path).err(), must_be_closed(&path).err())));
            let (read, closed) = told.recv_timeout(std::time::Duration::from_secs(10)).expect("it waits for nobody");
            for error in [read, closed] {
                let error = error.expect("refused").to_string();
                assert!(error.contains(what) && error.contains("name a file"), "{error}");
            }
        }
        // As Kubernetes mounts a Secret.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(file(folder.path(), "hunter22", 0o600), &link).unwrap();
        assert_eq!(Secret::read(&link).unwrap_or_else(|e| panic!("{e}")).expose(), "hunter22");
    }

    #[test]
    fn a_credential_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "\n", "a\nb", &"x".repeat(17_000)] {
            let error = Secret::read(&file(folder.path(), text, 0o600)).err().unwrap();
            assert!(matches!(error, SecretError::NotOneLine { .. }), "{error}");
        }
    }

    #[test]
    fn a_secret_that_a_server_says_back_is_scrubbed() {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::read(&file(folder.path(), "hunter22", 0o600)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(secret.scrub("no user hunter22:hunter22"), "no user ***:***");
    }
}
