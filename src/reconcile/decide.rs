//! What to do about what was seen. Pure.

use super::status::{Attempt, Outcome};
use super::{Allowance, Census, Foreseen};
use crate::git::Revision;
use crate::journal::Event;
use std::time::Duration;

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

/// Whether the revision at the head is to be tried now. `asked`: a person asked, or the pause after a postponed attempt is over.
pub(super) fn should_attempt(last: Option<&Attempt>, head: &str, asked: bool) -> bool {
    match last {
        Some(last) if last.revision == head => asked && last.outcome != Outcome::Applied,
        _ => true,
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
        format!("it declares nothing, the revision that serves declares {} objects", serving.objects)
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

/// Refuses a commit by which more than the site's share of its machines would be wiped, which is an accident far more often than
/// a wish: a number raised in every file, an enrollment rule that was meant for a few. A person says that it is meant in
/// the commit's message, or when pushing it; machines that are allowed by name do not count.
///
/// # Errors
/// The finding, which names the machines and the word.
pub fn guard_wipe(foreseen: &Foreseen, message: &str, allowed: &Allowance) -> Result<(), String> {
    let words = message.lines().filter_map(|line| line.trim().strip_prefix(WIPE_TRAILER));
    let words: Vec<&str> = words.flat_map(|names| names.split([',', ' '])).filter(|name| !name.is_empty()).collect();
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
    let names: Vec<&str> = losses.iter().take(3).map(|loss| loss.machine.as_str()).collect();
    Err(format!(
        "{}: error: it would wipe {count} of {} machines, more than {share} % (spec.wipeGuard of the site that serves): \
         {}{more}\n  hint: if that is meant, say so in the commit's message with the line `{WIPE_TRAILER} all`, or with \
         names (`{WIPE_TRAILER} {}`); or push it with `-o allow-wipe=all`; what else it does: `formwork diff`",
        place.unwrap_or_else(|| "site.yaml:1:1".to_owned()),
        foreseen.machines,
        named.join(", "),
        names.join(", "),
    ))
}

/// The event of a revision that serves.
pub(super) fn applied_event(revision: &Revision, census: Census) -> Event {
    Event::RevisionApplied {
        revision: revision.id.clone(),
        summary: revision.summary.clone(),
        machines: census.machines,
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

/// Whether an outcome is news: after a restart the same revision with the same outcome is not.
pub(super) fn is_news(last: Option<&Event>, event: &Event) -> bool {
    last != Some(event)
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
        for (last, head, asked, expected) in [
            (None, "a", false, true),
            (Some(attempt("a", Outcome::Applied)), "a", false, false),
            (Some(attempt("a", Outcome::Applied)), "a", true, false),
            (Some(attempt("a", Outcome::Refused)), "a", false, false),
            (Some(attempt("a", Outcome::Refused)), "a", true, true),
            (Some(attempt("a", Outcome::Refused)), "b", false, true),
            (Some(attempt("a", postponed())), "a", false, false),
            (Some(attempt("a", postponed())), "a", true, true),
            (Some(attempt("b", Outcome::Refused)), "a", false, true),
        ] {
            assert_eq!(should_attempt(last.as_ref(), head, asked), expected, "{last:?} {head} {asked}");
        }
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
    fn postponed_attempts_come_further_apart_and_never_stop() {
        let seconds: Vec<_> = [1, 2, 3, 5, 6, 100].iter().map(|n| backoff(*n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30]);
    }
}
