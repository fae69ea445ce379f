//! The files of a site that packs are about: `site.yaml`, `packs.lock`, `packs/vendor`.

use super::super::CliError;
use super::super::validate::read_directory;
use super::Place;
use crate::content::elsewhere::{
    LOCK_FILE, Lock, LockedPack, Origin, Request, VENDOR, entries, hash_of, hashed_files, name_of, origin,
    vendor_folder,
};
use crate::content::kinds::PackSource;
use crate::content::{FileKind, Tree};
use crate::git::PackCache;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file that names the packs.
pub(super) const SITE_FILE: &str = "site.yaml";

/// A site on the disk.
pub(super) struct SiteFiles {
    dir: PathBuf,
    /// Its files, as they were when it was opened.
    pub(super) tree: Tree,
    /// The entries of `spec.packs`.
    pub(super) entries: Vec<PackSource>,
    /// The lock.
    pub(super) lock: Lock,
}

/// A pack that comes from another repository.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) path: Option<String>,
    pub(super) request: Request,
    pub(super) entry: PackSource,
}

impl SiteFiles {
    /// Reads it.
    ///
    /// # Errors
    /// There is no site, or its lock is not sound.
    pub(super) fn open(place: &Place) -> Result<Self, CliError> {
        let hint = || Some("name the directory that has the site's site.yaml in it: --dir".to_owned());
        let dir = place.dir.clone();
        let tree = read_directory(&dir).map_err(|(path, error)| CliError::Usage {
            message: format!("cannot read {}: {error}", path.display()),
            hint: hint(),
        })?;
        if !tree.files.contains_key(SITE_FILE) {
            return Err(CliError::Usage {
                message: format!("there is no {SITE_FILE} in {}", dir.display()),
                hint: hint(),
            });
        }
        let entries = entries(&tree).map_err(|findings| CliError::NotSo(findings.to_string()))?;
        let lock = Lock::of_tree(&tree).map_err(|findings| CliError::NotSo(findings.to_string()))?;
        Ok(Self { dir, tree, entries, lock })
    }

    /// The packs from other repositories, in the site's order.
    ///
    /// # Errors
    /// One of the entries says nothing that could be fetched.
    pub(super) fn elsewhere(&self) -> Result<Vec<Elsewhere>, CliError> {
        self.entries.iter().filter(|entry| entry.git.is_some()).map(Elsewhere::of).collect()
    }

    /// Those of the names that were given; all where none was.
    ///
    /// # Errors
    /// There is no pack of that name.
    pub(super) fn chosen(&self, names: &[String]) -> Result<Vec<Elsewhere>, CliError> {
        let all = self.elsewhere()?;
        if let Some(name) = names.iter().find(|name| all.iter().all(|pack| pack.name != **name)) {
            return Err(CliError::NotFound {
                message: format!("no pack {name} comes from another repository"),
                hint: Some(super::super::suggest::hint(
                    name,
                    all.iter().map(|pack| pack.name.as_str()),
                    "formwork pack list",
                )),
            });
        }
        Ok(all.into_iter().filter(|pack| names.is_empty() || names.contains(&pack.name)).collect())
    }

    /// Whether files of a pack lie in the site.
    pub(super) fn is_vendored(&self, name: &str) -> bool {
        hashed_files(&self.tree, &vendor_folder(name)).next().is_some()
    }

    /// Whether what lies there is what the lock pins.
    pub(super) fn is_sound(&self, locked: &LockedPack) -> bool {
        hash_of(&self.tree, &vendor_folder(&locked.name)).is_ok_and(|hash| hash == locked.hash)
    }

    /// A path of the site.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.dir.join(inside)
    }

    /// Writes the lock; takes it away where it would be empty.
    pub(super) fn write_lock(&self, lock: &Lock) -> Result<(), CliError> {
        let path = self.path(LOCK_FILE);
        if lock.packs.is_empty() {
            return match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot(&path, &error)),
                _ => Ok(()),
            };
        }
        write_whole(&path, lock.to_yaml().as_bytes())
    }

    /// Writes `site.yaml`.
    pub(super) fn write_site(&self, text: &str) -> Result<(), CliError> {
        write_whole(&self.path(SITE_FILE), text.as_bytes())
    }

    /// Writes a pack's files to its folder, in the place of those that are there. All or none of them.
    pub(super) fn write_vendored(&self, name: &str, pack: &Tree) -> Result<usize, CliError> {
        for inside in ["packs", VENDOR] {
            let path = self.path(inside);
            if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(CliError::NotSo(format!(
                    "{} is a symbolic link; links are never followed",
                    path.display()
                )));
            }
        }
        let folder = self.path(&vendor_folder(name));
        let new = self.path(&format!("{VENDOR}/.{name}.new"));
        remove(&new)?;
        let mut count = 0;
        for (inside, file) in hashed_files(pack, "") {
            let path = new.join(inside);
            let above = path.parent().unwrap_or(&new);
            std::fs::create_dir_all(above).map_err(|error| cannot(above, &error))?;
            let mode = if file.kind == FileKind::Executable { 0o755 } else { 0o644 };
            let mut options = std::fs::OpenOptions::new();
            let mut out =
                options.write(true).create_new(true).mode(mode).open(&path).map_err(|error| cannot(&path, &error))?;
            out.write_all(&file.bytes).map_err(|error| cannot(&path, &error))?;
            count += 1;
        }
        remove(&folder)?;
        std::fs::rename(&new, &folder).map_err(|error| cannot(&folder, &error))?;
        Ok(count)
    }
}

