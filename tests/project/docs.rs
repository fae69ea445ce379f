//! Documentation that is true: its YAML is content that compiles, and it stands in the book.
//!
//! A block of YAML names the file it would be, in its info string: `yaml file=machines/node-1.yaml`. All files of one page
//! together are one site, which has to compile without a finding. Other files of that site (scripts, templates) are named in
//! the same way.

use super::{files_below, read, root};
use formwork::catalog::{builtin_packs, from_tree};
use formwork::content::elsewhere::below;
use formwork::content::{Tree, pack_tests};
use formwork::inspect::{PackUnderTest, run_pack_test};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of a page.
pub(super) struct Block {
    pub(super) line: usize,
    /// What stands behind the fence: `yaml file=site.yaml`.
    info: String,
    pub(super) text: String,
}

impl Block {
    pub(super) fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }

    pub(super) fn file(&self) -> Option<&str> {
        self.info.split_whitespace().find_map(|word| word.strip_prefix("file="))
    }
}

/// The pages that people read.
pub(super) fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "examples", "content-packs"] {
        pages.extend(files_below(&root().join(folder)));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages
}

pub(super) fn name(page: &Path) -> String {
    page.strip_prefix(root()).unwrap_or(page).display().to_string()
}

pub(super) fn blocks(page: &Path) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (at, line) in read(page).lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(info), None) => {
                open = Some(Block { line: at + 1, info: info.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block is not closed", name(page));
    blocks
}

/// What `formwork validate` would say to these files; empty: nothing.
fn findings(tree: &Tree) -> String {
    match from_tree(tree, &builtin_packs(), "documentation") {
        Ok(catalog) => catalog.warnings.to_string(),
        Err(findings) => findings.to_string(),
    }
}

/// The tests of a pack that a page shows.
fn pack_tests_pass(page: &Path, tree: &Tree, folder: &str) {
    let tests = pack_tests(tree, folder).unwrap_or_else(|findings| panic!("{}:\n{findings}", name(page)));
    let files = below(tree, folder);
    let pack = folder.rsplit('/').next().unwrap_or(folder);
    let builtin = builtin_packs();
    let under = PackUnderTest { name: pack, files: &files, others: &BTreeMap::new(), builtin: &builtin };
    for test in &tests {
        let result = run_pack_test(&under, test);
        assert!(result.failures.is_empty(), "{}: {result:#?}", name(page));
    }
}

#[test]
fn the_yaml_of_each_page_is_a_site_that_compiles() {
    let mut seen = 0;
    for page in pages() {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for block in blocks(&page) {
            let Some(file) = block.file() else {
                let place = format!("{}:{}", name(&page), block.line);
                let known = ["sh", "console", "text"].contains(&block.language());
                assert!(known, "{place}: a block in `{}`: name the file that it is, or say `text`", block.language());
                // The generated reference shows documents as the program prints them, checked where they are made.
                let reference = name(&page).starts_with("docs/reference/");
                let document = block.text.lines().any(|line| line.starts_with("apiVersion:"));
                assert!(reference || !document, "{place}: a document of content: say which file it is");
                continue;
            };
            seen += 1;
            // What is the server's own is no file of a site.
            if file.ends_with("/trust.yaml") {
                let signer = "alice@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEMKQ8HhJAKpvXYTDuSGwQKGn4wGA7oHz7XkjKpKaWi\n";
                let (zone, open) = (jiff::tz::TimeZone::UTC, |named: &str| match named {
                    "allowed_signers" => Ok(signer.as_bytes().to_vec()),
                    _ => Ok(Vec::new()),
                });
                let read = formwork::trust::Policy::read(file, block.text.as_bytes(), &zone, &open);
                assert!(read.is_ok(), "{}:{}: {}", name(&page), block.line, read.expect_err("findings"));
                continue;
            }
            if file.ends_with("/sources.yaml") {
                let folder = Path::new(file).parent().expect("a folder");
                let read = formwork::git::remote::parse_sources(file, block.text.as_bytes(), folder);
                assert!(read.is_ok(), "{}:{}: {}", name(&page), block.line, read.expect_err("findings"));
                continue;
            }
            // What an API server is told is no file of a site either.
            if file.starts_with("kubernetes/") {
                for document in serde_yaml::Deserializer::from_str(&block.text) {
                    let read: serde_json::Value = serde::Deserialize::deserialize(document).expect("YAML");
                    assert!(
                        read["apiVersion"].is_string() && read["kind"].is_string(),
                        "{}:{}",
                        name(&page),
                        block.line
                    );
                    if read["kind"] == "ContentSource" {
                        let spec =
                            serde_json::from_value::<formwork::controller::ContentSourceSpec>(read["spec"].clone());
                        assert!(spec.is_ok(), "{}:{}: {spec:?}", name(&page), block.line);
                    }
                }
                continue;
            }
            let before = files.insert(file.to_owned(), block.text.clone());
            assert!(before.is_none(), "{}:{}: {file} is there twice", name(&page), block.line);
        }
        for file in files.keys().filter(|file| file.ends_with("/pack.yaml")) {
            pack_tests_pass(&page, &Tree::from_texts(files.clone()), file.trim_end_matches("/pack.yaml"));
        }
        if !files.is_empty() {
            let said = findings(&Tree::from_texts(files));
            assert!(said.is_empty(), "the content in {}:\n{said}", name(&page));
        }
    }
    assert!(seen > 10, "only {seen} files were found in the documentation");
}

#[test]
fn the_examples_compile() {
    let folder = root().join("examples");
    let sites = files_below(&folder).into_iter().filter(|path| path.ends_with("site.yaml"));
    let mut count = 0;
    for site in sites {
        let site = site.parent().expect("a folder").to_owned();
        let files = files_below(&site).into_iter().map(|path| {
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.strip_prefix(&site).expect("below it").display().to_string(), bytes)
        });
        let said = findings(&Tree::from_texts(files));
        assert!(said.is_empty(), "{}:\n{said}", name(&site));
        count += 1;
    }
    assert!(count > 0, "there are no examples");
}

/// What a text asks of the agent: the words after each `formwork agent`, up to what ends a command.
fn asked(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let calls = text.split("formwork agent ").skip(1);
    calls
        .map(|rest| {
            let command = rest.split(['\n', '`', ';', '&', ')', '>', '<']).next().unwrap_or_default();
            // `reboot|stop` is a choice, `a | b` a pipe.
            let command = command.split(" | ").next().unwrap_or_default();
            command.split_whitespace().map(str::to_owned).collect()
        })
        .filter(|words: &Vec<String>| words.first().is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase())))
        .collect()
}

