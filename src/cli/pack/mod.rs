//! `formwork pack`: the packs of a site: which there are, more of them, newer ones, their files, their tests.

mod add;
mod list;
mod resolve;
mod site;
mod test;
mod update;
mod vendor;

use self::site::SiteFiles;
use super::CliError;
use super::sentence::count;
use crate::content::Tree;
use crate::content::elsewhere::{lay_in, missing, vendor_folder};
use crate::git::PackError;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::PathBuf;

/// Lists, adds, updates, vendors and tests the packs of a site. Works on the files of a directory; nothing is committed.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: PackCommand,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    List(list::Arguments),
    Add(add::Arguments),
    Update(update::Arguments),
    Vendor(vendor::Arguments),
    Test(test::Arguments),
}

/// The directory of the site.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The directory with site.yaml.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        PackCommand::List(arguments) => list::run(arguments),
        PackCommand::Add(arguments) => add::run(arguments),
        PackCommand::Update(arguments) => update::run(arguments),
        PackCommand::Vendor(arguments) => vendor::run(arguments),
        PackCommand::Test(arguments) => test::run(arguments),
    }
}

/// Lays in what is locked and not vendored, as far as this person has fetched it before. Nothing is fetched: what is still
/// missing is a finding.
pub(super) fn lay_in_fetched(tree: &mut Tree) {
    let missing = missing(tree);
    if missing.is_empty() || !site::cache_path().is_dir() {
        return;
    }
    let Ok(cache) = site::cache() else { return };
    for pack in missing {
        if let Ok(files) = cache.tree(&pack.commit, pack.from.path.as_deref()) {
            lay_in(tree, &pack.name, &files);
        }
    }
}

/// Files of a pack that were written into the site.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    folder: String,
    files: usize,
}

impl Written {
    /// Writes them.
    fn to(site: &SiteFiles, name: &str, tree: &Tree) -> Result<Self, CliError> {
        Ok(Self { files: site.write_vendored(name, tree)?, folder: vendor_folder(name) })
    }
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", count(self.files, "file"), self.folder)
    }
}

/// What a failure to fetch means to a person.
fn failed(error: PackError) -> CliError {
    let hint = match &error {
        PackError::NoGit(_) => Some("install git"),
        PackError::Remote { .. } => Some("try it yourself: `git ls-remote` with that address shows what git needs"),
        PackError::NoCommit { .. } => Some("`formwork pack update` finds the commit anew; was its branch rewritten?"),
        PackError::Git(_) => None,
    };
    match (&error, hint) {
        (PackError::Git(_), _) | (_, None) => CliError::NotSo(error.to_string()),
        (_, Some(hint)) => CliError::NotFound { message: error.to_string(), hint: Some(hint.to_owned()) },
    }
}

/// The beginning of a commit's id.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
