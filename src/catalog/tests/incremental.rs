//! What is remembered of revisions before never shows: a revision compiled after others is what it would be by itself, and what
//! is said of it is the same, word for word. And it costs what changed.

use super::super::testing::packs;
use super::super::{Catalog, Compiler, Work, from_tree};
use crate::content::{File, FileKind, Findings, Tree};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\n";

/// Files of a site and what may be in them: the first is good, an empty text is no file. `%%` stands for the line with
/// apiVersion.
const SLOTS: &[(&str, &[&str])] = &[
    (
        "site.yaml",
        &[
            "%%kind: Site\nmetadata: {name: lab}\nspec: {packs: [{builtin: hardware}, {path: packs/etcd}], global: [base]}\n",
            "%%kind: Site\nmetadata: {name: other}\nspec: {packs: [{path: packs/etcd}, {builtin: hardware}], global: [base]}\n",
            "%%kind: Site\nmetadata: {name: lab}\nspec: {packs: [{builtin: hardware}], global: [base]}\n",
            "%%kind: Site\nmetadata: {name: lab}\nspec: {packs: [{builtin: hardware}, {path: packs/etcd}], global: [base, gone]}\n",
            "%%kind: Site\nmetadata: {name: lab}\nspec: {packs: [{builtin: hardware}, {path: packs/etcd}, {path: packs/more}]}\n",
            "%%kind: Site\nmetadata: {name: lab}\nspec: {pack: []}\n",
            "nonsense\n",
            "",
        ],
    ),
    (
        "subnets.yaml",
        &[
            "%%kind: Subnet\nmetadata: {name: rack-1}\nspec: {cidr: 10.77.0.0/24, gateway: 10.77.0.1, pools: [{first: 10.77.0.100, last: 10.77.0.199}]}\n",
            "%%kind: Subnet\nmetadata: {name: rack-1}\nspec: {cidr: 10.77.0.0/24, gateway: 10.77.0.11}\n",
            "%%kind: Subnet\nmetadata: {name: rack-1}\nspec: {cidr: 10.78.0.0/24}\n",
            "%%kind: Subnet\nmetadata: {name: rack-1}\nspec: {cidr: nonsense}\n",
            "%%kind: Subnet\nmetadata: {name: rack-1}\nspec: {cidr: 10.77.0.0/24}\n---\n%%kind: Subnet\nmetadata: {name: rack-2}\nspec: {cidr: 10.77.0.0/25}\n",
        ],
    ),
    (
        "machines/one.yaml",
        &[
            "%%kind: Machine\nmetadata: {name: one}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\"]}\n  address: 10.77.0.11\n  profiles: [base, etcd-lab]\n  workflow: node\n  params: {disk: /dev/vda}\n",
            "%%kind: Machine\nmetadata: {name: one}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\", \"52:54:00:00:00:02\"]}\n  profiles: [base]\n  workflow: node\n",
            "%%kind: Machine\nmetadata: {name: one}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\"]}\n  address: 10.77.0.150\n  profiles: [base, base]\n  workflow: nod\n  params: {disk: vda, stray: 1}\n",
            "%%kind: Machine\nmetadata: {name: one}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\"]}\n  profiles: [extra]\n  workflow: plain\n  params: {stray: 2, other-stray: 3}\n",
            "%%kind: Machine\nmetadata: {name: one}\nspec: {matches: {}}\n",
            "",
        ],
    ),
    (
        "machines/two.yaml",
        &[
            "%%kind: Machine\nmetadata: {name: two, labels: {rack: \"1\"}}\nspec:\n  match: {macs: [\"52:54:00:00:00:02\"], uuid: 4c4c4544-0043-3010-8052-b4c04f4d3232}\n  address: 10.77.0.12\n  profiles: [extra]\n  workflow: node\n",
            "%%kind: Machine\nmetadata: {name: two}\nspec:\n  match: {macs: [\"52:54:00:00:00:02\"], serial: abc-1}\n  address: 10.77.0.11\n  workflow: plain\n  params: {stray: x}\n",
            "%%kind: Machine\nmetadata: {name: two}\nspec:\n  match: {macs: [\"52:54:00:00:00:0x\"]}\n",
            "%%kind: Machine\nmetadata: {name: two}\nspec:\n  match: {macs: [\"52:54:00:00:00:02\"]}\n  profiles: [etcd.base, quiet]\n  workflow: node\n  protect: true\n  run: 3\n",
            "",
        ],
    ),
    (
        "machines/rack.yaml",
        &[
            "%%kind: Machine\nmetadata: {name: r1}\nspec: {match: {macs: [\"52:54:00:00:01:01\"]}, workflow: plain, profiles: [base]}\n---\n%%kind: Machine\nmetadata: {name: r2}\nspec: {match: {macs: [\"52:54:00:00:01:02\"]}, workflow: node, profiles: [base]}\n---\n%%kind: Machine\nmetadata: {name: r3}\nspec: {match: {serial: abc-1}, workflow: node, profiles: [quiet, base]}\n",
            "%%kind: Machine\nmetadata: {name: r1}\nspec: {match: {macs: [\"52:54:00:00:01:01\"]}, workflow: plain, profiles: [base]}\n---\n%%kind: Machine\nmetadata: {name: r2}\nspec: {match: {macs: [\"52:54:00:00:01:02\"]}, workflow: node}\n",
            "# moved by a line\n%%kind: Machine\nmetadata: {name: r3}\nspec: {match: {serial: abc-1}, workflow: node}\n---\n%%kind: Machine\nmetadata: {name: r1}\nspec: {match: {macs: [\"52:54:00:00:01:01\"]}, workflow: node}\n",
            "%%kind: Machine\nmetadata: {name: r1}\nspec: {match: {macs: [\"52:54:00:00:01:01\"]}\n",
        ],
    ),
    (
        "machines/moved/one.yaml",
        &[
            "",
            "%%kind: Machine\nmetadata: {name: one}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\"]}\n  address: 10.77.0.11\n  profiles: [base, etcd-lab]\n  workflow: node\n  params: {disk: /dev/vda}\n",
            "%%kind: Machine\nmetadata: {name: three}\nspec:\n  match: {macs: [\"52:54:00:00:00:01\"]}\n  workflow: node\n",
        ],
    ),
    (
        "rules.yaml",
        &[
            "%%kind: Enrollment\nmetadata: {name: new}\nspec: {match: {subnet: rack-1}, name: \"node-{{ mac | replace(':', '') }}\", profiles: [etcd-lab, base], workflow: node}\n",
            "%%kind: Enrollment\nmetadata: {name: new}\nspec: {match: {subnet: rack-1}, name: same, workflow: node, params: {stray: 1}}\n",
            "%%kind: Enrollment\nmetadata: {name: new}\nspec: {match: {subnet: rack-9}, name: \"{{ uuid }}\", workflow: plain}\n",
        ],
    ),
    (
        "profiles.yaml",
        &[
            "%%kind: Profile\nmetadata: {name: base}\nspec: {params: {timezone: UTC, size: 3}}\n---\n%%kind: Profile\nmetadata: {name: extra}\nspec: {params: {disk: /dev/sdb, timezone: CET}}\n---\n%%kind: Profile\nmetadata: {name: quiet}\nspec: {params: {arguments: quiet}}\n",
            "%%kind: Profile\nmetadata: {name: base}\nspec: {params: {timezone: UTC, size: 4}}\n---\n%%kind: Profile\nmetadata: {name: extra}\nspec: {params: {disk: /dev/sdb, timezone: CET}}\n---\n%%kind: Profile\nmetadata: {name: quiet}\nspec: {params: {arguments: quiet}}\n",
            "%%kind: Profile\nmetadata: {name: base}\nspec: {params: {timezone: 5, size: none}}\n---\n%%kind: Profile\nmetadata: {name: extra}\nspec: {params: {disk: sdb}}\n",
            "%%kind: Profile\nmetadata: {name: base}\nspec: {}\n---\n%%kind: Profile\nmetadata: {name: extra}\nspec: {params: {arguments: {secret: key}, stray: 1}}\n---\n%%kind: Profile\nmetadata: {name: quiet}\nspec: {param: 1}\n",
            "%%kind: Profile\nmetadata: {name: base}\nspec: {}\n---\n%%kind: Profile\nmetadata: {name: base}\nspec: {}\n---\n%%kind: Profile\nmetadata: {name: etcd-lab}\nspec: {}\n",
        ],
    ),
    (
        "params.yaml",
        &[
            "%%kind: Param\nmetadata: {name: disk}\nspec: {schema: {type: string, pattern: ^/dev/}, default: /dev/sda}\n---\n%%kind: Param\nmetadata: {name: size}\nspec: {schema: {type: integer}}\n",
            "%%kind: Param\nmetadata: {name: disk}\nspec: {schema: {type: string, pattern: ^/dev/sd}, default: /dev/sda}\n---\n%%kind: Param\nmetadata: {name: size}\nspec: {schema: {type: integer, maximum: 3}, default: 1}\n",
            "%%kind: Param\nmetadata: {name: disk}\nspec: {secret: true}\n---\n%%kind: Param\nmetadata: {name: arguments}\nspec: {secret: true, default: x}\n",
            "%%kind: Param\nmetadata: {name: disk}\nspec: {schemas: {}}\n",
            "%%kind: Param\nmetadata: {name: timezone}\nspec: {default: UTC}\n---\n%%kind: Param\nmetadata: {name: stray}\nspec: {schema: {type: string}}\n",
            "",
        ],
    ),
    (
        "cluster.yaml",
        &[
            "%%kind: ClusterProfile\nmetadata: {name: etcd-lab}\nspec: {size: 3, params: {size: 5}, keys: [{name: token, param: true, writers: {holderOf: bootstrap}}]}\n",
            "%%kind: ClusterProfile\nmetadata: {name: etcd-lab}\nspec: {size: 0}\n",
            "%%kind: ClusterProfile\nmetadata: {name: etcd-lab}\nspec: {size: 3, params: {disk: vda}}\n",
            "",
        ],
    ),
    (
        "workflows.yaml",
        &[
            "%%kind: Workflow\nmetadata: {name: node}\nspec: {stages: [discover, write, etcd.join]}\n---\n%%kind: Workflow\nmetadata: {name: plain}\nspec: {stages: [write]}\n---\n%%kind: Stage\nmetadata: {name: write}\nspec: {bootEnv: ram, tasks: [write], profiles: [quiet]}\n",
            "%%kind: Workflow\nmetadata: {name: node}\nspec: {stages: [write, etcd.join]}\n---\n%%kind: Workflow\nmetadata: {name: plain}\nspec: {stages: [write]}\n---\n%%kind: Stage\nmetadata: {name: write}\nspec: {bootEnv: ram, tasks: [write], params: {size: 7}}\n",
            "%%kind: Workflow\nmetadata: {name: node}\nspec: {stages: [write, etcd.joined]}\n---\n%%kind: Workflow\nmetadata: {name: plain}\nspec: {stages: [write]}\n---\n%%kind: Stage\nmetadata: {name: write}\nspec: {bootEnv: ram, tasks: [write, write], onFailure: {goTo: write}}\n",
            "%%kind: Workflow\nmetadata: {name: node}\nspec: {stages: []}\n---\n%%kind: Stage\nmetadata: {name: write}\nspec: {bootEnv: nowhere, tasks: [write]}\n",
        ],
    ),
    (
        "tasks/write.yaml",
        &[
            "%%kind: Task\nmetadata: {name: write}\nspec:\n  params: [{name: timezone}, {name: size}]\n  steps: [{name: a, template: config, to: /etc/a}, {name: b, script: \"true\", if: \"params.size is defined and params.size > 1\"}]\n",
            "%%kind: Task\nmetadata: {name: write}\nspec:\n  params: [{name: timezone, required: true}, {name: size, required: true}, {name: stray}]\n  steps: [{name: a, template: config, to: /etc/a}]\n",
            "%%kind: Task\nmetadata: {name: write}\nspec:\n  params: [{name: size}]\n  steps: [{name: a, template: config, to: /etc/a}, {name: b, script: x, if: params.tz}]\n",
            "%%kind: Task\nmetadata: {name: write}\nspec:\n  params: [{name: timezone}, {name: size}]\n  steps: [{name: a, file: ../templates/config.j2, to: /etc/a}, {name: c, scriptFile: gone.sh}]\n",
            "%%kind: Task\nmetadata: {name: write}\nspec:\n  params: [{name: timezone}, {name: size}]\n  steps: [{name: a, template: shared, to: /etc/a}]\n",
        ],
    ),
    (
        "templates/all.yaml",
        &[
            "%%kind: Template\nmetadata: {name: config}\nspec: {file: config.j2}\n---\n%%kind: Template\nmetadata: {name: shared}\nspec: {text: \"x{% include 'config' %}\"}\n",
            "%%kind: Template\nmetadata: {name: config}\nspec: {file: confg.j2}\n",
            "%%kind: Template\nmetadata: {name: config}\nspec: {text: \"{% include 'shared' %}\"}\n---\n%%kind: Template\nmetadata: {name: shared}\nspec: {text: \"{{ params.timezone }}{{ machine.address }}\"}\n",
        ],
    ),
    (
        "templates/config.j2",
        &[
            "zone={{ params.timezone if params.timezone is defined else 'none' }}\n",
            "# {{ machine.name }}\nzone={{ params.timezone }}\n",
            "{{ machine.macs[1] }}\n",
            "{{ params.size + 1 }} {{ facts.cpu }}\n",
            "{% if %}\n",
            "",
        ],
    ),
    (
        "boot.yaml",
        &[
            "%%kind: BootEnv\nmetadata: {name: ram}\nspec:\n  architectures: {x86_64: {kernel: {file: ram/vmlinuz}, arguments: \"console=ttyS0 {{ params.arguments if params.arguments is defined else '' }}\"}}\n",
            "%%kind: BootEnv\nmetadata: {name: ram}\nspec:\n  architectures: {x86_64: {kernel: {file: ram/vmlinuz}, arguments: \"{{ params.arguments }} {{ machine.name }}\"}}\n",
            "%%kind: BootEnv\nmetadata: {name: ram}\nspec:\n  templates: [config]\n  architectures: {x86_64: {kernel: {file: ram/vmlinuz}, arguments: \"{{ params.disk }}\"}}\n",
            "%%kind: BootEnv\nmetadata: {name: ram}\nspec:\n  endsBy: callback\n  templates: [config]\n  architectures: {x86_64: {kernel: {file: ram/vmlinuz}}}\n",
        ],
    ),
    (
        "packs/etcd/pack.yaml",
        &[
            "%%kind: Pack\nmetadata: {name: etcd}\nspec: {params: {etcd-dir: /var/lib/etcd}}\n",
            "%%kind: Pack\nmetadata: {name: etcd}\nspec: {params: {etcd-dir: 7, size: 2}}\n",
            "%%kind: Pack\nmetadata: {name: etc}\nspec: {requires: [none]}\n",
            "%%kind: Pack\nmetadata: {name: etcd}\nspec: {param: {}}\n",
            "",
        ],
    ),
    (
        "packs/etcd/all.yaml",
        &[
            "%%kind: Task\nmetadata: {name: join}\nspec:\n  params: [{name: etcd-dir, required: true}, {name: token}]\n  steps: [{name: a, template: defaults, to: /etc/b}]\n---\n%%kind: Stage\nmetadata: {name: join}\nspec: {bootEnv: local, tasks: [join]}\n---\n%%kind: Template\nmetadata: {name: defaults}\nspec: {text: \"{{ params.etcd_dir }} {{ server.site }}\"}\n---\n%%kind: Profile\nmetadata: {name: base}\nspec: {params: {etcd-dir: /other}}\n---\n%%kind: Param\nmetadata: {name: etcd-dir}\nspec: {schema: {type: string}}\n",
            "%%kind: Task\nmetadata: {name: join}\nspec:\n  params: [{name: etcd-dir, required: true}, {name: missing, required: true}]\n  steps: [{name: a, script: x}]\n---\n%%kind: Stage\nmetadata: {name: join}\nspec: {bootEnv: local, tasks: [join]}\n",
            "%%kind: Stage\nmetadata: {name: join}\nspec: {bootEnv: local, tasks: [joined]}\n",
            "%%kind: Machine\nmetadata: {name: packed}\nspec: {match: {serial: in-a-pack}}\n---\n%%kind: Stage\nmetadata: {name: write}\nspec: {bootEnv: local, tasks: []}\n",
        ],
    ),
    (
        "packs/more/pack.yaml",
        &[
            "",
            "%%kind: Pack\nmetadata: {name: more}\nspec: {}\n---\n%%kind: Profile\nmetadata: {name: extra}\nspec: {params: {timezone: PST}}\n---\n%%kind: Stage\nmetadata: {name: join}\nspec: {bootEnv: local}\n",
            "%%kind: Pack\nmetadata: {name: etcd}\nspec: {}\n",
        ],
    ),
];

