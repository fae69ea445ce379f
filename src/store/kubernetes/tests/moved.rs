//! A store moves from a state directory into Kubernetes and out again; and is cut off at any call.

use super::super::moving::{Place, export, import};
use super::super::objects::snapshot_name;
use super::*;
use crate::cluster::Role;
use crate::store::conformance::whole::{Everything, claim, everything, fill};
use crate::store::embedded::{self, EmbeddedStore};
use crate::store::moving::{Exported, Imported, MoveFile, Whose};
use std::path::{Path, PathBuf};

const AUTHORITY: &str = "SHA256:aa";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn whose() -> Whose<'static> {
    Whose { authority: AUTHORITY, from: Some("the mock") }
}

fn move_out(memory: &Arc<Memory>, to: &Path) -> Result<Exported, StoreError> {
    export(&Place { connect: &|| memory.connect(), authority: AUTHORITY, now_ms: 0, seen: None }, whose(), to, &())
}

fn move_in(memory: &Arc<Memory>, from: &Path) -> Result<Imported, StoreError> {
    let place = Place { connect: &|| memory.connect(), authority: AUTHORITY, now_ms: 0, seen: None };
    import(&MoveFile::open(from, &())?, &place, &())
}

/// A server's opening, with the keys of the site.
fn serve(memory: &Arc<Memory>, fatal: &Fatal) -> Result<KubernetesStore, StoreError> {
    let authority = Some(AUTHORITY.to_owned());
    KubernetesStore::open(memory.connect(), Options { sharing: Sharing::Alone, authority, ..fatal.options() })
}

/// A filled store in a state directory, and the file that it moved in.
struct Site {
    folder: tempfile::TempDir,
    before: Everything,
}

