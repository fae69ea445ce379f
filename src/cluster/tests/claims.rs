use super::super::{Answer, Caller, ClaimStanding, Fall, Operation, Refusal, Role, after_restart, next_expiry_ms};
use super::{Cluster, content, machine_in, refused};
use serde_json::json;

fn done(cluster: &mut Cluster, machine: &str, fence: u64) -> Answer {
    let publish = vec![("join".to_owned(), content(json!("it")))];
    cluster.ask(machine_in(machine, 1), Operation::Done { claim: "init".to_owned(), fence, publish })
}

#[test]
fn the_first_to_ask_leads_and_is_told_the_same_again() {
    let mut cluster = Cluster::of_three();
    let first = cluster.claim("a", 1, "init");
    assert_eq!((first.role, first.fence, first.takeover), (Role::Leader, 1, false));
    let second = cluster.claim("b", 1, "init");
    assert_eq!((second.role, second.fence, second.holder.as_str()), (Role::Follower, 1, "a"));
    assert_eq!(cluster.claim("a", 1, "init"), first);
    assert_eq!(cluster.document.version, 1, "asking again is no write");
}

#[test]
fn done_publishes_in_the_same_version_and_is_final() {
    let mut cluster = Cluster::of_three();
    let fence = cluster.claim("a", 1, "init").fence;
    assert!(matches!(done(&mut cluster, "a", fence), Answer::Claim(_)));
    assert_eq!(cluster.document.keys.get("join").map(|entry| entry.version), Some(2));
    assert_eq!(cluster.document.claims.get("init").map(|claim| claim.version), Some(2));
    cluster.now_ms += 1_000_000;
    assert_eq!(cluster.claim("a", 1, "init").state, ClaimStanding::Done);
    assert_eq!(cluster.claim("a", 1, "init").role, Role::Leader);
    assert_eq!(cluster.claim("a", 2, "init").role, Role::Follower, "a later run never re-elects");
    assert_eq!(cluster.claim("b", 1, "init").role, Role::Follower);
    assert!(matches!(done(&mut cluster, "a", fence), Answer::Claim(_)), "saying it again is harmless");
    assert_eq!(cluster.document.version, 2);
}

#[test]
fn an_expired_claim_goes_to_the_next_with_a_higher_fence_and_the_old_fence_is_dead() {
    let mut cluster = Cluster::of_three();
    let old = cluster.claim("a", 1, "init");
    cluster.now_ms += 10_000;
    assert_eq!(cluster.document.standing("init", cluster.now_ms), ClaimStanding::Vacant);
    assert!(matches!(refused(done(&mut cluster, "a", old.fence)), Refusal::FenceLost { .. }));
    let new = cluster.claim("b", 1, "init");
    assert!(new.fence > old.fence && new.takeover);
    let previous = new.previous.expect("who held it before");
    assert_eq!((previous.machine.as_str(), previous.fence, previous.fall), ("a", old.fence, Fall::Expired));
    assert!(matches!(refused(done(&mut cluster, "a", old.fence)), Refusal::FenceLost { .. }));
    cluster.fence = Some(("init".to_owned(), old.fence));
    let put = Operation::Put {
        key: "x".to_owned(),
        value: content(json!(1)),
        condition: super::super::Condition::Any,
        secret: false,
    };
    assert!(matches!(refused(cluster.ask(machine_in("a", 1), put.clone())), Refusal::FenceLost { .. }));
    cluster.fence = Some(("init".to_owned(), new.fence));
    assert!(matches!(cluster.ask(machine_in("a", 1), put), Answer::Written { .. }));
}

#[test]
fn a_new_run_of_the_holder_or_the_servers_word_revokes() {
    let mut cluster = Cluster::of_three();
    let first = cluster.claim("a", 1, "init");
    let again = cluster.claim("a", 2, "init");
    assert!(again.fence > first.fence && again.takeover && again.role == Role::Leader);
    assert_eq!(cluster.claim("a", 1, "init").role, Role::Follower, "an old run comes too late");
    let ended = Operation::MachineEnded { machine: "a".to_owned(), reason: "its job failed".to_owned() };
    assert!(matches!(refused(cluster.ask(machine_in("b", 1), ended.clone())), Refusal::WrongCaller { .. }));
    assert!(matches!(cluster.ask(Caller::Server, ended.clone()), Answer::Written { .. }));
    assert!(matches!(cluster.ask(Caller::Server, ended), Answer::Unchanged { .. }));
    let third = cluster.claim("b", 1, "init");
    assert!(third.fence > again.fence && third.takeover);
}

#[test]
fn fail_releases_for_another_try_or_ends_for_good() {
    let mut cluster = Cluster::of_three();
    let fail = |fence, retry| Operation::Fail { claim: "init".to_owned(), fence, retry, reason: "no disk".to_owned() };
    let first = cluster.claim("a", 1, "init");
    assert!(matches!(cluster.ask(machine_in("a", 1), fail(first.fence, true)), Answer::Claim(_)));
    let second = cluster.claim("b", 1, "init");
    assert_eq!((second.role, second.takeover), (Role::Leader, true));
    assert!(matches!(cluster.ask(machine_in("b", 1), fail(second.fence, false)), Answer::Claim(_)));
    let third = cluster.claim("c", 1, "init");
    assert_eq!((third.role, third.state), (Role::Follower, ClaimStanding::Failed));
}

#[test]
fn renewal_prolongs_and_a_restart_gives_a_whole_lifetime() {
    let mut cluster = Cluster::of_three();
    let fence = cluster.claim("a", 1, "init").fence;
    cluster.now_ms += 9_000;
    let renew = Operation::Renew { claim: "init".to_owned(), fence, ttl_ms: None };
    assert!(matches!(cluster.ask(machine_in("a", 1), renew.clone()), Answer::Claim(_)));
    assert_eq!(next_expiry_ms(&cluster.document), Some(20_000));
    assert!(matches!(refused(cluster.ask(machine_in("b", 1), renew)), Refusal::FenceLost { .. }));
    after_restart(&mut cluster.document, 5);
    assert_eq!(next_expiry_ms(&cluster.document), Some(10_005));
}
