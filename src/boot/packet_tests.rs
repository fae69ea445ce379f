//! Packets as the field sends them, and as nobody should.

use super::*;
use crate::boot::reply::{Destination, Reply};
use dhcproto::v4::MessageType;
use proptest::prelude::*;

/// A packet by hand: header, cookie, options as given.
pub(crate) fn packet(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    bytes[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    bytes.extend([99, 130, 83, 99]);
    bytes.extend(options);
    bytes
}

fn read(options: &[u8]) -> Result<Request, PacketError> {
    Request::decode(&packet(options))
}

#[test]
fn a_plain_discover_is_read() {
    let request = read(&[53, 1, 1, 50, 4, 10, 0, 0, 9, 255, 0, 0]).expect("a request");
    assert_eq!((request.kind, request.xid), (MessageKind::Discover, 0xdead_beef));
    assert_eq!(request.mac.to_string(), "52:54:00:00:00:01");
    assert_eq!(request.requested_address(), Some([10, 0, 0, 9].into()));
}

#[test]
fn what_is_no_request_is_refused_with_its_reason() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = packet(&[53, 1, 1, 255]);
        change(&mut bytes);
        Request::decode(&bytes)
    };
    for (what, change, error) in [
        ("short", (&|b: &mut Vec<u8>| b.truncate(239)) as &dyn Fn(&mut Vec<u8>), PacketError::Length(239)),
        ("huge", &|b| b.resize(5000, 0), PacketError::Length(5000)),
        ("a reply", &|b| b[0] = 2, PacketError::NotRequest),
        ("the cookie", &|b| b[236] = 98, PacketError::Cookie),
        ("hlen 0", &|b| b[2] = 0, PacketError::Hardware { htype: 1, hlen: 0 }),
        ("hlen 255", &|b| b[2] = 255, PacketError::Hardware { htype: 1, hlen: 255 }),
        ("InfiniBand", &|b| b[1] = 32, PacketError::Hardware { htype: 32, hlen: 6 }),
        ("a group address", &|b| b[28] = 0xff, PacketError::Hardware { htype: 1, hlen: 6 }),
        ("no type", &|b| b[240] = 0, PacketError::MessageType),
    ] {
        assert_eq!(with(change), Err(error), "{what}");
    }
    for (options, error) in [
        (&[53u8, 1][..], PacketError::Truncated(53)),
        (&[53], PacketError::Truncated(53)),
        (&[53, 1, 1, 82, 200, 1], PacketError::Truncated(82)),
        (&[53, 1, 2, 255], PacketError::MessageType),
        (&[53, 2, 1, 1, 255], PacketError::MessageType),
        (&[255], PacketError::MessageType),
        (&[53, 1, 3, 50, 3, 10, 0, 0, 255], PacketError::OptionLength(50)),
        (&[53, 1, 3, 54, 5, 10, 0, 0, 1, 1, 255], PacketError::OptionLength(54)),
    ] {
        assert_eq!(read(options), Err(error), "{options:?}");
    }
}

#[test]
fn options_go_on_in_file_and_then_in_sname_when_overloaded() {
    let mut bytes = packet(&[53, 1, 1, 52, 1, 3, 77, 2, b'i', b'P', 255]);
    bytes[108..113].copy_from_slice(&[77, 1, b'X', 255, 9]);
    bytes[44..48].copy_from_slice(&[77, 1, b'E', 255]);
    let request = Request::decode(&bytes).expect("a request");
    assert_eq!(request.option(77), Some(&b"iPXE"[..]));
}

#[test]
fn an_architecture_list_is_read_whole_and_an_odd_byte_is_none() {
    for (option, codes) in [
        (&[93u8, 2, 0, 7][..], vec![7]),
        (&[93, 4, 0, 0, 0, 9], vec![0, 9]),
        (&[93, 1, 7], vec![]),
        (&[93, 3, 0, 7, 9], vec![7]),
        (&[93, 0], vec![]),
    ] {
        let options = [&[53, 1, 1], option, &[255]].concat();
        assert_eq!(read(&options).map(|r| r.architectures()), Ok(codes), "{option:?}");
    }
}

#[test]
fn user_classes_come_in_both_forms() {
    for (option, classes) in [
        (&b"iPXE"[..], vec![&b"iPXE"[..]]),
        (b"\x04iPXE", vec![b"iPXE"]),
        (b"\x04iPXE\x03abc", vec![b"iPXE", b"abc"]),
        (b"\x04iPX", vec![b"\x04iPX"]),
        (b"\x00", vec![b"\x00"]),
    ] {
        let options = [&[53, 1, 1, 77, u8::try_from(option.len()).unwrap()], option, &[255]].concat();
        let request = read(&options).expect("a request");
        assert_eq!(request.user_classes(), classes, "{option:?}");
    }
}

