//! What a commit will do, before and when it does it: a real repository, a real server, machines that have begun.

use super::site::{FORMWORK, Site};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\n";
const MACHINES: u32 = 4;

/// A repository with a work tree.
struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        this.git(&["init", "-q", "-b", "main"]);
        let site = "kind: Site\nmetadata: {name: every-kind}\nspec: {}\n";
        let walk = [
            ("BootEnv", "ram", "architectures: {x86_64: {kernel: {file: a/vmlinuz}}}"),
            ("Task", "write", "steps: [{name: s, script: 'true'}]"),
            ("Stage", "install", "bootEnv: ram, tasks: [write], destructive: true"),
            ("Workflow", "walk", "stages: [install]"),
        ];
        let walk = walk
            .map(|(kind, name, spec)| format!("{HEAD}kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"));
        this.write("site.yaml", &format!("{HEAD}{site}"));
        this.write("walk.yaml", &walk.join("---\n"));
        this.machines(1, "");
        this.commit("The site");
        this
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn machines(&self, run: u64, more: &str) {
        for number in 1..=MACHINES {
            let text = format!(
                "{HEAD}kind: Machine\nmetadata: {{name: node-{number}}}\nspec:\n  match: {{macs: ['{}']}}\n  workflow: walk\n  \
                 run: {run}\n{more}",
                mac(number)
            );
            self.write(&format!("machines/node-{number}.yaml"), &text);
        }
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"])
            .args(words)
            .current_dir(self.folder.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git starts");
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn mac(number: u32) -> String {
    format!("52:54:00:00:00:{number:02x}")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn offline(words: &[&str], repository: &Path) -> Output {
    Command::new(FORMWORK).args(words).arg(repository).output().expect("formwork starts")
}

#[test]
fn a_commit_that_wipes_all_machines_is_shown_refused_and_let_through_by_a_word() {
    let repository = Repository::new();
    let site = Site::serving("--repository", &repository.path());
    for number in 1..=MACHINES {
        let script = site.firmware_asks(&mac(number));
        assert!(script.contains("#!ipxe") && script.contains("ram"), "{script}");
    }
    let nothing = site.type_in(&["diff"]);
    assert_eq!((nothing.status.code(), said(&nothing)), (Some(0), "nothing changes\n".to_owned()));

    repository.machines(2, "");
    let raised = repository.commit("All anew");
    let status = site.wait_for("\"condition\": \"Stalled\"");
    assert!(
        status.contains("it would wipe 4 of 4 machines") && status.contains("Formwork-Allow-Wipe: all"),
        "{status}"
    );
    let shown = site.type_in(&["diff"]);
    let text = said(&shown);
    assert_eq!(shown.status.code(), Some(1), "{text}");
    for part in [
        "Objects: 4 changed",
        "~ Machine node-1  machines/node-1.yaml:1",
        "spec.run: 1 -> 2",
        "Machines: 4 are wiped and installed anew",
        "node-1, node-2, node-3 and node-4 are wiped and installed anew",
        "run 2 of walk: spec.run was raised from 1 to 2; 1 boot; run 1, still open, ends",
        "stage install changes disks that are blank or carry its own marker, no other",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    // By its name, and as JSON, the same.
    let named = site.type_in(&["diff", &format!("{raised}~1..main"), "-o", "json"]);
    let named: serde_json::Value = serde_json::from_slice(&named.stdout).expect("JSON");
    assert_eq!((&named["live"], &named["counts"]["reinstalled"]), (&true.into(), &4.into()), "{named}");

    // What machines did is not known offline: they have done what the old revision says.
    let last = offline(&["diff", "--repository"], &repository.path());
    assert_eq!(last.status.code(), Some(1), "{}", said(&last));
    assert!(said(&last).contains("4 are wiped and installed anew"), "{}", said(&last));
    let same = offline(&["diff", "main..main", "--repository"], &repository.path());
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    repository.machines(2, "  protect: true\n");
    let files = offline(&["diff", "HEAD~1", "--dir"], &repository.path());
    let text = said(&files);
    assert_eq!(files.status.code(), Some(1), "{text}");
    assert!(text.contains("4 wait") && text.contains("stage install changes no disk"), "{text}");
    repository.machines(2, "");

    repository.git(&["commit", "-q", "--amend", "-m", "All anew\n\nFormwork-Allow-Wipe: node-1, node-2, node-3"]);
    let amended = repository.git(&["rev-parse", "HEAD"]);
    site.wait_for(&format!("\"lastAppliedRevision\": \"{amended}\""));
    assert_eq!(site.type_in(&["diff"]).status.code(), Some(0));
    let machine = said(&site.type_in(&["describe", "machine", "node-1", "-o", "json"]));
    assert!(machine.contains("\"run\": 2"), "{machine}");

    let head = repository.git(&["rev-parse", "--short=10", "HEAD"]);
    for (field, line) in [("run", "spec.run"), ("workflow", "spec.workflow")] {
        let traced = said(&site.type_in(&["trace", "node-1", field, "-o", "table"]));
        let by_head = traced.contains(&head);
        assert!(traced.contains(line) && traced.contains("Ada"), "{traced}");
        assert_eq!(by_head, field == "run", "only the run is of the last commit: {traced}");
        let alone = offline(&["trace", "node-1", field, "-o", "table", "--repository"], &repository.path());
        assert_eq!(said(&alone), traced, "{field}");
    }
    let whole = said(&site.type_in(&["trace", "node-1", "-o", "table"]));
    assert!(whole.contains("stage install") && whole.contains("The site") && whole.contains("All anew"), "{whole}");
    let tree = said(&site.type_in(&["tree", "-o", "table"]));
    assert!(tree.contains("stage install in ram, changes disks") && tree.contains("node-4"), "{tree}");
}

/// What is committed may be broken: nobody takes the answer for one about what serves.
#[test]
fn a_commit_that_would_be_refused_is_told_of_and_compared_past() {
    let repository = Repository::new();
    let good = repository.git(&["rev-parse", "HEAD"]);
    repository.write("machines/node-1.yaml", "kind: Sight\n");
    let broken = repository.commit("Broken");
    repository.machines(2, "");
    let diff = || {
        let output = offline(&["diff", "--dir"], &repository.path());
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), said(&output.stdout), said(&output.stderr))
    };
    let (code, shown, said) = diff();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with(&format!("warning: HEAD ({broken}) would be refused: ")), "{said}");
    assert!(said.contains("machines/node-1.yaml:1:1: error: "), "{said}");
    assert!(said.ends_with(&format!("note: compared with {good}, the newest before it that would not be\n")), "{said}");
    assert!(shown.contains("4 are wiped and installed anew"), "{shown}");

    // The last commit of a repository is compared with the one before it, in the same way.
    repository.commit("All anew");
    let output = offline(&["diff", "--repository"], &repository.path());
    let text = self::said(&output);
    assert!(text.contains(&format!("warning: HEAD^ ({broken}) would be refused")), "{text}");
    assert!(text.contains("4 are wiped and installed anew") && text.contains(&good), "{text}");

    // Where no commit is good, and where there is none, all is new.
    repository.git(&["checkout", "-q", "--orphan", "other"]);
    let (_, shown, said) = diff();
    assert_eq!(said, "note: nothing is committed yet: everything shows as new\n");
    assert!(shown.contains("+ Machine node-1"), "{shown}");
    repository.write("machines/node-1.yaml", "kind: Sight\n");
    repository.commit("Broken from the beginning");
    repository.machines(2, "");
    let (_, shown, said) = diff();
    assert!(said.contains("compared with nothing") && said.contains("node-1.yaml:1:1: error: "), "{said}");
    assert!(shown.contains("+ Machine node-1"), "{shown}");
}
