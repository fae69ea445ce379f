use super::*;
use crate::catalog::{Catalog, from_tree};
use crate::content::Tree;
use crate::inspect::{Imagined, Plan, foresee, last_said};
use crate::workflow::Running;
use crate::workflow::tests::world::{Content, NODE, PLAIN, World};
use proptest::prelude::*;

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
    insta::assert_snapshot!(all);
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

const MACHINE: &[&str] = &[
    "workflow: walk",
    "workflow: walk, run: 2",
    "workflow: walk, protect: true",
    "workflow: walk, wipe: true",
    "workflow: other",
    "run: 1",
    "",
];
const STAGES: &[&[(&str, &str)]] = &[
    PLAIN.stages,
    &[("look", "bootEnv: ram, tasks: [see]"), ("use", "bootEnv: local, tasks: [join]")],
    &[
        ("look", "bootEnv: ram, tasks: [see], freshBoot: true"),
        ("install", "bootEnv: blue, tasks: [write, check], destructive: true"),
        ("use", "bootEnv: local, tasks: [join]"),
    ],
];
const TASKS: &[&[(&str, &str)]] = &[PLAIN.tasks, FIXED, OTHER_LAST];

fn content() -> impl Strategy<Value = Content<'static>> {
    (0..MACHINE.len(), 0..STAGES.len(), 0..TASKS.len()).prop_map(|(machine, stages, tasks)| Content {
        machine: MACHINE[machine],
        stages: STAGES[stages],
        tasks: TASKS[tasks],
    })
}

/// A world in which something happened, of at most so many steps.
fn lived(content: &Content<'_>, steps: &[u8]) -> World {
    let mut world = World::new(content);
    if content.machine.is_empty() {
        return world;
    }
    for step in steps {
        match step {
            0 => drop(world.offer()),
            1 => {
                if let Some(environment) = world.offer() {
                    world.check_in(&environment);
                }
            }
            2 | 3 if matches!(world.try_agent(), Some(crate::workflow::Action::Grant(_))) => {
                if *step == 2 {
                    world.done();
                } else {
                    world.fails();
                }
            }
            _ => {}
        }
    }
    world
}

/// What a revision leads to, without its name.
fn leads_to(world: &World, catalog: &Catalog) -> (String, Option<Plan>) {
    let view = crate::inspect::view_on(catalog, NODE, &world.state);
    let pinned = world.state.run.as_ref().and_then(|run| world.compiled(&run.revision));
    let mut question = crate::workflow::Question {
        machine: NODE,
        current: Some(catalog),
        view: view.as_deref(),
        pinned: pinned.as_deref(),
        state: &world.state,
        running: Running::Firmware,
        trust: world.trust,
        now_unix_ms: world.now,
    };
    let (written, next) = Imagined::of(&question).firmware();
    question.running = last_said(&world.state);
    let mut plan = foresee(&question);
    plan.revision = None;
    plan.run_revision = None;
    (format!("{written:?} {next:?}").replace(&*catalog.revision, "REVISION"), Some(plan))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_said_to_be_untouched_really_is(
        old in content(),
        new in content(),
        steps in prop::collection::vec(0..4_u8, 0..12),
    ) {
        let world = lived(&old, &steps);
        let new = new.compile("new");
        let told = live(&world, Some(&new));
        if told.machines.is_empty() {
            let current = world.catalog().unwrap();
            prop_assert_eq!(leads_to(&world, current), leads_to(&world, &new));
        }
        // And nothing follows from going to what is there.
        let same = old.compile("same");
        let nothing = live(&world, Some(&same));
        prop_assert!(nothing.is_empty(), "{}", drawn(&nothing));
    }
}

const SITE: &str = "kind: Site\nmetadata: {name: lab}\nspec: {}
---
kind: Param\nmetadata: {name: password}\nspec: {secret: true, default: hunter0}
---
kind: Param\nmetadata: {name: zone}\nspec: {schema: {type: string}, default: UTC}
---
kind: Profile\nmetadata: {name: base}\nspec:\n  params: {password: hunter1, zone: UTC}
---
kind: ClusterProfile\nmetadata: {name: etcd}\nspec: {size: 3, keys: [{name: a}, {name: b}]}
---
kind: BootEnv\nmetadata: {name: ram}\nspec: {architectures: {x86_64: {kernel: {file: a/vmlinuz}}}}
---
kind: Task\nmetadata: {name: look}\nspec:\n  params: [{name: zone}]\n  steps: [{name: s, script: 'true'}]
---
kind: Stage\nmetadata: {name: look}\nspec: {bootEnv: ram, tasks: [look]}
---
kind: Workflow\nmetadata: {name: walk}\nspec: {stages: [look]}
---
kind: Machine\nmetadata: {name: a1}\nspec: {match: {macs: ['52:54:00:00:00:01']}, profiles: [base, etcd], workflow: walk}
---
kind: Machine\nmetadata: {name: a2}\nspec: {match: {macs: ['52:54:00:00:00:02']}, profiles: [base], workflow: walk}
---
kind: Machine\nmetadata: {name: a3}\nspec: {match: {macs: ['52:54:00:00:00:03']}, workflow: walk}
";

