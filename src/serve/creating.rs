//! What `site create` may write over: the keys of a creation that was interrupted, and never those of a site.
//!
//! A mark, `STATE/creating`, stands from before the first key until the store is there, which is made last. Keys without the mark
//! are a site's, with or without a store: machines and people trust them. A mark that an interruption left beside a finished store
//! is removed when the store is next opened.

use super::site::{SiteError, StateDirectory};
use crate::git::regular::{FILE_MAX, read_regular};
use crate::store::{StoreError, embedded};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The name of the mark.
const MARK: &str = "creating";
/// What new ones would take the place of.
const KEPT: [&str; 6] = [
    "keys/signing.key",
    "keys/ticket.key",
    "keys/authority.key",
    "keys/authority.pem",
    super::site::ADMINISTRATORS,
    super::site::ADMINISTRATOR,
];

/// A folder that one creation has to itself.
#[derive(Debug)]
pub(super) struct Alone(OwnedFd);

impl Drop for Alone {
    fn drop(&mut self) {
        // By its own word: a child that was forked off and is not yet another program has the folder open too, and would keep the lock.
        let _ = flock(&self.0, FlockOperation::NonBlockingUnlock);
    }
}

impl StateDirectory {
    fn mark(&self) -> PathBuf {
        self.0.join(MARK)
    }

    /// The keys and files of administrators that a site has here. None: there is no site, or its creation was interrupted.
    ///
    /// # Errors
    /// [`SiteError`]: it cannot be told.
    pub fn keys_of_a_site(&self) -> Result<Vec<&'static str>, SiteError> {
        if is_there(self.mark())? {
            return Ok(Vec::new());
        }
        let mut there = Vec::new();
        for name in KEPT {
            if is_there(self.0.join(name))? {
                there.push(name);
            }
        }
        Ok(there)
    }

    /// The site whose keys are here, as its authority's certificate says; `None` where there is none that can be read.
    pub fn site_of_keys(&self) -> Option<String> {
        let pem = read_regular(&self.0.join("keys/authority.pem"), FILE_MAX).ok()?;
        crate::identity::site_of_authority(&String::from_utf8_lossy(&pem))
    }

    /// Refuses a directory that holds a store, with the keys of its site or without.
    pub(super) fn is_free(&self) -> Result<(), SiteError> {
        if !embedded::find(&self.0)? {
            return Ok(());
        }
        if let Ok(Some(moved)) = embedded::moved(&self.0) {
            return Err(moved.refusal(&self.0.display().to_string()).into());
        }
        if !is_there(self.0.join("keys"))? {
            return Err(SiteError::NoKeys { path: self.0.clone() });
        }
        let message = format!(
            "{} holds a store already; a site is made once: `formwork serve` serves it, and another one needs another --state-dir",
            self.0.display()
        );
        Err(StoreError::Exists(message).into())
    }

    /// Refuses to make keys where a site has some.
    pub(super) fn may_make_keys(&self, elsewhere: bool) -> Result<(), SiteError> {
        let there = self.keys_of_a_site()?;
        if there.is_empty() {
            return Ok(());
        }
        Err(SiteError::Keys { path: self.0.clone(), there: there.join(", "), elsewhere })
    }

    /// Has the folder to itself while a site is made in it; the folder is made where it is not there. Of several at once one goes
    /// on, so that no two write keys into one folder. Ends with what it gives, also when the process is killed.
    pub(super) fn alone(&self) -> Result<Alone, SiteError> {
        super::site::make_folder(&self.0)?;
        let wrong = |error: std::io::Error| SiteError::File { path: self.0.clone(), error };
        let folder = OwnedFd::from(File::open(&self.0).map_err(wrong)?);
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Alone(folder)),
            Err(Errno::WOULDBLOCK) => {
                let here = self.0.display();
                let message =
                    format!("another `formwork site create` makes the site in {here} right now; a site is made once");
                Err(StoreError::Exists(message).into())
            }
            Err(error) => Err(wrong(error.into())),
        }
    }

    /// From now on what is made here is no site's yet.
    pub(super) fn begin_creation(&self) -> Result<(), SiteError> {
        super::site::write_secret(
            &self.mark(),
            b"`formwork site create` is at work here, or was interrupted: repeat it\n",
        )
    }

    /// From now on the keys here are a site's.
    ///
    /// # Errors
    /// [`SiteError`] names the mark.
    pub fn end_creation(&self) -> Result<(), SiteError> {
        let path = self.mark();
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // A power cut must not bring it back.
            removed => removed.and_then(|()| File::open(&self.0)?.sync_all()),
        };
        removed.map_err(|error| SiteError::File { path, error })
    }
}

