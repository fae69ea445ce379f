//! The chart on the store in Kubernetes: the rights that it makes are those that the book shows, and a server does with them.

use super::charts::{Helm, NAMESPACE, allowed, chart, of_kind, repository};
use super::cluster::Cluster;
use super::server::Server;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Where the store is.
const STORE: &str = "formwork-lab";
const SET: &str = "site.name=lab,store.kind=kubernetes,store.namespace=formwork-lab";

/// The documents of the book that make the rights by hand.
fn written() -> String {
    shown("store-rights.yaml")
}

/// A file that the book shows.
fn shown(file: &str) -> String {
    let page = std::fs::read_to_string(repository("docs/kubernetes-store.md")).unwrap();
    let (_, rest) = page.split_once(&format!("```yaml file=kubernetes/{file}\n")).unwrap();
    rest.split("```").next().unwrap().to_owned()
}

fn objects_in<'a>(objects: &'a [Value], namespace: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["metadata"]["namespace"] == namespace).collect()
}

#[test]
fn a_chart_on_the_store_in_kubernetes_gives_the_rights_that_the_book_shows_and_tells_each_command_where_it_is() {
    let test =
        "a_chart_on_the_store_in_kubernetes_gives_the_rights_that_the_book_shows_and_tells_each_command_where_it_is";
    let Some(helm) = Helm::find(test) else { return };
    let documents = written();
    let documents = serde_yaml::Deserializer::from_str(&documents);
    let book: Vec<Value> = documents.map(|document| serde::Deserialize::deserialize(document).unwrap()).collect();
    let objects = helm.rendered(&["--set", SET]);
    let own = objects_in(&objects, STORE);
    let [role, binding] = own[..] else { panic!("{own:?}") };
    assert_eq!(allowed(role), allowed(of_kind(&book, "Role")));
    let shown = of_kind(&book, "RoleBinding");
    assert_eq!((&binding["roleRef"], &binding["subjects"]), (&shown["roleRef"], &shown["subjects"]));
    let spec = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"];
    for container in [&spec["initContainers"][0], &spec["containers"][0]] {
        let value = |name: &str| {
            container["env"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap()["value"].clone()
        };
        assert_eq!((value("FORMWORK_STORE"), value("FORMWORK_STORE_NAMESPACE")), ("kubernetes".into(), STORE.into()));
    }
    // Several are active together, each by its pod's name, with one site's keys.
    let several = format!("{SET},replicas=3");
    let objects = helm.rendered(&["--set", &several]);
    let set = &of_kind(&objects, "StatefulSet")["spec"];
    assert_eq!((&set["replicas"], &set["podManagementPolicy"]), (&3.into(), &"Parallel".into()));
    let spec = &set["template"]["spec"];
    let named = spec["containers"][0]["env"].as_array().unwrap().iter().find(|it| it["name"] == "FORMWORK_REPLICA");
    assert_eq!(named.unwrap()["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    assert!(spec["initContainers"][0]["args"][0].as_str().unwrap().contains("site create --shared"));
    // A store moves: what cannot be changed later is the same for both kinds.
    let objects = helm.rendered(&[]);
    assert_eq!(of_kind(&objects, "StatefulSet")["spec"]["podManagementPolicy"], "Parallel");
    assert!(objects_in(&objects, STORE).is_empty(), "a file of the volume needs no rights");
}

#[test]
fn of_several_replicas_one_may_go_at_a_time_and_nodes_share_them() {
    let Some(helm) = Helm::find("of_several_replicas_one_may_go_at_a_time_and_nodes_share_them") else { return };
    for (more, away, spread) in [
        ("replicas=1", 0, false),
        ("replicas=3", 1, false),
        ("replicas=3,network.mode=relay,network.address=192.0.2.10", 1, true),
    ] {
        let set = format!("{SET},podDisruptionBudget.enabled=true,{more}");
        let objects = helm.rendered(&["--set", &set]);
        assert_eq!(of_kind(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"], away, "{more}");
        let spec = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"];
        let found = &spec["topologySpreadConstraints"][0];
        assert_eq!(found["topologyKey"] == "kubernetes.io/hostname", spread, "{more}: {found}");
        if spread {
            assert_eq!(found["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"], "formwork");
        }
    }
}

#[test]
fn a_chart_with_an_object_store_tells_the_server_where_it_is_and_gives_it_the_secret_alone() {
    let test = "a_chart_with_an_object_store_tells_the_server_where_it_is_and_gives_it_the_secret_alone";
    let Some(helm) = Helm::find(test) else { return };
    let container = |set: &str| {
        let objects = helm.rendered(&["--set", set]);
        let spec = of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"].clone();
        assert!(spec["initContainers"][0]["envFrom"].is_null());
        let text = serde_json::to_string(&objects).unwrap();
        (spec["containers"][0].clone(), text)
    };
    let value = |container: &Value, name: &str| {
        let found = container["env"].as_array().unwrap().iter().find(|it| it["name"] == name).cloned();
        found.map(|it| it["value"].as_str().unwrap().to_owned())
    };
    let (with, _) =
        container("objectStore.url=s3://logs/lab?region=eu-west-1,objectStore.secretName=logs,objectStore.logsHere=20");
    assert_eq!(value(&with, "FORMWORK_OBJECT_STORE").as_deref(), Some("s3://logs/lab?region=eu-west-1"));
    assert_eq!(value(&with, "FORMWORK_LOGS_HERE").as_deref(), Some("20"));
    assert_eq!(with["envFrom"], serde_json::json!([{"secretRef": {"name": "logs"}}]));
    let (identity, _) = container("objectStore.url=gs://logs");
    assert!(identity["envFrom"].is_null() && value(&identity, "FORMWORK_OBJECT_STORE").is_some());
    let (without, text) = container("site.name=lab");
    assert!(value(&without, "FORMWORK_OBJECT_STORE").is_none() && !text.contains("LOGS_HERE"));
}

/// What may be done with the Secrets of a namespace, by the release's account.
fn may(cluster: &Cluster, namespace: &str) -> Vec<&'static str> {
    let account = format!("system:serviceaccount:{NAMESPACE}:formwork");
    let can = |verb: &str| {
        let words = ["auth", "can-i", "--as", &account, "--namespace", namespace, verb, "secrets"];
        String::from_utf8_lossy(&cluster.try_kubectl(&words).stdout).trim() == "yes"
    };
    let verbs = ["get", "list", "watch", "create", "delete", "update", "patch", "deletecollection"];
    verbs.into_iter().filter(|verb| can(verb)).collect()
}

/// What the init container does, as who the kubeconfig names, with the environment that the chart gives it.
fn prepares(container: &Value, server: &Server) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_formwork")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths([program.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", container["args"][0].as_str().unwrap()]).env("PATH", path).env("HOME", server.path(""));
    for variable in container["env"].as_array().unwrap() {
        command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
    }
    command
        .env("FORMWORK_STATE_DIR", server.path("state"))
        .env("KUBECONFIG", server.path("kubeconfig"))
        .output()
        .unwrap()
}

#[test]
fn a_release_keeps_its_store_in_the_secrets_of_one_namespace_and_sees_no_others() {
    let test = "a_release_keeps_its_store_in_the_secrets_of_one_namespace_and_sees_no_others";
    let Some(helm) = Helm::find(test) else { return };
    let Some(cluster) = Cluster::started(test) else { return };
    for namespace in [NAMESPACE, STORE] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let rights = ["get", "list", "watch", "create", "delete"];
    // As the book has it, by hand.
    std::fs::write(cluster.path("rights.yaml"), written()).unwrap();
    let file = cluster.path("rights.yaml").display().to_string();
    cluster.kubectl(&["apply", "-f", &file]);
    assert_eq!(may(&cluster, STORE), rights);
    assert!(may(&cluster, NAMESPACE).is_empty() && may(&cluster, "default").is_empty());
    cluster.kubectl(&["delete", "-f", &file]);
    assert!(may(&cluster, STORE).is_empty());

    let mut server = Server::new(&cluster);
    let source = format!("source.url={}", server.path("site.git").display());
    let chart = chart();
    helm.run(
        Some(&cluster),
        &["install", "formwork", &chart, "--namespace", NAMESPACE, "--set", SET, "--set", &source],
    );
    assert_eq!(may(&cluster, STORE), rights);
    assert!(may(&cluster, NAMESPACE).is_empty());
    let other =
        ["upgrade", "formwork", &chart, "--namespace", NAMESPACE, "--set", SET, "--set", "store.namespace=other"];
    let refused = helm.try_run(Some(&cluster), &other);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("is in namespace formwork-lab"), "{said}");

    // What the pod does, as the release's account.
    let token = cluster.kubectl(&["create", "token", "formwork", "--namespace", NAMESPACE]);
    std::fs::write(server.path("kubeconfig"), cluster.kubeconfig(token.trim(), NAMESPACE)).unwrap();
    std::fs::remove_dir_all(server.path("state")).unwrap();
    let objects = helm.rendered(&["--set", SET]);
    let init = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["initContainers"][0];
    let first = prepares(init, &server);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(String::from_utf8_lossy(&first.stdout).contains("site lab made"), "{first:?}");
    let again = prepares(init, &server);
    assert!(again.status.success() && again.stdout.is_empty(), "a site is made once: {again:?}");
    server.start(&[
        "--namespace",
        NAMESPACE,
        "--content-source",
        "site",
        "--store",
        "kubernetes",
        "--store-namespace",
        STORE,
    ]);
    cluster.until("the repository is followed", || {
        let status = cluster.object_in(NAMESPACE, "contentsource", "site")?["status"].take();
        status["lastAppliedRevision"].is_string().then_some(())
    });
    let kept = cluster.kubectl(&["get", "secrets", "--namespace", STORE, "-l", "formwork.dev/store", "-o", "name"]);
    assert!(kept.contains("formwork-store") && kept.contains("formwork-segment-"), "{kept}");
    assert!(!server.path("state/store.redb").exists());

    // Whoever says "embedded" by mistake gets no second site.
    let objects = helm.rendered(&[]);
    let init = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["initContainers"][0];
    let refused = prepares(init, &server);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("a site is made once"), "{said}");
    helm.run(Some(&cluster), &["uninstall", "formwork", "--namespace", NAMESPACE]);
    assert!(may(&cluster, STORE).is_empty());
}

