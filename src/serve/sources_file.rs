//! `sources.yaml` is read again when it changes, without a restart: what it says is taken whole, or not at all. Other repositories
//! are followed then, with other signers and other identities; webhooks and forges are asked for by what is followed.

use super::sources::{Policed, verifier};
use super::trusted::{KeyFiles, Others, TakenIn, TrustFile, Watched, What};
use crate::api::ReadOnce;
use crate::git::remote::Sources;
use crate::git::{Follower, Source};
use crate::reconcile::KeysInForce;
use crate::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What a sources.yaml says, with all that it names.
pub struct SourcesSaid {
    /// The file, as it was before it was read.
    pub file: ReadOnce,
    /// The sources.
    pub sources: Sources,
    /// Who may sign for the whole.
    pub trust: Option<TrustFile>,
    /// Who may sign for each of several.
    pub trust_of: BTreeMap<String, TrustFile>,
    /// What opens content that is encrypted in Git.
    pub keys: KeyFiles,
}

/// Reads the file again; else why that is not possible, as shown to people.
pub type ReadSourcesAgain = dyn Fn() -> Result<SourcesSaid, String> + Send + Sync;

/// A sources.yaml, and how it is read again.
pub struct SourcesFile {
    /// The file, as it was before it was read.
    pub file: ReadOnce,
    /// How.
    pub read: Arc<ReadSourcesAgain>,
}

/// What takes in a sources.yaml that changed.
pub(super) struct Following {
    pub follower: Arc<Follower>,
    pub keys: Arc<KeysInForce>,
    pub store: Arc<dyn Store>,
    /// The folder that signers' keys are imported to.
    pub signers: PathBuf,
    /// Whose policies are in force.
    pub policed: Policed,
}

/// What is in force of it.
struct Standing {
    policed: Policed,
    /// All of it is; else it is to be said once more.
    is_followed: bool,
    /// How often verifiers were made: each time in a folder of their own, since those of before may be asked at this moment.
    rounds: u32,
}

impl Following {
    /// The file, to be watched.
    pub(super) fn watch(self, file: SourcesFile) -> Watched {
        let SourcesFile { file, read } = file;
        let path = file.path().to_owned();
        let Self { follower, keys, store, signers, policed } = self;
        let standing = Mutex::new(Standing { policed, is_followed: true, rounds: 0 });
        let take_in = move || {
            let said = read()?;
            if said.file.changed().is_some() {
                return Ok(None);
            }
            let mut standing = standing.lock().unwrap_or_else(PoisonError::into_inner);
            // What is said of the only source is said of the whole, and that is asked for in more places than one.
            let whole = standing.policed.whole.clone();
            if said.trust.as_ref().map(|file| &file.path) != whole.as_ref() {
                return Err(format!(
                    "{}: who signs for the whole site (`trust` of the only source) is not the same any more; that wants a restart of \
                     the server",
                    said.file.path().display()
                ));
            }
            let files = vec![said.file];
            let is_same = matches!(&*follower.source(), Source::Sources(now) if *now == said.sources);
            if is_same && standing.is_followed {
                return Ok(Some(TakenIn::files(files)));
            }
            let round = standing.rounds.wrapping_add(1);
            let folder = signers.join(format!(".{round}"));
            let (mut new, mut stay) = (Vec::new(), BTreeSet::new());
            let mut policed = Policed { whole, ..Policed::default() };
            for (name, file) in said.trust_of {
                let path = file.path.clone();
                // What was revoked by it stays so.
                let before = standing.policed.of.get(&name).filter(|(before, _)| *before == path);
                let verifier = match before {
                    Some((_, verifier)) => {
                        stay.insert(name.clone());
                        Arc::clone(verifier)
                    }
                    None => {
                        let (verifier, watched) = verifier(file, Some(&name), &folder.join(&name))?;
                        new.push(watched);
                        verifier
                    }
                };
                policed.of.insert(name, (path, verifier));
            }
            // Of one that is followed once more, the journal knows what was trusted last.
            let policies = policed.policies(store.as_ref()).map_err(|error| error.to_string())?;
            let shown = said.sources.to_string();
            standing.is_followed = false;
            keys.replace(said.keys.keys);
            if let Err(error) = follower.follow_signed(said.sources, policies) {
                tracing::warn!(%error, "other sources cannot be followed yet");
                return Ok(None);
            }
            tracing::info!(sources = shown, "these are followed from now on");
            new.extend(Watched::keys(said.keys.files, said.keys.read, &keys));
            *standing = Standing { policed, is_followed: true, rounds: round };
            Ok(Some(TakenIn { files, others: Some(Others { stay, new }) }))
        };
        Watched::new(What::Sources, path, vec![file], Arc::new(take_in))
    }
}
