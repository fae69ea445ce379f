//! Claims that machines hold, while servers end and begin beside one that serves on.

use super::site::Site;
use super::*;
use cluster::{Answer, Operation as Ask};
use std::time::{SystemTime, UNIX_EPOCH};
use store::Batch;
use store::conformance::clusters::asks_at;

const TTL_MS: u64 = 3_600_000;

/// The clock that lifetimes count in a store that servers share.
fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_server_that_starts_again_and_again_beside_another_keeps_no_dead_holder() {
    let Some(cluster) = common("lifetimes beside a server that serves on") else { return };
    let mut site = Site::new(&cluster, "lifetimes", 3);
    site.create();
    site.start(0);
    let namespaces = Namespaces::of(&cluster);
    // One that only looks.
    let looks = Options { served_meanwhile: true, ..options() };
    let store = Arc::new(KubernetesStore::open(namespaces.connect("lifetimes"), looks).unwrap());
    let ends = || cluster::next_expiry_ms(&store.cluster("etcd").unwrap().expect("a document")).expect("a claim");
    let claim = Ask::Claim { claim: "init".into(), ttl_ms: TTL_MS };
    let claim = Batch { operations: vec![asks_at(now_ms(), "etcd", "m01", claim)], ..Batch::default() };
    let committed = runtime().block_on(store.commit(claim, NOW)).unwrap();
    assert!(matches!(committed.answers.as_slice(), [Answer::Claim(_)]), "{committed:?}");
    let first = ends();
    for _ in 0..3 {
        site.start(1);
        site.kill(1);
        assert_eq!(ends(), first, "{}", site.said());
    }
    site.start(1);
    // So it is with the one that was here first.
    site.kill(0);
    site.start(0);
    assert_eq!(ends(), first, "{}", site.said());
    // Nobody serves: what is held is held for its full lifetime from the first that serves again.
    site.kill(1);
    site.kill(0);
    let down = now_ms();
    site.start(0);
    let anew = cluster.until("the claim has its lifetime anew", || Some(ends()).filter(|ends| *ends != first));
    assert!(anew >= down + TTL_MS, "{anew} {down}");
    site.start(1);
    assert_eq!(ends(), anew, "{}", site.said());
}
