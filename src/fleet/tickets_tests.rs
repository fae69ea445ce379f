//! What an exchange comes to.

use super::*;
use crate::journal::{Ask, Record, Stream};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 11));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 66));

fn fold(events: &[Event]) -> MachineState {
    let records: Vec<Record> = (0_u64..)
        .zip(events)
        .map(|(index, event)| Record {
            sequence: index + 1,
            stream: Stream::Machine("node".into()),
            index,
            at_unix_ms: 0,
            event: event.clone(),
        })
        .collect();
    MachineState::fold(&records)
}

fn offered(id: &str) -> Event {
    Event::Offered {
        offer: id.into(),
        environment: "ram".into(),
        address: Some(std::net::Ipv4Addr::new(10, 77, 0, 11)),
        mac: "52:54:00:00:00:01".into(),
        firmware: "bios".into(),
        reason: String::new(),
        run: Some(1),
    }
}

fn used(ticket: &str, key: &str, boot: &str) -> Event {
    Event::Exchanged { ticket: ticket.into(), key: key.into(), boot_id: boot.into(), generation: 1 }
}

fn planted(ticket: &str) -> Event {
    Event::DiskTicketPlanted { ticket: ticket.into(), job: "job".into(), run: 1 }
}

fn quarantined() -> Event {
    Event::Quarantined { reason: "two keys".into() }
}

fn approved() -> Event {
    Event::Asked { by: "anna".into(), what: Ask::Approve, reason: String::new() }
}

fn word(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::New => "new",
        Judgement::Same => "same",
        Judgement::Await => "await",
        Judgement::Quarantine(_) => "quarantine",
        Judgement::Refuse(ExchangeError::Ended) => "ended",
        Judgement::Refuse(ExchangeError::Address) => "address",
        Judgement::Refuse(ExchangeError::Quarantined) => "quarantined",
        Judgement::Refuse(_) => "refused",
    }
}

/// What it is about, what happened before, (ticket, key, boot, address, when), the judgement.
type Case<'a> = (&'a str, Vec<Event>, (&'a str, &'a str, &'a str, IpAddr, i64), &'a str);

#[test]
fn a_ticket_is_judged_by_what_became_of_it() {
    let late = BOOT_TICKET_MS + 1;
    #[rustfmt::skip]
    let table: Vec<Case<'_>> = vec![
        ("the first use of a boot ticket", vec![offered("a")], ("a", "k", "1", PEER, 0), "new"),
        ("the same key in the same boot", vec![offered("a"), used("a", "k", "1")], ("a", "k", "1", PEER, 0), "same"),
        ("the same long after the ticket's time", vec![offered("a"), used("a", "k", "1")], ("a", "k", "1", PEER, late), "same"),
        ("the same key in another boot", vec![offered("a"), used("a", "k", "1")], ("a", "k", "2", PEER, 0), "ended"),
        ("another key", vec![offered("a"), used("a", "k", "1")], ("a", "x", "1", PEER, 0), "quarantine"),
        ("another key on a ticket of an earlier boot", vec![offered("a"), used("a", "k", "1"), offered("b"), used("b", "l", "2")], ("a", "x", "1", PEER, 0), "quarantine"),
        ("another address", vec![offered("a")], ("a", "k", "1", OTHER, 0), "address"),
        ("a ticket too old", vec![offered("a")], ("a", "k", "1", PEER, late), "ended"),
        ("a ticket nobody was offered", vec![offered("a")], ("b", "k", "1", PEER, 0), "ended"),
        ("the earlier of two scripts served", vec![offered("a"), offered("b")], ("a", "k", "1", PEER, 0), "new"),
        ("the one left over of two scripts served", vec![offered("a"), offered("b"), used("a", "k", "1")], ("b", "x", "9", PEER, 0), "ended"),
        ("a ticket of an earlier boot", vec![offered("a"), used("a", "k", "1"), offered("b"), used("b", "l", "2")], ("a", "k", "1", PEER, 0), "ended"),
        ("a script served before the disk came up", vec![planted("d"), offered("a"), used("d", "k", "1")], ("a", "x", "2", PEER, 0), "ended"),
        ("the first use of a disk ticket, from anywhere, at any time", vec![planted("d")], ("d", "k", "1", OTHER, late), "new"),
        ("the installed system in the same boot", vec![planted("d"), used("d", "k", "1")], ("d", "k", "1", PEER, late), "same"),
        ("the installed system in its next boot", vec![planted("d"), used("d", "k", "1")], ("d", "k", "2", PEER, late), "new"),
        ("the installed system after a boot of another kind", vec![planted("d"), used("d", "k", "1"), offered("a"), used("a", "l", "2")], ("d", "k", "3", PEER, late), "new"),
        ("a disk ticket with another key", vec![planted("d"), used("d", "k", "1")], ("d", "x", "2", PEER, 0), "quarantine"),
        ("a disk ticket planted before the last", vec![planted("d"), used("d", "k", "1"), planted("e")], ("d", "k", "2", PEER, 0), "ended"),
        ("the disk ticket planted last", vec![planted("d"), used("d", "k", "1"), planted("e")], ("e", "l", "2", PEER, 0), "new"),
        ("anything in quarantine", vec![offered("a"), used("a", "k", "1"), quarantined()], ("a", "k", "1", PEER, 0), "quarantined"),
        ("a new boot in quarantine", vec![quarantined(), offered("a")], ("a", "k", "1", PEER, 0), "quarantined"),
        ("a new boot once approved", vec![quarantined(), approved(), offered("a")], ("a", "k", "1", PEER, 0), "new"),
        ("the disk with another key once approved", vec![planted("d"), used("d", "k", "1"), quarantined(), approved()], ("d", "x", "2", PEER, 0), "new"),
        ("the next boot after an approval was used", vec![quarantined(), approved(), offered("a"), used("a", "k", "1"), offered("b")], ("b", "l", "2", PEER, 0), "new"),
        ("a forgotten machine's ticket", vec![offered("a"), Event::Forgotten { by: "anna".into(), reason: String::new() }], ("a", "k", "1", PEER, 0), "ended"),
    ];
    for (case, events, (ticket, key, boot, peer, now), expected) in table {
        let judgement = judge(&fold(&events), ticket, key, boot, peer, now, false);
        assert_eq!(word(&judgement), expected, "{case}");
    }
}

