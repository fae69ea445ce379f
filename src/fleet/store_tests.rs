//! What a store remembers, and for whom: old runs are folded, another server writes to it, a backup was restored.

use super::testing::Lab;
use super::*;
use crate::journal::{Event, Stream};
use crate::store::Batch;
use crate::wire::HardwareIdentity;
use crate::workflow::Action;

const MAC: &str = "52:54:00:00:00:07";

fn granted(run: u64, job: &str) -> Event {
    Event::JobGranted {
        job: job.into(),
        run,
        stage_index: 0,
        stage: "look".into(),
        task_index: 0,
        task: "look".into(),
        digest: "d".into(),
        attempt: 1,
        boot_id: "b".into(),
        destructive: false,
        timeout_seconds: 1,
    }
}

fn started(run: u64) -> Event {
    Event::RunStarted {
        run,
        workflow: "walk".into(),
        revision: "r".into(),
        reason: String::new(),
        destructive_allowed: true,
    }
}

#[tokio::test]
async fn old_runs_are_folded_with_their_logs_and_a_restart_knows_the_same() {
    let mut lab = Lab::new(true, "").await;
    let logs = crate::store::logs::LogStore::open(&lab.dir.path().join("logs")).unwrap();
    let (node, other) = ("old-hand", "other");
    let offered = |mac: &str| Event::Offered {
        offer: "o".into(),
        environment: "ram".into(),
        address: None,
        mac: mac.into(),
        firmware: "uefi".into(),
        reason: String::new(),
        run: None,
    };
    let write = async |lab: &Lab, name: &str, events: Vec<Event>| {
        let stream = Stream::Machine(name.into());
        let events = events.into_iter().map(|event| (stream.clone(), event)).collect();
        lab.fleet().commit(Batch { events, ..Batch::default() }).await.unwrap();
    };
    // More than is read at once at the start.
    let seen = |number: u32| {
        let mac = format!("02:00:00:00:{:02x}:{:02x}", number >> 8, number & 0xff);
        let event = Event::Seen { mac: mac.clone(), subnet: None, by: "dhcp".into(), architecture: None };
        (Stream::Box(mac), event)
    };
    lab.fleet().commit(Batch { events: (0..4_200).map(seen).collect(), ..Batch::default() }).await.unwrap();
    // Another machine shows the same card first, and one of its own.
    write(&lab, other, vec![offered(MAC), offered("52:54:00:00:00:99")]).await;
    for run in 1..=100 {
        let job = format!("job-{run}");
        logs.append(&job, 0, b"what it printed").unwrap();
        let end = Event::RunFinished { run };
        write(&lab, node, vec![started(run), offered(MAC), granted(run, &job), end.clone()]).await;
        write(&lab, other, vec![started(run), offered(MAC), granted(run, &format!("other-{run}")), end]).await;
    }
    let hardware = |mac: &str| HardwareIdentity { macs: vec![mac.into()], ..HardwareIdentity::default() };
    let known = |lab: &Lab| {
        let whose = [MAC, "52:54:00:00:00:99"].map(|mac| lab.fleet().identify(&hardware(mac)));
        (lab.fleet().entry(node).state(), lab.fleet().entry(other).state(), whose)
    };
    let before = known(&lab);
    assert_eq!(before.2, [Identity::Claimed(other.into()), Identity::Claimed(other.into())]);
    let policy = crate::journal::Retention { runs: 5, ..Default::default() };
    // What is remembered of events that were read is what reading all of them says.
    let mut granted = Granted::default();
    let mut named = |lab: &Lab| {
        let named = lab.fleet().named_jobs(&mut granted).unwrap();
        assert_eq!(named, lab.fleet().named_jobs(&mut Granted::default()).unwrap());
        named
    };
    assert!(named(&lab).len() == 200 && lab.fleet().open_jobs().is_empty());
    let mut looked = Looked::default();
    let dropped = lab.fleet().retain(Logs { here: &logs, archive: None }, &policy, &mut looked).await.unwrap();
    assert_eq!(dropped, 95 * 4 + 95 * 4 + 2);
    assert_eq!(
        lab.fleet().retain(Logs { here: &logs, archive: None }, &policy, &mut looked).await.unwrap(),
        0,
        "there is nothing more to drop"
    );
    let stream = Stream::Machine(node.into());
    assert_eq!(lab.fleet().store.events_of(&stream, 0, 1000).unwrap().len(), 5 * 4 + 1);
    for run in 1..=100 {
        assert_eq!(logs.length(&format!("job-{run}")).unwrap() > 0, run > 95, "the log of run {run}");
        assert_eq!(named(&lab).contains(&format!("job-{run}")), run > 95, "run {run}");
    }
    assert!(known(&lab) == before);
    lab.start().await;
    assert!(known(&lab) == before, "a restart knows what was known: {:?}", known(&lab).2);
}

