//! The keys of a site whose servers share a store: files in a Secret beside it, made once, by whichever server comes first.
//!
//! Each of them proves the same site to machines, and none has a state directory that outlives it.

use super::client::{unusable, within};
use super::objects::Fault;
use super::{on_own_thread, runtime};
use crate::store::StoreError;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use std::collections::BTreeMap;
use std::time::Duration;

/// The Secret's name.
pub const NAME: &str = "formwork-site";
/// The longest that one question may take.
const QUESTION: Duration = Duration::from_secs(5);

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files that are there; `None`: nobody made them yet.
///
/// # Errors
/// [`StoreError::Unreachable`], or what the API server refuses.
pub fn find(config: kube::Config, namespace: &str) -> Result<Option<Files>, StoreError> {
    asked(config, namespace, |secrets| async move { Ok(within(QUESTION, secrets.get_opt(NAME)).await?.map(files_of)) })
}

/// Makes them, unless another was faster: those that are there then.
///
/// # Errors
/// As [`find`].
pub fn make_once(config: kube::Config, namespace: &str, files: &Files) -> Result<Files, StoreError> {
    let labels = BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "formwork".to_owned())]);
    let data = files.iter().map(|(name, bytes)| (name.clone(), ByteString(bytes.clone()))).collect();
    let secret = Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        data: Some(data),
        immutable: Some(true),
        type_: Some("formwork.dev/site".to_owned()),
        ..Secret::default()
    };
    asked(config, namespace, |secrets| async move {
        match within(QUESTION, secrets.create(&PostParams::default(), &secret)).await {
            Ok(made) => Ok(files_of(made)),
            Err(Fault::Exists) => Ok(files_of(within(QUESTION, secrets.get(NAME)).await?)),
            Err(fault) => Err(fault),
        }
    })
}

fn files_of(secret: Secret) -> Files {
    secret.data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, bytes.0)).collect()
}

fn asked<T, A>(
    config: kube::Config,
    namespace: &str,
    question: impl FnOnce(Api<Secret>) -> A + Send + 'static,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    A: Future<Output = Result<T, Fault>>,
{
    let namespace = namespace.to_owned();
    on_own_thread(move || {
        runtime()?.block_on(async {
            let client = kube::Client::try_from(config).map_err(unusable)?;
            question(Api::namespaced(client, &namespace)).await.map_err(Into::into)
        })
    })
}
