//! `formwork pack vendor`: the files of packs, into the site.

use super::super::CliError;
use super::super::output::{Format, Output};
use super::site::{SiteFiles, cache};
use super::{Place, Written};
use crate::content::elsewhere::vendor_folder;
use crate::git::PackError;
use serde::Serialize;

/// Writes the files that packs.lock pins to packs/vendor, one folder a pack.
///
/// A commit of the site then holds all that it needs. What is fetched is compared with the hash of the lock, so that the files
/// are the same whoever fetches them, whenever. Of files that are there it is asked as well whether they are those of the
/// commit that the lock names, where the repository can be reached.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork pack vendor           of all packs that are not there, or are not what the lock pins
  formwork pack vendor etcd      of one, written anew

Exit codes:
  0  they are there
  1  what was fetched is not what the lock pins, or cannot be written
  3  a commit is not in its repository, or a repository that is needed is not there")]
pub struct Arguments {
    /// Packs; all where none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    place: Place,
}

/// What became of a pack's files, as programs are told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    folder: String,
    /// So many were written; none where they were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    /// They are there and what the lock pins; whether that is what its commit has could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_asked: Option<String>,
}

impl Row {
    fn line(&self) -> String {
        let Self { name, folder, files, not_asked } = self;
        match (files, not_asked) {
            (Some(files), _) => format!("{name}: {}\n", Written { folder: folder.clone(), files: *files }),
            (None, Some(error)) => {
                format!("{name}: {folder} is there; its commit cannot be asked about now: {error}\n")
            }
            (None, None) => format!("{name}: {folder} is there\n"),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut rows = Vec::new();
    let done = vendor(arguments, &mut rows);
    // What was written before something went wrong is told all the same.
    if done.is_ok() || !rows.is_empty() {
        let names = || rows.iter().map(|row| row.name.clone()).collect();
        Output::of_process(arguments.output).answer(&rows, names, |_| match rows.is_empty() {
            true => "no pack comes from another repository\n".to_owned(),
            false => rows.iter().map(Row::line).collect(),
        })?;
    }
    done
}

fn vendor(arguments: &Arguments, rows: &mut Vec<Row>) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let packs = site.chosen(&arguments.names)?;
    if packs.is_empty() {
        return Ok(());
    }
    let cache = cache()?;
    for pack in &packs {
        let name = &pack.name;
        let locked = site.lock.get(name).filter(|locked| locked.is_of(&pack.entry)).ok_or_else(|| CliError::Usage {
            message: format!("packs.lock does not pin what site.yaml says of pack {name}"),
            hint: Some(format!("formwork pack update {name}")),
        })?;
        let there = arguments.names.is_empty() && site.is_sound(locked);
        // The files are those of the hash; whether the hash is that of the commit only the repository knows.
        match cache.fetch(&pack.url, &locked.commit, locked.reference.as_deref()) {
            Err(error @ (PackError::Remote { .. } | PackError::NoGit(_))) if there => {
                let not_asked = Some(error.to_string());
                rows.push(Row { name: name.clone(), folder: vendor_folder(name), files: None, not_asked });
                continue;
            }
            fetched => fetched.map_err(super::failed)?,
        }
        let (found, tree) = pack.pin(&cache, &locked.commit, locked.reference.as_deref())?;
        if found.hash != locked.hash {
            return Err(CliError::NotSo(format!(
                "the files of pack {name} at commit {} hash to {}, and packs.lock pins {}: one of them is not what it was",
                locked.commit, found.hash, locked.hash
            )));
        }
        let files = if there { None } else { Some(site.write_vendored(name, &tree)?) };
        rows.push(Row { name: name.clone(), folder: vendor_folder(name), files, not_asked: None });
    }
    Ok(())
}
