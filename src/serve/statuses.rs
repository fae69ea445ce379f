//! Commit statuses: what became of each source's commit is told to its forge. Decided from what the status says; sent by a
//! thread of its own with a bounded queue, so that a forge that is away delays nothing.

use crate::git::remote::forge::{Report, State, send};
use crate::git::remote::{Forge, SourceStatus};
use crate::git::{Follower, Source};
use crate::inspect::change::{Became, Change};
use crate::reconcile::{Outcome, Status};
use crate::replicas::Replicas;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Reports that may wait to be taken up by the thread, and in it to be sent.
const QUEUE: usize = 64;
/// How often it is looked for something new beside the changes of the site's status.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Tries of one report; then it is dropped and logged.
const TRIES: u32 = 10;
/// The pause after the first failure; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const PAUSE_MOST: Duration = Duration::from_secs(300);

/// What the revision that was tried last does, in a line.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<Mutex<Option<(String, String)>>>);

impl Line {
    /// Remembers it.
    pub(super) fn put(&self, change: &Change) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((change.to.clone(), in_a_line(change)));
    }

    /// Of this revision.
    fn of(&self, revision: &str) -> Option<String> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.as_ref().filter(|(of, _)| of == revision).map(|(_, line)| line.clone())
    }
}

/// A change as forges have room for it. Pure.
fn in_a_line(change: &Change) -> String {
    let of = |became: Became| change.objects.iter().filter(|object| object.became == became).count();
    let objects = [(Became::Added, "added"), (Became::Changed, "changed"), (Became::Removed, "removed")]
        .map(|(became, word)| (of(became), word));
    let objects = objects.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    let machines = change.counts.iter().map(|(follows, count)| {
        let (one, many) = follows.words();
        if *count == 1 { format!("1 machine {one}") } else { format!("{count} machines {many}") }
    });
    let parts: Vec<String> = objects.chain(machines).collect();
    if parts.is_empty() { "nothing changes".to_owned() } else { parts.join(", ") }
}

/// What is to be said of a source's newest commit. Pure. `line`: what the revision does, where that is known. `None`: nothing
/// was ever seen of it.
fn verdict(status: &Status, source: &SourceStatus, line: Option<&str>) -> Option<Report> {
    let commit = source.head.clone()?;
    let report =
        |state, description: &str| Some(Report { commit: commit.clone(), state, description: description.to_owned() });
    if let Some(finding) = source.findings.first() {
        return report(State::Failure, finding);
    }
    // The newest commit is not what is used: its branch was rewritten and is held, or it is not taken up yet.
    if source.used.as_ref() != Some(&commit) {
        return match &source.failure {
            Some(failure) if source.is_held => report(State::Failure, failure),
            _ => report(State::Pending, "it is being loaded"),
        };
    }
    let attempted = status.attempted.as_ref().filter(|attempt| Some(&attempt.revision) == status.head.as_ref());
    let Some(attempt) = attempted else { return report(State::Pending, "it is being loaded") };
    match &attempt.outcome {
        Outcome::Applied => {
            let machines = status.applied.as_ref().map_or(0, |applied| applied.machines);
            let machines = if machines == 1 { "1 machine".to_owned() } else { format!("{machines} machines") };
            match line {
                Some(line) => report(State::Success, &format!("it serves: {line}")),
                None => report(State::Success, &format!("it serves; the site declares {machines}")),
            }
        }
        Outcome::Waiting => {
            report(State::Pending, "it is good and waits: following is suspended, or another revision is pinned")
        }
        Outcome::Overtaken => report(State::Pending, "a newer commit overtook it"),
        // Why is about this server's disk, and not for everybody who reads the forge.
        Outcome::Postponed { .. } => {
            report(State::Pending, "it is not loaded yet and is tried again; formwork status says why")
        }
        Outcome::Refused => {
            // Of several sources, whoever's file it is.
            let own =
                |finding: &&String| source.mount.as_ref().is_none_or(|mount| finding.starts_with(&format!("{mount}/")));
            match attempt.findings.iter().find(own) {
                Some(finding) => report(State::Failure, finding),
                None => report(State::Pending, "it waits: the site is refused for what another source says"),
            }
        }
    }
}

