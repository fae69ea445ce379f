//! Machines of the applied revision as objects: what they say, what is put back, what is deleted, and one that is walked to its end.

use super::cluster::Cluster;
use super::server::{Server, machine, source};
use serde_json::Value;

/// An object, once it is so.
fn until(cluster: &Cluster, server: &Server, name: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let machine = cluster.object("machine", name).unwrap_or_default();
        if so(&machine) {
            return machine;
        }
        assert!(began.elapsed() < super::cluster::PATIENCE, "not so: {what}\n{machine:#}\n{}", server.said());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn machines_are_shown_as_git_has_them_and_edits_are_put_back() {
    let Some(mut cluster) = Cluster::started("the mirror of machines") else { return };
    let mut server = Server::new(&cluster);
    server.write(
        "machines/a.yaml",
        &machine("a", 1, ", profiles: [etcd], params: {}, protect: true")
            .replace("rack: \"1\"", "rack: \"1\", room: two words"),
    );
    server.write("machines/b.yaml", &machine("b", 2, ""));
    server.write(
        "profile.yaml",
        "apiVersion: formwork.dev/v1alpha1\nkind: ClusterProfile\nmetadata: {name: etcd}\nspec: {size: 3}\n",
    );
    server.push("two machines and a cluster");
    // Somebody's own, under a name that Git does not declare, and one that it does.
    let own = |name: &str| {
        format!(
            "{{apiVersion: formwork.dev/v1alpha1, kind: Machine, metadata: {{name: {name}}}, spec: {{match: {{serial: x-1}}, workflow: theirs}}}}"
        )
    };
    cluster.apply(&own("mine"));
    // Of another site, under a name that this one declares, too.
    let labels = "labels: {app.kubernetes.io/managed-by: formwork, formwork.dev/site: other}";
    cluster.apply(&own("theirs").replace("{name: theirs}", &format!("{{name: theirs, {labels}}}")));
    server.write("machines/theirs.yaml", &machine("theirs", 7, ""));
    server.push("a name that another site has");
    cluster.apply(&own("b"));
    // Of this site, from before: while no revision says what should be there, what is there stays.
    let labels = "labels: {app.kubernetes.io/managed-by: formwork, formwork.dev/site: lab}";
    cluster.apply(&own("left").replace("{name: left}", &format!("{{name: left, {labels}}}")));
    server.start(&[]);
    server.until("nothing is followed", |content| content["message"].to_string().contains("no ContentSource"));
    let unread = |name: &str, why: &str| {
        until(&cluster, &server, name, "it says that nothing reads it", |object| {
            let rows = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            rows.iter().any(|row| {
                row["type"] == "Stalled"
                    && row["status"] == "True"
                    && row["reason"] == "NotRead"
                    && row["message"].to_string().contains(why)
            })
        })
    };
    unread("mine", "no ContentSource of this namespace is followed");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(cluster.object("machine", "left").is_some(), "{}", server.said());
    cluster.apply(&source("site", &server, ", branch: main"));
    cluster.wait_for("Ready", "contentsource/site");
    until(&cluster, &server, "left", "it is gone, since the revision does not declare it", Value::is_null);

    let a = until(&cluster, &server, "a", "it is shown", |machine| machine["status"]["phase"] == "expected");
    assert_eq!(a["spec"]["match"]["macs"][0], "52:54:00:00:00:01", "{a:#}");
    assert_eq!((&a["spec"]["workflow"], &a["spec"]["protect"]), (&"hardware.inventory".into(), &true.into()), "{a:#}");
    let labels = &a["metadata"]["labels"];
    assert_eq!((&labels["rack"], &labels["formwork.dev/site"]), (&"1".into(), &"lab".into()), "{a:#}");
    assert!(labels["room"].is_null(), "no label for an API server: {a:#}");
    until(&cluster, &server, "b", "the one of that name is taken over", |machine| {
        machine["spec"]["match"]["macs"][0] == "52:54:00:00:00:02" && machine["spec"]["match"]["serial"].is_null()
    });
    let mine = unread("mine", "follows a Git repository");
    assert_eq!((&mine["status"]["phase"], &mine["spec"]["workflow"]), (&"unread".into(), &"theirs".into()), "{mine:#}");
    cluster.apply("{apiVersion: formwork.dev/v1alpha1, kind: ClusterProfile, metadata: {name: own}, spec: {size: 1}}");
    cluster.wait_for("Stalled", "clusterprofile/own");
    let etcd = cluster.until("the cluster profile is shown", || cluster.object("clusterprofile", "etcd"));
    assert_eq!(etcd["spec"]["size"], 3, "{etcd:#}");
    let said =
        |status: &Value| status["members"][0] == "a" && status["epoch"] == 1 && status["observedGeneration"] == 1;
    cluster.until("the cluster says who is in it", || {
        cluster.object("clusterprofile", "etcd").filter(|etcd| said(&etcd["status"]))
    });
    let table = cluster.kubectl(&["get", "machines", "-l", "rack=1"]);
    assert!(table.contains("expected") && !table.contains("mine"), "{table}");

    // Edits of the spec and of labels are put back; annotations stay.
    let a_again = |patch: &str| cluster.kubectl(&["patch", "machine", "a", "--type=merge", "-p", patch]);
    a_again(
        r#"{"spec": {"protect": false, "params": {"disk": "sdb"}}, "metadata": {"labels": {"rack": "2"}, "annotations": {"note": "x"}}}"#,
    );
    let back = until(&cluster, &server, "a", "it is put back", |machine| machine["spec"]["protect"] == true);
    assert!(back["spec"]["params"]["disk"].is_null(), "{back:#}");
    assert_eq!(
        (&back["metadata"]["labels"]["rack"], &back["metadata"]["annotations"]["note"]),
        (&"1".into(), &"x".into()),
        "{back:#}"
    );
    cluster.kubectl(&["delete", "machine", "b"]);
    until(&cluster, &server, "b", "it is made anew", |machine| machine["status"]["phase"] == "expected");

    // Quiet: what did not change is not written. Another commit touches one machine and no other. What was put back is told in
    // the status first, a turn later.
    let is_told = |machine: &Value| machine["status"]["observedGeneration"] == machine["metadata"]["generation"];
    let before = until(&cluster, &server, "a", "its status is of the spec that was put back", is_told);
    let version = |machine: &Value| machine["metadata"]["resourceVersion"].clone();
    let of_b = version(&cluster.object("machine", "b").unwrap());
    server.write("machines/b.yaml", &machine("b", 2, ", run: 2"));
    server.write("machines/c.yaml", &machine("c", 3, ""));
    server.push("another");
    until(&cluster, &server, "c", "the new one is shown", |machine| machine["status"]["phase"] == "expected");
    until(&cluster, &server, "b", "it is raised", |machine| machine["spec"]["run"] == 2);
    let after = cluster.object("machine", "a").unwrap();
    assert_eq!(version(&after), version(&before), "nothing happened to it:\n{before:#}\n{after:#}");
    assert_ne!(version(&cluster.object("machine", "b").unwrap()), of_b);

    // Gone from Git while the API server is away: deleted when it is back, and nobody else's.
    cluster.kill_api_server();
    server.remove("machines/c.yaml");
    let gone = server.push("gone");
    server.until("it serves without an API server", |content| content["lastAppliedRevision"] == gone.as_str());
    cluster.start_api_server();
    until(&cluster, &server, "c", "it is gone", Value::is_null);
    for name in ["mine", "theirs"] {
        assert_eq!(cluster.object("machine", name).unwrap()["spec"]["workflow"], "theirs", "{name}");
    }
    assert!(std::fs::read_to_string(server.path("serve.log")).unwrap().contains("another site"), "{}", server.said());
    assert!(cluster.object("machine", "a").is_some());
}

const SIMULATED: &str = "apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: simulated}
spec:
  match: {macPrefixes: [\"02:46:57\"]}
  name: \"simulated-{{ mac | replace(':', '') }}\"
  workflow: build
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: ram/vmlinuz}, initrds: [{file: ram/initrd}]}}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {name: look}
spec: {steps: [{name: look, script: \"echo look\"}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: look}
spec: {bootEnv: ram, tasks: [look]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: again}
spec: {bootEnv: ram, tasks: [look]}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: build}
spec: {stages: [look, again]}
";

#[test]
fn a_machine_that_walks_its_workflow_is_seen_to_its_end() {
    let Some(cluster) = Cluster::started("a machine that walks its workflow") else { return };
    let mut server = Server::new(&cluster);
    server.write("simulated.yaml", SIMULATED);
    server.push("simulated machines are let in");
    let ram = server.path("images/ram");
    std::fs::create_dir_all(&ram).unwrap();
    for file in ["vmlinuz", "initrd"] {
        std::fs::write(ram.join(file), file).unwrap();
    }
    server.start(&["--images", "images"]);
    cluster.apply(&source("site", &server, ""));
    cluster.wait_for("Ready", "contentsource/site");
    let port = server.http_port().to_string();
    let walked = server.type_in(
        &[
            &[
                "simulate",
                "--server",
                "127.0.0.1",
                "--http-port",
                &port,
                "--machines",
                "2",
                "--seed",
                "7",
                "--script-only",
            ][..],
            &["--boot-seconds", "0..1", "--task-seconds", "0", "--limit-seconds", "600", "-o", "json"],
        ]
        .concat(),
    );
    let said = String::from_utf8_lossy(&walked.stderr);
    assert!(walked.status.success(), "{said}\n{}\n{}", String::from_utf8_lossy(&walked.stdout), server.said());
    let name = cluster.until("it is there", || {
        let names = cluster.kubectl(&["get", "machines", "-o", "name"]);
        names.lines().find(|name| name.contains("simulated-")).map(str::to_owned)
    });
    cluster.wait_for("Ready", &name);
    let name = name.rsplit('/').next().unwrap();
    let machine = until(&cluster, &server, name, "its run is done", |machine| machine["status"]["phase"] == "ready");
    let status = &machine["status"];
    assert_eq!((&status["run"], &status["workflow"]), (&1.into(), &"build".into()), "{machine:#}");
    assert_eq!(status["source"], "enrollment simulated", "{machine:#}");
    let seen = status["lastSeen"].as_str().unwrap();
    assert!(seen.ends_with("0:00Z"), "to ten minutes: {seen}");
    assert_eq!(status["observedGeneration"], machine["metadata"]["generation"], "{machine:#}");
    assert!(machine["spec"]["match"]["macs"][0].as_str().unwrap().starts_with("02:46:57"), "{machine:#}");
    // `kubectl describe` shows the milestones of its run.
    let of = format!("involvedObject.kind=Machine,involvedObject.name={name}");
    cluster.until("its events are there", || {
        let reasons = cluster.kubectl(&["get", "events", "--field-selector", &of, "-o", "jsonpath={.items[*].reason}"]);
        ["RunStarted", "StageReached", "RunFinished"].iter().all(|reason| reasons.contains(reason)).then_some(())
    });
    // Each stage with its own words, though all are reached.
    cluster.until("each stage is told", || {
        let notes = cluster.kubectl(&["get", "events", "--field-selector", &of, "-o", "jsonpath={.items[*].message}"]);
        ["run 1 reached stage look", "run 1 reached stage again"].iter().all(|note| notes.contains(note)).then_some(())
    });
}

#[test]
fn an_object_that_a_quota_refuses_is_told_to_the_source_and_the_others_go_on() {
    let Some(cluster) = Cluster::started("an object that a quota refuses") else { return };
    let mut server = Server::new(&cluster);
    server.write("machines/b.yaml", &machine("b", 2, ""));
    server.push("two machines");
    cluster.apply(
        "{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {count/machines.formwork.dev: 1}}}",
    );
    // A controller would count what is there, before which the quota lets nothing through.
    let counted =
        r#"{"status": {"hard": {"count/machines.formwork.dev": "1"}, "used": {"count/machines.formwork.dev": "0"}}}"#;
    cluster.kubectl(&["patch", "resourcequota", "few", "--subresource=status", "--type=merge", "-p", counted]);
    server.start(&[]);
    cluster.apply(&source("site", &server, ""));
    cluster.wait_for("Ready", "contentsource/site");
    let of = "involvedObject.kind=ContentSource,involvedObject.name=site,reason=ObjectRefused";
    let note = cluster.until("the source is told", || {
        let notes = cluster.kubectl(&["get", "events", "--field-selector", of, "-o", "jsonpath={.items[*].message}"]);
        (!notes.is_empty()).then_some(notes)
    });
    assert!(note.contains("Machine/") && note.contains("exceeded quota"), "{note}");
    // The one that was taken says how it stands.
    cluster.until("the other is shown", || {
        let shown = ["a", "b"].iter().filter_map(|name| cluster.object("machine", name)).collect::<Vec<_>>();
        (shown.len() == 1 && shown[0]["status"]["phase"] == "expected").then_some(())
    });
    assert!(!server.said().contains("the mirror cannot be written now"), "{}", server.said());
}
