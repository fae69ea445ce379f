//! What is to be written so that a mirror is as it should be. Pure.

use super::wanted::{Status, Wanted};
use crate::controller::MANAGED_LABEL;
use crate::controller::hand::ByHand;
use kube::core::ObjectMeta;
use serde_json::Value;
use std::collections::BTreeMap;

/// An object of the mirror as it was seen.
#[derive(Debug, Clone)]
pub(super) struct Mirrored<S> {
    pub metadata: ObjectMeta,
    /// In its normal form.
    pub spec: Value,
    pub status: S,
}

/// One write. What is written is what is wanted when it is made.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write<S> {
    /// It is not there.
    Create(String),
    /// Its spec or its labels are not what they should be: a revision changed them, or somebody else.
    Replace(String),
    /// It says something else of itself.
    Status(String, Box<S>),
    /// It is ours, and should not be there.
    Delete(String),
}

impl<S> Write<S> {
    pub fn name(&self) -> &str {
        match self {
            Self::Create(name) | Self::Replace(name) | Self::Status(name, _) | Self::Delete(name) => name,
        }
    }
}

/// What is to be written, by name. `marks`: the labels of what is ours. `wanted`: none where nobody knows what should be there;
/// then what is there stays. `by_hand`: what becomes of objects that no mirror wrote.
pub(super) fn diff<S: Status>(
    marks: &BTreeMap<String, String>,
    wanted: Option<&BTreeMap<String, Wanted<S>>>,
    seen: &BTreeMap<String, Mirrored<S>>,
    by_hand: ByHand,
    now: &str,
) -> Vec<Write<S>> {
    let mut writes = said_of_theirs(marks, wanted, seen, by_hand, now);
    let Some(wanted) = wanted else { return writes };
    let of = |name: &String, wanted: &Wanted<S>| -> Option<Write<S>> {
        let Some(seen) = seen.get(name) else {
            let create = by_hand.mirrors() || !wanted.status.is_declared();
            return create.then(|| Write::Create(name.clone()));
        };
        // Two sites that put each other's back would never come to an end.
        if is_another_sites(marks, seen) {
            return None;
        }
        // It is made anew once it is gone.
        if seen.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let theirs = !by_hand.mirrors() && !is_ours(marks, seen);
        if theirs && by_hand == ByHand::Unknown {
            return None;
        }
        if !theirs && (seen.spec != wanted.spec || seen.metadata.labels.as_ref() != Some(&wanted.labels)) {
            return Some(Write::Replace(name.clone()));
        }
        let status = wanted.status.settled(&seen.status, seen.metadata.generation, now);
        (status != seen.status).then(|| Write::Status(name.clone(), Box::new(status)))
    };
    let gone = seen
        .iter()
        .filter(|(name, seen)| {
            !wanted.contains_key(*name) && is_ours(marks, seen) && seen.metadata.deletion_timestamp.is_none()
        })
        .map(|(name, _)| Write::Delete(name.clone()));
    writes.extend(wanted.iter().filter_map(|(name, wanted)| of(name, wanted)).chain(gone));
    writes.sort_by(|one, other| one.name().cmp(other.name()));
    writes
}

/// What objects say of themselves that no mirror wrote: that nothing reads them, or, where they said so, that they are read now. `wanted`:
/// those that the revision declares are not among them.
fn said_of_theirs<S: Status>(
    marks: &BTreeMap<String, String>,
    wanted: Option<&BTreeMap<String, Wanted<S>>>,
    seen: &BTreeMap<String, Mirrored<S>>,
    by_hand: ByHand,
    now: &str,
) -> Vec<Write<S>> {
    if by_hand == ByHand::Unknown {
        return Vec::new();
    }
    let says = |(name, seen): (&String, &Mirrored<S>)| {
        let declared = wanted.is_some_and(|wanted| wanted.contains_key(name));
        let going = seen.metadata.deletion_timestamp.is_some();
        if declared || going || is_ours(marks, seen) || is_another_sites(marks, seen) {
            return None;
        }
        let generation = seen.metadata.generation;
        let status = match by_hand.sentence() {
            Some(why) => S::unread(why, &seen.status, generation, now),
            None if seen.status.is_unread() => S::read(&seen.status, generation, now),
            None => return None,
        };
        (status != seen.status).then(|| Write::Status(name.clone(), Box::new(status)))
    };
    seen.iter().filter_map(says).collect()
}

