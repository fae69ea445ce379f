//! Templates and tasks: files read, references resolved, digests made.

use super::model::{CompiledAction, CompiledStep, Task, Template};
use super::references::References;
use super::schemas::Schemas;
use super::{Named, render, tame, underscored};
use crate::content::kinds::{Span, StepSpec, TaskSpec, TemplateSpec};
use crate::content::names::{is_subdomain, nearest};
use crate::content::{
    CONFLICT_HELP, Document, File, FileKind, Kind, LFS_POINTER, Object, REFERENCED_BYTES_MAX, Report, Step, conflict,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The shortest time that a task may be given.
const TIMEOUT_LEAST: Span = Span::from_secs(1);
/// Names of a folder's files that a hint shows at most.
const NAMES_SHOWN_MAX: usize = 12;

/// Where files that documents refer to are found.
pub(super) struct Files<'a> {
    /// All files of the site by their path.
    pub(super) site: &'a BTreeMap<String, File>,
    /// Files of packs that come with the program, by the path that findings show.
    pub(super) builtin: &'a BTreeMap<String, File>,
    /// Each pack's folder.
    pub(super) roots: &'a HashMap<Arc<str>, String>,
}

impl Files<'_> {
    fn get(&self, path: &str) -> Option<&File> {
        self.builtin.get(path).or_else(|| self.site.get(path))
    }

    /// The text of a file that a document refers to, and its path; what is wrong is reported at the reference.
    fn text(
        &self,
        pack: Option<&Arc<str>>,
        document: &Document,
        path: &[Step<'_>],
        written: &str,
        report: &mut Report,
    ) -> Option<(Arc<str>, Arc<str>)> {
        let spot = document.value(path);
        let root = pack.and_then(|pack| self.roots.get(pack)).map_or("", String::as_str);
        let Some(full) = join(document.folder(), written, root) else {
            report
                .error("file-outside", spot, format!("`{written}` leads out of {}", if root.is_empty() { "the site" } else { "the pack" }))
                .hint("files lie beside the document that names them, inside its pack; write the path from the document's folder");
            return None;
        };
        let ancestors = full.match_indices('/').map(|(position, _)| full.get(..position).unwrap_or(""));
        if let Some(link) =
            ancestors.into_iter().find(|folder| self.get(folder).is_some_and(|file| file.kind == FileKind::Symlink))
        {
            report.error("symlink", spot, format!("`{link}` is a symbolic link; links are never followed"));
            return None;
        }
        let Some(file) = self.get(&full) else {
            let hint = self.elsewhere(document.folder(), root, written, &full);
            report.error("no-file", spot, format!("there is no file {full}")).hint_if(hint);
            return None;
        };
        let trouble = match file.kind {
            FileKind::Symlink => {
                Some(("symlink", "is a symbolic link; links are never followed", "commit the file itself"))
            }
            FileKind::Submodule => {
                Some(("submodule", "is a submodule; submodules are never entered", "commit the files themselves"))
            }
            FileKind::Special => Some((
                "special-file",
                "is a named pipe, socket or device; it is never opened",
                "Git keeps files and links only: write it into a file",
            )),
            _ if file.bytes.starts_with(LFS_POINTER) => Some((
                "lfs-pointer",
                "is a Git LFS pointer, not the file itself",
                "take the file out of LFS (`git lfs untrack`)",
            )),
            _ if file.bytes.len() > REFERENCED_BYTES_MAX => Some((
                "file-too-large",
                "is larger than 1 MiB",
                "large files belong into the server's image folder, fetched by the script",
            )),
            _ => None,
        };
        if let Some((code, trouble, hint)) = trouble {
            report.error(code, spot, format!("{full} {trouble}")).hint(hint);
            return None;
        }
        match std::str::from_utf8(&file.bytes) {
            Ok(text) => Some((Arc::from(text), Arc::from(full))),
            Err(_) => {
                report
                    .error("not-utf-8", spot, format!("{full} is not UTF-8 text"))
                    .hint("binary files belong into the server's image folder, fetched by the script");
                None
            }
        }
    }

    /// How the path would be written, where the file lies elsewhere in the pack or has a similar name; else what there is.
    fn elsewhere(&self, folder: &str, root: &str, written: &str, full: &str) -> Option<String> {
        if join(root, written, root).is_some_and(|at_root| self.get(&at_root).is_some()) {
            let inside = folder.strip_prefix(root).unwrap_or(folder);
            let up = inside.split('/').filter(|part| !part.is_empty()).count();
            return Some(format!("paths are relative to the document: write `{}{written}`", "../".repeat(up)));
        }
        let (beside, name) = full.rsplit_once('/').unwrap_or(("", full));
        let all: Vec<&str> = if root.starts_with("builtin:") {
            self.builtin.keys().map(String::as_str).collect()
        } else {
            self.site.keys().map(String::as_str).collect()
        };
        let inside = |path: &&str| root.is_empty() || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        let (mut there, mut same) = (Vec::new(), Vec::new());
        for path in all.into_iter().filter(inside) {
            match path.rsplit_once('/').unwrap_or(("", path)) {
                (folder, file) if folder == beside => there.push(file),
                (_, file) if file == name => same.push(path),
                _ => {}
            }
        }
        if let Some(near) = nearest(name, there.iter().copied()) {
            let near = if beside.is_empty() { near.to_owned() } else { format!("{beside}/{near}") };
            return Some(format!("did you mean {near}?"));
        }
        if let [only] = same.as_slice() {
            return Some(format!("there is {only}: write `{}`", relative(folder, only)));
        }
        let few = !there.is_empty() && there.len() <= NAMES_SHOWN_MAX;
        few.then(|| format!("files in that folder: {}", there.join(", ")))
    }
}

