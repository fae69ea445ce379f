//! The homes of files: which folders of a repository are packs in use, and the `pack.yaml` of each.

use super::super::elsewhere::{self, Origin};
use super::super::finding::{Place, Report, Severity};
use super::super::kinds::SiteSpec;
use super::super::names::did_you_mean;
use super::super::spans::Step;
use super::super::{File, Kind, Object, Pack, Tree, decode, document};
use super::{Loaded, PACK_FILE, not_plain, object, path_is_data};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Which folders of the repository are packs.
#[derive(Default)]
pub(super) struct Homes {
    /// Folder to the pack's name, of packs in use.
    used: BTreeMap<String, Option<Arc<str>>>,
    /// Packs that come with the program.
    pub(super) builtin: Vec<String>,
    /// Folders of packs that nobody uses, told about once.
    unused: HashSet<String>,
    /// The site could not be read: it is not known what is in use.
    pub(super) unknown: bool,
}

/// Whose a file is.
pub(super) enum Home {
    /// The site's own (no name) or a pack's in use.
    Used(Option<Arc<str>>),
    /// Not content of this site.
    Elsewhere,
}

impl Homes {
    /// Whose a file is; a pack that nobody uses is told about.
    pub(super) fn of(&mut self, path: &str, tree: &Tree, report: &mut Report) -> Home {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            folder = parent;
            if let Some(pack) = self.used.get(folder) {
                return pack.as_ref().map_or(Home::Elsewhere, |pack| Home::Used(Some(Arc::clone(pack))));
            }
            if self.unused.contains(folder) {
                return Home::Elsewhere;
            }
            let file = format!("{folder}/{PACK_FILE}");
            if tree.files.contains_key(&file) {
                if !self.unknown && !path_is_data(folder) {
                    let place = Place { file: Arc::from(file), line: 1, column: 1 };
                    report
                        .at(
                            Severity::Warning,
                            "unused-pack",
                            place,
                            "this pack is not used by the site; nothing of it is read",
                        )
                        .hint(if folder.starts_with(elsewhere::VENDOR) {
                            "no pack from elsewhere is named so in site.yaml: remove the folder".to_owned()
                        } else {
                            format!("add `- path: {folder}` to spec.packs of site.yaml, or remove it")
                        });
                }
                self.unused.insert(folder.to_owned());
                return Home::Elsewhere;
            }
        }
        Home::Used(None)
    }
}

/// Reads the `pack.yaml` of each pack that the site names.
pub(super) fn packs_of(
    site: &Object<SiteSpec>,
    tree: &Tree,
    builtin: &BTreeMap<String, Tree>,
    loaded: &mut Loaded,
    report: &mut Report,
) -> Homes {
    let mut homes = Homes::default();
    let mut names: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let pins = elsewhere::Pins::of(site, tree, report);
    for (index, source) in site.spec.packs.iter().enumerate() {
        let path = [Step::Key("spec"), Step::Key("packs"), Step::Item(index)];
        let origin = match elsewhere::origin(source) {
            Ok(origin) => origin,
            Err(error) => {
                let spot: Vec<Step<'_>> = path.iter().copied().chain(error.field.map(Step::Key)).collect();
                report.error("pack-source", site.document.value(&spot), error.message).hint_if(error.hint);
                loaded.broken_packs.extend(elsewhere::name_of(source));
                continue;
            }
        };
        let (root, files, expected) = match &origin {
            Origin::Builtin(name) => {
                let Some(tree) = builtin.get(name) else {
                    report
                        .error(
                            "unknown-pack",
                            site.document.value(&["spec".into(), "packs".into(), index.into(), "builtin".into()]),
                            format!("no pack `{name}` comes with this program"),
                        )
                        .hint_if(did_you_mean(name, builtin.keys().map(String::as_str)));
                    loaded.broken_packs.insert(name.clone());
                    continue;
                };
                (format!("builtin:{name}"), tree, Some(name))
            }
            Origin::Git { name, .. } => {
                let Some(folder) = pins.folder(site, index, name, tree, report) else {
                    loaded.broken_packs.insert(name.clone());
                    homes.used.insert(elsewhere::vendor_folder(name), None);
                    continue;
                };
                (folder, tree, Some(name))
            }
            Origin::Folder(folder) => {
                let clean = folder.trim_end_matches('/');
                let spot = ["spec".into(), "packs".into(), index.into(), "path".into()];
                if clean.is_empty() || clean.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    report
                        .error(
                            "pack-path",
                            site.document.value(&spot),
                            format!("`{folder}` is not a folder of this repository"),
                        )
                        .hint("write it from the root, such as `packs/etcd`");
                    loaded.broken_packs.insert(clean.rsplit('/').next().unwrap_or(clean).to_owned());
                    continue;
                }
                if let Some(trouble) = not_plain(tree, clean) {
                    report.error("pack-path", site.document.value(&spot), format!("`{folder}`: {trouble}"));
                    homes.used.insert(clean.to_owned(), None);
                    continue;
                }
                (clean.to_owned(), tree, None)
            }
        };
        let is_builtin = matches!(origin, Origin::Builtin(_));
        let inside = if is_builtin { PACK_FILE.to_owned() } else { format!("{root}/{PACK_FILE}") };
        let shown = format!("{root}/{PACK_FILE}");
        let Some(file) = files.files.get(&inside) else {
            let known: Vec<&str> = tree.files.keys().filter_map(|path| path.strip_suffix("/pack.yaml")).collect();
            report
                .error("unknown-pack", site.document.value(&path), format!("there is no {shown}"))
                .hint_if(did_you_mean(&root, known));
            if let Some(name) = root.rsplit('/').next() {
                loaded.broken_packs.insert(name.to_owned());
            }
            continue;
        };
        let Some(pack) = read_pack(&shown, file, &root, expected.map(String::as_str), loaded, report) else {
            loaded.broken_packs.insert(root.trim_start_matches("builtin:").rsplit('/').next().unwrap_or("").to_owned());
            homes.used.insert(root, None);
            continue;
        };
        if names.insert(Arc::clone(&pack.name), index).is_some() {
            report
                .error("twin", site.document.value(&path), format!("a second pack named `{}`", pack.name))
                .hint("a pack's name (metadata.name of its pack.yaml) is there once in a site");
            continue;
        }
        match origin {
            Origin::Builtin(name) => {
                for (path, file) in &files.files {
                    loaded.builtin_files.insert(format!("builtin:{name}/{path}"), file.clone());
                }
                homes.builtin.push(name.clone());
            }
            Origin::Folder(_) | Origin::Git { .. } => {
                homes.used.insert(root, Some(Arc::clone(&pack.name)));
            }
        }
        loaded.packs.push(pack);
    }
    homes
}

