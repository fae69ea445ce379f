//! `formwork pack add`: one more pack for the site.

use super::super::CliError;
use super::super::output::{Format, Output};
use super::super::suggest;
use super::resolve::{resolve, shown, versions};
use super::site::{Elsewhere, SITE_FILE, SiteFiles, cache, name_in, required_by};
use super::{Place, Written};
use crate::catalog::builtin_packs;
use crate::content::elsewhere::{Lock, Request, append_to_packs, name_of, origin};
use crate::content::kinds::PackSource;
use crate::git::PackCache;
use serde::Serialize;
use std::path::Path;

/// Adds a pack to site.yaml; one from another repository is pinned in packs.lock, and its files are written to packs/vendor.
///
/// Only the new entry is added to site.yaml: comments and the way it is written stay.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  formwork pack add builtin:discovery                       one that comes with the program
  formwork pack add packs/web                               a folder of this repository
  formwork pack add https://example.org/packs/etcd.git      the highest version there is, and compatible ones after it
  formwork pack add git@example.org:packs.git --path sets/web --branch main

Exit codes:
  0  it is added
  1  site.yaml cannot be added to by a program
  2  that names no pack
  3  the repository, or what is asked of it, is not there
  4  it is there already"
)]
pub struct Arguments {
    /// `builtin:NAME`, a folder of the site, or the address of a repository.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// A range of versions among the repository's tags, such as `^1.2`.
    #[arg(long, value_name = "RANGE", group = "request")]
    version: Option<String>,
    /// A tag.
    #[arg(long, group = "request")]
    tag: Option<String>,
    /// A branch.
    #[arg(long, group = "request")]
    branch: Option<String>,
    /// A commit, all its digits.
    #[arg(long, group = "request")]
    commit: Option<String>,
    /// The pack's folder in the repository, where it is not its root.
    #[arg(long, value_name = "FOLDER")]
    path: Option<String>,
    /// Leaves its files to `formwork pack vendor`, or to the server.
    #[arg(long)]
    no_vendor: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    place: Place,
}

