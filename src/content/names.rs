//! Names: what may be one, and which one was probably meant.

/// Whether it is a DNS-1123 label: lower-case letters, digits and `-`, 63 at most, beginning and ending with a letter or digit.
pub fn is_label(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// Whether it is a DNS-1123 subdomain: labels joined by dots, 253 characters at most.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Whether a secret of the server's secrets folder can have this name: lower-case letters, digits, `-` and `.`, 253 at most,
/// beginning with a letter or digit and without `..`, so that no path comes from content.
pub fn is_secret(name: &str) -> bool {
    name.len() <= 253
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
        && !name.contains("..")
}

/// The name that a wrong one would be, if there is an obvious one: lower case, `-` for what cannot stand.
pub(crate) fn as_label(name: &str) -> Option<String> {
    let lowered: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let trimmed = lowered.trim_matches('-');
    (is_label(trimmed)).then(|| trimmed.to_owned())
}

/// The candidate that is nearest to what was written, if one is near.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (written.chars().count() / 3).clamp(1, 3);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len().abs_diff(written.len()) > 2 * most {
            continue;
        }
        let far = if candidate.eq_ignore_ascii_case(written) { 0 } else { distance(written, candidate) };
        if far <= most && best.is_none_or(|(known, name)| (far, candidate) < (known, name)) {
            best = Some((far, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A hint that names the nearest candidate, or all of them where they are few.
pub(crate) fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(written, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    candidates.sort_unstable();
    candidates.dedup();
    let few = !candidates.is_empty() && candidates.len() <= 24;
    few.then(|| format!("known here: {}", candidates.join(", ")))
}

/// Edits (insert, remove, change, swap of neighbours) from one to the other: optimal string alignment.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let get = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut least =
                (get(&above, j + 1) + 1).min(get(&row, j) + 1).min(get(&above, j) + usize::from(from != to));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if swapped {
                least = least.min(get(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains_are_those_of_rfc_1123() {
        for good in ["a", "node-1", "0", "a-b-c"] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad}");
        }
        assert!(is_subdomain("etcd.join") && !is_subdomain("etcd..join") && !is_subdomain(".a"));
    }

    #[test]
    fn a_secrets_name_is_no_path() {
        for good in ["a", "lab-password", "capi-default-node.1", "0"] {
            assert!(is_secret(good), "{good}");
        }
        for bad in ["", ".", "..", "../../etc/passwd", "a/b", "a b", "A", "-a", "a..b", "ä", "a\n", &"a".repeat(254)] {
            assert!(!is_secret(bad), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("profles", ["profiles", "params"]), Some("profiles"));
        assert_eq!(nearest("onfailure", ["onFailure"]), Some("onFailure"));
        assert_eq!(nearest("tsak", ["task", "mask"]), Some("task"));
        assert_eq!(nearest("zebra", ["workflow", "params"]), None);
    }
}
