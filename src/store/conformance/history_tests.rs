//! Each rule of the checker finds the history that breaks it, and nothing in one that is whole.

use super::history::{Last, LastClaim, LastKey, LastMember, Seen, check};
use super::program::{Answer, Opening, Question};

fn seen(machine: &str, asked: u64, answered: u64, question: Question, answer: Answer) -> Seen {
    Seen { machine: machine.into(), asked, answered, question, answer }
}

fn write(machine: &str, at: u64, key: &str, version: u64) -> Seen {
    let id = format!("{machine}-{at}");
    let question = Question::Write { key: key.into(), value: id.clone(), id };
    seen(machine, at, at + 1, question, Answer::Written { version })
}

fn claim(machine: &str, at: u64, leader: bool, fence: u64) -> Seen {
    let answer = Answer::Claim { leader, fence, done: false, previous: None };
    seen(machine, at, at + 1, Question::Claim { claim: "lead".into() }, answer)
}

fn done(machine: &str, at: u64, fence: u64, version: u64) -> Seen {
    let question = Question::Done { claim: "lead".into(), fence, key: "out".into(), value: "v".into(), id: "d".into() };
    seen(machine, at, at + 1, question, Answer::Ended { version })
}

fn join(machine: &str, at: u64, ordinal: u32, opened: Option<(u64, u32)>) -> Seen {
    let opened = opened.map(|(version, joined)| Opening { version, joined });
    seen(machine, at, at + 1, Question::Join { set: "set".into() }, Answer::Joined { ordinal, opened })
}

fn member(machine: &str, ordinal: u32, version: u64) -> LastMember {
    LastMember { machine: machine.into(), ordinal, version }
}

/// Two machines that write, elect, publish and meet.
fn whole() -> (Vec<Seen>, Last) {
    let seen = vec![
        write("a", 10, "own/a", 1),
        write("b", 20, "own/b", 2),
        claim("a", 30, true, 3),
        claim("b", 40, false, 3),
        done("a", 50, 3, 4),
        seen(
            "b",
            55,
            56,
            Question::Await { key: "out".into(), claim: "lead".into() },
            Answer::Key { version: 4, value: "v".into() },
        ),
        seen("b", 58, 59, Question::Read, Answer::Read { version: 4 }),
        join("a", 60, 0, None),
        join("b", 70, 1, Some((6, 2))),
        join("a", 80, 0, Some((6, 2))),
    ];
    let key = |version, value: &str| LastKey { version, value: value.into() };
    let keys = [("own/a", key(1, "a-10")), ("own/b", key(2, "b-20")), ("out", key(4, "v"))];
    let last = Last {
        version: 6,
        keys: keys.into_iter().map(|(name, key)| (name.to_owned(), key)).collect(),
        claims: [("lead".into(), LastClaim { machine: "a".into(), fence: 3, done: Some(4) })].into(),
        sets: [("set".into(), vec![member("a", 0, 5), member("b", 1, 6)])].into(),
        openings: [("set".into(), Opening { version: 6, joined: 2 })].into(),
        granted: [(3, ("lead".into(), "a".into()))].into(),
    };
    (seen, last)
}

#[test]
fn a_whole_history_has_nothing_wrong() {
    let (seen, last) = whole();
    assert_eq!(check(&seen, &last, 2), [""; 0]);
}

#[test]
fn a_grant_that_nobody_was_told_of_is_the_journals_word_for_who_asked_and_for_nobody_else() {
    let (seen, mut last) = whole();
    last.version = 7;
    for (machine, wrong) in [("a", 0), ("c", 1)] {
        last.granted = [(7, ("lead".into(), machine.into()))].into();
        let found = check(&seen, &last, 2);
        assert_eq!(found.iter().filter(|found| found.contains("is nobody's")).count(), wrong, "{found:?}");
    }
}

type Break = fn(&mut Vec<Seen>, &mut Last);

#[test]
fn each_broken_promise_is_found() {
    let breaks: &[(&str, Break)] = &[
        ("is shared by", |seen, _| seen.push(write("a", 90, "own/b", 2))),
        ("is nobody's", |_, last| last.version = 7),
        ("the document ends at", |seen, _| seen.push(write("a", 90, "own/c", 9))),
        ("was known and got 1", |seen, _| seen[0] = write("a", 25, "own/a", 1)),
        ("was known and got 3", |seen, _| seen[6].answer = Answer::Read { version: 3 }),
        ("is held by", |seen, _| seen.push(claim("b", 45, true, 3))),
        ("after fence 3", |seen, _| seen.push(claim("b", 45, false, 2))),
        ("was done 2 times", |seen, _| seen.push(done("b", 65, 3, 5))),
        ("and ends as None", |_, last| last.claims.clear()),
        ("ends with ordinals", |_, last| last.sets.get_mut("set").unwrap()[1].ordinal = 0),
        ("joined set as 1", |seen, _| seen[7] = join("a", 60, 1, None)),
        ("opened to a", |seen, _| seen[7] = join("a", 60, 0, Some((6, 2)))),
        ("when 2 of 2", |seen, _| seen[8] = join("b", 70, 1, Some((6, 1)))),
        ("and ends with None", |_, last| last.openings.clear()),
        ("was last written as", |_, last| last.keys.get_mut("own/a").unwrap().value = "older".into()),
        ("was last written as", |_, last| drop(last.keys.remove("own/b"))),
        ("was shown out = x", |seen, _| seen[5].answer = Answer::Key { version: 4, value: "x".into() }),
    ];
    for (said, spoil) in breaks {
        let (mut seen, mut last) = whole();
        spoil(&mut seen, &mut last);
        let wrong = check(&seen, &last, 2);
        assert!(wrong.iter().any(|wrong| wrong.contains(said)), "{said}: {wrong:?}");
    }
}
