//! Machines that have walked, and a commit that would wipe them.

use super::answers::steady;
use super::site::{NODE_1, Person, SITE, Site};

const RULE: &str = r#"apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: simulated}
spec:
  match: {macPrefixes: ["02:46:57"]}
  name: "simulated-{{ mac | replace(':', '') }}"
  workflow: install
  mayWipe: true
"#;

/// A machine that was simulated, under a name of its own.
fn declared(number: usize, run: usize) -> String {
    NODE_1
        .replace("node-1", &format!("rack-{number}"))
        .replace("52:54:00:00:02:01", &format!("02:46:57:00:00:0{number}"))
        .replace("  workflow: install", &format!("  workflow: install\n  run: {run}"))
}

fn declare(person: &Person<'_>, message: &str, run: usize) -> String {
    let files: Vec<(String, String)> = (1..=3).map(|n| (format!("machines/rack-{n}.yaml"), declared(n, run))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    person.commit(message, &files)
}

/// A site that lets one machine be wiped by a commit.
fn site_guarded() -> String {
    format!("{}spec: {{wipeGuard: {{share: 10, atLeast: 1}}}}\n", SITE[0].1)
}

/// Who pushed a site that lets one machine be wiped by a commit, and takes simulated ones in; it serves.
fn guarded(site: &Site) -> Person<'_> {
    let ada = site.person();
    ada.commit("The first machines", SITE);
    let first =
        ada.commit("Take simulated machines in", &[("site.yaml", &site_guarded()), ("machines/rule.yaml", RULE)]);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&first);
    ada
}

#[test]
fn a_push_that_would_wipe_machines_is_refused_until_they_are_named() {
    let site = Site::hosted();
    let ada = guarded(&site);
    // Three machines walk the workflow to its end.
    let http = site.http_port().to_string();
    let words = ["simulate", "--server", "127.0.0.1", "--http-port", &http, "--machines", "3", "--script-only"];
    let quick = ["--boot-seconds", "0..0", "--task-seconds", "0..0", "--limit-seconds", "300"];
    let walked = site.type_in(&[words.as_slice(), &quick].concat());
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
    // They get names in Git, and nothing begins.
    let second = declare(&ada, "The machines of the rack by name", 1);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&second);

    let third = declare(&ada, "Install the rack anew", 2);
    let said = ada.push(&["origin", "main"]).refused(&["pre-receive hook declined"]);
    let commits = [(second.as_str(), "BEFORE"), (third.as_str(), "PUSHED")];
    insta::assert_snapshot!("would_wipe", steady(&said.remote(), &commits));
    ada.push(&["-o", "allow-wipe=rack-1", "origin", "main"]).refused(&["it would wipe 2 of 3 machines"]);
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read", "--push", "main"]));
    bob.git(&["fetch", "-q", &ada.folder.path().display().to_string(), "main"]).taken();
    let word = "allow-wipe=all";
    bob.push(&["-o", word, "origin", "FETCH_HEAD:refs/heads/main"]).refused(&["you may not say -o allow-wipe"]);
    // Nor by the message of a commit, which anybody can write.
    let clone = bob.folder.path().display().to_string();
    bob.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    bob.git(&["commit", "-q", "--amend", "-m", "Anew\n\nFormwork-Allow-Wipe: all"]).taken();
    let line = "you may not push a commit whose message has the line `Formwork-Allow-Wipe: …`";
    bob.push(&["origin", "HEAD:main"]).refused(&["it would wipe 3 of 3 machines", line]);
    assert_eq!(site.applied(), Some(second.clone()));
    // Nor by lifting the bound first.
    bob.git(&["reset", "-q", "--hard", &second]).taken();
    bob.commit("Lift the bound", &[("site.yaml", &site_guarded().replace("10", "100"))]);
    bob.push(&["origin", "HEAD:main"]).refused(&["site.yaml:4:8: it loosens spec.wipeGuard", "-o allow-wipe=all"]);
    bob.git(&["commit", "-q", "--amend", "-m", "Lift it\n\nFormwork-Allow-Wipe: all"]).taken();
    bob.push(&["origin", "HEAD:main"]).refused(&["it loosens spec.wipeGuard", line]);
    ada.git(&["fetch", "-q", &clone, "HEAD"]).taken();
    let lift = ["-o", "dry-run", "-o", "allow-wipe=all", "origin", "FETCH_HEAD:refs/heads/main"];
    ada.push(&lift).refused(&["this push would be accepted"]);
    bob.git(&["fetch", "-q", &ada.folder.path().display().to_string(), "main"]).taken();
    bob.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    bob.git(&["commit", "-q", "--amend", "-m", "Anew\n\nFormwork-Allow-Wipe: all"]).taken();
    ada.git(&["fetch", "-q", &clone, "HEAD"]).taken();
    // A slip of the pen is told.
    let slip = ["-o", "allow-wipe=rack-1,rack-2,rack-3,rack-33", "origin", "main"];
    ada.push(&slip).refused(&["there is no machine `rack-33`", "did you mean `rack-3`?"]);
    // The same commit by somebody who may.
    ada.git(&["fetch", "-q", &clone, "HEAD"]).taken();
    ada.push(&["-o", "dry-run", "origin", "FETCH_HEAD:refs/heads/main"]).refused(&["this push would be accepted"]);

    let said = ada.push(&["-o", "allow-wipe=rack-1,rack-2,rack-3", "origin", "main"]).taken();
    insta::assert_snapshot!("may_wipe", steady(&said.remote(), &commits));
    site.until_applied(&third);
    let history = site.type_in(&["history", "-o", "json"]);
    let rows: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
    let pushed: Vec<_> = rows["items"].as_array().unwrap().iter().filter(|row| row["outcome"] == "pushed").collect();
    let last = pushed.last().expect("who pushed is written down");
    assert_eq!((last["by"].as_str(), last["revision"].as_str()), (Some("administrator"), Some(third.as_str())));
    // What was allowed was allowed to that revision.
    declare(&ada, "And again", 3);
    ada.push(&["origin", "main"]).refused(&["it would wipe"]);
}

