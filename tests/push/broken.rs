//! What git itself refuses, and a repository of the server's own that the disk has damaged.

use crate::site::{Person, SITE, Site, until};
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
fn a_damaged_repository_of_its_own_is_no_reason_not_to_start_and_what_served_serves() {
    let mut site = Site::hosted();
    let first = site.person().begin();
    site.until_applied(&first);
    // What is the server's own to write it writes anew.
    for name in ["config", "HEAD"] {
        site.kill();
        std::fs::write(site.repository().join(name), "[[[\0").expect("garbage");
        assert!(site.serve(), "{name}: {}", site.log());
        let person = Person::new(&site, "administrator", &site.administrator());
        person.git(&["fetch", "-q", "origin", "main"]).taken();
        assert!(site.log().contains("written anew"), "{name}: {}", site.log());
    }
    // What is not keeps it from nothing but pushes.
    for name in ["packed-refs", "refs"] {
        site.kill();
        let (path, aside) = (site.repository().join(name), site.path("aside"));
        let was_there = std::fs::rename(&path, &aside).is_ok();
        if name == "packed-refs" {
            std::fs::write(&path, "garbage\n").expect("garbage");
        }
        assert!(site.serve(), "{name}: {}", site.log());
        until("the status tells it", || status(&site)["content"]["reason"] == "SourceUnavailable");
        assert_eq!(site.applied().as_ref(), Some(&first), "{name}: what served serves");
        let person = Person::new(&site, "administrator", &site.administrator());
        person.commit("Mine", SITE);
        person.push(&["--force", "origin", "HEAD:main"]).refused(&["503", "no push is taken now"]);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).expect("removed");
        } else {
            let _ = std::fs::remove_file(&path);
        }
        if was_there {
            std::fs::rename(&aside, &path).expect("it is back");
        }
        until("all is well", || status(&site)["content"]["condition"] == "Ready");
        // Also to push to, without another start.
        person.git(&["fetch", "-q", "origin", "main"]).taken();
        person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
        person.commit(name, &[(name, "x")]);
        person.push(&["origin", &format!("HEAD:refs/heads/aside-{name}")]).taken();
    }
}

#[test]
fn what_the_servers_own_repository_has_lost_of_what_serves_is_put_back() {
    let site = Site::hosted();
    let ada = site.person();
    ada.begin();
    for name in ["HEAD:machines", "HEAD:site.yaml", "HEAD^{tree}", "HEAD"] {
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
