//! `formwork pack vendor`: the files of packs, into the site.

use super::super::CliError;
use super::super::sentence::count;
use super::Place;
use super::site::{SiteFiles, cache};
use crate::content::elsewhere::vendor_folder;

/// Writes the files that packs.lock pins to packs/vendor, one folder a pack.
///
/// A commit of the site then holds all that it needs. What is fetched is compared with the hash of the lock, so that the files
/// are the same whoever fetches them, whenever.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork pack vendor           of all packs that are not there, or are not what the lock pins
  formwork pack vendor etcd      of one, written anew

Exit codes:
  0  they are there
  1  what was fetched is not what the lock pins, or cannot be written
  3  a repository or commit is not there")]
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
        println!("no pack comes from another repository");
        return Ok(());
    }
    let cache = cache()?;
    for pack in &packs {
        let name = &pack.name;
        let locked = site.lock.get(name).filter(|locked| locked.is_of(&pack.entry)).ok_or_else(|| CliError::Usage {
            message: format!("packs.lock does not pin what site.yaml says of pack {name}"),
            hint: Some(format!("formwork pack update {name}")),
        })?;
        if arguments.names.is_empty() && site.is_sound(locked) {
            println!("{name}: {} is there", vendor_folder(name));
            continue;
        }
        let (found, tree) = pack.pin(&cache, &locked.commit, locked.reference.as_deref())?;
        if found.hash != locked.hash {
            return Err(CliError::NotSo(format!(
                "the files of pack {name} at commit {} hash to {}, and packs.lock pins {}: one of them is not what it was",
                locked.commit, found.hash, locked.hash
            )));
        }
        let files = count(site.write_vendored(name, &tree)?, "file");
        println!("{name}: {files} in {}", vendor_folder(name));
    }
    Ok(())
}