/// Tells of packs that require each other, at each one's `requires`.
pub(super) fn circles(packs: &[Pack], report: &mut Report) {
    let requires = |name: &str| {
        packs.iter().find(|pack| &*pack.name == name).map_or(&[][..], |pack| pack.object.spec.requires.as_slice())
    };
    for pack in packs {
        let mut reached: Vec<&str> = Vec::new();
        let mut waiting: Vec<&str> = requires(&pack.name).iter().map(String::as_str).collect();
        while let Some(name) = waiting.pop() {
            if !reached.contains(&name) {
                reached.push(name);
                waiting.extend(requires(name).iter().map(String::as_str));
            }
        }
        if reached.contains(&&*pack.name) {
            let spot = ["spec".into(), "requires".into()];
            report
                .error(
                    "circle",
                    pack.object.document.value(&spot),
                    format!("pack `{}` requires a pack that requires it", pack.name),
                )
                .hint("put what both need into a third pack, or make them one");
        }
    }
}

fn read_pack(
    shown: &str,
    file: &File,
    root: &str,
    expected: Option<&str>,
    loaded: &mut Loaded,
    report: &mut Report,
) -> Option<Pack> {
    let mut pack: Option<Pack> = None;
    let mut seen = false;
    let mut others = Vec::new();
    for (document, mut value) in document::read(shown, file, report) {
        let Some(envelope) = decode::envelope(&document, &mut value, report) else {
            seen = true;
            continue;
        };
        if envelope.kind != Kind::Pack {
            others.push((document, envelope, value));
            continue;
        }
        if seen {
            report.error("second-pack", document.key(&["kind".into()]), "a second Pack; a folder is one pack");
            continue;
        }
        seen = true;
        let named = !envelope.name.is_empty();
        if let Some(expected) = expected.filter(|expected| named && **expected != envelope.name) {
            let spot = ["metadata".into(), "name".into()];
            report.error("pack-name", document.value(&spot), format!("this pack is known as `{expected}`"));
        }
        let spec = decode::spec(&document, &mut value, report);
        if let (Some(spec), true) = (spec, envelope.sound) {
            let name: Arc<str> = Arc::from(envelope.name);
            let object = Object {
                name: Arc::clone(&name),
                pack: Some(Arc::clone(&name)),
                labels: envelope.labels,
                spec,
                document,
            };
            pack = Some(Pack { name, root: root.to_owned(), object });
        }
    }
    if !seen {
        let place = Place { file: Arc::from(shown), line: 1, column: 1 };
        report.at(Severity::Error, "no-pack", place, "there is no document of kind Pack in it");
    }
    if let Some(pack) = &pack {
        for (document, envelope, value) in others {
            let object = object(document, envelope, value, Some(&pack.name), loaded, report);
            object.into_iter().for_each(|object| loaded.take(object));
        }
    }
    pack
}
