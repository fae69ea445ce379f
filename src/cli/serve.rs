//! `formwork serve`: the boot server.

use super::error::CliError;
use super::failure;
use super::keeping::{ReplicaAt, StoreAt};
use super::located::{At, located, named, trust};
use super::log::Log;
use super::sources_file::sources_file;
use crate::api::ReadOnce;
use crate::archive::Place;
use crate::git::Source;
use crate::git::remote::SourceSettings;
use crate::journal::Retention;
use crate::serve::{self, Content, Options, StateDirectory};
use clap::{ArgGroup, Args};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

// A `requires` is not asked for where what it wants conflicts with what is there: what an option does not go with is said.

/// What goes with no word about Kubernetes.
#[cfg(feature = "kubernetes")]
const OTHER_SOURCES: [&str; 4] = ["repository", "hosted", "sources", "dir"];
/// What goes with no credentials of a repository.
#[cfg(feature = "kubernetes")]
const NO_REPOSITORY: [&str; 4] = ["hosted", "sources", "dir", "kubernetes"];
#[cfg(not(feature = "kubernetes"))]
const NO_REPOSITORY: [&str; 3] = ["hosted", "sources", "dir"];
/// What is logged where nobody says. What this crate says of a connection that fails, we say.
const LOGGED: &str = "info,kube_client::client::builder=off";

/// Serves a site: follows its repository, boots its machines, answers its administrators.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true)), after_help = "Examples:
  formwork serve --repository /srv/site.git --images /srv/images --address 10.77.0.1 --interface br0
  formwork serve --repository /srv/site.git --trust /etc/formwork/trust.yaml --images /srv/images \\
    --address 10.77.0.1 --interface br0            only signed revisions
  formwork serve --hosted --images /srv/images --address 10.77.0.1 --interface br0
                                                   people push to https://10.77.0.1:8443/git/site.git
  formwork serve --dir ./site --images /srv/images --address 10.77.0.1 --no-dhcp
  formwork serve --repository https://git.example.org/platform/site.git --branch main --token-file /etc/formwork/token \\
    --images /srv/images --address 10.77.0.1 --interface br0
  formwork serve --sources /etc/formwork/sources.yaml --images /srv/images --address 10.77.0.1 --interface br0
  formwork serve --kubernetes --namespace lab --images /srv/images --address 10.77.0.1 --interface br0
                                                   what the ContentSource of that namespace says
  formwork serve --repository site.git --images images --address 10.77.0.1 --interface br0 \\
    --enter 4711 --api-listen 127.0.0.1:8443       the boot network in the namespace of process 4711,
                                                   the API on this host")]
