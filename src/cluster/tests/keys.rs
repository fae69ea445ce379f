use super::super::{
    Answer, Caller, Condition, Current, Document, Operation, Refusal, Secrets, document_view, entry_json,
};
use super::{Cluster, content, machine_in, refused};
use crate::content::kinds::{KeySpec, Writers};
use serde_json::{Value, json};

fn spec(name: &str) -> KeySpec {
    KeySpec {
        name: name.to_owned(),
        schema: None,
        writers: Writers::Any,
        immutable: false,
        secret: false,
        param: false,
    }
}

fn written(answer: Answer) -> (u64, bool) {
    match answer {
        Answer::Written { version, created, .. } => (version, created),
        other => panic!("{other:?}"),
    }
}

#[test]
fn conditions_are_on_the_keys_own_version() {
    let mut cluster = Cluster::of_three();
    assert_eq!(written(cluster.put("a", "x", json!(1), Condition::Absent)), (1, true));
    assert_eq!(written(cluster.put("b", "y", json!(1), Condition::Absent)), (2, true));
    let swap = |version| Condition::Versions(vec![(1, version)]);
    assert_eq!(written(cluster.put("a", "x", json!(2), swap(1))), (3, false), "y's write is no conflict");
    for (condition, why) in [
        (Condition::Absent, "it is there"),
        (swap(1), "an old version"),
        (swap(2), "another key's version"),
        (Condition::Versions(vec![(2, 3)]), "another epoch's"),
    ] {
        let expected = Refusal::Condition {
            key: "x".to_owned(),
            epoch: 1,
            current: Some(Current { version: 3, value: Some(content(json!(2))) }),
        };
        assert_eq!(refused(cluster.put("b", "x", json!(3), condition)), expected, "{why}");
    }
    assert_eq!(written(cluster.put("c", "x", json!(1), Condition::Any)), (4, false));
    assert_eq!(cluster.document.version, 4, "refusals are no writes");
}

#[test]
fn an_old_value_that_comes_back_has_another_version() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!("old"), Condition::Absent);
    cluster.put("a", "x", json!("new"), Condition::Any);
    cluster.put("a", "x", json!("old"), Condition::Any);
    let late = cluster.put("b", "x", json!("late"), Condition::Versions(vec![(1, 1)]));
    assert!(matches!(refused(late), Refusal::Condition { .. }));
}

#[test]
fn deleting_needs_what_is_there() {
    let mut cluster = Cluster::of_three();
    let delete = |condition| Operation::Delete { key: "x".to_owned(), condition };
    let missing = refused(cluster.ask(machine_in("a", 1), delete(Condition::Any)));
    assert_eq!(missing, Refusal::Condition { key: "x".to_owned(), epoch: 1, current: None });
    cluster.put("a", "x", json!("value"), Condition::Absent);
    assert_eq!(cluster.document.bytes, 6);
    assert_eq!(written(cluster.ask(machine_in("a", 1), delete(Condition::Versions(vec![(1, 1)])))), (2, false));
    assert_eq!((cluster.document.bytes, cluster.document.deleted.get("x")), (0, Some(&2)));
    assert_eq!(written(cluster.put("a", "x", json!(1), Condition::Absent)), (3, true));
    assert_eq!(cluster.document.deleted.get("x"), None);
}

#[test]
fn the_same_idempotency_key_gets_the_same_answer_and_writes_once() {
    let mut cluster = Cluster::of_three();
    cluster.idempotency_key = Some("k1".to_owned());
    let first = cluster.put("a", "x", json!(1), Condition::Absent);
    assert_eq!(cluster.put("a", "x", json!(1), Condition::Absent), first, "the reply was lost");
    assert_eq!(cluster.document.version, 1);
    assert_eq!(refused(cluster.put("a", "x", json!(2), Condition::Absent)), Refusal::KeyReused);
    let others = cluster.put("b", "x", json!(1), Condition::Absent);
    assert!(matches!(refused(others), Refusal::Condition { .. }), "another caller's key is another key");
    cluster.idempotency_key = Some("k".repeat(200));
    assert!(matches!(refused(cluster.put("a", "y", json!(1), Condition::Any)), Refusal::BadRequest { .. }));
}

#[test]
fn kept_answers_are_bounded_and_the_oldest_goes_first() {
    let mut cluster = Cluster::of_three();
    for number in 0..2_060 {
        cluster.idempotency_key = Some(format!("k{number}"));
        cluster.put("a", "x", json!(number), Condition::Any);
    }
    assert_eq!(cluster.document.replies.size(), 2_048);
    assert_eq!(cluster.document.reply_order.size(), 2_048);
    assert!(cluster.document.replies.contains_key("machine/a/1/k2059"));
    assert!(!cluster.document.replies.contains_key("machine/a/1/k0"));
}

