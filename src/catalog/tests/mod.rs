//! Broken sites and what is said about each; the good one and what can be asked of it.

mod boxes;
mod broken_documents;
mod broken_sites;
mod incremental;
mod tame;

use super::testing::{compiled, edited, site};
use super::*;
use crate::content::kinds::Architecture;
use crate::content::{File, FileKind, Tree};
use crate::params;
use crate::wire::{MachineInfo, StepAction};
use serde_json::{Map, json};

fn good() -> Catalog {
    compiled(&site(&[])).unwrap_or_else(|findings| panic!("{findings}"))
}

type Edit = (&'static str, &'static str, &'static str);

#[test]
fn the_good_site_compiles_without_a_warning_and_every_reference_is_resolved() {
    let catalog = good();
    assert_eq!(catalog.warnings.to_string(), "");
    let node = catalog.machine("node-1").unwrap();
    assert_eq!(
        (node.workflow.as_deref(), &*node.profiles),
        (Some("node"), &["lab-defaults".into(), "etcd-lab".into()][..])
    );
    let workflow = catalog.workflow("node").unwrap();
    let names: Vec<&str> = workflow.stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(names, ["hardware.discover", "install", "etcd.join"]);
    let stage = catalog.stage("install").unwrap();
    assert_eq!(stage.on_failure, OnFailure::GoTo("etcd.join".into()));
    assert_eq!((stage.boot_env.as_deref(), stage.destructive), (Some("hardware.discovery"), true));
    assert_eq!(catalog.boot_env(LOCAL).unwrap().ends_by, crate::content::kinds::EndsBy::Nothing);
    let clusters: Vec<&str> = catalog.clusters_of(node).iter().map(|cluster| &*cluster.name).collect();
    assert_eq!(clusters, ["etcd-lab"]);
    let Source::Git(place) = &node.source else { panic!("declared in Git") };
    assert_eq!(place.to_string(), "machines/node-1.yaml:1:1");
}

#[test]
fn steps_are_rendered_with_conditions_decided_and_scripts_left_alone() {
    let catalog = good();
    let task = catalog.task("etcd.join").unwrap();
    let machine = MachineInfo { name: "node-1".into(), ..MachineInfo::default() };
    let server = ServerInfo::default();
    let facts = Map::new();
    let mut params =
        Map::from_iter([("etcd-data-dir".to_owned(), json!("/data")), ("timezone".to_owned(), json!("CET"))]);
    let steps = |params: &Map<String, serde_json::Value>| {
        let scope = Scope { params, facts: &facts, machine: &machine, server: &server, boot: None };
        render_steps(&catalog, task, &scope)
    };
    let rendered = steps(&params).unwrap();
    assert_eq!(rendered.len(), 1, "`if` was false");
    let StepAction::File { to, content, mode } = &rendered[0].action else { panic!("a file") };
    assert_eq!((to.as_str(), mode.as_str()), ("/etc/default/etcd", "0644"));
    assert_eq!(content, "# node-1\nETCD_DATA_DIR=/data\n");
    params.insert("timezone".into(), json!("UTC"));
    let rendered = steps(&params).unwrap();
    assert!(matches!(&rendered[1].action, StepAction::Script { text } if text == "#!/bin/sh\ntrue\n"));
    params.remove("etcd-data-dir");
    let error = steps(&params).err().unwrap().to_string();
    assert_eq!(error, "template etcd.defaults, line 2: undefined value: `params.etcd_data_dir` is undefined");
}

#[test]
fn the_kernels_command_line_is_one_line_for_an_architecture_that_there_is() {
    let catalog = good();
    let boot_env = catalog.boot_env("hardware.discovery").unwrap();
    let (params, facts, machine) = (Map::new(), Map::new(), MachineInfo::default());
    let server = ServerInfo { http: "http://10.77.0.2:8080".into(), ..ServerInfo::default() };
    let scope = Scope { params: &params, facts: &facts, machine: &machine, server: &server, boot: None };
    let arguments = render_arguments(&catalog, boot_env, Architecture::X86_64, &scope).unwrap();
    assert_eq!(arguments, "console=ttyS0 formwork.server=http://10.77.0.2:8080");
    assert!(render_arguments(&catalog, boot_env, Architecture::Aarch64, &scope).is_err());
}

const SETUP: &str = "%%kind: BootEnv
metadata: {name: setup}
spec:
  endsBy: callback
  architectures:
    x86_64: {kernel: {file: a/linux}, arguments: 'url={{ boot.files }}/answers'}
  templates: [answers]
---
%%kind: Template
metadata: {name: answers}
spec: {text: '{{ machine.name }} {{ boot.callback }} {{ boot.token }} {{ params.timezone }}'}
---
%%kind: Stage
metadata: {name: system}
spec: {bootEnv: setup}
---
%%kind: Workflow
metadata: {name: setup}
spec: {stages: [system]}
---
%%kind: Machine
metadata: {name: node-2}
spec: {match: {macs: ['52:54:00:00:00:02']}, workflow: setup}
";

#[test]
fn an_installers_stage_has_one_task_that_is_made_of_what_it_boots() {
    let with = |text: &str| compiled(&site(&[("setup.yaml", text)])).unwrap_or_else(|findings| panic!("{findings}"));
    let catalog = with(SETUP);
    let stage = catalog.stage("system").unwrap();
    assert!(stage.is_installer() && stage.destructive);
    assert_eq!((stage.tasks.len(), &*stage.tasks[0].name), (1, INSTALLER));
    let digest = |text: &str| with(text).stage("system").unwrap().tasks[0].digest.clone();
    assert_eq!(digest(SETUP), stage.tasks[0].digest);
    assert_ne!(digest(&SETUP.replace("{{ machine.name }} ", "")), stage.tasks[0].digest);
    assert_ne!(digest(&SETUP.replace("a/linux", "b/linux")), stage.tasks[0].digest);
}

#[test]
fn what_an_installer_cannot_have_is_found_when_its_revision_is_compiled() {
    let said = |from: &str, to: &str| {
        assert!(SETUP.contains(from));
        let tree = site(&[("setup.yaml", &SETUP.replace(from, to))]);
        compiled(&tree).err().map(|findings| findings.to_string()).unwrap_or_default()
    };
    let tasks = said("bootEnv: setup", "bootEnv: setup, tasks: [hardware.inventory]");
    assert!(tasks.contains("no agent is in it to run tasks"), "{tasks}");
    let token = said("{{ boot.files }}", "{{ boot.token }}");
    assert!(token.contains("`boot.token` is undefined"), "not on a command line: {token}");
    let callback = said("  endsBy: callback\n", "");
    assert!(callback.contains("`boot.callback` is undefined"), "{callback}");
    let secret = said("workflow: setup}", "workflow: setup, params: {timezone: {secret: zone}}}");
    assert!(secret.contains("which is secret; what a boot is served travels in plain"), "{secret}");
    let unknown = said("params.timezone", "params.time_zone");
    assert!(unknown.contains("undefined"), "{unknown}");
}

#[test]
fn a_tasks_digest_changes_with_its_scripts_templates_and_spec_and_with_nothing_else() {
    let digest = |edits: &[Edit]| compiled(&edited(edits)).unwrap().task("etcd.join").unwrap().digest.to_string();
    let before = digest(&[]);
    assert_eq!(before.len(), 64);
    for (changed, edit) in [
        (true, ("packs/etcd/scripts/join.sh", "true", "false")),
        (true, ("packs/etcd/templates/defaults.j2", "# ", "## ")),
        (true, ("packs/etcd/tasks/join.yaml", "20m", "21m")),
        (false, ("machines/node-1.yaml", "/dev/vda", "/dev/vdb")),
        (false, ("profiles/lab.yaml", "UTC", "CET")),
    ] {
        assert_eq!(digest(&[edit]) != before, changed, "{edit:?}");
    }
}

#[test]
fn links_submodules_and_lfs_pointers_are_refused_and_said_why() {
    let odd = |path: &str, kind: FileKind, bytes: &[u8]| {
        let mut tree = site(&[]);
        tree.files.insert(path.into(), File { bytes: bytes.into(), kind, blob: None });
        compiled(&tree).map(|_| ()).map_err(|findings| findings.to_string().lines().next().unwrap_or("").to_owned())
    };
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for (path, kind, bytes, said) in [
        (
            "machines/more.yaml",
            FileKind::Symlink,
            &b"/etc/passwd"[..],
            "machines/more.yaml:1:1: error: a symbolic link; links are never followed",
        ),
        ("more", FileKind::Symlink, b"../other", "more:1:1: error: a symbolic link; links are never followed"),
        (
            "vendor",
            FileKind::Submodule,
            b"",
            "vendor:1:1: error: a submodule: what is in it is not part of this commit",
        ),
        (
            "machines/more.yaml",
            FileKind::Regular,
            lfs,
            "machines/more.yaml:1:1: error: a Git LFS pointer, not the file itself",
        ),
        ("machines/more.yaml", FileKind::Regular, b"kind: \xff", "machines/more.yaml:1:7: error: not UTF-8 text"),
        (
            "packs/etcd/scripts/join.sh",
            FileKind::Symlink,
            b"x",
            "packs/etcd/tasks/join.yaml:16:19: error: packs/etcd/scripts/join.sh is a symbolic link; links are never followed",
        ),
        (
            "packs/etcd/scripts",
            FileKind::Symlink,
            b"x",
            "packs/etcd/scripts:1:1: error: a symbolic link; links are never followed",
        ),
        (
            "packs/etcd/scripts/join.sh",
            FileKind::Regular,
            lfs,
            "packs/etcd/tasks/join.yaml:16:19: error: packs/etcd/scripts/join.sh is a Git LFS pointer, not the file itself",
        ),
        (
            "packs/etcd/scripts/join.sh",
            FileKind::Regular,
            b"#!/bin/sh\r\n",
            "packs/etcd/tasks/join.yaml:16:19: error: packs/etcd/scripts/join.sh has Windows line endings",
        ),
    ] {
        assert_eq!(odd(path, kind, bytes), Err(said.to_owned()), "{path} {kind:?}");
    }
    assert_eq!(odd("README.md", FileKind::Symlink, b"docs/index.md"), Ok(()));
    assert_eq!(odd("packs/etcd/files/values.yaml", FileKind::Regular, b"a: [1"), Ok(()), "data is not content");
    assert_eq!(
        odd(".github/workflows/ci.yaml", FileKind::Regular, b"on: push"),
        Ok(()),
        "hidden folders are not content"
    );
}

#[test]
fn a_schema_that_asks_in_too_many_ways_is_refused_and_what_breaks_one_at_many_places_is_told_in_time() {
    let said = |schema: &serde_json::Value, default: &serde_json::Value| {
        let head = "apiVersion: formwork.dev/v1alpha1\nkind:";
        let site = format!("{head} Site\nmetadata: {{name: lab}}\nspec: {{}}\n");
        let spec = json!({"schema": schema, "default": default});
        let param = format!("{head} Param\nmetadata: {{name: p}}\nspec: {spec}\n");
        let tree = Tree::from_texts([("site.yaml", site.as_str()), ("p.yaml", param.as_str())]);
        from_tree(&tree, &Default::default(), "r").err().map(|findings| findings.to_string()).unwrap_or_default()
    };
    let twice = |name: usize| json!({"$ref": format!("#/definitions/a{name}")});
    let doubled = |number: usize| {
        let mut definitions: Map<_, _> =
            (0..number).map(|at| (format!("a{at}"), json!({"allOf": [twice(at + 1), twice(at + 1)]}))).collect();
        definitions.insert(format!("a{number}"), json!({"type": "string"}));
        json!({"$ref": "#/definitions/a0", "definitions": definitions})
    };
    assert_eq!(said(&doubled(10), &json!("x")), "");
    let refused = said(&doubled(60), &json!("x"));
    assert!(refused.contains("asks about one part of a value in more than 100000 ways"), "{refused}");
    let tree = json!({"type": "object", "properties": {"x": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    let value = |depth: usize, end: serde_json::Value| (0..depth).fold(end, |inner, _| json!({"x": inner}));
    assert_eq!(said(&tree, &value(40, json!({}))), "");
    let broken = said(&tree, &value(40, json!(5)));
    assert!(broken.contains("param `p`: it breaks its schema, which asks about it in too many ways"), "{broken}");
    let broken = said(&tree, &value(3, json!(5)));
    assert!(broken.contains("is not valid under any of the schemas"), "{broken}");
}

#[test]
fn a_tree_without_a_site_says_where_one_may_be() {
    let say = |files: &[(&str, &str)]| {
        from_tree(&Tree::from_texts(files.iter().copied()), &Default::default(), "r").unwrap_err().to_string()
    };
    assert_eq!(
        say(&[]),
        "site.yaml:1:1: error: there is no site.yaml at the root\n  hint: a site begins with a site.yaml: `kind: Site` and the packs in use"
    );
    assert_eq!(
        say(&[("lab/site.yaml", "x")]),
        "site.yaml:1:1: error: there is no site.yaml at the root\n  hint: there is one at lab/site.yaml: is that folder the root of the site?"
    );
    assert_eq!(
        say(&[("site.yaml", "")]).lines().next(),
        Some("site.yaml:1:1: error: there is no document of kind Site in site.yaml")
    );
}

#[test]
fn aliases_that_multiply_are_stopped() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = level - 1;
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
    }
    let findings = compiled(&site(&[("machines/bomb.yaml", &bomb)])).unwrap_err().to_string();
    assert!(findings.starts_with("machines/bomb.yaml:1:1: error: not YAML: repetition limit exceeded"), "{findings}");
    let deep = "[".repeat(100_000);
    assert!(compiled(&site(&[("machines/deep.yaml", &deep)])).is_err());
}

#[test]
fn run_time_params_of_a_cluster_satisfy_a_task_only_for_its_members() {
    let findings = compiled(&edited(&[("machines/node-1.yaml", ", etcd-lab]", "]")])).unwrap_err().to_string();
    assert!(
        findings.starts_with("machines/node-1.yaml:11:13: error: workflow `node` needs the param `initial-cluster`"),
        "{findings}"
    );
}

#[test]
fn the_packs_that_come_with_the_program_and_the_example_compile() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/etcd-cluster");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((
                    path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
                    std::fs::read(&path).unwrap(),
                ));
            }
        }
    }
    let answer = from_tree(&Tree::from_texts(files), &builtin_packs(), "example");
    assert_eq!(
        answer.map(|catalog| catalog.warnings.to_string()).map_err(|findings| findings.to_string()),
        Ok(String::new())
    );
}

