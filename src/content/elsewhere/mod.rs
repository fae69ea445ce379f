//! Packs from elsewhere: what `site.yaml` says of a pack's source, what `packs.lock` pins it to, and whether the files at hand
//! are those. Pure: nothing is fetched here.
//!
//! A pack from a Git URL is always read from `packs/vendor/NAME`: either the commit holds its files there (it is vendored), or
//! whoever loads the commit lays them there first ([`missing`] says which). So there is one way in, and one check: the hash of
//! the lock.

mod edit;
mod hash;
mod lock;
mod source;

pub use edit::{CannotEdit, append_to_packs};
pub(crate) use hash::hidden;
pub use hash::{HashError, hash_of, hashed_files};
pub use lock::{LOCK_FILE, Lock, LockedPack, entries, missing};
pub use source::{Origin, Request, SourceError, Version, name_of, origin};

use super::finding::{Place, Report, Severity};
use super::kinds::{PackSource, SiteSpec};
use super::{Object, Step, Tree};

/// The folder that holds the files of packs from elsewhere, one folder a pack.
pub const VENDOR: &str = "packs/vendor";

/// Where a pack from elsewhere lies.
pub fn vendor_folder(name: &str) -> String {
    format!("{VENDOR}/{name}")
}

/// The files below a folder, as a tree of their own.
pub fn below(tree: &Tree, folder: &str) -> Tree {
    let prefix = format!("{folder}/");
    let files = tree
        .files
        .range(prefix.clone()..)
        .map_while(|(path, file)| path.strip_prefix(&prefix).map(|inside| (inside.to_owned(), file.clone())));
    Tree { files: files.collect(), ..Tree::default() }
}

/// Lays the files of a pack that was fetched where the site is read from.
pub fn lay_in(tree: &mut Tree, name: &str, pack: &Tree) {
    let folder = vendor_folder(name);
    for (path, file) in &pack.files {
        tree.files.insert(format!("{folder}/{path}"), file.clone());
    }
}

/// The lock, read once for a revision.
pub(super) struct Pins {
    lock: Option<Lock>,
    /// It is there and could not be read: no pack is to be blamed for that.
    broken: bool,
}

impl Pins {
    /// Reads the lock, if a pack of the site needs one.
    pub(super) fn of(site: &Object<SiteSpec>, tree: &Tree, report: &mut Report) -> Self {
        let wanted = site.spec.packs.iter().any(|source| source.git.is_some());
        if !wanted && !tree.files.contains_key(LOCK_FILE) {
            return Self { lock: None, broken: false };
        }
        let before = report.refuses();
        let lock = lock::read(tree, report);
        let broken = lock.is_none() && tree.files.contains_key(LOCK_FILE);
        debug_assert!(before || !broken || report.refuses());
        if let Some(lock) = &lock {
            for (index, pack) in lock.packs.iter().enumerate() {
                let used = site.spec.packs.iter().any(|source| name_of(source).as_deref() == Some(&pack.name));
                if !used {
                    let place = lock.place(index);
                    let message = format!("`{}` is locked, and no pack of site.yaml is named so", pack.name);
                    report
                        .at(Severity::Warning, "pack-lock", place, message)
                        .hint("`formwork pack update` writes the lock anew");
                }
            }
        }
        Self { lock, broken }
    }

    /// The folder of a pack from Git, if what lies there is what the lock pins. Findings otherwise.
    pub(super) fn folder(
        &self,
        site: &Object<SiteSpec>,
        index: usize,
        name: &str,
        tree: &Tree,
        report: &mut Report,
    ) -> Option<String> {
        let path = [Step::Key("spec"), Step::Key("packs"), Step::Item(index)];
        let entry: &PackSource = site.spec.packs.get(index)?;
        if self.broken {
            return None;
        }
        let locked = self.lock.as_ref().and_then(|lock| lock.packs.iter().find(|pack| pack.name == name));
        let Some(locked) = locked else {
            report
                .error("pack-not-locked", site.document.value(&path), format!("pack `{name}` is not in {LOCK_FILE}"))
                .hint(format!("`formwork pack update {name}` finds the commit and pins it"));
            return None;
        };
        if !locked.is_of(entry) {
            report
                .error(
                    "pack-not-locked",
                    site.document.value(&path),
                    format!("{LOCK_FILE} pins pack `{name}` for another source or version than is written here"),
                )
                .hint(format!("`formwork pack update {name}` finds the commit and pins it"));
            return None;
        }
        let folder = vendor_folder(name);
        if let Some(trouble) = super::load::not_plain(tree, &folder) {
            report.error("pack-path", site.document.value(&path), format!("`{folder}`: {trouble}"));
            return None;
        }
        let commit = locked.commit.get(..12).unwrap_or(&locked.commit);
        match hash_of(tree, &folder) {
            Ok(hash) if hash == locked.hash => Some(folder),
            Ok(_) => {
                let place = Place { file: format!("{folder}/pack.yaml").into(), line: 1, column: 1 };
                report
                    .at(
                        Severity::Error,
                        "pack-hash",
                        place,
                        format!("what lies in {folder} is not what {LOCK_FILE} pins pack `{name}` to ({})", locked.hash),
                    )
                    .hint(format!(
                        "`formwork pack vendor {name}` writes its files of commit {commit} again; changes to a pack are made \
                         where it comes from"
                    ));
                None
            }
            Err(HashError::Nothing) => {
                report
                    .error(
                        "pack-not-here",
                        site.document.value(&path),
                        format!("the files of pack `{name}`, locked at commit {commit}, are not here"),
                    )
                    .hint(format!("`formwork pack vendor {name}` writes them to {folder}; commit them"));
                None
            }
            Err(HashError::NotPlain { path: file, what }) => {
                let place = Place { file: format!("{folder}/{file}").into(), line: 1, column: 1 };
                report
                    .at(
                        Severity::Error,
                        "pack-hash",
                        place,
                        format!("{what}; a pack from elsewhere is made of plain files"),
                    )
                    .hint(format!("`formwork pack vendor {name}` writes its files again"));
                None
            }
        }
    }
}
