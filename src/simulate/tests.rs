//! Whole simulations against stand-ins for a server.

use super::*;
use crate::boot::overlay::{OverlayFile, cpio};
use crate::wire::{BootFile, BootFileKind};
use axum::Router;
use axum::routing::get;

const SCRIPT: &str = "#!ipxe
echo Formwork: machine simulated-024657000001, workflow build
kernel /files/ram/vmlinuz
initrd --name overlay /boot/overlay/one.cpio
boot
";

fn authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

/// A port of loopback that nobody has.
async fn nowhere() -> String {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    format!("https://{address}")
}

fn boot_file(server: &str) -> BootFile {
    BootFile {
        kind: BootFileKind::Boot,
        site: "rehearsal".into(),
        server: server.to_owned(),
        ca_certificate: authority(),
        ca_fingerprint: String::new(),
        ticket: "one.secret".into(),
        machine: "simulated-024657000001".into(),
        environment: "ram".into(),
        server_time_unix_ms: 0,
    }
}

/// A boot server that gives every machine the same script, and a ticket for a server that is named here.
async fn boots(tickets_for: &str) -> u16 {
    let file = serde_json::to_vec(&boot_file(tickets_for)).unwrap();
    let overlay = cpio(&[OverlayFile { path: "formwork/boot.json", bytes: &file, mode: 0o600 }]).unwrap();
    let router = Router::new()
        .route(crate::boot::script::SCRIPT_PATH, get(async || SCRIPT))
        .route("/boot/overlay/one.cpio", get(async move || overlay.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

fn options(http_port: u16, files: bool, limit: Duration) -> Options {
    let none: Seconds = "0".parse().unwrap();
    Options {
        server: Ipv4Addr::LOCALHOST,
        http_port,
        machines: 3,
        first: 1,
        habits: Habits {
            seed: 1,
            dhcp: false,
            tftp: false,
            files,
            boot_seconds: none,
            task_seconds: none,
            fail: 0.0,
            drop_replies: 0.0,
            power_cuts: 0.0,
            agent_kills: 0.0,
        },
        proxy: false,
        relay: None,
        in_flight: 8,
        limit,
        context: Context { server: "https://127.0.0.1:1".into(), ca_certificate: authority(), token: "secret".into() },
        record: None,
    }
}

async fn prepare(options: Options) -> Result<Simulation, SimulateError> {
    Prepared::of(options).await?.begin().await
}

#[tokio::test]
async fn an_api_of_tickets_that_was_never_there_ends_it_and_is_named() {
    let api = nowhere().await;
    let port = boots(&api).await;
    let simulation = prepare(options(port, false, Duration::from_secs(300))).await.unwrap();
    let (report, _) = simulation.run(std::future::pending()).await;
    assert!(report.seconds < 60.0, "it went on for {} s", report.seconds);
    assert_eq!(report.unreachable.as_ref().map(|away| away.server.as_str()), Some(api.as_str()));
    let [error] = report.errors.as_slice() else { panic!("{:?}", report.errors) };
    assert_eq!((error.kind, error.what), (acts::Kind::Exchange, What::Lost));
    assert!(error.count >= 3 && error.first.starts_with("/v1/agent/exchange: "), "{error:?}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told_of_by_its_name() {
    let port = boots(&nowhere().await).await;
    let simulation = prepare(options(port, true, Duration::from_secs(2))).await.unwrap();
    let (report, _) = simulation.run(std::future::pending()).await;
    let [error] = report.errors.as_slice() else { panic!("{:?}", report.errors) };
    assert_eq!((error.kind, error.what), (acts::Kind::File, What::Refused));
    assert_eq!(error.first, "/files/ram/vmlinuz was answered with status 404");
    assert_eq!(report.unreachable, None);
}

#[tokio::test]
async fn a_limit_before_any_answer_says_what_machines_waited_for() {
    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = boots(&format!("https://{}", silent.local_addr().unwrap())).await;
    let simulation = prepare(options(port, false, Duration::from_secs(1))).await.unwrap();
    let (report, _) = simulation.run(std::future::pending()).await;
    assert_eq!((report.unfinished, report.finished), (3, 0), "{report:?}");
    let told = report.reasons.iter().filter(|(reason, _)| reason.starts_with("not over at the end: it "));
    assert_eq!(told.map(|(_, count)| *count).sum::<usize>(), 3, "{:?}", report.reasons);
}

#[tokio::test]
async fn a_boot_server_that_is_not_there_is_no_failed_run() {
    let port = nowhere().await.rsplit(':').next().unwrap().parse().unwrap();
    let error = prepare(options(port, false, Duration::from_secs(2))).await.err().unwrap();
    assert!(matches!(error, SimulateError::Away { .. }), "{error}");
}

#[tokio::test]
async fn a_record_or_relay_that_cannot_be_had_is_told_before_any_machine_asks() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody answers there, nor at the API: whoever asked first would be told that.
    let port = nowhere().await.rsplit(':').next().unwrap().parse().unwrap();
    let mut wrong = options(port, false, Duration::from_secs(2));
    wrong.record = Some(folder.path().join("nowhere/record"));
    let error = Prepared::of(wrong).await.err().unwrap();
    assert!(matches!(error, SimulateError::Record { .. }), "{error}");
    let mut wrong = options(port, false, Duration::from_secs(2));
    wrong.habits.dhcp = true;
    wrong.relay = Some(Ipv4Addr::new(192, 0, 2, 1));
    let error = Prepared::of(wrong).await.err().unwrap();
    assert!(matches!(error, SimulateError::Relay { .. }), "{error}");
}

#[tokio::test]
async fn a_record_that_cannot_be_written_whole_is_told_beside_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("record");
    std::fs::write(&old, "of an earlier simulation").unwrap();
    for (path, whole) in [(old.clone(), true), (PathBuf::from("/dev/full"), false)] {
        let port = boots(&nowhere().await).await;
        let mut options = options(port, false, Duration::from_secs(1));
        options.record = Some(path.clone());
        let simulation = prepare(options).await.unwrap();
        let entry = record::Entry {
            at_ms: 0,
            machine: "simulated-1".to_owned(),
            fact: record::Fact::Boots { environment: "ram".to_owned() },
        };
        simulation.shared.note(&entry.machine, vec![entry.fact]);
        let (_, recorded) = simulation.run(std::future::pending()).await;
        assert_eq!(recorded.is_ok(), whole, "{}: {recorded:?}", path.display());
    }
    assert!(std::fs::read_to_string(&old).unwrap().starts_with("{\"atMs\""), "nothing of the earlier one is left");
}

#[tokio::test]
async fn a_machine_of_its_own_name_with_a_simulated_mac_is_found_before_any_asks() {
    // Nobody answers there: nothing is asked.
    let port = nowhere().await.rsplit(':').next().unwrap().parse().unwrap();
    let prepared = Prepared::of(options(port, false, Duration::from_secs(2))).await.unwrap();
    let known = |name: &str, mac: &str| -> MachineSummary {
        let machine = serde_json::json!({
            "name": name, "source": "git", "labels": {}, "phase": "ready", "waitsFor": "", "boots": 0, "macs": [mac],
            "clusters": [],
        });
        serde_json::from_value(machine).unwrap()
    };
    for (name, mac, refused) in [
        ("s1", "02:46:57:00:00:01", true),
        ("s1", "02:46:57:00:00:03", true),
        ("s1", "02:46:57:00:00:04", false),
        ("s1", "52:54:00:00:00:01", false),
        ("simulated-024657000001", "02:46:57:00:00:01", false),
    ] {
        let looked = prepared.look(&[known(name, mac)]);
        let said = looked.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(looked.is_err(), refused, "{name} {mac}");
        assert!(!refused || said.contains(&format!("it calls {mac} s1")), "{said}");
    }
}

#[tokio::test]
async fn a_machine_whose_run_was_done_before_is_idle_and_no_run_of_the_report() {
    let port = boots(&nowhere().await).await;
    let simulation = prepare(options(port, false, Duration::from_secs(1))).await.unwrap();
    let (shared, took) = (&simulation.shared, Duration::from_secs(6));
    for (worked, verdict) in [(false, Verdict::Idle), (true, Verdict::Finished)] {
        let mut machine = Machine::new(1, Arc::clone(&shared.habits));
        machine.worked = worked;
        machine.step(took, acts::Happened::Began);
        machine.step(took, acts::Happened::Passed);
        let local =
            script::read("#!ipxe\necho Formwork: machine simulated-024657000001\nsanboot --drive 0x80\n").unwrap();
        assert!(matches!(machine.step(took, acts::Happened::Script(local)), acts::Do::Stand(_)));
        let told = machine.step(took, acts::Happened::Stands(acts::Standing::Finished));
        assert!(matches!(told, acts::Do::End(end) if end == verdict), "worked: {worked}");
    }
    let ends = |verdicts: [Verdict; 3]| (1..).zip(verdicts).map(|(number, verdict)| (number, verdict, took)).collect();
    let report = Report::of(shared, 3, took, ends([Verdict::Idle, Verdict::Idle, Verdict::Idle]));
    assert_eq!((report.finished, report.idle, report.runs(), report.run_seconds), (0, 3, 0, None));
    let report = Report::of(shared, 3, took, ends([Verdict::Finished, Verdict::Idle, Verdict::Failed("f".into())]));
    assert_eq!((report.finished, report.idle, report.runs(), report.is_good()), (1, 1, 2, false));
    assert_eq!(report.run_seconds.map(|times| times.max), Some(6.0));
}
