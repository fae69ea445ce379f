//! What each source's commit did when it came to serve, in a line, for commit statuses: what it brought itself, and nothing that
//! another source's commit did.

use crate::git::{Follower, Revision};
use crate::inspect::change::{Became, Change, Follows};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is said of objects, in this order.
const OBJECTS: [(Became, &str); 3] =
    [(Became::Added, "added"), (Became::Changed, "changed"), (Became::Removed, "removed")];

/// Remembers it of the commits that serve.
#[derive(Debug, Clone, Default)]
pub(super) struct Brought(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The revision that was looked at last, and what it would do in each mounted folder; none: outside of all.
    foreseen: Option<(String, Tallies)>,
    /// By the source's name, its commit that serves, and what that brought; none: it was not foreseen.
    serves: BTreeMap<String, (String, Option<String>)>,
}

/// A source's part of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The source's name.
    pub name: String,
    /// Where it is mounted.
    pub mount: Option<String>,
    /// Its commit.
    pub commit: String,
}

/// What a revision is made of.
pub(super) fn parts(follower: &Follower, revision: &Revision) -> Vec<Part> {
    let sources = follower.sources();
    let mount_of =
        |name: &str| sources.iter().find(|source| source.name == name).and_then(|source| source.mount.clone());
    let parts = follower.parts(revision).into_iter();
    parts.map(|(name, commit)| Part { mount: mount_of(&name), name, commit }).collect()
}

/// Where sources are mounted.
pub(super) fn mounts(follower: &Follower) -> Vec<String> {
    follower.sources().into_iter().filter_map(|source| source.mount).collect()
}

impl Brought {
    /// What a revision would do, which may come to serve next.
    pub(super) fn foresee(&self, change: &Change, mounts: &[String]) {
        let foreseen = (change.to.clone(), tallies(change, mounts));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).foreseen = Some(foreseen);
    }

    /// A revision that is made of these serves.
    pub(super) fn serves(&self, revision: &str, parts: &[Part]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tallies = inner.foreseen.take().filter(|(of, _)| of == revision).map(|(_, tallies)| tallies);
        let is_new = |part: &&Part| inner.serves.get(&part.name).is_none_or(|(commit, _)| *commit != part.commit);
        let new: Vec<&Part> = parts.iter().filter(is_new).collect();
        let lines: Vec<_> = new
            .iter()
            .map(|part| {
                let line = tallies.as_ref().map(|tallies| share_of(part, &new, tallies).in_a_line());
                (part.name.clone(), (part.commit.clone(), line))
            })
            .collect();
        inner.serves.retain(|name, _| parts.iter().any(|part| part.name == *name));
        inner.serves.extend(lines);
    }

    /// Of a source's commit that serves what it brought; none within: nobody foresaw it. None: it is not taken in yet that it serves.
    pub(super) fn of(&self, source: &str, commit: &str) -> Option<Option<String>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.serves.get(source).filter(|(of, _)| of == commit).map(|(_, line)| line.clone())
    }
}

type Tallies = BTreeMap<Option<String>, Tally>;

/// What a new commit brought of all that its revision did: what the only new one does anywhere is its own doing; of several each
/// one's is what stands in its own folder, and the main one's is the rest. Pure.
fn share_of(part: &Part, new: &[&Part], tallies: &Tallies) -> Tally {
    let is_of = |folder: &Option<String>| match (&part.mount, new) {
        (_, [_]) => true,
        (Some(mount), _) => folder.as_ref() == Some(mount),
        (None, _) => folder.is_none() || !new.iter().any(|other| other.mount == *folder),
    };
    let mut share = Tally::default();
    tallies.iter().filter(|(folder, _)| is_of(folder)).for_each(|(_, tally)| share.add(tally));
    share
}

/// How much a change does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    objects: [u32; OBJECTS.len()],
    machines: BTreeMap<Follows, u32>,
}

