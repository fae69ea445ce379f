//! `formwork site create`: makes a site's keys, its first administrator and its store, once.

use super::error::CliError;
use super::keeping::StoreAt;
use super::output::{Format, Output};
use crate::serve::{Keeping, StateDirectory};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Makes a site.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: SiteCommand,
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    /// Makes keys, the first administrator's token and an empty store. Done once in a site's life.
    ///
    /// An empty store is not permission to install: a server that finds machines declared which its store has never heard of
    /// holds their runs until `formwork adopt`, since they may be installed already. --fresh says that there are none.
    #[command(after_help = "Examples:
  formwork site create lab --fresh             a new site: no machine of it was ever installed
  formwork site create lab --fresh --store kubernetes --shared
                                               for several servers: keys lie in a Secret beside the store
  formwork site create lab                     in front of machines that are installed: held until adopted
  export FORMWORK_CONTEXT=/var/lib/formwork/administrator.json")]
    Create(Create),
}

#[derive(Debug, Args)]
struct Create {
    /// The site's name: lower-case letters, digits, `-`.
    name: String,
    /// The state directory.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    #[command(flatten)]
    store: StoreAt,
    /// No machine of this site was ever installed: declared machines may start at once.
    #[arg(long)]
    fresh: bool,
    /// With --store kubernetes, for servers with --replica: keys and the first administrator's token lie in the Secret
    /// formwork-site beside the store, and are made once, however many say this.
    #[arg(long)]
    shared: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// A site that was made, as programs are told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    site: &'a str,
    state_dir: String,
    authority_sha256: String,
    /// The context file of the first administrator.
    administrator: String,
    /// Whether machines that the store has never heard of are held until somebody adopts them.
    holds_unknown: bool,
    /// The command line that serves it.
    next: String,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let SiteCommand::Create(create) = &arguments.command;
    let state = StateDirectory(create.state_dir.clone());
    let failed = |error: &dyn std::fmt::Display| CliError::NotSo(error.to_string());
    let keeping = create.store.keeping()?;
    let server = "https://127.0.0.1:8443";
    let keys = match create.shared {
        true => state.create_shared(&keeping, &create.name, create.fresh, server),
        false => state.create_with(&keeping, &create.name, create.fresh, server),
    };
    let keys = keys.map_err(|error| super::failure::of_site(&error))?;
    let fingerprint = crate::identity::ca_fingerprint(keys.authority_certificate()).map_err(|error| failed(&error))?;
    let made = Made {
        site: &create.name,
        state_dir: create.state_dir.display().to_string(),
        authority_sha256: fingerprint,
        administrator: state.context().display().to_string(),
        holds_unknown: !create.fresh,
        next: next(&create.state_dir, &keeping),
    };
    let output = Output::of_process(create.output);
    output.answer(&made, || vec![create.name.clone()], |_| made.text())
}

impl Made<'_> {
    fn text(&self) -> String {
        let Self { site, state_dir, authority_sha256, administrator, holds_unknown, next } = self;
        let held = match holds_unknown {
            true => "  machines that this store has never heard of are held until `formwork adopt`\n",
            false => "",
        };
        format!(
            "site {site} made in {state_dir}\n  authority SHA-256 {authority_sha256}\n  administrator     {administrator}\n\
             {held}next: {next}\n"
        )
    }
}

/// What serves the site.
pub(super) fn next(state: &Path, keeping: &Keeping) -> String {
    let (state, store) = (state.display(), keeping.options());
    format!(
        "formwork serve --state-dir {state}{store} --repository PATH --images DIR --address ADDRESS --interface NAME"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_says_where_the_store_is() {
        let line = next(Path::new("k1"), &Keeping::Embedded);
        assert!(line.starts_with("formwork serve --state-dir k1 --repository PATH"), "{line}");
        #[cfg(feature = "kubernetes")]
        {
            let config = Box::new(kube::Config::new("http://127.0.0.1:1".parse().unwrap()));
            let line =
                next(Path::new("k1"), &Keeping::Kubernetes { config, namespace: "lab".to_owned(), replica: None });
            assert!(line.contains("--state-dir k1 --store kubernetes --store-namespace lab --repository"), "{line}");
        }
    }
}
