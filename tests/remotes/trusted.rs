//! Signatures of a repository elsewhere: its history is fetched as far as they need it, and no further.

use crate::https_server::HttpsServer;
use crate::repository::{Repository, git};
use crate::several::SITE;
use crate::site::Site;
use std::path::Path;
use std::process::Command;

/// Somebody with an SSH key.
pub struct Signer<'a> {
    repository: &'a Repository,
    key: String,
}

impl<'a> Signer<'a> {
    pub fn new(repository: &'a Repository, name: &str) -> Self {
        let key = repository.folder.path().join(name);
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key).status();
        assert!(made.expect("ssh-keygen runs").success());
        Self { repository, key: key.to_string_lossy().into_owned() }
    }

    pub fn public(&self) -> String {
        std::fs::read_to_string(format!("{}.pub", self.key)).expect("a key")
    }

    fn git(&self, words: &[&str]) -> String {
        let key = format!("user.signingKey={}", self.key);
        self.repository.git(&[&["-c", "gpg.format=ssh", "-c", &key], words].concat())
    }

    /// A commit of these files, signed.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        self.repository.commit(message, files);
        self.git(&["commit", "-q", "--amend", "--no-edit", "-S"]);
        self.repository.git(&["rev-parse", "HEAD"])
    }
}

fn push(repository: &Repository) {
    repository.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
}

fn serve(server: &HttpsServer, folder: &Path, policy: &Path, words: &[&str]) -> Site {
    let (url, authority) = (server.url("site.git"), server.authority.to_string_lossy().into_owned());
    let all = ["--repository", &url, "--repository-ca", &authority, "--trust", policy.to_str().expect("UTF-8")];
    Site::start(folder, &[&all, words].concat())
}

fn serves(site: &Site, revision: &str) {
    site.until(&format!("{revision} serves"), |status| {
        let content = &status["content"];
        content["condition"] == "Ready" && content["lastAppliedRevision"] == revision
    });
}

fn is_refused(site: &Site, revision: &str, parts: &[&str]) {
    let status = site.until(&format!("{revision} is refused"), |status| {
        let content = &status["content"];
        content["condition"] == "Stalled" && content["lastAttemptedRevision"] == revision
    });
    let said = status["content"].to_string();
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

/// Asks for a look now; the interval is a minute.
fn reconcile(site: &Site) {
    site.type_in(&["reconcile"]);
}

#[test]
fn revisions_of_a_url_are_verified_with_as_much_of_its_history_as_that_needs() {
    let repository = Repository::new();
    let (alice, eve) = (Signer::new(&repository, "alice"), Signer::new(&repository, "eve"));
    for n in 0..30 {
        repository.commit(&format!("before {n}"), &[("n", &n.to_string())]);
    }
    let first = alice.commit("first", &[("lab/site.yaml", SITE)]);
    push(&repository);
    let server = HttpsServer::start(repository.folder.path(), None);
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("trust.yaml");
    std::fs::write(&policy, "allowedSigners: allowed_signers\n").expect("written");
    let line = format!("alice@example.org {}", alice.public());
    std::fs::write(folder.path().join("allowed_signers"), line).expect("written");
    let site = serve(&server, folder.path(), &policy, &["--branch", "main", "--path", "lab"]);
    serves(&site, &first);
    let room = site.state.join("remotes/site.git");
    let commits = || git(&room, &["rev-list", "--count", "refs/formwork/head"]).parse::<usize>().expect("a number");
    assert_eq!(commits(), 1, "the first one needs no history");

    // Several at once, more than one step of deepening brings: all are looked at, and outside the site's folder nobody need sign.
    for n in 0..12 {
        alice.commit(&format!("signed {n}"), &[("lab/n", &n.to_string())]);
        repository.commit(&format!("elsewhere {n}"), &[("n", &format!("again {n}"))]);
    }
    let second = alice.commit("second", &[("lab/n", "last")]);
    push(&repository);
    reconcile(&site);
    serves(&site, &second);
    let whole = repository.git(&["rev-list", "--count", "HEAD"]).parse::<usize>().expect("a number");
    assert!((26..=whole).contains(&commits()), "{} of {whole}", commits());

    // One of many that is not signed is found, and named, though the newest is signed.
    for n in 0..10 {
        alice.commit(&format!("more {n}"), &[("lab/n", &format!("more {n}"))]);
    }
    repository.commit("unsigned", &[("lab/m", "x")]);
    let on_top = alice.commit("on top", &[("lab/n", "x")]);
    push(&repository);
    reconcile(&site);
    is_refused(&site, &on_top, &["lab/m:1:1", "unsigned", "is not signed"]);
    // By somebody else, and a branch that was rewritten.
    repository.git(&["reset", "-q", "--hard", &second]);
    let evil = eve.commit("evil", &[("lab/n", "evil")]);
    push(&repository);
    reconcile(&site);
    is_refused(&site, &evil, &["lab/n:1:1", "no line of the allowed signers"]);
    repository.git(&["reset", "-q", "--hard", &first]);
    let aside = alice.commit("aside", &[("lab/n", "aside")]);
    push(&repository);
    reconcile(&site);
    is_refused(&site, &aside, &["the branch was rewritten"]);

    repository.git(&["reset", "-q", "--hard", &second]);
    let third = alice.commit("third", &[("lab/n", "third")]);
    push(&repository);
    reconcile(&site);
    serves(&site, &third);
}

#[test]
fn an_anchor_in_the_history_of_a_url_is_reached_and_its_signed_tags_are_fetched() {
    let repository = Repository::new();
    let alice = Signer::new(&repository, "alice");
    let anchor = repository.commit("trusted as it is", &[("site.yaml", SITE)]);
    for n in 0..20 {
        alice.commit(&format!("signed {n}"), &[("n", &n.to_string())]);
    }
    let first = repository.git(&["rev-parse", "HEAD"]);
    push(&repository);
    let server = HttpsServer::start(repository.folder.path(), None);
    for (check, words) in [("range", ["--branch", "main"]), ("tag", ["--branch", "main"])] {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = folder.path().join("trust.yaml");
        let text = format!("allowedSigners: allowed_signers\ncheck: {check}\nanchor: {anchor}\n");
        std::fs::write(&policy, text).expect("written");
        let line = format!("alice@example.org {}", alice.public());
        std::fs::write(folder.path().join("allowed_signers"), line).expect("written");
        let site = serve(&server, folder.path(), &policy, &words);
        if check == "range" {
            serves(&site, &first);
            continue;
        }
        is_refused(&site, &first, &["no annotated tag is on commit"]);
        let tagged = repository.commit("tagged", &[("n", "tagged")]);
        alice.git(&["tag", "-s", "-m", "v1", "v1"]);
        repository.git(&["push", "-q", "origin", "HEAD:main", "v1"]);
        reconcile(&site);
        serves(&site, &tagged);
    }
}
