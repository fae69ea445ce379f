//! Two servers that follow one `ContentSource` would write over each other's status without end. Neither can know who is meant,
//! so each puts its own back ever more seldom, and says so.

use super::resources::ContentSourceStatus;
use std::time::{Duration, Instant};

/// The first and the longest pause after a write over somebody else's.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// A pause of this length is told: an edit by hand, or two, are nothing to tell.
const TOLD: Duration = Duration::from_secs(8);

/// What was written last, and how often somebody else wrote over it.
#[derive(Debug, Default)]
pub(super) struct Quarrel {
    /// Of which object, and what.
    ours: Option<(Option<String>, ContentSourceStatus)>,
    /// When somebody else's was written over last, and the pause after it.
    last: Option<(Instant, Duration)>,
}

impl Quarrel {
    /// A status was written to that object, over what was `before`: how long nothing is to be written now.
    pub fn written(
        &mut self,
        uid: Option<String>,
        before: &ContentSourceStatus,
        wanted: ContentSourceStatus,
        now: Instant,
    ) -> Duration {
        let somebody = self.ours.as_ref().is_some_and(|(of, ours)| *of == uid && ours != before);
        self.ours = Some((uid, wanted));
        if !somebody {
            return Duration::ZERO;
        }
        let (least, most) = PAUSE;
        let again = self.last.filter(|(at, pause)| now.saturating_duration_since(*at) <= *pause * 2 + least);
        let pause = again.map_or(least, |(_, pause)| (pause * 2).min(most));
        self.last = Some((now, pause));
        if pause == TOLD {
            tracing::warn!(
                "somebody else writes the status of the same ContentSource, and it is put back ever more seldom; is it another \
                 server's? one server follows a ContentSource"
            );
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_writes_over_is_put_back_ever_more_seldom() {
        let status = |machines: u64| ContentSourceStatus { machines, ..ContentSourceStatus::default() };
        let (one, other, uid) = (status(1), status(2), Some("u".to_owned()));
        let mut quarrel = Quarrel::default();
        let mut now = Instant::now();
        let mut write =
            |uid: &Option<String>, before: &ContentSourceStatus, wanted: &ContentSourceStatus, later: u64| {
                now += Duration::from_secs(later);
                quarrel.written(uid.clone(), before, wanted.clone(), now).as_secs()
            };
        assert_eq!(write(&uid, &other, &one, 0), 0, "the first word, over whatever was there");
        assert_eq!(write(&uid, &one, &status(3), 1), 0, "over our own");
        assert_eq!(write(&uid, &status(3), &one, 1), 0);
        let pauses: Vec<u64> = (0..12)
            .scan(0, |last, _| {
                *last = write(&uid, &other, &one, *last);
                Some(*last)
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(write(&uid, &other, &one, 3600), 1, "after a long peace it begins anew");
        assert_eq!(write(&Some("made anew".to_owned()), &ContentSourceStatus::default(), &one, 1), 0);
    }
}
