//! A bare repository and somebody who pushes to it, with the real `git`. For tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository, and a work tree to push from.
pub(crate) struct TestRepository {
    folder: tempfile::TempDir,
}

impl TestRepository {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let this = Self { folder };
        git(this.folder.path(), &["init", "-q", "--bare", "-b", "main", "site.git"]);
        git(this.folder.path(), &["init", "-q", "-b", "main", "work"]);
        git(&this.work(), &["remote", "add", "origin", "../site.git"]);
        this
    }

    /// The bare repository.
    pub(crate) fn bare(&self) -> PathBuf {
        self.folder.path().join("site.git")
    }

    /// The work tree.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// A folder beside them.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes files and commits them.
    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.work().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Commits and pushes.
    pub(crate) fn push(&self, message: &str, files: &[(&str, &str)]) -> String {
        let id = self.commit(message, files);
        self.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
        id
    }

    /// The work tree's commit.
    pub(crate) fn head(&self) -> String {
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// Any git command in the work tree.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.work(), arguments)
    }

    /// Any git command in the bare repository.
    pub(crate) fn git_bare(&self, arguments: &[&str]) -> String {
        git(&self.bare(), arguments)
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
