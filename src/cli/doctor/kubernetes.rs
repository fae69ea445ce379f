//! What a server with its store or its source in Kubernetes would meet there: the API server, rights, the kinds of Formwork, the store, the
//! Secret with the site's keys. Nothing is written.

use super::pod::Pod;
use super::{Arguments, Check};
use crate::cli::error::CliError;
use crate::cli::sentence::count;
use crate::controller::{GROUP, VERSION};
use crate::serve::{Keeping, store_seen};
use crate::store::StoreError;
use crate::store::kubernetes::{Glance, KubernetesStore, client, kept};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::core::discovery::ApiResource;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The longest that one question may take.
const QUESTION: Duration = Duration::from_secs(5);

/// What has to be allowed on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    book: &'static str,
    /// It is given by the name of the source: the chart's Role names the one that the server follows.
    of_source: bool,
}

impl Right {
    const fn on(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
        book: &'static str,
    ) -> Self {
        Self { group, resource, verbs, book, of_source: false }
    }
}

const STORE_BOOK: &str = "docs/kubernetes-store.md";
const SOURCE_BOOK: &str = "docs/kubernetes.md";
const MIRRORED: &[&str] = &["get", "list", "watch", "create", "update", "delete"];

/// For the store.
const SECRETS: Right = Right::on("", "secrets", &["get", "list", "watch", "create", "delete"], STORE_BOOK);
/// For one of several servers on it.
const LEASES: Right = Right::on("coordination.k8s.io", "leases", &["list", "create", "update", "delete"], STORE_BOOK);
/// For a server that follows a ContentSource. Which Secret it reads the source says.
const FOLLOWS: [Right; 7] = [
    Right::on(GROUP, "contentsources", &["get", "list", "watch"], SOURCE_BOOK),
    Right::on(GROUP, "machines", MIRRORED, SOURCE_BOOK),
    Right::on(GROUP, "clusterprofiles", MIRRORED, SOURCE_BOOK),
    Right { of_source: true, ..Right::on(GROUP, "contentsources/status", &["patch"], SOURCE_BOOK) },
    Right::on(GROUP, "machines/status", &["patch"], SOURCE_BOOK),
    Right::on(GROUP, "clusterprofiles/status", &["patch"], SOURCE_BOOK),
    Right::on("events.k8s.io", "events", &["create", "patch"], SOURCE_BOOK),
];
/// The kinds that have to be known there.
const KINDS: [&str; 3] = ["ContentSource", "Machine", "ClusterProfile"];

/// Asks for what these options need; nothing where they need no Kubernetes.
pub(super) fn checks(
    keeping: &Keeping,
    state: &Path,
    arguments: &Arguments,
    pod: Option<&Pod>,
) -> Result<Vec<Check>, CliError> {
    let mut checks = Vec::new();
    if let Keeping::Kubernetes { config, namespace, replica } = keeping {
        let rights: Vec<Right> = std::iter::once(SECRETS).chain(replica.iter().map(|_| LEASES)).collect();
        let (reached, more) = asked(kube::Config::clone(config), namespace, &rights, None)?;
        checks.extend(more);
        if reached {
            checks.extend(stored(config, namespace, replica.is_some(), state, pod));
        }
    }
    if arguments.kubernetes {
        // The store's configuration is the same: there is one way to the API server.
        let Keeping::Kubernetes { config, namespace, .. } = Keeping::kubernetes(arguments.namespace.clone(), None)
            .map_err(|error| CliError::NotSo(error.to_string()))?
        else {
            return Ok(checks);
        };
        let (_, more) = asked(*config, &namespace, &FOLLOWS, Some(arguments.content_source.as_deref()))?;
        checks.extend(more.into_iter().filter(|check| !checks.contains(check)).collect::<Vec<_>>());
    }
    Ok(checks)
}

/// Whether the API server answers, and what may be done there. `follows`: the kinds of Formwork are asked for, too, and the rights on the
/// source of that name; `Some(None)`: on the only one there is.
fn asked(
    mut config: kube::Config,
    namespace: &str,
    rights: &[Right],
    follows: Option<Option<&str>>,
) -> Result<(bool, Vec<Check>), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::NotSo(format!("nothing can be asked: {error}")))?;
    config.connect_timeout = Some(QUESTION);
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    runtime.block_on(async {
        let client = match kube::Client::try_from(config) {
            Ok(client) => client,
            Err(error) => return Ok((false, vec![judge_reach(&server, Err(error.to_string()))])),
        };
        let version = within(client.apiserver_version()).await.map(|version| version.git_version);
        let reached = version.is_ok();
        let mut checks = vec![judge_reach(&server, version)];
        if !reached {
            return Ok((false, checks));
        }
        let mut source = None;
        if let Some(named) = follows {
            checks.push(judge_kinds(kinds(&client).await));
            source = match named {
                Some(named) => Some(named.to_owned()),
                None => only(&sources(&client, namespace).await.unwrap_or_default()),
            };
        }
        for right in rights {
            let name = source.as_deref().filter(|_| right.of_source);
            checks.push(judge_right(namespace, right, name, lacking(&client, namespace, right, name).await));
        }
        Ok((true, checks))
    })
}

