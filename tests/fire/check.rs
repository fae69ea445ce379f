//! The check: what the server's journal and logs say, held against the record of what machines did. Pure.

use formwork::journal::{Event, Record, Stream};
use formwork::simulate::record::{Entry, Fact, line};
use formwork::store::Store;
use formwork::store::logs::LogStore;
use formwork::wire::JobOutcome;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// The workflow's tasks.
pub const TASKS: [&str; 5] = ["look", "burn", "install", "join", "check"];

/// All that there is to see afterwards.
#[derive(Clone)]
pub struct Evidence {
    /// How many machines there are; also the cluster's size.
    pub machines: usize,
    /// What machines did and saw, in order.
    pub entries: Vec<Entry>,
    /// The journal, in order.
    pub events: Vec<Record>,
    /// Logs by job.
    pub logs: BTreeMap<String, Vec<u8>>,
    /// Answers that the simulation threw away after the server gave them.
    pub replies_dropped: usize,
    /// Questions that got no answer.
    pub questions_lost: usize,
}

/// What machines did, as the simulation recorded it.
pub fn entries(record: &Path) -> Vec<Entry> {
    let record = std::fs::read_to_string(record).expect("the record");
    record.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect()
}

/// The whole journal of a store.
pub fn events(store: &dyn Store) -> Vec<Record> {
    let mut events: Vec<Record> = Vec::new();
    loop {
        let after = events.last().map_or(0, |record| record.sequence);
        let page = store.events_after(after, 1000).expect("events");
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// All logs of a folder, by job.
pub fn logs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let logs = LogStore::open(folder).expect("the logs open");
    let names = std::fs::read_dir(folder).expect("a folder").flatten();
    let jobs = names.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()));
    jobs.map(|job| (job.clone(), logs.read(&job, 0, 1 << 20).expect("a log"))).collect()
}

/// What is wrong; empty: nothing.
pub fn violations(evidence: &Evidence) -> Vec<String> {
    let mut wrong = runs(evidence);
    wrong.extend(jobs(evidence));
    wrong.extend(claims(evidence));
    wrong.extend(barriers(evidence));
    wrong.extend(printed(evidence));
    wrong
}

fn machine(record: &Record) -> Option<&str> {
    match &record.stream {
        Stream::Machine(name) => Some(name),
        _ => None,
    }
}

/// Every machine has one run, which is done, with every task done once.
fn runs(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut finished: BTreeMap<&str, u32> = BTreeMap::new();
    let mut granted: HashMap<&str, &str> = HashMap::new();
    let mut done: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for record in &evidence.events {
        let Some(name) = machine(record) else { continue };
        match &record.event {
            Event::RunFinished { .. } => *finished.entry(name).or_default() += 1,
            Event::JobGranted { job, task, .. } => {
                granted.insert(job, task);
            }
            Event::JobEnded { job, outcome: JobOutcome::Done, .. } => match granted.get(job.as_str()) {
                Some(task) => *done.entry((name, task)).or_default() += 1,
                None => wrong.push(format!("{name}: job {job} ended and was never granted")),
            },
            _ => {}
        }
    }
    if finished.len() != evidence.machines {
        wrong.push(format!("{} of {} runs are done", finished.len(), evidence.machines));
    }
    for (name, times) in finished {
        if times != 1 {
            wrong.push(format!("{name}: its run was finished {times} times"));
        }
        for task in TASKS {
            let times = done.get(&(name, task)).copied().unwrap_or_default();
            if times != 1 {
                wrong.push(format!("{name}: task {task} is recorded as done {times} times"));
            }
        }
    }
    wrong
}

/// What an agent's word is needed for has an agent's word.
fn jobs(evidence: &Evidence) -> Vec<String> {
    let mut said: HashMap<&str, BTreeSet<&'static str>> = HashMap::new();
    for entry in &evidence.entries {
        if let Fact::Ends { job, outcome, .. } = &entry.fact {
            said.entry(job).or_default().insert(word(*outcome));
        }
    }
    let ended = evidence.events.iter().filter_map(|record| match &record.event {
        Event::JobEnded { job, outcome, .. } => Some((job, *outcome)),
        _ => None,
    });
    ended
        .filter(|(job, outcome)| {
            matches!(outcome, JobOutcome::Done | JobOutcome::Failed)
                && !said.get(job.as_str()).is_some_and(|words| words.contains(word(*outcome)))
        })
        .map(|(job, outcome)| format!("job {job} is recorded as {}, and no machine said so", word(outcome)))
        .collect()
}