/// Watches what becomes of commits and tells the forges. Ends only with the server.
pub(super) async fn tell(
    follower: Arc<Follower>,
    mut status: watch::Receiver<Arc<Status>>,
    line: Line,
    replicas: Replicas,
) {
    let mut sender: Option<SyncSender<Waiting>> = None;
    // By the source's name: which forge was told what last.
    let mut told: BTreeMap<String, (Forge, Report)> = BTreeMap::new();
    loop {
        let now = Arc::clone(&status.borrow_and_update());
        // What is followed may be another since.
        let declared = declared(&follower.source());
        told.retain(|name, (forge, _)| declared.iter().any(|(of, declared)| of == name && declared == forge));
        if sender.is_none() && !declared.is_empty() {
            sender = started(&follower);
            if sender.is_none() {
                return std::future::pending().await;
            }
        }
        let sources = follower.sources();
        let does = now.attempted.as_ref().and_then(|attempt| line.of(&attempt.revision));
        // Of several servers that follow the same the one that leads tells, and knows what is taken.
        if !replicas.leads() {
            declared.iter().for_each(|(name, _)| follower.reported(name, None, now_unix_ms()));
        }
        for (name, forge) in declared.iter().filter(|_| replicas.leads()) {
            let Some(found) = sources.iter().find(|source| source.name == *name) else { continue };
            let Some(report) = verdict(&now, found, does.as_deref())
                .filter(|report| told.get(name).is_none_or(|(_, said)| said != report))
            else {
                continue;
            };
            if sender.as_ref().is_some_and(|sender| offer(sender, name, forge, &report)) {
                told.insert(name.clone(), (forge.clone(), report));
            }
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, status.changed()).await {
            return std::future::pending().await;
        }
    }
}

/// Which sources have a forge that is told.
fn declared(source: &Source) -> Vec<(String, Forge)> {
    match source {
        Source::Sources(sources) => {
            sources.0.iter().filter_map(|source| Some((source.name.clone(), source.forge.clone()?))).collect()
        }
        Source::Bare { .. } | Source::Directory { .. } => Vec::new(),
    }
}

/// Starts the thread that sends.
fn started(follower: &Arc<Follower>) -> Option<SyncSender<Waiting>> {
    let (sender, receiver) = sync_channel(QUEUE);
    let heard = Arc::clone(follower);
    let answered = move |source: &str, taken| heard.reported(source, Some(taken), now_unix_ms());
    let thread = std::thread::Builder::new().name("formwork-forge".to_owned());
    if let Err(error) = thread.spawn(move || deliver(&receiver, &answered)) {
        tracing::error!(%error, "commit statuses are not sent");
        return None;
    }
    Some(sender)
}

fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Hands a report to the thread. False: its queue is full; it is offered again.
fn offer(sender: &SyncSender<Waiting>, source: &str, forge: &Forge, report: &Report) -> bool {
    let waiting = Waiting {
        source: source.to_owned(),
        forge: forge.clone(),
        report: report.clone(),
        tries: 0,
        not_before: Instant::now(),
    };
    sender.try_send(waiting).is_ok()
}

/// A report on its way.
struct Waiting {
    source: String,
    forge: Forge,
    report: Report,
    tries: u32,
    not_before: Instant,
}

/// Puts a report into the queue: what was to be said of the same source before is old news, unless it is of another commit, whose
/// last word it may be.
fn put(queue: &mut Vec<Waiting>, new: Waiting) {
    queue.retain(|old| !(old.source == new.source && old.report.commit == new.report.commit));
    if queue.len() >= QUEUE {
        let old = queue.remove(0);
        tracing::warn!(
            source = old.source,
            commit = old.report.commit,
            "too many commit statuses wait; this one is dropped"
        );
    }
    queue.push(new);
}

