//! `formwork pack test`.

use super::site::World;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn the_tests_of_a_sites_packs_are_run_and_one_that_fails_shows_how() {
    let world = World::new();
    world.ends(0, &["pack", "add", &world.url()]);
    assert_eq!(world.ends(0, &["pack", "test"]), "ok     pack/it-runs\n1 passed, 0 failed\n");
    world.ends(0, &["pack", "test", "pack"]);
    // At its own repository, where a change is made.
    world.write("pack/scripts/run.sh", "#!/bin/sh\necho two\n");
    let said = world.ends(1, &["pack", "test", "../pack"]);
    for part in [
        "FAILED pack/it-runs\n",
        "../pack/tests/run.yaml:1: job pack.one: script run",
        "    -echo one\n    +echo two\n",
        "0 passed, 1 failed\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    world.ends(3, &["pack", "test", "nowhere"]);
    world.write("pack/tests/run.yaml", "kind: PackTest\n");
    let said = world.ends(1, &["pack", "test", "../pack"]);
    assert!(said.contains("../pack/tests/run.yaml:1:1: error: "), "{said}");
}

#[test]
fn results_are_junit_that_a_real_xml_parser_reads() {
    const READ: &str = "import sys, xml.etree.ElementTree as tree
for suite in tree.fromstring(sys.stdin.buffer.read()):
    for case in suite:
        print(suite.get('name'), case.get('name'), 'failed' if case.find('failure') is not None else 'passed')";
    let world = World::new();
    world.write("pack/scripts/run.sh", "echo '<&]]>\u{1}'\n");
    let output = world.type_in(&["pack", "test", "../pack", "-o", "junit"]);
    assert_eq!(output.status.code(), Some(1));
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().expect("its input").write_all(&output.stdout).expect("written");
    let read = python.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "pack pack it-runs failed\n");
}

#[test]
fn the_packs_of_the_program_are_tested_without_a_site() {
    let world = World::new();
    std::fs::remove_file(world.path("site/site.yaml")).expect("removed");
    for pack in ["discovery", "etcd", "hardware", "image"] {
        let said = world.ends(0, &["pack", "test", pack]);
        assert!(said.contains(", 0 failed") && !said.starts_with('0'), "{said}");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/content-packs/image");
    world.ends(0, &["pack", "test", folder]);
}
