//! The repository that people push to: made, configured and given its hooks by the server itself, at each start.

use super::standing::{self, Hooks};
use super::{hooks, leftovers};
use crate::git::{GitError, Source, frame};
use git2::{Repository, RepositoryInitMode, RepositoryInitOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    program: PathBuf,
    socket: PathBuf,
    /// Where git is told to look for hooks, whatever the repository's configuration says by then.
    looks_in: PathBuf,
    /// Written anew by one push at a time; none: the repository could not be made ready yet.
    hooks: Arc<Mutex<Option<Hooks>>>,
}

impl Hosted {
    /// Opens it, or makes it, and configures it as it must be. `served`: something serves without it, so that one that is damaged is no
    /// reason not to start; it is made ready when it can be, before a push.
    ///
    /// # Errors
    /// [`GitError::Hooks`] and what the repository says.
    pub fn open(
        state: &Path,
        (branch, subpath): (Option<&str>, Option<&str>),
        (program, socket): (&Path, &Path),
        served: bool,
    ) -> Result<Self, GitError> {
        let root = state.join(FOLDER);
        let mut hosted = Self {
            looks_in: root.join(NAME).join("hooks"),
            root,
            branch: branch.unwrap_or("main").to_owned(),
            subpath: subpath.map(str::to_owned),
            program: program.to_owned(),
            socket: socket.to_owned(),
            hooks: Arc::default(),
        };
        let mut hooks = None;
        match hosted.ready(&mut hooks) {
            Ok(()) => {}
            // That is somebody's mistake and no damage: said before anything starts.
            Err(error) if !served || standing::is_noexec(&hosted.path()).unwrap_or(false) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the repository that is pushed to cannot be used: what served last serves on, and no push is taken");
                return Ok(hosted);
            }
        }
        if let Some(hooks) = hooks {
            hosted.looks_in.clone_from(&hooks.folder);
            *hosted.lock() = Some(hooks);
        }
        hosted.sweep();
        Ok(hosted)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Hooks>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it, where it is not there, and configures it as it must be, with its hooks.
    fn ready(&self, ready: &mut Option<Hooks>) -> Result<(), GitError> {
        let (root, branch, path) = (&self.root, &self.branch, self.path());
        let fails = |error: git2::Error| GitError::Hooks { path: path.clone(), message: error.message().to_owned() };
        if !path.join("objects").is_dir() {
            // Before anything is made; of one that is there, its folder of hooks says.
            if standing::is_noexec(&path).unwrap_or(false) {
                return Err(GitError::Hooks { path: path.clone(), message: standing::noexec(root) });
            }
            let mut options = RepositoryInitOptions::new();
            options.bare(true).mkdir(true).mkpath(true).external_template(false).initial_head(branch);
            options.mode(RepositoryInitMode::from_bits_retain(0o700));
            Repository::init_opts(&path, &options).map_err(fails)?;
        }
        // Before anything is written that a lock nobody holds would keep out.
        leftovers::take_away(&path);
        self.write_anew(&path)?;
        let repository = crate::git::open(&path)?;
        repository.set_head(&format!("refs/heads/{branch}")).map_err(fails)?;
        self.configure(true)?;
        let arguments = ["--socket".to_owned(), self.socket.to_string_lossy().into_owned()];
        let folder = hooks::install(&path, &self.program, &arguments, true)?.folder;
        let hooks = hooks::hooks(folder, &self.program, &arguments);
        hooks.stand().map_err(|message| GitError::Hooks { path, message })?;
        *ready = Some(hooks);
        Ok(())
    }

