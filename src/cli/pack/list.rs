//! `formwork pack list`: the packs of a site, where they come from, what they are pinned to.

use super::super::CliError;
use super::super::output::{Format, Output, Style, Tone, Word, table};
use super::Place;
use super::add::known_as;
use super::resolve::{resolve, shown, versions};
use super::site::{Elsewhere, SiteFiles, cache};
use crate::content::elsewhere::{Request, VENDOR, below, hash_of};
use serde::Serialize;

/// Lists the packs of a site: name, source, commit and hash of the lock, and whether their files are there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork pack list
  formwork pack list --remote       asks their repositories for something newer, too
  formwork pack list -o json        with whole commits and hashes")]
pub struct Arguments {
    /// Asks the repositories whether there is something newer.
    #[arg(long)]
    remote: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    place: Place,
}

/// How the files of a pack are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// They come with the program.
    Builtin,
    /// They are in the site's repository.
    Here,
    /// They are in the site, and what the lock pins.
    Vendored,
    /// They are in the site, and not what the lock pins.
    Changed,
    /// They are pinned, and not in the site.
    Locked,
    /// Nothing is pinned for what site.yaml says.
    NotLocked,
    /// They are not there, or no pack.
    Missing,
    /// They are in the site, which does not name them.
    Unused,
}

impl State {
    const fn word(self) -> (&'static str, Tone) {
        match self {
            Self::Builtin => ("builtin", Tone::Plain),
            Self::Here => ("here", Tone::Plain),
            Self::Vendored => ("vendored", Tone::Good),
            Self::Changed => ("changed", Tone::Bad),
            Self::Locked => ("locked", Tone::Plain),
            Self::NotLocked => ("not locked", Tone::Bad),
            Self::Missing => ("missing", Tone::Bad),
            Self::Unused => ("unused", Tone::Waiting),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    state: State,
    used: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// What there is beyond what is locked: within the request, and beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let site = SiteFiles::open(&arguments.place)?;
    let mut rows = Vec::new();
    let mut folders: Vec<String> = Vec::new();
    for entry in &site.entries {
        let mut row = match (&entry.builtin, &entry.git, &entry.path) {
            (Some(name), _, _) => row(name.clone(), format!("builtin:{name}"), builtin(name)),
            (None, Some(url), path) => {
                let source = path.as_ref().map_or_else(|| url.clone(), |path| format!("{url} {path}"));
                let mut row = row(known_as(entry, &site).unwrap_or_default(), source, State::NotLocked);
                let pack = Elsewhere::of(entry)?;
                row.request = Some(pack.request.to_string());
                folders.push(crate::content::elsewhere::vendor_folder(&row.name));
                if let Some(locked) = site.lock.get(&row.name).filter(|locked| locked.is_of(entry)) {
                    row.state = match (site.is_vendored(&row.name), site.is_sound(locked)) {
                        (_, true) => State::Vendored,
                        (true, false) => State::Changed,
                        (false, false) => State::Locked,
                    };
                    row.reference.clone_from(&locked.reference);
                    row.commit = Some(locked.commit.clone());
                    row.hash = Some(locked.hash.clone());
                }
                row
            }
            (None, None, path) => {
                let folder = path.clone().unwrap_or_default().trim_end_matches('/').to_owned();
                let name = known_as(entry, &site);
                let state = if name.is_some() { State::Here } else { State::Missing };
                let row = row(name.unwrap_or_else(|| folder.clone()), folder.clone(), state);
                folders.push(folder);
                row
            }
        };
        if arguments.remote && entry.git.is_some() {
            row.newer = newer(&Elsewhere::of(entry)?, &row)?;
        }
        if row.hash.is_none() && matches!(row.state, State::Here) {
            row.hash = hash_of(&site.tree, &row.source).ok();
        }
        rows.push(row);
    }
    for path in site.tree.files.keys() {
        let Some(folder) = path.strip_suffix("/pack.yaml") else { continue };
        let inside_used = folders.iter().any(|used| folder == used || folder.starts_with(&format!("{used}/")));
        if !inside_used && !folder.split('/').any(|part| part.starts_with('.')) {
            let name = super::site::name_in(&below(&site.tree, folder)).unwrap_or_else(|| folder.to_owned());
            let mut row = row(name, folder.to_owned(), State::Unused);
            row.used = false;
            rows.push(row);
        }
    }
    let names = || rows.iter().map(|row| row.name.clone()).collect();
    Output::of_process(arguments.output).answer(&rows, names, |style| draw(&rows, arguments.remote, style))
}

fn row(name: String, source: String, state: State) -> Row {
    Row { name, source, request: None, state, used: true, reference: None, commit: None, hash: None, newer: None }
}

fn builtin(name: &str) -> State {
    if crate::catalog::builtin_packs().contains_key(name) { State::Builtin } else { State::Missing }
}

/// What there is that is newer: what the request means now, and the highest version of all.
fn newer(pack: &Elsewhere, row: &Row) -> Result<Option<String>, CliError> {
    if matches!(pack.request, Request::Commit(_)) {
        return Ok(None);
    }
    let references = cache()?.references(&pack.url).map_err(super::failed)?;
    let mut said = Vec::new();
    let fits = resolve(&pack.request, &references);
    match &fits {
        Ok(found) if Some(&found.commit) != row.commit.as_ref() => {
            said.push(shown(found.reference.as_deref(), &found.commit));
        }
        Ok(_) => {}
        Err(trouble) => said.push(trouble.clone()),
    }
    if let (Request::Version(_), Some((highest, reference))) = (&pack.request, versions(&references).last())
        && fits.as_ref().is_ok_and(|found| found.reference.as_ref() != Some(&reference.name))
    {
        said.push(format!("{highest} is not in the range"));
    }
    Ok((!said.is_empty()).then(|| said.join("; ")))
}

fn draw(rows: &[Row], remote: bool, style: Style) -> String {
    if rows.is_empty() {
        return "the site names no pack\n".to_owned();
    }
    let mut heads = vec!["name", "source", "wanted", "locked", "hash", "files"];
    if remote {
        heads.push("newer");
    }
    let lines = rows.iter().map(|row| {
        let (word, tone) = row.state.word();
        let locked = row.commit.as_ref().map(|commit| shown(row.reference.as_deref(), commit));
        let hash = row.hash.as_ref().and_then(|hash| hash.strip_prefix("sha256:")?.get(..12).map(str::to_owned));
        let text = |text: Option<String>| Word::from(text.unwrap_or_else(|| "-".to_owned()));
        let mut line = vec![
            Word::from(row.name.clone()),
            Word::from(row.source.clone()),
            text(row.request.clone()),
            text(locked),
            text(hash),
            Word::new(word, tone),
        ];
        if remote {
            line.push(text(row.newer.clone()));
        }
        line
    });
    let unused = rows.iter().filter(|row| row.state == State::Unused).count();
    let mut text = table(&heads, lines, style);
    if unused > 0 {
        text.push_str(&format!("{unused} below {VENDOR} or elsewhere that site.yaml does not name\n"));
    }
    text
}
