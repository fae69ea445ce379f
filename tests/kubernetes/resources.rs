//! Content that is applied as resources: what becomes of it, of faults in it, of what is deleted, and of a restart.

use super::cluster::{Cluster, PATIENCE};
use super::server::{Server, machine, source};
use serde_json::Value;

const SOURCE: &str =
    "{apiVersion: formwork.dev/v1alpha1, kind: ContentSource, metadata: {name: site}, spec: {resources: {}}}";
const SITE: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n\
                    spec: {packs: [{builtin: discovery}, {builtin: hardware}]}\n";
const CONTENT: &str = "apiVersion: formwork.dev/v1alpha1
kind: Subnet
metadata: {name: boot}
spec: {cidr: 10.77.0.0/24, pools: [{first: 10.77.0.100, last: 10.77.0.110}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: motd}
spec: {schema: {type: string}, default: hello}
---
apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {name: rack}
spec: {params: {motd: from the rack}}
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: ram/vmlinuz}, initrds: [{file: ram/initrd}]}}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {name: look}
spec: {timeout: 5m, exitCodes: formwork, steps: [{name: look, script: \"echo look\"}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: look}
spec: {bootEnv: ram, tasks: [look], onFailure: continue}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: build}
spec: {stages: [look]}
---
apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: a, labels: {rack: \"1\"}}
spec: {match: {macs: [\"52:54:00:00:00:01\"]}, profiles: [rack], params: {motd: my own}, workflow: build}
";

/// An object, once it is so.
fn until(cluster: &Cluster, server: &Server, object: (&str, &str), what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let is = cluster.object(object.0, object.1).unwrap_or_default();
        if so(&is) {
            return is;
        }
        assert!(began.elapsed() < PATIENCE, "not so: {what}\n{is:#}\n{}", server.said());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn content_that_is_applied_as_resources_is_a_revision_as_a_commit_of_people_is() {
    let Some(cluster) = Cluster::started("content as resources") else { return };
    let mut server = Server::new(&cluster);
    cluster.apply(SITE);
    cluster.apply(CONTENT);
    server.start(&["--content-source", "site"]);
    cluster.apply(SOURCE);
    cluster.wait_for("Ready", "contentsource/site");
    let machines = |number: u64| {
        let what = format!("{number} machines serve");
        let is = until(&cluster, &server, ("contentsource", "site"), &what, |source| {
            let status = &source["status"];
            status["machines"] == number && status["headRevision"] == status["lastAppliedRevision"]
        });
        is["status"]["lastAppliedRevision"].as_str().unwrap().to_owned()
    };
    let first = machines(1);

    // Its status is told; what it says stays its own, also what a mirror would leave out.
    let a = until(&cluster, &server, ("machine", "a"), "it says where it is", |machine| {
        machine["status"]["phase"] == "expected"
    });
    assert_eq!((&a["spec"]["params"]["motd"], &a["spec"]["workflow"]), (&"my own".into(), &"build".into()), "{a:#}");
    assert!(a["metadata"]["labels"]["formwork.dev/site"].is_null(), "{a:#}");

    // Several at once are one revision, which says what changed and who did it.
    cluster.apply(&format!("{}---\n{}", machine("b", 2, ""), machine("c", 3, "")));
    let second = machines(3);
    let log = git(&server, &["log", "--format=%an%n%B", "main"]);
    assert!(log.contains("Resources: machines/b, machines/c") && log.contains("Applied-By: kubectl"), "{log}");
    assert_eq!(git(&server, &["rev-list", "--count", &format!("{first}..{second}")]), "1", "{log}");

    // A fault is told where it is, and the last good one serves on.
    cluster.apply(&machine("c", 3, "").replace("hardware.inventory", "nowhere"));
    cluster.wait_for("Stalled", "contentsource/site");
    let source = cluster.object("contentsource", "site").unwrap();
    let finding = source["status"]["findings"][0].as_str().unwrap();
    assert!(finding.contains("machines/c.yaml:"), "{source:#}");
    assert_eq!(source["status"]["lastAppliedRevision"], second.as_str(), "{source:#}");

    // What is deleted leaves, and a mirror does not make it anew; also over a restart.
    cluster.kubectl(&["delete", "machine", "c"]);
    let third = machines(2);
    assert_ne!(third, second);
    assert!(cluster.object("machine", "c").is_none());
    server.kill();
    server.start(&["--content-source", "site"]);
    cluster.apply(&machine("d", 4, ""));
    let began = std::time::Instant::now();
    while cluster.object("machine", "d").unwrap()["status"].is_null() {
        assert!(began.elapsed() < PATIENCE, "{}", server.said());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(git(&server, &["rev-list", "--count", &format!("{third}..main")]), "1", "a restart commits nothing");
    assert_eq!(cluster.object("machine", "a").unwrap()["spec"]["params"]["motd"], "my own");
}

#[test]
fn a_site_that_moves_from_a_repository_to_resources_waits_for_the_last_label_and_loses_no_machine() {
    let Some(cluster) = Cluster::started("from a repository to resources") else { return };
    let mut server = Server::new(&cluster);
    server.write("machines/b.yaml", &machine("b", 2, ""));
    server.write("machines/c.yaml", &machine("c", 3, ""));
    let pushed = server.push("three machines");
    // Somebody's own, which nobody reads yet.
    cluster.apply(&machine("own", 9, ""));
    server.start(&["--content-source", "site"]);
    cluster.apply(&source("site", &server, ""));
    cluster.wait_for("Ready", "contentsource/site");
    for name in ["a", "b", "c"] {
        until(&cluster, &server, ("machine", name), "it is shown", |machine| machine["status"]["phase"] == "expected");
    }
    until(&cluster, &server, ("machine", "own"), "nothing reads it", |machine| machine["status"]["phase"] == "unread");

    cluster.apply(SITE);
    cluster.apply(SOURCE);
    let postponed = |names: &str| {
        let what = format!("it waits for {names}");
        until(&cluster, &server, ("contentsource", "site"), &what, |source| {
            let rows = source["status"]["conditions"].as_array().cloned().unwrap_or_default();
            rows.iter().any(|row| {
                row["status"] == "True" && row["reason"] == "Postponed" && row["message"].to_string().contains(names)
            })
        })
    };
    postponed("3 objects are still in the mirror of what was followed before (Machine/a, Machine/b, Machine/c)");
    // It is content now, and says no longer that nothing reads it, though no revision has it yet.
    let own = until(&cluster, &server, ("machine", "own"), "it is read", |machine| machine["status"]["phase"] == "");
    assert_eq!(own["status"]["conditions"][0]["reason"], "Read", "{own:#}");
    let label = |name: &str| cluster.kubectl(&["label", "machine", name, "formwork.dev/site-"]);
    label("a");
    label("b");
    let source = postponed("1 object is still in the mirror of what was followed before (Machine/c)");
    let status = &source["status"];
    assert_eq!(
        (&status["lastAppliedRevision"], &status["machines"]),
        (&pushed.as_str().into(), &3.into()),
        "{status:#}"
    );
    let a = cluster.object("machine", "a").unwrap();
    assert!(a["metadata"]["labels"]["formwork.dev/site"].is_null(), "nobody puts it back: {a:#}");
    // The last one: all of it is one revision, without a machine that left.
    label("c");
    let source = until(&cluster, &server, ("contentsource", "site"), "four machines serve", |source| {
        source["status"]["machines"] == 4 && source["status"]["lastAppliedRevision"] != pushed.as_str()
    });
    assert_eq!(git(&server, &["rev-list", "--count", "main"]), "1", "{source:#}");
    for name in ["a", "b", "c", "own"] {
        until(&cluster, &server, ("machine", name), "it goes on", |machine| machine["status"]["phase"] == "expected");
    }
}

fn git(server: &Server, words: &[&str]) -> String {
    let path = server.path("state/kubernetes/content.git");
    let output = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(path)
        .args(words)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