/// Some texts that are no YAML of ours, for any file.
const NOISE: &[&str] = &[
    "\t- x\n",
    "a: [\n",
    "apiVersion: x\nkind: Machine\n",
    "\u{0}",
    "kind: Sight\napiVersion: formwork.dev/v1alpha1\n",
];

#[derive(Debug, Clone)]
enum Edit {
    /// A file becomes one of its variants.
    Put(prop::sample::Index, prop::sample::Index),
    /// A file becomes good.
    Mend(prop::sample::Index),
    /// All files become good.
    MendAll,
    /// A line of a file goes, or is doubled.
    Line(prop::sample::Index, prop::sample::Index, bool),
    /// A file becomes noise.
    Noise(prop::sample::Index, prop::sample::Index),
    /// Two files change places.
    Swap(prop::sample::Index, prop::sample::Index),
    /// A file moves to another folder.
    Move(prop::sample::Index),
    /// Nothing.
    Again,
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        8 => (index(), index()).prop_map(|(slot, variant)| Edit::Put(slot, variant)),
        5 => index().prop_map(Edit::Mend),
        3 => Just(Edit::MendAll),
        2 => (index(), index(), any::<bool>()).prop_map(|(slot, line, doubled)| Edit::Line(slot, line, doubled)),
        1 => (index(), index()).prop_map(|(slot, noise)| Edit::Noise(slot, noise)),
        1 => (index(), index()).prop_map(|(a, b)| Edit::Swap(a, b)),
        2 => index().prop_map(Edit::Move),
        1 => Just(Edit::Again),
    ]
}

