//! A server that follows a `ContentSource`: what it says, what it makes of commits, of edits, and of an API server that is away.

use super::cluster::Cluster;
use super::server::{Server, machine, source};
use serde_json::Value;

/// The status of the source `site`, once it is so.
fn until(cluster: &Cluster, server: &Server, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    let began = std::time::Instant::now();
    loop {
        let object = cluster.object("contentsource", "site").unwrap_or_default();
        if so(&object["status"]) {
            return object["status"].clone();
        }
        assert!(began.elapsed() < super::cluster::PATIENCE, "not so: {what}\n{object:#}\n{}", server.said());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let rows = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().find(|row| row["type"] == kind).unwrap_or(&Value::Null)
}

fn holds(status: &Value, kind: &str) -> bool {
    condition(status, kind)["status"] == "True"
}

#[test]
fn a_content_source_is_followed_and_says_what_became_of_each_commit() {
    let Some(mut cluster) = Cluster::started("a ContentSource that is followed") else { return };
    let mut server = Server::new(&cluster);
    let first = server.push("first");
    server.start(&["--content-source", "site"]);

    // Nobody said yet what is followed: that is said, and nothing serves.
    server.until("nothing is followed", |content| {
        content["condition"] == "Stalled" && content["message"].to_string().contains("no ContentSource `site`")
    });
    cluster.apply(&source("site", &server, ", branch: main"));
    cluster.wait_for("Ready", "contentsource/site");
    let status =
        until(&cluster, &server, "the first revision serves", |status| status["lastAppliedRevision"] == first.as_str());
    assert_eq!((&status["machines"], &status["observedGeneration"]), (&1.into(), &1.into()), "{status:#}");
    assert!(holds(&status, "Ready") && !holds(&status, "Stalled") && !holds(&status, "Reconciling"), "{status:#}");
    let since = condition(&status, "Reconciling")["lastTransitionTime"].clone();

    // A commit with a fault: it is said where, and the last good one serves.
    server.write("machines/broken.yaml", &machine("broken", 9, ", nonsense: 1"));
    let broken = server.push("broken");
    cluster.wait_for("Stalled", "contentsource/site");
    let status =
        until(&cluster, &server, "the fault is told", |status| status["lastAttemptedRevision"] == broken.as_str());
    assert_eq!(status["lastAppliedRevision"], first.as_str(), "{status:#}");
    assert_eq!(condition(&status, "Stalled")["reason"], "Refused", "{status:#}");
    assert!(status["findings"][0].as_str().unwrap().contains("machines/broken.yaml:"), "{status:#}");
    assert!(status["findingsCount"].as_u64().unwrap() > 0, "{status:#}");

    // It is mended, by another commit; a second machine comes with it.
    server.write("machines/broken.yaml", &machine("b", 9, ""));
    let mended = server.push("mended");
    let status = until(&cluster, &server, "the mended one serves", |status| {
        status["lastAppliedRevision"] == mended.as_str() && holds(status, "Ready")
    });
    assert_eq!((&status["machines"], &status["findingsCount"]), (&2.into(), &0.into()), "{status:#}");
    let events = cluster.kubectl(&["events", "--for=contentsource/site"]);
    for word in ["RevisionApplied", "RevisionRefused", "machines/broken.yaml"] {
        assert!(events.contains(word), "{word}\n{events}");
    }

    // Another branch, said at run time: no revision of the one before is shown for it.
    server.write("machines/c.yaml", &machine("c", 3, ""));
    let other = server.push_to("other", "on another branch");
    cluster.apply(&source("site", &server, ", branch: other"));
    let status = until(&cluster, &server, "the other branch serves", |status| {
        status["observedGeneration"] == 2 && holds(status, "Ready")
    });
    assert_eq!(
        (&status["lastAppliedRevision"], &status["machines"]),
        (&other.as_str().into(), &3.into()),
        "{status:#}"
    );
    // The same commit, another folder: nothing but a folder without a site in it.
    cluster.apply(&source("site", &server, ", branch: other, path: machines"));
    let status = until(&cluster, &server, "the folder is judged", |status| {
        status["observedGeneration"] == 3 && holds(status, "Stalled")
    });
    assert_eq!(condition(&status, "Stalled")["reason"], "Refused", "{status:#}");
    // What the definition does not see: a range that is none.
    cluster.apply(&source("site", &server, ", semver: nonsense"));
    let status = until(&cluster, &server, "the range is refused", |status| status["observedGeneration"] == 4);
    assert!(condition(&status, "Stalled")["message"].to_string().contains("semver: `nonsense` is none"), "{status:#}");
    assert_eq!(status["lastAppliedRevision"], other.as_str(), "what served serves: {status:#}");
    cluster.apply(&source("site", &server, ", branch: main"));
    until(&cluster, &server, "main serves again", |status| {
        status["lastAppliedRevision"] == mended.as_str() && holds(status, "Ready")
    });

    // While the API server is away commits are applied all the same, and told when it is back.
    cluster.kill_api_server();
    server.write("machines/d.yaml", &machine("d", 4, ""));
    server.remove("machines/c.yaml");
    let meanwhile = server.push("meanwhile");
    server.until("it serves without an API server", |content| content["lastAppliedRevision"] == meanwhile.as_str());
    // Also after a restart: what was followed last is followed again.
    server.kill();
    server.start(&["--content-source", "site"]);
    server.remove("machines/d.yaml");
    let restarted = server.push("after a restart");
    server.until("it follows without an API server", |content| content["lastAppliedRevision"] == restarted.as_str());
    cluster.start_api_server();
    let status = until(&cluster, &server, "it is told", |status| status["lastAppliedRevision"] == restarted.as_str());
    let again = condition(&status, "Reconciling");
    assert!(again["status"] == "False" && again["lastTransitionTime"].as_str() >= since.as_str(), "{status:#}");

    // A second source beside the one that was named is nobody's business; the named one is deleted, and what serves goes on.
    cluster.apply(&source("other", &server, ", branch: other"));
    cluster.kubectl(&["delete", "contentsource", "site"]);
    let content = server.until("it is said that it is gone", |content| content["condition"] == "Stalled");
    assert!(content["message"].to_string().contains("no ContentSource `site`"), "{content:#}");
    assert_eq!(content["lastAppliedRevision"], restarted.as_str(), "{content:#}");
    assert!(cluster.object("contentsource", "other").unwrap()["status"].is_null(), "another's status is left alone");
    // Nor is it followed again after a restart that nobody can be asked at; what serves goes on.
    server.kill();
    cluster.kill_api_server();
    server.start(&["--content-source", "site"]);
    let content = server.until("it is not followed again", |content| {
        content["condition"] == "Stalled" && content["message"].to_string().contains("nothing was followed")
    });
    assert_eq!(content["lastAppliedRevision"], restarted.as_str(), "{content:#}");
    cluster.start_api_server();
    // None named, and two there: it is not guessed, and both say so.
    server.kill();
    cluster.apply(&source("site", &server, ", branch: main"));
    server.start(&[]);
    let content = server.until("it is not guessed", |content| content["condition"] == "Stalled");
    assert!(content["message"].to_string().contains("--content-source NAME"), "{content:#}");
    assert_eq!(content["lastAppliedRevision"], restarted.as_str(), "what was applied is read as it was: {content:#}");
    for name in ["site", "other"] {
        cluster.until("each says so", || {
            let status = cluster.object("contentsource", name)?["status"].clone();
            let reason = condition(&status, "Stalled")["reason"].clone();
            (holds(&status, "Stalled") && !holds(&status, "Ready") && reason == "NotChosen").then_some(())
        });
    }
}

#[test]
fn credentials_come_from_a_secret_and_are_never_shown() {
    let Some(mut cluster) = Cluster::started("credentials from a Secret") else { return };
    let mut server = Server::new(&cluster);
    server.start(&[]);
    let spec = "{url: 'https://127.0.0.1:1/site.git', branch: main, secretRef: {name: git}}";
    cluster.apply(&format!(
        "{{apiVersion: formwork.dev/v1alpha1, kind: ContentSource, metadata: {{name: site}}, spec: {spec}}}"
    ));
    until(&cluster, &server, "the Secret is missed", |status| {
        condition(status, "Stalled")["message"].to_string().contains("there is no Secret `git`")
    });
    let secret = |password: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: git}}, stringData: {{password: {password}, other: hunter23}}}}"
        )
    };
    cluster.apply(&secret("hunter22"));
    let credentials = server.path("state/kubernetes/credentials");
    // In the one folder that there is: that of this URL with this Secret.
    let file = |name: &str| -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(&credentials).unwrap().map(|entry| entry.unwrap().path().join(name));
        folders.filter(|file| file.exists()).collect()
    };
    let read = || match file("password").as_slice() {
        [one] => std::fs::read_to_string(one).unwrap_or_default(),
        _ => String::new(),
    };
    let status = until(&cluster, &server, "it is used", |status| {
        // Nobody listens there: the Secret is good, and the fetch fails.
        condition(status, "Stalled")["message"].to_string().contains("https://127.0.0.1:1/site.git")
    });
    assert_eq!(read(), "hunter22");
    assert!(file("other").is_empty(), "only what is used is kept");
    // It rotates, without a word about the source.
    cluster.apply(&secret("hunter24"));
    cluster.until("the new one is there", || (read() == "hunter24").then_some(()));
    let all = format!("{status}{}", std::fs::read_to_string(server.path("serve.log")).unwrap());
    assert!(!all.contains("hunter2"), "{all}");
    // A restart while nobody can be asked: it is followed with what was kept, and nothing is said of it in the status before the
    // source and its Secret are read again.
    server.kill();
    cluster.kill_api_server();
    server.start(&[]);
    server.until("it is followed again", |content| {
        content["message"].to_string().contains("https://127.0.0.1:1/site.git")
    });
    assert_eq!(read(), "hunter24");
    cluster.start_api_server();
    for _ in 0..25 {
        let status = cluster.object("contentsource", "site").unwrap_or_default()["status"].clone();
        assert!(status.is_null() || status["observedGeneration"] == 1, "{status:#}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    // With its Secret the credential goes, and with its source.
    let gone = || file("password").is_empty() && !server.path("state/kubernetes/source.json").exists();
    cluster.kubectl(&["delete", "secret", "git"]);
    cluster.until("it is gone", || gone().then_some(()));
    cluster.apply(&secret("hunter25"));
    cluster.until("it is there again", || (read() == "hunter25").then_some(()));
    cluster.kubectl(&["delete", "contentsource", "site"]);
    cluster.until("it is gone again", || gone().then_some(()));
}

#[test]
fn a_server_that_finds_no_cluster_says_what_to_do() {
    let Some(mut cluster) = Cluster::started("a server that finds no cluster") else { return };
    let server = Server::new(&cluster);
    let kubeconfig = server.path("kubeconfig");
    let (code, said) = server.ends(&[], &server.path("nothing"));
    assert!(
        code == 2 && said.contains("no Kubernetes cluster is configured") && said.contains("KUBECONFIG"),
        "{code} {said}"
    );
    let (code, said) = server.ends(&["--namespace", "Not a name"], &kubeconfig);
    assert!(code == 2 && said.contains("is no name of a namespace"), "{code} {said}");
    let (code, said) = server.ends(&["--namespace", "kube-system"], &kubeconfig);
    assert!(
        code == 4 && said.contains("does not let this server") && said.contains("docs/kubernetes.md"),
        "{code} {said}"
    );
    let (code, said) = server.ends(&["--branch", "main"], &kubeconfig);
    assert!(code == 2 && said.contains("cannot be used with"), "{code} {said}");
    cluster.kubectl(&["delete", "crd", "contentsources.formwork.dev"]);
    let unknown = cluster.until("the kind is gone", || {
        let (code, said) = server.ends(&[], &kubeconfig);
        (code == 3).then_some(said)
    });
    assert!(unknown.contains("does not know the kind ContentSource") && unknown.contains("formwork crds"), "{unknown}");
    cluster.kill_api_server();
    let (code, said) = server.ends(&[], &kubeconfig);
    assert!(code == 5 && said.contains("kubectl cluster-info"), "{code} {said}");
}
