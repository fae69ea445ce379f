//! Findings for other programs, read by programs of others.

use super::site::FORMWORK;
use std::io::Write;
use std::process::{Command, Stdio};

/// A site with an error and a warning in files whose names mean no good.
fn broken() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let head = "apiVersion: formwork.dev/v1alpha1\nkind: ";
    write("site/site.yaml", &format!("{head}Site\nmetadata: {{name: lab}}\n"));
    write("site/packs/<x & y>/pack.yaml", &format!("{head}Pack\nmetadata: {{name: x}}\n"));
    let machine = format!(
        "{head}Machine\nmetadata: {{name: a}}\nspec: {{match: {{macs: ['52:54:00:00:00:01']}}, \"protekt\\r\\n::error::\\u0001]]>\": true}}\n"
    );
    write("site/machines/a,b: 100%\"'é.yaml", &machine);
    folder
}

/// What `formwork validate -o FORMAT site` prints.
fn validate(folder: &tempfile::TempDir, format: &str) -> String {
    let output = Command::new(FORMWORK)
        .current_dir(folder.path())
        .args(["validate", "-o", format, "site"])
        .output()
        .expect("formwork starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn annotations_are_one_line_each_and_name_the_repositorys_files() {
    let text = validate(&broken(), "github");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("::error file=site/machines/a%2Cb%3A 100%25\"'é.yaml,line=4,col="), "{text}");
    assert!(lines[0].contains("title=unknown-field::"), "{text}");
    assert!(
        lines[1].starts_with("::warning file=site/packs/<x & y>/pack.yaml,line=1,col=1,title=unused-pack::"),
        "{text}"
    );
}

/// Whoever reads a finding opens its file: in every format the same path, from a base that is told, wherever it is asked.
#[test]
fn paths_are_those_of_the_work_tree_wherever_the_command_is_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let head = "apiVersion: formwork.dev/v1alpha1\nkind: ";
    let machine = format!("{head}Machine\nmetadata: {{name: a}}\nspec: {{match: {{macs: ['52:54:00:00:00:01']}}}}\n");
    write("repo/.git/HEAD", "ref: refs/heads/main\n");
    write("repo/lab/site.yaml", &format!("{head}Site\nmetadata: {{name: lab}}\n"));
    write("repo/lab/machines/a.yaml", &machine);
    write("repo/lab/machines/b.yaml", &machine);
    let validate = |here: &str, site: &str, format: &str| {
        let mut command = Command::new(FORMWORK);
        let output = command.current_dir(root.join(here)).args(["validate", site, "-o", format]).output();
        let output = output.expect("formwork starts");
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (here, site, base) in [
        ("", "repo/lab", root.join("repo").display().to_string()),
        ("repo", "lab", ".".to_owned()),
        ("repo/lab", ".", "..".to_owned()),
        ("repo/lab/machines", "..", "../..".to_owned()),
        ("repo/lab/machines", &root.join("repo/lab").display().to_string(), "../..".to_owned()),
    ] {
        for format in ["text", "json", "yaml", "sarif", "github", "junit"] {
            let said = validate(here, site, format);
            assert!(said.contains("lab/machines/b.yaml"), "{here} {format}: {said}");
            // In what is said of one, the other is named from the same base.
            let (all, whole) = (said.matches("machines/a.yaml").count(), said.matches("lab/machines/a.yaml").count());
            assert!(all > 0 && all == whole, "{here} {format}: {said}");
            assert_eq!(said.matches("lab/lab/").count(), 0, "{said}");
        }
        let said = validate(here, site, "text");
        assert_eq!(said.contains("; paths are from "), base != ".", "{said}");
        assert!(base == "." || said.ends_with(&format!("; paths are from {base}\n")), "{base}: {said}");
        let json: serde_json::Value = serde_json::from_str(&validate(here, site, "json")).expect("JSON");
        assert_eq!(json["base"], base);
    }
    // Below the site there is none, and it is said where it begins.
    let said = validate("repo/lab/machines", ".", "text");
    assert!(said.contains("hint: a site begins above: formwork validate ..\n"), "{said}");
}

/// What Git cannot keep is never opened: nobody waits for a pipe that nothing is written to.
#[test]
fn a_pipe_or_a_socket_in_the_place_of_content_is_a_finding() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).expect("written");
    write("site.yaml", "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n");
    let pipe = folder.path().join("machines.yaml");
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()), "a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("web.yaml")).expect("a socket");
    // One that is no content disturbs nobody.
    let _other = std::os::unix::net::UnixListener::bind(folder.path().join("agent.sock")).expect("a socket");
    for words in [["validate", "."], ["tree", "--dir=."]] {
        let output = Command::new("timeout").args(["60", FORMWORK]).args(words).current_dir(folder.path()).output();
        let output = output.expect("formwork starts");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        for file in ["machines.yaml", "web.yaml"] {
            let finding = format!("{file}:1:1: error: a named pipe, socket or device; it is never opened");
            assert!(said.contains(&finding), "{words:?}: {said}");
        }
        assert!(said.contains("2 errors") && !said.contains("agent.sock"), "{words:?}: {said}");
    }
}

#[test]
fn a_real_xml_parser_reads_the_tests() {
    const READ: &str = "import sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.buffer.read())
for suite in root:
    for case in suite:
        failure = case.find('failure')
        print(case.get('classname'), '|', failure.get('type') if failure is not None else 'passed')";
    let text = validate(&broken(), "junit");
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    python.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{text}");
    let read = String::from_utf8_lossy(&output.stdout);
    let expected = "site/machines/a,b: 100%\"'é.yaml | unknown-field\nsite/packs/<x & y>/pack.yaml | passed\n";
    assert_eq!(read, expected, "{text}");
}

#[test]
fn code_scanning_gets_what_the_standards_schema_takes() {
    // By its other name, too.
    let folder = broken();
    let output = Command::new(FORMWORK)
        .current_dir(folder.path().join("site"))
        .args(["validate", "--format", "sarif"])
        .output()
        .expect("formwork starts");
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // One pattern has a bracket that only some dialects of regular expressions take as it stands.
    let schema = include_str!("sarif-schema-2.1.0.json").replace("{2}]?$", "{2}\\\\]?$");
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let wrong: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let results = &document["runs"][0]["results"];
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "machines/a%2Cb%3A%20100%25%22%27%C3%A9.yaml");
    assert_eq!((results[0]["ruleId"].as_str(), &place["region"]["startLine"]), (Some("unknown-field"), &4.into()));
    assert_eq!(results[1]["level"], "warning");
}
