//! The store in Kubernetes moves out and in ([`crate::store::moving`]).
//!
//! One that moves in begins with a snapshot, of segment 1, which is made before the store itself: what is cut off in the middle is no store,
//! and its objects are deleted when the import is run again. The store's own segment 0 can be folded by nobody, so a snapshot that is lost is
//! damage, and not an empty store.

use super::log::Listing;
use super::objects::{Fault, Head, Kind, Objects, STORE, number_of, pack, snapshot_name};
use super::read::{self, Unread};
use super::segment::{Effect, Segment, Snapshot};
use super::shared::{AUTHORITY, HOLDER, RESTORED, Shared};
use super::state::State;
use super::{Connect, KubernetesStore, Options, Sharing, on_own_thread, random, runtime, seen};
use crate::store::encoding::space_key;
use crate::store::moving::{self, Exported, Imported, LogEnd, MOVED, Movable, MoveFile, Moved, Whose};
use crate::store::{Operation, Space, StoreError, Watch};
use std::cell::RefCell;
use std::sync::Arc;

/// The segment that a store which moves in begins after.
const BEGINNING: u64 = 1;

/// A store in Kubernetes that is moved: how to connect to it, as often as is needed, and which authority's it has to be.
pub struct Place<'a> {
    /// Connects.
    pub connect: &'a dyn Fn() -> Connect,
    /// The authority of the keys in the state directory.
    pub authority: &'a str,
    /// The lifetime clock, milliseconds.
    pub now_ms: u64,
    /// The file that keeps how far its log was seen ([`Options::seen`]): one that came back older is neither marked nor written.
    pub seen: Option<&'a std::path::Path>,
}

/// Marks a store as moved, which ends whoever has it, and writes it to the new file `to`.
///
/// # Errors
/// [`StoreError::Open`] where there is none, it is another site's, or the file cannot be written; those of reading it.
pub fn export(
    place: &Place<'_>,
    whose: Whose<'_>,
    to: &std::path::Path,
    watch: &dyn Watch,
) -> Result<Exported, StoreError> {
    moving::export(&Remote::of(place)?, whose, to, watch)
}

/// Makes the store of a file; or takes the mark from the one that is there, where the file is of its move.
///
/// # Errors
/// [`StoreError::Open`] where there is a store of another move, or what the file holds is no store that Kubernetes takes.
pub fn import(file: &MoveFile, place: &Place<'_>, watch: &dyn Watch) -> Result<Imported, StoreError> {
    let listed = asked(place, |objects| async move { Ok::<_, StoreError>(objects.list().await?.heads) })?;
    if listed.iter().any(|head| head.kind == Kind::Store) {
        return moving::put_back(&Remote::of(place)?, file, watch);
    }
    watch.begins("reading the file again", 0);
    let beginning = beginning(file, place.authority)?;
    watch.begins("writing to the API server", 0);
    asked(place, |objects| async move { make(&*objects, beginning).await })?;
    Ok(Imported::Made)
}

/// Refuses a file of a store whose log went on beyond it, as the file `seen` of the state directory has it: it was written of one that
/// came back from a backup, by somebody who had not seen more.
///
/// # Errors
/// [`StoreError::Open`] says what was seen and what to do.
pub fn is_not_older(file: &MoveFile, seen: &std::path::Path) -> Result<(), StoreError> {
    let (Some(end), Some(before)) = (&file.header.end, seen::Seen::read(seen)?) else { return Ok(()) };
    let uid_of = |number| (number == end.segment).then(|| end.uid.clone());
    before.judge(end, uid_of).map_err(|what| {
        StoreError::Open(format!(
            "the file was written of a store that was older than it had been: {what}. Etcd had come back from a backup, and what              happened since is not in the file: an installed machine would run its workflow again. Nothing was written. Put the              store back where it was (formwork import FILE, with a state directory that has its keys and no file store-seen), say              that it came back (formwork store restored), and export it again; machines are then held until adopted",
        ))
    })
}

