//! One fetch while it runs: whom it asks, how long it may take, how much it may download, and what went wrong in words that
//! people can use. libgit2 knows a job by a number only: neither a host nor a credential is ever in what it could say.

use super::secret::{Secret, SecretError, must_be_closed};
use super::settings::{Credentials, SourceSettings};
use super::url::Location;
use crate::git::regular::must_be_regular;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest text of the other side that is shown, characters.
const SAID_MAX: usize = 300;

/// How the other side is reached.
pub(super) enum Way {
    /// Over HTTPS, with what goes into the header `Authorization` after `Basic `.
    Https { url: String, basic: Option<Basic>, authority_file: Option<PathBuf> },
    /// By the program `ssh`.
    Ssh {
        user: String,
        host: String,
        port: Option<u16>,
        path: String,
        key_file: Option<PathBuf>,
        known_hosts_file: PathBuf,
    },
}

/// A user and a secret.
pub(super) struct Basic {
    pub user: String,
    pub password: Secret,
}

/// A fetch.
pub(super) struct Job {
    pub way: Way,
    end: Instant,
    bytes_max: u64,
    bytes: AtomicU64,
    /// The first thing that went wrong, which is the cause of all that follows.
    failure: Mutex<Option<String>>,
}

impl Job {
    /// Begins one; its time runs. Credentials are read now.
    ///
    /// # Errors
    /// [`SecretError`] names the file.
    pub(super) fn begin(settings: &SourceSettings) -> Result<Option<Self>, SecretError> {
        let way = match (&settings.location, &settings.credentials) {
            (Location::Local(_), _) => return Ok(None),
            (Location::Https { .. }, credentials) => {
                let basic = match credentials {
                    Credentials::Basic { user, password_file } => {
                        Some(Basic { user: user.clone(), password: Secret::read(password_file)? })
                    }
                    _ => None,
                };
                Way::Https {
                    url: settings.location.to_string(),
                    basic,
                    authority_file: settings.authority_file.clone(),
                }
            }
            (Location::Ssh { user, host, port, path }, Credentials::Ssh { key_file, known_hosts_file }) => {
                if let Some(file) = key_file {
                    must_be_closed(file)?;
                }
                // `ssh` reads it, and would wait for ever as well.
                let unreadable = |error: std::io::Error| SecretError::Unreadable {
                    path: known_hosts_file.clone(),
                    message: error.to_string(),
                };
                // What it says of one that is not there is clear.
                if let Ok(about) = std::fs::metadata(known_hosts_file) {
                    must_be_regular(&about).map_err(unreadable)?;
                }
                Way::Ssh {
                    user: user.clone(),
                    host: host.clone(),
                    port: *port,
                    path: path.clone(),
                    key_file: key_file.clone(),
                    known_hosts_file: known_hosts_file.clone(),
                }
            }
            (Location::Ssh { .. }, _) => {
                return Err(SecretError::Unreadable {
                    path: PathBuf::from("known_hosts"),
                    message: "over ssh a file with the hosts' keys is needed".to_owned(),
                });
            }
        };
        Ok(Some(Self {
            way,
            end: Instant::now() + settings.timeout,
            bytes_max: settings.download_bytes_max,
            bytes: AtomicU64::new(0),
            failure: Mutex::default(),
        }))
    }

    /// How much time is left; none: its time is over.
    pub(super) fn left(&self) -> Option<Duration> {
        self.end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Bytes downloaded.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes came; an error where that is too much or too late.
    pub(super) fn came(&self, bytes: usize) -> std::io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if all > self.bytes_max {
            return Err(self.fail(format!(
                "it sent more than {} MiB in one fetch, which is the most that is taken; raise maxMegabytes if that is meant",
                self.bytes_max >> 20
            )));
        }
        if self.left().is_none() {
            return Err(self.fail_late());
        }
        Ok(())
    }

    /// Remembers what went wrong. The answer is for libgit2, and says nothing.
    pub(super) fn fail(&self, why: impl Into<String>) -> std::io::Error {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(self.clean(&why.into()));
        }
        std::io::Error::other("the fetch failed")
    }

    /// Whether it is known what went wrong.
    pub(super) fn failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Its time was not enough.
    pub(super) fn fail_late(&self) -> std::io::Error {
        self.fail("it took longer than the timeout allows; the connection was cut")
    }

    /// What went wrong, of which libgit2 says this.
    pub(super) fn why(&self, error: &git2::Error) -> String {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failure.unwrap_or_else(|| self.clean(error.message()))
    }

    /// Text from elsewhere as it may be shown: one line, not long, without the credential.
    pub(super) fn clean(&self, text: &str) -> String {
        let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_MAX).collect();
        match &self.way {
            Way::Https { basic: Some(basic), .. } => basic.password.scrub(&line),
            _ => line,
        }
    }
}
