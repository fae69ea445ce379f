//! Requests and a network to decide about, for the cases of DHCP.

use super::super::*;
use crate::boot::Mac;
use serde_json::json;

pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const RESERVED: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

pub(super) fn subnet(name: &str, spec: serde_json::Value) -> Subnet {
    Subnet::new(name, &serde_json::from_value(spec).expect("a spec")).expect("a subnet")
}

pub(super) fn mac(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, last])
}

pub(super) fn network() -> Network {
    Network::new(
        vec![
            subnet(
                "rack-1",
                json!({"cidr": "10.77.0.0/24", "gateway": "10.77.0.1", "leaseTime": "1h",
                       "pools": [{"first": "10.77.0.10", "last": "10.77.0.13"}],
                       "options": {"domain-name-servers": ["10.77.0.1"], "domain-name": "lab"}}),
            ),
            subnet("rack-2", json!({"cidr": "10.78.0.0/24", "pools": [{"first": "10.78.0.10", "last": "10.78.0.19"}]})),
            subnet("beside", json!({"cidr": "10.79.0.0/24", "mode": "proxy"})),
            subnet("dark", json!({"cidr": "10.80.0.0/24", "mode": "off"})),
        ],
        [("node-1", vec![mac(1), mac(101)], Some(RESERVED)), ("node-2", vec![mac(2)], None)],
    )
}

/// A request under construction.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) last: u8,
    pub(super) options: Vec<u8>,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) flags: u16,
}

impl Ask {
    pub(super) fn new(kind: u8, last: u8) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self { last, options: vec![53, 1, kind], ciaddr: none, giaddr: none, flags: 0 }
    }

    pub(super) fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.extend([code, u8::try_from(value.len()).expect("short")]);
        self.options.extend(value);
        self
    }

    pub(super) fn wants(self, address: Ipv4Addr) -> Self {
        self.with(50, &address.octets())
    }

    pub(super) fn names(self, server: Ipv4Addr) -> Self {
        self.with(54, &server.octets())
    }

    pub(super) fn has(mut self, address: Ipv4Addr) -> Self {
        self.ciaddr = address;
        self
    }

    pub(super) fn through(mut self, relay: [u8; 4]) -> Self {
        self.giaddr = relay.into();
        self
    }

    /// A boot client's options: vendor class, architecture.
    pub(super) fn pxe(self, vendor: &[u8], architecture: u16) -> Self {
        self.with(60, vendor).with(93, &architecture.to_be_bytes())
    }

    pub(super) fn request(&self) -> Request {
        let mut bytes = vec![0u8; 236];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[10..12].copy_from_slice(&self.flags.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[24..28].copy_from_slice(&self.giaddr.octets());
        bytes[28..34].copy_from_slice(&mac(self.last).0);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(&self.options);
        bytes.push(255);
        Request::decode(&bytes).expect("a request")
    }
}

pub(super) struct World {
    pub(super) network: Network,
    pub(super) leases: Leases,
    pub(super) permit: BootPermit,
    pub(super) interface: Ipv4Addr,
    pub(super) source: SocketAddrV4,
    pub(super) port: Port,
    pub(super) probe: bool,
    pub(super) place: (u32, u32),
    pub(super) now_ms: u64,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            network: network(),
            leases: Leases::default(),
            permit: BootPermit::Granted,
            interface: SERVER,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            port: Port::Server,
            probe: false,
            place: (0, 1),
            now_ms: 1_000_000,
        }
    }

    pub(super) fn decide(&self, ask: &Ask) -> Decision {
        decide(
            &ask.request(),
            &Situation {
                network: &self.network,
                leases: &self.leases,
                permit: &self.permit,
                server: self.interface,
                interface: self.interface,
                source: self.source,
                port: self.port,
                http_port: 8080,
                probe: self.probe,
                place: self.place,
                now_ms: self.now_ms,
                now_unix_ms: 7,
            },
        )
    }

    pub(super) fn hold(&mut self, last: u8, address: [u8; 4], seconds: u32) {
        let subnet = self.network.subnet_of(address.into()).expect("a subnet").name.clone();
        let mac = mac(last).to_string();
        let lease = Lease { mac, address: address.into(), subnet, at_unix_ms: 0, seconds, declined: false };
        self.leases.put(lease, self.now_ms);
    }
}

#[track_caller]
pub(super) fn answer(decision: Decision) -> (Reply, LeaseChange) {
    match decision {
        Decision::Answer { reply, change } => (*reply, change),
        other => panic!("no answer: {other:?}"),
    }
}

#[track_caller]
pub(super) fn silence(decision: Decision) -> Silence {
    match decision {
        Decision::Silent { silence, .. } => silence,
        other => panic!("not silent: {other:?}"),
    }
}
