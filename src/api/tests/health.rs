//! What watches over the process asks without a token.

use super::{Site, table};

#[tokio::test]
async fn anybody_may_ask_whether_the_server_answers_and_is_told_nothing_else() {
    let site = Site::start().await;
    let route = table().into_iter().find(|route| route.path == "/healthz").expect("the route");
    for token in [None, Some(b"Bearer garbage".as_slice())] {
        let answer = site.ask(&route, "/healthz", token, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{answer:?}");
    }
}