impl Site {
    fn moved_out() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        EmbeddedStore::create(&state, "lab", true).unwrap();
        let store = EmbeddedStore::open(&state).unwrap();
        runtime().block_on(fill(&store));
        let before = everything(&store);
        drop(store);
        let site = Self { before, folder };
        embedded::export(&state, Whose { authority: AUTHORITY, from: None }, &site.file("in.move"), &()).unwrap();
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn a_store_moves_into_kubernetes_goes_on_there_and_moves_out_again() {
    let (site, memory) = (Site::moved_out(), Memory::new());
    assert_eq!(move_in(&memory, &site.file("in.move")).unwrap(), Imported::Made);
    assert_eq!(move_in(&memory, &site.file("in.move")).unwrap(), Imported::ThereAlready);
    let store = serve(&memory, &Fatal::default()).unwrap();
    assert_eq!(everything(&store), site.before);
    assert_eq!(store.get(Space::Meta, "authority").unwrap().as_deref(), Some(AUTHORITY.as_bytes()));
    let runtime = runtime();
    runtime.block_on(async {
        let held = claim(&store, "m00").await;
        assert_eq!((held.role, claim(&store, "m01").await.role), (Role::Leader, Role::Follower));
        for index in 12..40 {
            store.commit(decided(&machine("m00"), index, "on"), NOW).await.unwrap();
        }
        assert_eq!(held.fence, claim(&store, "m00").await.fence);
    });
    let before = everything(&store);
    drop(store);
    // Who begins now reads the same.
    let again = serve(&memory, &Fatal::default()).unwrap();
    assert_eq!(everything(&again), before);
    drop(again);

    let exported = move_out(&memory, &site.file("out.move")).unwrap();
    assert_eq!(exported.header.from.as_deref(), Some("the mock"));
    let refused = serve(&memory, &Fatal::default()).unwrap_err().to_string();
    assert!(refused.contains("the store in the mock was moved out at 20"), "{refused}");
    let refused = KubernetesStore::create(memory.connect(), "lab", true).unwrap_err().to_string();
    assert!(refused.contains("was moved out at 20"), "{refused}");
    let file = MoveFile::open(&site.file("out.move"), &()).unwrap();
    assert_eq!(embedded::import(&file, &site.file("new"), &()).unwrap(), Imported::Made);
    let store = EmbeddedStore::open(&site.file("new")).unwrap();
    assert_eq!(everything(&store), before);
    assert_eq!(store.get(Space::Meta, "authority").unwrap(), None);
    let held = runtime.block_on(claim(&store, "m00"));
    assert_eq!(held.role, Role::Leader);
}

#[test]
fn a_store_that_moved_in_takes_snapshots_as_any_other() {
    let (site, memory) = (Site::moved_out(), Memory::new());
    move_in(&memory, &site.file("in.move")).unwrap();
    let options = Options { snapshot_segments: 10, kept_segments: 3, ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    let runtime = runtime();
    runtime.block_on(async {
        for index in 12..200 {
            store.commit(decided(&machine("m00"), index, "x"), NOW).await.unwrap();
        }
        until("a snapshot was made", || store.position().1 > 1).await;
        until("the first one went", || !memory.names().contains(&snapshot_name(1))).await;
    });
    assert_eq!(everything(&*open(&memory)), everything(&store));
}

#[test]
fn a_server_that_has_the_store_ends_when_it_moves() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    let (serves, listens) = (Fatal::default(), Fatal::default());
    let (listener, server) =
        (KubernetesStore::open(memory.connect(), listens.options()).unwrap(), serve(&memory, &serves).unwrap());
    let runtime = runtime();
    runtime.block_on(server.commit(decided(&machine("m"), 0, "x"), NOW)).unwrap();
    move_out(&memory, &folder.path().join("out.move")).unwrap();
    for store in [&server, &listener] {
        let refused = runtime.block_on(store.commit(decided(&machine("m"), 1, "late"), NOW)).unwrap_err();
        assert!(matches!(refused, StoreError::Open(_)), "{refused}");
    }
    for said in [serves.said(), listens.said()] {
        assert!(said.as_ref().is_some_and(|said| said.contains("was moved out")), "{said:?}");
    }
    // Written again, it is the same: nothing came after the mark.
    assert!(move_out(&memory, &folder.path().join("again.move")).unwrap().again);
    let [first, again] = ["out.move", "again.move"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    assert!(first == again);
}

#[test]
fn a_store_in_kubernetes_is_put_back_by_the_file_of_its_move_alone() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    runtime().block_on(fill(&*open(&memory)));
    let before = everything(&*open(&memory));
    let file = |name: &str| folder.path().join(name);
    move_out(&memory, &file("one.move")).unwrap();
    assert_eq!(move_in(&memory, &file("one.move")).unwrap(), Imported::PutBack);
    // The mark is in the middle of the log now, and hinders nobody who reads it from its beginning.
    let store = serve(&memory, &Fatal::default()).unwrap();
    assert_eq!(everything(&store), before);
    runtime().block_on(store.commit(decided(&machine("m"), 0, "x"), NOW)).unwrap();
    drop(store);
    move_out(&memory, &file("two.move")).unwrap();
    let refused = move_in(&memory, &file("one.move")).unwrap_err().to_string();
    assert!(refused.contains("not of that move"), "{refused}");
    assert!(serve(&memory, &Fatal::default()).is_err());
}

#[test]
fn a_store_of_another_site_is_neither_marked_nor_read() {
    let memory = Memory::new();
    KubernetesStore::create_for(memory.connect(), "lab", true, Some("SHA256:bb")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = move_out(&memory, &folder.path().join("out.move")).unwrap_err().to_string();
    assert!(refused.contains("the keys here are those of another"), "{refused}");
    assert_eq!((memory.names(), folder.path().join("out.move").exists()), (vec!["formwork-store".to_owned()], false));
}

#[test]
fn a_store_that_came_back_older_is_not_moved_out_and_what_says_so_holds_its_machines_where_it_moves() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    let file = |name: &str| folder.path().join(name);
    let (seen, other) = (file("store-seen"), file("other-seen"));
    let connect = || memory.connect();
    let place = |seen| Place { connect: &connect, authority: AUTHORITY, now_ms: 0, seen };

    let opened = || {
        let authority = Some(AUTHORITY.to_owned());
        let options =
            Options { sharing: Sharing::Alone, seen: Some(seen.clone()), authority, ..Fatal::default().options() };
        KubernetesStore::open(memory.connect(), options)
    };
    let runtime = runtime();
    let store = opened().unwrap();
    runtime.block_on(store.commit(decided(&machine("m"), 0, "before"), NOW)).unwrap();
    let older = memory.backup();
    runtime.block_on(store.commit(decided(&machine("m"), 1, "installed"), NOW)).unwrap();
    drop(store);
    memory.restore(older);
    let names = memory.names();
    let refused = export(&place(Some(seen.as_path())), whose(), &file("refused.move"), &()).unwrap_err().to_string();
    assert!(refused.contains("is older than it was") && refused.contains("store restored"), "{refused}");
    assert_eq!(
        (memory.names(), file("refused.move").exists()),
        (names, false),
        "it is not marked, and no file is there"
    );
    let looked = KubernetesStore::look(memory.connect(), Some(AUTHORITY), Some(&seen)).unwrap_err().to_string();
    assert!(looked.contains("is older than it was"), "{looked}");

    // Whoever did not see more can write a file; where more was seen, it is not taken.
    export(&place(Some(other.as_path())), whose(), &file("blind.move"), &()).unwrap();
    let blind = MoveFile::open(&file("blind.move"), &()).unwrap();
    let refused = super::super::moving::is_not_older(&blind, &seen).unwrap_err().to_string();
    assert!(refused.contains("older than it had been") && refused.contains("export it again"), "{refused}");
    assert!(super::super::moving::is_not_older(&blind, &other).is_ok());
    assert_eq!(import(&blind, &place(Some(other.as_path())), &()).unwrap(), Imported::PutBack);

    // A person says so: then it moves, and its machines are held there as here.
    KubernetesStore::restored(memory.connect(), Some(AUTHORITY.to_owned()), None, 0, &()).unwrap();
    export(&place(Some(seen.as_path())), whose(), &file("out.move"), &()).unwrap();
    let moved = MoveFile::open(&file("out.move"), &()).unwrap();
    super::super::moving::is_not_older(&moved, &seen).unwrap();
    embedded::import(&moved, &file("new"), &()).unwrap();
    let events = EmbeddedStore::open(&file("new")).unwrap().events_of(&machine("m"), 0, 10).unwrap();
    assert!(events.iter().any(|record| matches!(record.event, Event::StoreRestored { .. })), "{events:?}");
}

#[test]
fn an_import_that_is_cut_off_at_any_call_is_no_store_or_all_of_it() {
    let site = Site::moved_out();
    let (mut none, mut whole) = (0, 0);
    for calls in 1.. {
        let memory = Memory::new();
        memory.set(Mood { power_left: Some(calls), ..Mood::default() });
        let first = move_in(&memory, &site.file("in.move"));
        memory.set(Mood::default());
        match KubernetesStore::open(memory.connect(), Fatal::default().options()) {
            Ok(store) => {
                whole += 1;
                assert_eq!(everything(&store), site.before, "cut off after {calls} calls");
            }
            Err(StoreError::Open(text)) => {
                none += 1;
                assert!(text.contains("there is no store"), "cut off after {calls} calls: {text}");
                assert_eq!(move_in(&memory, &site.file("in.move")).unwrap(), Imported::Made, "after {calls} calls");
                assert_eq!(everything(&*open(&memory)), site.before);
            }
            Err(other) => panic!("cut off after {calls} calls: {other}"),
        }
        if first.is_ok() {
            break;
        }
    }
    assert!(none >= 3 && whole >= 1, "{none} {whole}");
}

#[test]
fn parts_of_a_store_that_is_gone_are_not_taken_for_those_of_an_import() {
    let (site, memory) = (Site::moved_out(), site());
    runtime().block_on(open(&memory).commit(decided(&machine("m"), 0, "x"), NOW)).unwrap();
    memory.lose("formwork-store");
    let names = memory.names();
    let refused = move_in(&memory, &site.file("in.move")).unwrap_err().to_string();
    assert!(refused.contains("to segment 1") && refused.contains("formwork-store is gone"), "{refused}");
    assert_eq!(memory.names(), names);
}

#[test]
fn a_store_whose_first_snapshot_is_lost_is_damaged_and_not_empty() {
    let (site, memory) = (Site::moved_out(), Memory::new());
    move_in(&memory, &site.file("in.move")).unwrap();
    memory.lose(&snapshot_name(1));
    let damaged = KubernetesStore::open(memory.connect(), Fatal::default().options()).unwrap_err();
    assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains("moved in here")), "{damaged}");
}

#[test]
fn an_export_that_is_cut_off_at_any_call_can_be_run_again() {
    let site = Site::moved_out();
    for calls in 1.. {
        let memory = Memory::new();
        move_in(&memory, &site.file("in.move")).unwrap();
        memory.set(Mood { power_left: Some(calls), ..Mood::default() });
        let to = site.file(&format!("{calls}.move"));
        let first = move_out(&memory, &to);
        assert_eq!(first.is_ok(), to.exists());
        memory.set(Mood::default());
        if first.is_ok() {
            assert!(calls > 1);
            break;
        }
        move_out(&memory, &to).unwrap();
        assert!(serve(&memory, &Fatal::default()).is_err());
        let new = site.file(&format!("new-{calls}"));
        embedded::import(&MoveFile::open(&to, &()).unwrap(), &new, &()).unwrap();
        assert_eq!(everything(&EmbeddedStore::open(&new).unwrap()), site.before);
    }
}
