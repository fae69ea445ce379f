//! Documents that machines may not change for a while, and ones that came back from a backup.

use super::*;
use crate::cluster::{Answer, ClaimStanding, Condition, Operation, Refusal};
use serde_json::json;

fn administrator() -> Caller {
    Caller::Administrator { name: "ada".to_owned() }
}

#[test]
fn a_frozen_document_refuses_machines_with_the_reason_until_it_is_thawed() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "k", json!(1), Condition::Absent);
    let fence = cluster.claim("a", 1, "init").fence;
    cluster.ask(administrator(), Operation::Freeze { reason: "moving".to_owned() });
    let frozen = Refusal::Frozen { reason: "moving".to_owned() };
    assert_eq!(refused(cluster.put("a", "k", json!(2), Condition::Any)), frozen);
    let ask = Operation::Claim { claim: "other".to_owned(), ttl_ms: 60_000 };
    assert_eq!(refused(cluster.ask(machine_in("b", 1), ask)), frozen);
    let renew = || Operation::Renew { claim: "init".to_owned(), fence, ttl_ms: None };
    assert_eq!(refused(cluster.ask(machine_in("a", 1), renew())), frozen);
    let version = cluster.document.version;
    assert!(matches!(
        cluster.ask(administrator(), Operation::Freeze { reason: "moving".to_owned() }),
        Answer::Unchanged { version: same, .. } if same == version
    ));
    // An administrator may still mend it.
    let mend =
        Operation::Put { key: "k".to_owned(), value: content(json!(3)), condition: Condition::Any, secret: false };
    assert!(matches!(cluster.ask(administrator(), mend), Answer::Written { .. }));
    cluster.now_ms += 10_000_000;
    cluster.ask(administrator(), Operation::Thaw);
    assert_eq!(cluster.document.standing("init", cluster.now_ms), ClaimStanding::Held, "nobody could renew meanwhile");
    assert!(matches!(cluster.ask(machine_in("a", 1), renew()), Answer::Claim(_)));
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), Operation::Thaw)), Refusal::WrongCaller { .. }));
}

#[test]
fn a_document_from_a_backup_gives_no_version_again_and_its_claims_fell() {
    let mut cluster = Cluster::of_three();
    cluster.put("a", "k", json!(1), Condition::Absent);
    let fence = cluster.claim("a", 1, "init").fence;
    cluster.ask(Caller::Server, Operation::Restored { reason: "from a backup".to_owned() });
    assert!(cluster.document.version > 1_000_000);
    assert_eq!(cluster.document.compacted, cluster.document.version);
    assert_eq!(cluster.document.standing("init", cluster.now_ms), ClaimStanding::Vacant);
    assert!(cluster.document.keys.contains_key("k"));
    cluster.ask(administrator(), Operation::Thaw);
    let again = cluster.claim("b", 1, "init");
    assert!(again.fence > 1_000_000 && again.takeover);
    let done = Operation::Done { claim: "init".to_owned(), fence, publish: Vec::new() };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), done)), Refusal::FenceLost { .. }));
}
