//! Secrets of the site that params name by `{secret: NAME}`: one file each in a folder that only the server reads.

use crate::content::names::is_secret;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The largest secret, bytes.
const SECRET_MAX: u64 = 64 * 1024;

/// The folder of secrets. A secret's name is a DNS-1123 name, so that no path comes from content.
#[derive(Debug, Clone)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// Secrets in this folder; it need not exist.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A secret's text without its last line end.
    ///
    /// # Errors
    /// Why the file cannot be used, and what to do; `None` where there is none.
    pub fn get(&self, name: &str) -> Result<String, Option<String>> {
        if !is_secret(name) {
            return Err(None);
        }
        let path = self.folder.join(name);
        let read = read(&path);
        if let Err(Some(fault)) = &read {
            tracing::warn!(secret = name, "a secret is not used: {fault}");
        }
        read
    }
}

fn read(path: &Path) -> Result<String, Option<String>> {
    let about = match std::fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let link = std::fs::symlink_metadata(path).is_ok();
            return Err(link.then(|| "it is a link that leads nowhere".to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Err(None),
        Err(error) => return Err(Some(error.to_string())),
    };
    if !about.is_file() {
        return Err(Some("it is no file".to_owned()));
    }
    if about.len() > SECRET_MAX {
        return Err(Some(format!("it has {} bytes, and at most 64 KiB are read", about.len())));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Some(format!("others than its owner may read or write it (mode {mode:04o}); chmod 0600 it")));
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned()),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(Some("it is no text in UTF-8; write it in Base64, and have the task decode it".to_owned()))
        }
        Err(error) => Err(Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_there_and_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::in_folder(folder.path().to_owned());
        let put = |name: &str, bytes: &[u8], mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("good", b"hunter2\n", 0o600);
        put("open", b"hunter2", 0o640);
        put("long", &vec![b'a'; 64 * 1024 + 1], 0o600);
        put("bytes", &[0xff, 0xfe], 0o600);
        std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("link")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        assert_eq!(secrets.get("good").as_deref(), Ok("hunter2"));
        assert_eq!((secrets.get("none"), secrets.get("../x")), (Err(None), Err(None)));
        for (name, words) in [
            ("open", "mode 0640); chmod 0600"),
            ("long", "at most 64 KiB"),
            ("bytes", "no text in UTF-8"),
            ("link", "leads nowhere"),
            ("folder", "is no file"),
        ] {
            let fault = secrets.get(name).unwrap_err().unwrap_or_default();
            assert!(fault.contains(words), "{name}: {fault}");
        }
    }
}
