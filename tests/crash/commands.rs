//! `formwork store` while a server runs, and a backup that comes back.

use super::PATIENCE;
use super::machine::Machine;
use super::program::Question;
use super::proxy::Proxy;
use super::server::Server;
use std::time::{Duration, Instant};

#[test]
fn a_running_store_is_checked_copied_and_shown_and_its_backup_comes_back_holding_everything() {
    let mut server = Server::new(2);
    server.start();
    let machine = Machine::enlist(&server, 0);
    let context = server.state().join("administrator.json");
    let backups = tempfile::tempdir().unwrap();
    let backup = backups.path().join("store.redb");
    let (state, file) = (server.state().display().to_string(), backup.display().to_string());
    let store = |words: &[&str]| {
        let words = [&["store"], words, &["--state-dir", state.as_str()]].concat();
        server.command(&words, &context)
    };
    assert_eq!(server.put("before", "in-the-backup", &context).0, 201);
    let (code, text) = store(&["check", "-o", "json"]);
    assert!(code == 0 && text.contains("\"clusters\": 1"), "{text}");
    let (code, text) = store(&["backup", &file]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = store(&["backup", &file]);
    assert_eq!(code, 4, "a file that is there is not written over: {text}");
    let (code, text) = store(&["dump"]);
    assert!(code == 0 && text.contains("\"site-created\"") && !text.contains("in-the-backup"), "{text}");
    let left = std::fs::read_dir(server.state().join("snapshots")).unwrap().count();
    assert_eq!(left, 0, "copies do not stay");

    // What happens now is not in the backup.
    let proxy = Proxy::start(&server, u64::MAX);
    let mut connection = machine.connect(proxy.address);
    let write = Question::Write { key: "later".into(), value: "lost".into(), id: "1".into() };
    connection.ask(&write).unwrap();
    let (code, text) = store(&["restore", &file, "--replace"]);
    assert_eq!(code, 4, "not while a server runs: {text}");
    server.kill();
    let words = ["store", "restore", &file, "--state-dir", &state];
    let (code, text) = server.command(&words, &context);
    assert!(code == 4 && text.contains("--replace"), "{text}");
    let (code, text) = server.command(&[&words[..], &["--replace"]].concat(), &context);
    assert_eq!(code, 0, "{text}");
    server.start();

    let began = Instant::now();
    let held = loop {
        let (_, text) = server.command(&["get", "machines", "-o", "json"], &context);
        if text.contains("came back from a backup") {
            break text;
        }
        assert!(began.elapsed() < PATIENCE, "{text}\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(held.contains("\"held\""), "{held}");
    let refused = connection.status_of(&write);
    assert!(matches!(refused, 401 | 403), "a token from before is dead: {refused}");
    let (_, text) = server.command(&["cluster", "get", "crash", "-o", "json"], &context);
    assert!(text.contains("in-the-backup") && text.contains("frozen") && !text.contains("\"lost\""), "{text}");
    let (code, text) = server.command(&["cluster", "thaw", "crash"], &context);
    assert_eq!(code, 0, "{text}");
    let (code, text) = server.command(&["adopt", "--all"], &context);
    assert_eq!(code, 0, "{text}");
    let (_, text) = server.command(&["get", "machines", "-o", "json"], &context);
    assert!(!text.contains("came back from a backup") && text.contains("\"ready\""), "{text}");
    let (_, text) = server.command(&["events", "--since", "2", "-o", "json"], &context);
    assert!(text.contains("\"store-restored\"") && text.contains("\"cluster-frozen\""), "{text}");
}