fn awaited(ticket: &str, key: &str) -> Event {
    Event::ApprovalAwaited { ticket: ticket.into(), key: key.into(), address: PEER.to_string() }
}

#[test]
fn where_a_ticket_is_not_enough_the_key_that_waits_is_the_one_an_administrator_approves() {
    let late = BOOT_TICKET_MS + 1;
    let first = || vec![offered("a"), awaited("a", "k"), approved(), used("a", "k", "1")];
    let after = |more: Vec<Event>| [first(), more].concat();
    #[rustfmt::skip]
    let table: Vec<Case<'_>> = vec![
        ("the first use of a ticket", vec![offered("a")], ("a", "k", "1", PEER, 0), "await"),
        ("a ticket too old", vec![offered("a")], ("a", "k", "1", PEER, late), "ended"),
        ("the same again while it waits", vec![offered("a"), awaited("a", "k")], ("a", "k", "1", PEER, late), "await"),
        ("another address while it waits", vec![offered("a"), awaited("a", "k")], ("a", "k", "1", OTHER, 0), "address"),
        ("another key while it waits", vec![offered("a"), awaited("a", "k")], ("a", "x", "1", PEER, 0), "quarantine"),
        ("the approved key, however long that took", vec![offered("a"), awaited("a", "k"), approved()], ("a", "k", "1", PEER, late), "new"),
        ("another key after the approval", vec![offered("a"), awaited("a", "k"), approved()], ("a", "x", "1", PEER, 0), "quarantine"),
        ("another boot's key after the approval", vec![offered("a"), awaited("a", "k"), approved(), offered("b")], ("b", "x", "2", PEER, 0), "await"),
        ("the approved key once more", first(), ("a", "k", "1", PEER, 0), "same"),
        ("the next boot of an approved machine", after(vec![offered("b")]), ("b", "l", "2", PEER, 0), "new"),
        ("its installed system", after(vec![planted("d")]), ("d", "m", "2", PEER, 0), "new"),
        ("a machine approved before it showed itself", vec![approved(), offered("a")], ("a", "k", "1", PEER, 0), "new"),
        ("a machine that was there before more was asked", vec![offered("a"), used("a", "k", "1"), offered("b")], ("b", "l", "2", PEER, 0), "await"),
        ("after a quarantine", after(vec![quarantined(), offered("b")]), ("b", "l", "2", PEER, 0), "quarantined"),
        ("after a quarantine that was approved", after(vec![quarantined(), approved(), offered("b")]), ("b", "l", "2", PEER, 0), "new"),
        ("after it left Git and came back", after(vec![Event::Left { revision: "r".into() }, Event::Returned { revision: "s".into() }, offered("b")]), ("b", "l", "2", PEER, 0), "await"),
    ];
    for (case, events, (ticket, key, boot, peer, now), expected) in table {
        let judgement = judge(&fold(&events), ticket, key, boot, peer, now, true);
        assert_eq!(word(&judgement), expected, "{case}");
    }
}

#[test]
fn a_disk_ticket_stays_bound_to_its_key_after_many_boots() {
    let mut events = vec![planted("d"), used("d", "k", "0")];
    for boot in 1..80 {
        let offer = format!("o{boot}");
        events.extend([offered(&offer), used(&offer, "l", &boot.to_string())]);
    }
    let state = fold(&events);
    assert_eq!(word(&judge(&state, "d", "x", "90", PEER, 0, false)), "quarantine");
    assert_eq!(word(&judge(&state, "d", "k", "90", PEER, 0, false)), "new");
}

#[test]
fn scripts_that_nobody_boots_do_not_take_the_ticket_from_a_boot_that_runs() {
    let mut events = vec![offered("runs"), used("runs", "key", "boot")];
    events.extend((0..200).map(|number| offered(&format!("other-{number}"))));
    let state = fold(&events);
    assert_eq!(word(&judge(&state, "runs", "key", "boot", PEER, 0, false)), "same");
    assert!(state.offers.len() <= 32);
}
