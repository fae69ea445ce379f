//! The file of users in the state directory: digests of tokens and rights. The running server sees each change of it.

use crate::identity::user::{self, Rights, User};
use crate::identity::{IdentityError, without_place};
use rustix::fs::OFlags;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest file that is read, bytes: tens of thousands of users.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Why users cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A name or a pattern that cannot be.
    #[error("{0}")]
    Wrong(String),
    /// There is one already.
    #[error(
        "there is a user `{0}` already; a new token: formwork user token {0}; other rights: formwork user change {0}"
    )]
    Exists(String),
    /// There is none.
    #[error("there is no user `{0}`; formwork user list shows who there is")]
    Unknown(String),
    /// The file.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// What is in the file.
    #[error("{path}:{line}:{column}: {message}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// No random numbers.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What a file looked like when it was read: another one is read again.
type Seen = (u64, u64, i64, i64);

/// The users of a site.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    read: Mutex<(Option<Seen>, Arc<Vec<User>>)>,
}

impl Users {
    /// Users in this file of the state directory; it need not exist.
    pub fn in_file(path: PathBuf) -> Self {
        Self { path, read: Mutex::new((None, Arc::default())) }
    }

    /// All users, by name.
    ///
    /// # Errors
    /// [`UsersError::File`], [`UsersError::Broken`].
    pub fn all(&self) -> Result<Arc<Vec<User>>, UsersError> {
        // Run by root, in a folder that is another's: a link that they put there would show them a file of root's.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = std::fs::OpenOptions::new();
        let file = match options.read(true).custom_flags(flags.bits().cast_signed()).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                return Err(self.wrong(&"it is a symbolic link; links are not followed"));
            }
            Err(error) => return Err(self.wrong(&error)),
        };
        let about = file.metadata().map_err(|error| self.wrong(&error))?;
        if !about.is_file() {
            return Err(self.wrong(&"it is no plain file"));
        }
        let owner = |path: &Path| std::fs::metadata(path).map(|about| about.uid()).ok();
        if about.nlink() != 1 && self.path.parent().and_then(owner) != Some(about.uid()) {
            return Err(self.wrong(&"it is another user's file under a second name"));
        }
        let seen = (about.ino(), about.len(), about.mtime(), about.mtime_nsec());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != Some(seen) {
            if seen.1 > FILE_MAX {
                return Err(self.wrong(&"it is too large"));
            }
            let mut bytes = Vec::new();
            file.take(FILE_MAX).read_to_end(&mut bytes).map_err(|error| self.wrong(&error))?;
            let users: Vec<User> = serde_json::from_slice(&bytes).map_err(|error| UsersError::Broken {
                path: self.path.clone(),
                line: error.line(),
                column: error.column().max(1),
                message: without_place(&error),
            })?;
            *read = (Some(seen), Arc::new(users));
        }
        Ok(Arc::clone(&read.1))
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`UsersError::File`].
    pub fn whose(&self, token: &str) -> Result<Option<User>, UsersError> {
        Ok(user::whose(&self.all()?, token).cloned())
    }

    /// Adds a user; gives their token, which is shown once.
    ///
    /// # Errors
    /// [`UsersError`].
    pub fn add(&self, name: &str, rights: Rights, now_unix_ms: i64) -> Result<String, UsersError> {
        user::check_name(name).map_err(UsersError::Wrong)?;
        check_rights(name, &rights)?;
        self.change(|users| {
            if users.iter().any(|user| user.name == name) {
                return Err(UsersError::Exists(name.to_owned()));
            }
            let (token, user) = User::new(name, rights, now_unix_ms)?;
            users.push(user);
            Ok(token)
        })
    }

    /// Gives a user these rights in the place of those before; their token stays.
    ///
    /// # Errors
    /// [`UsersError`].
    pub fn allow(&self, name: &str, rights: Rights) -> Result<(), UsersError> {
        check_rights(name, &rights)?;
        self.change(|users| {
            let user = users.iter_mut().find(|user| user.name == name);
            user.ok_or_else(|| UsersError::Unknown(name.to_owned()))?.rights = rights;
            Ok(())
        })
    }

    /// Takes a user away. Their token opens nothing from now on.
    ///
    /// # Errors
    /// [`UsersError`].
    pub fn remove(&self, name: &str) -> Result<(), UsersError> {
        self.change(|users| {
            let before = users.len();
            users.retain(|user| user.name != name);
            if users.len() == before { Err(UsersError::Unknown(name.to_owned())) } else { Ok(()) }
        })
    }

    /// Another token for a user, in place of the one before.
    ///
    /// # Errors
    /// [`UsersError`].
    pub fn renew(&self, name: &str, now_unix_ms: i64) -> Result<String, UsersError> {
        self.change(|users| {
            let user = users.iter_mut().find(|user| user.name == name);
            Ok(user.ok_or_else(|| UsersError::Unknown(name.to_owned()))?.renew(now_unix_ms)?)
        })
    }

    fn wrong(&self, error: &dyn std::fmt::Display) -> UsersError {
        UsersError::File { path: self.path.clone(), message: error.to_string() }
    }

    /// One change at a time, also of several processes: a new file, fsync, rename.
    fn change<T>(&self, how: impl FnOnce(&mut Vec<User>) -> Result<T, UsersError>) -> Result<T, UsersError> {
        let lock = beside(&self.path, ".lock");
        let mut options = std::fs::OpenOptions::new();
        // Run by root, in a folder that is another's: a link that they put there leads to a file of root's.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        let held = options.open(&lock).map_err(|error| self.wrong(&format!("{}: {error}", lock.display())))?;
        self.give_to_owner(&held).map_err(|error| self.wrong(&error))?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).map_err(|error| self.wrong(&error))?;
        let mut users = Vec::clone(&*self.all()?);
        let done = how(&mut users)?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        let bytes = serde_json::to_vec_pretty(&users).map_err(|error| self.wrong(&error))?;
        let new = beside(&self.path, ".new");
        options.create_new(true);
        let write = || {
            // What a change left that was cut off; whatever it is, it is not written to.
            match std::fs::remove_file(&new) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options.open(&new)?;
            file.write_all(&bytes)?;
            self.give_to_owner(&file)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|error| self.wrong(&error))?;
        Ok(done)
    }

    /// Run by root, the command makes the file of whoever owns the state directory: the server must read it.
    fn give_to_owner(&self, file: &std::fs::File) -> std::io::Result<()> {
        let Some(folder) = self.path.parent() else { return Ok(()) };
        let (owner, about) = (std::fs::metadata(folder)?, file.metadata()?);
        // One with a second name is somebody's file of that name.
        if !about.is_file() || about.nlink() != 1 {
            return Err(std::io::Error::other("its lock is no plain file of its own; remove it"));
        }
        if owner.uid() != about.uid() {
            std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }
}

