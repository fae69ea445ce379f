//! Reading the log: from its beginning or a snapshot, and on from what is folded.

use super::log::{Listing, Next, Place, Places};
use super::objects::{Content, Fault, Kind, Object, Objects, STORE, segment_name, snapshot_name, unpack};
use super::segment::{Segment, Snapshot, digest_of};
use super::shared::{Shared, Start, Taken};
use super::state::State;
use crate::store::StoreError;
use futures_util::StreamExt as _;

/// So often one begins again where objects were tidied away while they were read.
const ATTEMPTS: usize = 8;
/// So many segments are asked for at once.
const AT_ONCE: usize = 8;

/// Why an object was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The API server.
    Fault(Fault),
    /// It is not there.
    Missing(String),
    /// It is not what it should be.
    Wrong(String),
    /// The store failed at it.
    Failed(StoreError),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// The sealed bytes of an object, with its parts.
pub(super) async fn sealed(objects: &dyn Objects, object: &Object) -> Result<Vec<u8>, Unread> {
    let name = &object.head.name;
    match unpack(&object.bytes).map_err(|error| Unread::Wrong(format!("{name}: {error}")))? {
        Content::Whole(sealed) => Ok(sealed.to_vec()),
        Content::Parts(parts) => {
            let mut sealed = Vec::new();
            for part in parts {
                let found = objects.get(part).await?.filter(|found| found.head.kind == Kind::Part);
                sealed.extend_from_slice(&found.ok_or_else(|| Unread::Missing(part.to_owned()))?.bytes);
            }
            Ok(sealed)
        }
    }
}

/// An object's uid and sealed bytes.
async fn fetch(objects: &dyn Objects, name: String) -> Result<(String, Vec<u8>), Unread> {
    let Some(object) = objects.get(&name).await? else { return Err(Unread::Missing(name)) };
    let sealed = sealed(objects, &object).await?;
    Ok((object.head.uid, sealed))
}

/// The state that a snapshot holds, and its bytes.
pub(super) async fn snapshot(objects: &dyn Objects, number: u64) -> Result<(State, u64), Unread> {
    let name = snapshot_name(number);
    let (_, sealed) = fetch(objects, name.clone()).await?;
    let bytes = sealed.len() as u64;
    let read = move || -> Result<State, String> {
        let snapshot = Snapshot::open(&sealed)?;
        if snapshot.number != number {
            return Err(format!("it says that it is of segment {}", snapshot.number));
        }
        State::of(&snapshot)
    };
    // It may be large, and others go on meanwhile.
    let state = tokio::task::spawn_blocking(read).await;
    let state = state.map_err(|error| Unread::Wrong(format!("{name}: {error}")))?;
    Ok((state.map_err(|error| Unread::Wrong(format!("{name}: {error}")))?, bytes))
}

/// Reads a store from its beginning.
///
/// # Errors
/// [`StoreError::Open`] where there is none, [`StoreError::Damaged`] where it is not whole, [`StoreError::Unreachable`].
pub(super) async fn load(objects: &dyn Objects) -> Result<Start, StoreError> {
    let mut missing = String::new();
    for _ in 0..ATTEMPTS {
        let listed = objects.list().await?;
        let listing = Listing::of(listed.heads);
        let Some(store) = listing.store.clone() else {
            return Err(StoreError::Open(format!(
                "there is no store in {}; is it the right one? `formwork site create` with the same namespace makes the first, and one \
                 that was lost comes back with a backup of etcd",
                objects.place()
            )));
        };
        let next = listing.next(None, &Places::new()).map_err(StoreError::Damaged)?;
        match begin(objects, &listing, next).await {
            Ok((state, place, bytes)) => {
                let snapshot = (listing.newest_snapshot(), bytes);
                let places = Places::from([(state.number, place)]);
                return Ok(Start { state, places, store, snapshot });
            }
            // A snapshot was made since the list, and this went with it.
            Err(Unread::Missing(name)) => missing = name,
            Err(Unread::Fault(fault)) => return Err(fault.into()),
            Err(Unread::Wrong(text)) => return Err(StoreError::Damaged(text)),
            Err(Unread::Failed(error)) => return Err(error),
        }
    }
    Err(StoreError::Damaged(format!("{missing} is listed, and not there")))
}

/// The state that everything begins with: the store's own, or a snapshot. Its segments come after.
async fn begin(objects: &dyn Objects, listing: &Listing, next: Next) -> Result<(State, Place, u64), Unread> {
    if let Next::Snapshot(number) = next {
        let (state, bytes) = snapshot(objects, number).await?;
        let uid = listing.uid(number).cloned().unwrap_or_default();
        return Ok((state, Place { uid, batch: String::new() }, bytes));
    }
    let (uid, sealed) = fetch(objects, STORE.to_owned()).await?;
    let wrong = |error| Unread::Wrong(format!("{STORE}: {error}"));
    let segment = Segment::open(&sealed).map_err(wrong)?;
    let state = State::first(&segment, digest_of(&sealed)).map_err(wrong)?;
    Ok((state, Place { uid, batch: segment.batch }, 0))
}

/// Reads on from what is folded to the end of the log; gives from where to watch.
///
/// # Errors
/// [`StoreError::Damaged`], which is remembered, and [`StoreError::Unreachable`].
pub(super) async fn catch_up(shared: &Shared) -> Result<String, StoreError> {
    let objects = &*shared.objects;
    let mut missing = String::new();
    for _ in 0..ATTEMPTS {
        shared.refuse_if_failed()?;
        // Before the list: what is folded meanwhile may be younger than it.
        let places = shared.places();
        let listed = objects.list().await?;
        let listing = Listing::of(listed.heads);
        let next = listing.next(Some(&shared.store), &places).map_err(|text| shared.fail(StoreError::Damaged(text)))?;
        shared.saw_snapshot(listing.newest_snapshot());
        match go_on(shared, &listing, next).await {
            Ok(true) => return Ok(listed.version),
            Ok(false) => {}
            Err(Unread::Missing(name)) => missing = name,
            Err(Unread::Fault(fault)) => return Err(fault.into()),
            Err(Unread::Wrong(text)) => return Err(shared.fail(StoreError::Damaged(text))),
            Err(Unread::Failed(error)) => return Err(error),
        }
    }
    if missing.is_empty() {
        return Err(StoreError::Unreachable("the log grows faster than it is read".into()));
    }
    Err(shared.fail(StoreError::Damaged(format!("{missing} is listed, and not there"))))
}

/// Whether that was all.
async fn go_on(shared: &Shared, listing: &Listing, next: Next) -> Result<bool, Unread> {
    let objects = &*shared.objects;
    match next {
        Next::Nothing => Ok(true),
        Next::Segments(first, last) => {
            let fetched = futures_util::stream::iter(first..=last)
                .map(|number| async move { (number, fetch(objects, segment_name(number)).await) });
            let mut fetched = std::pin::pin!(fetched.buffered(AT_ONCE));
            while let Some((number, found)) = fetched.next().await {
                let (uid, sealed) = found?;
                if shared.take(number, &uid, &sealed)? == Taken::TooFar {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Next::Snapshot(number) => {
            let (state, bytes) = snapshot(objects, number).await?;
            shared.jump(state, listing.uid(number).cloned().unwrap_or_default());
            shared.made_snapshot(number, bytes);
            Ok(false)
        }
    }
}
