//! The way to the API server: found, tried, watched.

use super::{FIELD_MANAGER, GROUP, VERSION};
use crate::content::names;
use futures_util::Stream;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::discovery::ApiResource;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::{Duration, Instant};

/// An API server that takes no connection in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that one write or the first question may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The first and the longest pause before a watch that broke is begun again.
const WATCH_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why there is no way to the API server, or nothing to be done there.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody says where it is.
    #[error("no Kubernetes cluster is configured: {0}")]
    Configuration(String),
    /// A name that no API server would know.
    #[error("`{0}` is no name of a {1}")]
    Name(String, &'static str),
    /// It does not answer.
    #[error("the Kubernetes API at {server} does not answer: {what}")]
    Away {
        /// Its URL.
        server: String,
        /// What happened.
        what: String,
    },
    /// The kinds of Formwork are not there.
    #[error("the Kubernetes API at {server} does not know the kind ContentSource")]
    Unknown {
        /// Its URL.
        server: String,
    },
    /// It does not know who asks.
    #[error("the Kubernetes API at {server} does not take the credentials of this server: {what}")]
    Unauthorized {
        /// Its URL.
        server: String,
        /// What it said.
        what: String,
    },
    /// It is not allowed.
    #[error(
        "the Kubernetes API at {server} does not let this server list the ContentSources of the namespace {namespace}: {what}"
    )]
    Forbidden {
        /// Its URL.
        server: String,
        /// The namespace.
        namespace: String,
        /// What it said.
        what: String,
    },
}

impl LinkError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Configuration(_) => {
                "in a pod, give it a service account; elsewhere set KUBECONFIG, or follow a repository by --repository"
            }
            Self::Name(..) => "names are of lower-case letters, digits and `-`",
            Self::Away { .. } => "kubectl cluster-info; is KUBECONFIG the right one?",
            Self::Unknown { .. } => "formwork crds | kubectl apply -f -",
            Self::Unauthorized { .. } => {
                "its token or certificate has expired, or is another cluster's: in a pod, is its service account still there? \
                 elsewhere ask `kubectl auth whoami` with the same KUBECONFIG"
            }
            Self::Forbidden { .. } => "docs/kubernetes.md has the rules that its service account needs",
        }
    }

    /// Whether it may pass by itself or by a hand in the cluster: then what was followed before goes on meanwhile.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Unauthorized { .. } | Self::Forbidden { .. })
    }
}

/// A namespace of a cluster, and which `ContentSource` of it is meant.
#[derive(Clone)]
pub struct Link {
    pub(super) client: Client,
    pub(super) server: String,
    pub(super) namespace: String,
    /// The name of the source; none: the only one there is.
    pub(super) source: Option<String>,
}

impl Link {
    /// As `KUBECONFIG`, `~/.kube/config` or the pod's service account have it. Nothing is asked yet. `namespace`: none is that of
    /// the configuration.
    ///
    /// # Errors
    /// [`LinkError::Configuration`] and [`LinkError::Name`].
    pub async fn configured(namespace: Option<&str>, source: Option<&str>) -> Result<Self, LinkError> {
        for (name, kind) in [(namespace, "namespace"), (source, "ContentSource")] {
            if let Some(name) = name.filter(|name| !names::is_subdomain(name)) {
                return Err(LinkError::Name(name.to_owned(), kind));
            }
        }
        let configuration = |error: &dyn std::fmt::Display| LinkError::Configuration(error.to_string());
        let mut config = Config::infer().await.map_err(|error| configuration(&error))?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), str::to_owned);
        let client = Client::try_from(config).map_err(|error| configuration(&error))?;
        Ok(Self { client, server, namespace, source: source.map(str::to_owned) })
    }

    /// Asks for the sources once.
    ///
    /// # Errors
    /// [`LinkError`] says why that is no use.
    pub async fn tried(&self) -> Result<(), LinkError> {
        let sources = self.sources();
        let some = ListParams::default().limit(1);
        let server = self.server.clone();
        match tokio::time::timeout(ANSWER_TIMEOUT, sources.list(&some)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) => Err(refusal(server, &self.namespace, status.code, &status.message)),
            Ok(Err(error)) => Err(LinkError::Away { server, what: said(&error) }),
            Err(_) => Err(LinkError::Away { server, what: "it takes too long".to_owned() }),
        }
    }

    /// The sources of the namespace.
    pub(super) fn sources(&self) -> Api<DynamicObject> {
        self.objects("ContentSource", "contentsources")
    }

    /// The objects of one of our kinds.
    pub(super) fn objects(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind, plural))
    }
}

/// What it means that the first question is answered so.
fn refusal(server: String, namespace: &str, code: u16, message: &str) -> LinkError {
    let what = message.to_owned();
    match code {
        401 => LinkError::Unauthorized { server, what },
        403 => LinkError::Forbidden { server, namespace: namespace.to_owned(), what },
        404 => LinkError::Unknown { server },
        _ => LinkError::Away { server, what },
    }
}

