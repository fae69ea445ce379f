//! What to do about what was seen. Pure.

use super::status::{Attempt, Outcome};
use super::{Census, SiteName};
use crate::content::count_of;
use crate::git::Revision;
use crate::journal::{Event, Hold};
use std::time::{Duration, Instant};

/// How many findings an event keeps.
const FINDINGS_KEPT: usize = 20;

/// The pause before a postponed attempt is made again.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Its upper bound: a repository that was mended is noticed within it.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// For so long newer revisions may keep what is built from being applied; then the one that is built is carried through.
const OVERTAKEN_MOST: Duration = Duration::from_secs(5);

/// Whether this revision is to be tried now. `asked`: a person asked, or the pause after a postponed attempt is over. `allowed`:
/// nothing that people said keeps it from being applied.
pub(super) fn should_attempt(last: Option<&Attempt>, revision: &str, asked: bool, allowed: bool) -> bool {
    match last.filter(|last| last.revision == revision).map(|last| &last.outcome) {
        None | Some(Outcome::Overtaken) => true,
        Some(Outcome::Applied) => false,
        Some(Outcome::Waiting) => allowed || asked,
        Some(Outcome::Refused | Outcome::Postponed { .. }) => asked,
    }
}

/// Whether a revision that is built may be applied, where `before` was when work on it began, and `now` is, what the journal says was
/// applied last.
///
/// # Errors
/// `true`: it waits for a person. `false`: another server applied another revision meanwhile, and what is newer is to be seen.
pub(super) fn may_apply(hold: &Hold, before: Option<&str>, now: Option<&str>, revision: &str) -> Result<(), bool> {
    if now != before && now != Some(revision) {
        return Err(false);
    }
    if hold.allows(revision) { Ok(()) } else { Err(true) }
}

/// How long work was thrown away because something newer came: so that pushes in a row starve nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// Nothing was thrown away yet.
    pub(super) const fn new() -> Self {
        Self { since: None }
    }

    /// What is built may be thrown away for something newer.
    pub(super) fn lasts(self, now: Instant) -> bool {
        self.since.is_none_or(|since| now.saturating_duration_since(since) < OVERTAKEN_MOST)
    }

    /// It was.
    pub(super) fn overtaken(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// An attempt came to its end.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }
}

/// The pause after so many postponed attempts in a row (1 for the first).
pub(super) fn backoff(postponed: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(postponed.saturating_sub(1))).min(BACKOFF_MOST)
}

/// Whether two revisions were put together of several sources, and the main one's commit is the same: what its message allows was
/// said of the first.
pub(super) fn says_again(before: &str, now: &str) -> bool {
    let main = |message: &str| -> Option<String> {
        let last = message.trim_end().rsplit("\n\n").next()?;
        last.lines().next()?.strip_prefix("Formwork-Source: ").map(str::to_owned)
    };
    main(before).is_some_and(|main_before| main(now) == Some(main_before))
}

/// The event of a revision that serves.
pub(super) fn applied_event(revision: &Revision, census: Census, site: &SiteName, signed_by: Vec<String>) -> Event {
    Event::RevisionApplied {
        revision: revision.id.clone(),
        summary: revision.summary.clone(),
        machines: census.machines,
        site: site.name.clone(),
        signed_by,
    }
}

/// Who signed a revision, as its last event has it: what was trusted once is not asked about again when it is restored.
pub(super) fn signers_of(last: Option<&Event>, id: &str) -> Vec<String> {
    match last {
        Some(Event::RevisionApplied { revision, signed_by, .. }) if revision == id => signed_by.clone(),
        _ => Vec::new(),
    }
}

/// The event of a revision that was refused.
pub(super) fn refused_event(revision: &Revision, findings: &[String]) -> Event {
    Event::RevisionRefused {
        revision: revision.id.clone(),
        summary: revision.summary.clone(),
        findings: findings.iter().take(FINDINGS_KEPT).cloned().collect(),
        count: count_of(findings),
    }
}

