//! From loaded content to a catalog, in the order in which things refer to each other.

use super::check::Checker;
use super::machines::Whole;
use super::references::References;
use super::schemas::{self, Schemas};
use super::tasks::{self, Files};
use super::{Catalog, Named, PackDefaults, boot_envs, machines, networks, render};
use crate::content::{Findings, Kind, Loaded, Object, Report, Step, Tree};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Reads and compiles a tree: all findings of both at once. `builtin` are the packs that come with the program.
///
/// # Errors
/// All findings, warnings too, where one of them is an error.
pub fn from_tree(tree: &Tree, builtin: &BTreeMap<String, Tree>, revision: &str) -> Result<Catalog, Findings> {
    let mut report = Report::default();
    let loaded = crate::content::read(tree, builtin, &mut report);
    finish(loaded, revision, report)
}

/// Compiles what was loaded.
///
/// # Errors
/// All findings, warnings too, where one of them is an error.
pub fn compile(loaded: Loaded, revision: &str) -> Result<Catalog, Findings> {
    finish(loaded, revision, Report::default())
}

fn finish(loaded: Loaded, revision: &str, mut report: Report) -> Result<Catalog, Findings> {
    let mut catalog = build(loaded, revision, &mut report);
    if report.refuses() {
        return Err(report.into_findings());
    }
    catalog.warnings = report.into_findings();
    Ok(catalog)
}

/// Objects by name; the second of a name is reported and left out.
fn unique<T>(objects: Vec<Object<T>>, kind: Kind, report: &mut Report) -> Named<Object<T>> {
    let mut named: Named<Object<T>> = Named::new();
    for object in objects {
        match named.entry(Arc::clone(&object.name)) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(object);
            }
            std::collections::btree_map::Entry::Occupied(taken) => {
                let path = [Step::Key("metadata"), Step::Key("name")];
                let first = report.place(taken.get().document.value(&path));
                report
                    .error("twin", object.document.value(&path), format!("a second {kind} `{}`", object.name))
                    .hint(format!("the first is at {first}"));
            }
        }
    }
    named
}

