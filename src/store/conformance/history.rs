//! What clients saw, and whether a store that keeps its word could have shown it to them.
//!
//! Each accepted write has a version of its own, one above the one before, so a history is checked by sorting: no search
//! for an order is needed. Every question was repeated until it was answered, so at the end nothing is uncertain: each
//! version belongs to exactly one question, and one that belongs to none was written twice or by nobody.
//!
//! Pure, and of plain types only (taken in by path in `tests/crash`).

use super::program::{Answer, Opening, Question};
use std::collections::{BTreeMap, BTreeSet};

/// One question with its answer. `asked` and `answered` are ticks of one clock of all clients: before the first time it was
/// sent, and after its answer came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub machine: String,
    pub asked: u64,
    pub answered: u64,
    pub question: Question,
    pub answer: Answer,
}

/// A key at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastKey {
    pub version: u64,
    pub value: String,
}

/// A claim at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastClaim {
    pub machine: String,
    pub fence: u64,
    /// The version that ended it.
    pub done: Option<u64>,
}

/// A member of a set at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastMember {
    pub machine: String,
    pub ordinal: u32,
    pub version: u64,
}

/// The document when all is over.
#[derive(Debug, Clone, Default)]
pub struct Last {
    pub version: u64,
    pub keys: BTreeMap<String, LastKey>,
    pub claims: BTreeMap<String, LastClaim>,
    pub sets: BTreeMap<String, Vec<LastMember>>,
    /// Of each set the opening of its barrier.
    pub openings: BTreeMap<String, Opening>,
    /// Grants that the journal has, by their fence: claim and machine. One that lapsed while its answer was on the way, and of which the next holder's answer was
    /// lost in the same way, nobody was told of.
    pub granted: BTreeMap<u64, (String, String)>,
}

/// Everything that no store that keeps its word could have shown, in words.
pub fn check(seen: &[Seen], last: &Last, members: u32) -> Vec<String> {
    let mut wrong = Vec::new();
    versions(seen, last, &mut wrong);
    order(seen, &mut wrong);
    claims(seen, last, &mut wrong);
    sets(seen, last, members, &mut wrong);
    kept(seen, last, &mut wrong);
    wrong
}

/// Versions are unique, contiguous, and each is somebody's.
fn versions(seen: &[Seen], last: &Last, wrong: &mut Vec<String>) {
    let mut owners: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let mut own = |version: u64, what: String| {
        owners.entry(version).or_default().insert(what);
    };
    let grant = |claim: &str, machine: &str| format!("the grant of {claim} to {machine}");
    for Seen { machine, question, answer, .. } in seen {
        match (question, answer) {
            (Question::Write { id, .. }, Answer::Written { version }) => own(*version, format!("the write {id}")),
            (Question::Done { claim, fence, .. }, Answer::Ended { version }) => {
                own(*version, format!("the end of {claim} under fence {fence}"));
            }
            (Question::Claim { claim }, Answer::Claim { leader, fence, previous, .. }) => {
                if *leader {
                    own(*fence, grant(claim, machine));
                }
                if let Some(before) = previous {
                    own(before.fence, grant(claim, &before.machine));
                }
            }
            _ => {}
        }
    }
    for (claim, end) in &last.claims {
        own(end.fence, grant(claim, &end.machine));
        if let Some(version) = end.done {
            own(version, format!("the end of {claim} under fence {}", end.fence));
        }
    }
    for (fence, (claim, machine)) in &last.granted {
        let asked = |seen: &Seen| {
            seen.machine == *machine && matches!(&seen.question, Question::Claim { claim: of } if of == claim)
        };
        if seen.iter().any(asked) {
            own(*fence, grant(claim, machine));
        }
    }
    for (set, members) in &last.sets {
        for member in members {
            own(member.version, format!("the joining of {set} by {}", member.machine));
        }
    }
    for (version, owners) in &owners {
        if owners.len() > 1 {
            wrong.push(format!("version {version} is shared by {owners:?}"));
        }
        if *version > last.version {
            wrong.push(format!("version {version} ({owners:?}) was answered; the document ends at {}", last.version));
        }
    }
    for version in 1..=last.version {
        if !owners.contains_key(&version) {
            wrong.push(format!("version {version} is nobody's: something was written twice, or an answer was lost"));
        }
    }
}

/// A write is above, and a read at or above, what anybody was told before it was asked.
fn order(seen: &[Seen], wrong: &mut Vec<String>) {
    let mut told: Vec<(u64, u64)> =
        seen.iter().filter_map(|seen| Some((seen.answered, version_of(&seen.answer)?))).collect();
    told.sort_unstable();
    let mut highest = 0;
    for (_, version) in &mut told {
        highest = highest.max(*version);
        *version = highest;
    }
    let floor = |asked: u64| match told.partition_point(|(answered, _)| *answered < asked) {
        0 => 0,
        count => told[count - 1].1,
    };
    // A claim that is asked for again gives its fence again: only the first question for it must be above.
    let mut granted = BTreeSet::new();
    let mut by_time: Vec<&Seen> = seen.iter().collect();
    by_time.sort_by_key(|seen| seen.asked);
    for Seen { machine, asked, answer, question, .. } in by_time {
        let floor = floor(*asked);
        let (version, may_equal) = match answer {
            Answer::Written { version } | Answer::Ended { version } => (*version, false),
            Answer::Read { version } => (*version, true),
            Answer::Claim { leader: true, fence, .. } if granted.insert(*fence) => (*fence, false),
            _ => continue,
        };
        if version < floor || (version == floor && !may_equal) {
            wrong.push(format!("{machine} asked {question:?} after version {floor} was known and got {version}"));
        }
    }
}