#[test]
fn writers_are_who_git_declares() {
    let mut cluster = Cluster::of_three();
    cluster.keys = vec![
        KeySpec { writers: Writers::Own, ..spec("node/*") },
        KeySpec { writers: Writers::HolderOf("init".to_owned()), ..spec("join") },
    ];
    assert!(matches!(cluster.put("a", "node/a", json!(1), Condition::Absent), Answer::Written { .. }));
    assert!(matches!(refused(cluster.put("a", "node/b", json!(1), Condition::Absent)), Refusal::NotAWriter { .. }));
    assert!(matches!(refused(cluster.put("a", "join", json!(1), Condition::Any)), Refusal::NotAWriter { .. }));
    let fence = cluster.claim("a", 1, "init").fence;
    assert!(matches!(refused(cluster.put("b", "join", json!(1), Condition::Any)), Refusal::NotAWriter { .. }));
    assert!(matches!(cluster.put("a", "join", json!(1), Condition::Any), Answer::Written { .. }));
    let done = Operation::Done { claim: "init".to_owned(), fence, publish: Vec::new() };
    cluster.ask(machine_in("a", 1), done);
    assert!(matches!(cluster.put("a", "join", json!(2), Condition::Any), Answer::Written { .. }), "who finished it");
    cluster.document.claims = super::super::Map::default();
    cluster.claim("a", 1, "init");
    cluster.now_ms += 10_000;
    assert!(matches!(refused(cluster.put("a", "join", json!(3), Condition::Any)), Refusal::NotAWriter { .. }));
}

#[test]
fn the_first_write_of_an_immutable_key_stands() {
    let mut cluster = Cluster::of_three();
    cluster.keys = vec![KeySpec { immutable: true, ..spec("ca") }];
    cluster.put("a", "ca", json!("first"), Condition::Absent);
    let overwrite = refused(cluster.put("a", "ca", json!("second"), Condition::Any));
    assert_eq!(overwrite, Refusal::Immutable { key: "ca".to_owned(), version: 1 });
    let delete = Operation::Delete { key: "ca".to_owned(), condition: Condition::Any };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), delete)), Refusal::Immutable { .. }));
    let fence = cluster.claim("a", 1, "init").fence;
    let publish = vec![("other".to_owned(), content(json!(1))), ("ca".to_owned(), content(json!("third")))];
    let done = Operation::Done { claim: "init".to_owned(), fence, publish };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), done)), Refusal::Immutable { .. }));
    assert!(cluster.document.keys.get("other").is_none(), "all or nothing");
}

#[test]
fn a_value_that_breaks_its_schema_is_refused_without_being_repeated() {
    let mut cluster = Cluster::of_three();
    cluster.keys = vec![KeySpec { schema: Some(json!({"type": "object", "required": ["url"]})), ..spec("endpoint") }];
    match refused(cluster.put("a", "endpoint", json!("s3cret"), Condition::Absent)) {
        Refusal::Schema { message, .. } => assert!(!message.contains("s3cret"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        cluster.put("a", "endpoint", json!({"url": "https://192.0.2.1"}), Condition::Absent),
        Answer::Written { .. }
    ));
}

#[test]
fn a_schema_means_at_a_write_what_it_meant_where_it_was_declared() {
    let mut cluster = Cluster::of_three();
    // Later drafts know no list of `items`, and ask what stands beside a reference.
    let pair = json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]});
    let beside = json!({"$ref": "#/definitions/a", "maxLength": 1, "definitions": {"a": {"type": "string"}}});
    cluster.keys =
        vec![KeySpec { schema: Some(pair), ..spec("pair") }, KeySpec { schema: Some(beside), ..spec("beside") }];
    for (key, value) in [("pair", json!(["a", 1])), ("beside", json!("long"))] {
        assert!(matches!(cluster.put("a", key, value, Condition::Absent), Answer::Written { .. }), "{key}");
    }
    let broken = refused(cluster.put("a", "pair", json!(["a", "b"]), Condition::Any));
    assert!(matches!(broken, Refusal::Schema { .. }), "{broken:?}");
}

