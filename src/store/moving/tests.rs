//! Moves between state directories, and what is no file of a move.

use super::super::effect::Effect;
use super::{Imported, MoveFile, Whose, file::Sink};
use crate::cluster::{Condition, Role};
use crate::store::conformance::clusters::{ask, put};
use crate::store::conformance::whole::{claim, everything, fill};
use crate::store::conformance::{NOW, decided, machine};
use crate::store::embedded::{self, EmbeddedStore};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const WHOSE: Whose<'_> = Whose { authority: "aa", from: None };

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A closed store with everything in it, and the file that it moves in.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        EmbeddedStore::create(&site.state(), "lab", true).unwrap();
        runtime().block_on(fill(&EmbeddedStore::open(&site.state()).unwrap()));
        site
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("site.move")
    }

    fn export(&self) -> Result<super::Exported, StoreError> {
        embedded::export(&self.state(), WHOSE, &self.file(), &())
    }

    fn import(&self, dir: &Path) -> Result<Imported, StoreError> {
        embedded::import(&MoveFile::open(&self.file(), &())?, dir, &())
    }
}

#[test]
fn what_moves_is_all_there_and_goes_on_where_it_stood() {
    let (site, other) = (Site::new(), tempfile::tempdir().unwrap());
    let store = EmbeddedStore::open(&site.state()).unwrap();
    let (before, fence) = (everything(&store), runtime().block_on(claim(&store, "m00")).fence);
    let version = store.cluster("etcd").unwrap().unwrap().version;
    drop(store);
    let exported = site.export().unwrap();
    assert!(!exported.again && exported.header.site == "lab" && exported.header.authority == "aa");
    let counts = exported.counts;
    assert_eq!((counts.events, counts.streams, counts.clusters, counts.leases, counts.values), (40, 6, 1, 2, 3));
    assert_eq!(site.import(other.path()).unwrap(), Imported::Made);
    assert_eq!(embedded::check(other.path()).unwrap().events, counts.events);
    let store = EmbeddedStore::open(other.path()).unwrap();
    assert_eq!(everything(&store), before);
    runtime().block_on(async {
        let held = claim(&store, "m00").await;
        assert_eq!((held.role, held.fence), (Role::Leader, fence), "it is held still, by the same word");
        assert_eq!(claim(&store, "m01").await.role, Role::Follower);
        ask(&store, "m00", put("next", 1, Condition::Absent)).await;
        assert!(store.cluster("etcd").unwrap().unwrap().version > version);
        let committed = store.commit(decided(&machine("m00"), 12, "on"), NOW).await.unwrap();
        assert!(committed.records[0].sequence > 50, "{committed:?}");
    });
}

#[test]
fn a_store_that_moved_is_opened_by_nothing_but_its_own_file() {
    let (site, other) = (Site::new(), tempfile::tempdir().unwrap());
    let before = everything(&EmbeddedStore::open(&site.state()).unwrap());
    site.export().unwrap();
    let copy = other.path().join("copy.redb");
    embedded::backup(&site.state(), &copy).unwrap();
    let opened = EmbeddedStore::open(&site.state()).map(drop);
    let created = EmbeddedStore::create(&site.state(), "lab", true);
    let restored = embedded::restore(&copy, &other.path().join("restored"), false).map(drop);
    for (refused, words) in [(opened, "formwork import FILE"), (created, "already"), (restored, "was moved out at 20")]
    {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, StoreError::Open(text) if text.contains(words)), "{words}: {refused}");
    }
    assert!(embedded::moved(&site.state()).unwrap().is_some());

    // Written again it is the same, and the first file is not written over.
    assert!(site.export().unwrap_err().to_string().contains("is there already"));
    let first = std::fs::read(site.file()).unwrap();
    std::fs::remove_file(site.file()).unwrap();
    assert!(site.export().unwrap().again);
    assert_eq!(std::fs::read(site.file()).unwrap(), first);

    assert_eq!(site.import(&site.state()).unwrap(), Imported::PutBack);
    assert_eq!(site.import(&site.state()).unwrap(), Imported::ThereAlready);
    let store = EmbeddedStore::open(&site.state()).unwrap();
    assert_eq!(everything(&store), before);
    runtime().block_on(store.commit(decided(&machine("m01"), 12, "on"), NOW)).unwrap();
    drop(store);
    let refused = site.import(&site.state()).unwrap_err().to_string();
    assert!(refused.contains("there is a store in") && refused.contains("nothing is imported over one"), "{refused}");

    // A later move is another one.
    std::fs::rename(site.file(), site.folder.path().join("first.move")).unwrap();
    site.export().unwrap();
    let first = MoveFile::open(&site.folder.path().join("first.move"), &()).unwrap();
    let refused = embedded::import(&first, &site.state(), &()).unwrap_err().to_string();
    assert!(refused.contains("this file is not of that move"), "{refused}");
}

#[test]
fn a_store_that_a_process_has_is_not_moved() {
    let site = Site::new();
    let open = EmbeddedStore::open(&site.state()).unwrap();
    let refused = site.export().unwrap_err().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
    drop(open);
    assert!(EmbeddedStore::open(&site.state()).is_ok(), "nothing was marked");
    assert!(!site.file().exists());
}

