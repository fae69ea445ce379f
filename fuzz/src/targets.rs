//! What is fed with bytes from outside: one function a target. They panic where a promise is broken, and on nothing else.
//! The fuzzer drives them, and so does a plain test over the corpus (`tests/corpus`).

use formwork::boot::client::{Firmware, classify};
use formwork::boot::desk::{BootPermit, ScriptAction, ScriptAnswer};
use formwork::boot::dhcp::{Decision, Port, Situation, decide};
use formwork::boot::leases::Leases;
use formwork::boot::network::Network;
use formwork::boot::packet::Request as Packet;
use formwork::boot::{query, script};
use formwork::catalog::{Catalog, from_tree, from_tree_with};
use formwork::cluster::{self, Caller, Condition, Content, Context, Document, Operation, Secrets};
use formwork::content::Tree;
use formwork::content::kinds::Span;
use formwork::content::sops::{Identities, Keys};
use formwork::identity::{self, AdministratorToken, SiteKeys};
use formwork::net::tftp::{Loaders, TftpService};
use formwork::{api, trust, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A target: its name, that of its folder in the corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("content", content),
    ("template", template),
    ("dhcp", dhcp),
    ("tftp", tftp),
    ("query", boot_query),
    ("messages", messages),
    ("cluster", cluster_operations),
    ("identity", tokens),
    ("signature", signature),
    ("sops", encrypted_file),
];

const SITE: &str = "apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: lab}
spec: {global: [p]}
---
apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {name: p}
spec: {params: {a: 1, b: [x, y], c: {d: text}}}
";

/// A signature, what it is of (after a NUL), and the file of allowed signers (after another).
pub fn signature(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let (armored, signed) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let file = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let mut allowed = trust::AllowedSigners::default();
    if let Ok(lines) = trust::parse_allowed_signers(&file, &jiff::tz::TimeZone::UTC) {
        allowed.lines = lines;
    }
    let _ = trust::parse_revoked(file.as_bytes());
    if let Ok(signer) = trust::ssh::verify(armored, signed, &allowed, 1_700_000_000) {
        assert!(!allowed.lines.is_empty() && !signer.principals.is_empty(), "somebody was taken whom nobody named");
    }
    let status = String::from_utf8_lossy(armored);
    let _ = (trust::openpgp::read_status(&status), trust::openpgp::read_imported(&status));
    let _ = trust::Policy::read("trust.yaml", signed, &jiff::tz::TimeZone::UTC, &|_| Ok(Vec::new()));
}

/// A key that guards nothing: `identity.txt` of the tests of `content::sops`.
static IDENTITY: LazyLock<Keys> = LazyLock::new(|| {
    let text = include_str!("../../src/content/sops/fixture/identity.txt");
    Keys::Known(Arc::new(Identities::parse(text).expect("an identity")))
});

/// A file that SOPS may have encrypted.
pub fn encrypted_file(bytes: &[u8]) {
    let tree = Tree::from_texts([("site.yaml", SITE.as_bytes()), ("x.yaml", bytes)]);
    for keys in [&*IDENTITY, &Keys::Unknown] {
        if let Err(findings) = from_tree_with(&tree, &BTreeMap::new(), "fuzz", keys) {
            assert!(findings.errors() > 0, "refused without an error");
        }
    }
}

/// Documents of a site, and what the findings say of them.
pub fn content(bytes: &[u8]) {
    let tree = Tree::from_texts([("site.yaml", SITE.as_bytes()), ("x.yaml", bytes)]);
    if let Err(findings) = from_tree(&tree, &BTreeMap::new(), "fuzz") {
        assert!(findings.errors() > 0, "refused without an error");
        let text = findings.to_string();
        for line in text.lines().filter(|line| !line.starts_with("  hint: ")) {
            assert!(!line.trim().is_empty() || text.contains('\n'), "a finding says nothing");
        }
    }
}

