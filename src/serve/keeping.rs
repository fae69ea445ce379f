//! Where a site's data is kept, and which clock its lifetimes count.

use crate::fleet::Clock;
use crate::store::embedded::{EmbeddedStore, Options as EmbeddedOptions};
#[cfg(feature = "kubernetes")]
use crate::store::kubernetes::{KubernetesStore, Options as KubernetesOptions, client};
use crate::store::{Store, StoreError};
use std::path::Path;
use std::sync::Arc;

/// Where a site's data is kept.
#[derive(Clone, Default)]
pub enum Keeping {
    /// In a file of the state directory.
    #[default]
    Embedded,
    /// In Secrets of a namespace of Kubernetes.
    #[cfg(feature = "kubernetes")]
    Kubernetes {
        /// How the API server is spoken with.
        config: Box<kube::Config>,
        /// The namespace.
        namespace: String,
    },
}

impl std::fmt::Debug for Keeping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded => f.write_str("Embedded"),
            // The configuration holds credentials.
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { namespace, .. } => write!(f, "Kubernetes({namespace})"),
        }
    }
}

impl Keeping {
    /// The namespace of that name, or of the context or pod that this runs in.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is no configuration to speak with an API server.
    #[cfg(feature = "kubernetes")]
    pub fn kubernetes(namespace: Option<String>) -> Result<Self, StoreError> {
        let infer = || -> Result<kube::Config, String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(kube::Config::infer()).map_err(|error| error.to_string())
        };
        let config = infer().map_err(|error| {
            StoreError::Open(format!(
                "no Kubernetes is known here (KUBECONFIG, ~/.kube/config, or a pod's own): {error}"
            ))
        })?;
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self::Kubernetes { config: Box::new(config), namespace })
    }

    /// Makes the store of a new site.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is one already.
    pub fn create(&self, state: &Path, site: &str, fresh: bool) -> Result<(), StoreError> {
        match self {
            Self::Embedded => EmbeddedStore::create(state, site, fresh),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace } => {
                KubernetesStore::create(client::connect(kube::Config::clone(config), namespace.clone()), site, fresh)
            }
        }
    }

    /// The clock: of this process alone, or one that the next process goes on with.
    pub fn clock(&self) -> Clock {
        match self {
            Self::Embedded => Clock::start(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { .. } => Clock::start_by_the_wall(),
        }
    }

    /// Opens the store; `on_fatal` ends the process.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(&self, state: &Path, clock: &Clock, on_fatal: fn(&StoreError)) -> Result<Arc<dyn Store>, StoreError> {
        let now_ms = clock.now_ms();
        Ok(match self {
            Self::Embedded => {
                let options = EmbeddedOptions { now_ms, on_fatal: Arc::new(on_fatal), ..EmbeddedOptions::default() };
                Arc::new(EmbeddedStore::open_with(state, options)?)
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace } => {
                let on_fatal = Arc::new(on_fatal);
                let options = KubernetesOptions { now_ms, exclusive: true, on_fatal, ..KubernetesOptions::default() };
                let connect = client::connect(kube::Config::clone(config), namespace.clone());
                Arc::new(KubernetesStore::open(connect, options)?)
            }
        })
    }
}
