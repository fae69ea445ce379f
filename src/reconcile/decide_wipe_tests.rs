//! The guard against wiping many machines by one commit.

use super::{Allowance, Foreseen, Loss, guard_bound, guard_wipe, said_in};
use crate::content::Place;
use crate::content::kinds::WipeGuard;
use crate::git::Revision;

fn foreseen(lost: usize, machines: usize, guard: WipeGuard) -> Foreseen {
    let loss = |n: usize| Loss {
        machine: format!("node-{n}"),
        place: Some(Place { file: format!("machines/node-{n}.yaml").into(), line: 1, column: 1 }),
        why: "spec.run was raised from 1 to 2".to_owned(),
    };
    Foreseen { losses: (1..=lost).map(loss).collect(), machines, guard, ..Foreseen::default() }
}

/// A revision whose message says this.
fn said(message: &str) -> Revision {
    Revision { id: "a".into(), summary: String::new(), message: message.into() }
}

#[test]
fn more_than_the_share_needs_a_word() {
    let usual = WipeGuard::default();
    let strict = WipeGuard { share: 0, at_least: 1 };
    let off = WipeGuard { share: 100, at_least: 0 };
    let none = Allowance::default();
    for (lost, machines, guard, message, allowed) in [
        (0, 0, usual, "", true),
        (0, 100, strict, "", true),
        (2, 2, usual, "", true),
        (3, 12, usual, "", true),
        (3, 11, usual, "", false),
        (26, 100, usual, "", false),
        (25, 100, usual, "", true),
        (1, 100, strict, "", false),
        (100, 100, off, "", true),
        (26, 100, usual, "all anew\n\nFormwork-Allow-Wipe: all\n", true),
        (26, 100, usual, "Formwork-Allow-Wipe: node-1", true),
        (27, 100, usual, "Formwork-Allow-Wipe: node-1", false),
        (27, 100, usual, "Formwork-Allow-Wipe: node-1, node-2", true),
        (27, 100, usual, "Formwork-Allow-Wipe: node-1\nFormwork-Allow-Wipe: node-2", true),
        (26, 100, usual, "not Formwork-Allow-Wipe: all", false),
        (26, 100, usual, "Formwork-Allow-Wipe: node", false),
    ] {
        let answer = guard_wipe(&foreseen(lost, machines, guard), &said(message), &none);
        assert_eq!(answer.is_ok(), allowed, "{lost} of {machines} {guard:?} {message:?}: {answer:?}");
    }
}

#[test]
fn what_was_allowed_when_it_was_pushed_does_not_count() {
    let foreseen = foreseen(4, 8, WipeGuard::default());
    let named = |names: &[&str]| Allowance {
        wipe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Allowance::default()
    };
    assert!(guard_wipe(&foreseen, &said(""), &named(&["node-9"])).is_err());
    assert_eq!(guard_wipe(&foreseen, &said(""), &named(&["node-1", "node-2"])), Ok(()));
    assert_eq!(guard_wipe(&foreseen, &said(""), &Allowance { wipe_all: true, ..Allowance::default() }), Ok(()));
}

#[test]
fn the_finding_names_the_machines_and_the_word() {
    let finding = guard_wipe(&foreseen(30, 100, WipeGuard::default()), &said(""), &Allowance::default()).unwrap_err();
    for part in [
        "machines/node-1.yaml:1:1: error: it would wipe 30 of 100 machines, more than 25 %",
        "node-20 (spec.run was raised from 1 to 2) and 10 more",
        "`Formwork-Allow-Wipe: all`",
        "`-o allow-wipe=all`",
    ] {
        assert!(finding.contains(part), "{part} is not in:\n{finding}");
    }
    assert!(!finding.contains("node-21"), "{finding}");
}

#[test]
fn the_hint_is_a_line_to_copy_that_works() {
    let foreseen = foreseen(5, 8, WipeGuard::default());
    let one = Allowance { wipe: ["node-2".to_owned()].into(), ..Allowance::default() };
    let finding = guard_wipe(&foreseen, &said(""), &one).unwrap_err();
    let after = |start: &str| {
        let rest = finding.split(start).find(|rest| rest.starts_with("node-1")).expect("it is named");
        rest.split('`').next().unwrap().to_owned()
    };
    let trailer = format!("Formwork-Allow-Wipe: {}", after("`Formwork-Allow-Wipe: "));
    assert_eq!(guard_wipe(&foreseen, &said(&trailer), &Allowance::default()), Ok(()), "{trailer}");
    let wipe = after("`-o allow-wipe=").split(',').map(str::to_owned).collect();
    assert_eq!(guard_wipe(&foreseen, &said(""), &Allowance { wipe, ..Allowance::default() }), Ok(()));
}

#[test]
fn the_guard_itself_is_loosened_by_a_word_only() {
    let guard = |share, at_least| WipeGuard { share, at_least };
    for (serving, next, message, allowed) in [
        (guard(25, 3), guard(25, 3), "", true),
        (guard(25, 3), guard(10, 1), "", true),
        (guard(25, 3), guard(26, 3), "", false),
        (guard(25, 3), guard(100, 3), "", false),
        (guard(25, 3), guard(25, 4), "", false),
        (guard(25, 3), guard(0, 4), "", false),
        // Taken away: the default of the language holds again.
        (guard(10, 1), WipeGuard::default(), "", false),
        (guard(100, 9), WipeGuard::default(), "", true),
        (guard(25, 3), guard(100, 3), "wider\n\nFormwork-Allow-Wipe: all\n", true),
        (guard(25, 3), guard(100, 3), "Formwork-Allow-Wipe: node-1", false),
    ] {
        let answer = guard_bound(serving, next, "site.yaml:5:3", &said_in(message));
        assert_eq!(answer.is_ok(), allowed, "{serving:?} {next:?} {message:?}: {answer:?}");
        let all = Allowance { wipe_all: true, ..Allowance::default() };
        assert_eq!(guard_bound(serving, next, "site.yaml:5:3", &all), Ok(()), "{serving:?} {next:?}");
    }
    let named = Allowance { wipe: ["node-1".to_owned()].into(), ..Allowance::default() };
    let finding = guard_bound(guard(25, 3), guard(100, 3), "site.yaml:5:3", &named).unwrap_err();
    for part in ["site.yaml:5:3: error: it loosens spec.wipeGuard", "`share: 100, atLeast: 3`", "-o allow-wipe=all"] {
        assert!(finding.contains(part), "{part} is not in:\n{finding}");
    }
}
