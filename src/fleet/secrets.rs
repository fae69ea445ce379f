//! Secrets of the site that params name by `{secret: NAME}`: one file each in a folder that only the server reads.

use crate::content::names::is_secret;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

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

    /// A secret's text without its last line end; `None` where there is none, or its file can be read by others.
    pub fn get(&self, name: &str) -> Option<String> {
        if !is_secret(name) {
            return None;
        }
        let path = self.folder.join(name);
        let about = std::fs::metadata(&path).ok()?;
        if about.len() > SECRET_MAX {
            tracing::warn!(secret = name, "a secret over 64 KiB is not read");
            return None;
        }
        if about.permissions().mode() & 0o077 != 0 {
            tracing::warn!(secret = name, "a secret that others can read is not used; chmod 0600 it");
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }
}
