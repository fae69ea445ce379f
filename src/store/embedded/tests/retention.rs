//! What retention leaves on the disk, and stores of other layouts.

use super::disk::Disk;
use super::failures::{new_disk, start_with};
use crate::cluster;
use crate::journal::{Cut, Event, MachineState, Record, Retention, Stream, fold_below};
use crate::store::conformance::clusters::{ask, put};
use crate::store::conformance::{NOW, decided, machine};
use crate::store::embedded::tables::{self, CLUSTERS, ENGINE, FIRSTS, PARTS, SCHEMA, SCHEMA_KEY};
use crate::store::embedded::{EmbeddedStore, Options, backup, check, dump, restore};
use crate::store::{Batch, Lease, Operation, Store, StoreError};
use crate::wire::JobOutcome;
use redb::ReadableDatabase;
use std::io::Read;

/// What a machine does in a run.
fn run(number: u64) -> Vec<Event> {
    let boot = format!("boot-{number}");
    let mut events = vec![
        Event::RunStarted {
            run: number,
            workflow: "walk".into(),
            revision: "0123456789012345678901234567890123456789".into(),
            reason: format!("spec.run was raised from {} to {number}", number - 1),
            destructive_allowed: true,
        },
        Event::Offered {
            offer: format!("{number:032}"),
            environment: "discovery.discovery".into(),
            address: None,
            mac: "02:00:00:00:00:01".into(),
            firmware: "uefi".into(),
            reason: "run".into(),
            run: Some(number),
        },
        Event::Exchanged {
            ticket: format!("{number:032}"),
            key: "k".repeat(64),
            boot_id: boot.clone(),
            generation: number,
        },
    ];
    for task in ["look", "install"] {
        let job = format!("job-{number}-{task}");
        events.push(Event::JobGranted {
            job: job.clone(),
            run: number,
            stage_index: 0,
            stage: "stage".into(),
            task_index: 0,
            task: task.into(),
            digest: "d".repeat(64),
            attempt: 1,
            boot_id: boot.clone(),
            destructive: false,
            timeout_seconds: 3600,
        });
        let (outcome, requests) = (JobOutcome::Done, Vec::new());
        events.push(Event::JobEnded { job, outcome, exit_code: Some(0), message: None, requests, log_at: None });
    }
    events.push(Event::RunFinished { run: number });
    events
}

fn cut(policy: &Retention, records: &[Record], now_unix_ms: i64) -> Cut {
    let mut cut = policy.cut(now_unix_ms);
    records.iter().for_each(|record| cut.take(record));
    cut
}

