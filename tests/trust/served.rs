//! The whole way: a push, a policy, a server.

use super::repository::{By, Repository, run};
use super::site::{FORMWORK, Site};
use std::process::Command;

const SITE: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nspec: {}\n";

#[test]
fn what_is_not_signed_is_refused_and_named_and_the_last_good_one_goes_on_serving() {
    let repository = Repository::new();
    let (alice, _) = (repository.ssh_key("alice"), repository.ssh_key("eve"));
    repository.write("allowed_signers", &format!("alice@example.org {alice}"));
    repository.write("trust.yaml", "allowedSigners: allowed_signers\n");
    let good = repository.commit(By::Ssh("alice"), "good", &[("site.yaml", SITE)]);
    repository.push();
    let policy = repository.root().join("trust.yaml");
    let options = ["--trust", policy.to_str().unwrap()];
    let site = Site::start(&repository, &options);
    site.until_served(&good);
    let events = site.say(&["events", "-o", "json"]);
    assert!(events.contains("\"signedBy\"") && events.contains("alice@example.org (SHA256:"), "{events}");

    // By somebody else, with content that would not even load: the signature is asked for first.
    let evil = repository.commit(By::Ssh("eve"), "evil", &[("site.yaml", "not: content\n")]);
    repository.push();
    let status = site.until(&["\"condition\": \"Stalled\"", &evil, "no line of the allowed signers"]);
    assert!(
        status.contains(&good) && status.contains("site.yaml:1:1") && !status.contains("not a Formwork"),
        "{status}"
    );

    // Nor is it read for whoever allows it more than the guards.
    let allowed = site.type_in(&["reconcile", "--allow-wipe", "m1"]);
    let said = String::from_utf8_lossy(&allowed.stderr);
    assert!(
        !allowed.status.success() && said.contains("no line of the allowed signers") && !said.contains("no machine"),
        "{said}"
    );

    // Undone by alice on top: eve's commit is still in what leads to it.
    repository.commit(By::Ssh("alice"), "on top", &[("site.yaml", SITE)]);
    repository.push();
    let on_top = repository.head();
    site.until(&["\"condition\": \"Stalled\"", &on_top, "“evil”"]);
    // Without it, all is well; and the branch did not leave what is trusted.
    repository.git(&["reset", "-q", "--hard", &good]);
    let next = repository.commit(By::Ssh("alice"), "next", &[("README.md", "x")]);
    repository.push();
    site.until_served(&next);

    // A server that starts again remembers what it trusts: going back to an older signed commit is no way around.
    drop(site);
    let site = Site::start(&repository, &options);
    site.until_served(&next);
    repository.git(&["reset", "-q", "--hard", &good]);
    repository.push();
    site.until(&["\"condition\": \"Stalled\"", "the branch was rewritten"]);

    // Also without its mirror, which says what it trusted last: the journal says so too.
    drop(site);
    std::fs::remove_dir_all(repository.root().join("state/mirror.git")).unwrap();
    let site = Site::start(&repository, &options);
    let status = site.until(&["\"condition\": \"Stalled\"", "the branch was rewritten"]);
    assert!(status.contains(&format!("\"lastAppliedRevision\": \"{next}\"")), "{status}");
    repository.git(&["push", "-q", "-f", "origin", &format!("{next}:main")]);
    site.until_served(&next);
}