#[tokio::test]
async fn a_stream_of_any_length_is_read_and_folded_in_parts() {
    let mut lab = Lab::new(true, "").await;
    let logs = crate::store::logs::LogStore::open(&lab.dir.path().join("logs")).unwrap();
    let stream = Stream::Machine("node".into());
    let reported = |number: u64| Event::FactsReported {
        facts: serde_json::Map::from_iter([(format!("fact-{}", number % 7), number.into())]),
        job: None,
    };
    // More than goes in one commit; a job's grant is in the first part, and the job is over.
    let mut events = vec![started(1), granted(1, "old"), Event::RunFinished { run: 1 }, started(2)];
    events.extend((0..11_000).map(reported));
    logs.append("old", 0, b"what it printed").unwrap();
    for some in events.chunks(4_000) {
        let events = some.iter().map(|event| (stream.clone(), event.clone())).collect();
        lab.fleet().commit(Batch { events, ..Batch::default() }).await.unwrap();
    }
    let boxes = |number: u64| {
        let mac = "02:00:00:00:00:01".to_owned();
        let event = Event::Seen { mac: mac.clone(), subnet: None, by: number.to_string(), architecture: None };
        (Stream::Box(mac), event)
    };
    lab.fleet().commit(Batch { events: (0..2_000).map(boxes).collect(), ..Batch::default() }).await.unwrap();
    let before = lab.fleet().entry("node").state();
    lab.start().await;
    let policy = crate::journal::Retention { events: 50, ..Default::default() };
    let logs = Logs { here: &logs, archive: None };
    let dropped = lab.fleet().retain(logs, &policy, &mut Looked::default()).await.unwrap();
    assert_eq!(dropped, 11_004 - 50 + 2_000 - 50);
    lab.fleet().named_jobs(&mut Granted::default()).unwrap();
    assert!(lab.most_read() <= 128, "{} events were in memory at once", lab.most_read());
    assert_eq!(lab.fleet().store.events_of(&stream, 0, usize::MAX).unwrap().len(), 51, "with what they came to");
    assert_eq!(logs.here.length("old").unwrap(), 0, "the log went with its job");
    lab.start().await;
    assert!(lab.fleet().entry("node").state() == before, "{:?}", lab.fleet().entry("node").state());
}

#[tokio::test]
async fn among_others_nothing_new_is_decided_on_a_revision_that_is_not_the_applied_one() {
    let declared = "
kind: Machine
metadata: {name: node}
spec: {match: {macs: ['52:54:00:00:00:07']}, workflow: walk}
";
    let lab = Lab::new(true, declared).await;
    let entry = lab.fleet().entry("node");
    lab.fleet().is_among_others();
    let applied = async |revision: &str| {
        let event = Event::RevisionApplied {
            revision: revision.into(),
            summary: "s".into(),
            machines: 1,
            site: "lab".into(),
            signed_by: vec![],
        };
        // By another server: this one hears of it when it looks.
        let batch = Batch { events: vec![(Stream::Site, event)], ..Batch::default() };
        lab.fleet().store.commit(batch, 7).await.unwrap();
    };
    let serves = lab.fleet().current().unwrap().revision.to_string();
    applied("elsewhere").await;
    lab.fleet().level().await.unwrap();
    assert!(matches!(lab.fleet().settle(&entry).await, Err(crate::store::StoreError::Busy)));
    assert!(entry.state().run.is_none());
    applied(&serves).await;
    lab.fleet().settle(&entry).await.unwrap();
    assert!(entry.state().run.is_some(), "what is applied is taken in before it is said that it does not serve");
}

#[tokio::test]
async fn what_another_server_wrote_about_a_machine_in_between_refuses_what_was_decided_before_it() {
    let lab = Lab::new(true, "").await;
    let entry = lab.fleet().entry("node");
    let decided_on = entry.state();
    lab.fleet().record(&entry, &entry.state(), vec![started(1)]).await.unwrap();
    let late = lab.fleet().record(&entry, &decided_on, vec![Event::RunFinished { run: 1 }]).await.unwrap_err();
    assert!(matches!(late, crate::store::StoreError::Conflict { .. }), "{late}");
    assert!(entry.state().run.as_ref().is_some_and(|run| run.is_open()));
}

#[tokio::test]
async fn a_machine_of_a_restored_store_waits_for_a_person_and_its_disk_is_left_alone() {
    let declared = "
kind: Machine
metadata: {name: node}
spec: {match: {macs: ['52:54:00:00:00:07']}, workflow: walk, run: 2}
";
    let lab = Lab::new(true, declared).await;
    let entry = lab.fleet().entry("node");
    lab.fleet().record(&entry, &entry.state(), vec![started(1), Event::RunFinished { run: 1 }]).await.unwrap();
    let site = vec![(Stream::Site, Event::StoreRestored { backup_unix_ms: 5 })];
    lab.fleet().commit(Batch { events: site, ..Batch::default() }).await.unwrap();
    lab.fleet().record(&entry, &entry.state(), vec![Event::StoreRestored { backup_unix_ms: 5 }]).await.unwrap();
    let head = entry.state().head;
    let decision = lab.fleet().settle(&entry).await.unwrap();
    let Action::Boot { environment, reason } = &decision.next.action else { panic!("{:?}", decision.next) };
    assert_eq!(environment, "local", "though Git says run 2, and the store knows of run 1 only");
    assert!(reason.contains("formwork adopt node"), "{reason}");
    assert_eq!((entry.state().head, lab.fleet().trust()), (head, crate::workflow::Trust::HoldUnknown));
    let adopted = Event::Adopted {
        by: "anna".into(),
        run: 2,
        workflow: Some("walk".into()),
        macs: Vec::new(),
        reason: String::new(),
    };
    lab.fleet().record(&entry, &entry.state(), vec![adopted]).await.unwrap();
    let decision = lab.fleet().settle(&entry).await.unwrap();
    assert!(matches!(&decision.next.action, Action::Boot { environment, .. } if environment == "local"));
    assert_eq!((entry.state().restored, entry.state().run.is_none(), entry.state().highest_run), (None, true, 2));
}
