//! Cases of the DHCP decision: each rule of RFC 2131 and each row of the field's quirks that can be told from packets.

use super::*;
use crate::boot::leases::{DECLINED_SECONDS, OFFER_MS, declined_key};
use world::{Ask, RESERVED, SERVER, World, answer, mac, silence};

#[path = "dhcp_world_tests.rs"]
mod world;

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

#[test]
fn a_declared_machine_is_offered_its_reserved_address_with_the_subnets_options() {
    let (reply, change) = answer(World::new().decide(&Ask::new(DISCOVER, 1)));
    assert_eq!((reply.kind, reply.yiaddr, reply.to), (MessageType::Offer, RESERVED, Destination::Broadcast));
    assert_eq!(change, LeaseChange::Offer(RESERVED));
    for (code, value) in [
        (1u8, vec![255, 255, 255, 0]),
        (3, vec![10, 77, 0, 1]),
        (6, vec![10, 77, 0, 1]),
        (12, b"node-1".to_vec()),
        (15, b"lab".to_vec()),
        (28, vec![10, 77, 0, 255]),
        (51, 3600u32.to_be_bytes().to_vec()),
        (54, vec![10, 77, 0, 1]),
        (58, 1800u32.to_be_bytes().to_vec()),
        (59, 3150u32.to_be_bytes().to_vec()),
    ] {
        assert_eq!(reply.option(code), Some(value.as_slice()), "option {code}");
    }
    assert_eq!(reply.file, None);
}

#[test]
fn a_machines_second_card_gets_a_pool_address_while_the_first_holds_the_reserved_one() {
    let mut world = World::new();
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 101))).0.yiaddr, RESERVED);
    world.hold(1, RESERVED.octets(), 3600);
    assert_ne!(answer(world.decide(&Ask::new(DISCOVER, 101))).0.yiaddr, RESERVED);
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 1))).0.yiaddr, RESERVED);
}

#[test]
fn the_pool_is_deterministic_sticky_and_never_gives_away_what_is_kept() {
    let mut world = World::new();
    let first = answer(world.decide(&Ask::new(DISCOVER, 50))).0.yiaddr;
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 50))).0.yiaddr, first);
    let mut given = Vec::new();
    for last in 50..53 {
        let address = answer(world.decide(&Ask::new(DISCOVER, last))).0.yiaddr;
        assert!(!given.contains(&address) && address != RESERVED, "{address}");
        world.hold(last, address.octets(), 3600);
        given.push(address);
    }
    // 10.77.0.10 to .13 less the reserved .11: three, and they are gone.
    assert_eq!(silence(world.decide(&Ask::new(DISCOVER, 53))), Silence::PoolEmpty);
    // The first one comes back: the same address, whatever client identifier it shows now.
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 50).with(61, b"other"))).0.yiaddr, first);
}

#[test]
fn what_ended_longest_ago_is_given_again_first_and_an_offer_is_kept_for_its_client() {
    let mut world = World::new();
    world.hold(60, [10, 77, 0, 10], 300);
    world.hold(61, [10, 77, 0, 12], 100);
    world.hold(62, [10, 77, 0, 13], 200);
    world.now_ms += 400_000;
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 63))).0.yiaddr, Ipv4Addr::new(10, 77, 0, 12));
    world.leases.offer(mac(63), [10, 77, 0, 12].into(), world.now_ms);
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 64))).0.yiaddr, Ipv4Addr::new(10, 77, 0, 13));
    // An ended lease's holder still gets its own before anybody else's is looked at.
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 60))).0.yiaddr, Ipv4Addr::new(10, 77, 0, 10));
    world.now_ms += OFFER_MS;
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 64))).0.yiaddr, Ipv4Addr::new(10, 77, 0, 12));
}