pub struct Arguments {
    /// The state directory that `formwork site create` made.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    #[command(flatten)]
    store: StoreAt,
    #[command(flatten)]
    replica: ReplicaAt,
    /// A Git repository, whose commits are followed: a path on the local disk, https://, ssh:// or user@host:path.
    #[arg(long, group = "source", value_name = "PATH|URL", env = "FORMWORK_REPOSITORY")]
    repository: Option<String>,
    /// A repository of the server's own, in the state directory: people push to /git/site.git on the API's port.
    #[arg(long, group = "source", env = "FORMWORK_HOSTED")]
    hosted: bool,
    /// A sources.yaml: one repository or several, with all that can be said of each (see docs/remotes.md).
    #[arg(long, group = "source", value_name = "FILE", env = "FORMWORK_SOURCES")]
    sources: Option<PathBuf>,
    /// What a ContentSource in Kubernetes says (see docs/kubernetes.md): in a pod, or as KUBECONFIG has it.
    #[cfg(feature = "kubernetes")]
    #[arg(long, group = "source", conflicts_with_all = ["branch", "path", "fetch_packs"], env = "FORMWORK_KUBERNETES")]
    kubernetes: bool,
    /// Its namespace; where not given, that of the pod or of the context.
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "NAME", conflicts_with_all = OTHER_SOURCES, env = "FORMWORK_NAMESPACE")]
    namespace: Option<String>,
    /// Its name; where not given, there is exactly one in the namespace.
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "NAME", conflicts_with_all = OTHER_SOURCES, env = "FORMWORK_CONTENT_SOURCE")]
    content_source: Option<String>,
    /// Over https://: the file with the token that the repository asks for.
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_REPOSITORY, env = "FORMWORK_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Over https://: the authorities to trust in place of the system's, PEM.
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_REPOSITORY, env = "FORMWORK_REPOSITORY_CA")]
    repository_ca: Option<PathBuf>,
    /// Over ssh: the private key.
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_REPOSITORY, env = "FORMWORK_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Over ssh: the keys of hosts that are trusted. There is no way around it.
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_REPOSITORY, env = "FORMWORK_KNOWN_HOSTS")]
    known_hosts: Option<PathBuf>,
    /// The branch to follow; where not given, the repository's HEAD, or main with --hosted.
    #[arg(long, conflicts_with_all = ["dir", "sources"], env = "FORMWORK_BRANCH")]
    branch: Option<String>,
    /// The site's folder inside the repository.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["dir", "sources"], env = "FORMWORK_PATH")]
    path: Option<String>,
    /// A plain directory, as it stands: for authors.
    #[arg(long, group = "source", value_name = "DIR", env = "FORMWORK_DIR")]
    dir: Option<PathBuf>,
    /// Fetch packs that a revision locks and does not hold, by their locked commits; without it, packs are vendored.
    #[arg(long, env = "FORMWORK_FETCH_PACKS")]
    fetch_packs: bool,
    /// The image folder: kernels, RAM disks, disk images and loaders/.
    #[arg(
        long,
        value_name = "DIR",
        env = "FORMWORK_IMAGES",
        required_unless_present_all(["no_dhcp", "no_tftp"]),
        help = "The image folder: kernels, RAM disks, disk images and loaders/ (not needed with --no-dhcp --no-tftp)"
    )]
    images: Option<PathBuf>,
    /// The IPv4 address that machines reach this server at.
    #[arg(long, env = "FORMWORK_ADDRESS")]
    address: Ipv4Addr,
    /// Where boot files, TFTP and the API are listened for, if that is not --address: behind a load balancer. Clients behind
    /// DHCP relays are told --address then.
    #[arg(long, value_name = "ADDRESS", env = "FORMWORK_LISTEN")]
    listen: Option<Ipv4Addr>,
    /// An interface to serve DHCP on; several by commas, or by giving it again.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        required_unless_present = "no_dhcp",
        env = "FORMWORK_INTERFACE"
    )]
    interface: Vec<String>,
    /// Serve no DHCP.
    #[arg(long, conflicts_with = "interface", env = "FORMWORK_NO_DHCP")]
    no_dhcp: bool,
    /// Serve no TFTP.
    #[arg(long, env = "FORMWORK_NO_TFTP")]
    no_tftp: bool,
    /// The port of plain HTTP, for boot files.
    #[arg(long, default_value_t = 8080, env = "FORMWORK_HTTP_PORT")]
    http_port: u16,
    /// The port of the API (TLS) on --address.
    #[arg(long, default_value_t = 8443, env = "FORMWORK_API_PORT")]
    api_port: u16,
    /// One more listener for the API, opened before --enter, so that it stays in the network this command was started in.
    #[arg(long, value_name = "ADDRESS:PORT", env = "FORMWORK_API_LISTEN")]
    api_listen: Option<SocketAddr>,
    /// Where what is counted is told to Prometheus, as GET /metrics, to whoever asks; opened before --enter likewise.
    #[arg(long, value_name = "ADDRESS:PORT", env = "FORMWORK_METRICS")]
    metrics: Option<SocketAddr>,
    /// Who may sign revisions (docs: Trust); a revision that is not signed so is refused.
    #[arg(long, value_name = "FILE", conflicts_with = "dir", env = "FORMWORK_TRUST")]
    trust: Option<PathBuf>,
    /// What opens content that SOPS encrypted with age: a file of age-keygen's, mode 0600.
    #[arg(long, value_name = "FILE", env = "FORMWORK_AGE_IDENTITIES")]
    age_identities: Option<PathBuf>,
    /// Of each machine, the journal and the logs keep this many runs.
    #[arg(long, value_name = "RUNS", env = "FORMWORK_KEEP_RUNS", default_value_t = 20)]
    keep_runs: usize,
    /// Of those, what is not older than this many days; of the last run, all.
    #[arg(long, value_name = "DAYS", env = "FORMWORK_KEEP_DAYS", default_value_t = 180)]
    keep_days: u32,
    /// Of each machine, box and cluster, never more events than this.
    #[arg(long, value_name = "EVENTS", env = "FORMWORK_KEEP_EVENTS", default_value_t = 5_000)]
    keep_events: usize,
    /// Where logs of jobs that ended go, beside the state directory: s3://BUCKET/PREFIX, gs://, az:// or file:///FOLDER (docs: Running a
    /// site). Credentials come from the environment, as for the provider's own tools.
    #[arg(long, value_name = "URL", env = "FORMWORK_OBJECT_STORE")]
    object_store: Option<String>,
    /// With --object-store: of the logs that are there, the newest of so many MiB stay in the state directory, too.
    #[arg(long, value_name = "MIB", env = "FORMWORK_LOGS_HERE", default_value_t = 1024)]
    logs_here: u64,
    /// Serve inside the network namespace of that process.
    #[arg(long, value_name = "PID")]
    enter: Option<u32>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::NotSo(error.to_string());
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("FORMWORK_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGGED)),
        )
        .with_writer(move || Log { colour })
        .with_ansi(colour)
        .init();
    apart(arguments.http_port, arguments.api_port)?;
    // Before anything is looked at that has to be there.
    arguments.replica.may_be(&arguments.store)?;
    let listen = |address: SocketAddr, option: &'static str| {
        serve::bind(address, option).map_err(|error| failure::of_server(&error, &arguments.state_dir, &[]))
    };
    let administrators = arguments.api_listen.map(|address| listen(address, "--api-listen")).transpose()?;
    let metrics = arguments.metrics.map(|address| listen(address, "--metrics")).transpose()?;
    // Before the first thread: a namespace is a thread's own.
    if let Some(pid) = arguments.enter {
        serve::enter(pid).map_err(|error| failed(&error))?;
    }
    let read_once: Vec<ReadOnce> = arguments.images.iter().map(|path| ReadOnce::of(path)).collect();
    let (signers, identities) = (arguments.trust.as_deref(), arguments.age_identities.as_deref());
    // As it was before it was read: what is written to it since is read again.
    let sources = arguments.sources.as_deref();
    let sources = sources.map(|path| sources_file(path, &arguments.replica, signers, identities));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    let content = match in_cluster(arguments, &runtime)? {
        Some(content) => content,
        None if arguments.hosted => {
            Content::Hosted { branch: arguments.branch.clone(), subpath: arguments.path.clone() }
        }
        None => {
            let source = source(arguments)?;
            if let Err(error) = is_there(&source) {
                if !StateDirectory(arguments.state_dir.clone()).served_before() {
                    return Err(error);
                }
                tracing::warn!("{error}; what served last goes on, and it is looked for again and again");
            }
            Content::Source(source)
        }
    };
    arguments.replica.may_follow(&content)?;
    let keys = super::age_identities::files(identities, sources_of(&content))?;
    let (trust, trust_of) = trust(signers, sources_of(&content))?;
    let object_store = arguments.object_store.as_deref().map(Place::parse).transpose().map_err(|error| {
        // What was typed is not shown again: there may be a secret in it.
        CliError::Usage { message: format!("--object-store: {error}"), hint: None }
    })?;
    let options = Options {
        state: StateDirectory(arguments.state_dir.clone()),
        keeping: arguments.store.keeping_of(arguments.replica.replica.as_deref())?,
        content,
        images: arguments.images.clone(),
        address: arguments.address,
        listen: arguments.listen,
        interfaces: arguments.interface.clone(),
        tftp: !arguments.no_tftp,
        http_port: arguments.http_port,
        api_port: arguments.api_port,
        fetch_packs: arguments.fetch_packs,
        retention: Retention {
            runs: arguments.keep_runs,
            age_ms: i64::from(arguments.keep_days).saturating_mul(24 * 3600 * 1000),
            events: arguments.keep_events,
            ..Retention::default()
        },
        object_store,
        logs_here: arguments.logs_here.saturating_mul(1 << 20),
        trust,
        trust_of,
        sources,
        read_once,
        keys,
        administrators,
        metrics,
    };
    runtime.block_on(async { serve::run(options, stop()).await }).map_err(|error| {
        let interfaces = crate::net::interfaces().unwrap_or_default();
        failure::of_server(&error, &arguments.state_dir, &interfaces)
    })
}

