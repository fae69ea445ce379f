//! What real shells and real readers of manual pages make of what we write for them. Each is left out where it is not installed.

use super::site::{FORMWORK, Site};
use std::path::Path;
use std::process::Command;

fn there(program: &str, test: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    println!("SKIPPED {test}: there is no {program} on this machine");
    false
}

/// What bash offers after these words.
fn bash(site: &Site, line: &str) -> Vec<String> {
    let folder = Path::new(FORMWORK).parent().expect("a folder").display().to_string();
    let script = format!(
        "PATH={folder}:$PATH; source <(formwork completion bash); \
         COMP_LINE={line:?}; read -ra COMP_WORDS <<<\"$COMP_LINE\"; [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=(''); \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; \
         function_name=$(complete -p formwork | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $function_name formwork \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output =
        Command::new("bash").args(["-c", &script]).env("FORMWORK_CONTEXT", site.context()).output().expect("bash runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_options_kinds_and_names_of_machines() {
    if !there("bash", "bash_completes_commands_options_kinds_and_names_of_machines") {
        return;
    }
    let site = Site::start();
    for (line, expected) in [
        ("formwork exp", "explain"),
        ("formwork render web-1 --show", "--show-secrets"),
        ("formwork why w", "web-1"),
        ("formwork describe machine w", "web-1"),
        ("formwork retry w", "web-1"),
        ("formwork explain Clu", "ClusterProfile"),
    ] {
        let offered = bash(&site, line);
        assert!(offered.iter().any(|word| word == expected), "`{line}`: {offered:?}");
    }
}

#[test]
fn zsh_and_fish_take_their_scripts() {
    for (shell, arguments) in [("zsh", ["-n"].as_slice()), ("fish", &["--no-execute"])] {
        if !there(shell, "zsh_and_fish_take_their_scripts") {
            continue;
        }
        let script = Command::new(FORMWORK).args(["completion", shell]).output().expect("formwork starts");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("script");
        std::fs::write(&path, &script.stdout).expect("written");
        let output = Command::new(shell).args(arguments).arg(&path).output().expect("it runs");
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn manual_pages_are_read_without_a_complaint() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(FORMWORK).args(["man", "--out"]).arg(folder.path()).output().expect("formwork starts");
    assert!(made.status.success());
    let pages: Vec<_> =
        std::fs::read_dir(folder.path()).expect("pages").map(|entry| entry.expect("one").path()).collect();
    assert!(pages.len() > 30);
    if there("mandoc", "manual_pages_are_read_without_a_complaint") {
        // Errors; what is a matter of style (long lines, the date) is clap's.
        let output =
            Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(&pages).output().expect("mandoc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    if there("groff", "manual_pages_are_read_without_a_complaint") {
        for page in &pages {
            let output = Command::new("groff")
                .args(["-K", "utf8", "-man", "-Tutf8", "-ww"])
                .arg(page)
                .output()
                .expect("groff runs");
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{}: {}",
                page.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
