//! What only shows when a workflow is put on a machine: params that nobody gives, templates that cannot be rendered.
//!
//! What is known only at run time (facts, run-time keys of clusters, secrets, a leased address) is not guessed: what needs it
//! is left to the machine's own moment.

mod boot_text;

use super::boot_info::BootInfo;
use super::model::{CompiledAction, MachineView, Source, Stage, Task, Workflow};
use super::render::{self, Scope, ServerInfo};
use super::tasks::takes_in_others;
use super::tell::{message_of, render_hint, template_place};
use super::{Catalog, schemas::is_secret_reference, underscored};
use crate::content::{Place, Report, Severity, Step, place_of};
use crate::params::{self, ClusterKeys, LayerParams};
use crate::wire::MachineInfo;
use boot_text::{BootSource, BootText, boot_texts};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a template or expression speaks of.
#[derive(Debug, Clone, Default)]
struct Uses {
    /// Facts, or what another template may want: known only at run time.
    run_time: bool,
    /// The machine.
    machine: bool,
    /// The machine's address.
    address: bool,
    /// `params.NAME`.
    params: Vec<String>,
    /// All params, or one whose name is made while rendering.
    all_params: bool,
}

impl Uses {
    fn of(variables: impl IntoIterator<Item = String>, text: &str) -> Self {
        let mut uses = Self { run_time: takes_in_others(text), ..Self::default() };
        for variable in variables {
            let (root, field) = variable.split_once('.').unwrap_or((&variable, ""));
            match root {
                "facts" => uses.run_time = true,
                "machine" => {
                    uses.machine = true;
                    uses.address |= field.is_empty() || field == "address";
                }
                "params" if field.is_empty() => uses.all_params = true,
                "params" => {
                    uses.params.push(field.split('.').next().unwrap_or(field).to_owned());
                }
                _ => {}
            }
        }
        uses
    }

    /// Whether it can be tried for a machine.
    fn can_be_tried(&self, view: &MachineView) -> bool {
        let enrolled = matches!(view.source, Source::Enrollment { .. });
        let unknown = self.run_time || (self.machine && enrolled) || (self.address && view.address.is_none());
        !unknown
    }
}

/// One task of a workflow and what its steps speak of.
struct TaskUse<'a> {
    task: &'a Arc<Task>,
    /// For each step: its `if`, its template.
    steps: Vec<(Option<Uses>, Option<Uses>)>,
    /// Whether there is anything to try.
    tries: bool,
    machine: bool,
}

struct StageUse<'a> {
    stage: &'a Arc<Stage>,
    boot_texts: Vec<BootText<'a>>,
    tasks: Vec<TaskUse<'a>>,
}

/// A finding that many machines may share: told once, with the first of them.
struct Shared {
    place: Place,
    code: &'static str,
    message: String,
    hint: Option<String>,
    first: String,
    more: usize,
}

/// Checks each machine and rule with its workflow. `whole` says of which nothing is missing already; `whole_workflows` likewise.
pub(super) struct Checker<'a> {
    catalog: &'a Catalog,
    plans: HashMap<&'a str, Vec<StageUse<'a>>>,
    shared: IndexMap<(Place, String), Shared>,
    /// What was tried with which values, and whether it went well.
    tried: HashMap<(usize, u64), bool>,
    /// Whether there was nothing to say of the machine that is looked at.
    clean: bool,
    empty: ClusterKeys,
    nothing: Map<String, Value>,
    server: ServerInfo,
}

impl<'a> Checker<'a> {
    pub(super) fn new(catalog: &'a Catalog, whole_workflows: &HashSet<Arc<str>>, report: &mut Report) -> Self {
        let mut plans = HashMap::new();
        for task in catalog.tasks.values() {
            check_declared(catalog, task, report);
        }
        for workflow in catalog.workflows.values().filter(|workflow| whole_workflows.contains(&workflow.name)) {
            plans.insert(&*workflow.name, plan(catalog, workflow));
        }
        Self {
            catalog,
            plans,
            shared: IndexMap::new(),
            tried: HashMap::new(),
            clean: true,
            empty: ClusterKeys::default(),
            nothing: Map::new(),
            // Texts of the shape that the server will put there; what they are exactly changes nothing that is checked.
            server: ServerInfo {
                http: "http://192.0.2.1:8080".to_owned(),
                https: "https://192.0.2.1:8443".to_owned(),
                site: catalog.site.clone(),
            },
        }
    }

