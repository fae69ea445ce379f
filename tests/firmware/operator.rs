//! One machine from its power button to the end of its run, where the server is an operator: a real API server holds the ContentSource, and
//! says afterwards what became of the machine.

#[allow(clippy::unwrap_used, dead_code, reason = "it is how a test fails, and some of it is for others")]
#[path = "../kubernetes/cluster.rs"]
mod cluster;

use super::site::{Site, images};
use super::{MAC, SITE, machine, short};
use cluster::Cluster;
use std::process::{Child, Command, Stdio};

/// Leads from the lab's namespace to a port of this computer, where nothing else goes in or out: the same port there, so that the
/// kubeconfig of here is good there.
struct Way([Child; 2]);

impl Way {
    fn to(site: &Site, port: u16) -> Self {
        let socket = site.folder.path().join("api-server.socket").display().to_string();
        let spawn =
            |mut command: Command| command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("socat starts");
        let mut here = Command::new("socat");
        here.arg(format!("UNIX-LISTEN:{socket},fork")).arg(format!("TCP:127.0.0.1:{port}"));
        // All that runs in the lab ends with it.
        let mut there = site.lab(&["exec"]);
        there.args(["--", "socat"]);
        there.arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork")).arg(format!("UNIX-CONNECT:{socket}"));
        Self([spawn(here), spawn(there)])
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_machine_boots_and_ends_its_run_by_the_word_of_a_custom_resource() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let Some(cluster) = Cluster::started("a machine that boots by a custom resource") else { return };
    let (declared, workflow) = (machine("  workflow: short\n"), short("echo done by the operator", 0));
    let mut site = Site::new(images, &[("site.yaml", SITE), ("box.yaml", &declared), ("short.yaml", &workflow)]);
    site.create(true);
    let _way = Way::to(&site, cluster.port());
    let url = site.folder.path().join("site.git").display().to_string();
    cluster.apply(&format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: ContentSource\nmetadata: {{name: site}}\nspec: {{url: {url}, branch: main}}\n"
    ));
    site.serve_from(&["--kubernetes", "--namespace", "default"], &[("KUBECONFIG", &cluster.path("kubeconfig"))]);
    cluster.wait_for("Ready", "contentsource/site");
    // The mirror follows the revision that serves; it is no part of it.
    let shown = cluster.until("the machine is mirrored", || cluster.object("machine", "box"));
    assert_ne!(shown["status"]["phase"], "ready", "{shown}");

    site.power_on("box", MAC);
    site.until_phase("box", "ready");
    assert!(site.log("box", "second").contains("done by the operator"));
    cluster.wait_for("Ready", "machine/box");
    let shown = cluster.object("machine", "box").expect("the machine is mirrored");
    assert_eq!(shown["status"]["phase"], "ready", "{shown}");
    assert!(shown["status"]["address"].as_str().is_some_and(|address| address.starts_with("10.77.0.")), "{shown}");
    assert_eq!((site.count("box", "run-started"), site.count("box", "run-finished")), (1, 1));
}