#[test]
fn a_pools_use_counts_leases_declined_and_reserved_addresses() {
    let mut world = World::new();
    let usage = |world: &World| {
        let subnet = world.network.subnet_of(SERVER).expect("a subnet");
        pool_usage(&world.network, &world.leases, subnet, world.now_ms)
    };
    assert_eq!(usage(&world), (1, 4)); // the reserved one
    world.hold(50, [10, 77, 0, 10], 100);
    world.leases.decline(mac(9), [10, 77, 0, 13].into(), world.now_ms);
    assert_eq!(usage(&world), (3, 4));
    world.now_ms += 101_000;
    assert_eq!(usage(&world), (2, 4));
}

#[test]
fn a_fresh_pool_address_is_probed_and_a_taken_one_left_out() {
    let mut world = World::new();
    world.probe = true;
    let Decision::Probe(first) = world.decide(&Ask::new(DISCOVER, 50)) else { panic!("not probed") };
    world.leases.remember_probe(first, Probed::Taken, world.now_ms);
    let Decision::Probe(second) = world.decide(&Ask::new(DISCOVER, 50)) else { panic!("not probed") };
    assert_ne!(first, second);
    world.leases.remember_probe(second, Probed::Free, world.now_ms);
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 50))).0.yiaddr, second);
    // Its own lease is never probed: it would answer itself.
    world.hold(50, second.octets(), 3600);
    world.now_ms += 3_000_000;
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 50))).0.yiaddr, second);
    assert_eq!(answer(world.decide(&Ask::new(DISCOVER, 1))).0.yiaddr, RESERVED);
}

#[test]
fn a_client_beyond_a_router_renews_by_the_address_that_it_uses() {
    let its = Ipv4Addr::new(10, 78, 0, 10);
    let ask = |kind| Ask::new(kind, 50).has(its);
    let to_it = Destination::To(SocketAddrV4::new(its, 68));
    let broadcast = |ask: Ask| Ask { flags: 0x8000, ..ask };
    for (what, ask, source, held, expected) in [
        ("renewing", ask(REQUEST), its, true, Ok((MessageType::Ack, to_it))),
        ("renewing and asking for broadcast", broadcast(ask(REQUEST)), its, true, Ok((MessageType::Ack, to_it))),
        ("asking for options", ask(INFORM), its, false, Ok((MessageType::Ack, to_it))),
        ("renewing what it does not hold", ask(REQUEST), its, false, Err(Silence::NoRecord)),
        ("letting go", ask(RELEASE), its, true, Err(Silence::NoAnswer)),
        // What says that it is there and is here is judged by where it is.
        ("from another", ask(REQUEST), [10, 77, 0, 99].into(), true, Ok((MessageType::Nak, Destination::Broadcast))),
    ] {
        let mut world = World::new();
        world.source = SocketAddrV4::new(source, 68);
        if held {
            world.hold(50, its.octets(), 3600);
        }
        let decided = match world.decide(&ask) {
            Decision::Answer { reply, .. } => Ok((reply.kind, reply.to)),
            Decision::Silent { silence, .. } => Err(silence),
            other @ Decision::Probe(_) => panic!("{what}: {other:?}"),
        };
        assert_eq!(decided, expected, "{what}");
    }
}