/// The path of a file as a document in a folder writes it.
fn relative(folder: &str, file: &str) -> String {
    let from: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = file.split('/').collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let rest = to.get(common..).unwrap_or_default().join("/");
    format!("{}{rest}", "../".repeat(from.len() - common))
}

/// The path of a file from a folder, `.` and `..` resolved; `None` where it leads out of the root.
fn join(folder: &str, written: &str, root: &str) -> Option<String> {
    if written.starts_with('/') || written.contains('\\') || written.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let full = parts.join("/");
    let inside = root.is_empty() || full.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    (inside && !(root.is_empty() && full.starts_with("builtin:"))).then_some(full)
}

/// Reads all templates and gives them to the environment, which checks their syntax.
pub(super) fn templates(
    objects: Named<Arc<Object<TemplateSpec>>>,
    files: &Files<'_>,
    environment: &mut minijinja::Environment<'static>,
    report: &mut Report,
) -> Named<Template> {
    let syntax = render::syntax();
    let mut templates = Named::new();
    for (name, object) in objects {
        let path = [Step::Key("spec"), Step::Key("file")];
        let (text, file) = match (&object.spec.file, &object.spec.text) {
            (Some(written), None) => {
                let read = files.text(object.pack.as_ref(), &object.document, &path, written, report);
                let Some((text, file)) = read else { continue };
                (text, Some(file))
            }
            (None, Some(text)) => (Arc::from(text.as_str()), None),
            _ => continue, // told where it was read
        };
        let template = Template { name: Arc::clone(&name), text, file, document: object.document.clone() };
        let what = || format!("template {name}");
        let added = tame::template(&template.text, &syntax).map_err(|untamed| untamed.of(what())).and_then(|()| {
            let added = environment.add_template_owned(name.to_string(), template.text.to_string());
            added.map_err(|error| render::failed(what(), &error))
        });
        if let Err(error) = added {
            let hint = super::tell::render_hint(&super::tell::message_of(&error));
            super::tell::tell_template(&template, &error, hint, report);
        }
        templates.insert(name, template);
    }
    super::includes::check(&templates, report);
    templates
}

