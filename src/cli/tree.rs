//! `formwork tree`: a site as a tree.

use super::error::CliError;
use super::offline::Place;
use super::output::{Style, printable};
use super::session::{Options, Session};
use crate::inspect::{SiteTree, StageNode, WorkflowNode, tree};
use clap::Args;
use std::collections::BTreeMap;

/// So many machines of one workflow are written out on a terminal; JSON has all.
const NAMES_MAX: usize = 24;

/// Shows the site as a tree: packs, workflows, stages, tasks, and the machines that walk them.
///
/// On a server, machines that rules took in are among them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork tree                     the revision that serves
  formwork tree --dir site/         files that are not pushed yet
  formwork tree --repository site.git --revision v1.2
  formwork tree -o json | jq '.workflows[] | {name, machines}'")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (found, output) = match arguments.place.open()? {
        Some(offline) => (tree(&offline.catalog, [], BTreeMap::new()), arguments.session.output()),
        None => {
            let session = Session::open(&arguments.session)?;
            (session.client.tree()?, session.output)
        }
    };
    let names = || found.workflows.iter().map(|workflow| workflow.name.clone()).collect();
    output.answer(&found, names, |style| draw(&found, style))
}

/// A line and what hangs below it.
struct Node {
    text: String,
    below: Vec<Node>,
}

impl Node {
    fn leaf(text: impl Into<String>) -> Self {
        Self { text: text.into(), below: Vec::new() }
    }
}

fn draw(found: &SiteTree, style: Style) -> String {
    let mut nodes = Vec::new();
    if !found.packs.is_empty() {
        let below = found.packs.iter().map(Node::leaf).collect();
        nodes.push(Node { text: "packs".to_owned(), below });
    }
    nodes.extend(found.workflows.iter().map(|node| workflow(node, found)));
    if !found.without_workflow.is_empty() {
        nodes.push(Node { text: "no workflow".to_owned(), below: names(&found.without_workflow, found) });
    }
    let head = format!("site {} ({})", found.site, super::sentence::short(&found.revision));
    let mut text = format!("{}\n", style.bold(&printable(&head)));
    below(&nodes, "", &mut text);
    text
}

fn workflow(node: &WorkflowNode, found: &SiteTree) -> Node {
    let mut below: Vec<Node> = node.stages.iter().map(stage).collect();
    below.extend(node.rules.iter().map(|rule| Node::leaf(format!("enrollment rule {rule}"))));
    if !node.machines.is_empty() {
        below.push(Node { text: "machines".to_owned(), below: names(&node.machines, found) });
    }
    let nobody = if node.machines.is_empty() && node.rules.is_empty() { ", walked by nobody" } else { "" };
    Node { text: format!("workflow {} ({}:{}){nobody}", node.name, node.place.file, node.place.line), below }
}

fn stage(node: &StageNode) -> Node {
    let environment = node.boot_env.as_deref().map(|name| format!(" in {name}")).unwrap_or_default();
    let destructive = if node.destructive { ", changes disks" } else { "" };
    let below = node.tasks.iter().map(|task| Node::leaf(format!("task {task}"))).collect();
    Node { text: format!("stage {}{environment}{destructive}", node.name), below }
}

fn names(all: &[String], found: &SiteTree) -> Vec<Node> {
    let named = |name: &String| match found.formers.get(name) {
        Some(former) => Node::leaf(format!("{name} (was {former})")),
        None => Node::leaf(name),
    };
    let mut nodes: Vec<Node> = all.iter().take(NAMES_MAX).map(named).collect();
    if all.len() > NAMES_MAX {
        nodes.push(Node::leaf(format!("and {} more", all.len() - NAMES_MAX)));
    }
    nodes
}

fn below(nodes: &[Node], indent: &str, text: &mut String) {
    for (at, node) in nodes.iter().enumerate() {
        let last = at + 1 == nodes.len();
        let (mark, more) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{indent}{mark}{}\n", printable(&node.text)));
        below(&node.below, &format!("{indent}{more}"), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::tests::world::PLAIN;

    #[test]
    fn a_site_is_drawn_as_a_tree() {
        let catalog = PLAIN.compile("0123456789abcdef");
        insta::assert_snapshot!(draw(&tree(&catalog, [], BTreeMap::new()), Style::default()));
    }

    #[test]
    fn a_box_that_is_declared_under_another_name_stands_once() {
        let catalog = PLAIN.compile("0123456789abcdef");
        let declared = catalog.machines().next().unwrap().clone();
        let mut enrolled = declared.clone();
        enrolled.name = "box".into();
        let formers = BTreeMap::from([(declared.name.to_string(), "box".to_owned())]);
        let text = draw(&tree(&catalog, [&enrolled], formers), Style::default());
        assert!(text.contains(&format!(" {} (was box)\n", declared.name)), "{text}");
        assert_eq!(text.matches("box").count(), 1, "{text}");
    }
}
