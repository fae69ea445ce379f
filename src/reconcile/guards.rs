//! What a revision may do only by a person's word: empty the site, wipe or lose many machines, be another site's, loosen the
//! guards themselves. The word is in the commit's message, or said with the push. Pure.

use super::{Allowance, Census, Foreseen, Loss, SiteName};
use crate::content::kinds::{LeaveGuard, WipeGuard};
use crate::git::{LEAVE_TRAILER, MayLeave, Revision};

/// A trailer of the commit's message by which a person says that emptying the repository is meant.
pub(super) const EMPTY_TRAILER: &str = "Formwork-Empty: yes";

/// The key of a trailer of the commit's message by which a person allows machines to be wiped: their names, or `all`.
pub(super) const WIPE_TRAILER: &str = "Formwork-Allow-Wipe:";

/// The key of a trailer of the commit's message by which a person says that the site has another name from now on: that name.
pub(super) const RENAME_TRAILER: &str = "Formwork-Allow-Site-Rename:";

/// What begins the part of a guard's hint that is for who has pushed already, and for nobody who pushes now.
const AFTERWARDS: &str = "; of what is pushed already, ";

/// A guard's finding as it is told to who pushes: what the server does not have yet, no other command knows.
pub fn of_push(finding: &str) -> &str {
    finding.split_once(AFTERWARDS).map_or(finding, |(finding, _)| finding)
}

/// How one says a word of what is pushed already, and of a rollback: of this revision and of none that came since.
fn afterwards(word: &str, revision: &Revision) -> String {
    let short = revision.short();
    format!(
        "{AFTERWARDS}`formwork reconcile {word} --revision {short}` says it, and of a rollback \
         `formwork rollback {short} {word} --reason WHY`"
    )
}

/// How many machines a finding names.
const MACHINES_NAMED: usize = 20;

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
    if empty_is_meant(&revision.message, allowed) {
        return Ok(());
    }
    Err(format!(
        "site.yaml:1:1: error: {emptied}\n  hint: if that is meant, say so in the commit's message with the line \
         `{EMPTY_TRAILER}`, or push it with `-o allow-empty`{}",
        afterwards("--allow-empty", revision)
    ))
}

fn empty_is_meant(message: &str, allowed: &Allowance) -> bool {
    allowed.empty || message.lines().any(|line| line.trim() == EMPTY_TRAILER)
}

/// Refuses content that says it is another site's than the one that is served: pushed to the wrong server it would take the place
/// of everything. `known` is the name that was applied last; none, where nothing was.
///
/// # Errors
/// The finding, at the name, with the word.
pub fn guard_site(
    known: Option<&str>,
    next: &SiteName,
    revision: &Revision,
    allowed: &Allowance,
) -> Result<(), String> {
    let Some(known) = known.filter(|known| !known.is_empty() && !next.name.is_empty() && **known != next.name) else {
        return Ok(());
    };
    let name = &next.name;
    let spoken = revision.message.lines().filter_map(|line| line.trim().strip_prefix(RENAME_TRAILER));
    if allowed.rename.as_ref() == Some(name) || spoken.map(str::trim).any(|spoken| spoken == name) {
        return Ok(());
    }
    Err(format!(
        "{}: error: this is the site `{name}`, and the one that is served is `{known}`: another site's repository would take the \
         place of everything\n  hint: was it meant for another server? If the site is called `{name}` from now on, say so in the \
         commit's message with the line `{RENAME_TRAILER} {name}`, or push it with \
         `-o allow-site-rename={name}`{AFTERWARDS}`formwork reconcile --allow-site-rename {name} --revision {}` says it",
        next.place,
        revision.short()
    ))
}

/// What a message allows to be wiped: names of machines, or `all`.
fn wipe_words(message: &str) -> Vec<&str> {
    let words = message.lines().filter_map(|line| line.trim().strip_prefix(WIPE_TRAILER));
    words.flat_map(|names| names.split([',', ' '])).filter(|name| !name.is_empty()).collect()
}

/// What a commit's message allows to machines, which of a mounted source's commit are its own.
pub(super) fn spoken(message: &str) -> Allowance {
    let (all, named): (Vec<&str>, Vec<&str>) = wipe_words(message).into_iter().partition(|word| *word == "all");
    Allowance {
        wipe_all: !all.is_empty(),
        wipe: named.into_iter().map(str::to_owned).collect(),
        leave: MayLeave::of_message(message),
        ..Allowance::default()
    }
}