impl Elsewhere {
    /// Understands an entry that names a repository.
    ///
    /// # Errors
    /// It says nothing that could be fetched.
    pub(super) fn of(entry: &PackSource) -> Result<Self, CliError> {
        match origin(entry) {
            Ok(Origin::Git { name, url, path, request }) => Ok(Self { name, url, path, request, entry: entry.clone() }),
            Ok(_) => Err(CliError::NotSo("a pack that comes from no repository cannot be fetched".to_owned())),
            Err(error) => {
                let name = name_of(entry).map(|name| format!("pack {name}: ")).unwrap_or_default();
                Err(CliError::Usage { message: format!("{name}{}", error.message), hint: error.hint })
            }
        }
    }

    /// Fetches a commit of it, and pins it.
    ///
    /// # Errors
    /// It cannot be fetched, or is no pack of this name.
    pub(super) fn pin(
        &self,
        cache: &PackCache,
        commit: &str,
        reference: Option<&str>,
    ) -> Result<(LockedPack, Tree), CliError> {
        cache.fetch(&self.url, commit, reference).map_err(super::failed)?;
        let tree = cache.tree(commit, self.path.as_deref()).map_err(super::failed)?;
        let hash = hash_of(&tree, "")
            .map_err(|error| CliError::NotSo(format!("pack {} cannot be pinned: {error}", self.name)))?;
        let locked = LockedPack {
            name: self.name.clone(),
            from: self.entry.clone(),
            reference: reference.map(str::to_owned),
            commit: commit.to_owned(),
            hash,
        };
        Ok((locked, tree))
    }
}

/// The cache of this person.
///
/// # Errors
/// It cannot be made.
pub(super) fn cache() -> Result<PackCache, CliError> {
    PackCache::open(&cache_path()).map_err(super::failed)
}

/// `$FORMWORK_CACHE_DIR`, else `formwork` in the user's cache folder (XDG Base Directory Specification).
pub(super) fn cache_path() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = folder("FORMWORK_CACHE_DIR")
        .or_else(|| folder("XDG_CACHE_HOME").map(|path| path.join("formwork")))
        .or_else(|| folder("HOME").map(|path| path.join(".cache/formwork")))
        .unwrap_or_else(|| std::env::temp_dir().join(format!("formwork-cache-{}", rustix::process::getuid().as_raw())));
    base.join("packs.git")
}

fn cannot(path: &Path, error: &std::io::Error) -> CliError {
    CliError::NotSo(format!("{}: {error}", path.display()))
}

fn remove(folder: &Path) -> Result<(), CliError> {
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(folder).map_err(|error| cannot(folder, &error)),
        Ok(_) => std::fs::remove_file(folder).map_err(|error| cannot(folder, &error)),
        Err(_) => Ok(()),
    }
}

/// The whole file or none of it.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let new = path.with_file_name(format!(".{name}.new"));
    remove(&new)?;
    std::fs::write(&new, bytes).map_err(|error| cannot(&new, &error))?;
    std::fs::rename(&new, path).map_err(|error| cannot(path, &error))
}

/// The name that a pack's own `pack.yaml` gives it.
pub(super) fn name_in(pack: &Tree) -> Option<String> {
    field(pack, "/metadata/name")?.as_str().map(str::to_owned)
}

/// The packs that a pack requires.
pub(super) fn required_by(pack: &Tree) -> Vec<String> {
    let names = field(pack, "/spec/requires");
    let names = names.as_ref().and_then(serde_json::Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn field(pack: &Tree, pointer: &str) -> Option<serde_json::Value> {
    use serde::Deserialize as _;
    let text = std::str::from_utf8(&pack.files.get("pack.yaml")?.bytes).ok()?;
    let mut documents = serde_yaml::Deserializer::from_str(text).map_while(|d| serde_json::Value::deserialize(d).ok());
    documents.find(|value| value.get("kind").is_some_and(|kind| kind == "Pack"))?.pointer(pointer).cloned()
}
