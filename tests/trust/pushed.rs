//! What is pushed to the server's own repository: who signed it is asked before it is taken, and the pusher is told.

use super::repository::{By, Repository};
use super::site::Site;

const SITE: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nspec: {}\n";
const RULES: &str = "rules:\n  - {name: production, paths: ['production/**'], signers: ['alice@*']}\n";

/// Alice and Bob may sign, Alice alone for production, Eve not at all.
fn serve(repository: &Repository, policy: &str) -> Site {
    let (alice, bob, _) = (repository.ssh_key("alice"), repository.ssh_key("bob"), repository.ssh_key("eve"));
    repository.write("allowed_signers", &format!("alice@example.org {alice}bob@example.org {bob}"));
    repository.write("trust.yaml", &format!("allowedSigners: allowed_signers\n{policy}"));
    let policy = repository.root().join("trust.yaml");
    Site::serve(repository, &["--hosted", "--trust", policy.to_str().unwrap()])
}

#[track_caller]
fn taken(answer: &(bool, String)) {
    assert!(answer.0, "{}", answer.1);
}

#[track_caller]
fn refused(answer: &(bool, String), parts: &[&str]) {
    assert!(!answer.0, "{}", answer.1);
    for part in parts {
        assert!(answer.1.contains(part), "`{part}` is not in:\n{}", answer.1);
    }
}

#[test]
fn a_push_that_is_not_signed_by_who_may_is_refused_in_the_pushers_terminal_and_a_signed_one_is_taken() {
    let repository = Repository::new();
    let site = serve(&repository, RULES);
    // Not even the first one.
    let unsigned = repository.commit(By::Nobody, "unsigned", &[("site.yaml", SITE)]);
    let parts = ["site.yaml:1:1", &unsigned[..12], "is not signed", "git commit --amend -S", "error: refused: 1 error"];
    refused(&site.push(&repository, &["HEAD:main"]), &parts);
    repository.git_by(By::Ssh("alice"), &["commit", "-q", "--amend", "-S", "-m", "first"]);
    let first = repository.head();
    let answer = site.push(&repository, &["HEAD:main"]);
    taken(&answer);
    assert!(answer.1.contains("signed by alice@example.org (SHA256:"), "{}", answer.1);
    site.until_served(&first);

    // By somebody who may sign, and not for this path: the commit, the path and who may are named.
    let wrong = repository.commit(By::Ssh("bob"), "not his", &[("production/readme.md", "x")]);
    let parts = ["production/readme.md:1:1", &wrong[..12], "not his", "bob@example.org", "lets sign: alice@*"];
    refused(&site.push(&repository, &["HEAD:main"]), &parts);
    // What comes on top does not help, and neither does content that would not load: signatures are asked for first.
    repository.commit(By::Ssh("alice"), "on top", &[("broken.yaml", "not: content\n")]);
    let answer = site.push(&repository, &["HEAD:main"]);
    refused(&answer, &["not his"]);
    assert!(!answer.1.contains("broken.yaml"), "{}", answer.1);
    // By somebody who may not sign at all.
    repository.git(&["reset", "-q", "--hard", &first]);
    repository.commit(By::Ssh("eve"), "evil", &[("readme.md", "x")]);
    refused(&site.push(&repository, &["HEAD:main"]), &["readme.md:1:1", "no line of the allowed signers"]);
    // Another branch is taken by permission alone: nothing comes of it.
    taken(&site.push(&repository, &["HEAD:feature"]));

    repository.git(&["reset", "-q", "--hard", &first]);
    repository.commit(By::Ssh("bob"), "his own", &[("readme.md", "x")]);
    let next = repository.commit(By::Ssh("alice"), "production", &[("production/readme.md", "x")]);
    taken(&site.push(&repository, &["HEAD:main"]));
    site.until_served(&next);
    // Going back to what is signed is a rewritten branch, whatever the pusher may.
    repository.git(&["reset", "-q", "--hard", &first]);
    let parts = ["the branch was rewritten", "rewritten: follow"];
    refused(&site.push(&repository, &["--force", "-o", "allow-rewrite", "HEAD:main"]), &parts);
    site.until_served(&next);
}

