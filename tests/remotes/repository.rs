//! A repository that is elsewhere, somebody who pushes to it, and a follower of it.

use formwork::git::remote::{Follow, Location, SourceEvent, SourceSettings, SourceStatus, Sources};
use formwork::git::{Ears, Follower, GitError, Sight, Source};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take before it counts as not happening: the machine may be loaded.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A bare repository and a work tree to push from.
pub struct Repository {
    pub folder: tempfile::TempDir,
}

impl Repository {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "site.git"]);
        git(folder.path(), &["init", "-q", "-b", "main", "work"]);
        git(&folder.path().join("work"), &["remote", "add", "origin", "../site.git"]);
        Self { folder }
    }

    pub fn bare(&self) -> PathBuf {
        self.folder.path().join("site.git")
    }

    /// Any git command in the work tree.
    pub fn git(&self, words: &[&str]) -> String {
        git(&self.folder.path().join("work"), words)
    }

    /// Writes files and commits them.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.folder.path().join("work").join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits and pushes.
    pub fn push(&self, message: &str, files: &[(&str, &str)]) -> String {
        let id = self.commit(message, files);
        self.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
        id
    }
}

/// Runs git.
pub fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always"])
        .args(words)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Settings with a short interval.
pub fn source(name: &str, url: &str) -> SourceSettings {
    let location = Location::parse(url).expect("a URL");
    let mut settings = SourceSettings::new(name, location, Follow::Branch("main".to_owned()));
    settings.interval = Duration::from_millis(200);
    settings.timeout = Duration::from_secs(60);
    settings
}

/// Who follows, with all that was heard of its sources.
pub struct Following {
    pub follower: Follower,
    pub state: PathBuf,
    news: Arc<Mutex<Vec<SourceEvent>>>,
}

impl Following {
    pub fn start(sources: Vec<SourceSettings>, state: &Path) -> Self {
        Self::start_judged(sources, state, Ears::default())
    }

    pub fn start_judged(sources: Vec<SourceSettings>, state: &Path, ears: Ears) -> Self {
        std::fs::create_dir_all(state).expect("a folder");
        let news: Arc<Mutex<Vec<SourceEvent>>> = Arc::default();
        let heard = Arc::clone(&news);
        let ears = Ears { news: Arc::new(move |event| heard.lock().expect("a lock").push(event)), ..ears };
        let follower = Follower::start_with(Source::Sources(Sources(sources)), &state.join("mirror.git"), ears)
            .expect("a follower");
        Self { follower, state: state.to_owned(), news }
    }

    pub fn news(&self) -> Vec<SourceEvent> {
        self.news.lock().expect("a lock").clone()
    }

    pub fn status(&self, name: &str) -> SourceStatus {
        self.follower.sources().into_iter().find(|source| source.name == name).expect("a source")
    }

    /// Waits until what is seen is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Sight) -> bool) -> Sight {
        let mut sight = self.follower.sight();
        let found = tokio::time::timeout(PATIENCE, sight.wait_for(|sight| wanted(sight))).await;
        match found {
            Ok(Ok(sight)) => sight.clone(),
            other => {
                drop(other);
                panic!("{what}: {:?} {:?}", *self.follower.sight().borrow(), self.follower.sources())
            }
        }
    }

    pub async fn until_head(&self, id: &str) {
        self.until(id, |sight| matches!(sight, Sight::Head(revision) if revision.id == id)).await;
    }

    /// Waits until a look fails, and gives what is said.
    pub async fn until_failure(&self) -> String {
        let failed =
            |sight: &Sight| matches!(sight, Sight::Unavailable(GitError::Fetch { .. } | GitError::Rewritten { .. }));
        match self.until("a failure", failed).await {
            Sight::Unavailable(error) => error.to_string(),
            _ => unreachable!("just waited for"),
        }
    }

    pub async fn text(&self, revision: &str, path: &str) -> String {
        let tree = self.follower.tree(revision).await.expect("a tree");
        let file = tree.files.get(path).unwrap_or_else(|| panic!("{path} in {:?}", tree.files.keys()));
        String::from_utf8_lossy(&file.bytes).into_owned()
    }
}

/// Waits until something is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !so() {
        assert!(std::time::Instant::now() < end, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A file that only its owner can read.
pub fn closed_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
    path
}
