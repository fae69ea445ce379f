//! Whose keys a site has that several servers serve, and that an older store is served by none, by the program on a real API server.

use super::*;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const NAMESPACE: &str = "shared-keys";

struct Places<'a> {
    cluster: &'a Cluster,
    folder: &'a Path,
}

impl Places<'_> {
    fn command(&self, words: &[&str], state: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).arg("--state-dir").arg(self.folder.join(state)).stdin(Stdio::null());
        command.args(["--store", "kubernetes", "--store-namespace", NAMESPACE]);
        command.env("KUBECONFIG", self.cluster.path("kubeconfig"));
        command
    }

    fn run(&self, words: &[&str], state: &str) -> (bool, String) {
        let Output { status, stdout, stderr } = self.command(words, state).output().unwrap();
        (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    fn refused(&self, words: &[&str], state: &str, why: &str) {
        let (done, said) = self.run(words, state);
        assert!(!done && said.contains(why), "{words:?}: {said}");
        assert!(!self.folder.join(state).join("keys/authority.pem").exists() || state == "solo", "{words:?}: {said}");
    }

    fn serve(&self) -> Command {
        let site = self.folder.join("site").display().to_string();
        let words = ["serve", "--replica", "one", "--dir", &site, "--address", "127.0.0.1", "--no-dhcp", "--no-tftp"];
        let mut command = self.command(&words, "solo");
        command.args(["--http-port", "0", "--api-port", "0"]);
        command
    }

    fn serving(&self) -> Ending {
        Ending(self.serve().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn keys_are_beside_it(&self) -> bool {
        self.cluster.object_in(NAMESPACE, "secret", "formwork-site").is_some()
    }
}

/// A server that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_that_a_store_is_of_are_shared_and_no_others_and_an_older_store_is_not_served() {
    let Some(cluster) = Cluster::started("keys that are shared") else { return };
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let folder = tempfile::tempdir().unwrap();
    let places = Places { cluster: &cluster, folder: folder.path() };
    std::fs::create_dir(folder.path().join("site")).unwrap();
    let done = |(done, said): (bool, String)| assert!(done, "{said}");
    done(places.run(&["site", "create", "lab", "--fresh"], "solo"));
    places.refused(&["site", "create", "lab", "--shared"], "two", "are not beside it");
    places.refused(&["site", "create", "other", "--shared"], "two", "holds the store of site lab");
    assert!(!places.keys_are_beside_it());
    // Who has the keys puts them there; others take them from then on.
    done(places.run(&["site", "create", "lab", "--shared"], "solo"));
    done(places.run(&["site", "create", "lab", "--shared"], "two"));
    let key = |state: &str| std::fs::read(folder.path().join(state).join("keys/authority.key")).unwrap();
    assert_eq!(key("solo"), key("two"));
    places.refused(&["site", "create", "other", "--shared"], "three", "holds the store of site lab");
    // So does a server with --replica, as the first does after a move.
    cluster.kubectl(&["-n", NAMESPACE, "delete", "secret", "formwork-site"]);
    let server = places.serving();
    cluster.until("the keys are beside the store", || places.keys_are_beside_it().then_some(()));
    let file = folder.path().join("solo/store-seen");
    cluster.until("it says how far it saw the store", || file.exists().then_some(()));
    drop(server);

    // A log that is shorter than it was seen.
    let mut seen: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    seen["segment"] = 627.into();
    std::fs::write(&file, seen.to_string()).unwrap();
    let output = places.serve().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(4) && said.contains("this server saw segment 627 before"), "{said}");
    let (restored, said) = places.run(&["store", "restored"], "solo");
    assert!(restored && said.contains("\"site\": \"lab\""), "{said}");
    let server = places.serving();
    let served = || std::fs::read_to_string(&file).is_ok_and(|text| !text.contains("627"));
    cluster.until("it serves again", || served().then_some(()));
    drop(server);
}
