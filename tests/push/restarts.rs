//! The server goes away and comes back.

use super::bounds::noise;
use super::site::{Site, node, until, until_listens};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_push_while_the_server_restarts_is_whole_or_nothing() {
    let mut site = Site::hosted();
    let first = {
        let ada = site.person();
        ada.begin()
    };
    let folder;
    {
        let ada = site.person();
        ada.git(&["pull", "-q", "origin", "main"]).taken();
        ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
        let push =
            ada.command(&["push", "origin", "main"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        folder = (ada.folder, push);
    }
    let (work, mut push) = folder;
    std::thread::sleep(std::time::Duration::from_millis(150));
    site.kill();
    let taken = push.wait().unwrap().success();
    let third = site.branch("main").expect("a branch");
    // git may have moved the branch and lost the connection before it could say so; never the other way round.
    assert!(!taken || third != first, "what was acknowledged is there");
    assert!(site.serve(), "{}", site.log());
    until_listens(site.port());
    site.until_applied(&third);
    let ada = site.person();
    ada.git(&["pull", "-q", &work.path().display().to_string(), "main"]).taken();
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&ada.head());
}

#[test]
fn what_was_allowed_reaches_a_server_that_was_started_anew() {
    let mut site = Site::hosted();
    let first = site.person().begin();
    let said = site.type_in(&["suspend", "--reason", "so that nothing is applied before the restart"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let second = {
        let ada = site.person();
        ada.git(&["pull", "-q", "origin", "main"]).taken();
        std::fs::remove_dir_all(ada.folder.path().join("machines")).unwrap();
        let second = ada.commit("Nothing is left", &[]);
        ada.push(&["origin", "main"]).refused(&["allow-empty"]);
        ada.push(&["-o", "allow-empty", "origin", "main"]).taken();
        second
    };
    assert_eq!(site.applied().as_deref(), Some(first.as_str()));
    site.kill();
    assert!(site.serve(), "{}", site.log());
    assert_eq!(site.applied().as_deref(), Some(first.as_str()), "it is still suspended");
    assert!(site.type_in(&["resume"]).status.success());
    site.until_applied(&second);
}

/// Programs that work in a folder.
fn at_work_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let there = processes
        .filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|place| place.starts_with(folder)));
    there.filter_map(|process| process.file_name().into_string().ok()).collect()
}

fn signal(signal: &str, whom: &str) {
    let _ = Command::new("kill").args([signal, "--", whom]).stderr(Stdio::null()).status();
}

#[test]
fn what_a_push_leaves_that_dies_with_the_server_is_gone_at_its_next_start() {
    let mut site = Site::hosted();
    let first = site.person().begin();
    {
        let ada = site.person();
        ada.git(&["pull", "-q", "origin", "main"]).taken();
        noise(&ada);
        // Not good either, so that a push that came through before all was killed changes nothing.
        ada.commit("Noise", &[("site.yaml", "kind: Site\n")]);
        let repository = site.repository().canonicalize().unwrap();
        let cut = (0..5).any(|_| {
            let mut push = ada.command(&["-c", "core.compression=0", "push", "origin", "main"]);
            push.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
            let mut push = push.spawn().unwrap();
            let client = format!("-{}", push.id());
            while push.try_wait().unwrap().is_none() && site.quarantines().is_empty() {}
            signal("-STOP", &client);
            // As a power cut does: what receives the push has no time to clean up.
            at_work_in(&repository).iter().for_each(|program| signal("-KILL", program));
            signal("-KILL", &client);
            push.wait().unwrap();
            until("nobody works there", || at_work_in(&repository).is_empty());
            !site.quarantines().is_empty()
        });
        assert!(cut, "it is killed while it is received");
    }
    site.kill();
    // Such a cut in the moment of the move leaves the lock, and every later push would be refused for it.
    let lock = site.repository().join("refs/heads/main.lock");
    std::fs::write(&lock, &first).unwrap();
    assert!(site.serve(), "{}", site.log());
    until_listens(site.port());
    assert!(site.quarantines().is_empty() && !lock.exists(), "{:?}", site.quarantines());
    assert_eq!(site.branch("main"), Some(first));
    let ada = site.person();
    ada.git(&["pull", "-q", "origin", "main"]).taken();
    ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&ada.head());
}