#[test]
fn what_nobody_signed_is_not_gone_back_to_once_signatures_are_asked_for() {
    let repository = Repository::new();
    let alice = repository.ssh_key("alice");
    repository.write("allowed_signers", &format!("alice@example.org {alice}"));
    repository.write("trust.yaml", "allowedSigners: allowed_signers\n");
    let unsigned = repository.commit(By::Nobody, "unsigned", &[("site.yaml", SITE)]);
    repository.push();
    let site = Site::start(&repository, &[]);
    site.until_served(&unsigned);
    drop(site);
    let policy = repository.root().join("trust.yaml");
    let site = Site::start(&repository, &["--trust", policy.to_str().unwrap()]);
    let first = repository.commit(By::Ssh("alice"), "first", &[("README.md", "1")]);
    repository.push();
    site.until_served(&first);
    let second = repository.commit(By::Ssh("alice"), "second", &[("README.md", "2")]);
    repository.push();
    site.until_served(&second);
    let output = site.type_in(&["rollback", &unsigned, "--reason", "a test"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nobody is known to have signed it"), "{said}");
    site.until_served(&second);
    // What somebody signed is.
    site.say(&["rollback", &first, "--reason", "a test"]);
    site.until(&[&format!("\"lastAppliedRevision\": \"{first}\"")]);
}

#[test]
fn a_server_with_a_policy_that_is_not_sound_does_not_start() {
    let repository = Repository::new();
    repository.commit(By::Nobody, "x", &[("site.yaml", SITE)]);
    repository.push();
    repository.write("trust.yaml", "allowedSigners: nowhere\ncheck: tip\n");
    run(Command::new(FORMWORK)
        .args(["site", "create", "lab", "--fresh", "--state-dir"])
        .arg(repository.root().join("state")));
    let output = Command::new(FORMWORK)
        .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--repository"])
        .arg(repository.bare())
        .arg("--state-dir")
        .arg(repository.root().join("state"))
        .arg("--trust")
        .arg(repository.root().join("trust.yaml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("trust.yaml:1:17: error: `nowhere`"), "{said}");
}

#[test]
fn who_may_sign_changes_without_a_restart_and_what_is_not_sound_changes_nothing() {
    let repository = Repository::new();
    let (alice, bob) = (repository.ssh_key("alice"), repository.ssh_key("bob"));
    let (alice, bob) = (format!("alice@example.org {}\n", alice.trim()), format!("bob@example.org {}\n", bob.trim()));
    repository.write("allowed_signers", &alice);
    repository.write("trust.yaml", "allowedSigners: allowed_signers\n");
    let first = repository.commit(By::Ssh("alice"), "first", &[("site.yaml", SITE)]);
    repository.push();
    let policy = repository.root().join("trust.yaml");
    let site = Site::start(&repository, &["--trust", policy.to_str().unwrap()]);
    site.until_served(&first);
    let second = repository.commit(By::Ssh("bob"), "second", &[("README.md", "2")]);
    repository.push();
    site.until(&["\"condition\": \"Stalled\"", &second, "no line of the allowed signers"]);

    // Bob may sign: his line is there in half first, and what was refused is judged again once it is whole.
    let half = bob.len() / 2;
    repository.write("allowed_signers", &format!("{alice}{}", &bob[..half]));
    let status = site.until(&["is not taken in, what was read before stays in force", "\"takesEffect\": \"mended\""]);
    assert!(
        status.contains("allowed_signers was changed") && status.contains("\"condition\": \"Stalled\""),
        "{status}"
    );
    repository.write("allowed_signers", &format!("{alice}{bob}"));
    site.until_served(&second);
    assert!(site.until(&["\"changedFiles\": []"]).contains(&second));

    // A policy that names nobody, one that is broken and one that is gone: Bob and Alice sign as before, and nobody else.
    let mut last = second;
    for (number, broken) in [Some("allowedSigners: nobody\n"), Some("check: perhaps\n"), None].into_iter().enumerate() {
        repository.write("nobody", "# nobody\n");
        match broken {
            Some(text) => repository.write("trust.yaml", text),
            None => std::fs::remove_file(&policy).unwrap(),
        }
        site.until(&["trust.yaml", "\"takesEffect\": \"mended\""]);
        repository.commit(By::Nobody, "unsigned", &[("site.yaml", "not: content\n")]);
        repository.push();
        site.until(&["\"condition\": \"Stalled\"", "is not signed"]);
        repository.git(&["reset", "-q", "--hard", &last]);
        last = repository.commit(By::Ssh("bob"), "on", &[("README.md", &format!("on {number}"))]);
        repository.push();
        site.until_served(&last);
    }
    repository.write("trust.yaml", "allowedSigners: allowed_signers\n");
    site.until(&["\"changedFiles\": []"]);
    // Bob may not any more.
    repository.write("allowed_signers", &alice);
    let late = repository.commit(By::Ssh("bob"), "late", &[("README.md", "late")]);
    site.until_logged("a file was read again, and what it says is in force", 2);
    repository.push();
    site.until(&["\"condition\": \"Stalled\"", &late, "no line of the allowed signers"]);
}
