//! `formwork export`, `formwork import`: a site's store moves to another place.

use super::error::CliError;
use super::keeping::StoreAt;
use super::output::{Format, Output};
use super::progress::Stages;
use super::site;
use super::store::{failed, many};
use crate::serve::{SiteError, StateDirectory, moving};
use crate::store::moving::{Counts, Exported, Imported, MoveFile};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Writes a site's store to a file, to move it, and marks it: nothing serves from it any more.
///
/// What was given out goes on where the file is imported: tokens, claims, fences, generations, open jobs. So this is no backup: a store
/// that was exported is opened by nothing but `formwork import` of this very file, in the same place. The server of a store in the state
/// directory is stopped first; one on a store in Kubernetes ends.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  systemctl stop formwork
  formwork export site.move                                             out of the state directory
  formwork import site.move --store kubernetes --store-namespace lab    into Kubernetes
  formwork export site.move --store kubernetes --store-namespace lab    and out of it
  formwork import site.move                                             into the state directory, or back into the same store")]
pub struct Export {
    /// The new file. It holds secrets as the store does: keep it as carefully, and remove it when the site serves again.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Makes a site's store of the file of an export, with the keys in the state directory.
///
/// The file is read whole before anything is made, and a store that is there is never written over. What is killed in the middle leaves no
/// store; run it again. Where the store is there that the file was written of, and is as it was, it is put back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork import site.move --store kubernetes --store-namespace lab
  formwork import site.move --state-dir /var/lib/formwork")]
pub struct Import {
    /// The file.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Place {
    /// The state directory, with the site's keys.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    #[command(flatten)]
    store: StoreAt,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// What an export is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    file: &'a Path,
    #[serde(flatten)]
    exported: &'a Exported,
    /// What of the state directory goes along.
    along: Vec<&'static str>,
}

/// What an import is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    site: &'a str,
    result: Imported,
    #[serde(flatten)]
    counts: Counts,
}

/// Writes the file.
pub fn export(Export { to, place }: &Export) -> Result<(), CliError> {
    let state = StateDirectory(place.state_dir.clone());
    let keeping = place.store.keeping()?;
    if keeping.elsewhere().is_none() && state.store_elsewhere().is_none() {
        super::failure::has_store(&place.state_dir)?;
    }
    let stages = Stages::default();
    let exported = moving::export(&keeping, &state, to, &stages).map_err(|error| refused(error, to))?;
    drop(stages);
    let written = Written { file: to, exported: &exported, along: state.along() };
    let names = || vec![to.display().to_string()];
    Output::of_process(place.output).answer(&written, names, |_| exported_text(&written, &place.state_dir))
}

/// Makes the store.
pub fn import(Import { from, place }: &Import) -> Result<(), CliError> {
    let state = StateDirectory(place.state_dir.clone());
    let keeping = place.store.keeping()?;
    let stages = Stages::default();
    super::failure::ends_once(from)?;
    let file = MoveFile::open(from, &stages).map_err(|error| failed(error, from))?;
    let result = moving::import(&keeping, &state, &file, &stages).map_err(|error| refused(error, &place.state_dir))?;
    drop(stages);
    let read = Read { site: &file.header.site, result, counts: file.counts };
    let names = || vec![file.header.site.clone()];
    let next = site::next(&place.state_dir, &keeping);
    Output::of_process(place.output).answer(&read, names, |_| imported_text(&read, &format!("next: {next}")))
}

/// How a command ends that writes to the disk of `to`.
fn refused(error: SiteError, to: &Path) -> CliError {
    match error {
        SiteError::Store(error) => failed(error, to),
        other => super::failure::of_site(&other),
    }
}

fn exported_text(Written { file, exported, along }: &Written<'_>, state: &Path) -> String {
    let Exported { header, counts, again } = exported;
    let marked = match again {
        true => "the store was marked as moved before; this is what it held then",
        false => "the store is marked as moved: nothing serves from it any more",
    };
    format!(
        "{} holds site {}: {}\n{marked}\nof {} goes along, where that is not the state directory there, too: {}\n\
         next: formwork import {} --state-dir DIR, and --store kubernetes --store-namespace NAME where it goes there\n",
        file.display(),
        header.site,
        counted(counts),
        state.display(),
        along.join(" "),
        file.display(),
    )
}

fn imported_text(Read { site, result, counts }: &Read<'_>, next: &str) -> String {
    let done = match result {
        Imported::Made => "is imported",
        Imported::PutBack => "is put back in its place, and may serve again",
        Imported::ThereAlready => "is there already, as the file has it",
    };
    format!("the store of site {site} {done}: {}\n{next}\n", counted(counts))
}

fn counted(Counts { events, streams, clusters, leases, values }: &Counts) -> String {
    format!(
        "{} in {}, {}, {}, {}",
        many(*events, "event"),
        many(*streams, "stream"),
        many(*clusters, "cluster"),
        many(*leases, "lease"),
        many(*values, "small value")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::moving::{Header, Moved};

    const COUNTS: Counts = Counts { events: 12, streams: 3, clusters: 1, leases: 0, values: 2 };

    #[test]
    fn an_export_says_what_it_holds_what_goes_along_and_what_comes_next() {
        let moved = Moved { move_id: "ab".into(), moved_unix_ms: 0 };
        let header = Header { site: "lab".into(), authority: "cd".into(), from: None, end: None, moved };
        for (again, words) in [(false, "nothing serves from it any more"), (true, "marked as moved before")] {
            let exported = Exported { header: header.clone(), counts: COUNTS, again };
            let written = Written { file: Path::new("site.move"), exported: &exported, along: vec!["keys", "logs"] };
            let text = exported_text(&written, Path::new("/state"));
            assert!(
                text.starts_with("site.move holds site lab: 12 events in 3 streams, 1 cluster, no leases, "),
                "{text}"
            );
            assert!(
                text.contains(words) && text.contains("/state goes along") && text.contains("keys logs\n"),
                "{text}"
            );
            assert!(text.contains("next: formwork import site.move --state-dir DIR"), "{text}");
        }
    }

    #[test]
    fn an_import_says_what_came_of_it() {
        for (result, words) in [
            (Imported::Made, "the store of site lab is imported: 12 events"),
            (Imported::PutBack, "is put back"),
            (Imported::ThereAlready, "is there already"),
        ] {
            let text = imported_text(&Read { site: "lab", result, counts: COUNTS }, "next: formwork serve");
            assert!(text.contains(words) && text.ends_with("\nnext: formwork serve\n"), "{text}");
        }
    }
}