#[test]
fn a_request_is_judged_by_its_state() {
    let ten = Ipv4Addr::new(10, 77, 0, 10);
    let ask = || Ask::new(REQUEST, 50);
    let foreign = Ipv4Addr::new(192, 168, 1, 5);
    let (ack, nak) = (Ok(MessageType::Ack), Ok(MessageType::Nak));
    for (what, held, ask, expected) in [
        ("selecting, nothing held: an offer that a restart forgot", None, ask().names(SERVER).wants(ten), ack),
        ("selecting its own", Some(50), ask().names(SERVER).wants(ten), ack),
        ("selecting what another holds", Some(51), ask().names(SERVER).wants(ten), nak),
        ("selecting what is reserved for another", None, ask().names(SERVER).wants(RESERVED), nak),
        ("selecting outside the pool", None, ask().names(SERVER).wants([10, 77, 0, 99].into()), nak),
        ("selecting another server", Some(50), ask().names(foreign).wants(ten), Err(Silence::OtherServer)),
        ("init-reboot with its own", Some(50), ask().wants(ten), ack),
        ("init-reboot with another than its own", Some(50), ask().wants([10, 77, 0, 12].into()), nak),
        ("init-reboot on another network, even unknown", None, ask().wants(foreign), nak),
        ("init-reboot without a record", None, ask().wants(ten), Err(Silence::NoRecord)),
        ("renewing its own", Some(50), ask().has(ten), ack),
        ("renewing another's", Some(51), ask().has(ten), Err(Silence::NoRecord)),
        ("renewing another than its own", Some(50), ask().has([10, 77, 0, 12].into()), nak),
        ("renewing without a record", None, ask().has(ten), Err(Silence::NoRecord)),
        ("rebinding with 54 of another", Some(50), ask().has(ten).names(foreign), Err(Silence::OtherServer)),
        ("renewing with 50 and 54 too", Some(50), ask().has(ten).names(SERVER).wants(ten), ack),
        ("nothing at all", Some(50), ask(), Err(Silence::Contradiction)),
        ("54 alone", Some(50), ask().names(SERVER), Err(Silence::Contradiction)),
    ] {
        let mut world = World::new();
        if let Some(holder) = held {
            world.hold(holder, ten.octets(), 3600);
        }
        let got = match world.decide(&ask) {
            Decision::Answer { reply, .. } => Ok(reply.kind),
            Decision::Silent { silence, .. } => Err(silence),
            Decision::Probe(_) => panic!("{what}: probed"),
        };
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn only_a_lease_that_is_no_renewal_is_new() {
    let ten = Ipv4Addr::new(10, 77, 0, 10);
    let mut world = World::new();
    for (held, expected) in [(None, true), (Some(3600), false), (Some(0), true)] {
        if let Some(seconds) = held {
            world.hold(50, ten.octets(), seconds);
        }
        let (_, change) = answer(world.decide(&Ask::new(REQUEST, 50).names(SERVER).wants(ten)));
        let LeaseChange::Commit { lease, new } = change else { panic!("not stored") };
        assert_eq!((new, lease.seconds, lease.mac.as_str()), (expected, 3600, "52:54:00:00:00:32"));
    }
}

#[test]
fn answers_go_where_rfc_2131_says() {
    let ten = Ipv4Addr::new(10, 77, 0, 10);
    let mut world = World::new();
    world.hold(50, ten.octets(), 3600);
    let relay = [10, 77, 0, 2];
    let to_relay = Destination::To(SocketAddrV4::new(relay.into(), 67));
    for (what, ask, to) in [
        ("a relay", Ask::new(DISCOVER, 50).through(relay), to_relay),
        ("a client without the flag", Ask::new(DISCOVER, 50), Destination::Broadcast),
        ("a renewal", Ask::new(REQUEST, 50).has(ten), Destination::To(SocketAddrV4::new(ten, 68))),
        ("a NAK", Ask::new(REQUEST, 50).has([10, 77, 0, 12].into()), Destination::Broadcast),
        ("a NAK by a relay", Ask::new(REQUEST, 50).wants([10, 77, 0, 12].into()).through(relay), to_relay),
        ("an INFORM", Ask::new(INFORM, 50).has(ten), Destination::To(SocketAddrV4::new(ten, 68))),
    ] {
        assert_eq!(answer(world.decide(&ask)).0.to, to, "{what}");
    }
}

#[test]
fn the_subnet_is_that_of_the_link_then_the_relay_then_the_interface() {
    let world = World::new();
    let link = [5, 4, 10, 78, 0, 0];
    for (ask, first) in [
        (Ask::new(DISCOVER, 50), [10, 77, 0]),
        (Ask::new(DISCOVER, 50).through([10, 78, 0, 254]), [10, 78, 0]),
        (Ask::new(DISCOVER, 50).through([10, 77, 0, 254]).with(82, &link), [10, 78, 0]),
        (Ask::new(DISCOVER, 50).with(118, &[10, 78, 0, 0]), [10, 78, 0]),
    ] {
        assert_eq!(answer(world.decide(&ask)).0.yiaddr.octets()[..3], first);
    }
    assert_eq!(silence(world.decide(&Ask::new(DISCOVER, 50).through([10, 99, 0, 1]))), Silence::NoSubnet);
    assert_eq!(silence(world.decide(&Ask::new(DISCOVER, 50).through([10, 80, 0, 1]))), Silence::Off);
    let overridden = Ask::new(DISCOVER, 50).through([10, 77, 0, 254]).with(82, &[11, 4, 10, 77, 0, 254]);
    assert_eq!(answer(world.decide(&overridden)).0.option(54), Some(&[10, 77, 0, 254][..]));
}

#[test]
fn decline_and_release_are_only_heard_from_the_one_who_holds_it() {
    let ten = Ipv4Addr::new(10, 77, 0, 10);
    let mut world = World::new();
    world.hold(50, ten.octets(), 3600);
    assert_eq!(silence(world.decide(&Ask::new(DECLINE, 51).names(SERVER).wants(ten))), Silence::NoRecord);
    assert_eq!(silence(world.decide(&Ask::new(RELEASE, 51).names(SERVER).has(ten))), Silence::NoRecord);
    let Decision::Silent { change: LeaseChange::Decline { lease }, .. } =
        world.decide(&Ask::new(DECLINE, 50).names(SERVER).wants(ten))
    else {
        panic!("not declined")
    };
    assert_eq!((lease.mac, lease.seconds, lease.declined), (declined_key(ten), DECLINED_SECONDS, true));
    let Decision::Silent { change: LeaseChange::Release { lease }, .. } =
        world.decide(&Ask::new(RELEASE, 50).names(SERVER).has(ten))
    else {
        panic!("not released")
    };
    assert_eq!((lease.mac.as_str(), lease.seconds), ("52:54:00:00:00:32", 0));
    world.leases.decline(mac(50), ten, world.now_ms);
    assert_ne!(answer(world.decide(&Ask::new(DISCOVER, 50))).0.yiaddr, ten);
}

#[test]
fn an_inform_gets_options_and_no_lease() {
    let (reply, change) = answer(World::new().decide(&Ask::new(INFORM, 50).has([10, 77, 0, 200].into())));
    assert_eq!((reply.kind, reply.yiaddr, change), (MessageType::Ack, Ipv4Addr::UNSPECIFIED, LeaseChange::None));
    assert_eq!((reply.option(51), reply.option(6)), (None, Some(&[10, 77, 0, 1][..])));
}

#[test]
fn each_client_is_told_what_it_can_boot() {
    let world = World::new();
    let script = "http://10.77.0.1:8080/boot/start";
    let ask = |vendor: &[u8], architecture| Ask::new(DISCOVER, 50).pxe(vendor, architecture);
    for (what, ask, file) in [
        ("BIOS", ask(b"PXEClient:Arch:00000:UNDI:002001", 0), Some("undionly.kpxe")),
        ("x64 UEFI", ask(b"PXEClient", 7), Some("snponly.efi")),
        ("x64 UEFI as 9", ask(b"PXEClient", 9), Some("snponly.efi")),
        ("arm64 UEFI", ask(b"PXEClient", 11), Some("snponly-arm64.efi")),
        ("x86 UEFI: nothing for it", ask(b"PXEClient", 6), None),
        ("an unknown architecture", ask(b"PXEClient", 999), None),
        ("HTTP boot", ask(b"HTTPClient:Arch:00016", 16), Some("http://10.77.0.1:8080/boot/loaders/snponly.efi")),
        ("BIOS HTTP boot", ask(b"HTTPClient", 20), Some("http://10.77.0.1:8080/boot/loaders/undionly.kpxe")),
        ("iPXE", ask(b"PXEClient", 7).with(77, b"iPXE"), Some(script)),
        ("iPXE, RFC form", ask(b"PXEClient", 0).with(77, b"\x04iPXE"), Some(script)),
        ("iPXE with HTTP", ask(b"PXEClient", 0).with(77, b"iPXE").with(175, &[0x13, 1, 1]), Some(script)),
        (
            "iPXE without HTTP",
            ask(b"PXEClient", 0).with(77, b"iPXE").with(175, &[0x21, 1, 1]),
            Some("tftp://10.77.0.1/undionly.kpxe"),
        ),
        ("our iPXE", ask(b"PXEClient", 0).with(77, b"Formwork"), Some(script)),
        (
            "a list of architectures",
            Ask::new(DISCOVER, 50).with(60, b"PXEClient").with(93, &[3, 231, 0, 7]),
            Some("snponly.efi"),
        ),
        ("one byte in 93, the rest in 60", Ask::new(DISCOVER, 50).with(60, b"PXEClient").with(93, &[7]), None),
        (
            "no 93, the architecture in 60",
            Ask::new(DISCOVER, 50).with(60, b"PXEClient:Arch:00007:UNDI:003016"),
            Some("snponly.efi"),
        ),
        ("an operating system", Ask::new(DISCOVER, 50).with(60, b"MSFT 5.0"), None),
    ] {
        let (reply, _) = answer(world.decide(&ask));
        assert_eq!(reply.file.as_deref(), file, "{what}");
        assert_eq!(reply.option(67), file.map(str::as_bytes), "{what}: option 67");
        if file.is_some() {
            assert_eq!((reply.siaddr, reply.option(66)), (SERVER, Some(&b"10.77.0.1"[..])), "{what}");
        }
        let is_http = ask.request().vendor_class().starts_with(b"HTTPClient");
        let class = is_http.then_some(&b"HTTPClient"[..]);
        assert_eq!(reply.option(60), class, "{what}: option 60 in server mode");
        let quiet = !ask.request().user_classes().is_empty();
        assert_eq!(reply.option(175).is_some(), quiet, "{what}: only iPXE is told not to wait for a proxy");
    }
}

#[test]
fn a_box_that_may_not_boot_gets_an_address_and_nothing_to_boot() {
    let mut world = World::new();
    world.permit = BootPermit::Refused { reason: "no rule".into() };
    for vendor in [&b"PXEClient"[..], b"HTTPClient"] {
        let (reply, _) = answer(world.decide(&Ask::new(DISCOVER, 50).pxe(vendor, 7)));
        assert!(!reply.yiaddr.is_unspecified());
        assert_eq!((reply.file.as_ref(), reply.option(67), reply.siaddr), (None, None, Ipv4Addr::UNSPECIFIED));
    }
}

#[test]
fn the_machine_id_is_mirrored_as_it_came() {
    for id in [&[0u8; 17][..], &[0, 1, 2]] {
        let ask = Ask::new(DISCOVER, 50).pxe(b"PXEClient", 7).with(97, id);
        assert_eq!(answer(World::new().decide(&ask)).0.option(97), Some(id));
    }
}

#[test]
fn beside_another_server_only_boot_clients_hear_of_us() {
    let mut world = World::new();
    world.interface = Ipv4Addr::new(10, 79, 0, 1);
    let bios = Ask::new(DISCOVER, 50).pxe(b"PXEClient", 0);
    let (reply, change) = answer(world.decide(&bios));
    assert_eq!((reply.yiaddr, change), (Ipv4Addr::UNSPECIFIED, LeaseChange::None));
    assert_eq!((reply.option(60), reply.option(43)), (Some(&b"PXEClient"[..]), Some(&[6, 1, 8, 255][..])));
    assert_eq!((reply.option(51), reply.option(1)), (None, None));
    let (reply, _) = answer(world.decide(&Ask::new(DISCOVER, 50).pxe(b"PXEClient", 7)));
    assert_eq!((reply.option(60), reply.option(43)), (Some(&b"PXEClient"[..]), None));
    let (reply, _) = answer(world.decide(&Ask::new(DISCOVER, 50).pxe(b"HTTPClient", 16)));
    assert_eq!(reply.option(60), Some(&b"HTTPClient"[..]));
    let (reply, _) = answer(world.decide(&Ask::new(DISCOVER, 50).pxe(b"PXEClient", 7).with(77, b"iPXE")));
    assert_eq!((reply.option(60), reply.option(175)), (Some(&b"PXEClient"[..]), None));
    for ask in [Ask::new(DISCOVER, 50), Ask::new(REQUEST, 50).pxe(b"PXEClient", 0).wants([10, 79, 0, 9].into())] {
        assert_eq!(silence(world.decide(&ask)), Silence::NotProxied);
    }
    world.permit = BootPermit::Refused { reason: "no rule".into() };
    assert_eq!(silence(world.decide(&bios)), Silence::NotPermitted);
}

#[test]
fn the_proxy_port_answers_to_the_very_address_and_port() {
    let mut world = World::new();
    world.port = Port::Proxy;
    world.interface = Ipv4Addr::new(10, 79, 0, 1);
    world.source = SocketAddrV4::new([10, 79, 0, 50].into(), 4011);
    let ask = Ask::new(REQUEST, 50).pxe(b"PXEClient", 7).has([10, 79, 0, 50].into());
    let (reply, change) = answer(world.decide(&ask));
    assert_eq!((reply.kind, reply.to, change), (MessageType::Ack, Destination::To(world.source), LeaseChange::None));
    assert_eq!((reply.file.as_deref(), reply.option(60)), (Some("snponly.efi"), Some(&b"PXEClient"[..])));
    assert_eq!(silence(world.decide(&Ask::new(DISCOVER, 50).pxe(b"PXEClient", 7))), Silence::NotProxied);
    assert_eq!(silence(world.decide(&ask.clone().names([10, 79, 0, 9].into()))), Silence::OtherServer);
    assert_eq!(silence(world.decide(&Ask::new(REQUEST, 50).has([10, 79, 0, 50].into()))), Silence::NotProxied);
}

#[test]
fn a_boot_file_too_long_for_the_header_is_in_option_67_alone() {
    let mut reply = Reply::new(MessageType::Ack, Destination::Broadcast);
    let long = format!("http://10.77.0.1:8080/{}", "a".repeat(120));
    reply.set_boot(SERVER, &long);
    assert_eq!((reply.file.as_ref(), reply.option(67)), (None, Some(long.as_bytes())));
}

#[test]
fn replicas_offer_addresses_of_different_parts_of_a_pool_while_there_are_any() {
    let (ten, twelve, thirteen) =
        (Ipv4Addr::new(10, 77, 0, 10), Ipv4Addr::new(10, 77, 0, 12), Ipv4Addr::new(10, 77, 0, 13));
    let offered = |world: &World, last| answer(world.decide(&Ask::new(DISCOVER, last))).0.yiaddr;
    let (mut first, mut second) = (World::new(), World::new());
    (first.place, second.place) = ((0, 2), (1, 2));
    for last in 50..80 {
        assert!([ten, twelve].contains(&offered(&first, last)), "{last}");
        assert_eq!(offered(&second, last), thirteen, "{last}");
    }
    // Its part is used up: of the others' rather than none.
    second.hold(50, thirteen.octets(), 300);
    assert!([ten, twelve].contains(&offered(&second, 51)));
    // And of what ended, its own, though another ended longer ago.
    second.hold(51, ten.octets(), 100);
    second.hold(52, twelve.octets(), 200);
    second.now_ms += 400_000;
    assert_eq!(offered(&second, 60), thirteen);
    // What a client had, it gets, whoever's part it is of.
    assert_eq!(offered(&second, 51), ten);
}