/// How much a change does in each mounted folder, and outside of all. Pure.
fn tallies(change: &Change, mounts: &[String]) -> Tallies {
    let folder_of = |file: &str| {
        let inside = |mount: &&String| file.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/'));
        mounts.iter().filter(inside).max_by_key(|mount| mount.len()).cloned()
    };
    let mut tallies = Tallies::default();
    for object in &change.objects {
        let objects = &mut tallies.entry(folder_of(&object.place.file)).or_default().objects;
        let counted = objects.iter_mut().zip(OBJECTS).find(|(_, (became, _))| *became == object.became);
        counted.into_iter().for_each(|(count, _)| *count += 1);
    }
    for machine in &change.machines {
        let folder = machine.place.as_ref().and_then(|place| folder_of(&place.file));
        *tallies.entry(folder).or_default().machines.entry(machine.follows).or_default() += 1;
    }
    tallies
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.objects.iter_mut().zip(other.objects).for_each(|(count, more)| *count += more);
        for (follows, more) in &other.machines {
            *self.machines.entry(*follows).or_default() += more;
        }
    }

    /// As forges have room for it.
    fn in_a_line(&self) -> String {
        let objects = self.objects.iter().zip(OBJECTS).filter(|(count, _)| **count > 0);
        let objects = objects.map(|(count, (_, word))| format!("{count} {word}"));
        let machines = self.machines.iter().map(|(follows, count)| {
            let (one, many) = follows.words();
            if *count == 1 { format!("1 machine {one}") } else { format!("{count} machines {many}") }
        });
        let parts: Vec<String> = objects.chain(machines).collect();
        if parts.is_empty() { "nothing changes".to_owned() } else { parts.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Place;
    use crate::inspect::change::{MachineChange, ObjectChange};

    fn part(name: &str, mount: Option<&str>, commit: &str) -> Part {
        Part { name: name.to_owned(), mount: mount.map(str::to_owned), commit: commit.to_owned() }
    }

    /// Each file has one object that is changed, and a machine that gets new values.
    fn change(to: &str, files: &[&str]) -> Change {
        let place = |file: &str| Place { file: file.into(), line: 1, column: 1 };
        let object = |file: &&str| ObjectChange {
            kind: "Machine".to_owned(),
            name: (*file).to_owned(),
            became: Became::Changed,
            place: place(file),
            fields: Vec::new(),
        };
        let machine = |file: &&str| MachineChange {
            name: (*file).to_owned(),
            follows: Follows::Values,
            place: Some(place(file)),
            ..MachineChange::default()
        };
        Change {
            to: to.to_owned(),
            from: None,
            live: true,
            objects: files.iter().map(object).collect(),
            machines: files.iter().map(machine).collect(),
            clusters: Vec::new(),
            machines_in_all: 0,
            machines_walked: 0,
            machines_before: 0,
            counts: BTreeMap::new(),
        }
    }

    #[test]
    fn a_commit_brought_what_it_did_and_not_what_another_sources_did_after_it() {
        let (brought, mounts) = (Brought::default(), ["tenants/a".to_owned(), "tenants/ab".to_owned()]);
        let serve = |to: &str, files: &[&str], commits: [&str; 3]| {
            brought.foresee(&change(to, files), &mounts);
            let [main, a, ab] = commits;
            let parts = [part("main", None, main), part("a", Some("tenants/a"), a), part("ab", Some("tenants/ab"), ab)];
            brought.serves(to, &parts);
        };
        let of = |source: &str, commit: &str| brought.of(source, commit).flatten().unwrap_or_default();
        let told = |count: u32| match count {
            1 => "1 changed, 1 machine gets new values".to_owned(),
            count => format!("{count} changed, {count} machines get new values"),
        };
        // Nothing served before: what it does was not foreseen.
        brought.serves("r0", &[part("main", None, "m0")]);
        assert_eq!(brought.of("main", "m0"), Some(None));
        serve("r1", &["tenants/a/x", "tenants/a/y", "tenants/ab/x", "z"], ["m1", "a1", "b1"]);
        assert_eq!((of("main", "m1"), of("a", "a1"), of("ab", "b1")), (told(1), told(2), told(1)));
        // A profile of the main one's reaches into all folders.
        serve("r2", &["tenants/a/x", "z"], ["m2", "a1", "b1"]);
        assert_eq!((of("main", "m2"), of("a", "a1"), of("ab", "b1")), (told(2), told(2), told(1)));
        assert_eq!(brought.of("main", "m1"), None, "it serves no more");
        serve("r3", &["tenants/a/x", "tenants/ab/x", "z"], ["m3", "a2", "b1"]);
        assert_eq!((of("main", "m3"), of("a", "a2")), (told(2), told(1)), "who is not new brought nothing");
        serve("r4", &[], ["m3", "a2", "b2"]);
        assert_eq!(of("ab", "b2"), "nothing changes");
        // What was foreseen of another revision is not this one's.
        brought.foresee(&change("r5", &["z"]), &mounts);
        brought.serves("r6", &[part("main", None, "m4")]);
        assert_eq!((brought.of("main", "m4"), brought.of("a", "a2")), (Some(None), None));
    }
}
