//! The rules that keep disks and clusters whole, on real firmware: QEMU machines boot from the network, are cut off, killed
//! and changed under way. Each test has a lab of its own, in namespaces; nothing leaves them.
//!
//! They want the built images (`scripts/build-images`); without them each says SKIPPED and is counted so.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says by a panic what was not so")]

mod fire;
mod operator;
mod site;

use site::{Site, images};

const MAC: &str = "52:54:00:00:00:0a";

const SITE: &str = "\
apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: test}
spec:
  packs: [{builtin: discovery}, {builtin: hardware}, {builtin: image}]
---
apiVersion: formwork.dev/v1alpha1
kind: Subnet
metadata: {name: rack}
spec:
  cidr: 10.77.0.0/24
  pools: [{first: 10.77.0.100, last: 10.77.0.199}]
";

fn machine(more: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: box}}\nspec:\n  match: {{macs: [\"{MAC}\"]}}\n\
         {more}"
    )
}

/// A workflow of one stage in the RAM environment, with one task of this script.
fn short(script: &str, retries: u32) -> String {
    let script = script.replace('\n', "\n        ");
    format!(
        "apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {{name: short}}
spec: {{stages: [work]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {{name: work}}
spec: {{bootEnv: discovery.discovery, tasks: [first, second]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {{name: first}}
spec: {{steps: [{{name: first, script: \"echo first\"}}]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {{name: second}}
spec:
  retries: {{limit: {retries}, backoff: 1s}}
  steps:
    - name: second
      script: |
        {script}
"
    )
}

/// Install and one task on the installed system.
fn install(image_sha256: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {{name: install}}
spec: {{stages: [image.install, installed]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {{name: installed}}
spec: {{bootEnv: local, tasks: [settled]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {{name: settled}}
spec: {{steps: [{{name: settled, script: \"test -d /run/systemd/system\"}}]}}
---
apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {{name: disk}}
spec:
  params:
    install-disk: /dev/vda
    image-file: images/debian-etcd.raw.zst
    image-sha256: \"{image_sha256}\"
"
    )
}

#[test]
fn a_failed_task_waits_a_broken_commit_changes_nothing_and_the_fix_resumes_the_run() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let (broken, fixed) = (short("exit 3", 0), short("echo mended", 0));
    let machine = machine("  workflow: short\n");
    let mut site = Site::new(images, &[("site.yaml", SITE), ("box.yaml", &machine), ("short.yaml", &broken)]);
    site.create(true);
    site.serve();
    site.power_on("box", MAC);
    assert!(site.until_phase("box", "failed").contains("second"));

    site.commit("a typing error", &[("short.yaml", &fixed.replace("tasks:", "taks:"))]);
    let finding = site.until("the broken revision is refused", |site| {
        let status = site.json(&["status"])?;
        status["content"]["findings"].as_array()?.first()?.as_str().map(str::to_owned)
    });
    assert!(finding.starts_with("short.yaml:9:"), "{finding}");
    assert_eq!(site.machine("box")["phase"], "failed", "nothing changed");

    site.commit("mended", &[("short.yaml", &fixed)]);
    site.until_phase("box", "ready");
    assert_eq!(site.count("box", "run-started"), 1);
    assert_eq!(site.count("box", "run-resumed"), 1);
    let first = site.events("box").iter().filter(|r| r["event"]["task"] == "first").count();
    assert_eq!(first, 1, "what was done is not done again");
}

#[test]
fn a_server_killed_under_a_job_goes_on_with_it_and_a_killed_agent_does_its_job_again() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    // The first try kills its own agent, whose loop starts another; the second runs under a server that dies.
    let script = "\
if [ ! -e /tmp/tried ]; then
  touch /tmp/tried
  kill -9 $(pidof formwork-agent)
  sleep 60
fi
for i in $(seq 20); do echo line $i; sleep 1; done";
    let workflow = short(script, 0);
    let machine = machine("  workflow: short\n");
    let mut site = Site::new(images, &[("site.yaml", SITE), ("box.yaml", &machine), ("short.yaml", &workflow)]);
    site.create(true);
    site.serve();
    site.power_on("box", MAC);
    site.until("the second try runs", |site| {
        let granted = site.events("box").iter().filter(|r| r["event"]["type"] == "job-granted").count();
        (granted >= 3).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(4));
    site.kill_server();
    std::thread::sleep(std::time::Duration::from_secs(5));
    site.serve();
    site.until_phase("box", "ready");

    let events = site.events("box");
    let ends: Vec<_> = events.iter().filter(|r| r["event"]["type"] == "job-ended").collect();
    let outcomes: Vec<_> = ends.iter().map(|r| r["event"]["outcome"].as_str().unwrap_or_default()).collect();
    assert_eq!(outcomes, ["done", "interrupted", "done"]);
    assert_eq!(site.count("box", "run-started"), 1);
    assert_eq!(site.count("box", "checked-in"), 1, "one boot all the way");
    let job = ends[2]["event"]["job"].as_str().expect("a job");
    let log = site.formwork(&["logs", job]).output().expect("logs").stdout;
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().filter(|line| line.starts_with("line ")).collect();
    let wanted: Vec<_> = (1..=20).map(|i| format!("line {i}")).collect();
    assert_eq!(lines, wanted, "no line is lost or doubled");
}

#[test]
fn a_machine_removed_from_git_is_let_go_and_not_taken_in_again_before_it_is_forgotten() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let workflow = short("sleep 600", 0);
    let machine = machine("  workflow: short\n");
    let rule = "\
apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: all}
spec:
  match: {macPrefixes: [\"52:54:00\"]}
  name: \"taken-{{ mac | replace(':', '') }}\"
  workflow: short
  mayWipe: true
";
    let files = [("site.yaml", SITE), ("box.yaml", machine.as_str()), ("short.yaml", &workflow), ("rule.yaml", rule)];
    let mut site = Site::new(images, &files);
    site.create(true);
    site.serve();
    site.power_on("box", MAC);
    site.until_task("box", "second");
    site.commit("the box goes", &[("box.yaml", "")]);
    site.until_phase("box", "left");
    assert_eq!(site.count("box", "run-cancelled"), 1);
    // It boots again: its own disk, and the rule that matches its MAC does not take it.
    site.power_cut("box");
    site.power_on("box", MAC);
    site.until("it is offered its own disk", |site| {
        let events = site.events("box");
        let last = events.iter().rev().find(|r| r["event"]["type"] == "offered")?;
        (last["event"]["environment"] == "local").then_some(())
    });
    let machines = site.json(&["get", "machines"]).expect("machines").to_string();
    assert!(!machines.contains("taken-"), "{machines}");
}

#[test]
fn protection_holds_a_power_cut_in_mid_install_goes_on_and_an_empty_store_wipes_nothing() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let workflow = install(&checksum(&images));
    let more = "  profiles: [disk]\n  workflow: install\n";
    let (protected, open) = (machine(&format!("{more}  protect: true\n")), machine(more));
    let mut site = Site::new(images, &[("site.yaml", SITE), ("box.yaml", &protected), ("install.yaml", &workflow)]);
    site.create(true);
    site.serve();
    site.power_on("box", MAC);
    site.until("protection is said", |site| {
        site.machine("box")["waitsFor"].as_str()?.contains("spec.protect is true").then_some(())
    });
    let disk = site.folder.path().join("lab/machines/box/disk.raw");
    let blocks =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(path).expect("a disk"));
    assert_eq!(blocks(&disk), 0, "not one byte was written");

    site.commit("let it be installed", &[("box.yaml", &open)]);
    site.until_task("box", "image.write");
    site.until("the image is half written", |_| (blocks(&disk) > 40_000).then_some(()));
    site.power_cut("box");
    site.power_on("box", MAC);
    site.until_phase("box", "ready");
    let events = site.events("box");
    let interrupted = events.iter().filter(|r| r["event"]["outcome"] == "interrupted").count();
    assert_eq!(interrupted, 1, "the cut job was counted once");
    assert_eq!(site.count("box", "run-started"), 1);

    // The state directory is lost, and a new one made: an empty store in front of an installed machine.
    site.kill_server();
    std::fs::remove_dir_all(site.state()).expect("the state is lost");
    site.create(false);
    site.serve();
    site.power_cut("box");
    let before = marker(&disk);
    assert!(before.contains("FORMWORK-MARKER-1"), "the disk is marked: {before}");
    site.power_on("box", MAC);
    site.until("it is held until adopted, and boots its own disk", |site| {
        let machine = site.machine("box");
        let offered = site.events("box").iter().any(|r| r["event"]["environment"] == "local");
        (machine["waitsFor"].as_str()?.contains("formwork adopt") && offered).then_some(())
    });
    assert_eq!(site.count("box", "run-started"), 0);
    assert_eq!(site.count("box", "job-granted"), 0);
    assert_eq!(marker(&disk), before, "nothing was wiped");
}

#[test]
fn a_uefi_machine_goes_from_blank_to_its_own_disk_and_a_raised_run_brings_it_back_through_the_network() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let workflow = install(&checksum(&images));
    let more = "  profiles: [disk]\n  workflow: install\n";
    let (first, raised) = (machine(more), machine(&format!("{more}  run: 2\n")));
    let mut site = Site::new(images, &[("site.yaml", SITE), ("box.yaml", &first), ("install.yaml", &workflow)]);
    site.create(true);
    site.serve();
    site.power_on_uefi("box", MAC);
    site.until_phase("box", "ready");
    // This firmware, left to itself, lists the disk before the network: once a system is on it, it would never ask again.
    let order = site.log("box", "image.boot-order");
    assert!(order.contains("comes first again"), "the boot order was put right: {order}");

    site.commit("install it anew", &[("box.yaml", &raised)]);
    site.until("the second run is done", |site| (site.count("box", "run-finished") == 2).then_some(()));
    let order = site.log("box", "image.boot-order");
    assert!(order.contains("is first already"), "the firmware kept the order over all boots: {order}");
    let events = site.events("box");
    let words = |kind: &str, word: &str| -> Vec<String> {
        let of_kind = events.iter().filter(|record| record["event"]["type"] == kind);
        of_kind.map(|record| record["event"][word].as_str().unwrap_or_default().to_owned()).collect()
    };
    let boots = ["discovery.discovery", "local", "discovery.discovery", "local"];
    assert_eq!(words("checked-in", "environment"), boots, "each boot asked the server, and nothing else came between");
    assert_eq!(words("offered", "environment"), boots);
    assert_eq!(words("checked-in", "firmware"), ["uefi"; 4]);
    let installed = words("job-granted", "task").iter().filter(|task| *task == "image.write").count();
    assert_eq!(installed, 2, "the image was written in both runs");
}

/// The repository.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The image's SHA-256, from the file beside it.
fn checksum(images: &std::path::Path) -> String {
    let about = std::fs::read(images.join("images/debian-etcd.json")).expect("about the image");
    let about: serde_json::Value = serde_json::from_slice(&about).expect("JSON");
    about["sha256"].as_str().expect("a checksum").to_owned()
}

/// The text of the sector before the backup GPT.
fn marker(disk: &std::path::Path) -> String {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::open(disk).expect("the disk");
    let length = file.metadata().expect("its size").len();
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, length - 34 * 512).expect("the sector");
    String::from_utf8_lossy(&sector).trim_end_matches('\0').to_owned()
}