/// A pack that was added, as programs are told.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    name: String,
    /// What it is pinned to, where it comes from another repository.
    #[serde(flatten)]
    pinned: Option<Pinned>,
    /// Packs that it requires and that site.yaml does not name.
    requires: Vec<Required>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pinned {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    commit: String,
    hash: String,
    #[serde(flatten)]
    written: Option<Written>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Required {
    name: String,
    /// It comes with this program.
    builtin: bool,
}

impl Added {
    fn text(&self) -> String {
        let name = &self.name;
        let mut text = String::new();
        if let Some(pinned) = &self.pinned {
            text.push_str(&format!("{name}: {}\n", shown(pinned.reference.as_deref(), &pinned.commit)));
            if let Some(written) = &pinned.written {
                text.push_str(&format!("{name}: {written}\n"));
            }
        }
        text.push_str(&format!("{name}: added to site.yaml\n"));
        for Required { name, builtin } in &self.requires {
            let source = if *builtin { format!("builtin:{name}") } else { "SOURCE".to_owned() };
            text.push_str(&format!("it requires pack {name}: formwork pack add {source}\n"));
        }
        text
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let text = site.tree.files.get(SITE_FILE).and_then(|file| std::str::from_utf8(&file.bytes).ok().map(str::to_owned));
    let text = text.ok_or_else(|| CliError::NotSo("site.yaml is not UTF-8 text".to_owned()))?;
    let of_git = arguments.path.is_some()
        || [&arguments.version, &arguments.tag, &arguments.branch, &arguments.commit]
            .iter()
            .any(|given| given.is_some());
    let plain = plain(arguments, &site)?;
    if let (Some(_), true) = (&plain, of_git) {
        return Err(CliError::Usage {
            message: format!("{} is no repository: it has no version, tag, branch, commit or path", arguments.source),
            hint: Some("leave those out".to_owned()),
        });
    }
    let (entry, name, required, pinned) = match plain {
        Some((entry, name, required)) => (entry, name, required, None),
        None => {
            let cache = cache()?;
            let (pack, locked, tree) = fetched(arguments, &cache)?;
            let required = required_by(&tree);
            (pack.entry, pack.name, required, Some((locked, tree)))
        }
    };
    let known: Vec<String> = site.entries.iter().filter_map(|entry| known_as(entry, &site)).collect();
    if known.contains(&name) {
        return Err(CliError::Refused {
            code: "exists".to_owned(),
            message: format!("site.yaml has a pack `{name}` already"),
            hint: Some(format!("formwork pack list shows it; a newer version of it: formwork pack update {name}")),
        });
    }
    let edited = append_to_packs(&text, &entry)
        .map_err(|error| CliError::NotSo(format!("{error}; write there:\n{}", error.item)))?;
    let mut added = Added::default();
    if let Some((locked, tree)) = pinned {
        let written = if arguments.no_vendor { None } else { Some(Written::to(&site, &name, &tree)?) };
        let (reference, commit, hash) = (locked.reference.clone(), locked.commit.clone(), locked.hash.clone());
        added.pinned = Some(Pinned { reference, commit, hash, written });
        let mut lock = Lock::of(site.lock.packs.clone());
        lock.put(locked);
        site.write_lock(&lock)?;
    }
    site.write_site(&edited)?;
    let missing = required.into_iter().filter(|required| !known.contains(required));
    added.requires = missing.map(|name| Required { builtin: builtin_packs().contains_key(&name), name }).collect();
    added.name = name;
    Output::of_process(arguments.output).answer(&added, || vec![added.name.clone()], |_| added.text())
}

/// A pack of the program or of this repository: its entry, its name, what it requires. `None`: it is an address.
type Plain = Option<(PackSource, String, Vec<String>)>;

fn plain(arguments: &Arguments, site: &SiteFiles) -> Result<Plain, CliError> {
    let source = arguments.source.as_str();
    if let Some(name) = source.strip_prefix("builtin:") {
        let packs = builtin_packs();
        let tree = packs.get(name).ok_or_else(|| CliError::NotFound {
            message: format!("no pack {name} comes with this program"),
            hint: Some(suggest::hint(name, packs.keys().map(String::as_str), "formwork pack list")),
        })?;
        let entry = PackSource { builtin: Some(name.to_owned()), ..PackSource::default() };
        return Ok(Some((entry, name.to_owned(), required_by(tree))));
    }
    let folder = source.trim_start_matches("./").trim_end_matches('/');
    let inside = !folder.is_empty() && folder.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if inside && site.tree.files.contains_key(&format!("{folder}/pack.yaml")) {
        let tree = crate::content::elsewhere::below(&site.tree, folder);
        let name =
            name_in(&tree).ok_or_else(|| CliError::NotSo(format!("{folder}/pack.yaml has no Pack with a name")))?;
        let entry = PackSource { path: Some(folder.to_owned()), ..PackSource::default() };
        return Ok(Some((entry, name, required_by(&tree))));
    }
    Ok(None)
}

/// A pack of another repository, found and fetched.
fn fetched(
    arguments: &Arguments,
    cache: &PackCache,
) -> Result<(Elsewhere, crate::content::elsewhere::LockedPack, crate::content::Tree), CliError> {
    let mut entry = PackSource {
        git: Some(address(&arguments.source)?),
        path: arguments.path.clone(),
        version: arguments.version.clone(),
        tag: arguments.tag.clone(),
        branch: arguments.branch.clone(),
        commit: arguments.commit.clone(),
        ..PackSource::default()
    };
    let named = [&entry.version, &entry.tag, &entry.branch, &entry.commit].iter().any(|given| given.is_some());
    // What is wrong with the address is said before it is used.
    let mut probe = PackSource { name: Some("pack".to_owned()), ..entry.clone() };
    if !named {
        probe.branch = Some("main".to_owned());
    }
    let probe = match origin(&probe) {
        // The name is one that was put in to ask.
        Err(error) => return Err(CliError::Usage { message: error.message, hint: error.hint }),
        Ok(_) => Elsewhere::of(&probe)?,
    };
    let by_commit = matches!(probe.request, Request::Commit(_)) && named;
    let references = if by_commit { Vec::new() } else { cache.references(&probe.url).map_err(super::failed)? };
    if !named {
        let highest =
            versions(&references).into_iter().rev().map(|(version, _)| version).find(|version| version.pre.is_empty());
        let highest = highest.ok_or_else(|| CliError::Usage {
            message: format!("no tag of {} is a version, such as v1.2.3", probe.url),
            hint: Some("say what is wanted: --branch, --tag or --commit".to_owned()),
        })?;
        entry.version = Some(format!("^{highest}"));
    }
    let asked = Elsewhere::of(&PackSource { name: Some("pack".to_owned()), ..entry.clone() })?;
    let found = resolve(&asked.request, &references)
        .map_err(|said| CliError::NotFound { message: format!("{}: {said}", asked.url), hint: None })?;
    let (_, tree) = asked.pin(cache, &found.commit, found.reference.as_deref())?;
    let name = name_in(&tree).ok_or_else(|| CliError::NotFound {
        message: format!("there is no pack.yaml with a Pack in {} at {}", asked.url, super::short(&found.commit)),
        hint: Some("a pack in a folder of the repository is named by --path".to_owned()),
    })?;
    if name_of(&entry).as_ref() != Some(&name) {
        entry.name = Some(name);
    }
    let pack = Elsewhere::of(&entry)?;
    let (locked, tree) = pack.pin(cache, &found.commit, found.reference.as_deref())?;
    Ok((pack, locked, tree))
}

/// A folder of the disk becomes its whole path: what stands in site.yaml means the same wherever it is read.
fn address(source: &str) -> Result<String, CliError> {
    if source.contains("://") || source.starts_with('/') || !Path::new(source).exists() {
        return Ok(source.to_owned());
    }
    let path = Path::new(source).canonicalize();
    let path = path.map_err(|error| CliError::Usage { message: format!("{source}: {error}"), hint: None })?;
    Ok(path.display().to_string())
}

/// The name of a pack that the site has.
pub(super) fn known_as(entry: &PackSource, site: &SiteFiles) -> Option<String> {
    match (&entry.builtin, &entry.git, &entry.path) {
        (Some(name), None, None) => Some(name.clone()),
        (None, Some(_), _) => name_of(entry),
        (None, None, Some(folder)) => {
            name_in(&crate::content::elsewhere::below(&site.tree, folder.trim_end_matches('/')))
        }
        _ => None,
    }
}