fn compiled(text: &str, revision: &str) -> Catalog {
    let head = "apiVersion: formwork.dev/v1alpha1";
    let text = format!("\n{text}").replace("\nkind:", &format!("\n{head}\nkind:"));
    from_tree(&Tree::from_texts([("site.yaml", text)]), &BTreeMap::new(), revision)
        .unwrap_or_else(|all| panic!("{all}"))
}

fn edited(edits: &[(&str, &str)]) -> Change {
    let mut text = SITE.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let (old, new) = (compiled(SITE, "old"), compiled(&text, "new"));
    change(&Question {
        old: Some(&old),
        new: &new,
        known: &Knowledge::Nothing,
        pinned: &BTreeMap::new(),
        now_unix_ms: 0,
    })
}

#[test]
fn objects_fields_values_and_clusters_are_told_and_no_secret_is() {
    let mut all = String::new();
    for (title, edits) in [
        ("a profile's params", &[("hunter1, zone: UTC", "hunter2, zone: CET")][..]),
        ("a param's default", &[("default: hunter0", "default: hunter3"), ("default: UTC", "default: CET")]),
        ("a secret no more", &[("secret: true, default: hunter0", "default: hunter4"), ("hunter1", "hunter5")]),
        ("a task's script", &[("script: 'true'", "script: 'exit 0'")]),
        (
            "a cluster built anew",
            &[("{size: 3, keys: [{name: a}, {name: b}]}", "{size: 5, run: 2, keys: [{name: b}, {name: c}]}")],
        ),
        (
            "members",
            &[
                ("profiles: [base, etcd]", "profiles: [base]"),
                ("profiles: [base], workflow", "profiles: [etcd], workflow"),
            ],
        ),
        ("a machine for another", &[("name: a3", "name: b3")]),
        (
            "comments and places",
            &[("kind: Param\nmetadata: {name: zone}", "\n\n# where it is\nkind: Param\nmetadata: {name: zone}")],
        ),
    ] {
        all.push_str(&format!("== {title}\n{}\n", drawn(&edited(edits))));
    }
    assert!(!all.contains("hunter"), "{all}");
    let json = serde_json::to_string(&edited(&[("hunter1", "hunter2"), ("hunter0", "hunter6")])).unwrap();
    assert!(!json.contains("hunter"), "{json}");
    insta::assert_snapshot!(all);
}

#[test]
fn a_drawing_fits_its_width_and_has_colour_only_where_it_is_welcome() {
    let change =
        edited(&[("script: 'true'", "script: 'exit 0'"), ("zone: UTC}", "zone: CET}"), ("size: 3", "size: 5, run: 7")]);
    for width in [20, 30, 40, 80] {
        let drawn = draw(&change, Drawing { width: Some(width), ..Drawing::default() });
        let most = drawn.lines().map(|line| line.chars().count()).max();
        // What stands far in has twenty columns at least.
        assert!(most <= Some(width.max(26)), "{width}:\n{drawn}");
        assert!(!drawn.contains('\x1b'), "{drawn}");
    }
    let coloured = draw(&change, Drawing { colour: true, ..Drawing::default() });
    assert!(coloured.contains("\x1b[31m") && coloured.contains("\x1b[0m"), "{coloured}");
    let short = draw(&change, Drawing { lines_max: 1, ..Drawing::default() });
    assert!(short.contains("and 2 more objects"), "{short}");
}

#[test]
fn a_machine_that_goes_on_under_a_new_name_is_told_as_such() {
    let mut world = walked();
    let state = Arc::new(std::mem::take(&mut world.state));
    let old = PLAIN.compile("old");
    let new = says("").compile("new");
    let states = [(NODE.to_owned(), state)].into();
    let renamed = [("other".to_owned(), NODE.to_owned())].into();
    let known = Knowledge::Journal { states, trust: Trust::New, renamed };
    let change =
        change(&Question { old: Some(&old), new: &new, known: &known, pinned: &BTreeMap::new(), now_unix_ms: 0 });
    assert!(drawn(&change).contains("it goes on as other"), "{}", drawn(&change));
}

#[test]
fn ten_thousand_machines_are_told_of() {
    let site = |run: u64| {
        let mut text = SITE.to_owned();
        for number in 0..10_000 {
            text.push_str(&format!(
                "---\nkind: Machine\nmetadata: {{name: n{number}}}\nspec: {{match: {{macs: ['52:54:01:00:{:02x}:{:02x}']}}, \
                 profiles: [base], workflow: walk, run: {run}}}\n",
                number / 256,
                number % 256
            ));
        }
        text
    };
    let (old, new) = (compiled(&site(1), "old"), compiled(&site(2), "new"));
    let (known, pinned) = (Knowledge::Nothing, BTreeMap::new());
    let asked = |new| change(&Question { old: Some(&old), new, known: &known, pinned: &pinned, now_unix_ms: 0 });
    let begun = std::time::Instant::now();
    let all = asked(&new);
    let (everything, begun) = (begun.elapsed(), std::time::Instant::now());
    let none = asked(&old);
    println!("10,000 machines: everything {everything:?}, nothing {:?}", begun.elapsed());
    assert_eq!(all.counts.get(&Follows::Runs), Some(&10_000), "{:?}", all.counts);
    assert!(none.is_empty());
}