#[test]
fn a_machine_id_is_taken_missing_empty_or_whole() {
    let whole = [&[97u8, 17, 0][..], &(1..=16).collect::<Vec<u8>>()].concat();
    for (option, uuid) in [
        (whole.as_slice(), Some("04030201-0605-0807-090a-0b0c0d0e0f10")),
        (&[97, 0], None),
        (&[97, 3, 0, 1, 2], None),
        (&[], None),
    ] {
        let options = [&[53, 1, 1], option, &[255]].concat();
        assert_eq!(read(&options).map(|r| r.machine_uuid()), Ok(uuid.map(str::to_owned)));
    }
}

#[test]
fn a_relays_option_goes_back_byte_for_byte_and_last_whatever_is_in_it() {
    for relay in [&[1u8, 3, 0, 255, 7][..], &[9], &[5, 4, 10, 1, 0, 0, 11, 4, 10, 1, 0, 1], &[0, 0, 0]] {
        let options = [&[53, 1, 1, 82, u8::try_from(relay.len()).unwrap()], relay, &[255]].concat();
        let request = read(&options).expect("a request");
        let mut reply = Reply::new(MessageType::Offer, Destination::Broadcast);
        reply.options.push((224, vec![1]));
        let bytes = reply.encode(&request).expect("bytes");
        let tail = [&[224, 1, 1, 82, u8::try_from(relay.len()).unwrap()], relay, &[255]].concat();
        assert!(bytes.windows(tail.len()).any(|w| w == tail), "{relay:?}");
    }
    let request = read(&[53, 1, 1, 82, 12, 5, 4, 10, 1, 0, 0, 11, 4, 10, 1, 0, 1, 255]).expect("a request");
    assert_eq!(request.link_selection(), Some([10, 1, 0, 0].into()));
    assert_eq!(request.server_identifier_override(), Some([10, 1, 0, 1].into()));
}

#[test]
fn answers_are_padded_and_leave_out_what_does_not_fit() {
    let small = read(&[53, 1, 1, 255]).expect("a request");
    let reply = Reply::new(MessageType::Ack, Destination::Broadcast);
    assert_eq!(reply.encode(&small).expect("bytes").len(), 300);
    let mut large = Reply::new(MessageType::Ack, Destination::Broadcast);
    large.extras = (0..10).map(|_| (224, vec![7; 100])).collect();
    assert!(large.encode(&small).expect("bytes").len() <= 548);
    let roomy = read(&[53, 1, 1, 57, 2, 5, 0xdc, 255]).expect("a request");
    assert!(large.encode(&roomy).expect("bytes").len() > 1000);
}

#[test]
fn dhcproto_reads_what_we_write() {
    use dhcproto::{Decodable, Decoder};
    let request = read(&[53, 1, 1, 82, 2, 9, 0, 255]).expect("a request");
    let mut reply = Reply::new(MessageType::Offer, Destination::Broadcast);
    reply.yiaddr = [10, 0, 0, 9].into();
    reply.set_boot([10, 0, 0, 1].into(), "undionly.kpxe");
    reply.extras.push((224, vec![7; 300]));
    let bytes = reply.encode(&request).expect("bytes");
    let message = Message::decode(&mut Decoder::new(&bytes)).expect("dhcproto reads it");
    assert_eq!((message.xid(), message.yiaddr()), (0xdead_beef, [10, 0, 0, 9].into()));
    assert_eq!(message.fname_str(), Some(Ok("undionly.kpxe\0")));
    assert_eq!(message.opts().msg_type(), Some(MessageType::Offer));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = Request::decode(&bytes);
    }

    #[test]
    fn no_options_make_it_or_its_readers_panic(
        options in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        cut in 0usize..64,
    ) {
        let mut area = vec![53, 1, 1];
        for (code, value) in options {
            area.push(code);
            area.push(u8::try_from(value.len()).unwrap_or(0));
            area.extend(value);
        }
        area.truncate(area.len().saturating_sub(cut).max(3));
        if let Ok(request) = read(&area) {
            let _ = (request.architectures(), request.machine_uuid(), request.user_classes().len());
            let _ = (request.link_selection(), request.server_identifier_override(), request.ipxe_feature(0x13));
            let _ = crate::boot::client::classify(&request);
            let bytes = Reply::new(MessageType::Ack, Destination::Broadcast).encode(&request).expect("bytes");
            prop_assert!(bytes.len() >= 300);
        }
    }
}
