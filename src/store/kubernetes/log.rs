//! What a list of objects means for who has folded so far: what to read next, or that the log is not whole. Pure.

use super::objects::{Head, Kind, number_of};
use std::collections::BTreeMap;

/// A segment that was folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its object's uid.
    pub(super) uid: String,
    /// Which write it was.
    pub(super) batch: String,
}

/// The segments that were folded since the last snapshot or so, by number. The newest is always there.
pub(super) type Places = BTreeMap<u64, Place>;

/// What the objects of a moment are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The uid of the store itself.
    pub(super) store: Option<String>,
    /// Segments, number and uid.
    pub(super) segments: BTreeMap<u64, String>,
    /// Complete snapshots.
    pub(super) snapshots: BTreeMap<u64, String>,
    /// Parts, with the number they are of.
    pub(super) parts: Vec<(u64, Head)>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Everything is folded.
    Nothing,
    /// These segments, in order: first and last.
    Segments(u64, u64),
    /// Begin with this snapshot.
    Snapshot(u64),
}

impl Listing {
    /// Sorts a list. Names that are none of ours are left alone: they are somebody's who used our label.
    pub(super) fn of(heads: Vec<Head>) -> Self {
        let mut listing = Self::default();
        for head in heads {
            let Some(number) = number_of(&head) else { continue };
            match head.kind {
                Kind::Store => listing.store = Some(head.uid),
                Kind::Segment => drop(listing.segments.insert(number, head.uid)),
                Kind::Snapshot => drop(listing.snapshots.insert(number, head.uid)),
                Kind::Part => listing.parts.push((number, head)),
            }
        }
        listing
    }

    /// The last number of the log.
    pub(super) fn last(&self) -> u64 {
        let segment = self.segments.last_key_value().map_or(0, |(number, _)| *number);
        segment.max(self.newest_snapshot())
    }

