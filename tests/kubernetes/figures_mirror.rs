//! What the mirror of a large site costs the API server, beside the same objects made by a plain client. Not a test: it measures.
//!
//! `FORMWORK_FIGURES=10000 cargo test --release --test kubernetes -- --ignored --nocapture figures_mirror::`: so many machines.

use super::cluster::Cluster;
use super::server::{Server, source};
use formwork::store::kubernetes::objects::Kind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Connections of the plain client.
const CLIENTS: usize = 16;

fn machine(number: usize) -> String {
    let [high, middle, low] = [number >> 16, number >> 8, number].map(|part| part & 0xff);
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: m{number}, labels: {{rack: \"{}\"}}}}\n\
         spec: {{match: {{macs: [\"52:54:00:{high:02x}:{middle:02x}:{low:02x}\"]}}, workflow: hardware.inventory}}\n",
        number / 40
    )
}

fn file(number: usize) -> String {
    format!("machines/{}/{number}.yaml", number / 40)
}

/// Requests that the API server answered for the kind so far, by what was asked for: made, and all that changes something.
fn requests(cluster: &Cluster, resource: &str) -> (f64, f64) {
    let text = cluster.kubectl(&["get", "--raw", "/metrics"]);
    let of = |verbs: &[&str]| -> f64 {
        let lines = text.lines().filter(|line| {
            line.starts_with("apiserver_request_total{")
                && line.contains(&format!("resource=\"{resource}\""))
                && line.contains("code=\"20")
                && verbs.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    (of(&["POST"]), of(&["POST", "PUT", "PATCH", "APPLY", "DELETE"]))
}

/// Of a process: bytes that it gave to the disk and its most memory, both in MB, and its seconds of a processor.
fn process(id: u32) -> (u64, u64, f64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let field = |text: String, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned)).unwrap_or_default();
        line.trim_start_matches(':').split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
    };
    let ticks: f64 = read("stat").split_whitespace().skip(13).take(2).filter_map(|word| word.parse::<f64>().ok()).sum();
    (field(read("io"), "write_bytes") / 1_000_000, field(read("status"), "VmHWM") / 1_000, ticks / 100.0)
}

/// So many Secrets of 600 bytes, made by a client that does nothing else.
fn plain(cluster: &Cluster, count: usize) -> Duration {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(cluster.path("kubeconfig")).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = runtime.block_on(kube::Config::from_custom_kubeconfig(kubeconfig, &options)).unwrap();
    let connect = formwork::store::kubernetes::client::connect(config, "plain".to_owned());
    let began = Instant::now();
    runtime.block_on(async {
        let objects = connect().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            let objects = Arc::clone(&objects);
            tasks.spawn(async move {
                for number in (client..count).step_by(CLIENTS) {
                    objects.create(Kind::Part, &format!("plain-{number}"), vec![7; 600].into()).await.unwrap();
                }
            });
        }
        tasks.join_all().await
    });
    began.elapsed()
}

#[test]
#[ignore = "it measures"]
fn figures_mirror() {
    let Some(cluster) = Cluster::started("figures of the mirror in a real API server") else { return };
    let (etcd, api_server) = cluster.processes();
    let count: usize =
        std::env::var("FORMWORK_FIGURES").map_or(10_000, |word| word.parse().expect("a number of machines"));
    cluster.kubectl(&["create", "namespace", "plain"]);
    let took = plain(&cluster, count);
    println!(
        "a plain client, {CLIENTS} connections: {count} Secrets in {took:?}, {:.0} a second",
        count as f64 / took.as_secs_f64()
    );

    let mut server = Server::new(&cluster);
    server.remove("machines/a.yaml");
    (0..count).for_each(|number| server.write(&file(number), &machine(number)));
    server.push("all machines");
    server.start(&[]);
    let before = (process(etcd), process(api_server));
    let began = Instant::now();
    cluster.apply(&source("site", &server, ", branch: main"));
    let made = |least: usize| {
        let began = Instant::now();
        while requests(&cluster, "machines").0 < least as f64 {
            assert!(began.elapsed() < PATIENCE, "not all machines are shown\n{}", server.said());
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    made(count);
    println!("mirror: {count} machines made in {:?}", began.elapsed());
    // Their status follows; it is quiet once nothing was asked for two seconds.
    let settled = || {
        let (mut last, mut since) = (requests(&cluster, "machines").1, Instant::now());
        while since.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(250));
            let now = requests(&cluster, "machines").1;
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
        (last, since)
    };
    let (writes, quiet) = settled();
    let all = quiet.duration_since(began);
    println!("with their status: in {all:?}, {writes} writes, {:.0} a second", writes / all.as_secs_f64());
    let after = (process(etcd), process(api_server), process(server.id()));
    println!(
        "etcd: {} MB to the disk, {} MB of memory at its peak, {:.1} s of a processor",
        after.0.0 - before.0.0,
        after.0.1,
        after.0.2 - before.0.2
    );
    println!("API server: {} MB of memory at its peak, {:.1} s of a processor", after.1.1, after.1.2 - before.1.2);
    println!("Formwork: {} MB of memory at its peak, {:.1} s of a processor", after.2.1, after.2.2);

    // A commit that changes one machine: until its object says so, and what was asked of the API server for it.
    for number in count / 2..count / 2 + 3 {
        let name = format!("m{number}");
        server.write(&file(number), &machine(number).replace("rack: ", "changed: \"yes\", rack: "));
        let before = requests(&cluster, "machines").1;
        let began = Instant::now();
        server.push("one machine");
        let pushed = began.elapsed();
        let began = Instant::now();
        cluster.until("the machine is changed", || {
            cluster.object("machine", &name).filter(|machine| machine["metadata"]["labels"]["changed"] == "yes")
        });
        let took = began.elapsed();
        println!(
            "a commit of one machine: shown {took:?} after its push (of {pushed:?}), {} writes",
            settled().0 - before
        );
    }
    server.kill();
    let began = Instant::now();
    let before = requests(&cluster, "machines").1;
    server.start(&[]);
    cluster.wait_for("Ready", "contentsource/site");
    println!("started again: answers after {:?}, {} writes until it is quiet", began.elapsed(), settled().0 - before);
}
