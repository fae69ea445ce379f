//! Facts that machines report, up to a bound.

use super::{Answer, Site, table};
use crate::identity::Audience;

impl Site {
    async fn reports(&self, machine: &str, facts: &serde_json::Value) -> Answer {
        let table = table();
        let route = table.iter().find(|route| route.path == "/v1/agent/facts").expect("a route");
        let token = self.token(&self.claims(machine, Audience::Machine));
        let body = serde_json::json!({ "facts": facts }).to_string();
        self.ask(route, "/v1/agent/facts", Some(token.as_bytes()), &body).await
    }
}

#[tokio::test]
async fn a_machine_changes_its_facts_so_often_and_is_then_told_to_wait() {
    let site = Site::start().await;
    let events = || site.lab.fleet().entry("one").state().head;
    let before = events();
    for number in 0..60 {
        assert_eq!(site.reports("one", &serde_json::json!({ "n": number })).await.status, 204, "{number}");
    }
    let refused = site.reports("one", &serde_json::json!({ "n": 60 })).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body.contains("too-many-facts") && refused.body.contains("10 and 64 KiB a minute"), "{refused:?}");
    let told = refused.headers.iter().find_map(|header| header.strip_prefix("retry-after: \""));
    let seconds: u32 = told.and_then(|told| told.trim_end_matches('"').parse().ok()).expect("a number");
    assert!((1..=6).contains(&seconds), "{seconds}");
    assert_eq!(events(), before + 60, "what has to wait writes nothing");
    // What says the same again is free, and another machine has its own bound.
    for _ in 0..200 {
        assert_eq!(site.reports("one", &serde_json::json!({ "n": 59 })).await.status, 204);
    }
    assert_eq!(events(), before + 60);
    assert_eq!(site.reports("two", &serde_json::json!({ "n": 60 })).await.status, 204);
}

#[tokio::test]
async fn a_machine_changes_so_many_bytes_of_facts_and_is_then_told_to_wait() {
    let site = Site::start().await;
    let text = |number: usize| serde_json::json!({ "text": format!("{number:02}{}", "x".repeat(250 << 10)) });
    let mut taken = 0;
    while taken < 60 && site.reports("one", &text(taken)).await.status == 204 {
        taken += 1;
    }
    assert_eq!(taken, 16, "4 MiB");
    assert!(site.lab.fleet().store.health().bytes < 64 << 20);
}
