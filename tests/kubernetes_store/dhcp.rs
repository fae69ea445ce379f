//! Two whole servers on one wire, both answering DHCP, and 200 clients that want addresses of one pool; one server is killed in the middle.

#[path = "../boot_protocols/namespace.rs"]
mod namespace;

use super::*;
use namespace::{ClientNamespace, inside, must, possible};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CLIENTS: usize = 200;
/// The servers, their addresses and their ways to the wire.
const SERVERS: [(&str, &str, &str); 2] = [("one", "10.77.0.1", "fw0"), ("two", "10.77.0.2", "fw2")];
/// A pool with little more in it than clients: two servers that do not know of each other would soon give one address twice.
const SITE: &str = "\
apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: lab}
spec: {}
---
apiVersion: formwork.dev/v1alpha1
kind: Subnet
metadata: {name: rack}
spec:
  cidr: 10.77.0.0/16
  pools: [{first: 10.77.1.1, last: 10.77.1.230}]
";

/// Clients as RFC 2131 has them: discover, request, again after a while, and from the beginning after a refusal. Prints each address that
/// one has, with whose it is and who gave it.
const CLIENT: &str = r#"
import random, select, socket, struct, sys, time
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br0")
wire.bind(("", 68))
random.seed(1)
now, end = time.monotonic(), time.monotonic() + 150
clients = {}
for number in range(int(sys.argv[1])):
    mac = bytes([0x52, 0x54, 0, 7, number >> 8, number & 255])
    # They come to be within ten seconds.
    clients[mac] = dict(state="init", began=now + random.random() * 10, at=0, pause=2, xid=random.getrandbits(32))
    clients[mac]["at"] = clients[mac]["began"]
def send(mac, client, kind, more=b""):
    secs = min(65535, int(time.monotonic() - client["began"]))
    head = struct.pack("!4BIHH16x6s10x", 1, 1, 6, 0, client["xid"], secs, 0x8000, mac) + bytes(192)
    wire.sendto(head + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + more + bytes([255]), ("255.255.255.255", 67))
def begin(client, now):
    client.update(state="init", at=now, pause=2, xid=random.getrandbits(32))
while time.monotonic() < end and any(client["state"] != "bound" for client in clients.values()):
    now = time.monotonic()
    for mac, client in clients.items():
        if client["state"] == "bound" or client["at"] > now: continue
        if client["state"] == "request" and client["tries"] >= 3: begin(client, now)
        if client["state"] == "init": send(mac, client, 1)
        else:
            client["tries"] += 1
            send(mac, client, 3, bytes([50, 4]) + client["address"] + bytes([54, 4]) + client["server"])
        client["at"] = now + client["pause"] + random.uniform(-0.5, 0.5)
        client["pause"] = min(8, client["pause"] * 1.5)
    if not select.select([wire], [], [], 0.05)[0]: continue
    answer = wire.recvfrom(4096)[0]
    client, options, at = clients.get(answer[28:34]), {}, 240
    if client is None or struct.unpack("!I", answer[4:8])[0] != client["xid"]: continue
    while at < len(answer) and answer[at] != 255:
        if answer[at] == 0: at += 1; continue
        options[answer[at]] = answer[at + 2:at + 2 + answer[at + 1]]
        at += 2 + answer[at + 1]
    kind, mac = options[53][0], answer[28:34]
    if kind == 2 and client["state"] == "init":
        client.update(state="request", address=answer[16:20], server=options[54], at=0, pause=2, tries=0)
    elif kind == 5 and client["state"] == "request":
        client["state"] = "bound"
        print(mac.hex(":"), socket.inet_ntoa(answer[16:20]), socket.inet_ntoa(options[54]), flush=True)
    elif kind == 6 and client["state"] == "request": begin(client, now + 1)
"#;

