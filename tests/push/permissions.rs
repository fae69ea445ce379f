//! Who may do what, and what stays secret.

use super::site::{Person, SITE, Site, node, until};
use std::io::Read as _;
use std::process::Stdio;

#[test]
fn a_wrong_token_opens_nothing() {
    let site = Site::hosted();
    site.person().begin();
    for token in ["", "wrong", "fwu_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let eve = Person::new(&site, "administrator", token);
        eve.git(&["fetch", "origin"]).refused(&["Authentication failed"]);
        eve.commit("Mine", SITE);
        eve.push(&["origin", "main"]).refused(&["Authentication failed"]);
    }
}

#[test]
fn a_user_reads_and_pushes_what_they_may_and_no_more() {
    let site = Site::hosted();
    let first = site.person().begin();
    let token = site.user("ada", &["--read", "--push", "feature/*,tags/*"]);
    let ada = Person::new(&site, "whatever", &token);
    ada.git(&["pull", "-q", "origin", "main"]).taken();
    ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["origin", "main"]).refused(&["you may not push to `main`", "feature/*, tags/*"]);
    ada.push(&["origin", "HEAD:feature/three"]).taken();
    ada.push(&["origin", "HEAD:refs/tags/v1"]).taken();
    ada.push(&["origin", "HEAD:refs/notes/x"]).refused(&["neither a branch nor a tag"]);
    // All of a push or nothing of it.
    ada.push(&["origin", "HEAD:feature/four", "HEAD:main"]).refused(&["you may not push to `main`"]);
    assert_eq!((site.branch("main"), site.branch("feature/four")), (Some(first), None));
    ada.push(&["-o", "allow-wipe=all", "origin", "HEAD:feature/five"]).refused(&["you may not say -o allow-wipe"]);

    let reader = Person::new(&site, "bob", &site.user("bob", &["--read"]));
    reader.git(&["pull", "-q", "origin", "main"]).taken();
    reader.commit("Add node-4", &[("machines/node-4.yaml", &node(4))]);
    reader.push(&["origin", "main"]).refused(&["403", "bob may not push here"]);

    let writer = Person::new(&site, "carol", &site.user("carol", &["--push", "main"]));
    writer.git(&["fetch", "origin"]).refused(&["403", "carol may not read here"]);

    // A running server sees each change.
    let renewed = site.type_in(&["user", "token", "bob", "-o", "json"]);
    assert!(renewed.status.success());
    reader.git(&["fetch", "origin"]).refused(&["Authentication failed"]);
    assert!(site.type_in(&["user", "remove", "ada"]).status.success());
    ada.git(&["fetch", "origin"]).refused(&["Authentication failed"]);
    let listed = String::from_utf8_lossy(&site.type_in(&["user", "list", "-o", "table"]).stdout).into_owned();
    assert!(listed.contains("carol") && !listed.contains("ada") && !listed.contains("fwu_"), "{listed}");
}

#[test]
fn the_followed_branch_is_not_deleted_and_rewritten_only_by_a_word() {
    let site = Site::hosted();
    let ada = site.person();
    let first = ada.begin();
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["origin", "main"]).taken();
    ada.push(&["origin", ":main"]).refused(&["`main` is what this server follows"]);
    ada.git(&["reset", "-q", "--hard", &first]).taken();
    let third = ada.commit("Add node-4 instead", &[("machines/node-4.yaml", &node(4))]);
    ada.push(&["origin", "main"]).refused(&["non-fast-forward"]);
    ada.push(&["--force", "origin", "main"]).refused(&["would be rewritten", "-o allow-rewrite"]);
    assert_eq!(site.branch("main"), Some(second));
    let bob = Person::new(&site, "bob", &site.user("bob", &["--read", "--push", "main"]));
    bob.git(&["fetch", "-q", &ada.folder.path().display().to_string(), "main"]).taken();
    bob.push(&["--force", "-o", "allow-rewrite", "origin", "FETCH_HEAD:main"])
        .refused(&["you may not say -o allow-rewrite"]);
    ada.push(&["--force", "-o", "allow-rewrite", "origin", "main"]).taken();
    site.until_applied(&third);
}

#[test]
fn no_token_is_in_a_log_or_in_the_list_of_processes() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    let token = site.user("bob", &["--read", "--push", "main"]);
    let bob = Person::new(&site, "bob", &token);
    bob.git(&["pull", "-q", "origin", "main"]).taken();
    let files: Vec<(String, String)> = (10..400).map(|n| (format!("machines/node-{n}.yaml"), node(n))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    bob.commit("Many", &files);
    let mut push =
        bob.command(&["push", "origin", "main"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = 0;
    while push.try_wait().unwrap().is_none() {
        for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
            let mut line = Vec::new();
            let read =
                std::fs::File::open(entry.path().join("cmdline")).and_then(|mut file| file.read_to_end(&mut line));
            if read.is_ok() {
                let line = String::from_utf8_lossy(&line);
                seen += usize::from(
                    line.contains("http-backend") || line.contains("receive-pack") || line.contains("pre-receive"),
                );
                assert!(!line.contains(&token), "in the list of processes: {line}");
            }
        }
    }
    assert!(push.wait().unwrap().success());
    assert!(seen > 0, "the children of the server were looked at");
    until("it is logged", || site.log().contains("a push was judged"));
    let kept = [site.log(), std::fs::read_to_string(site.state().join("users.json")).unwrap()].concat();
    assert!(!kept.contains(&token) && !kept.contains(&site.administrator()));
    let config = std::fs::read_to_string(site.repository().join("config")).unwrap();
    assert!(!config.contains(&token));
}
