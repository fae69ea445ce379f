//! Puts the parts together: opens the state directory, follows the source, serves the boot network and the API.

mod connections;
mod content;
mod desk;
mod files;
mod keeping;
mod listen;
pub mod moving;
mod namespace;
mod site;
mod sources;
mod statuses;

pub use content::Content;
pub use keeping::Keeping;
pub use namespace::{NamespaceError, enter};
pub use site::{HOOK_SOCKET, SiteError, StateDirectory};

use crate::api::{self, App};
use crate::catalog::{Catalog, ServerInfo};
use crate::content::sops::Keys;
use crate::fleet::{Fleet, Looked, Secrets};
use crate::git::receive::BackendError;
use crate::git::{Follower, GitError, PackCache, Verifier};
use crate::identity::IdentityError;
use crate::journal::Retention;
use crate::net::dhcp::{DhcpConfig, DhcpError, DhcpService};
use crate::net::files::Folder;
use crate::net::http::{HttpConfig, HttpCounters};
use crate::net::tftp::{Loaders, TftpError, TftpService};
use crate::reconcile::{Change, Foresee, Foreseen, Hook, Parts, ReconcileError, Reconciler};
use crate::store::logs::LogStore;
use crate::store::{BoxFuture, Store, StoreError};
use crate::trust::Policy;
use desk::Desk;
use keeping::Opening;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Logs of jobs that ended go to the disk so often.
const BRING_LOGS_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked for events that are kept no longer.
const RETAIN_EVERY: Duration = Duration::from_secs(600);

/// How a server is run.
pub struct Options {
    /// The state directory.
    pub state: StateDirectory,
    /// Where what happens is kept.
    pub keeping: Keeping,
    /// Where content comes from.
    pub content: Content,
    /// Packs that a revision locks and does not hold are fetched, by their locked commits.
    pub fetch_packs: bool,
    /// The image folder: kernels, RAM disks, disk images, `loaders/`; none: an empty one in the state directory.
    pub images: Option<PathBuf>,
    /// The address that machines reach this server at.
    pub address: Ipv4Addr,
    /// Where boot files, TFTP and the API are listened for, if that is not `address`: behind a load balancer. Clients behind
    /// relays are then told `address` by DHCP, too.
    pub listen: Option<Ipv4Addr>,
    /// Interfaces to serve DHCP on; empty: no DHCP.
    pub interfaces: Vec<String>,
    /// TFTP is served.
    pub tftp: bool,
    /// The port of plain HTTP, for boot files.
    pub http_port: u16,
    /// The port of the API on `address`.
    pub api_port: u16,
    /// How far back the journal goes.
    pub retention: Retention,
    /// What opens content that is encrypted in Git.
    pub keys: Keys,
    /// Who may sign revisions; none: signatures are not asked for.
    pub trust: Option<Policy>,
    /// Who may sign for each of several sources, by its name.
    pub trust_of: BTreeMap<String, Policy>,
    /// The files of these that were read and are not read again.
    pub read_once: Vec<api::ReadOnce>,
    /// The administrators' listener, opened before anything else (and before a network namespace was entered).
    pub administrators: Option<TcpListener>,
}

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state directory.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source of content.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The reconciler.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The keys of those who may sign.
    #[error("signatures cannot be checked: {0}")]
    Trust(String),
    /// git, which receives pushes.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The socket of hooks.
    #[error(transparent)]
    Hooks(#[from] api::push::SocketError),
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// DHCP.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// TFTP.
    #[error(transparent)]
    Tftp(#[from] TftpError),
    /// Job logs.
    #[error("the folder of job logs cannot be used: {0}")]
    Logs(std::io::Error),
    /// The image folder.
    #[error("the image folder {path} cannot be opened: {error}; scripts/build-images makes one")]
    Images {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A listener.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A service that should never end did.
    #[error("{service} ended: {message}")]
    Ended {
        /// Which.
        service: &'static str,
        /// With what.
        message: String,
    },
}

/// How often machines are looked for that should have said something by now.
const LOOK_FOR_OVERDUE: Duration = Duration::from_secs(15);

/// What a new revision changes in a running server.
struct Applied {
    /// Set once the fleet is there; revisions before that are taken in at its making.
    parts: OnceLock<(Arc<Fleet>, Arc<Desk>)>,
    /// The fleet, once it is there: what a revision would do cannot be told before.
    fleet: watch::Sender<Option<Arc<Fleet>>>,
    count: watch::Sender<u64>,
    /// What the revision tried last does, in a line: for commit statuses.
    line: statuses::Line,
    standings: Arc<api::Standings>,
}

impl Hook for Applied {
    fn applied(&self, change: Change) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tracing::debug!(revision = change.revision.id, "taken in");
            if let Some(before) = &change.previous {
                self.standings.revise(before, &change.catalog);
            }
            if let Some((fleet, desk)) = self.parts.get() {
                take_in(fleet, desk, change.previous.as_deref()).await;
            }
            self.count.send_modify(|count| *count = count.wrapping_add(1));
        })
    }
}

