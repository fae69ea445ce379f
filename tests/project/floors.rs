//! The floors of the house: a module imports only from floors below its own.
//!
//! The order is the one that the head of `src/lib.rs` gives, so that the map people read is the map that is held.

use super::{files_below, read, root};
use std::collections::{BTreeMap, BTreeSet};

/// Floors that decide, in the map's order up to here: no socket, no clock, no disk.
const LAST_DECIDING: &str = "inspect";

/// Imports from a higher floor that stay, each with its reason. File, what it takes, why.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "catalog/check.rs",
        &["params"],
        "the compiler tries every template with the params it would get, by the one resolver there is; the resolver reads \
         the catalog, so the two know each other",
    ),
    (
        "boot/desk.rs",
        &["store::BoxFuture", "store::Lease", "store::StoreError"],
        "plain types of the trait by which the boot services ask the rest of the server",
    ),
    ("boot/dhcp.rs", &["store::Lease"], "the record of a lease is the store's; what becomes of it is decided here"),
    ("boot/leases.rs", &["store::Lease"], "as above"),
];

/// One use of another module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    /// Path below `src`.
    file: String,
    line: usize,
    /// Path below the crate: `store::Lease`.
    path: String,
}

impl Import {
    fn floor(&self) -> &str {
        self.path.split("::").next().unwrap_or_default()
    }
}

/// The names in brackets of the map in `src/lib.rs`, from the ground up.
fn floors() -> Vec<String> {
    let map = read(&root().join("src/lib.rs"));
    let mut floors: Vec<String> = Vec::new();
    for line in map.lines().filter_map(|line| line.strip_prefix("//! * ")) {
        // `* [`wire`]: …` or `* [`store`], [`git`], …`; what follows a colon is prose.
        let names = line.split("]:").next().unwrap_or_default();
        for piece in names.split("[`").skip(1) {
            floors.push(piece.split('`').next().unwrap_or_default().to_owned());
        }
    }
    floors
}

/// Code without comments and without the tests at its end: a test may build what it needs from any floor.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = Vec::new();
    let mut rest = text.lines().enumerate().peekable();
    while let Some((at, line)) = rest.next() {
        if line.trim() == "#[cfg(test)]" && rest.peek().is_some_and(|(_, next)| next.starts_with("mod tests {")) {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        lines.push((at + 1, line.to_owned()));
    }
    lines.into_iter()
}

fn is_test(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    let named = matches!(name, "tests.rs" | "testing.rs" | "double.rs") || name.ends_with("_tests.rs");
    named || name.starts_with("test_") || file.contains("/tests/") || file.contains("/conformance/")
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn spread(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else {
        return vec![path.trim().trim_end_matches("::").to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut piece, mut pieces) = (0_u32, String::new(), Vec::new());
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            _ => {}
        }
        piece.push(c);
    }
    pieces.push(piece);
    let pieces = pieces.iter().map(|piece| piece.trim()).filter(|piece| !piece.is_empty());
    pieces.flat_map(|piece| spread(&format!("{}{piece}", head.trim()))).collect()
}

/// What stands after `crate::` from here on: a path, with its braces to their end.
fn path_at(text: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            _ if c.is_alphanumeric() || c == '_' || c == ':' => {}
            _ => return text.get(..at).unwrap_or(text),
        }
    }
    text
}

fn imports() -> Vec<Import> {
    let source = root().join("src");
    let mut imports = Vec::new();
    for path in files_below(&source) {
        let file = path.strip_prefix(&source).expect("below src").display().to_string();
        if !file.contains('/') || !file.ends_with(".rs") || is_test(&file) {
            continue;
        }
        let mut text = String::new();
        let mut starts = Vec::new();
        for (number, line) in code(&read(&path)) {
            starts.push((text.len(), number));
            text.push_str(&line);
            text.push('\n');
        }
        for (at, word) in text.match_indices("crate::") {
            let line = starts.iter().rev().find(|(start, _)| *start <= at).map_or(0, |(_, number)| *number);
            let rest = text.get(at + word.len()..).unwrap_or_default();
            for path in spread(path_at(rest)) {
                imports.push(Import { file: file.clone(), line, path });
            }
        }
        // `super::` out of the module's own file leads to the crate's root, where the other floors are.
        for (number, line) in code(&read(&path)) {
            if file.ends_with("/mod.rs")
                && file.matches('/').count() == 1
                && let Some(path) = line.strip_prefix("use super::")
            {
                imports.push(Import { file: file.clone(), line: number, path: path.trim_end_matches(';').to_owned() });
            }
        }
    }
    imports
}