/// The way to the Kubernetes API where that says what is followed, once it answered; also where it does not or refuses, and
/// something was followed before.
#[cfg(feature = "kubernetes")]
fn in_cluster(arguments: &Arguments, runtime: &tokio::runtime::Runtime) -> Result<Option<Content>, CliError> {
    use crate::controller::{Link, LinkError, has_followed};
    if !arguments.kubernetes {
        return Ok(None);
    }
    let wrong = |error: LinkError| {
        let (message, hint) = (error.to_string(), error.hint());
        let shown = Some(hint.to_owned());
        match error {
            LinkError::Configuration(_) | LinkError::Name(..) => CliError::Usage { message, hint: shown },
            LinkError::Unknown { .. } => CliError::NotFound { message, hint: shown },
            LinkError::Unauthorized { .. } => {
                CliError::Refused { code: "unauthorized".to_owned(), message, hint: shown }
            }
            LinkError::Forbidden { .. } => CliError::Refused { code: "forbidden".to_owned(), message, hint: shown },
            LinkError::Away { server, what } => CliError::Unreachable { server, what, hint, away: false },
        }
    };
    let (namespace, source) = (arguments.namespace.as_deref(), arguments.content_source.as_deref());
    runtime.block_on(async {
        let link = Link::configured(namespace, source).await.map_err(wrong)?;
        match link.tried().await {
            // Machines are booted whatever the cluster says meanwhile.
            Err(error) if error.may_pass() && has_followed(&arguments.state_dir) => {
                tracing::warn!(%error, hint = error.hint(), "what was followed before goes on");
            }
            tried => tried.map_err(wrong)?,
        }
        Ok(Some(Content::Kubernetes(link)))
    })
}

