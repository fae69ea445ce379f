//! What people ask of machines, and when they are refused.

use super::{Answer, Site, table};
use crate::api::views::{AskBody, MachineSummary, Phase};
use crate::fleet::Entry;
use crate::journal::{Event, RunStatus, Stream};
use crate::store::logs::{CAP_BYTES, LogStore};
use crate::wire::{CheckInRequest, HardwareIdentity, JobOutcome};
use std::sync::Arc;

impl Site {
    pub(super) async fn administrator(&self, method: &str, pattern: &str, path: &str, body: &str) -> Answer {
        let table = table();
        let route = table.iter().find(|route| route.path == pattern && route.method.as_str() == method);
        let token = format!("Bearer {}", self.administrator);
        self.ask(route.expect("a route"), path, Some(token.as_bytes()), body).await
    }

    async fn asked(&self, machine: &str, ask: &str) -> Answer {
        let path = format!("/v1/machines/{machine}/{ask}");
        self.administrator("POST", "/v1/machines/{name}/{ask}", &path, r#"{"reason": "because"}"#).await
    }

    async fn summary(&self, machine: &str) -> MachineSummary {
        let path = format!("/v1/machines/{machine}");
        let answer = self.administrator("GET", "/v1/machines/{name}", &path, "").await;
        serde_json::from_str(&answer.body).expect("a machine")
    }

    fn entry(&self, machine: &str) -> Arc<Entry> {
        self.lab.fleet().entry(machine)
    }

    async fn ends(&self, machine: &str, outcome: JobOutcome) {
        let event = Event::JobEnded {
            job: format!("job-{machine}"),
            outcome,
            exit_code: None,
            message: Some("no disk".into()),
            requests: Vec::new(),
            log_at: None,
        };
        self.lab.event(&self.entry(machine), event).await;
    }

    async fn checks_in(&self, machine: &str, environment: &str) {
        let check_in = CheckInRequest {
            boot_id: format!("boot-{machine}"),
            environment: environment.into(),
            architecture: "x86_64".into(),
            firmware: "uefi".into(),
            agent_version: "1".into(),
            kernel: "6".into(),
            address: None,
            hardware: HardwareIdentity::default(),
        };
        self.lab.event(&self.entry(machine), Event::CheckedIn { check_in, offer: None }).await;
    }
}

#[tokio::test]
async fn a_task_that_runs_is_not_skipped_and_nothing_is_skipped_before_the_first_boot() {
    let site = Site::start().await;
    let running = site.asked("one", "skip").await;
    assert_eq!(running.status, 409, "{running:?}");
    assert!(running.body.contains("job-open") && running.body.contains("formwork cancel one"), "{running:?}");
    let job = site.entry("one").state().run.as_ref().and_then(|run| run.job.clone());
    assert!(job.is_some(), "the job goes on");

    site.ends("one", JobOutcome::Failed).await;
    let early = site.asked("one", "skip").await;
    assert!(early.status == 409 && early.body.contains("not-booted"), "{early:?}");

    site.checks_in("one", "ram").await;
    let skipped = site.asked("one", "skip").await;
    assert_eq!(skipped.status, 200, "{skipped:?}");
    assert_eq!(site.entry("one").state().run.as_ref().map(|run| run.status), Some(RunStatus::Finished));
}

#[tokio::test]
async fn a_cancelled_run_is_not_ready_and_there_is_nothing_to_retry_in_it() {
    let site = Site::start().await;
    assert_eq!(site.asked("one", "cancel").await.status, 200);
    let summary = site.summary("one").await;
    assert_eq!(summary.phase, Phase::Cancelled, "{summary:?}");
    for ask in ["retry", "skip", "cancel"] {
        let answer = site.asked("one", ask).await;
        assert!(answer.status == 409 && answer.body.contains("run 1 was cancelled"), "{ask}: {answer:?}");
    }
}

#[tokio::test]
async fn a_retry_is_answered_with_what_comes_after_it() {
    let site = Site::start().await;
    site.checks_in("one", "ram").await;
    site.ends("one", JobOutcome::Failed).await;
    site.entry("one").touch(&site.lab.fleet().clock, Some("task look failed: no disk".into()));
    assert_eq!(site.summary("one").await.phase, Phase::Failed);
    let answer = site.asked("one", "retry").await;
    assert!(answer.status == 200 && !answer.body.contains("failed"), "{answer:?}");
    assert_eq!(site.summary("one").await.waits_for, "its agent to take task look");
}

#[tokio::test]
async fn why_something_was_asked_is_in_the_journal() {
    let site = Site::start().await;
    site.checks_in("one", "ram").await;
    assert_eq!(site.asked("one", "reboot").await.status, 200);
    site.ends("one", JobOutcome::Failed).await;
    assert_eq!(site.asked("one", "retry").await.status, 200);
    site.lab.event(&site.entry("one"), Event::Quarantined { reason: "two keys".into() }).await;
    assert_eq!(site.asked("one", "approve").await.status, 200);
    site.lab.event(&site.entry("one"), Event::StoreRestored { backup_unix_ms: 0 }).await;
    assert_eq!(site.asked("one", "adopt").await.status, 200);
    let told = site.lab.fleet().store.events_of(&Stream::Machine("one".into()), 0, 1000).expect("read");
    let why: Vec<(String, &str)> = told
        .iter()
        .filter_map(|record| match &record.event {
            Event::Asked { what, reason, .. } => Some((format!("{what:?}"), reason.as_str())),
            Event::Adopted { reason, .. } => Some(("Adopted".to_owned(), reason.as_str())),
            _ => None,
        })
        .collect();
    let because = |what: &str| (what.to_owned(), "because");
    assert_eq!(why, ["Reboot", "Retry", "Approve", "Adopted"].map(because));
}

/// Two machines that may be wiped and were never seen; `strict` waits for an approval.
const UNSEEN: &str = "---
kind: ClusterProfile
metadata: {name: guarded}
spec: {size: 1, assurance: A2}
---
kind: Machine
metadata: {name: strict}
spec: {match: {macs: ['52:54:00:00:01:11']}, profiles: [guarded], workflow: walk, wipe: true}
---
kind: Machine
metadata: {name: blank}
spec: {match: {macs: ['52:54:00:00:01:12']}, workflow: walk, wipe: true}
";

#[tokio::test]
async fn an_ask_of_a_machine_that_was_never_seen_writes_what_it_is_about_and_begins_no_run() {
    let site = Site::start().await;
    site.lab.write(&format!("{}{UNSEEN}", super::SITE));
    site.lab.until(|catalog| catalog.machine("blank").is_some()).await;
    let written = |machine: &str| -> Vec<Event> {
        let told = site.lab.fleet().store.events_of(&Stream::Machine(machine.into()), 0, 1000).expect("read");
        told.into_iter().map(|record| record.event).collect()
    };
    for ask in ["retry", "skip", "cancel", "approve", "forget", "reboot"] {
        let answer = site.asked("blank", ask).await;
        assert_eq!((answer.status, written("blank")), (409, Vec::new()), "{ask}: {answer:?}");
    }
    assert_eq!(site.asked("strict", "approve").await.status, 200);
    assert!(matches!(written("strict").as_slice(), [Event::Asked { .. }]), "{:?}", written("strict"));
    let adopted = site.asked("strict", "adopt").await;
    assert!(adopted.status == 200 && adopted.body.contains("adopted with run 1"), "{adopted:?}");
    let all = written("strict");
    assert!(matches!(all.as_slice(), [Event::Asked { .. }, Event::Adopted { run: 1, .. }]), "{all:?}");
    let macs = &site.entry("strict").state().macs;
    assert!(macs.contains("52:54:00:00:01:11"), "its box is known before it shows itself: {macs:?}");
    assert_eq!(site.lab.boots(&site.entry("strict")).await, "local", "it is installed, and nothing is wiped");
    let again = site.asked("strict", "adopt").await;
    assert!(again.status == 409 && again.body.contains("formwork why strict"), "{again:?}");

    // One that is new begins its run with its own word, too.
    let body = r#"{"new": true}"#;
    let path = "/v1/machines/blank/adopt";
    let answer = site.administrator("POST", "/v1/machines/{name}/{ask}", path, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(matches!(written("blank").as_slice(), [Event::Adopted { run: 0, .. }]), "{:?}", written("blank"));
    assert_eq!(site.lab.boots(&site.entry("blank")).await, "ram");
}

#[tokio::test]
async fn what_is_adopted_while_its_box_has_another_name_is_that_box() {
    let site = Site::start().await;
    let rule = "---
kind: Enrollment
metadata: {name: rack}
spec: {match: {macPrefixes: ['52:54:00:00:02']}, name: \"x-{{ mac | replace(':', '') }}\", workflow: walk}
";
    site.lab.write(&format!("{}{rule}", super::SITE));
    site.lab.until(|catalog| catalog.enrollments().next().is_some()).await;
    let hardware = HardwareIdentity { macs: vec!["52:54:00:00:02:01".into()], ..HardwareIdentity::default() };
    let former = site.lab.machine(&hardware).await;
    site.lab.boots(&former).await;
    site.lab.event(&former, Event::RunFinished { run: 1 }).await;
    site.lab.event(&former, Event::StoreRestored { backup_unix_ms: 5 }).await;
    let declared = "---
kind: Machine
metadata: {name: renamed}
spec: {match: {macs: ['52:54:00:00:02:01']}, workflow: walk, run: 2, wipe: true}
";
    site.lab.write(&format!("{}{rule}{declared}", super::SITE));
    site.lab.until(|catalog| catalog.machine("renamed").is_some()).await;
    let summary = site.summary("renamed").await;
    assert!(summary.phase == Phase::Held && summary.restored, "{summary:?}");
    let head = former.state().head;
    assert_eq!(site.asked("renamed", "retry").await.status, 409);
    assert_eq!((former.state().head, site.entry("renamed").state().head), (head, 0), "a refused ask writes nothing");
    let answer = site.asked("renamed", "adopt").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let state = site.entry("renamed").state();
    assert_eq!((state.adopted.clone(), state.restored), (Some((2, Some("walk".into()))), None));
    assert!(!former.state().is_known() && state.run.is_none());
    assert_eq!(site.lab.boots(&site.entry("renamed")).await, "local");
}

#[tokio::test]
async fn new_is_a_word_of_adopt_alone() {
    let site = Site::start().await;
    for ask in ["retry", "skip", "cancel", "approve", "forget", "reboot"] {
        let path = format!("/v1/machines/one/{ask}");
        let body = r#"{"reason": "because", "new": true}"#;
        let answer = site.administrator("POST", "/v1/machines/{name}/{ask}", &path, body).await;
        assert!(answer.status == 422 && answer.body.contains("new-unwanted"), "{ask}: {answer:?}");
    }
}

#[tokio::test]
async fn a_machine_whose_agent_does_not_speak_cannot_be_told_to_reboot() {
    let site = Site::start().await;
    let never = site.asked("one", "reboot").await;
    assert!(never.status == 409 && never.body.contains("power-cycle"), "{never:?}");
    site.checks_in("one", "ram").await;
    assert_eq!(site.asked("one", "reboot").await.status, 200);
}

#[tokio::test]
async fn the_log_of_a_job_that_never_was_is_not_found_and_that_of_a_silent_one_is_empty() {
    let site = Site::start().await;
    let log = async |job: &str| {
        let path = format!("/v1/jobs/{job}/log");
        site.administrator("GET", "/v1/jobs/{job}/log", &path, "").await
    };
    assert_eq!(log("nope").await.status, 404);
    let silent = log("job-two").await;
    assert_eq!((silent.status, silent.body.as_str()), (200, ""));
    assert_eq!(log("job-one").await.body, "what it said");
}

#[tokio::test]
async fn a_log_that_was_cut_is_complete_when_its_job_ends_and_says_that_it_was_cut() {
    let site = Site::start().await;
    let logs = LogStore::open(&site.lab.dir.path().join("logs")).expect("a folder");
    for piece in 0..=CAP_BYTES >> 20 {
        logs.append("job-two", piece << 20, &vec![b'x'; 1 << 20]).expect("a piece");
    }
    let rest = async || {
        let path = format!("/v1/jobs/job-two/log?from={CAP_BYTES}");
        let answer = site.administrator("GET", "/v1/jobs/{job}/log", &path, "").await;
        let complete = answer.headers.iter().any(|header| header.contains("formwork-log-complete: \"true\""));
        (answer.body, complete)
    };
    assert_eq!(rest().await, (String::new(), false), "how much is not kept is known when nothing more comes");
    site.ends("two", JobOutcome::Done).await;
    let (body, complete) = rest().await;
    assert!(complete && body.contains("the log is cut here; 00000000000001048576 more bytes"), "{complete}: {body}");
}

#[tokio::test]
async fn a_machine_that_was_forgotten_is_not_said_to_be_gone_from_git() {
    let site = Site::start().await;
    let answer = site.asked("gone", "forget").await;
    assert!(answer.status == 200 && answer.body.contains("forgotten"), "{answer:?}");
}

#[tokio::test]
async fn a_machine_that_a_rule_would_take_in_again_as_new_is_forgotten_only_with_a_reason() {
    let site = Site::start().await;
    let rule = "---
kind: Enrollment
metadata: {name: rack}
spec: {match: {macPrefixes: ['52:54:00']}, name: \"node-{{ mac | replace(':', '') }}\", workflow: walk, mayWipe: true}
";
    let with_rule = format!("{}{rule}", super::SITE);
    let ruled = async |content: &str, wanted: bool| {
        site.lab.write(content);
        site.lab.until(|catalog| catalog.enrollments().next().is_some() == wanted).await;
    };
    ruled(&with_rule, true).await;
    let hardware = HardwareIdentity { macs: vec!["52:54:00:00:02:01".into()], ..HardwareIdentity::default() };
    let entry = site.lab.machine(&hardware).await;
    site.lab.fleet().settle(&entry).await.expect("settled");
    let path = format!("/v1/machines/{}/forget", entry.name);
    let bare = async || site.administrator("POST", "/v1/machines/{name}/{ask}", &path, "").await;
    let open = bare().await;
    assert!(open.status == 409 && open.body.contains("open-run"), "{open:?}");

    site.lab.event(&entry, Event::RunFinished { run: 1 }).await;
    let installed = bare().await;
    assert!(installed.status == 409 && installed.body.contains("rule-matches"), "{installed:?}");
    assert!(installed.body.contains("rule rack") && installed.body.contains("--reason"), "{installed:?}");

    // It leaves with its rule; once that is back, what was installed is as much in danger.
    ruled(super::SITE, false).await;
    site.lab.fleet().settle(&entry).await.expect("settled");
    assert!(entry.state().left);
    ruled(&with_rule, true).await;
    let back = bare().await;
    assert!(back.status == 409 && back.body.contains("rule-matches"), "{back:?}");

    assert_eq!(site.asked(&entry.name, "forget").await.status, 200);
    let told = site.lab.fleet().store.events_of(&Stream::Machine(entry.name.clone()), 0, 1000).expect("read");
    let reason = told.iter().find_map(|record| match &record.event {
        Event::Forgotten { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(reason, Some("because"));
}

#[tokio::test]
async fn a_machine_whose_box_is_declared_under_another_name_is_forgotten_only_with_a_reason_and_counts_once() {
    let site = Site::start().await;
    let rule = "---
kind: Enrollment
metadata: {name: rack}
spec: {match: {macPrefixes: ['52:54:00']}, name: \"node-{{ mac | replace(':', '') }}\", workflow: walk, profiles: [etcd]}
";
    site.lab.write(&format!("{}{rule}", super::SITE));
    site.lab.until(|catalog| catalog.enrollments().next().is_some()).await;
    let hardware = HardwareIdentity { macs: vec!["52:54:00:00:02:01".into()], ..HardwareIdentity::default() };
    let entry = site.lab.machine(&hardware).await;
    site.lab.fleet().settle(&entry).await.expect("settled");
    site.lab.event(&entry, Event::RunFinished { run: 1 }).await;
    let members = async || {
        site.lab.fleet().refresh_members();
        let answer = site.administrator("GET", "/v1/clusters", "/v1/clusters", "").await;
        let clusters: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let of = clusters["items"].as_array().expect("rows").iter().find(|row| row["name"] == "etcd").cloned();
        of.expect("a row")["members"].to_string()
    };
    let before = members().await;
    assert!(before.contains(&entry.name), "{before}");
    let declared = "---
kind: Machine
metadata: {name: fresh}
spec: {match: {macs: ['52:54:00:00:02:01']}, profiles: [etcd], workflow: walk}
";
    site.lab.write(&format!("{}{declared}{rule}", super::SITE));
    site.lab.until(|catalog| catalog.machine("fresh").is_some()).await;
    let after = members().await;
    assert!(after.contains("fresh") && !after.contains(&entry.name), "{after}");
    let path = format!("/v1/machines/{}/forget", entry.name);
    let bare = site.administrator("POST", "/v1/machines/{name}/{ask}", &path, "").await;
    assert!(bare.status == 409 && bare.body.contains("declared-anew"), "{bare:?}");
    assert!(bare.body.contains("declared as fresh") && bare.body.contains("--reason"), "{bare:?}");
    assert!(entry.state().is_known(), "nothing was changed");
    assert_eq!(site.asked(&entry.name, "forget").await.status, 200);
    assert!(!entry.state().is_known());
}

#[tokio::test]
async fn a_machine_that_no_rule_takes_in_is_forgotten_without_a_reason() {
    let site = Site::start().await;
    let answer = site.administrator("POST", "/v1/machines/{name}/{ask}", "/v1/machines/gone/forget", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn nothing_but_the_whole_word_makes_machines_without_a_journal_new() {
    let site = Site::start().await;
    let reasons = || -> Vec<String> {
        let told = site.lab.fleet().store.events_of(&Stream::Site, 0, 1000).expect("read");
        let reason = |event| match event {
            Event::SiteAdopted { reason, .. } => Some(reason),
            _ => None,
        };
        told.into_iter().filter_map(|record| reason(record.event)).collect()
    };
    let adopts = async |body: &str| site.administrator("POST", "/v1/adopt", "/v1/adopt", body).await;
    for body in [
        "",
        "{}",
        r#"{"new": false}"#,
        r#"{"reason": "r"}"#,
        r#"{"new": true, "machines": ["one"]}"#,
        r#"["one"]"#,
        r#"["r", true]"#,
    ] {
        let answer = adopts(body).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
    }
    assert!(adopts("{}").await.body.contains("--all --new"));
    assert_eq!(reasons(), Vec::<String>::new());
    // As `formwork adopt --all --new` sends it.
    let word = AskBody { reason: "a new rack".into(), new: true };
    assert_eq!(adopts(&serde_json::to_string(&word).expect("JSON")).await.status, 200);
    assert_eq!(reasons(), ["a new rack"]);
}

#[tokio::test]
async fn a_list_in_place_of_a_body_is_refused_and_changes_nothing() {
    let site = Site::start().await;
    for path in ["/v1/suspend", "/v1/resume", "/v1/rollback", "/v1/reconcile", "/v1/store/snapshots"] {
        for body in ["[]", r#"["a"]"#, r#"["r1", "why"]"#] {
            let answer = site.administrator("POST", path, path, body).await;
            assert_eq!(answer.status, 422, "{path} {body}: {answer:?}");
        }
    }
    assert!(site.lab.fleet().content_status().suspended.is_none());
    let skip = site.administrator("POST", "/v1/machines/{name}/{ask}", "/v1/machines/one/skip", r#"["why"]"#).await;
    assert_eq!(skip.status, 422, "{skip:?}");
}

#[tokio::test]
async fn protection_before_a_destructive_stage_is_a_hold_and_what_is_offered_replaces_what_ran() {
    let site = Site::start().await;
    site.checks_in("two", "ram").await;
    site.ends("two", JobOutcome::Interrupted).await;
    let protected = super::SITE.replace(
        "spec: {match: {macs: ['52:54:00:00:01:02']}",
        "spec: {protect: true, match: {macs: ['52:54:00:00:01:02']}",
    );
    site.lab.write(&protected);
    site.lab.until(|catalog| catalog.machine("two").is_some_and(|view| view.protect)).await;
    let summary = site.summary("two").await;
    assert_eq!(summary.phase, Phase::Held, "{summary:?}");
    assert!(summary.waits_for.contains("spec.protect is true"));
    assert_eq!(summary.environment.as_deref(), Some("ram"));

    // A record's time has whole milliseconds: the offer must be later than the check-in.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let offered = Event::Offered {
        offer: "offer-two".into(),
        environment: "local".into(),
        address: None,
        mac: "52:54:00:00:01:02".into(),
        firmware: "uefi".into(),
        reason: String::new(),
        run: None,
    };
    site.lab.event(&site.entry("two"), offered).await;
    assert_eq!(site.summary("two").await.environment.as_deref(), Some("local"));
}