impl Foresee for Applied {
    fn foresee(&self, serving: Arc<Catalog>, next: Arc<Catalog>) -> BoxFuture<'_, Foreseen> {
        let mut fleet = self.fleet.subscribe();
        Box::pin(async move {
            let guard = serving.wipe_guard();
            let fleet = match fleet.wait_for(Option::is_some).await {
                Ok(fleet) => fleet.clone(),
                Err(_) => None,
            };
            let Some(fleet) = fleet else { return Foreseen { guard, ..Foreseen::default() } };
            let change = fleet.foresee(Some(serving), next).await;
            self.line.put(&change);
            Foreseen::of(&change, guard)
        })
    }
}

/// Takes in the revision that serves: networks first, since boxes ask for their addresses at this moment; members; and what follows
/// from it for every machine that is known and not the same as in the revision before.
async fn take_in(fleet: &Fleet, desk: &Desk, before: Option<&Catalog>) {
    desk.refresh_network(before);
    fleet.refresh_members_after(before, &[]);
    let to_settle = fleet.to_settle(before);
    for entry in &to_settle {
        if let Err(error) = fleet.settle(entry).await {
            tracing::error!(machine = entry.name, %error, "a revision's consequences could not be written down");
        }
    }
    fleet.refresh_members_after(before, &to_settle);
    if let Err(error) = fleet.settle_clusters().await {
        tracing::error!(%error, "a revision's consequences for clusters could not be written down");
    }
}

