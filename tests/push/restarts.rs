//! The server goes away and comes back.

use super::site::{Site, node, until_listens};
use std::process::Stdio;

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
