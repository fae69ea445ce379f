//! A site that began in a state directory moves into a real API server, from there to another namespace, and back.

use super::served::held::Held;
use super::served::machine::Machine;
use super::served::proxy::Proxy;
use super::served::server::Server;
use super::*;

#[test]
fn a_site_moves_into_a_real_api_server_and_out_of_it_and_goes_on() {
    let Some(cluster) = common("a store that moves into a real API server") else { return };
    for namespace in ["first", "second"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let kubeconfig = ("KUBECONFIG".to_owned(), cluster.path("kubeconfig").display().to_string());
    let mut server = Server::new_with(2, vec![kubeconfig.clone()]);
    server.start();
    let [machine, other] = [0, 1].map(|number| Machine::enlist(&server, number));
    let proxy = Proxy::start(&server, u64::MAX);
    let mut held = Held::by(&machine, proxy.address);
    server.kill();

    let (state, folder) = (server.state(), tempfile::tempdir().unwrap());
    let place = state.display().to_string();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let run = |server: &Server, words: &[&str], at: &[&str]| {
        server.command(&[words, at, &["--state-dir", &place]].concat(), &state.join("administrator.json"))
    };
    let done = |(code, text): (i32, String), words: &str| assert!(code == 0 && text.contains(words), "{words}: {text}");
    let refused =
        |(code, text): (i32, String), words: &str| assert!(code == 4 && text.contains(words), "{words}: {text}");
    let first = ["--store", "kubernetes", "--store-namespace", "first"];
    let second = ["--store", "kubernetes", "--store-namespace", "second"];
    let serving = |namespace: &str| {
        let store = [("FORMWORK_STORE", "kubernetes"), ("FORMWORK_STORE_NAMESPACE", namespace)];
        let store = store.map(|(name, value)| (name.to_owned(), value.to_owned()));
        store.into_iter().chain([kubeconfig.clone()]).collect::<Vec<_>>()
    };

    done(run(&server, &["export", &file("one")], &[]), "\"again\": false");
    done(run(&server, &["import", &file("one")], &first), "\"result\": \"made\"");
    // What was left here is not what the site is any more.
    refused(run(&server, &["import", &file("one")], &[]), "lies in namespace first");
    server.environment(serving("first"));
    server.start();
    held.still(&machine, &other, proxy.address);

    // Out of the namespace, under a server that has the store.
    done(run(&server, &["export", &file("two")], &first), "\"from\": \"namespace first of Kubernetes\"");
    cluster.until("the server ends", || server.has_ended().then_some(()));
    assert!(server.log().contains("the store in namespace first was moved out at"), "{}", server.log());
    assert!(!server.log().contains("took over"), "{}", server.log());
    assert!(!server.serve(None).spawn().unwrap().wait().unwrap().success());
    assert!(server.log().contains("was moved out at"), "{}", server.log());
    refused(run(&server, &["import", &file("one")], &second), "lies in namespace first");
    done(run(&server, &["import", &file("two")], &second), "\"result\": \"made\"");
    server.environment(serving("second"));
    server.start();
    held.still(&machine, &other, proxy.address);
    server.kill();

    // And back into the state directory.
    done(run(&server, &["export", &file("three")], &second), "namespace second");
    server.environment(vec![kubeconfig.clone()]);
    refused(run(&server, &["import", &file("three")], &[]), "this file is not of that move");
    std::fs::rename(state.join("store.redb"), folder.path().join("left.redb")).unwrap();
    done(run(&server, &["import", &file("three")], &[]), "\"result\": \"made\"");
    assert!(!state.join("store-elsewhere").exists());
    server.start();
    held.still(&machine, &other, proxy.address);
}
