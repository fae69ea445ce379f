//! Who answers whom, by tables and by chance.

use super::*;
use crate::boot::leases::Leases;
use crate::store::Lease;
use proptest::prelude::*;

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;
const OURS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

fn request(kind: u8, last: u8, secs: u16, options: &[u8]) -> Request {
    let mut bytes = vec![0_u8; 236];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[8..10].copy_from_slice(&secs.to_be_bytes());
    bytes[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, last]);
    bytes.extend([99, 130, 83, 99, 53, 1, kind]);
    bytes.extend(options);
    bytes.push(255);
    Request::decode(&bytes).expect("a request")
}

const fn heard(in_share: bool) -> Heard {
    Heard { in_share, only_here: false, named: Named::Nobody }
}

#[test]
fn a_client_of_anothers_share_is_answered_when_it_has_waited() {
    // Each step: milliseconds, kind, secs, whether it is answered.
    for (what, steps) in [
        (
            "it waits and says nothing of it",
            &[(0, DISCOVER, 0, false), (2_999, DISCOVER, 0, false), (3_000, DISCOVER, 0, true)][..],
        ),
        ("as firmware asks", &[(0, DISCOVER, 0, false), (4_000, DISCOVER, 4, true), (12_000, DISCOVER, 12, true)]),
        ("as iPXE asks", &[(0, DISCOVER, 0, false), (1_000, DISCOVER, 0, false), (3_000, DISCOVER, 0, true)]),
        ("it says that it has waited", &[(0, DISCOVER, 3, false), (1, DISCOVER, 4, true)]),
        ("in the wrong byte order", &[(0, DISCOVER, 0x0300, false), (1, DISCOVER, 0x0400, true)]),
        ("longer than a byte holds", &[(0, DISCOVER, 0x0101, true)]),
        (
            "it checks the address it had",
            &[(0, REQUEST, 0, false), (1_000, DISCOVER, 0, false), (3_000, DISCOVER, 0, true)],
        ),
        ("it asks for options alone", &[(0, INFORM, 0, false), (3_000, INFORM, 0, true)]),
        ("long after is anew", &[(0, DISCOVER, 0, false), (60_000, DISCOVER, 0, false), (63_000, DISCOVER, 0, true)]),
        ("what wants no answer is known by all", &[(0, RELEASE, 0, true), (0, DECLINE, 0, true)]),
    ] {
        let mut unanswered = Unanswered::default();
        for (step, (at, kind, secs, answered)) in steps.iter().enumerate() {
            let taken = unanswered.takes(&request(*kind, 1, *secs, &[]), heard(false), *at);
            assert_eq!(taken, *answered, "{what}, step {step}");
        }
    }
}

#[test]
fn what_was_answered_by_anybody_is_forgotten() {
    let discover = request(DISCOVER, 1, 0, &[]);
    for (what, kind, then) in [
        ("another server was chosen", REQUEST, Heard { named: Named::Other, ..heard(false) }),
        ("this one was chosen", REQUEST, Heard { named: Named::Us, ..heard(false) }),
        ("it came into this one's share", DISCOVER, heard(true)),
        ("it was sent here alone", DISCOVER, Heard { only_here: true, ..heard(false) }),
    ] {
        let mut unanswered = Unanswered::default();
        assert!(!unanswered.takes(&discover, heard(false), 0), "{what}");
        assert_eq!(unanswered.count(), 1);
        assert!(unanswered.takes(&request(kind, 1, 0, &[]), then, 1_000), "{what}: it is judged as ever");
        assert_eq!(unanswered.count(), 0, "{what}");
        // The next program on the machine asks anew: not answered for what its predecessor waited.
        assert!(!unanswered.takes(&discover, heard(false), 4_000), "{what}");
    }
}

#[test]
fn whom_a_request_names_is_told_by_our_addresses() {
    let relay = Ipv4Addr::new(10, 78, 0, 1);
    let named = |server: Ipv4Addr| [&[54, 4][..], &server.octets()].concat();
    let overridden = [&named(relay)[..], &[82, 6, 11, 4], &relay.octets()].concat();
    for (what, options, expected) in [
        ("nobody", vec![], Named::Nobody),
        ("us", named(OURS), Named::Us),
        ("another", named(THEIRS), Named::Other),
        ("a relay that is asked in our place", overridden, Named::Us),
        ("a relay that is not", named(relay), Named::Other),
    ] {
        assert_eq!(Named::of(&request(REQUEST, 1, 0, &options), &[OURS]), expected, "{what}");
    }
}

