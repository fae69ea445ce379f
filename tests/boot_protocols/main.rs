//! The boot services against real clients: ISC's and busybox's DHCP clients, curl's TFTP and HTTP, QEMU's firmware. All of
//! it in network namespaces that the tests make themselves.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as it should be")]

mod desk;
mod firmware;
mod installer;
mod namespace;
mod share;

use desk::{Desk, OFFER, Server};
use formwork::boot::client::Firmware;
use namespace::{ClientNamespace, inside, must, possible};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Loaders and files: a large one, so that TFTP's block numbers roll over, and one named as iPXE's.
fn images() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let loaders = folder.path().join("loaders");
    std::fs::create_dir_all(&loaders).expect("made");
    let bytes = |count: usize| {
        (0..count).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect::<Vec<u8>>()
    };
    std::fs::write(loaders.join("snponly.efi"), bytes(200_001)).expect("written");
    // 512 bytes a block: more than 65,535 blocks in a window test would take long; 1,024 x 34 MB is over by itself.
    std::fs::write(loaders.join("exact.bin"), bytes(512 * 4)).expect("written");
    std::fs::create_dir_all(folder.path().join("discovery")).expect("made");
    std::fs::write(folder.path().join("discovery/vmlinuz"), bytes(3_000_000)).expect("written");
    std::fs::write(folder.path().join("large"), bytes(36 << 20)).expect("written");
    folder
}

/// A server's device with an address, and a namespace with the client's.
fn pair() -> ClientNamespace {
    must("ip link set lo up && ip link add fw0 type veth peer name fw1");
    let client = ClientNamespace::with("fw1");
    must("ip addr add 10.77.0.1/24 dev fw0 && ip link set fw0 up");
    client
}

/// A runtime for the services under test.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// One run of ISC's client as it starts: it asks for its lease, or for the one it remembers.
fn dhclient(client: &ClientNamespace, folder: &Path, configuration: &str) -> String {
    let at = folder.display();
    std::fs::write(folder.join("dhclient.conf"), configuration).expect("written");
    let (good, text) = client.run(&format!(
        "touch {at}/leases; dhclient -4 -1 -d -v -sf /bin/true -cf {at}/dhclient.conf -lf {at}/leases -pf {at}/pid fw1 & \
         i=0; while ! grep -q BOUND=1 {at}/done 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); \
         grep -q \"^lease\" {at}/leases && touch {at}/bound; [ -e {at}/bound ] && sleep 0.5 && break; done; \
         kill $(cat {at}/pid)"
    ));
    let _ = std::fs::remove_file(folder.join("bound"));
    assert!(good, "dhclient: {text}");
    text
}

