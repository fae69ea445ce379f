//! A real server on the store in Kubernetes, killed (`kill -9`) under machines that ask it over HTTP, with an API server that is
//! killed, too. The same machines, proxy and judge as in `tests/crash`, where the store is a file.

#[path = "../crash/held.rs"]
pub mod held;
#[path = "../crash/machine.rs"]
pub mod machine;
#[path = "../crash/proxy.rs"]
pub mod proxy;
#[path = "../crash/server.rs"]
pub mod server;
#[path = "../crash/walk.rs"]
mod walk;

use super::*;
use machine::Machine;
use proxy::Proxy;
use server::Server;
use std::sync::atomic::{AtomicU64, Ordering};
use store::conformance::{history, program};
use walk::{PATIENCE, Shared, walk};

/// Machines, all members of one cluster.
const MACHINES: u64 = 32;
/// Of so many replies the proxy loses one.
const LOST_REPLY: u64 = 20;
/// The server is killed so often, and each third time the API server, too.
const KILLS: u64 = 6;

#[test]
fn a_server_on_a_real_api_server_keeps_every_word_it_gave() {
    let Some(mut cluster) = Cluster::started("a server on the store in Kubernetes") else { return };
    cluster.kubectl(&["create", "namespace", "served"]);
    let environment = [
        ("FORMWORK_STORE", "kubernetes".to_owned()),
        ("FORMWORK_STORE_NAMESPACE", "served".to_owned()),
        ("KUBECONFIG", cluster.path("kubeconfig").display().to_string()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut server = Server::new_with(MACHINES, environment);
    server.start();
    let machines: Vec<Machine> = (0..MACHINES).map(|number| Machine::enlist(&server, number)).collect();
    let proxy = Proxy::start(&server, LOST_REPLY);
    let shared = Shared { rounds: AtomicU64::new(u64::MAX), ..Shared::default() };
    std::thread::scope(|scope| {
        for (number, machine) in (0..).zip(&machines) {
            let (shared, at) = (&shared, proxy.address);
            scope.spawn(move || walk(machine, number, at, shared));
        }
        for kill in 0..KILLS {
            let enough = shared.answers.load(Ordering::SeqCst) + 100;
            let began = Instant::now();
            while shared.answers.load(Ordering::SeqCst) < enough {
                assert!(began.elapsed() < PATIENCE, "kill {kill}: no more answers\n{}", server.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            if kill % 3 == 2 {
                cluster.kill_api_server();
                cluster.start_api_server();
            } else {
                server.kill();
                server.start();
            }
        }
        let furthest = shared.furthest.load(Ordering::SeqCst);
        shared.rounds.store(furthest + 1, Ordering::SeqCst);
    });
    let mut last = machines[0].last(proxy.address);

    // There is no file to copy, and who asks for a copy is told why.
    let context = std::fs::read(server.state().join("administrator.json")).unwrap();
    let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
    let mut answer = proxy::agent(context["caCertificate"].as_str().unwrap())
        .post(format!("https://{}/v1/store/snapshots", server.api))
        .header("authorization", format!("Bearer {}", context["token"].as_str().unwrap()))
        .send_empty()
        .unwrap();
    let said = answer.body_mut().read_to_string().unwrap();
    assert!(answer.status() == 409 && said.contains("backed up with etcd"), "{said}");

    // Another that cannot serve (the ports are taken), and one with the keys of another site: the first goes on.
    let namespaces = Namespaces::of(&cluster);
    let mut second = server.serve(None).spawn().unwrap();
    assert!(!second.wait().unwrap().success());
    assert!(server.log().contains("cannot listen on"), "{}", server.log());
    let foreign = Options { sharing: Sharing::Alone, authority: Some("00".to_owned()), ..options() };
    let refused = KubernetesStore::open(namespaces.connect("served"), foreign).unwrap_err().to_string();
    assert!(refused.contains("the keys here are those of another"), "{refused}");
    let (_, said) = server.command(&["status"], &server.state().join("administrator.json"));
    assert!(said.contains("crash") && !server.has_ended(), "{said}\n{}", server.log());

    // One that takes the store over: the first may write nothing any more, and ends.
    let next =
        KubernetesStore::open(namespaces.connect("served"), Options { sharing: Sharing::Alone, ..options() }).unwrap();
    cluster.until("the first server ends", || server.has_ended().then_some(()));
    drop(next);
    assert!(server.log().contains("another server took over the store in namespace served"), "{}", server.log());

    let seen = shared.seen.into_inner().unwrap();
    let (lost, rounds) = (proxy.lost(), shared.furthest.into_inner() + 1);
    println!("{KILLS} kills, {rounds} rounds, {} answers, {lost} replies lost on the way", seen.len());
    last.granted = walk::granted(&*namespaces.open("served"));
    let wrong = history::check(&seen, &last, u32::try_from(MACHINES).unwrap());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    walk::journal_agrees(&*namespaces.open("served"), &last, MACHINES);
    assert!(!server.state().join("store.redb").exists(), "there is no file beside it");
}