/// Asks the API server in a thread and runtime of its own.
fn asked<T: Send + 'static, F: Future<Output = Result<T, StoreError>>>(
    place: &Place<'_>,
    work: impl FnOnce(Arc<dyn Objects>) -> F + Send + 'static,
) -> Result<T, StoreError> {
    let connect = (place.connect)();
    on_own_thread(move || runtime()?.block_on(async { work(connect()?).await }))
}

/// The whole state of this moment. Nothing is written, and nobody is told.
pub(super) async fn look(objects: Arc<dyn Objects>, options: Options) -> Result<(Arc<State>, String), StoreError> {
    read_whole(objects, options).await.map(|Read { state, place, .. }| (state, place))
}

async fn read_whole(objects: Arc<dyn Objects>, options: Options) -> Result<Read, StoreError> {
    let place = objects.place();
    let start = read::load(&*objects).await?;
    let shared = Shared::new(objects, Options { moved: true, ..options }, String::new(), start);
    read::catch_up(&shared).await?;
    shared.is_of_own_authority()?;
    seen::is_not_older(&shared).await?;
    Ok(Read { state: shared.state(), place, end: shared.seen() })
}

/// What was read of a store.
struct Read {
    state: Arc<State>,
    place: String,
    end: LogEnd,
}

/// A store that is there.
struct Remote<'a> {
    place: &'a Place<'a>,
    /// What was read last, and where.
    read: RefCell<Read>,
}

impl<'a> Remote<'a> {
    fn of(place: &'a Place<'a>) -> Result<Self, StoreError> {
        Ok(Self { place, read: RefCell::new(Self::look(place)?) })
    }

    fn look(place: &Place<'_>) -> Result<Read, StoreError> {
        let options = Self::options(place);
        asked(place, |objects| read_whole(objects, options))
    }

    /// What fails here fails the move, not the process. Taken over, so that a server of before the mark ends, too.
    fn options(place: &Place<'_>) -> Options {
        Options {
            now_ms: place.now_ms,
            sharing: Sharing::Alone,
            authority: Some(place.authority.to_owned()),
            seen: place.seen.map(std::path::Path::to_owned),
            moved: true,
            // A full one moves, too.
            state_bytes: u64::MAX,
            on_fatal: Arc::new(|_| ()),
            ..Options::default()
        }
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.read.borrow().state)
    }
}

impl Movable for Remote<'_> {
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().value(Space::Meta, key))
    }

    fn mark(&self, moved: Option<&Moved>) -> Result<(), StoreError> {
        let value = moved.map(Moved::value).transpose()?;
        let put = Operation::Put { space: Space::Meta, key: MOVED.to_owned(), value };
        // In the segment that takes the store over, so that whoever had it learns why.
        let options = Options { opening: vec![put], ..Self::options(self.place) };
        drop(KubernetesStore::open((self.place.connect)(), options)?);
        self.read.replace(Self::look(self.place)?);
        Ok(())
    }

    fn effects(&self, put: &mut dyn FnMut(Effect)) -> Result<(), StoreError> {
        let own = |effect: &Effect| match effect {
            Effect::Value { space, key, .. } => {
                space == space_key(Space::Meta) && [MOVED, HOLDER, AUTHORITY, RESTORED].contains(&key.as_str())
            }
            _ => false,
        };
        self.state().snapshot()?.effects.into_iter().filter(|effect| !own(effect)).for_each(put);
        Ok(())
    }

    fn place(&self) -> String {
        self.read.borrow().place.clone()
    }

    fn end(&self) -> Option<LogEnd> {
        Some(self.read.borrow().end.clone())
    }
}

/// What a store that moves in begins with.
struct Beginning {
    state: State,
    id: String,
    /// The sealed bytes of its snapshot, and of its segment 0.
    snapshot: Vec<u8>,
    store: Vec<u8>,
}

