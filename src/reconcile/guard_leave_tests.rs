//! The guards against many machines leaving at once, and against another site's content.

use super::guards::gone_sources;
use super::tests::Site;
use super::{
    Allowance, Census, Foreseen, GoneSource, HoldError, Loss, Outcome, SiteName, guard_leave, guard_leave_bound,
    guard_site, said_in,
};
use crate::content::Place;
use crate::content::kinds::LeaveGuard;
use crate::git::{MayLeave, Revision};

fn foreseen(leaving: usize, before: usize, leave_guard: LeaveGuard) -> Foreseen {
    let leaver = |n: usize| Loss {
        machine: format!("node-{n}"),
        place: Some(Place { file: format!("rack/node-{n}.yaml").into(), line: 1, column: 1 }),
        why: "it is gone from Git".to_owned(),
    };
    let leaving = (1..=leaving).map(leaver).collect();
    Foreseen { leaving, machines_before: before, leave_guard, ..Foreseen::default() }
}

/// A revision whose message says this.
fn said(message: &str) -> Revision {
    Revision { id: "0123456789abcdef".into(), summary: String::new(), message: message.into() }
}

const SOME: Census = Census { machines: 9, objects: 9 };

#[test]
fn more_than_the_share_leave_by_a_word_only() {
    let usual = LeaveGuard::default();
    let strict = LeaveGuard { share: 0, at_least: 1 };
    let off = LeaveGuard { share: 100, at_least: 0 };
    let none = Allowance::default();
    for (leaving, before, guard, message, allowed) in [
        (0, 0, usual, "", true),
        (0, 100, strict, "", true),
        (1, 3, usual, "", true),
        (2, 3, usual, "", true),
        (3, 12, usual, "", true),
        (3, 11, usual, "", false),
        (25, 100, usual, "", true),
        (26, 100, usual, "", false),
        (1, 100, strict, "", false),
        (100, 100, off, "", true),
        (26, 100, usual, "rack 7 is sold\n\nFormwork-Allow-Leave: all\n", true),
        (26, 100, usual, "Formwork-Allow-Leave: 26", true),
        (26, 100, usual, "Formwork-Allow-Leave: 25", false),
        (26, 100, usual, "Formwork-Allow-Leave: node-1", true),
        (27, 100, usual, "Formwork-Allow-Leave: node-1", false),
        (26, 100, usual, "Formwork-Allow-Wipe: all", false),
        // Many remain: emptying is not what this is.
        (26, 100, usual, "Formwork-Empty: yes", false),
    ] {
        let answer = guard_leave(&foreseen(leaving, before, guard), &[], SOME, &said(message), &none);
        assert_eq!(answer.is_ok(), allowed, "{leaving} of {before} {guard:?} {message:?}: {answer:?}");
    }
    let all = foreseen(9, 9, usual);
    let empty = Allowance { empty: true, ..Allowance::default() };
    assert_eq!(guard_leave(&all, &[], Census::default(), &said(""), &empty), Ok(()), "whoever empties it means this");
    assert!(guard_leave(&all, &[], SOME, &said(""), &empty).is_err());
    let pushed = Allowance { leave: MayLeave { most: 9, ..MayLeave::default() }, ..Allowance::default() };
    assert_eq!(guard_leave(&all, &[], SOME, &said(""), &pushed), Ok(()));
}

#[test]
fn the_finding_says_how_many_names_some_and_gives_words_that_work() {
    let foreseen = foreseen(30, 100, LeaveGuard::default());
    let finding =
        guard_leave(&foreseen, &[], SOME, &said("Formwork-Allow-Leave: node-1"), &Allowance::default()).unwrap_err();
    for part in [
        "rack/node-2.yaml:1:1: error: 29 of 100 machines would leave Git, more than 25 % (spec.leaveGuard of the site that serves): node-2",
        "node-21 and 9 more",
        "`Formwork-Allow-Leave: 30`",
        "`-o allow-leave=30`",
        "`formwork reconcile --allow-leave 30 --revision 0123456789ab`",
    ] {
        assert!(finding.contains(part), "{part} is not in:\n{finding}");
    }
    assert!(!finding.contains("node-22"), "{finding}");
    assert_eq!(guard_leave(&foreseen, &[], SOME, &said("Formwork-Allow-Leave: 30"), &Allowance::default()), Ok(()));
}

