//! Sources and the rest of the server: what a mounted source's commit is judged by, what of them is written down, who may
//! wake them.

use super::ServeError;
use super::trusted::{TrustFile, Watched};
use crate::api::Hooks;
use crate::catalog::Catalog;
use crate::content::count_of;
use crate::git::remote::{Policies, SourceEvent};
use crate::git::{Ears, Follower, MayLeave, PackCache, Source, Verifier};
use crate::journal::{Event, RefusedCommit, Stream};
use crate::reconcile::{Allowance, Build, LOAD_MOST, in_time, until_late};
use crate::replicas::Replicas;
use crate::store::{Batch, Store, StoreError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{Receiver, channel};

/// Events that may wait to be written down; more are dropped, and logged.
const NEWS: usize = 256;
/// How many findings an event keeps.
const FINDINGS_KEPT: usize = 20;

/// Who judges by which policy, and the file that it is read from.
#[derive(Clone, Default)]
pub(super) struct Policed {
    /// Of the whole: the file.
    pub whole: Option<PathBuf>,
    /// Of each of several sources, by its name.
    pub of: BTreeMap<String, (PathBuf, Arc<Verifier>)>,
}

impl Policed {
    /// Who may sign for which source, and which commit of each the journal says was trusted last.
    pub(super) fn policies(&self, store: &dyn Store) -> Result<Policies, StoreError> {
        let verifiers = self.of.iter().map(|(name, (_, verifier))| (name.clone(), Arc::clone(verifier))).collect();
        Ok(Policies { verifiers, trusted_before: crate::reconcile::trusted_sources(store)? })
    }
}

/// Who judges by a policy, and what is to be watched for changes. `of`: the one of several sources that it is about; `keys`: the
/// folder that keys are imported to.
pub(super) fn verifier(file: TrustFile, of: Option<&str>, keys: &Path) -> Result<(Arc<Verifier>, Watched), String> {
    let made = Arc::new(Verifier::new(file.policy.clone(), keys)?);
    let watched = Watched::policy(file, of.map(str::to_owned), &made);
    Ok((made, watched))
}

/// Who may sign for the whole, who for each of several sources, and what is to be watched for changes.
type Verifiers = (Option<Arc<Verifier>>, Policed, Vec<Watched>);

/// Who may sign: keys lie in a folder each.
pub(super) fn verifiers(
    whole: Option<TrustFile>,
    of: BTreeMap<String, TrustFile>,
    keys: &Path,
) -> Result<Verifiers, ServeError> {
    let (mut policed, mut watched) = (Policed::default(), Vec::new());
    policed.whole = whole.as_ref().map(|file| file.path.clone());
    let mut made = |file: TrustFile, of: Option<&str>, keys: &Path| {
        let (made, watch) = verifier(file, of, keys).map_err(ServeError::Trust)?;
        watched.push(watch);
        Ok::<_, ServeError>(made)
    };
    let whole = whole.map(|file| made(file, None, keys)).transpose()?;
    for (name, file) in of {
        let path = file.path.clone();
        let verifier = made(file, Some(&name), &keys.join(&name))?;
        policed.of.insert(name, (path, verifier));
    }
    Ok((whole, policed, watched))
}

/// Who judges mounted sources, and what they tell.
pub(super) fn ears(
    build: Arc<Build<Catalog>>,
    (verifier, policies): (Option<Arc<Verifier>>, Policies),
    packs: Option<PackCache>,
    store: Arc<dyn Store>,
) -> (Ears, Receiver<SourceEvent>) {
    let (sender, news) = channel(NEWS);
    let ears = Ears {
        judge: Some(Arc::new(move |tree, revision| {
            in_time(&*build, tree, revision, &until_late(LOAD_MOST), LOAD_MOST).map(drop)
        })),
        allowed: Some(Arc::new(move |commit| match Allowance::of(store.as_ref(), commit) {
            Ok(allowed) => allowed.leave,
            Err(error) => {
                tracing::warn!(%error, commit, "what it is allowed is not known");
                MayLeave::default()
            }
        })),
        news: Arc::new(move |event| {
            if let Err(error) = sender.try_send(event) {
                tracing::warn!(%error, "what happened to a source is not in the journal");
            }
        }),
        verifier,
        policies,
        packs,
    };
    (ears, news)
}

/// The webhooks that sources.yaml declares now.
pub(super) fn hooks(follower: &Arc<Follower>) -> Hooks {
    let (declared, woken) = (Arc::clone(follower), Arc::clone(follower));
    let webhook = move |name: &str| match &*declared.source() {
        Source::Sources(sources) => sources.0.iter().find(|source| source.name == name)?.webhook.clone(),
        Source::Bare { .. } | Source::Directory { .. } => None,
    };
    Hooks::new(webhook, move |source| {
        woken.webhook(source);
    })
}

/// Writes down what happens to sources. Never ends while there may be more.
/// Of several servers that follow the same the one that leads writes.
pub(super) async fn record(
    store: Arc<dyn Store>,
    mut news: Receiver<SourceEvent>,
    replicas: Replicas,
) -> Result<(), ServeError> {
    while let Some(event) = news.recv().await {
        if !replicas.leads() {
            continue;
        }
        let event = match event {
            SourceEvent::Rewritten { source, reference, from, to, followed } => {
                Event::SourceRewritten { source, reference, from, to, followed }
            }
            SourceEvent::FetchedAgain { source, path, why } => Event::SourceFetchedAgain { source, path, why },
            SourceEvent::Trusted { source, revision, signed_by } => {
                Event::SourceTrusted { source, revision, signed_by }
            }
            SourceEvent::Refused { source, revision, summary, findings } => {
                let count = count_of(&findings);
                let findings = findings.into_iter().take(FINDINGS_KEPT).collect();
                Event::SourceRefused(RefusedCommit { source, revision, summary, findings, count })
            }
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let batch = Batch { events: vec![(Stream::Site, event)], ..Batch::default() };
        if let Err(error) = store.commit(batch, now).await {
            tracing::error!(%error, "what happened to a source could not be written down");
        }
    }
    // The follower has ended; the rest of the server says so.
    std::future::pending().await
}
