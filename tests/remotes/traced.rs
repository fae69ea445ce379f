//! `formwork trace` of content from repositories elsewhere: repository, file and line in it, commit and author.

use crate::https_server::HttpsServer;
use crate::proxy::Proxy;
use crate::repository::Repository;
use crate::several::{SITE, machine, param, profile};
use crate::site::{Site, sources};
use serde_json::Value;

fn traced(site: &Site, words: &[&str]) -> Value {
    let (said, good) = site.type_in(&[&["trace"], words, &["-o", "json"]].concat());
    assert!(good, "{said}");
    serde_json::from_str(&said).expect("JSON")
}

/// A commit by somebody of that name.
fn by(repository: &Repository, author: &str, message: &str, files: &[(&str, &str)]) -> String {
    repository.commit(message, files);
    repository.git(&["commit", "-q", "--amend", "--no-edit", &format!("--author={author} <{author}@example.org>")]);
    repository.git(&["rev-parse", "HEAD"])
}

fn push(repository: &Repository) {
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
}

#[test]
fn what_makes_a_machine_is_traced_to_the_repository_it_is_from_and_to_who_wrote_it_there() {
    let (main, tenant) = (Repository::new(), Repository::new());
    let base = format!("{}---\n{}", param(), profile("base", "x"));
    let with_packs = SITE.replace("spec: {}", "spec: {packs: [{builtin: discovery}, {builtin: hardware}]}");
    let ann = by(&main, "Ann", "platform", &[("lab/site.yaml", &with_packs), ("lab/base.yaml", &base)]);
    by(&main, "Zoe", "other things", &[("elsewhere", "x")]);
    push(&main);
    let walks = |machine: String| {
        machine.replace("spec: {", "spec: {workflow: hardware.commission, params: {install-disk: /dev/vda}, ")
    };
    let bob = by(&tenant, "Bob", "a machine", &[("machines.yaml", &walks(machine("a-1", 1, "base")))]);
    // One line more, in a later commit.
    let raised = walks(machine("a-1", 1, "base")).replace("spec: {", "spec: {\n  run: 2, ");
    let cleo = by(&tenant, "Cleo", "raised", &[("machines.yaml", &raised)]);
    push(&tenant);
    let (platform, team) =
        (HttpsServer::start(main.folder.path(), None), HttpsServer::start(tenant.folder.path(), None));
    let proxy = Proxy::start(team.port);
    let folder = tempfile::tempdir().expect("a folder");
    let path = sources(
        folder.path(),
        &[
            ("platform", platform.port, &platform.authority, ", path: lab"),
            ("team-a", proxy.port, &team.authority, ", mount: tenants/a, allow: {kinds: [Machine], machines: ['a-*']}"),
        ],
    );
    let site = Site::start(folder.path(), &["--sources", path.to_str().expect("UTF-8")]);
    let (said, code) = site.ended(&["reconcile", "--wait"]);
    assert_eq!(code, Some(0), "{said}");

    // Only the newest commit was fetched of each: the rest of history comes when somebody asks who wrote it.
    let whole = traced(&site, &["a-1"]);
    let origin = |what: &str| {
        let origins = whole["origins"].as_array().expect("a list");
        origins.iter().find(|origin| origin["what"] == what).unwrap_or_else(|| panic!("{what}: {whole:#}")).clone()
    };
    let (machine, profile) = (origin("machine a-1"), origin("profile base"));
    assert_eq!(machine["place"]["file"], "tenants/a/machines.yaml");
    let repository = serde_json::json!({
        "url": format!("https://127.0.0.1:{}/site.git", proxy.port), "file": "machines.yaml", "revision": cleo,
    });
    assert_eq!(machine["repository"], repository);
    assert_eq!((&machine["commit"]["id"], &machine["commit"]["author"]), (&Value::from(cleo.as_str()), &"Cleo".into()));
    assert_eq!(profile["repository"]["file"], "lab/base.yaml");
    // What is built into the program is nobody's, and lies in no repository.
    let built_in = origin("workflow hardware.commission");
    assert_eq!((&built_in["repository"], &built_in["commit"]), (&Value::Null, &Value::Null), "{built_in:#}");
    assert_eq!(built_in["builtIn"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&profile["commit"]["id"], &profile["commit"]["author"]), (&Value::from(ann.as_str()), &"Ann".into()));
    for (field, commit, author) in [("run", &cleo, "Cleo"), ("metadata.name", &bob, "Bob")] {
        let found = &traced(&site, &["a-1", field])["origins"][0]["commit"];
        assert_eq!((&found["id"], &found["author"]), (&Value::from(commit.as_str()), &author.into()), "{field}");
    }
    let found = traced(&site, &["a-1", "word"]);
    assert_eq!(found["origins"][0]["repository"]["revision"], main.git(&["rev-parse", "HEAD"]));
    assert_eq!(found["origins"][0]["commit"]["author"], "Ann");
    let (said, _) = site.type_in(&["trace", "a-1", "-o", "table"]);
    let line = machine["place"]["line"].as_u64().expect("a line");
    assert!(said.contains(&format!("machines.yaml:{line} of https://127.0.0.1:{}/site.git at ", proxy.port)), "{said}");

    // Where the repository is away, what is here is told, and nobody is blamed for what may be older.
    let dan = by(&tenant, "Dan", "another", &[("more.yaml", &crate::several::machine("a-2", 2, "base"))]);
    push(&tenant);
    let (said, code) = site.ended(&["reconcile", "--wait"]);
    assert_eq!(code, Some(0), "{said}");
    proxy.pass_only(0, false);
    let commit = &traced(&site, &["a-1", "run"])["origins"][0]["commit"];
    assert_eq!((&commit["id"], &commit["orBefore"]), (&Value::from(dan.as_str()), &true.into()));
    let (said, _) = site.type_in(&["trace", "a-1", "run", "-o", "table"]);
    assert!(said.contains(" or before") && !said.contains("Dan"), "{said}");
    proxy.heal();
    let commit = &traced(&site, &["a-1", "run"])["origins"][0]["commit"];
    assert_eq!(commit["id"], cleo.as_str());
    assert_eq!(commit["orBefore"], Value::Null);
}
