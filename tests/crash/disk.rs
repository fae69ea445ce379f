//! A server whose disk is full, and one whose disk cannot be written to.

use super::PATIENCE;
use super::server::{Server, disks_possible};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// The state directory on a disk of its own, of so many MiB.
fn own_disk(server: &Server, mib: u32) -> String {
    let state = server.state();
    let (state, kept) = (state.display(), state.with_extension("kept"));
    let kept = kept.display();
    format!("cp -a {state} {kept}; mount -t tmpfs -o size={mib}m tmpfs {state}; cp -a {kept}/. {state}/")
}

#[test]
fn a_full_disk_is_told_to_everybody_loses_nothing_and_is_over_when_there_is_room() {
    if !disks_possible("a_full_disk_is_told_to_everybody_loses_nothing_and_is_over_when_there_is_room") {
        return;
    }
    let mut server = Server::new(1);
    // Logs keep 64 MiB in reserve, the store 16: with less than the first a server says from its start that jobs wait.
    server.start_after(Some(&own_disk(&server, 128)));
    let state = server.inside(&server.state());
    let context = state.join("administrator.json");
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < PATIENCE, "{what}\n{}", server.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until("the first revision serves", &|| server.command(&["status"], &context).0 == 0);
    assert_eq!(server.put("before", "kept", &context).0, 201);

    std::fs::write(state.join("filler"), vec![1; 120 << 20]).unwrap();
    let (status, body, retry) = server.put("while-full", "refused", &context);
    assert_eq!((status, retry.as_str()), (503, "10"), "{body}");
    assert!(body.contains("store-full") && body.contains("make room"), "{body}");
    let (code, text) = server.command(&["status"], &context);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("store is full") && text.contains("logs"), "{text}");
    let (code, text) = server.command(&["cluster", "get", "crash", "-o", "json"], &context);
    assert!(code == 0 && text.contains("kept"), "it goes on reading: {text}");
    let (code, text) = server.command(&["adopt", "m00", "--reason", "it runs"], &context);
    assert_eq!(code, 5, "an administrator is told too: {text}");
    assert!(text.contains("disk is full"), "{text}");

    // To the last byte: a copy of the store has no room either. That is said, and nothing of it stays.
    let mut rest = std::fs::File::create(state.join("rest")).unwrap();
    while rest.write_all(&[1; 4096]).is_ok() {}
    let (at, copy) = (state.display().to_string(), state.join("copy").display().to_string());
    for words in [&["store", "check"][..], &["store", "dump"], &["store", "backup", &copy]] {
        let (code, text) = server.command(&[words, &["--state-dir", &at]].concat(), &context);
        assert!(code == 5 && text.contains("disk is full"), "{words:?} {code}: {text}");
    }
    let left = std::fs::read_dir(state.join("snapshots")).into_iter().flatten().count();
    assert!(left == 0 && !state.join("copy").exists() && !state.join("copy.new").exists(), "{left} files are left");
    std::fs::remove_file(state.join("rest")).unwrap();

    std::fs::remove_file(state.join("filler")).unwrap();
    until("it writes again", &|| server.put("after", "written", &context).0 == 201);
    assert_eq!(server.command(&["status"], &context).0, 0);
    let (_, text) = server.command(&["cluster", "get", "crash", "-o", "json"], &context);
    assert!(text.contains("kept") && text.contains("written") && !text.contains("refused"), "{text}");
}

#[test]
fn a_read_only_disk_is_named_and_the_server_does_not_start() {
    if !disks_possible("a_read_only_disk_is_named_and_the_server_does_not_start") {
        return;
    }
    let server = Server::new(1);
    // What only reads works there: the store is checked, copied and shown, and why it is not served is said before it is tried.
    let before = format!(
        "{}; mount -o remount,ro {state}
         \"$1\" store check --state-dir {state} >&2
         \"$1\" store backup --state-dir {state} {copy} >&2
         \"$1\" store dump --state-dir {state} | grep -c site-created >&2
         \"$1\" doctor --state-dir {state} -o json | grep 'cannot be written' >&2",
        own_disk(&server, 32),
        state = server.state().display(),
        copy = server.state().with_extension("copy").display(),
    );
    let status = server.serve(Some(&before)).status().unwrap();
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("store.lock") && log.contains("Read-only file system"), "{log}");
    assert!(log.contains("cannot be written: Read-only file system"), "{log}");
    assert!(server.state().with_extension("copy").exists(), "no copy was made: {log}");
}
