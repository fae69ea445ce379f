//! Following the journal: pages of events, held open by the server while nothing happens. No busy polling anywhere.

use super::client::{Client, EVENTS_A_PAGE};
use super::error::CliError;
use crate::journal::Record;
use std::time::{Duration, Instant};

/// How long a server may be away (a restart, an upgrade) before a command that follows it gives up.
const AWAY_MAX: Duration = Duration::from_secs(90);
/// Between two tries while it is away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// A reader of the journal that remembers where it is.
pub struct Follower<'a> {
    client: &'a Client,
    machine: Option<String>,
    after: u64,
}

impl<'a> Follower<'a> {
    /// Events after the sequence `after` (0: all), of one machine or of everything.
    pub fn new(client: &'a Client, after: u64, machine: Option<String>) -> Self {
        Self { client, machine, after }
    }

    /// The next events; empty when `wait` ended with none.
    pub fn next(&mut self, wait: Duration) -> Result<Vec<Record>, CliError> {
        let page = self.client.events(self.after, EVENTS_A_PAGE, wait, self.machine.as_deref())?;
        let last = page.items.last().map_or(0, |record| record.sequence);
        self.after = self.after.max(page.next).max(last);
        Ok(page.items)
    }

    /// All events up to now, page by page.
    pub fn up_to_now(&mut self, mut take: impl FnMut(Vec<Record>) -> Result<(), CliError>) -> Result<(), CliError> {
        loop {
            let before = self.after;
            let records = self.next(Duration::ZERO)?;
            let end = records.is_empty() && self.after == before;
            take(records)?;
            // A short page is not the end: the server may give less at once than was asked for, or look at few with a filter.
            if end {
                return Ok(());
            }
        }
    }

    /// Goes to the end of the journal without showing anything: a page where that is all of it, else by halving, since the
    /// journal of a large site is not to be carried over the network for this.
    pub fn skip_to_now(&mut self) -> Result<(), CliError> {
        let client = self.client;
        for _ in 0..2 {
            let page = client.events(self.after, EVENTS_A_PAGE, Duration::ZERO, None)?;
            let Some(last) = page.items.last() else { return Ok(()) };
            self.after = self.after.max(last.sequence);
        }
        self.after = end_of_journal(self.after, |after| -> Result<_, CliError> {
            let page = client.events(after, 1, Duration::ZERO, None)?;
            Ok(page.items.first().map(|record| record.sequence))
        })?;
        Ok(())
    }

    /// The next events; empty when `wait` (or `deadline`) ended with none. A server that is away is waited for; `notice` is told
    /// once when that begins.
    pub fn next_patiently(
        &mut self,
        wait: Duration,
        deadline: Option<Instant>,
        notice: &mut dyn FnMut(&CliError),
    ) -> Result<Vec<Record>, CliError> {
        patiently(deadline, notice, || {
            let left = deadline.map_or(wait, |end| end.saturating_duration_since(Instant::now()).min(wait));
            // Whole seconds, and never zero before the deadline: a wait of none at all would be polling.
            self.next(Duration::from_secs(left.as_secs().max(1)))
        })
    }
}

/// The last sequence, at or after `from`. `first_after` gives the first sequence past a place, where there is one.
fn end_of_journal<E>(from: u64, mut first_after: impl FnMut(u64) -> Result<Option<u64>, E>) -> Result<u64, E> {
    // There is no event past `none`; `seen` is one (or where we began).
    let (mut seen, mut step) = (from, EVENTS_A_PAGE as u64);
    let mut none = loop {
        let probe = seen.saturating_add(step);
        match first_after(probe)? {
            Some(sequence) => seen = sequence.max(probe),
            None => break probe,
        }
        step = step.saturating_mul(2);
    };
    while seen < none {
        let middle = seen + (none - seen) / 2;
        match first_after(middle)? {
            Some(sequence) => seen = sequence.max(middle + 1),
            None => none = middle,
        }
    }
    Ok(seen.min(none))
}

/// Asks again while the server is away, at most [`AWAY_MAX`] and never past `deadline`.
pub fn patiently<T>(
    deadline: Option<Instant>,
    notice: &mut dyn FnMut(&CliError),
    mut ask: impl FnMut() -> Result<T, CliError>,
) -> Result<T, CliError> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match ask() {
            Err(error) if error.is_passing() => {
                let now = Instant::now();
                if now.duration_since(started) > AWAY_MAX || deadline.is_some_and(|end| now >= end) {
                    return Err(error);
                }
                if !told {
                    notice(&error);
                    told = true;
                }
                std::thread::sleep(AWAY_PAUSE);
            }
            other => return other,
        }
    }
}

/// Says on standard error that the server is away and that it is waited for.
pub fn say_away(error: &CliError) {
    super::output::note(&format!("note: {error}; trying again"));
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_end_of_a_journal_is_found_in_few_questions(head in 0_u64..5_000_000, behind in 0_u64..3_000, gone in 0_u64..4_000) {
            let from = head.saturating_sub(behind * behind);
            let mut asked = 0;
            let found = end_of_journal(from, |after| {
                asked += 1;
                // What is oldest may have been dropped.
                Ok::<_, ()>((after < head).then_some((after + 1).max(gone.min(head))))
            });
            proptest::prop_assert_eq!(found, Ok(head));
            proptest::prop_assert!(asked < 64, "{}", asked);
        }
    }
}
