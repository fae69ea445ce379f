//! A site and a pack in repositories of their own, by the real `git`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use super::bed::FORMWORK;

/// A folder with `site/`, a repository `pack/`, and a cache of its own.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A site with comments, and a pack with version 1.0.0.
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().expect("a folder") };
        world.write("site/site.yaml", SITE);
        world.write("pack/pack.yaml", &pack_yaml("1.0.0"));
        world.write("pack/all.yaml", &task("one"));
        world.write("pack/.hidden", "no part of it\n");
        world.write("pack/scripts/run.sh", "#!/bin/sh\necho one\n");
        world.write("pack/tests/run.yaml", PACK_TEST);
        world.git("pack", &["init", "--quiet", "--initial-branch", "main"]);
        world.commit("1.0.0");
        world.git("pack", &["tag", "v1.0.0"]);
        world
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The pack's address.
    pub fn url(&self) -> String {
        format!("file://{}", self.path("pack").display())
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn is_there(&self, path: &str) -> bool {
        std::fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// Real git, with no configuration but its own.
    pub fn git(&self, folder: &str, words: &[&str]) -> String {
        let output = self.isolated("git").current_dir(self.path(folder)).args(words).output().expect("git starts");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits all of the pack; the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git("pack", &["add", "--all"]);
        self.git("pack", &["commit", "--quiet", "--message", message]);
        self.git("pack", &["rev-parse", "HEAD"])
    }

    /// A version more: the pack's files change, and a tag says so.
    pub fn release(&self, version: &str) -> String {
        self.write("pack/pack.yaml", &pack_yaml(version));
        let id = self.commit(version);
        // With a message: an object of its own.
        self.git("pack", &["tag", "--annotate", "--message", version, &format!("v{version}")]);
        id
    }

    fn isolated(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.path("home"))
            .env_remove("XDG_CACHE_HOME")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "A")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "A")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .env("FORMWORK_CACHE_DIR", self.path("cache"));
        command
    }

    /// Types a command in the site's folder.
    pub fn type_in(&self, words: &[&str]) -> Output {
        self.isolated(FORMWORK).current_dir(self.path("site")).args(words).output().expect("formwork starts")
    }

    /// Types a command that must end with this code; all that it said.
    pub fn ends(&self, code: i32, words: &[&str]) -> String {
        let output = self.type_in(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "formwork {words:?}: {said}");
        said
    }

    /// What `formwork validate` finds: codes and files.
    pub fn findings(&self) -> Vec<(String, String)> {
        let output = self.type_in(&["validate", "-o", "json"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = answer["findings"].as_array().expect("findings");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        findings.iter().map(|finding| (text(&finding["code"]), text(&finding["file"]))).collect()
    }
}

pub const SITE: &str = "\
# The lab.
apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: lab}
spec:
  packs:
    - builtin: discovery   # RAM environments
    # what we write ourselves comes last
  global: []
";

fn pack_yaml(version: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Pack\nmetadata: {{name: pack}}\nspec: {{version: \"{version}\"}}\n"
    )
}

fn task(name: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec:\n  steps:\n    - {{name: run, scriptFile: scripts/run.sh}}\n"
    )
}

const PACK_TEST: &str = "\
apiVersion: formwork.dev/v1alpha1
kind: PackTest
metadata: {name: it-runs}
spec:
  task: one
  expect:
    jobs:
      one:
        scripts:
          run: |
            #!/bin/sh
            echo one
";

/// What `sha256sum` says of a folder, as the documentation has it.
pub fn hash_by_hand(folder: &Path) -> String {
    const LINE: &str = "find . -type f -not -path '*/.*' -not -path '*~' -not -path '*~/*' -printf '%P\\n' \
        | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum | cut -d' ' -f1";
    let output = Command::new("sh").args(["-c", LINE]).current_dir(folder).output().expect("sh starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("sha256:{}", String::from_utf8_lossy(&output.stdout).trim())
}
