//! Of several sources each is signed for by whom its own policy names: whether a commit may follow the one trusted last.

use super::fetch::{Known, Room};
use super::settings::SourceSettings;
use crate::git::loose::{Checked, Loose};
use crate::git::owner::open;
use crate::git::{GitError, Verifier};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who may sign for which source.
#[derive(Clone, Default)]
pub struct Policies {
    /// By the source's name; for one that is not here, signatures are not asked for.
    pub verifiers: BTreeMap<String, Arc<Verifier>>,
    /// Which commit of each source the journal says was trusted last, should the mirror not know.
    pub trusted_before: BTreeMap<String, String>,
}

/// A source's commit that is signed as its policy asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub commit: String,
    pub by: Vec<String>,
}

/// What was found of one source.
#[derive(Default)]
pub(super) struct Signatures {
    /// The commit that was found good last.
    pub good: Option<Signed>,
    /// By which policy.
    generation: u64,
    /// Loose objects of a repository on this disk that were found whole.
    checked: Checked,
}

impl Signatures {
    /// Whether a commit is signed as it must be, to follow `last`; else why not. What was found good is not asked about again.
    pub(super) fn verify(
        &mut self,
        verifier: &Verifier,
        (settings, room): (&SourceSettings, &Room),
        known: &Known,
        last: Option<&str>,
    ) -> Result<Result<(), Vec<String>>, GitError> {
        let generation = verifier.generation();
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.good = None;
        }
        if self.good.as_ref().is_some_and(|good| good.commit == known.commit) {
            return Ok(Ok(()));
        }
        let repository = open(&room.repository)?;
        Loose::of(&repository).check_all(&mut self.checked).map_err(|error| GitError::Unreadable {
            path: room.repository.clone(),
            message: error.message().to_owned(),
        })?;
        let found = verifier.verify(&repository, settings.subpath.as_deref(), last, &known.commit)?;
        Ok(match found {
            Ok(signed) => {
                let by = signed.0.iter().map(ToString::to_string).collect();
                self.good = Some(Signed { commit: known.commit.clone(), by });
                Ok(())
            }
            Err(findings) => Err(findings.iter().map(ToString::to_string).collect()),
        })
    }
}
