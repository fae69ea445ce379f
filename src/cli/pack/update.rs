//! `formwork pack update`: what packs' requests mean now, into the lock.

use super::super::CliError;
use super::super::output::{Format, Output};
use super::resolve::{resolve, shown};
use super::site::{SiteFiles, cache};
use super::{Place, Written};
use crate::content::elsewhere::{Lock, LockedPack, Request};
use serde::Serialize;

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
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    place: Place,
}

/// What was found, as programs are told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    packs: Vec<Row>,
    /// The lock was written: it is not where nothing changed, and with `--dry-run`.
    lock_written: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    change: Change,
    /// What it was locked to before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<At>,
    /// What its request means now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<At>,
    /// The tag that led to another commit before: what was published under it is something else now.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_moved: Option<String>,
    #[serde(flatten)]
    written: Option<Written>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    /// It is what it was.
    None,
    /// The same commit, whose files have another hash than was locked.
    Corrected,
    /// Another commit.
    Moved,
    /// It was not locked before.
    New,
    /// It is not locked any more, since site.yaml does not name it.
    Gone,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct At {
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    commit: String,
}

impl At {
    fn of(locked: &LockedPack) -> Self {
        Self { reference: locked.reference.clone(), commit: locked.commit.clone() }
    }
}

impl Row {
    fn line(&self) -> String {
        let at =
            |at: &Option<At>| at.as_ref().map_or_else(String::new, |at| shown(at.reference.as_deref(), &at.commit));
        let (name, before, now) = (&self.name, at(&self.before), at(&self.now));
        match self.change {
            Change::None => format!("{name}: {now}, as before\n"),
            Change::Corrected => format!("{name}: {now}; its hash in packs.lock was not that of its files\n"),
            Change::Moved => format!("{name}: {before} -> {now}\n"),
            Change::New => format!("{name}: {now}, new\n"),
            Change::Gone => format!("{name}: no longer locked, since site.yaml does not name it\n"),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        let mut text: String = self.packs.iter().map(Row::line).collect();
        for row in &self.packs {
            if let Some(tag) = &row.tag_moved {
                text.push_str(&format!(
                    "{}: the tag {tag} was moved from one commit to another: what was published under it is something else now; \
                     ask its owner before you take it\n",
                    row.name
                ));
            }
            if let Some(written) = &row.written {
                text.push_str(&format!("{}: {written}\n", row.name));
            }
        }
        if self.lock_written {
            text.push_str("packs.lock is written; `formwork validate` says what the change means for the site\n");
        }
        text
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let packs = site.chosen(&arguments.names)?;
    let all = site.elsewhere()?;
    let cache = cache()?;
    let mut lock = Lock::of(site.lock.packs.clone());
    let mut rows = Vec::new();
    for gone in site.lock.packs.iter().filter(|locked| all.iter().all(|pack| pack.name != locked.name)) {
        let (name, before) = (gone.name.clone(), Some(At::of(gone)));
        rows.push(Row { name, change: Change::Gone, before, now: None, tag_moved: None, written: None });
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
        let change = match before {
            Some(_) if same => Change::None,
            Some(_) => Change::Moved,
            None => Change::New,
        };
        let now = Some(At { reference: found.reference.clone(), commit: found.commit.clone() });
        let same_place = before.filter(|locked| locked.from.git.as_deref() == Some(pack.url.as_str()));
        let tag_moved = same_place.and_then(|locked| {
            moved_tag((locked.reference.as_deref(), &locked.commit), (found.reference.as_deref(), &found.commit))
        });
        let tag_moved = tag_moved.map(str::to_owned);
        rows.push(Row { name: name.clone(), change, before: before.map(At::of), now, tag_moved, written: None });
        if arguments.dry_run && !same {
            continue;
        }
        let (locked, tree) = pack.pin(&cache, &found.commit, found.reference.as_deref())?;
        if same {
            if before.is_some_and(|before| before.hash == locked.hash) {
                continue;
            }
            if let Some(row) = rows.last_mut() {
                row.change = Change::Corrected;
            }
            if arguments.dry_run {
                continue;
            }
        }
        lock.put(locked);
        if site.is_vendored(name) || (before.is_none() && !arguments.no_vendor) {
            files.push((rows.len().saturating_sub(1), tree));
        }
    }
    let mut answer = Answer { packs: rows, lock_written: false };
    if !arguments.dry_run {
        for (place, tree) in files {
            if let Some(row) = answer.packs.get_mut(place) {
                row.written = Some(Written::to(&site, &row.name, &tree)?);
            }
        }
        if lock.packs != site.lock.packs {
            site.write_lock(&lock)?;
            answer.lock_written = true;
        }
    }
    let names = || answer.packs.iter().map(|row| row.name.clone()).collect();
    Output::of_process(arguments.output).answer(&answer, names, |_| answer.text())
}

/// The tag that led to one commit and leads to another now.
fn moved_tag<'a>((before, was): (Option<&'a str>, &str), (now, is): (Option<&str>, &str)) -> Option<&'a str> {
    before.filter(|_| before == now && was != is)?.strip_prefix("refs/tags/")
}

#[cfg(test)]
mod tests {
    use super::moved_tag;

    #[test]
    fn only_a_tag_that_leads_elsewhere_by_the_same_name_was_moved() {
        let (tag, other, branch) = (Some("refs/tags/v1"), Some("refs/tags/v2"), Some("refs/heads/main"));
        for (before, now, moved) in [
            ((tag, "a"), (tag, "b"), Some("v1")),
            ((tag, "a"), (tag, "a"), None),
            ((tag, "a"), (other, "b"), None),
            ((branch, "a"), (branch, "b"), None),
            ((None, "a"), (None, "b"), None),
        ] {
            assert_eq!(moved_tag(before, now), moved, "{before:?} {now:?}");
        }
    }
}
