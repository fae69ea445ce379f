//! Logs at exact offsets, their cap, and names that stay in their directory.

use super::{CAP_BYTES, LogError, LogStore, NOTE_BYTES, PIECE_BYTES, Tail};
use proptest::prelude::*;
use std::io;
use std::sync::{Arc, Mutex};

pub(super) fn logs() -> (LogStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (LogStore::open(&dir.path().join("logs")).unwrap(), dir)
}

/// What is written to the log of the program.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn length_told(result: Result<u64, LogError>) -> u64 {
    match result {
        Err(LogError::WrongOffset { length }) => length,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_append_goes_exactly_where_the_log_ends() {
    let (logs, _dir) = logs();
    assert_eq!(logs.length("j1").unwrap(), 0);
    assert_eq!(logs.append("j1", 0, b"hello ").unwrap(), 6);
    assert_eq!(logs.append("j1", 6, b"world").unwrap(), 11);
    assert_eq!(length_told(logs.append("j1", 12, b"gap")), 11);
    assert_eq!(length_told(logs.append("j1", u64::MAX, b"x")), 11);
    assert_eq!(logs.read("j1", 0, 100).unwrap(), b"hello world");
    assert_eq!(logs.read("j1", 6, 3).unwrap(), b"wor");
    assert!(logs.read("j1", 11, 100).unwrap().is_empty());
    assert!(logs.read("j1", u64::MAX, 100).unwrap().is_empty());
    assert!(logs.read("none-yet", 0, 100).unwrap().is_empty());
}

#[test]
fn a_repeated_append_is_harmless_and_one_that_says_otherwise_is_refused() {
    let (logs, _dir) = logs();
    logs.append("j", 0, b"abcdef").unwrap();
    assert_eq!(logs.append("j", 0, b"abcdef").unwrap(), 6, "the same again");
    assert_eq!(logs.append("j", 2, b"cd").unwrap(), 6, "a part of it");
    assert_eq!(logs.append("j", 4, b"efgh").unwrap(), 8, "it overlaps the end");
    assert_eq!(length_told(logs.append("j", 4, b"eXgh")), 8);
    assert_eq!(length_told(logs.append("j", 4, b"efgX--")), 8);
    assert_eq!(logs.read("j", 0, 100).unwrap(), b"abcdefgh");
}

#[test]
fn what_came_is_there_after_opening_again() {
    let (logs, dir) = logs();
    logs.append("j", 0, b"before").unwrap();
    logs.finish("j").unwrap();
    logs.finish("nothing-came").unwrap();
    drop(logs);
    let logs = LogStore::open(&dir.path().join("logs")).unwrap();
    assert_eq!(logs.append("j", 6, b" after").unwrap(), 12);
    assert_eq!(logs.read("j", 0, 100).unwrap(), b"before after");
}

#[test]
fn past_the_cap_bytes_are_counted_and_dropped_and_the_log_says_so() {
    let (logs, dir) = logs();
    let piece = vec![b'x'; PIECE_BYTES];
    let mut at = 0;
    while at < CAP_BYTES - 10 {
        let rest = usize::try_from(CAP_BYTES - 10 - at).unwrap().min(piece.len());
        at = logs.append("j", at, &piece[..rest]).unwrap();
    }
    assert_eq!(logs.append("j", at, b"0123456789and this is lost").unwrap(), CAP_BYTES + 16);
    assert_eq!(logs.append("j", CAP_BYTES + 16, b"more").unwrap(), CAP_BYTES + 20);
    assert_eq!(logs.append("j", CAP_BYTES + 10, b"anything0123").unwrap(), CAP_BYTES + 22, "it cannot be compared");
    assert_eq!(length_told(logs.append("j", CAP_BYTES + 23, b"gap")), CAP_BYTES + 22);
    drop(logs);

    let logs = LogStore::open(&dir.path().join("logs")).unwrap();
    assert_eq!(logs.length("j").unwrap(), CAP_BYTES + 22);
    let end = String::from_utf8(logs.read("j", CAP_BYTES - 10, 1000).unwrap()).unwrap();
    assert_eq!(
        end,
        "0123456789\n[formwork: the log is cut here; 00000000000000000022 more bytes came and were not kept]\n"
    );
    let size = std::fs::metadata(dir.path().join("logs/j.log")).unwrap().len();
    assert_eq!(size, CAP_BYTES + NOTE_BYTES as u64);
}

#[test]
fn an_append_is_bounded() {
    let (logs, _dir) = logs();
    assert!(matches!(logs.append("j", 0, &vec![0; PIECE_BYTES + 1]), Err(LogError::TooLarge(_))));
    assert_eq!(logs.length("j").unwrap(), 0);
}

#[test]
fn with_little_room_nothing_is_appended_and_the_log_stays_whole() {
    let (mut logs, _dir) = logs();
    logs.append("j", 0, b"abc").unwrap();
    assert_eq!(logs.full(), None);
    logs.reserve_bytes = u64::MAX / 2;
    assert!(logs.full().is_some_and(|why| why.contains("are kept in reserve")), "told before anything was refused");
    assert!(matches!(logs.append("j", 3, b"def"), Err(LogError::Full(_))));
    assert_eq!(logs.append("j", 0, b"abc").unwrap(), 3, "what is there needs no room");
    logs.reserve_bytes = 0;
    assert_eq!(logs.full(), None, "room that was made is seen at once");
    assert_eq!(logs.append("j", 3, b"def").unwrap(), 6);
    assert_eq!(logs.read("j", 0, 100).unwrap(), b"abcdef");
}

#[test]
fn a_disk_that_refuses_against_its_word_is_full_until_something_is_written() {
    let (mut logs, _dir) = logs();
    logs.reserve_bytes = 0;
    logs.note_refused("the quota is used up");
    assert_eq!(logs.full().as_deref(), Some("the quota is used up"));
    logs.append("j", 0, b"abc").unwrap();
    assert_eq!(logs.full(), None);
}

#[test]
fn a_log_that_cannot_be_written_is_told_until_it_can_be() {
    let (logs, dir) = logs();
    assert_eq!(logs.failing(), None);
    // A link where the file should be: refused without a look at who asks.
    let link = dir.path().join("logs/j.log");
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    assert!(matches!(logs.append("j", 0, b"abc"), Err(LogError::Io { .. })));
    assert!(logs.failing().is_some_and(|why| why.contains("logs/j.log: ")), "{:?}", logs.failing());
    assert_eq!(logs.full(), None);
    logs.append("other", 0, b"abc").unwrap();
    assert!(logs.failing().is_some(), "another log says nothing of this one so soon");
    std::fs::remove_file(link).unwrap();
    logs.append("j", 0, b"abc").unwrap();
    assert_eq!(logs.failing(), None);
}

#[test]
fn a_full_disk_is_told_of_once_when_it_begins_and_once_when_it_ends() {
    let (mut logs, _dir) = logs();
    let told = Told::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..2 {
            logs.reserve_bytes = u64::MAX / 2;
            for _ in 0..5 {
                assert!(matches!(logs.append("j", 0, b"abc"), Err(LogError::Full(_))));
            }
            logs.reserve_bytes = 0;
            logs.append("j", 0, b"abc").unwrap();
            logs.append("j", 3, b"def").unwrap();
            logs.remove("j").unwrap();
        }
    });
    let text = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("no log can be written").count(), 2, "{text}");
    assert_eq!(text.matches("logs are written again").count(), 2, "{text}");
    assert_eq!(text.matches("ERROR").count(), 2, "{text}");
}

