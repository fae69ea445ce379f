//! What people say about following the source, and what newer revisions do to older ones, with the real `git`.

use super::tests::Site;
use super::{Allowance, Condition, HoldError, NoWayBack, Outcome, Status};
use crate::journal::{Event, Stream};
use crate::store::Store;
use std::time::{Duration, Instant};

fn applied(status: &Status) -> Option<&str> {
    status.applied.as_ref().map(|applied| applied.revision.as_str())
}

/// What the site's stream says, in words.
fn words_of(site: &Site) -> Vec<&'static str> {
    let records = site.store.events_of(&Stream::Site, 0, 1000).expect("events");
    let word = |event| match event {
        Event::RevisionApplied { .. } => Some("applied"),
        Event::RevisionRefused { .. } => Some("refused"),
        Event::FollowingSuspended { .. } => Some("suspended"),
        Event::RevisionAllowed { .. } => Some("allowed"),
        Event::RevisionPinned { .. } => Some("pinned"),
        Event::FollowingResumed { .. } => Some("resumed"),
        _ => None,
    };
    records.into_iter().filter_map(|record| word(record.event)).collect()
}

#[tokio::test]
async fn suspended_means_that_nothing_is_applied_also_after_a_restart_and_it_still_looks() {
    let mut site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a")]);
    site.attempted(&first).await;
    site.reconciler().suspend("ann", "audit").await.expect("suspended");
    let status = site.until("suspended", |status| status.suspended.is_some()).await;
    assert_eq!((status.condition().0, status.verdict().reason), (Condition::Ready, "Suspended"));
    let again = site.reconciler().suspend("bob", "").await.expect_err("it is so already");
    assert!(matches!(&again, HoldError::Suspended { by } if by == "ann"), "{again}");

    // Another reason is told later, and does not begin it anew.
    let since = status.suspended.clone().expect("it is").since_unix_ms;
    assert!(site.reconciler().suspend("bob", "audit").await.is_err(), "the same is no news");
    let before = site.reconciler().suspend("bob", "the audit takes longer").await.expect("another reason");
    assert_eq!(before.map(|word| (word.by, word.reason)), Some(("ann".to_owned(), "audit".to_owned())));
    let status = site.until("told", |status| status.suspended.as_ref().is_some_and(|word| word.by == "bob")).await;
    let word = status.suspended.clone().expect("it is");
    assert_eq!((word.reason.as_str(), word.since_unix_ms), ("the audit takes longer", since));
    site.reconciler().suspend("ann", "audit").await.expect("back to the first");

    let second = site.repository.push("second", &[("machines", "a b")]);
    let status = site.attempted(&second).await;
    assert_eq!(status.attempted.as_ref().map(|last| last.outcome.clone()), Some(Outcome::Waiting));
    assert_eq!((applied(&status), status.condition().0), (Some(first.as_str()), Condition::Stalled));
    assert!(status.condition().1.contains("suspended by ann (audit), still looking"), "{:?}", status.condition());

    // A broken one is judged, and told: suspended is not blind.
    let broken = site.repository.push("broken", &[("machines", "!")]);
    let status = site.attempted(&broken).await;
    assert!(status.condition().1.contains("would be refused with 1 finding"), "{:?}", status.condition());

    let third = site.repository.push("third", &[("machines", "a b c")]);
    site.attempted(&third).await;
    site.restart().await;
    let status = site.attempted(&third).await;
    assert_eq!((applied(&status), site.serves().map(|it| it.len())), (Some(first.as_str()), Some(1)));
    assert_eq!(status.suspended.as_ref().map(|word| word.by.as_str()), Some("ann"));
    // Asked by hand it looks and judges, and applies nothing.
    let token = site.reconciler().ask();
    let status = site.until("acted on", |status| status.observed_request >= token).await;
    assert_eq!(applied(&status), Some(first.as_str()));

    let lifted = site.reconciler().resume("ann", "", &[]).await.expect("resumed");
    assert_eq!(lifted, "the suspension by ann");
    let status = site.until("applied", |status| applied(status) == Some(third.as_str())).await;
    assert!(status.suspended.is_none());
    assert!(matches!(site.reconciler().resume("ann", "", &[]).await, Err(HoldError::Following)));
    assert_eq!(words_of(&site), ["applied", "suspended", "suspended", "suspended", "refused", "resumed", "applied"]);
}

