//! "Did you mean …": for names that are not found.

/// As many names are listed in full; more would bury the error.
const LISTED: usize = 8;

/// A hint for `wrong`: the nearest of `names`, else all of them where they are few, else the command that lists them.
pub fn hint<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>, list_command: &str) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let near = nearest(wrong, &names);
    if !near.is_empty() {
        return format!("did you mean {}?", either(&near));
    }
    match names.len() {
        0 => "there are none".to_owned(),
        1..=LISTED => format!("there are: {}", names.join(", ")),
        _ => format!("`{list_command}` lists them"),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn either(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        names => names.concat(),
    }
}

/// The names at the least edit distance, at most three, where that is at most a third of the name's length.
fn nearest<'a>(wrong: &str, names: &[&'a str]) -> Vec<&'a str> {
    let most = (wrong.chars().count() / 3).max(1);
    let mut scored: Vec<(usize, &str)> =
        names.iter().map(|name| (distance(wrong, name), *name)).filter(|(score, _)| *score <= most).collect();
    scored.sort_unstable();
    let best = scored.first().map(|(score, _)| *score);
    scored.into_iter().filter(|(score, _)| Some(*score) == best).map(|(_, name)| name).take(3).collect()
}

/// Levenshtein's distance, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(last);
        for (right, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(left != *right)).min(above + 1).min(last + 1);
            diagonal = *above;
            last = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("node1", "NODE1", 0), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_near_name_is_suggested_before_all_names_are_listed() {
        let names = ["etcd-1", "etcd-2", "storage"];
        assert_eq!(hint("storge", names, "x"), "did you mean storage?");
        assert_eq!(hint("etcd-3", names, "x"), "did you mean etcd-1 or etcd-2?");
        assert_eq!(hint("node", ["node1", "node2", "node3"], "x"), "did you mean node1, node2 or node3?");
        assert_eq!(hint("compute", names, "x"), "there are: etcd-1, etcd-2, storage");
        assert_eq!(hint("compute", [], "x"), "there are none");
        assert_eq!(hint("zzz", ["a"; 9], "formwork get machines"), "`formwork get machines` lists them");
    }
}
