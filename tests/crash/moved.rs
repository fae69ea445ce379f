//! A site's store moves while its machines live on, and the import is killed (`kill -9`) over and over.

use super::held::Held;
use super::machine::Machine;
use super::proxy::Proxy;
use super::server::Server;
use formwork::store::embedded;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Imports that are killed, each a little later than the one before.
const KILLS: u64 = 25;
const LATER: Duration = Duration::from_millis(4);

#[test]
fn a_site_goes_on_after_a_move_and_the_store_that_it_left_never_serves_again() {
    let mut server = Server::new(2);
    server.start();
    let [machine, other] = [0, 1].map(|number| Machine::enlist(&server, number));
    let proxy = Proxy::start(&server, u64::MAX);
    let mut held = Held::by(&machine, proxy.address);

    let (state, folder) = (server.state(), tempfile::tempdir().unwrap());
    let context = state.join("administrator.json");
    let (place, file) = (state.display().to_string(), folder.path().join("site.move").display().to_string());
    let run = |server: &Server, words: &[&str]| server.command(&[words, &["--state-dir", &place]].concat(), &context);
    let (code, text) = run(&server, &["export", &file]);
    assert!(code == 4 && text.contains("in use by another process"), "{text}");
    server.kill();
    let (code, text) = run(&server, &["export", &file]);
    assert!(code == 0 && text.contains("\"clusters\": 1") && text.contains("\"keys\""), "{text}");

    assert!(!server.serve(None).spawn().unwrap().wait().unwrap().success());
    assert!(server.log().contains("was moved out at"), "{}", server.log());
    let (code, text) = run(&server, &["site", "create", "crash", "--fresh"]);
    assert!(code == 4 && text.contains("was moved out at"), "{text}");
    let (code, text) = run(&server, &["export", &file]);
    assert!(code == 4 && text.contains("is there already"), "{text}");

    // The keys of another site.
    let foreign = Server::new(1);
    let (code, text) =
        server.command(&["import", &file, "--state-dir", &foreign.state().display().to_string()], &context);
    assert!(code == 4 && text.contains("are those of another"), "{text}");

    // Its own directory, without the store that was left.
    std::fs::rename(state.join("store.redb"), folder.path().join("left.redb")).unwrap();
    let mut torn = 0;
    for kill in 0..KILLS {
        let mut import = Command::new(env!("CARGO_BIN_EXE_formwork"));
        import.args(["import", &file, "--state-dir", &place]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut import = import.spawn().unwrap();
        std::thread::sleep(LATER * u32::try_from(kill).unwrap());
        import.kill().unwrap();
        import.wait().unwrap();
        if embedded::exists(&state) {
            embedded::check(&state).unwrap();
            std::fs::remove_file(state.join("store.redb")).unwrap();
        } else {
            torn += 1;
        }
    }
    println!("{torn} of {KILLS} imports were killed before there was a store");
    let (code, text) = run(&server, &["import", &file]);
    assert!(code == 0 && text.contains("\"result\": \"made\""), "{text}");
    let (code, text) = run(&server, &["import", &file]);
    assert!(code == 0 && text.contains("\"result\": \"thereAlready\""), "{text}");
    server.start();
    held.still(&machine, &other, proxy.address);
    server.kill();
    let (code, text) = run(&server, &["import", &file]);
    assert!(code == 4 && text.contains("nothing is imported over one"), "{text}");
}