#[tokio::test]
async fn a_rollback_stays_whatever_is_pushed_and_survives_restarts_until_it_is_lifted() {
    let mut site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a")]);
    site.attempted(&first).await;
    let nothing =
        site.reconciler().roll_back(None, "ann", "x", &Allowance::default()).await.expect_err("nothing before");
    assert!(matches!(nothing, HoldError::NoWayBack(NoWayBack::NothingBefore)), "{nothing}");
    let second = site.repository.push("second", &[("machines", "a b")]);
    site.attempted(&second).await;
    let broken = site.repository.push("broken", &[("machines", "!")]);
    site.attempted(&broken).await;
    let never = site
        .reconciler()
        .roll_back(Some(&broken), "ann", "x", &Allowance::default())
        .await
        .expect_err("it was refused");
    assert!(matches!(never, HoldError::NoWayBack(NoWayBack::NeverApplied { .. })), "{never}");

    // Back from the second to the first, though the head is a broken third.
    let pin =
        site.reconciler().roll_back(None, "ann", "the second hangs", &Allowance::default()).await.expect("rolled back");
    assert_eq!((pin.revision.as_str(), pin.summary.as_str()), (first.as_str(), "first"));
    assert_eq!(site.serves().map(|it| it.len()), Some(1), "when it returns, it serves");
    assert!(matches!(
        site.reconciler().roll_back(Some(&first), "bob", "x", &Allowance::default()).await,
        Err(HoldError::Pinned { .. })
    ));

    let newer = site.repository.push("newer", &[("machines", "a b c")]);
    let status = site.attempted(&newer).await;
    assert_eq!(applied(&status), Some(first.as_str()));
    assert_eq!((status.condition().0, status.verdict().reason), (Condition::Stalled, "Pinned"));
    assert!(status.condition().1.contains(&format!("revision {} is good and waits", &newer[..12])));

    // The source loses it, and the server is started anew: the mirror has kept it.
    site.restart().await;
    let status = site.attempted(&newer).await;
    assert_eq!((applied(&status), site.serves().map(|it| it.len())), (Some(first.as_str()), Some(1)));

    site.reconciler().resume("bob", "fixed", &[]).await.expect("resumed");
    site.until("the newest", |status| applied(status) == Some(newer.as_str())).await;
    let said = ["applied", "applied", "refused", "pinned", "applied", "resumed", "applied"];
    assert_eq!(words_of(&site), said);
    let rows = site.reconciler().history(3).expect("history");
    let outcomes: Vec<_> = rows.iter().map(|row| (row.outcome.as_str(), row.by.as_deref())).collect();
    assert_eq!(outcomes, [("applied", None), ("resumed", Some("bob")), ("applied", None)]);
}

#[tokio::test]
async fn a_rollback_is_carried_out_while_suspended_and_asks_the_guards() {
    let site = Site::new().await;
    let empty = site.repository.push("empty", &[("machines", " ")]);
    site.attempted(&empty).await;
    let full = site.repository.push("full", &[("machines", "a b c")]);
    site.attempted(&full).await;
    let refused = site
        .reconciler()
        .roll_back(Some(&empty), "ann", "x", &Allowance::default())
        .await
        .expect_err("from many to none");
    assert!(matches!(&refused, HoldError::Refused { findings, .. } if findings.len() == 1), "{refused}");
    assert_eq!(site.serves().map(|it| it.len()), Some(3));
    assert!(site.reconciler().status().borrow().pinned.is_none());

    let bad = site.repository.push("bad", &[("machines", "a b c d")]);
    site.attempted(&bad).await;
    site.reconciler().suspend("ann", "").await.expect("suspended");
    site.reconciler().roll_back(None, "ann", "it hangs", &Allowance::default()).await.expect("rolled back");
    assert_eq!(site.serves().map(|it| it.len()), Some(3));
    let lifted = site.reconciler().resume("ann", "", &[]).await.expect("both");
    assert!(lifted.contains("the suspension by ann and the pin on revision"), "{lifted}");
}

#[tokio::test]
async fn what_the_guards_hold_is_let_through_by_a_word_about_what_the_source_shows() {
    let site = Site::new().await;
    let nobody = site.reconciler().seen();
    assert!(matches!(nobody, Err(HoldError::Unseen { .. })), "{nobody:?}");
    let full = site.repository.push("full", &[("machines", "a b c")]);
    site.attempted(&full).await;
    site.reconciler().suspend("ann", "").await.expect("suspended");
    let empty = site.repository.push("empty", &[("machines", " ")]);
    let status = site.attempted(&empty).await;
    assert_eq!(status.attempted.as_ref().map(|last| last.outcome.clone()), Some(Outcome::Refused));
    let words = Allowance { by: "ann".into(), at_unix_ms: 1, empty: true, ..Allowance::default() };
    let seen = site.reconciler().seen().expect("a revision");
    assert_eq!(seen.id, empty);
    site.reconciler().resume("ann", "it is meant", &[(seen.clone(), words.clone())]).await.expect("resumed");
    site.until("applied", |status| applied(status) == Some(empty.as_str())).await;
    assert_eq!(words_of(&site), ["applied", "suspended", "refused", "allowed", "resumed", "applied"]);
    // Of no other revision, and where nothing is held as well.
    let full = site.repository.push("full again", &[("machines", "a b c d")]);
    site.attempted(&full).await;
    let again = site.repository.push("empty again", &[("machines", " ")]);
    let status = site.attempted(&again).await;
    assert_eq!(status.attempted.as_ref().map(|last| last.outcome.clone()), Some(Outcome::Refused));
    let nothing = site.reconciler().resume("ann", "", &[(seen.clone(), words.clone())]).await;
    assert!(matches!(nothing, Err(HoldError::Following)));
    let seen = site.reconciler().seen().expect("a revision");
    site.reconciler().allow(&seen, &words, "").await.expect("allowed");
    site.reconciler().ask();
    site.until("applied", |status| applied(status) == Some(again.as_str())).await;
    let row = site.reconciler().history(2).expect("history").remove(0);
    assert_eq!((row.outcome.as_str(), row.by.as_deref()), ("allowed", Some("ann")));
    assert_eq!((row.revision, row.reason.as_deref()), (Some(again), Some("allow-empty")));
}