#[cfg(not(feature = "kubernetes"))]
fn in_cluster(_: &Arguments, _: &tokio::runtime::Runtime) -> Result<Option<Content>, CliError> {
    Ok(None)
}

/// Two services cannot have one port; 0 is any that is free.
fn apart(http: u16, api: u16) -> Result<(), CliError> {
    if http != api || http == 0 {
        return Ok(());
    }
    Err(CliError::Usage {
        message: format!("--http-port and --api-port are both {http}"),
        hint: Some("boot files are plain HTTP and the API is TLS: give each a port of its own".to_owned()),
    })
}

/// The sources that a sources.yaml names, or the one elsewhere.
fn sources_of(content: &Content) -> &[SourceSettings] {
    if let Content::Source(Source::Sources(sources)) = content { &sources.0 } else { &[] }
}

/// What is to be followed.
fn source(arguments: &Arguments) -> Result<Source, CliError> {
    let usage = |message: String, hint: Option<&str>| CliError::Usage { message, hint: hint.map(str::to_owned) };
    if let Some(path) = &arguments.sources {
        return named(path).map(Source::Sources);
    }
    let Some(repository) = &arguments.repository else {
        let path = arguments
            .dir
            .clone()
            .ok_or_else(|| usage("give --hosted, --repository, --sources or --dir".to_owned(), None))?;
        return Ok(Source::Directory { path });
    };
    located(&At {
        repository,
        branch: arguments.branch.as_ref(),
        path: arguments.path.as_ref(),
        token_file: arguments.token_file.as_ref(),
        repository_ca: arguments.repository_ca.as_ref(),
        key_file: arguments.key_file.as_ref(),
        known_hosts: arguments.known_hosts.as_ref(),
    })
}

