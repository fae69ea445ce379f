use super::*;
use crate::catalog::ServerInfo;
use crate::inspect::{Lacks, Subject, last_said};
use crate::journal::Event;
use crate::params::ClusterKeys;
use crate::wire::JobOutcome;
use crate::workflow::tests::world::{Content, PLAIN, World};
use crate::workflow::{Action, Running, Trust};

fn planned(world: &World) -> Plan {
    let none = ClusterKeys::default();
    world.look(last_said(&world.state), |question| {
        let subject = Subject { question: *question, records: &world.records, clusters: &none, lacks: Lacks::NOTHING };
        inspect::plan(&subject, &ServerInfo::default(), Values::Masked)
    })
}

#[test]
fn a_plan_says_boots_stages_what_changes_disks_and_what_would_stop_it() {
    let mut all = String::new();
    let mut show = |title: &str, world: &World| {
        all.push_str(&format!("== {title}\n{}\n", draw(&planned(world), Style::default())));
    };
    show("never seen", &World::new(&PLAIN));
    let protected = Content { machine: "workflow: walk, protect: true", ..PLAIN };
    show("protected", &World::new(&protected));
    let mut world = World::new(&PLAIN);
    world.trust = Trust::HoldUnknown;
    show("a store that does not know it", &world);
    let mut world = World::new(&PLAIN);
    world.boot();
    world.done();
    world.job();
    show("in the middle of a destructive task", &world);
    let mut world = World::new(&PLAIN);
    world.boot();
    world.fails();
    show("a task failed", &world);
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    show("all is done", &world);
    world.push("r2", &Content { machine: "workflow: other", ..PLAIN });
    show("another workflow by name", &world);
    world.push("r3", &Content { machine: "workflow: other, run: 2, wipe: true", ..PLAIN });
    show("and asked for", &world);
    world.event(Event::Quarantined { reason: "two keys".into() });
    show("in quarantine", &world);
    let missing = Content {
        machine: "workflow: walk",
        stages: &[("look", "bootEnv: ram, tasks: [see]"), ("use", "bootEnv: local, freshBoot: true, tasks: [join]")],
        tasks: &[
            ("see", "steps: [{name: s, script: 'formwork agent request reboot'}]"),
            ("join", "steps: [{name: s, script: 'true', if: \"facts.memory > 1\"}]"),
        ],
    };
    show("scripts that speak of a reboot, and what hangs on facts", &World::new(&missing));
    show("no workflow", &World::new(&Content { machine: "run: 1", ..PLAIN }));
    insta::assert_snapshot!(all);
}

/// What is planned is what happens: the same stages and tasks, in the same boots, when everything goes well.
#[test]
fn a_machine_that_is_walked_does_what_was_planned() {
    let contents = [
        PLAIN,
        Content {
            machine: "workflow: walk",
            stages: &[
                ("a", "bootEnv: ram, tasks: [x, y]"),
                ("b", "bootEnv: blue, tasks: [x]"),
                ("c", "freshBoot: true, tasks: [y]"),
                ("d", "bootEnv: local, tasks: [z]"),
                ("e", "bootEnv: ram, tasks: [z]"),
            ],
            tasks: &[("x", ""), ("y", ""), ("z", "")],
        },
    ];
    for content in &contents {
        let mut world = World::new(content);
        let plan = planned(&world);
        let mut expected = Vec::new();
        for boot in &plan.boots {
            expected.push(format!("boot {}", boot.environment));
            for stage in &boot.stages {
                expected.extend(stage.tasks.iter().map(|task| format!("{} {}", stage.name, task.name)));
            }
        }
        let mut happened = vec![format!("boot {}", world.boot())];
        loop {
            match world.agent().action {
                Action::Grant(grant) => {
                    world.granted(&grant);
                    let job = world.state.run.as_ref().and_then(|run| run.job.clone()).expect("an open job");
                    happened.push(format!("{} {}", job.stage, job.task));
                    world.end(JobOutcome::Done, &[]);
                    // From here on the plan is what is left.
                    let rest: usize =
                        planned(&world).boots.iter().flat_map(|boot| &boot.stages).map(|stage| stage.tasks.len()).sum();
                    let tasks = |lines: &[String]| lines.iter().filter(|line| !line.starts_with("boot ")).count();
                    assert_eq!(rest, tasks(&expected) - tasks(&happened), "{happened:?}");
                }
                Action::Reboot { .. } => happened.push(format!("boot {}", world.boot())),
                _ => break,
            }
        }
        assert_eq!(expected, happened);
    }
}

#[test]
fn planning_changes_nothing() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (before, running) = (world.state.clone(), matches!(last_said(&world.state), Running::Agent { .. }));
    planned(&world);
    assert!(running && before == world.state);
}

#[test]
fn what_the_server_lacks_would_stop_it() {
    let world = World::new(&PLAIN);
    let none = ClusterKeys::default();
    let files = [("a/vmlinuz".to_owned(), "a/vmlinuz is not in the image folder: put it there".to_owned())].into();
    let lacks = Lacks { files: &files, logs: Some("no log can be written") };
    let plan = world.look(last_said(&world.state), |question| {
        let subject = Subject { question: *question, records: &world.records, clusters: &none, lacks };
        inspect::plan(&subject, &ServerInfo::default(), Values::Masked)
    });
    let said: Vec<(Option<&str>, &str)> =
        plan.obstacles.iter().map(|it| (it.stage.as_deref(), it.reason.as_str())).collect();
    let kernel = "ram cannot be booted: a/vmlinuz is not in the image folder: put it there";
    assert_eq!(said, [(Some("look"), kernel), (None, "no log can be written")]);
    assert!(plan.ends.contains("run 1 is done"), "what lies behind it is planned: {}", plan.ends);
}
