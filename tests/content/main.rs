//! Broken content trees, each with the findings it must give: text, place and hint. Every tree is read twice, as people do it
//! before a push (`formwork validate` on a directory) and as the server does it (a commit of a bare repository), and both say the same.
//!
//! A case is a file of `cases/`: a sentence, what is changed in the tree of `good/`, and after `=== says` the golden text. `FORMWORK_BLESS=1`
//! writes the golden texts anew; read the difference before you keep it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

mod case;

use case::{Case, Node};
use formwork::catalog::{builtin_packs, from_tree};
use formwork::git::{Follower, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a tree holds, by path.
type Nodes = BTreeMap<String, Node>;

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/content")
}

/// The good tree.
fn good() -> Nodes {
    let (root, mut nodes, mut folders) = (here().join("good"), Nodes::new(), vec![here().join("good")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                nodes.insert(name, Node::File(std::fs::read(path).unwrap()));
            }
        }
    }
    nodes
}

/// As files of a directory.
fn write_directory(nodes: &Nodes, root: &Path) {
    for (path, node) in nodes {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::File(bytes) => std::fs::write(&path, bytes).unwrap(),
            Node::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            Node::Submodule => {
                std::fs::create_dir_all(&path).unwrap();
                std::fs::write(path.join(".git"), "gitdir: ../.git/modules/x\n").unwrap();
            }
        }
    }
}

/// As a commit of a bare repository.
fn write_repository(nodes: &Nodes, path: &Path) -> String {
    let mut options = git2::RepositoryInitOptions::new();
    let repository =
        git2::Repository::init_opts(path, options.bare(true).initial_head("main")).expect("a bare repository");
    // Trees are written from the leaves up: an index would refuse names that Git's own tools would not make.
    fn tree(repository: &git2::Repository, nodes: &Nodes, prefix: &str) -> git2::Oid {
        let mut builder = repository.treebuilder(None).unwrap();
        let inside: Vec<(&str, &Node)> =
            nodes.iter().filter_map(|(path, node)| Some((path.strip_prefix(prefix)?, node))).collect();
        for (rest, node) in inside {
            match rest.split_once('/') {
                Some((folder, _)) => {
                    if builder.get(folder).unwrap().is_none() {
                        let below = tree(repository, nodes, &format!("{prefix}{folder}/"));
                        builder.insert(folder, below, 0o040_000).unwrap();
                    }
                }
                None => {
                    let (oid, mode) = match node {
                        Node::File(bytes) => (repository.blob(bytes).unwrap(), 0o100_644),
                        Node::Link(target) => (repository.blob(target.as_bytes()).unwrap(), 0o120_000),
                        Node::Submodule => (git2::Oid::from_str(&"1".repeat(40)).unwrap(), 0o160_000),
                    };
                    builder.insert(rest, oid, mode).unwrap();
                }
            }
        }
        builder.write().unwrap()
    }
    // Submodules' commits are in no database: that is as it should be.
    git2::opts::strict_object_creation(false);
    let root = repository.find_tree(tree(&repository, nodes, "")).unwrap();
    let who = git2::Signature::now("t", "t@example.org").unwrap();
    repository.commit(Some("refs/heads/main"), &who, &who, "content", &root, &[]).unwrap().to_string()
}

/// The beginning of what is said, where it is much.
fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    match lines.get(..8) {
        Some(first) if lines.len() > 40 => format!("{}\n({} lines more)", first.join("\n"), lines.len() - 8),
        _ => lines.join("\n"),
    }
}

/// What `formwork validate` prints, and its exit code.
fn validate(nodes: &Nodes) -> (String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    write_directory(nodes, &site);
    let output =
        Command::new(env!("CARGO_BIN_EXE_formwork")).arg("validate").arg(&site).output().expect("formwork runs");
    let text = String::from_utf8(output.stdout).expect("text");
    // The counts at the end are the command's own.
    let text = text.trim_end().rsplit_once('\n').map_or("", |(findings, _)| findings).trim_end().to_owned();
    let said =
        if output.status.code() == Some(2) { String::from_utf8_lossy(&output.stderr).into_owned() } else { text };
    (shortened(&said.replace(site.to_str().unwrap(), "SITE")), output.status.code().unwrap_or(-1))
}

/// What the server would say to a push.
fn pushed(nodes: &Nodes) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.git");
    let revision = write_repository(nodes, &path);
    let source = Source::Bare { path, branch: None, subpath: None };
    let follower = Follower::start(source, &folder.path().join("mirror.git")).expect("a follower");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tree = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), follower.tree(&revision)).await.expect("an answer")
    });
    let said = match tree {
        Ok(tree) => match from_tree(&tree, &builtin_packs(), &revision) {
            Ok(catalog) => catalog.warnings.to_string(),
            Err(findings) => findings.to_string(),
        },
        Err(error) => format!("refused: {error}").replace(&revision, "REVISION"),
    };
    shortened(&said)
}

#[test]
fn every_broken_tree_gives_its_findings_and_a_push_gives_the_same() {
    let bless = std::env::var_os("FORMWORK_BLESS").is_some();
    let mut paths: Vec<_> =
        std::fs::read_dir(here().join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 50, "only {} cases", paths.len());
    let good = good();
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let case = Case::parse(&name, &text);
        let nodes = case.apply(good.clone());
        let (validated, code) = validate(&nodes);
        let refused = code != 0;
        let server = pushed(&nodes);
        if bless {
            std::fs::write(&path, case.blessed(&text, &validated, &server)).unwrap();
            continue;
        }
        if validated != case.says {
            wrong.push(format!("{name}: validate says\n{validated}\n-- and should\n{}", case.says));
        }
        let expected = case.pushed.as_ref().unwrap_or(&case.says);
        if &server != expected {
            wrong.push(format!("{name}: a push is told\n{server}\n-- and should\n{expected}"));
        }
        if refused != (case.says.contains(": error: ") || code == 2) {
            wrong.push(format!("{name}: exit code {code}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_good_tree_has_nothing_wrong() {
    let good = good();
    assert_eq!(validate(&good), (String::new(), 0));
    assert_eq!(pushed(&good), "");
}