/// All that a commit's message allows.
pub fn said_in(message: &str) -> Allowance {
    let mut names = message.lines().filter_map(|line| line.trim().strip_prefix(RENAME_TRAILER)).map(str::trim);
    Allowance {
        empty: empty_is_meant(message, &Allowance::default()),
        rename: names.rfind(|name| !name.is_empty()).map(str::to_owned),
        ..spoken(message)
    }
}

/// Refuses a push that loosens the guard against wiping itself, unless its pusher may wipe and says so: else whoever may push
/// would lift the bound with one commit, and wipe with the next.
///
/// # Errors
/// The finding, which names both bounds and the word. `place` is where the new one stands; `allowed`: by the push, and by the
/// commit's message as far as its pusher may say it.
pub fn guard_bound(serving: WipeGuard, next: WipeGuard, place: &str, allowed: &Allowance) -> Result<(), String> {
    let loosened = next.share > serving.share || next.at_least > serving.at_least;
    if !loosened || allowed.wipe_all {
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
pub fn guard_wipe(foreseen: &Foreseen, revision: &Revision, allowed: &Allowance) -> Result<(), String> {
    let words = wipe_words(&revision.message);
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
         with `-o allow-wipe=all`{}{}; what else it does: `formwork diff`",
        place.unwrap_or_else(|| "site.yaml:1:1".to_owned()),
        foreseen.machines,
        named.join(", "),
        by_name(&format!("{WIPE_TRAILER} "), ", "),
        by_name("-o allow-wipe=", ","),
        afterwards("--allow-wipe all", revision),
    ))
}

/// Refuses a push that loosens the guard against machines leaving, as [`guard_bound`] does for the one against wiping.
///
/// # Errors
/// The finding, which names both bounds and the word.
pub fn guard_leave_bound(
    serving: LeaveGuard,
    next: LeaveGuard,
    place: &str,
    allowed: &Allowance,
) -> Result<(), String> {
    let loosened = next.share > serving.share || next.at_least > serving.at_least;
    if !loosened || allowed.leave.all {
        return Ok(());
    }
    let told = |guard: LeaveGuard| format!("share: {}, atLeast: {}", guard.share, guard.at_least);
    Err(format!(
        "{place}: error: it loosens spec.leaveGuard, from `{}` to `{}`: more machines could leave by one commit\n  hint: whoever \
         may let machines leave (`--may leave`) pushes it with `-o allow-leave=all`, or with the line `{LEAVE_TRAILER} all` in \
         the commit's message",
        told(serving),
        told(next),
    ))
}

/// A source that the revision which serves is made of, and the next one is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneSource {
    /// Its name.
    pub name: String,
    /// Where it was mounted.
    pub mount: String,
}