#[test]
fn a_renewal_is_told_from_a_rebinding_by_the_time_that_is_left() {
    let mut leases = Leases::default();
    let address = Ipv4Addr::new(10, 77, 0, 10);
    let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
    let lease =
        Lease { mac: mac.to_string(), address, subnet: "rack-1".into(), at_unix_ms: 0, seconds: 800, declined: false };
    leases.put(lease, 0);
    let ask = |kind, ciaddr| {
        let mut request = request(kind, 1, 0, &[]);
        request.ciaddr = ciaddr;
        request
    };
    for (what, request, at, expected) in [
        ("half of it is over", ask(REQUEST, address), 400_000, true),
        ("just before it would rebind", ask(REQUEST, address), 699_999, true),
        ("it rebinds", ask(REQUEST, address), 700_000, false),
        ("it is over", ask(REQUEST, address), 900_000, false),
        ("another address", ask(REQUEST, THEIRS), 400_000, false),
        ("it checks its address", ask(REQUEST, Ipv4Addr::UNSPECIFIED), 400_000, false),
        ("no request for an address", ask(INFORM, address), 400_000, false),
    ] {
        assert_eq!(renews(&request, leases.of(mac), at), expected, "{what}");
    }
    assert!(!renews(&ask(REQUEST, address), None, 0));
}

#[test]
fn no_more_clients_are_remembered_than_there_is_room_for() {
    let mut unanswered = Unanswered::default();
    let discover = request(DISCOVER, 1, 0, &[]);
    let of = |number: u32| {
        let mut request = discover.clone();
        let [_, high, middle, low] = number.to_be_bytes();
        request.mac = Mac([2, 0, 0, high, middle, low]);
        request
    };
    for number in 0..20_000 {
        assert!(!unanswered.takes(&of(number), heard(false), 0));
    }
    assert_eq!(unanswered.count(), REMEMBERED);
    // Those are answered when they have waited; who found no room is so for its `secs`.
    assert!(unanswered.takes(&of(0), heard(false), 3_000) && !unanswered.takes(&of(19_999), heard(false), 3_000));
    let mut waited = of(19_999);
    waited.secs = 4;
    assert!(unanswered.takes(&waited, heard(false), 3_000));
    // What is old makes room.
    assert!(!unanswered.takes(&of(19_999), heard(false), 60_000));
    assert_eq!(unanswered.count(), 1);
}

proptest! {
    /// Two replicas, one of which has the client in its share, hear a client that asks as it likes: the one that has it answers
    /// everything; the other nothing for the first three seconds, and what was not settled by then.
    #[test]
    fn a_client_is_never_left_without_an_answer(gaps in proptest::collection::vec(0..30_000_u64, 1..20)) {
        let (mut owner, mut other) = (Unanswered::default(), Unanswered::default());
        let discover = request(DISCOVER, 1, 0, &[]);
        let (mut now, mut first) = (0, None);
        for gap in gaps {
            now += gap;
            prop_assert!(owner.takes(&discover, heard(true), now));
            let since: u64 = *first.get_or_insert(now);
            let expected = match now - since {
                ..3_000 => false,
                3_000..60_000 => true,
                _ => { first = Some(now); false }
            };
            prop_assert_eq!(other.takes(&discover, heard(false), now), expected);
        }
        prop_assert_eq!(owner.count(), 0);
    }

    /// A server that is the only one answers everything and remembers nothing.
    #[test]
    fn one_that_is_alone_answers_everything(kinds in proptest::collection::vec((0..5_usize, 0..=u16::MAX, 0..100_000_u64), 1..50)) {
        let mut unanswered = Unanswered::default();
        for (kind, secs, now) in kinds {
            let request = request([DISCOVER, REQUEST, DECLINE, RELEASE, INFORM][kind], 1, secs, &[]);
            prop_assert!(unanswered.takes(&request, heard(true), now));
            prop_assert_eq!(unanswered.count(), 0);
        }
    }
}