/// Whether an outcome is news: after a restart the same revision with the same outcome is not. While people hold content back
/// (`held`), neither is a refusal that was told before a rollback.
pub(super) fn is_news(last: Option<&Event>, last_refused: Option<&Event>, held: bool, event: &Event) -> bool {
    last != Some(event) && !(held && last_refused == Some(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(revision: &str, outcome: Outcome) -> Attempt {
        Attempt {
            revision: revision.to_owned(),
            summary: String::new(),
            at_unix_ms: 0,
            outcome,
            findings: Vec::new(),
            count: 0,
        }
    }

    #[test]
    fn a_refused_revision_is_tried_once_and_a_newer_one_always() {
        let postponed = || Outcome::Postponed { reason: "disk".to_owned() };
        for (last, head, asked, allowed, expected) in [
            (None, "a", false, true, true),
            (Some(attempt("a", Outcome::Applied)), "a", false, true, false),
            (Some(attempt("a", Outcome::Applied)), "a", true, true, false),
            (Some(attempt("a", Outcome::Refused)), "a", false, true, false),
            (Some(attempt("a", Outcome::Refused)), "a", true, true, true),
            (Some(attempt("a", Outcome::Refused)), "b", false, true, true),
            (Some(attempt("a", postponed())), "a", false, true, false),
            (Some(attempt("a", postponed())), "a", true, true, true),
            (Some(attempt("b", Outcome::Refused)), "a", false, true, true),
            // While people hold it back it is judged once; when they let go it is applied.
            (None, "a", false, false, true),
            (Some(attempt("a", Outcome::Waiting)), "a", false, false, false),
            (Some(attempt("a", Outcome::Waiting)), "a", true, false, true),
            (Some(attempt("a", Outcome::Waiting)), "a", false, true, true),
        ] {
            let answer = should_attempt(last.as_ref(), head, asked, allowed);
            assert_eq!(answer, expected, "{last:?} {head} {asked} {allowed}");
        }
    }

    #[test]
    fn work_is_thrown_away_for_something_newer_for_a_bounded_time() {
        let began = Instant::now();
        let mut patience = Patience::new();
        assert!(patience.lasts(began));
        for second in [0, 2, 4] {
            patience.overtaken(began + Duration::from_secs(second));
        }
        assert!(patience.lasts(began + Duration::from_secs(4)));
        assert!(!patience.lasts(began + Duration::from_secs(5)), "counted from the first that was thrown away");
        patience.rest();
        assert!(patience.lasts(began + Duration::from_secs(60)));
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let applied = |revision: &str| Event::RevisionApplied {
            revision: revision.into(),
            summary: String::new(),
            machines: 1,
            site: "lab".into(),
            signed_by: Vec::new(),
        };
        let refused = |revision: &str| Event::RevisionRefused {
            revision: revision.into(),
            summary: String::new(),
            findings: Vec::new(),
            count: 1,
        };
        let (a, b) = (applied("a"), refused("b"));
        for (last, last_refused, held, event, news) in [
            (None, None, false, &a, true),
            (Some(&a), None, false, &a, false),
            (Some(&a), None, false, &b, true),
            (Some(&b), Some(&b), false, &b, false),
            // The branch was set back to what serves, and to what was refused: both are told.
            (Some(&b), Some(&b), false, &a, true),
            (Some(&a), Some(&b), false, &b, true),
            // Gone back by hand from what was refused: it is judged again, and nothing is new.
            (Some(&a), Some(&b), true, &b, false),
            (Some(&a), Some(&b), true, &refused("c"), true),
        ] {
            assert_eq!(is_news(last, last_refused, held, event), news, "{last:?} {last_refused:?} {held} {event:?}");
        }
    }

    #[test]
    fn of_several_sources_the_main_message_speaks_for_its_own_commit_only() {
        let of = |main: &str, tenant: &str| {
            format!(
                "Wipe (with team-a {tenant})\n\nFormwork-Allow-Wipe: all\n\n\
                 Formwork-Source: platform {main} at the site's root: Wipe\nFormwork-Source: team-a {tenant} at a: x\n"
            )
        };
        assert!(says_again(&of("m1", "t1"), &of("m1", "t2")));
        assert!(!says_again(&of("m1", "t1"), &of("m2", "t1")));
        assert!(
            !says_again("Formwork-Allow-Wipe: all\n", "Formwork-Allow-Wipe: all\n"),
            "one source: each message is its own"
        );
    }

    #[test]
    fn postponed_attempts_come_further_apart_and_never_stop() {
        let seconds: Vec<_> = [1, 2, 3, 5, 6, 100].iter().map(|n| backoff(*n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30]);
    }
}
