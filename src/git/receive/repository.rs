//! The repository that people push to: made, configured and given its hooks by the server itself, at each start.

use super::standing::{self, Hooks};
use super::{hooks, leftovers};
use crate::git::{GitError, Source};
use git2::{Repository, RepositoryInitMode, RepositoryInitOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The folder of hosted repositories in the state directory.
const FOLDER: &str = "git";
/// The one there is.
const NAME: &str = "site.git";
/// The largest push, bytes: as much as all files of a revision may hold.
pub const PUSH_BYTES_MAX: u64 = 256 << 20;
/// A quarantine this old belongs to nobody: no push takes longer.
const LEFT_OVER: Duration = Duration::from_secs(900);

/// The hosted repository.
#[derive(Debug, Clone)]
pub struct Hosted {
    root: PathBuf,
    branch: String,
    subpath: Option<String>,
    /// Written anew by one push at a time.
    hooks: Arc<Mutex<Hooks>>,
}

impl Hosted {
    /// Opens it, or makes it, and configures it as it must be.
    ///
    /// # Errors
    /// [`GitError::Hooks`] and what the repository says.
    pub fn open(
        state: &Path,
        branch: Option<&str>,
        subpath: Option<&str>,
        program: &Path,
        socket: &Path,
    ) -> Result<Self, GitError> {
        let (root, branch) = (state.join(FOLDER), branch.unwrap_or("main").to_owned());
        let path = root.join(NAME);
        let fails = |error: git2::Error| GitError::Hooks { path: path.clone(), message: error.message().to_owned() };
        if !path.join("objects").is_dir() {
            // Before anything is made; of one that is there, its folder of hooks says.
            if standing::is_noexec(&path).unwrap_or(false) {
                return Err(GitError::Hooks { path: path.clone(), message: standing::noexec(&root) });
            }
            let mut options = RepositoryInitOptions::new();
            options.bare(true).mkdir(true).mkpath(true).external_template(false).initial_head(&branch);
            options.mode(RepositoryInitMode::from_bits_retain(0o700));
            Repository::init_opts(&path, &options).map_err(fails)?;
        }
        // Before anything is written that a lock nobody holds would keep out.
        leftovers::take_away(&path);
        let repository = crate::git::open(&path)?;
        repository.set_head(&format!("refs/heads/{branch}")).map_err(fails)?;
        let mut config = repository.config().map_err(fails)?;
        for (name, value) in [
            ("http.receivepack", true),
            ("http.uploadpack", true),
            ("receive.advertisePushOptions", true),
            ("receive.fsckObjects", true),
            ("core.logAllRefUpdates", true),
        ] {
            config.set_bool(name, value).map_err(fails)?;
        }
        config.set_i64("receive.maxInputSize", i64::try_from(PUSH_BYTES_MAX).unwrap_or(i64::MAX)).map_err(fails)?;
        // Small, since several run at once beside everything else the server does.
        for (name, value) in [
            ("core.packedGitWindowSize", "32m"),
            ("core.packedGitLimit", "256m"),
            ("core.bigFileThreshold", "16m"),
            ("pack.windowMemory", "64m"),
            ("pack.threads", "1"),
            ("core.fsync", "reference,committed"),
        ] {
            config.set_str(name, value).map_err(fails)?;
        }
        let arguments = ["--socket".to_owned(), socket.to_string_lossy().into_owned()];
        let folder = hooks::install(&path, program, &arguments, true)?.folder;
        let hooks = Arc::new(Mutex::new(hooks::hooks(folder, program, &arguments)));
        let hosted = Self { root, branch, subpath: subpath.map(str::to_owned), hooks };
        hosted.stand()?;
        hosted.sweep();
        Ok(hosted)
    }

    /// Where it is in a state directory, or would be.
    pub fn place(state: &Path) -> PathBuf {
        state.join(FOLDER).join(NAME)
    }

    /// The folder of repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its name in the folder and in its URL.
    pub const fn name(&self) -> &'static str {
        NAME
    }

    /// The repository.
    pub fn path(&self) -> PathBuf {
        self.root.join(NAME)
    }

    /// The folder that git is told to look for hooks in.
    pub fn hooks(&self) -> PathBuf {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).folder.clone()
    }

    /// Sees to it that git will run our hooks: to be asked before git is given a push, since it leaves out a hook that it cannot
    /// run. What was not as it has to be is written anew, and named. Blocks for a moment.
    ///
    /// # Errors
    /// [`GitError::Hooks`]: it would not run them, and what to do about it; [`GitError::Missing`]: the repository is not there, and nothing
    /// is written. No push may be taken.
    pub fn stand(&self) -> Result<Vec<String>, GitError> {
        // Away with a disk that is not mounted, say: what would be made in its place would be empty, and hidden when it comes back.
        if !self.path().join("objects").is_dir() {
            return Err(GitError::Missing { path: self.path() });
        }
        let stood = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).stand();
        stood.map_err(|message| GitError::Hooks { path: self.path(), message })
    }

    /// What the server follows.
    pub fn source(&self) -> Source {
        Source::Bare { path: self.path(), branch: Some(self.branch.clone()), subpath: self.subpath.clone() }
    }

    /// Takes away what pushes left behind that were killed where they stood. To be done now and then.
    pub fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.path().join("objects")) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let quarantine = leftovers::is_quarantine(&name.to_string_lossy());
            let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
            if quarantine && age.is_some_and(|age| age > LEFT_OVER) {
                tracing::info!(folder = %entry.path().display(), "what a broken push left is taken away");
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_made_once_and_configured_at_each_start() {
        let folder = tempfile::tempdir().unwrap();
        let open = |branch| {
            let (program, socket) = (Path::new("/bin/formwork"), folder.path().join("hook.sock"));
            Hosted::open(folder.path(), branch, None, program, &socket).unwrap()
        };
        let first = open(None);
        let read = |name: &str| {
            let config = Repository::open_bare(first.path()).unwrap().config().unwrap().snapshot().unwrap();
            config.get_string(name).unwrap()
        };
        assert_eq!(read("receive.maxInputSize"), PUSH_BYTES_MAX.to_string());
        std::fs::write(first.path().join("config"), "[core]\n\tbare = true\n").unwrap();
        let second = open(Some("trunk"));
        assert_eq!(read("receive.advertisePushOptions"), "true");
        assert_eq!(std::fs::read_to_string(second.path().join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
        assert!(second.path().join("hooks/pre-receive").is_file());
        // Away, it stays away: nothing is made in its place but by a start.
        let aside = folder.path().join("aside");
        std::fs::rename(second.path(), &aside).unwrap();
        assert_eq!(second.stand(), Err(GitError::Missing { path: second.path() }));
        assert!(!second.path().exists());
        std::fs::rename(&aside, second.path()).unwrap();
        assert_eq!(second.stand(), Ok(Vec::new()));
        // What a push left that is long over goes; one that is under way stays.
        let objects = second.path().join("objects");
        let quarantines = ["tmp_objdir-incoming-old", "tmp_objdir-incoming-new"].map(|name| objects.join(name));
        quarantines.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::now() - LEFT_OVER * 2);
        std::fs::File::open(&quarantines[0]).unwrap().set_times(old).unwrap();
        second.sweep();
        assert_eq!(quarantines.map(|folder| folder.exists()), [false, true]);
    }
}
