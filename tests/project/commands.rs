//! Commands that pages name exist, as deep as they are nested, with the options that they are given: in blocks of any language, in
//! the words between backquotes, and in the examples that the program itself prints (the generated reference is one of the pages).

use super::docs::{blocks, name, pages};
use super::read;
use super::reference::commands_in;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A call as it is written, and where.
#[derive(Debug)]
struct Call {
    place: String,
    words: Vec<String>,
}

/// The calls of `formwork` in a line of shell.
fn calls_in(line: &str) -> Vec<Vec<String>> {
    let line = line.trim_start().trim_start_matches(['$', '#']).split(" #").next().unwrap_or_default();
    // What follows after two spaces and more in an example is what it does.
    let line = line.split("   ").next().unwrap_or_default();
    let mut calls = Vec::new();
    for command in line.split(['|', ';', '&', '>', '(']) {
        let words = command.split_whitespace().map(str::to_owned);
        // `sudo` and variables stand before a command.
        let words: Vec<String> = words.skip_while(|word| word == "sudo" || word.contains('=')).collect();
        if words.first().is_some_and(|word| word == "formwork") && words.get(1).is_none_or(|word| word != "agent") {
            calls.push(words);
        }
    }
    calls
}

/// The words between backquotes outside of blocks.
fn in_backquotes(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2).map(|code| (at + 1, code.to_owned())));
        }
    }
    found
}

fn calls(page: &Path) -> Vec<Call> {
    let mut calls = Vec::new();
    for block in blocks(page).iter().filter(|block| block.file().is_none()) {
        let text = block.text.replace("\\\n", " ");
        let place = format!("{}, block at line {}", name(page), block.line);
        // Elsewhere than in shell a line may begin with the product's name and be no command.
        let is_shell = block.language() != "text" || name(page) == "docs/reference/commands.md";
        for line in text.lines().filter(|line| is_shell || line.starts_with("$ ")) {
            calls.extend(calls_in(line).into_iter().map(|words| Call { place: place.clone(), words }));
        }
    }
    for (line, code) in in_backquotes(&read(page)) {
        let place = format!("{}:{line}", name(page));
        calls.extend(calls_in(&code).into_iter().map(|words| Call { place: place.clone(), words }));
    }
    calls
}

/// What the program says of itself, asked once a command.
#[derive(Default)]
struct Program(BTreeMap<String, String>);

impl Program {
    fn help(&mut self, command: &[&str]) -> &str {
        self.0.entry(command.join(" ")).or_insert_with(|| {
            let mut program = Command::new(env!("CARGO_BIN_EXE_formwork"));
            let output = program.args(command).arg("--help").output().expect("formwork starts");
            assert!(output.status.success(), "formwork {command:?} --help");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// What is wrong with a call.
    fn wrong(&mut self, words: &[String]) -> Vec<String> {
        let mut command: Vec<&str> = Vec::new();
        for word in words.iter().skip(1).map(String::as_str) {
            let known = commands_in(self.help(&command));
            if known.is_empty() || word.starts_with('-') {
                break;
            }
            // `COMMAND` and `…` stand for any.
            if !word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                break;
            }
            if word == "help" {
                return Vec::new();
            }
            if !known.iter().any(|name| name == word) {
                return vec![format!("there is no `formwork {} {word}`", command.join(" "))];
            }
            command.push(word);
        }
        let help = self.help(&command).to_owned();
        let options: BTreeSet<&str> = help
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with('-'))
            .collect();
        let given = words.iter().map(|word| word.trim_matches(['[', ']', ',', '.', '"', '\'']));
        given
            .filter(|word| word.starts_with('-') && *word != "-" && *word != "--")
            .map(|word| word.split('=').next().unwrap_or_default())
            .filter(|option| !options.contains(option))
            .map(|option| format!("`formwork {}` has no {option}", command.join(" ")))
            .collect()
    }
}

#[test]
fn commands_in_the_documentation_exist_with_their_options() {
    let (mut program, mut wrong, mut seen) = (Program::default(), BTreeSet::new(), 0);
    for call in pages().iter().flat_map(|page| calls(page)) {
        seen += 1;
        let place = call.place;
        wrong.extend(program.wrong(&call.words).into_iter().map(|what| format!("{place}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
    assert!(seen > 250, "only {seen} commands were found in the documentation");
}

#[test]
fn a_command_that_is_not_there_is_noticed_however_deep() {
    let mut program = Program::default();
    for (line, what) in [
        ("formwork usr add ada", "there is no"),
        ("formwork user ad ada", "there is no"),
        ("formwork hook instal", "there is no"),
        ("sudo formwork api opnapi", "there is no"),
        ("FORMWORK_CONTEXT=x formwork cluster thawed etcd", "there is no"),
        ("formwork user add ada --puhs main", "has no --puhs"),
        ("formwork get machines -o json | jq . && formwork store chek", "there is no"),
    ] {
        let found: Vec<String> = calls_in(line).iter().flat_map(|words| program.wrong(words)).collect();
        assert!(found.len() == 1 && found.iter().all(|said| said.contains(what)), "{line}: {found:?}");
    }
    for line in ["formwork user add ada --push main", "formwork COMMAND --help", "formwork help user", "formworks"] {
        let found: Vec<String> = calls_in(line).iter().flat_map(|words| program.wrong(words)).collect();
        assert!(found.is_empty(), "{line}: {found:?}");
    }
}
