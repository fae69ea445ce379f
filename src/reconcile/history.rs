//! What the journal says of revisions: which were applied and refused, and what people said about following them.

use super::status::{Outcome, Recent};
use crate::journal::{Event, Hold, Record, Stream};
use crate::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Records read at once.
pub(super) const PAGE: usize = 500;
/// So many applied revisions are known by name: what one may go back to without naming it in full.
const APPLIED_KNOWN: usize = 10_000;
/// So much of a revision's id is given at least where it is not given whole.
pub const REVISION_LEAST: usize = 4;
/// So many of them stay in the mirror, should the source lose them.
pub(super) const KEPT: usize = 20;

/// One line of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// Its place among all events of the site.
    pub sequence: u64,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// `pushed`, `applied`, `refused`, `pinned`, `suspended` or `resumed`.
    pub outcome: String,
    /// The revision, where it is about one.
    pub revision: Option<String>,
    /// Its subject line.
    pub summary: Option<String>,
    /// How many findings there were, of one that was refused.
    pub count: usize,
    /// The first findings.
    pub findings: Vec<String>,
    /// How many machines it declares, of one that was applied.
    pub machines: Option<usize>,
    /// Who, where a person said so.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl HistoryRow {
    /// The line of an event; none where it is about something else.
    fn of(record: &Record) -> Option<Self> {
        let row = |outcome: &str| Self {
            sequence: record.sequence,
            at_unix_ms: record.at_unix_ms,
            outcome: outcome.to_owned(),
            revision: None,
            summary: None,
            count: 0,
            findings: Vec::new(),
            machines: None,
            by: None,
            reason: None,
        };
        let of = |outcome: &str, revision: &String, summary: &String| Self {
            revision: Some(revision.clone()),
            summary: Some(summary.clone()),
            ..row(outcome)
        };
        let said = |row: Self, by: &String, reason: &String| Self {
            by: Some(by.clone()),
            reason: Some(reason.clone()).filter(|reason| !reason.is_empty()),
            ..row
        };
        match &record.event {
            Event::RevisionApplied { revision, summary, machines, .. } => {
                Some(Self { machines: Some(*machines), ..of("applied", revision, summary) })
            }
            Event::RevisionRefused { revision, summary, findings, count } => {
                Some(Self { count: *count, findings: findings.clone(), ..of("refused", revision, summary) })
            }
            Event::RevisionPushed { by, revision, summary, words, .. } => {
                Some(said(of("pushed", revision, summary), by, &words.join(", ")))
            }
            Event::RevisionAllowed { by, revision, summary, words, reason } => {
                let why = if reason.is_empty() { words.join(", ") } else { format!("{}: {reason}", words.join(", ")) };
                Some(said(of("allowed", revision, summary), by, &why))
            }
            Event::RevisionPinned { by, revision, summary, reason } => {
                Some(said(of("pinned", revision, summary), by, reason))
            }
            Event::FollowingSuspended { by, reason } => Some(said(row("suspended"), by, reason)),
            Event::FollowingResumed { by, reason } => Some(said(row("resumed"), by, reason)),
            _ => None,
        }
    }
}

/// The last so many lines, the newest last.
///
/// # Errors
/// What the store says.
pub fn history(store: &dyn Store, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
    let page = u64::try_from(PAGE).unwrap_or(u64::MAX);
    let mut end = store.head(&Stream::Site)?;
    let mut rows: Vec<HistoryRow> = Vec::new();
    while end > 0 && rows.len() < limit {
        let from = end.saturating_sub(page);
        let records = store.events_of(&Stream::Site, from, PAGE)?;
        let older = records.iter().filter(|record| record.index < end).filter_map(HistoryRow::of);
        rows = older.chain(rows).collect();
        end = from;
    }
    rows.drain(..rows.len().saturating_sub(limit));
    Ok(rows)
}

/// Which commit of each of several sources was trusted last.
///
/// # Errors
/// What the store says.
pub fn trusted_sources(store: &dyn Store) -> Result<BTreeMap<String, String>, StoreError> {
    let (mut trusted, mut from) = (BTreeMap::new(), 0);
    loop {
        let records = store.events_of(&Stream::Site, from, PAGE)?;
        let Some(last) = records.last() else { return Ok(trusted) };
        from = last.index.saturating_add(1);
        for record in records {
            if let Event::SourceTrusted { source, revision, .. } = record.event {
                trusted.insert(source, revision);
            }
        }
    }
}

