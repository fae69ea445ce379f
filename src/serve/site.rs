//! A site's state directory: made once by `formwork site create`, opened by `formwork serve`.
//!
//! ```text
//! STATE/store.redb            journal, cluster documents, leases; or
//! STATE/store-elsewhere       where they are (`--store kubernetes`)
//! STATE/store-seen            and how far their log was seen
//! STATE/keys/                 signing.key ticket.key authority.pem authority.key (0600)
//! STATE/administrators.json   digests of administrators' tokens
//! STATE/administrator.json    where the first administrator's command line finds server, authority and token (0600)
//! STATE/secrets/NAME          values of `{secret: NAME}` (0600, made by people)
//! STATE/git/site.git          the hosted repository (`serve --hosted`)
//! STATE/users.json            digests of tokens for it, and what their owners may do (0600)
//! STATE/hook.sock             where hooks of pushes ask (0600)
//! STATE/creating              while the site is made, see `creating`
//! STATE/logs/ STATE/mirror.git STATE/snapshots/
//! ```

use super::keeping::Keeping;
use crate::api::views::Context;
use crate::api::{PrivateFiles, ReadOnce};
use crate::git::regular::{FILE_MAX, read_regular};
use crate::identity::{AdministratorToken, IdentityError, KeyFiles, SiteKeys};
use crate::store::StoreError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The name of the socket that hooks of pushes ask by.
pub const HOOK_SOCKET: &str = "hook.sock";
pub(super) const ADMINISTRATOR: &str = "administrator.json";
pub(super) const ADMINISTRATORS: &str = "administrators.json";
/// The name of the file that says where the store lies, where that is not here.
const STORE_ELSEWHERE: &str = "store-elsewhere";

/// Why a state directory cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The name is no DNS-1123 name.
    #[error("`{0}` is no name for a site; lower-case letters, digits and `-`, at most 63")]
    Name(String),
    /// There is none.
    #[error("{path} holds no site{nor}; make one with: formwork site create NAME --state-dir {path}{options}")]
    Missing {
        /// The directory.
        path: PathBuf,
        /// Where there is none either.
        nor: String,
        /// What else the command is given.
        options: String,
    },
    /// There is a store, and what belongs to it is not there.
    #[error("{path} holds the store of a site and not its keys")]
    NoKeys {
        /// The directory.
        path: PathBuf,
    },
    /// Keys or administrators of a site are there.
    #[error(
        "{path} holds {there} of a site, and a site is made once: new ones would end the trust of its agents and administrators. \
         Nothing was written"
    )]
    Keys {
        /// The directory.
        path: PathBuf,
        /// What of them.
        there: String,
        /// The store was to be made elsewhere.
        elsewhere: bool,
    },
    /// A file of it.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys that cannot be made or read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file of JSON that is none, or another than it should be.
    #[error("{path}:{line}:{column}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A file that cannot be understood.
    #[error("{path}: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl SiteError {
    /// What is wrong with a file of JSON, and where.
    pub fn json(path: PathBuf, error: &serde_json::Error) -> Self {
        Self::Json {
            path,
            line: error.line(),
            column: error.column().max(1),
            message: crate::identity::without_place(error),
        }
    }
}

/// The paths of a state directory.
#[derive(Debug, Clone)]
pub struct StateDirectory(pub PathBuf);

