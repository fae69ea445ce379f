//! What a mounted source may declare. Pure.

use super::settings::{Allow, SourceSettings};
use crate::content::{Finding, Head, Kind, Severity, Tree, heads};

/// All that it declares and may not, each with its place and the rule.
pub(super) fn forbidden(settings: &SourceSettings, tree: &Tree) -> Vec<String> {
    let Some(mount) = &settings.mount else { return Vec::new() };
    heads(tree, &format!("{mount}/"))
        .iter()
        .filter_map(|head| refusal(&settings.name, &settings.allow, head))
        .map(|finding| finding.to_string())
        .collect()
}

fn refusal(source: &str, allow: &Allow, head: &Head) -> Option<Finding> {
    let listed = |words: &[String]| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let (place, message, rule) = if !allow.kinds.contains(&head.kind) {
        let kinds: Vec<String> = allow.kinds.iter().map(ToString::to_string).collect();
        (
            &head.kind_place,
            format!("source `{source}` may not declare a {}", head.kind),
            format!("allow.kinds ({})", listed(&kinds)),
        )
    } else if head.kind == Kind::Machine {
        if allow.machines.iter().any(|pattern| fits(pattern, &head.name)) {
            return None;
        }
        let said = format!("source `{source}` may not declare the machine `{}`", head.name);
        (&head.name_place, said, format!("allow.machines ({})", listed(&allow.machines)))
    } else {
        if allow.names.iter().any(|pattern| fits(pattern, &head.name)) {
            return None;
        }
        let said = format!("source `{source}` may not declare a {} named `{}`", head.kind, head.name);
        (&head.name_place, said, format!("allow.names ({})", listed(&allow.names)))
    };
    Some(Finding {
        severity: Severity::Error,
        code: "not-allowed",
        file: place.file.to_string(),
        line: place.line,
        column: place.column,
        message,
        hint: Some(format!("the rule is {rule} of source `{source}` in the server's sources.yaml")),
    })
}

/// Whether a name fits a pattern, in which `*` stands for any text, also none.
fn fits(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or("");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::remote::{Follow, Location};

    #[test]
    fn patterns_are_of_the_whole_name() {
        for (pattern, name, expected) in [
            ("a-*", "a-1", true),
            ("a-*", "a-", true),
            ("a-*", "b-a-1", false),
            ("*-db", "a-db", true),
            ("*-db", "a-db-1", false),
            ("a-*-db", "a-1-db", true),
            ("a-*-db", "a-db", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("one", "one", true),
            ("one", "one-more", false),
            ("", "one", false),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_a_source_may_not_declare_names_source_file_line_and_rule() {
        let mut settings = SourceSettings::new("team-a", Location::Local("/a".into()), Follow::Default);
        settings.mount = Some("tenants/a".to_owned());
        settings.allow = Allow {
            kinds: vec![Kind::Machine, Kind::Profile],
            names: vec!["a-*".to_owned()],
            machines: vec!["a-*".to_owned()],
        };
        let head = |kind: &str, name: &str| {
            format!("apiVersion: formwork.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{}}\n")
        };
        let tree = Tree::from_texts([
            ("good.yaml", format!("{}---\n{}", head("Machine", "a-1"), head("Profile", "a-kernel"))),
            ("machines/b.yaml", format!("{}---\n{}", head("Machine", "a-2"), head("Machine", "b-1"))),
            ("site.yaml", head("Site", "mine")),
            ("profile.yml", head("Profile", "kernel")),
            ("files/data.yaml", head("Subnet", "data-for-a-task")),
        ]);
        let found = forbidden(&settings, &tree);
        assert_eq!(
            found,
            [
                "tenants/a/machines/b.yaml:8:18: error: source `team-a` may not declare the machine `b-1`\n  hint: the rule is \
                 allow.machines (a-*) of source `team-a` in the server's sources.yaml",
                "tenants/a/profile.yml:3:18: error: source `team-a` may not declare a Profile named `kernel`\n  hint: the rule is \
                 allow.names (a-*) of source `team-a` in the server's sources.yaml",
                "tenants/a/site.yaml:2:7: error: source `team-a` may not declare a Site\n  hint: the rule is allow.kinds (Machine, \
                 Profile) of source `team-a` in the server's sources.yaml",
            ]
        );
    }
}