fn build(loaded: Loaded, revision: &str, report: &mut Report) -> Catalog {
    let references = References::new(&loaded);
    let roots: HashMap<Arc<str>, String> =
        loaded.packs.iter().map(|pack| (Arc::clone(&pack.name), pack.root.clone())).collect();
    let files = Files { files: &loaded.files, roots: &roots };

    let params = unique(loaded.params, Kind::Param, report);
    let profiles = unique(loaded.profiles, Kind::Profile, report);
    let cluster_profiles = unique(loaded.cluster_profiles, Kind::ClusterProfile, report);
    for (name, cluster) in &cluster_profiles {
        let path = [Step::Key("metadata"), Step::Key("name")];
        if let Some(profile) = profiles.get(name) {
            let place = report.place(profile.document.value(&path));
            report
                .error(
                    "twin",
                    cluster.document.value(&path),
                    format!("`{name}` is a Profile already; machines name both in one list"),
                )
                .hint(format!("the Profile is at {place}"));
        }
        schemas::check_cluster_profile(cluster, report);
    }

    let mut environment = render::environment();
    let templates =
        tasks::templates(unique(loaded.templates, Kind::Template, report), &files, &mut environment, report);
    let unread = loaded.broken.iter().any(|(kind, _)| matches!(kind, Kind::Task | Kind::Param));
    let incomplete = unread || loaded.site.is_none() || !loaded.broken_packs.is_empty();
    let mut schemas = Schemas::new(&params, &loaded.broken, incomplete, report);
    let mut compiled_tasks = Named::new();
    for (name, object) in unique(loaded.tasks, Kind::Task, report) {
        if let Some(task) = tasks::task(&object, &references, &templates, &files, &mut schemas, report) {
            compiled_tasks.insert(name, Arc::new(task));
        }
    }
    let mut compiled_boot_envs = Named::new();
    compiled_boot_envs.insert(Arc::from(super::LOCAL), Arc::new(boot_envs::local()));
    for (name, object) in unique(loaded.boot_envs, Kind::BootEnv, report) {
        let boot_env = boot_envs::boot_env(&object, &environment, &references, report);
        compiled_boot_envs.insert(name, Arc::new(boot_env));
    }
    let mut stages = Named::new();
    for (name, object) in unique(loaded.stages, Kind::Stage, report) {
        let (mut stage, whole) = tasks::stage(&object, &references, &compiled_tasks, report);
        super::installer::complete(&mut stage, &compiled_boot_envs, &templates, report);
        stages.insert(name, (Arc::new(stage), whole));
    }
    let mut workflows = Named::new();
    let mut whole_workflows = HashSet::new();
    for (name, object) in unique(loaded.workflows, Kind::Workflow, report) {
        let (workflow, whole) = tasks::workflow(&object, &references, &stages, report);
        if whole {
            whole_workflows.insert(Arc::clone(&name));
        }
        workflows.insert(name, Arc::new(workflow));
    }

    let subnets_sound = !loaded.broken.iter().any(|(kind, _)| *kind == Kind::Subnet);
    let declared = unique(loaded.subnets, Kind::Subnet, report).into_values();
    let count = declared.len();
    let subnets: Vec<_> = declared.filter_map(|object| networks::subnet(object, report)).collect();
    networks::check_overlaps(&subnets, report);
    let subnets_sound = subnets_sound && subnets.len() == count;

    let machine_objects = unique(loaded.machines, Kind::Machine, report);
    let (machines, selectors) = machines::machines(machine_objects, &references, &subnets, subnets_sound, report);
    let rule_objects = unique(loaded.enrollments, Kind::Enrollment, report);
    let rules = machines::enrollments(rule_objects, &references, &environment, report);

    schemas::check_pack_defaults(&loaded.packs, report);
    let mut global = Vec::new();
    let mut global_whole = true;
    if let Some(site) = &loaded.site {
        let kinds = [Kind::Profile];
        (global, global_whole) = tasks::profile_names(
            &site.spec.global,
            &["spec", "global"],
            None,
            &site.document,
            &references,
            report,
            &kinds,
        );
    }
    check_requires(&loaded.packs, report);
    let packs: Vec<PackDefaults> = loaded
        .packs
        .into_iter()
        .map(|pack| PackDefaults { name: pack.name, params: pack.object.spec.params, document: pack.object.document })
        .collect();

    let (machines, machines_whole) = apart(machines);
    let (enrollments, rules_whole) = apart(rules);
    let catalog = Catalog {
        revision: Arc::from(revision),
        site: loaded.site.map(|site| site.name.to_string()).unwrap_or_default(),
        warnings: Findings::default(),
        machines,
        selectors,
        enrollments,
        subnets,
        profiles,
        params,
        cluster_profiles,
        tasks: compiled_tasks,
        stages: stages.into_iter().map(|(name, (stage, _))| (name, stage)).collect(),
        workflows,
        boot_envs: compiled_boot_envs,
        templates,
        packs,
        global,
        environment,
    };
    check_params(&catalog, &mut schemas, report);
    let params_sound = !loaded.broken.iter().any(|(kind, _)| *kind == Kind::Param);
    let mut checker = Checker::new(&catalog, &whole_workflows, report);
    if global_whole && params_sound {
        for (view, whole) in catalog.machines.iter().zip(machines_whole) {
            if whole {
                checker.machine(view);
            }
        }
        for (rule, whole) in catalog.enrollments.iter().zip(rules_whole) {
            if whole {
                checker.machine(&rule.view(&rule.name, "", None, None));
            }
        }
    }
    checker.tell(report);
    catalog
}

fn apart<T>(wholes: Vec<Whole<T>>) -> (Vec<T>, Vec<bool>) {
    wholes.into_iter().map(|whole| (whole.value, whole.whole)).unzip()
}

/// Packs that a pack requires are in use.
fn check_requires(packs: &[crate::content::Pack], report: &mut Report) {
    let names: Vec<&str> = packs.iter().map(|pack| &*pack.name).collect();
    for pack in packs {
        for (index, required) in pack.object.spec.requires.iter().enumerate() {
            if !names.contains(&required.as_str()) {
                let path = [Step::Key("spec"), Step::Key("requires"), Step::Item(index)];
                report
                    .error(
                        "unknown-pack",
                        pack.object.document.value(&path),
                        format!("pack `{}` requires pack `{required}`, which is not in use", pack.name),
                    )
                    .hint(format!("add it to spec.packs of site.yaml, such as `- builtin: {required}`"));
            }
        }
    }
}

/// Checks each value where it is written.
fn check_params(catalog: &Catalog, schemas: &mut Schemas, report: &mut Report) {
    let path = [Step::Key("spec"), Step::Key("params")];
    for machine in &catalog.machines {
        schemas.check_map(&machine.params, &machine.document, &path, report);
    }
    for rule in &catalog.enrollments {
        schemas.check_map(&rule.spec.params, &rule.document, &path, report);
    }
    for profile in catalog.profiles.values() {
        schemas.check_map(&profile.spec.params, &profile.document, &path, report);
    }
    for cluster in catalog.cluster_profiles.values() {
        schemas.check_map(&cluster.spec.params, &cluster.document, &path, report);
    }
    for stage in catalog.stages.values() {
        schemas.check_map(&stage.params, &stage.document, &path, report);
    }
    for pack in &catalog.packs {
        schemas.check_map(&pack.params, &pack.document, &path, report);
    }
}