fn beginning(file: &MoveFile, authority: &str) -> Result<Beginning, StoreError> {
    let mut effects = Vec::new();
    file.effects(&mut |effect| {
        effects.push(effect);
        Ok(())
    })?;
    let own = |key: &str, value: &str| Effect::Value {
        space: space_key(Space::Meta).to_owned(),
        key: key.to_owned(),
        bytes: Some(value.as_bytes().to_vec()),
    };
    effects.push(own(AUTHORITY, authority));
    let state = State::of(&Snapshot { number: BEGINNING, digest: file.digest, effects });
    let state = state.map_err(|text| StoreError::Open(format!("what the file holds is no whole store: {text}")))?;
    let most = Options::default().state_bytes;
    if state.bytes >= most {
        return Err(StoreError::TooLarge(format!(
            "the file holds {} bytes of events, leases and small values, and a store in Kubernetes takes less than {most}; let \
             retention drop older events first (`formwork serve --keep-runs`, `--keep-days`)",
            state.bytes
        )));
    }
    let id = random()?;
    let (at_unix_ms, totals) =
        (file.header.moved.moved_unix_ms, Effect::Totals { sequence: state.sequence, compacted: 0 });
    let effects = vec![own("site", &file.header.site), own(AUTHORITY, authority), totals];
    let first = Segment { number: 0, previous: [0; 32], writer: id.clone(), batch: id.clone(), at_unix_ms, effects };
    Ok(Beginning { snapshot: state.snapshot()?.seal()?, store: first.seal()?, state, id })
}

/// Makes the snapshot, reads it back, and then makes the store itself.
async fn make(objects: &dyn Objects, beginning: Beginning) -> Result<(), StoreError> {
    for head in left_over(objects.list().await?.heads, &objects.place())? {
        objects.delete(&head).await?;
    }
    let packed = pack(BEGINNING, &beginning.id, &beginning.snapshot);
    for (name, bytes) in &packed.parts {
        made(objects, Kind::Part, name, bytes).await?;
    }
    made(objects, Kind::Snapshot, &snapshot_name(BEGINNING), &packed.bytes).await?;
    match read::snapshot(objects, BEGINNING).await {
        Ok((state, _)) if state == beginning.state => {}
        Ok(_) => return Err(StoreError::Damaged("the snapshot that was made is not what is in the file".into())),
        Err(Unread::Fault(fault)) => return Err(fault.into()),
        Err(Unread::Failed(error)) => return Err(error),
        Err(Unread::Missing(name)) => return Err(meddled(&name, &objects.place())),
        Err(Unread::Wrong(text)) => return Err(StoreError::Damaged(text)),
    }
    made(objects, Kind::Store, STORE, &pack(0, &beginning.id, &beginning.store).bytes).await
}

async fn made(objects: &dyn Objects, kind: Kind, name: &str, bytes: &Arc<[u8]>) -> Result<(), StoreError> {
    match objects.create(kind, name, Arc::clone(bytes)).await {
        Ok(_) => Ok(()),
        Err(Fault::Exists) => Err(meddled(name, &objects.place())),
        Err(fault) => Err(fault.into()),
    }
}

fn meddled(name: &str, place: &str) -> StoreError {
    StoreError::Open(format!(
        "{name} in {place} was made or deleted by somebody else meanwhile; see that one import runs, and run it again"
    ))
}

/// What an import that was cut off left behind. Anything else is of a store whose own object is gone.
fn left_over(heads: Vec<Head>, place: &str) -> Result<Vec<Head>, StoreError> {
    let of_an_import =
        |head: &Head| matches!(head.kind, Kind::Snapshot | Kind::Part) && number_of(head) == Some(BEGINNING);
    if heads.iter().all(of_an_import) {
        return Ok(heads);
    }
    let last = Listing::of(heads).last();
    Err(StoreError::Open(format!(
        "{place} holds parts of a store, to segment {last}, whose own Secret {STORE} is gone; name another namespace, or delete \
         the Secrets with the label formwork.dev/store first"
    )))
}