type Files = BTreeMap<String, String>;

fn put(files: &mut Files, path: &str, text: &str) {
    if text.is_empty() {
        files.remove(path);
    } else {
        files.insert(path.to_owned(), text.replace("%%", HEAD));
    }
}

fn good() -> Files {
    let mut files = Files::new();
    SLOTS.iter().for_each(|(path, variants)| put(&mut files, path, variants[0]));
    files
}

fn change(files: &mut Files, edit: &Edit) {
    let known: Vec<String> = files.keys().cloned().collect();
    let pick = |index: &prop::sample::Index| (!known.is_empty()).then(|| index.get(&known).clone());
    match edit {
        Edit::Put(slot, variant) => {
            let (path, variants) = slot.get(SLOTS);
            put(files, path, variant.get::<&str>(variants));
        }
        Edit::Mend(slot) => {
            let (path, variants) = slot.get(SLOTS);
            put(files, path, variants[0]);
        }
        Edit::MendAll => *files = good(),
        Edit::Line(slot, line, doubled) => {
            let Some(path) = pick(slot) else { return };
            let text = files.remove(&path).unwrap_or_default();
            let mut lines: Vec<&str> = text.lines().collect();
            if lines.is_empty() {
                return;
            }
            let at = line.index(lines.len());
            if *doubled {
                lines.insert(at, lines[at]);
            } else {
                lines.remove(at);
            }
            files.insert(path, lines.join("\n") + "\n");
        }
        Edit::Noise(slot, noise) => {
            let Some(path) = pick(slot) else { return };
            files.insert(path, (*noise.get(NOISE)).to_owned());
        }
        Edit::Swap(a, b) => {
            let (Some(a), Some(b)) = (pick(a), pick(b)) else { return };
            let (text_a, text_b) = (files[&a].clone(), files[&b].clone());
            files.insert(a, text_b);
            files.insert(b, text_a);
        }
        Edit::Move(slot) => {
            let Some(path) = pick(slot) else { return };
            let text = files.remove(&path).unwrap_or_default();
            let to = path.strip_prefix("moved/").map_or_else(|| format!("moved/{path}"), str::to_owned);
            files.insert(to, text);
        }
        Edit::Again => {}
    }
}

