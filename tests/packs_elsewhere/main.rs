//! Packs from other repositories, by real git: added, pinned, vendored, updated, tested, and what is refused.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as it should be")]

#[path = "../bed/mod.rs"]
mod bed;
mod init;
mod server;
mod site;
mod tests;

use site::{SITE, World, hash_by_hand};
use std::process::Command;

#[test]
fn a_pack_is_added_pinned_and_vendored_and_the_site_keeps_its_comments() {
    let world = World::new();
    let newest = world.release("1.2.0");
    world.release("2.0.0-rc.1");
    let said = world.ends(0, &["pack", "add", &world.url()]);
    let added: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&added["commit"], &added["reference"]), (&newest.as_str().into(), &"refs/tags/v1.2.0".into()));
    assert_eq!((&added["name"], &added["folder"]), (&"pack".into(), &"packs/vendor/pack".into()));
    assert!(added["files"].as_u64().is_some_and(|files| files > 1) && added["hash"].is_string(), "{said}");
    let expected =
        SITE.replace("    # what we", &format!("    - git: {}\n      version: ^1.2.0\n    # what we", world.url()));
    assert_eq!(world.read("site/site.yaml"), expected);
    let lock = world.read("site/packs.lock");
    assert!(lock.contains(&newest) && lock.contains("reference: refs/tags/v1.2.0"), "{lock}");
    // The documented definition, by other programs.
    assert!(lock.contains(&hash_by_hand(&world.path("site/packs/vendor/pack"))), "{lock}");
    assert!(!world.is_there("site/packs/vendor/pack/.hidden"));
    assert_eq!(world.findings(), []);
    // A second time it is there already.
    world.ends(4, &["pack", "add", &world.url()]);
    let row: serde_json::Value =
        serde_json::from_slice(&world.type_in(&["pack", "list", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(row[1]["state"], "vendored");
    assert_eq!((row[0]["state"].as_str(), row[1]["commit"].as_str()), (Some("builtin"), Some(newest.as_str())));
}

#[test]
fn an_update_moves_inside_the_range_and_says_so_and_a_dry_one_writes_nothing() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--version", "^1"]);
    let newer = world.release("1.3.0");
    world.release("2.0.0");
    let list = world.ends(0, &["pack", "list", "--remote", "-o", "json"]);
    assert!(list.contains(&format!("v1.3.0 ({}); 2.0.0 is not in the range", &newer[..12])), "{list}");
    let before = (world.read("site/packs.lock"), world.read("site/packs/vendor/pack/pack.yaml"));
    let said = world.ends(0, &["pack", "update", "--dry-run", "-o", "table"]);
    assert!(said.contains("pack: v1.0.0 (") && said.contains(&format!("-> v1.3.0 ({})", &newer[..12])), "{said}");
    assert_eq!((world.read("site/packs.lock"), world.read("site/packs/vendor/pack/pack.yaml")), before);
    let said = world.ends(0, &["pack", "update", "pack"]);
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let row = &told["packs"][0];
    assert_eq!((&row["change"], &row["now"]["commit"]), (&"moved".into(), &newer.as_str().into()), "{said}");
    assert_eq!((&row["before"]["reference"], &told["lockWritten"]), (&"refs/tags/v1.0.0".into(), &true.into()));
    assert!(row["files"].is_u64(), "{said}");
    assert!(world.read("site/packs/vendor/pack/pack.yaml").contains("1.3.0"));
    assert_eq!(world.findings(), []);
    let lock = world.read("site/packs.lock");
    assert!(world.ends(0, &["pack", "update", "-o", "table"]).contains("as before"));
    assert_eq!(world.read("site/packs.lock"), lock);
    // A hash that is not that of the commit's files: the one that is.
    let at = lock.find("hash: sha256:").expect("a hash") + "hash: sha256:".len();
    let wrong = format!("{}00000000{}", &lock[..at], &lock[at + 8..]);
    world.write("site/packs.lock", &wrong);
    assert!(world.ends(0, &["pack", "update", "--dry-run"]).contains("\"corrected\""));
    assert_eq!(world.read("site/packs.lock"), wrong);
    assert!(world.ends(0, &["pack", "update", "-o", "table"]).contains("was not that of its files"));
    assert_eq!((world.read("site/packs.lock"), world.findings()), (lock, vec![]));
    world.ends(3, &["pack", "update", "other"]);
}

#[test]
fn a_vendored_file_that_was_changed_refuses_the_site_until_it_is_written_again() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url()]);
    let path = "site/packs/vendor/pack/scripts/run.sh";
    let file = |code: &str| [(code.to_owned(), "packs/vendor/pack/pack.yaml".to_owned())];
    let good = world.read(path);
    for change in ["#!/bin/sh\necho two\n", ""] {
        world.write(path, change);
        assert_eq!(world.findings(), file("pack-hash"));
    }
    std::fs::remove_file(world.path(path)).expect("removed");
    assert_eq!(world.findings(), file("pack-hash"));
    world.write("site/packs/vendor/pack/more", "");
    let said = world.ends(1, &["validate"]);
    assert!(said.contains("`formwork pack vendor pack` writes its files"), "{said}");
    world.ends(0, &["pack", "vendor"]);
    assert_eq!((world.read(path), world.findings()), (good, vec![]));
    assert!(!world.is_there("site/packs/vendor/pack/more"));
    // A link is none of the files, whatever it leads to.
    std::os::unix::fs::symlink("run.sh", world.path("site/packs/vendor/pack/scripts/link")).expect("linked");
    assert_eq!(world.findings()[0], ("pack-hash".to_owned(), "packs/vendor/pack/scripts/link".to_owned()));
}

