//! The few things that the store asks of the Kubernetes API, and the names and wrapping of its objects.
//!
//! Objects are made once and never changed; that a name can be taken once only is all the order there is.

use crate::store::{BoxFuture, StoreError};
use futures_util::stream::BoxStream;
use std::sync::Arc;

/// The store itself: segment 0. Made by `formwork site create`, never deleted.
pub(super) const STORE: &str = "formwork-store";
/// Most bytes of one object: the API server takes 1 MiB of a Secret, and etcd 1.5 MiB of anything.
const OBJECT_BYTES: usize = 700 << 10;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The store itself.
    Store,
    /// A segment of the log.
    Segment,
    /// A snapshot of the state after a segment: made last, when all its parts are there.
    Snapshot,
    /// A part of a segment or snapshot that is too large for one object.
    Part,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Store, Self::Segment, Self::Snapshot, Self::Part];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Segment => "segment",
            Self::Snapshot => "snapshot",
            Self::Part => "part",
        }
    }
}

/// An object, without what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What tells it from another of that name, given by the API server.
    pub uid: String,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub head: Head,
    /// What it holds. It may be secret.
    pub bytes: Arc<[u8]>,
}

/// All objects of a moment.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// They.
    pub heads: Vec<Head>,
    /// From where to watch on.
    pub version: String,
}

/// A change of a segment.
#[derive(Debug, Clone)]
pub enum Change {
    /// It is there, or something about it was touched.
    There(Object),
    /// It is gone.
    Gone(Head),
    /// Nothing happened until here.
    Nothing,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No answer, or one that says to try again: it may have been done.
    Away(String),
    /// Refused: it was not done, and will not be.
    Refused(String),
    /// There is no room (a quota, or etcd's own limit): it was not done.
    Full(String),
    /// The place to watch from is forgotten: list again.
    Forgotten,
    /// The name is taken, or its object is not this one.
    Exists,
    /// There is no such object, or no such namespace.
    Missing,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Away(text) | Fault::Refused(text) => Self::Unreachable(text),
            Fault::Full(text) => Self::Full(text),
            Fault::Forgotten => Self::Unreachable("the API server asks to list again".into()),
            Fault::Exists => Self::Unreachable("another object has that name".into()),
            Fault::Missing => Self::Unreachable("there is no such namespace".into()),
        }
    }
}

/// A stream of changes.
pub type Changes = BoxStream<'static, Result<Change, Fault>>;

/// The objects of one namespace. Each answer is bounded in time; reads of one object are of this moment, never of a cache.
pub trait Objects: Send + Sync + 'static {
    /// Makes an object, and gives its uid.
    fn create(&self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<String, Fault>>;
    /// An object, where it is there.
    fn get(&self, name: &str) -> BoxFuture<'_, Result<Option<Object>, Fault>>;
    /// The uid of an object, where it is there.
    fn uid(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Fault>>;
    /// All objects of the store.
    fn list(&self) -> BoxFuture<'_, Result<Listed, Fault>>;
    /// What happens to segments after a list. It ends now and then; then one lists again.
    fn watch(&self, version: &str) -> BoxFuture<'_, Result<Changes, Fault>>;
    /// Deletes this very object; one that is gone is no matter.
    fn delete(&self, head: &Head) -> BoxFuture<'_, Result<(), Fault>>;
    /// How the place is called in messages.
    fn place(&self) -> String;
}

/// The name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    if number == 0 { STORE.to_owned() } else { format!("formwork-segment-{number:020}") }
}

/// The name of a snapshot.
pub(super) fn snapshot_name(number: u64) -> String {
    format!("formwork-snapshot-{number:020}")
}

/// The number in the name of a segment, snapshot or part.
pub(super) fn number_of(head: &Head) -> Option<u64> {
    let rest = match head.kind {
        Kind::Store => return (head.name == STORE).then_some(0),
        Kind::Segment => head.name.strip_prefix("formwork-segment-")?,
        Kind::Snapshot => head.name.strip_prefix("formwork-snapshot-")?,
        Kind::Part => head.name.strip_prefix("formwork-part-")?.get(..20)?,
    };
    (rest.len() == 20 && rest.bytes().all(|byte| byte.is_ascii_digit())).then(|| rest.parse().ok())?
}

/// Sealed bytes as objects hold them: whole in one, or in parts that are made before.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// What the object itself holds.
    pub(super) bytes: Arc<[u8]>,
    /// Parts to make before, by name.
    pub(super) parts: Vec<(String, Arc<[u8]>)>,
}

/// First byte of an object's bytes: the sealed bytes follow.
const WHOLE: u8 = 0;
/// First byte of an object's bytes: a list of the parts follows.
const PARTS: u8 = 1;

/// Packs sealed bytes. `id` is a random word of this write: parts of two that write one number do not meet.
pub(super) fn pack(number: u64, id: &str, sealed: &[u8]) -> Packed {
    if sealed.len() < OBJECT_BYTES {
        let bytes: Vec<u8> = std::iter::once(WHOLE).chain(sealed.iter().copied()).collect();
        return Packed { bytes: bytes.into(), parts: Vec::new() };
    }
    let parts: Vec<(String, Arc<[u8]>)> = sealed
        .chunks(OBJECT_BYTES)
        .enumerate()
        .map(|(at, chunk)| (format!("formwork-part-{number:020}-{id}-{at}"), chunk.into()))
        .collect();
    let mut bytes = vec![PARTS];
    for (name, _) in &parts {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'\n');
    }
    Packed { bytes: bytes.into(), parts }
}

/// What an object's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Sealed bytes.
    Whole(&'a [u8]),
    /// The names of the parts that they are in.
    Parts(Vec<&'a str>),
}

/// Looks into an object's bytes.
///
/// # Errors
/// What is wrong with them.
pub(super) fn unpack(bytes: &[u8]) -> Result<Content<'_>, String> {
    match bytes.split_first() {
        Some((&WHOLE, sealed)) => Ok(Content::Whole(sealed)),
        Some((&PARTS, names)) => {
            let names = std::str::from_utf8(names).map_err(|_| "its list of parts is no text".to_owned())?;
            Ok(Content::Parts(names.lines().collect()))
        }
        _ => Err("it is not what its name says".into()),
    }
}
