//! kill -9 in a loop: what was answered before it is there after it.

use crate::store::conformance::clusters::{ask, put};
use crate::store::conformance::{NOW, decided, machine};
use crate::store::embedded::{EmbeddedStore, check};
use crate::store::{Store, StoreError};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Where the child finds the store; only the parent's child has it.
const CHILD: &str = "FORMWORK_TEST_KILLED_STORE";
const WRITERS: usize = 8;

/// This test is its own child: run anew with the variable set, it writes until it is killed and prints each answer.
#[test]
fn what_was_answered_before_a_kill_is_there_after_it() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let (mut heads, mut version) = ([0_u64; WRITERS], 0);
    for kill in 0..5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::embedded::tests::killed::what_was_answered_before_a_kill_is_there_after_it"])
            .arg("--nocapture")
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let (mut answers, enough) = (0, 100 + kill * 37);
        for line in lines {
            // The last line can be cut by the kill; only whole ones end with a full stop.
            let words: Vec<&str> = line.trim_end_matches('.').split(' ').collect();
            let (true, ["answered", writer, head, document]) = (line.ends_with('.'), &words[..]) else { continue };
            let writer: usize = writer.parse().unwrap();
            heads[writer] = heads[writer].max(head.parse().unwrap());
            version = version.max(document.parse().unwrap());
            answers += 1;
            if answers == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(answers >= enough, "the child ended by itself after {answers} answers");
        check(dir.path()).unwrap();
        let store = EmbeddedStore::open(dir.path()).unwrap();
        for (writer, head) in heads.iter().enumerate() {
            assert!(store.head(&machine(&writer.to_string())).unwrap() >= *head, "kill {kill}: writer {writer}");
        }
        assert!(store.cluster("etcd").unwrap().unwrap().version >= version, "kill {kill}");
    }
}

fn write_until_killed(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir).unwrap());
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let stream = machine(&writer.to_string());
                // An end of its own, should the parent die.
                for _ in 0..5_000 {
                    let head = store.head(&stream).unwrap();
                    match store.commit(decided(&stream, head, "x"), NOW).await {
                        Ok(_) | Err(StoreError::Busy) => {}
                        Err(other) => panic!("{other}"),
                    }
                    let answer = ask(&*store, "m00", put(&format!("k{writer}"), head, crate::cluster::Condition::Any));
                    let crate::cluster::Answer::Written { version, .. } = answer.await else { panic!("not written") };
                    let line = format!("\nanswered {writer} {} {version}.\n", head + 1);
                    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
        tasks.join_all().await;
    });
}