/// Compiles a task.
pub(super) fn task(
    object: &Object<TaskSpec>,
    references: &References,
    templates: &Named<Template>,
    files: &Files<'_>,
    schemas: &mut Schemas,
    report: &mut Report,
) -> Option<Task> {
    let document = &object.document;
    schemas.use_names(object.spec.params.iter().map(|param| param.name.as_str()));
    let mut environment_names: HashMap<String, &str> = HashMap::new();
    for (index, param) in object.spec.params.iter().enumerate() {
        let spot = [Step::Key("spec"), Step::Key("params"), Step::Item(index), Step::Key("name")];
        if !is_subdomain(&param.name) {
            report.error("name", document.value(&spot), format!("`{}` is not the name of a param", param.name));
        }
        if let Some(other) = environment_names.insert(underscored(&param.name), &param.name) {
            let message = if other == param.name {
                format!("param `{other}` is declared twice")
            } else {
                format!("params `{other}` and `{}` have the same name in a script's environment", param.name)
            };
            report.error("twin", document.value(&spot), message);
        }
    }
    if let Some(timeout) = object.spec.timeout.filter(|timeout| *timeout < TIMEOUT_LEAST) {
        report
            .error(
                "timeout",
                document.value(&["spec".into(), "timeout".into()]),
                format!("a task has at least {TIMEOUT_LEAST}, and this one {timeout}"),
            )
            .hint("write how long it may take, such as `90s` or `20m`; without a `timeout` it is 1h");
    }
    let mut steps = Vec::with_capacity(object.spec.steps.len());
    let mut whole = true;
    let mut names: HashSet<&str> = HashSet::new();
    for (index, spec) in object.spec.steps.iter().enumerate() {
        if !spec.name.is_empty() && !names.insert(&spec.name) {
            let spot = [Step::Key("spec"), Step::Key("steps"), Step::Item(index), Step::Key("name")];
            report
                .warning("twin", document.value(&spot), format!("a second step named `{}`", spec.name))
                .hint("the task's log tells steps by their names");
        }
        match step(object, index, spec, references, files, report) {
            Some(step) => steps.push(step),
            None => whole = false,
        }
    }
    let digest = digest(&object.spec, &steps, templates);
    whole.then(|| Task {
        name: Arc::clone(&object.name),
        description: object.spec.description.clone(),
        params: object.spec.params.clone(),
        timeout: object.spec.timeout,
        retries: object.spec.retries.clone(),
        on_interrupt: object.spec.on_interrupt,
        exit_codes: object.spec.exit_codes,
        steps,
        digest,
        document: document.clone(),
    })
}

