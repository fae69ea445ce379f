//! One test for each complaint about other reconcilers; the system and the number of its issue stand in a comment.

use super::site::{Site, git, machine};
use std::time::Duration;

// argo-cd 23547, 29716
#[test]
fn a_failed_revision_never_goes_back_to_an_arbitrary_older_one_nor_makes_a_stale_one_apply() {
    let mut site = Site::started();
    let first = site.head();
    let second = site.push_label("1");
    site.applied(&second);
    for round in 0..3 {
        let broken = site.push_broken(&format!("broken {round}"));
        let content = site.attempted(&broken);
        assert_eq!(content["lastAppliedRevision"], *second, "{content:#}");
        assert_eq!((content["condition"].as_str(), content["reason"].as_str()), (Some("Stalled"), Some("Refused")));
        assert_eq!(site.serves_label(), "1");
    }
    // Neither does a restart, nor being asked by hand.
    site.kill();
    site.start();
    site.until("it is refused again", |content| content["reason"] == "Refused");
    let (code, said) = site.ends(&["reconcile", "--wait"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!((site.content()["lastAppliedRevision"].as_str(), site.serves_label().as_str()), (Some(&*second), "1"));
    let applied: Vec<String> =
        site.history().into_iter().filter(|(outcome, _)| outcome == "applied").map(|(_, revision)| revision).collect();
    assert_eq!(applied, [first, second], "each was applied once and never again");
}

// argo-cd 11494, kustomize-controller 701
#[test]
fn the_commit_that_fixes_is_applied_while_the_failed_one_is_still_tried_again() {
    let site = Site::started();
    // It cannot be read: one of its objects is missing, so it is tried again and again.
    site.label("1");
    let failing = site.commit("cannot be read");
    let blob = git(&site.work(), &["rev-parse", "HEAD:machines/a.yaml"]);
    git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    let (first, rest) = blob.split_at(2);
    std::fs::remove_file(site.bare().join("objects").join(first).join(rest)).expect("a loose object");
    git(&site.bare(), &["update-ref", "refs/heads/main", &failing]);
    let content = site.until("it is tried again", |content| {
        let tried = content["recent"].as_array().into_iter().flatten().any(|row| row["outcome"] == "postponed");
        content["reason"] == "SourceUnavailable" && tried
    });
    assert!(content["message"].as_str().unwrap().contains("cannot be read"), "{content:#}");
    assert_eq!(site.serves_label(), "0");
    // The fix does not have that object; it is sent whole, not as what differs from what is missing.
    site.label("2");
    let fixed = site.commit("the fix");
    git(&site.work(), &["push", "-q", "--no-thin", "origin", "HEAD:main"]);
    site.applied(&fixed);
    assert_eq!(site.serves_label(), "2");
    // The same where the failed one was refused.
    site.push_broken("refused");
    let fixed = site.push_label("3");
    site.applied(&fixed);
    assert_eq!(site.serves_label(), "3");
}

// argo-cd 23748
#[test]
fn the_revision_that_is_reported_as_failing_is_the_one_that_fails() {
    let site = Site::started();
    let good = site.head();
    let one = site.push_broken("one fault");
    let content = site.attempted(&one);
    assert_eq!(content["findings"].as_array().map(Vec::len), Some(1), "{content:#}");
    let other = super::site::BROKEN.replace("broken", "other").replace("nonsense", "folly").replace("ff:01", "ff:02");
    site.write("machines/other.yaml", &other);
    let two = site.push("two faults");
    let content = site.attempted(&two);
    let findings: Vec<&str> = content["findings"].as_array().unwrap().iter().filter_map(|it| it.as_str()).collect();
    assert_eq!(findings.len(), 2, "{content:#}");
    assert!(findings.iter().any(|finding| finding.starts_with("machines/other.yaml:4:") && finding.contains("folly")));
    assert_eq!(content["lastAppliedRevision"], *good);
    assert!(content["message"].as_str().unwrap().contains(&format!("revision {} is refused", &two[..12])));
    // History keeps apart what each of them had.
    let list = site.json(&["history"]);
    let counts: Vec<(&str, u64)> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["outcome"] == "refused")
        .map(|row| (row["revision"].as_str().unwrap(), row["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(counts, [(one.as_str(), 1), (two.as_str(), 2)]);
}

// fleet 3194, 3138, 780, 3930
#[test]
fn ready_means_that_the_newest_serves_force_fetches_and_other_settings_wedge_nothing() {
    let mut site = Site::started();
    for n in 1..=8 {
        let pushed = site.push_label(&n.to_string());
        // "Green" is never said of anything but what was seen.
        let content = site.until("it is applied", |content| {
            if content["condition"] == "Ready" {
                assert_eq!(content["lastAppliedRevision"], content["lastSeenRevision"], "{content:#}");
            }
            content["lastAppliedRevision"] == *pushed && content["condition"] == "Ready"
        });
        assert_eq!(content["lastSeenRevision"], *pushed);
        // By force: what was pushed before the request serves when it ends.
        let forced = site.push_label(&format!("{n}-forced"));
        let (code, said) = site.ends(&["reconcile", "--wait", "--timeout", "2m", "-o", "json"]);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&forced), "{said}");
        assert_eq!(site.serves_label(), format!("{n}-forced"));
    }
    // Other settings, and back again.
    let main = site.head();
    site.label("aside");
    let aside = site.commit("aside");
    git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    site.kill();
    site.follow("aside");
    site.start();
    site.applied(&aside);
    site.kill();
    site.follow("main");
    site.start();
    site.applied(&main);
    let newer = site.push_label("newer");
    site.applied(&newer);
}

// argo-cd 18969, 17775
#[test]
fn one_commit_touches_only_what_it_changes_however_many_machines_there_are() {
    let mut site = Site::new();
    for number in 10..310 {
        site.write(&format!("machines/m{number}.yaml"), &machine(&format!("m{number}"), number, "0"));
    }
    site.push("three hundred machines");
    site.start();
    site.applied(&site.head());
    // Machines that are in the middle of something: they would be the ones to be refreshed.
    for number in 10..20 {
        let script = site.firmware_asks(&format!("52:54:00:00:00:{number:02x}"));
        assert!(script.contains("#!ipxe"), "{script}");
    }
    let events = |site: &Site| -> Vec<serde_json::Value> {
        let text = site.type_in(&["events", "-o", "json"]).stdout;
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let before = events(&site).len();
    site.write("machines/m200.yaml", &machine("m200", 200, "1"));
    let began = std::time::Instant::now();
    let pushed = site.push("one file");
    site.applied(&pushed);
    println!("one file among 300 machines served {:?} after the push began", began.elapsed());
    let after = events(&site);
    let new: Vec<String> = after[before..]
        .iter()
        .filter(|record| record["stream"] != "site")
        .map(|record| format!("{} {}", record["stream"], record["event"]["type"]))
        .collect();
    assert!(new.is_empty(), "one commit wrote down for others: {new:?}");
    assert_eq!(after.len(), before + 1, "{:?}", &after[before..]);
}

// source-controller 527
#[test]
fn memory_does_not_grow_with_the_count_of_commits() {
    let site = Site::started();
    // Half a megabyte a commit that cannot be pressed together: kept, sixty of them would be thirty.
    let mut last = String::new();
    let resident = |site: &Site| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let commit = |n: u32| {
        let mut state = u64::from(n) + 1;
        let noise: String = (0..32_768)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{state:016x}")
            })
            .collect();
        site.write("notes.txt", &noise);
        site.push_label(&n.to_string())
    };
    // Warm: as many as are kept to go back to, and for open runs.
    for n in 0..30 {
        last = commit(n);
    }
    site.applied(&last);
    let warm = resident(&site);
    for n in 30..130 {
        last = commit(n);
        if n % 10 == 0 {
            site.applied(&last);
        }
    }
    site.applied(&last);
    let grown = resident(&site).saturating_sub(warm);
    println!("{warm} KiB resident after 30 commits, {grown} KiB more after 100 more of half a megabyte each");
    assert!(grown < 24 * 1024, "{grown} KiB more after a hundred commits");
}

// flux2 2627, 3316
#[test]
fn deleting_an_object_with_its_folder_settles_and_a_rename_deletes_nothing() {
    let site = Site::started();
    site.write("racks/b/c.yaml", &machine("c", 3, "0"));
    let pushed = site.push("another rack");
    site.applied(&pushed);
    assert!(site.firmware_asks("52:54:00:00:00:03").contains("#!ipxe"), "it is known from now on");
    let names = |site: &Site| -> Vec<(String, String)> {
        let list = site.json(&["get", "machines"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(|it| (text(&it["name"]), text(&it["source"]))).collect()
    };
    let of = |name: &str, source: &str| (name.to_owned(), source.to_owned());
    // A rename of every folder: all of them are there as before.
    git(&site.work(), &["mv", "racks", "places"]);
    git(&site.work(), &["mv", "machines", "places/a"]);
    let renamed = site.push("everything is elsewhere");
    site.applied(&renamed);
    assert_eq!(names(&site), [of("a", "git"), of("b", "git"), of("c", "git")]);
    let events = String::from_utf8(site.type_in(&["events", "-o", "json"]).stdout).unwrap();
    assert!(!events.contains("\"type\":\"left\""), "{events}");
    // An object and its folder in one commit.
    git(&site.work(), &["rm", "-q", "-r", "places/b"]);
    let deleted = site.push("the rack is gone");
    let content = site.applied(&deleted);
    assert_eq!(content["findings"].as_array().map(Vec::len), Some(0), "{content:#}");
    assert_eq!(names(&site), [of("a", "git"), of("b", "git"), of("c", "left")]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(site.content()["lastAppliedRevision"], *deleted, "it has settled");
}

// flux2 479
#[test]
fn a_hint_that_comes_before_the_push_is_visible_loses_nothing() {
    let site = Site::started();
    let before = site.head();
    site.label("1");
    let pushed = site.commit("later");
    git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    // The hint: it is acted on, and finds what was there.
    let (code, said) = site.ends(&["reconcile", "--wait", "-o", "json"]);
    assert!(code == 0 && said.contains(&before), "{said}");
    // Then the push becomes visible, and nobody says so.
    let reference = site.bare().join("refs/heads/main");
    std::fs::write(&reference, format!("{pushed}\n")).unwrap();
    site.applied(&pushed);
    assert_eq!(site.serves_label(), "1");
}
