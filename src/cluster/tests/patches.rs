use super::super::{Answer, Caller, Condition, Operation, Refusal, has_condition, parse_patch};
use super::{Cluster, machine_in, refused};
use crate::content::kinds::KeySpec;
use serde_json::{Value, json};

fn patch(cluster: &mut Cluster, steps: &Value) -> Answer {
    match parse_patch(steps, true) {
        Ok(steps) => cluster.ask(machine_in("a", 1), Operation::Patch { steps, versions: None }),
        Err(refusal) => Answer::Refused(refusal),
    }
}

fn value(cluster: &Cluster, key: &str) -> Option<Value> {
    cluster.document.keys.get(key).map(|entry| (*entry.value.0).clone())
}

#[test]
fn many_keys_are_written_in_one_version_or_none_is() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "etcd/token", json!("t"), Condition::Absent);
    let all = json!([
        {"op": "test", "path": "/keys/etcd~1token/version", "value": 1},
        {"op": "test", "path": "/keys/etcd~1token/version", "value": "1.1"},
        {"op": "absent", "path": "/keys/members"},
        {"op": "add", "path": "/keys/members", "value": {"value": ["a"]}},
        {"op": "add", "path": "/keys/members/value/-", "value": "b"},
        {"op": "copy", "from": "/keys/members", "path": "/keys/copy"},
        {"op": "move", "from": "/keys/copy", "path": "/keys/moved"},
        {"op": "replace", "path": "/keys/etcd~1token/value", "value": "u"},
    ]);
    assert_eq!(patch(&mut cluster, &all), Answer::Written { epoch: 1, version: 2, created: false });
    assert_eq!(value(&cluster, "members"), Some(json!(["a", "b"])));
    assert_eq!((value(&cluster, "moved"), value(&cluster, "copy")), (Some(json!(["a", "b"])), None));
    assert!(cluster.document.keys.values().all(|entry| entry.version == 2));
    let half = json!([
        {"op": "remove", "path": "/keys/moved"},
        {"op": "test", "path": "/keys/etcd~1token/version", "value": 1},
    ]);
    match refused(patch(&mut cluster, &half)) {
        Refusal::PatchFailed { index, operation, met, version, .. } => {
            assert_eq!((index, operation.as_str(), version), (1, "test", Some(2)));
            assert_eq!(met.map(|met| (*met.0).clone()), Some(json!(2)), "the value it met");
        }
        other => panic!("{other:?}"),
    }
    assert!(value(&cluster, "moved").is_some(), "nothing was done");
}

#[test]
fn what_cannot_be_done_names_its_operation() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!({"n": 1}), Condition::Absent);
    for failing in [
        json!({"op": "test", "path": "/keys/x/value/n", "value": 2}),
        json!({"op": "test", "path": "/keys/none/version", "value": 1}),
        json!({"op": "absent", "path": "/keys/x"}),
        json!({"op": "remove", "path": "/keys/none"}),
        json!({"op": "replace", "path": "/keys/none", "value": {"value": 1}}),
        json!({"op": "add", "path": "/keys/none/value", "value": 1}),
        json!({"op": "add", "path": "/keys/x/value/n/deeper", "value": 1}),
        json!({"op": "move", "from": "/keys/x/value/n", "path": "/keys/x/value/n/n"}),
    ] {
        let found = refused(patch(&mut cluster, &json!([failing])));
        assert!(matches!(found, Refusal::PatchFailed { index: 0, .. }), "{failing}: {found:?}");
    }
    assert_eq!(cluster.document.version, 1);
}

#[test]
fn a_patch_that_means_nothing_is_refused_before_it_is_tried() {
    let mut cluster = Cluster::of_three();
    for wrong in [
        json!({}),
        json!([]),
        json!([{"op": "add", "path": "/claims/init", "value": 1}]),
        json!([{"op": "add", "path": "/keys/x", "value": 1}]),
        json!([{"op": "add", "path": "/keys/x", "value": {"value": 1, "version": 7}}]),
        json!([{"op": "replace", "path": "/keys/x/version", "value": 7}]),
        json!([{"op": "remove", "path": "/keys/x/value"}]),
        json!([{"op": "remove", "path": "/keys/../x"}]),
        json!([{"op": "copy", "from": "/keys/x", "path": "/keys/y/value"}]),
        json!([{"op": "spell", "path": "/keys/x"}]),
        json!([{"path": "/keys/x"}]),
        json!([{"op": "add", "path": "/keys/x"}]),
    ] {
        let found = refused(patch(&mut cluster, &wrong));
        assert!(matches!(found, Refusal::BadPatch { .. }), "{wrong}: {found:?}");
    }
    let absent = json!([{"op": "absent", "path": "/keys/x"}]);
    assert!(parse_patch(&absent, false).is_err(), "RFC 6902 has no `absent`");
    assert!(has_condition(&parse_patch(&absent, true).expect("ours has")));
}

#[test]
fn a_patch_can_hang_on_the_documents_version() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!(1), Condition::Absent);
    let steps = parse_patch(&json!([{"op": "add", "path": "/keys/y", "value": {"value": 1}}]), false).expect("a patch");
    let ask = |version| Operation::Patch { steps: steps.clone(), versions: Some(vec![(1, version)]) };
    let stale = refused(cluster.ask(machine_in("a", 1), ask(0)));
    assert_eq!(stale, Refusal::DocumentCondition { epoch: 1, version: 1 });
    assert!(matches!(cluster.ask(machine_in("a", 1), ask(1)), Answer::Written { version: 2, .. }));
}

#[test]
fn doubling_a_value_ends_soon_and_secrets_cannot_be_probed() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "x", json!(["0123456789"]), Condition::Absent);
    let bomb: Vec<Value> =
        (0..200).map(|_| json!({"op": "copy", "from": "/keys/x/value", "path": "/keys/x/value/-"})).collect();
    assert!(matches!(refused(patch(&mut cluster, &json!(bomb))), Refusal::TooLarge { .. }));

    let secret = KeySpec {
        name: "x".to_owned(),
        schema: None,
        writers: Default::default(),
        immutable: false,
        secret: true,
        param: false,
    };
    cluster.keys = vec![secret];
    cluster.put("a", "x", json!("s3cret"), Condition::Any);
    for probe in [
        json!([{"op": "test", "path": "/keys/x/value", "value": "s3cret"}]),
        json!([{"op": "test", "path": "/keys/x", "value": {"value": null, "version": 2}}]),
        json!([{"op": "copy", "from": "/keys/x", "path": "/keys/y"}]),
        json!([{"op": "absent", "path": "/keys/x/value/a"}]),
    ] {
        let steps = parse_patch(&probe, true).expect("a patch");
        let asked = Operation::Patch { steps, versions: None };
        let found = refused(cluster.ask(Caller::Administrator { name: "ada".to_owned() }, asked));
        assert!(matches!(found, Refusal::WrongCaller { .. }), "{probe}: {found:?}");
    }
}