/// A source that is not there at the first start is a slip of the pen; one that goes away later is waited for, at a start like at any other time.
fn is_there(source: &Source) -> Result<(), CliError> {
    let (path, what, hint) = match source {
        Source::Bare { path, .. } => (path, "repository", format!("make one with: git init --bare {}", path.display())),
        // Elsewhere something may be away, now as later.
        Source::Sources(_) => return Ok(()),
        Source::Directory { path } => (path, "directory", "--dir names the folder that holds the site's YAML".into()),
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(CliError::Usage { message: format!("{} is no {what}", path.display()), hint: Some(hint) }),
        Err(error) => {
            let message = format!("the {what} {} cannot be read: {error}", path.display());
            Err(CliError::Usage { message, hint: Some(hint) })
        }
    }
}

/// SIGINT or SIGTERM.
async fn stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What would not be looked at is refused: beside --sources each source says it for itself.
    #[test]
    fn each_option_about_the_source_goes_with_the_sources_that_heed_it_and_with_no_other() {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            arguments: Arguments,
        }
        use clap::Parser as _;
        let parse = |words: &[&str]| {
            let always = ["serve", "--no-dhcp", "--no-tftp", "--address", "10.0.0.1"];
            Program::try_parse_from(always.iter().chain(words)).map(|it| it.arguments)
        };
        let all: &[&[&str]] = &[
            &["--repository", "/srv/site.git"],
            &["--hosted"],
            &["--sources", "sources.yaml"],
            &["--dir", "site"],
            #[cfg(feature = "kubernetes")]
            &["--kubernetes"],
        ];
        let options: &[(&str, &[&str])] = &[
            ("--token-file", &["--repository"]),
            ("--repository-ca", &["--repository"]),
            ("--key-file", &["--repository"]),
            ("--known-hosts", &["--repository"]),
            ("--branch", &["--repository", "--hosted"]),
            ("--path", &["--repository", "--hosted"]),
            ("--trust", &["--repository", "--hosted", "--sources", "--kubernetes"]),
            ("--age-identities", &["--repository", "--hosted", "--sources", "--dir", "--kubernetes"]),
            #[cfg(feature = "kubernetes")]
            ("--namespace", &["--kubernetes"]),
            #[cfg(feature = "kubernetes")]
            ("--content-source", &["--kubernetes"]),
        ];
        for source in all {
            assert!(parse(source).is_ok(), "{source:?}");
            for (option, heeded) in options {
                let words: Vec<&str> = source.iter().copied().chain([*option, "x"]).collect();
                match parse(&words) {
                    Ok(_) => assert!(heeded.contains(&source[0]), "{words:?} is taken"),
                    Err(error) => {
                        let error = error.to_string();
                        assert!(!heeded.contains(&source[0]), "{words:?}: {error}");
                        assert!(error.contains(option) && error.contains("cannot be used with"), "{error}");
                        assert!(error.contains(source[0]), "{error}");
                    }
                }
            }
            for other in all.iter().filter(|other| *other != source) {
                let words: Vec<&str> = source.iter().chain(*other).copied().collect();
                assert!(parse(&words).is_err(), "{words:?}");
            }
        }
        #[cfg(feature = "kubernetes")]
        assert!(parse(&["--kubernetes", "--fetch-packs"]).is_err());
        assert!(parse(&["--hosted", "--fetch-packs"]).is_ok_and(|arguments| arguments.fetch_packs));
    }

    #[test]
    fn boot_files_and_the_api_have_ports_of_their_own() {
        for (http, api, taken) in [(8080, 8443, true), (8443, 8443, false), (0, 0, true)] {
            let judged = apart(http, api);
            assert_eq!(judged.is_ok(), taken, "{http} {api}");
            assert!(judged.err().is_none_or(|error| error.exit_code() == 2 && error.hint().is_some()));
        }
    }

    #[test]
    fn a_source_that_is_not_there_is_refused_at_the_start_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let bare = |path: PathBuf| Source::Bare { path, branch: None, subpath: None };
        assert!(is_there(&bare(folder.path().into())).is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for source in [bare(folder.path().join("nope.git")), bare(file), Source::Directory { path: "/nope".into() }] {
            let error = is_there(&source).unwrap_err();
            assert!(error.exit_code() == 2 && error.hint().is_some(), "{error}");
        }
    }
}
