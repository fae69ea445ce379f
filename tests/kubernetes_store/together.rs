//! Two servers on one store, both answering, behind an address that leads to either: killed in the middle of boots and of an
//! election of 200 machines; and what is said to one of them counts for the other. Content, machines and judge are those of
//! `tests/fire`, where one server has its store alone.

use super::site::check::{self, violations};
use super::site::{LIMIT, MACHINES, Site};
use super::*;
use formwork::simulate::record::{Entry, Fact};
use std::io::Write;
use std::path::Path;
use std::process::Command;

#[test]
fn two_servers_on_one_store_lose_nothing_though_each_is_killed() {
    let Some(cluster) = common("two servers on one store") else { return };
    let mut site = Site::new(&cluster, "together", MACHINES);
    site.create();
    site.start(0);
    site.start(1);
    site.until("a revision serves", || site.ask("one", &["status"]).contains("first"));
    let mut machines = site.simulate();
    let began = Instant::now();
    let mut wait = |site: &Site, what: &str, until: &dyn Fn(&[Entry]) -> bool| loop {
        let entries = site.entries();
        if until(&entries) {
            return;
        }
        assert!(machines.try_wait().unwrap().is_none(), "the machines ended before {what}\n{}", site.said());
        assert!(began.elapsed() < LIMIT, "{what} takes too long\n{}", site.said());
        std::thread::sleep(Duration::from_millis(50));
    };
    let boots = |entries: &[Entry]| entries.iter().filter(|entry| matches!(entry.fact, Fact::Boots { .. })).count();
    wait(&site, "boots", &|entries| boots(entries) >= MACHINES / 4);
    assert!(boots(&site.entries()) < MACHINES, "they have all booted: there is nothing to kill a server in");
    site.kill(1);
    wait(&site, "more boots, of one server alone", &|entries| boots(entries) >= MACHINES / 2);
    site.start(1);
    let leads = |entry: &Entry| matches!(entry.fact, Fact::Leads { .. });
    wait(&site, "an election", &|entries| entries.iter().any(leads));
    site.kill(0);
    let passes = |entry: &Entry| matches!(entry.fact, Fact::Passes { .. });
    wait(&site, "machines that go on", &|entries| entries.iter().any(passes));
    let (said_before, _) = site.stands("one");
    site.start(0);
    let status = machines.wait().unwrap();
    assert!(status.success(), "not every run was done\n{}", site.said());
    let (took, boots) = (began.elapsed(), boots(&site.entries()));

    // Both know the same of every machine.
    let known = |whom: &str| {
        let machines = site.ask_json(whom, &["get", "machines"]);
        let rows = machines["items"].as_array().expect("items").iter();
        rows.map(|row| [&row["name"], &row["phase"], &row["run"]].map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert_eq!(known("one").len(), MACHINES);
    site.until("both know the same", || known("one") == known("two"));
    // And each shows the log of each job, whichever of them has it, once they know of each other again: who is killed leaves no word.
    site.until("both know of each other", || {
        let ((said, one), (_, two)) = (site.stands("one"), site.stands("two"));
        said > said_before && one && two
    });
    let logs = site.logs();
    let shows = |site: &Site, whom: &str| {
        for (job, log) in logs.iter().step_by(40) {
            let shown = site.ask(whom, &["logs", job]);
            assert!(shown.as_bytes() == log, "the log of {job} at {whom}: {shown:?}\n{}", site.said());
        }
    };
    ["one", "two"].iter().for_each(|whom| shows(&site, whom));
    site.stop(0);
    site.stop(1);
    // With an object store each shows them though it is alone and has none of its own.
    std::fs::create_dir(site.path("objects")).unwrap();
    let url = format!("file://{}", site.path("objects").display());
    site.environment.push(("FORMWORK_OBJECT_STORE".to_owned(), url));
    site.start(0);
    site.start(1);
    let waits = |whom: &str| site.ask_json(whom, &["status"])["logs"]["objectStore"]["waiting"].clone();
    let objects = || std::fs::read_dir(site.path("objects")).unwrap().flatten().next().map(|it| it.path().join("logs"));
    let uploaded = || objects().and_then(|folder| Some(std::fs::read_dir(folder).ok()?.count()));
    site.until("all logs are uploaded", || uploaded() == Some(logs.len()) && waits("one") == 0 && waits("two") == 0);
    site.stop(0);
    site.stop(1);
    std::fs::remove_dir_all(site.path("two/logs")).unwrap();
    site.start(1);
    shows(&site, "two");
    site.stop(1);
    let leases = cluster.kubectl(&["-n", "together", "get", "leases", "-o", "name"]);
    assert_eq!(leases.trim(), "", "they said goodbye");

    let namespaces = Namespaces::of(&cluster);
    let evidence = site.evidence(MACHINES, &*namespaces.open("together"), logs);
    let wrong = violations(&evidence);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{MACHINES} runs done in {took:?}, {boots} boots, {} events, {} answers lost, two servers killed once each",
        evidence.events.len(),
        evidence.replies_dropped + evidence.questions_lost,
    );
}

#[test]
fn what_is_said_to_one_server_counts_for_the_other() {
    let Some(cluster) = common("two servers on one repository") else { return };
    let mut site = Site::new(&cluster, "one-word", 3);
    site.create();
    // Said again it changes nothing, and keys of another site are neither taken for these nor written over.
    site.create();
    let mut foreign = Command::new(env!("CARGO_BIN_EXE_formwork"));
    foreign.args(["site", "create", "fire", "--fresh", "--state-dir", "other"]).current_dir(site.folder.path());
    assert!(foreign.stdout(site.log("create.log")).status().unwrap().success());
    let authority = || std::fs::read(site.path("other/keys/authority.pem")).unwrap();
    let before = authority();
    std::fs::rename(site.path("other/store.redb"), site.path("store.redb")).unwrap();
    let mut shared = site.formwork(&["site", "create", "fire", "--fresh", "--shared", "--state-dir", "other"]);
    assert!(!shared.stderr(site.log("create.log")).status().unwrap().success(), "{}", site.said());
    assert!(authority() == before && site.said().contains("keys of another site"), "{}", site.said());
    // The second has no state directory yet, and takes the keys from beside the store.
    std::fs::remove_dir_all(site.path("two")).unwrap();
    site.start(0);
    site.start(1);
    let serves = |whom: &str| {
        let id = site.ask_json(whom, &["status"])["content"]["lastAppliedRevision"].clone();
        id.as_str().map(|id| site.subject(id)).unwrap_or_default()
    };
    let both_serve = |subject: &str| {
        site.until(subject, || ["one", "two"].iter().all(|whom| serves(whom) == subject));
    };
    both_serve("first");
    let edit = |subject: &str| {
        let path: &Path = &site.path("site/content.yaml");
        let more = format!(
            "---\napiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {{name: {subject}}}\n\
            spec: {{schema: {{type: string}}}}\n"
        );
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(more.as_bytes()).unwrap();
        site.commit(subject);
    };
    edit("second");
    both_serve("second");
    // Nothing is applied by either while one was told so.
    site.ask("one", &["suspend", "--reason", "night"]);
    edit("third");
    let suspended = |whom: &str| site.ask("two", &["status"]).contains("suspended") && serves(whom) == "second";
    site.until("the other knows", || suspended("two"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(suspended("one") && suspended("two"), "{}", site.said());
    site.ask("two", &["resume"]);
    both_serve("third");
    // Gone back to by one, by both.
    site.ask("two", &["rollback", "--reason", "slow"]);
    both_serve("second");
    site.ask("one", &["resume"]);
    both_serve("third");
    // One outcome a revision in the journal, whoever wrote it.
    let namespaces = Namespaces::of(&cluster);
    let events = check::events(&*namespaces.open("one-word"));
    let applied: Vec<_> = events
        .iter()
        .filter_map(|record| match &record.event {
            journal::Event::RevisionApplied { summary, .. } => Some(summary.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(applied, ["first", "second", "third", "second", "third"]);
    // A server that is to be alone takes the store, and both end.
    let alone = Options { sharing: Sharing::Alone, ..options() };
    let alone = KubernetesStore::open(namespaces.connect("one-word"), alone).unwrap();
    for server in &mut site.servers {
        let server = server.as_mut().unwrap();
        let began = Instant::now();
        while server.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    drop(alone);
    assert!(site.said().contains("a server that is to serve alone took over"), "{}", site.said());
}