#[test]
fn ids_from_the_network_cannot_leave_the_directory() {
    let (logs, dir) = logs();
    for id in ["", ".", "..", "../x", "a/b", "/etc/x", "a.log", "-rf", "A", "a\0b", "a b", "ä", &"a".repeat(129)] {
        assert!(matches!(logs.append(id, 0, b"x"), Err(LogError::BadId(_))), "{id:?}");
        assert!(matches!(logs.read(id, 0, 1), Err(LogError::BadId(_))), "{id:?}");
        assert!(matches!(logs.remove(id), Err(LogError::BadId(_))), "{id:?}");
    }
    std::os::unix::fs::symlink("/etc/hostname", dir.path().join("logs/link.log")).unwrap();
    assert!(matches!(logs.read("link", 0, 1), Err(LogError::Io { .. })), "links are not followed");
}

#[test]
fn many_jobs_do_not_stay_open_and_lose_nothing() {
    let (logs, _dir) = logs();
    let watched = logs.watch("job-0").unwrap();
    for job in 0..1000 {
        logs.append(&format!("job-{job}"), 0, format!("{job}").as_bytes()).unwrap();
    }
    assert!(logs.jobs().len() < 600);
    assert!(watched.has_changed().unwrap());
    for job in 0..1000 {
        assert_eq!(logs.read(&format!("job-{job}"), 0, 10).unwrap(), format!("{job}").as_bytes());
    }
    assert_eq!(logs.append("job-0", 1, b"x").unwrap(), 2);
    assert_eq!(*watched.borrow(), 2, "who follows a log keeps following it");
}