/// Runs the server until `stop`.
///
/// # Errors
/// [`ServeError`] names what could not be had, or what ended that never should.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let bounded = listen::connections();
    let started = Instant::now();
    let clock = options.keeping.clock();
    let read_once = options.state.read_once().chain(options.read_once).collect();
    let keys = Arc::new(options.state.keys()?);
    let private = Arc::new(options.state.private());
    private.warn();
    let administrator = Arc::new(options.state.administrator()?);
    let fingerprint = crate::identity::ca_fingerprint(keys.authority_certificate())?;
    let opening = Opening { state: &options.state.0, authority: &fingerprint, clock: &clock, on_fatal: end_process };
    // A file is locked by who has it. One elsewhere is taken from who has it: when nothing else keeps this from serving.
    let here = options.keeping.elsewhere().is_none().then(|| options.keeping.open(&opening)).transpose()?;
    let logs = Arc::new(LogStore::open(&options.state.0.join("logs")).map_err(ServeError::Logs)?);
    let keys_of_signers = options.state.0.join("signers");
    let verifier = options.trust.map(|policy| Verifier::new(policy, &keys_of_signers).map(Arc::new));
    let verifier = verifier.transpose().map_err(ServeError::Trust)?;
    let mut policies = sources::policies(options.trust_of, &keys_of_signers)?;
    let (count, applied) = watch::channel(0);
    let hook = Arc::new(Applied {
        parts: OnceLock::new(),
        fleet: watch::Sender::new(None),
        count,
        line: statuses::Line::default(),
        standings: Arc::default(),
    });
    let build = crate::reconcile::catalogs(options.keys);
    // In a cluster that may be said later.
    let may_fetch = options.fetch_packs || !matches!(options.content, Content::Source(_) | Content::Hosted { .. });
    let packs = may_fetch.then(|| packs(&options.state)).transpose()?;
    let (source, hosted, cluster) = content::opened(&options.state, options.content)?;
    let hosts = hosted.is_some();
    let folder = options.images.clone().map_or_else(|| options.state.no_images(), Ok)?;
    let images = Arc::new(Folder::open(&folder).map_err(|error| ServeError::Images { path: folder.clone(), error })?);
    let loaders = Arc::new(Loaders::read(&folder, options.http_port));
    let own = options.listen.unwrap_or(options.address);
    let tls = listen::tls(&keys, [options.address, own], options.administrators.as_ref())?;
    if here.is_none() {
        listen::can_bind(own, [options.api_port, options.http_port], options.tftp, &options.interfaces)?;
    }

    let mut stop = std::pin::pin!(stop);
    let store = match here {
        Some(store) => Some(store),
        None => options.keeping.open_within(keeping::WAIT, opening, stop.as_mut()).await?,
    };
    let Some(store) = store else { return Ok(()) };
    options.state.remember_store(&options.keeping)?;
    let site = site_name(store.as_ref())?;
    let server = Arc::new(ServerInfo {
        http: format!("http://{}:{}", options.address, options.http_port),
        https: format!("https://{}:{}", options.address, options.api_port),
        site: site.clone(),
    });
    policies.trusted_before = crate::reconcile::trusted_sources(store.as_ref())?;
    let (ears, news) = sources::ears(Arc::clone(&build), (verifier.clone(), policies), packs.clone());
    let mirror = options.state.0.join("mirror.git");
    let receiving = api::push::Receiving::new(options.state.users(), &source, hosted);
    let follower = match &cluster {
        // The cluster says what is looked at.
        Some(_) => Follower::start_idle(source, &mirror, ears)?,
        None => Follower::start_with(source, &mirror, ears)?,
    };
    let follower = Arc::new(follower.fetching_packs(packs));
    let receiving = Arc::new(receiving.checking(Arc::clone(&follower), verifier.clone()));
    let hooks = Arc::new(sources::hooks(&follower));
    let reconciler: Reconciler<Catalog> = Reconciler::start(Parts {
        follower: Arc::clone(&follower),
        store: Arc::clone(&store),
        build,
        sealed_build: crate::reconcile::sealed_catalogs(),
        hook: Arc::clone(&hook) as Arc<dyn Hook>,
        foresee: Arc::clone(&hook) as Arc<dyn Foresee>,
        verifier,
    })
    .await?;
    let (told, line) = (reconciler.status(), hook.line.clone());
    let secrets = Secrets::in_folder(options.state.0.join("secrets"));
    let fleet =
        Arc::new(Fleet::load(Arc::clone(&store), reconciler, Arc::clone(&keys), site, fingerprint, secrets, clock)?);
    let desk = Arc::new(Desk::new(Arc::clone(&fleet), ServerInfo::clone(&server), Arc::clone(&images))?);
    let _ = hook.parts.set((Arc::clone(&fleet), Arc::clone(&desk)));
    hook.fleet.send_replace(Some(Arc::clone(&fleet)));
    take_in(&fleet, &desk, None).await;

    fleet.put_back_logs(&logs)?;
    let mut services = tokio::task::JoinSet::new();
    services.spawn(async move {
        statuses::tell(follower, told, line).await;
        Ok(())
    });
    services.spawn(sources::record(Arc::clone(&store), news));
    services.spawn(retain(Arc::clone(&fleet), Arc::clone(&logs), Arc::clone(&receiving), options.retention));
    services.spawn(bring_logs(Arc::clone(&fleet), Arc::clone(&logs)));
    let snapshots = Arc::new(api::Snapshots::in_folder(options.state.snapshots()));
    let app = App {
        fleet: Arc::clone(&fleet),
        logs,
        snapshots,
        administrators: administrator,
        server,
        hooks,
        receiving,
        standings: Arc::clone(&hook.standings),
        read_once,
        private,
        applied,
    };
    match api::push::listen(&options.state.hook_socket()) {
        Ok(socket) => {
            let app = app.clone();
            services.spawn(async move {
                api::hooks(socket, app).await;
                Ok(())
            });
        }
        Err(error) if hosts => return Err(error.into()),
        // Nobody may ever push to what is followed.
        Err(error) => tracing::warn!(%error, "hooks of pushes are not answered"),
    }
    #[cfg(feature = "kubernetes")]
    if let Some(cluster) = cluster {
        let (state, fleet) = (options.state.0.clone(), Arc::clone(&fleet));
        services.spawn(async move {
            let kept = Box::pin(crate::controller::run(cluster, &state, fleet)).await;
            kept.map_err(|error| SiteError::File { path: state, error }.into())
        });
    }
    let mut listeners = vec![listen::bind(SocketAddr::new(IpAddr::V4(own), options.api_port))?];
    listeners.extend(options.administrators);
    if let Some(last) = listeners.last().and_then(|listener| listener.local_addr().ok()) {
        options.state.set_server(&format!("https://{last}"))?;
    }
    let files = files::Files {
        fleet: Arc::clone(&fleet),
        images: Arc::clone(&images),
        folder: folder.clone(),
        loaders: Arc::clone(&loaders),
        gives_loaders: options.tftp || !options.interfaces.is_empty(),
        http_port: options.http_port,
    };
    let missing = files.missing();
    let revisions = app.applied.clone();
    services.spawn(async move {
        files.follow(revisions).await;
        Ok(())
    });
    let addresses = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .map(|address| format!("https://{address}"))
        .collect::<Vec<_>>()
        .join(" ");
    let dhcp_on = if options.interfaces.is_empty() { "off".to_owned() } else { options.interfaces.join(" ") };
    for listener in listeners {
        let (app, tls, bounded) = (app.clone(), tls.clone(), bounded.clone());
        services.spawn(async move { listen::serve_tls(listener, tls, bounded, api::routes(app)).await });
    }
    let http = HttpConfig {
        images,
        loaders: Arc::clone(&loaders),
        ca_pem: keys.authority_certificate().to_owned().into(),
        http_port: options.http_port,
    };
    let http_listener = listen::bind(SocketAddr::new(IpAddr::V4(own), options.http_port))?;
    let routes = crate::net::http::routes(Arc::clone(&desk), http, Arc::new(HttpCounters::default()));
    services.spawn(async move { listen::serve_plain(http_listener, bounded, routes).await });
    if options.tftp {
        let tftp = TftpService::bind(SocketAddr::new(IpAddr::V4(own), 69), loaders)?;
        services.spawn(async move {
            tftp.serve().await.map_err(|error| ServeError::Ended { service: "TFTP", message: error.to_string() })
        });
    }
    if !options.interfaces.is_empty() {
        let config = DhcpConfig {
            interfaces: options.interfaces,
            http_port: options.http_port,
            advertised: options.listen.map(|_| options.address),
            ..DhcpConfig::default()
        };
        let dhcp = DhcpService::bind(Arc::clone(&desk), config, started)?;
        services.spawn(async move {
            dhcp.serve().await;
            Ok(())
        });
    }
    let watched = Arc::clone(&fleet);
    services.spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_FOR_OVERDUE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            watched.note_overdue().await;
        }
    });
    tracing::info!(
        api = addresses,
        boot = format!("http://{}:{}", options.address, options.http_port),
        dhcp = dhcp_on,
        tftp = options.tftp,
        took = ?started.elapsed(),
        "serving"
    );
    let status = match missing {
        None => "serving".to_owned(),
        Some(missing) => {
            let folder = folder.display();
            tracing::warn!(%folder, missing, "machines will not boot before these files are in the image folder");
            format!("serving; not in the image folder {folder}: {missing}")
        }
    };
    // Under systemd, what is ordered after this service waits for this word.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&status)]) {
        tracing::warn!(%error, "the service manager could not be told that this is ready");
    }
    tokio::select! {
        ended = services.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            Some(Ok(Ok(()))) | None => Err(ServeError::Ended { service: "a service", message: "by itself".into() }),
            Some(Err(error)) => Err(ServeError::Ended { service: "a service", message: error.to_string() }),
        },
        () = &mut stop => {
            tracing::info!("stopping");
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            services.shutdown().await;
            Ok(())
        }
    }
}

