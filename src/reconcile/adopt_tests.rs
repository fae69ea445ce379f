use super::tests::Site;
use crate::journal::{Event, Stream};
use crate::reconcile::Outcome;
use crate::store::{Batch, Store as _};

/// Another server on the store applies a revision.
async fn applied_elsewhere(site: &Site, revision: &str) {
    let event = Event::RevisionApplied {
        revision: revision.to_owned(),
        summary: "elsewhere".into(),
        machines: 2,
        site: String::new(),
        signed_by: Vec::new(),
    };
    let batch = Batch { events: vec![(Stream::Site, event)], ..Batch::default() };
    site.store.commit(batch, 7).await.expect("written");
}

async fn among_others() -> Site {
    let mut site = Site::new().await;
    site.others = true;
    site.restart().await;
    site
}

#[tokio::test]
async fn nothing_is_applied_after_a_revision_of_another_server_that_does_not_serve_here() {
    let mut site = among_others().await;
    let first = site.repository.push("first", &[("machines", "a b")]);
    site.attempted(&first).await;
    // What another applied was never seen here; nor does this server know it after a restart.
    let unknown = "f".repeat(40);
    applied_elsewhere(&site, &unknown).await;
    for restarted in [false, true] {
        if restarted {
            site.restart().await;
        }
        let head = site.repository.push(&format!("head {restarted}"), &[("machines", "a b c")]);
        let status = site.attempted(&head).await;
        let outcome = &status.attempted.as_ref().expect("an attempt").outcome;
        assert!(
            matches!(outcome, Outcome::Postponed { reason } if reason.contains("does not serve here yet")),
            "{outcome:?}"
        );
        assert_eq!(site.events(), [("applied", first.clone()), ("applied", unknown.clone())]);
    }
}

#[tokio::test]
async fn what_another_server_applied_serves_and_what_the_source_shows_after_it_is_applied_again() {
    let site = among_others().await;
    let first = site.repository.push("first", &[("machines", "a b")]);
    site.attempted(&first).await;
    let second = site.repository.push("second", &[("machines", "a b c")]);
    site.attempted(&second).await;
    // As one that had not seen the second yet, and is gone since: the source still shows the second.
    applied_elsewhere(&site, &first).await;
    site.reconciler().shared.woken.notify_one();
    let events = [&first, &second, &first, &second].map(|id| ("applied", id.clone()));
    site.until("the second again", |status| {
        status.applied.as_ref().is_some_and(|it| it.revision == second) && site.events().len() == events.len()
    })
    .await;
    assert_eq!(site.events(), events);
    assert_eq!(site.serves().map(|words| words.len()), Some(3));
}

#[tokio::test]
async fn a_word_of_another_server_counts_here() {
    let site = among_others().await;
    let first = site.repository.push("first", &[("machines", "a b")]);
    site.attempted(&first).await;
    let event = Event::FollowingSuspended { by: "ann".into(), reason: "night".into() };
    let batch = Batch { events: vec![(Stream::Site, event)], ..Batch::default() };
    site.store.commit(batch, 7).await.expect("written");
    // It is not told of it: what is written is seen when something is to be applied.
    let second = site.repository.push("second", &[("machines", "a b c")]);
    let status = site.attempted(&second).await;
    assert_eq!(status.attempted.as_ref().map(|attempt| attempt.outcome.clone()), Some(Outcome::Waiting));
    assert_eq!(status.suspended.as_ref().map(|word| word.by.as_str()), Some("ann"));
    assert!(site.reconciler().suspend("bob", "").await.is_err(), "it is so already");
    assert_eq!(site.events(), [("applied", first)]);
}
