//! From loaded content to a catalog, in the order in which things refer to each other.

use super::check::Checker;
use super::ground::{Ground, Parts};
use super::machines::{Machine, Whole};
use super::memory::{Clean, Machines, Memory, Work};
use super::references::References;
use super::schemas::{self, Schemas};
use super::tasks::{self, Files};
use super::{Catalog, Declared, Named, PackDefaults, boot_envs, machines, networks, render, stages};
use crate::content::kinds::SiteSpec;
use crate::content::sops::Keys;
use crate::content::{Findings, Kind, Loaded, Object, Place, Report, Severity, Step, Stop, Tree};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Reads and compiles a tree: all findings of both at once. `builtin` are the packs that come with the program.
///
/// # Errors
/// All findings, warnings too, where one of them is an error.
pub fn from_tree(tree: &Tree, builtin: &BTreeMap<String, Tree>, revision: &str) -> Result<Catalog, Findings> {
    from_tree_with(tree, builtin, revision, &Keys::Unknown)
}

/// As [`from_tree`], with what opens the files that SOPS encrypted.
///
/// # Errors
/// All findings, warnings too, where one of them is an error.
pub fn from_tree_with(
    tree: &Tree,
    builtin: &BTreeMap<String, Tree>,
    revision: &str,
    keys: &Keys,
) -> Result<Catalog, Findings> {
    in_memory(tree, builtin, revision, keys, &mut Memory::default(), &Stop::default())
}

/// As [`from_tree`], left off when that is asked for.
///
/// # Errors
/// All findings, warnings too, where one of them is an error; that it was left off is one.
pub fn from_tree_until(
    tree: &Tree,
    builtin: &BTreeMap<String, Tree>,
    revision: &str,
    stop: &Stop,
) -> Result<Catalog, Findings> {
    in_memory(tree, builtin, revision, &Keys::Unknown, &mut Memory::default(), stop)
}

/// Compiles what was loaded.
///
/// # Errors
/// All findings, warnings too, where one of them is an error.
pub fn compile(loaded: Loaded, revision: &str) -> Result<Catalog, Findings> {
    let mut report = Report::default();
    let catalog = build(loaded, revision, &mut Machines::default(), &mut report);
    judge(catalog, report)
}

/// Compiles one revision after another: what a revision has in common with the last good one, or the last attempted one, is not
/// read and not compiled again. The answer is the one that [`from_tree`] gives.
#[derive(Debug)]
pub struct Compiler {
    builtin: BTreeMap<String, Tree>,
    keys: Keys,
    memory: Memory,
    work: Work,
}

impl Compiler {
    /// With the packs that come with the program, by name, and what opens encrypted files.
    pub fn new(builtin: BTreeMap<String, Tree>, keys: Keys) -> Self {
        Self { builtin, keys, memory: Memory::default(), work: Work::default() }
    }

    /// Reads and compiles a tree.
    ///
    /// # Errors
    /// All findings, warnings too, where one of them is an error.
    pub fn compile(&mut self, tree: &Tree, revision: &str) -> Result<Catalog, Findings> {
        self.compile_until(tree, revision, &Stop::default())
    }

    /// The same, left off when that is asked for.
    ///
    /// # Errors
    /// All findings, warnings too, where one of them is an error; that it was left off is one.
    pub fn compile_until(&mut self, tree: &Tree, revision: &str, stop: &Stop) -> Result<Catalog, Findings> {
        self.memory.begin();
        let answer = in_memory(tree, &self.builtin, revision, &self.keys, &mut self.memory, stop);
        self.memory.end(answer.is_ok());
        self.work = Work {
            files_parsed: self.memory.content.parsed(),
            machines_compiled: self.memory.machines.compiled(),
            files: tree.files.len(),
            machines: answer.as_ref().map_or(0, |catalog| catalog.machines.len()),
        };
        answer
    }

    /// Files and machines that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.memory.content.len(), self.memory.machines.len())
    }

    /// What the last revision cost.
    pub fn work(&self) -> Work {
        self.work
    }
}

fn in_memory(
    tree: &Tree,
    builtin: &BTreeMap<String, Tree>,
    revision: &str,
    keys: &Keys,
    memory: &mut Memory,
    stop: &Stop,
) -> Result<Catalog, Findings> {
    let mut report = Report::with_keys(keys.clone()).until(stop);
    let loaded = crate::content::read(tree, builtin, &mut memory.content, &mut report);
    let guessed = loaded.with_guesses();
    let catalog = build(loaded, revision, &mut memory.machines, &mut report);
    if let Some(mut guessed) = guessed {
        report.look_at(std::mem::take(&mut guessed.guesses));
        build(guessed, revision, &mut Machines::default(), &mut report);
        report.look_at_all();
    }
    if stop.is_asked() {
        let place = Place { file: Arc::from("site.yaml"), line: 1, column: 1 };
        report.at(Severity::Error, "left-off", place, "it was not looked at to its end: nobody waited any longer");
    }
    judge(catalog, report)
}

