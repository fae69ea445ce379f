use super::*;
use crate::catalog::testing::{compiled, edited, site};
use crate::inspect::{Lacks, Subject, last_said};
use crate::journal::{Ask, Event, MachineState};
use crate::params::ClusterKeys;
use crate::wire::{JobOutcome, JobRequest};
use crate::workflow::tests::world::{Content, MAC, PLAIN, World};
use crate::workflow::{Question, Running, Trust};

fn of(world: &World) -> String {
    let running = last_said(&world.state);
    let none = ClusterKeys::default();
    let why = world.look(running, |question| {
        inspect::why(&Subject { question: *question, records: &world.records, clusters: &none, lacks: Lacks::NOTHING })
    });
    let text = draw_why(&why, &Clock::fixed(world.now), Style::default());
    // What says so is always shown, and nothing is said twice.
    assert!(why.because.iter().all(|because| !because.text.is_empty()), "{text}");
    text
}

#[test]
fn a_machine_that_waits_says_for_what_and_what_that_rests_on() {
    let mut all = String::new();
    let mut show = |title: &str, world: &World| all.push_str(&format!("== {title}\n{}\n", of(world)));

    show("declared, never seen", &World::new(&PLAIN));

    let mut world = World::new(&PLAIN);
    world.trust = Trust::HoldUnknown;
    show("a store that does not know it", &world);

    let mut world = World::new(&Content { machine: "", ..PLAIN });
    world.event(Event::Enrolled { rule: "rule".into(), mac: MAC.into(), uuid: None, serial: None, architecture: None });
    show("enrolled by a rule", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.job();
    show("a job is open", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.fails();
    show("a task failed", &world);
    world.push("r2", &PLAIN);
    show("a newer revision does not mend it", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.job_ends(JobOutcome::Done, &[JobRequest::Stop]);
    show("a task asked to stop", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.done();
    world.push("r2", &Content { machine: "workflow: walk, protect: true", ..PLAIN });
    show("protected before a destructive stage", &world);

    let mut world = World::new(&PLAIN);
    world.walk_plain();
    show("all is done", &world);
    world.push("r2", &Content { machine: "workflow: other", ..PLAIN });
    world.firmware();
    world.boot();
    world.done();
    show("a destructive stage after a change by name", &world);

    let mut world = World::new(&PLAIN);
    for _ in 0..5 {
        world.offer();
    }
    show("scripts and no agent", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.event(Event::Quarantined { reason: "two keys used one ticket".into() });
    show("in quarantine", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.person(Ask::Reboot);
    show("a person asked for a reboot", &world);

    let mut world = World::new(&PLAIN);
    world.boot();
    world.push("r2", &Content { machine: "", ..PLAIN });
    show("gone from Git", &world);
    world.firmware();
    show("left", &world);
    insta::assert_snapshot!(all);
}

#[test]
fn whatever_happens_there_is_an_answer_and_evidence_for_it() {
    // Every step of a whole walk, with a failure in each task.
    for fails_at in 0..4 {
        let mut world = World::new(&PLAIN);
        let mut step = 0;
        for _ in 0..40 {
            let text = of(&world);
            assert!(text.contains("event ") || text.contains("rule: ") || text.contains("site.yaml:"), "{text}");
            match last_said(&world.state) {
                Running::Firmware => {
                    world.boot();
                }
                Running::Agent { .. } => match world.agent().action {
                    crate::workflow::Action::Grant(grant) => {
                        world.granted(&grant);
                        of(&world);
                        let outcome = if step == fails_at { JobOutcome::Failed } else { JobOutcome::Done };
                        world.end(outcome, &[]);
                        step += 1;
                    }
                    crate::workflow::Action::Reboot { .. } => {
                        world.boot();
                    }
                    _ => break,
                },
            }
        }
        assert_eq!(step, fails_at + 1);
    }
}

fn param(tree: &crate::content::Tree, name: &str, stage: Option<&str>) -> Result<ParamWhy, ParamError> {
    let catalog = compiled(tree).unwrap_or_else(|findings| panic!("{findings}"));
    let (state, clusters) = (MachineState::default(), ClusterKeys::default());
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
    inspect::param_why(&Subject { question, records: &[], clusters: &clusters, lacks: Lacks::NOTHING }, name, stage)
}

#[test]
fn a_param_says_who_gives_it_who_wins_and_where_that_stands() {
    let tree = edited(&[
        ("profiles/lab.yaml", "params: {timezone: UTC}", "params: {timezone: UTC, install-disk: /dev/sdb}"),
        ("workflows/node.yaml", "destructive: true", "destructive: true\n  params: {timezone: Europe/Berlin}"),
    ]);
    let mut all = draw_param(&param(&tree, "install-disk", None).unwrap(), Style::default());
    all.push('\n');
    all.push_str(&draw_param(&param(&tree, "timezone", None).unwrap(), Style::default()));
    all.push('\n');
    all.push_str(&draw_param(&param(&tree, "timezone", Some("join")).unwrap(), Style::default()));
    insta::assert_snapshot!(all);
}

#[test]
fn a_secret_is_never_shown_whoever_gives_it() {
    let declared = (
        "params/password.yaml",
        "%%kind: Param\nmetadata: {name: password}\nspec: {secret: true, default: of-the-default}\n",
    );
    let profile = |value: &str| {
        format!(
            "%%kind: Profile\nmetadata: {{name: lab-defaults}}\nspec:\n  params: {{timezone: UTC, password: {value}}}\n"
        )
    };
    // A declared secret; and one that is only known by a reference to it: then a plain value beside it may be the old one.
    for (extra, value) in [(Some(declared), "of-the-profile"), (None, "{secret: lab-password}")] {
        let profile = profile(value);
        let mut changes = vec![("profiles/lab.yaml", profile.as_str())];
        changes.extend(extra);
        let mut tree = site(&changes);
        let machine = edited(&[("machines/node-1.yaml", "params:\n", "params:\n    password: of-the-machine\n")]);
        tree.files.extend(machine.files.into_iter().filter(|(path, _)| path == "machines/node-1.yaml"));
        let found = param(&tree, "password", None).unwrap();
        let shown = draw_param(&found, Style::default()) + &serde_json::to_string(&found).unwrap();
        for value in ["of-the-machine", "of-the-profile", "of-the-default"] {
            assert!(!shown.contains(value), "{shown}");
        }
        assert!(found.secret && found.asked.iter().filter(|asked| asked.gives).count() >= 2, "{shown}");
    }
}

#[test]
fn a_param_that_nobody_knows_is_answered_with_the_nearest() {
    let tree = site(&[]);
    let error = param(&tree, "install-disc", None).unwrap_err();
    let error = not_found(error);
    assert_eq!((error.exit_code(), error.hint()), (3, Some("did you mean `install-disk`?")));
    assert!(matches!(param(&tree, "timezone", Some("nowhere")), Err(ParamError::NoStage { .. })));
}

#[test]
fn what_the_server_lacks_is_said_right_behind_the_answer() {
    let world = World::new(&PLAIN);
    let none = ClusterKeys::default();
    let files = [("a/vmlinuz".to_owned(), "a/vmlinuz is not in the image folder: put it there".to_owned())].into();
    let lacks = Lacks { files: &files, logs: None };
    let why = world.look(last_said(&world.state), |question| {
        inspect::why(&Subject { question: *question, records: &world.records, clusters: &none, lacks })
    });
    let text = draw_why(&why, &Clock::fixed(world.now), Style::default());
    let second = text.lines().nth(1);
    assert_eq!(second, Some("but ram cannot be booted: a/vmlinuz is not in the image folder: put it there"), "{text}");
}
