//! Where a site's data is kept, and which clock its lifetimes count.

#[cfg(feature = "kubernetes")]
use super::waiting::{Asked, told_by};
use crate::fleet::Clock;
use crate::metrics;
#[cfg(feature = "kubernetes")]
use crate::store::Watch;
use crate::store::embedded::{EmbeddedStore, Options as EmbeddedOptions};
#[cfg(feature = "kubernetes")]
use crate::store::kubernetes::{KubernetesStore, Options as KubernetesOptions, Restored, Sharing, Whose, client, kept};
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A store elsewhere that does not answer at the start is waited for so long; then whoever runs servers may start it again.
pub(super) const WAIT: Duration = Duration::from_secs(60);
/// One that says no to who asks is asked for so long: a right may be given a moment later than its server starts.
#[cfg(feature = "kubernetes")]
const WAIT_REFUSED: Duration = Duration::from_secs(15);
/// It is asked again so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// And said so often.
const SAY_EVERY: Duration = Duration::from_secs(10);

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
        /// The name of this server among several that serve the site together; none: it serves alone.
        replica: Option<String>,
    },
}

/// What it takes to open a store.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    /// The state directory.
    pub(super) state: &'a Path,
    /// The SHA-256 of the certificate of the site's authority.
    pub(super) authority: &'a str,
    /// What its lifetimes count.
    pub(super) clock: &'a Clock,
    /// What counts commits.
    pub(super) metrics: &'a metrics::Store,
    /// What ends the process.
    pub(super) on_fatal: fn(&StoreError),
    /// Other servers on the store served while this one did not.
    pub(super) served_meanwhile: bool,
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
    pub fn kubernetes(namespace: Option<String>, replica: Option<String>) -> Result<Self, StoreError> {
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
        Ok(Self::Kubernetes { config: Box::new(config), namespace, replica })
    }

    /// Makes the store of a new site. One elsewhere says of which authority its site is (the SHA-256 of the certificate): it
    /// does not lie beside the keys.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where there is one already.
    pub fn create(&self, state: &Path, site: &str, fresh: bool, authority: &str) -> Result<(), StoreError> {
        match self {
            Self::Embedded => {
                // It lies beside the keys.
                let _ = authority;
                EmbeddedStore::create(state, site, fresh)
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace, .. } => {
                let connect = client::connect(kube::Config::clone(config), namespace.clone());
                KubernetesStore::create_for(connect, site, fresh, Some(authority)).map_err(|error| self.placed(error))
            }
        }
    }

    /// Where the store lies, where that is not the state directory.
    pub fn elsewhere(&self) -> Option<String> {
        match self {
            Self::Embedded => None,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { namespace, .. } => Some(format!("namespace {namespace} of Kubernetes")),
        }
    }

    /// Whose store lies elsewhere; `None`: there is none, or it would be here.
    ///
    /// # Errors
    /// What the store says.
    #[cfg(feature = "kubernetes")]
    pub(super) fn whose(&self) -> Result<Option<Whose>, StoreError> {
        let Self::Kubernetes { config, namespace, .. } = self else { return Ok(None) };
        let connect = client::connect(kube::Config::clone(config), namespace.clone());
        KubernetesStore::whose(connect).map_err(|error| self.placed(error))
    }

    /// Puts a store elsewhere into the state of one that came back from a backup; `None`: it is a file of this machine. `state`: the state
    /// directory here, which need not be a server's.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Open`] where it is not that authority's.
    #[cfg(feature = "kubernetes")]
    pub fn restored(
        &self,
        authority: Option<String>,
        state: &Path,
        watch: &dyn Watch,
    ) -> Result<Option<Restored>, StoreError> {
        let Self::Kubernetes { config, namespace, .. } = self else { return Ok(None) };
        let connect = client::connect(kube::Config::clone(config), namespace.clone());
        let restored =
            KubernetesStore::restored(connect, authority, Some(&store_seen(state)), self.clock().now_ms(), watch);
        restored.map(Some).map_err(|error| self.placed(error))
    }

    /// The files of the site's keys that its servers share, where they lie beside the store.
    ///
    /// # Errors
    /// What the API server says; [`StoreError::Open`] where the store is a file of one machine.
    pub fn find_keys(&self) -> Result<Option<BTreeMap<String, Vec<u8>>>, StoreError> {
        match self {
            Self::Embedded => Err(not_shared()),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace, .. } => {
                kept::find(kube::Config::clone(config), namespace).map_err(|error| self.placed(error))
            }
        }
    }

    /// Puts such files beside the store, unless there are some: those that are there then.
    ///
    /// # Errors
    /// As [`Keeping::find_keys`].
    pub fn make_keys_once(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        match self {
            Self::Embedded => {
                let _ = files;
                Err(not_shared())
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace, .. } => {
                kept::make_once(kube::Config::clone(config), namespace, files).map_err(|error| self.placed(error))
            }
        }
    }

    /// An error of a store that cannot be reached, with where it was asked.
    #[cfg(feature = "kubernetes")]
    fn placed(&self, error: StoreError) -> StoreError {
        match (self, error) {
            (Self::Kubernetes { config, namespace, .. }, StoreError::Unreachable(why)) => {
                let server = config.cluster_url.to_string();
                StoreError::Unreachable(format!("{}, namespace {namespace}: {why}", server.trim_end_matches('/')))
            }
            (_, error) => error,
        }
    }

    /// The name of this server among several on one store.
    pub fn replica(&self) -> Option<&str> {
        match self {
            Self::Embedded => None,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { replica, .. } => replica.as_deref(),
        }
    }

    /// The options of a command that say so, each after a space; none for the state directory.
    pub fn options(&self) -> String {
        match self {
            Self::Embedded => String::new(),
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { namespace, .. } => format!(" --store kubernetes --store-namespace {namespace}"),
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

    /// Opens the store as [`Keeping::open`] does. One that does not answer is asked again for as long as `wait`, which is said
    /// now and then. `None`: `stop` came before.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn open_within(
        &self,
        wait: Duration,
        opening: Opening<'_>,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let mut stop = std::pin::pin!(stop);
        let began = Instant::now();
        let mut said: Option<Instant> = None;
        #[cfg(feature = "kubernetes")]
        let asked = self.asked();
        #[cfg(feature = "kubernetes")]
        let mut silence = asked.as_ref().map(|asked| asked.silence(wait));
        loop {
            let served_meanwhile = tokio::select! {
                served = self.is_served() => served,
                () = &mut stop => return Ok(None),
            };
            let opened =
                served_meanwhile.and_then(|served_meanwhile| self.open(&Opening { served_meanwhile, ..opening }));
            let why = match opened {
                Err(StoreError::Unreachable(why)) => why,
                opened => return opened.map(Some),
            };
            let wait = wait.min(longest(&why));
            if began.elapsed() >= wait {
                let asked = format!("it was asked for {} seconds, and nothing is served without it", wait.as_secs());
                return Err(StoreError::Unreachable(format!("{why}; {asked}")));
            }
            #[cfg(feature = "kubernetes")]
            if let (None, Some(asked)) = (said, &asked) {
                drop(silence.take());
                asked.say(&why, wait);
                said = Some(Instant::now());
            }
            if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                tracing::warn!("nothing is served before the store answers, which is asked again: {why}");
                said = Some(Instant::now());
            }
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = &mut stop => return Ok(None),
            }
        }
    }

    /// Where a store elsewhere is asked.
    #[cfg(feature = "kubernetes")]
    fn asked(&self) -> Option<Asked> {
        let Self::Kubernetes { config, namespace, replica } = self else { return None };
        let kubeconfig = std::env::var("KUBECONFIG").ok();
        let of_the_user = std::env::home_dir().is_some_and(|home| home.join(".kube/config").is_file());
        let replica = replica.as_ref().map(|name| format!(" --replica {name}")).unwrap_or_default();
        Some(Asked {
            at: format!("{}, namespace {namespace}", config.cluster_url.to_string().trim_end_matches('/')),
            told_by: told_by(kubeconfig.as_deref(), of_the_user),
            doctor: format!("formwork doctor{}{replica}", self.options()),
        })
    }

    /// Whether others on the store serve at this moment.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] where that cannot be told: taken for alone, a server would give the claims of machines that others serve
    /// their full lifetime again.
    async fn is_served(&self) -> Result<bool, StoreError> {
        #[cfg(feature = "kubernetes")]
        if let Self::Kubernetes { config, namespace, replica: Some(replica) } = self {
            let asked = crate::replicas::others_serve(kube::Config::clone(config), namespace, replica).await;
            return asked.map_err(|error| self.placed(unseen(&error)));
        }
        Ok(false)
    }

    /// Opens the store. One elsewhere is taken over from the server that had it, unless several serve together.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Open`] where one elsewhere is that of another site.
    pub(super) fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn Store>, StoreError> {
        let Opening { state, authority, clock, metrics, on_fatal, served_meanwhile } = *opening;
        let (now_ms, metrics) = (clock.now_ms(), metrics.clone());
        Ok(match self {
            Self::Embedded => {
                let _ = (authority, served_meanwhile);
                let on_fatal = Arc::new(on_fatal);
                let options = EmbeddedOptions { now_ms, metrics, on_fatal, ..EmbeddedOptions::default() };
                Arc::new(EmbeddedStore::open_with(state, options)?)
            }
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes { config, namespace, replica } => {
                let on_fatal = Arc::new(on_fatal);
                let authority = Some(authority.to_owned());
                let sharing = if replica.is_some() { Sharing::Together } else { Sharing::Alone };
                let options = KubernetesOptions {
                    now_ms,
                    sharing,
                    authority,
                    metrics,
                    on_fatal,
                    served_meanwhile,
                    seen: Some(store_seen(state)),
                    ..KubernetesOptions::default()
                };
                let connect = client::connect(kube::Config::clone(config), namespace.clone());
                Arc::new(KubernetesStore::open(connect, options).map_err(|error| self.placed(error))?)
            }
        })
    }
}