/// The names of the sources of the namespace.
async fn sources(client: &kube::Client, namespace: &str) -> Result<Vec<String>, String> {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "ContentSource".to_owned(),
        plural: "contentsources".to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    // Two say as much as a thousand.
    let listed = within(api.list(&ListParams::default().limit(2))).await?;
    Ok(listed.items.into_iter().filter_map(|object| object.metadata.name).collect())
}

/// The one that is followed where nobody names one.
fn only(names: &[String]) -> Option<String> {
    match names {
        [one] => Some(one.clone()),
        _ => None,
    }
}

async fn within<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(QUESTION, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", QUESTION.as_secs())),
    }
}

/// The verbs that are not allowed, on the object of that name where one is given.
async fn lacking(
    client: &kube::Client,
    namespace: &str,
    right: &Right,
    name: Option<&str>,
) -> Result<Vec<&'static str>, String> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut lacking = Vec::new();
    for verb in right.verbs {
        let attributes = question(namespace, right, verb, name);
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let answer = within(reviews.create(&PostParams::default(), &review)).await?;
        if !answer.status.is_some_and(|status| status.allowed) {
            lacking.push(*verb);
        }
    }
    Ok(lacking)
}

fn question(namespace: &str, right: &Right, verb: &str, name: Option<&str>) -> ResourceAttributes {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource, None),
    };
    ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// The kinds of Formwork that the API server knows.
