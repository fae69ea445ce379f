//! Follows one Secret: the credentials of a source, as they rotate. What it holds is never shown, and wiped when it is dropped.

use super::link::{Link, said, watch};
use super::source::{KEYS, Keys};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use zeroize::{Zeroize as _, Zeroizing};

/// What is known of the Secret: what it holds, or that there is none; or why it may not be read.
pub(super) type Known = Result<Option<Keys>, String>;

/// Follows one Secret until it is dropped.
pub(super) struct SecretWatch {
    pub name: String,
    /// What is known; none: nothing yet.
    pub known: Option<Known>,
    news: Receiver<Known>,
    task: JoinHandle<()>,
}

impl SecretWatch {
    /// Begins.
    pub fn start(link: &Link, name: &str) -> Self {
        let (sender, news) = channel(1);
        let api: Api<Secret> = Api::namespaced(link.client.clone(), &link.namespace);
        let task = tokio::spawn(follow(api, name.to_owned(), sender));
        Self { name: name.to_owned(), known: None, news, task }
    }

    /// Waits until something else is known.
    pub async fn changed(&mut self) {
        match self.news.recv().await {
            Some(known) => self.known = Some(known),
            None => std::future::pending().await,
        }
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(api: Api<Secret>, name: String, sender: Sender<Known>) {
    // One Secret by its name: a Role can allow just this.
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watch(api, only));
    let mut listed = None;
    while let Some(event) = events.next().await {
        let known = match event {
            Ok(Event::Init) => {
                listed = None;
                continue;
            }
            Ok(Event::InitApply(secret)) => {
                listed = Some(keys_of(secret));
                continue;
            }
            Ok(Event::InitDone) => Ok(listed.take()),
            Ok(Event::Apply(secret)) => Ok(Some(keys_of(secret))),
            Ok(Event::Delete(secret)) => {
                drop(keys_of(secret));
                Ok(None)
            }
            Err(
                watcher::Error::InitialListFailed(kube::Error::Api(status))
                | watcher::Error::WatchStartFailed(kube::Error::Api(status)),
            ) if status.code == 403 => Err(format!(
                "the Secret `{name}` may not be read: {}; docs/kubernetes.md has the rules",
                status.message
            )),
            Err(error) => {
                tracing::debug!(secret = name, error = said(&error), "the Secret cannot be watched now");
                continue;
            }
        };
        if sender.send(known).await.is_err() {
            return;
        }
    }
}

/// The keys that are used. The rest is wiped.
fn keys_of(secret: Secret) -> Keys {
    let mut keys = Keys::new();
    for (name, value) in secret.data.unwrap_or_default() {
        let mut value = Zeroizing::new(value.0);
        if KEYS.contains(&name.as_str()) {
            keys.insert(name, value);
        } else {
            value.zeroize();
        }
    }
    keys
}