/// What an earlier process left in the journal.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// What people said last.
    pub hold: Hold,
    /// The last few outcomes.
    pub recent: Vec<Recent>,
    /// The last word on a revision.
    pub last_event: Option<Event>,
    /// The last refusal.
    pub last_refused: Option<Event>,
    /// Applied revisions in order, the newest last.
    pub applied: Vec<String>,
    /// Of all that was ever applied, what somebody was known to have signed.
    pub signed: std::collections::HashSet<String>,
    /// The last that was signed and applied because the source showed it: what the next one has to follow.
    pub trusted: Option<String>,
    /// Of those, the ones that were applied because the source showed them.
    pub followed: Vec<String>,
    /// What the site was called last; none where nothing that was applied said so.
    pub site: Option<String>,
    /// How many events of the site were read.
    pub head: u64,
}

impl Past {
    /// Reads the site's whole stream, a page at a time.
    pub(super) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let mut past = Self::default();
        let mut from = 0;
        loop {
            let records = store.events_of(&Stream::Site, from, PAGE)?;
            let Some(last) = records.last() else { return Ok(past) };
            from = last.index.saturating_add(1);
            past.head = from;
            records.iter().for_each(|record| past.take(record));
        }
    }

    fn take(&mut self, record: &Record) {
        self.hold.apply(record);
        let outcome = match &record.event {
            Event::RevisionApplied { revision, site, signed_by, .. } => {
                if !site.is_empty() {
                    self.site = Some(site.clone());
                }
                if !signed_by.is_empty() {
                    self.signed.insert(revision.clone());
                }
                push_bounded(&mut self.applied, revision);
                if self.hold.pinned.is_none() {
                    push_bounded(&mut self.followed, revision);
                    if !signed_by.is_empty() {
                        self.trusted = Some(revision.clone());
                    }
                }
                Outcome::Applied
            }
            Event::RevisionRefused { .. } => {
                self.last_refused = Some(record.event.clone());
                Outcome::Refused
            }
            _ => return,
        };
        self.last_event = Some(record.event.clone());
        if let Event::RevisionApplied { revision, summary, .. } | Event::RevisionRefused { revision, summary, .. } =
            &record.event
        {
            let count = if let Event::RevisionRefused { count, .. } = &record.event { *count } else { 0 };
            let (revision, summary) = (revision.clone(), summary.clone());
            let outcome = outcome.as_str().to_owned();
            let mut status = super::Status { recent: std::mem::take(&mut self.recent), ..super::Status::default() };
            status.remember(Recent { revision, summary, at_unix_ms: record.at_unix_ms, outcome, count, times: 1 });
            self.recent = status.recent;
        }
    }

    /// The revision to go back to. Without a name: the one that the source showed, and that was applied, before the one that
    /// serves; one more rollback goes one further back.
    pub(super) fn choose(&self, serving: Option<&str>, to: Option<&str>) -> Result<String, NoWayBack> {
        if let Some(name) = to {
            return self.named(name);
        }
        let before = match serving.and_then(|serving| self.followed.iter().rposition(|it| it == serving)) {
            Some(place) => self.followed.get(..place).unwrap_or_default(),
            None => &self.followed,
        };
        let earlier = before.iter().rev().find(|revision| Some(revision.as_str()) != serving);
        earlier.cloned().ok_or(NoWayBack::NothingBefore)
    }

    fn named(&self, name: &str) -> Result<String, NoWayBack> {
        let wanted = name.to_ascii_lowercase();
        let mut found: Vec<&String> = self.applied.iter().filter(|revision| revision.starts_with(&wanted)).collect();
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [one] if wanted.len() >= REVISION_LEAST => Ok(String::clone(one)),
            [] | [_] => Err(NoWayBack::NeverApplied { revision: name.to_owned() }),
            [..] => Err(NoWayBack::Ambiguous { revision: name.to_owned() }),
        }
    }

    /// What stays in the mirror: the newest applied revisions, each once, the newest last.
    pub(super) fn to_keep(&self) -> Vec<String> {
        let mut kept: Vec<String> = Vec::new();
        for revision in self.applied.iter().rev() {
            if kept.len() < KEPT && !kept.contains(revision) {
                kept.push(revision.clone());
            }
        }
        kept.reverse();
        kept
    }
}

fn push_bounded(list: &mut Vec<String>, revision: &str) {
    if list.len() >= APPLIED_KNOWN {
        list.remove(0);
    }
    list.push(revision.to_owned());
}

/// Why there is nothing to go back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    /// None was applied before.
    #[error("no revision was applied before the one that serves")]
    NothingBefore,
    /// It is not among those that were applied.
    #[error("revision {revision} was never applied here: only what was good and served can be gone back to")]
    NeverApplied {
        /// What was given.
        revision: String,
    },
    /// Several begin so.
    #[error("several revisions that were applied begin with {revision}")]
    Ambiguous {
        /// What was given.
        revision: String,
    },
}

#[cfg(test)]
mod tests {
    use super::super::test_store::MemoryStore;
    use super::*;
    use crate::store::Batch;

