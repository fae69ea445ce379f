//! Puts the parts together: opens the state directory, follows the source, serves the boot network and the API.

mod applied;
mod brought;
mod chores;
mod connections;
mod content;
mod creating;
mod desk;
mod error;
mod files;
mod keeping;
mod listen;
mod metrics;
pub mod moving;
mod namespace;
mod shared;
mod site;
mod sources;
mod sources_file;
mod statuses;
mod together;
mod trusted;
#[cfg(feature = "kubernetes")]
mod waiting;

pub use content::Content;
pub use error::ServeError;
pub use keeping::Keeping;
#[cfg(feature = "kubernetes")]
pub use keeping::store_seen;
pub use listen::bind;
pub use namespace::{NamespaceError, enter};
pub use site::{HOOK_SOCKET, SiteError, StateDirectory};
pub use sources_file::{ReadSourcesAgain, SourcesFile, SourcesSaid};
pub use trusted::{KeyFiles, ReadAgain, ReadKeysAgain, TrustFile};

use crate::api::{self, App, Others};
use crate::archive::{self, Archive};
use crate::catalog::{Catalog, ServerInfo};
use crate::fleet::{Fleet, Secrets};
use crate::git::{Follower, GitError, PackCache};
use crate::journal::Retention;
use crate::metrics::Metrics;
use crate::net::dhcp::{DhcpConfig, DhcpService};
use crate::net::files::Folder;
use crate::net::http::HttpConfig;
use crate::net::tftp::{Loaders, TftpService};
use crate::reconcile::{Foresee, Hook, KeysInForce, Parts, Reconciler};
use crate::store::logs::LogStore;
use crate::store::{Store, StoreError};
use applied::{Applied, settle, take_in};
use brought::Brought;
use desk::Desk;
use keeping::Opening;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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
    /// Where logs of jobs that ended go.
    pub object_store: Option<archive::Place>,
    /// Of those that are there, so many bytes stay in the state directory.
    pub logs_here: u64,
    /// What opens content that is encrypted in Git.
    pub keys: KeyFiles,
    /// Who may sign revisions; none: signatures are not asked for.
    pub trust: Option<TrustFile>,
    /// Who may sign for each of several sources, by its name.
    pub trust_of: BTreeMap<String, TrustFile>,
    /// The sources.yaml that the sources are read from, where one is.
    pub sources: Option<SourcesFile>,
    /// The files of these that were read and are not read again.
    pub read_once: Vec<api::ReadOnce>,
    /// The administrators' listener, opened before anything else (and before a network namespace was entered).
    pub administrators: Option<TcpListener>,
    /// The listener for what is counted, opened likewise.
    pub metrics: Option<TcpListener>,
}

