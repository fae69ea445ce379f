use super::*;
use crate::catalog::Catalog;
use crate::workflow::tests::world::{Content, NODE, PLAIN, World};

/// What follows for the one machine of the world when this is pushed.
fn pushed(world: &World, content: &Content<'_>) -> Change {
    let new = content.compile("new");
    live(world, Some(&new))
}

fn live(world: &World, new: Option<&Catalog>) -> Change {
    let states = [(NODE.to_owned(), Arc::new(world.state.clone()))].into();
    let known = Knowledge::Journal { states, trust: world.trust, renamed: BTreeMap::new() };
    let mut pinned = BTreeMap::new();
    if let Some(run) = world.state.run.as_ref().filter(|run| run.is_open()) {
        pinned.extend(world.compiled(&run.revision).map(|catalog| (run.revision.clone(), catalog)));
    }
    let old = world.catalog();
    let new = new.or(old).unwrap();
    change(&Question { old, new, known: &known, pinned: &pinned, now_unix_ms: world.now })
}

fn drawn(change: &Change) -> String {
    draw(change, Drawing { width: Some(100), ..Drawing::default() })
}

/// The machine of the world has walked all of [`PLAIN`].
fn walked() -> World {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    world
}

const fn says(machine: &'static str) -> Content<'static> {
    Content { machine, ..PLAIN }
}

const FIXED: &[(&str, &str)] =
    &[("see", "steps: [{name: s, script: 'exit 0'}]"), ("write", ""), ("check", ""), ("join", "")];
const OTHER_LAST: &[(&str, &str)] =
    &[("see", ""), ("write", ""), ("check", ""), ("join", "steps: [{name: s, script: 'exit 0'}]")];

#[test]
fn what_follows_is_what_the_rules_say() {
    let unseen = || World::new(&PLAIN);
    let unseen_by_a_strange_store = || {
        let mut world = unseen();
        world.trust = Trust::HoldUnknown;
        world
    };
    let failed = || {
        let mut world = unseen();
        world.boot();
        world.fails();
        world
    };
    let failed_later = || {
        let mut world = unseen();
        world.boot();
        world.done();
        world.fails();
        world
    };
    let working = || {
        let mut world = unseen();
        world.boot();
        world.done();
        world
    };
    let protected = || {
        let mut world = World::new(&says("workflow: walk, protect: true"));
        world.boot();
        world.done();
        world
    };
    let fixed = |machine| Content { machine, tasks: FIXED, ..PLAIN };
    type Case<'a> = (&'a str, World, Content<'a>, Option<Follows>, bool);
    let cases: Vec<Case<'_>> = vec![
        ("the same", walked(), PLAIN, None, false),
        ("the run is raised", walked(), says("workflow: walk, run: 2"), Some(Follows::Reinstalled), true),
        (
            "and foreign disks too",
            walked(),
            says("workflow: walk, run: 2, wipe: true"),
            Some(Follows::Reinstalled),
            true,
        ),
        (
            "raised under protection",
            walked(),
            says("workflow: walk, run: 2, protect: true"),
            Some(Follows::Waits),
            false,
        ),
        ("another workflow by name", walked(), says("workflow: other"), Some(Follows::Waits), false),
        ("both", walked(), says("workflow: other, run: 2"), Some(Follows::Reinstalled), true),
        ("a lower run", walked(), says("workflow: walk, run: 0"), Some(Follows::Values), false),
        ("a task that was done", walked(), fixed("workflow: walk"), Some(Follows::Values), false),
        ("no workflow", walked(), says("run: 1"), Some(Follows::Values), false),
        ("no machine", walked(), says(""), Some(Follows::Leaves), false),
        ("wipe alone", walked(), says("workflow: walk, wipe: true"), Some(Follows::Values), false),
        ("never seen, raised", unseen(), says("workflow: walk, run: 2"), Some(Follows::Installed), false),
        ("never seen, the same", unseen(), PLAIN, None, false),
        ("never seen, gone", unseen(), says(""), Some(Follows::Leaves), false),
        ("held, raised", unseen_by_a_strange_store(), says("workflow: walk, run: 2"), Some(Follows::Values), false),
        ("failed, fixed", failed(), fixed("workflow: walk"), Some(Follows::Resumes), false),
        ("failed, something else", failed(), Content { tasks: OTHER_LAST, ..PLAIN }, Some(Follows::Values), false),
        (
            "failed later, what was done changed",
            failed_later(),
            fixed("workflow: walk"),
            Some(Follows::Diverges),
            false,
        ),
        (
            "in the middle, another task",
            working(),
            Content { tasks: OTHER_LAST, ..PLAIN },
            Some(Follows::Values),
            false,
        ),
        ("in the middle, protected", working(), says("workflow: walk, protect: true"), Some(Follows::Waits), false),
        ("in the middle, let go", protected(), PLAIN, Some(Follows::Reinstalled), true),
        ("in the middle, no workflow", working(), says("run: 1"), Some(Follows::Cancelled), false),
        ("in the middle, gone", working(), says(""), Some(Follows::Leaves), false),
        ("in the middle, raised", working(), says("workflow: walk, run: 5"), Some(Follows::Reinstalled), true),
    ];
    let (mut all, mut wrong) = (String::new(), Vec::new());
    for (title, world, content, expected, wiped) in cases {
        let change = pushed(&world, &content);
        let machine = change.machines.first();
        let found = (machine.map(|machine| machine.follows), machine.is_some_and(|machine| machine.wiped));
        if found != (expected, wiped) {
            wrong.push(format!("{title}: {found:?} is not {:?}\n{}", (expected, wiped), drawn(&change)));
        }
        all.push_str(&format!("== {title}\n{}\n", drawn(&change)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.contains("== the same\nnothing changes"), "{all}");
}

/// Without a journal a machine has done what the old revision says, or is new.
#[test]
fn without_a_journal_machines_have_done_what_the_old_revision_says() {
    let (none, pinned) = (Knowledge::Nothing, BTreeMap::new());
    let between = |old: Option<&Content<'_>>, new: &Content<'_>| {
        let (old, new) = (old.map(|old| old.compile("old")), new.compile("new"));
        change(&Question { old: old.as_ref(), new: &new, known: &none, pinned: &pinned, now_unix_ms: 0 })
    };
    let follows = |change: &Change| change.machines.first().map(|machine| (machine.follows, machine.wiped));
    assert_eq!(follows(&between(Some(&PLAIN), &PLAIN)), None);
    assert_eq!(follows(&between(None, &PLAIN)), Some((Follows::Installed, false)));
    assert_eq!(follows(&between(Some(&says("")), &PLAIN)), Some((Follows::Installed, false)));
    assert_eq!(follows(&between(Some(&says("run: 1")), &PLAIN)), Some((Follows::Installed, false)));
    let raised = between(Some(&PLAIN), &says("workflow: walk, run: 2"));
    assert_eq!(follows(&raised), Some((Follows::Reinstalled, true)));
    assert_eq!(follows(&between(Some(&PLAIN), &says(""))), Some((Follows::Leaves, false)));
}