impl StateDirectory {
    /// `keys/NAME`.
    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }

    /// The first administrator's context file.
    pub fn context(&self) -> PathBuf {
        self.0.join(ADMINISTRATOR)
    }

    /// Where a running server puts copies of its store for the command line to fetch.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Users of the hosted repository: digests of their tokens, and what they may do.
    pub fn users(&self) -> PathBuf {
        self.0.join("users.json")
    }

    /// The socket that hooks of pushes ask by.
    pub fn hook_socket(&self) -> PathBuf {
        self.0.join(HOOK_SOCKET)
    }

    /// Digests of administrators' tokens.
    fn administrators(&self) -> PathBuf {
        self.0.join(ADMINISTRATORS)
    }

    /// Makes a site: keys, the first administrator, and last the store, whose being there says that all is made.
    ///
    /// # Errors
    /// [`SiteError`]; an existing store is refused and nothing of it is touched.
    pub fn create(&self, site: &str, fresh: bool, server: &str) -> Result<SiteKeys, SiteError> {
        self.create_with(&Keeping::Embedded, site, fresh, server)
    }

    /// The same, with a store that may be elsewhere.
    ///
    /// # Errors
    /// As [`StateDirectory::create`].
    pub fn create_with(&self, keeping: &Keeping, site: &str, fresh: bool, server: &str) -> Result<SiteKeys, SiteError> {
        named(site)?;
        self.is_free()?;
        let _alone = self.alone()?;
        // Asked again: whoever had the folder until now may have made it.
        self.is_free()?;
        let elsewhere = keeping.elsewhere().is_some();
        if let Some(place) = self.store_elsewhere().filter(|_| !elsewhere) {
            // New keys in place of those that are here would end the trust of every agent.
            let message = format!("the store of the site in {} is in {place}; a site is made once", self.0.display());
            return Err(StoreError::Open(message).into());
        }
        self.may_make_keys(elsewhere)?;
        let keys = SiteKeys::generate(site)?;
        let authority = crate::identity::ca_fingerprint(keys.authority_certificate())?;
        if elsewhere {
            // First: a store that is there already has keys, which may be these.
            keeping.create(&self.0, site, fresh, &authority)?;
            self.remember_store(keeping)?;
        }
        self.begin_creation()?;
        make_folder(&self.0.join("keys"))?;
        make_folder(&self.0.join("secrets"))?;
        let files = keys.to_files();
        write_secret(&self.key("signing.key"), &files.signing)?;
        write_secret(&self.key("ticket.key"), &files.ticket)?;
        write_secret(&self.key("authority.key"), &files.authority_key)?;
        write_secret(&self.key("authority.pem"), &files.authority_certificate)?;
        let (token, recognised) = AdministratorToken::generate("administrator")?;
        let digest = serde_json::to_vec_pretty(&recognised)
            .map_err(|error| SiteError::Content { path: self.administrators(), message: error.to_string() })?;
        write_secret(&self.administrators(), &digest)?;
        let context =
            Context { server: server.to_owned(), ca_certificate: keys.authority_certificate().to_owned(), token };
        self.write_context(&context)?;
        if !elsewhere {
            keeping.create(&self.0, site, fresh, &authority)?;
        }
        self.end_creation()?;
        Ok(keys)
    }

    /// What of it goes along where the store moves to another host, as far as it is there: keys, who may do what, secrets, repositories
    /// with the commits of open runs, and job logs.
    pub fn along(&self) -> Vec<&'static str> {
        const ALONG: [&str; 9] = [
            "keys",
            "administrators.json",
            "administrator.json",
            "users.json",
            "secrets",
            "git",
            "mirror.git",
            "packs.git",
            "logs",
        ];
        ALONG.into_iter().filter(|name| self.0.join(name).exists()).collect()
    }

    /// Whether a revision served here before, which serves at the next start though its source is away.
    pub fn served_before(&self) -> bool {
        crate::git::remembers(&self.mirror())
    }

    /// The mirror of what is followed.
    pub(super) fn mirror(&self) -> PathBuf {
        self.0.join("mirror.git")
    }

    /// The file that says where the store lies, where that is not here.
    pub fn elsewhere_file(&self) -> PathBuf {
        self.0.join(STORE_ELSEWHERE)
    }

    /// The store lies here from now on.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn forget_store_elsewhere(&self) -> Result<(), SiteError> {
        let path = self.elsewhere_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(SiteError::File { path, error }),
            _ => Ok(()),
        }
    }

    /// Where the site's store lies, where that is not here.
    pub fn store_elsewhere(&self) -> Option<String> {
        let said = std::fs::read_to_string(self.elsewhere_file()).ok()?;
        Some(said.trim().to_owned())
    }

    /// Remembers where the store lies, where that is not here, for commands that look for it here.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn remember_store(&self, keeping: &Keeping) -> Result<(), SiteError> {
        match keeping.elsewhere() {
            Some(place) if self.store_elsewhere().as_ref() != Some(&place) => {
                write_secret(&self.elsewhere_file(), place.as_bytes())
            }
            _ => Ok(()),
        }
    }

    fn write_context(&self, context: &Context) -> Result<(), SiteError> {
        let path = self.context();
        let bytes = serde_json::to_vec_pretty(context)
            .map_err(|error| SiteError::Content { path: path.clone(), message: error.to_string() })?;
        write_secret(&path, &bytes)
    }

    /// Says in the first administrator's context file where the server listens now. A file that is gone stays gone.
    ///
    /// # Errors
    /// [`SiteError`].
    pub fn set_server(&self, server: &str) -> Result<(), SiteError> {
        let path = self.context();
        let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
        // What stands there is a token's: of a value that is none, only its place is told.
        let mut context: Context = serde_json::from_slice(&bytes).map_err(|error| SiteError::Json {
            path: path.clone(),
            line: error.line(),
            column: error.column().max(1),
            message: "is not a context".to_owned(),
        })?;
        if context.server == server {
            return Ok(());
        }
        server.clone_into(&mut context.server);
        self.write_context(&context)
    }

    /// The site's keys.
    ///
    /// # Errors
    /// [`SiteError`] names the file.
    pub fn keys(&self) -> Result<SiteKeys, SiteError> {
        if matches!(std::fs::symlink_metadata(self.0.join("keys")), Err(error) if error.kind() == ErrorKind::NotFound) {
            if crate::store::embedded::exists(&self.0) {
                return Err(SiteError::NoKeys { path: self.0.clone() });
            }
            return Err(SiteError::Missing { path: self.0.clone(), nor: String::new(), options: String::new() });
        }
        let files = KeyFiles {
            signing: read(&self.key("signing.key"))?,
            ticket: read(&self.key("ticket.key"))?,
            authority_certificate: read(&self.key("authority.pem"))?,
            authority_key: read(&self.key("authority.key"))?,
        };
        Ok(SiteKeys::from_files(&files)?)
    }

    /// What nobody else on this host may read: the keys, and the first administrator's token.
    pub fn private(&self) -> PrivateFiles {
        let keys = ["signing.key", "ticket.key", "authority.key"].map(|name| self.key(name));
        PrivateFiles::of(keys.into_iter().chain([self.context()]).collect())
    }

    /// What a server reads when it starts and not again.
    pub fn read_once(&self) -> impl Iterator<Item = ReadOnce> {
        let keys = ["signing.key", "ticket.key", "authority.key", "authority.pem"].map(|name| self.key(name));
        keys.into_iter().chain([self.administrators()]).map(|path| ReadOnce::of(&path))
    }

    /// An empty image folder, for a server that boots nothing.
    ///
    /// # Errors
    /// [`SiteError`] names the folder.
    pub fn no_images(&self) -> Result<PathBuf, SiteError> {
        let path = self.0.join("no-images");
        make_folder(&path)?;
        Ok(path)
    }

    /// Who is an administrator.
    ///
    /// # Errors
    /// [`SiteError`] names the file.
    pub fn administrator(&self) -> Result<AdministratorToken, SiteError> {
        let path = self.administrators();
        serde_json::from_slice(&read(&path)?).map_err(|error| SiteError::json(path, &error))
    }
}