/// Refuses a commit by which more than the site's share of its machines leave Git, or a source goes away with several: a lost
/// folder, a wrong merge, far more often than a wish. A person says that it is meant in the commit's message, or when pushing
/// it. `gone`: sources that are missing.
///
/// # Errors
/// The finding, which says how many, names some, and gives the word.
pub fn guard_leave(
    foreseen: &Foreseen,
    gone: &[GoneSource],
    next: Census,
    revision: &Revision,
    allowed: &Allowance,
) -> Result<(), String> {
    // Whoever means to empty it means this.
    if next.machines == 0 && empty_is_meant(&revision.message, allowed) {
        return Ok(());
    }
    let may = allowed.leave.and(&MayLeave::of_message(&revision.message));
    let leaving = may.beyond(&foreseen.leaving, |machine| &machine.machine);
    let (guard, all) = (foreseen.leave_guard, foreseen.leaving.len());
    if guard.asks(leaving.len(), foreseen.machines_before) {
        let what = format!(
            "{} of {} machines would leave Git, more than {} % (spec.leaveGuard of the site that serves)",
            leaving.len(),
            foreseen.machines_before,
            guard.share
        );
        return Err(leave_finding(&what, &leaving, all, revision));
    }
    for source in gone {
        let inside = |file: &str| file.strip_prefix(source.mount.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let its: Vec<&Loss> = leaving
            .iter()
            .copied()
            .filter(|machine| machine.place.as_ref().is_some_and(|place| inside(&place.file)))
            .collect();
        if guard.asks(its.len(), its.len()) {
            let what = format!("source `{}` is gone, and {} machines with it would leave Git", source.name, its.len());
            return Err(leave_finding(&what, &its, all, revision));
        }
    }
    Ok(())
}

/// `all`: how many leave in all, those that were allowed counted in.
fn leave_finding(what: &str, leaving: &[&Loss], all: usize, revision: &Revision) -> String {
    let named: Vec<&str> = leaving.iter().take(MACHINES_NAMED).map(|machine| machine.machine.as_str()).collect();
    let more = match leaving.len().saturating_sub(MACHINES_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let place = leaving.iter().find_map(|machine| machine.place.as_ref()).map(ToString::to_string);
    format!(
        "{}: error: {what}: {}{more}\n  hint: their runs would end, and they would boot their own disks; if that is meant, say so \
         in the commit's message with the line `{LEAVE_TRAILER} {all}`, or push it with `-o allow-leave={all}`; names or `all` do \
         as well{}; what else it does: `formwork diff`",
        place.unwrap_or_else(|| "site.yaml:1:1".to_owned()),
        named.join(", "),
        afterwards(&format!("--allow-leave {all}"), revision),
    )
}

/// Sources that the message of a revision put together of several names, and the next one's does not.
pub(super) fn gone_sources(before: &str, now: &str) -> Vec<GoneSource> {
    let sources = |message: &str| -> Vec<GoneSource> {
        let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let part = |line: &str| {
            // `Formwork-Source: NAME COMMIT at MOUNT: SUBJECT`; the main one is at the site's root.
            let (source, rest) = line.strip_prefix("Formwork-Source: ")?.split_once(" at ")?;
            let (name, _) = source.split_once(' ')?;
            let (mount, _) = rest.split_once(": ").or_else(|| rest.split_once(':'))?;
            Some(GoneSource { name: name.to_owned(), mount: mount.to_owned() })
        };
        last.lines().filter_map(part).collect()
    };
    let now = sources(now);
    // The first one is the main one, and never missing.
    let mounted = sources(before).into_iter().skip(1);
    mounted.filter(|source| !now.iter().any(|other| other.name == source.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_told_for_what_is_pushed_already_and_left_out_for_who_pushes() {
        let (some, none) = (Census { machines: 3, objects: 9 }, Census { machines: 0, objects: 0 });
        let id = "0123456789abcdef".to_owned();
        let revision = Revision { id, summary: String::new(), message: String::new() };
        let name = SiteName { name: "plant".into(), place: "site.yaml:3:9".into() };
        let loss = Loss { machine: "m".into(), place: None, why: "x".into() };
        let strict = (WipeGuard { share: 0, at_least: 1 }, LeaveGuard { share: 0, at_least: 1 });
        let foreseen = Foreseen {
            losses: vec![loss.clone()],
            machines: 1,
            guard: strict.0,
            leaving: vec![loss],
            machines_before: 1,
            leave_guard: strict.1,
        };
        let nothing = Allowance::default();
        for (refused, word) in [
            (guard(Some(some), none, &revision, &nothing), "--allow-empty"),
            (guard_site(Some("lab"), &name, &revision, &nothing), "--allow-site-rename plant"),
            (guard_wipe(&foreseen, &revision, &nothing), "--allow-wipe all"),
            (guard_leave(&foreseen, &[], some, &revision, &nothing), "--allow-leave 1"),
        ] {
            let finding = refused.unwrap_err();
            assert!(finding.contains(&format!("`formwork reconcile {word} --revision 0123456789ab`")), "{finding}");
            let back = format!("`formwork rollback 0123456789ab {word} --reason WHY`");
            assert_eq!(finding.contains(&back), !word.contains("rename"), "{finding}");
            let pushed = of_push(&finding);
            assert!(pushed.contains("-o allow-") && !pushed.contains("formwork "), "{pushed}");
        }
        assert_eq!(of_push("site.yaml:1:1: error: x\n  hint: y"), "site.yaml:1:1: error: x\n  hint: y");
    }

    #[test]
    fn what_a_mounted_sources_commit_says_is_read_from_its_message() {
        let said =
            spoken("Rack 7 anew\n\nFormwork-Allow-Wipe: a-1, a-2\nFormwork-Allow-Leave: 3\nFormwork-Empty: yes\n");
        assert_eq!(said.words(), ["allow-wipe=a-1,a-2", "allow-leave=3"]);
        assert!(spoken("Formwork-Allow-Wipe: all").wipe_all && !spoken("not Formwork-Allow-Wipe: all").is_some());
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
}
