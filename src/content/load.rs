//! The files of one revision become objects: which files are content, which pack each belongs to, what they say.

mod homes;

use super::finding::{Findings, Place, Report, Severity};
use super::kinds::{self, SiteSpec};
use super::memory::{AnyObject, Memory};
use super::{Document, File, FileKind, Files, Guess, Kind, Object, Pack, Tree, decode, document, shapes};
use homes::{Home, Homes, circles, packs_of};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Folders whose YAML is data for tasks, not content.
const DATA_FOLDERS: [&str; 3] = ["files", "scripts", "tests"];
/// The file at the root of a site.
const SITE_FILE: &str = "site.yaml";
/// The file at the root of a pack.
const PACK_FILE: &str = "pack.yaml";

/// All objects of a revision, as written: nothing resolved yet.
#[derive(Debug, Default, Clone)]
pub struct Loaded {
    /// The site, where its document was sound.
    pub site: Option<Object<SiteSpec>>,
    /// Packs in use, in the site's order.
    pub packs: Vec<Pack>,
    /// Machines.
    pub machines: Vec<Arc<Object<kinds::MachineSpec>>>,
    /// Enrollment rules.
    pub enrollments: Vec<Arc<Object<kinds::EnrollmentSpec>>>,
    /// Subnets.
    pub subnets: Vec<Arc<Object<kinds::SubnetSpec>>>,
    /// Profiles.
    pub profiles: Vec<Arc<Object<kinds::ProfileSpec>>>,
    /// Params.
    pub params: Vec<Arc<Object<kinds::ParamSpec>>>,
    /// Cluster profiles.
    pub cluster_profiles: Vec<Arc<Object<kinds::ClusterProfileSpec>>>,
    /// Tasks.
    pub tasks: Vec<Arc<Object<kinds::TaskSpec>>>,
    /// Stages.
    pub stages: Vec<Arc<Object<kinds::StageSpec>>>,
    /// Workflows.
    pub workflows: Vec<Arc<Object<kinds::WorkflowSpec>>>,
    /// Boot environments.
    pub boot_envs: Vec<Arc<Object<kinds::BootEnvSpec>>>,
    /// Templates.
    pub templates: Vec<Arc<Object<kinds::TemplateSpec>>>,
    /// Files by their path.
    pub(crate) files: Files,
    /// Folders in which other sources are mounted, in their order.
    pub(crate) mounts: Vec<String>,
    /// Files of packs that come with the program, by the path that findings show: `builtin:NAME/…`.
    pub(crate) builtin_files: BTreeMap<String, File>,
    /// Objects that are there but were not sound: what refers to them is not to be blamed.
    pub(crate) broken: HashSet<(Kind, Arc<str>)>,
    /// Objects in which single values were wrong: they are looked at once more with something else in the place of these.
    pub(super) guessed: Vec<AnyObject>,
    /// What was guessed in them.
    pub(crate) guesses: Vec<Guess>,
    /// Packs that are named by the site but could not be read; names in them are not to be blamed either.
    pub(crate) broken_packs: HashSet<String>,
}

/// Reads all content of a tree. `builtin` are the packs that come with the program, by name.
///
/// # Errors
/// All findings, where one of them is an error.
pub fn load(tree: &Tree, builtin: &BTreeMap<String, Tree>) -> Result<Loaded, Findings> {
    let mut report = Report::default();
    let loaded = read(tree, builtin, &mut Memory::default(), &mut report);
    if report.refuses() { Err(report.into_findings()) } else { Ok(loaded) }
}