#[test]
fn a_removed_log_begins_anew() {
    let (logs, _dir) = logs();
    logs.append("j", 0, b"abc").unwrap();
    logs.remove("j").unwrap();
    logs.remove("j").unwrap();
    assert_eq!(logs.length("j").unwrap(), 0);
    assert_eq!(logs.append("j", 0, b"xy").unwrap(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever pieces of a stream are sent, in whatever order and however often: what is kept is the stream's beginning,
    /// and an agent that goes on from the length it is told gets all of it across.
    #[test]
    fn any_order_of_pieces_keeps_a_beginning_of_the_stream(
        stream in proptest::collection::vec(any::<u8>(), 0..300),
        pieces in proptest::collection::vec((0_usize..320, 0_usize..80), 0..40),
    ) {
        let (logs, _dir) = logs();
        for (from, length) in pieces {
            let from = from.min(stream.len());
            let piece = &stream[from..(from + length).min(stream.len())];
            match logs.append("j", from as u64, piece) {
                Ok(_) => {}
                Err(LogError::WrongOffset { length }) => prop_assert!(length < from as u64),
                Err(other) => prop_assert!(false, "{other}"),
            }
            let kept = logs.read("j", 0, 1000).unwrap();
            prop_assert!(stream.starts_with(&kept));
        }
        let at = logs.length("j").unwrap();
        logs.append("j", at, &stream[usize::try_from(at).unwrap()..]).unwrap();
        prop_assert_eq!(logs.read("j", 0, 1000).unwrap(), stream);
    }
}

#[test]
fn a_short_log_goes_with_its_jobs_end_and_comes_back_after_a_power_cut() {
    let (logs, dir) = logs();
    assert_eq!(logs.tail("j").unwrap(), Tail::Nothing, "nothing came");
    logs.append("j", 0, b"all of it").unwrap();
    assert_eq!(logs.tail("j").unwrap(), Tail::Short(b"all of it".to_vec()));
    logs.append("long", 0, &[b'x'; 20_000]).unwrap();
    assert_eq!(logs.tail("long").unwrap(), Tail::Long);
    logs.finish("long").unwrap();
    assert_eq!(logs.tail("long").unwrap(), Tail::Nothing, "it is on the disk");
    let elsewhere = LogStore::open(&dir.path().join("others")).unwrap().beside_a_store_elsewhere();
    elsewhere.append("j", 0, b"all of it").unwrap();
    assert_eq!(elsewhere.tail("j").unwrap(), Tail::Long, "nothing of a log goes into a store elsewhere");
    assert!(logs.bring_all().unwrap().is_empty());
    logs.wrote_down("j");
    assert_eq!(logs.bring_all().unwrap(), ["j"]);
    assert!(logs.bring_all().unwrap().is_empty());
    drop(logs);

    // What a power cut can leave of a file that nobody brought to the disk.
    let path = dir.path().join("logs/j.log");
    let leavings: [Option<&[u8]>; 5] =
        [None, Some(b""), Some(b"all "), Some(b"\0\0\0\0\0\0\0\0\0"), Some(b"all of it and more")];
    for left in leavings {
        match left {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let logs = LogStore::open(&dir.path().join("logs")).unwrap();
        logs.put_back("j", b"all of it").unwrap();
        let whole: &[u8] = if left == Some(b"all of it and more") { b"all of it and more" } else { b"all of it" };
        assert_eq!(logs.read("j", 0, 100).unwrap(), whole, "{left:?}");
        assert_eq!(logs.length("j").unwrap(), whole.len() as u64);
        assert_eq!(logs.bring_all().unwrap(), ["j"]);
    }
}