#[test]
fn the_pod_that_fills_a_volume_may_speak_with_the_api_server_beside_either_kind_of_release() {
    let test = "the_pod_that_fills_a_volume_may_speak_with_the_api_server_beside_either_kind_of_release";
    let Some(helm) = Helm::find(test) else { return };
    let Some(cluster) = Cluster::started(test) else { return };
    for namespace in [NAMESPACE, STORE] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    // Where a namespace asks for the strictest of the standards, the pod is one that it takes.
    cluster.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
    std::fs::write(cluster.path("fill.yaml"), shown("fill.yaml")).unwrap();
    let (file, chart) = (cluster.path("fill.yaml").display().to_string(), chart());
    let release = |verb: &str, set: &str| {
        let none = format!("replicas=0,{set}");
        let reuse: &[&str] = if verb == "upgrade" { &["--reuse-values"] } else { &[] };
        let words = [&[verb, "formwork", &chart, "--namespace", NAMESPACE, "--set", &none], reuse].concat();
        helm.run(Some(&cluster), &words);
        let account = cluster.object_in(NAMESPACE, "serviceaccount", "formwork").unwrap();
        assert_eq!(account["automountServiceAccountToken"], false, "a pod says so itself: {account:#}");
        cluster.kubectl(&["apply", "--namespace", NAMESPACE, "-f", &file]);
        let pod = cluster.object_in(NAMESPACE, "pod", "fill").unwrap();
        let token = pod["spec"]["volumes"].as_array().unwrap().iter().any(|volume| {
            volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"))
                && volume["projected"].is_object()
        });
        assert!(token, "{set}: {pod:#}");
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        let at = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert!(mounts.iter().any(|mount| mount["mountPath"] == at), "{set}: {pod:#}");
        cluster.kubectl(&["delete", "pod", "fill", "--namespace", NAMESPACE, "--grace-period=0", "--force"]);
    };
    // A release whose store is a file of its volume, and the same one when its store moves into the cluster.
    release("install", "site.name=lab");
    release("upgrade", SET);
    let may = may(&cluster, STORE);
    assert!(["get", "list", "watch", "create", "delete"].iter().all(|verb| may.contains(verb)), "{may:?}");
}
