//! git leaves out a hook that is missing or cannot be run, and takes the push: the server gives it none then.

use super::site::{Person, SITE, Site, apart, node, said};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// The state directory as a mount of its own.
fn bound(site: &Site) -> String {
    let state = site.state().display().to_string();
    format!("mount --bind {state} {state}")
}

fn remount(site: &Site, option: &str) -> String {
    format!("mount -o remount,bind,{option} {}", site.state().display())
}

/// Whether a mount that runs nothing can be made here. Says why not, in a line that can be counted.
fn possible(test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let made =
        apart(&format!("mount -t tmpfs -o noexec tmpfs {at} && mount --bind {at} {at}")).arg("--version").output();
    let possible = made.is_ok_and(|made| made.status.success());
    if !possible {
        println!("SKIPPED {test}: mounts cannot be made here");
    }
    possible
}

#[test]
fn a_push_is_judged_also_where_the_hooks_were_taken_away_or_changed() {
    let site = Site::hosted();
    let first = site.person().begin();
    let token = site.user("bob", &["--read", "--push", "feature/*"]);
    let bob = Person::new(&site, "bob", &token);
    bob.commit("Mine", SITE);
    let hooks = site.repository().join("hooks");
    let refused = |what: &str| {
        bob.push(&["--force", "origin", "HEAD:main"]).refused(&["you may not push to `main`"]);
        assert_eq!(site.branch("main").as_ref(), Some(&first), "{what}");
    };
    refused("as it was");
    std::fs::rename(&hooks, site.path("away")).unwrap();
    refused("the folder was moved away");
    assert!(site.log().contains("pre-receive was missing"), "{}", site.log());
    std::fs::remove_file(hooks.join("pre-receive")).unwrap();
    refused("one is missing");
    std::fs::write(hooks.join("pre-receive"), "#!/bin/sh\nexit 0\n").unwrap();
    refused("it says yes to all");
    std::fs::set_permissions(hooks.join("pre-receive"), std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("it cannot be run");
    let config = |words: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(site.repository()).arg("config").args(words);
        said(command).taken();
    };
    config(&["core.hooksPath", "/nowhere"]);
    refused("they are looked for elsewhere");
    config(&["core.hooksPath", &hooks.display().to_string()]);
    // What cannot be put right takes no push of anybody, and says why.
    let ada = site.person();
    ada.git(&["pull", "-q", "origin", "main"]).taken();
    let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    std::fs::remove_file(hooks.join("pre-receive")).unwrap();
    std::fs::create_dir_all(hooks.join("pre-receive/full")).unwrap();
    ada.push(&["origin", "main"]).refused(&["503", "no push is taken now", "pre-receive cannot be put right"]);
    bob.push(&["--force", "origin", "HEAD:main"]).refused(&["503"]);
    assert_eq!(site.branch("main"), Some(first));
    assert!(site.log().contains("a push was refused: the hooks"), "{}", site.log());
    std::fs::remove_dir_all(hooks.join("pre-receive")).unwrap();
    ada.push(&["origin", "main"]).taken();
    site.until_applied(&second);
}

#[test]
fn a_push_to_where_nothing_can_be_run_is_refused_and_no_server_starts_there() {
    if !possible("a_push_to_where_nothing_can_be_run_is_refused_and_no_server_starts_there") {
        return;
    }
    let mut site = Site::hosted();
    let first = site.person().begin();
    site.kill();
    site.in_namespace(&bound(&site));
    assert!(site.serve(), "{}", site.log());
    {
        let token = site.user("bob", &["--read", "--push", "feature/*"]);
        let bob = Person::new(&site, "bob", &token);
        bob.commit("Mine", SITE);
        site.beside_server(&remount(&site, "noexec"));
        bob.push(&["--force", "origin", "HEAD:main"]).refused(&["503", "mounted noexec", "remount,exec"]);
        bob.git(&["fetch", "-q", "origin"]).taken();
        assert_eq!(site.branch("main"), Some(first));
        assert!(site.log().contains("a push was refused: the hooks"), "{}", site.log());
        site.beside_server(&remount(&site, "exec"));
        bob.push(&["--force", "origin", "HEAD:main"]).refused(&["you may not push to `main`"]);
        bob.push(&["origin", "HEAD:feature/mine"]).taken();
    }
    site.kill();
    let noexec = format!("{} && {}", bound(&site), remount(&site, "noexec"));
    site.in_namespace(&noexec);
    assert!(!site.serve(), "{}", site.log());
    assert!(site.log().contains("mounted noexec") && site.log().contains("remount,exec"), "{}", site.log());
    let mut doctor = apart(&noexec);
    doctor.args(["doctor", "-o", "table", "--state-dir"]).arg(site.state());
    let doctor = said(doctor);
    assert!(!doctor.good && doctor.text.contains("is mounted noexec"), "{}", doctor.text);
    // A new one is not even begun.
    std::fs::remove_dir_all(site.state().join("git")).unwrap();
    assert!(!site.serve() && !site.state().join("git").exists(), "{}", site.log());
}

#[test]
fn hooks_are_not_installed_where_git_would_leave_them_out() {
    if !possible("hooks_are_not_installed_where_git_would_leave_them_out") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let mut make = Command::new("git");
    make.args(["init", "-q", "--bare"]).arg(folder.path().join("own.git"));
    said(make).taken();
    let config = std::fs::read_to_string(folder.path().join("own.git/config")).unwrap();
    let mut install = apart(&format!("mount --bind {at} {at} && mount -o remount,bind,noexec {at}"));
    install.args(["hook", "install"]).arg(folder.path().join("own.git"));
    said(install).refused(&["mounted noexec", "remount,exec"]);
    assert!(!folder.path().join("own.git/hooks/pre-receive").exists());
    assert_eq!(std::fs::read_to_string(folder.path().join("own.git/config")).unwrap(), config);
}
