//! A sources.yaml that changes under a server that runs.

use crate::repository::{Repository, closed_file};
use crate::several::{SITE, machine, param, profile};
use crate::site::Site;
use crate::trusted::Signer;
use ring::hmac;
use serde_json::Value;

const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n";
const SECRET: &str = "hook-hunter22";

fn woken(site: &Site, source: &str) -> u16 {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag: String = hmac::sign(&key, b"{}").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    site.post(&format!("/hooks/{source}"), &[("X-Formwork-Signature", &format!("sha256={tag}"))], "{}")
}

/// How many sources are followed, and which commit serves of the last one.
fn follows(status: &Value, count: usize, last: &str) -> bool {
    let rows = status["sources"].as_array().expect("rows");
    status["content"]["condition"] == "Ready"
        && rows.len() == count
        && rows.last().is_some_and(|row| row["applied"] == last)
        && status["changedFiles"] == serde_json::json!([])
}

#[test]
fn what_is_written_into_a_sources_yaml_is_taken_whole_or_not_at_all_while_the_server_runs() {
    let (main, a) = (Repository::new(), Repository::new());
    let folder = tempfile::tempdir().unwrap();
    let base = format!("{}---\n{}", param(), profile("base", "x"));
    let first =
        main.push("platform", &[("site.yaml", SITE), ("base.yaml", &base), ("m.yaml", &machine("m-1", 9, "base"))]);
    let tenant = a.push("a", &[("machines.yaml", &machine("a-1", 1, "base"))]);
    closed_file(folder.path(), "a.hook", SECRET);
    let path = folder.path().join("sources.yaml");
    let platform = format!("  - {{name: platform, url: {}, branch: main}}\n", main.bare().display());
    let mounted = |more: &str| {
        let hook = "webhook: {kind: hmac, secretFile: a.hook}";
        let allow = "allow: {kinds: [Machine], machines: ['a-*']}";
        format!(
            "  - {{name: team-a, url: {}, branch: main, mount: tenants/a, {hook}, {allow}{more}}}\n",
            a.bare().display()
        )
    };
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(format!("{HEAD}{platform}"));
    let site = Site::start(folder.path(), &["--sources", path.to_str().unwrap()]);
    site.until("the only one serves", |status| follows(status, 1, &first));
    assert_eq!(woken(&site, "team-a"), 401);

    write(format!("{HEAD}{platform}{}", mounted("")));
    let status = site.until("the tenant serves", |status| follows(status, 2, &tenant));
    assert_eq!(status["sources"][0]["applied"], first.as_str());
    assert_eq!(woken(&site, "team-a"), 202);
    assert!(site.type_in(&["get", "machines", "a-1"]).1);

    // Half of it, one that is not sound, and one that names what is not there: the two are followed on.
    let mut last = tenant;
    for (number, (text, said)) in [
        (format!("{HEAD}{platform}").trim_end().to_owned(), "its last line has no end"),
        (format!("{HEAD}{platform}  - {{name: team-b, mounted: tenants/b}}\n"), "sources.yaml:6:"),
        (format!("{HEAD}{platform}{}", mounted(", trust: a.trust.yaml")), "a.trust.yaml cannot be read"),
    ]
    .into_iter()
    .enumerate()
    {
        write(text);
        site.until(said, |status| {
            let file = &status["changedFiles"][0];
            file["takesEffect"] == "mended" && file["message"].as_str().is_some_and(|it| it.contains(said))
        });
        last = a.push("more", &[("machines.yaml", &machine("a-1", 10 + number as u8, "base"))]);
        site.until("it is followed on", |status| status["sources"][1]["applied"] == last.as_str());
    }

    // What it names is mended without it; a policy that is new is watched as the others are.
    let (alice, bob) = (Signer::new(&a, "alice"), Signer::new(&a, "bob"));
    let allowed = |who: &Signer<'_>| {
        let line = format!("team@example.org {}\n", who.public().trim());
        std::fs::write(folder.path().join("a.signers"), line).unwrap();
    };
    allowed(&bob);
    std::fs::write(folder.path().join("a.trust.yaml"), "allowedSigners: a.signers\ncheck: tip\n").unwrap();
    let status = site.until("it asks for signatures", |status| {
        status["sources"][1]["reason"] == "Untrusted" && status["changedFiles"] == serde_json::json!([])
    });
    assert_eq!(status["sources"][1]["applied"], last.as_str());
    let signed = alice.commit("signed", &[("machines.yaml", &machine("a-1", 20, "base"))]);
    a.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    site.until("by somebody else", |status| status["sources"][1]["head"] == signed.as_str());
    allowed(&alice);
    let status = site.until("Alice may sign", |status| follows(status, 2, &signed));
    assert!(status["sources"][1]["signedBy"].to_string().contains("team@example.org"), "{status:#}");

    write(format!("{HEAD}{platform}"));
    site.until("the tenant is gone", |status| follows(status, 1, &first));
    assert_eq!(woken(&site, "team-a"), 401);
    assert!(!site.type_in(&["get", "machines", "a-1"]).1);
    assert!(!site.log().contains(SECRET));
}

// Who signs for the whole site is asked for in more places than the sources.
#[test]
fn a_sources_yaml_that_says_who_signs_for_the_whole_site_wants_a_restart_and_the_status_says_so() {
    let main = Repository::new();
    let folder = tempfile::tempdir().unwrap();
    let first = main.push("platform", &[("site.yaml", SITE)]);
    let path = folder.path().join("sources.yaml");
    let source = |more: &str| {
        let text = format!("{HEAD}  - {{name: platform, url: {}, branch: main{more}}}\n", main.bare().display());
        std::fs::write(&path, text).unwrap();
    };
    source("");
    let site = Site::start(folder.path(), &["--sources", path.to_str().unwrap()]);
    site.until("it serves", |status| follows(status, 1, &first));
    let signer = Signer::new(&main, "alice");
    std::fs::write(folder.path().join("signers"), format!("alice@example.org {}\n", signer.public().trim())).unwrap();
    std::fs::write(folder.path().join("trust.yaml"), "allowedSigners: signers\n").unwrap();
    source(", trust: trust.yaml");
    let status = site.until("it wants a restart", |status| status["changedFiles"][0]["takesEffect"] == "mended");
    assert!(status["changedFiles"][0]["message"].as_str().unwrap().contains("restart of the server"), "{status:#}");
    source("");
    site.until("it is as it was", |status| follows(status, 1, &first));
}
