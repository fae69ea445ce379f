//! Counts commits, where an engine answers them: what they came to, how long they took, and what was written down.

use super::{Committed, StoreError};
use crate::cluster::Answer;
use crate::metrics::Store;
use std::time::Instant;

/// Waits for a commit, and counts it.
pub(super) async fn measured(
    metrics: &Store,
    commit: impl Future<Output = Result<Committed, StoreError>>,
) -> Result<Committed, StoreError> {
    let began = Instant::now();
    let committed = commit.await;
    metrics.commit(result(committed.as_ref().err()), began.elapsed());
    if let Ok(Committed { records, answers }) = &committed {
        records.iter().for_each(|record| metrics.event(&record.event));
        answers.iter().for_each(|answer| metrics.cluster_operation(word(answer)));
    }
    committed
}

const fn result(error: Option<&StoreError>) -> &'static str {
    match error {
        None => "done",
        Some(StoreError::Conflict { .. } | StoreError::Leased(_)) => "conflict",
        Some(StoreError::Busy) => "busy",
        Some(StoreError::Full(_)) => "full",
        Some(StoreError::Unreachable(_)) => "unreachable",
        Some(
            StoreError::Path(_)
            | StoreError::Damaged(_)
            | StoreError::TooLarge(_)
            | StoreError::Exists(_)
            | StoreError::Open(_)
            | StoreError::Io(_),
        ) => "failed",
    }
}

const fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Written { .. } => "written",
        Answer::Unchanged { .. } => "unchanged",
        Answer::Claim(_) => "claim",
        Answer::Joined(_) => "joined",
        Answer::Refused(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::{Event, Stream};
    use crate::metrics::{Format, Metrics, Now};
    use crate::store::embedded::{EmbeddedStore, Options};
    use crate::store::{Batch, Store as _, StoreError};
    use crate::wire::JobOutcome;

    #[tokio::test]
    async fn a_commit_is_counted_by_what_it_came_to_and_what_was_written_down() {
        let dir = tempfile::tempdir().unwrap();
        EmbeddedStore::create(dir.path(), "lab", true).unwrap();
        let metrics = Metrics::default();
        let options = Options { metrics: metrics.store.clone(), ..Options::default() };
        let store = EmbeddedStore::open_with(dir.path(), options).unwrap();
        let stream = Stream::Machine("node-1".to_owned());
        let ended = Event::JobEnded {
            job: "j-1".to_owned(),
            outcome: JobOutcome::TimedOut,
            exit_code: None,
            message: None,
            requests: Vec::new(),
            log_at: None,
        };
        let events = [ended, Event::RunFinished { run: 1 }].map(|event| (stream.clone(), event));
        let batch = Batch { expected: vec![(stream, 0)], events: events.to_vec(), operations: Vec::new() };
        store.commit(batch.clone(), 1).await.unwrap();
        let again = store.commit(batch, 2).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
        let told = metrics.text(&Now::default(), Format::Prometheus).unwrap();
        for line in [
            "formwork_store_commits_total{result=\"done\"} 1",
            "formwork_store_commits_total{result=\"conflict\"} 1",
            "formwork_store_commit_duration_seconds_count 2",
            "formwork_jobs_ended_total{outcome=\"timed-out\"} 1",
            "formwork_runs_ended_total{result=\"finished\"} 1",
            "formwork_runs_ended_total{result=\"cancelled\"} 0",
        ] {
            assert!(told.lines().any(|told| told == line), "no {line} in:\n{told}");
        }
    }
}