fn word(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Done => "done",
        JobOutcome::Failed => "failed",
        JobOutcome::TimedOut => "timed out",
        JobOutcome::Interrupted => "interrupted",
        JobOutcome::Abandoned => "abandoned",
    }
}

/// One leader a fence, and one end a claim: by the last fence that was given.
fn claims(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut leaders: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    let mut ends: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for entry in &evidence.entries {
        match &entry.fact {
            Fact::Leads { claim, fence, .. } => {
                let first = leaders.entry((claim, *fence)).or_insert(&entry.machine);
                if *first != entry.machine {
                    wrong.push(format!("claim {claim}, fence {fence}: {first} leads, and so does {}", entry.machine));
                }
            }
            Fact::Concludes { claim, fence, .. } => {
                let first = ends.entry(claim).or_insert((&entry.machine, *fence));
                if *first != (entry.machine.as_str(), *fence) {
                    let (machine, by) = first;
                    wrong.push(format!(
                        "claim {claim} was done by {machine} with fence {by}, and by {} with {fence}",
                        entry.machine
                    ));
                }
            }
            _ => {}
        }
    }
    for (claim, (machine, fence)) in ends {
        if let Some(((_, later), other)) = leaders.range((claim, fence + 1)..=(claim, u64::MAX)).next() {
            wrong.push(format!(
                "claim {claim} was done by {machine} with fence {fence}, and {other} leads with {later}"
            ));
        }
        if leaders.get(&(claim, fence)).is_some_and(|leader| *leader != machine) {
            wrong.push(format!("claim {claim} was done by {machine}, who does not hold fence {fence}"));
        }
    }
    wrong
}

/// Whoever passes a barrier for all comes after all have begun to join, and every place in a set is one machine's.
fn barriers(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut joined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut places: BTreeMap<(&str, u64), &str> = BTreeMap::new();
    let mut passed = 0;
    for entry in &evidence.entries {
        match &entry.fact {
            Fact::Joins { set, .. } => {
                joined.entry(set).or_default().insert(&entry.machine);
            }
            Fact::Passes { set, ordinal, .. } => {
                passed += 1;
                let there = joined.get(set.as_str()).map_or(0, BTreeSet::len);
                if there < evidence.machines {
                    wrong.push(format!(
                        "{} passed barrier {set} when {there} of {} had come",
                        entry.machine, evidence.machines
                    ));
                }
                let first = places.entry((set, *ordinal)).or_insert(&entry.machine);
                if *first != entry.machine {
                    wrong.push(format!("set {set}: place {ordinal} is {first}'s and {}'s", entry.machine));
                }
            }
            _ => {}
        }
    }
    if passed < evidence.machines {
        wrong.push(format!("only {passed} passes of barriers by {} machines", evidence.machines));
    }
    wrong
}

/// A job that its agent ended has all of its lines, each once; one that was cut short has the first of them.
fn printed(evidence: &Evidence) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut printed: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in &evidence.entries {
        let (job, lines) = match &entry.fact {
            Fact::Ends { job, lines, .. } | Fact::Stops { job: Some(job), lines, .. } => (job, *lines),
            _ => continue,
        };
        let most = printed.entry(job).or_default();
        *most = (*most).max(lines);
    }
    let whole: BTreeSet<&str> = evidence
        .events
        .iter()
        .filter_map(|record| match &record.event {
            Event::JobEnded { job, outcome: JobOutcome::Done | JobOutcome::Failed, .. } => Some(job.as_str()),
            _ => None,
        })
        .collect();
    for (job, lines) in printed {
        let should: String = (1..=lines).map(|number| line(job, number)).collect();
        let log = evidence.logs.get(job).map(Vec::as_slice).unwrap_or_default();
        if whole.contains(job) && log != should.as_bytes() {
            wrong.push(format!(
                "job {job}: its log has {} bytes where it printed {} in {lines} lines",
                log.len(),
                should.len()
            ));
        }
        if !should.as_bytes().starts_with(log) {
            wrong.push(format!("job {job}: its log holds what it did not print"));
        }
    }
    wrong
}