    /// What git is told of the repository: all of it, or what it is not told of at all; whether something was written. What somebody set
    /// otherwise while the server runs stays until the next start.
    fn configure(&self, all: bool) -> Result<bool, GitError> {
        let path = self.path();
        let fails = |error: git2::Error| GitError::Hooks { path: path.clone(), message: error.message().to_owned() };
        let mut config = crate::git::open(&path)?.config().map_err(fails)?;
        let mut own = config.open_level(git2::ConfigLevel::Local).map_err(fails)?;
        let most = PUSH_BYTES_MAX.to_string();
        let mut changed = false;
        for (name, value) in [
            ("http.receivepack", "true"),
            ("http.uploadpack", "true"),
            ("receive.advertisePushOptions", "true"),
            ("receive.fsckObjects", "true"),
            ("core.logAllRefUpdates", "true"),
            ("receive.maxInputSize", most.as_str()),
            // Small, since several run at once beside everything else the server does.
            ("core.packedGitWindowSize", "32m"),
            ("core.packedGitLimit", "256m"),
            ("core.bigFileThreshold", "16m"),
            ("pack.windowMemory", "64m"),
            ("pack.threads", "1"),
            ("core.fsync", "reference,committed"),
        ] {
            let is = own.snapshot().ok().and_then(|own| own.get_string(name).ok());
            if is.is_none() || (all && is.as_deref() != Some(value)) {
                config.set_str(name, value).map_err(fails)?;
                own = config.open_level(git2::ConfigLevel::Local).map_err(fails)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Its settings and `HEAD` are the server's own: those that git could not read are put aside and written anew.
    fn write_anew(&self, path: &Path) -> Result<(), GitError> {
        let head = format!("ref: refs/heads/{}\n", self.branch);
        for (name, wrong, text) in [
            ("config", frame::config(path).err(), "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"),
            ("HEAD", frame::head(path).err(), head.as_str()),
        ] {
            let Some(wrong) = wrong else { continue };
            let (file, aside) = (path.join(name), path.join(format!("{name}.damaged")));
            let fails =
                |error: std::io::Error| GitError::Hooks { path: path.to_owned(), message: format!("{wrong}: {error}") };
            if file.symlink_metadata().is_ok() {
                std::fs::rename(&file, &aside).map_err(fails)?;
            }
            std::fs::write(&file, text).map_err(fails)?;
            tracing::warn!(repository = %path.display(), wrong, "it was put aside as {name}.damaged, and written anew");
        }
        Ok(())
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
        self.looks_in.clone()
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
        let fails = |message| GitError::Hooks { path: self.path(), message };
        let mut hooks = self.lock();
        if hooks.is_none() {
            self.ready(&mut hooks)?;
            tracing::info!(repository = %self.path().display(), "the repository can be pushed to again");
        }
        match hooks.as_ref() {
            // git is told of the folder that was known when this server started.
            Some(late) if late.folder != self.looks_in => {
                Err(fails(format!("its hooks are in {}: start the server again", late.folder.display())))
            }
            // A file that the disk emptied tells git of no bound.
            Some(hooks) => {
                self.write_anew(&self.path())?;
                frame::packed(&self.path()).map_err(fails)?;
                let changed = self.configure(false)?;
                let mut written = hooks.stand().map_err(fails)?;
                if changed {
                    written.push("config was changed".to_owned());
                }
                Ok(written)
            }
            None => Err(GitError::Missing { path: self.path() }),
        }
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
            Hosted::open(folder.path(), (branch, None), (program, &socket), false).unwrap()
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
        // Emptied while the server runs, it is put right before a push.
        std::fs::write(second.path().join("config"), "").unwrap();
        assert_eq!(second.stand(), Ok(vec!["config was changed".to_owned()]));
        assert_eq!((read("receive.fsckObjects"), second.stand()), ("true".to_owned(), Ok(Vec::new())));
        assert_eq!(std::fs::read_to_string(second.path().join("HEAD")).unwrap(), "ref: refs/heads/trunk\n");
        assert!(second.path().join("hooks/pre-receive").is_file());
        // Damaged, it is no reason not to start where something served, and is pushed to as soon as it is mended.
        let (config, packed) = (second.path().join("config"), second.path().join("packed-refs"));
        let good = std::fs::read(&config).unwrap();
        std::fs::write(&packed, "[[[").unwrap();
        let open_damaged = |served| {
            let (program, socket) = (Path::new("/bin/formwork"), folder.path().join("hook.sock"));
            Hosted::open(folder.path(), (Some("trunk"), None), (program, &socket), served)
        };
        assert!(open_damaged(false).is_err());
        let damaged = open_damaged(true).unwrap();
        assert!(damaged.stand().is_err());
        std::fs::write(&packed, b"").unwrap();
        assert_eq!((damaged.stand(), damaged.hooks()), (Ok(Vec::new()), second.hooks()));
        // With its hooks elsewhere, git would not find them: it was told where at the start.
        std::fs::write(&packed, "[[[").unwrap();
        let damaged = open_damaged(true).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&packed, b"").unwrap();
        std::fs::write(&config, format!("[core]\n\tbare = true\n\thooksPath = {}\n", elsewhere.display())).unwrap();
        assert!(matches!(damaged.stand(), Err(GitError::Hooks { .. })));
        std::fs::write(&config, &good).unwrap();
        // Its settings and `HEAD` are ours to write: what is garbage is put aside, and written anew.
        for name in ["config", "HEAD"] {
            std::fs::write(second.path().join(name), "[[[\0").unwrap();
            let mended = open_damaged(false).unwrap();
            assert_eq!(mended.stand(), Ok(Vec::new()), "{name}");
            let aside = std::fs::read(second.path().join(format!("{name}.damaged"))).unwrap();
            assert_eq!(aside, b"[[[\0", "{name}");
        }
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