/// Whether they can be a user's.
fn check_rights(name: &str, rights: &Rights) -> Result<(), UsersError> {
    rights.push.iter().try_for_each(|pattern| user::check_pattern(pattern)).map_err(UsersError::Wrong)?;
    if !rights.read && rights.push.is_empty() {
        return Err(UsersError::Wrong(format!("`{name}` could do nothing; say --read, or --push BRANCH, or both")));
    }
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.to_owned();
    beside.as_mut_os_string().push(ending);
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn users_come_and_go_and_a_running_server_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.json");
        let (server, command) = (Users::in_file(path.clone()), Users::in_file(path.clone()));
        assert!(server.all().unwrap().is_empty());
        let rights = Rights { read: true, push: vec!["main".into()], ..Rights::default() };
        let token = command.add("ada", rights.clone(), 1).unwrap();
        assert_eq!(server.whose(&token).unwrap().map(|user| user.rights), Some(rights.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&token));
        assert!(matches!(command.add("ada", rights.clone(), 1), Err(UsersError::Exists(_))));
        let more = Rights { may: [user::May::Leave].into(), ..rights.clone() };
        command.allow("ada", more.clone()).unwrap();
        assert_eq!(server.whose(&token).unwrap().map(|user| user.rights), Some(more), "the token stays");
        assert!(matches!(command.allow("bob", rights.clone()), Err(UsersError::Unknown(_))));
        assert!(matches!(command.allow("ada", Rights::default()), Err(UsersError::Wrong(_))));
        let renewed = command.renew("ada", 2).unwrap();
        assert!(server.whose(&token).unwrap().is_none(), "the token before is dead");
        assert!(server.whose(&renewed).unwrap().is_some());
        command.remove("ada").unwrap();
        assert!(server.whose(&renewed).unwrap().is_none());
        assert!(matches!(command.remove("ada"), Err(UsersError::Unknown(_))));
        assert!(matches!(command.renew("ada", 3), Err(UsersError::Unknown(_))));
        assert!(command.add("bob", Rights::default(), 1).is_err(), "who may do nothing is a slip of the pen");
    }

    #[test]
    fn a_file_that_is_broken_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.json");
        for (text, says) in [("[\n  {\"name\": 7}\n]", ":2:12: invalid type: integer `7`"), ("[", ":1:1: EOF")] {
            std::fs::write(&path, text).unwrap();
            let error = Users::in_file(path.clone()).all().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}{says}", path.display())) && !error.contains("at line"), "{error}");
        }
    }

    // A command of root's in a folder of another user's is made to write where that user may not.
    #[test]
    fn no_link_that_lies_in_the_folder_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("users.json"), folder.path().join("target"));
        let users = Users::in_file(path.clone());
        let rights = || Rights { read: true, ..Rights::default() };
        let lock = folder.path().join("users.json.lock");
        for hard in [false, true] {
            std::fs::write(&target, "precious").unwrap();
            let link = |at: &Path| {
                if hard { std::fs::hard_link(&target, at) } else { std::os::unix::fs::symlink(&target, at) }
            };
            let _ = std::fs::remove_file(&lock);
            link(&lock).unwrap();
            let error = users.add("ada", rights(), 1).unwrap_err().to_string();
            assert!(error.contains("lock"), "{error}");
            std::fs::remove_file(&lock).unwrap();
            let new = folder.path().join("users.json.new");
            link(&new).unwrap();
            users.add("ada", rights(), 1).unwrap();
            users.remove("ada").unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious", "hard: {hard}");
            assert!(!path.symlink_metadata().unwrap().is_symlink() && !new.exists());
        }
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("users.json"), folder.path().join("target"));
        let rights = || Rights { read: true, ..Rights::default() };
        let token = Users::in_file(target.clone()).add("eve", rights(), 1).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let users = Users::in_file(path.clone());
        for error in [users.whose(&token).unwrap_err(), users.add("ada", rights(), 1).unwrap_err()] {
            assert!(error.to_string().contains("links are not followed"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(users.all().unwrap_err().to_string().contains("no plain file"));
    }

    #[test]
    fn a_file_that_is_no_list_of_users_lets_nobody_in_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.json");
        std::fs::write(&path, "{").unwrap();
        let error = Users::in_file(path).whose("fwu_x").unwrap_err().to_string();
        assert!(error.contains("users.json"), "{error}");
    }
}