    fn applied(revision: &str) -> Event {
        Event::RevisionApplied {
            revision: revision.into(),
            summary: format!("about {revision}"),
            machines: 3,
            site: "lab".into(),
            signed_by: Vec::new(),
        }
    }

    fn refused(revision: &str) -> Event {
        let findings = vec!["site.yaml:1:1: error: x".to_owned()];
        Event::RevisionRefused { revision: revision.into(), summary: "bad".into(), findings, count: 1 }
    }

    fn pinned(revision: &str) -> Event {
        let (revision, summary) = (revision.into(), "s".into());
        Event::RevisionPinned { by: "ann".into(), revision, summary, reason: "slow".into() }
    }

    fn resumed() -> Event {
        Event::FollowingResumed { by: "ann".into(), reason: String::new() }
    }

    async fn store(events: &[Event]) -> MemoryStore {
        let store = MemoryStore::default();
        for event in events {
            let batch = Batch { events: vec![(Stream::Site, event.clone())], ..Batch::default() };
            store.commit(batch, 7).await.expect("committed");
        }
        store
    }

    #[tokio::test]
    async fn history_gives_the_last_lines_in_order_however_long_the_journal_is() {
        let mut events = vec![Event::SiteAdopted { by: "ann".into(), reason: String::new() }];
        events.extend((0..1_200).map(|n| applied(&format!("{n:040}"))));
        let pushed = |revision: &str| Event::RevisionPushed {
            by: "ada".into(),
            branch: "main".into(),
            revision: revision.into(),
            summary: "s".into(),
            words: vec!["allow-wipe=m1".into(), "allow-empty".into()],
        };
        events.extend([pushed("bad"), refused("bad"), pinned("old"), applied("old"), resumed()]);
        let store = store(&events).await;
        let rows = history(&store, 6).expect("rows");
        let words: Vec<_> = rows.iter().map(|row| (row.outcome.as_str(), row.revision.as_deref())).collect();
        assert_eq!(rows[1].reason.as_deref(), Some("allow-wipe=m1, allow-empty"), "what the push allowed");
        let last = format!("{:040}", 1_199);
        assert_eq!(
            words,
            [
                ("applied", Some(last.as_str())),
                ("pushed", Some("bad")),
                ("refused", Some("bad")),
                ("pinned", Some("old")),
                ("applied", Some("old")),
                ("resumed", None)
            ]
        );
        assert_eq!((rows[1].by.as_deref(), rows[2].count, rows[3].by.as_deref()), (Some("ada"), 1, Some("ann")));
        assert_eq!(rows[5].reason, None);
        assert_eq!(history(&store, 5_000).expect("rows").len(), 1_205);
        let past = Past::read(&store).expect("the past");
        assert_eq!((past.applied.len(), past.followed.len(), past.recent.len()), (1_201, 1_200, 10));
        assert_eq!(past.to_keep().len(), KEPT);
    }

    #[tokio::test]
    async fn the_way_back_goes_to_what_was_good_and_served() {
        let (a, b, c) = ("aaaa1", "bbbb1", "cccc1");
        let first = [applied(a), applied(b), refused("dddd1"), applied(c)];
        let back = [applied(a), applied(b), applied(c), pinned(b), applied(b)];
        let forth = [applied(a), applied(b), applied(a)];
        let never = |name: &str| Err(NoWayBack::NeverApplied { revision: name.to_owned() });
        for (events, serving, to, expected) in [
            (&first[..], Some(c), None, Ok(b)),
            // One more goes one further back, never forth again.
            (&back[..], Some(b), None, Ok(a)),
            (&back[..], Some(a), None, Err(NoWayBack::NothingBefore)),
            // A branch that was set back by a push.
            (&forth[..], Some(a), None, Ok(b)),
            (&first[..], Some(a), None, Err(NoWayBack::NothingBefore)),
            (&first[..], None, None, Ok(c)),
            (&[][..], None, None, Err(NoWayBack::NothingBefore)),
            (&first[..], Some(c), Some("aaaa"), Ok(a)),
            (&first[..], Some(c), Some("AAAA1"), Ok(a)),
            (&first[..], Some(c), Some(c), Ok(c)),
            (&first[..], Some(c), Some("dddd1"), never("dddd1")),
            (&first[..], Some(c), Some("aa"), never("aa")),
            (
                &[applied("abcd1"), applied("abcd2")][..],
                None,
                Some("abcd"),
                Err(NoWayBack::Ambiguous { revision: "abcd".to_owned() }),
            ),
        ] {
            let past = Past::read(&store(events).await).expect("the past");
            assert_eq!(past.choose(serving, to), expected.map(str::to_owned), "{serving:?} {to:?} {events:?}");
        }
    }
}