#[test]
fn what_scripts_and_pages_ask_of_the_agent_it_answers() {
    let output = Command::new(env!("CARGO_BIN_EXE_formwork-agent"))
        .args(["agent", "help"])
        .output()
        .expect("formwork-agent starts");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let options: BTreeSet<&str> = help
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    let scripts = files_below(&root().join("content-packs")).into_iter();
    let scripts = scripts.filter(|path| path.extension().is_some_and(|extension| extension == "sh"));
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for path in scripts.chain(pages()) {
        for words in asked(&read(&path)) {
            seen += 1;
            let grouped = words.first().is_some_and(|word| matches!(word.as_str(), "cluster" | "disk" | "fact"));
            let command = words.iter().take(if grouped { 2 } else { 1 }).cloned().collect::<Vec<_>>().join(" ");
            // In a line of help a command begins it or follows a comma.
            let known = help.lines().flat_map(|line| line.split(", ")).any(|said| {
                said.trim().strip_prefix(&command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            });
            if !known {
                wrong.insert(format!("{}: there is no `formwork agent {command}`", name(&path)));
            }
            for word in words.iter().filter(|word| word.starts_with("--")) {
                let option = word.split('=').next().unwrap_or_default();
                if !options.contains(option) {
                    wrong.insert(format!("{}: `formwork agent {command}` has no {option}", name(&path)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    assert!(seen > 15, "only {seen} questions were found");
}

#[test]
fn every_page_of_the_documentation_stands_in_the_book() {
    let docs = root().join("docs");
    let summary = read(&docs.join("SUMMARY.md"));
    let missing: Vec<String> = files_below(&docs)
        .iter()
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
        .filter_map(|page| page.strip_prefix(&docs).ok()?.to_str().map(str::to_owned))
        .filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("]({page})")))
        .collect();
    assert!(missing.is_empty(), "pages of docs/ that SUMMARY.md does not name: {missing:?}");
}
