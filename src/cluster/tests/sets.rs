use super::super::{Answer, Count, Joined, Operation, Refusal, changes_after};
use super::{Cluster, machine_in, refused};
use crate::cluster::{Caller, Condition};
use crate::journal::Event;
use serde_json::json;

fn join(cluster: &mut Cluster, machine: &str, run: u64, barrier: Option<Count>) -> Joined {
    match cluster.ask(machine_in(machine, run), Operation::Join { set: "ready".to_owned(), barrier }) {
        Answer::Joined(joined) => joined,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ordinals_are_the_order_of_joining_and_stay() {
    let mut cluster = Cluster::of_three();
    for (machine, ordinal) in [("c", 0), ("a", 1), ("b", 2)] {
        let joined = join(&mut cluster, machine, 1, None);
        assert_eq!((joined.ordinal, joined.created), (ordinal, true));
    }
    let again = join(&mut cluster, "a", 7, None);
    assert_eq!((again.ordinal, again.created), (1, false), "reinstalled, it has its old place");
    assert_eq!(cluster.document.version, 3, "joining again is no write");
}

#[test]
fn a_barrier_for_all_opens_with_the_last_member_and_stays_open() {
    let mut cluster = Cluster::of_three();
    assert_eq!(join(&mut cluster, "a", 1, Some(Count::All)).opened, None);
    assert_eq!(join(&mut cluster, "b", 1, Some(Count::All)).opened, None);
    let opening = join(&mut cluster, "c", 1, Some(Count::All)).opened.expect("open");
    assert_eq!((opening.version, opening.joined), (3, 3));
    let opened = |event: &&Event| matches!(event, Event::BarrierOpened { count: 3, .. });
    assert_eq!(cluster.events.iter().filter(opened).count(), 1);
    cluster.members.push("d".to_owned());
    cluster.size = 4;
    assert_eq!(join(&mut cluster, "a", 2, Some(Count::All)).opened, Some(opening), "an opening stays");
}

#[test]
fn no_barrier_opens_below_the_declared_size_or_for_who_left() {
    let mut cluster = Cluster::of_three();
    cluster.size = 4;
    for machine in ["a", "b", "c"] {
        assert_eq!(join(&mut cluster, machine, 1, Some(Count::All)).opened, None);
    }
    let open = Operation::Open { set: "ready".to_owned(), count: Count::All };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), open.clone())), Refusal::NotYet { joined: 3, .. }));
    cluster.size = 2;
    cluster.members.push("d".to_owned());
    assert!(
        matches!(refused(cluster.ask(machine_in("a", 1), open.clone())), Refusal::NotYet { .. }),
        "d has not joined"
    );
    cluster.members.pop();
    assert!(matches!(cluster.ask(Caller::Server, open.clone()), Answer::Written { .. }), "the cluster shrank");
    assert!(matches!(cluster.ask(Caller::Server, open), Answer::Unchanged { .. }));
}

#[test]
fn a_count_is_of_members_that_joined() {
    let mut cluster = Cluster::of_three();
    assert_eq!(join(&mut cluster, "a", 1, Some(Count::AtLeast(2))).opened, None);
    cluster.members.retain(|name| name != "a");
    assert_eq!(join(&mut cluster, "b", 1, Some(Count::AtLeast(2))).opened, None, "a is gone");
    assert!(join(&mut cluster, "c", 1, Some(Count::AtLeast(2))).opened.is_some());
}

#[test]
fn who_joined_is_counted_alike_whichever_is_fewer_members_or_joined() {
    for (members, joined) in [(0_u32, 3_u32), (3, 0), (3, 2), (40, 3), (3, 40), (12, 12)] {
        let mut cluster = Cluster::of_three();
        // Every second one who joined is a member no more.
        let names = |count: u32, step: u32| (0..count).map(move |number| format!("m{:03}", number * step));
        cluster.members = names(members, 2).collect();
        let mut set = crate::cluster::Set::default();
        for (ordinal, name) in (0..).zip(names(joined, 1)) {
            let member = crate::cluster::Member { ordinal, version: 1, at_unix_ms: 0 };
            set.members.insert_mut(name, member);
        }
        let context = cluster.context(Caller::Server);
        let expected = names(joined, 1).filter(|name| cluster.members.contains(name)).count();
        assert_eq!(set.joined(&context) as usize, expected, "{members} members, {joined} joined");
        for count in 0..5 {
            assert_eq!(set.satisfies(Count::AtLeast(count), &context), expected >= count as usize);
        }
        cluster.size = 0;
        let all = set.satisfies(Count::All, &cluster.context(Caller::Server));
        assert_eq!(all, expected == cluster.members.len(), "{members} members, {joined} joined");
    }
}

#[test]
fn a_stream_tells_each_change_once_and_deletions_too() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!(1), Condition::Absent);
    cluster.put("a", "y", json!(1), Condition::Absent);
    join(&mut cluster, "b", 1, None);
    cluster.claim("c", 1, "init");
    cluster.put("a", "y", json!(2), Condition::Any);
    let delete = Operation::Delete { key: "x".to_owned(), condition: Condition::Any };
    cluster.ask(machine_in("a", 1), delete);
    let all = changes_after(&cluster.document, 0, cluster.now_ms).expect("known");
    assert_eq!(all.iter().map(|change| change.version).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(
        all.last().map(|change| change.changes.clone()),
        Some(vec![json!({"key": "x", "deleted": true, "version": 6})])
    );
    assert_eq!(changes_after(&cluster.document, 5, 0).map(|found| found.len()), Some(1));
    cluster.ask(Caller::Server, Operation::Reset { reason: String::new() });
    assert_eq!(changes_after(&cluster.document, 5, 0), None, "that is over");
    assert_eq!(changes_after(&cluster.document, 7, 0), Some(Vec::new()));
}
