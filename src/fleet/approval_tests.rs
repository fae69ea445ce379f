//! Members of a cluster that asks for assurance A2, on a real store.

use super::testing::Lab;
use super::{Entry, ExchangeError};
use crate::identity::{Audience, ticket_secret};
use crate::journal::{Ask, Event};
use crate::wire::{ExchangeAnswer, ExchangeRequest, HardwareIdentity};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::net::{IpAddr, Ipv4Addr};

const MAC: &str = "52:54:00:00:00:07";
const PEER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 11);

fn site(assurance: &str) -> String {
    format!(
        "
kind: ClusterProfile
metadata: {{name: etcd}}
spec: {{size: 1, assurance: {assurance}}}
---
kind: Machine
metadata: {{name: one}}
spec: {{match: {{macs: ['{MAC}']}}, profiles: [etcd], workflow: walk}}
"
    )
}

async fn offered(lab: &Lab, entry: &Entry, offer: &str) {
    let event = Event::Offered {
        offer: offer.into(),
        environment: "ram".into(),
        address: Some(PEER),
        mac: MAC.into(),
        firmware: "bios".into(),
        reason: String::new(),
        run: None,
    };
    lab.event(entry, event).await;
}

async fn exchange(lab: &Lab, offer: &str, key: u8) -> Result<ExchangeAnswer, ExchangeError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[key; 32]).expect("a key");
    let request = ExchangeRequest {
        ticket: ticket_secret(&lab.keys, offer),
        public_key: URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
        signature: URL_SAFE_NO_PAD.encode(pair.sign(format!("formwork-exchange-v1\n{offer}").as_bytes()).as_ref()),
        boot_id: format!("boot-{offer}"),
        protocol: crate::wire::PROTOCOL,
        agent_version: "0".into(),
        hardware: HardwareIdentity::default(),
    };
    lab.fleet().exchange(&request, IpAddr::V4(PEER)).await
}

#[tokio::test]
async fn a_member_gets_no_token_before_an_administrator_approves_its_key() {
    let lab = Lab::new(true, &site("A2")).await;
    let entry = lab.fleet().entry("one");
    offered(&lab, &entry, "a").await;
    for _ in 0..2 {
        let refused = exchange(&lab, "a", 1).await.err().expect("not yet");
        assert!(refused.to_string().contains("`formwork approve one`"), "{refused}");
    }
    let records = lab.fleet().store.events_of(&crate::journal::Stream::Machine("one".into()), 0, 100).unwrap();
    let awaited = records.iter().filter(|record| matches!(record.event, Event::ApprovalAwaited { .. })).count();
    assert_eq!(awaited, 1, "asking again is not written down again");
    lab.event(&entry, Event::Asked { by: "anna".into(), what: Ask::Approve, reason: String::new() }).await;
    let answer = exchange(&lab, "a", 1).await.expect("approved");
    assert_eq!(answer.clusters.len(), 1);
    assert!(lab.fleet().authenticate(&answer.clusters[0].token).is_ok());
    // Later boots of the machine are its own affair.
    offered(&lab, &entry, "b").await;
    assert!(exchange(&lab, "b", 2).await.is_ok());
}

#[tokio::test]
async fn a_cluster_that_asks_for_more_later_is_closed_to_members_nobody_approved() {
    let lab = Lab::new(true, &site("A1")).await;
    let entry = lab.fleet().entry("one");
    offered(&lab, &entry, "a").await;
    let answer = exchange(&lab, "a", 1).await.expect("A1 asks nobody");
    let open = |token: &str| lab.fleet().authenticate(token).map(|(claims, _)| claims.audience.clone());
    assert_eq!(open(&answer.clusters[0].token), Ok(Audience::Cluster("etcd".into())));
    lab.write(&site("A2"));
    let asked = |catalog: &crate::catalog::Catalog| {
        catalog.cluster_profile("etcd").is_some_and(|etcd| etcd.spec.assurance == crate::content::kinds::Assurance::A2)
    };
    lab.until(asked).await;
    assert!(open(&answer.clusters[0].token).is_err(), "its token for the cluster opens nothing");
    assert_eq!(open(&answer.token), Ok(Audience::Machine), "it still speaks for itself");
    lab.event(&entry, Event::Asked { by: "anna".into(), what: Ask::Approve, reason: String::new() }).await;
    assert!(open(&answer.clusters[0].token).is_ok(), "the identity as it stands is approved");
}
