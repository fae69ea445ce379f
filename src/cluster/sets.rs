//! Sets: who joined, in which order, and the barriers on it.

use super::apply::Draft;
use super::limits::{BARRIERS_MAX, NAMES_MAX, SET_MEMBERS_MAX, check_name};
use super::{Answer, Barrier, Caller, Context, Count, Joined, Member, Opening, Refusal, Set};
use crate::journal::Event;

/// Joins; the same machine keeps its ordinal, in later runs too.
pub(super) fn join(draft: &mut Draft<'_>, name: &str, barrier: Option<Count>) -> Result<Answer, Refusal> {
    check_name(name)?;
    let Caller::Machine { machine, .. } = &draft.context.caller else {
        return Err(Refusal::WrongCaller { who: "a machine".to_owned() });
    };
    let mut set = draft.document.sets.get(name).cloned().unwrap_or_default();
    if set.version == 0 && draft.document.sets.size() >= NAMES_MAX {
        return Err(Refusal::TooLarge { message: format!("the document has {NAMES_MAX} sets, that is the limit") });
    }
    let before = set.members.get(machine).map(|member| member.ordinal);
    let ordinal = match before {
        Some(ordinal) => ordinal,
        None => {
            let size = set.members.size();
            if size >= SET_MEMBERS_MAX {
                return Err(Refusal::TooLarge {
                    message: format!("the set `{name}` has {SET_MEMBERS_MAX} members, that is the limit"),
                });
            }
            let ordinal = u32::try_from(size).unwrap_or(u32::MAX);
            let member = Member { ordinal, version: draft.version, at_unix_ms: draft.context.now_unix_ms };
            set.members.insert_mut(machine.clone(), member);
            set.order.insert_mut(ordinal, machine.clone());
            draft.changed = true;
            ordinal
        }
    };
    // `all` is always watched: it is what most wait for, and some ask only after the last one joined.
    for count in [Some(Count::All), barrier].into_iter().flatten() {
        if !set.barriers.iter().any(|known| known.count == count) {
            add_barrier(&mut set, count)?;
            draft.changed = true;
        }
    }
    open_satisfied(draft, name, &mut set);
    let opened = barrier.and_then(|count| set.opening(count));
    if draft.changed {
        set.version = draft.version;
    }
    let version = set.version;
    draft.document.sets.insert_mut(name.to_owned(), set);
    Ok(Answer::Joined(Joined {
        epoch: draft.document.epoch,
        version,
        set: name.to_owned(),
        ordinal,
        created: before.is_none(),
        opened,
    }))
}

/// Records an opening that came about without a join.
pub(super) fn open(draft: &mut Draft<'_>, name: &str, count: Count) -> Result<Answer, Refusal> {
    check_name(name)?;
    let Some(mut set) = draft.document.sets.get(name).cloned() else {
        return Err(Refusal::NotFound { what: "set".to_owned(), name: name.to_owned() });
    };
    if set.opening(count).is_some() {
        return Ok(draft.unchanged());
    }
    if !set.barriers.iter().any(|known| known.count == count) {
        add_barrier(&mut set, count)?;
    }
    open_satisfied(draft, name, &mut set);
    if set.opening(count).is_none() {
        return Err(Refusal::NotYet { set: name.to_owned(), count, joined: set.joined(draft.context) });
    }
    set.version = draft.version;
    draft.document.sets.insert_mut(name.to_owned(), set);
    Ok(draft.written(false))
}

fn add_barrier(set: &mut Set, count: Count) -> Result<(), Refusal> {
    if set.barriers.len() >= BARRIERS_MAX {
        return Err(Refusal::TooLarge { message: format!("a set has at most {BARRIERS_MAX} barriers") });
    }
    set.barriers.push(Barrier { count, opened: None });
    Ok(())
}

fn open_satisfied(draft: &mut Draft<'_>, name: &str, set: &mut Set) {
    // Nearly always none is, and that is known without counting: thousands join a set that opens once.
    let waiting = set.barriers.iter().enumerate().filter(|(_, barrier)| barrier.opened.is_none());
    let satisfied: Vec<usize> =
        waiting.filter(|(_, barrier)| set.satisfies(barrier.count, draft.context)).map(|(place, _)| place).collect();
    if satisfied.is_empty() {
        return;
    }
    let joined = set.joined(draft.context);
    for place in satisfied {
        let Some(barrier) = set.barriers.get_mut(place) else { continue };
        barrier.opened = Some(Opening { version: draft.version, joined });
        draft.changed = true;
        draft.events.push(Event::BarrierOpened { set: name.to_owned(), count: joined });
    }
}

impl Set {
    /// The recorded opening of a barrier.
    pub fn opening(&self, count: Count) -> Option<Opening> {
        self.barriers.iter().find(|barrier| barrier.count == count).and_then(|barrier| barrier.opened)
    }

    /// How many of the cluster's members (as Git has them now) joined. Who left the cluster counts no more.
    pub fn joined(&self, context: &Context) -> u32 {
        let joined = if self.members.size() < context.members.len() {
            self.members.keys().filter(|name| context.is_member(name)).count()
        } else {
            context.members.iter().filter(|name| self.members.contains_key(name.as_str())).count()
        };
        u32::try_from(joined).unwrap_or(u32::MAX)
    }

    /// Whether a barrier would open now.
    pub fn satisfies(&self, count: Count, context: &Context) -> bool {
        let needed = match count {
            Count::AtLeast(count) => count as usize,
            Count::All => context.members.len().max(context.size as usize),
        };
        // No more than so many joined; most ask long before a barrier opens.
        if self.members.size() < needed {
            return false;
        }
        let joined = self.joined(context);
        match count {
            Count::AtLeast(count) => joined >= count,
            Count::All => joined >= context.size && u64::from(joined) == context.members.len() as u64,
        }
    }
}