    /// Checks one machine; whether there was nothing to say of it.
    pub(super) fn machine(&mut self, view: &MachineView) -> bool {
        self.clean = true;
        let Some(workflow) = view.workflow.as_deref() else { return true };
        let Some(plan) = self.plans.remove(workflow) else { return true };
        let clusters = self.catalog.clusters_of(view);
        let run_time: HashSet<&str> = clusters
            .iter()
            .flat_map(|cluster| &cluster.spec.keys)
            .filter(|key| key.param)
            .map(|key| key.name.as_str())
            .collect();
        for stage_use in &plan {
            let empty = std::mem::take(&mut self.empty);
            let layers = params::layers(self.catalog, view, Some(stage_use.stage), &empty);
            for task_use in &stage_use.tasks {
                self.task(view, workflow, stage_use.stage, task_use, &layers, &run_time);
            }
            for (index, text) in stage_use.boot_texts.iter().enumerate() {
                self.boot_text(view, stage_use.stage, index, text, &layers);
            }
            drop(layers);
            self.empty = empty;
        }
        // The plan was only lent: keys live as long as the catalog.
        if let Some(workflow) = self.catalog.workflow(workflow) {
            self.plans.insert(&workflow.name, plan);
        }
        self.clean
    }

    fn task(
        &mut self,
        view: &MachineView,
        workflow: &str,
        stage: &Stage,
        task_use: &TaskUse<'_>,
        layers: &[LayerParams<'_>],
        run_time: &HashSet<&str>,
    ) {
        let task = task_use.task;
        let mut values = Map::new();
        let mut opaque = false;
        let mut missing = false;
        for param in &task.params {
            if run_time.contains(param.name.as_str()) {
                opaque = true;
                continue;
            }
            match params::lookup(self.catalog, layers, &param.name) {
                Some(value) => {
                    opaque |= is_secret_reference(value);
                    if task_use.tries {
                        values.insert(param.name.clone(), value.clone());
                    }
                }
                None if param.required => {
                    missing = true;
                    let message = format!(
                        "workflow `{workflow}` needs the param `{}` (task `{}` of stage `{}`), and nothing gives it",
                        param.name, task.name, stage.name
                    );
                    let hint = "give it in spec.params, in a profile, or as the Param's default".to_owned();
                    self.share(None, view, "missing-param", message, Some(hint));
                }
                None => {}
            }
        }
        if missing || opaque || !task_use.tries {
            return;
        }
        let key = (Arc::as_ptr(task) as usize, hash(&values, task_use.machine.then_some(view)));
        if self.was_tried(key) {
            return;
        }
        let machine = machine_info(view);
        let scope =
            Scope { params: &values, facts: &self.nothing, machine: &machine, server: &self.server, boot: None };
        let mut failures = Vec::new();
        for (index, (step, (condition, template))) in task.steps.iter().zip(&task_use.steps).enumerate() {
            if let (Some(uses), Some(text)) = (condition, &step.condition) {
                if !uses.can_be_tried(view) {
                    continue;
                }
                match render::evaluate(&self.catalog.environment, "`if`", text, &scope) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => {
                        let path = [Step::Key("spec"), Step::Key("steps"), Step::Item(index), Step::Key("if")];
                        failures.push((place_of(task.document.value(&path)), message_of(&error)));
                        continue;
                    }
                }
            }
            let (Some(uses), CompiledAction::Template { template, .. }) = (template, &step.action) else { continue };
            if !uses.can_be_tried(view) {
                continue;
            }
            if let Err(error) = render::render_named(&self.catalog.environment, template, &scope) {
                let place = self
                    .catalog
                    .template(template)
                    .map_or_else(|| task.document.place(), |known| template_place(known, &error));
                failures.push((place, message_of(&error)));
            }
        }
        self.tried.insert(key, failures.is_empty());
        for (place, message) in failures {
            let message = format!("task `{}` cannot be rendered: {message}", task.name);
            let hint = render_hint(&message);
            self.share(Some(place), view, "render", message, hint);
        }
    }

