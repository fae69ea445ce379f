//! From events to spans of time: what a machine did in a run, without gaps or overlaps. Pure.

use crate::journal::{Event, Record, Stream};
use crate::wire::JobOutcome;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a machine did for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Activity {
    /// From the boot script to the agent's check-in.
    Boot {
        /// The environment.
        environment: String,
    },
    /// From the end of one boot's work to the next boot script: shutting down, firmware, DHCP.
    Restart,
    /// Tasks of one stage, from the first grant to the last end.
    Stage {
        /// Its name.
        name: String,
    },
    /// Nothing of these: between check-in and grant, or waiting for a fix or a person.
    Wait,
}

/// A stretch of one activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// What.
    #[serde(flatten)]
    pub activity: Activity,
    /// From, Unix milliseconds.
    pub from: i64,
    /// To, Unix milliseconds.
    pub to: i64,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The job's id.
    pub job: String,
    /// Its stage.
    pub stage: String,
    /// Its task.
    pub task: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// Granted, Unix milliseconds.
    pub from: i64,
    /// Ended, Unix milliseconds; absent while it is open.
    pub to: Option<i64>,
    /// How it ended.
    pub outcome: Option<JobOutcome>,
}

/// One start of a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// The environment that checked in.
    pub environment: String,
    /// Its script was served, Unix milliseconds; absent where none was (a disk that booted by itself).
    pub offered: Option<i64>,
    /// The agent checked in, Unix milliseconds.
    pub checked_in: i64,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It goes on.
    Open,
    /// All its stages are done.
    Done,
    /// It was ended before its end, or another began.
    Cancelled,
}

/// One run of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTimeline {
    /// The machine.
    pub machine: String,
    /// The run's number.
    pub run: u64,
    /// The workflow.
    pub workflow: String,
    /// How it stands.
    pub end: End,
    /// It began, Unix milliseconds.
    pub from: i64,
    /// It ended, else the last moment that is known, Unix milliseconds.
    pub to: i64,
    /// What it did, from beginning to end.
    pub spans: Vec<Span>,
    /// Boots, in order.
    pub boots: Vec<Boot>,
    /// Jobs, in order.
    pub tasks: Vec<Task>,
}

impl RunTimeline {
    /// Milliseconds spent on each activity; environments are not told apart.
    pub fn totals(&self) -> BTreeMap<Activity, i64> {
        let mut totals = BTreeMap::new();
        for span in &self.spans {
            let activity = match &span.activity {
                Activity::Boot { .. } => Activity::Boot { environment: String::new() },
                other => other.clone(),
            };
            *totals.entry(activity).or_default() += span.to - span.from;
        }
        totals
    }
}

/// Runs of machines in the making.
#[derive(Debug, Default)]
pub struct Fold {
    runs: BTreeMap<String, Vec<Making>>,
}

/// A run in the making.
#[derive(Debug)]
struct Making {
    line: RunTimeline,
    now_doing: Activity,
    since: i64,
    last_end: Option<i64>,
    offered: Option<i64>,
    last_boot: Option<String>,
}

impl Fold {
    /// Takes in one more event, in the journal's order.
    pub fn apply(&mut self, record: &Record) {
        let Stream::Machine(name) = &record.stream else { return };
        let at = record.at_unix_ms;
        let runs = self.runs.entry(name.clone()).or_default();
        if let Event::RunStarted { run, workflow, .. } = &record.event {
            if let Some(open) = runs.last_mut().filter(|making| making.line.end == End::Open) {
                open.finish(at, End::Cancelled);
            }
            runs.push(Making {
                line: RunTimeline {
                    machine: name.clone(),
                    run: *run,
                    workflow: workflow.clone(),
                    end: End::Open,
                    from: at,
                    to: at,
                    spans: Vec::new(),
                    boots: Vec::new(),
                    tasks: Vec::new(),
                },
                now_doing: Activity::Wait,
                since: at,
                last_end: None,
                offered: None,
                last_boot: None,
            });
        } else if let Some(open) = runs.last_mut().filter(|making| making.line.end == End::Open) {
            open.apply(&record.event, at);
        }
    }