#[test]
fn a_source_that_goes_away_takes_no_machines_along_without_a_word() {
    let message = |parts: &[(&str, &str)]| {
        let lines: Vec<String> =
            parts.iter().map(|(name, at)| format!("Formwork-Source: {name} 0123 at {at}: One: more")).collect();
        format!("Subject\n\nFormwork-Source: forged 1 at rack: x\n\n{}\n", lines.join("\n"))
    };
    let (main, team) = (("main", "the site's root"), ("team-a", "rack"));
    let both = message(&[main, team]);
    assert_eq!(gone_sources(&both, &both), []);
    assert_eq!(gone_sources("One repository", &both), []);
    let gone = gone_sources(&both, &message(&[main]));
    assert_eq!(gone, [GoneSource { name: "team-a".into(), mount: "rack".into() }]);
    assert_eq!(gone_sources(&both, "One repository\n"), gone);
    for (leaving, mount, message, allowed) in [
        (3, "rack", "", false),
        (2, "rack", "", true),
        (3, "rac", "", true),
        (3, "rack", "Formwork-Allow-Leave: 3", true),
    ] {
        let gone = [GoneSource { name: "team-a".into(), mount: mount.into() }];
        let foreseen = foreseen(leaving, 100, LeaveGuard::default());
        let answer = guard_leave(&foreseen, &gone, SOME, &said(message), &Allowance::default());
        assert_eq!(answer.is_ok(), allowed, "{leaving} {mount} {message:?}: {answer:?}");
        assert!(answer.err().is_none_or(|finding| finding.contains("source `team-a` is gone, and 3 machines with it")));
    }
}

#[test]
fn the_guard_against_leaving_is_loosened_by_a_word_only() {
    let guard = |share, at_least| LeaveGuard { share, at_least };
    for (serving, next, message, allowed) in [
        (guard(25, 3), guard(10, 1), "", true),
        (guard(25, 3), guard(26, 3), "", false),
        (guard(25, 3), guard(25, 4), "", false),
        (guard(25, 3), guard(100, 3), "Formwork-Allow-Leave: all", true),
        (guard(25, 3), guard(100, 3), "Formwork-Allow-Leave: 9", false),
    ] {
        let answer = guard_leave_bound(serving, next, "site.yaml:5:3", &said_in(message));
        assert_eq!(answer.is_ok(), allowed, "{serving:?} {next:?} {message:?}: {answer:?}");
    }
    let finding = guard_leave_bound(guard(25, 3), guard(100, 3), "site.yaml:5:3", &Allowance::default()).unwrap_err();
    assert!(
        finding.contains("site.yaml:5:3: error: it loosens spec.leaveGuard") && finding.contains("allow-leave=all")
    );
}

#[test]
fn another_site_is_taken_by_its_name_only() {
    let next = |name: &str| SiteName { name: name.into(), place: "site.yaml:4:9".into() };
    let rename = |name: &str| Allowance { rename: Some(name.into()), ..Allowance::default() };
    for (known, name, message, allowed, expected) in [
        (None, "plant", "", Allowance::default(), true),
        (Some(""), "plant", "", Allowance::default(), true),
        (Some("lab"), "lab", "", Allowance::default(), true),
        (Some("lab"), "", "", Allowance::default(), true),
        (Some("lab"), "plant", "", Allowance::default(), false),
        (Some("lab"), "plant", "", rename("plant"), true),
        (Some("lab"), "plant", "", rename("lab"), false),
        (Some("lab"), "plant", "x\n\nFormwork-Allow-Site-Rename: plant\n", Allowance::default(), true),
        (Some("lab"), "plant", "Formwork-Allow-Site-Rename: planta", Allowance::default(), false),
    ] {
        let answer = guard_site(known, &next(name), &said(message), &allowed);
        assert_eq!(answer.is_ok(), expected, "{known:?} {name} {message:?}: {answer:?}");
    }
    let finding = guard_site(Some("lab"), &next("plant"), &said(""), &Allowance::default()).unwrap_err();
    for part in ["site.yaml:4:9: error: this is the site `plant`", "is `lab`", "-o allow-site-rename=plant"] {
        assert!(finding.contains(part), "{part} is not in:\n{finding}");
    }
}

#[tokio::test]
async fn another_sites_content_is_refused_also_after_a_restart_and_one_goes_back_to_the_old_name() {
    let mut site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a b"), ("name", "lab")]);
    site.attempted(&first).await;
    let other = site.repository.push("other", &[("machines", "a b"), ("name", "plant")]);
    let status = site.attempted(&other).await;
    let attempt = status.attempted.clone().expect("tried");
    assert_eq!(attempt.outcome, Outcome::Refused);
    assert!(attempt.findings[0].contains("this is the site `plant`"), "{:?}", attempt.findings);
    // The journal knows it, where the mirror is lost.
    std::fs::remove_dir_all(site.repository.beside("mirror.git")).expect("lost");
    site.restart().await;
    let status = site.attempted(&other).await;
    assert_eq!(status.attempted.as_ref().map(|last| last.outcome.clone()), Some(Outcome::Refused));
    let meant = site.repository.push("Renamed\n\nFormwork-Allow-Site-Rename: plant", &[("machines", "a b c")]);
    let status = site.attempted(&meant).await;
    assert_eq!(status.attempted.as_ref().map(|last| last.outcome.clone()), Some(Outcome::Applied));
    let back = site.reconciler().roll_back(Some(&first), "ann", "x", &Allowance::default()).await;
    assert!(!matches!(back, Err(HoldError::Refused { .. })), "{back:?}");
    assert_eq!(site.serves().map(|it| it.len()), Some(2));
}
