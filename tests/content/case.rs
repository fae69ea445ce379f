//! The file of a case.

use super::Nodes;

/// What stands at a path.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(String),
    /// A submodule.
    Submodule,
}

/// One change of the good tree.
#[derive(Debug)]
enum Change {
    /// In this file, this text by that.
    Edit(String, String, String),
    Put(String, Node),
    Remove(String),
}

/// A case.
pub struct Case {
    name: String,
    changes: Vec<Change>,
    /// What `validate` says.
    pub says: String,
    /// What a push is told, where it is not the same.
    pub pushed: Option<String>,
}

impl Case {
    /// Sections begin with `=== `: `edit FILE` (with `=== to` after it), `add FILE`, `append FILE`, `hex FILE`, `crlf FILE`,
    /// `repeat FILE COUNT` (`{n}` counts), `link FILE TARGET`, `submodule FOLDER`, `remove FILE`, `says`, `pushed`. `%%` is the line with the apiVersion.
    pub fn parse(name: &str, text: &str) -> Self {
        let mut case = Self { name: name.to_owned(), changes: Vec::new(), says: String::new(), pushed: None };
        let mut edit: Option<(String, String)> = None;
        for section in format!("\n{text}").split("\n=== ").skip(1) {
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            // The line end before the next section is the body's last.
            let body =
                format!("{}\n", body.trim_end_matches('\n')).replace("%%", "apiVersion: formwork.dev/v1alpha1\n");
            let words: Vec<&str> = head.split(' ').collect();
            let line = || body.trim_end_matches('\n').to_owned();
            let file = |bytes: Vec<u8>| Node::File(bytes);
            match words.as_slice() {
                ["edit", path] => edit = Some(((*path).to_owned(), line())),
                ["to"] => {
                    let (path, from) = edit.take().unwrap_or_else(|| panic!("{name}: `to` without `edit`"));
                    case.changes.push(Change::Edit(path, from, line()));
                }
                ["add", path] => case.changes.push(Change::Put((*path).to_owned(), file(body.into_bytes()))),
                ["crlf", path] => {
                    case.changes.push(Change::Put((*path).to_owned(), file(body.replace('\n', "\r\n").into_bytes())));
                }
                ["hex", path] => {
                    let digits: Vec<char> = body.chars().filter(char::is_ascii_hexdigit).collect();
                    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hex");
                    case.changes.push(Change::Put((*path).to_owned(), file(digits.chunks(2).map(byte).collect())));
                }
                ["repeat", path, count] => {
                    let (once, many) = body.split_once("---8<---\n").unwrap_or(("", &body));
                    let count: usize = count.parse().expect("a count");
                    let mut text = once.to_owned();
                    (0..count).for_each(|n| text.push_str(&many.replace("{n}", &n.to_string())));
                    // A line that ends with a backslash goes on.
                    case.changes.push(Change::Put((*path).to_owned(), file(text.replace("\\\n", "").into_bytes())));
                }
                ["link", path, target] => {
                    case.changes.push(Change::Put((*path).to_owned(), Node::Link((*target).to_owned())));
                }
                ["submodule", path] => case.changes.push(Change::Put((*path).to_owned(), Node::Submodule)),
                ["remove", path] => case.changes.push(Change::Remove((*path).to_owned())),
                ["says"] => case.says = line(),
                ["pushed"] => case.pushed = Some(line()),
                _ => panic!("{name}: what is `=== {head}`?"),
            }
        }
        case
    }

    /// The good tree, changed.
    pub fn apply(&self, mut nodes: Nodes) -> Nodes {
        for change in &self.changes {
            match change {
                Change::Edit(path, from, to) => {
                    let Some(Node::File(bytes)) = nodes.get_mut(path) else { panic!("{}: no file {path}", self.name) };
                    let text = String::from_utf8(bytes.clone()).expect("text");
                    assert_eq!(text.matches(from.as_str()).count(), 1, "{}: `{from}` is not once in {path}", self.name);
                    *bytes = text.replace(from.as_str(), to).into_bytes();
                }
                Change::Put(path, node) => {
                    nodes.insert(path.clone(), node.clone());
                }
                Change::Remove(path) => {
                    assert!(nodes.remove(path).is_some(), "{}: no file {path}", self.name);
                }
            }
        }
        nodes
    }

    /// The case's file with what is said now.
    pub fn blessed(&self, text: &str, says: &str, pushed: &str) -> String {
        let head = text.split("\n=== says").next().unwrap_or(text).trim_end();
        let pushed = if pushed == says { String::new() } else { format!("\n=== pushed\n{pushed}") };
        format!("{head}\n=== says\n{says}{pushed}\n")
    }
}