    /// The last run of each machine (or the one with number `run`), by name; open ones reach to `now_unix_ms`.
    pub fn runs(self, run: Option<u64>, now_unix_ms: i64) -> Vec<RunTimeline> {
        let pick = |runs: Vec<Making>| {
            runs.into_iter().rfind(|making| run.is_none_or(|number| making.line.run == number)).map(|mut making| {
                if making.line.end == End::Open {
                    making.finish(now_unix_ms.max(making.since), End::Open);
                }
                making.line
            })
        };
        self.runs.into_values().filter_map(pick).collect()
    }
}

impl Making {
    fn apply(&mut self, event: &Event, at: i64) {
        match event {
            Event::Offered { environment, .. } => {
                self.settle();
                match self.now_doing {
                    // Firmware that asks twice boots once.
                    Activity::Boot { .. } => {}
                    // Before the first boot nothing was running that could restart.
                    Activity::Wait if !self.line.boots.is_empty() => {
                        self.now_doing = Activity::Restart;
                        self.begin(Activity::Boot { environment: environment.clone() }, at);
                        self.offered = Some(at);
                    }
                    _ => {
                        self.begin(Activity::Boot { environment: environment.clone() }, at);
                        self.offered = Some(at);
                    }
                }
            }
            Event::CheckedIn { check_in, .. } => {
                if self.last_boot.replace(check_in.boot_id.clone()).as_deref() == Some(check_in.boot_id.as_str()) {
                    return;
                }
                self.settle();
                match &mut self.now_doing {
                    Activity::Boot { environment } => environment.clone_from(&check_in.environment),
                    doing if !self.line.boots.is_empty() => *doing = Activity::Restart,
                    _ => {}
                }
                self.line.boots.push(Boot {
                    environment: check_in.environment.clone(),
                    offered: self.offered.take(),
                    checked_in: at,
                });
                self.begin(Activity::Wait, at);
            }
            Event::InstallerFinished { .. } => {
                self.settle();
                self.begin(Activity::Wait, at);
            }
            Event::JobGranted { job, stage, task, attempt, .. } => {
                let same = matches!(&self.now_doing, Activity::Stage { name } if name == stage);
                if !same {
                    self.settle();
                    self.begin(Activity::Stage { name: stage.clone() }, at);
                }
                self.last_end = None;
                self.line.tasks.push(Task {
                    job: job.clone(),
                    stage: stage.clone(),
                    task: task.clone(),
                    attempt: *attempt,
                    from: at,
                    to: None,
                    outcome: None,
                });
            }
            Event::JobEnded { job, outcome, .. } => {
                if let Some(task) = self.line.tasks.iter_mut().rfind(|task| task.job == *job) {
                    task.to = Some(at);
                    task.outcome = Some(*outcome);
                }
                self.last_end = Some(at);
                // What follows a failure is waiting, not work, until the next grant.
                if *outcome != JobOutcome::Done {
                    self.settle();
                }
            }
            Event::RunFinished { .. } => self.finish(at, End::Done),
            Event::RunCancelled { .. } => self.finish(at, End::Cancelled),
            _ => {}
        }
    }

    /// A stage whose last job has ended is over since then; from there on it is a wait.
    fn settle(&mut self) {
        if let (Activity::Stage { .. }, Some(end)) = (&self.now_doing, self.last_end.take()) {
            self.begin(Activity::Wait, end);
        }
    }

    fn begin(&mut self, activity: Activity, at: i64) {
        let done = std::mem::replace(&mut self.now_doing, activity);
        if at > self.since {
            self.line.spans.push(Span { activity: done, from: self.since, to: at });
        }
        self.since = self.since.max(at);
        self.last_end = None;
    }

    fn finish(&mut self, at: i64, end: End) {
        self.settle();
        self.begin(Activity::Wait, at);
        self.line.to = self.since;
        self.line.end = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Journal, one_run};

    fn words(line: &RunTimeline) -> Vec<String> {
        line.spans
            .iter()
            .map(|span| {
                let what = match &span.activity {
                    Activity::Boot { environment } => format!("boot {environment}"),
                    Activity::Stage { name } => format!("stage {name}"),
                    Activity::Restart => "restart".to_owned(),
                    Activity::Wait => "wait".to_owned(),
                };
                format!("{what} {}-{}", (span.from - line.from) / 1000, (span.to - line.from) / 1000)
            })
            .collect()
    }

