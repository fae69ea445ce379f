//! `packs.lock`: each pack from elsewhere, pinned by commit and by the hash of its files.

use super::super::finding::{Place, Report, Severity};
use super::super::kinds::{API_VERSION, PackSource, SiteSpec};
use super::super::{Document, FileKind, Step, Tree, decode, document, place_of};
use super::hash::hashed_files;
use super::source::{is_commit, name_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The lock's file, beside `site.yaml`.
pub const LOCK_FILE: &str = "packs.lock";

const HEAD: &str = "\
# Written by `formwork pack`; not to be edited. It pins what site.yaml names, by commit and by the hash of its files.
";

/// The lock.
#[derive(Debug, Clone, Default)]
pub struct Lock {
    /// Its packs, sorted by name.
    pub packs: Vec<LockedPack>,
    document: Option<Document>,
}

/// One pack, pinned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedPack {
    /// Its name: that of its `pack.yaml`, and of its folder in `packs/vendor`.
    pub name: String,
    /// The entry of `spec.packs` that it was found for.
    pub from: PackSource,
    /// The reference that led to the commit: `refs/tags/v1.2.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The commit.
    pub commit: String,
    /// The hash of its files.
    pub hash: String,
}

impl LockedPack {
    /// Whether it was found for this entry. A name that is written out or left out is the same.
    pub fn is_of(&self, entry: &PackSource) -> bool {
        let nameless = |source: &PackSource| PackSource { name: None, ..source.clone() };
        name_of(entry).as_deref() == Some(self.name.as_str()) && nameless(&self.from) == nameless(entry)
    }
}

impl Lock {
    /// A lock of these.
    pub fn of(mut packs: Vec<LockedPack>) -> Self {
        packs.sort_by(|a, b| a.name.cmp(&b.name));
        Self { packs, document: None }
    }

    /// The lock of a tree; an empty one where there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_tree(tree: &Tree) -> Result<Self, super::super::Findings> {
        let mut report = Report::default();
        let lock = read(tree, &mut report);
        if report.refuses() { Err(report.into_findings()) } else { Ok(lock.unwrap_or_default()) }
    }

    /// The pack of that name.
    pub fn get(&self, name: &str) -> Option<&LockedPack> {
        self.packs.iter().find(|pack| pack.name == name)
    }

    /// Puts a pack in, in the place of one of its name.
    pub fn put(&mut self, pack: LockedPack) {
        self.packs.retain(|known| known.name != pack.name);
        self.packs.push(pack);
        self.packs.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The file.
    pub fn to_yaml(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            api_version: &'a str,
            packs: Vec<Value>,
        }
        // Only what is written: an entry has many fields that it does not use.
        let entry = |pack: &LockedPack| {
            let mut value = serde_json::to_value(pack).unwrap_or_default();
            if let Some(from) = value.get_mut("from").and_then(Value::as_object_mut) {
                from.retain(|_, value| !value.is_null());
            }
            value
        };
        let whole = Whole { api_version: API_VERSION, packs: self.packs.iter().map(entry).collect() };
        format!("{HEAD}{}", serde_yaml::to_string(&whole).unwrap_or_default())
    }

    /// Where a pack of it stands.
    pub(super) fn place(&self, index: usize) -> Place {
        match &self.document {
            Some(document) => place_of(document.value(&["packs".into(), index.into()])),
            None => Place { file: LOCK_FILE.into(), line: 1, column: 1 },
        }
    }
}

/// Reads the lock, strictly. `None`: there is none, or it is not sound; then there are findings.
pub(super) fn read(tree: &Tree, report: &mut Report) -> Option<Lock> {
    let lock = read_strictly(tree, report);
    // Whatever is wrong with it, nobody mends it by hand.
    report
        .hint_of_file(LOCK_FILE, "it is written by `formwork pack update`; after a merge, take one side and run that");
    lock
}

