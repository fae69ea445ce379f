//! Stages and workflows, and lists of profiles: references resolved.

use super::model::{OnFailure, Stage, Task, Workflow};
use super::references::{Found, References};
use super::{LOCAL, Named};
use crate::content::kinds::{StageSpec, WorkflowSpec};
use crate::content::{Document, Kind, Object, Report, Step};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Compiles a stage. The second part says whether all it refers to is sound.
pub(super) fn stage(
    object: &Object<StageSpec>,
    references: &References,
    tasks: &Named<Arc<Task>>,
    report: &mut Report,
) -> (Stage, bool) {
    let document = &object.document;
    let pack = object.pack.as_ref();
    let mut whole = true;
    let boot_env = object.spec.boot_env.as_ref().and_then(|written| {
        if written == LOCAL {
            return Some(Arc::from(LOCAL));
        }
        let path = [Step::Key("spec"), Step::Key("bootEnv")];
        let found = references.resolve(Kind::BootEnv, pack, written, document.value(&path), report).sound();
        whole &= found.is_some();
        found
    });
    let mut names = HashSet::new();
    let mut resolved = Vec::with_capacity(object.spec.tasks.len());
    for (index, written) in object.spec.tasks.iter().enumerate() {
        let path = [Step::Key("spec"), Step::Key("tasks"), Step::Item(index)];
        let found = references.resolve(Kind::Task, pack, written, document.value(&path), report).sound();
        let Some(task) = found.and_then(|name| tasks.get(&name)) else {
            whole = false;
            continue;
        };
        if !names.insert(Arc::clone(&task.name)) {
            report
                .error("twin", document.value(&path), format!("task `{}` is in this stage twice", task.name))
                .hint("a stage does a task once; put the second into a stage of its own");
        }
        resolved.push(Arc::clone(task));
    }
    let profiles = profile_names(
        &object.spec.profiles,
        &["spec", "profiles"],
        pack,
        document,
        references,
        report,
        &[Kind::Profile],
    );
    whole &= profiles.1;
    // Whether the stage is in the workflow is the workflow's to say; that it exists is said here.
    let on_failure = match &object.spec.on_failure {
        OnFailure::Stop => OnFailure::Stop,
        OnFailure::Continue => OnFailure::Continue,
        OnFailure::GoTo(written) => {
            let path = [Step::Key("spec"), Step::Key("onFailure"), Step::Key("goTo")];
            match references.resolve(Kind::Stage, pack, written, document.value(&path), report) {
                Found::Sound(name) => OnFailure::GoTo(name.to_string()),
                Found::Hole => {
                    whole = false;
                    OnFailure::Stop
                }
            }
        }
    };
    let stage = Stage {
        name: Arc::clone(&object.name),
        description: object.spec.description.clone(),
        boot_env,
        tasks: resolved,
        destructive: object.spec.destructive,
        on_failure,
        fresh_boot: object.spec.fresh_boot,
        params: object.spec.params.clone(),
        profiles: profiles.0,
        document: document.clone(),
    };
    (stage, whole)
}

/// Resolves a list of profiles. The second part says whether all were found.
pub(super) fn profile_names(
    written: &[String],
    path: &[&'static str],
    pack: Option<&Arc<str>>,
    document: &Document,
    references: &References,
    report: &mut Report,
    kinds: &[Kind],
) -> (Vec<String>, bool) {
    let mut names: Vec<String> = Vec::with_capacity(written.len());
    let mut whole = true;
    for (index, written) in written.iter().enumerate() {
        let mut way: Vec<Step<'_>> = path.iter().copied().map(Step::Key).collect();
        way.push(Step::Item(index));
        match references.resolve_any(kinds, pack, written, document.value(&way), report) {
            Found::Sound(name) if names.iter().any(|known| **known == *name) => {
                report
                    .warning("twin", document.value(&way), format!("profile `{name}` is in this list twice"))
                    .hint("the first one counts");
            }
            Found::Sound(name) => names.push(name.to_string()),
            Found::Hole => whole = false,
        }
    }
    (names, whole)
}

/// Compiles a workflow. The second part says whether all it refers to is sound.
pub(super) fn workflow(
    object: &Object<WorkflowSpec>,
    references: &References,
    stages: &Named<(Arc<Stage>, bool)>,
    report: &mut Report,
) -> (Workflow, bool) {
    let document = &object.document;
    let mut whole = true;
    let mut resolved: Vec<Arc<Stage>> = Vec::new();
    let at = |index: usize| [Step::Key("spec"), Step::Key("stages"), Step::Item(index)];
    let mut positions: HashMap<Arc<str>, usize> = HashMap::new();
    if object.spec.stages.is_empty() {
        report.error(
            "no-stages",
            document.value(&["spec".into(), "stages".into()]),
            "a workflow has at least one stage",
        );
        whole = false;
    }
    for (index, written) in object.spec.stages.iter().enumerate() {
        let found =
            references.resolve(Kind::Stage, object.pack.as_ref(), written, document.value(&at(index)), report).sound();
        let Some((stage, sound)) = found.and_then(|name| stages.get(&name)) else {
            whole = false;
            continue;
        };
        whole &= sound;
        if positions.insert(Arc::clone(&stage.name), index).is_some() {
            report
                .error("twin", document.value(&at(index)), format!("stage `{}` is in this workflow twice", stage.name))
                .hint("a run is in a stage once; declare a second stage with the same tasks");
        }
        resolved.push(Arc::clone(stage));
    }
    for stage in &resolved {
        let OnFailure::GoTo(target) = &stage.on_failure else { continue };
        let index = positions.get(&stage.name).copied().unwrap_or(0);
        match positions.get(target.as_str()) {
            Some(position) if *position > index => {}
            Some(_) => report
                .error(
                    "go-to-back",
                    document.value(&at(index)),
                    format!(
                        "after a failure, stage `{}` goes on with `{target}`, which is not later in this workflow",
                        stage.name
                    ),
                )
                .hint("a run only goes forward: what shall be done again is a retry, or a raised run"),
            None if whole => report
                .error(
                    "go-to-missing",
                    document.value(&at(index)),
                    format!(
                        "after a failure, stage `{}` goes on with `{target}`, which is not in this workflow",
                        stage.name
                    ),
                )
                .hint(format!("add `{target}` after it, or change the stage's onFailure")),
            None => {}
        }
    }
    let workflow = Workflow {
        name: Arc::clone(&object.name),
        description: object.spec.description.clone(),
        stages: resolved,
        place: document.place(),
        document: document.clone(),
    };
    (workflow, whole)
}
