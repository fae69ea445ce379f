//! What happened to machines that is an event of theirs in the cluster: the milestones of a run. Told once, by who leads, and bounded.

use crate::controller::link::{ANSWER_TIMEOUT, said};
use crate::controller::report::{News, in_bytes};
use crate::journal::Event as Happened;
use crate::wire::JobOutcome;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// So many wait at most; older ones are dropped: the journal has all.
const WAITING: usize = 256;
/// So long one waits for its machine's object, which a slow or busy API server has not yet.
const WAIT_FOR_OBJECT: Duration = Duration::from_secs(60);
/// So many are told at a turn.
const AT_ONCE: usize = 8;

/// The action of an event: what was done, and by which note. Of events with one reason and action one is made, which keeps the note of the first.
pub(super) fn action(what: String, note: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, note.as_bytes());
    let first = digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    format!("{what} {first:016x}")
}

/// What an event of the journal is to who looks at the machine in the cluster; most are nothing.
pub(super) fn news(happened: &Happened) -> Option<News> {
    let told = |warning, reason, what: String, note: String| {
        let note = in_bytes(note);
        Some(News { warning, reason, action: action(what, &note), note })
    };
    let normal = |reason, what, note| told(false, reason, what, note);
    let warning = |reason, what, note| told(true, reason, what, note);
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

/// News that wait to be told, oldest first: of which machine, and since when.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<(String, News, Instant)>);

impl Waiting {
    /// One more, of that machine.
    pub fn push(&mut self, machine: String, news: News) {
        if self.0.len() >= WAITING {
            self.0.pop_front();
        }
        self.0.push_back((machine, news, Instant::now()));
    }

    /// None is told: another server does.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The oldest of a machine that has an object. Of one that has none it waits for a while, and is dropped then.
    fn next(
        &mut self,
        of: impl Fn(&str) -> Option<ObjectReference>,
        now: Instant,
    ) -> Option<(String, News, ObjectReference)> {
        let is_late = |since: Instant| now.saturating_duration_since(since) > WAIT_FOR_OBJECT;
        self.0.retain(|(machine, _, since)| !is_late(*since) || of(machine).is_some());
        let at = self.0.iter().position(|(machine, ..)| of(machine).is_some())?;
        let (machine, news, _) = self.0.remove(at)?;
        let object = of(&machine)?;
        Some((machine, news, object))
    }

    /// Tells some of them. `of`: the machine's object.
    pub async fn tell(&mut self, recorder: &Recorder, of: impl Fn(&str) -> Option<ObjectReference>) {
        for _ in 0..AT_ONCE {
            let Some((machine, news, object)) = self.next(&of, Instant::now()) else { return };
            let event = Event {
                type_: if news.warning { EventType::Warning } else { EventType::Normal },
                reason: news.reason.to_owned(),
                note: Some(news.note),
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
    fn events_that_say_something_else_are_told_apart_and_the_same_again_is_the_same() {
        let reached = |stage: &str| Happened::JobGranted {
            job: "j".into(),
            run: 1,
            stage: stage.into(),
            task: "t".into(),
            task_index: 0,
            attempt: 1,
            stage_index: 0,
            digest: String::new(),
            boot_id: String::new(),
            destructive: false,
            timeout_seconds: 1,
        };
        let failed = |job: &str| Happened::JobEnded {
            job: job.into(),
            outcome: JobOutcome::Failed,
            exit_code: None,
            message: None,
            requests: Vec::new(),
            log_at: None,
        };
        let diverged = |reason: &str| Happened::RunDiverged { run: 1, revision: "r".into(), reason: reason.into() };
        let long = "s".repeat(5_000);
        let all = [
            reached("alpha"),
            reached("beta"),
            reached(&long),
            failed("j1"),
            failed("j2"),
            diverged("one"),
            diverged("other"),
        ];
        let actions: std::collections::BTreeSet<String> = all.iter().map(|it| news(it).unwrap().action).collect();
        assert_eq!(actions.len(), all.len(), "{actions:?}");
        assert!(actions.iter().all(|action| action.len() <= 128), "as an API server takes it: {actions:?}");
        assert_eq!(news(&reached("beta")), news(&reached("beta")));
    }

    #[test]
    fn what_happened_to_a_machine_whose_object_is_not_there_yet_waits_for_it_and_for_no_other() {
        let mut waiting = Waiting::default();
        for (machine, run) in [("new", 1), ("old", 1), ("new", 2)] {
            waiting.push(machine.into(), news(&Happened::RunFinished { run }).unwrap());
        }
        let object = |there: &'static [&str]| move |name: &str| there.contains(&name).then(ObjectReference::default);
        let told = |waiting: &mut Waiting, there, now| {
            let (machine, news, _) = waiting.next(object(there), now)?;
            Some(format!("{machine} {}", news.note))
        };
        let now = Instant::now();
        assert_eq!(told(&mut waiting, &["old"], now).as_deref(), Some("old run 1 is done"));
        assert_eq!(told(&mut waiting, &["old"], now), None);
        assert_eq!(told(&mut waiting, &["new", "old"], now).as_deref(), Some("new run 1 is done"));
        let later = now + WAIT_FOR_OBJECT + Duration::from_secs(1);
        assert_eq!(told(&mut waiting, &[], later), None);
        assert!(waiting.0.is_empty(), "it never came");
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