/// What a commit does when it is applied may be more than it did when it was pushed: what its message allows is asked about at once.
#[test]
fn a_line_in_a_message_counts_for_who_may_say_it_also_where_it_was_not_needed_when_it_was_pushed() {
    let site = Site::hosted();
    let ada = guarded(&site);
    let first = site.applied().expect("it serves");
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read", "--push", "main"]));
    bob.git(&["fetch", "-q", "origin", "main"]).taken();
    bob.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    let suspended = site.type_in(&["suspend", "--reason", "the switch is replaced"]);
    assert!(suspended.status.success(), "{}", String::from_utf8_lossy(&suspended.stderr));

    // No machine has walked: nothing would be wiped now.
    let third = declare(&bob, "Names\n\nFormwork-Allow-Wipe: all", 2);
    let line = "you may not push a commit whose message has the line `Formwork-Allow-Wipe: …`";
    let said = bob.push(&["origin", "main"]).refused(&[line, "--may wipe", "git commit --amend"]);
    assert!(!said.remote().contains("it would wipe"), "{}", said.remote());
    // Past the hook, so that nobody is known to have pushed it.
    let (repository, clone) = (site.repository(), bob.folder.path().display().to_string());
    let bare = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("--git-dir").arg(&repository).args(words);
        assert!(command.status().expect("git").success(), "{words:?}");
    };
    bare(&["fetch", "-q", &clone, "main:refs/heads/main"]);
    let http = site.http_port().to_string();
    let words = ["simulate", "--server", "127.0.0.1", "--http-port", &http, "--machines", "3", "--script-only"];
    let quick = ["--boot-seconds", "0..0", "--task-seconds", "0..0", "--limit-seconds", "300"];
    let walked = site.type_in(&[words.as_slice(), &quick].concat());
    assert!(walked.status.success(), "{}", String::from_utf8_lossy(&walked.stderr));
    let resumed = site.type_in(&["resume"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    super::site::until("it is refused", || {
        let status = site.type_in(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["content"]["reason"] == "Refused" && status["content"]["lastAttemptedRevision"] == third.as_str()
    });
    assert_eq!(site.applied(), Some(first));

    // The same by somebody who may, and said with the push.
    ada.git(&["fetch", "-q", &clone, "main"]).taken();
    ada.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    let fourth = declare(&ada, "Names, and anew\n\nFormwork-Allow-Wipe: rack-1, rack-2, rack-3", 3);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&fourth);
    let history = site.type_in(&["history", "-o", "json"]);
    assert!(String::from_utf8_lossy(&history.stdout).contains("allow-wipe=rack-1,rack-2,rack-3"));
}