#[test]
fn a_deep_value_that_breaks_its_schema_at_each_level_is_refused_at_once() {
    let mut cluster = Cluster::of_three();
    let tree = json!({"type": "object", "properties": {"x": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    cluster.keys = vec![KeySpec { schema: Some(tree), ..spec("tree") }];
    let value = |depth: usize, end: Value| (0..depth).fold(end, |inner, _| json!({"x": inner}));
    for depth in [2, 40] {
        let broken = refused(cluster.put("a", "tree", value(depth, json!(5)), Condition::Any));
        assert!(matches!(broken, Refusal::Schema { .. }), "{broken:?}");
    }
    assert!(matches!(cluster.put("a", "tree", value(40, json!({})), Condition::Any), Answer::Written { .. }));
}

#[test]
fn everything_is_bounded() {
    let mut cluster = Cluster::of_three();
    let large = |bytes: usize| json!("x".repeat(bytes));
    let over = refused(cluster.put("a", "x", large(64 * 1024 + 1), Condition::Any));
    assert!(matches!(over, Refusal::TooLarge { .. }));
    for number in 0..7 {
        cluster.put("a", &format!("large/{number}"), large(64 * 1024), Condition::Any);
    }
    assert!(matches!(
        refused(cluster.put("a", "one-more", large(64 * 1024), Condition::Any)),
        Refusal::TooLarge { .. }
    ));
    assert!(matches!(cluster.put("a", "large/0", large(64 * 1024), Condition::Any), Answer::Written { .. }));
    let mut cluster = Cluster::of_three();
    for number in 0..1_024 {
        assert!(matches!(cluster.put("a", &format!("k{number}"), json!(1), Condition::Any), Answer::Written { .. }));
    }
    assert!(matches!(refused(cluster.put("a", "k1024", json!(1), Condition::Any)), Refusal::TooLarge { .. }));
    let mut deep = Value::Null;
    for _ in 0..70 {
        deep = json!([deep]);
    }
    assert!(matches!(refused(cluster.put("a", "k0", deep, Condition::Any)), Refusal::TooLarge { .. }));
}

#[test]
fn secrets_are_for_members_only() {
    let mut cluster = Cluster::of_three();
    cluster.keys = vec![KeySpec { secret: true, ..spec("token") }];
    cluster.put("a", "token", json!("hunter2"), Condition::Absent);
    let entry = cluster.document.keys.get("token").expect("written");
    assert_eq!(entry_json(entry, Secrets::Hidden)["bytes"], json!(7));
    let public = json("etcd", &cluster.document, Secrets::Hidden, 0);
    assert!(!public.contains("hunter2") && public.contains("\"secret\":true"));
    assert!(json("etcd", &cluster.document, Secrets::Shown, 0).contains("hunter2"));
    assert!(!format!("{:?}", cluster.document).contains("hunter2"));
    let put = Operation::Put {
        key: "token".to_owned(),
        value: content(json!("guess")),
        condition: Condition::Absent,
        secret: false,
    };
    match refused(cluster.ask(Caller::Administrator { name: "ada".to_owned() }, put)) {
        Refusal::Condition { current, .. } => assert_eq!(current, Some(Current { version: 1, value: None })),
        other => panic!("{other:?}"),
    }
    cluster.keys.clear();
    cluster.put("a", "token", json!("hunter3"), Condition::Any);
    assert!(cluster.document.keys.get("token").is_some_and(|entry| entry.secret), "it stays secret");
}

#[test]
fn only_members_of_this_epoch_write() {
    let mut cluster = Cluster::of_three();
    let stranger = refused(cluster.put("z", "x", json!(1), Condition::Any));
    assert_eq!(stranger, Refusal::NotAMember { machine: "z".to_owned() });
    cluster.epoch = Some(1);
    assert!(matches!(cluster.put("a", "x", json!(1), Condition::Any), Answer::Written { .. }));
    cluster.run = 2;
    let late = refused(cluster.put("a", "x", json!(1), Condition::Any));
    assert_eq!(late, Refusal::EpochOver { epoch: 2, token: 1 });
    assert_eq!((cluster.document.epoch, cluster.document.version), (2, 2), "the epoch rose all the same");
    assert!(cluster.document.keys.is_empty());
}

#[test]
fn a_reset_empties_the_document_and_goes_on_counting() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!(1), Condition::Any);
    cluster.claim("a", 1, "init");
    let reset = Operation::Reset { reason: "anew".to_owned() };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), reset.clone())), Refusal::WrongCaller { .. }));
    let administrator = Caller::Administrator { name: "ada".to_owned() };
    cluster.idempotency_key = Some("reset-1".to_owned());
    let first = cluster.ask(administrator.clone(), reset.clone());
    assert_eq!(first, Answer::Written { epoch: 2, version: 3, created: false });
    assert_eq!(cluster.ask(administrator, reset), first, "asked again, it is the same reset");
    assert!(cluster.document.keys.is_empty() && cluster.document.claims.is_empty());
    let stale = cluster.put("a", "x", json!(1), Condition::Versions(vec![(1, 1)]));
    assert!(matches!(refused(stale), Refusal::Condition { .. }));
    assert_eq!(cluster.claim("b", 1, "init").fence, 4, "fences rise over a reset");
}

#[test]
fn a_document_survives_its_text() {
    let mut cluster = Cluster::of_three();
    cluster.idempotency_key = Some("k".to_owned());
    cluster.put("a", "x", json!({"a": [1, "two", null]}), Condition::Any);
    cluster.claim("a", 1, "init");
    cluster.ask(machine_in("b", 1), Operation::Join { set: "ready".to_owned(), barrier: None });
    let text = serde_json::to_string(&cluster.document).expect("text");
    assert_eq!(serde_json::from_str::<Document>(&text).expect("a document"), cluster.document);
}

fn json(cluster: &str, document: &Document, secrets: Secrets, now_ms: u64) -> String {
    serde_json::to_string(&document_view(cluster, document, secrets, now_ms)).unwrap()
}