/// Walks runs on machines by turns, so many on each, and now and then drops what is not kept. Gives what the disk takes after each
/// thousand of all.
fn walk(disk: &Disk, machines: u64, runs: u64, policy: &Retention) -> Vec<usize> {
    let store = start_with(disk, Options { cache_bytes: 16 << 20, ..Options::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let streams: Vec<Stream> = (0..machines).map(|machine_number| machine(&format!("m{machine_number}"))).collect();
    let mut states = vec![MachineState::default(); streams.len()];
    let mut taken = Vec::new();
    let mut walked = 0;
    for number in 1..=runs {
        for (stream, state) in streams.iter().zip(&mut states) {
            let events = run(number).into_iter().map(|event| (stream.clone(), event)).collect();
            let committed = runtime.block_on(store.commit(Batch { events, ..Batch::default() }, NOW)).unwrap();
            committed.records.iter().for_each(|record| state.apply(record));
            if number % 50 == 0 {
                let records = store.events_of(stream, 0, usize::MAX).unwrap();
                if let Some(below) = cut(policy, &records, NOW).machine() {
                    let (folded, jobs) = fold_below(MachineState::default(), &records, below, state);
                    assert!(!jobs.is_empty() && jobs.iter().all(|job| job.starts_with("job-")));
                    let folded = Event::Folded { made_at: number, macs: Vec::new(), state: Box::new(folded) };
                    let compact = Operation::Compact { stream: stream.clone(), below, folded: Some(Box::new(folded)) };
                    let batch = Batch { operations: vec![compact], ..Batch::default() };
                    runtime.block_on(store.commit(batch, NOW)).unwrap();
                }
            }
            walked += 1;
            if walked % 1000 == 0 {
                taken.push(disk.taken());
            }
        }
    }
    drop(store);
    let store = start_with(disk, Options::default()).unwrap();
    for (stream, state) in streams.iter().zip(states) {
        let records = store.events_of(stream, 0, usize::MAX).unwrap();
        assert_eq!(MachineState::fold(&records), state, "what is kept comes to the same as all that happened");
        let started = |record: &&Record| matches!(record.event, Event::RunStarted { .. });
        assert!(records.iter().filter(started).count() as u64 >= runs.min(policy.runs as u64));
    }
    taken
}

#[test]
fn the_size_is_steady_over_ten_thousand_runs() {
    let taken = walk(&new_disk(), 1, 10_000, &Retention::default());
    println!("bytes on the disk after each thousand runs: {taken:?}");
    assert!(taken[9] <= taken[1] + taken[1] / 4, "{taken:?}");
    let all = walk(&new_disk(), 1, 1_000, &Retention { runs: 1_000_000, events: 1_000_000, ..Retention::default() });
    assert!(all[0] > taken[0] * 2, "without retention a tenth of the runs takes more: {all:?}");
}

#[test]
fn the_size_is_steady_over_ten_thousand_runs_of_several_machines_by_turns() {
    let taken = walk(&new_disk(), 8, 1_250, &Retention::default());
    println!("bytes on the disk after each thousand runs of eight machines: {taken:?}");
    // Each machine keeps its own last runs: what eight of them keep is there after two thousand.
    assert!(taken[9] <= taken[2] + taken[2] / 4, "{taken:?}");
}

#[test]
fn leases_are_state_of_their_own_and_stay_as_they_are_when_their_events_go() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    let first = Lease {
        mac: "02:00:00:00:00:01".into(),
        address: [10, 77, 0, 100].into(),
        subnet: "rack".into(),
        at_unix_ms: NOW,
        seconds: 3600,
        declined: false,
    };
    let leased = Event::Leased {
        mac: first.mac.clone(),
        address: first.address,
        seconds: first.seconds,
        subnet: first.subnet.clone(),
    };
    let put = |lease: &Lease, events| {
        let operations = vec![Operation::PutLease(lease.clone())];
        Batch { operations, events, ..Batch::default() }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let commit = |batch| runtime.block_on(store.commit(batch, NOW)).unwrap();
    commit(put(&first, vec![(machine("m"), leased)]));
    for index in 1..20 {
        commit(decided(&machine("m"), index, "x"));
    }
    // A renewal and an address that was declined are no events: from events alone neither would be known.
    let renewed = Lease { at_unix_ms: NOW + 1_800_000, ..first.clone() };
    let declined = Lease { mac: "02:00:00:00:00:02".into(), address: [10, 77, 0, 101].into(), declined: true, ..first };
    for lease in [&renewed, &declined] {
        commit(put(lease, Vec::new()));
    }
    // Nor would the first, once retention has dropped what happened then.
    let compact = Operation::Compact { stream: machine("m"), below: 15, folded: None };
    commit(Batch { operations: vec![compact], ..Batch::default() });
    let records = store.events_after(0, 100).unwrap();
    assert!(!records.iter().any(|record| matches!(record.event, Event::Leased { .. })), "the event went");
    drop(store);
    let (copy, other) = (dir.path().join("copy.redb"), tempfile::tempdir().unwrap());
    assert_eq!(backup(dir.path(), &copy).unwrap().leases, 2);
    restore(&copy, other.path(), false).unwrap();
    for dir in [dir.path(), other.path()] {
        let store = EmbeddedStore::open(dir).unwrap();
        assert_eq!(store.leases().unwrap(), [renewed.clone(), declined.clone()], "{}", dir.display());
    }
}

#[tokio::test]
async fn a_store_whose_old_events_went_is_whole_after_opening_again_and_so_is_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for index in 0..20 {
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    let compact = Operation::Compact { stream: machine("m"), below: 15, folded: None };
    store.commit(Batch { operations: vec![compact], ..Batch::default() }, NOW).await.unwrap();
    let events = store.events_after(0, 100).unwrap();
    assert_eq!(events.len(), 6);
    drop(store);
    assert_eq!(check(dir.path()).unwrap().events, 6);
    let other = tempfile::tempdir().unwrap();
    backup(dir.path(), &other.path().join("store.redb")).unwrap();
    for dir in [dir.path(), other.path()] {
        let store = EmbeddedStore::open(dir).unwrap();
        assert_eq!(store.events_after(0, 100).unwrap(), events);
        assert_eq!((store.head(&machine("m")).unwrap(), store.compacted(None).unwrap()), (20, 16));
    }
}

/// Written by the program as it was when its layout was 1: a site, a machine in its first run, a box, a cluster.
fn layout_1(dir: &std::path::Path) {
    let packed = &include_bytes!("schema-1.redb.zst")[..];
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(packed).unwrap().read_to_end(&mut bytes).unwrap();
    std::fs::write(dir.join("store.redb"), bytes).unwrap();
}

fn schema(dir: &std::path::Path) -> (u64, bool) {
    let database = redb::Database::open(dir.join("store.redb")).unwrap();
    let snapshot = database.begin_read().unwrap();
    let schema = snapshot.open_table(ENGINE).unwrap().get(SCHEMA_KEY).unwrap().unwrap().value();
    (schema, snapshot.open_table(FIRSTS).is_ok())
}

#[tokio::test]
async fn a_store_of_the_first_layout_is_brought_to_this_one_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    layout_1(dir.path());
    let report = check(dir.path()).unwrap();
    assert_eq!((report.events, report.streams, report.clusters), (7, 3, 1));
    let mut text = Vec::new();
    dump(dir.path(), &mut text).unwrap();
    assert_eq!(schema(dir.path()), (1, false), "looking at it changes nothing");
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(backup(dir.path(), &copy.path().join("store.redb")).unwrap(), report);

    for dir in [dir.path(), copy.path()] {
        let store = EmbeddedStore::open(dir).unwrap();
        let state = MachineState::fold(&store.events_of(&machine("node-1"), 0, 100).unwrap());
        assert_eq!((state.highest_run, state.offers.len(), state.head), (1, 3, 4));
        let document = store.cluster("etcd").unwrap().unwrap();
        assert_eq!((document.version, document.keys.size()), (2, 2));
        store.commit(decided(&machine("node-1"), 4, "goes on"), NOW).await.unwrap();
        ask(&store, "m00", put("k", 1, cluster::Condition::Absent)).await;
        let compact = Operation::Compact { stream: machine("node-1"), below: 3, folded: None };
        store.commit(Batch { operations: vec![compact], ..Batch::default() }, NOW).await.unwrap();
        drop(store);
        assert_eq!(schema(dir), (SCHEMA, true));
        assert_eq!(check(dir).unwrap().events, 7 + 1 - 3);
    }
}

/// Makes the store what it was when its layout was 2: each document one value.
fn as_layout_2(dir: &std::path::Path) {
    let database = redb::Database::open(dir.join("store.redb")).unwrap();
    let documents = tables::documents_of(&database.begin_read().unwrap()).unwrap();
    let write = database.begin_write().unwrap();
    for (name, document) in documents {
        let bytes = crate::store::encoding::encode(&document).unwrap();
        write.open_table(CLUSTERS).unwrap().insert(name.as_str(), bytes.as_slice()).unwrap();
    }
    write.delete_table(PARTS).unwrap();
    write.open_table(ENGINE).unwrap().insert(SCHEMA_KEY, 2).unwrap();
    write.commit().unwrap();
}

#[tokio::test]
async fn documents_of_the_second_layout_are_brought_into_parts() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for machine in ["m00", "m01"] {
        ask(&store, machine, put(machine, 1, cluster::Condition::Absent)).await;
        let join = cluster::Operation::Join { set: "ready".into(), barrier: None };
        ask(&store, machine, join).await;
        ask(&store, machine, cluster::Operation::Claim { claim: machine.into(), ttl_ms: 5_000 }).await;
    }
    let names = store.clusters().unwrap();
    let before = store.cluster(&names[0]).unwrap().unwrap();
    assert_eq!((before.keys.size(), before.sets.size(), before.claims.size()), (2, 1, 2));
    drop(store);
    let whole = check(dir.path()).unwrap();
    as_layout_2(dir.path());
    assert_eq!(check(dir.path()).unwrap(), whole, "an older store can be looked at");
    let copy = tempfile::tempdir().unwrap();
    assert_eq!(backup(dir.path(), &copy.path().join("store.redb")).unwrap(), whole, "and copied");

    for dir in [dir.path(), copy.path()] {
        let store = EmbeddedStore::open(dir).unwrap();
        // Lifetimes of claims begin anew whenever a store is opened.
        let mut now = cluster::Document::clone(&*store.cluster(&names[0]).unwrap().unwrap());
        let mut before = cluster::Document::clone(&before);
        cluster::after_restart(&mut now, 0);
        cluster::after_restart(&mut before, 0);
        assert_eq!(now, before);
        ask(&store, "m00", put("more", 2, cluster::Condition::Absent)).await;
        drop(store);
        assert_eq!(schema(dir), (SCHEMA, true));
        assert_eq!(check(dir).unwrap(), whole);
        let database = redb::Database::open(dir.join("store.redb")).unwrap();
        assert!(database.begin_read().unwrap().open_table(CLUSTERS).is_err(), "nothing is kept twice");
    }
}

