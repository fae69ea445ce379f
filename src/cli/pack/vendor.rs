//! `formwork pack vendor`: the files of packs, into the site.

use super::super::CliError;
use super::super::output::say;
use super::super::sentence::count;
use super::Place;
use super::site::{SiteFiles, cache};
use crate::content::elsewhere::vendor_folder;
use crate::git::PackError;

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
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let packs = site.chosen(&arguments.names)?;
    if packs.is_empty() {
        say("no pack comes from another repository");
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
                let folder = vendor_folder(name);
                say(&format!("{name}: {folder} is there; its commit cannot be asked about now: {error}"));
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
        if there {
            say(&format!("{name}: {} is there", vendor_folder(name)));
            continue;
        }
        let files = count(site.write_vendored(name, &tree)?, "file");
        say(&format!("{name}: {files} in {}", vendor_folder(name)));
    }
    Ok(())
}