/// Where packs are fetched to.
fn packs(state: &StateDirectory) -> Result<PackCache, GitError> {
    let path = state.0.join("packs.git");
    PackCache::for_server(&path).map_err(|error| GitError::Mirror { path, message: error.to_string() })
}

/// Drops what happened long ago, now and then; what fails now is tried the next time.
async fn retain(
    fleet: Arc<Fleet>,
    logs: Arc<LogStore>,
    receiving: Arc<api::push::Receiving>,
    policy: Retention,
) -> Result<(), ServeError> {
    let mut looked = Looked::default();
    loop {
        match fleet.retain(&logs, &policy, &mut looked).await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "old events were dropped"),
            Err(error) => tracing::warn!(%error, "old events could not be dropped"),
        }
        tokio::time::sleep(RETAIN_EVERY).await;
        let receiving = Arc::clone(&receiving);
        drop(tokio::task::spawn_blocking(move || receiving.sweep()).await);
    }
}

/// Brings the logs of jobs that ended to the disk, now and then.
async fn bring_logs(fleet: Arc<Fleet>, logs: Arc<LogStore>) -> Result<(), ServeError> {
    loop {
        tokio::time::sleep(BRING_LOGS_EVERY).await;
        if let Err(error) = fleet.bring_logs(&logs).await {
            tracing::warn!(%error, "logs of jobs that ended are not on the disk yet; the store has them");
        }
    }
}

/// The store must not go on: say why, and end. What was acknowledged is on the disk.
fn end_process(error: &StoreError) {
    tracing::error!(%error, "the store failed for good; the process ends");
    // Time for the log line to leave.
    std::thread::sleep(Duration::from_millis(100));
    std::process::abort();
}

fn site_name(store: &dyn Store) -> Result<String, StoreError> {
    let value = store.get(crate::store::Space::Meta, "site")?;
    value
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| StoreError::Open("the store does not say which site it is of".into()))
}
