//! Links within the repository lead somewhere: to a file that is there, and to a heading that is in it.

use super::docs::{name, pages};
use super::read;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The anchors of a page's headings, as mdBook and forges make them: small letters, spaces as dashes, nothing else but `-` and `_`.
/// The second of two that are alike ends with `-1`.
fn anchors(text: &str) -> BTreeSet<String> {
    let (mut anchors, mut times, mut fenced) = (BTreeSet::new(), BTreeMap::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase();
        let time = times.entry(anchor.clone()).or_insert(0);
        anchors.insert(if *time == 0 { anchor } else { format!("{anchor}-{time}") });
        *time += 1;
    }
    anchors
}

/// The targets of a page's links, outside of its blocks.
fn targets(text: &str) -> Vec<String> {
    let (mut targets, mut fenced) = (Vec::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if !fenced {
            let rests = line.split("](").skip(1);
            targets.extend(rests.filter_map(|rest| rest.split(')').next()).map(str::to_owned));
        }
    }
    targets
}

/// What is wrong with a link of this page.
fn wrong(page: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file: PathBuf =
        if path.is_empty() { page.to_owned() } else { page.parent().unwrap_or(Path::new("")).join(path) };
    if !path.is_empty() && !file.exists() {
        return Some(format!("{target}: no such file"));
    }
    let anchor = anchor?;
    let there = if path.is_empty() { anchors(text) } else { anchors(&read(&file)) };
    (!there.contains(anchor)).then(|| format!("{target}: no such heading"))
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = read(&page);
        for target in targets(&text) {
            seen += 1;
            found.extend(wrong(&page, &text, &target).map(|what| format!("{}: {what}", name(&page))));
        }
    }
    assert!(found.is_empty(), "links that lead nowhere:\n{}", found.join("\n"));
    assert!(seen > 50, "only {seen} links were found");
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let text = "# What `it` is\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```\n";
    assert_eq!(anchors(text), BTreeSet::from(["what-it-is", "twice", "twice-1"].map(str::to_owned)));
    let page = super::root().join("docs/page.md");
    for (target, good) in [
        ("#twice-1", true),
        ("#no-heading", false),
        ("operations.md", true),
        ("operation.md", false),
        ("operations.md#revisions", true),
        ("operations.md#revision", false),
        ("https://example.org/#any", true),
    ] {
        assert_eq!(wrong(&page, text, target).is_none(), good, "{target}");
    }
}
