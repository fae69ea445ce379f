//! `formwork init`.

use super::site::World;
use std::process::Command;

#[test]
fn a_new_directory_becomes_a_repository_that_validates_without_a_warning() {
    let world = World::new();
    let said = world.ends(0, &["init", "../Lab 1", "--ci", "both"]);
    assert!(said.contains("written  site.yaml") && said.contains("made     .git") && said.contains("next:"), "{said}");
    let said = world.ends(0, &["validate", "../Lab 1"]);
    assert_eq!(said, "site lab-1: 1 machine, 0 enrollment rules, 2 workflows; nothing is wrong\n");
    // It can be committed and pushed as it is, by the real git, with its hook.
    world.git("Lab 1", &["config", "core.hooksPath", ".githooks"]);
    world.git("Lab 1", &["add", "--all"]);
    let path = std::env::join_paths(
        std::iter::once(std::path::Path::new(super::site::FORMWORK).parent().expect("a folder").to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").expect("a PATH"))),
    )
    .expect("a PATH");
    let commit = || {
        Command::new("git")
            .current_dir(world.path("Lab 1"))
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--message", "first"])
            .env("PATH", &path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .expect("git starts")
    };
    let output = commit();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(world.git("Lab 1", &["branch", "--show-current"]), "main");
    assert_eq!(world.git("Lab 1", &["status", "--short"]), "");
    // The hook looks at what is to be committed.
    world.write("Lab 1/machines/node-1.yaml", "kind: Machin\n");
    world.git("Lab 1", &["add", "--all"]);
    let output = commit();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("machines/node-1.yaml:1:7: error: kind `Machin`"), "{said}");
}

#[test]
fn a_directory_with_files_is_left_alone_and_never_written_over() {
    let world = World::new();
    world.write("lab/site.yaml", "mine\n");
    world.ends(4, &["init", "../lab"]);
    assert!(!world.is_there("lab/README.md"));
    let said = world.ends(0, &["init", "../lab", "--force", "--no-git", "--ci", "none", "--name", "other"]);
    assert!(said.contains("kept     site.yaml") && said.contains("written  README.md"), "{said}");
    assert_eq!(world.read("lab/site.yaml"), "mine\n");
    for not in ["lab/.git", "lab/.github", "lab/.gitlab-ci.yml"] {
        assert!(!world.is_there(not), "{not}");
    }
    world.ends(2, &["init", "../new", "--name", "No Name"]);
    // A file that leads elsewhere is a file that is there.
    std::os::unix::fs::symlink("/nowhere", world.path("linked")).expect("linked");
    world.ends(1, &["init", "../linked"]);
}

#[test]
fn in_a_folder_of_another_repository_it_says_so_and_writes_the_content_alone_where_that_is_meant() {
    let world = World::new();
    world.write("all/README.md", "all of it\n");
    world.git("all", &["init", "--quiet"]);
    let said = world.ends(4, &["init", "../all/sites/lab"]);
    assert!(said.contains("lies in the repository") && said.contains("--no-git"), "{said}");
    assert!(!world.is_there("all/sites"), "nothing is written");
    let said = world.ends(0, &["init", "../all/sites/lab", "--no-git", "--ci", "both"]);
    assert!(said.contains("--path sites/lab") && !said.contains("hooksPath"), "{said}");
    assert!(world.is_there("all/sites/lab/site.yaml"));
    for not in ["all/sites/lab/.githooks", "all/sites/lab/.github", "all/sites/lab/.gitlab-ci.yml"] {
        assert!(!world.is_there(not), "{not}");
    }
    // One of its own there is one that git asks.
    world.write("all/own/.gitkeep", "");
    world.git("all/own", &["init", "--quiet"]);
    std::fs::remove_file(world.path("all/own/.gitkeep")).expect("removed");
    let said = world.ends(0, &["init", "../all/own"]);
    assert!(said.contains("kept     the repository that is there"), "{said}");
}
