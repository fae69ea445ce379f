//! What becomes of objects that no mirror wrote: people, Flux or Argo CD did. Pure.

use k8s_openapi::api::core::v1::ObjectReference;

/// What a mirror is told of what is followed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    /// What becomes of objects that no mirror wrote.
    pub by_hand: ByHand,
    /// The source that is told what goes wrong; none: there is none to tell.
    pub source: Option<ObjectReference>,
}

/// What becomes of them, by what is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ByHand {
    /// Nobody knows yet: they are left alone.
    #[default]
    Unknown,
    /// Nothing reads them, and each says so with this sentence. It is the same of every server that follows Git, so that two
    /// of them in one namespace do not write over each other's.
    Unread(&'static str),
    /// They are content: what they say is theirs, and a mirror says how they stand.
    Content,
}

/// The reason of the condition of an object that nothing reads.
pub(super) const NOT_READ: &str = "NotRead";
/// The reason of one that is read by now, and has no word of a revision yet; and its sentence.
pub(super) const READ: &str = "Read";
pub(super) const READ_NOW: &str = "it is content: the status of the ContentSource says what becomes of it, and this one says more once a revision has it";
/// Its phase.
pub(super) const UNREAD: &str = "unread";

impl ByHand {
    /// Git is followed.
    pub const GIT: Self = Self::Unread(
        "nothing reads this object: the ContentSource of this namespace follows a Git repository, which alone says what there is; \
         commit this there, or delete the object",
    );
    /// Nothing is followed.
    pub const NOTHING: Self = Self::Unread(
        "nothing reads this object: no ContentSource of this namespace is followed now, and the repository that one names says what there is; \
         `kubectl get contentsources` says why none is",
    );

    /// Whether a mirror writes what the revision declares, and over what is there by that name: not over what is content, nor over
    /// what may be.
    pub const fn mirrors(self) -> bool {
        matches!(self, Self::Unread(_))
    }

    /// What an object says that no mirror wrote and no revision declares; none: nothing new.
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Unknown | Self::Content => None,
            Self::Unread(why) => Some(why),
        }
    }
}
