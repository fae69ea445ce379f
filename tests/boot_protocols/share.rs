//! Two replicas on one wire: a client is answered by the one that has it in its share, and by the other when it has waited.

use super::desk::{Desk, dhcp};
use super::namespace::{ClientNamespace, inside, must, possible};
use super::{pair, runtime};
use formwork::boot::Mac;
use formwork::net::dhcp::DhcpConfig;
use formwork::replicas::{Replicas, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// Asks for an address once a second, without a word of how long it has waited, and prints who offers one and when.
const ASK: &str = r#"
import select, socket, struct, sys, time
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br0")
wire.bind(("", 68))
header = struct.pack("!4BIHH16x6s10x", 1, 1, 6, 0, 7, 0, 0x8000, bytes.fromhex(sys.argv[1].replace(":", ""))) + bytes(192)
began = time.monotonic()
for second in range(int(sys.argv[2])):
    wire.sendto(header + b"\x63\x82\x53\x63" + bytes([53, 1, 1, 255]), ("255.255.255.255", 67))
    while (left := began + second + 1 - time.monotonic()) > 0:
        if select.select([wire], [], [], left)[0]:
            answer, at = wire.recvfrom(4096)[0], 240
            while answer[at] != 255:
                if answer[at] == 54: print(second, socket.inet_ntoa(answer[at + 2:at + 6]))
                at += 2 + answer[at + 1]
"#;

/// Who offered: the second in which it was asked, and the server.
fn asked(client: &ClientNamespace, script: &str, mac: Mac, seconds: u32) -> Vec<(u32, String)> {
    let said = client.must(&format!("python3 {script} {mac} {seconds}"));
    let offer = |line: &str| {
        let (second, server) = line.split_once(' ').expect("a second and a server");
        (second.parse().expect("a second"), server.to_owned())
    };
    said.lines().map(offer).collect()
}

#[test]
fn one_of_two_replicas_offers_and_the_other_when_nobody_did() {
    let test = "share::one_of_two_replicas_offers_and_the_other_when_nobody_did";
    if !possible(test, &["python3", "nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    must(&format!("ip link add fw2 type veth peer name fw3 && ip link set fw3 netns {}", client.pid()));
    must("ip addr add 10.77.0.2/24 dev fw2 && ip link set fw2 up");
    // Both ways into this namespace lead to one wire, where the kernel would look for the client behind the first alone.
    must("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done");
    client.must("ip link add br0 type bridge && ip link set fw1 master br0 && ip link set fw3 master br0");
    client.must("ip link set fw3 up && ip addr add 10.77.0.200/24 dev br0 && ip link set br0 up");
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("ask.py");
    std::fs::write(&script, ASK).expect("written");
    let script = script.display().to_string();

    let standing = |own: &str| Standing {
        own: own.to_owned(),
        live: vec!["a".to_owned(), "b".to_owned()],
        leader: Some("a".to_owned()),
    };
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let start = |own: &str, device: &str| {
        let mut tasks = tokio::task::JoinSet::new();
        let replicas = Replicas::new(standing(own));
        let config = DhcpConfig { interfaces: vec![device.to_owned()], replicas, ..DhcpConfig::default() };
        dhcp(&Desk::new(BTreeMap::new()), config, Default::default(), &mut tasks);
        tasks
    };
    let (mut a, _b) = (start("a", "fw0"), start("b", "fw2"));
    // Clients of the first one's share, and one of the other's.
    let macs = |own: &'static str| {
        (0x80..=0xff).map(|last| Mac([0x52, 0x54, 0, 0, 0, last])).filter(move |mac| standing(own).answers_for(*mac))
    };
    let [of_a, of_b] = ["a", "b"].map(|own| macs(own).next().expect("a client"));
    for (mac, server) in [(of_a, "10.77.0.1"), (of_b, "10.77.0.2")] {
        let offers = asked(&client, &script, mac, 2);
        let servers: BTreeSet<&str> = offers.iter().map(|(_, server)| server.as_str()).collect();
        assert_eq!(servers, BTreeSet::from([server]), "{offers:?}");
        assert_eq!(offers[0].0, 0, "at once: {offers:?}");
    }

    runtime.block_on(a.shutdown());
    let offers = asked(&client, &script, macs("a").nth(1).expect("another client"), 5);
    assert!(offers.first().is_some_and(|(second, server)| *second >= 3 && server == "10.77.0.2"), "{offers:?}");
}
