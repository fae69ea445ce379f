//! What git itself refuses, and a repository of the server's own that the disk has damaged.

use crate::site::{Person, Site, until};
use std::io::Write as _;
use std::process::Stdio;

fn status(site: &Site) -> serde_json::Value {
    let said = site.type_in(&["status", "-o", "json"]);
    serde_json::from_slice(&said.stdout).expect("JSON")
}

#[test]
fn a_push_that_git_itself_refuses_is_counted_and_logged() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    let before = status(&site)["pushes"]["rejected"].as_u64().expect("a number");
    // A commit without a date, which `receive.fsckObjects` does not take.
    let tree = ada.git(&["rev-parse", "HEAD^{tree}"]).taken().text.trim().to_owned();
    let text = format!("tree {tree}\nauthor Ada <ada@localhost>\ncommitter Ada <ada@localhost>\n\nno date\n");
    let mut command = ada.command(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its end");
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ada.push(&["origin", &format!("{commit}:refs/heads/bad")]).refused(&["bad"]);
    until("it is counted", || status(&site)["pushes"]["rejected"].as_u64() == Some(before + 1));
    let last = status(&site)["pushes"]["recent"].as_array().and_then(|all| all.last().cloned()).expect("one");
    let reason = last["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("git could not take it in"), "{last:#}");
    assert_eq!(last["by"], "administrator");
    assert!(site.log().contains("a push was refused"), "{}", site.log());
    // What a hook refuses is counted once.
    ada.push(&["-o", "nonsense", "origin", "HEAD:refs/heads/other"]).refused(&["nonsense"]);
    until("it is counted", || status(&site)["pushes"]["rejected"].as_u64() >= Some(before + 2));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(status(&site)["pushes"]["rejected"].as_u64(), Some(before + 2));
}

#[test]
fn what_the_servers_own_repository_has_lost_of_what_serves_is_put_back() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    for name in ["HEAD:machines", "HEAD:site.yaml", "HEAD^{tree}"] {
        let id = ada.git(&["rev-parse", name]).taken().text.trim().to_owned();
        let (folder, rest) = id.split_at(2);
        let object = site.repository().join("objects").join(folder).join(rest);
        let whole = std::fs::read(&object).expect("a loose object");
        std::fs::remove_file(&object).expect("removed");
        std::fs::write(&object, &whole[..whole.len() / 2]).expect("cut in half");
        let sound = || {
            let mut git = std::process::Command::new("git");
            let said = git.args(["cat-file", "-e", &id]).current_dir(site.repository()).status();
            said.is_ok_and(|status| status.success())
                && std::fs::metadata(&object).is_ok_and(|about| about.len() > whole.len() as u64 / 2)
        };
        until("it is put back", sound);
        let other = Person::new(&site, "administrator", &site.administrator());
        other.git(&["fetch", "-q", "origin", "main"]).taken();
    }
    assert!(site.log().contains("put back from the mirror"), "{}", site.log());
    ada.commit("It goes on", &[("README", "x")]);
    ada.push(&["origin", "main"]).taken();
}
