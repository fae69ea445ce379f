//! Bounds of places, of bodies, and of answers.

use super::*;

fn ask(user: &str, service: Service) -> Ask {
    Ask {
        service,
        has_body: true,
        length: None,
        gzip: false,
        version: None,
        user: user.to_owned(),
        peer: IpAddr::from([127, 0, 0, 1]),
        capability: None,
        body_max: 0,
    }
}

#[test]
fn one_user_does_not_take_all_places() {
    let backend = Backend::find(Path::new("/")).unwrap();
    let place = |user: &str, service| backend.place(&ask(user, service)).now_or_never().flatten();
    for (service, each, all) in
        [(Service::ReceivePack, WRITERS_EACH, WRITERS), (Service::UploadPack, READERS_EACH, READERS)]
    {
        let mut held = Vec::new();
        for _ in 0..each {
            held.push(place("ada", service).expect("a place"));
        }
        assert!(place("ada", service).is_none(), "hers are taken");
        held.push(place("bob", service).expect("there are others"));
        // One that is given back is there again.
        held.remove(0);
        held.push(place("ada", service).expect("a place"));
        while held.len() < all {
            held.push(place(ADMINISTRATOR, service).expect("a place"));
        }
        assert!(place(ADMINISTRATOR, service).is_none(), "all are taken");
        drop(held);
        assert!(place("ada", service).is_some());
    }
    assert_eq!(backend.each.lock().unwrap().len(), 1, "who has no place is not remembered for long");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_taken_off_the_connection_and_one_without_end_is_cut_off() {
    let pieces = |count: u64| {
        futures_util::stream::iter((0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 100]))))
    };
    for (count, given, answer) in
        [(2, 200, Ok(())), (10, 200, Ok(())), (4 * DRAINED_TIMES, 200, Err("it is far too large"))]
    {
        let (pipe, mut child) = tokio::io::duplex(4096);
        let fed = feed(pipe, pieces(count), 250, &CancellationToken::new()).await;
        assert_eq!(fed, answer, "{count}");
        let mut got = Vec::new();
        child.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), given, "its input is closed: {count}");
    }
    let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
    let fed = feed(tokio::io::sink(), broken, 250, &CancellationToken::new()).await;
    assert_eq!(fed, Err("the client went away"));
}

#[tokio::test]
async fn an_answer_to_a_question_that_was_cut_off_ends_with_an_error() {
    let (tell, cut) = oneshot::channel();
    let mut body = AnswerBody { first: None, pieces: None, guard: None, cut: Some(cut) };
    assert!(body.next().now_or_never().is_none(), "it waits for the question's end");
    tell.send("it is far too large").unwrap();
    assert!(body.next().await.is_some_and(|piece| piece.is_err()));
    assert!(body.next().await.is_none());
    let (tell, cut) = oneshot::channel::<&'static str>();
    drop(tell);
    let mut body = AnswerBody { first: None, pieces: None, guard: None, cut: Some(cut) };
    assert!(body.next().await.is_none(), "all of it was taken");
}
