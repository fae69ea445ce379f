use super::*;
use crate::journal::Event;
use crate::workflow::tests::world::{Content, PLAIN, World};
use crate::workflow::{Trust, next};

fn stands(world: &World) -> (Standing, Option<Lag>, String) {
    let running = crate::inspect::last_said(&world.state);
    let standing = world.look(running, |question| standing(question, &next(question).action));
    (standing.standing, standing.lag, standing.message)
}

/// The task `check`, in another wording.
const OTHER: Content<'static> =
    Content { tasks: &[("see", ""), ("write", ""), ("check", "timeout: 7m"), ("join", "")], ..PLAIN };

const NOTHING_NEW: &Content<'static> = &PLAIN;

#[test]
fn each_machine_stands_to_git_as_the_journal_explains() {
    type Case<'a> = (&'a str, &'a dyn Fn(&mut World), Standing, Option<Lag>, &'a str);
    let in_run = |world: &mut World| {
        world.boot();
        world.done();
    };
    let cases: &[Case<'_>] = &[
        ("never seen", &|_| {}, Standing::NeverSeen, None, "declared, and never seen"),
        ("walking", &in_run, Standing::InStep, None, "walks run 1 of walk"),
        (
            "walking an older revision that says the same",
            &|world| {
                in_run(world);
                world.push("r2", NOTHING_NEW);
            },
            Standing::InStep,
            None,
            "walks run 1 of walk",
        ),
        (
            "walking an older revision that says something else",
            &|world| {
                in_run(world);
                world.push("r2", &OTHER);
            },
            Standing::Behind,
            Some(Lag::OlderRevision),
            "run 1 is pinned to revision r1; in the newest, task check was changed",
        ),
        (
            "walking a revision that is lost",
            &|world| {
                in_run(world);
                world.push("r2", NOTHING_NEW);
                world.lose("r1");
            },
            Standing::Behind,
            Some(Lag::OlderRevision),
            "run 1 is pinned to revision r1, which cannot be read any more",
        ),
        (
            "failed",
            &|world| {
                in_run(world);
                world.fails();
            },
            Standing::Behind,
            Some(Lag::Failed),
            "task write: failed: exit code 1",
        ),
        (
            "held before a destructive stage",
            &|world| {
                in_run(world);
                world.push("r2", &Content { machine: "workflow: walk, protect: true", ..PLAIN });
            },
            Standing::Behind,
            Some(Lag::Held),
            "spec.protect",
        ),
        (
            "diverged",
            &|world| {
                in_run(world);
                let (run, revision) = (1, "r1".to_owned());
                world.event(Event::RunDiverged { run, revision, reason: "task see differs".into() });
            },
            Standing::Behind,
            Some(Lag::Diverged),
            "run 1 has diverged: task see differs",
        ),
        (
            "overdue",
            &|world| {
                in_run(world);
                world.event(Event::Overdue { reason: "its agent is silent".into() });
            },
            Standing::Behind,
            Some(Lag::Overdue),
            "its agent is silent",
        ),
        (
            "in quarantine",
            &|world| {
                in_run(world);
                world.event(Event::Quarantined { reason: "two keys".into() });
            },
            Standing::Behind,
            Some(Lag::Quarantine),
            "in quarantine: two keys",
        ),
        ("done", &|world| world.walk_plain(), Standing::InStep, None, "run 1"),
        (
            "cancelled",
            &|world| {
                in_run(world);
                let reason = "wrong rack".to_owned();
                world.event(Event::RunCancelled { run: 1, by: "ann".into(), reason });
            },
            Standing::Behind,
            Some(Lag::Cancelled),
            "run 1 was cancelled before its end",
        ),
        (
            "gone from Git",
            &|world| {
                in_run(world);
                world.push("r2", &Content { machine: "", ..PLAIN });
                world.firmware();
            },
            Standing::Left,
            None,
            "gone from Git",
        ),
        (
            "known to the store, not to be started by it",
            &|world| {
                world.trust = Trust::HoldUnknown;
                world.offer();
            },
            Standing::Behind,
            Some(Lag::NotAdopted),
            "this store has no journal for it",
        ),
        (
            "taken over",
            &|world| {
                world.event(Event::Adopted {
                    by: "ann".into(),
                    run: 1,
                    workflow: Some("walk".into()),
                    macs: Vec::new(),
                    reason: String::new(),
                });
            },
            Standing::InStep,
            None,
            "taken over as it is",
        ),
        (
            "taken over with a run that is lower than what Git asks for",
            &|world| {
                let workflow = Some("walk".to_owned());
                let (by, macs, reason) = ("ann".to_owned(), Vec::new(), String::new());
                world.event(Event::Adopted { by, run: 1, workflow, macs, reason });
                world.push("r2", &Content { machine: "workflow: walk, run: 2, wipe: true", ..PLAIN });
            },
            Standing::InStep,
            None,
            "run 2 begins at its next word",
        ),
        (
            "cancelled, with a raised number since",
            &|world| {
                in_run(world);
                let reason = "wrong rack".to_owned();
                world.event(Event::RunCancelled { run: 1, by: "ann".into(), reason });
                world.push("r2", &Content { machine: "workflow: walk, run: 2", ..PLAIN });
            },
            Standing::InStep,
            None,
            "run 2 begins at its next word",
        ),
        (
            "restored from a backup",
            &|world| {
                in_run(world);
                world.event(Event::StoreRestored { backup_unix_ms: 5 });
            },
            Standing::Behind,
            Some(Lag::NotAdopted),
            "the store came back from a backup",
        ),
    ];
    for (name, happens, expected, lag, message) in cases {
        let mut world = World::new(&PLAIN);
        happens(&mut world);
        let (standing, why, said) = stands(&world);
        assert_eq!((standing, why), (*expected, *lag), "{name}: {said}");
        assert!(said.contains(message), "{name}: {said}");
    }
}

/// All of the run is done, and that is written down.
fn finished() -> World {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    let run = world.state.run.as_ref().expect("a run");
    if run.is_open() {
        world.event(Event::RunFinished { run: 1 });
    }
    world
}

#[test]
fn a_machine_that_was_built_from_something_else_is_behind_until_it_is_built_anew() {
    let mut world = finished();
    assert_eq!(stands(&world).0, Standing::InStep);
    world.push("r2", NOTHING_NEW);
    assert_eq!(stands(&world).0, Standing::InStep, "another commit says the same for it");
    world.push("r3", &OTHER);
    let (standing, lag, message) = stands(&world);
    assert_eq!((standing, lag), (Standing::Behind, Some(Lag::ChangedSince)));
    let expected = "run 1 was done on revision r1, and task check was changed since; spec.run above 1 builds it anew";
    assert_eq!(message, expected);
    world.event(Event::Adopted {
        by: "ann".into(),
        run: 1,
        workflow: Some("walk".into()),
        macs: Vec::new(),
        reason: String::new(),
    });
    assert_eq!(stands(&world).0, Standing::InStep, "a person said that it is as it should be");
}

#[test]
fn a_box_that_git_does_not_know_is_unknown() {
    let mut world = World::new(&Content { machine: "", ..PLAIN });
    assert_eq!(stands(&world).0, Standing::Unknown);
    world.push("r2", &PLAIN);
    assert_eq!(stands(&world).0, Standing::NeverSeen);
}
