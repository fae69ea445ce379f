//! What is to be followed, or why nothing is. Pure, beside what a folder holds.

use super::files::Folder;
use super::source::{Followed, source_of};

/// What is to be followed, or why nothing is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Follow(Box<Followed>),
    Nothing(WhyNot),
}

/// Why nothing is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WhyNot {
    /// In a word that stays the same.
    pub reason: &'static str,
    /// In a sentence.
    pub text: String,
}

/// The spec itself has to be mended.
pub(super) const INVALID_SPEC: &str = "InvalidSpec";
/// A hand in the cluster is at work, and not done yet.
pub(super) const POSTPONED: &str = "Postponed";
/// It may pass by itself or by a hand elsewhere: a Secret, a source that is not there, a disk.
const UNAVAILABLE: &str = "SourceUnavailable";

impl From<String> for WhyNot {
    fn from(text: String) -> Self {
        Self { reason: UNAVAILABLE, text }
    }
}

/// What is followed where the API server does not answer after a start: the same as before it.
pub(super) fn remembered(folder: &Folder) -> Wanted {
    let away = "the Kubernetes API does not answer";
    let Some(spec) = folder.remembered() else {
        return Wanted::Nothing(format!("{away}, and nothing was followed when it did last").into());
    };
    match source_of(&spec, Some(&folder.keys(&spec)), &folder.credentials_of(&spec), &folder.content()) {
        Ok(followed) => Wanted::Follow(Box::new(followed)),
        Err(why) => {
            Wanted::Nothing(format!("{away}, and what was followed last cannot be followed without it: {why}").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::resources::ContentSourceSpec;
    use crate::controller::source::Keys;
    use zeroize::Zeroizing;

    #[test]
    fn without_an_api_server_what_was_followed_is_followed_with_its_own_credentials_and_what_was_taken_away_is_not() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let spec = |url: &str| -> ContentSourceSpec {
            serde_json::from_value(serde_json::json!({"url": url, "secretRef": {"name": "s"}})).unwrap()
        };
        let keys = Keys::from([("password".to_owned(), Zeroizing::new(b"hunter22".to_vec()))]);
        let nothing = |why: &str| matches!(remembered(&folder), Wanted::Nothing(said) if said.text.contains(why));
        assert!(nothing("nothing was followed"));
        let (old, new) = (spec("https://old/x"), spec("https://new/x"));
        folder.write_keys(&old, &keys).unwrap();
        folder.remember(&old).unwrap();
        // Killed on the way to another host: its credentials are there, and are not the old one's.
        folder.write_keys(&new, &keys).unwrap();
        let Wanted::Follow(followed) = remembered(&folder) else { panic!("it is followed") };
        let expected = source_of(&old, Some(&keys), &folder.credentials_of(&old), &folder.content()).unwrap();
        assert_eq!(*followed, expected);
        assert_ne!(folder.credentials_of(&old), folder.credentials_of(&new));
        // Its Secret is there no longer; then the source is taken away.
        folder.write_keys(&old, &Keys::new()).unwrap();
        assert!(nothing("neither `password` nor `ca.crt`"));
        folder.forget().unwrap();
        assert!(nothing("nothing was followed"));
    }
}