    #[test]
    fn a_run_is_told_as_boots_stages_restarts_and_waits_without_gaps() {
        let mut fold = Fold::default();
        one_run("node-1", 0).iter().for_each(|record| fold.apply(record));
        let runs = fold.runs(None, i64::MAX);
        assert_eq!(runs.len(), 1);
        assert_eq!(
            words(&runs[0]),
            [
                "wait 0-1",
                "boot discovery.ram 1-15",
                "wait 15-16",
                "stage discover 16-22",
                "stage scrub 22-52",
                "restart 52-60",
                "boot local 60-80",
                "stage join 80-90",
            ]
        );
        assert_eq!((runs[0].end, runs[0].boots.len(), runs[0].tasks.len()), (End::Done, 2, 4));
        assert_eq!(runs[0].totals().values().sum::<i64>(), runs[0].to - runs[0].from);
    }

    #[test]
    fn the_time_after_a_failure_is_waiting_and_not_the_stages() {
        let mut journal = Journal::new("node-1", 0);
        journal.start(1);
        journal.granted(2, "scrub", "erase", 1);
        journal.ended(5, "failed");
        journal.granted(100, "scrub", "erase", 2);
        journal.ended(103, "done");
        let mut fold = Fold::default();
        journal.records.iter().for_each(|record| fold.apply(record));
        let runs = fold.runs(None, 110_000);
        assert_eq!(words(&runs[0]), ["wait 0-1", "stage scrub 1-4", "wait 4-99", "stage scrub 99-102", "wait 102-109"]);
        assert_eq!(runs[0].end, End::Open);
    }

    #[test]
    fn an_open_job_reaches_to_now_and_a_check_in_said_twice_is_one_boot() {
        let mut journal = Journal::new("node-1", 0);
        journal.start(0);
        journal.checked_in(3, "b1", "discovery.ram");
        journal.checked_in(4, "b1", "discovery.ram");
        journal.granted(5, "scrub", "erase", 1);
        let mut fold = Fold::default();
        journal.records.iter().for_each(|record| fold.apply(record));
        let runs = fold.runs(None, 20_000);
        assert_eq!(words(&runs[0]), ["wait 0-3", "wait 3-5", "stage scrub 5-20"]);
        assert_eq!(runs[0].boots.len(), 1);
    }

    #[test]
    fn a_new_run_ends_the_one_before_and_each_can_be_asked_for() {
        let mut journal = Journal::new("node-1", 0);
        journal.start(0);
        journal.granted(1, "scrub", "erase", 1);
        journal.start(9);
        journal.granted(12, "scrub", "erase", 1);
        let fold = || {
            let mut fold = Fold::default();
            journal.records.iter().for_each(|record| fold.apply(record));
            fold
        };
        assert_eq!(fold().runs(None, 20_000)[0].run, 2);
        let first = &fold().runs(Some(1), 20_000)[0];
        assert_eq!((first.end, first.to), (End::Cancelled, 9_000));
        assert!(fold().runs(Some(3), 20_000).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn spans_never_overlap_whatever_the_order_of_events(steps in proptest::collection::vec((0_u8..7, 0_i64..50), 0..60)) {
            let mut journal = Journal::new("node-1", 0);
            journal.start(0);
            let mut at = 0;
            for (what, pause) in steps {
                at += pause;
                match what {
                    0 => journal.offered(at, "discovery.ram"),
                    1 => journal.checked_in(at, &format!("b{at}"), "discovery.ram"),
                    2 => journal.granted(at, "scrub", "erase", 1),
                    3 => journal.granted(at, "install", "write", 1),
                    4 => journal.ended(at, "done"),
                    5 => journal.ended(at, "failed"),
                    _ => journal.start(at),
                }
            }
            let mut fold = Fold::default();
            journal.records.iter().for_each(|record| fold.apply(record));
            for line in fold.runs(None, (at + 10) * 1000) {
                let mut place = line.from;
                for span in &line.spans {
                    proptest::prop_assert_eq!(span.from, place);
                    proptest::prop_assert!(span.to > span.from);
                    place = span.to;
                }
                proptest::prop_assert_eq!(place, line.to);
            }
        }
    }
}
