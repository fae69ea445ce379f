//! What a fleet that walks through many tasks costs the API server and etcd. Not a test: it measures.
//!
//! `FORMWORK_FIGURES=1000x50 cargo test --release --test kubernetes_store -- --ignored --nocapture figures_fleet::`: so many machines, and so
//! many tasks of each.

use super::served::server::Server;
use super::*;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Machines and tasks, where nothing else is said.
const USUAL: (usize, usize) = (1_000, 50);

fn asked(word: Option<&str>) -> (usize, usize) {
    let Some(word) = word else { return USUAL };
    let parsed = word.split_once('x').map(|(machines, tasks)| (machines.parse(), tasks.parse()));
    match parsed {
        Some((Ok(machines @ 1..), Ok(tasks @ 1..))) => (machines, tasks),
        _ => panic!("FORMWORK_FIGURES is {word}, and is to be MACHINESxTASKS, such as 1000x50"),
    }
}

/// A site of machines that a rule enrolls, with a workflow of so many tasks that take no time: that of `scripts/bench simulate`.
fn content(tasks: usize) -> String {
    let mut text = "\
apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: crash}
spec: {}
---
apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: simulated}
spec:
  match: {macPrefixes: [\"02:46:57\"]}
  name: \"simulated-{{ mac | replace(':', '') }}\"
  workflow: figures
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: ram/vmlinuz}}}}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: figures}
spec: {stages: [figures]}
"
    .to_owned();
    for task in 1..=tasks {
        writeln!(
            text,
            "---\napiVersion: formwork.dev/v1alpha1\nkind: Task\nmetadata: {{name: task-{task}}}\n\
             spec: {{steps: [{{name: work, script: \"echo {task}\"}}]}}"
        )
        .unwrap();
    }
    let names = (1..=tasks).map(|task| format!("task-{task}")).collect::<Vec<_>>().join(", ");
    writeln!(
        text,
        "---\napiVersion: formwork.dev/v1alpha1\nkind: Stage\nmetadata: {{name: figures}}\nspec: {{bootEnv: ram, tasks: [{names}]}}"
    )
    .unwrap();
    text
}

/// Of a process: bytes that it gave to the disk, and the most memory that it had.
fn process(id: u32) -> (u64, u64) {
    let field = |file: &str, name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    (field("io", "write_bytes"), field("status", "VmHWM") / 1_000)
}

/// Secrets that the API server was asked to make so far.
fn creates(cluster: &Cluster) -> f64 {
    let text = cluster.kubectl(&["get", "--raw", "/metrics"]);
    let lines = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let made = lines.filter(|line| {
        [r#"resource="secrets""#, r#"verb="POST""#, r#"code="201""#].iter().all(|word| line.contains(word))
    });
    made.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
#[ignore = "it measures"]
fn figures_fleet() {
    let Some(cluster) = Cluster::started("figures of a fleet on the store in a real API server") else { return };
    let (etcd, api_server) = cluster.processes();
    let (machines, tasks) = asked(std::env::var("FORMWORK_FIGURES").ok().as_deref());
    cluster.kubectl(&["create", "namespace", "fleet"]);
    let environment = [
        ("FORMWORK_STORE", "kubernetes".to_owned()),
        ("FORMWORK_STORE_NAMESPACE", "fleet".to_owned()),
        ("KUBECONFIG", cluster.path("kubeconfig").display().to_string()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let mut server = Server::new_with(0, environment);
    let folder = server.state().parent().map(Path::to_path_buf).unwrap();
    std::fs::write(folder.join("site/site.yaml"), content(tasks)).unwrap();
    std::fs::create_dir_all(folder.join("images/ram")).unwrap();
    std::fs::write(folder.join("images/ram/vmlinuz"), vec![0; 60_000]).unwrap();
    let (made_before, disk_before) = (creates(&cluster), process(etcd).0);
    server.start();
    let began = Instant::now();
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_formwork"));
    simulate.args(["simulate", "--server", "127.0.0.1", "--http-port", &server.http.port().to_string(), "--seed", "7"]);
    simulate.args(["--machines", &machines.to_string(), "--script-only", "--task-seconds", "0", "-o", "json"]);
    simulate.args(["--boot-seconds", &format!("0..{}", machines / 300 + 1), "--context"]);
    let output = simulate.arg(server.state().join("administrator.json")).stderr(Stdio::inherit()).output().unwrap();
    let took = began.elapsed();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let jobs = report["jobs"].as_f64().unwrap();
    println!("{machines} machines, {tasks} tasks: {} runs done in {took:?}", report["finished"]);
    println!("{jobs} jobs, {:.0} a second", jobs / took.as_secs_f64());
    let made = creates(&cluster) - made_before;
    let (disk, memory) = process(etcd);
    let disk = (disk - disk_before) / 1_000_000;
    println!("{made} objects made, {:.0} a second, {:.1} jobs each", made / took.as_secs_f64(), jobs / made);
    println!("{} objects lie there", Namespaces::of(&cluster).secrets("fleet").len());
    println!("etcd gave {disk} MB to the disk, {:.1} kB a job", disk as f64 * 1_000.0 / jobs);
    let (api_server, formwork) = (process(api_server).1, process(server.id()).1);
    println!("memory at its peak: etcd {memory} MB, API server {api_server} MB, Formwork {formwork} MB");
    let events = Namespaces::of(&cluster).open("fleet").events_after(0, usize::MAX).unwrap().len();
    println!("{events} events");
}
