//! The Kubernetes API as [`Objects`]: Secrets of one namespace. Thin: each answer of the API server is only named here.
//!
//! Secrets, and not custom resources: documents hold join tokens, and grants the values of secret params, so segments must be
//! kept from everybody who may look at resources. For Secrets roles, audit policies and encryption at rest are made already;
//! `immutable` is held by the API server itself; and etcd keeps their bytes as they are, not as base64.

use super::Connect;
use super::objects::{Change, Changes, Fault, Head, Kind, Listed, Object, Objects};
use crate::store::{BoxFuture, StoreError};
use futures_util::StreamExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::core::Status;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The label that says what an object is.
const LABEL: &str = "formwork.dev/store";
/// The key of its bytes.
const KEY: &str = "bytes";
/// The longest that one question may take.
const QUESTION: Duration = Duration::from_secs(5);
/// The same for a page of the list.
const PAGE: Duration = Duration::from_secs(30);
/// Objects of a page of the list.
const PAGE_OBJECTS: u32 = 500;
/// The API server ends a watch after so many seconds, and one that says nothing for longer is dead.
const WATCH_SECONDS: u32 = 50;
const WATCH_DEAD: Duration = Duration::from_secs(60);

/// How an error begins that the API server answered with.
pub const ANSWERS: &str = "the API server answers";

/// Secrets of a namespace.
struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

/// Connects the store to the namespace of an API server.
pub fn connect(config: kube::Config, namespace: String) -> Connect {
    Box::new(move || {
        let client = kube::Client::try_from(config).map_err(unusable)?;
        Ok(Arc::new(Secrets { api: Api::namespaced(client, &namespace), namespace }))
    })
}

pub(super) fn unusable(error: kube::Error) -> StoreError {
    StoreError::Open(format!("the API server cannot be spoken with: {error}"))
}

impl Objects for Secrets {
    fn create(&self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<String, Fault>> {
        let secret = secret(kind, name, &bytes);
        Box::pin(async move {
            let parameters = PostParams::default();
            let made = within(QUESTION, self.api.create(&parameters, &secret)).await?;
            made.metadata.uid.ok_or_else(|| Fault::Away("an object was made and has no uid".into()))
        })
    }

    fn get(&self, name: &str) -> BoxFuture<'_, Result<Option<Object>, Fault>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = within(QUESTION, self.api.get_opt(&name)).await?;
            Ok(found.and_then(|secret| object(&secret)))
        })
    }

    fn uid(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = within(QUESTION, self.api.get_metadata_opt(&name)).await?;
            Ok(found.and_then(|found| found.metadata.uid))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listed, Fault>> {
        Box::pin(async move {
            let mut listed = Listed::default();
            let mut parameters = ListParams::default().labels(LABEL).limit(PAGE_OBJECTS);
            loop {
                let page = within(PAGE, self.api.list_metadata(&parameters)).await?;
                listed.heads.extend(page.items.iter().filter_map(|item| head(&item.metadata)));
                if listed.version.is_empty() {
                    listed.version = page.metadata.resource_version.unwrap_or_default();
                }
                match page.metadata.continue_.filter(|more| !more.is_empty()) {
                    Some(more) => parameters = parameters.continue_token(&more),
                    None => return Ok(listed),
                }
            }
        })
    }

    fn watch(&self, version: &str) -> BoxFuture<'_, Result<Changes, Fault>> {
        let version = version.to_owned();
        Box::pin(async move {
            let segments = format!("{LABEL}={}", Kind::Segment.word());
            let parameters = WatchParams::default().labels(&segments).timeout(WATCH_SECONDS);
            let events = within(QUESTION, self.api.watch(&parameters, &version)).await?;
            let changes = futures_util::stream::unfold(Box::pin(events), |mut events| async move {
                let change = match tokio::time::timeout(WATCH_DEAD, events.next()).await {
                    Err(_) => Err(Fault::Away("the API server says nothing any more".into())),
                    Ok(None) => return None,
                    Ok(Some(event)) => event.map_err(fault).and_then(change),
                };
                Some((change, events))
            });
            Ok(changes.boxed())
        })
    }

    fn delete(&self, head: &Head) -> BoxFuture<'_, Result<(), Fault>> {
        let name = head.name.clone();
        let this = Preconditions { uid: Some(head.uid.clone()), resource_version: None };
        Box::pin(async move {
            let parameters = DeleteParams::default().preconditions(this);
            match within(QUESTION, self.api.delete(&name, &parameters)).await {
                // Gone, or another by now.
                Ok(_) | Err(Fault::Exists | Fault::Missing) => Ok(()),
                Err(fault) => Err(fault),
            }
        })
    }

    fn place(&self) -> String {
        format!("namespace {}", self.namespace)
    }
}

