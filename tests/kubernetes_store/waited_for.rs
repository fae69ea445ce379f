//! A server whose API server says nothing: it says soon where it asks, who told it so, and what to try.

use super::served::server::Server;
use super::*;
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn a_server_whose_api_server_says_nothing_says_soon_where_it_asks_and_what_to_try() {
    // It takes connections, and that is all.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = format!("https://{}", silent.local_addr().unwrap());
    let mut server = Server::new_with(1, Vec::new());
    // Keys of a site, whose store is elsewhere.
    std::fs::remove_file(server.state().join("store.redb")).unwrap();
    let kubeconfig = server.state().join("kubeconfig");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: test, clusters: [{{name: test, cluster: {{server: '{at}'}}}}], \
         users: [{{name: test, user: {{token: word-of-nobody}}}}], contexts: [{{name: test, context: {{cluster: test, user: test}}}}]}}"
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let place = kubeconfig.display().to_string();
    let environment =
        [("FORMWORK_STORE", "kubernetes"), ("FORMWORK_STORE_NAMESPACE", "far"), ("KUBECONFIG", place.as_str())];
    server.environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    let mut serve = server.serve(None).spawn().unwrap();
    let began = Instant::now();
    let first =
        format!("{at}, namespace far: no answer yet. That address is from KUBECONFIG={place}; `formwork doctor");
    while !server.log().contains(&first) && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = server.log();
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert!(said.contains(&first), "{said}");
    assert!(said.contains("--store kubernetes --store-namespace far` says"), "{said}");
    assert!(!said.contains("word-of-nobody"), "{said}");
}
