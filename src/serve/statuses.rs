//! Commit statuses: what became of each source's commit is told to its forge. Decided from what the status says; sent by a
//! thread of its own with a bounded queue, so that a forge that is away delays nothing.

use super::brought::Brought;
use crate::git::remote::forge::{Report, State, send};
use crate::git::remote::{Forge, SourceStatus};
use crate::git::{Follower, Source};
use crate::reconcile::{Outcome, Status};
use crate::replicas::Replicas;
use crate::store::{Batch, Operation, Space, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
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

/// Before a source's name: what its forge was told last, in the store, so that a server that is started anew, or leads from now
/// on, does not say again what was said.
const TOLD: &str = "reported/";

/// What is to be said of a source's newest commit. Pure. `brought`: of one that serves, what it brought where anybody foresaw it;
/// none: that it serves is not taken in yet. `None`: nothing was ever seen of it, or the word is to come.
///
/// What became of a revision is said of the commits that it is made of, and of no others: a newer commit is seen before the
/// revision that it goes into.
fn verdict(status: &Status, source: &SourceStatus, brought: Option<Option<&str>>) -> Option<Report> {
    let commit = source.head.clone()?;
    let report =
        |state, description: &str| Some(Report { commit: commit.clone(), state, description: description.to_owned() });
    if let Some(finding) = source.findings.first() {
        return report(State::Failure, finding);
    }
    // Its branch was rewritten, and is held.
    if let Some(failure) = source.failure.as_ref().filter(|_| source.is_held) {
        return report(State::Failure, failure);
    }
    // It serves, whatever became of another source's commit since.
    if status.applied_of(&source.name) == Some(&commit) {
        return match brought? {
            Some(line) => report(State::Success, &format!("it serves: {line}")),
            None => report(State::Success, &serves(status)),
        };
    }
    let attempted = status.attempted.as_ref().filter(|_| status.attempted_of(&source.name) == Some(&commit));
    let Some(attempt) = attempted else { return report(State::Pending, "it is being loaded") };
    match &attempt.outcome {
        Outcome::Applied => report(State::Pending, "it is being loaded"),
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

/// What is said of a commit that serves where what it brought is not known: it is the first one of all, or was applied before
/// this program began.
fn serves(status: &Status) -> String {
    match status.applied.as_ref().map_or(0, |applied| applied.machines) {
        1 => "it serves; the site declares 1 machine".to_owned(),
        machines => format!("it serves; the site declares {machines} machines"),
    }
}

/// Whether a forge is to hear this after what it heard last of this source. What a commit brought is said once.
fn is_news(last: Option<&Report>, report: &Report) -> bool {
    let is_said = |last: &Report| {
        last == report
            || (last.commit == report.commit && (last.state, report.state) == (State::Success, State::Success))
    };
    !last.is_some_and(is_said)
}

/// What the forges of these sources heard last, as the store has it.
fn told_before<'a>(store: &dyn Store, sources: impl Iterator<Item = &'a str>) -> BTreeMap<String, Report> {
    let told = sources.filter_map(|source| {
        let written = store.get(Space::Meta, &format!("{TOLD}{source}"));
        let written =
            written.inspect_err(|error| tracing::warn!(%error, source, "what its forge was told is not known"));
        Some((source.to_owned(), serde_json::from_slice(&written.ok()??).ok()?))
    });
    told.collect()
}

/// Writes down what a forge took.
async fn remember(store: &dyn Store, source: &str, report: &Report) {
    let value = serde_json::to_vec(report).map_err(|error| StoreError::TooLarge(error.to_string()));
    let written = match value {
        Ok(value) => {
            let put = Operation::Put { space: Space::Meta, key: format!("{TOLD}{source}"), value: Some(value) };
            store.commit(Batch { operations: vec![put], ..Batch::default() }, now_unix_ms()).await.map(drop)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        tracing::warn!(%error, source, "what its forge was told could not be written down; it may be told again");
    }
}

/// Watches what becomes of commits and tells the forges. Ends only with the server.
pub(super) async fn tell(
    follower: Arc<Follower>,
    mut status: watch::Receiver<Arc<Status>>,
    brought: Brought,
    store: Arc<dyn Store>,
    replicas: Replicas,
) {
    let mut sender: Option<SyncSender<Waiting>> = None;
    // What does not fit is told again after a restart, and no more than that.
    let (tell_taken, mut taken) = tokio::sync::mpsc::channel(QUEUE);
    // By the source's name: its forge, and what that was told last, by this server or another one.
    let mut forges: BTreeMap<String, Forge> = BTreeMap::new();
    let mut told: Option<BTreeMap<String, Report>> = None;
    loop {
        let now = Arc::clone(&status.borrow_and_update());
        // What is followed may be another since.
        let declared = declared(&follower.source());
        if let Some(told) = &mut told {
            told.retain(|name, _| declared.iter().any(|(of, forge)| of == name && forges.get(name) == Some(forge)));
        }
        forges = declared.iter().cloned().collect();
        if sender.is_none() && !declared.is_empty() {
            sender = started(&follower, &tell_taken);
            if sender.is_none() {
                return std::future::pending().await;
            }
        }
        let sources = follower.sources();
        while let Ok((source, report)) = taken.try_recv() {
            remember(store.as_ref(), &source, &report).await;
        }
        // Of several servers that follow the same the one that leads tells, and knows what is taken.
        if replicas.leads() {
            let told =
                told.get_or_insert_with(|| told_before(store.as_ref(), declared.iter().map(|(name, _)| name.as_str())));
            for (name, forge) in &declared {
                let Some(found) = sources.iter().find(|source| source.name == *name) else { continue };
                let line = found.head.as_deref().and_then(|head| brought.of(name, head));
                let report = verdict(&now, found, line.as_ref().map(Option::as_deref));
                let Some(report) = report.filter(|report| is_news(told.get(name), report)) else { continue };
                if sender.as_ref().is_some_and(|sender| offer(sender, name, forge, &report)) {
                    told.insert(name.clone(), report);
                }
            }
        } else {
            told = None;
            declared.iter().for_each(|(name, _)| follower.reported(name, None, now_unix_ms()));
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

/// Starts the thread that sends; `taken`: hears what a forge took.
fn started(follower: &Arc<Follower>, taken: &Sender<(String, Report)>) -> Option<SyncSender<Waiting>> {
    let (sender, receiver) = sync_channel(QUEUE);
    let (heard, taken) = (Arc::clone(follower), taken.clone());
    let answered = move |source: &str, report: &Report, answer: Result<(), String>| {
        if answer.is_ok() {
            let _ = taken.try_send((source.to_owned(), report.clone()));
        }
        heard.reported(source, Some(answer), now_unix_ms());
    };
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
fn deliver(receiver: &Receiver<Waiting>, answered: &impl Fn(&str, &Report, Result<(), String>)) {
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
        answered(&waiting.source, &waiting.report, taken.clone().map_err(|error| of(&error.why)));
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
            attempted_parts: ("r1".to_owned(), [("one".to_owned(), "c1".to_owned())].into()),
            ..Status::default()
        }
    }

    #[test]
    fn a_commit_is_told_what_became_of_it_and_nobody_is_blamed_for_anothers_file() {
        let say = |status: &Status, source: &SourceStatus| {
            verdict(status, source, Some(None)).map(|report| (report.state, report.description))
        };
        let told = |state, text: &str| Some((state, text.to_owned()));
        let refused = status(Outcome::Refused, &["a.yaml:1:1: error: x", "tenants/b/b.yaml:1:1: error: y"]);
        let served = [("one".to_owned(), "c1".to_owned())].into();
        let applied = Status { applied_parts: served, ..status(Outcome::Applied, &[]) };
        assert_eq!(verdict(&applied, &source(None), None), None, "what it brought is to come");
        assert_eq!(say(&applied, &source(None)), told(State::Success, "it serves; the site declares 3 machines"));
        assert_eq!(say(&refused, &source(None)), told(State::Failure, "a.yaml:1:1: error: x"));
        assert_eq!(say(&refused, &source(Some("tenants/b"))), told(State::Failure, "tenants/b/b.yaml:1:1: error: y"));
        assert_eq!(
            say(&refused, &source(Some("tenants/a"))),
            told(State::Pending, "it waits: the site is refused for what another source says")
        );
        let with = verdict(&applied, &source(None), Some(Some("1 changed, 1 machine begins a run")));
        assert_eq!(
            with.map(|report| report.description).as_deref(),
            Some("it serves: 1 changed, 1 machine begins a run")
        );
        // A newer one is seen before the revision that it goes into: what became of the one before says nothing of it.
        for before in [&refused, &applied] {
            let newer = SourceStatus { head: Some("c2".to_owned()), used: Some("c2".to_owned()), ..source(None) };
            assert_eq!(say(before, &newer), told(State::Pending, "it is being loaded"));
        }
        // It serves, and another source's commit is refused.
        let other = Status { applied_parts: [("one".to_owned(), "c1".to_owned())].into(), ..refused.clone() };
        assert_eq!(say(&other, &source(Some("tenants/b"))).map(|(state, _)| state), Some(State::Success));
        let mut held = source(None);
        held.head = Some("c2".to_owned());
        held.failure = Some("x: main was rewritten from c1 to c2".to_owned());
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
    fn what_a_commit_brought_is_said_once() {
        let report = |commit: &str, state, description: &str| Report {
            commit: commit.to_owned(),
            state,
            description: description.to_owned(),
        };
        let brought = report("c1", State::Success, "it serves: 4 added");
        for (last, now, news) in [
            (None, brought.clone(), true),
            (Some(&brought), brought.clone(), false),
            // After a restart nobody knows any more.
            (Some(&brought), report("c1", State::Success, "it serves; the site declares 4 machines"), false),
            (Some(&brought), report("c2", State::Success, "it serves: 1 changed"), true),
            (Some(&brought), report("c1", State::Failure, "nobody trusted signed it"), true),
            (Some(&report("c1", State::Pending, "it is being loaded")), brought.clone(), true),
        ] {
            assert_eq!(is_news(last, &now), news, "{last:?} {now:?}");
        }
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
