//! Where a site's data is kept, as commands are told.

use super::error::CliError;
use crate::serve::Keeping;
use clap::{Args, ValueEnum};

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    // A file in the state directory. (No documentation of its own: one would give each option of the command three lines.)
    Embedded,
    // Secrets of a namespace of Kubernetes.
    #[cfg(feature = "kubernetes")]
    Kubernetes,
}

/// Where a site's data is kept.
#[derive(Debug, Args)]
pub struct StoreAt {
    /// Where events, cluster documents and leases are kept. Keys, logs and mirrors stay in the state directory.
    #[arg(long, value_name = "PLACE", value_enum, default_value = "embedded", env = "FORMWORK_STORE")]
    store: Place,
    /// With --store kubernetes: the namespace; where not given, that of the context, or of the pod.
    #[arg(long, value_name = "NAME", env = "FORMWORK_STORE_NAMESPACE")]
    store_namespace: Option<String>,
}

impl StoreAt {
    /// Reads how an API server is spoken with, where one is asked for.
    pub fn keeping(&self) -> Result<Keeping, CliError> {
        match self.store {
            Place::Embedded if self.store_namespace.is_some() => Err(CliError::Usage {
                message: "--store-namespace is about a store in Kubernetes".to_owned(),
                hint: Some("add --store kubernetes".to_owned()),
            }),
            Place::Embedded => Ok(Keeping::Embedded),
            #[cfg(feature = "kubernetes")]
            Place::Kubernetes => {
                Keeping::kubernetes(self.store_namespace.clone()).map_err(|error| CliError::NotSo(error.to_string()))
            }
        }
    }
}
