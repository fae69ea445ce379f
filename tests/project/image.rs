//! The image of the server: its Dockerfile copies what is there and what the program is made of, and ends as the chart runs it.

use super::{files_below, read, root};
use std::collections::BTreeMap;

/// An instruction with its words; lines that go on are one.
fn instructions(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no instruction: {line}"));
            (name.to_owned(), rest.trim().to_owned())
        })
        .collect()
}

/// What a stage is made from, with arguments in their places.
fn filled(text: &str, arguments: &BTreeMap<String, String>) -> String {
    arguments.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

#[test]
fn the_image_is_made_of_what_is_there_and_runs_as_the_chart_says() {
    let program = instructions(&read(&root().join("Dockerfile")));
    let ignore = read(&root().join(".dockerignore"));
    let given: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "what is not named is not sent");
    let (mut arguments, mut stages, mut copied) = (BTreeMap::new(), Vec::<String>::new(), Vec::<String>::new());
    let (mut user, mut capabilities) = (None, None);
    for (name, rest) in &program {
        match name.as_str() {
            "ARG" => {
                let (key, value) = rest.split_once('=').expect("an argument has a default");
                arguments.insert(key.to_owned(), value.to_owned());
            }
            "FROM" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let image = filled(words[0], &arguments);
                let (_, tag) = image.split_once(':').unwrap_or_else(|| panic!("{image} has no tag"));
                assert!(!tag.is_empty() && !tag.contains("latest") && !tag.contains('$'), "{image}");
                stages.push(words.get(2).map_or_else(String::new, |name| (*name).to_owned()));
                // What was said of an earlier stage is not said of this one.
                (user, capabilities) = (None, None);
            }
            "COPY" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let (from, sources) = match words[0].strip_prefix("--from=") {
                    Some(stage) => (Some(stage), &words[1..words.len() - 1]),
                    None => (None, &words[..words.len() - 1]),
                };
                for source in sources {
                    if let Some(stage) = from {
                        assert!(stages.iter().rev().skip(1).any(|known| known == stage), "{rest}: no earlier stage");
                        let manifest = read(&root().join("Cargo.toml"));
                        let name = source.rsplit('/').next().unwrap_or_default();
                        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"")), "{rest}: no such program");
                    } else {
                        assert!(root().join(source).exists(), "{rest}: no {source}");
                        assert!(given.contains(source), "{rest}: .dockerignore leaves {source} out");
                        copied.push((*source).to_owned());
                    }
                }
            }
            "RUN" => {
                assert!(!rest.contains("curl") && !rest.contains("wget"), "{rest}: what is fetched is not pinned");
                if rest.contains("apt-get install") {
                    assert!(rest.contains("--no-install-recommends") && rest.contains("rm -rf /var/lib/apt/lists"));
                }
                if let Some((_, words)) = rest.split_once("setcap ") {
                    capabilities = words.split_whitespace().next().map(str::to_owned);
                }
            }
            "USER" => user = Some(rest.clone()),
            "WORKDIR" | "CMD" => {}
            "ENTRYPOINT" => assert_eq!(rest, "[\"formwork\"]"),
            other => panic!("{other}: say here what is right of it"),
        }
    }
    for given in &given {
        assert!(copied.iter().any(|copied| copied == given), ".dockerignore gives {given}, which nothing copies");
    }
    // The toolchain is the one that Cargo.toml asks for.
    let manifest = read(&root().join("Cargo.toml"));
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")).expect("a version");
    let rust = format!("rust:{}.", wanted.trim_end_matches('"'));
    assert!(program.iter().any(|(name, rest)| name == "FROM" && rest.starts_with(&rust)), "no FROM {rust}…");

    // Files outside of src that the program holds.
    for file in files_below(&root().join("src")) {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = read(&file);
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        for named in program.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let folder = file.parent().expect("a folder");
            let Ok(path) = folder.join(named).canonicalize() else { continue };
            let path = path.strip_prefix(root()).expect("within").display().to_string();
            let top = path.split('/').next().unwrap_or_default();
            assert!(copied.iter().any(|copied| copied == top), "{}: {path} is not copied", file.display());
        }
    }

    // As the chart runs it.
    let helpers = read(&root().join("charts/formwork/templates/_helpers.tpl"));
    let user = user.expect("the last stage says who runs it");
    let (user, group) = user.split_once(':').expect("a user and a group, as numbers");
    assert!(user.parse::<u32>().is_ok_and(|user| user > 0), "{user}: a number, so that it is seen not to be root");
    for line in [format!("runAsUser: {user}"), format!("runAsGroup: {group}"), format!("fsGroup: {group}")] {
        assert!(helpers.lines().any(|found| found == line), "the chart has no `{line}`");
    }
    assert_eq!(capabilities.as_deref(), Some("cap_net_bind_service=+ep"));
    assert!(
        helpers.contains("add: [NET_BIND_SERVICE]"),
        "what the file has and the pod has not keeps it from starting"
    );
}