/// One client that has an address and whose server is gone: it asks the whole wire to go on (rebinding). Prints the address that it may
/// keep, and who says so.
const REBINDS: &str = r#"
import random, socket, struct, sys, time
mac, address = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br0")
wire.bind(("", 68))
wire.settimeout(2)
xid, began = random.getrandbits(32), time.monotonic()
while time.monotonic() < began + 30:
    secs = int(time.monotonic() - began)
    head = struct.pack("!4BIHH", 1, 1, 6, 0, xid, secs, 0) + address + bytes(12) + mac + bytes(10 + 192)
    wire.sendto(head + b"\x63\x82\x53\x63" + bytes([53, 1, 3, 255]), ("255.255.255.255", 67))
    try: answer = wire.recvfrom(4096)[0]
    except TimeoutError: continue
    if struct.unpack("!I", answer[4:8])[0] != xid: continue
    at = answer.index(bytes([54, 4]), 240) + 2
    print(answer[242], socket.inet_ntoa(answer[16:20]), socket.inet_ntoa(answer[at:at + 4]), flush=True)
    break
"#;

/// The servers of a site, which end with it.
struct Servers {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    running: [Option<Child>; 2],
}

impl Servers {
    fn new(cluster: &Cluster) -> Self {
        cluster.kubectl(&["create", "namespace", "dhcp"]);
        let environment = vec![
            ("FORMWORK_STORE", "kubernetes".to_owned()),
            ("FORMWORK_STORE_NAMESPACE", "dhcp".to_owned()),
            ("KUBECONFIG", cluster.path("kubeconfig").display().to_string()),
        ];
        let servers = Self { folder: tempfile::tempdir().unwrap(), environment, running: [None, None] };
        let site = servers.path("site").display().to_string();
        std::fs::create_dir_all(servers.path("site")).unwrap();
        std::fs::create_dir_all(servers.path("images")).unwrap();
        std::fs::write(servers.path("site/site.yaml"), SITE).unwrap();
        let git = "git -c user.name=ada -c user.email=ada@example.org";
        must(&format!("cd {site} && git init -q -b main && {git} add . && {git} commit -q -m first"));
        let mut create = servers.formwork(&["site", "create", "lab", "--fresh", "--shared", "--state-dir", "one"]);
        let made = create.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        servers
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn formwork(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    fn start(&mut self, which: usize) {
        let (name, address, device) = SERVERS[which];
        let log = std::fs::File::options().create(true).append(true).open(self.path("servers.log")).unwrap();
        let mut command = self.formwork(&["serve", "--replica", name, "--state-dir", name, "--repository", "site"]);
        command.args(["--address", address, "--interface", device, "--images", "images", "--no-tftp"]);
        command.args(["--http-port", "8080", "--api-port", "8443"]).env("FORMWORK_LOG", "info");
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.running[which] = Some(command.spawn().unwrap());
        self.until(&format!("{name} serves"), || TcpStream::connect((address, 8080)).is_ok());
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.path("servers.log")).unwrap_or_default()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            assert!(began.elapsed() < Duration::from_secs(90), "not within 90 s: {what}\n{last}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self, which: usize) {
        if let Some(mut server) = self.running[which].take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        (0..SERVERS.len()).for_each(|which| self.kill(which));
    }
}

/// Runs the clients in their namespace. Each line is told as it comes.
fn clients(client: &ClientNamespace, script: &Path, mut told: impl FnMut(&str)) {
    let (place, count) = (format!("--net=/proc/{}/ns/net", client.pid()), CLIENTS.to_string());
    let mut command = Command::new("nsenter");
    command.arg(place).arg("python3").arg(script).arg(count).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let lines = BufReader::new(running.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).for_each(|line| told(&line));
    assert!(running.wait().unwrap().success());
}

#[test]
fn no_address_is_given_twice_by_two_servers_though_one_is_killed_in_the_middle() {
    let test = "dhcp::no_address_is_given_twice_by_two_servers_though_one_is_killed_in_the_middle";
    if api_server::Programs::find("200 clients of two servers").is_none()
        || !possible(test, &["python3", "nsenter", "ip", "git", "curl"])
        || !inside(test)
    {
        return;
    }
    must("ip link set lo up && ip link add fw0 type veth peer name fw1");
    let wire = ClientNamespace::with("fw1");
    must(&format!("ip link add fw2 type veth peer name fw3 && ip link set fw3 netns {}", wire.pid()));
    must(
        "ip addr add 10.77.0.1/16 dev fw0 && ip link set fw0 up && ip addr add 10.77.0.2/16 dev fw2 && ip link set fw2 up",
    );
    // An API server looks for the way to others at its start, though there are none.
    must("ip route add default via 10.77.0.254 dev fw0");
    // Both ways into this namespace lead to one wire, where the kernel would look for a client behind the first alone.
    must("for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$file; done");
    wire.must("ip link add br0 type bridge && ip link set fw1 master br0 && ip link set fw3 master br0");
    wire.must("ip link set fw3 up && ip addr add 10.77.0.200/16 dev br0 && ip link set br0 up");

    let Some(cluster) = Cluster::started("200 clients of two servers") else { return };
    let mut servers = Servers::new(&cluster);
    servers.start(0);
    servers.start(1);
    servers.until("the first counts on the second", || servers.said().contains("live=\"one, two\""));
    let script = servers.path("clients.py");
    std::fs::write(&script, CLIENT).unwrap();
    let mut held: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    let mut givers: BTreeMap<String, usize> = BTreeMap::new();
    let (mut twice, mut orphan) = (Vec::new(), None);
    clients(&wire, &script, |line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [mac, address, giver] = words[..] else { panic!("{line}") };
        if let Some(other) = held.insert(address.parse().unwrap(), mac.to_owned()) {
            twice.push(format!("{address} is that of {other}, and was given to {mac}"));
        }
        *givers.entry(giver.to_owned()).or_default() += 1;
        if giver == SERVERS[0].1 {
            orphan = Some((address.to_owned(), mac.to_owned()));
        }
        if held.len() == CLIENTS / 3 {
            servers.kill(0);
        }
    });
    assert_eq!(twice, Vec::<String>::new(), "{}", servers.said());
    assert_eq!(held.len(), CLIENTS, "not all have an address: {givers:?}\n{}", servers.said());
    assert!(givers.len() == 2 && givers.values().all(|count| *count > CLIENTS / 10), "both gave some: {givers:?}");

    // A client whose server is gone keeps its address by the word of the other, and goes on with its boot there.
    let (address, mac) = orphan.expect("the first gave some");
    wire.must(&format!("ip addr add {address}/16 dev br0"));
    let script = servers.path("rebinds.py");
    std::fs::write(&script, REBINDS).unwrap();
    let said = wire.must(&format!("python3 {} {mac} {address}", script.display()));
    assert_eq!(said.trim(), format!("5 {address} 10.77.0.2"), "{}", servers.said());
    let said = wire.must(&format!(
        "curl -sS -m 20 'http://10.77.0.2:8080/boot/script?mac={}&arch=x86_64&platform=efi'",
        mac.replace(':', "-")
    ));
    assert!(said.starts_with("#!ipxe"), "{said}");

    // What clients hold is what is written down, and each address once.
    servers.kill(1);
    let store = Namespaces::of(&cluster).open("dhcp");
    let mut written: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
    for lease in store.leases().unwrap() {
        let other = written.insert(lease.address, lease.mac.clone());
        assert_eq!(other, None, "{} is written down twice, also for {}", lease.address, lease.mac);
    }
    for (address, mac) in &held {
        assert_eq!(written.get(address), Some(mac), "{address} is not written down for who holds it");
    }
    println!("{CLIENTS} clients have an address each, {givers:?}; one server was killed after {}", CLIENTS / 3);
}