/// A template and a condition (after a NUL), compiled and rendered by the compiler's own trial.
pub fn template(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let condition = String::from_utf8_lossy(parts.next().unwrap_or(b"true")).into_owned();
    let condition = serde_json::to_string(&condition).expect("text");
    let more = format!(
        "---
apiVersion: formwork.dev/v1alpha1
kind: Template
metadata: {{name: t}}
spec: {{file: t.j2}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {{name: k}}
spec:
  params: [{{name: a}}, {{name: b}}, {{name: c}}]
  steps: [{{name: s, if: {condition}, template: t, to: /t}}]
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {{name: s}}
spec: {{bootEnv: local, tasks: [k]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {{name: w}}
spec: {{stages: [s]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {{name: m}}
spec: {{match: {{macs: ['52:54:00:00:00:01']}}, workflow: w}}
"
    );
    let site = format!("{SITE}{more}");
    let tree = Tree::from_texts([("site.yaml", site.as_bytes()), ("t.j2", text)]);
    let _ = from_tree(&tree, &BTreeMap::new(), "fuzz").map_err(|findings| findings.to_string());
}

/// A network in server mode and one by proxy.
static NETWORK: LazyLock<Network> = LazyLock::new(|| {
    let more = "---
apiVersion: formwork.dev/v1alpha1
kind: Subnet
metadata: {name: rack-1}
spec: {cidr: 10.77.0.0/24, gateway: 10.77.0.1, pools: [{first: 10.77.0.100, last: 10.77.0.199}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Subnet
metadata: {name: rack-2}
spec: {cidr: 10.78.0.0/24, mode: proxy}
---
apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: m}
spec: {match: {macs: ['52:54:00:00:00:01']}, address: 10.77.0.11}
";
    let site = format!("{SITE}{more}");
    let tree = Tree::from_texts([("site.yaml", site.as_bytes())]);
    let catalog: Catalog = from_tree(&tree, &BTreeMap::new(), "fuzz").expect("a good site");
    Network::of(&catalog).0
});

/// A datagram to ports 67 and 4011, from both networks, for a box that may boot and one that may not.
pub fn dhcp(bytes: &[u8]) {
    let Ok(request) = Packet::decode(bytes) else { return };
    let _ = (classify(&request), request.architectures(), request.machine_uuid(), request.user_classes().len());
    let refused = BootPermit::Refused { reason: "fuzz".to_owned() };
    for (port, third, permit) in [
        (Port::Server, 77, &BootPermit::Granted),
        (Port::Server, 78, &refused),
        (Port::Proxy, 78, &BootPermit::Granted),
    ] {
        let server = Ipv4Addr::new(10, third, 0, 1);
        let situation = Situation {
            network: &NETWORK,
            leases: &Leases::load([], 0),
            permit,
            server,
            interface: server,
            source: SocketAddrV4::new(Ipv4Addr::new(10, third, 0, 50), 68),
            port,
            http_port: 8080,
            probe: false,
            place: (0, 1),
            now_ms: 1,
            now_unix_ms: 1,
        };
        if let Decision::Answer { reply, .. } = decide(&request, &situation) {
            let answer = reply.encode(&request).expect("an answer that can be sent");
            assert!(answer.len() <= 1500, "an answer of {} bytes", answer.len());
            assert_eq!(answer.first(), Some(&2), "an answer is a BOOTREPLY");
        }
    }
}

/// The service on the loopback, and one who asks it.
struct Tftp {
    client: UdpSocket,
    server: SocketAddr,
}

static TFTP: LazyLock<Tftp> = LazyLock::new(|| {
    let empty = std::path::Path::new("/nonexistent");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // The service tells nobody its port: one is found free first.
            let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
            let service =
                TftpService::bind(free, Arc::new(Loaders::read(empty, 8080)), Default::default()).expect("bound");
            tell.send(free).expect("heard");
            service.serve().await.expect("it never ends");
        });
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
    Tftp { client, server: told.recv().expect("it is bound") }
});

/// A datagram to the TFTP port. What must be so: the service lives, and answers the next one who asks.
pub fn tftp(bytes: &[u8]) {
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let _ = stranger.send_to(bytes, TFTP.server);
    // A name that is not there is answered by one packet, and nothing is left of it.
    let ask = b"\0\x01nothing\0octet\0";
    let mut buffer = [0; 2048];
    for _ in 0..3 {
        TFTP.client.send_to(ask, TFTP.server).expect("sent");
        if let Ok((read, _)) = TFTP.client.recv_from(&mut buffer) {
            assert_eq!(buffer.get(..2), Some(&b"\0\x05"[..]), "{read} bytes that are no ERROR");
            return;
        }
    }
    panic!("TFTP answers nobody any more");
}

/// What a box says of itself to get its script; what it says must not become a command of the script.
pub fn boot_query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (reason, firmware) = match query::parse(text) {
        Ok(said) => {
            assert!(said.serial.as_ref().is_none_or(|serial| serial.chars().count() <= 128));
            (format!("{:?} {:?} {}", said.uuid, said.serial, said.mac), said.firmware)
        }
        Err(error) => (error.to_string(), Firmware::Uefi),
    };
    for action in [
        ScriptAction::Nothing { reason: reason.clone() },
        ScriptAction::Hold { reason: text.to_owned(), retry_seconds: 1 },
        ScriptAction::Boot {
            environment: text.to_owned(),
            offer: "offer".to_owned(),
            kernel: script::file_url(text),
            initrds: vec![script::file_url(text)],
            arguments: text.to_owned(),
        },
    ] {
        let answer = ScriptAnswer {
            machine: Some(text.to_owned()),
            revision: Some(text.to_owned()),
            waits_for: Some(reason.clone()),
            action,
        };
        let Ok(rendered) = script::render(&answer, firmware) else { continue };
        assert!(rendered.starts_with("#!ipxe\n"));
        for line in rendered.lines() {
            let word = line.split_whitespace().next().unwrap_or_default();
            let known = [
                "#!ipxe", "echo", "sleep", "goto", "exit", "chain", "kernel", "initrd", "boot", "sanboot", "isset",
                "set", "iseq", "dhcp", "ifconf", "ifopen", "imgfree", "imgfetch", "clear", "inc", "||", "&&", "prompt",
                "item", "",
            ];
            assert!(known.contains(&word) || word.starts_with([':', '#']), "a command of its own: {line:?}");
            assert!(!line.contains(['\r', '\0', '\u{1b}']), "a control character: {line:?}");
        }
    }
}

fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec(&message).expect("what was read can be written");
        serde_json::from_slice::<T>(&text).expect("and read again");
    }
}

/// Bodies that machines send (a test holds them to what the routes take), answers that agents read, what scripts say to their agent, what administrators ask.
pub fn messages(bytes: &[u8]) {
    read::<wire::ExchangeRequest>(bytes);
    read::<wire::RenewRequest>(bytes);
    read::<wire::CheckInRequest>(bytes);
    read::<wire::NextRequest>(bytes);
    read::<wire::FactsReport>(bytes);
    read::<wire::JobEnd>(bytes);
    read::<api::views::Heartbeat>(bytes);
    read::<api::views::DiskTicketRequest>(bytes);
    read::<api::views::AskBody>(bytes);
    read::<api::views::AdoptBody>(bytes);
    read::<api::views::AllowBody>(bytes);
    read::<api::views::HoldBody>(bytes);
    read::<api::views::RollbackBody>(bytes);
    read::<wire::ExchangeAnswer>(bytes);
    read::<wire::NextAnswer>(bytes);
    read::<wire::BootFile>(bytes);
    read::<wire::Problem>(bytes);
    read::<wire::SocketRequest>(bytes);
    read::<wire::SocketAnswer>(bytes);
    if let Ok(request) = serde_json::from_slice::<wire::ExchangeRequest>(bytes) {
        let _ = identity::verify_possession(&request.public_key, request.ticket.as_bytes(), &request.signature);
        let _ = identity::verify_ticket(&KEYS, &request.ticket);
    }
}

/// One operation a line: `put KEY JSON`, `delete KEY`, `patch JSON`, `claim NAME MS`, `done NAME FENCE JSON`, …; by machine `a` or
/// (with `!` before it) `b`. What must be so: versions rise by one, sizes are bounded, secrets are not shown to strangers.
pub fn cluster_operations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut document = Document::default();
    for (line, now_ms) in text.lines().take(64).zip((0_u64..).step_by(700)) {
        let (machine, line) = line.strip_prefix('!').map_or(("a", line), |rest| ("b", rest));
        let Some(operation) = operation(line) else { continue };
        let caller = if line.starts_with("reset") { administrator() } else { member(machine) };
        let request = cluster::Request {
            cluster: "c".to_owned(),
            operation,
            context: context(caller, now_ms, line.contains("@k")),
        };
        let before = document.version;
        let outcome = cluster::apply(&document, &request);
        if let Some(after) = outcome.document {
            assert!(after.version == before || after.version == before + 1, "{before} -> {}", after.version);
            assert!(after.keys.size() <= 1_024 && after.bytes <= 512 * 1024, "{} bytes", after.bytes);
            document = after;
        }
    }
    let shown = cluster::document_view("c", &document, Secrets::Hidden, 0);
    assert!(!serde_json::to_string(&shown).expect("text").contains("hunter2-secret"), "a secret is shown");
    let _ = cluster::changes_after(&document, 0, 0);
}

