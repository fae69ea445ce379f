//! Which machine a box is: selectors, two that want it, and rules that take it in.

use super::super::testing::{compiled, edited, site};
use super::super::*;
use super::good;
use crate::content::Tree;
use crate::content::kinds::Architecture;

#[test]
fn a_box_is_selected_by_any_selector_and_junk_selects_nothing() {
    let with = edited(&[(
        "machines/node-1.yaml",
        "    macs:",
        "    uuid: 4C4C4544-0043-3010-8052-B4C04F4D3232\n    serial: ABC123\n    macs:",
    )]);
    let mut tree = with;
    tree.files.extend(
        site(&[(
            "machines/node-2.yaml",
            "%%kind: Machine\nmetadata: {name: node-2}\nspec: {match: {macs: ['52:54:00:00:00:02']}}\n",
        )])
        .files
        .into_iter()
        .filter(|(path, _)| path.ends_with("node-2.yaml")),
    );
    let catalog = compiled(&tree).unwrap();
    let select = |macs: &[&str], uuid: Option<&str>, serial: Option<&str>| {
        let hardware = HardwareIdentity {
            macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
            uuid: uuid.map(str::to_owned),
            serial: serial.map(str::to_owned),
        };
        match catalog.select(&hardware) {
            Selection::None => "none".to_owned(),
            Selection::One(machine) => machine.name.clone(),
            Selection::Conflict(machines) => {
                machines.iter().map(|machine| machine.name.as_str()).collect::<Vec<_>>().join("+")
            }
        }
    };
    assert_eq!(select(&["52-54-00-00-00-01"], None, None), "node-1");
    assert_eq!(select(&["52:54:00:00:00:09"], Some("4c4c4544-0043-3010-8052-b4c04f4d3232"), None), "node-1");
    assert_eq!(select(&[], None, Some(" ABC123 ")), "node-1");
    assert_eq!(select(&["52:54:00:00:00:02"], None, Some("ABC123")), "node-1+node-2");
    assert_eq!(select(&["52:54:00:00:00:09"], Some("00000000-0000-0000-0000-000000000000"), Some("None")), "none");
}

#[test]
fn of_two_sources_that_want_one_box_the_later_is_told_and_where_the_other_has_it() {
    let mut tree = site(&[]);
    let tenant = "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {name: a-1}\n\
                  spec: {match: {macs: ['52:54:00:00:00:77', '52:54:00:00:00:01']}}\n";
    tree.files.extend(
        Tree::from_texts([("tenants/a/a-1.yaml", tenant)])
            .files
            .iter()
            .map(|(path, file)| (path.clone(), file.clone())),
    );
    let said = |tree: &Tree| {
        let findings = compiled(tree).expect_err("a twin");
        let twins = findings.0.iter().filter(|finding| finding.code == "twin-mac").map(ToString::to_string);
        twins.collect::<Vec<_>>().join("\n")
    };
    // In one repository it is whichever comes second by its name.
    let one = said(&tree);
    assert!(one.starts_with("machines/node-1.yaml:") && one.contains("selects machine `a-1` already\n"), "{one}");
    tree.mounts = vec!["tenants/a".to_owned()];
    let two = said(&tree);
    assert!(two.starts_with("tenants/a/a-1.yaml:4:44: error: MAC 52:54:00:00:00:01 selects machine `node-1` already, at machines/node-1.yaml:"), "{two}");
    // What is at the root came later.
    tree.mounts = vec!["tenants/a".to_owned(), String::new()];
    let root = said(&tree);
    assert!(
        root.starts_with("machines/node-1.yaml:") && root.contains("`a-1` already, at tenants/a/a-1.yaml:4:44"),
        "{root}"
    );
    // Two tenants: the one that the server names later.
    tree.mounts = vec!["machines".to_owned(), "tenants/a".to_owned()];
    assert_eq!(said(&tree), two);
    tree.mounts.reverse();
    let first = said(&tree);
    assert!(
        first.starts_with("machines/node-1.yaml:") && first.contains("`a-1` already, at tenants/a/a-1.yaml:4:44"),
        "{first}"
    );
}

#[test]
fn a_box_may_be_known_later_by_what_it_has_not_said() {
    let by_serial = ("machines/node-1.yaml", "macs: [\"52:54:00:00:00:01\"]", "serial: ABC123");
    let by_uuid =
        ("machines/node-1.yaml", "macs: [\"52:54:00:00:00:01\"]", "uuid: 4c4c4544-0043-3010-8052-b4c04f4d3232");
    let named = |template: &'static str| ("machines/rule.yaml", "node-{{ mac | replace(':', '') }}", template);
    let (uuid, serial) = (Some("4c4c4544-0043-3010-8052-b4c04f4d9999"), Some("XYZ"));
    for (what, edit, mac, uuid, serial, expected) in [
        ("nothing wants more than a MAC", None, "52:54:01:00:00:09", uuid, None, false),
        ("a machine is selected by its serial", Some(by_serial), "52:54:01:00:00:09", uuid, None, true),
        ("it has said its serial", Some(by_serial), "52:54:01:00:00:09", uuid, serial, false),
        ("a machine is selected by its UUID", Some(by_uuid), "52:54:01:00:00:09", None, serial, true),
        ("it has said its UUID", Some(by_uuid), "52:54:01:00:00:09", uuid, None, false),
        ("a rule names it by its serial", Some(named("n-{{ serial | lower }}")), "52:54:00:00:00:09", uuid, None, true),
        ("of another maker", Some(named("n-{{ serial | lower }}")), "52:54:01:00:00:09", uuid, None, false),
        ("a rule names it by its UUID", Some(named("n-{{ uuid }}")), "52:54:00:00:00:09", uuid, None, false),
        ("no MAC", Some(by_serial), "junk", uuid, None, false),
    ] {
        let catalog = compiled(&edited(edit.as_slice())).unwrap_or_else(|findings| panic!("{what}: {findings}"));
        let seen = Seen {
            mac: mac.to_owned(),
            uuid: uuid.map(str::to_owned),
            serial: serial.map(str::to_owned),
            architecture: Some(Architecture::X86_64),
            subnet: Some("rack-1".to_owned()),
        };
        assert_eq!(catalog.may_know_later(&seen), expected, "{what}");
    }
}

#[test]
fn a_rule_takes_in_a_box_only_when_all_its_conditions_hold() {
    let catalog = good();
    let seen = |mac: &str, subnet: Option<&str>| Seen {
        mac: mac.into(),
        subnet: subnet.map(str::to_owned),
        architecture: Some(Architecture::X86_64),
        ..Seen::default()
    };
    let (rule, name) = catalog.enrollment_for(&seen("52:54:00:AA:00:07", Some("rack-1"))).unwrap();
    assert_eq!((&*rule.name, name.as_str()), ("new", "node-525400aa0007"));
    assert!(catalog.enrollment_for(&seen("52:54:00:aa:00:07", None)).is_none(), "no subnet");
    assert!(catalog.enrollment_for(&seen("52:54:01:aa:00:07", Some("rack-1"))).is_none(), "another maker");
    assert!(catalog.enrollment_for(&seen("junk", Some("rack-1"))).is_none(), "no MAC");
    let view = catalog.enrolled_view(&name, "new", "52:54:00:aa:00:07", None, None).unwrap();
    assert_eq!((view.workflow.as_deref(), view.wipe, view.run), (Some("node"), true, 1));
    assert!(catalog.enrolled_view(&name, "gone", "52:54:00:aa:00:07", None, None).is_none());
}