async fn kinds(client: &kube::Client) -> Result<Vec<String>, String> {
    let version = format!("{GROUP}/{VERSION}");
    match tokio::time::timeout(QUESTION, client.list_api_group_resources(&version)).await {
        Ok(Ok(listed)) => Ok(listed.resources.into_iter().map(|resource| resource.kind).collect()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Vec::new()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", QUESTION.as_secs())),
    }
}

/// The store itself, and the keys beside it.
fn stored(config: &kube::Config, namespace: &str, shares: bool, state: &Path, pod: Option<&Pod>) -> Vec<Check> {
    let certificate = std::fs::read_to_string(state.join("keys/authority.pem")).ok();
    let authority = certificate.as_deref().and_then(|certificate| crate::identity::ca_fingerprint(certificate).ok());
    let connect = client::connect(config.clone(), namespace.to_owned());
    let glance = KubernetesStore::look(connect, authority.as_deref(), Some(&store_seen(state)));
    let mut checks = vec![judge_store(namespace, certificate.is_some(), pod, glance)];
    if shares {
        let found = kept::find(config.clone(), namespace);
        checks.push(judge_keys(namespace, certificate.as_deref(), pod, found));
    }
    checks
}

pub(super) fn judge_reach(server: &str, version: Result<String, String>) -> Check {
    match version {
        Ok(version) => Check::ok("Kubernetes API", format!("{server} answers ({version})")),
        Err(why) => {
            let remedy = "kubectl cluster-info; is KUBECONFIG the right one, and are its credentials good?";
            Check::fail("Kubernetes API", format!("{server} cannot be used: {why}"), remedy)
        }
    }
}

pub(super) fn judge_kinds(known: Result<Vec<String>, String>) -> Check {
    let name = format!("kinds of {GROUP}");
    let known = match known {
        Ok(known) => known,
        Err(why) => return Check::warn(name, format!("it is not known which there are: {why}"), "ask again"),
    };
    let missing: Vec<&str> = KINDS.into_iter().filter(|kind| !known.iter().any(|known| known == kind)).collect();
    match missing.as_slice() {
        [] => Check::ok(name, KINDS.join(", ")),
        missing => {
            let says = format!("the API server does not know {}", missing.join(", "));
            Check::fail(name, says, "formwork crds | kubectl apply -f -")
        }
    }
}

/// `of`: the object by whose name it was asked.
pub(super) fn judge_right(
    namespace: &str,
    right: &Right,
    of: Option<&str>,
    lacking: Result<Vec<&str>, String>,
) -> Check {
    let name = format!("right on {}", right.resource);
    let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
    let group = if right.group.is_empty() { String::new() } else { format!(" of {}", right.group) };
    match lacking {
        Ok(lacking) if lacking.is_empty() => {
            Check::ok(name, format!("{}{of} in namespace {namespace}", right.verbs.join(", ")))
        }
        Ok(lacking) => {
            let says = format!(
                "this account may not {} {}{of}{group} in namespace {namespace}",
                lacking.join(", "),
                right.resource
            );
            let mut remedy = format!("give it a Role there, as {} has it", right.book);
            if right.of_source && of.is_empty() {
                remedy += "; one that names a source gives it for that alone: say which by --content-source NAME";
            }
            Check::fail(name, says, remedy)
        }
        Err(why) => {
            let verb = right.verbs.first().copied().unwrap_or("get");
            let remedy = format!("kubectl auth can-i {verb} {} --namespace {namespace}", right.resource);
            Check::warn(name, format!("it could not be asked for: {why}"), remedy)
        }
    }
}

/// `has_keys`: those of a site are here, so that a new one is not what there should be.
pub(super) fn judge_store(
    namespace: &str,
    has_keys: bool,
    pod: Option<&Pod>,
    glance: Result<Glance, StoreError>,
) -> Check {
    let name = "store";
    let error = match glance {
        Ok(Glance { site, events, bytes, bytes_max }) => {
            let held = format!("that of site {site} in namespace {namespace}, {}", count_of(events));
            // What is dropped at the bound is what retention drops: there is time to let it.
            if bytes >= bytes_max / 5 * 4 {
                let says = format!("{held}; it has {} of {} MiB", bytes >> 20, bytes_max >> 20);
                return Check::warn(
                    name,
                    says,
                    "let retention drop more: serve with smaller --keep-runs and --keep-days",
                );
            }
            return Check::ok(name, held);
        }
        Err(error) => error,
    };
    let remedy = match &error {
        StoreError::Open(text) if text.contains("there is no store") && has_keys => {
            "the keys of a site are here: is the namespace the right one? a store that was lost comes back with a backup of etcd"
                .to_owned()
        }
        StoreError::Open(text) if text.contains("there is no store") => Pod::makes_site(
            pod,
            format!("formwork site create NAME --store kubernetes --store-namespace {namespace}"),
        ),
        StoreError::Open(_) => "see docs/kubernetes-store.md".to_owned(),
        StoreError::Damaged(_) => "bring etcd back from a backup of before, or import an export".to_owned(),
        _ => "mend what is said above first".to_owned(),
    };
    Check::fail(name, error.to_string(), remedy)
}

fn count_of(events: u64) -> String {
    count(usize::try_from(events).unwrap_or(usize::MAX), "event")
}

/// The keys that servers share, beside those that are here.
pub(super) fn judge_keys(
    namespace: &str,
    own: Option<&str>,
    pod: Option<&Pod>,
    found: Result<Option<BTreeMap<String, Vec<u8>>>, StoreError>,
) -> Check {
    let name = format!("Secret {}", kept::NAME);
    let shared = match found {
        Ok(shared) => shared,
        Err(error) => return Check::fail(name, error.to_string(), "mend what is said above first"),
    };
    let certificate = shared.as_ref().and_then(|files| files.get("authority.pem"));
    match (own, certificate) {
        (Some(own), Some(shared)) if own.as_bytes() == shared.as_slice() => {
            Check::ok(name, format!("the keys of namespace {namespace}, and the same are here"))
        }
        (Some(_), Some(_)) => Check::fail(
            name,
            format!("the keys in namespace {namespace} are those of another site than those here"),
            "name another --state-dir, or the --store-namespace of this site",
        ),
        (None, Some(_)) => Check::ok(name, format!("the keys of namespace {namespace}, which a new server takes")),
        (Some(_), None) => Check::warn(
            name,
            format!("namespace {namespace} has no shared keys: a server without any cannot join this one"),
            match pod {
                Some(pod) => pod.types("formwork site create NAME --shared"),
                None => "formwork site create NAME --shared, with the same --state-dir and store".to_owned(),
            },
        ),
        (None, None) => Check::fail(
            name,
            format!("there are no keys of the site, neither here nor in namespace {namespace}"),
            Pod::makes_site(
                pod,
                format!("formwork site create NAME --shared --store kubernetes --store-namespace {namespace}"),
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Fail, Ok as Good, Warn};
    use super::*;

    fn is(check: &Check, verdict: Verdict, words: &str) {
        assert!(check.verdict == verdict && check.says.contains(words), "{verdict:?} {words}: {check:?}");
        assert_eq!(check.remedy.is_some(), verdict != Good, "{check:?}");
    }

    #[test]
    fn what_an_api_server_says_is_told_with_what_to_do() {
        is(&judge_reach("https://a:6443", Ok("v1.34.1".into())), Good, "v1.34.1");
        is(&judge_reach("https://a:6443", Err("refused".into())), Fail, "https://a:6443 cannot be used: refused");

        let kinds = |of: &[&str]| judge_kinds(Ok(of.iter().map(|kind| (*kind).to_owned()).collect()));
        is(&kinds(&["Machine", "ClusterProfile", "ContentSource", "Other"]), Good, "ContentSource");
        is(&kinds(&["ContentSource"]), Fail, "does not know Machine, ClusterProfile");
        is(&kinds(&[]), Fail, "does not know ContentSource, Machine, ClusterProfile");
        is(&judge_kinds(Err("later".into())), Warn, "later");

        is(&judge_right("lab", &SECRETS, None, Ok(vec![])), Good, "get, list, watch, create, delete in namespace lab");
        is(
            &judge_right("lab", &SECRETS, None, Ok(vec!["watch", "delete"])),
            Fail,
            "may not watch, delete secrets in namespace lab",
        );
        is(&judge_right("lab", &LEASES, None, Ok(vec!["list"])), Fail, "may not list leases of coordination.k8s.io");
        is(&judge_right("lab", &LEASES, None, Err("forbidden".into())), Warn, "forbidden");
    }

    #[test]
    fn the_right_on_the_status_of_a_source_is_asked_for_by_its_name_as_the_charts_role_gives_it() {
        let by_name: Vec<&str> = FOLLOWS.iter().filter(|right| right.of_source).map(|right| right.resource).collect();
        assert_eq!(by_name, ["contentsources/status"]);
        let status = FOLLOWS.iter().find(|right| right.of_source).unwrap();
        let asked = question("lab", status, "patch", Some("site"));
        let words = [asked.resource, asked.subresource, asked.name, asked.verb].map(Option::unwrap_or_default);
        assert_eq!(words, ["contentsources", "status", "site", "patch"]);
        let of = |name: Option<&str>, lacking: Vec<&'static str>| judge_right("lab", status, name, Ok(lacking));
        is(&of(Some("site"), vec![]), Good, "patch of site in namespace lab");
        is(&of(Some("site"), vec!["patch"]), Fail, "may not patch contentsources/status of site of formwork.dev");
        let unnamed = of(None, vec!["patch"]);
        assert!(unnamed.remedy.is_some_and(|remedy| remedy.contains("--content-source NAME")));
        let names = |names: &[&str]| only(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!((names(&[]), names(&["a"]), names(&["a", "b"])), (None, Some("a".to_owned()), None));
    }

    #[test]
    fn a_store_that_is_there_another_sites_or_near_its_bound_is_told_apart() {
        let glance = |bytes| Glance { site: "lab".into(), events: 7, bytes, bytes_max: 500 << 20 };
        is(&judge_store("ns", false, None, Ok(glance(399 << 20))), Good, "site lab in namespace ns, 7 events");
        is(&judge_store("ns", false, None, Ok(glance(400 << 20))), Warn, "400 of 500 MiB");
        let none = judge_store("ns", false, None, Err(StoreError::Open("there is no store in namespace ns".into())));
        is(&none, Fail, "there is no store");
        assert!(none.remedy.is_some_and(|remedy| remedy.contains("site create NAME --store kubernetes")));
        let lost = judge_store("ns", true, None, Err(StoreError::Open("there is no store in namespace ns".into())));
        assert!(lost.remedy.is_some_and(|remedy| remedy.contains("backup of etcd")), "its keys are here");
        is(&judge_store("ns", false, None, Err(StoreError::Damaged("torn".into()))), Fail, "torn");
        is(&judge_store("ns", false, None, Err(StoreError::Unreachable("away".into()))), Fail, "away");
    }

    #[test]
    fn the_keys_that_servers_share_are_compared_with_those_here() {
        let shared = |text: &str| Ok(Some(BTreeMap::from([("authority.pem".to_owned(), text.as_bytes().to_vec())])));
        is(&judge_keys("ns", Some("a"), None, shared("a")), Good, "the same are here");
        is(&judge_keys("ns", Some("a"), None, shared("b")), Fail, "another site");
        is(&judge_keys("ns", None, None, shared("a")), Good, "takes");
        is(&judge_keys("ns", Some("a"), None, Ok(None)), Warn, "no shared keys");
        is(&judge_keys("ns", None, None, Ok(None)), Fail, "neither here nor");
        is(&judge_keys("ns", None, None, Err(StoreError::Unreachable("away".into()))), Fail, "away");
    }
}
