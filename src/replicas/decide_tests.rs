//! Standings of replicas, by tables.

use super::*;
use proptest::prelude::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn listed(name: &str, created: i64, version: &str) -> Listed {
    Listed { name: name.into(), created, version: version.into() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_oldest_of_those_that_are_there_leads() {
    let own = |confirmed, leads_from| Own { name: "b".into(), confirmed: at(confirmed), leads_from: at(leads_from) };
    let (a, b, c) = (listed("a", 2, "1"), listed("b", 1, "1"), listed("c", 3, "1"));
    let all = [a.clone(), b.clone(), c.clone()];
    for (what, lists, own, now, live, leader) in [
        ("alone", vec![(0, vec![b.clone()])], own(0, 0), 1, vec!["b"], Some("b")),
        ("the oldest, not the first by name", vec![(0, all.to_vec())], own(0, 0), 1, vec!["a", "b", "c"], Some("b")),
        (
            "made in one second: the first by name",
            vec![(0, vec![listed("a", 1, "1"), b.clone()])],
            own(0, 0),
            1,
            vec!["a", "b"],
            Some("a"),
        ),
        ("a first sight is a change", vec![(50, all.to_vec())], own(50, 0), 50, vec!["a", "b", "c"], Some("b")),
        ("just not gone", vec![(0, all.to_vec())], own(14, 0), 14, vec!["a", "b", "c"], Some("b")),
        (
            "gone, though it is listed",
            vec![(0, all.to_vec()), (14, all.to_vec())],
            own(15, 0),
            15,
            vec!["b"],
            Some("b"),
        ),
        (
            "one of them changed",
            vec![(0, all.to_vec()), (14, vec![a.clone(), b.clone(), listed("c", 3, "2")])],
            own(15, 0),
            15,
            vec!["b", "c"],
            Some("b"),
        ),
        (
            "changed too late is a return",
            vec![(0, all.to_vec()), (40, vec![listed("a", 2, "2"), b.clone()])],
            own(40, 0),
            41,
            vec!["a", "b"],
            Some("b"),
        ),
        (
            "a goodbye is known at once",
            vec![(0, all.to_vec()), (1, vec![b.clone(), c.clone()])],
            own(1, 0),
            1,
            vec!["b", "c"],
            Some("b"),
        ),
        ("not yet: it came among others", vec![(0, all.to_vec())], own(8, 10), 9, vec!["a", "b", "c"], None),
        ("now", vec![(0, all.to_vec())], own(8, 10), 10, vec!["a", "b", "c"], Some("b")),
        (
            "its own Lease was not renewed: it counts itself out",
            vec![(0, all.to_vec())],
            own(0, 0),
            10,
            vec!["a", "c"],
            None,
        ),
        ("nor does it know who leads", vec![(9, vec![a.clone(), b.clone()])], own(0, 0), 12, vec!["a"], None),
        ("nobody is there", vec![], own(0, 0), 60, vec![], None),
    ] {
        let mut seen = Observations::default();
        for (when, list) in lists {
            seen.see(list, at(when));
        }
        let standing = decide(&seen, &own, at(now));
        let expected = Standing { own: "b".into(), live: names(&live), leader: leader.map(str::to_owned) };
        assert_eq!(standing, expected, "{what}");
        assert_eq!(standing.leads(), leader == Some("b"), "{what}");
    }
}

/// Two replicas of which each sees what it may at worst: at no time do both lead.
#[test]
fn who_is_cut_off_has_stopped_before_another_begins() {
    let list = |a: &str, b: &str| [listed("a", 1, a), listed("b", 2, b)];
    let (mut of_a, mut of_b) = (Observations::default(), Observations::default());
    of_a.see(list("1", "1"), at(0));
    of_b.see(list("1", "1"), at(0));
    // From here on `a` reaches nobody. The renewal that it began at 0 was seen by `b` as soon as it can be.
    for second in 0..40 {
        of_b.see(list("1", &second.to_string()), at(second));
        let a = decide(&of_a, &Own { name: "a".into(), confirmed: at(0), leads_from: at(0) }, at(second));
        let b = decide(&of_b, &Own { name: "b".into(), confirmed: at(second), leads_from: at(10) }, at(second));
        assert!(!(a.leads() && b.leads()), "second {second}");
        assert_eq!((a.leads(), b.leads()), (second < 10, second >= 15), "second {second}");
    }
    // It comes back at 40 and is the older: `b` sees it five seconds later, and stops before it begins.
    for second in 40..60 {
        let returned = second.to_string();
        of_a.see(list(&returned, &returned), at(second));
        if second >= 45 {
            of_b.see(list(&returned, &returned), at(second));
        }
        let a = decide(&of_a, &Own { name: "a".into(), confirmed: at(second), leads_from: at(50) }, at(second));
        let b = decide(&of_b, &Own { name: "b".into(), confirmed: at(second), leads_from: at(10) }, at(second));
        assert_eq!((a.leads(), b.leads()), (second >= 50, second < 45), "second {second}");
    }
}

fn standing(own: &str, live: &[&str]) -> Standing {
    Standing { own: own.into(), live: names(live), leader: None }
}

#[test]
fn a_share_is_the_same_on_every_replica_and_in_every_release() {
    // Of these eight clients, who answers: written down, so that a change of the hash does not go unseen between two versions.
    let owners: Vec<&str> = (1..=8)
        .map(|last| {
            let of = ["a", "b", "c"]
                .into_iter()
                .filter(|own| standing(own, &["a", "b", "c"]).answers_for(Mac([0x52, 0x54, 0, 0, 0, last])));
            let of: Vec<_> = of.collect();
            assert_eq!(of.len(), 1, "{of:?}");
            of[0]
        })
        .collect();
    assert_eq!(owners.join(""), "acbcccbb");
    let client = Mac([0x52, 0x54, 0, 0, 0, 1]);
    assert!(standing("a", &["a"]).answers_for(client));
    assert!(!standing("a", &["b"]).answers_for(client) && !standing("a", &[]).answers_for(client));
}

#[test]
fn shares_are_of_about_one_size() {
    let live = ["formwork-0", "formwork-1", "formwork-2"];
    for own in live {
        let own = standing(own, &live);
        let mine = (0..3000_u16).filter(|n| own.answers_for(Mac([2, 0, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]])));
        let mine = mine.count();
        assert!((850..1150).contains(&mine), "{}: {mine} of 3000", own.own);
    }
}

#[test]
fn each_has_its_place() {
    for (own, live, place) in [
        ("a", &["a"][..], (0, 1)),
        ("b", &["a", "b", "c"], (1, 3)),
        ("c", &["a", "b", "c"], (2, 3)),
        // One that knows nothing of the others keeps away from nothing.
        ("b", &["a"], (0, 1)),
        ("b", &[], (0, 1)),
    ] {
        assert_eq!(standing(own, live).place(), place, "{own} of {live:?}");
    }
}

proptest! {
    #[test]
    fn who_goes_moves_only_its_own_clients(mac in any::<[u8; 6]>(), count in 2..6_usize, gone in 0..6_usize) {
        let all: Vec<String> = (0..count).map(|number| format!("formwork-{number}")).collect();
        let owner = |live: &[String]| {
            let mut of = live.iter().filter(|own| {
                Standing { own: (*own).clone(), live: live.to_vec(), leader: None }.answers_for(Mac(mac))
            });
            let owner = of.next().cloned();
            assert_eq!(of.next(), None);
            owner
        };
        let before = owner(&all);
        let gone = all[gone % count].clone();
        let left: Vec<String> = all.iter().filter(|name| **name != gone).cloned().collect();
        let after = owner(&left);
        prop_assert!(before.is_some() && after.is_some());
        if before.as_ref() != Some(&gone) {
            prop_assert_eq!(before, after);
        }
    }
}
