//! One of several sources is away, refused or held: the site says so itself, by its condition, its metrics and its exit code, while
//! everything serves on.

use crate::bed;
use crate::repository::Repository;
use crate::several::{SITE, machine, param, profile};
use crate::site::Site;
use crate::trusted::Signer;
use serde_json::Value;
use std::io::{Read as _, Write as _};

/// Both sources on this disk, which are looked at twice a second; the tenant's commits are signed, and its branch is not rewritten.
struct Lab {
    main: Repository,
    tenant: Repository,
    folder: tempfile::TempDir,
    metrics: u16,
}

impl Lab {
    fn new() -> Self {
        let lab = Self {
            main: Repository::new(),
            tenant: Repository::new(),
            folder: tempfile::tempdir().expect("a folder"),
            metrics: bed::free_ports().0,
        };
        let base = format!("{}---\n{}", param(), profile("base", "x"));
        lab.main.push("platform", &[("site.yaml", SITE), ("base.yaml", &base)]);
        lab
    }

    fn serve(&self, alice: &Signer<'_>) -> Site {
        let write = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        write("signers", &format!("alice@example.org {}", alice.public()));
        write("team.trust.yaml", "allowedSigners: signers\n");
        let text = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: platform, url: {}, branch: \
             main}}\n  - {{name: team-a, url: {}, branch: main, mount: tenants/a, onRewrite: hold, trust: team.trust.yaml, \
             allow: {{kinds: [Machine], machines: ['a-*']}}}}\n",
            self.main.bare().display(),
            self.tenant.bare().display(),
        );
        let sources = write("sources.yaml", &text);
        let metrics = format!("127.0.0.1:{}", self.metrics);
        Site::start(self.folder.path(), &["--sources", sources.to_str().expect("UTF-8"), "--metrics", &metrics])
    }

    fn metrics(&self) -> String {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.metrics)).expect("metrics are told");
        let question = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(question.as_bytes()).expect("asked");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("an answer");
        told
    }

    /// The site is behind for this, of the tenant alone, and what served serves.
    fn behind(&self, site: &Site, reason: &str, serves: &str, words: &[&str]) -> Value {
        let status = site.until(reason, |status| status["content"]["reason"] == format!("Source{reason}"));
        let (content, platform, team) = (&status["content"], &status["sources"][0], &status["sources"][1]);
        assert_eq!((content["condition"].as_str(), platform["condition"].as_str()), (Some("Stalled"), Some("Ready")));
        assert_eq!((team["condition"].as_str(), team["reason"].as_str()), (Some("Stalled"), Some(reason)), "{team:#}");
        assert_eq!(team["applied"].as_str(), Some(serves), "{team:#}");
        assert!(team["sinceUnixMs"].is_i64() && status["machines"]["expected"] == 1, "{status:#}");
        let message = content["message"].as_str().expect("a sentence");
        assert!(message.starts_with("source team-a: ") && message.contains("serves"), "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        let is_true = |kind: &str| {
            let rows = content["conditions"].as_array().expect("conditions").iter();
            rows.filter(|row| row["type"] == kind).all(|row| row["status"] == "True")
        };
        assert!(is_true("Stalled") && !is_true("Ready") && !is_true("Reconciling"), "{content:#}");
        let (said, code) = site.ended(&["status", "-o", "table"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.lines().any(|line| line.starts_with("source") && line.contains("team-a: Stalled since ")),
            "{said}"
        );
        let told = self.metrics();
        for (series, is) in [
            (r#"formwork_content_condition{condition="Stalled"}"#, true),
            (r#"formwork_content_source_available"#, reason != "Unavailable"),
            (r#"formwork_source_up{source="platform"}"#, true),
            (r#"formwork_source_up{source="team-a"}"#, reason != "Unavailable"),
            (r#"formwork_source_refused{source="team-a"}"#, matches!(reason, "Refused" | "Untrusted")),
            (r#"formwork_source_held{source="team-a"}"#, reason == "Rewritten"),
        ] {
            let line = format!("{series} {}", u8::from(is));
            assert!(told.lines().any(|told| told == line), "no {line} in:\n{told}");
        }
        assert!(told.contains(r#"formwork_source_last_success_timestamp_seconds{source="team-a"} "#), "{told}");
        status
    }

    /// All is well again, with this of the tenant.
    fn well(site: &Site, commit: &str) -> Value {
        let status = site.until("all is well", |status| {
            status["content"]["condition"] == "Ready" && status["sources"][1]["applied"] == commit
        });
        for source in status["sources"].as_array().expect("sources") {
            assert_eq!((&source["condition"], &source["head"]), (&"Ready".into(), &source["applied"]), "{source:#}");
        }
        assert_eq!(site.ended(&["status"]).1, Some(0));
        status
    }
}

#[test]
fn a_source_that_is_away_refused_or_held_is_seen_in_the_condition_of_the_site_and_in_its_metrics() {
    let lab = Lab::new();
    let alice = Signer::new(&lab.tenant, "alice");
    let push = || lab.tenant.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    let first = alice.commit("one", &[("machines.yaml", &machine("a-1", 1, "base"))]);
    push();
    let site = lab.serve(&alice);
    Lab::well(&site, &first);

    // Its repository goes away; what the others push meanwhile serves.
    let away = lab.tenant.folder.path().join("away.git");
    std::fs::rename(lab.tenant.bare(), &away).expect("moved");
    let status = lab.behind(&site, "Unavailable", &first, &["its last good commit is used"]);
    assert!(status["sources"][1]["failure"].is_string());
    let before = status["content"]["lastAppliedRevision"].clone();
    let platform = lab.main.push("more", &[("more.yaml", &profile("other", "y"))]);
    let status = site.until("the platform goes on", |status| status["sources"][0]["applied"] == platform.as_str());
    assert_ne!(status["content"]["lastAppliedRevision"], before);
    lab.behind(&site, "Unavailable", &first, &[]);
    std::fs::rename(&away, lab.tenant.bare()).expect("moved back");
    Lab::well(&site, &first);

    // What it may not declare.
    alice.commit("not mine", &[("machines.yaml", &machine("b-1", 1, "base"))]);
    push();
    let status = lab.behind(&site, "Refused", &first, &["is refused with 1 finding", "its last good commit is used"]);
    assert!(status["sources"][1]["findings"][0].as_str().is_some_and(|finding| finding.contains("`b-1`")));
    let second = alice.commit("mine", &[("machines.yaml", &machine("a-2", 2, "base"))]);
    push();
    Lab::well(&site, &second);

    // Signed by nobody.
    lab.tenant.push("unsigned", &[("machines.yaml", &machine("a-3", 3, "base"))]);
    lab.behind(&site, "Untrusted", &second, &["is refused with 1 finding", "its last good commit is used"]);
    // Taken back: that is a rewritten branch too, which a person goes along with.
    lab.tenant.git(&["reset", "-q", "--hard", &second]);
    push();
    lab.behind(&site, "Rewritten", &second, &["was rewritten from"]);
    let (said, code) = site.ended(&["resume", "--rewritten", "team-a", "--reason", "it was taken back"]);
    assert_eq!(code, Some(0), "{said}");
    Lab::well(&site, &second);

    // Rewritten, and held where it was.
    lab.tenant.git(&["reset", "-q", "--hard", &first]);
    alice.commit("another way", &[("machines.yaml", &machine("a-4", 4, "base"))]);
    push();
    lab.behind(&site, "Rewritten", &second, &["was rewritten from", "resume --rewritten"]);
    lab.tenant.git(&["reset", "-q", "--hard", &second]);
    let third = alice.commit("on", &[("machines.yaml", &machine("a-5", 5, "base"))]);
    push();
    Lab::well(&site, &third);
}
