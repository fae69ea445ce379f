//! Machines that are expected to say something and do not: told to reboot and never back, offered a boot and never up, gone
//! silent with a job open. Pure, as [`super::next`] is: what was last heard comes in, what to show comes out.

use super::Action;
use crate::journal::{Event, MachineState};

/// A boot may take so long, milliseconds: the memory test of a large server's firmware takes minutes.
pub const BOOT_OVERDUE_MS: u64 = 10 * 60_000;
/// An agent may be silent for so long, milliseconds: it says a word every ten seconds while it works.
pub const AGENT_OVERDUE_MS: u64 = 5 * 60_000;
/// Before this nothing is said, milliseconds: an agent without work asks once a minute.
pub const QUIET_MS: u64 = 90_000;

/// What was heard of a machine beyond its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its last word to this process, Unix milliseconds.
    pub contact_unix_ms: Option<i64>,
    /// When it was told to reboot, if that was the last thing it was told, Unix milliseconds.
    pub told_to_reboot_unix_ms: Option<i64>,
    /// Since when this process listens, Unix milliseconds: nobody is silent for longer.
    pub listening_since_unix_ms: i64,
    /// Now, Unix milliseconds.
    pub now_unix_ms: i64,
}

impl Heard {
    /// The last word of the machine that anything is known of, Unix milliseconds.
    pub fn last_unix_ms(&self, state: &MachineState) -> Option<i64> {
        self.contact_unix_ms.max(state.heard_unix_ms)
    }
}

/// A silence that is worth a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Since when, Unix milliseconds.
    pub since_unix_ms: i64,
    /// It lasts longer than a boot or an agent may take: somebody has to look.
    pub overdue: bool,
    /// What is awaited and what to do, in a sentence without a subject.
    pub reason: String,
}

impl Silence {
    /// The event to write down, where it is overdue and the journal does not say so yet.
    pub fn to_record(&self, state: &MachineState) -> Option<Event> {
        (self.overdue && state.overdue.is_none()).then(|| Event::Overdue { reason: self.reason.clone() })
    }
}

/// Whether a machine in an open run should have said something by now. `next` is what it would be told.
pub fn silence(state: &MachineState, next: &Action, heard: &Heard) -> Option<Silence> {
    let run = state.run.as_ref().filter(|run| run.is_open())?;
    // A held machine is waited for by nobody, and one that was told to switch off is silent as it should be.
    if state.left
        || state.restored.is_some()
        || state.quarantined.is_some()
        || matches!(next, Action::Hold { .. } | Action::PowerOff { .. })
    {
        return None;
    }
    // Never heard of: it waits to be switched on for the first time.
    let last = heard.last_unix_ms(state)?;
    let since = last.max(run.started_unix_ms).max(heard.listening_since_unix_ms);
    let silent_ms = elapsed(heard.now_unix_ms, since);
    if silent_ms < QUIET_MS {
        return None;
    }
    let ago = span(elapsed(heard.now_unix_ms, last));
    // Told before its last boot: it has come back since.
    let told =
        heard.told_to_reboot_unix_ms.filter(|told| state.boot.as_ref().is_none_or(|boot| boot.at_unix_ms <= *told));
    let (reason, bound) = match (&state.offer, &state.boot, &run.job) {
        (Some(offer), boot, _) if boot.as_ref().is_none_or(|boot| offer.at_unix_ms > boot.at_unix_ms) => {
            let offered = span(elapsed(heard.now_unix_ms, offer.at_unix_ms));
            (format!("was offered {} {offered} ago and no agent has checked in", offer.environment), BOOT_OVERDUE_MS)
        }
        (_, None, _) => return None,
        (_, Some(_), Some(job)) => {
            (format!("runs {}, and its agent was last heard of {ago} ago", job.task), AGENT_OVERDUE_MS)
        }
        (_, Some(_), None) => match (next, told) {
            (_, Some(told)) => {
                let told = span(elapsed(heard.now_unix_ms, told));
                (format!("was told to reboot {told} ago and has not asked for a boot"), BOOT_OVERDUE_MS)
            }
            (Action::Reboot { .. }, None) => {
                (format!("is to reboot, and its agent was last heard of {ago} ago"), BOOT_OVERDUE_MS)
            }
            _ => (format!("its agent was last heard of {ago} ago"), AGENT_OVERDUE_MS),
        },
    };
    Some(Silence {
        since_unix_ms: since,
        overdue: silent_ms >= bound,
        reason: format!("{reason}: look at its console, or power-cycle it"),
    })
}

/// A span for people: minutes from one minute on.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Milliseconds from `then` to `now`; a wall clock that stepped back counts as no time.
fn elapsed(now: i64, then: i64) -> u64 {
    u64::try_from(now.saturating_sub(then)).unwrap_or(0)
}