#[test]
fn a_store_of_a_newer_layout_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let database = redb::Database::open(dir.path().join("store.redb")).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(ENGINE).unwrap().insert(SCHEMA_KEY, 99).unwrap();
    write.commit().unwrap();
    drop(database);
    for refused in [EmbeddedStore::open(dir.path()).map(drop), check(dir.path()).map(drop)] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Open(text) if text.contains("layout 99") && text.contains("newer")),
            "{refused}"
        );
    }
    assert_eq!(schema(dir.path()).0, 99);
}

#[test]
fn cuts_keep_whole_runs_what_is_young_and_never_too_many() {
    let records = |runs: u64| -> Vec<Record> {
        let events = (1..=runs).flat_map(|number| run(number).into_iter().map(move |event| (number, event)));
        (0..)
            .zip(events)
            .map(|(index, (number, event))| Record {
                sequence: index + 1,
                stream: Stream::Machine("m".into()),
                index,
                at_unix_ms: i64::try_from(number).unwrap() * 1000,
                event,
            })
            .collect()
    };
    let policy = Retention { runs: 3, age_ms: 1_000_000, events: 10_000, facts_bytes: 1_000_000 };
    assert_eq!(cut(&policy, &records(3), 0).machine(), None);
    assert_eq!(cut(&policy, &records(100), 0).machine(), Some(97 * 8), "three runs, whole");
    let old = Retention { age_ms: 5_000, runs: 1_000, ..policy };
    assert_eq!(cut(&old, &records(100), 100_000).machine(), Some(94 * 8), "five seconds");
    assert_eq!(cut(&old, &records(100), i64::MAX).machine(), Some(99 * 8), "of the last run, all");
    let few = Retention { events: 10, runs: 1_000, ..policy };
    assert_eq!(cut(&few, &records(100), 0).machine(), Some(790), "whatever they are about");
    assert_eq!(cut(&few, &records(100), 0).plain(), Some(790));
    assert_eq!(cut(&old, &records(100), i64::MAX).plain(), Some(799), "the newest stays");
}

#[test]
fn cuts_keep_so_many_bytes_of_facts() {
    let reported = |index: u64, bytes: usize| Record {
        sequence: index + 1,
        stream: Stream::Machine("m".into()),
        index,
        at_unix_ms: 0,
        event: Event::FactsReported {
            facts: serde_json::Map::from_iter([("a".to_owned(), "x".repeat(bytes).into())]),
            job: None,
        },
    };
    let policy = Retention { facts_bytes: 10_000, ..Retention::default() };
    // `{"a":""}` is eight bytes.
    let records: Vec<Record> = (0..300).map(|index| reported(index, 992)).collect();
    assert_eq!(cut(&policy, &records, 0).machine(), Some(290));
    let mut records: Vec<Record> = (0..300).map(|index| reported(index, 10)).collect();
    assert_eq!(cut(&policy, &records, 0).machine(), None);
    records.push(reported(300, 20_000));
    assert_eq!(cut(&policy, &records, 0).machine(), Some(300), "the newest stays, whatever its size");
}