    /// The newest complete snapshot; 0: there is none.
    pub(super) fn newest_snapshot(&self) -> u64 {
        self.snapshots.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// The uid of a segment.
    pub(super) fn uid(&self, number: u64) -> Option<&String> {
        if number == 0 { self.store.as_ref() } else { self.segments.get(&number) }
    }

    /// What who has folded up to the last of `places` does next; nothing was folded where there are none.
    ///
    /// # Errors
    /// Why the log is not whole, in words for people.
    pub(super) fn next(&self, store: Option<&str>, places: &Places) -> Result<Next, String> {
        let (Some(found), known) = (self.store.as_deref(), store.unwrap_or_default()) else {
            return Err("the store of this namespace is gone: its Secret formwork-store was deleted".into());
        };
        if store.is_some() && found != known {
            return Err(format!("the store is another one by now: {known} was read, {found} is there"));
        }
        for (number, place) in places.iter().filter(|(number, _)| **number > 0) {
            if self.segments.get(number).is_some_and(|uid| *uid != place.uid) {
                return Err(format!(
                    "segment {number} of the log is not the one that was read: etcd came back from an older backup, or somebody \
                     made it anew"
                ));
            }
        }
        let Some((number, _)) = places.last_key_value() else {
            let from = self.newest_snapshot();
            self.whole_after(from)?;
            return Ok(if from == 0 { self.segments_after(0) } else { Next::Snapshot(from) });
        };
        let (number, last) = (*number, self.last());
        if last < number {
            return Err(format!(
                "the log ends at segment {last}, but segment {number} was read: etcd came back from an older backup, or somebody \
                 deleted segments"
            ));
        }
        let from = self.newest_snapshot();
        if let Some(gone) = places.keys().find(|number| **number > from && !self.segments.contains_key(number)) {
            return Err(format!(
                "segment {gone} of the log is gone, and no snapshot holds it: etcd came back from an older backup, or somebody \
                 deleted it"
            ));
        }
        if self.uid(number).is_some() && self.whole_after(number).is_ok() {
            return Ok(self.segments_after(number));
        }
        self.whole_after(from.max(number))?;
        Ok(if from == number { self.segments_after(number) } else { Next::Snapshot(from) })
    }

    fn segments_after(&self, number: u64) -> Next {
        let last = self.last();
        if last > number { Next::Segments(number.saturating_add(1), last) } else { Next::Nothing }
    }

    fn whole_after(&self, number: u64) -> Result<(), String> {
        let mut expected = number.saturating_add(1);
        for found in self.segments.range(expected..).map(|(found, _)| *found) {
            if found != expected {
                return Err(format!("segment {expected} of the log is missing, {found} is there"));
            }
            expected = expected.saturating_add(1);
        }
        if expected <= self.last() {
            return Err(format!("segment {expected} of the log is missing, a snapshot of {} is there", self.last()));
        }
        Ok(())
    }

    /// What a complete snapshot of `snapshot` makes needless, oldest first; the `kept` segments before it stay for who is late.
    pub(super) fn needless(&self, snapshot: u64, kept: u64) -> Vec<Head> {
        let below = snapshot.saturating_sub(kept);
        let segments = self.segments.range(..below).filter(|(number, _)| **number > 0);
        let segments = segments.map(|(number, uid)| (Kind::Segment, super::objects::segment_name(*number), uid));
        let snapshots = self.snapshots.range(..snapshot);
        let snapshots = snapshots.map(|(number, uid)| (Kind::Snapshot, super::objects::snapshot_name(*number), uid));
        let heads = snapshots.chain(segments).map(|(kind, name, uid)| Head { kind, name, uid: uid.clone() });
        let parts = self.parts.iter().filter(|(number, _)| *number < below).map(|(_, head)| head.clone());
        heads.chain(parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::{STORE, segment_name, snapshot_name};
    use super::*;

    fn listing(segments: &[u64], snapshots: &[u64]) -> Listing {
        let head = |kind, name: String| Head { kind, uid: format!("uid of {name}"), name };
        let store = head(Kind::Store, STORE.into());
        let segments = segments.iter().map(|number| head(Kind::Segment, segment_name(*number)));
        let snapshots = snapshots.iter().map(|number| head(Kind::Snapshot, snapshot_name(*number)));
        Listing::of(std::iter::once(store).chain(segments).chain(snapshots).collect())
    }

    fn folded(numbers: std::ops::RangeInclusive<u64>) -> Places {
        let place = |number| Place { uid: format!("uid of {}", segment_name(number)), batch: String::new() };
        numbers.map(|number| (number, place(number))).collect()
    }

    const ID: &str = "uid of formwork-store";

    #[test]
    fn what_is_read_next_follows_from_the_list() {
        let none = Places::new();
        for (segments, snapshots, places, next) in [
            (&[][..], &[][..], none.clone(), Next::Nothing),
            (&[1, 2, 3], &[], none.clone(), Next::Segments(1, 3)),
            (&[3, 4, 5], &[4], none.clone(), Next::Snapshot(4)),
            (&[], &[4], none, Next::Snapshot(4)),
            (&[1, 2, 3], &[], folded(0..=1), Next::Segments(2, 3)),
            (&[1, 2, 3], &[], folded(0..=3), Next::Nothing),
            // Who is late, but not too late, reads on.
            (&[3, 4, 5], &[4], folded(1..=3), Next::Segments(4, 5)),
            (&[8, 9], &[8], folded(1..=3), Next::Snapshot(8)),
            // Its own newest segment was deleted, and the snapshot is of that very one.
            (&[4], &[3], folded(1..=3), Next::Segments(4, 4)),
        ] {
            assert_eq!(listing(segments, snapshots).next(Some(ID), &places), Ok(next), "{segments:?} {snapshots:?}");
        }
    }

    #[test]
    fn a_log_that_is_not_whole_is_said_with_its_place() {
        let again = |number| {
            let mut places = folded(1..=3);
            places.insert(number, Place { uid: "another".into(), batch: String::new() });
            places
        };
        for (segments, snapshots, places, why) in [
            (&[1, 3][..], &[][..], Places::new(), "segment 2 of the log is missing, 3 is there"),
            (&[2], &[], Places::new(), "segment 1 of the log is missing"),
            (&[6], &[4], Places::new(), "segment 5 of the log is missing"),
            (&[1, 2], &[], folded(1..=3), "ends at segment 2, but segment 3 was read"),
            (&[], &[], folded(1..=3), "ends at segment 0"),
            // It wrote on beyond what was gone.
            (&[1, 3], &[], folded(1..=3), "segment 2 of the log is gone"),
            (&[1, 2, 3], &[], again(2), "segment 2 of the log is not the one"),
            (&[1, 2, 3, 5], &[], folded(1..=3), "segment 4 of the log is missing"),
            (&[1, 2, 4], &[], folded(1..=3), "segment 3 of the log is gone"),
            (&[1, 2, 4], &[2], folded(1..=3), "segment 3 of the log is gone"),
        ] {
            let error = listing(segments, snapshots).next(Some(ID), &places).unwrap_err();
            assert!(error.contains(why), "{segments:?} {snapshots:?}: {error}");
        }
        assert!(listing(&[1], &[]).next(Some("other"), &folded(1..=1)).unwrap_err().contains("another one by now"));
        assert!(Listing::default().next(Some(ID), &folded(1..=1)).unwrap_err().contains("is gone"));
    }

    #[test]
    fn only_what_a_snapshot_holds_is_needless() {
        let listing = listing(&[1, 2, 3, 4, 5, 6], &[2, 5]);
        let names: Vec<String> = listing.needless(5, 2).into_iter().map(|head| head.name).collect();
        assert_eq!(names, [snapshot_name(2), segment_name(1), segment_name(2)]);
        assert!(listing.needless(0, 2).is_empty());
    }
}