/// Whether something is there, a link that leads nowhere too.
fn is_there(path: PathBuf) -> Result<bool, SiteError> {
    match std::fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(SiteError::File { path, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::Context;

    fn create(state: &StateDirectory) -> Result<(), SiteError> {
        state.create("lab", true, "https://127.0.0.1:8443").map(drop)
    }

    #[test]
    fn the_keys_of_a_site_that_lost_its_store_are_never_written_over() {
        for kept in KEPT {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDirectory(folder.path().join("state"));
            create(&state).unwrap();
            assert!(!state.mark().exists(), "all is made");
            assert_eq!(state.site_of_keys().as_deref(), Some("lab"));
            std::fs::remove_file(state.0.join("store.redb")).unwrap();
            // One of them alone is enough.
            for other in KEPT.iter().filter(|other| **other != kept) {
                std::fs::remove_file(state.0.join(other)).unwrap();
            }
            let before = std::fs::read(state.0.join(kept)).unwrap();
            let error = create(&state).unwrap_err().to_string();
            assert!(error.contains(&format!("holds {kept} of a site")), "{error}");
            assert_eq!(std::fs::read(state.0.join(kept)).unwrap(), before);
            let there = KEPT.iter().filter(|name| state.0.join(name).exists()).count();
            assert_eq!((there, state.0.join("store.redb").exists()), (1, false), "nothing is written");
        }
    }

    #[test]
    fn of_several_creations_at_once_one_makes_the_site_and_the_others_say_that_it_is_there() {
        for _ in 0..4 {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDirectory(folder.path().join("state"));
            let start = std::sync::Barrier::new(4);
            let made = std::thread::scope(|scope| {
                let one = || {
                    start.wait();
                    state.create("lab", true, "https://127.0.0.1:8443")
                };
                let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            });
            let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
            assert!(won.len() == 1, "{lost:?}");
            for error in lost.into_iter().filter_map(Result::err) {
                assert!(
                    matches!(&error, SiteError::Store(StoreError::Exists(said)) if said.contains("a site is made once")),
                    "{error}"
                );
            }
            // All of it is of the one that won.
            let keys = state.keys().unwrap();
            let context: Context = serde_json::from_slice(&std::fs::read(state.context()).unwrap()).unwrap();
            assert_eq!(keys.authority_certificate(), won[0].as_ref().unwrap().authority_certificate());
            assert_eq!(context.ca_certificate, keys.authority_certificate());
            assert!(state.administrator().unwrap().verify(&context.token));
        }
    }

    #[test]
    fn a_creation_that_was_interrupted_is_repeated_with_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDirectory(folder.path().join("state"));
        std::fs::create_dir(&state.0).unwrap();
        // The store cannot be made: its name while it is made is taken by a folder.
        let blocks = state.0.join("store.redb.new");
        std::fs::create_dir(&blocks).unwrap();
        assert!(create(&state).is_err());
        let key = || std::fs::read(state.0.join("keys/signing.key")).unwrap();
        let before = key();
        assert!(state.mark().exists() && state.keys_of_a_site().unwrap().is_empty());
        std::fs::remove_dir(&blocks).unwrap();
        create(&state).unwrap();
        assert!(key() != before && !state.mark().exists());
        assert_eq!(state.keys_of_a_site().unwrap(), KEPT);
    }
}
