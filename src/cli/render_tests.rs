use super::*;
use crate::catalog::testing::{compiled, edited, site};
use crate::inspect::{Lacks, Subject};
use crate::params::ClusterKeys;
use crate::workflow::{Question, Running, Trust};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

fn rendered_of(tree: &crate::content::Tree, what: What, open: bool) -> Result<Rendered, WhatError> {
    let catalog = compiled(tree).unwrap_or_else(|findings| panic!("{findings}"));
    let mut state = MachineState::default();
    Arc::make_mut(&mut state.facts).insert("memory".into(), 5.into());
    let clusters = ClusterKeys::from([(
        "etcd-lab".to_owned(),
        serde_json::json!({"initial-cluster": "a=http://a"}).as_object().cloned().unwrap(),
    )]);
    let question = Question {
        machine: "node-1",
        current: Some(&catalog),
        view: catalog.machine("node-1"),
        pinned: None,
        state: &state,
        running: Running::Firmware,
        trust: Trust::New,
        now_unix_ms: 0,
    };
    let secret = |_: &str, value: &Value| {
        Ok(if secret_name(value).is_some() { Value::String("the-secret".into()) } else { value.clone() })
    };
    let server = server("lab");
    let values = if open { Values::Open(&secret) } else { Values::Masked };
    let asked = RenderQuestion { what, values, server: &server, firmware: None, architecture: None };
    inspect::render(&Subject { question, records: &[], clusters: &clusters, lacks: Lacks::NOTHING }, &asked)
}

#[test]
fn a_machine_is_shown_what_it_would_get() {
    let all = rendered_of(&site(&[]), What::All, false).unwrap();
    assert_eq!(all.errors(), 0);
    insta::assert_snapshot!(draw(&all, Style::default()));
}

#[test]
fn now_is_the_next_boot_and_the_job_after_it() {
    let now = rendered_of(&site(&[]), What::Now, false).unwrap();
    let boots: Vec<_> = now.boots.iter().map(|boot| boot.environment.as_deref().unwrap_or_default()).collect();
    let jobs: Vec<_> = now.jobs.iter().map(|job| job.task.as_str()).collect();
    assert_eq!((boots, jobs), (vec!["hardware.discovery"], vec!["hardware.inventory"]));
}

/// A site with a secret among the params of a task, in a template and in a kernel command line.
fn secretive() -> crate::content::Tree {
    edited(&[
        ("profiles/lab.yaml", "{timezone: UTC}", "{timezone: UTC, password: {secret: lab-password}, plain: in-git}"),
        (
            "packs/etcd/tasks/join.yaml",
            "    - {name: timezone}",
            "    - {name: timezone}\n    - {name: password}\n    - {name: plain}",
        ),
        ("packs/etcd/templates/defaults.j2", "# {{ machine.name }}", "# {{ params.password }} {{ params.plain }}"),
        (
            "packs/etcd/pack.yaml",
            "kind: Pack",
            "kind: Param\nmetadata: {name: plain}\nspec: {secret: true}\n---\napiVersion: formwork.dev/v1alpha1\nkind: Pack",
        ),
    ])
}

#[test]
fn secrets_are_masked_unless_asked_for_and_then_files_are_their_owners_alone() {
    let task = || What::Task("join".into());
    let masked = rendered_of(&secretive(), task(), false).unwrap();
    let text = draw(&masked, Style::default()) + &serde_json::to_string(&masked).unwrap();
    assert!(!text.contains("the-secret") && !text.contains("in-git"), "{text}");
    assert!(text.contains("# (secret lab-password) (hidden)"), "{text}");
    assert_eq!(
        masked.jobs.first().map(|job| job.masked.clone()),
        Some(vec!["password".to_owned(), "plain".to_owned()])
    );
    let open = rendered_of(&secretive(), task(), true).unwrap();
    assert!(draw(&open, Style::default()).contains("# the-secret in-git"));
    for (rendered, others) in [(masked, 0o044), (open, 0)] {
        let folder = tempfile::tempdir().unwrap();
        write_all(&rendered, folder.path(), Output { chosen: None, terminal: false, colour: false }).unwrap();
        for piece in pieces(&rendered) {
            let path = folder.path().join(&piece.path);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o044, others, "{}", path.display());
        }
    }
}

#[test]
fn no_name_in_content_leads_out_of_the_folder() {
    let mut rendered = rendered_of(&site(&[]), What::All, false).unwrap();
    for job in &mut rendered.jobs {
        job.stage = "../../stage".into();
        for step in &mut job.steps {
            step.name = "../x/y".into();
            if let StepAction::File { to, .. } = &mut step.action {
                *to = "/etc/../../../outside".into();
            }
        }
    }
    for piece in pieces(&rendered) {
        let path = piece.path.display().to_string();
        assert!(piece.path.components().all(|part| matches!(part, Component::Normal(_))), "{path}");
    }
}

#[test]
fn what_cannot_be_rendered_is_said_in_its_place_with_what_to_do() {
    let tree = edited(&[("packs/etcd/pack.yaml", "etcd-data-dir: /var/lib/etcd", "other: x")]);
    let tree = {
        let mut tree = tree;
        let task = edited(&[("packs/etcd/tasks/join.yaml", "if: params.timezone == 'UTC'", "if: facts.disks > 0")]);
        tree.files.extend(task.files.into_iter().filter(|(path, _)| path == "packs/etcd/tasks/join.yaml"));
        tree
    };
    // A missing param may be a finding of the compiler already; then there is nothing to render at all.
    let Ok(_) = compiled(&tree) else { return };
    let rendered = rendered_of(&tree, What::Task("etcd.join".into()), false).unwrap();
    assert_eq!(rendered.errors(), 1);
}

#[test]
fn a_stage_that_is_not_there_is_answered_with_the_nearest() {
    let hint = |what| match rendered_of(&site(&[]), what, false).map(|_| ()) {
        Err(WhatError::Unknown { hint, .. }) => hint,
        other => panic!("{other:?}"),
    };
    assert_eq!(hint(What::Stage("instal".into())).as_deref(), Some("did you mean `install`?"));
    assert_eq!(hint(What::Task("joim".into())).as_deref(), Some("did you mean `join`?"));
}
