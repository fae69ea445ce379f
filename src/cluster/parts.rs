//! A document in parts: the head, and each key, claim, set, member of a set, deletion and kept reply by itself. A store
//! writes the parts that changed, so that one write on a document of half a megabyte costs what that write holds.

use super::document::Reply;
use super::{Barrier, Claim, Document, Entry, Map, Member, Set};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::OnceLock;

/// What a part is of; the words stand in stores.
const HEAD: &str = "head";
const KEY: &str = "key";
const CLAIM: &str = "claim";
const SET: &str = "set";
const MEMBER: &str = "member";
const DELETED: &str = "deleted";
const REPLY: &str = "reply";

/// Where a part lies in its document: its kind, and its name within that.
pub type Place<'a> = (&'static str, Cow<'a, str>);

/// What a part holds. It can only be written: it may hold secrets.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Part<'a>(Content<'a>);

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Head(Head<'a>),
    Key(&'a Entry),
    Claim(&'a Claim),
    Set(SetHead<'a>),
    Member(&'a Member),
    Deleted(u64),
    Reply(&'a Reply),
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    epoch: u64,
    version: u64,
    bytes: usize,
    compacted: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frozen: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    fn of(document: &'a Document) -> Self {
        Self {
            epoch: document.epoch,
            version: document.version,
            bytes: document.bytes,
            compacted: document.compacted,
            frozen: document.frozen.as_deref().map(Cow::Borrowed),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SetHead<'a> {
    version: u64,
    barriers: Cow<'a, [Barrier]>,
}

/// Tells of every part in which `new` differs from `old`: what it holds now, or `None` where it is not there any more.
/// Whoever had all parts of `old` and follows has all parts of `new`.
pub fn changed_parts<'a>(old: &'a Document, new: &'a Document, mut tell: impl FnMut(Place<'a>, Option<Part<'a>>)) {
    let head = Head::of(new);
    if head != Head::of(old) {
        tell((HEAD, "".into()), Some(Part(Content::Head(head))));
    }
    differences(&old.keys, &new.keys, |key, _, entry| {
        tell((KEY, key.into()), entry.map(|entry| Part(Content::Key(entry))));
    });
    differences(&old.claims, &new.claims, |name, _, claim| {
        tell((CLAIM, name.into()), claim.map(|claim| Part(Content::Claim(claim))));
    });
    differences(&old.deleted, &new.deleted, |key, _, version| {
        tell((DELETED, key.into()), version.map(|version| Part(Content::Deleted(*version))));
    });
    differences(&old.sets, &new.sets, |name, before, after| {
        let head = |set: &'a Set| SetHead { version: set.version, barriers: Cow::Borrowed(&set.barriers) };
        tell((SET, name.into()), after.map(|set| Part(Content::Set(head(set)))));
        let none = NOBODY.get_or_init(Map::default);
        let members = |set: Option<&'a Set>| set.map_or(none, |set| &set.members);
        differences(members(before), members(after), |machine, _, member| {
            let place = format!("{name}/{machine}"); // a set's name has one segment
            tell((MEMBER, place.into()), member.map(|member| Part(Content::Member(member))));
        });
    });
    // Replies come with versions that rise, and the oldest go first.
    let kept_from = new.reply_order.first().map_or(u64::MAX, |(version, _)| *version);
    for (_, id) in old.reply_order.iter().take_while(|(version, _)| **version < kept_from) {
        if new.replies.get(id).is_none() {
            tell((REPLY, id.into()), None);
        }
    }
    for (_, id) in new.reply_order.range(old.version.saturating_add(1)..) {
        if let Some(reply) = new.replies.get(id) {
            tell((REPLY, id.into()), Some(Part(Content::Reply(reply))));
        }
    }
}

/// Members of a set that is not there.
static NOBODY: OnceLock<Map<String, Member>> = OnceLock::new();

/// What differs between two maps, in the order of their keys. What copies share is known by its address.
fn differences<'a, K: Ord, V: PartialEq>(
    old: &'a Map<K, V>,
    new: &'a Map<K, V>,
    mut tell: impl FnMut(&'a K, Option<&'a V>, Option<&'a V>),
) {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Less,
            (None, Some(_)) => Greater,
            // Nearly all keys are shared, and need not be read.
            (Some((was, _)), Some((is, _))) if std::ptr::eq(*was, *is) => Equal,
            (Some((was, _)), Some((is, _))) => was.cmp(is),
        };
        let was = if order == Greater { None } else { before.next() };
        let is = if order == Less { None } else { after.next() };
        match (was, is) {
            (Some((key, was)), Some((_, is))) if order == Equal => {
                if !std::ptr::eq(was, is) && was != is {
                    tell(key, Some(was), Some(is));
                }
            }
            (Some((key, was)), _) => tell(key, Some(was), None),
            (None, Some((key, is))) => tell(key, None, Some(is)),
            (None, None) => return,
        }
    }
}

impl Document {
    /// Takes in a part as it was written. The order of parts does not matter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take_part(&mut self, kind: &str, name: &str, json: &[u8]) -> Result<(), String> {
        fn read<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, String> {
            serde_json::from_slice(json).map_err(|error| error.to_string())
        }
        match kind {
            HEAD => {
                let head: Head<'_> = read(json)?;
                (self.epoch, self.version, self.bytes) = (head.epoch, head.version, head.bytes);
                (self.compacted, self.frozen) = (head.compacted, head.frozen.map(Cow::into_owned));
            }
            KEY => {
                self.keys.insert_mut(name.to_owned(), read(json)?);
            }
            CLAIM => {
                self.claims.insert_mut(name.to_owned(), read(json)?);
            }
            DELETED => {
                self.deleted.insert_mut(name.to_owned(), read(json)?);
            }
            SET => {
                let head: SetHead<'_> = read(json)?;
                let mut set = self.sets.get(name).cloned().unwrap_or_default();
                (set.version, set.barriers) = (head.version, head.barriers.into_owned());
                self.sets.insert_mut(name.to_owned(), set);
            }
            MEMBER => {
                let (set_name, machine) = name.split_once('/').ok_or("it has no place in a set")?;
                let member: Member = read(json)?;
                let mut set = self.sets.get(set_name).cloned().unwrap_or_default();
                leave_place(&mut set, machine);
                set.order.insert_mut(member.ordinal, machine.to_owned());
                set.members.insert_mut(machine.to_owned(), member);
                self.sets.insert_mut(set_name.to_owned(), set);
            }
            REPLY => {
                let reply: Reply = read(json)?;
                self.forget_order(name);
                self.reply_order.insert_mut(reply.version, name.to_owned());
                self.replies.insert_mut(name.to_owned(), reply);
            }
            other => return Err(format!("`{other}` is no part of a document")),
        }
        Ok(())
    }

    /// Takes in that a part is not there any more. A part that was not there is no matter: a set takes its members with it.
    ///
    /// # Errors
    /// What is wrong with its place.
    pub fn drop_part(&mut self, kind: &str, name: &str) -> Result<(), String> {
        match kind {
            KEY => drop(self.keys.remove_mut(name)),
            CLAIM => drop(self.claims.remove_mut(name)),
            DELETED => drop(self.deleted.remove_mut(name)),
            SET => drop(self.sets.remove_mut(name)),
            MEMBER => {
                let (set_name, machine) = name.split_once('/').ok_or("it has no place in a set")?;
                if let Some(set) = self.sets.get_mut(set_name) {
                    leave_place(set, machine);
                    set.members.remove_mut(machine);
                }
            }
            REPLY => {
                self.forget_order(name);
                self.replies.remove_mut(name);
            }
            other => return Err(format!("`{other}` is no part of a document that goes")),
        }
        Ok(())
    }

    /// The order of replies does not know this one any more.
    fn forget_order(&mut self, id: &str) {
        let version = self.replies.get(id).map(|reply| reply.version);
        if let Some(version) = version.filter(|version| self.reply_order.get(version).is_some_and(|kept| kept == id)) {
            self.reply_order.remove_mut(&version);
        }
    }
}

/// The place that a machine had in a set is free, unless another has it by now.
fn leave_place(set: &mut Set, machine: &str) {
    let ordinal = set.members.get(machine).map(|member| member.ordinal);
    if let Some(ordinal) = ordinal.filter(|ordinal| set.order.get(ordinal).is_some_and(|who| who == machine)) {
        set.order.remove_mut(&ordinal);
    }
}