fn step(
    object: &Object<TaskSpec>,
    index: usize,
    spec: &StepSpec,
    references: &References,
    files: &Files<'_>,
    report: &mut Report,
) -> Option<CompiledStep> {
    let document = &object.document;
    let at = |field: &'static str| [Step::Key("spec"), Step::Key("steps"), Step::Item(index), Step::Key(field)];
    if let Some(condition) = &spec.condition {
        let tamed = tame::expression(condition, &render::syntax()).map_err(|untamed| untamed.of(String::new()));
        let checked = tamed.and_then(|()| {
            let compiled = render::environment().compile_expression(condition).map(|_| ());
            compiled.map_err(|error| render::failed(String::new(), &error))
        });
        if let Err(render::RenderError::Failed { message, .. }) = checked {
            report
                .error("expression", document.value(&at("if")), format!("`if` is not an expression: {message}"))
                .hint("write it without braces, such as `params.disks is defined`");
        }
    }
    let sources = [&spec.script, &spec.script_file, &spec.template, &spec.file];
    if sources.into_iter().flatten().count() != 1 {
        return None; // told where it was read
    }
    let writes = spec.template.is_some() || spec.file.is_some();
    for (field, value) in [("to", &spec.to), ("mode", &spec.mode)] {
        if let (false, Some(_)) = (writes, value) {
            report
                .error("step-field", document.key(&at(field)), format!("`{field}` goes with `template` or `file`"))
                .hint(format!(
                    "take `{field}` out, or write `template: NAME` or `file: PATH` in the place of the script"
                ));
        }
    }
    let mode = spec.mode.clone().unwrap_or_else(|| "0644".to_owned());
    let octal = (3..=4).contains(&mode.len()) && mode.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    if !octal {
        report
            .error("mode", document.value(&at("mode")), format!("`{mode}` is not a file's mode"))
            .hint("three or four octal digits in quotes, such as \"0644\"");
    }
    let to = spec.to.clone().unwrap_or_default();
    let absolute = to.starts_with('/') && !to.ends_with('/') && !to.split('/').any(|part| matches!(part, "." | ".."));
    if writes && spec.to.is_some() && !absolute {
        report
            .error("to", document.value(&at("to")), format!("`{to}` is not the absolute path of a file"))
            .hint("it begins with `/`, ends with the file's name, and has no `.` or `..` in it: `/etc/motd`");
    }
    let name = if spec.name.is_empty() { format!("step-{}", index + 1) } else { spec.name.clone() };
    let pack = object.pack.as_ref();
    let action = if let Some(text) = &spec.script {
        if text.trim().is_empty() {
            report.error("empty-script", document.value(&at("script")), "the script is empty").hint(EMPTY_HELP);
        }
        CompiledAction::Script { text: Arc::from(text.as_str()) }
    } else if let Some(file) = &spec.script_file {
        let (text, path) = files.text(pack, document, &at("scriptFile"), file, report)?;
        if let Some((code, trouble, hint)) = wrong_script(&text) {
            report.error(code, document.value(&at("scriptFile")), format!("{path} {trouble}")).hint(hint);
        }
        CompiledAction::Script { text }
    } else if let Some(template) = &spec.template {
        let spot = at("template");
        let found = references.resolve(Kind::Template, pack, template, document.value(&spot), report);
        CompiledAction::Template { template: found.sound()?, to, mode }
    } else {
        let (content, _) = files.text(pack, document, &at("file"), spec.file.as_deref().unwrap_or(""), report)?;
        CompiledAction::File { content, to, mode }
    };
    Some(CompiledStep { name, condition: spec.condition.as_deref().map(Arc::from), action })
}

const EMPTY_HELP: &str = "write what the step does, or take the step out";

/// What is wrong with a script's text, if something is: a stable word, what, and what to do.
fn wrong_script(text: &str) -> Option<(&'static str, &'static str, &'static str)> {
    if text.contains('\0') {
        let hint = "programs belong into the server's image folder, fetched by the script";
        return Some(("not-a-script", "is a program, not a script", hint));
    }
    if text.trim().is_empty() {
        return Some(("empty-script", "is empty", EMPTY_HELP));
    }
    if text.starts_with('\u{feff}') {
        let hint = "the kernel looks for `#!` in the first two bytes: save the file as UTF-8 without a byte order mark";
        return Some(("byte-order-mark", "begins with a byte order mark", hint));
    }
    if text.contains('\r') {
        let hint = "the kernel looks for an interpreter whose name ends with a carriage return: commit the file with LF only \
                    (`* text=auto eol=lf` in .gitattributes)";
        return Some(("line-endings", "has Windows line endings", hint));
    }
    conflict(text).map(|_| ("merge-conflict", "has a merge conflict that is not resolved", CONFLICT_HELP))
}

/// SHA-256 over everything a task is made of. Templates that take in others are made of all of them.
fn digest(spec: &TaskSpec, steps: &[CompiledStep], templates: &Named<Template>) -> Arc<str> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    add(&serde_json::to_vec(spec).unwrap_or_default());
    for step in steps {
        match &step.action {
            CompiledAction::Script { text } => add(text.as_bytes()),
            CompiledAction::File { content, .. } => add(content.as_bytes()),
            CompiledAction::Template { template, .. } => {
                let Some(template) = templates.get(template) else { continue };
                add(template.text.as_bytes());
                if takes_in_others(&template.text) {
                    for (name, other) in templates {
                        add(name.as_bytes());
                        add(other.text.as_bytes());
                    }
                }
            }
        }
    }
    hexadecimal(context.finish().as_ref())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> Arc<str> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Arc::from(text)
}

/// Whether a template includes, imports or extends another.
pub(super) fn takes_in_others(text: &str) -> bool {
    ["include", "import", "extends"].iter().any(|word| text.contains(word))
}
