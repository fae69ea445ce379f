//! What to do about what was seen. Pure.

use super::status::{Attempt, Outcome};
use super::{Allowance, Census, Foreseen};
use crate::content::kinds::WipeGuard;
use crate::git::Revision;
use crate::journal::{Event, Hold};
use std::time::{Duration, Instant};

/// A trailer of the commit's message by which a person says that emptying the repository is meant.
pub(super) const EMPTY_TRAILER: &str = "Formwork-Empty: yes";

/// The key of a trailer of the commit's message by which a person allows machines to be wiped: their names, or `all`.
pub(super) const WIPE_TRAILER: &str = "Formwork-Allow-Wipe:";

/// How many machines a finding names.
const MACHINES_NAMED: usize = 20;

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

/// Refuses to go from something to nothing, which is an accident far more often than a wish: a lost folder, a wrong path. A person
/// says that it is meant in the commit's message, or when pushing it.
pub(super) fn guard(
    serving: Option<Census>,
    next: Census,
    revision: &Revision,
    allowed: &Allowance,
) -> Result<(), String> {
    let Some(serving) = serving else { return Ok(()) };
    let emptied = if serving.objects > 0 && next.objects == 0 {
        let objects = if serving.objects == 1 { "1 object".to_owned() } else { format!("{} objects", serving.objects) };
        format!("it declares nothing, the revision that serves declares {objects}")
    // A site of one machine that loses it is a decision; all of many at once hardly.
    } else if serving.machines > 1 && next.machines == 0 {
        format!("it declares no machine, the revision that serves declares {}", serving.machines)
    } else {
        return Ok(());
    };
    if allowed.empty || revision.message.lines().any(|line| line.trim() == EMPTY_TRAILER) {
        return Ok(());
    }
    Err(format!(
        "site.yaml:1:1: error: {emptied}\n  hint: if that is meant, say so in the commit's message with the line \
         `{EMPTY_TRAILER}`, or push it with `-o allow-empty`"
    ))
}

/// What a message allows to be wiped: names of machines, or `all`.
fn wipe_words(message: &str) -> Vec<&str> {
    let words = message.lines().filter_map(|line| line.trim().strip_prefix(WIPE_TRAILER));
    words.flat_map(|names| names.split([',', ' '])).filter(|name| !name.is_empty()).collect()
}

/// Refuses a push that loosens the guard against wiping itself, unless its pusher may wipe and says so: else whoever may push
/// would lift the bound with one commit, and wipe with the next.
///
/// # Errors
/// The finding, which names both bounds and the word. `place` is where the new one stands.
pub fn guard_bound(
    serving: WipeGuard,
    next: WipeGuard,
    place: &str,
    message: &str,
    allowed: &Allowance,
) -> Result<(), String> {
    let loosened = next.share > serving.share || next.at_least > serving.at_least;
    if !loosened || allowed.wipe_all || wipe_words(message).contains(&"all") {
        return Ok(());
    }
    let told = |guard: WipeGuard| format!("share: {}, atLeast: {}", guard.share, guard.at_least);
    Err(format!(
        "{place}: error: it loosens spec.wipeGuard, from `{}` to `{}`: more machines could be wiped by one commit\n  \
         hint: whoever may wipe (`--may wipe`) pushes it with `-o allow-wipe=all`, or with the line `{WIPE_TRAILER} all` in \
         the commit's message",
        told(serving),
        told(next),
    ))
}

/// Refuses a commit by which more than the site's share of its machines would be wiped, which is an accident far more often than
/// a wish: a number raised in every file, an enrollment rule that was meant for a few. A person says that it is meant in
/// the commit's message, or when pushing it; machines that are allowed by name do not count.
///
/// # Errors
/// The finding, which names the machines and the word.
pub fn guard_wipe(foreseen: &Foreseen, message: &str, allowed: &Allowance) -> Result<(), String> {
    let words = wipe_words(message);
    let spoken = |machine: &str| words.iter().any(|word| *word == "all" || *word == machine);
    let losses: Vec<_> =
        foreseen.losses.iter().filter(|loss| !spoken(&loss.machine) && !allowed.allows_wipe(&loss.machine)).collect();
    let count = losses.len();
    let share = usize::try_from(foreseen.guard.share).unwrap_or(usize::MAX);
    let few = count < usize::try_from(foreseen.guard.at_least).unwrap_or(usize::MAX);
    if count == 0 || few || count.saturating_mul(100) <= share.saturating_mul(foreseen.machines) {
        return Ok(());
    }
    let named: Vec<String> =
        losses.iter().take(MACHINES_NAMED).map(|loss| format!("{} ({})", loss.machine, loss.why)).collect();
    let more = if count > MACHINES_NAMED { format!(" and {} more", count - MACHINES_NAMED) } else { String::new() };
    let place = losses.iter().find_map(|loss| loss.place.as_ref()).map(ToString::to_string);
    // With the ones that were allowed already: a line that is copied replaces the one before it.
    let names: Vec<&str> = foreseen.losses.iter().map(|loss| loss.machine.as_str()).collect();
    let by_name = |before: &str, between: &str| match names.len() {
        0..=MACHINES_NAMED => format!(", or with names (`{before}{}`)", names.join(between)),
        _ => String::new(),
    };
    Err(format!(
        "{}: error: it would wipe {count} of {} machines, more than {share} % (spec.wipeGuard of the site that serves): \
         {}{more}\n  hint: if that is meant, say so in the commit's message with the line `{WIPE_TRAILER} all`{}; or push it \
         with `-o allow-wipe=all`{}; what else it does: `formwork diff`",
        place.unwrap_or_else(|| "site.yaml:1:1".to_owned()),
        foreseen.machines,
        named.join(", "),
        by_name(&format!("{WIPE_TRAILER} "), ", "),
        by_name("-o allow-wipe=", ","),
    ))
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
pub(super) fn applied_event(revision: &Revision, census: Census, signed_by: Vec<String>) -> Event {
    Event::RevisionApplied {
        revision: revision.id.clone(),
        summary: revision.summary.clone(),
        machines: census.machines,
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
        count: findings.len(),
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
    fn going_from_something_to_nothing_needs_a_word() {
        let census = |machines, objects| Census { machines, objects };
        let say = |message: &str| Revision { id: "a".into(), summary: String::new(), message: message.into() };
        for (serving, next, message, allowed) in [
            (None, census(0, 0), "", true),
            (Some(census(3, 9)), census(2, 8), "", true),
            (Some(census(3, 9)), census(0, 0), "", false),
            (Some(census(0, 2)), census(0, 0), "", false),
            (Some(census(3, 9)), census(0, 6), "", false),
            (Some(census(1, 7)), census(0, 6), "", true),
            (Some(census(0, 0)), census(0, 0), "", true),
            (Some(census(3, 9)), census(0, 0), "gone\n\nFormwork-Empty: yes\n", true),
            (Some(census(3, 9)), census(0, 0), "not Formwork-Empty: yes", false),
        ] {
            let answer = guard(serving, next, &say(message), &Allowance::default());
            assert_eq!(answer.is_ok(), allowed, "{serving:?} {next:?} {message:?}: {answer:?}");
            let word = Allowance { empty: true, ..Allowance::default() };
            assert_eq!(guard(serving, next, &say(message), &word), Ok(()), "allowed when it was pushed");
        }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let applied = |revision: &str| Event::RevisionApplied {
            revision: revision.into(),
            summary: String::new(),
            machines: 1,
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
