//! What is allowed to a revision counts for the one time that it is applied, with the real `git`.

use super::reconciler::now_unix_ms;
use super::tests::Site;
use super::{Allowance, HoldError, Outcome, Promise, Status, said_in};
use crate::git::Revision;
use crate::journal::{Event, Stream};
use crate::store::{Batch, Operation, Space, Store as _};

fn applied(status: &Status) -> Option<&str> {
    status.applied.as_ref().map(|applied| applied.revision.as_str())
}

fn outcome(status: &Status) -> Option<Outcome> {
    status.attempted.as_ref().map(|last| last.outcome.clone())
}

/// Emptying is meant.
fn words() -> Allowance {
    Allowance { by: "ann".into(), at_unix_ms: now_unix_ms(), empty: true, ..Allowance::default() }
}

/// A site of machines, and a revision without any that a guard holds.
async fn held(site: &Site) -> (String, Revision) {
    let full = site.repository.push("full", &[("machines", "a b c")]);
    site.attempted(&full).await;
    let empty = site.repository.push("empty", &[("machines", " ")]);
    let status = site.attempted(&empty).await;
    assert_eq!(outcome(&status), Some(Outcome::Refused));
    (full, site.reconciler().seen().expect("a revision"))
}

#[tokio::test]
async fn what_was_allowed_is_used_up_by_being_applied_and_no_rollback_inherits_it() {
    let site = Site::new().await;
    let (full, empty) = held(&site).await;
    site.reconciler().allow(&empty, &words(), "").await.expect("allowed");
    site.reconciler().ask();
    site.until("applied", |status| applied(status) == Some(empty.id.as_str())).await;
    assert!(!Allowance::of(site.store.as_ref(), &empty.id).expect("read").is_some(), "with the event that it serves");
    // Nothing waits now that could be allowed anything.
    let nothing = site.reconciler().held().await;
    assert!(matches!(nothing, Err(HoldError::NothingWaits { .. })), "{nothing:?}");
    let again = site.repository.push("full again", &[("machines", "a b c d")]);
    site.attempted(&again).await;
    let back = async |words: &Allowance| site.reconciler().roll_back(Some(&empty.id), "ann", "x", words).await;
    let refused = back(&Allowance::default()).await.expect_err("it is asked anew");
    assert!(matches!(refused, HoldError::Refused { .. }), "{refused}");
    back(&words()).await.expect("said of this rollback");
    assert_eq!(site.serves().map(|it| it.len()), Some(0));
    // Nor does the next one inherit what was said of this one.
    site.reconciler().roll_back(Some(&full), "ann", "x", &Allowance::default()).await.expect("back to many");
    assert!(matches!(back(&Allowance::default()).await, Err(HoldError::Refused { .. })));
}

#[tokio::test]
async fn what_was_allowed_outlives_a_restart_before_it_is_applied_and_counts_once() {
    let mut site = Site::new().await;
    let (full, empty) = held(&site).await;
    site.reconciler().suspend("ann", "").await.expect("suspended");
    site.reconciler().allow(&empty, &words(), "").await.expect("allowed");
    site.restart().await;
    site.reconciler().resume("ann", "", &[]).await.expect("resumed");
    site.until("applied", |status| applied(status) == Some(empty.id.as_str())).await;
    assert!(!Allowance::of(site.store.as_ref(), &empty.id).expect("read").is_some());
    site.restart().await;
    assert_eq!(site.serves().map(|it| it.len()), Some(0), "what serves is not asked about again");
    // Gone back from, and followed again: that is another application.
    site.reconciler().roll_back(Some(&full), "ann", "x", &Allowance::default()).await.expect("rolled back");
    site.reconciler().resume("ann", "", &[]).await.expect("resumed");
    let refused = |status: &Status| status.pinned.is_none() && outcome(status) == Some(Outcome::Refused);
    let status = site.until("it is asked anew", refused).await;
    assert_eq!(applied(&status), Some(full.as_str()));
}

#[tokio::test]
async fn what_another_server_used_up_refuses_nothing_that_it_applied() {
    let mut site = Site::new().await;
    site.others = true;
    site.restart().await;
    let (full, empty) = held(&site).await;
    // The other one was allowed it, applied it, and took the word away with that, in one.
    let event = Event::RevisionApplied {
        revision: empty.id.clone(),
        summary: "empty".into(),
        machines: 0,
        site: String::new(),
        signed_by: Vec::new(),
    };
    let gone = Operation::Put { space: Space::Meta, key: format!("allowed/{}", empty.id), value: None };
    let batch = Batch { events: vec![(Stream::Site, event)], operations: vec![gone], ..Batch::default() };
    site.store.commit(batch, 7).await.expect("written");
    site.reconciler().ask();
    site.until("it serves here, too", |status| applied(status) == Some(empty.id.as_str())).await;
    let after: Vec<_> = site.events().into_iter().skip_while(|(_, id)| *id == full).collect();
    assert_eq!(after, [("refused", empty.id.clone()), ("applied", empty.id)], "and is not refused after it");
}

#[tokio::test]
async fn in_the_servers_own_repository_a_message_counts_only_for_who_is_known_to_have_pushed_it() {
    let mut site = Site::new().await;
    site.hosted = true;
    site.restart().await;
    let full = site.repository.push("full", &[("machines", "a b c")]);
    site.attempted(&full).await;
    let message = "all gone\n\nFormwork-Empty: yes";
    let empty = site.repository.push(message, &[("machines", " ")]);
    let status = site.attempted(&empty).await;
    assert_eq!((outcome(&status), applied(&status)), (Some(Outcome::Refused), Some(full.as_str())));
    // As its push is judged: what the message says is promised, as far as the pusher may say it.
    let allowed = Allowance { by: "ada".into(), at_unix_ms: now_unix_ms(), ..said_in(message) };
    let promise = Promise { by: "ada".into(), branch: "main".into(), allowed, ..Promise::default() };
    promise.put(site.store.as_ref(), &empty).await.expect("promised");
    site.reconciler().ask();
    site.until("it serves", |status| applied(status) == Some(empty.as_str())).await;
}
