//! The charts by a real helm, against a real API server. There is no kubelet: pods are taken, and never run.

use super::cluster::Cluster;
use super::server::Server;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where it is installed.
pub const NAMESPACE: &str = "machines";
/// The values that come with the chart, one file a way of standing in a network.
const WAYS: [&str; 3] = ["host-network", "multus", "relay"];

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn chart() -> String {
    repository("charts/formwork").display().to_string()
}

pub fn values(way: &str) -> String {
    repository(&format!("charts/formwork/ci/{way}-values.yaml")).display().to_string()
}

/// A real helm, with a home of its own.
pub struct Helm {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Helm {
    /// From `KUBEBUILDER_ASSETS` or `scripts/kubernetes-programs --helm`, else an installed one. None: it was said why.
    pub fn find(test: &str) -> Option<Self> {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = given.into_iter().chain([repository("cache/kubernetes")]).chain(std::env::split_paths(&path));
        let program = folders.map(|folder| folder.join("helm")).find(|file| file.is_file());
        if program.is_none() {
            println!("SKIPPED {test}: there is no helm; scripts/kubernetes-programs --helm sees to it");
        }
        Some(Self { program: program?, home: tempfile::tempdir().unwrap() })
    }

    pub fn try_run(&self, cluster: Option<&Cluster>, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // No cluster of whoever runs the tests.
        let config = cluster.map_or_else(|| self.home.path().join("none"), |cluster| cluster.path("kubeconfig"));
        command.args(words).env("HOME", self.home.path()).env("KUBECONFIG", config);
        command.output().unwrap()
    }

