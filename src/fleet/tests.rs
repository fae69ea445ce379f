//! Boxes that become machines, on a real store and a folder of content.

use super::testing::Lab;
use super::*;
use crate::journal::{Ask, Event, Stream};
use crate::store::Batch;
use crate::wire::HardwareIdentity;

const MAC: &str = "52:54:00:00:00:07";
const RULE: &str = "
kind: Enrollment
metadata: {name: rule}
spec: {match: {macPrefixes: ['52:54:00']}, name: \"node-{{ mac | replace(':', '') }}\", workflow: walk, mayWipe: true}
";
const ENROLLED: &str = "node-525400000007";

fn box_with(uuid: Option<&str>) -> HardwareIdentity {
    HardwareIdentity { macs: vec![MAC.into()], uuid: uuid.map(str::to_owned), serial: None }
}

#[tokio::test]
async fn an_enrolled_machine_that_git_declares_by_its_mac_is_adopted_and_walks_nothing_again() {
    let lab = Lab::new(true, RULE).await;
    let enrolled = lab.machine(&box_with(None)).await;
    assert_eq!((enrolled.name.as_str(), lab.boots(&enrolled).await.as_str()), (ENROLLED, "ram"));
    lab.event(&enrolled, Event::RunFinished { run: 1 }).await;
    lab.declare(&format!("macs: ['{MAC}']"), RULE).await;
    let declared = lab.machine(&box_with(None)).await;
    assert_eq!(declared.name, "declared");
    // A lease, and a person who looks, come before the box asks for a script.
    let leased = Event::Leased {
        mac: MAC.into(),
        address: std::net::Ipv4Addr::new(10, 77, 0, 100),
        seconds: 60,
        subnet: "lab".into(),
    };
    lab.event(&declared, leased).await;
    lab.fleet().settle(&declared).await.unwrap();
    assert_eq!(declared.state().adopted, Some((1, Some("walk".into()))));
    assert!(declared.state().run.is_none());
    assert!(!enrolled.state().is_known());
    assert_eq!(lab.boots(&declared).await, "local");
}

#[tokio::test]
async fn a_box_that_git_gives_another_name_is_one_box_also_before_its_next_word() {
    let lab = Lab::new(true, RULE).await;
    let enrolled = lab.machine(&box_with(None)).await;
    lab.boots(&enrolled).await;
    lab.event(&enrolled, Event::RunFinished { run: 1 }).await;
    let before = lab.fleet().current().unwrap();
    lab.declare(&format!("macs: ['{MAC}']"), RULE).await;
    let after = lab.fleet().current().unwrap();
    let change = lab.fleet().foresee(Some(before.clone()), after.clone()).await;
    assert_eq!((change.machines_in_all, change.machines_walked), (1, 1));
    let to_adopt = lab.fleet().to_adopt(&after);
    let found = to_adopt.get("declared").unwrap();
    assert_eq!((found.former.as_str(), found.state.adopted.clone()), (ENROLLED, Some((1, Some("walk".into())))));
    assert!(!lab.fleet().entry("declared").state().is_known(), "nothing is written down");
    // Taken out of Git again, it is what it was all along.
    let change = lab.fleet().foresee(Some(after), before).await;
    assert_eq!((change.machines_in_all, change.machines_walked), (1, 1));
    let told = change.machines.iter().map(|it| (it.name.as_str(), it.never_seen, it.renamed_to.as_deref()));
    assert_eq!(told.collect::<Vec<_>>(), [("declared", false, Some(ENROLLED))]);
    // Its rule goes with it: nothing of it was never seen.
    lab.write("\nkind: Machine\nmetadata: {name: other}\nspec: {match: {macs: ['52:54:00:00:00:09']}}\n");
    lab.until(|catalog| catalog.enrollments().next().is_none()).await;
    let nothing = lab.fleet().current().unwrap();
    lab.declare(&format!("macs: ['{MAC}']"), RULE).await;
    let change = lab.fleet().foresee(lab.fleet().current(), nothing).await;
    assert_eq!((change.machines_in_all, change.machines_walked), (2, 1));
    assert!(change.machines.iter().all(|it| !it.never_seen), "{:?}", change.machines);
}

#[tokio::test]
async fn what_was_adopted_under_its_declared_macs_keeps_that_under_other_names_though_it_was_never_seen() {
    let mut lab = Lab::new(true, "").await;
    let named = |name: &str| {
        format!(
            "\nkind: Machine\nmetadata: {{name: {name}}}\nspec: {{match: {{macs: ['{MAC}']}}, workflow: walk, wipe: true}}\n"
        )
    };
    lab.write(&named("n4"));
    lab.until(|catalog| catalog.machine("n4").is_some()).await;
    let entry = lab.fleet().entry("n4");
    let (macs, workflow) = (vec![MAC.to_owned()], Some("walk".to_owned()));
    lab.event(&entry, Event::Adopted { by: "anna".into(), run: 1, workflow, macs, reason: String::new() }).await;
    drop(entry);
    // Renamed twice, and the server starts anew in between.
    for (former, name) in [("n4", "m4"), ("m4", "k4")] {
        let before = lab.fleet().current();
        lab.write(&named(name));
        lab.until(|catalog| catalog.machine(name).is_some()).await;
        lab.start().await;
        let after = lab.fleet().current().unwrap();
        assert_eq!(lab.fleet().to_adopt(&after).get(name).map(|it| it.former.as_str()), Some(former));
        let change = lab.fleet().foresee(before, after).await;
        assert!(change.machines.iter().all(|it| it.run.is_none() && !it.wiped), "{:?}", change.machines);
        let entry = lab.machine(&box_with(None)).await;
        assert_eq!((entry.name.as_str(), lab.boots(&entry).await.as_str()), (name, "local"));
        assert_eq!(entry.state().adopted, Some((1, Some("walk".into()))));
    }
}

#[tokio::test]
async fn an_enrolled_box_is_not_moved_by_the_uuid_it_reports() {
    let uuid = "0a1b2c3d-0000-4000-8000-123456789abc";
    let lab = Lab::new(true, RULE).await;
    lab.machine(&box_with(None)).await;
    lab.declare(&format!("uuid: {uuid}"), RULE).await;
    assert_eq!(
        lab.fleet().identify(&box_with(Some(uuid))),
        Identity::Conflict(vec!["declared".into(), ENROLLED.into()])
    );
    assert!(matches!(lab.show(&box_with(Some(uuid))).await, Resolved::Hold { .. }));
    assert_eq!(lab.fleet().identify(&box_with(None)), Identity::Machine(ENROLLED.into()));
}

#[tokio::test]
async fn what_is_wrong_with_boot_files_is_written_down_once_and_outlives_a_restart() {
    let mut lab = Lab::new(true, RULE).await;
    let wrong = std::collections::BTreeMap::from([("ram/vmlinuz".to_owned(), "it is not there".to_owned())]);
    let events = |lab: &Lab| {
        let all = lab.fleet().store.events_of(&Stream::Site, 0, 1000).unwrap();
        let of_files = |event: &Event| matches!(event, Event::FileWrong { .. } | Event::FileRight { .. });
        all.into_iter().filter(|record| of_files(&record.event)).count()
    };
    lab.fleet().found_files(wrong.clone()).await.unwrap();
    lab.fleet().found_files(wrong.clone()).await.unwrap();
    assert_eq!((events(&lab), lab.fleet().file_troubles().as_ref()), (1, &wrong));
    lab.start().await;
    assert_eq!(lab.fleet().file_troubles().as_ref(), &wrong);
    lab.fleet().found_files(wrong).await.unwrap();
    assert_eq!(events(&lab), 1);
    lab.fleet().found_files(Default::default()).await.unwrap();
    assert_eq!((events(&lab), lab.fleet().file_troubles().len()), (2, 0));
    lab.start().await;
    assert_eq!(lab.fleet().file_troubles().len(), 0);
}

#[tokio::test]
async fn a_machine_that_left_is_not_enrolled_again_until_it_is_forgotten() {
    let mut lab = Lab::new(true, RULE).await;
    let entry = lab.machine(&box_with(None)).await;
    lab.boots(&entry).await;
    let generation = entry.state().generation;
    lab.write(&RULE.replace("name: rule}", "name: another}"));
    lab.until(|catalog| catalog.enrolled_view(ENROLLED, "rule", MAC, None, None).is_none()).await;
    assert_eq!(lab.boots(&entry).await, "local");
    assert!(entry.state().left);
    lab.write(RULE);
    lab.until(|catalog| catalog.enrolled_view(ENROLLED, "rule", MAC, None, None).is_some()).await;
    // A restart forgets nothing.
    let before = entry.state();
    drop(entry);
    lab.start().await;
    let entry = lab.machine(&box_with(None)).await;
    assert_eq!(entry.state(), before, "folded again it is the same");
    assert_eq!(lab.boots(&entry).await, "local");
    lab.event(&entry, Event::Forgotten { by: "anna".into(), reason: String::new() }).await;
    assert_eq!(lab.fleet().identify(&box_with(None)), Identity::Unknown);
    let entry = lab.machine(&box_with(None)).await;
    assert_eq!(lab.boots(&entry).await, "ram");
    assert!(entry.state().generation > generation);
}

#[tokio::test]
async fn an_empty_store_takes_no_box_in_until_a_person_adopts_the_site() {
    let lab = Lab::new(false, RULE).await;
    let reasons = || lab.fleet().boxes().into_iter().map(|row| row.reason).collect::<Vec<_>>();
    let Resolved::Hold { reason } = lab.show(&box_with(None)).await else { panic!("it is not held") };
    assert!(reason.contains("rule rule matches") && reason.contains("`formwork adopt --all --new`"), "{reason}");
    assert_eq!(reasons(), [reason], "the list of boxes says what its screen says");
    let adopted = vec![(Stream::Site, Event::SiteAdopted { by: "anna".into(), reason: String::new() })];
    lab.fleet().commit(Batch { expected: Vec::new(), events: adopted, operations: Vec::new() }).await.unwrap();
    assert_eq!(reasons(), [format!("rule rule takes it in as {ENROLLED} when it asks what to boot")]);
    let entry = lab.machine(&box_with(None)).await;
    assert_eq!(reasons(), Vec::<String>::new());
    assert_eq!(lab.boots(&entry).await, "ram");
}

#[tokio::test]
async fn the_list_of_boxes_says_which_rule_holds_a_box_also_where_it_names_it_by_its_serial() {
    let lab = Lab::new(false, &RULE.replace("mac | replace(':', '')", "serial")).await;
    let with = |mac: &str, serial: Option<&str>| HardwareIdentity {
        macs: vec![mac.into()],
        uuid: None,
        serial: serial.map(str::to_owned),
    };
    lab.show(&with(MAC, Some("abc123"))).await;
    lab.show(&with("52:54:01:00:00:01", None)).await;
    let rows = lab.fleet().boxes();
    let reasons: Vec<&str> = rows.iter().map(|row| row.reason.as_str()).collect();
    let [held, unmatched] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert!(held.contains("rule rule matches"), "{held}");
    assert_eq!(*unmatched, "no machine declares it and no enrollment rule matches");
}

#[tokio::test]
async fn two_boxes_that_a_rule_would_name_alike_are_not_one_machine() {
    let rule = RULE.replace("mac | replace(':', '')", "serial");
    let lab = Lab::new(true, &rule).await;
    let with = |mac: &str| HardwareIdentity { macs: vec![mac.into()], uuid: None, serial: Some("abc123".into()) };
    lab.machine(&with(MAC)).await;
    assert!(matches!(lab.show(&with("52:54:00:00:00:08")).await, Resolved::Hold { .. }));
}

#[tokio::test]
async fn a_persons_retry_and_the_fold_agree_on_disk_and_in_memory() {
    let lab = Lab::new(true, RULE).await;
    let entry = lab.machine(&box_with(None)).await;
    lab.boots(&entry).await;
    lab.event(&entry, Event::Asked { by: "anna".into(), what: Ask::Retry, reason: String::new() }).await;
    let records = lab.fleet().store.events_of(&Stream::Machine(ENROLLED.into()), 0, 100).unwrap();
    assert_eq!(crate::journal::MachineState::fold(&records), *entry.state());
}

/// What an agent says of its box when it checks in.
fn checked_in(macs: &[&str], uuid: Option<&str>) -> Event {
    let macs = macs.iter().map(|mac| (*mac).to_owned()).collect();
    let hardware = HardwareIdentity { macs, uuid: uuid.map(str::to_owned), serial: None };
    let check_in = crate::wire::CheckInRequest {
        boot_id: "boot".into(),
        environment: "ram".into(),
        architecture: "x86_64".into(),
        firmware: "uefi".into(),
        agent_version: "1".into(),
        kernel: "6".into(),
        address: None,
        hardware,
    };
    Event::CheckedIn { check_in, offer: None }
}

#[tokio::test]
async fn a_machine_that_names_the_card_of_another_box_does_not_get_that_box() {
    let victim = "52:54:00:00:00:08";
    let uuid = "0a1b2c3d-0000-4000-8000-123456789abc";
    let lab = Lab::new(true, RULE).await;
    let liar = lab.machine(&box_with(None)).await;
    lab.event(&liar, checked_in(&[MAC, victim], Some(uuid))).await;
    let other = HardwareIdentity { macs: vec![victim.into()], uuid: Some(uuid.into()), serial: None };
    // It is held, with the reason on its screen: neither the liar, nor taken in beside it.
    assert_eq!(lab.fleet().identify(&other), Identity::Claimed(ENROLLED.into()));
    match lab.show(&other).await {
        Resolved::Hold { reason } => assert!(reason.contains(ENROLLED) && reason.contains("declare"), "{reason}"),
        _ => panic!("it is not held"),
    }
    // A declaration settles it, and takes nothing over from the liar.
    lab.declare(&format!("macs: ['{victim}']"), RULE).await;
    let declared = lab.machine(&other).await;
    assert_eq!((declared.name.as_str(), lab.boots(&declared).await.as_str()), ("declared", "ram"));
    assert_eq!(declared.state().adopted, None);
    assert!(liar.state().enrolled.is_some(), "and the liar is still who it was");
}

#[tokio::test]
async fn the_second_card_of_an_enrolled_box_is_the_same_machine() {
    let (second, uuid) = ("52:54:00:00:00:09", "0a1b2c3d-0000-4000-8000-123456789abc");
    let lab = Lab::new(true, RULE).await;
    let entry = lab.machine(&box_with(Some(uuid))).await;
    lab.event(&entry, checked_in(&[MAC, second], Some(uuid))).await;
    let by_second = |uuid: Option<&str>| HardwareIdentity {
        macs: vec![second.into()],
        uuid: uuid.map(str::to_owned),
        serial: None,
    };
    assert_eq!(lab.fleet().identify(&by_second(Some(uuid))), Identity::Machine(ENROLLED.into()));
    assert_eq!(lab.fleet().identify(&by_second(None)), Identity::Claimed(ENROLLED.into()));
}

#[tokio::test]
async fn an_answer_that_nobody_waited_for_is_taken_in_all_the_same() {
    let lab = Lab::new(true, RULE).await;
    let entry = lab.machine(&box_with(None)).await;
    lab.boots(&entry).await;
    // As when the asker hung up between the commit and what follows it.
    let batch = Batch {
        expected: Vec::new(),
        events: vec![(Stream::Machine(ENROLLED.into()), Event::Quarantined { reason: "a second key".into() })],
        operations: Vec::new(),
    };
    lab.fleet().store.commit(batch, 0).await.unwrap();
    let leased = || Event::Leased {
        mac: MAC.into(),
        address: std::net::Ipv4Addr::new(10, 77, 0, 100),
        seconds: 60,
        subnet: "lab".into(),
    };
    let turn = entry.turn().await;
    assert!(lab.fleet().record(&entry, &entry.state(), vec![leased()]).await.is_err(), "decided on what is over");
    lab.fleet().record(&entry, &entry.state(), vec![leased()]).await.unwrap();
    drop(turn);
    assert!(entry.state().quarantined.is_some());
    let records = lab.fleet().store.events_of(&Stream::Machine(ENROLLED.into()), 0, 100).unwrap();
    assert_eq!(crate::journal::MachineState::fold(&records), *entry.state());
}

#[tokio::test]
async fn a_machine_that_gets_another_name_in_git_is_not_installed_anew() {
    let named = |name: &str| {
        format!(
            "\nkind: Machine\nmetadata: {{name: {name}}}\nspec: {{match: {{macs: ['{MAC}']}}, workflow: walk, wipe: true}}\n"
        )
    };
    // The new name sorts before the old one, and after it.
    for (before, after) in [("new", "old"), ("old", "new")] {
        let lab = Lab::new(true, &named(before)).await;
        let old = lab.machine(&box_with(None)).await;
        assert_eq!((old.name.as_str(), lab.boots(&old).await.as_str()), (before, "ram"));
        let leased = Event::Leased {
            mac: MAC.into(),
            address: std::net::Ipv4Addr::new(10, 77, 0, 100),
            seconds: 60,
            subnet: "lab".into(),
        };
        lab.event(&old, leased.clone()).await;
        lab.event(&old, Event::DiskTicketPlanted { ticket: "disk-1".into(), job: "j".into(), run: 1 }).await;
        let exchanged = |key: &str| Event::Exchanged {
            ticket: "disk-1".into(),
            key: key.into(),
            boot_id: "boot".into(),
            generation: 9,
        };
        lab.event(&old, exchanged("key")).await;
        lab.event(&old, Event::RunFinished { run: 1 }).await;
        lab.write(&named(after));
        lab.until(|catalog| catalog.machine(after).is_some()).await;
        let new = lab.machine(&box_with(None)).await;
        assert_eq!((new.name.as_str(), lab.boots(&new).await.as_str()), (after, "local"));
        assert_eq!(new.state().adopted, Some((1, Some("walk".into()))));
        // Its installed system is known by its ticket and key, under the new name only.
        assert_eq!(lab.fleet().owner_of_ticket("disk-1").map(|entry| entry.name.clone()).as_deref(), Some(after));
        assert_eq!(new.state().tickets.last().map(|used| used.key.clone()).as_deref(), Some("key"));
        assert!(!old.state().is_known());
    }
}

#[tokio::test]
async fn a_board_that_moves_between_machines_that_are_both_in_git_takes_nothing_along() {
    let named = |name: &str, mac: &str| {
        format!("\nkind: Machine\nmetadata: {{name: {name}}}\nspec: {{match: {{macs: ['{mac}']}}, workflow: walk}}\n")
    };
    let lab = Lab::new(true, &named("one", MAC)).await;
    let one = lab.machine(&box_with(None)).await;
    assert_eq!(lab.boots(&one).await, "ram");
    // The card is another machine's now, and the first has another one.
    lab.write(&format!("{}---{}", named("one", "52:54:00:00:00:08"), named("two", MAC)));
    lab.until(|catalog| catalog.machine("two").is_some()).await;
    let two = lab.machine(&box_with(None)).await;
    assert_eq!((two.name.as_str(), lab.boots(&two).await.as_str()), ("two", "ram"));
    assert!(one.state().run.is_some() && two.state().adopted.is_none());
}

#[tokio::test]
async fn boxes_that_are_too_many_wait_until_a_rule_takes_them_in() {
    let lab = Lab::new(true, RULE).await;
    let enrolled = lab.machine(&box_with(None)).await;
    assert_eq!(lab.fleet().enrolments_waited(), (0, None));
    // A moment ahead, so that nothing is given back while this runs.
    let ahead = lab.fleet().clock.now_ms() + 3_600_000;
    *lab.fleet().enrolling.lock().unwrap() = bucket::Enrolling::all_at_once(ahead);
    let another = HardwareIdentity { macs: vec!["52:54:00:00:00:08".into()], uuid: None, serial: None };
    for asked in 1..=3 {
        let Resolved::Hold { reason } = lab.show(&another).await else { panic!("it was taken in") };
        assert!(reason.contains("rule rule takes it in as node-525400000008 a little later"), "{reason}");
        assert!(reason.contains("600 a minute"), "{reason}");
        let (waited, why) = lab.fleet().enrolments_waited();
        assert!(waited == asked && why.is_some_and(|why| why.contains("have to wait")));
    }
    assert!(lab.fleet().known("node-525400000008").is_none(), "nothing is remembered of it");
    // Who is a machine already is not held up.
    assert_eq!(lab.machine(&box_with(None)).await.name, enrolled.name);
    *lab.fleet().enrolling.lock().unwrap() = bucket::Enrolling::default();
    assert_eq!(lab.machine(&another).await.name, "node-525400000008");
}
