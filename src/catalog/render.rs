//! Rendering: templates, `if:`, kernel command lines. Undefined is an error; what it may cost is bounded.

use super::Catalog;
use super::boot_info::BootInfo;
use super::model::{BootEnv, CompiledAction, Task};
use super::tame;
use crate::content::kinds::Architecture;
use crate::wire::{MachineInfo, Step, StepAction};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value, ValueKind};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::Serialize;
use serde_json::Map;
use std::sync::Arc;

/// Instructions that one rendering may take: thousands of lines, no endless loop.
const FUEL: u64 = 2_000_000;
/// The largest text that a template may become, bytes.
const RENDERED_BYTES_MAX: usize = 1024 * 1024;
/// How deep loops, macros and templates that take each other in go, in the engine's own measure (a macro is 4, a template 10): each is a
/// good piece of a thread's stack.
const DEEP_MAX: usize = 300;
/// A list or map that is printed has so many values in it at most.
const PRINTED_VALUES_MAX: usize = RENDERED_BYTES_MAX / 2;
/// A list or map that is printed holds others at most so deep.
const PRINTED_DEPTH_MAX: usize = 150;

/// Why something could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A template or expression failed.
    #[error("{what}, line {line}: {message}")]
    Failed {
        /// Which template, step or command line.
        what: String,
        /// Line of its text, from 1.
        line: usize,
        /// Bytes of its text that are to blame.
        range: Option<(usize, usize)>,
        /// What went wrong.
        message: String,
    },
    /// The text became too large.
    #[error("{what} became {bytes} bytes; at most {RENDERED_BYTES_MAX} are allowed")]
    TooLarge {
        /// Which template.
        what: String,
        /// How large.
        bytes: usize,
    },
    /// There is no template or boot environment of that name.
    #[error("there is no {0} in this revision")]
    Unknown(String),
    /// The boot environment has nothing for this architecture.
    #[error("boot environment {environment} has nothing for {architecture}")]
    Architecture {
        /// The boot environment.
        environment: String,
        /// The architecture.
        architecture: &'static str,
    },
}

/// What templates know of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// `http://ADDRESS:PORT`, boot files.
    pub http: String,
    /// `https://ADDRESS:PORT`, the API.
    pub https: String,
    /// The site's name.
    pub site: String,
}

/// What a template may speak of.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Params: for a task those it declares, for a boot all.
    pub params: &'a Map<String, serde_json::Value>,
    /// Facts of the machine; none in boot decisions.
    pub facts: &'a Map<String, serde_json::Value>,
    /// The machine.
    pub machine: &'a MachineInfo,
    /// The server.
    pub server: &'a ServerInfo,
    /// The boot, for its command line and files; none in tasks.
    pub boot: Option<&'a BootInfo>,
}

/// Params in templates: `params['install-disk']`, and `params.install_disk` as in a script's environment.
#[derive(Debug)]
struct ParamsObject(Vec<(Arc<str>, Value)>);

impl Object for ParamsObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        let exact = self.0.iter().find(|(name, _)| **name == *key);
        exact.or_else(|| self.0.iter().find(|(name, _)| underscored(name) == key)).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(Arc::clone(name))).collect())
    }
}

/// A param's name where `-` and `.` cannot stand.
pub(crate) fn underscored(name: &str) -> String {
    name.replace(['-', '.'], "_")
}

impl Scope<'_> {
    fn context(&self) -> Value {
        let params =
            self.params.iter().map(|(name, value)| (Arc::from(name.as_str()), Value::from(Serde(value)))).collect();
        context! {
            params => Value::from_object(ParamsObject(params)),
            facts => Value::from(Serde(self.facts)),
            machine => Value::from(Serde(self.machine)),
            server => Value::from(Serde(self.server)),
            boot => self.boot.map_or(Value::UNDEFINED, |boot| Value::from(Serde(boot))),
        }
    }
}

/// How templates are written.
pub(super) fn syntax() -> SyntaxConfig {
    // A line that holds only a block tag leaves no line behind; the last newline stays. (Only delimiters can be refused here.)
    let built = SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    built.unwrap_or_default()
}

/// Counts what is in a value before it is printed, since printing calls itself for what lies in what, and its price is known only after.
fn measure(value: &Value) -> Result<(), minijinja::Error> {
    let holds = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable);
    if !holds(value) {
        return Ok(());
    }
    let too_much = |what: &str| Err(minijinja::Error::new(minijinja::ErrorKind::OutOfFuel, what.to_owned()));
    let mut waiting = vec![(value.clone(), 1)];
    let mut values = 0;
    while let Some((holder, depth)) = waiting.pop() {
        if depth > PRINTED_DEPTH_MAX {
            return too_much("what is printed holds itself, or others too deep");
        }
        let is_map = holder.kind() == ValueKind::Map;
        for inner in holder.try_iter()? {
            values += 1;
            if values > PRINTED_VALUES_MAX {
                return too_much("what is printed has too many values in it");
            }
            let inner = if is_map { holder.get_item(&inner)? } else { inner };
            if holds(&inner) {
                waiting.push((inner, depth + 1));
            }
        }
    }
    Ok(())
}

/// An environment without templates.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // These are configuration files, not web pages.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax());
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEEP_MAX);
    environment.set_formatter(|out, state, value| {
        measure(value)?;
        minijinja::escape_formatter(out, state, value)
    });
    // The one makes values that hold themselves; the other prints all that is known, however often it is in itself.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    // Inside a pack, short names are its own.
    environment.set_path_join_callback(|name, parent| match parent.split_once('.') {
        Some((pack, _)) if !name.contains('.') => format!("{pack}.{name}").into(),
        _ => name.into(),
    });
    environment
}

