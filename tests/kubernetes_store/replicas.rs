//! Several replicas on one real API server.

use super::*;
use cluster::{Answer, Operation as Ask, Role};
use store::conformance::clusters::{asks_at, member};
use store::{Batch, BoxFuture, Committed};

fn claim(number: usize) -> Batch {
    let claim = Ask::Claim { claim: "init".into(), ttl_ms: 600_000 };
    Batch { operations: vec![asks_at(1_000, "etcd", &member(number), claim)], ..Batch::default() }
}

fn role(committed: Committed) -> (Role, u64, String) {
    match committed.answers.into_iter().next() {
        Some(Answer::Claim(answer)) => (answer.role, answer.fence, answer.holder),
        other => panic!("{other:?}"),
    }
}

/// 64 clients ask for one claim, half of them each at a replica; one replica dies at its first write or soon after, and its clients
/// ask the other.
pub fn of_two_stores_and_64_clients_one_leads_though_one_store_dies(namespaces: &Namespaces<'_>) {
    for round in 0..6 {
        let namespace = format!("leads-{round}");
        namespaces.site(&namespace);
        let wire = Wire::new(round + 1);
        let short = Options { patience: Duration::ZERO, ..options() };
        let dies = Arc::new(KubernetesStore::open(wire.connect(namespaces.connect(&namespace)), short).unwrap());
        let lives = namespaces.open(&namespace);
        wire.set(Mood { left: Some(1 + round / 3), ..Mood::default() });
        let answers = runtime().block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..64_usize {
                let (dies, lives) = (Arc::clone(&dies), Arc::clone(&lives));
                tasks.spawn(async move {
                    let first: BoxFuture<'_, _> = if number % 2 == 0 {
                        dies.commit(claim(number), NOW)
                    } else {
                        lives.commit(claim(number), NOW)
                    };
                    match first.await {
                        Ok(committed) => role(committed),
                        Err(StoreError::Unreachable(_)) => role(lives.commit(claim(number), NOW).await.unwrap()),
                        Err(other) => panic!("{other}"),
                    }
                });
            }
            tasks.join_all().await
        });
        assert_eq!(answers.iter().filter(|(role, ..)| *role == Role::Leader).count(), 1, "{answers:?}");
        assert!(answers.windows(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].2 == pair[1].2), "{answers:?}");
    }
}

pub fn a_lost_request_or_reply_is_neither_lost_nor_done_twice(namespaces: &Namespaces<'_>) {
    namespaces.site("lossy");
    let wire = Wire::new(5);
    let open = || Arc::new(KubernetesStore::open(wire.connect(namespaces.connect("lossy")), options()).unwrap());
    let stores = [open(), open()];
    wire.set(Mood { lose_replies: 3, lose_requests: 4, ..Mood::default() });
    let mut written = runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            let store = Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let mut written = Vec::new();
                for round in 0..6 {
                    let stream = machine(&format!("m{}", round % 3));
                    loop {
                        let head = store.head(&stream).unwrap();
                        match store.commit(decided(&stream, head, &format!("{task}-{round}")), NOW).await {
                            Ok(committed) => break written.push(committed.records[0].clone()),
                            Err(StoreError::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
                written
            });
        }
        tasks.join_all().await.concat()
    });
    written.sort_by_key(|record| record.sequence);
    assert_eq!(namespaces.open("lossy").events_after(1, 1_000).unwrap(), written);
}

pub fn nobody_changes_a_segment_and_a_deleted_one_is_found(namespaces: &Namespaces<'_>) {
    let cluster = namespaces.cluster;
    namespaces.site("touched");
    let store = namespaces.open("touched");
    runtime().block_on(async {
        for index in 0..3 {
            store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
        }
    });
    let names = namespaces.secrets("touched");
    assert_eq!(names.len(), 4, "{names:?}");
    let changed = r#"{"data":{"bytes":"AAAA"}}"#;
    let refused = cluster.try_kubectl(&["-n", "touched", "patch", "secret", &names[1], "--type=merge", "-p", changed]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("immutable"), "{said}");
    // Labels of their own are nobody's business.
    cluster.kubectl(&["-n", "touched", "label", "secret", &names[1], "team=ours"]);
    runtime().block_on(async { store.commit(decided(&machine("m"), 3, "x"), NOW).await.unwrap() });
    cluster.kubectl(&["-n", "touched", "delete", "secret", &names[1]]);
    let damaged = cluster.until("the deleted segment is found", || {
        let commit = runtime().block_on(store.commit(Batch::default(), NOW));
        commit.err()
    });
    assert!(
        matches!(&damaged, StoreError::Damaged(text) if text.contains("segment 2 of the log is gone")),
        "{damaged}"
    );
}
