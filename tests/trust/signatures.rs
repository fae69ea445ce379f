//! Commits and tags signed by people as they do it, judged by the same function that the server asks.

use super::repository::{By, Repository};

const RULES: &str = "rules:
  - {name: production, paths: ['machines/prod/**'], signers: ['alice@*']}
";

fn people(repository: &Repository) -> String {
    let (alice, bob, _) = (repository.ssh_key("alice"), repository.ssh_key("bob"), repository.ssh_key("eve"));
    let lines = format!("alice@example.org namespaces=\"git\" {alice}bob@example.org {bob}");
    repository.write("allowed_signers", &lines);
    format!("allowedSigners: allowed_signers\n{RULES}")
}

#[track_caller]
fn refused(answer: Result<Vec<String>, String>, parts: &[&str]) {
    let said = answer.expect_err("refused");
    for part in parts {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn commits_signed_by_ssh_are_trusted_for_the_paths_of_their_signers() {
    let repository = Repository::new();
    let verifier = repository.verifier(&people(&repository));
    let first = repository.commit(By::Ssh("alice"), "first", &[("site.yaml", "1"), ("machines/prod/a.yaml", "1")]);
    assert_eq!(repository.verify(&verifier, None), Ok(vec!["alice@example.org".to_owned()]));
    repository.commit(By::Ssh("bob"), "dev", &[("machines/dev/a.yaml", "1")]);
    repository.commit(By::Ssh("alice"), "prod", &[("machines/prod/a.yaml", "2")]);
    let both = ["alice@example.org", "bob@example.org"].map(str::to_owned).to_vec();
    assert_eq!(repository.verify(&verifier, Some(&first)), Ok(both));

    let good = repository.head();
    repository.commit(By::Ssh("bob"), "not his", &[("machines/prod/a.yaml", "3")]);
    let id = repository.head();
    refused(
        repository.verify(&verifier, Some(&good)),
        &[
            "machines/prod/a.yaml:1:1: error: commit ",
            &id[..12],
            "“not his”",
            "bob@example.org (SHA256:",
            "rule `production`",
        ],
    );
    // What comes on top does not help: the commit below is still in the range.
    repository.commit(By::Ssh("alice"), "on top", &[("site.yaml", "2")]);
    refused(repository.verify(&verifier, Some(&good)), &["“not his”"]);
    assert!(repository.verify(&verifier, Some(&id)).is_ok(), "though from that one on all is well");

    for (by, parts) in [
        (By::Nobody, ["is not signed", "git commit --amend -S"]),
        (By::Ssh("eve"), ["SHA256:", "no line of the allowed signers"]),
    ] {
        repository.git(&["reset", "-q", "--hard", &good]);
        repository.commit(by, "x", &[("site.yaml", "9")]);
        refused(repository.verify(&verifier, Some(&good)), &parts);
        // An empty commit too, since its message speaks to the server.
        repository.git(&["reset", "-q", "--hard", &good]);
        repository.commit(by, "Formwork-Empty: yes", &[]);
        refused(repository.verify(&verifier, Some(&good)), &parts);
    }
}

#[test]
fn a_commit_changed_after_it_was_signed_is_refused() {
    let repository = Repository::new();
    let verifier = repository.verifier(&people(&repository));
    let first = repository.commit(By::Ssh("alice"), "first", &[("site.yaml", "1")]);
    repository.commit(By::Ssh("alice"), "harmless", &[("site.yaml", "2")]);
    let text = repository.git(&["cat-file", "commit", "HEAD"]);
    repository.write("forged", &format!("{}\n", text.replace("harmless", "harmful!")));
    let forged = repository.git(&["hash-object", "-t", "commit", "-w", "../forged"]);
    repository.git(&["reset", "-q", "--hard", &forged]);
    refused(repository.verify(&verifier, Some(&first)), &["“harmful!”", "what was signed was changed"]);
}

#[test]
fn a_merge_answers_for_what_no_side_had_and_cannot_take_back_quietly() {
    let repository = Repository::new();
    let verifier = repository.verifier(&people(&repository));
    let old = repository.commit(By::Ssh("alice"), "old", &[("machines/prod/a.yaml", "old"), ("x", "1")]);
    let base = repository.commit(By::Ssh("alice"), "base", &[("machines/prod/a.yaml", "fixed")]);
    // Alice's branch changes production; Bob merges it as it is.
    repository.git(&["checkout", "-q", "-b", "feature"]);
    repository.commit(By::Ssh("alice"), "feature", &[("machines/prod/a.yaml", "better")]);
    repository.git(&["checkout", "-q", "main"]);
    repository.commit(By::Ssh("bob"), "dev", &[("machines/dev/a.yaml", "1")]);
    let before_merge = repository.head();
    repository.git_by(By::Ssh("bob"), &["merge", "-q", "--no-ff", "-m", "merge", "feature"]);
    assert!(repository.verify(&verifier, Some(&base)).is_ok());
    // A merge in which Bob writes production by himself.
    repository.git(&["reset", "-q", "--hard", &before_merge]);
    repository.git_by(By::Ssh("bob"), &["merge", "-q", "--no-ff", "--no-commit", "feature"]);
    repository.commit(By::Ssh("bob"), "evil merge", &[("machines/prod/a.yaml", "evil")]);
    refused(repository.verify(&verifier, Some(&base)), &["evil merge", "machines/prod/a.yaml"]);
    // A merge with an old commit that takes production back to what it was: nobody changed a file, and yet.
    repository.git(&["reset", "-q", "--hard", &before_merge]);
    let tree = repository.git(&["rev-parse", &format!("{old}^{{tree}}")]);
    let back = repository
        .git_by(By::Ssh("bob"), &["commit-tree", "-S", "-p", &before_merge, "-p", &old, "-m", "take back", &tree]);
    repository.git(&["reset", "-q", "--hard", &back]);
    refused(repository.verify(&verifier, Some(&base)), &["take back", "machines/prod/a.yaml"]);
    // The same through a commit of his own on the old one.
    repository.git(&["checkout", "-q", &old]);
    repository.commit(By::Ssh("bob"), "side", &[("x", "2")]);
    let side = repository.head();
    let tree = repository.git(&["rev-parse", &format!("{side}^{{tree}}")]);
    let back = repository.git_by(
        By::Ssh("bob"),
        &["commit-tree", "-S", "-p", &before_merge, "-p", &side, "-m", "take back again", &tree],
    );
    repository.git(&["reset", "-q", "--hard", &back]);
    refused(repository.verify(&verifier, Some(&base)), &["take back again", "machines/prod/a.yaml"]);
}

#[test]
fn a_rewritten_branch_is_refused_or_answered_for_by_its_newest_signer() {
    let repository = Repository::new();
    let policy = people(&repository);
    let verifier = repository.verifier(&policy);
    let first = repository.commit(By::Ssh("alice"), "first", &[("machines/prod/a.yaml", "1")]);
    let second = repository.commit(By::Ssh("alice"), "second", &[("machines/prod/a.yaml", "2")]);
    // Back to what was signed once: an old signature is good, and yet it is not what somebody says now.
    repository.git(&["reset", "-q", "--hard", &first]);
    refused(
        repository.verify(&verifier, Some(&second)),
        &["does not descend from", &second[..12], "rewritten: follow"],
    );
    let follow = repository.verifier(&format!("{policy}rewritten: follow\n"));
    assert!(repository.verify(&follow, Some(&second)).is_ok());
    repository.commit(By::Ssh("bob"), "bob's", &[("x", "1")]);
    refused(repository.verify(&follow, Some(&second)), &["answers for machines/prod/a.yaml"]);
    let gone = "1".repeat(40);
    refused(repository.verify(&verifier, Some(&gone)), &["does not descend from"]);

    // An anchor stands for what came before it.
    refused(repository.verify(&verifier, None), &["answers for machines/prod/a.yaml", "anchor"]);
    let anchored = repository.verifier(&format!("{policy}anchor: {first}\n"));
    assert_eq!(repository.verify(&anchored, None), Ok(vec!["bob@example.org".to_owned()]));
    let elsewhere = repository.verifier(&format!("{policy}anchor: {second}\n"));
    refused(repository.verify(&elsewhere, None), &["does not descend from the anchor"]);
}

#[test]
fn tip_and_tag_ask_for_one_signature_that_answers_for_all() {
    let repository = Repository::new();
    let policy = people(&repository);
    let tip = repository.verifier(&format!("{policy}check: tip\n"));
    let tag = repository.verifier(&format!("{policy}check: tag\n"));
    let first = repository.commit(By::Nobody, "first", &[("machines/prod/a.yaml", "1")]);
    repository.commit(By::Nobody, "unsigned", &[("machines/prod/a.yaml", "2")]);
    refused(repository.verify(&tip, Some(&first)), &["is not signed"]);
    refused(repository.verify(&tag, Some(&first)), &["no annotated tag", "git tag -s"]);
    repository.git(&["tag", "light"]);
    repository.git(&["tag", "-a", "-m", "unsigned", "v0"]);
    refused(repository.verify(&tag, Some(&first)), &["tag v0 of commit", "is not signed"]);
    repository.git_by(By::Ssh("bob"), &["tag", "-s", "-m", "bob's", "v1"]);
    refused(repository.verify(&tag, Some(&first)), &["tag v1 of commit", "rule `production` does not allow"]);
    repository.git_by(By::Ssh("alice"), &["tag", "-s", "-m", "alice's", "v2"]);
    assert_eq!(repository.verify(&tag, Some(&first)), Ok(vec!["alice@example.org".to_owned()]));
    // An old tag under another name.
    let object = repository.git(&["rev-parse", "v2"]);
    for name in ["v0", "v1", "v2"] {
        repository.git(&["tag", "-d", name]);
    }
    repository.git(&["update-ref", "refs/tags/v3", &object]);
    refused(repository.verify(&tag, Some(&first)), &["tag v3", "was signed as `v2`"]);

    repository.commit(By::Ssh("alice"), "signed", &[("x", "1")]);
    assert_eq!(repository.verify(&tip, Some(&first)), Ok(vec!["alice@example.org".to_owned()]));
    repository.commit(By::Ssh("bob"), "on top", &[("x", "2")]);
    refused(repository.verify(&tip, Some(&first)), &["answers for machines/prod/a.yaml"]);
}

#[test]
fn openpgp_signatures_are_judged_with_expiry_and_revocation() {
    let repository = Repository::new();
    for address in ["alice@example.org", "bob@example.org", "eve@example.org"] {
        repository.openpgp_key(address);
    }
    // A key that has ended since, and commits from its time.
    repository.gpg(&[
        "--faked-system-time",
        "20200101T000000",
        "--quick-gen-key",
        "old@example.org",
        "ed25519",
        "sign",
        "20210101T000000",
    ]);
    let policy = "openpgp:
  - {principal: alice@example.org, file: keys/alice.asc}
  - {principal: bob@example.org, file: keys/bob.asc}
  - {principal: old@example.org, file: keys/old.asc}
rules:
  - {name: production, paths: ['machines/prod/**'], signers: ['alice@*']}
";
    for name in ["alice", "bob", "old"] {
        repository.export(&format!("{name}@example.org"), &format!("keys/{name}.asc"));
    }
    let verifier = repository.verifier(policy);
    let alice = By::OpenPgp("alice@example.org");
    let first = repository.commit(alice, "first", &[("machines/prod/a.yaml", "1")]);
    assert_eq!(repository.verify(&verifier, None), Ok(vec!["alice@example.org".to_owned()]));
    repository.git_by(alice, &["tag", "-s", "-m", "one", "v1"]);
    let tags = repository.verifier(&format!("{policy}check: tag\n"));
    assert!(repository.verify(&tags, None).is_ok());

    let verifier = repository.verifier(policy);
    for (by, path, parts) in [
        (By::OpenPgp("bob@example.org"), "machines/prod/a.yaml", ["signed by bob@example.org (", "rule `production`"]),
        (By::OpenPgp("eve@example.org"), "x", ["its signature (", "by a key that the policy does not name"]),
    ] {
        repository.git(&["reset", "-q", "--hard", &first]);
        repository.commit(by, "x", &[(path, "2")]);
        refused(repository.verify(&verifier, Some(&first)), &parts);
    }
    // As the holder of the old key would do it: with a clock that is set back.
    repository.git(&["reset", "-q", "--hard", &first]);
    let fake = "#!/bin/sh\nexec gpg --faked-system-time 20200601T000000 \"$@\"\n";
    repository.write("fake-gpg", fake);
    let fake = repository.root().join("fake-gpg");
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    repository.write("work/x", "3");
    repository.git(&["add", "-A"]);
    let program = format!("gpg.program={}", fake.display());
    repository.git_by(By::OpenPgp("old@example.org"), &["-c", &program, "commit", "-q", "-m", "from then"]);
    refused(repository.verify(&verifier, Some(&first)), &["“from then”", "key that has expired"]);

    // Changed after it was signed.
    repository.git(&["reset", "-q", "--hard", &first]);
    repository.commit(alice, "harmless", &[("x", "4")]);
    let text = repository.git(&["cat-file", "commit", "HEAD"]);
    repository.write("forged", &format!("{}\n", text.replace("harmless", "harmful!")));
    let forged = repository.git(&["hash-object", "-t", "commit", "-w", "../forged"]);
    repository.git(&["reset", "-q", "--hard", &forged]);
    refused(repository.verify(&verifier, Some(&first)), &["“harmful!”", "what was signed was changed"]);

    // Alice's key is revoked, and the policy's copy of it says so.
    repository.git(&["reset", "-q", "--hard", &first]);
    repository.commit(alice, "last words", &[("x", "5")]);
    assert!(repository.verify(&verifier, Some(&first)).is_ok());
    let listing = repository.gpg(&["--with-colons", "--list-keys", "alice@example.org"]);
    let fingerprint =
        listing.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap().trim_end_matches(':').to_owned();
    let certificate = repository.root().join(format!("gnupg/openpgp-revocs.d/{fingerprint}.rev"));
    let text = std::fs::read_to_string(certificate).unwrap().replace(":-----BEGIN", "-----BEGIN");
    repository.write("revoke.asc", &text);
    repository.gpg(&["--import", repository.root().join("revoke.asc").to_str().unwrap()]);
    repository.export("alice@example.org", "keys/alice.asc");
    let verifier = repository.verifier(policy);
    refused(repository.verify(&verifier, Some(&first)), &["“last words”", "revoked"]);
}

#[test]
fn an_openpgp_signature_is_refused_where_the_policy_names_ssh_keys_only() {
    let repository = Repository::new();
    let verifier = repository.verifier(&people(&repository));
    repository.openpgp_key("alice@example.org");
    repository.commit(By::OpenPgp("alice@example.org"), "x", &[("x", "1")]);
    refused(repository.verify(&verifier, None), &["is by OpenPGP, and the policy names no OpenPGP keys"]);
}