/// As [`load`], but gives what could be read, so that compiling can find more. Files that are remembered are not read again.
pub(crate) fn read(tree: &Tree, builtin: &BTreeMap<String, Tree>, memory: &mut Memory, report: &mut Report) -> Loaded {
    let mut loaded = Loaded { files: tree.files.clone(), mounts: tree.mounts.clone(), ..Loaded::default() };
    let large = tree.files.iter().filter(|(_, file)| file.bytes.len() > document::FILE_BYTES_MAX);
    for (path, _) in large {
        let place = Place { file: Arc::from(path.as_str()), line: 1, column: 1 };
        let (message, hint) = too_large(path);
        report.at(Severity::Error, "file-too-large", place, message).hint(hint);
    }
    let said = report.said();
    let Some(site_documents) = site_documents(tree, report) else { return loaded };
    let mut homes = Homes::default();
    let mut rest = Vec::new();
    let mut sites = 0_usize;
    for (document, mut value) in site_documents {
        let Some(envelope) = decode::envelope(&document, &mut value, report) else { continue };
        if envelope.kind != Kind::Site {
            rest.push((document, envelope, value));
            continue;
        }
        sites += 1;
        if sites > 1 {
            report.error("second-site", document.key(&["kind".into()]), "a second Site; a repository is one site");
            continue;
        }
        if let Some(spec) = decode::spec::<SiteSpec>(&document, &mut value, report) {
            let site = Object { name: Arc::from(envelope.name), pack: None, labels: envelope.labels, spec, document };
            homes = packs_of(&site, tree, builtin, &mut loaded, report);
            loaded.site = Some(site);
        } else {
            homes.unknown = true;
        }
    }
    // Of what cannot be read it is not known what it would be.
    homes.unknown |= sites == 0;
    if sites == 0 && report.said() == said {
        let place = Place { file: Arc::from(SITE_FILE), line: 1, column: 1 };
        report
            .at(Severity::Error, "no-site", place, "there is no document of kind Site in site.yaml")
            .hint("write `kind: Site` with `metadata: {name: …}`, and `spec.packs` with the packs in use");
    }
    for (document, envelope, value) in rest {
        let object = object(document, envelope, value, None, &mut loaded, report);
        object.into_iter().for_each(|object| loaded.take(object));
    }
    circles(&loaded.packs, report);
    let mut folder: Option<(&str, Home)> = None;
    for (path, file) in &tree.files {
        if path == SITE_FILE {
            continue;
        }
        if report.stop.is_asked() {
            break;
        }
        // Files of one folder follow each other, and have one home.
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let home = match folder.take() {
            Some((same, home)) if same == parent => home,
            _ => homes.of(path, tree, report),
        };
        if let Home::Used(pack) = &home {
            read_file(path, file, pack.as_ref(), memory, &mut loaded, report);
        }
        folder = Some((parent, home));
    }
    for name in homes.builtin {
        let Some(tree) = builtin.get(&name) else { continue };
        let pack = Arc::from(name.as_str());
        for (path, file) in &tree.files {
            let shown = format!("builtin:{name}/{path}");
            read_file(&shown, file, Some(&pack), memory, &mut loaded, report);
        }
    }
    loaded
}

/// What is said of a file that is larger than one may be, and what to do.
pub(crate) fn too_large(path: &str) -> (String, &'static str) {
    let message = format!("larger than {} MiB, which is the most for a file of a site", document::FILE_BYTES_MAX >> 20);
    let hint = if is_yaml(path) {
        "split it into several files"
    } else {
        "kernels and images belong into the server's image folder, not into Git"
    };
    (message, hint)
}

fn site_documents(tree: &Tree, report: &mut Report) -> Option<Vec<(Document, Value)>> {
    let place = Place { file: Arc::from(SITE_FILE), line: 1, column: 1 };
    match tree.files.get(SITE_FILE) {
        Some(file) if matches!(file.kind, FileKind::Regular | FileKind::Executable) => {
            Some(document::read(SITE_FILE, file, report))
        }
        Some(File { kind: FileKind::Special, .. }) => {
            special(report, place);
            None
        }
        Some(_) => {
            report
                .at(Severity::Error, "symlink", place, "site.yaml is a symbolic link; links are never followed")
                .hint("commit the file itself");
            None
        }
        None => {
            let near = |path: &&String| path.eq_ignore_ascii_case("site.yml") || path.eq_ignore_ascii_case(SITE_FILE);
            let near = tree.files.keys().find(near);
            let elsewhere = tree.files.keys().find(|path| path.ends_with("/site.yaml"));
            let hint = match elsewhere {
                Some(path) => {
                    format!("there is one at {path}: is that folder the root of the site?")
                }
                None => match near {
                    Some(near) => format!("rename `{near}` to `site.yaml`"),
                    None => "a site begins with a site.yaml: `kind: Site` and the packs in use".to_owned(),
                },
            };
            report.at(Severity::Error, "no-site", place, "there is no site.yaml at the root").hint(hint);
            None
        }
    }
}