/// The file of a state directory that keeps how far the log of a store elsewhere was seen.
#[cfg(feature = "kubernetes")]
pub fn store_seen(state: &Path) -> std::path::PathBuf {
    state.join("store-seen")
}

/// Why it is not known whether others serve. A right that is missing is waited for as that on the store is.
#[cfg(feature = "kubernetes")]
fn unseen(error: &crate::replicas::ReplicasError) -> StoreError {
    StoreError::Unreachable(match error {
        crate::replicas::ReplicasError::Forbidden { .. } => format!("{} 403 Forbidden: {error}", client::ANSWERS),
        other => other.to_string(),
    })
}

/// How long a store is waited for that says so.
fn longest(why: &str) -> Duration {
    #[cfg(feature = "kubernetes")]
    if client::says_no(why) {
        return WAIT_REFUSED;
    }
    let _ = why;
    WAIT
}

fn not_shared() -> StoreError {
    StoreError::Open("keys are shared beside a store in Kubernetes: add --store kubernetes".to_owned())
}

#[cfg(all(test, feature = "kubernetes"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_waited_for_until_the_time_is_over_or_it_is_said_to_stop() {
        let nobody = "http://127.0.0.1:1".parse().unwrap();
        let keeping = Keeping::Kubernetes {
            config: Box::new(kube::Config::new(nobody)),
            namespace: "lab".to_owned(),
            replica: None,
        };
        assert_eq!(keeping.options(), " --store kubernetes --store-namespace lab");
        assert_eq!(keeping.elsewhere().as_deref(), Some("namespace lab of Kubernetes"));
        let clock = keeping.clock();
        let metrics = metrics::Store::default();
        let (state, authority) = (Path::new("."), "SHA256:aa");
        let opening =
            Opening { state, authority, clock: &clock, metrics: &metrics, on_fatal: |_| {}, served_meanwhile: false };
        let began = Instant::now();
        let wait = Duration::from_secs(2);
        let error = keeping.open_within(wait, opening, std::future::pending()).await.err().unwrap();
        assert!(began.elapsed() >= wait, "{:?}", began.elapsed());
        let text = error.to_string();
        assert!(text.contains("cannot be reached") && text.contains("it was asked for 2 seconds"), "{text}");
        assert!(text.contains("http://127.0.0.1:1, namespace lab: "), "where it was asked: {text}");
        assert_eq!(longest("the API server answers 403 Forbidden: no"), WAIT_REFUSED);
        assert_eq!(longest("the API server cannot be reached: refused"), WAIT);
        // Among others nothing is opened before it is known whether they serve.
        let nobody = "http://127.0.0.1:1".parse().unwrap();
        let among = Keeping::Kubernetes {
            config: Box::new(kube::Config::new(nobody)),
            namespace: "lab".to_owned(),
            replica: Some("b".to_owned()),
        };
        let error = among.open_within(Duration::ZERO, opening, std::future::pending()).await.err().unwrap().to_string();
        assert!(error.contains("the Leases of the replicas in namespace lab cannot be kept"), "{error}");
        let forbidden = crate::replicas::ReplicasError::Forbidden { namespace: "lab".into(), message: "no".into() };
        let StoreError::Unreachable(why) = unseen(&forbidden) else { panic!("it may pass") };
        assert_eq!(longest(&why), WAIT_REFUSED);
        let stopped = keeping.open_within(WAIT, opening, std::future::ready(())).await;
        assert!(stopped.unwrap().is_none());
    }
}
