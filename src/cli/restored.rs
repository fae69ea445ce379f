//! `formwork store restored`: a store that lies elsewhere came back from a backup with what it lies in.

use super::error::CliError;
use super::keeping::StoreAt;
use super::output::{Format, Output};
use super::progress::Stages;
use super::store::{failed, many};
use crate::serve::{SiteError, StateDirectory};
use clap::Args;
use std::path::PathBuf;

// (No documentation of its own: that of the command says it.)
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: StoreAt,
    /// The state directory: where it has keys, the store has to be that of their site.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does it.
pub fn run(Arguments { store, state_dir, output }: &Arguments) -> Result<(), CliError> {
    let keeping = store.keeping()?;
    let authority = match StateDirectory(state_dir.clone()).keys() {
        Ok(keys) => Some(
            crate::identity::ca_fingerprint(keys.authority_certificate())
                .map_err(|error| CliError::NotSo(error.to_string()))?,
        ),
        Err(SiteError::Missing { .. } | SiteError::NoKeys { .. }) => None,
        Err(error) => return Err(super::failure::of_site(&error)),
    };
    let stages = Stages::default();
    let restored = keeping.restored(authority, state_dir, &stages).map_err(|error| failed(error, state_dir))?;
    drop(stages);
    let Some(restored) = restored else {
        return Err(CliError::Usage {
            message: "this is about a store in Kubernetes, which comes back with etcd".to_owned(),
            hint: Some("name it: --store kubernetes --store-namespace NAME; a file comes back by `formwork store restore FILE`".to_owned()),
        });
    };
    let names = || vec![restored.site.clone()];
    Output::of_process(*output).answer(&restored, names, |_| {
        format!(
            "the store of site {} in {} is one that came back from a backup\nheld until `formwork adopt`: {}; frozen until `formwork \
             cluster thaw`: {}\n",
            restored.site,
            restored.place,
            many(restored.machines, "machine"),
            many(restored.clusters, "cluster")
        )
    })
}
