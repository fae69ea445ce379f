//! A revision of many machines, loaded and compiled: how long, and in how much memory. Each in a process of its own.

use super::median;
use formwork::catalog::{builtin_packs, from_tree};
use formwork::content::Tree;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

const TURNS: usize = 5;
const PARAMS: usize = 20;

/// A site: machines with three profiles and twenty params each, a workflow whose task renders a template of them all.
fn site(machines: usize) -> Tree {
    let head = |kind: &str, name: &str| {
        format!("apiVersion: formwork.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    files.insert("site.yaml".into(), head("Site", "figures") + "spec: {}\n");
    let mut params = String::new();
    let mut declared = String::new();
    let mut template = String::from("# made for {{ machine.name }}\n");
    for number in 0..PARAMS {
        let schema = if number % 2 == 0 { "{type: string, maxLength: 64}" } else { "{type: integer, minimum: 0}" };
        let _ = write!(params, "---\n{}spec: {{schema: {schema}}}\n", head("Param", &format!("param-{number}")));
        let _ = write!(declared, "{{name: param-{number}}}, ");
        let _ = writeln!(template, "value-{number} = {{{{ params['param-{number}'] }}}}");
    }
    files.insert("params.yaml".into(), params);
    let mut profiles = String::new();
    for number in 0..30 {
        let name = format!("profile-{number}");
        let value = format!("spec: {{params: {{param-0: from-{name}, param-2: {name}, param-1: {number}}}}}\n");
        let _ = write!(profiles, "---\n{}{value}", head("Profile", &name));
    }
    files.insert("profiles.yaml".into(), profiles);
    files.insert("templates/config.j2".into(), template);
    let workflow = format!(
        "{}spec: {{file: templates/config.j2}}\n---\n{}spec:\n  params: [{declared}]\n  steps: [{{name: write, \
         template: config, to: /etc/config, mode: \"0644\"}}]\n---\n{}spec: {{tasks: [write]}}\n---\n{}spec: \
         {{stages: [write]}}\n",
        head("Template", "config"),
        head("Task", "write"),
        head("Stage", "write"),
        head("Workflow", "write"),
    );
    files.insert("workflow.yaml".into(), workflow);
    for number in 0..machines {
        let name = format!("node-{number:05}");
        let mut text = head("Machine", &name);
        let (a, b) = (number >> 8 & 0xff, number & 0xff);
        let _ = write!(
            text,
            "spec:\n  match: {{macs: [\"52:54:00:00:{a:02x}:{b:02x}\"]}}\n  profiles: [profile-{}, profile-{}, profile-{}]\n  \
             workflow: write\n  params:\n",
            number % 10,
            10 + number % 10,
            20 + number % 10
        );
        for param in 0..PARAMS {
            let value = if param % 2 == 0 { format!("text-{number}-{param}") } else { (number * param).to_string() };
            let _ = writeln!(text, "    param-{param}: {value}");
        }
        files.insert(format!("machines/{name}.yaml"), text);
    }
    Tree::from_texts(files)
}

fn memory(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes / 1e3
}

/// In a process of its own: prints seconds, peak and kept megabytes, without what the files themselves take.
pub fn compile_only(machines: usize) {
    let tree = site(machines);
    let before = memory("VmRSS");
    let began = Instant::now();
    let catalog = match from_tree(&tree, &builtin_packs(), "figures") {
        Ok(catalog) => catalog,
        Err(findings) => {
            let text = findings.to_string();
            panic!("{}", text.lines().take(10).collect::<Vec<_>>().join("\n"));
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    let (peak, kept) = (memory("VmHWM") - before, memory("VmRSS") - before);
    assert_eq!(catalog.machines().count(), machines);
    println!("{seconds} {peak} {kept}");
}

pub fn print() {
    println!("| figure | seconds | peak MB | kept MB |\n| --- | ---: | ---: | ---: |");
    for machines in [1_000, 10_000] {
        let mut turns: [Vec<f64>; 3] = Default::default();
        for _ in 0..TURNS {
            let program = std::env::current_exe().expect("this program");
            let output = Command::new(program).args(["compile-only", &machines.to_string()]).output().expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            for (turn, word) in turns.iter_mut().zip(text.split_whitespace()) {
                turn.push(word.parse().expect("a number"));
            }
        }
        let [seconds, peak, kept] = turns.map(median);
        println!("| a revision of {machines} machines, loaded and compiled | {seconds:.2} | {peak:.0} | {kept:.0} |");
    }
}
