//! How machines stand to Git, counted and listed.

use super::{GONE, SITE, Site};
use crate::api::views::{List, MachineDetail, MachineSummary, Phase};
use crate::inspect::{MachineStanding, Standing};
use crate::journal::{Ask, Event};

impl Site {
    async fn drift(&self) -> Vec<MachineStanding> {
        let answer = self.administrator("GET", "/v1/drift", "/v1/drift", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str::<List<MachineStanding>>(&answer.body).expect("a list").items
    }

    /// Asks how the site stands; how many machines had to be thought about for it.
    async fn thought_for_status(&self) -> u64 {
        let before = self.standings.thought();
        let answer = self.administrator("GET", "/v1/status", "/v1/status", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.standings.thought() - before
    }
}

#[tokio::test]
async fn a_question_about_the_site_costs_what_happened_since_the_one_before() {
    let site = Site::start().await;
    let fleet = site.lab.fleet();
    // In files of their own: what stands in site.yaml is read anew each time.
    let declare = |number: usize, label: &str| {
        let text = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: own-{number}, labels: {{a: {label}}}}}\n\
             spec: {{match: {{macs: ['52:54:00:00:01:{number}']}}, workflow: walk}}\n"
        );
        std::fs::write(site.lab.folder().join(format!("own-{number}.yaml")), text).expect("written");
    };
    (10..30).for_each(|number| declare(number, "b"));
    site.lab.until(|catalog| (10..30).all(|number| catalog.machine(&format!("own-{number}")).is_some())).await;
    assert_eq!(site.thought_for_status().await, 25, "of each machine once");
    let first = site.drift().await;
    assert_eq!(site.thought_for_status().await, 0);
    site.lab
        .event(&fleet.entry("one"), Event::Asked { by: "anna".into(), what: Ask::Retry, reason: String::new() })
        .await;
    assert_eq!(site.thought_for_status().await, 1);
    let before = fleet.current().expect("a revision");
    declare(17, "c");
    let labelled = |view: &crate::catalog::MachineView| view.labels.get("a").is_some_and(|label| label == "c");
    site.lab.until(|catalog| catalog.machine("own-17").is_some_and(labelled)).await;
    let after = fleet.current().expect("a revision");
    site.standings.revise(&before, &after);
    assert_eq!(site.thought_for_status().await, 6, "the one, the four of site.yaml, and the one that left");
    // What is remembered is what is thought anew.
    let remembered = site.drift().await;
    site.standings.forget_all();
    assert_eq!(site.drift().await, remembered);
    assert_eq!(first.len(), remembered.len());
    // One that changes everything costs everything.
    site.lab.write(&format!("{SITE}{GONE}").replace("size: 1", "size: 2"));
    site.lab.until(|catalog| catalog.machine("gone").is_some()).await;
    site.standings.revise(&after, &fleet.current().expect("a revision"));
    assert!(site.thought_for_status().await > 2);
}

#[tokio::test]
async fn a_box_that_a_declaration_takes_over_stands_once_and_was_seen() {
    let site = Site::start().await;
    let rule = "---
kind: Enrollment
metadata: {name: rule}
spec: {match: {macPrefixes: ['52:54:00:00:09']}, name: \"x-{{ mac | replace(':', '') }}\", workflow: walk}
";
    site.lab.write(&format!("{SITE}{rule}"));
    site.lab.until(|catalog| catalog.enrollments().next().is_some()).await;
    let hardware = crate::wire::HardwareIdentity { macs: vec!["52:54:00:00:09:01".into()], uuid: None, serial: None };
    let entry = site.lab.machine(&hardware).await;
    let enrolled = entry.name.clone();
    site.lab.boots(&entry).await;
    site.lab.event(&entry, Event::RunFinished { run: 1 }).await;
    let declared = "---
kind: Machine
metadata: {name: renamed}
spec: {match: {macs: ['52:54:00:00:09:01']}, workflow: walk, run: 2, wipe: true}
";
    site.lab.write(&format!("{SITE}{rule}{declared}"));
    site.lab.until(|catalog| catalog.machine("renamed").is_some()).await;
    let drift = site.drift().await;
    assert!(drift.iter().all(|row| row.name != enrolled), "{drift:?}");
    let row = drift.iter().find(|row| row.name == "renamed").expect("a row");
    assert!(row.standing != Standing::NeverSeen, "{row:?}");
    assert_eq!(row.message, format!("run 2 begins at its next word; it is {enrolled} until its next word"));
    assert!(row.is_called(&enrolled), "{row:?}");
    assert!(!site.lab.fleet().entry("renamed").state().is_known(), "nothing is written down by looking");
    // So it does where what is to come is shown, by either of its names, and among those that walk a workflow.
    for name in ["renamed", enrolled.as_str()] {
        let path = format!("/v1/machines/{name}/plan");
        let plan = site.administrator("GET", "/v1/machines/{name}/plan", &path, "").await;
        assert_eq!(plan.status, 200, "{plan:?}");
        let plan: crate::inspect::Plan = serde_json::from_str(&plan.body).expect("a plan");
        assert_eq!((plan.machine.as_str(), plan.former.as_deref()), ("renamed", Some(enrolled.as_str())));
    }
    // And in the list of machines, in its own page and in why.
    let list = site.administrator("GET", "/v1/machines", "/v1/machines", "").await;
    let list: List<MachineSummary> = serde_json::from_str(&list.body).expect("a list");
    assert!(list.items.iter().all(|row| row.name != enrolled), "{:?}", list.items);
    let listed = list.items.iter().find(|row| row.name == "renamed").expect("a row");
    assert_eq!((listed.phase, listed.former.as_deref()), (Phase::Waiting, Some(enrolled.as_str())));
    assert_eq!(listed.waits_for, "its next word, with which run 2 begins");
    for name in ["renamed", enrolled.as_str()] {
        let path = format!("/v1/machines/{name}");
        let own = site.administrator("GET", "/v1/machines/{name}", &path, "").await;
        let own: MachineDetail = serde_json::from_str(&own.body).expect("a machine");
        assert_eq!(own.summary, *listed);
        let path = format!("/v1/machines/{name}/why");
        let why = site.administrator("GET", "/v1/machines/{name}/why", &path, "").await;
        let why: crate::inspect::Why = serde_json::from_str(&why.body).expect("why");
        assert!(why.machine == "renamed" && why.answer.contains("run 2 of walk begins at its next word"), "{why:?}");
        assert!(why.because.iter().any(|it| it.text.starts_with(&format!("it is {enrolled} until"))), "{why:?}");
        assert!(why.because.iter().all(|it| !it.text.contains("a person")), "{why:?}");
    }
    let tree = site.administrator("GET", "/v1/tree", "/v1/tree", "").await;
    let tree: crate::inspect::SiteTree = serde_json::from_str(&tree.body).expect("a tree");
    let walkers: Vec<&String> = tree.workflows.iter().flat_map(|workflow| &workflow.machines).collect();
    assert!(walkers.iter().any(|name| *name == "renamed") && walkers.iter().all(|name| **name != enrolled), "{tree:?}");
    assert_eq!(tree.formers.get("renamed"), Some(&enrolled));
}