/// All that is in a catalog.
fn picture(catalog: &Catalog) -> String {
    let Catalog {
        revision,
        site,
        warnings,
        machines,
        selectors,
        enrollments,
        subnets,
        profiles,
        params,
        cluster_profiles,
        tasks,
        stages,
        workflows,
        boot_envs,
        templates,
        packs,
        global,
        wipe_guard,
        leave_guard,
        site_document,
        environment,
    } = catalog;
    let sorted = |map: &std::collections::HashMap<String, usize>| -> BTreeMap<String, usize> {
        map.iter().map(|(key, position)| (key.clone(), *position)).collect()
    };
    let mut known: Vec<&str> = environment.templates().map(|(name, _)| name).collect();
    known.sort_unstable();
    format!(
        "{revision} {site} {warnings} {machines:?} {:?} {:?} {:?} {enrollments:?} {subnets:?} {profiles:?} {params:?} \
         {cluster_profiles:?} {tasks:?} {stages:?} {workflows:?} {boot_envs:?} {templates:?} {packs:?} {global:?} \
         {wipe_guard:?} {leave_guard:?} {site_document:?} {known:?}",
        sorted(&selectors.macs),
        sorted(&selectors.uuids),
        sorted(&selectors.serials),
    )
}

fn same(now: &Result<Catalog, Findings>, alone: &Result<Catalog, Findings>) {
    match (now, alone) {
        (Ok(now), Ok(alone)) => assert_eq!(picture(now), picture(alone)),
        (Err(now), Err(alone)) => assert_eq!(now.0, alone.0),
        (Ok(_), Err(findings)) => panic!("what is remembered hid findings:\n{findings}"),
        (Err(findings), Ok(_)) => panic!("what is remembered made findings:\n{findings}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_revision_compiled_after_others_is_what_it_would_be_by_itself(edits in prop::collection::vec(edit(), 1..24)) {
        let mut compiler = Compiler::new(packs(), crate::content::sops::Keys::Unknown);
        let mut files = good();
        let mut served: Option<Catalog> = None;
        for (number, edit) in std::iter::once(&Edit::Again).chain(&edits).enumerate() {
            change(&mut files, edit);
            let tree = Tree::from_texts(files.iter());
            let revision = format!("revision-{number}");
            let now = compiler.compile(&tree, &revision);
            let alone = from_tree(&tree, &packs(), &revision);
            same(&now, &alone);
            if let Ok(catalog) = now {
                // What is served again, and a revision that was refused in between, cost nothing.
                let again = compiler.compile(&tree, &revision);
                same(&again, &alone);
                let work = compiler.work();
                prop_assert_eq!(work.files_parsed, 0);
                let again = again.expect("it compiled just now");
                for machine in catalog.machines() {
                    prop_assert!(again.has_same(&catalog, &machine.name) || !catalog.warnings.0.is_empty());
                }
                if let Some(before) = &served {
                    for machine in before.machines().filter(|machine| catalog.has_same(before, &machine.name)) {
                        let now = catalog.machine(&machine.name).map(|view| format!("{view:?}"));
                        prop_assert_eq!(now, Some(format!("{machine:?}")));
                    }
                }
                served = Some(catalog);
            }
        }
    }
}

/// The good site with many machines, in a file each.
fn many(machines: usize) -> Files {
    let mut files = good();
    for number in 0..machines {
        files.insert(format!("machines/rack-{}/n{number}.yaml", number % 7), machine(number, "base", "plain", ""));
    }
    files
}

fn machine(number: usize, profile: &str, workflow: &str, more: &str) -> String {
    format!(
        "{HEAD}kind: Machine\nmetadata: {{name: n{number}}}\nspec: {{match: {{macs: [\"52:54:01:00:{:02x}:{:02x}\"]}}, \
         profiles: [{profile}], workflow: {workflow}{more}}}\n",
        number / 256,
        number % 256
    )
}

fn compile(compiler: &mut Compiler, files: &Files) -> (usize, usize) {
    let answer = compiler.compile(&Tree::from_texts(files.iter()), "r");
    let alone = from_tree(&Tree::from_texts(files.iter()), &packs(), "r");
    same(&answer, &alone);
    let Work { files_parsed, machines_compiled, .. } = compiler.work();
    (files_parsed, machines_compiled)
}

#[test]
fn files_that_are_no_content_are_not_kept_after_a_revision_that_brought_them() {
    let mut compiler = Compiler::new(packs(), crate::content::sops::Keys::Unknown);
    let mut files = good();
    compile(&mut compiler, &files);
    let (remembered, _) = compiler.remembered();
    let large: Arc<[u8]> = Arc::from("x".repeat(1000).as_bytes());
    files.insert("bad.yaml".into(), "kind: Nothing\n".into());
    let mut tree = Tree::from_texts(files.iter());
    let file = File { bytes: Arc::clone(&large), kind: FileKind::Regular, blob: None };
    tree.files.insert("images/large".into(), file);
    assert!(compiler.compile(&tree, "r").is_err());
    drop(tree);
    assert_eq!((compiler.remembered().0, Arc::strong_count(&large)), (remembered, 1));
}

#[test]
fn a_revision_costs_what_it_changes_and_a_refused_one_leaves_nothing_behind() {
    let mut files = many(60);
    let mut compiler = Compiler::new(packs(), crate::content::sops::Keys::Unknown);
    compile(&mut compiler, &files);
    assert_eq!(compile(&mut compiler, &files), (0, 0), "the same again");

    files.insert("machines/rack-3/n3.yaml".into(), machine(3, "extra", "plain", ""));
    assert_eq!(compile(&mut compiler, &files), (1, 1), "one machine");

    files.insert("machines/rack-3/n3.yaml".into(), machine(3, "extra", "plian", ""));
    assert_eq!(compile(&mut compiler, &files), (1, 1), "one machine that breaks it");
    let remembered = compiler.remembered();
    for _ in 0..3 {
        assert_eq!(compile(&mut compiler, &files), (0, 1), "what is wrong is looked at again, and nothing else");
    }
    assert_eq!(compiler.remembered(), remembered);
    files.insert("machines/rack-3/n3.yaml".into(), machine(3, "extra", "plain", ""));
    assert_eq!(compile(&mut compiler, &files), (1, 1), "mended");

    files.insert("machines/moved.yaml".into(), files["machines/rack-3/n3.yaml"].clone());
    files.remove("machines/rack-3/n3.yaml");
    assert_eq!(compile(&mut compiler, &files), (1, 1), "moved");
    files.remove("machines/moved.yaml");
    assert_eq!(compile(&mut compiler, &files), (0, 0), "gone");

    // `extra` is carried by `two` alone, and no file of a machine changes.
    let profiles = files["profiles.yaml"].replace("timezone: CET", "timezone: EET");
    files.insert("profiles.yaml".into(), profiles);
    assert_eq!(compile(&mut compiler, &files), (1, 1), "a profile of one machine");
    // `node` is walked by `one`, `two`, `r2` and `r3`.
    let pack = files["packs/etcd/all.yaml"].replace("{{ server.site }}", "{{ server.http }}");
    files.insert("packs/etcd/all.yaml".into(), pack);
    assert_eq!(compile(&mut compiler, &files), (1, 4), "a template of one workflow");

    let site = files.remove("site.yaml").expect("it is there");
    let (parsed, compiled) = compile(&mut compiler, &files);
    assert!(parsed == 0 && compiled == 0, "without a site nothing is read: {parsed} {compiled}");
    assert_eq!(compile(&mut compiler, &files).0, 0, "twice");
    files.insert("site.yaml".into(), site);
    assert_eq!(compile(&mut compiler, &files), (0, 0), "the good revision is remembered through it all");
}
