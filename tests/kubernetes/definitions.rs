//! What a real API server makes of our definitions: it takes them, explains them, and refuses what is against their rules.

use super::cluster::Cluster;

const MACHINE: &str = "{apiVersion: formwork.dev/v1alpha1, kind: Machine, metadata: {name: node-1}, \
                       spec: {match: {macs: ['52:54:00:00:00:01']}, workflow: hardware.inventory, params: {deep: {er: [1, a]}, nothing: null}}}";

fn source(spec: &str) -> String {
    format!("{{apiVersion: formwork.dev/v1alpha1, kind: ContentSource, metadata: {{name: site}}, spec: {spec}}}")
}

#[test]
fn an_api_server_takes_explains_and_holds_the_custom_resources() {
    let Some(mut cluster) = Cluster::started("custom resources in a real API server") else { return };
    // Established says that names are free; of a schema that is not structural this says no.
    let names = cluster.kubectl(&["get", "crd", "-o", "name"]);
    let kinds: Vec<&str> = names.lines().filter_map(|name| name.rsplit('/').next()).collect();
    assert_eq!(kinds.len(), 13, "{names}");
    for kind in kinds {
        let definition = cluster.object("crd", kind).unwrap();
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let wrong = conditions.iter().find(|row| row["type"] == "NonStructuralSchema" && row["status"] == "True");
        assert!(wrong.is_none(), "{kind}: {wrong:?}");
    }
    // Nothing to warn of: no format that the API server does not know, no field that it drops.
    assert!(!cluster.warned.contains("arning"), "{}", cluster.warned);

    assert!(cluster.apply(MACHINE).is_empty());
    let machine = cluster.object("machine", "node-1").unwrap();
    assert_eq!(machine["spec"]["params"]["deep"]["er"][1], "a", "what nobody can describe is kept: {machine:#}");
    let params = machine["spec"]["params"].as_object().unwrap();
    assert_eq!(params.get("nothing"), Some(&serde_json::Value::Null), "and so is a null: {machine:#}");
    assert_eq!(machine["spec"]["run"], 1, "a default is the same as in Git: {machine:#}");
    let table = cluster.kubectl(&["get", "mach"]);
    for column in ["NAME", "PHASE", "BOOT", "STAGE", "TASK", "ADDRESS", "AGE"] {
        assert!(table.contains(column), "{table}");
    }
    cluster.apply(&source("{url: 'https://git.example.org/site.git', branch: main}"));
    for url in [
        "ssh://git@git.example.org/site.git",
        "ssh://git@git.example.org:22/site.git",
        "git@git.example.org:team/site.git",
        "git.example.org:@team/site.git",
        "https://git.example.org/@team/site",
        "/srv/a",
    ] {
        cluster.apply(&source(&format!("{{url: '{url}', semver: '>=1, <2'}}")).replace("name: site", "name: good"));
    }
    // However a selector is written that Git takes, it is taken here; and each length of time.
    for selector in [
        "macs: ['52-54-00-AB-cd-01', '5254.00ab.cd01', '525400abcd01', '52:54:00:AB:CD:01']",
        "uuid: ' 4C4C4544-0042-4E10-8034-B7C04F4E3132 '",
        "serial: 'CN 0042/a'",
    ] {
        cluster.apply(&MACHINE.replace("macs: ['52:54:00:00:00:01']", selector).replace("node-1", "node-3"));
    }
    for more in ["interval: 5s", "interval: 1d", "interval: 24h", "interval: ' 1h30m '", "interval: 90000ms"] {
        cluster.apply(&source(&format!("{{url: /srv/a, {more}}}")).replace("name: site", "name: good"));
    }
    let commit = "0123456789abcdef0123456789abcdef01234567";
    cluster
        .apply(&source(&format!("{{url: 'file:///srv/a', commit: '{commit}'}}")).replace("name: site", "name: good"));
    let all = cluster.kubectl(&["get", "formwork", "-o", "name"]);
    assert!(all.contains("machine.formwork.dev/node-1") && all.contains("contentsource.formwork.dev/site"), "{all}");

    for (document, why) in [
        (MACHINE.replace("macs: ['52:54:00:00:00:01']", "macs: []"), "at least one of macs, uuid and serial"),
        (MACHINE.replace("macs: ['52:54:00:00:00:01']", "uuid: null"), "spec.match.uuid"),
        (MACHINE.replace("52:54:00:00:00:01", "52:54:00:00:00"), "a MAC address is six bytes"),
        (MACHINE.replace("52:54:00:00:00:01", "53:54:00:00:00:01"), "no group address"),
        (MACHINE.replace("macs: ['52:54:00:00:00:01']", "uuid: node-1"), "a UUID is written as"),
        (MACHINE.replace("macs: ['52:54:00:00:00:01']", "serial: '0'"), "two letters or digits"),
        (source("{url: /srv/a, interval: 1s}"), "between 5s and 1d"),
        (source("{url: /srv/a, interval: 25h}"), "between 5s and 1d"),
        (source("{url: /srv/a, commit: abc}"), "all 40 characters"),
        (source("{url: site.git}"), "a path that begins with /"),
        (source("{url: 'https://git.example.org'}"), "url is https://HOST/PATH"),
        (MACHINE.replace("workflow: hardware.inventory", "workflow: 7"), "spec.workflow"),
        (MACHINE.replace("workflow:", "workflw:"), "workflw"),
        (source("{url: 'https://git.example.org/site.git', branch: main, tag: v1}"), "at most one is given"),
        (source("{url: 'http://git.example.org/site.git'}"), "only https://"),
        (source("{url: 'https://ann:secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: 'https://secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: 'ssh://ann:secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: ' HTTPS://secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: 'Ssh://ann:secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: 'ftp://ann:secret@git.example.org/site.git'}"), "has no password in it"),
        (source("{url: 'ann:secret@git.example.org:team/site.git'}"), "has no password in it"),
        (source("{url: ' HTTP://git.example.org/site.git'}"), "only https://"),
        (source("{url: 'https://git.example.org/site.git?private_token=secret'}"), "has no ?"),
        (source("{url: 'Https://git.example.org/site.git?private_token=secret'}"), "has no ?"),
        (source("{url: ''}"), "url names the repository"),
        (source("{branch: main}"), "exactly one is given"),
        (source("{url: /srv/a, resources: {}}"), "exactly one is given"),
        (source("{resources: {}, branch: main}"), "beside resources"),
    ] {
        let document = document.replace("{name: site}", "{name: other}").replace("{name: node-1}", "{name: node-2}");
        let output = cluster.try_apply(&document);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(why), "{document}\n{said}");
    }

    cluster.apply(&source("{resources: {}}").replace("name: site", "name: own"));
    for (field, words) in [
        ("machine.spec.protect", "Refuses destructive stages while true."),
        ("machine.status.waitsFor", "What it waits for or does, in a sentence."),
        ("contentsource.spec.secretRef", "The Secret with credentials."),
        ("clusterprofile.spec.size", "Barriers for `all` never open below it."),
    ] {
        let explained = cluster.until(field, || {
            // The API server publishes a schema a moment after the definition is established.
            let output = cluster.try_kubectl(&["explain", field]);
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(explained.contains(words), "{explained}");
    }

    // What is in etcd is there again after the API server was killed: the definitions before the first question about them.
    cluster.kill_api_server();
    assert!(!cluster.try_kubectl(&["get", "machines"]).status.success());
    cluster.start_api_server();
    let again = cluster.until("the machine is there again", || cluster.object("machine", "node-1"));
    assert_eq!(again["spec"], machine["spec"]);
}