#[test]
fn params_are_given_by_the_strongest_layer_and_the_others_are_shown_with_their_places() {
    let layered = site(&[
        (
            "profiles/more.yaml",
            "%%kind: Profile\nmetadata: {name: early}\nspec:\n  params: {b: profile, c: profile}\n---\n%%kind: Profile\nmetadata: {name: staged}\nspec:\n  params: {b: staged, e: staged, f: staged}\n",
        ),
        (
            "params/all.yaml",
            "%%kind: Param\nmetadata: {name: h}\nspec: {default: default, secret: true}\n---\n%%kind: Param\nmetadata: {name: a}\nspec: {default: default}\n",
        ),
        (
            "clusters/etcd.yaml",
            "%%kind: ClusterProfile\nmetadata: {name: etcd-lab}\nspec:\n  size: 1\n  params: {c: cluster, d: cluster, e: cluster}\n  keys:\n    - {name: d, param: true, secret: true}\n    - {name: hidden}\n    - {name: initial-cluster, param: true}\n",
        ),
        (
            "profiles/lab.yaml",
            "%%kind: Profile\nmetadata: {name: lab-defaults}\nspec:\n  params: {timezone: UTC, f: global, g: global, h: global, a: global}\n",
        ),
    ]);
    let mut tree = layered;
    let edits: &[Edit] = &[
        ("machines/node-1.yaml", "[lab-defaults, etcd-lab]", "[early, etcd-lab]"),
        ("machines/node-1.yaml", "install-disk: /dev/vda", "a: machine"),
        ("workflows/node.yaml", "destructive: true", "profiles: [staged]\n  params: {b: stage, d: stage, e: stage}"),
        ("packs/etcd/pack.yaml", "params: {", "params: {f: pack, g: pack, "),
    ];
    for (path, from, to) in edits {
        let file = tree.files.get_mut(*path).unwrap();
        let text = std::str::from_utf8(&file.bytes).unwrap().replacen(from, to, 1);
        file.bytes = text.into_bytes().into();
    }
    let catalog = compiled(&tree).unwrap_or_else(|findings| panic!("{findings}"));
    let node = catalog.machine("node-1").unwrap();
    let stage = catalog.stage("install").unwrap();
    let keys = params::ClusterKeys::from([(
        "etcd-lab".to_owned(),
        Map::from_iter([("d".to_owned(), json!("run time")), ("hidden".to_owned(), json!("run time"))]),
    )]);
    let resolved = params::resolve(&catalog, node, Some(stage), &keys);
    let shown = |resolved: &params::Resolved, name: &str| {
        resolved.get(name).map_or_else(String::new, |layered| {
            let more: Vec<String> = layered.shadowed.iter().map(|weaker| weaker.layer.to_string()).collect();
            format!("{} from {} over [{}]", layered.value, layered.layer, more.join(", "))
        })
    };
    for (name, expected) in [
        ("a", r#""machine" from machine over [global profile lab-defaults, default]"#),
        ("b", r#""profile" from profile early over [stage install, stage profile staged]"#),
        ("c", r#""profile" from profile early over [cluster etcd-lab]"#),
        ("d", r#""run time" from cluster etcd-lab, run time over [cluster etcd-lab, stage install]"#),
        ("e", r#""cluster" from cluster etcd-lab over [stage install, stage profile staged]"#),
        ("f", r#""staged" from stage profile staged over [pack etcd, global profile lab-defaults]"#),
        ("g", r#""pack" from pack etcd over [global profile lab-defaults]"#),
        ("h", r#""global" from global profile lab-defaults over [default]"#),
        ("hidden", ""),
    ] {
        assert_eq!(shown(&resolved, name), expected, "{name}");
    }
    let secrets: Vec<&str> = resolved.iter().filter(|(_, layered)| layered.secret).map(|(name, _)| name).collect();
    assert_eq!(secrets, ["d", "h"]);
    let a = resolved.get("a").unwrap();
    assert_eq!(a.place().unwrap().to_string(), "machines/node-1.yaml:10:8");
    assert_eq!(a.shadowed[1].place().unwrap().to_string(), "params/all.yaml:9:17");
    // Boot decisions know no run time.
    let boot = params::resolve(&catalog, node, None, &params::ClusterKeys::new());
    assert_eq!(shown(&boot, "d"), r#""cluster" from cluster etcd-lab over []"#);
    assert_eq!(shown(&boot, "b"), r#""profile" from profile early over []"#);
    let task = catalog.task("etcd.join").unwrap();
    assert_eq!(resolved.missing(task), ["initial-cluster"]);
    let given: Vec<String> = resolved.for_task(task).keys().cloned().collect();
    assert_eq!(given, ["etcd-data-dir", "timezone"]);
}

#[test]
fn each_broken_site_is_told_all_that_is_wrong_with_it_and_where() {
    for (edits, expected) in broken_documents::cases().into_iter().chain(broken_sites::cases()) {
        let said = match compiled(&edited(edits)) {
            Ok(catalog) => catalog.warnings.to_string(),
            Err(findings) => findings.to_string(),
        };
        assert_eq!(said, expected.trim(), "\n{edits:?}\n{said}");
    }
}

#[test]
fn a_command_line_is_tried_with_the_params_of_each_machine_under_either_spelling_of_their_names() {
    let say = |arguments: &str| {
        let flow = format!(
            "stages: [discover, install]\n---\n%%kind: BootEnv\nmetadata: {{name: mine}}\nspec:\n  architectures:\n    x86_64:\n      kernel: {{file: vmlinuz}}\n      arguments: \"{arguments}\"\n"
        );
        let edits = [
            ("workflows/node.yaml", "stages: [discover, install, etcd.join]\n", flow.as_str()),
            ("workflows/node.yaml", "bootEnv: discovery", "bootEnv: mine"),
            ("workflows/node.yaml", "  onFailure: {goTo: etcd.join}\n", ""),
        ];
        match compiled(&edited(&edits)) {
            Ok(catalog) => catalog.warnings.to_string(),
            Err(findings) => findings.to_string().lines().next().unwrap_or("").to_owned(),
        }
    };
    for good in [
        "disk={{ params.install_disk }}",
        "disk={{ params['install-disk'] }}",
        "{% if params.nothing is defined %}{{ params.nothing }}{% endif %}",
        "ip={{ machine.address }}",
        "seen={{ facts.anything }}",
    ] {
        assert_eq!(say(good), "", "{good}");
    }
    assert_eq!(
        say("disk={{ params.instal_disk }}"),
        "workflows/node.yaml:14:18: error: boot environment `mine` cannot be rendered: undefined value: `params.instal_disk` is undefined (tried for machine `node-1`)"
    );
    // Run-time keys of a cluster are never in boot decisions.
    assert!(say("{{ params.initial_cluster }}").contains("`params.initial_cluster` is undefined"));
}