    fn boot_text(
        &mut self,
        view: &MachineView,
        stage: &Stage,
        index: usize,
        text: &BootText<'_>,
        layers: &[LayerParams<'_>],
    ) {
        let uses = &text.uses;
        if !uses.can_be_tried(view) {
            return;
        }
        let values: Map<String, Value> = if uses.all_params {
            params::resolve(self.catalog, view, Some(stage), &ClusterKeys::default()).values()
        } else {
            let found = uses.params.iter().filter_map(|name| params::lookup_spoken(self.catalog, layers, name));
            found.map(|(name, value)| (name.to_owned(), value.clone())).collect()
        };
        let secret = values.iter().find(|(name, value)| {
            is_secret_reference(value) || self.catalog.param(name).is_some_and(|param| param.spec.secret)
        });
        if let Some((name, _)) = secret {
            let message = format!(
                "boot environment `{}` speaks of the param `{name}`, which is secret; what a boot is served travels in plain",
                text.boot_env.name
            );
            let hint = "a secret belongs into a task, whose job travels over TLS".to_owned();
            self.share(text.place(), view, "secret-in-boot", message, Some(hint));
            return;
        }
        let place_in_memory = std::ptr::from_ref(text.boot_env) as usize;
        let key = (place_in_memory.wrapping_add(index), hash(&values, uses.machine.then_some(view)));
        if self.was_tried(key) {
            return;
        }
        let machine = machine_info(view);
        let token = matches!(text.source, BootSource::Template(_)).then(|| "token".to_owned());
        let boot = BootInfo::of(&self.server, "offer", text.boot_env.ends_by, token);
        let scope =
            Scope { params: &values, facts: &self.nothing, machine: &machine, server: &self.server, boot: Some(&boot) };
        let environment = &self.catalog.environment;
        let failure = match &text.source {
            BootSource::Arguments(_, arguments) => {
                let error = render::render_text(environment, "arguments", arguments, &scope).err();
                error.and_then(|error| Some((text.place()?, error)))
            }
            BootSource::Template(template) => render::render_named(environment, &template.name, &scope)
                .err()
                .map(|error| (template_place(template, &error), error)),
        };
        self.tried.insert(key, failure.is_none());
        if let Some((place, error)) = failure {
            let message =
                format!("boot environment `{}` cannot be rendered: {}", text.boot_env.name, message_of(&error));
            let hint = render_hint(&message);
            self.share(Some(place), view, "render", message, hint);
        }
    }

    /// Whether this was tried with such values before. What failed for another machine fails for this one as well, though it
    /// is not said again.
    fn was_tried(&mut self, key: (usize, u64)) -> bool {
        let before = self.tried.get(&key).copied();
        self.clean &= before != Some(false);
        before.is_some()
    }

    /// Keeps a finding; without a place it is where the machine says its workflow.
    fn share(
        &mut self,
        place: Option<Place>,
        view: &MachineView,
        code: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        self.clean = false;
        // One line a machine would say the same thousands of times.
        let key_place = place.clone().unwrap_or_else(|| Place { file: Arc::from(""), line: 0, column: 0 });
        if let Some(known) = self.shared.get_mut(&(key_place.clone(), message.clone())) {
            known.more += 1;
            return;
        }
        let place = place.unwrap_or_else(|| place_of(view.document.value(&[Step::Key("spec"), Step::Key("workflow")])));
        let first = match &view.source {
            Source::Git(_) => format!("machine `{}`", view.name),
            Source::Enrollment { rule } => format!("machines of enrollment `{rule}`"),
        };
        let shared = Shared { place, code, message: message.clone(), hint, first, more: 0 };
        self.shared.insert((key_place, message), shared);
    }

    /// Tells all that was found.
    pub(super) fn tell(self, report: &mut Report) {
        for shared in self.shared.into_values() {
            let who = match (shared.code, shared.more) {
                // Each set of values is tried once: how many machines share it is not counted.
                ("render", _) => format!("tried for {}", shared.first),
                (_, 0) => shared.first,
                (_, more) => format!("{} and {more} more", shared.first),
            };
            let message = format!("{} ({who})", shared.message);
            report.at(Severity::Error, shared.code, shared.place, message).hint_if(shared.hint);
        }
    }
}

/// Of the values that something is tried with.
fn hash(values: &Map<String, Value>, machine: Option<&MachineView>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in values {
        (name, value.to_string()).hash(&mut hasher);
    }
    machine.map(|machine| &machine.name).hash(&mut hasher);
    hasher.finish()
}

fn machine_info(view: &MachineView) -> MachineInfo {
    MachineInfo {
        name: view.name.clone(),
        address: view.address.map(|address| address.to_string()),
        macs: view.macs.clone(),
        labels: view.labels.clone(),
        files: "http://192.0.2.1:8080/files".to_owned(),
    }
}

fn plan<'a>(catalog: &'a Catalog, workflow: &'a Workflow) -> Vec<StageUse<'a>> {
    let stages = workflow.stages.iter();
    stages
        .map(|stage| StageUse {
            stage,
            boot_texts: stage
                .boot_env
                .as_deref()
                .and_then(|name| catalog.boot_env(name))
                .map_or_else(Vec::new, |boot_env| boot_texts(catalog, boot_env)),
            tasks: stage.tasks.iter().map(|task| task_use(catalog, task)).collect(),
        })
        .collect()
}

fn task_use<'a>(catalog: &Catalog, task: &'a Arc<Task>) -> TaskUse<'a> {
    let steps: Vec<(Option<Uses>, Option<Uses>)> = task.steps.iter().map(|step| uses_of(catalog, step)).collect();
    let tries = steps.iter().any(|(condition, template)| condition.is_some() || template.is_some());
    let machine =
        steps.iter().any(|(condition, template)| [condition, template].into_iter().flatten().any(|uses| uses.machine));
    TaskUse { task, steps, tries, machine }
}

