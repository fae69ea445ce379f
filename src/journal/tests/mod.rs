//! What the fold remembers, and for how long.

mod folded;

use super::{Ask, Event, MachineState, Record, Stream};
use crate::wire::{CheckInRequest, HardwareIdentity};

fn fold(events: impl IntoIterator<Item = Event>) -> MachineState {
    let records: Vec<Record> = (0_u64..)
        .zip(events)
        .map(|(index, event)| Record {
            sequence: index + 1,
            stream: Stream::Machine("node".into()),
            index,
            at_unix_ms: i64::try_from(index).unwrap() * 1000,
            event,
        })
        .collect();
    MachineState::fold(&records)
}

fn offered(id: &str) -> Event {
    Event::Offered {
        offer: id.into(),
        environment: "ram".into(),
        address: None,
        mac: "52:54:00:00:00:01".into(),
        firmware: "bios".into(),
        reason: String::new(),
        run: Some(1),
    }
}

fn exchanged(ticket: &str, key: &str, boot: &str, generation: u64) -> Event {
    Event::Exchanged { ticket: ticket.into(), key: key.into(), boot_id: boot.into(), generation }
}

fn planted(ticket: &str) -> Event {
    Event::DiskTicketPlanted { ticket: ticket.into(), job: "job".into(), run: 1 }
}

fn checked_in(boot: &str) -> Event {
    Event::CheckedIn {
        check_in: CheckInRequest {
            boot_id: boot.into(),
            environment: "ram".into(),
            architecture: "x86_64".into(),
            firmware: "bios".into(),
            agent_version: String::new(),
            kernel: String::new(),
            address: None,
            hardware: HardwareIdentity { macs: vec!["52:54:00:00:00:02".into()], ..HardwareIdentity::default() },
        },
        offer: None,
    }
}

#[test]
fn a_machine_is_known_by_anything_that_happened_to_it_until_it_is_forgotten() {
    assert!(!MachineState::default().is_known());
    let left = || Event::Left { revision: "r".into() };
    let adopted =
        || Event::Adopted { by: "anna".into(), run: 0, workflow: None, macs: Vec::new(), reason: String::new() };
    let enrolled = || Event::Enrolled {
        rule: "rule".into(),
        mac: "52:54:00:00:00:01".into(),
        uuid: None,
        serial: None,
        architecture: None,
    };
    for event in [offered("o"), checked_in("b"), left(), adopted(), enrolled()] {
        assert!(fold([event.clone()]).is_known(), "{event:?}");
        let forgotten = fold([event, Event::Forgotten { by: "anna".into(), reason: String::new() }]);
        assert!(!forgotten.is_known());
        assert_eq!(forgotten.head, 2);
    }
}

#[test]
fn what_is_forgotten_leaves_only_its_place_and_a_raised_generation() {
    let state = fold([
        offered("o"),
        exchanged("o", "k", "b", 7),
        Event::Quarantined { reason: "r".into() },
        Event::Forgotten { by: "anna".into(), reason: String::new() },
    ]);
    let expected = MachineState { head: 4, generation: 8, last_event_unix_ms: 3000, ..MachineState::default() };
    assert_eq!(state, expected);
}

#[test]
fn the_key_of_the_installed_system_is_remembered_through_any_number_of_other_boots() {
    let mut events = vec![planted("disk-1"), exchanged("disk-1", "k", "b", 1)];
    for boot in 0..100_u64 {
        let offer = format!("offer-{boot}");
        events.extend([offered(&offer), exchanged(&offer, "other", &format!("b{boot}"), boot + 2)]);
    }
    let state = fold(events);
    assert!(state.tickets.iter().any(|used| used.ticket == "disk-1" && used.key == "k"));
    assert!(state.tickets.len() <= 32 && state.offers.len() <= 32);
}

#[test]
fn a_ticket_used_at_each_boot_is_remembered_once_with_its_last_boot() {
    let mut events = vec![planted("disk-1")];
    events.extend((0..100_u64).map(|boot| exchanged("disk-1", "k", &format!("b{boot}"), boot + 1)));
    let state = fold(events);
    assert_eq!(state.tickets.len(), 1);
    assert_eq!(state.tickets[0].boot_id, "b99");
    assert_eq!(state.generation, 100);
}

#[test]
fn an_exchange_ends_every_other_script_served_before_it() {
    let state = fold([offered("a"), offered("b"), exchanged("a", "k", "1", 1), offered("c")]);
    let ended: Vec<(&str, bool)> = state.offers.iter().map(|offer| (offer.id.as_str(), offer.ended)).collect();
    assert_eq!(ended, [("a", false), ("b", true), ("c", false)]);
    assert!(!state.offer.as_ref().unwrap().ended);
}

#[test]
fn boots_and_offers_are_counted_and_only_a_check_in_answers() {
    let started = Event::RunStarted {
        run: 1,
        workflow: "walk".into(),
        revision: "r".into(),
        reason: String::new(),
        destructive_allowed: true,
    };
    let mut events = vec![started, offered("a"), offered("b"), offered("c")];
    assert_eq!(fold(events.clone()).offers_unanswered, 3);
    events.extend([exchanged("c", "k", "1", 1), checked_in("1"), checked_in("1")]);
    let state = fold(events.clone());
    assert_eq!((state.offers_unanswered, state.run.as_ref().unwrap().boot_count), (0, 1));
    events.push(checked_in("2"));
    assert_eq!(fold(events).run.unwrap().boots, ["1", "2"]);
}

#[test]
fn an_approval_lasts_until_the_next_exchange() {
    let approve = || Event::Asked { by: "anna".into(), what: Ask::Approve, reason: String::new() };
    let quarantined = || Event::Quarantined { reason: "two keys".into() };
    let mut events = vec![quarantined(), approve()];
    assert!(fold(events.clone()).quarantined.is_some());
    events.push(exchanged("t", "k", "1", 1));
    let state = fold(events.clone());
    assert_eq!((state.quarantined, state.approved), (None, false));
    events.push(quarantined());
    assert!(fold(events).quarantined.is_some());
}

#[test]
fn the_highest_run_never_falls() {
    let started = |run| Event::RunStarted {
        run,
        workflow: "walk".into(),
        revision: "r".into(),
        reason: String::new(),
        destructive_allowed: true,
    };
    let adopted = Event::Adopted { by: "anna".into(), run: 2, workflow: None, macs: Vec::new(), reason: String::new() };
    assert_eq!(fold([started(5), started(3), adopted]).highest_run, 5);
}

#[test]
fn a_fact_reported_as_null_is_gone() {
    let facts = |text: &str| Event::FactsReported { facts: serde_json::from_str(text).unwrap(), job: None };
    let state = fold([facts(r#"{"cpu": 4, "disks": 1}"#), facts(r#"{"cpu": null, "disks": 2}"#)]);
    assert_eq!(serde_json::to_string(&state.facts).unwrap(), r#"{"disks":2}"#);
}

#[test]
fn a_box_that_names_cards_without_end_is_remembered_with_a_few() {
    let mut state = MachineState::default();
    for number in 0..1_000_u64 {
        let mac = format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256);
        let event = Event::Leased { mac, address: std::net::Ipv4Addr::LOCALHOST, seconds: 1, subnet: "lab".into() };
        state.apply(&Record {
            sequence: number + 1,
            stream: Stream::Machine("node".into()),
            index: number,
            at_unix_ms: 0,
            event,
        });
    }
    assert_eq!(state.macs.len(), 64);
}
