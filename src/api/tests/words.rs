//! What is said of a rollback, and of a log that is nowhere.

use super::Site;
use crate::journal::Event;
use crate::wire::JobOutcome;

#[tokio::test]
async fn a_rollback_that_names_a_machine_that_nobody_has_is_refused() {
    let site = Site::start().await;
    let back = async |words: &str| {
        let body = format!(r#"{{"reason": "x", {words}}}"#);
        site.administrator("POST", "/v1/rollback", "/v1/rollback", &body).await
    };
    for words in [r#""allowWipe": "nope""#, r#""allowLeave": "one,nope""#] {
        let refused = back(words).await;
        assert!(refused.status == 422 && refused.body.contains("there is no machine `nope`"), "{refused:?}");
    }
    // Those of the revision that serves, and such as are gone from Git, are known.
    for known in ["one", "gone"] {
        let told = back(&format!(r#""allowWipe": "{known}""#)).await;
        assert!(!told.body.contains("there is no machine"), "{told:?}");
    }
}

#[tokio::test]
async fn a_log_that_was_written_and_is_nowhere_is_gone_and_not_empty() {
    let site = Site::start().await;
    for (machine, log_at) in [("two", Some(String::new())), ("three", None)] {
        let event = Event::JobEnded {
            job: format!("job-{machine}"),
            outcome: JobOutcome::Done,
            exit_code: None,
            message: None,
            requests: Vec::new(),
            log_at,
        };
        site.lab.event(&site.lab.fleet().entry(machine), event).await;
    }
    let log = async |job: &str| {
        let path = format!("/v1/jobs/{job}/log");
        site.administrator("GET", "/v1/jobs/{job}/log", &path, "").await
    };
    let gone = log("job-two").await;
    assert!(gone.status == 500 && gone.body.contains("log-gone") && gone.body.contains("it is gone"), "{gone:?}");
    let silent = log("job-three").await;
    assert_eq!((silent.status, silent.body.as_str()), (200, ""), "it wrote nothing");
}