#[tokio::test]
async fn what_one_may_go_back_to_stays_in_the_mirror_when_the_source_loses_it() {
    let mut site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a")]);
    site.attempted(&first).await;
    let second = site.repository.push("second", &[("machines", "a b")]);
    site.attempted(&second).await;
    // Rewritten, and swept away at the source; the mirror is swept at its start.
    site.repository.git(&["checkout", "-q", "--orphan", "anew"]);
    let anew = site.repository.push("anew", &[("machines", "x y z")]);
    site.attempted(&anew).await;
    site.repository.git_bare(&["reflog", "expire", "--expire=now", "--all"]);
    site.repository.git_bare(&["gc", "-q", "--prune=now"]);
    site.restart().await;
    site.attempted(&anew).await;
    site.reconciler().roll_back(Some(&first[..8]), "ann", "x", &Allowance::default()).await.expect("the mirror has it");
    assert_eq!(site.serves(), Some(vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_newer_revision_throws_away_the_work_on_the_older_which_is_never_applied() {
    let site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a"), ("slow", "")]);
    site.attempted(&first).await;
    let older = site.repository.push("older", &[("machines", "a b")]);
    site.until("the older is worked on", |status| status.loading.as_deref() == Some(older.as_str())).await;
    let newer = site.repository.push("newer", &[("machines", "a b c")]);
    let status = site.attempted(&newer).await;
    assert_eq!(applied(&status), Some(newer.as_str()));
    let overtaken = status.recent.iter().find(|row| row.revision == older);
    assert_eq!(overtaken.map(|row| row.outcome.as_str()), Some("overtaken"), "{:?}", status.recent);
    // Its own end changes nothing any more.
    tokio::time::sleep(SLOWER).await;
    assert_eq!(site.serves().map(|it| it.len()), Some(3));
    assert_eq!(site.events(), [("applied", first), ("applied", newer)]);
}

/// Longer than a slow build takes.
const SLOWER: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn pushes_that_never_end_starve_nothing() {
    let site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a"), ("slow", "")]);
    site.attempted(&first).await;
    // Each push comes before the last one is built. Some of them must be applied while they come.
    let limit = Instant::now() + Duration::from_secs(60);
    let mut n = 0;
    while site.serves().is_none_or(|words| words.len() == 1) {
        assert!(Instant::now() < limit, "nothing was applied: {:?}", site.reconciler().status().borrow());
        n += 1;
        site.repository.push(&format!("push {n}"), &[("machines", &format!("a b{n}"))]);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let last = site.repository.push("the last", &[("machines", "a b c")]);
    let status = site.attempted(&last).await;
    assert_eq!((applied(&status), status.condition().0), (Some(last.as_str()), Condition::Ready));
}

#[tokio::test]
async fn a_request_is_acknowledged_once_its_look_is_over_and_numbers_only_rise() {
    let mut site = Site::new().await;
    let first = site.repository.push("first", &[("machines", "a")]);
    let token = site.reconciler().ask();
    let status = site.until("acted on", |status| status.observed_request >= token).await;
    // Whatever was pushed before it was asked is known when it is acknowledged.
    assert_eq!(applied(&status), Some(first.as_str()));
    let later = site.reconciler().ask();
    assert!(later > token);
    // The first look of a process that was started anew answers what was asked of the one before.
    site.restart().await;
    site.until("acted on", |status| status.observed_request >= later).await;
}

#[tokio::test]
async fn what_is_wanted_has_a_number_and_the_status_says_which_was_acted_on() {
    let site = Site::new().await;
    let settled = |status: &Status| status.generation > 0 && status.observed_generation == status.generation;
    let good = site.repository.push("good", &[("machines", "a")]);
    site.attempted(&good).await;
    let first = site.until("acted on", settled).await.generation;
    let broken = site.repository.push("broken", &[("machines", "!")]);
    site.attempted(&broken).await;
    let second = site.until("acted on", settled).await.generation;
    assert!(second > first, "another revision is wanted");
    site.reconciler().suspend("ann", "").await.expect("suspended");
    let third = site.until("acted on", |status| status.suspended.is_some() && settled(status)).await.generation;
    assert!(third > second, "a person's word");
    site.reconciler().ask();
    let again = site.until("acted on", settled).await.generation;
    assert_eq!(again, third, "a look changes nothing of what is wanted");
}