/// Whether this site's mirror wrote it.
fn is_ours<S>(marks: &BTreeMap<String, String>, seen: &Mirrored<S>) -> bool {
    let labels = seen.metadata.labels.as_ref();
    marks.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether it is in the mirror of another site.
pub(super) fn is_another_sites<S>(marks: &BTreeMap<String, String>, seen: &Mirrored<S>) -> bool {
    let label = |key: &str| seen.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let differs = marks.iter().any(|(key, value)| label(key).is_some_and(|label| label != value));
    differs && label(MANAGED_LABEL) == marks.get(MANAGED_LABEL)
}

/// At most so many of them, beginning after that name: where there are more than can be written, everybody comes to a turn.
pub(super) fn in_turn<S>(mut writes: Vec<Write<S>>, after: &str, most: usize) -> Vec<Write<S>> {
    let first = writes.partition_point(|write| write.name() <= after);
    writes.rotate_left(first);
    writes.truncate(most);
    writes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::mirror::wanted::marks;
    use crate::controller::resources::MachineStatus;
    use serde_json::json;

    fn wanted(spec: u32, phase: &str) -> Wanted<MachineStatus> {
        let status = MachineStatus { phase: phase.to_owned(), ..MachineStatus::default() };
        Wanted { labels: marks("lab"), spec: json!(spec), status }
    }

    fn seen(of: &Wanted<MachineStatus>, site: &str, generation: i64) -> Mirrored<MachineStatus> {
        let metadata = ObjectMeta { labels: Some(marks(site)), generation: Some(generation), ..ObjectMeta::default() };
        let status = of.status.settled(&MachineStatus::default(), Some(generation), "then");
        Mirrored { metadata, spec: of.spec.clone(), status }
    }

    fn said(writes: &[Write<MachineStatus>]) -> Vec<String> {
        let word = |write: &Write<MachineStatus>| match write {
            Write::Create(_) => "create",
            Write::Replace(_) => "replace",
            Write::Status(..) => "status",
            Write::Delete(_) => "delete",
        };
        writes.iter().map(|write| format!("{} {}", word(write), write.name())).collect()
    }

    #[test]
    fn only_what_differs_is_written_and_only_what_is_ours_is_deleted() {
        let one = wanted(1, "ready");
        let mut edited = seen(&one, "lab", 1);
        edited.spec = json!(2);
        let mut labelled = seen(&one, "lab", 1);
        labelled.metadata.labels.get_or_insert_default().insert("mine".to_owned(), "x".to_owned());
        let mut nobodys = seen(&one, "lab", 1);
        nobodys.metadata.labels = None;
        let mut going = seen(&one, "lab", 1);
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let other_generation = Mirrored {
            metadata: ObjectMeta { generation: Some(2), ..seen(&one, "lab", 1).metadata },
            ..seen(&one, "lab", 1)
        };
        type Pair<'a> = (&'a str, Option<&'a Wanted<MachineStatus>>, Option<Mirrored<MachineStatus>>);
        let all = |pairs: Vec<Pair<'_>>| {
            let want = pairs.iter().filter_map(|(name, it, _)| Some(((*name).to_owned(), (*it)?.clone()))).collect();
            let see = pairs.into_iter().filter_map(|(name, _, it)| Some((name.to_owned(), it?))).collect();
            said(&diff(&marks("lab"), Some(&want), &see, ByHand::GIT, "now"))
        };
        for (what, is, should, written) in [
            ("as it should be", Some(seen(&one, "lab", 1)), Some(&one), vec![]),
            ("not there", None, Some(&one), vec!["create a"]),
            ("edited", Some(edited), Some(&one), vec!["replace a"]),
            ("labelled", Some(labelled), Some(&one), vec!["replace a"]),
            ("another site's, and wanted", Some(seen(&one, "other", 1)), Some(&one), vec![]),
            ("nobody's, and wanted", Some(nobodys), Some(&one), vec!["replace a"]),
            ("another site's", Some(seen(&one, "other", 1)), None, vec![]),
            ("gone from Git", Some(seen(&one, "lab", 1)), None, vec!["delete a"]),
            ("on its way out", Some(going.clone()), None, vec![]),
            ("on its way out, and wanted", Some(going), Some(&one), vec![]),
            ("at work", Some(seen(&wanted(1, "working"), "lab", 1)), Some(&one), vec!["status a"]),
            ("judged of another generation", Some(other_generation), Some(&one), vec!["status a"]),
        ] {
            assert_eq!(all(vec![("a", should, is)]), written, "{what}");
        }
    }

    #[test]
    fn while_nobody_knows_what_should_be_there_what_is_there_stays() {
        let ours = BTreeMap::from([("a".to_owned(), seen(&wanted(1, "ready"), "lab", 1))]);
        assert!(diff(&marks("lab"), None, &ours, ByHand::GIT, "now").is_empty());
        assert_eq!(said(&diff(&marks("lab"), Some(&BTreeMap::new()), &ours, ByHand::GIT, "now")), ["delete a"]);
    }

    #[test]
    fn an_object_that_no_mirror_wrote_says_once_that_nothing_reads_it() {
        let one = wanted(1, "ready");
        let labelled = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let mut seen = seen(&one, "lab", 1);
            (seen.metadata.labels, seen.status) = (Some(labels), MachineStatus::default());
            seen
        };
        let by_hand = labelled(&[]);
        let mut going = by_hand.clone();
        going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let mut told = by_hand.clone();
        let ByHand::Unread(why) = ByHand::GIT else { panic!("it is not read") };
        told.status = MachineStatus::unread(why, &by_hand.status, Some(1), "then");
        let mut edited = told.clone();
        edited.metadata.generation = Some(2);
        let helm = labelled(&[(MANAGED_LABEL, "Helm")]);
        for (what, is, declared, by_hand, says) in [
            ("by hand", &by_hand, Some(false), ByHand::GIT, true),
            ("of another tool", &helm, Some(false), ByHand::GIT, true),
            ("nothing serves yet", &by_hand, None, ByHand::NOTHING, true),
            ("nobody knows yet who reads it", &by_hand, Some(false), ByHand::Unknown, false),
            ("Git declares it", &by_hand, Some(true), ByHand::GIT, false),
            ("on its way out", &going, Some(false), ByHand::GIT, false),
            ("told", &told, Some(false), ByHand::GIT, false),
            ("told something else", &told, Some(false), ByHand::NOTHING, true),
            ("edited since", &edited, Some(false), ByHand::GIT, true),
            ("another site's", &seen(&one, "other", 1), Some(false), ByHand::GIT, false),
        ] {
            let name = || "a".to_owned();
            let want = declared.map(|is| is.then(|| (name(), one.clone())).into_iter().collect::<BTreeMap<_, _>>());
            let see = BTreeMap::from([(name(), is.clone())]);
            let writes = diff(&marks("lab"), want.as_ref(), &see, by_hand, "now");
            let told = writes.iter().any(|write| matches!(write, Write::Status(_, says) if says.phase == "unread"));
            assert_eq!(told, says, "{what}: {writes:?}");
        }
        // It is content by now: it says so, once, also where no revision has it yet.
        let see = |status: &MachineStatus| {
            BTreeMap::from([("a".to_owned(), Mirrored { status: status.clone(), ..by_hand.clone() })])
        };
        let content = |status: &MachineStatus| diff(&marks("lab"), None, &see(status), ByHand::Content, "now");
        let writes = content(&told.status);
        let Some(Write::Status(_, read)) = writes.first() else { panic!("it says still that nothing reads it") };
        let reasons: Vec<&str> = read.conditions.iter().map(|row| row.reason.as_str()).collect();
        assert_eq!((read.phase.as_str(), reasons), ("", vec!["Read"; 3]), "{read:?}");
        assert!(content(read).is_empty() && content(&MachineStatus::default()).is_empty());
        let row = |kind: &str| told.status.conditions.iter().find(|row| row.kind == kind).unwrap().clone();
        assert_eq!((row("Ready").status, row("Stalled").status), ("False".to_owned(), "True".to_owned()));
        assert_eq!((row("Stalled").reason.as_str(), row("Stalled").message.as_str()), ("NotRead", why));
    }

    #[test]
    fn what_is_content_keeps_what_it_says_and_is_told_how_it_stands() {
        let declared = |spec: u32, phase: &str, source: &str| {
            let mut wanted = wanted(spec, phase);
            wanted.status.source = source.to_owned();
            wanted
        };
        let (git, rule) = (declared(1, "ready", "git"), declared(1, "ready", "enrollment r"));
        let theirs = |of: &Wanted<MachineStatus>| {
            let mut seen = seen(of, "lab", 1);
            seen.metadata.labels = None;
            seen
        };
        let other_spec = theirs(&declared(2, "ready", "git"));
        let old = theirs(&declared(2, "working", "git"));
        let mirrored = seen(&declared(2, "ready", "git"), "lab", 1);
        for (what, is, wanted, by_hand, written) in [
            ("another spec", Some(&other_spec), Some(&git), ByHand::Content, vec![]),
            ("another status", Some(&old), Some(&git), ByHand::Content, vec!["status a"]),
            ("nobody knows whose", Some(&old), Some(&git), ByHand::Unknown, vec![]),
            ("deleted, and declared yet", None, Some(&git), ByHand::Content, vec![]),
            ("not there, and nobody knows", None, Some(&git), ByHand::Unknown, vec![]),
            ("let in by a rule", None, Some(&rule), ByHand::Content, vec!["create a"]),
            ("a mirror from before", Some(&mirrored), Some(&git), ByHand::Content, vec!["replace a"]),
            ("a mirror that is wanted no more", Some(&mirrored), None, ByHand::Content, vec!["delete a"]),
            ("not declared yet", Some(&other_spec), None, ByHand::Content, vec![]),
        ] {
            let want = wanted.into_iter().map(|it| ("a".to_owned(), it.clone())).collect();
            let see = is.into_iter().map(|it| ("a".to_owned(), it.clone())).collect();
            assert_eq!(said(&diff(&marks("lab"), Some(&want), &see, by_hand, "now")), written, "{what}");
        }
    }

    #[test]
    fn everybody_comes_to_a_turn() {
        let writes: Vec<Write<MachineStatus>> =
            ["a", "b", "c", "d"].map(|name| Write::Create(name.to_owned())).to_vec();
        let turn = |after: &str| {
            in_turn(writes.clone(), after, 3).iter().map(|write| write.name().to_owned()).collect::<String>()
        };
        assert_eq!(
            (turn(""), turn("c"), turn("d"), turn("bb")),
            ("abc".into(), "dab".into(), "abc".into(), "cda".into())
        );
        assert!(in_turn(Vec::<Write<MachineStatus>>::new(), "c", 3).is_empty());
    }
}
