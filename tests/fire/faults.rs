//! The faults that a round really met: by the record of the machines, the simulation's own counts and the journal. Pure.

use super::check::Evidence;
use formwork::journal::Event;
use formwork::simulate::record::Fact;
use formwork::wire::JobOutcome;

/// How often each kind was met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Machines whose power went.
    pub power_cuts: usize,
    /// The same, in the middle of a job.
    pub power_cuts_in_jobs: usize,
    /// Agents killed in the middle of a job.
    pub agents_killed: usize,
    /// Answers that the server gave and no machine heard.
    pub replies_dropped: usize,
    /// Questions that a killed server left without an answer.
    pub questions_lost: usize,
    /// Jobs that the server saw interrupted.
    pub jobs_interrupted: usize,
}

impl Faults {
    /// What there is to see of them.
    pub fn in_evidence(evidence: &Evidence) -> Self {
        let stops = |wanted: bool, in_job: bool| {
            let stops = evidence.entries.iter().filter(|entry| match &entry.fact {
                Fact::Stops { power, job, .. } => *power == wanted && (job.is_some() || !in_job),
                _ => false,
            });
            stops.count()
        };
        let interrupted = evidence
            .events
            .iter()
            .filter(|record| matches!(record.event, Event::JobEnded { outcome: JobOutcome::Interrupted, .. }));
        Self {
            power_cuts: stops(true, false),
            power_cuts_in_jobs: stops(true, true),
            agents_killed: stops(false, true),
            replies_dropped: evidence.replies_dropped,
            questions_lost: evidence.questions_lost,
            jobs_interrupted: interrupted.count(),
        }
    }

    fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("power cuts", self.power_cuts),
            ("power cuts in the middle of a job", self.power_cuts_in_jobs),
            ("agents killed", self.agents_killed),
            ("replies dropped", self.replies_dropped),
            ("questions lost", self.questions_lost),
            ("jobs interrupted", self.jobs_interrupted),
        ]
    }

    /// The kinds that were never met.
    pub fn not_met(&self) -> Vec<&'static str> {
        self.named().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

impl std::ops::Add for Faults {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            power_cuts: self.power_cuts + other.power_cuts,
            power_cuts_in_jobs: self.power_cuts_in_jobs + other.power_cuts_in_jobs,
            agents_killed: self.agents_killed + other.agents_killed,
            replies_dropped: self.replies_dropped + other.replies_dropped,
            questions_lost: self.questions_lost + other.questions_lost,
            jobs_interrupted: self.jobs_interrupted + other.jobs_interrupted,
        }
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.named().map(|(name, count)| format!("{count} {name}")).join(", "))
    }
}