/// Whether a site may be called so.
pub(super) fn named(site: &str) -> Result<(), SiteError> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !site.is_empty()
        && site.len() <= 63
        && site.chars().all(label)
        && !site.starts_with('-')
        && !site.ends_with('-');
    if good { Ok(()) } else { Err(SiteError::Name(site.to_owned())) }
}

pub(super) fn make_folder(path: &Path) -> Result<(), SiteError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| SiteError::File { path: path.to_owned(), error })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, SiteError> {
    read_regular(path, FILE_MAX).map_err(|error| SiteError::File { path: path.to_owned(), error })
}

/// Writes a file of mode 0600: a new file, fsync, rename.
pub(super) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), SiteError> {
    let wrong = |error| SiteError::File { path: path.to_owned(), error };
    let mut new = path.to_owned();
    new.as_mut_os_string().push(".new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(wrong)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&new, path)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_whose_store_is_elsewhere_is_not_made_anew_here() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory(folder.path().join("state"));
        state.create("lab", true, "https://127.0.0.1:8443").unwrap();
        let key = || std::fs::read(state.key("authority.key")).unwrap();
        let before = key();
        std::fs::remove_file(state.0.join("store.redb")).unwrap();
        std::fs::write(state.0.join(STORE_ELSEWHERE), "namespace lab of Kubernetes").unwrap();
        let error = state.create("lab", true, "https://127.0.0.1:8443").err().unwrap().to_string();
        assert!(error.contains("is in namespace lab of Kubernetes; a site is made once"), "{error}");
        assert_eq!(key(), before);
    }
}