    /// What does not succeed ends the test.
    pub fn run(&self, cluster: Option<&Cluster>, words: &[&str]) -> String {
        let output = self.try_run(cluster, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {words:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The chart's objects with these values.
    pub fn rendered(&self, words: &[&str]) -> Vec<Value> {
        let chart = chart();
        let text = self.run(None, &[&["template", "formwork", &chart, "--namespace", NAMESPACE][..], words].concat());
        let documents = serde_yaml::Deserializer::from_str(&text);
        let objects = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
        objects.filter(|object: &Value| !object.is_null()).collect()
    }
}

/// The one object of this kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn formwork(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_formwork")).args(words).output().unwrap()
}

#[test]
fn a_chart_says_in_words_what_is_wrong_with_its_values() {
    let Some(helm) = Helm::find("a_chart_says_in_words_what_is_wrong_with_its_values") else { return };
    for (set, words) in [
        ("replicas=10", &["/replicas", "maximum"][..]),
        ("replicas=2", &["replicas", "store.kind to kubernetes"]),
        (
            "replicas=2,store.kind=kubernetes,store.namespace=lab,network.address=10.77.0.1",
            &["network.address", "its own node's"],
        ),
        (
            "replicas=2,store.kind=kubernetes,store.namespace=lab,network.mode=multus,network.address=10.77.0.1,\
             network.multus.definition=boot",
            &["replicas", "with multus there is one"],
        ),
        ("replica=1", &["replica", "not allowed"]),
        ("network.mode=bridge", &["/network/mode", "hostNetwork", "multus", "relay"]),
        ("network.mode=relay", &["network.address: with network.mode relay", "machines reach"]),
        ("network.mode=multus,network.address=10.77.0.1", &["network.multus.definition", "NAMESPACE/NAME"]),
        ("network.address=10.77.0.256", &["network.address", "no IPv4 address", "such as 10.77.0.1"]),
        ("network.apiPort=8444", &["network.apiPort: at 8444", "choose another"]),
        ("network.interfaces={a,very-long-name-of-an-interface}", &["/network/interfaces/1", "pattern"]),
        ("network.mode=relay,network.address=192.0.2.1,network.relay.type=ClusterIP", &["/network/relay/externalIPs"]),
        ("network.mode=relay,network.address=192.0.2.1,network.relay.type=NodePort", &["/network/relay/type"]),
        ("image.tag=latest", &["image.tag: latest", "image.digest"]),
        ("image.digest=sha256:abc", &["/image/digest", "pattern"]),
        ("site.name=My-Site", &["/site/name", "pattern"]),
        ("source.url=http://git.example.org/site.git", &["source.url", "https://"]),
        ("source.url=git://git.example.org/site.git", &["source.url", "ssh://"]),
        ("source.commit=abcd", &["source.commit", "all 40 characters"]),
        ("source.branch=main,source.tag=v1", &["source.branch and source.tag", "at most one"]),
        ("state.accessMode=ReadWriteMany", &["/state/accessMode"]),
        ("networkPolicy.enabled=true", &["networkPolicy.enabled", "node's network"]),
        ("store.kind=etcd", &["/store/kind", "embedded", "kubernetes"]),
        ("store.kind=kubernetes", &["store.namespace", "is there before"]),
        ("store.kind=kubernetes,store.namespace=default", &["store.namespace", "of its own"]),
        ("metrics.port=8444", &["metrics.port: at 8444", "choose another"]),
        ("network.httpPort=8443", &["network.apiPort", "8443 is network.httpPort already"]),
        ("network.httpPort=8444", &["network.httpPort: at 8444", "choose another"]),
        ("network.address=0.0.0.0", &["network.address: no machine reaches a server at 0.0.0.0", "boot network"]),
        ("network.address=239.1.2.3", &["network.address: no machine reaches a server at 239.1.2.3"]),
        ("network.mode=relay,network.address=192.0.2.1,network.interfaces={eno1}", &["network.relay.interface"]),
        ("source.interval=1s", &["source.interval", "from 5s to 1d"]),
        ("source.interval=2d", &["source.interval", "from 5s to 1d"]),
        ("source.semver=@newest", &["/source/semver", "pattern"]),
        ("source.branch=a b", &["source.branch", "no name of a branch", "such as main"]),
        ("source.tag=a..b", &["source.tag", "no name of a tag"]),
        ("source.path=../other", &["source.path", "no folder inside the repository", "sites/lab"]),
        ("source.path=/lab", &["source.path", "without a / before it"]),
        (
            "source.url=https://ada:hunter2@git.example.org/site.git",
            &["source.url: there is a user or a password", "source.secretName"],
        ),
        (
            "source.url=ada:hunter2@git.example.org:site.git",
            &["source.url: there is a user or a password", "source.secretName"],
        ),
        ("source.url=https://git.example.org/site.git?token=hunter2", &["source.url", "no ? and no #"]),
        ("source.url=git.example.org/site.git", &["source.url", "https://HOST/PATH", "begins with /"]),
        ("source.interval=often", &["source.interval", "such as 30s"]),
        ("images.volume.emptyDir.size=1Gi", &["/images/volume/emptyDir", "not allowed"]),
        ("images.volume.persistentVolumeClaim.name=images", &["/images/volume/persistentVolumeClaim"]),
        ("images.volume.name=images", &["images.volume", "leave name off"]),
        ("store.namespace=lab", &["store.namespace", "store.kind to kubernetes"]),
        ("metrics.port=8080", &["metrics.port", "network.httpPort"]),
        (
            "metrics.enabled=false,metrics.serviceMonitor.enabled=true",
            &["metrics.serviceMonitor.enabled", "nothing to scrape"],
        ),
        ("metrics.serviceMonitor.interval=often", &["/metrics/serviceMonitor/interval", "pattern"]),
    ] {
        let output = helm.try_run(None, &["template", "formwork", &chart(), "--set", set]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{set} is taken");
        for word in words {
            assert!(said.contains(word), "{set}: no `{word}` in: {said}");
        }
        assert!(!said.contains("'not' failed") && !said.contains("hunter2"), "{set}: {said}");
    }
}

#[test]
fn the_charts_pass_helms_lint_with_all_values_that_come_with_them() {
    let Some(helm) = Helm::find("the_charts_pass_helms_lint_with_all_values_that_come_with_them") else { return };
    helm.run(None, &["lint", "--strict", &repository("charts/formwork-crds").display().to_string()]);
    helm.run(None, &["lint", "--strict", &chart()]);
    for way in WAYS {
        helm.run(None, &["lint", "--strict", &chart(), "--values", &values(way)]);
    }
}

#[test]
fn a_pod_has_no_more_than_it_needs_and_is_given_words_that_the_program_knows() {
    let Some(helm) = Helm::find("a_pod_has_no_more_than_it_needs_and_is_given_words_that_the_program_knows") else {
        return;
    };
    let help = formwork(&["serve", "--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    let document = std::fs::read_to_string(repository("docs/openapi.json")).unwrap();
    for way in WAYS {
        let objects = helm.rendered(&["--values", &values(way)]);
        let pod = &of_kind(&objects, "StatefulSet")["spec"]["template"];
        let spec = &pod["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{way}");
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{way}");
        assert_eq!(spec["hostNetwork"].as_bool().unwrap_or_default(), way == "host-network");
        for container in ["initContainers", "containers"].iter().flat_map(|list| spec[list].as_array().unwrap()) {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{way}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{way}");
            assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{way}");
            assert_eq!(security["capabilities"]["add"], serde_json::json!(["NET_BIND_SERVICE"]), "{way}");
        }
        let server = &spec["containers"][0];
        let arguments = texts(&server["args"]);
        for option in arguments.iter().filter(|word| word.starts_with("--")) {
            let name = option.split('=').next().unwrap();
            assert!(help.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == name), "{way}: {name}");
        }
        let expected: &[&str] = match way {
            "host-network" => &["--address=10.77.0.1", "--interface=eno2"],
            "multus" => &["--address=10.77.0.1", "--interface=net1", "--keep-runs=40"],
            _ => &["--address=192.0.2.10", "--listen=$(POD_IP)", "--interface=eth0", "--no-tftp"],
        };
        for word in expected {
            assert!(arguments.iter().any(|argument| argument == word), "{way}: no {word} in {arguments:?}");
        }
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let path = server[probe]["httpGet"]["path"].as_str().unwrap();
            assert!(document.contains(&format!("\"{path}\": {{")), "{way}: the API has no {path}");
        }
        if way == "multus" {
            let annotation = pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"].as_str().unwrap();
            let ips = ["10.77.0.1/24"];
            let wanted =
                serde_json::json!([{"name": "boot", "namespace": "networks", "interface": "net1", "ips": ips}]);
            assert_eq!(serde_json::from_str::<Value>(annotation).unwrap(), wanted);
        }
    }
    // DHCP is asked for by name.
    let objects = helm.rendered(&[]);
    let server = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0];
    assert!(texts(&server["args"]).contains(&"--no-dhcp".to_owned()), "{server}");
}

/// What the init container does, with its folders elsewhere.
fn prepares(script: &str, folder: &Path) -> Output {
    let inside = |path: &str| folder.join(path).display().to_string();
    let script = script.replace("/given", &inside("given")).replace("/run/formwork", &inside("run"));
    let program = Path::new(env!("CARGO_BIN_EXE_formwork")).parent().unwrap();
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", &script]).env("PATH", path.unwrap());
    command.env("FORMWORK_STATE_DIR", folder.join("state/site")).env("SITE", "lab").output().unwrap()
}

#[test]
fn what_prepares_a_pod_makes_its_site_once_and_keeps_secrets_from_others() {
    let Some(helm) = Helm::find("what_prepares_a_pod_makes_its_site_once_and_keeps_secrets_from_others") else {
        return;
    };
    let objects = helm.rendered(&["--values", &values("multus")]);
    let init = &of_kind(&objects, "StatefulSet")["spec"]["template"]["spec"]["initContainers"][0];
    let script = init["args"][0].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [("given/secrets/token", "one"), ("given/age/identities", "key"), ("run/.keep", "")] {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let first = prepares(script, folder.path());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    // Never `--fresh`: a store that is lost is no permission to install again.
    let said = String::from_utf8_lossy(&first.stdout);
    assert!(said.contains("site lab made") && said.contains("held until `formwork adopt`"), "{said}");
    let authority = || std::fs::read(folder.path().join("state/site/keys/authority.pem")).unwrap();
    let before = authority();
    std::fs::write(folder.path().join("given/secrets/token"), "two").unwrap();
    let second = prepares(script, folder.path());
    assert!(second.status.success() && second.stdout.is_empty(), "{second:?}");
    assert_eq!(authority(), before, "a site is made once");
    for (file, text) in [("state/site/secrets/token", "two"), ("run/identities", "key")] {
        let file = folder.path().join(file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_release_is_installed_upgraded_and_removed_and_may_do_what_it_needs_and_no_more() {
    let test = "a_release_is_installed_upgraded_and_removed_and_may_do_what_it_needs_and_no_more";
    let Some(helm) = Helm::find(test) else { return };
    let Some(cluster) = Cluster::started(test) else { return };
    let definitions = helm.run(None, &["template", "crds", &repository("charts/formwork-crds").display().to_string()]);
    std::fs::write(cluster.path("crds.yaml"), definitions).unwrap();
    let file = cluster.path("crds.yaml").display().to_string();
    cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", &file]);

    // Whoever applied the definitions by kubectl goes on with the chart, as the book says.
    let definitions = repository("charts/formwork-crds").display().to_string();
    let install = ["install", "formwork-crds", &definitions, "--namespace", "default"];
    let refused = helm.try_run(Some(&cluster), &install);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("ownership"), "{refused:?}");
    helm.run(Some(&cluster), &[&install[..], &["--take-ownership"]].concat());

    // Everything is taken, and what is not on a node's own network keeps the strictest of the pod security standards.
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    // A controller would make it.
    cluster.kubectl(&["create", "serviceaccount", "default", "-n", NAMESPACE]);
    let warn = "pod-security.kubernetes.io/warn=restricted";
    cluster.kubectl(&["label", "namespace", NAMESPACE, warn]);
    for way in WAYS {
        let text =
            helm.run(None, &["template", "formwork", &chart(), "--namespace", NAMESPACE, "--values", &values(way)]);
        let file = cluster.path("rendered.yaml");
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let output = cluster.try_kubectl(&["apply", "-n", NAMESPACE, "--server-side", "--dry-run=server", "-f", &file]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{way}: {said}");
        assert_eq!(said.contains("arning"), way == "host-network", "{way}: {said}");
    }

    let (chart, relay) = (chart(), values("relay"));
    let mut words = vec!["install", "formwork", &chart, "--namespace", NAMESPACE, "--values", &relay];
    let source = "source.url=https://git.example.org/site.git,source.branch=main,source.secretName=site-git";
    words.extend(["--set", source]);
    let notes = helm.run(Some(&cluster), &words);
    let commands: Vec<_> = notes.lines().filter_map(|line| line.split_once(" -- formwork ")).collect();
    assert!(commands.len() >= 3, "{notes}");
    for (_, command) in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let help = formwork(&[words[0], "--help"]);
        let text = String::from_utf8_lossy(&help.stdout);
        assert!(help.status.success() && words[1..].iter().all(|word| text.contains(word)), "{command}");
    }
    let followed = || cluster.object_in(NAMESPACE, "contentsource", "site").unwrap();
    assert_eq!(followed()["spec"]["branch"], "main");
    assert_eq!(followed()["spec"]["secretRef"]["name"], "site-git");
    let boot = cluster.object_in(NAMESPACE, "service", "formwork-boot").unwrap();
    assert_eq!(boot["spec"]["externalTrafficPolicy"], "Local", "{boot:#}");
    may(&cluster);

    words[0] = "upgrade";
    let more = format!("{source},source.interval=5m,podDisruptionBudget.enabled=true");
    *words.last_mut().unwrap() = &more;
    helm.run(Some(&cluster), &words);
    assert_eq!(followed()["spec"]["interval"], "5m");
    assert!(cluster.object_in(NAMESPACE, "poddisruptionbudget", "formwork").is_some());
    serves(&cluster, |set| {
        let words: Vec<&str> = words[..words.len() - 1].iter().copied().chain([set]).collect();
        helm.run(Some(&cluster), &words);
    });
    // A store is moved by nobody who did not mean it, in words that say how it is moved.
    let elsewhere = format!("{more},store.kind=kubernetes,store.namespace=default");
    *words.last_mut().unwrap() = &elsewhere;
    let output = helm.try_run(Some(&cluster), &words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("the store of this release is embedded"), "{said}");
    assert!(said.contains("formwork export and import"), "{said}");
    // What is refused changes nothing.
    let two = format!("{more},replicas=2");
    *words.last_mut().unwrap() = &two;
    assert!(!helm.try_run(Some(&cluster), &words).status.success());
    let set = cluster.object_in(NAMESPACE, "statefulset", "formwork").unwrap();
    assert_eq!(set["spec"]["replicas"], 1);
    assert_eq!(set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain");

    helm.run(Some(&cluster), &["uninstall", "formwork", "--namespace", NAMESPACE]);
    let left = "statefulset,service,role,rolebinding,networkpolicy,poddisruptionbudget,contentsource";
    cluster.until("nothing is left", || {
        cluster.kubectl(&["get", left, "-n", NAMESPACE, "-o", "name"]).trim().is_empty().then_some(())
    });
}

/// What a rule allows, a line each verb and resource.
pub fn allowed(role: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                lines.extend(texts(&rule["verbs"]).iter().map(|verb| format!("{verb} {resource} of {group:?}")));
            }
        }
    }
    lines
}

#[test]
fn the_role_is_the_one_that_the_book_says_a_server_needs() {
    let Some(helm) = Helm::find("the_role_is_the_one_that_the_book_says_a_server_needs") else { return };
    let page = std::fs::read_to_string(repository("docs/kubernetes.md")).unwrap();
    let blocks = page.split("\n```yaml").skip(1).filter_map(|rest| rest.split_once('\n')?.1.split("\n```").next());
    let roles: Vec<_> = blocks.filter(|block| block.contains("kind: Role\n")).collect();
    assert_eq!(roles.len(), 1);
    let written: Value = serde_yaml::from_str(roles[0]).unwrap();
    let objects = helm.rendered(&["--values", &values("host-network")]);
    assert_eq!(allowed(of_kind(&objects, "Role")), allowed(&written));
    // Of Secrets one, or none.
    let rules = of_kind(&objects, "Role")["rules"].as_array().unwrap();
    let secrets: Vec<_> =
        rules.iter().filter(|rule| texts(&rule["resources"]).contains(&"secrets".to_owned())).collect();
    assert!(matches!(secrets[..], [rule] if texts(&rule["resourceNames"]) == ["site-git"]), "{secrets:?}");
    let objects = helm.rendered(&[]);
    assert!(!of_kind(&objects, "Role").to_string().contains("secrets"));
}

/// The server itself, as the release's account: it may read the source's Secret, follow, and show machines.
fn serves(cluster: &Cluster, upgrade: impl Fn(&str)) {
    let token = cluster.kubectl(&["create", "token", "formwork", "--namespace", NAMESPACE]);
    let mut server = Server::new(cluster);
    std::fs::write(server.path("kubeconfig"), cluster.kubeconfig(token.trim(), NAMESPACE)).unwrap();
    let secret = ["create", "secret", "generic", "site-git", "--namespace", NAMESPACE, "--from-literal=password=none"];
    cluster.kubectl(&secret);
    let url = format!("source.url={}", server.path("site.git").display());
    upgrade(&format!("{url},source.secretName=site-git"));
    server.start(&["--namespace", NAMESPACE, "--content-source", "site"]);
    let status = || cluster.object_in(NAMESPACE, "contentsource", "site").unwrap()["status"].take();
    // Who may not read it would be told that instead.
    cluster.until("the Secret is read, and that a path needs none is said", || {
        status()["conditions"].to_string().contains("nobody needs the Secret `site-git`").then_some(())
    });
    upgrade(&url);
    cluster.until("the repository is followed", || status()["lastAppliedRevision"].is_string().then_some(()));
    cluster.until("its machine is shown", || {
        cluster.object_in(NAMESPACE, "machine", "a")?["status"]["phase"].is_string().then_some(())
    });
}

/// What the release's ServiceAccount may do, and what it may not.
fn may(cluster: &Cluster) {
    let account = format!("system:serviceaccount:{NAMESPACE}:formwork");
    let can = |namespace: &str, what: &str| {
        let mut words = vec!["auth", "can-i", "--as", &account, "--namespace", namespace];
        words.extend(what.split_whitespace());
        let output = cluster.try_kubectl(&words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match said.trim() {
            "yes" => true,
            word if word.starts_with("no") => false,
            _ => panic!("{what}: {said}{}", String::from_utf8_lossy(&output.stderr)),
        }
    };
    let mirrored = ["get", "list", "watch", "create", "update", "delete"];
    let mut needed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    needed.insert("contentsources.formwork.dev", vec!["get", "list", "watch"]);
    needed.insert("contentsources.formwork.dev/site --subresource=status", vec!["patch"]);
    needed.insert("machines.formwork.dev", mirrored.to_vec());
    needed.insert("machines.formwork.dev --subresource=status", vec!["patch"]);
    needed.insert("clusterprofiles.formwork.dev", mirrored.to_vec());
    needed.insert("clusterprofiles.formwork.dev --subresource=status", vec!["patch"]);
    // Of content that may be applied as resources, the first of the rule and the last.
    needed.insert("sites.formwork.dev", vec!["get", "list", "watch"]);
    needed.insert("templates.formwork.dev", vec!["get", "list", "watch"]);
    needed.insert("secrets/site-git", vec!["get", "list", "watch"]);
    needed.insert("events.events.k8s.io", vec!["create", "patch"]);
    let all = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
    for (resource, verbs) in &needed {
        for verb in verbs {
            assert!(can(NAMESPACE, &format!("{verb} {resource}")), "{verb} {resource} is needed");
            assert!(!can("default", &format!("{verb} {resource}")), "{verb} {resource} elsewhere");
        }
    }
    for (resource, verbs) in needed.iter().filter(|(resource, _)| !resource.contains("--subresource")) {
        for verb in all.iter().filter(|verb| !verbs.contains(verb)) {
            assert!(!can(NAMESPACE, &format!("{verb} {resource}")), "{verb} {resource} is not needed");
        }
    }
    for what in [
        "patch contentsources.formwork.dev/other --subresource=status",
        "update clusterprofiles.formwork.dev --subresource=status",
        "update machines.formwork.dev --subresource=status",
        "get secrets",
        "list secrets",
        "get secrets/other",
        "get configmaps",
        "list pods",
        "create pods",
        "create pods --subresource=exec",
        "get nodes",
        "create serviceaccounts --subresource=token",
        "escalate roles.rbac.authorization.k8s.io",
        "patch roles.rbac.authorization.k8s.io",
        "impersonate users",
    ] {
        assert!(!can(NAMESPACE, what), "{what}");
    }
}

#[test]
fn who_may_speak_to_the_api_includes_the_releases_own_pods_and_its_test() {
    let Some(helm) = Helm::find("who_may_speak_to_the_api_includes_the_releases_own_pods_and_its_test") else { return };
    let from = "networkPolicy.from[0].podSelector.matchLabels.role=administrator";
    let objects = helm.rendered(&["--values", &values("relay"), "--set", "networkPolicy.enabled=true", "--set", from]);
    let rules = of_kind(&objects, "NetworkPolicy")["spec"]["ingress"].as_array().unwrap();
    let api = rules.iter().find(|rule| rule["ports"][0]["port"] == "cluster-api").unwrap();
    let labels: Vec<&Value> =
        api["from"].as_array().unwrap().iter().map(|it| &it["podSelector"]["matchLabels"]).collect();
    assert_eq!(labels[0]["role"], "administrator", "{api}");
    let of_the_servers = &of_kind(&objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"];
    let of_the_test = &of_kind(&objects, "Pod")["metadata"]["labels"];
    for pod in [of_the_servers, of_the_test] {
        let is_let_in = |labels: &Value| labels.as_object().unwrap().iter().all(|(key, value)| pod[key] == *value);
        assert!(labels.iter().any(|labels| is_let_in(labels)), "{pod}: {api}");
    }
    // Services and the StatefulSet do not take the test's pod for a server.
    let selector = of_kind(&objects, "StatefulSet")["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(selector.iter().any(|(key, value)| of_the_test[key] != *value), "{of_the_test}");
}