fn version_of(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Written { version }
        | Answer::Ended { version }
        | Answer::Read { version }
        | Answer::Key { version, .. } => Some(*version),
        Answer::Claim { fence, .. } => Some(*fence),
        Answer::Joined { opened, .. } => opened.map(|opening| opening.version),
        Answer::FenceLost | Answer::Vacant | Answer::NotYet => None,
    }
}

/// At most one holder a fence, fences rise, `done` at most once and for good.
fn claims(seen: &[Seen], last: &Last, wrong: &mut Vec<String>) {
    let mut holders: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    let mut shown: BTreeMap<&str, Vec<(u64, u64, u64)>> = BTreeMap::new();
    let mut ends: BTreeMap<&str, BTreeSet<(u64, u64)>> = BTreeMap::new();
    for Seen { machine, asked, answered, question, answer } in seen {
        match (question, answer) {
            (Question::Claim { claim }, Answer::Claim { leader, fence, .. }) => {
                shown.entry(claim).or_default().push((*asked, *answered, *fence));
                if *leader {
                    holders.entry(*fence).or_default().insert(machine);
                }
            }
            (Question::Done { claim, fence, .. }, Answer::Ended { version }) => {
                ends.entry(claim).or_default().insert((*fence, *version));
            }
            _ => {}
        }
    }
    for (fence, machines) in holders {
        if machines.len() > 1 {
            wrong.push(format!("fence {fence} is held by {machines:?}"));
        }
    }
    for (claim, shown) in &shown {
        let mut by_answer = shown.clone();
        by_answer.sort_by_key(|(_, answered, _)| *answered);
        for (asked, _, fence) in shown {
            let before = by_answer.iter().take_while(|(_, answered, _)| answered < asked).map(|(_, _, fence)| *fence);
            if let Some(higher) = before.max().filter(|before| before > fence) {
                wrong.push(format!("{claim} showed fence {fence} after fence {higher}"));
            }
        }
    }
    for (claim, ends) in ends {
        if ends.len() > 1 {
            wrong.push(format!("{claim} was done {} times in one epoch: {ends:?}", ends.len()));
        }
        let known = last.claims.get(claim);
        for (fence, version) in ends {
            if known.is_none_or(|known| known.fence != fence || known.done != Some(version)) {
                wrong.push(format!("{claim} was done under fence {fence} in version {version}, and ends as {known:?}"));
            }
        }
    }
}

/// Ordinals are unique, contiguous and stable; no barrier opens short, and an opening stays.
fn sets(seen: &[Seen], last: &Last, members: u32, wrong: &mut Vec<String>) {
    for (set, joined) in &last.sets {
        let ordinals: Vec<u32> = joined.iter().map(|member| member.ordinal).collect();
        let names: BTreeSet<&str> = joined.iter().map(|member| member.machine.as_str()).collect();
        if !ordinals.iter().copied().eq(0..u32::try_from(joined.len()).unwrap_or(u32::MAX))
            || names.len() != joined.len()
        {
            wrong.push(format!("{set} ends with ordinals {ordinals:?} of {names:?}"));
        }
    }
    for Seen { machine, answered, question, answer, .. } in seen {
        let (Question::Join { set }, Answer::Joined { ordinal, opened }) = (question, answer) else { continue };
        let end = last.sets.get(set).and_then(|joined| joined.iter().find(|member| member.machine == *machine));
        if end.is_none_or(|end| end.ordinal != *ordinal) {
            wrong.push(format!("{machine} joined {set} as {ordinal}, and ends there as {end:?}"));
        }
        let Some(opening) = opened else { continue };
        let asked_by = |other: &&Seen| other.asked < *answered && other.question == *question;
        let there: BTreeSet<&str> = seen.iter().filter(asked_by).map(|other| other.machine.as_str()).collect();
        if opening.joined < members || u32::try_from(there.len()).is_ok_and(|there| there < members) {
            let there = there.len();
            wrong.push(format!(
                "{set} opened to {machine} with {opening:?} when {there} of {members} had asked to join"
            ));
        }
        if last.openings.get(set) != Some(opening) {
            let end = last.openings.get(set);
            wrong.push(format!("{set} opened to {machine} with {opening:?}, and ends with {end:?}"));
        }
    }
}

/// Each key ends with its highest answered write, and never showed what nobody wrote.
fn kept(seen: &[Seen], last: &Last, wrong: &mut Vec<String>) {
    let mut written: BTreeMap<&str, BTreeMap<u64, &str>> = BTreeMap::new();
    for Seen { question, answer, .. } in seen {
        let (key, value, version) = match (question, answer) {
            (Question::Write { key, value, .. }, Answer::Written { version })
            | (Question::Done { key, value, .. }, Answer::Ended { version }) => (key, value, *version),
            _ => continue,
        };
        written.entry(key).or_default().insert(version, value);
    }
    for (key, versions) in &written {
        let end = last.keys.get(*key);
        let newest = versions.last_key_value().map(|(version, value)| (*version, *value));
        if end.map(|end| (end.version, end.value.as_str())) != newest {
            wrong.push(format!("{key} was last written as {newest:?}, and ends as {end:?}"));
        }
    }
    for Seen { machine, question, answer, .. } in seen {
        let (Question::Await { key, .. }, Answer::Key { version, value }) = (question, answer) else { continue };
        let wrote = written.get(key.as_str()).and_then(|versions| versions.get(version));
        if wrote.is_none_or(|wrote| wrote != value) {
            wrong.push(format!("{machine} was shown {key} = {value} of version {version}, which was {wrote:?}"));
        }
    }
}