pub(crate) fn failed(what: String, error: &minijinja::Error) -> RenderError {
    let mut message = error.kind().to_string();
    if let Some(detail) = error.detail() {
        message.push_str(": ");
        message.push_str(detail);
    }
    RenderError::Failed {
        what,
        line: error.line().unwrap_or(1).max(1),
        range: error.range().map(|range| (range.start, range.end)),
        message,
    }
}

fn bounded(what: &str, text: String) -> Result<String, RenderError> {
    if text.len() > RENDERED_BYTES_MAX {
        return Err(RenderError::TooLarge { what: what.to_owned(), bytes: text.len() });
    }
    Ok(text)
}

/// Evaluates an `if:`.
pub(crate) fn evaluate(
    environment: &Environment<'_>,
    what: &str,
    expression: &str,
    scope: &Scope<'_>,
) -> Result<bool, RenderError> {
    tame::expression(expression, &syntax()).map_err(|untamed| untamed.of(what.to_owned()))?;
    environment
        .compile_expression(expression)
        .and_then(|expression| expression.eval(scope.context()))
        .and_then(|value| {
            if value.is_undefined() {
                return Err(minijinja::Error::from(minijinja::ErrorKind::UndefinedError));
            }
            Ok(value.is_true())
        })
        .map_err(|error| failed(what.to_owned(), &error))
}

/// Renders a template of the environment.
pub(crate) fn render_named(
    environment: &Environment<'_>,
    template: &str,
    scope: &Scope<'_>,
) -> Result<String, RenderError> {
    let what = || format!("template {template}");
    let text = environment
        .get_template(template)
        .and_then(|template| template.render(scope.context()))
        .map_err(|error| failed(what(), &error))?;
    bounded(&what(), text)
}

/// Renders a kernel command line.
pub(crate) fn render_text(
    environment: &Environment<'_>,
    what: &str,
    text: &str,
    scope: &Scope<'_>,
) -> Result<String, RenderError> {
    tame::template(text, &syntax()).map_err(|untamed| untamed.of(what.to_owned()))?;
    let text = environment.render_str(text, scope.context()).map_err(|error| failed(what.to_owned(), &error))?;
    bounded(what, text)
}

/// Renders an enrolled machine's name.
pub(crate) fn render_name(
    environment: &Environment<'_>,
    rule: &str,
    template: &str,
    seen: &super::Seen,
) -> Result<String, RenderError> {
    let known = [
        ("mac", Some(seen.mac.as_str())),
        ("uuid", seen.uuid.as_deref()),
        ("serial", seen.serial.as_deref()),
        ("architecture", seen.architecture.map(Architecture::as_str)),
        ("subnet", seen.subnet.as_deref()),
    ];
    let what = || format!("the name of enrollment {rule}");
    tame::template(template, &syntax()).map_err(|untamed| untamed.of(what()))?;
    // What the box did not show is undefined, and so an error where the template wants it.
    let context = Value::from_pairs(known.into_iter().filter_map(|(name, value)| Some((name, Value::from(value?)))));
    environment.render_str(template, context).map_err(|error| failed(what(), &error))
}

/// The steps of a task for one machine: `if:` decided, templates rendered, scripts as they are.
///
/// # Errors
/// An expression or template that cannot be rendered for this scope, or a result that is too large.
pub fn render_steps(catalog: &Catalog, task: &Task, scope: &Scope<'_>) -> Result<Vec<Step>, RenderError> {
    let environment = catalog.environment();
    let mut steps = Vec::with_capacity(task.steps.len());
    for step in &task.steps {
        if let Some(condition) = &step.condition {
            let what = format!("`if` of step {} of task {}", step.name, task.name);
            if !evaluate(environment, &what, condition, scope)? {
                continue;
            }
        }
        let action = match &step.action {
            CompiledAction::Script { text } => StepAction::Script { text: text.to_string() },
            CompiledAction::Template { template, to, mode } => StepAction::File {
                to: to.clone(),
                content: render_named(environment, template, scope)?,
                mode: mode.clone(),
            },
            CompiledAction::File { content, to, mode } => {
                StepAction::File { to: to.clone(), content: content.to_string(), mode: mode.clone() }
            }
        };
        steps.push(Step { name: step.name.clone(), action });
    }
    Ok(steps)
}

/// The kernel command line of a boot environment for one machine, on one line. Facts are not for boot decisions.
///
/// # Errors
/// A template that cannot be rendered for this scope, or an architecture that the environment has nothing for.
pub fn render_arguments(
    catalog: &Catalog,
    boot_env: &BootEnv,
    architecture: Architecture,
    scope: &Scope<'_>,
) -> Result<String, RenderError> {
    let spec = boot_env.architectures.get(&architecture).ok_or_else(|| RenderError::Architecture {
        environment: boot_env.name.to_string(),
        architecture: architecture.as_str(),
    })?;
    let what = format!("arguments of boot environment {}", boot_env.name);
    let text = render_text(catalog.environment(), &what, &spec.arguments, scope)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A file that a boot environment serves to its boots (an installer's answers), by the name it is written with there.
///
/// # Errors
/// A name that the environment does not list, or a template that cannot be rendered for this scope.
pub fn render_boot_template(
    catalog: &Catalog,
    boot_env: &BootEnv,
    name: &str,
    scope: &Scope<'_>,
) -> Result<String, RenderError> {
    let template = boot_env.templates.iter().find(|(written, _)| written == name);
    let (_, template) = template
        .ok_or_else(|| RenderError::Unknown(format!("template {name} of boot environment {}", boot_env.name)))?;
    render_named(catalog.environment(), template, scope)
}