pub(super) async fn within<T>(time: Duration, question: impl Future<Output = kube::Result<T>>) -> Result<T, Fault> {
    match tokio::time::timeout(time, question).await {
        Ok(answer) => answer.map_err(fault),
        Err(_) => Err(Fault::Away(format!("the API server did not answer within {} seconds", time.as_secs()))),
    }
}

fn fault(error: kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => fault_of(&status),
        other => Fault::Away(format!("the API server cannot be reached: {}", causes(&other))),
    }
}

/// Whether an error's words are of an answer that says no to who asks: they are not let in, or may not do it. Waiting mends that only
/// where somebody gives the right meanwhile.
pub fn says_no(why: &str) -> bool {
    [401, 403].iter().any(|code| why.contains(&format!("{ANSWERS} {code} ")))
}

/// An error with what led to it: the outermost alone says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What an answer of the API server means.
fn fault_of(status: &Status) -> Fault {
    let text = format!("{ANSWERS} {} {}: {}", status.code, status.reason, status.message);
    match status.code {
        404 => Fault::Missing,
        409 => Fault::Exists,
        410 => Fault::Forgotten,
        403 if status.message.contains("exceeded quota") => Fault::Full(text),
        500 if status.message.contains("database space exceeded") => Fault::Full(text),
        429 | 500.. => Fault::Away(text),
        _ => Fault::Refused(text),
    }
}

fn secret(kind: Kind, name: &str, bytes: &[u8]) -> Secret {
    let labels = [(LABEL, kind.word()), ("app.kubernetes.io/managed-by", "formwork")];
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes.to_vec()))])),
        immutable: Some(true),
        type_: Some(format!("formwork.dev/{}", kind.word())),
        string_data: None,
    }
}

fn head(metadata: &ObjectMeta) -> Option<Head> {
    let word = metadata.labels.as_ref()?.get(LABEL)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    Some(Head { kind, name: metadata.name.clone()?, uid: metadata.uid.clone()? })
}

/// A Secret as an object. One without our label or bytes is none.
fn object(secret: &Secret) -> Option<Object> {
    let bytes = secret.data.as_ref()?.get(KEY)?.0.as_slice().into();
    Some(Object { head: head(&secret.metadata)?, bytes })
}

fn change(event: WatchEvent<Secret>) -> Result<Change, Fault> {
    Ok(match event {
        WatchEvent::Added(secret) | WatchEvent::Modified(secret) => {
            object(&secret).map_or(Change::Nothing, Change::There)
        }
        WatchEvent::Deleted(secret) => head(&secret.metadata).map_or(Change::Nothing, Change::Gone),
        WatchEvent::Bookmark(_) => Change::Nothing,
        WatchEvent::Error(status) => return Err(fault_of(&status)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_api_server_has_its_meaning() {
        let status = |code, message: &str| Status { code, message: message.into(), ..Status::success() };
        for (code, message, expected) in [
            (404, "secrets \"x\" not found", Fault::Missing),
            (409, "already exists", Fault::Exists),
            (410, "too old resource version", Fault::Forgotten),
        ] {
            assert_eq!(fault_of(&status(code, message)), expected);
        }
        let full = [(403, "exceeded quota: small, requested"), (500, "etcdserver: mvcc: database space exceeded")];
        for (code, message) in full {
            assert!(matches!(fault_of(&status(code, message)), Fault::Full(_)), "{message}");
        }
        for code in [429, 500, 503, 504] {
            assert!(matches!(fault_of(&status(code, "later")), Fault::Away(_)), "{code}");
        }
        for code in [400, 401, 403, 413, 422] {
            let fault = fault_of(&status(code, "no"));
            let Fault::Refused(why) = fault else { panic!("{code}: {fault:?}") };
            assert_eq!(says_no(&why), matches!(code, 401 | 403), "{why}");
        }
    }

    #[test]
    fn a_secret_is_an_object_and_back() {
        for kind in Kind::ALL {
            let mut made = secret(kind, "name", b"bytes");
            assert_eq!(object(&made), None, "without a uid it is none");
            made.metadata.uid = Some("uid".into());
            let head = Head { kind, name: "name".into(), uid: "uid".into() };
            assert_eq!(object(&made), Some(Object { head, bytes: b"bytes".as_slice().into() }));
            assert_eq!(made.immutable, Some(true));
        }
    }
}
