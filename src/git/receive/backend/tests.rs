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
        // Nobody reads the rest of a body that is not understood.
        ("echo 'fatal: protocol error: bad line length 65531' >&2; kill -13 $$".to_owned(), "NotGit"),
        ("kill -13 $$".to_owned(), "Ended"),
        ("echo \"fatal: unknown capability 'garbage'\" >&2; exit 1".to_owned(), "NotGit"),
        ("echo 'fatal: invalid shallow line: x' >&2; exit 1".to_owned(), "NotGit"),
    ] {
        let backend = scripted(folder.path(), &format!("{HEAD}\n{script}"));
        for service in [Service::ReceivePack, Service::UploadPack] {
            let body = futures_util::stream::empty::<Result<Bytes, std::io::Error>>();
            let Err(error) = backend.ask("site.git", ask("ada", service), body).await else {
                panic!("{script}: an answer")
            };
            assert_eq!(format!("{error:?}"), expected, "{script}");
        }
    }
}

#[tokio::test]
async fn git_that_is_asked_for_nothing_answers_with_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend = scripted(folder.path(), "printf 'Content-Type: text/plain\\r\\n\\r\\n'; cat >/dev/null");
    for service in [Service::ReceivePack, Service::UploadPack] {
        let body = futures_util::stream::empty::<Result<Bytes, std::io::Error>>();
        let answer = backend.ask("site.git", ask("ada", service), body).await.unwrap();
        assert_eq!(answer.status, 200);
        let pieces: Vec<_> = answer.body.collect().await;
        assert!(pieces.is_empty(), "{pieces:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_told_as_that_and_not_as_a_fault_of_git() {
    let folder = tempfile::tempdir().unwrap();
    for head in ["printf 'Content-Type: text/plain\\r\\n\\r\\n'", ":"] {
        let backend = scripted(folder.path(), &format!("{head}\ncat >/dev/null; exit 1"));
        for service in [Service::ReceivePack, Service::UploadPack] {
            let pieces = [Ok(Bytes::from_static(b"0032")), Err(std::io::Error::other("reset"))];
            let body = futures_util::stream::iter(pieces);
            let question = Ask { body_max: 1 << 20, ..ask("ada", service) };
            let Err(error) = backend.ask("site.git", question, body).await else { panic!("an answer") };
            assert_eq!(error.to_string(), "what was sent did not come to its end: the client went away", "{head}");
        }
    }
}

// The program itself: what it says of garbage is known, also where it is more than a pipe takes.
#[tokio::test]
async fn garbage_is_never_taken_for_a_fault_of_git() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        std::process::Command::new("git").args(["init", "-q", "--bare"]).arg(folder.path().join("site.git")).status();
    assert!(made.unwrap().success());
    let set = ["config", "http.receivepack", "true"];
    let set = std::process::Command::new("git").arg("-C").arg(folder.path().join("site.git")).args(set).status();
    assert!(set.unwrap().success());
    let backend = Backend::find(folder.path()).unwrap();
    let long: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let bodies = [b"garbage".to_vec(), b"000bgarbage0000".to_vec(), long, vec![b'f'; 300_000], b"0003".to_vec()];
    for body in bodies {
        for (service, version) in [Service::ReceivePack, Service::UploadPack].into_iter().zip([None, Some(2)]) {
            for (service, version) in [(service, version), (service, None)] {
                let question =
                    Ask { length: Some(body.len() as u64), version, body_max: 8 << 20, ..ask("ada", service) };
                let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(body.clone()))]);
                let Err(error) = backend.ask("site.git", question, pieces).await else { panic!("an answer") };
                let shown = String::from_utf8_lossy(body.get(..12).unwrap_or(&body)).into_owned();
                assert!(matches!(error, BackendError::NotGit), "{} {version:?} {shown}: {error}", service.as_str());
            }
        }
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
