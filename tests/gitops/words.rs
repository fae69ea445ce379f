//! What people say about following the source, typed at the command line; it outlives the server.

use super::site::{Site, git, machine};

#[test]
fn suspended_is_said_with_by_whom_and_what_waits_and_nothing_is_applied_until_it_is_lifted() {
    let mut site = Site::started();
    let first = site.head();
    let (code, said) = site.ends(&["suspend", "--reason", "the switch is replaced"]);
    assert_eq!(code, 0, "{said}");
    let second = site.push_label("1");
    let content = site.attempted(&second);
    assert_eq!(content["outcome"], "waiting", "{content:#}");
    let table = |site: &Site| site.ends(&["status", "-o", "table"]);
    let (code, said) = table(&site);
    assert_eq!(code, 1, "what Git shows does not serve: {said}");
    for part in
        ["suspended  since ", " by administrator (the switch is replaced); still looking; newest seen ", &second]
    {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    site.kill();
    site.start();
    site.attempted(&second);
    assert_eq!((site.content()["lastAppliedRevision"].as_str(), site.serves_label().as_str()), (Some(&*first), "0"));
    let (_, said) = site.ends(&["get", "machines", "-o", "table"]);
    assert!(said.contains("note: suspended by administrator"), "{said}");
    assert_eq!(site.ends(&["reconcile", "--wait"]).0, 4, "it is acted on, and not applied");
    assert_eq!(site.ends(&["suspend"]).0, 4, "it is so already");
    assert_eq!(site.ends(&["resume"]).0, 0);
    site.applied(&second);
    assert_eq!(site.ends(&["resume"]).0, 4, "there is nothing to lift");
    assert_eq!(site.ends(&["status"]).0, 0);
}

#[test]
fn a_rollback_stays_through_pushes_and_kills_until_resume_and_starts_no_run() {
    let mut site = Site::started();
    let first = site.head();
    assert!(site.firmware_asks("52:54:00:00:00:01").contains("#!ipxe"), "run 1 of a begins");
    // A higher run, begun; going back to the lower number starts nothing.
    site.write("machines/a.yaml", &machine("a", 1, "1").replace("spec: {", "spec: {run: 2, "));
    site.write("machines/b.yaml", &machine("b", 2, "1"));
    let second = site.push("run 2");
    site.applied(&second);
    assert_eq!(site.json(&["get", "machine", "a"])["run"], 2);
    assert_eq!(site.ends(&["rollback"]).0, 2, "without a reason nothing happens");
    let (code, said) = site.ends(&["rollback", "--reason", "it hangs"]);
    assert!(code == 0 && said.contains(&first), "{said}");
    assert_eq!(site.serves_label(), "0");
    site.firmware_asks("52:54:00:00:00:01");
    let machine = site.json(&["get", "machine", "a"]);
    assert_eq!((machine["run"].as_u64(), machine["runRevision"].as_str()), (Some(2), Some(&*second)), "{machine:#}");
    let third = site.push_label("2");
    site.attempted(&third);
    site.kill();
    site.start();
    let content = site.attempted(&third);
    assert_eq!(content["pinned"]["revision"], *first, "{content:#}");
    assert_eq!((content["lastAppliedRevision"].as_str(), content["reason"].as_str()), (Some(&*first), Some("Pinned")));
    assert_eq!(site.serves_label(), "0");
    let (_, events) = site.ends(&["events", "-o", "table"]);
    assert!(events.contains("goes back to revision") && events.contains("it hangs"), "{events}");
    // A broken push meanwhile: judged, told, and nothing else.
    let broken = site.push_broken("broken");
    let content = site.attempted(&broken);
    assert!(content["message"].as_str().unwrap().contains("would be refused with 1 finding"), "{content:#}");
    assert_eq!(site.ends(&["rollback", &broken, "--reason", "x"]).0, 3, "it never served");
    let fixed = site.push_label("3");
    site.attempted(&fixed);
    assert_eq!(site.ends(&["resume", "--reason", "mended"]).0, 0);
    site.applied(&fixed);
    assert_eq!(site.serves_label(), "3");
    let said: Vec<String> = site.history().into_iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(said, ["applied", "applied", "pinned", "applied", "refused", "resumed", "applied"]);
}

#[test]
fn what_a_guard_holds_is_allowed_to_the_revision_that_was_judged_and_to_no_other() {
    let site = Site::started();
    let path = |number: u32| format!("machines/m-{number}.yaml");
    (3..=10).for_each(|number| site.write(&path(number), &machine(&format!("m-{number}"), number, "0")));
    let many = site.push("many");
    site.applied(&many);
    let nothing = site.ends(&["reconcile", "--allow-leave", "6"]);
    assert!(nothing.0 == 4 && nothing.1.contains("nothing waits to be allowed"), "{nothing:?}");
    let remove = |number: u32| std::fs::remove_file(site.work().join(path(number))).unwrap();
    (3..=8).for_each(remove);
    let lost = site.push("lost");
    let content = site.attempted(&lost);
    let finding = content["findings"][0].as_str().unwrap_or_default();
    let command = format!("`formwork reconcile --allow-leave 6 --revision {}`", &lost[..12]);
    assert!(finding.contains(&command), "{finding}");
    // Whoever says `all` says of what.
    let (code, said) = site.ends(&["reconcile", "--allow-leave", "all"]);
    assert!(code != 0 && said.contains(&format!("--revision {}", &lost[..12])), "{code} {said}");
    // Another one waits by now: what was judged is not what would be allowed.
    remove(9);
    let more = site.push("more is lost");
    site.attempted(&more);
    let (code, said) = site.ends(&["reconcile", "--allow-leave", "6", "--revision", &lost[..12]]);
    assert_eq!(code, 4, "{said}");
    for part in [&lost[..12], &more[..12], "formwork diff", "nothing was changed"] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    assert!(site.history().iter().all(|(outcome, _)| outcome != "allowed"), "{:?}", site.history());
    let (code, said) = site.ends(&["reconcile", "--wait", "--allow-leave", "all", "--revision", &more[..7]]);
    assert_eq!(code, 0, "{said}");
    site.applied(&more);
    // It counted once: to go back and there again is to be said anew.
    assert_eq!(site.ends(&["rollback", &many, "--reason", "they are needed"]).0, 0);
    let (code, said) = site.ends(&["rollback", &more, "--reason", "x"]);
    assert!(code == 4 && said.contains("7 of 10 machines would leave Git"), "{code} {said}");
    let (code, said) = site.ends(&["rollback", "--reason", "x", "--allow-leave", "all"]);
    assert!(code != 0 && !said.contains("is pinned"), "{code} {said}");
    assert_eq!(site.ends(&["rollback", &more, "--reason", "x", "--allow-leave", "all"]).0, 0);
    assert_eq!(site.content()["lastAppliedRevision"], *more);
}

#[test]
fn reconcile_waits_for_what_comes_of_it_and_prints_the_findings() {
    let site = Site::started();
    let good = site.push_label("1");
    let (code, said) = site.ends(&["reconcile", "--wait", "--timeout", "2m", "-o", "json"]);
    assert!(code == 0 && said.contains(&good) && said.contains("\"outcome\":\"applied\""), "{said}");
    site.push_broken("broken");
    let (code, said) = site.ends(&["reconcile", "--wait", "--timeout", "2m", "-o", "table"]);
    assert!(code == 1 && said.contains("machines/broken.yaml:4:"), "{code} {said}");
    std::fs::rename(site.bare(), site.path("away.git")).unwrap();
    let (code, said) = site.ends(&["reconcile", "--wait", "--timeout", "2m", "-o", "table"]);
    assert!(code == 1 && said.contains("there is no repository"), "{code} {said}");
    std::fs::rename(site.path("away.git"), site.bare()).unwrap();
    let (code, said) = site.ends(&["reconcile", "-o", "json"]);
    assert!(code == 0 && said.contains("\"token\":"), "{said}");
}

#[test]
fn reconcile_of_what_cannot_be_read_says_so_at_once_and_goes_on_when_it_is_mended() {
    let site = Site::started();
    let first = site.head();
    site.label("1");
    let second = site.commit("second");
    git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    let tree = git(&site.work(), &["rev-parse", "HEAD:machines"]);
    let object = site.bare().join("objects").join(&tree[..2]).join(&tree[2..]);
    let whole = std::fs::read(&object).expect("a loose object");
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, b"garbage where a folder was").unwrap();
    git(&site.bare(), &["update-ref", "refs/heads/main", &second]);
    site.until("it is tried again and again", |content| content["reason"] == "SourceUnavailable");
    let (code, said) = site.ends(&["reconcile", "--wait", "--timeout", "2m"]);
    assert!(code == 1 && said.contains("cannot be read") && said.contains("fsck"), "{code} {said}");
    assert_eq!(site.content()["lastAppliedRevision"], *first);
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, whole).unwrap();
    site.applied(&second);
    assert_eq!(site.ends(&["reconcile", "--wait", "--timeout", "2m"]).0, 0);
}

#[test]
fn drift_is_told_in_a_line_and_machine_by_machine() {
    let site = Site::started();
    let drift = |site: &Site| site.json(&["status"])["drift"].take();
    assert_eq!(drift(&site), serde_json::json!({"never-seen": 2}));
    assert!(site.firmware_asks("52:54:00:00:00:01").contains("#!ipxe"));
    site.firmware_asks("52:54:00:00:77:77");
    assert_eq!(drift(&site), serde_json::json!({"never-seen": 1, "in-step": 1, "unknown": 1}));
    let (code, said) = site.ends(&["status", "--machines", "-o", "table"]);
    assert!(code == 0 && said.contains("unknown to Git") && said.contains("52:54:00:00:77:77"), "{said}");
    // It leaves, and the other is still to come.
    std::fs::remove_file(site.work().join("machines/a.yaml")).unwrap();
    let pushed = site.push("a is gone");
    site.applied(&pushed);
    let row = site.json(&["status", "--machines", "a"])["items"][0].take();
    assert_eq!((row["name"].as_str(), row["standing"].as_str()), (Some("a"), Some("left")), "{row:#}");
    assert_eq!(site.ends(&["status", "--machines", "nobody"]).0, 3);
}