#[test]
fn what_the_lock_does_not_pin_is_a_finding_with_the_command_that_mends_it() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--version", "^1"]);
    let (site, lock) = (world.read("site/site.yaml"), world.read("site/packs.lock"));
    for (name, text) in [("packs.lock", None), ("site.yaml", Some(site.replace("^1", "^1.0")))] {
        match text {
            Some(text) => world.write(&format!("site/{name}"), &text),
            None => std::fs::remove_file(world.path(&format!("site/{name}"))).expect("removed"),
        }
        let said = world.ends(1, &["validate"]);
        assert!(said.contains("site.yaml:8:7: error: ") && said.contains("`formwork pack update pack`"), "{said}");
        assert_eq!(world.findings()[0].0, "pack-not-locked");
        world.ends(2, &["pack", "vendor"]);
        world.write("site/packs.lock", &lock);
        world.write("site/site.yaml", &site);
    }
    // A merge that was not finished.
    world.write("site/packs.lock", &format!("<<<<<<< ours\n{lock}=======\n{lock}>>>>>>> theirs\n"));
    assert!(world.findings().iter().all(|(_, file)| file == "packs.lock"), "{:?}", world.findings());
    world.write("site/packs.lock", &lock);
    // What nobody names any more.
    world.write("site/site.yaml", SITE);
    let codes: Vec<String> = world.findings().into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["pack-lock", "unused-pack"]);
    world.ends(0, &["pack", "update"]);
    assert!(!world.is_there("site/packs.lock"));
}

#[test]
fn a_pack_that_is_not_vendored_is_read_from_the_cache_or_asked_for() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--no-vendor"]);
    assert!(!world.is_there("site/packs"));
    assert_eq!(world.findings(), []);
    std::fs::remove_dir_all(world.path("cache")).expect("removed");
    assert_eq!(world.findings(), [("pack-not-here".to_owned(), "site.yaml".to_owned())]);
    // The tag was moved since: the lock's commit is fetched all the same.
    world.release("1.1.0");
    world.git("pack", &["tag", "--force", "v1.0.0"]);
    world.ends(0, &["pack", "vendor", "pack"]);
    assert!(world.read("site/packs/vendor/pack/pack.yaml").contains("1.0.0"));
    assert_eq!(world.findings(), []);
}

#[test]
fn a_lock_that_names_another_commit_for_files_that_are_there_is_noticed() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--version", "=1.0.0"]);
    let lock = world.read("site/packs.lock");
    let commit = lock.split("commit: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a commit");
    // One that is nowhere, and one that holds other files.
    world.release("1.1.0");
    let other = world.git("pack", &["rev-parse", "HEAD"]);
    for (forged, code, says) in [("a".repeat(40), 3, "no commit"), (other, 1, "one of them is not what it was")] {
        world.write("site/packs.lock", &lock.replace(commit, forged.trim()));
        assert_eq!(world.findings(), [], "the files are those of the hash");
        let said = world.ends(code, &["pack", "vendor"]);
        assert!(said.contains(says), "{said}");
    }
    world.write("site/packs.lock", &lock);
    world.ends(0, &["pack", "vendor"]);
    // A repository that is away takes nothing from files that are there.
    std::fs::remove_dir_all(world.path("cache")).expect("removed");
    std::fs::rename(world.path("pack"), world.path("away")).expect("moved");
    let said = world.ends(0, &["pack", "vendor", "-o", "table"]);
    assert!(said.contains("cannot be asked about now"), "{said}");
    let said = world.ends(0, &["pack", "vendor"]);
    let rows: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(rows[0]["notAsked"].is_string() && rows[0].get("files").is_none(), "{said}");
}

