//! `formwork pack update`: what packs' requests mean now, into the lock.

use super::super::CliError;
use super::super::output::say;
use super::super::sentence::count;
use super::Place;
use super::resolve::{resolve, shown};
use super::site::{SiteFiles, cache};
use crate::content::elsewhere::{Lock, Request, vendor_folder};

/// Finds the commits of packs from other repositories anew and writes packs.lock.
///
/// A version means the highest that fits, a branch its newest commit, a tag what it is of now. Packs whose files lie in
/// packs/vendor get those of the new commit. What the lock pins and site.yaml does not name is let go.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork pack update              all packs
  formwork pack update etcd         one; the others stay as they are
  formwork pack update --dry-run    what would change

Exit codes:
  0  the lock is what the requests mean
  1  a pack cannot be pinned
  3  a repository, tag, branch, version or commit is not there")]
pub struct Arguments {
    /// Packs; all where none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only says what would change.
    #[arg(long)]
    dry_run: bool,
    /// Leaves the files of packs that are new in the lock to `formwork pack vendor`, or to the server.
    #[arg(long)]
    no_vendor: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let packs = site.chosen(&arguments.names)?;
    let all = site.elsewhere()?;
    let cache = cache()?;
    let mut lock = Lock::of(site.lock.packs.clone());
    for gone in site.lock.packs.iter().filter(|locked| all.iter().all(|pack| pack.name != locked.name)) {
        say(&format!("{}: no longer locked, since site.yaml does not name it", gone.name));
        lock.packs.retain(|locked| locked.name != gone.name);
    }
    let mut files = Vec::new();
    for pack in &packs {
        let name = &pack.name;
        let references = match pack.request {
            Request::Commit(_) => Vec::new(),
            _ => cache.references(&pack.url).map_err(super::failed)?,
        };
        let found = resolve(&pack.request, &references).map_err(|said| CliError::NotFound {
            message: format!("pack {name}: {} has none that fits: {said}", pack.url),
            hint: Some("change what site.yaml asks for, or push what is missing".to_owned()),
        })?;
        let before = site.lock.get(name);
        let same = before.is_some_and(|locked| locked.commit == found.commit && locked.is_of(&pack.entry));
        let now = shown(found.reference.as_deref(), &found.commit);
        match before {
            Some(_) if same => say(&format!("{name}: {now}, as before")),
            Some(locked) => say(&format!("{name}: {} -> {now}", shown(locked.reference.as_deref(), &locked.commit))),
            None => say(&format!("{name}: {now}, new")),
        }
        if same || arguments.dry_run {
            continue;
        }
        let (locked, tree) = pack.pin(&cache, &found.commit, found.reference.as_deref())?;
        lock.put(locked);
        if site.is_vendored(name) || (before.is_none() && !arguments.no_vendor) {
            files.push((name, tree));
        }
    }
    if arguments.dry_run {
        return Ok(());
    }
    for (name, tree) in files {
        let files = count(site.write_vendored(name, &tree)?, "file");
        say(&format!("{name}: {files} in {}", vendor_folder(name)));
    }
    if lock.packs != site.lock.packs {
        site.write_lock(&lock)?;
        say("packs.lock is written; `formwork validate` says what the change means for the site");
    }
    Ok(())
}
