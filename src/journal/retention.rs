//! What is kept of what happened: how far back a stream's events go before they are dropped. Pure.

use super::{Event, MachineState, Record};
use std::collections::BTreeSet;

/// Dropping a handful is not worth a write.
const WORTH_DROPPING: usize = 100;

/// How much is kept of each machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest runs, whole.
    pub runs: usize,
    /// Of those, what is not older than so many milliseconds; of the last run, all.
    pub age_ms: i64,
    /// Never more than so many events, whatever they are about; also of each box and each cluster.
    pub events: usize,
}

impl Default for Retention {
    /// Twenty runs, half a year, 5,000 events.
    fn default() -> Self {
        Self { runs: 20, age_ms: 180 * 24 * 3600 * 1000, events: 5_000 }
    }
}

impl Retention {
    /// Below which index a machine's events go, given all that are kept of it; `None` where it is not worth it.
    pub fn cut_machine(&self, records: &[Record], now_unix_ms: i64) -> Option<u64> {
        let began: Vec<usize> = (0..records.len()).filter(|at| starts_run(records, *at)).collect();
        let last = began.last().copied().unwrap_or(0);
        let by_runs = began.len().checked_sub(self.runs.max(1)).and_then(|older| began.get(older)).copied();
        let by_age = self.first_young(records, now_unix_ms).min(last);
        let cut = by_runs.unwrap_or(0).max(by_age).max(self.first_counted(records));
        self.index(records, cut)
    }

    /// The same for streams of which nothing is folded: boxes and clusters.
    pub fn cut_plain(&self, records: &[Record], now_unix_ms: i64) -> Option<u64> {
        // The newest stays, whatever its age: it says what was last seen.
        let by_age = self.first_young(records, now_unix_ms).min(records.len().saturating_sub(1));
        self.index(records, by_age.max(self.first_counted(records)))
    }

    fn first_young(&self, records: &[Record], now_unix_ms: i64) -> usize {
        let oldest = now_unix_ms.saturating_sub(self.age_ms);
        records.iter().position(|record| record.at_unix_ms >= oldest).unwrap_or(records.len())
    }

    fn first_counted(&self, records: &[Record]) -> usize {
        records.len().saturating_sub(self.events.max(1))
    }

    #[expect(clippy::unused_self, reason = "beside its siblings")]
    fn index(&self, records: &[Record], cut: usize) -> Option<u64> {
        records.get(cut).filter(|_| cut >= WORTH_DROPPING).map(|record| record.index)
    }
}

fn starts_run(records: &[Record], at: usize) -> bool {
    records.get(at).is_some_and(|record| matches!(record.event, Event::RunStarted { .. }))
}

/// What a machine's events below `index` come to, and the jobs whose logs go with them: `now` is the machine's newest state,
/// and what it still shows stays.
pub fn fold_below(records: &[Record], index: u64, now: &MachineState) -> (MachineState, Vec<String>) {
    let dropped = || records.iter().take_while(|record| record.index < index);
    let shown: BTreeSet<&str> = jobs_of(now).collect();
    let jobs = jobs_named(dropped()).into_iter().filter(|job| !shown.contains(job)).map(str::to_owned).collect();
    (MachineState::fold(dropped()), jobs)
}

/// The jobs that these records name, also those that were folded into one.
fn jobs_named<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<&'a str> {
    let mut jobs = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::JobGranted { job, .. } => drop(jobs.insert(job.as_str())),
            Event::Folded { state, .. } => jobs.extend(jobs_of(state)),
            _ => {}
        }
    }
    jobs
}

/// The jobs that a machine's state shows.
pub fn jobs_of(state: &MachineState) -> impl Iterator<Item = &str> {
    let run = state.run.as_ref();
    let tasks = run.into_iter().flat_map(|run| run.tasks.values()).map(|task| task.job.as_str());
    tasks.chain(run.and_then(|run| run.job.as_ref()).map(|job| job.id.as_str()))
}