fn read_strictly(tree: &Tree, report: &mut Report) -> Option<Lock> {
    let file = tree.files.get(LOCK_FILE)?;
    let start = || Place { file: LOCK_FILE.into(), line: 1, column: 1 };
    if !matches!(file.kind, FileKind::Regular | FileKind::Executable) {
        report.at(Severity::Error, "pack-lock", start(), "not a plain file");
        return None;
    }
    let before = report.said();
    let mut documents = document::read(LOCK_FILE, file, report);
    if report.said() > before {
        return None;
    }
    let (Some((document, mut value)), true) = (documents.pop(), documents.is_empty()) else {
        report.at(Severity::Error, "pack-lock", start(), "it must hold one document");
        return None;
    };
    let Some(map) = value.as_object_mut() else {
        report.error("pack-lock", document.value(&[]), "not a map");
        return None;
    };
    for key in map.keys().filter(|key| !matches!(key.as_str(), "apiVersion" | "packs")) {
        report.error("unknown-field", document.key(&[Step::Key(key)]), format!("unknown field `{key}`"));
    }
    if map.get("apiVersion").and_then(Value::as_str) != Some(API_VERSION) {
        report.error(
            "api-version",
            document.value(&["apiVersion".into()]),
            format!("apiVersion is not `{API_VERSION}`"),
        );
    }
    let mut packs = map.remove("packs").unwrap_or_else(|| Value::Array(Vec::new()));
    let packs = decode::part::<Vec<LockedPack>>(&document, "packs", &mut packs, report)?;
    for (index, pack) in packs.iter().enumerate() {
        let item = |field| [Step::Key("packs"), Step::Item(index), Step::Key(field)];
        let digits = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !pack.hash.strip_prefix("sha256:").is_some_and(|rest| rest.len() == 64 && digits(rest)) {
            let message = "a hash is `sha256:` and 64 hexadecimal digits";
            report.error("pack-lock", document.value(&item("hash")), message);
        }
        if !is_commit(&pack.commit) {
            let message = "a commit is all of its hexadecimal digits";
            report.error("pack-lock", document.value(&item("commit")), message);
        }
        if packs.iter().take(index).any(|other| other.name == pack.name) {
            let message = format!("pack `{}` is locked twice", pack.name);
            report.error("twin", document.value(&item("name")), message);
        }
        if name_of(&pack.from).as_deref() != Some(pack.name.as_str()) {
            let message = format!("`{}` is not the name that its source gives", pack.name);
            report.error("pack-lock", document.value(&item("name")), message);
        }
    }
    (report.said() == before).then_some(Lock { packs, document: Some(document) })
}

/// Packs that the site names and its lock pins, whose files are not in the tree: what is to be fetched before it can be loaded.
/// A site or a lock that cannot be read names none: loading it says what is wrong.
pub fn missing(tree: &Tree) -> Vec<LockedPack> {
    let Ok(lock) = Lock::of_tree(tree) else { return Vec::new() };
    if lock.packs.is_empty() {
        return Vec::new();
    }
    let entries = entries(tree).unwrap_or_default();
    let wanted = |pack: &LockedPack| entries.iter().any(|entry| pack.is_of(entry));
    let absent = |pack: &LockedPack| hashed_files(tree, &super::vendor_folder(&pack.name)).next().is_none();
    // An address that loading refuses is not spoken to.
    let sound = |pack: &LockedPack| super::origin(&pack.from).is_ok();
    lock.packs.into_iter().filter(|pack| wanted(pack) && sound(pack) && absent(pack)).collect()
}