#[test]
fn where_tags_are_signed_the_tag_comes_with_the_push_and_one_that_is_taken_away_counts_no_more() {
    let repository = Repository::new();
    let site = serve(&repository, "check: tag\n");
    let first = repository.commit(By::Nobody, "first", &[("site.yaml", SITE)]);
    refused(&site.push(&repository, &["HEAD:main"]), &["no annotated tag is on commit", "git tag -s NAME"]);
    repository.git_by(By::Ssh("eve"), &["tag", "-s", "-m", "v0", "v0"]);
    refused(&site.push(&repository, &["HEAD:main", "v0"]), &["tag v0", "no line of the allowed signers"]);
    repository.git_by(By::Ssh("alice"), &["tag", "-s", "-m", "v1", "v1"]);
    // Under another name it is nobody's word.
    let renamed = site.push(&repository, &["HEAD:main", "refs/tags/v1:refs/tags/v2"]);
    refused(&renamed, &["tag v2", "was signed as `v1`"]);
    taken(&site.push(&repository, &["HEAD:main", "v1"]));
    site.until_served(&first);
    // A tag that was pushed before its commit's branch counts; not where the same push takes it away.
    let second = repository.commit(By::Nobody, "second", &[("readme.md", "x")]);
    repository.git_by(By::Ssh("bob"), &["tag", "-s", "-m", "v3", "v3"]);
    taken(&site.push(&repository, &["v3"]));
    refused(&site.push(&repository, &["HEAD:main", ":refs/tags/v3"]), &["no annotated tag is on commit"]);
    taken(&site.push(&repository, &["HEAD:main"]));
    site.until_served(&second);
}

// A schema is an oracle: by what it says of a value that it is shown, a value is found out. Whoever may push to a side branch writes one.
#[test]
fn a_push_to_a_side_branch_learns_nothing_of_what_is_encrypted() {
    const ENCRYPTED: &str = include_str!("../../src/content/sops/fixture/partial.yaml");
    let repository = Repository::new();
    repository.write("identity.txt", include_str!("../../src/content/sops/fixture/identity.txt"));
    let identity = repository.root().join("identity.txt");
    std::fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let site = Site::serve(&repository, &["--hosted", "--age-identities", identity.to_str().unwrap()]);
    let param = |schema: &str| {
        format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {{name: password}}\nspec: {{schema: {schema}}}\n"
        )
    };
    let (right, wrong) = ("{type: string, pattern: '^correct'}", "{type: string, pattern: '^guess'}");
    let files = [("site.yaml", SITE), ("database.yaml", ENCRYPTED), ("param.yaml", &param(right))];
    let first = repository.commit(By::Nobody, "first", &files);
    let answer = site.push(&repository, &["HEAD:main"]);
    taken(&answer);
    assert!(!answer.1.contains("horse"), "{}", answer.1);
    site.until_served(&first);
    // On the branch that is followed the value is looked at.
    let guess = repository.commit(By::Nobody, "a guess", &[("param.yaml", &param(wrong))]);
    let answer = site.push(&repository, &["HEAD:main"]);
    refused(&answer, &["database.yaml:"]);
    assert!(!answer.1.contains("horse"), "{}", answer.1);
    // On another it is not: a right guess and a wrong one are answered alike.
    let said = |commit: &str| {
        let answer = site.push(&repository, &[&format!("{commit}:refs/heads/guess-{}", &commit[..4])]);
        taken(&answer);
        let remote = answer.1.lines().filter(|line| line.starts_with("remote:"));
        remote.collect::<Vec<_>>().join("\n").replace(&commit[..12], "COMMIT").replace(&commit[..4], "NAME")
    };
    let hit = repository.commit(By::Nobody, "another", &[("param.yaml", &param("{type: string, pattern: '^corr'}"))]);
    let (wrong, right) = (said(&guess), said(&hit));
    assert_eq!(wrong, right);
    assert!(wrong.contains("not followed") && !wrong.contains("horse"), "{wrong}");
}