pub(super) fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

/// Whether one of the path's folders is hidden or holds data.
pub(super) fn path_is_data(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.')) || {
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|part| DATA_FOLDERS.contains(&part))
    }
}

/// Why a path of the tree cannot be gone into, where it cannot: a link or a submodule is on the way.
pub(crate) fn not_plain(tree: &Tree, path: &str) -> Option<&'static str> {
    let ends = path.match_indices('/').map(|(position, _)| position).chain([path.len()]);
    for end in ends {
        match tree.files.get(path.get(..end).unwrap_or(path)).map(|file| file.kind) {
            Some(FileKind::Symlink) => return Some("a symbolic link is on the way; links are never followed"),
            Some(FileKind::Submodule) => return Some("a submodule is on the way; submodules are never entered"),
            Some(FileKind::Special) => return Some("a named pipe, socket or device is on the way"),
            _ => {}
        }
    }
    None
}

fn read_file(
    path: &str,
    file: &File,
    pack: Option<&Arc<str>>,
    memory: &mut Memory,
    loaded: &mut Loaded,
    report: &mut Report,
) {
    if let Some(known) = memory.recall(path, file, pack) {
        known.iter().for_each(|object| loaded.take(object.clone()));
        return;
    }
    let said = report.said();
    let mut objects = Vec::new();
    read_objects(path, file, pack, memory, &mut objects, loaded, report);
    objects.iter().for_each(|object| loaded.take(AnyObject::clone(object)));
    // Of scripts and other files nothing is parsed: to remember them would only keep what a refused revision brought.
    if report.said() == said && is_yaml(path) {
        memory.keep(path, file, pack, objects);
    }
}

fn special(report: &mut Report, place: Place) {
    report
        .at(Severity::Error, "special-file", place, "a named pipe, socket or device; it is never opened")
        .hint("Git keeps files and links only: write the content into a file, and take this away");
}

/// Reads a file that is not remembered.
fn read_objects(
    path: &str,
    file: &File,
    pack: Option<&Arc<str>>,
    memory: &mut Memory,
    objects: &mut Vec<AnyObject>,
    loaded: &mut Loaded,
    report: &mut Report,
) {
    let inside = path.strip_prefix("builtin:").unwrap_or(path);
    let place = || Place { file: Arc::from(path), line: 1, column: 1 };
    if path_is_data(inside) {
        return;
    }
    let last = inside.rsplit('/').next().unwrap_or(inside);
    match file.kind {
        FileKind::Submodule => {
            report
                .at(Severity::Error, "submodule", place(), "a submodule: what is in it is not part of this commit")
                .hint("commit its files here (`git subtree`), or put them into a repository of their own");
            return;
        }
        FileKind::Symlink => {
            // A link to a folder could hide content; one with another file's ending cannot.
            if is_yaml(path) || !last.contains('.') {
                report
                    .at(Severity::Error, "symlink", place(), "a symbolic link; links are never followed")
                    .hint("commit the files themselves, or put the link into a folder called `files`");
            }
            return;
        }
        FileKind::Special => {
            if is_yaml(path) {
                special(report, place());
            }
            return;
        }
        FileKind::Regular | FileKind::Executable => {}
    }
    if !is_yaml(path) && is_yaml(&last.to_ascii_lowercase()) {
        let mended = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
        report
            .at(
                Severity::Warning,
                "ending",
                place(),
                "this file is not read: the ending of its name has capital letters",
            )
            .hint(format!("rename it to {mended}.yaml"));
    }
    if !is_yaml(path) || (last == PACK_FILE && pack.is_some()) {
        return;
    }
    memory.count_parsed();
    for (document, mut value) in document::read(path, file, report) {
        if let Some(envelope) = decode::envelope(&document, &mut value, report) {
            objects.extend(object(document, envelope, value, pack, loaded, report));
        }
    }
}