#[test]
fn the_guard_takes_its_share_of_boxes_that_have_walked_each_once() {
    let new = PLAIN.compile("new");
    let (walked, unseen) = (Arc::new(walked().state), Arc::new(MachineState::default()));
    let mut left = MachineState::clone(&walked);
    left.left = true;
    let adopted = MachineState { adopted: Some((1, None)), ..MachineState::default() };
    let states: BTreeMap<String, Arc<MachineState>> = [
        (NODE, Arc::clone(&walked)),
        // The same box under the name that it was enrolled by.
        ("simulated-1", walked),
        ("never-seen", unseen),
        ("gone", Arc::new(left)),
        ("taken-over", Arc::new(adopted)),
    ]
    .map(|(name, state)| (name.to_owned(), state))
    .into();
    let renamed = [(NODE.to_owned(), "simulated-1".to_owned())].into();
    let known = Knowledge::Journal { states, trust: Trust::New, renamed };
    let pinned = BTreeMap::new();
    let change = change(&Question { old: Some(&new), new: &new, known: &known, pinned: &pinned, now_unix_ms: 0 });
    assert_eq!((change.machines_walked, change.machines_before), (2, 1));
    let unknown = Knowledge::Nothing;
    let asked = Question { old: Some(&new), new: &new, known: &unknown, pinned: &pinned, now_unix_ms: 0 };
    assert_eq!(super::change(&asked).machines_walked, super::change(&asked).machines_in_all);
}

// `sops updatekeys` changes who may decrypt a file, and nothing of what it says.
#[test]
fn who_may_decrypt_a_file_is_no_change_and_a_default_in_part_encrypted_is_told_of_as_one() {
    let site = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nspec: {}\n";
    let encrypted = include_str!("../../content/sops/fixture/partial.yaml");
    let param = |default: &str| {
        let (_, sops) = encrypted.split_once("\nsops:").unwrap();
        let (sops, _) = sops.split_once("\n---").unwrap();
        let regex = sops.lines().find(|line| line.trim_start().starts_with("encrypted_regex:")).unwrap();
        let sops =
            if default.contains("ENC[") { sops.replace(regex, "    encrypted_regex: ^token$") } else { String::new() };
        let sops = if sops.is_empty() { sops } else { format!("sops:{sops}\n") };
        format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {{name: account}}\n\
             spec: {{schema: {{type: object}}, default: {default}}}\n{sops}"
        )
    };
    let compiled = |profile: &str, default: &str| {
        let mut tree = Tree::default();
        for (path, text) in [("site.yaml", site), ("database.yaml", profile), ("param.yaml", &param(default))] {
            let file = crate::content::File {
                bytes: Arc::from(text.as_bytes()),
                kind: crate::content::FileKind::Regular,
                blob: None,
            };
            tree.files.insert(path.to_owned(), file);
        }
        from_tree(&tree, &BTreeMap::new(), "r").map_err(|findings| findings.to_string())
    };
    let plain = "{user: {name: a}, host: b}";
    let (stanza, recipient) = ("recipient: age1", encrypted.split("recipient: age1").nth(1).unwrap());
    let rotated = encrypted.replace(recipient.lines().next().unwrap(), "another");
    assert!(rotated != encrypted && rotated.contains(stanza));
    let old = compiled(encrypted, plain);
    let Ok(old) = old else { panic!("{old:?}") };
    assert_eq!(objects::objects(Some(&old), &compiled(&rotated, plain).unwrap()), Vec::new());
    // A value beside it is one.
    let other = compiled(&encrypted.replace("        nothing: null\n", ""), plain).unwrap();
    assert_eq!(objects::objects(Some(&old), &other).len(), 1);

    let paths = |from: &str, to: &str| -> Vec<(String, bool)> {
        let (old, new) = (compiled(encrypted, from).unwrap(), compiled(encrypted, to).unwrap());
        let changes = objects::objects(Some(&old), &new);
        changes.into_iter().flat_map(|it| it.fields).map(|field| (field.path, field.secret)).collect()
    };
    let leaf = "{user: {name: a}, host: c}";
    assert_eq!(paths(plain, leaf), [("spec.default.host".to_owned(), false)]);
    let veiled = |host: &str| format!("{{user: {{token: 'ENC[AES256_GCM,data:x]'}}, host: {host}}}");
    for (from, to) in [(veiled("b"), veiled("c")), (plain.to_owned(), veiled("c")), (veiled("b"), plain.to_owned())] {
        assert_eq!(paths(&from, &to), [("spec.default".to_owned(), true)], "{from} {to}");
    }
}
