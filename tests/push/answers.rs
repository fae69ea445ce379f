//! What stands on the pusher's terminal.

use super::site::{NODE_1, NODE_2, SITE, Site, node};

/// Commits by their first twelve digits are different each time, and so are times.
pub fn steady(text: &str, commits: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (id, name) in commits {
        text = text.replace(&id[..12], name);
    }
    let mut out = String::new();
    for line in text.lines() {
        match (line.find(" machine"), line.find(" after the push")) {
            (Some(from), Some(to)) if from < to => {
                let comma = line[from..].find(", ").map_or(to, |at| from + at);
                out.push_str(&format!("{}, TIME{}\n", &line[..comma], &line[to..]));
            }
            _ => out.push_str(&format!("{line}\n")),
        }
    }
    out
}

#[test]
fn a_push_is_answered_with_its_findings_and_refused() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let broken = NODE_1.replace("workflow: install", "workflow: instal");
    let second = ada.commit(
        "Move node-1 to the new workflow",
        &[
            ("machines/node-1.yaml", broken.as_str()),
            ("machines/node-2.yaml", &NODE_2.replace("  workflow", "  wrokflow")),
        ],
    );
    let said = ada.push(&["origin", "main"]).refused(&["pre-receive hook declined"]);
    insta::assert_snapshot!("refused", steady(&said.remote(), &[(&first, "FIRST"), (&second, "SECOND")]));
    assert_eq!(site.branch("main"), Some(first.clone()));
    assert_eq!(site.applied(), Some(first));
    assert_eq!(site.quarantines(), [""; 0], "what was refused is gone");
}

#[test]
fn a_push_is_answered_with_what_it_does_and_serves_at_once() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    let said = ada.push(&["origin", "main"]).taken();
    insta::assert_snapshot!("accepted", steady(&said.remote(), &[(&first, "FIRST"), (&second, "SECOND")]));
    assert_eq!(site.applied(), Some(second), "it served when the push ended");
}

#[test]
fn a_dry_run_is_judged_and_changes_nothing() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    let said = ada.push(&["-o", "dry-run", "origin", "main"]).refused(&["dry run: nothing was changed"]);
    insta::assert_snapshot!("dry_run", steady(&said.remote(), &[(&first, "FIRST"), (&second, "SECOND")]));
    assert_eq!((site.branch("main"), site.applied()), (Some(first.clone()), Some(first)));
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&second);
}

#[test]
fn an_unknown_option_is_refused_with_those_there_are() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["-o", "dryrun", "origin", "main"]).refused(&[
        "no push option `dryrun`",
        "allow-wipe=all",
        "allow-empty",
    ]);
    ada.push(&["-o", "allow-wipe", "origin", "main"]).refused(&["does not say which machines"]);
    assert_eq!(site.branch("main"), Some(first));
}

#[test]
fn from_many_to_none_needs_a_word_that_reaches_the_reconciler() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    std::fs::remove_dir_all(ada.folder.path().join("machines")).unwrap();
    let second = ada.commit("Nothing is left", &[]);
    ada.push(&["origin", "main"]).refused(&["it declares nothing", "-o allow-empty"]);
    assert_eq!(site.applied(), Some(first));
    ada.push(&["-o", "allow-empty", "origin", "main"]).taken();
    site.until_applied(&second);
}

#[test]
fn a_branch_that_is_not_followed_is_taken_with_its_findings_as_warnings() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    ada.commit("A try", &[("machines/node-1.yaml", &NODE_1.replace("workflow: install", "workflow: instal"))]);
    let said = ada.push(&["origin", "HEAD:feature/try"]).taken();
    let remote = said.remote();
    assert!(
        remote.contains("feature/try: new, not followed") && remote.contains("warning: machines/node-1.yaml"),
        "{remote}"
    );
    assert_eq!(site.applied(), Some(first));
    ada.push(&["origin", ":feature/try"]).taken();
    assert_eq!(site.branch("feature/try"), None);
}

#[test]
fn a_submodule_and_a_pointer_to_a_large_file_are_refused_with_an_explanation() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:\
                   4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    ada.commit("A pointer", &[("machines/node-3.yaml", pointer)]);
    ada.push(&["origin", "main"]).refused(&["machines/node-3.yaml", "LFS"]);
    ada.git(&["reset", "-q", "--hard", &first]).taken();
    let entry = format!("160000,{first},packs/other");
    ada.git(&["update-index", "--add", "--cacheinfo", &entry]).taken();
    ada.git(&["commit", "-q", "-m", "A submodule"]).taken();
    ada.push(&["origin", "main"]).refused(&["packs/other", "submodule"]);
    assert_eq!(site.branch("main"), Some(first));
}

#[test]
fn a_first_push_makes_the_branch_and_a_broken_one_does_not() {
    let site = Site::hosted();
    let ada = site.person();
    ada.commit("Broken", &[("site.yaml", "kind: Site\n")]);
    ada.push(&["origin", "main"]).refused(&["site.yaml:1:1"]);
    assert_eq!((site.branch("main"), site.applied()), (None, None));
    let revision = ada.commit("Good", SITE);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&revision);
}