fn excused(import: &Import) -> Option<usize> {
    EXCEPTIONS.iter().position(|(file, paths, _)| {
        let named = |path: &&str| import.path == **path || import.path.starts_with(&format!("{path}::"));
        import.file == *file && paths.iter().any(named)
    })
}

#[test]
fn a_module_imports_only_from_floors_below_its_own() {
    let floors = floors();
    let height: BTreeMap<&str, usize> = floors.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    let imports = imports();
    assert!(imports.len() > 200, "only {} imports were found: the search is broken", imports.len());
    for import in &imports {
        let own = import.file.split('/').next().unwrap_or_default();
        let (Some(from), Some(to)) = (height.get(own), height.get(import.floor())) else { continue };
        if to <= from {
            continue;
        }
        match excused(import) {
            Some(exception) => {
                used.insert(exception);
            }
            None => wrong.push(format!("src/{}:{}: {own} takes {}", import.file, import.line, import.path)),
        }
    }
    assert!(wrong.is_empty(), "imports from a higher floor (src/lib.rs has the order):\n{}", wrong.join("\n"));
    let idle: Vec<_> = EXCEPTIONS.iter().enumerate().filter(|(at, _)| !used.contains(at)).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs any more: {idle:?}");
}

#[test]
fn the_agent_takes_nothing_but_the_wire() {
    let strange: Vec<_> = imports()
        .into_iter()
        .filter(|import| import.file.starts_with("agent/") && !matches!(import.floor(), "agent" | "wire"))
        .collect();
    assert!(strange.is_empty(), "the agent's build holds only wire and agent: {strange:?}");
}

#[test]
fn every_module_is_on_the_map() {
    let text = read(&root().join("src/lib.rs"));
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let floors = floors();
    let mapped: BTreeSet<&str> = floors.iter().map(String::as_str).collect();
    assert_eq!(mapped, declared, "the map in src/lib.rs and its modules differ");
    assert_eq!(mapped.len(), floors.len(), "a module stands on the map twice");
}

#[test]
fn deciding_uses_no_socket_no_clock_and_no_disk() {
    const DOING: &[&str] = &[
        "std::fs",
        "std::process",
        "std::env::var",
        "tokio::",
        "Instant::now",
        "SystemTime::now",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
    ];
    let floors = floors();
    let deciding =
        floors.iter().take_while(|floor| floor.as_str() != LAST_DECIDING).map(String::as_str).chain([LAST_DECIDING]);
    let mut wrong = Vec::new();
    for floor in deciding {
        for path in files_below(&root().join("src").join(floor)) {
            let file = path.strip_prefix(root()).expect("below the root").display().to_string();
            if is_test(&file) || !file.ends_with(".rs") {
                continue;
            }
            for (number, line) in code(&read(&path)) {
                for word in DOING.iter().filter(|word| line.contains(*word)) {
                    wrong.push(format!("{file}:{number}: {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "what decides is handed what it needs:\n{}", wrong.join("\n"));
}

#[test]
fn the_search_sees_grouped_and_nested_imports() {
    assert_eq!(
        path_at("store::{BoxFuture, logs::{LogStore, LogError}};\nuse"),
        "store::{BoxFuture, logs::{LogStore, LogError}}"
    );
    assert_eq!(path_at("store::Lease>"), "store::Lease");
    assert_eq!(
        spread("store::{self, BoxFuture, logs::{LogStore, LogError}}"),
        ["store::self", "store::BoxFuture", "store::logs::LogStore", "store::logs::LogError"]
    );
    assert_eq!(spread("{wire::Step, store}"), ["wire::Step", "store"]);
}
