//! What makes a store one that came back from a backup, whatever the engine: nothing that was given out since can be used again, and
//! nothing that was done since is undone.
//!
//! * every machine is held until a person says how it stands ([`Event::StoreRestored`]), and unknown ones as on a new store
//! * generations jump, so that tokens given before or since are dead and their numbers never come again
//! * each cluster's versions jump, so that a fence is never given twice; what was held falls; the document is frozen
//! * scripts of open jobs, which may hold secrets and belong to tokens that are dead, go

use super::{Batch, Committed, Operation, Space, Store, StoreError, Watch};
use crate::cluster;
use crate::journal::{Event, MachineState, Stream};

/// More exchanges than any machine makes between a backup and its return.
const GENERATIONS: u64 = 1_000_000;
/// Streams written in one commit.
const AT_ONCE: usize = 1_000;
/// Events read at a time.
const PAGE: usize = 128;

/// Writes down that this store is an old one: when its last event was written, Unix milliseconds, and how many machines are held.
pub(super) fn hold(
    store: &dyn Store,
    commit: &dyn Fn(Batch) -> Result<Committed, StoreError>,
    now_unix_ms: i64,
    watch: &dyn Watch,
) -> Result<(i64, usize), StoreError> {
    let last = store.watch_events().borrow().saturating_sub(1);
    let backup_unix_ms = store.events_after(last, 1)?.first().map_or(0, |record| record.at_unix_ms);
    let restored = || Event::StoreRestored { backup_unix_ms };
    commit(Batch { events: vec![(Stream::Site, restored())], ..Batch::default() })?;
    let streams = store.streams()?;
    let machines: Vec<&Stream> = streams.iter().filter(|stream| matches!(stream, Stream::Machine(_))).collect();
    watch.begins("holding machines", u64::try_from(machines.len()).unwrap_or(0));
    for some in machines.chunks(AT_ONCE) {
        let mut batch = Batch::default();
        for stream in some {
            let generation = state(store, stream)?.generation.saturating_add(GENERATIONS);
            let reason = "the store came back from a backup".to_owned();
            batch.events.push(((*stream).clone(), restored()));
            batch.events.push(((*stream).clone(), Event::GenerationRaised { generation, reason }));
            if let Stream::Machine(name) = stream {
                batch.operations.push(Operation::Put { space: Space::Grant, key: name.clone(), value: None });
            }
        }
        commit(batch)?;
        watch.more(u64::try_from(some.len()).unwrap_or(0));
    }
    for name in store.clusters()? {
        let Some(document) = store.cluster(&name)? else { continue };
        let reason =
            "its document came back from a backup and may be older than its machines; look at it, then thaw it";
        let request = cluster::Request {
            cluster: name,
            operation: cluster::Operation::Restored { reason: reason.to_owned() },
            context: cluster::Context {
                now_ms: 0,
                now_unix_ms,
                caller: cluster::Caller::Server,
                epoch: None,
                members: Vec::new().into(),
                size: 0,
                run: document.epoch,
                keys: Vec::new().into(),
                idempotency_key: None,
                fence: None,
            },
        };
        commit(Batch { operations: vec![Operation::Cluster(Box::new(request))], ..Batch::default() })?;
    }
    Ok((backup_unix_ms, machines.len()))
}

fn state(store: &dyn Store, stream: &Stream) -> Result<MachineState, StoreError> {
    let mut state = MachineState::default();
    loop {
        let page = store.events_of(stream, state.head, PAGE)?;
        if page.is_empty() {
            return Ok(state);
        }
        page.iter().for_each(|record| state.apply(record));
    }
}

/// This moment.
pub(super) fn now_unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