/// `formwork doctor` asks on a wire as a boot ROM does, and names who answers; with an address and without one.
#[test]
fn the_doctor_names_who_answers_dhcp_on_a_wire() {
    let test = "the_doctor_names_who_answers_dhcp_on_a_wire";
    if !possible(test, &["nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    let folder = images();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let ask = format!(
        "{} doctor --interface fw1 --wait 3 --state-dir /nowhere -o json || true",
        env!("CARGO_BIN_EXE_formwork")
    );
    client.must("ip link set fw1 up");
    let said = client.must(&ask);
    assert!(said.contains("nobody answered within 3 s"), "{said}");
    let desk = Desk::new(BTreeMap::new());
    let server = Server::start(&desk, "fw0", folder.path());
    for prepare in ["true", "ip link set fw1 address 52:54:00:00:00:01", "ip addr add 10.77.0.200/24 dev fw1"] {
        client.must(prepare);
        let said = client.must(&ask);
        assert!(said.contains("10.77.0.1 offers 10.77.0."), "after `{prepare}`: {said}");
        assert!(said.contains("\"verdict\": \"warn\""), "{said}");
    }
    runtime.block_on(server.kill());
}

#[test]
fn real_dhcp_clients_get_their_addresses_and_what_to_boot() {
    let test = "real_dhcp_clients_get_their_addresses_and_what_to_boot";
    if !possible(test, &["dhclient", "busybox", "nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    let folder = images();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let desk = Desk::new(BTreeMap::new());
    let server = Server::start(&desk, "fw0", folder.path());

    // A declared machine that boots over UEFI: the reserved address, the options, the loader.
    client.must("ip link set fw1 down && ip link set fw1 address 52:54:00:00:00:01 && ip link set fw1 up");
    let pxe = "option arch code 93 = unsigned integer 16; send vendor-class-identifier \"PXEClient:Arch:00007\"; send arch 7; \
               request subnet-mask, routers, domain-name, domain-name-servers, ntp-servers, tftp-server-name, bootfile-name;";
    let home = tempfile::tempdir().expect("a folder");
    let said = dhclient(&client, home.path(), pxe);
    let lease = std::fs::read_to_string(home.path().join("leases")).expect("leases");
    for expected in [
        "fixed-address 10.77.0.11;",
        "filename \"snponly.efi\";",
        "option subnet-mask 255.255.255.0;",
        "option routers 10.77.0.1;",
        "option domain-name \"lab.test\";",
        "option dhcp-lease-time 600;",
        "option dhcp-server-identifier 10.77.0.1;",
        "option tftp-server-name \"10.77.0.1\";",
        "option bootfile-name \"snponly.efi\";",
    ] {
        assert!(lease.contains(expected), "no `{expected}` in:\n{lease}\n{said}");
    }
    assert_eq!(desk.seen.lock().expect("a lock").first().and_then(|s| s.firmware), Some(Firmware::Uefi));

    // The server is killed and started anew from what was stored; the client remembers its lease and asks for it again.
    let stored = desk.stored.lock().expect("a lock").clone();
    assert_eq!(stored.get("52:54:00:00:00:01").map(|l| l.address.to_string()), Some("10.77.0.11".to_owned()));
    runtime.block_on(server.kill());
    let desk = Desk::new(stored);
    let server = Server::start(&desk, "fw0", folder.path());
    let said = dhclient(&client, home.path(), pxe);
    assert!(!said.contains("DHCPDISCOVER") && said.contains("DHCPREQUEST for 10.77.0.11"), "{said}");
    assert!(said.contains("DHCPACK of 10.77.0.11"), "{said}");

    // A client with a lease of another network is told so at once.
    let moved =
        std::fs::read_to_string(home.path().join("leases")).expect("leases").replace("10.77.0.11", "10.99.0.11");
    std::fs::write(home.path().join("leases"), moved).expect("written");
    let said = dhclient(&client, home.path(), pxe);
    assert!(said.contains("DHCPNAK"), "{said}");

    // The pool has two addresses; somebody without a lease sits on one of them: the probe finds it, the
    // first client that comes gets the other, the second nothing.
    client.must("ip link set fw1 down && ip link set fw1 address 52:54:00:00:00:77 && ip link set fw1 up");
    client.must("ip addr flush dev fw1 && ip addr add 10.77.0.100/24 dev fw1");
    let said = client.must("busybox udhcpc -i fw1 -f -n -q -t 5 -T 2 -s /bin/true");
    assert!(said.contains("lease of 10.77.0.101 obtained"), "{said}");
    client.must("ip link set fw1 down && ip link set fw1 address 52:54:00:00:00:78 && ip link set fw1 up");
    let (good, said) = client.run("busybox udhcpc -i fw1 -f -n -q -t 3 -T 1 -s /bin/true");
    let dhcp = &server.metrics.dhcp;
    assert!(!good && dhcp.packets("discover", "pool-empty") > 0 && dhcp.conflicts.get() > 0, "{said}");
    runtime.block_on(server.kill());
}

/// A relay on the client's side: asks for a box that boots over HTTP, and prints what the answer says of the server.
const RELAY: &str = r#"
import socket, struct
relay, server = socket.inet_aton("10.77.0.2"), ("10.77.0.1", 67)
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind(("10.77.0.2", 67))
wire.settimeout(10)
header = struct.pack("!4BIHH12x4s6s10x", 1, 1, 6, 1, 7, 0, 0x8000, relay, bytes.fromhex("525400000001")) + bytes(192)
option = lambda code, value: bytes([code, len(value)]) + value
discover = option(53, b"\x01") + option(60, b"HTTPClient:Arch:00016:UNDI:003001") + option(93, b"\x00\x10") + b"\xff"
wire.sendto(header + b"\x63\x82\x53\x63" + discover, server)
answer, at = wire.recvfrom(4096)[0], 240
print("offered", socket.inet_ntoa(answer[16:20]))
while answer[at] != 255:
    code, value = answer[at], answer[at + 2:at + 2 + answer[at + 1]]
    if code == 54: print("server", socket.inet_ntoa(value))
    if code == 67: print("file", value.decode())
    at += 2 + len(value)
"#;

#[test]
fn clients_behind_a_relay_are_told_the_address_of_the_load_balancer_before_us() {
    let test = "clients_behind_a_relay_are_told_the_address_of_the_load_balancer_before_us";
    if !possible(test, &["python3", "nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    client.must("ip addr add 10.77.0.2/24 dev fw1");
    let folder = images();
    let script = folder.path().join("relay.py");
    std::fs::write(&script, RELAY).expect("written");
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for (advertised, told) in [(Some([192, 0, 2, 10].into()), "192.0.2.10"), (None, "10.77.0.1")] {
        let desk = Desk::new(BTreeMap::new());
        let server = Server::advertised(&desk, "fw0", folder.path(), advertised);
        let said = client.must(&format!("python3 {}", script.display()));
        let file = format!("file http://{told}:8080/boot/loaders/snponly.efi\n");
        assert!(said.contains(&format!("server {told}\n")) && said.contains(&file), "{told}: {said}");
        assert!(said.contains("offered 10.77.0.11\n"), "{said}");
        runtime.block_on(server.kill());
    }
}

/// A client that got its address by a relay renews it without one: from its address, to the server, through a router.
const RENEWAL: &str = r#"
import socket, struct
client, server = "10.77.0.11", ("192.168.9.1", 67)
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.bind((client, 68))
wire.settimeout(10)
header = struct.pack("!4BIHH4s12x6s10x", 1, 1, 6, 0, 7, 0, 0, socket.inet_aton(client), bytes.fromhex("525400000001"))
wire.sendto(header + bytes(192) + b"\x63\x82\x53\x63" + b"\x35\x01\x03\xff", server)
answer, at = wire.recvfrom(4096)[0], 240
print("has", socket.inet_ntoa(answer[16:20]))
while answer[at] != 255:
    code, value = answer[at], answer[at + 2:at + 2 + answer[at + 1]]
    if code == 53: print("kind", value[0])
    if code == 54: print("server", socket.inet_ntoa(value))
    at += 2 + len(value)
"#;

#[test]
fn a_client_beyond_a_router_renews_with_no_relay_between() {
    let test = "a_client_beyond_a_router_renews_with_no_relay_between";
    if !possible(test, &["python3", "nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    // Of the subnets that are declared none is on the server's wire; its router knows the way to them.
    client.must("ip addr add 192.168.9.2/24 dev fw1 && ip addr add 10.77.0.11/32 dev fw1");
    must("ip addr flush dev fw0 && ip addr add 192.168.9.1/24 dev fw0 && ip route add 10.77.0.0/24 via 192.168.9.2");
    let folder = images();
    let script = folder.path().join("renewal.py");
    std::fs::write(&script, RENEWAL).expect("written");
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    for (advertised, told) in [(Some([192, 0, 2, 10].into()), "192.0.2.10"), (None, "192.168.9.1")] {
        let desk = Desk::new(BTreeMap::new());
        let server = Server::advertised(&desk, "fw0", folder.path(), advertised);
        let said = client.must(&format!("python3 {}", script.display()));
        assert!(said.contains("has 10.77.0.11\nkind 5\n"), "no DHCPACK: {said}");
        assert!(said.contains(&format!("server {told}\n")), "{said}");
        runtime.block_on(server.kill());
    }
}

#[test]
fn pool_addresses_are_probed_by_a_process_that_may_ping_and_no_more() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let test = "pool_addresses_are_probed_by_a_process_that_may_ping_and_no_more";
    if !possible(test, &["busybox", "nsenter", "ip"]) || !inside(test) {
        return;
    }
    let client = pair();
    must("echo 0 0 >/proc/sys/net/ipv4/ping_group_range");
    // Of this thread, and of those that it starts.
    let mut own = capabilities(None).expect("asked");
    own.effective.remove(CapabilitySet::NET_RAW);
    own.permitted.remove(CapabilitySet::NET_RAW);
    set_capabilities(None, own).expect("given up");
    let folder = images();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let desk = Desk::new(BTreeMap::new());
    let server = Server::start(&desk, "fw0", folder.path());
    // Somebody without a lease sits on one of the pool's two addresses: the first that comes gets the other, the second nothing.
    client.must("ip addr add 10.77.0.100/24 dev fw1");
    for (mac, gets) in [("52:54:00:00:00:77", true), ("52:54:00:00:00:78", false)] {
        client.must(&format!("ip link set fw1 down && ip link set fw1 address {mac} && ip link set fw1 up"));
        let (good, said) = client.run("busybox udhcpc -i fw1 -f -n -q -t 3 -T 2 -s /bin/true");
        assert_eq!((good, said.contains("lease of 10.77.0.101 obtained")), (gets, gets), "{mac}: {said}");
    }
    assert!(server.metrics.dhcp.conflicts.get() > 0);
    runtime.block_on(server.kill());
}

#[test]
fn tftp_and_http_give_real_clients_every_byte_and_nothing_else() {
    let test = "tftp_and_http_give_real_clients_every_byte_and_nothing_else";
    if !possible(test, &["curl", "nsenter", "ip", "sha256sum"]) || !inside(test) {
        return;
    }
    let client = pair();
    client.must("ip addr add 10.77.0.2/24 dev fw1");
    let folder = images();
    let runtime = runtime();
    let _inside_the_runtime = runtime.enter();
    let desk = Desk::new(BTreeMap::new());
    let server = Server::start(&desk, "fw0", folder.path());
    std::thread::sleep(Duration::from_millis(100));
    let at = folder.path().display();

    // TFTP: each block size, exact multiples, an empty file, any leading slashes; nothing outside the table.
    for (name, options) in [
        ("snponly.efi", ""),
        ("snponly.efi", "--tftp-blksize 1468"),
        ("snponly.efi", "--tftp-blksize 65464"),
        ("snponly.efi", "--tftp-no-options"),
        ("exact.bin", "--tftp-no-options"),
        ("//snponly.efi", ""),
    ] {
        let bare = name.trim_start_matches('/');
        client.must(&format!(
            "curl -sS -m 20 {options} tftp://10.77.0.1/{name} -o {at}/got && cmp {at}/got {at}/loaders/{bare}"
        ));
    }
    assert!(client.must("curl -sS -m 20 tftp://10.77.0.1/autoexec.ipxe").starts_with("#!ipxe\n"));
    for name in ["missing", "../large", "loaders/snponly.efi", "//etc/passwd", "%2e%2e/large"] {
        let (good, text) = client.run(&format!("curl -sS -m 20 --path-as-is tftp://10.77.0.1/{name} -o /dev/null"));
        // 68: curl's "TFTP file not found"; its text differs with its age.
        assert!(!good && text.contains("(68)"), "{name}: {text}");
    }
    let (good, _) = client.run(&format!("curl -sS -m 20 -T {at}/large tftp://10.77.0.1/snponly.efi"));
    assert!(!good, "a write was taken");

    // HTTP: whole, parts, HEAD on a connection that stays open, conditions, paths that lead out.
    let base = "http://10.77.0.1:8080";
    client.must(&format!("curl -sS -m 20 {base}/files/large -o {at}/got && cmp {at}/got {at}/large"));
    client.must(&format!(
        "curl -sS -m 20 -r 1000000-1999999 {base}/files/large -o {at}/got && \
         tail -c +1000001 {at}/large | head -c 1000000 | cmp - {at}/got"
    ));
    client.must(&format!(
        "head -c 30000000 {at}/large > {at}/part && curl -sS -m 20 -C - {base}/files/large -o {at}/part && cmp {at}/part {at}/large"
    ));
    let head = client.must(&format!(
        "curl -sSv -m 20 -I {base}/files/discovery/vmlinuz --next -sS {base}/files/discovery/vmlinuz -o {at}/got"
    ));
    assert!(head.contains("content-length: 3000000") && head.contains("Re-using existing connection"), "{head}");
    let status = |options: &str, path: &str| {
        client.must(&format!("curl -sS -m 20 --path-as-is -o /dev/null -w %{{http_code}} {options} {base}{path}"))
    };
    for (options, path, code) in [
        ("-r 99999999-", "/files/large", "416"),
        ("-r 0-0", "/files/large", "206"),
        ("-r 0-1,4-5", "/files/large", "200"),
        ("-r 0-1 -H \"If-Range: \\\"old\\\"\"", "/files/large", "200"),
        ("", "/files/../large", "404"),
        ("", "/files/..%2f..%2fetc/passwd", "404"),
        ("", "/files/%2fetc%2fpasswd", "404"),
        ("", "/files/discovery", "404"),
        ("", "/files/missing", "404"),
        ("", "/boot/loaders/snponly.efi", "200"),
        ("", "/boot/loaders/..%2flarge", "404"),
        ("", "/boot/overlay/other.cpio", "404"),
        ("-X POST", "/files/large", "405"),
        ("", "/ca.pem", "200"),
    ] {
        assert_eq!(status(options, path), code, "{options} {path}");
    }
    assert_eq!(client.must(&format!("curl -sS -m 20 {base}/boot/overlay/{OFFER}.cpio")), "an overlay");

    // A script asked for as iPXE does, percent-encoding and all; a HEAD is no offer.
    let said = "mac=52%3A54%3A00%3A00%3A00%3A01&uuid=4C4C4544-0001-2000-8000-B04F4D4C4931&serial=A%20B&arch=x86_64&platform=efi";
    assert_eq!(status("-I", &format!("/boot/script?{}", said.replace('&', "\\&"))), "405");
    let script = client.must(&format!("curl -sS -m 20 \"{base}/boot/script?{said}\""));
    assert!(script.starts_with("#!ipxe\necho Formwork: machine node-1, revision 0123abc\n"), "{script}");
    let asked = desk.asked.lock().expect("a lock").clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].mac.to_string(), "52:54:00:00:00:01");
    assert_eq!((asked[0].serial.as_deref(), asked[0].firmware), (Some("A B"), Firmware::Uefi));
    assert_eq!(asked[0].address.to_string(), "10.77.0.2");
    runtime.block_on(server.kill());
}