fn operation(line: &str) -> Option<Operation> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let value = || Content::from(serde_json::from_str::<serde_json::Value>(rest).unwrap_or_else(|_| rest.into()));
    let (number, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let fence = number.parse().unwrap_or(0);
    let name = name.to_owned();
    Some(match word {
        "put" => Operation::Put { key: name, value: value(), condition: Condition::Any, secret: false },
        "create" => Operation::Put { key: name, value: value(), condition: Condition::Absent, secret: false },
        "secret" => Operation::Put {
            key: name,
            value: Content::from(serde_json::json!("hunter2-secret")),
            condition: Condition::Any,
            secret: true,
        },
        "delete" => Operation::Delete { key: name, condition: Condition::Any },
        "patch" | "ours" => {
            let patch = serde_json::from_str(line.split_once(' ')?.1).ok()?;
            Operation::Patch { steps: cluster::parse_patch(&patch, word == "ours").ok()?, versions: None }
        }
        "claim" => {
            let ttl_ms =
                number.parse::<Span>().map_or(1_000, |span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
            Operation::Claim { claim: name, ttl_ms }
        }
        "renew" => Operation::Renew { claim: name, fence, ttl_ms: after.parse().ok() },
        "done" => {
            let publish: serde_json::Map<String, serde_json::Value> = serde_json::from_str(after).unwrap_or_default();
            let publish = publish.into_iter().map(|(key, value)| (key, Content::from(value))).collect();
            Operation::Done { claim: name, fence, publish }
        }
        "fail" => Operation::Fail { claim: name, fence, retry: after.is_empty(), reason: after.to_owned() },
        "join" => Operation::Join { set: name, barrier: rest.parse().ok() },
        "reset" => Operation::Reset { reason: rest.to_owned() },
        _ => return None,
    })
}

fn member(machine: &str) -> Caller {
    Caller::Machine {
        machine: machine.to_owned(),
        run: 1,
        boot_id: "boot".to_owned(),
        job: None,
        token: "token".to_owned(),
        address: "192.0.2.1".to_owned(),
    }
}

fn administrator() -> Caller {
    Caller::Administrator { name: "ada".to_owned() }
}

fn context(caller: Caller, now_ms: u64, repeated: bool) -> Context {
    Context {
        now_ms,
        now_unix_ms: 0,
        caller,
        epoch: None,
        members: vec!["a".to_owned(), "b".to_owned()].into(),
        size: 2,
        run: 1,
        keys: Vec::new().into(),
        idempotency_key: repeated.then(|| "k".to_owned()),
        fence: None,
    }
}

static KEYS: LazyLock<SiteKeys> = LazyLock::new(|| SiteKeys::generate("fuzz").expect("keys"));

/// Tokens, tickets and proofs of possession: nothing but what the keys made is ever good.
pub fn tokens(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(identity::verify(&KEYS, text, 0).is_err(), "a token that nobody issued");
    assert!(identity::verify_ticket(&KEYS, text).is_none(), "a ticket that nobody made");
    let (key, signature) = text.split_once('\n').unwrap_or((text, ""));
    let _ = identity::verify_possession(key, b"message", signature);
    let nobody = AdministratorToken { name: "ada".to_owned(), sha256: "0".repeat(64) };
    assert!(!nobody.verify(text), "a token of nobody");
    // Never compared with the text: the fuzzer watches comparisons, and would learn it from us.
    let ticket = identity::ticket_secret(&KEYS, "id");
    assert_eq!(identity::verify_ticket(&KEYS, &ticket).as_deref(), Some("id"));
}
