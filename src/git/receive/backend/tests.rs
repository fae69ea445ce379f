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

/// git, where this script is its server.
fn scripted(folder: &Path, script: &str) -> Backend {
    use std::os::unix::fs::PermissionsExt as _;
    let program = folder.join("backend");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Backend { program, ..Backend::find(folder).unwrap() }
}

#[tokio::test]
async fn git_that_ends_without_a_word_is_told_apart_by_why_it_did() {
    const HEAD: &str = "printf 'Content-Type: text/plain\\r\\n\\r\\n'";
    let folder = tempfile::tempdir().unwrap();
    let protocol = "echo 'fatal: protocol error: bad line length character: garb' >&2; exit 1";
    for (script, expected) in [
        (protocol.to_owned(), "NotGit"),
        ("echo 'fatal: the remote end hung up unexpectedly' >&2; exit 1".to_owned(), "NotGit"),
        ("echo 'fatal: Out of memory, malloc failed' >&2; exit 1".to_owned(), "Ended"),
        ("echo 'error: git died of signal 9' >&2; exit 137".to_owned(), "Ended"),
        ("exec >&-; kill -9 $$".to_owned(), "Ended"),
        ("exit 3".to_owned(), "Ended"),
    ] {
        let backend = scripted(folder.path(), &format!("{HEAD}\n{script}"));
        let body = futures_util::stream::empty::<Result<Bytes, std::io::Error>>();
        let Err(error) = backend.ask("site.git", ask("ada", Service::ReceivePack), body).await else {
            panic!("{script}: an answer")
        };
        assert_eq!(format!("{error:?}"), expected, "{script}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_given_to_git_unpacked_and_no_further_than_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "printf 'Content-Type: text/plain\\r\\n\\r\\n'; echo \"$HTTP_CONTENT_ENCODING $CONTENT_LENGTH\"; wc -c";
    let backend = scripted(folder.path(), script);
    let bomb = crate::git::receive::gunzip::gzip(&vec![0; 32 << 20]);
    let question =
        Ask { gzip: true, length: Some(bomb.len() as u64), body_max: 1 << 20, ..ask("ada", Service::ReceivePack) };
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(bomb))]);
    let answer = backend.ask("site.git", question, body).await.unwrap();
    let pieces: Vec<_> = answer.body.map(|piece| piece.unwrap()).collect().await;
    let text = String::from_utf8(pieces.concat()).unwrap();
    let (variables, count) = text.split_once('\n').unwrap();
    assert_eq!(variables, " ");
    assert!(count.trim().parse::<u64>().unwrap() <= 1 << 20, "{text}");
    // Its place is free again.
    let place = || backend.place(&ask("ada", Service::ReceivePack)).now_or_never().flatten();
    tokio::time::timeout(RUN_MAX, async {
        loop {
            let places: Vec<_> = (0..WRITERS_EACH).filter_map(|_| place()).collect();
            if places.len() == WRITERS_EACH {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
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
