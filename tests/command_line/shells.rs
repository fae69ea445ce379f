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

/// What the program answers when the script of a shell asks it as this one does.
fn asked_by(shell: &str, words: &[&str], index: &str) -> Vec<String> {
    let output = Command::new(FORMWORK)
        .arg("--")
        .args(words)
        .env("FORMWORK_COMPLETE", shell)
        .env("_CLAP_COMPLETE_INDEX", index)
        .env("_CLAP_IFS", "\n")
        .output()
        .expect("formwork starts");
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    // PowerShell is told what a word means, after a tab.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn elvish_and_powershell_have_scripts_and_answers() {
    for (shell, begins) in [
        ("elvish", "set edit:completion:arg-completer[formwork]"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName formwork"),
    ] {
        let script = Command::new(FORMWORK).args(["completion", shell]).output().expect("formwork starts");
        let text = String::from_utf8(script.stdout).expect("text");
        assert!(script.status.success() && text.trim_start().starts_with(begins), "{shell}: {text}");
        assert!(text.contains("FORMWORK_COMPLETE") && text.contains(shell), "{shell}: {text}");
        assert!(asked_by(shell, &["formwork", "exp"], "1").contains(&"explain".to_owned()));
        assert!(asked_by(shell, &["formwork", "explain", "Clu"], "2").contains(&"ClusterProfile".to_owned()));
        assert!(asked_by(shell, &["formwork", "store", ""], "2").contains(&"backup".to_owned()));
    }
    if there("elvish", "elvish_and_powershell_have_scripts_and_answers") {
        let script = Command::new(FORMWORK).args(["completion", "elvish"]).output().expect("formwork starts");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("script.elv");
        std::fs::write(&path, &script.stdout).expect("written");
        let output = Command::new("elvish").arg("-compileonly").arg(&path).output().expect("it runs");
        // Outside of its line editor the shell has no `edit:`: a mistake in the script's form would be told otherwise.
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() || said.contains("edit:"), "{said}");
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