/// The thread: sends what is due, and says whether it was taken.
fn deliver(receiver: &Receiver<Waiting>, answered: &impl Fn(&str, Result<(), String>)) {
    let mut queue: Vec<Waiting> = Vec::new();
    loop {
        let now = Instant::now();
        let due = queue.iter().map(|waiting| waiting.not_before).min();
        let pause = due.map_or(Duration::from_secs(3600), |due| due.saturating_duration_since(now));
        match receiver.recv_timeout(pause) {
            Ok(new) => {
                put(&mut queue, new);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(index) = queue.iter().position(|waiting| waiting.not_before <= Instant::now()) else { continue };
        let mut waiting = queue.remove(index);
        let taken = send(&waiting.forge, &waiting.report);
        let of = |why: &String| format!("{} of {}: {why}", waiting.forge.url, waiting.forge.project);
        answered(&waiting.source, taken.clone().map_err(|error| of(&error.why)));
        let Err(error) = taken else { continue };
        waiting.tries += 1;
        let again = error.again && waiting.tries < TRIES;
        tracing::warn!(source = waiting.source, commit = waiting.report.commit, %error, again, "the commit status was not taken");
        if again {
            let pause = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(waiting.tries - 1)).min(PAUSE_MOST);
            waiting.not_before = Instant::now() + pause;
            // A newer word about the same commit may have come meanwhile: it waits in the channel, and takes this one's place.
            queue.push(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::remote::ForgeKind;
    use crate::reconcile::{AppliedRevision, Attempt};

    fn source(mount: Option<&str>) -> SourceStatus {
        SourceStatus {
            name: "one".to_owned(),
            mount: mount.map(str::to_owned),
            head: Some("c1".to_owned()),
            used: Some("c1".to_owned()),
            ..SourceStatus::default()
        }
    }

    fn status(outcome: Outcome, findings: &[&str]) -> Status {
        Status {
            head: Some("r1".to_owned()),
            attempted: Some(Attempt {
                revision: "r1".to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                outcome,
                findings: findings.iter().map(|finding| (*finding).to_owned()).collect(),
                count: findings.len(),
            }),
            applied: Some(AppliedRevision {
                revision: "r1".to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                machines: 3,
                signed_by: Vec::new(),
            }),
            ..Status::default()
        }
    }

    #[test]
    fn a_commit_is_told_what_became_of_it_and_nobody_is_blamed_for_anothers_file() {
        let say = |status: &Status, source: &SourceStatus| {
            verdict(status, source, None).map(|report| (report.state, report.description))
        };
        let told = |state, text: &str| Some((state, text.to_owned()));
        let refused = status(Outcome::Refused, &["a.yaml:1:1: error: x", "tenants/b/b.yaml:1:1: error: y"]);
        let applied = status(Outcome::Applied, &[]);
        assert_eq!(say(&applied, &source(None)), told(State::Success, "it serves; the site declares 3 machines"));
        assert_eq!(say(&refused, &source(None)), told(State::Failure, "a.yaml:1:1: error: x"));
        assert_eq!(say(&refused, &source(Some("tenants/b"))), told(State::Failure, "tenants/b/b.yaml:1:1: error: y"));
        assert_eq!(
            say(&refused, &source(Some("tenants/a"))),
            told(State::Pending, "it waits: the site is refused for what another source says")
        );
        let with = verdict(&applied, &source(None), Some("1 changed, 1 machine begins a run"));
        assert_eq!(
            with.map(|report| report.description).as_deref(),
            Some("it serves: 1 changed, 1 machine begins a run")
        );
        let older = Status { head: Some("r2".to_owned()), ..applied.clone() };
        assert_eq!(say(&older, &source(None)), told(State::Pending, "it is being loaded"));
        let mut held = source(None);
        held.used = Some("c0".to_owned());
        held.failure = Some("x: main was rewritten from c0 to c1".to_owned());
        held.is_held = true;
        assert_eq!(say(&applied, &held).map(|(state, _)| state), Some(State::Failure));
        let mut forbidden = source(Some("tenants/a"));
        forbidden.findings = vec!["tenants/a/a.yaml:1:1: error: z".to_owned()];
        assert_eq!(say(&applied, &forbidden), told(State::Failure, "tenants/a/a.yaml:1:1: error: z"));
        let postponed = status(Outcome::Postponed { reason: "/var/lib/formwork/mirror.git: no room".to_owned() }, &[]);
        let (state, text) = say(&postponed, &source(None)).expect("a word");
        assert!(state == State::Pending && !text.contains('/') && text.contains("tried again"), "{text}");
        assert_eq!(say(&applied, &SourceStatus::default()), None);
    }

    #[test]
    fn the_queue_is_bounded_and_newer_news_of_a_commit_take_the_place_of_older() {
        let waiting = |commit: &str, state| Waiting {
            source: "one".to_owned(),
            forge: Forge {
                kind: ForgeKind::Github,
                url: String::new(),
                project: String::new(),
                token_file: "/x".into(),
                authority_file: None,
            },
            report: Report { commit: commit.to_owned(), state, description: String::new() },
            tries: 0,
            not_before: Instant::now(),
        };
        let mut queue = Vec::new();
        put(&mut queue, waiting("a", State::Pending));
        put(&mut queue, waiting("a", State::Success));
        assert_eq!(queue.iter().map(|waiting| waiting.report.state).collect::<Vec<_>>(), [State::Success]);
        for n in 0..200 {
            put(&mut queue, waiting(&n.to_string(), State::Pending));
        }
        assert_eq!(queue.len(), QUEUE);
    }
}
