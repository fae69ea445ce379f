//! What the fuzzer was fed with and what it found, fed again: the targets' own functions over the corpus in the repository.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as it should be")]

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn no_input_of_the_corpus_breaks_a_promise() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let folder = corpus.join(name);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        assert!(paths.len() >= 3, "{name} has {} inputs in its corpus", paths.len());
        for path in paths {
            let bytes = std::fs::read(&path).expect("an input");
            // Which one it was stands above the panic.
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(targets::TARGETS.iter().any(|(target, _)| *target == name), "{name} is no target");
    }
}