fn uses_of(catalog: &Catalog, step: &super::CompiledStep) -> (Option<Uses>, Option<Uses>) {
    let environment = &catalog.environment;
    let condition = step.condition.as_deref().and_then(|text| {
        let expression = environment.compile_expression(text).ok()?;
        Some(Uses::of(expression.undeclared_variables(true), text))
    });
    let template = match &step.action {
        CompiledAction::Template { template, .. } => environment.get_template(template).ok().map(|compiled| {
            let text = catalog.template(template).map_or("", |known| &known.text);
            Uses::of(compiled.undeclared_variables(true), text)
        }),
        _ => None,
    };
    (condition, template)
}

/// A task's templates and conditions speak only of params that it declares: it gets no others.
fn check_declared(catalog: &Catalog, task: &Task, report: &mut Report) {
    for (index, step) in task.steps.iter().enumerate() {
        let (condition, template) = uses_of(catalog, step);
        for (field, uses) in [("if", condition), ("template", template)] {
            for name in uses.into_iter().flat_map(|uses| uses.params) {
                if task.params.iter().any(|param| param.name == name || underscored(&param.name) == name) {
                    continue;
                }
                let path = [Step::Key("spec"), Step::Key("steps"), Step::Item(index), Step::Key(field)];
                let dashed = task
                    .params
                    .iter()
                    .find(|param| param.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-')));
                let near = crate::content::names::nearest(&name, task.params.iter().map(|param| param.name.as_str()))
                    .map(|near| format!("did you mean `{near}`?"));
                report
                    .error(
                        "undeclared-param",
                        task.document.value(&path),
                        format!("it speaks of the param `{name}`, which task `{}` does not declare", task.name),
                    )
                    .hint(dashed.map(|param| written_with_underscores(&param.name)).or(near).unwrap_or_else(|| {
                        "add it to the task's spec.params: a task gets the params it declares and no others".to_owned()
                    }));
            }
        }
    }
}

/// A `-` in a template is a minus.
fn written_with_underscores(param: &str) -> String {
    format!("a `-` in a param's name is written `_` here: `params.{}`", underscored(param))
}
