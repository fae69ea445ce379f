//! What happened to machines that is an event of theirs in the cluster: the milestones of a run. Told once, by who leads, and bounded.

use crate::controller::link::{ANSWER_TIMEOUT, said};
use crate::controller::report::{News, in_bytes};
use crate::journal::Event as Happened;
use crate::wire::JobOutcome;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use std::collections::VecDeque;

/// So many wait at most; older ones are dropped: the journal has all.
const WAITING: usize = 256;
/// So many are told at a turn.
const AT_ONCE: usize = 8;

/// What an event of the journal is to who looks at the machine in the cluster; most are nothing.
pub(super) fn news(happened: &Happened) -> Option<News> {
    let normal = |reason, action: String, note| Some(News { warning: false, reason, action, note });
    let warning = |reason, action: String, note| Some(News { warning: true, reason, action, note });
    match happened {
        Happened::RunStarted { run, workflow, revision, reason, .. } => normal(
            "RunStarted",
            format!("Run{run}"),
            format!("run {run} of workflow {workflow} began: {reason} (revision {revision})"),
        ),
        // The first try of the first task: the stage is reached.
        Happened::JobGranted { run, stage, task_index: 0, attempt: 1, .. } => {
            normal("StageReached", format!("Run{run}Stage"), format!("run {run} reached stage {stage}"))
        }
        // What a script said may be secret: `formwork describe` shows it to who may see it.
        Happened::JobEnded { job, outcome: JobOutcome::Failed, exit_code, .. } => {
            let code = exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
            warning("JobFailed", "Job".to_owned(), format!("job {job} failed{code}"))
        }
        Happened::JobEnded { job, outcome: JobOutcome::TimedOut, .. } => {
            warning("JobFailed", "Job".to_owned(), format!("job {job} was ended by its timeout"))
        }
        Happened::RunDiverged { run, revision, reason } => warning(
            "RunDiverged",
            format!("Run{run}"),
            format!("run {run} does not go on by itself with revision {revision}: {reason}"),
        ),
        Happened::RunFinished { run } => normal("RunFinished", format!("Run{run}"), format!("run {run} is done")),
        Happened::RunCancelled { run, by, reason } => {
            warning("RunCancelled", format!("Run{run}"), format!("run {run} was ended by {by}: {reason}"))
        }
        _ => None,
    }
}

/// News that wait to be told, oldest first.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(String, News)>);

impl Waiting {
    /// One more, of that machine.
    pub fn push(&mut self, machine: String, news: News) {
        if self.0.len() >= WAITING {
            self.0.pop_front();
        }
        self.0.push_back((machine, news));
    }

    /// None is told: another server does.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Tells some of them. `of`: the machine's object; of one that has none, nothing is told.
    pub async fn tell(&mut self, recorder: &Recorder, of: impl Fn(&str) -> Option<ObjectReference>) {
        for _ in 0..AT_ONCE {
            let Some((machine, news)) = self.0.pop_front() else { return };
            let Some(object) = of(&machine) else { continue };
            let event = Event {
                type_: if news.warning { EventType::Warning } else { EventType::Normal },
                reason: news.reason.to_owned(),
                note: Some(in_bytes(news.note)),
                action: news.action,
                secondary: None,
            };
            match tokio::time::timeout(ANSWER_TIMEOUT, recorder.publish(&event, &object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(machine, error = said(&error), reason = event.reason, "an event was not taken");
                }
                Err(_) => {
                    // The others would take as long.
                    tracing::warn!(machine, reason = event.reason, "an event takes too long, and is dropped");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_milestones_of_a_run_are_events_and_what_a_script_said_is_in_none() {
        let ended = |outcome| Happened::JobEnded {
            job: "j1".into(),
            outcome,
            exit_code: Some(3),
            message: Some("password is hunter2".into()),
            requests: Vec::new(),
            log_at: None,
        };
        let told = |happened: &Happened| news(happened).map(|news| (news.warning, news.reason, news.note));
        let finished = told(&Happened::RunFinished { run: 2 });
        assert_eq!(finished, Some((false, "RunFinished", "run 2 is done".to_owned())));
        let failed = told(&ended(JobOutcome::Failed));
        assert_eq!(failed, Some((true, "JobFailed", "job j1 failed with exit code 3".to_owned())));
        assert_eq!(told(&ended(JobOutcome::Done)), None);
        assert_eq!(told(&Happened::StoreRestored { backup_unix_ms: 1 }), None);
    }

    #[test]
    fn no_more_wait_than_the_bound() {
        let mut waiting = Waiting::default();
        for run in 0..1_000 {
            waiting.push("m".into(), news(&Happened::RunFinished { run }).unwrap());
        }
        assert_eq!(waiting.0.len(), WAITING);
        assert_eq!(waiting.0.back().unwrap().1.note, "run 999 is done");
    }
}
