//! A revision read on top of another is what it is when it is read alone; and it costs what differs.

use super::changes;
use super::directory::{Entry, Listing};
use super::mirror::{Mirror, Origin};
use super::owner::open;
use super::test_repository::TestRepository;
use crate::content::FileKind;
use git2::Oid;
use proptest::prelude::*;

/// What may be in a folder: a few names, so that a file becomes a folder and the other way round.
fn listing(depth: u32) -> BoxedStrategy<Listing> {
    let kind = prop_oneof![Just(FileKind::Regular), Just(FileKind::Executable), Just(FileKind::Symlink)];
    let file = ("[ab]{0,2}", kind).prop_map(|(text, kind)| Entry::File { bytes: text.into_bytes(), kind });
    let entry = if depth == 0 {
        file.boxed()
    } else {
        prop_oneof![3 => file, 2 => listing(depth - 1).prop_map(Entry::Folder)].boxed()
    };
    let name = prop::sample::select(vec!["a", "a-b", "a.b", "a0", "b", "c", "A"]);
    prop::collection::btree_map(name.prop_map(str::to_owned), entry, 1..6)
        .prop_map(|entries| Listing { entries })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_read_on_top_of_another_is_the_tree_itself(listings in prop::collection::vec(listing(2), 2..6)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mirror = Mirror::open(&folder.path().join("mirror.git")).expect("a mirror");
        let mut last = None;
        for listing in &listings {
            let revision = mirror.commit_listing(listing).expect("written");
            let commit = mirror.repository.find_commit(Oid::from_str(&revision.id).expect("an id")).expect("there");
            let (root, before) = (commit.tree_id(), last.as_ref());
            let alone = changes::read(&mirror, root, None).expect("read");
            let on_top = changes::read(&mirror, root, before).expect("read");
            prop_assert_eq!(&on_top.files, &alone.files);
            prop_assert_eq!(format!("{:?}", on_top.budget()), format!("{:?}", alone.budget()));
            prop_assert!(on_top.read <= alone.read);
            drop(commit);
            last = Some(on_top);
        }
    }
}

#[test]
fn a_commit_of_one_file_copies_and_reads_one_file_however_long_history_is() {
    let repository = TestRepository::new();
    let files: Vec<(String, String)> =
        (0..120).map(|n| (format!("machines/rack-{}/n{n}.yaml", n / 10), format!("machine {n}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let first = repository.push("all", &files);
    let bare = repository.bare();
    let mut mirror = Mirror::open(&repository.beside("mirror.git")).expect("a mirror");
    let mut take = |id: &str| {
        let source = open(&bare).expect("it opens");
        let origin = Origin { repository: &source, path: &bare, subpath: None };
        let copied = mirror.copy(&origin, id, false).expect("copied");
        let tree = mirror.tree(id, None).expect("read");
        mirror.sync().expect("on the disk");
        (copied, mirror.files_read(), tree.files.len())
    };
    // 120 files, 12 racks, the folder of racks, the root, the commit.
    assert_eq!(take(&first), (120 + 12 + 3, 120, 120));
    let mut changed = 0;
    for history in [1, 1, 40, 1] {
        let mut id = String::new();
        for _ in 0..history {
            changed += 1;
            id = repository.commit("one", &[("machines/rack-3/n33.yaml", &format!("machine 33, {changed}"))]);
        }
        repository.git(&["push", "-q", "origin", "HEAD:main"]);
        assert_eq!(take(&id), (1 + 4, 1, 120), "after {changed} commits");
    }
    repository.git(&["mv", "machines/rack-3", "machines/moved"]);
    let moved = repository.commit("moved", &[]);
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(take(&moved), (3, 10, 120), "a folder that moved is copied as a name");
}