#[test]
fn a_file_that_cannot_be_written_marks_nothing_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let nowhere = site.folder.path().join("nowhere/site.move");
    assert!(embedded::export(&site.state(), WHOSE, &nowhere, &()).is_err());
    assert!(EmbeddedStore::open(&site.state()).is_ok());
    // What an interrupted export left behind, and what somebody else has there.
    let left = site.folder.path().join(format!("site.move.{}-{}.new", u32::MAX, "0".repeat(32)));
    let others = site.folder.path().join("site.move.new");
    std::fs::write(&left, "half").unwrap();
    std::fs::write(&others, "somebody's").unwrap();
    site.export().unwrap();
    assert_eq!(std::fs::metadata(site.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!left.exists() && std::fs::read(&others).unwrap() == b"somebody's");
}

#[test]
fn an_interrupted_import_is_no_store_and_can_be_repeated() {
    let (site, other) = (Site::new(), tempfile::tempdir().unwrap());
    site.export().unwrap();
    std::fs::write(other.path().join("store.redb.new"), b"half").unwrap();
    assert!(EmbeddedStore::open(other.path()).is_err());
    assert_eq!(site.import(other.path()).unwrap(), Imported::Made);
}

/// The bytes of a file of a move, made once.
fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let site = Site::new();
        let store = EmbeddedStore::open(&site.state()).unwrap();
        // Small, so that each byte is tried now and then.
        let log = Operation::Put { space: Space::Log, key: "job".into(), value: None };
        runtime().block_on(store.commit(Batch { operations: vec![log], ..Batch::default() }, NOW)).unwrap();
        drop(store);
        site.export().unwrap();
        std::fs::read(site.file()).unwrap()
    })
}

/// Why these bytes are refused. Nothing is made of them.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.move");
    std::fs::write(&file, bytes).unwrap();
    let refused = MoveFile::open(&file, &()).expect_err("it is taken");
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("site.move: ")), "{refused}");
    refused.to_string()
}

#[test]
fn what_is_no_whole_file_of_this_version_is_refused_with_what_it_is() {
    let good = good();
    let mut newer = good.to_vec();
    newer[7] = 2;
    for (bytes, words) in [
        (Vec::new(), "no file of `formwork export`"),
        (b"-- a dump of some database --".repeat(10), "no file of `formwork export`"),
        (newer, "format 2, this program knows 1; use a newer formwork"),
        (good[..8].to_vec(), "cut off"),
        (good[..good.len() - 1].to_vec(), "cut off or changed"),
        (good[..good.len() / 2].to_vec(), "cut off or changed"),
        ([good, b"\n"].concat(), "cut off or changed"),
    ] {
        let refused = refusal(&bytes);
        assert!(refused.contains(words), "{words}: {refused}");
    }
}

/// A file of these effects, with a good digest.
fn file_of(effects: Vec<Effect>) -> Vec<u8> {
    let moved = super::Moved { move_id: "m".into(), moved_unix_ms: NOW };
    let header = super::Header { site: "lab".into(), authority: "aa".into(), from: None, end: None, moved };
    let mut bytes = Vec::new();
    let mut sink = Sink::begin(&mut bytes, &header).unwrap();
    effects.into_iter().for_each(|effect| sink.put(effect));
    sink.end().unwrap();
    bytes
}

#[test]
fn a_file_whose_digest_is_good_is_still_read_with_care() {
    let totals = || Effect::Totals { sequence: 0, compacted: 0 };
    let lease = |bytes: Option<&[u8]>| Effect::Lease { mac: "m".into(), bytes: bytes.map(<[u8]>::to_vec) };
    let event = Effect::Event { sequence: 1, stream: "site".into(), index: 0, bytes: b"\x01{}".to_vec() };
    for (effects, words) in [
        (vec![], "its totals are missing"),
        (vec![totals(), lease(Some(b"\x01{}"))], "comes after its totals"),
        (vec![lease(None), totals()], "a change of a store"),
        (vec![lease(Some(b"\x01{}")), totals()], "the lease of m"),
        (vec![event, totals()], "event 1"),
    ] {
        let refused = refusal(&file_of(effects));
        assert!(refused.contains(words), "{words}: {refused}");
    }
    // Counts that are not those of what is there.
    let mut bytes = file_of(vec![totals()]);
    bytes.truncate(bytes.len() - 32);
    let at = bytes.windows(10).position(|window| window == b"\"events\":0").unwrap();
    bytes[at + 9] = b'1';
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    assert!(refusal(&bytes).contains("it says that it holds"));
}

#[test]
fn what_is_whole_as_a_file_and_no_store_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.move");
    let stream = |head| Effect::Stream { stream: "site".into(), head, first: 0, compacted: 0 };
    let part = Effect::Part { cluster: "c".into(), kind: "odd".into(), name: String::new(), bytes: Some(vec![1]) };
    let value = Effect::Value { space: "meta".into(), key: "site".into(), bytes: Some(b"lab".to_vec()) };
    let totals = || Effect::Totals { sequence: 0, compacted: 0 };
    for effects in [vec![stream(3), value, totals()], vec![part, totals()]] {
        std::fs::write(&file, file_of(effects)).unwrap();
        let refused = embedded::import(&MoveFile::open(&file, &()).unwrap(), folder.path(), &()).unwrap_err();
        assert!(matches!(&refused, StoreError::Open(text) if text.contains("no whole store")), "{refused}");
        assert!(!folder.path().join("store.redb").exists() && !folder.path().join("store.redb.new").exists());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_can_be_another(place in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = good().to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        refusal(&bytes);
    }
}
