//! Patterns: of names as OpenSSH has them, of paths as people write them for Git.

/// Whether a name matches one of a comma-separated list of patterns (`*`, `?`); one after `!` that matches refuses
/// (ssh_config(5), PATTERNS).
pub fn matches_list(name: &str, list: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if matches_name(name, not) => return false,
            Some(_) => {}
            None => found |= matches_name(name, pattern),
        }
    }
    found
}

/// Whether a name matches one pattern: `*` is any text, `?` one character.
pub(super) fn matches_name(name: &str, pattern: &str) -> bool {
    let (name, pattern): (Vec<char>, Vec<char>) = (name.chars().collect(), pattern.chars().collect());
    wild(&name, &pattern, |c, p| *p == '?' || c == p, |p| *p == '*')
}

/// Whether a path of the repository matches a pattern: `*` and `?` stay inside a folder, `**` is any number of folders; a
/// pattern that ends with `/` means all that is below.
pub fn matches_path(path: &str, pattern: &str) -> bool {
    let below = if pattern.ends_with('/') { "**" } else { "" };
    let whole = format!("{pattern}{below}");
    let (path, pattern): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), whole.split('/').collect());
    wild(&path, &pattern, |part, pattern| matches_name(part, pattern), |pattern| *pattern == "**")
}

/// Matching with wildcards in linear steps back: only the last wildcard met is ever tried again.
fn wild<T, P>(text: &[T], pattern: &[P], one: impl Fn(&T, &P) -> bool, many: impl Fn(&P) -> bool) -> bool {
    let (mut at, mut want) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while let Some(item) = text.get(at) {
        match pattern.get(want) {
            Some(wanted) if many(wanted) => {
                back = Some((want + 1, at));
                want += 1;
            }
            Some(wanted) if one(item, wanted) => {
                at += 1;
                want += 1;
            }
            _ => {
                let Some((again, from)) = back else { return false };
                (want, at) = (again, from + 1);
                back = Some((again, from + 1));
            }
        }
    }
    pattern.get(want..).unwrap_or(&[]).iter().all(many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_openssh_has_it() {
        for (name, list, expected) in [
            ("git", "git", true),
            ("git", "file,git", true),
            ("git", "g*", true),
            ("git", "g?t", true),
            ("git", "*,!git", false),
            ("git", "!file", false),
            ("git", "", false),
            ("alice@example.com", "*@example.com", true),
            ("alice@example.com.evil", "*@example.com", false),
            ("aab", "*ab", true),
        ] {
            assert_eq!(matches_list(name, list), expected, "{name} {list}");
        }
    }

    #[test]
    fn paths_match_by_folders() {
        for (path, pattern, expected) in [
            ("machines/prod/a.yaml", "machines/prod/**", true),
            ("machines/prod/deep/er/a.yaml", "machines/prod/**", true),
            ("machines/prod", "machines/prod/**", true),
            ("machines/production/a.yaml", "machines/prod/**", false),
            ("machines/prod/a.yaml", "machines/*/a.yaml", true),
            ("machines/x/prod/a.yaml", "machines/*/a.yaml", false),
            ("a/b/c/site.yaml", "**/site.yaml", true),
            ("site.yaml", "**/site.yaml", true),
            ("site.yaml", "**", true),
            ("site.yaml", "*.yaml", true),
            ("packs/site.yaml", "*.yaml", false),
            ("packs/etcd/task.yaml", "packs/", true),
            ("packs", "packs/", true),
            ("machines/prod/a.yaml", "", false),
        ] {
            assert_eq!(matches_path(path, pattern), expected, "{path} {pattern}");
        }
    }
}