/// The entries of `spec.packs`. None where there is no site.
///
/// # Errors
/// What is wrong with `site.yaml`.
pub fn entries(tree: &Tree) -> Result<Vec<PackSource>, super::super::Findings> {
    let mut report = Report::default();
    let Some(file) = tree.files.get("site.yaml") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (document, mut value) in document::read("site.yaml", file, &mut report) {
        if value.get("kind").and_then(Value::as_str) == Some("Site") {
            let spec = decode::spec::<SiteSpec>(&document, &mut value, &mut report);
            found = spec.map(|spec| spec.packs).unwrap_or_default();
        }
    }
    if report.refuses() { Err(report.into_findings()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked() -> LockedPack {
        LockedPack {
            name: "etcd".into(),
            from: PackSource {
                git: Some("https://example.org/etcd.git".into()),
                version: Some("^1".into()),
                ..PackSource::default()
            },
            reference: Some("refs/tags/v1.2.0".into()),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            hash: format!("sha256:{}", "ab".repeat(32)),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let lock = Lock::of(vec![locked()]);
        let text = lock.to_yaml();
        assert!(!text.contains("null"), "{text}");
        let read = Lock::of_tree(&Tree::from_texts([(LOCK_FILE, text)])).expect("a lock");
        assert_eq!(read.packs, lock.packs);
        assert!(Lock::of_tree(&Tree::default()).expect("none").packs.is_empty());
    }

    #[test]
    fn a_lock_that_was_edited_or_merged_is_refused() {
        let good = Lock::of(vec![locked()]).to_yaml();
        for (what, text) in [
            ("a field", good.replace("commit:", "comit:")),
            ("at the top", format!("{good}more: 1\n")),
            ("a version", good.replace("v1alpha1", "v9")),
            ("a hash", good.replace("sha256:", "md5:")),
            ("a commit", good.replace("0123456789abcdef0123456789abcdef01234567", "main")),
            ("a name", good.replace("name: etcd", "name: other")),
            ("a conflict", format!("<<<<<<< ours\n{good}")),
            ("two", format!("{good}---\n{good}")),
            ("a list", "- a\n".to_owned()),
            ("a mark", format!("<<<<<<< HEAD\n{good}")),
            ("a conflict", format!("<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> theirs\n")),
            ("no commit", "apiVersion: formwork.dev/v1alpha1\npacks: [{name: a}]\n".to_owned()),
            ("a number", "apiVersion: formwork.dev/v1alpha1\npacks: 1\n".to_owned()),
        ] {
            let findings = Lock::of_tree(&Tree::from_texts([(LOCK_FILE, text.clone())])).expect_err(what);
            for finding in findings.0 {
                let hint = finding.hint.as_deref().unwrap_or_default();
                assert!(hint.contains("run that") && hint.contains("`formwork pack update`"), "{what}: {finding}");
            }
        }
    }

    #[test]
    fn what_is_locked_and_not_here_is_to_be_fetched() {
        let site = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: a}\nspec:\n  packs:\n    - git: https://example.org/etcd.git\n      version: ^1\n";
        let lock = Lock::of(vec![locked()]).to_yaml();
        let tree = |more: &[(&str, &str)]| {
            let files = [("site.yaml", site), (LOCK_FILE, lock.as_str())];
            Tree::from_texts(files.into_iter().chain(more.iter().copied()))
        };
        assert_eq!(missing(&tree(&[])), [locked()]);
        assert!(missing(&tree(&[("packs/vendor/etcd/pack.yaml", "")])).is_empty());
        assert!(missing(&Tree::from_texts([(LOCK_FILE, lock.as_str()), ("site.yaml", "")])).is_empty());
        // An address that loading refuses is not spoken to, though site and lock agree on it.
        for url in ["ext::etcd", "http://169.254.169.254/etcd", "git://example.org/etcd", "--upload-pack=x/etcd"] {
            let said = |text: &str| text.replace("https://example.org/etcd.git", &format!("'{url}'"));
            let tree = Tree::from_texts([("site.yaml", said(site)), (LOCK_FILE, said(&lock))]);
            assert!(Lock::of_tree(&tree).is_ok_and(|lock| lock.packs.len() == 1), "{url}");
            assert!(missing(&tree).is_empty(), "{url}");
        }
    }
}