fn judge(mut catalog: Catalog, report: Report) -> Result<Catalog, Findings> {
    if report.refuses() {
        return Err(report.into_findings());
    }
    catalog.warnings = report.into_findings();
    Ok(catalog)
}

/// Objects by name; the second of a name is reported and left out.
fn unique<T>(objects: Vec<Arc<Object<T>>>, kind: Kind, report: &mut Report) -> Named<Arc<Object<T>>> {
    let mut named: Named<Arc<Object<T>>> = Named::new();
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

fn build(mut loaded: Loaded, revision: &str, memory: &mut Machines, report: &mut Report) -> Catalog {
    let references = References::new(&loaded);
    let roots: HashMap<Arc<str>, String> =
        loaded.packs.iter().map(|pack| (Arc::clone(&pack.name), pack.root.clone())).collect();
    let (site_files, builtin_files) = (std::mem::take(&mut loaded.files), std::mem::take(&mut loaded.builtin_files));
    let files = Files { site: &site_files, builtin: &builtin_files, roots: &roots };

    let params = unique(std::mem::take(&mut loaded.params), Kind::Param, report);
    let profiles = unique(std::mem::take(&mut loaded.profiles), Kind::Profile, report);
    let cluster_profiles = unique(std::mem::take(&mut loaded.cluster_profiles), Kind::ClusterProfile, report);
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
    let templates = tasks::templates(
        unique(std::mem::take(&mut loaded.templates), Kind::Template, report),
        &files,
        &mut environment,
        report,
    );
    let unread = loaded.broken.iter().any(|(kind, _)| matches!(kind, Kind::Task | Kind::Param));
    let incomplete = unread || loaded.site.is_none() || !loaded.broken_packs.is_empty();
    let mut schemas = Schemas::new(&params, &loaded.broken, incomplete, report);
    let mut compiled_tasks = Named::new();
    for (name, object) in unique(std::mem::take(&mut loaded.tasks), Kind::Task, report) {
        if let Some(task) = tasks::task(&object, &references, &templates, &files, &mut schemas, report) {
            compiled_tasks.insert(name, Arc::new(task));
        }
    }
    let mut compiled_boot_envs = Named::new();
    compiled_boot_envs.insert(Arc::from(super::LOCAL), Arc::new(boot_envs::local()));
    for (name, object) in unique(std::mem::take(&mut loaded.boot_envs), Kind::BootEnv, report) {
        let boot_env = boot_envs::boot_env(&object, &environment, &references, report);
        compiled_boot_envs.insert(name, Arc::new(boot_env));
    }
    let mut stages = Named::new();
    for (name, object) in unique(std::mem::take(&mut loaded.stages), Kind::Stage, report) {
        let (mut stage, whole) = stages::stage(&object, &references, &compiled_tasks, report);
        super::installer::complete(&mut stage, &compiled_boot_envs, &templates, report);
        stages.insert(name, (Arc::new(stage), whole));
    }
    let mut workflows = Named::new();
    let mut whole_workflows = HashSet::new();
    for (name, object) in unique(std::mem::take(&mut loaded.workflows), Kind::Workflow, report) {
        let (workflow, whole) = stages::workflow(&object, &references, &stages, report);
        if whole {
            whole_workflows.insert(Arc::clone(&name));
        }
        workflows.insert(name, Arc::new(workflow));
    }

    let subnets_sound = !loaded.broken.iter().any(|(kind, _)| *kind == Kind::Subnet);
    let declared = unique(std::mem::take(&mut loaded.subnets), Kind::Subnet, report).into_values();
    let count = declared.len();
    let subnets: Vec<_> = declared.filter_map(|object| networks::subnet(&object, report)).collect();
    networks::check_overlaps(&subnets, report);
    let subnets_sound = subnets_sound && subnets.len() == count;

    let machine_objects = unique(std::mem::take(&mut loaded.machines), Kind::Machine, report);
    let ground = Ground::new(&Parts {
        loaded: &loaded,
        references: &references,
        params: &params,
        profiles: &profiles,
        cluster_profiles: &cluster_profiles,
        templates: &templates,
        boot_envs: &compiled_boot_envs,
        stages: &stages,
        workflows: &workflows,
        whole_workflows: &whole_workflows,
        subnets: &subnets,
        subnets_sound,
        schemas: &schemas,
    });
    let (mut machines, selectors) = machines::machines(
        machine_objects,
        &references,
        &subnets,
        subnets_sound,
        &loaded.mounts,
        (memory, &ground),
        report,
    );
    let rule_objects = unique(std::mem::take(&mut loaded.enrollments), Kind::Enrollment, report);
    let rules = machines::enrollments(rule_objects, &references, &environment, report);

    schemas::check_pack_defaults(&loaded.packs, report);
    let mut global = Vec::new();
    let mut global_whole = true;
    if let Some(site) = &loaded.site {
        check_guards(site, report);
        let kinds = [Kind::Profile];
        (global, global_whole) = stages::profile_names(
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
    let packs: Vec<PackDefaults> = std::mem::take(&mut loaded.packs)
        .into_iter()
        .map(|pack| PackDefaults { name: pack.name, params: pack.object.spec.params, document: pack.object.document })
        .collect();

    let (enrollments, rules_whole) = apart(rules);
    let declared = machines.iter().map(|machine| Declared {
        view: Arc::clone(&machine.view),
        object: Arc::clone(&machine.object),
        basis: match &machine.recalled {
            Some(clean) => Some(clean.basis),
            None => ground.basis(&machine.object, &references),
        },
    });
    let catalog = Catalog {
        revision: Arc::from(revision),
        site: loaded.site.as_ref().map(|site| site.name.to_string()).unwrap_or_default(),
        wipe_guard: loaded.site.as_ref().map(|site| site.spec.wipe_guard).unwrap_or_default(),
        leave_guard: loaded.site.as_ref().map(|site| site.spec.leave_guard).unwrap_or_default(),
        site_document: loaded.site.map(|site| site.document),
        warnings: Findings::default(),
        machines: declared.collect(),
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
    let undeclared = check_params(&catalog, &mut machines, &mut schemas, report);
    let params_sound = !loaded.broken.iter().any(|(kind, _)| *kind == Kind::Param);
    let checked = global_whole && params_sound;
    let mut checker = Checker::new(&catalog, &whole_workflows, report);
    for ((machine, undeclared), declared) in machines.into_iter().zip(undeclared).zip(&catalog.machines) {
        if report.stop.is_asked() {
            break;
        }
        if machine.recalled.is_some() || !checked || !machine.whole {
            continue;
        }
        let clean = checker.machine(&machine.view) && machine.silent;
        if let (true, Some(basis)) = (clean, declared.basis) {
            memory.keep(&machine.object, Clean { view: machine.view, undeclared, basis }, &ground);
        }
    }
    if checked {
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

/// A share is a percentage.
fn check_guards(site: &Object<SiteSpec>, report: &mut Report) {
    let guards = [
        ("wipe-guard", "wipeGuard", site.spec.wipe_guard.share),
        ("leave-guard", "leaveGuard", site.spec.leave_guard.share),
    ];
    for (code, field, share) in guards.into_iter().filter(|(.., share)| *share > 100) {
        let path = [Step::Key("spec"), Step::Key(field), Step::Key("share")];
        let message = format!("{share} is no share of all machines: 0 to 100 percent");
        report
            .error(code, site.document.value(&path), message)
            .hint("at 100 every commit is let through; where it is not given it is 25");
    }
}

/// Checks each value where it is written. For each machine, which of its params nothing declares; one of whose values
/// something had to be said is silent no more.
fn check_params(
    catalog: &Catalog,
    machines: &mut [Machine],
    schemas: &mut Schemas,
    report: &mut Report,
) -> Vec<Arc<[String]>> {
    let path = [Step::Key("spec"), Step::Key("params")];
    let none: Arc<[String]> = Arc::from([]);
    let mut undeclared = Vec::with_capacity(machines.len());
    for machine in machines {
        let document = &machine.object.document;
        let names = if let Some(clean) = &machine.recalled {
            clean.undeclared.iter().for_each(|name| schemas.tell_unknown(name, document, &path, report));
            Arc::clone(&clean.undeclared)
        } else {
            let (names, clean) = schemas.check_map(&machine.object.spec.params, document, &path, report);
            machine.silent &= clean;
            if names.is_empty() { Arc::clone(&none) } else { Arc::from(names) }
        };
        undeclared.push(names);
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
    undeclared
}
