//! `formwork reconcile --wait` of sources elsewhere: it ends when each of them was looked at after the request, and says what came
//! of it.

use crate::https_server::HttpsServer;
use crate::proxy::Proxy;
use crate::repository::Repository;
use crate::several::{SITE, machine, param, profile};
use crate::site::{Site, sources};

/// Ends with this code and these words.
fn waits(site: &Site, code: i32, parts: &[&str]) {
    let (said, ended) = site.ended(&["reconcile", "--wait", "--timeout", "90s"]);
    assert_eq!(ended, Some(code), "{said}\n{}", site.log());
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn a_script_that_pushed_to_sources_elsewhere_goes_on_when_what_it_pushed_has_come_to_its_end() {
    let (main, tenant) = (Repository::new(), Repository::new());
    let base = format!("{}---\n{}", param(), profile("base", "x"));
    main.push("platform", &[("site.yaml", SITE), ("base.yaml", &base)]);
    tenant.push("a", &[("machines.yaml", &machine("a-1", 1, "base"))]);
    let (platform, team) =
        (HttpsServer::start(main.folder.path(), None), HttpsServer::start(tenant.folder.path(), None));
    let proxy = Proxy::start(team.port);
    let folder = tempfile::tempdir().expect("a folder");
    let path = sources(
        folder.path(),
        &[
            ("platform", platform.port, &platform.authority, ""),
            ("team-a", proxy.port, &team.authority, ", mount: tenants/a, allow: {kinds: [Machine], machines: ['a-*']}"),
        ],
    );
    let site = Site::start(folder.path(), &["--sources", path.to_str().expect("UTF-8")]);
    // Also what was not seen at all yet.
    waits(&site, 0, &[]);

    // Both are pushed to, one after the other: the answer is about both.
    let first = main.push("more", &[("more.yaml", &profile("other", "y"))]);
    let second = tenant.push("more", &[("machines.yaml", &machine("a-2", 2, "other"))]);
    let (said, code) = site.ended(&["reconcile", "--wait", "-o", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(answer["sources"], serde_json::json!(["platform", "team-a"]));
    let (status, _) = site.type_in(&["status", "-o", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let used = |index: usize| status["sources"][index]["used"].as_str().expect("a commit").to_owned();
    assert_eq!((used(0), used(1)), (first, second));
    assert_eq!(status["content"]["lastAppliedRevision"], answer["revision"]);
    for index in 0..2 {
        assert!(status["sources"][index]["observedRequest"].as_u64() >= answer["token"].as_u64(), "{status:#}");
    }

    // Refused by itself; refused as a whole; nothing new, and refused still.
    tenant.push("not mine", &[("machines.yaml", &machine("b-1", 2, "other"))]);
    waits(&site, 1, &["may not declare the machine `b-1`", "source team-a"]);
    waits(&site, 1, &["may not declare the machine `b-1`"]);
    tenant.push("mine", &[("machines.yaml", &machine("a-3", 3, "other"))]);
    main.push("broken", &[("more.yaml", "kind: Nothing\n")]);
    waits(&site, 1, &["more.yaml:1:"]);
    main.push("mended", &[("more.yaml", &profile("other", "z"))]);
    waits(&site, 0, &[]);

    // One that hangs is waited for, no longer than is said; when its fetch has failed, that is the end.
    proxy.pass_only(0, true);
    let (said, code) = site.ended(&["reconcile", "--wait", "--timeout", "1s"]);
    assert_eq!(code, Some(124), "{said}");
    assert!(said.contains("not looked at since the request: team-a"), "{said}");
    waits(&site, 1, &["source team-a", "timeout"]);
    proxy.heal();
    site.type_in(&["suspend", "--reason", "x"]);
    main.push("later", &[("more.yaml", &profile("other", "w"))]);
    waits(&site, 4, &["suspended"]);
}