/// One of our kinds.
pub(super) fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Pauses between watches that break: doubling, from the beginning again once they last.
#[derive(Default)]
struct Again {
    last: Option<(Instant, Duration)>,
}

impl Iterator for Again {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let (first, most) = WATCH_AGAIN;
        let pause = self.last.map_or(first, |(_, last)| (last * 2).min(most));
        self.last = Some((Instant::now(), pause));
        Some(pause)
    }
}

impl Backoff for Again {
    /// Also said where a watch only begins, which it does before it breaks again.
    fn reset(&mut self) {
        if self.last.is_some_and(|(at, _)| at.elapsed() > WATCH_AGAIN.1 * 2) {
            self.last = None;
        }
    }
}

/// Watches objects, again and again.
pub(super) fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, config).backoff(Again::default())
}

/// Writes the status of an object, whole, and gives the object as it is then. What others wrote into it is theirs no longer.
///
/// # Errors
/// Why it was not taken, in a line.
pub(super) async fn write_status(
    api: &Api<DynamicObject>,
    name: &str,
    kind: &str,
    status: &(impl Serialize + Sync),
) -> Result<DynamicObject, Failure> {
    let api_version = format!("{GROUP}/{VERSION}");
    let body =
        serde_json::json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "status": status});
    let ours = PatchParams::apply(FIELD_MANAGER).force();
    in_time(api.patch_status(name, &ours, &Patch::Apply(&body))).await
}

/// Why something was not written.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody answered, or whoever did can do nothing now, or does not know who asks: others will fare no better.
    Away(String),
    /// Somebody else was quicker.
    Overtaken,
    /// It is not there (any more), or what it is to be in is not.
    Missing(String),
    /// It is not taken as it is, or may not be written: that says nothing of others.
    Refused(String),
}

/// What an answer means that is none of success. Pure.
fn failure_of(code: u16, message: &str) -> Failure {
    let said = message.to_owned();
    match code {
        404 => Failure::Missing(said),
        409 => Failure::Overtaken,
        401 | 429 => Failure::Away(said),
        // A webhook that fails and a limit of etcd are told so, too, and are about this object.
        500 if ["webhook", "request is too large"].iter().any(|word| message.contains(word)) => Failure::Refused(said),
        500.. => Failure::Away(said),
        _ => Failure::Refused(said),
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| match &error {
            kube::Error::Api(status) => failure_of(status.code, &status.message),
            other => Failure::Away(said(other)),
        }),
        Err(_) => Err(Failure::Away("it takes too long".to_owned())),
    }
}

/// An error in a line: what is at the bottom of it says most.
pub(super) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return status.message.clone();
    }
    let mut bottom = error;
    while let Some(below) = bottom.source() {
        bottom = below;
    }
    bottom.to_string()
}

/// Whether one state of an object is older than another. API servers count in one order.
pub(super) fn is_older(one: Option<&str>, other: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u64>().ok());
    matches!((number(one), number(other)), (Some(one), Some(other)) if one < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hand_in_the_cluster_mends_stops_no_server_that_followed_something() {
        for (code, said, hint, may_pass) in [
            (401, "does not take the credentials", "kubectl auth whoami", true),
            (403, "does not let this server list", "docs/kubernetes.md", true),
            (404, "does not know the kind", "formwork crds", false),
            (503, "does not answer: so it says", "kubectl cluster-info", true),
        ] {
            let error = refusal("https://api".to_owned(), "lab", code, "so it says");
            assert!(error.to_string().contains(said), "{code}: {error}");
            assert!(error.hint().contains(hint), "{code}: {}", error.hint());
            assert_eq!(error.may_pass(), may_pass, "{code}");
        }
        assert!(!LinkError::Configuration("none".to_owned()).may_pass());
    }

    #[test]
    fn what_is_refused_of_one_object_says_nothing_of_the_api_server() {
        for (code, message, means) in [
            (403, "machines \"b\" is forbidden: exceeded quota", "refused"),
            (403, "User \"x\" cannot create resource \"machines\"", "refused"),
            (404, "namespaces \"lab\" not found", "missing"),
            (409, "the object has been modified", "overtaken"),
            (413, "Request entity too large", "refused"),
            (422, "spec.match: Invalid value", "refused"),
            (500, "Internal error occurred: failed calling webhook \"x\": no endpoints", "refused"),
            (500, "etcdserver: request is too large", "refused"),
            (401, "Unauthorized", "away"),
            (429, "too many requests", "away"),
            (500, "etcdserver: leader changed", "away"),
            (503, "not ready", "away"),
            (504, "timeout", "away"),
        ] {
            let is = match failure_of(code, message) {
                Failure::Away(_) => "away",
                Failure::Overtaken => "overtaken",
                Failure::Missing(_) => "missing",
                Failure::Refused(_) => "refused",
            };
            assert_eq!(is, means, "{code} {message}");
        }
    }
}