#[test]
fn files_that_are_not_those_of_the_lock_are_not_written() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url(), "--no-vendor"]);
    let lock = world.read("site/packs.lock");
    let hash = lock.split("sha256:").nth(1).expect("a hash").trim();
    world.write("site/packs.lock", &lock.replace(hash, &"0".repeat(64)));
    let said = world.ends(1, &["pack", "vendor"]);
    assert!(said.contains("one of them is not what it was") && !world.is_there("site/packs"), "{said}");
    // From the cache neither.
    assert_eq!(world.findings()[0].0, "pack-hash");
}

#[test]
fn a_commit_that_is_gone_or_an_address_that_leads_nowhere_is_told_of() {
    let world = World::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let said = world.ends(3, &["pack", "add", &world.url(), "--commit", commit]);
    assert!(said.contains(commit), "{said}");
    world.ends(3, &["pack", "add", "file:///nowhere/at/all.git", "--branch", "main"]);
    world.ends(3, &["pack", "add", &world.url(), "--tag", "v9"]);
    world.ends(3, &["pack", "add", &world.url(), "--version", "^9"]);
    world.ends(1, &["pack", "add", &world.url(), "--branch", "main", "--path", "nowhere"]);
    world.ends(2, &["pack", "add", "https://user:hunter2@example.org/x.git"]);
    let said = world.ends(2, &["pack", "add", "http://example.org/x.git"]);
    assert!(
        said.starts_with("error: a pack is not fetched over http://: whoever is on the way could read it"),
        "{said}"
    );
    assert!(
        said.contains("hint: what is allowed: `https://…`, `ssh://…` or `git@host:path`, and on this machine"),
        "{said}"
    );
    world.ends(2, &["pack", "add", &world.url(), "--branch", "--upload-pack=touch x"]);
    world.ends(2, &["pack", "add", &world.url(), "--branch", "main", "--tag", "v1.0.0"]);
    world.ends(3, &["pack", "add", "builtin:etc"]);
    world.ends(0, &["pack", "add", "builtin:etcd"]);
    assert_eq!(world.read("site/site.yaml"), SITE.replace("    # what", "    - builtin: etcd\n    # what"));
}

#[test]
fn a_pack_in_a_folder_of_a_repository_a_branch_a_commit_and_another_name() {
    let world = World::new();
    std::fs::create_dir_all(world.path("pack/sets/web")).expect("made");
    world.git("pack", &["mv", "pack.yaml", "all.yaml", "scripts", "tests", "sets/web"]);
    let id = world.commit("moved");
    for words in [["--branch", "main"], ["--commit", &id]] {
        let mut all = vec!["pack", "add"];
        let url = world.url();
        all.extend([url.as_str(), "--path", "sets/web"]);
        all.extend(words);
        world.ends(0, &all);
        assert!(world.read("site/site.yaml").contains("      name: pack\n"));
        assert_eq!(world.findings(), []);
        std::fs::remove_dir_all(world.path("site")).expect("removed");
        world.write("site/site.yaml", SITE);
    }
}

#[test]
fn a_pack_with_a_link_is_refused() {
    let world = World::new();
    std::os::unix::fs::symlink("/etc/passwd", world.path("pack/scripts/link")).expect("linked");
    world.commit("a link");
    let said = world.ends(1, &["pack", "add", &world.url(), "--branch", "main"]);
    assert!(said.contains("scripts/link: a symbolic link"), "{said}");
    assert_eq!((world.read("site/site.yaml").as_str(), world.is_there("site/packs.lock")), (SITE, false));
}

#[test]
fn a_commit_of_the_site_holds_all_that_a_server_needs() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url()]);
    world.git("site", &["init", "--quiet", "--initial-branch", "main"]);
    world.git("site", &["add", "--all"]);
    world.git("site", &["commit", "--quiet", "--message", "all"]);
    // Neither the pack's repository nor a cache is there any more.
    std::fs::remove_dir_all(world.path("pack")).expect("removed");
    std::fs::remove_dir_all(world.path("cache")).expect("removed");
    world.write(
        "site/machine.yaml",
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {name: a}\nspec: {match: {macs: ['52:54:00:00:00:01']}, workflow: w}\n---\napiVersion: formwork.dev/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {stages: [s]}\n---\napiVersion: formwork.dev/v1alpha1\nkind: Stage\nmetadata: {name: s}\nspec: {bootEnv: discovery.discovery, tasks: [pack.one]}\n",
    );
    world.git("site", &["add", "--all"]);
    world.git("site", &["commit", "--quiet", "--message", "a machine"]);
    let said = world.ends(0, &["render", "a", "--task", "pack.one", "--repository", ".", "-o", "json"]);
    assert!(said.contains("echo one"), "{said}");
    let status =
        Command::new("git").arg("-C").arg(world.path("site")).args(["status", "--short"]).output().expect("git");
    assert!(status.stdout.is_empty());
}
