//! A document in parts is the document, and a write changes few of them.

use super::{Cluster, content, machine_in};
use crate::cluster::{Condition, Count, Document, Operation, changed_parts};
use serde_json::json;
use std::collections::BTreeMap;

/// Parts as a store keeps them, and beside them a document that took in each change as it came.
#[derive(Default)]
pub(super) struct Disk(BTreeMap<(&'static str, String), Vec<u8>>, Document);

impl Disk {
    /// Follows a document from `old` to `new`; gives the kinds of the parts that were written and how many bytes.
    pub fn write(&mut self, old: &Document, new: &Document) -> (Vec<&'static str>, usize) {
        let (mut kinds, mut bytes) = (Vec::new(), 0);
        changed_parts(old, new, |(kind, name), part| {
            kinds.push(kind);
            let followed = match &part {
                Some(part) => self.1.take_part(kind, &name, &serde_json::to_vec(part).expect("JSON")),
                None => self.1.drop_part(kind, &name),
            };
            followed.expect("a part");
            match part {
                Some(part) => {
                    let json = serde_json::to_vec(&part).expect("JSON");
                    bytes += json.len();
                    self.0.insert((kind, name.into_owned()), json);
                }
                None => assert!(self.0.remove(&(kind, name.into_owned())).is_some(), "only what is there goes"),
            }
        });
        (kinds, bytes)
    }

    pub fn read(&self) -> Document {
        let mut document = Document::default();
        for ((kind, name), json) in &self.0 {
            document.take_part(kind, name, json).expect("a part");
        }
        assert_eq!(self.1, document, "who follows each change has what is there");
        document
    }
}

fn put(cluster: &mut Cluster, key: &str, value: &str) {
    let operation =
        Operation::Put { key: key.into(), value: content(json!(value)), condition: Condition::Any, secret: false };
    cluster.ask(machine_in("a", 1), operation);
}

#[test]
fn a_write_on_a_full_document_changes_what_it_writes() {
    let mut cluster = Cluster::of_three();
    for number in 0..900 {
        put(&mut cluster, &format!("k{number}"), &"x".repeat(500));
    }
    for who in ["a", "b"] {
        cluster.ask(machine_in(who, 1), Operation::Join { set: "s".into(), barrier: Some(Count::All) });
    }
    let (mut disk, full) = (Disk::default(), cluster.document.clone());
    disk.write(&Document::default(), &full);
    assert_eq!(disk.read(), full);

    put(&mut cluster, "k7", "new");
    let one = cluster.document.clone();
    let (kinds, bytes) = disk.write(&full, &one);
    assert_eq!(kinds, ["head", "key"]);
    assert!(bytes < 400, "{bytes}");

    cluster.ask(machine_in("c", 1), Operation::Join { set: "s".into(), barrier: None });
    let (kinds, bytes) = disk.write(&one, &cluster.document);
    assert_eq!(kinds, ["head", "set", "member"], "not those who joined before");
    assert!(bytes < 400, "{bytes}");
    assert_eq!(disk.read(), cluster.document);
}

#[test]
fn replies_come_and_go_part_by_part() {
    let mut cluster = Cluster::of_three();
    let (mut disk, mut written) = (Disk::default(), Document::default());
    for number in 0..5_000 {
        cluster.idempotency_key = Some(format!("key-{number}"));
        put(&mut cluster, "k", &number.to_string());
        if number % 700 == 0 || number > 4_990 {
            disk.write(&written, &cluster.document);
            written = cluster.document.clone();
        }
    }
    assert_eq!(disk.read(), cluster.document);
    cluster.ask(super::super::Caller::Server, Operation::Reset { reason: String::new() });
    disk.write(&written, &cluster.document);
    assert_eq!(disk.read(), cluster.document);
}

#[test]
fn what_is_no_part_is_refused() {
    for (kind, name, json) in
        [("head", "", "{}"), ("poem", "", "{}"), ("member", "s", "{}"), ("member", "s/x", "{}"), ("key", "k", "7")]
    {
        assert!(Document::default().take_part(kind, name, json.as_bytes()).is_err(), "{kind} {name}");
    }
    for (kind, name) in [("head", ""), ("poem", ""), ("member", "s")] {
        assert!(Document::default().drop_part(kind, name).is_err(), "{kind} {name}");
    }
}