/// Runs the server until `stop`.
///
/// # Errors
/// [`ServeError`] names what could not be had, or what ended that never should.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
    let bounded = listen::connections();
    let started = Instant::now();
    let clock = options.keeping.clock();
    if options.keeping.replica().is_some() {
        options.state.take_shared(&options.keeping)?;
    }
    let read_once = options.state.read_once().chain(options.read_once).collect();
    let keys = Arc::new(options.state.keys()?);
    let private = Arc::new(options.state.private());
    private.warn();
    let administrator = Arc::new(options.state.administrator()?);
    let fingerprint = crate::identity::ca_fingerprint(keys.authority_certificate())?;
    let (state, metrics) = (&options.state.0, Metrics::default());
    let opening = Opening {
        state,
        authority: &fingerprint,
        clock: &clock,
        metrics: &metrics.store,
        on_fatal: end_process,
        served_meanwhile: false,
    };
    // A file is locked by who has it. One elsewhere is taken from who has it: when nothing else keeps this from serving.
    let here = options.keeping.elsewhere().is_none().then(|| options.keeping.open(&opening)).transpose()?;
    let logs = LogStore::open(&options.state.0.join("logs")).map_err(ServeError::Logs)?;
    let logs = Arc::new(if here.is_some() { logs } else { logs.beside_a_store_elsewhere() });
    let keys_of_signers = options.state.0.join("signers");
    let (verifier, policed, mut watched) = sources::verifiers(options.trust, options.trust_of, &keys_of_signers)?;
    let (count, applied) = watch::channel(0);
    let hook = Arc::new(Applied {
        replicas: OnceLock::new(),
        parts: OnceLock::new(),
        fleet: watch::Sender::new(None),
        count,
        follower: OnceLock::new(),
        brought: Brought::default(),
        standings: Arc::default(),
        metrics: metrics.clone(),
    });
    let keys_in_force = Arc::new(KeysInForce::new(options.keys.keys));
    watched.extend(trusted::Watched::keys(options.keys.files, options.keys.read, &keys_in_force));
    let build = crate::reconcile::catalogs_by(Arc::clone(&keys_in_force));
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
    options.state.end_creation()?;
    options.state.remember_store(&options.keeping)?;
    if options.keeping.replica().is_some() {
        options.state.share_keys(&options.keeping)?;
    }
    let (replicas, kept) =
        together::join(&options.keeping, &listen::reached_at(own, options.api_port, options.administrators.as_ref()))
            .await?;
    let among_others = kept.is_some();
    let site = site_name(store.as_ref())?;
    let of = archive::Of {
        site: site.clone(),
        authority: fingerprint.clone(),
        logs: Arc::clone(&logs),
        kept_here: options.logs_here,
        metrics: metrics.archive.clone(),
    };
    let archive = options.object_store.as_ref().map(|place| Archive::open(place, of)).transpose()?.map(Arc::new);
    let server = Arc::new(ServerInfo {
        http: format!("http://{}:{}", options.address, options.http_port),
        https: format!("https://{}:{}", options.address, options.api_port),
        site: site.clone(),
    });
    let policies = policed.policies(store.as_ref())?;
    let (ears, news) =
        sources::ears(Arc::clone(&build), (verifier.clone(), policies), packs.clone(), Arc::clone(&store));
    let mirror = options.state.mirror();
    let receiving = api::push::Receiving::new(options.state.users(), &source, hosted).at(&server.https);
    let follower = match &cluster {
        // The cluster says what is looked at.
        Some(_) => Follower::start_idle(source, &mirror, ears)?,
        None => Follower::start_with(source, &mirror, ears)?,
    };
    let follower = Arc::new(follower.fetching_packs(packs));
    let receiving = Arc::new(receiving.checking(Arc::clone(&follower), verifier.clone()));
    let push_url = receiving.url();
    let following = sources_file::Following {
        follower: Arc::clone(&follower),
        keys: keys_in_force,
        store: Arc::clone(&store),
        signers: keys_of_signers,
        policed,
    };
    watched.extend(options.sources.map(|file| following.watch(file)));
    let hooks = Arc::new(sources::hooks(&follower));
    let _ = hook.follower.set(Arc::clone(&follower));
    let reconciler: Reconciler<Catalog> = Reconciler::start(Parts {
        follower: Arc::clone(&follower),
        store: Arc::clone(&store),
        build,
        sealed_build: crate::reconcile::sealed_catalogs(),
        hook: Arc::clone(&hook) as Arc<dyn Hook>,
        foresee: Arc::clone(&hook) as Arc<dyn Foresee>,
        verifier,
        hosted: hosts,
        others: among_others,
        longest: crate::reconcile::LOAD_MOST,
    })
    .await?;
    let (told, brought) = (reconciler.status(), hook.brought.clone());
    let secrets = Secrets::in_folder(options.state.0.join("secrets"));
    let fleet =
        Arc::new(Fleet::load(Arc::clone(&store), reconciler, Arc::clone(&keys), site, fingerprint, secrets, clock)?);
    if among_others {
        fleet.is_among_others();
    }
    let desk = Arc::new(Desk::new(Arc::clone(&fleet), ServerInfo::clone(&server), Arc::clone(&images), among_others)?);
    let _ = hook.replicas.set(replicas.clone());
    let _ = hook.parts.set((Arc::clone(&fleet), Arc::clone(&desk)));
    hook.fleet.send_replace(Some(Arc::clone(&fleet)));
    take_in(&fleet, &desk, None, replicas.leads()).await;

    fleet.put_back_logs(&logs)?;
    let mut services = tokio::task::JoinSet::new();
    if let Some(kept) = kept {
        together::spawn(&mut services, &fleet, &desk, &replicas, kept);
    }
    let (once, forge_store) = (replicas.clone(), Arc::clone(&store));
    services.spawn(async move {
        statuses::tell(follower, told, brought, forge_store, once).await;
        Ok(())
    });
    services.spawn(sources::record(Arc::clone(&store), news, replicas.clone()));
    services.spawn(chores::retain(chores::Retaining {
        fleet: Arc::clone(&fleet),
        logs: Arc::clone(&logs),
        archive: archive.clone(),
        receiving: Arc::clone(&receiving),
        policy: options.retention,
        replicas: replicas.clone(),
        among_others,
    }));
    let (policy_files, renewed) = (api::PolicyFiles::default(), Arc::clone(&fleet));
    let told_of_files = policy_files.clone();
    services.spawn(async move {
        trusted::follow(watched, told_of_files, || {
            renewed.reconciler.ask();
        })
        .await;
        Ok(())
    });
    services.spawn(chores::bring_logs(Arc::clone(&fleet), Arc::clone(&logs)));
    if let Some(archive) = archive.clone() {
        services.spawn(chores::upload_logs(Arc::clone(&fleet), archive));
    }
    let snapshots = Arc::new(api::Snapshots::in_folder(options.state.snapshots()));
    let app = App {
        fleet: Arc::clone(&fleet),
        logs,
        archive,
        others: among_others
            .then(|| Others::new(replicas.clone(), keys.authority_certificate()))
            .flatten()
            .map(Arc::new),
        snapshots,
        administrators: administrator,
        server,
        hooks,
        receiving,
        standings: Arc::clone(&hook.standings),
        read_once,
        policy_files,
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
        let (state, fleet, replicas) = (options.state.0.clone(), Arc::clone(&fleet), replicas.clone());
        let mirror = metrics.mirror.clone();
        services.spawn(async move {
            let kept = Box::pin(crate::controller::run(cluster, &state, fleet, replicas, mirror)).await;
            kept.map_err(|error| SiteError::File { path: state, error }.into())
        });
    }
    let mut listeners = vec![bind(SocketAddr::new(IpAddr::V4(own), options.api_port), listen::API_PORT)?];
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
        replicas: replicas.clone(),
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
        let routes = metrics::around(api::routes(app.clone()), &metrics, "api");
        let (tls, bounded) = (tls.clone(), bounded.clone());
        services.spawn(async move { listen::serve_tls(listener, tls, bounded, routes).await });
    }
    let http = HttpConfig {
        images,
        loaders: Arc::clone(&loaders),
        ca_pem: keys.authority_certificate().to_owned().into(),
        http_port: options.http_port,
        own: IpAddr::V4(own),
    };
    let http_listener = bind(SocketAddr::new(IpAddr::V4(own), options.http_port), listen::HTTP_PORT)?;
    let routes = crate::net::http::routes(Arc::clone(&desk), http, metrics.boot.clone());
    let routes = metrics::around(routes, &metrics, "boot");
    services.spawn(async move {
        listen::serve_plain(http_listener, bounded.at(connections::PACE), "boot files", routes).await
    });
    if let Some(listener) = options.metrics {
        let scraped =
            metrics::Scraped { app, desk: Arc::clone(&desk), replicas: replicas.clone(), metrics: metrics.clone() };
        services.spawn(metrics::serve(listener, scraped));
    }
    if options.tftp {
        let tftp = TftpService::bind(SocketAddr::new(IpAddr::V4(own), 69), loaders, metrics.tftp)?;
        services.spawn(async move {
            tftp.serve().await.map_err(|error| ServeError::Ended { service: "TFTP", message: error.to_string() })
        });
    }
    if !options.interfaces.is_empty() {
        let config = DhcpConfig {
            interfaces: options.interfaces,
            http_port: options.http_port,
            advertised: options.listen.map(|_| options.address),
            replicas: replicas.clone(),
            began_ms: clock.now_ms().saturating_sub(u64::try_from(started.elapsed().as_millis()).unwrap_or(0)),
            ..DhcpConfig::default()
        };
        let dhcp = DhcpService::bind(Arc::clone(&desk), config, started, metrics.dhcp)?;
        services.spawn(async move {
            dhcp.serve().await;
            Ok(())
        });
    }
    services.spawn(chores::note_overdue(Arc::clone(&fleet), replicas.clone()));
    tracing::info!(
        api = addresses,
        boot = format!("http://{}:{}", options.address, options.http_port),
        push_to = push_url,
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
            if among_others {
                together::leave(&replicas, &mut services).await;
            }
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