/// Reads a document's spec. `None`: it is not sound, which was told.
fn object(
    document: Document,
    envelope: decode::Envelope,
    mut value: Value,
    pack: Option<&Arc<str>>,
    loaded: &mut Loaded,
    report: &mut Report,
) -> Option<AnyObject> {
    let kind = envelope.kind;
    match kind {
        Kind::Site => {
            report
                .error("second-site", document.value(&["kind".into()]), "a Site that is not in the root's site.yaml")
                .hint("a repository is one site; a part of one is a pack");
            return None;
        }
        Kind::Pack => {
            report
                .error("pack-place", document.value(&["kind".into()]), "a Pack that is not in a pack.yaml")
                .hint("a pack is a folder of its own with a pack.yaml");
            return None;
        }
        Kind::PackTest => {
            report
                .error(
                    "pack-place",
                    document.value(&["kind".into()]),
                    "a PackTest that is not in a pack's folder `tests`",
                )
                .hint("`formwork pack test` reads the tests of a pack from its `tests/*.yaml`");
            return None;
        }
        _ => {}
    }
    if let (true, Some(pack)) = (kind.is_of_site(), pack) {
        report
            .error("kind-in-pack", document.value(&["kind".into()]), format!("pack `{pack}` declares a {kind}"))
            .hint("packs are for many sites: declare it in the site itself");
    }
    let name: Arc<str> = match pack {
        Some(pack) if kind.is_qualified() => Arc::from(format!("{pack}.{}", envelope.name)),
        _ => Arc::from(envelope.name.as_str()),
    };
    shapes::check(kind, &document, &value, report);
    let mut reading = Reading { document, value: &mut value, name, pack: pack.cloned(), envelope, loaded };
    match kind {
        Kind::Site | Kind::Pack | Kind::PackTest => None,
        Kind::Subnet => reading.object(AnyObject::Subnet, report),
        Kind::Machine => reading.object(AnyObject::Machine, report),
        Kind::Enrollment => reading.object(AnyObject::Enrollment, report),
        Kind::Profile => reading.object(AnyObject::Profile, report),
        Kind::Param => reading.object(AnyObject::Param, report),
        Kind::ClusterProfile => reading.object(AnyObject::ClusterProfile, report),
        Kind::Task => reading.object(AnyObject::Task, report),
        Kind::Stage => reading.object(AnyObject::Stage, report),
        Kind::Workflow => reading.object(AnyObject::Workflow, report),
        Kind::BootEnv => reading.object(AnyObject::BootEnv, report),
        Kind::Template => reading.object(AnyObject::Template, report),
    }
}

struct Reading<'a> {
    document: Document,
    value: &'a mut Value,
    name: Arc<str>,
    pack: Option<Arc<str>>,
    envelope: decode::Envelope,
    loaded: &'a mut Loaded,
}

impl Reading<'_> {
    fn object<T: DeserializeOwned>(
        &mut self,
        of_kind: fn(Arc<Object<T>>) -> AnyObject,
        report: &mut Report,
    ) -> Option<AnyObject> {
        let read = decode::guessed_spec::<T>(&self.document, self.value, report);
        // What has no name is nobody's: a reference that names nothing is to be told.
        if !matches!(read, Some((_, None)) if self.envelope.sound) && !self.envelope.name.is_empty() {
            self.loaded.broken.insert((self.envelope.kind, Arc::clone(&self.name)));
        }
        let (spec, guess) = read.filter(|_| self.envelope.sound)?;
        let object = of_kind(Arc::new(Object {
            name: Arc::clone(&self.name),
            pack: self.pack.clone(),
            labels: std::mem::take(&mut self.envelope.labels),
            spec,
            document: self.document.clone(),
        }));
        let Some(guess) = guess else { return Some(object) };
        self.loaded.guesses.push(guess);
        self.loaded.guessed.push(object);
        None
    }
}

impl Loaded {
    /// The same with the objects of which something was guessed, to be looked at and never used; `None` where there are none.
    pub(crate) fn with_guesses(&self) -> Option<Self> {
        (!self.guessed.is_empty()).then(|| {
            let mut all = self.clone();
            std::mem::take(&mut all.guessed).into_iter().for_each(|object| all.take(object));
            all
        })
    }
}
