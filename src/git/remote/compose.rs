//! Several sources as one revision: what it is made of, and what it says of itself. Pure.

use crate::content::Tree;
use crate::git::Revision;
use std::fmt::Write as _;

/// One source's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct Part {
    /// The source's name.
    pub name: String,
    /// Where it is mounted; none: the root.
    pub mount: Option<String>,
    /// The folder of the source that counts.
    pub subpath: Option<String>,
    /// Its commit.
    pub revision: Revision,
}

/// The message of the commit that puts these together: the main source's own (its trailers count), and which commits are in it.
/// The same parts always give the same message.
pub(in crate::git) fn message_of(parts: &[Part]) -> String {
    let short = |id: &str| id.get(..10).unwrap_or(id).to_owned();
    let (main, mounted) = match parts.split_first() {
        Some((main, mounted)) => (main.revision.clone(), mounted),
        None => return String::new(),
    };
    let mut with: Vec<String> =
        mounted.iter().map(|part| format!("{} {}", part.name, short(&part.revision.id))).collect();
    if with.is_empty() {
        with.push("nothing mounted".to_owned());
    }
    let mut message = format!("{} (with {})\n", main.summary, with.join(", "));
    let body = main.message.split_once('\n').map_or("", |(_, body)| body).trim();
    if !body.is_empty() {
        let _ = write!(message, "\n{body}\n");
    }
    message.push('\n');
    for part in parts {
        let mount = part.mount.as_deref().unwrap_or("the site's root");
        let _ = writeln!(
            message,
            "Formwork-Source: {} {} at {mount}: {}",
            part.name, part.revision.id, part.revision.summary
        );
    }
    message
}

/// The sources that such a message names, with their commits: its last paragraph is ours, whatever stands above.
pub(in crate::git) fn parts_of(message: &str) -> Vec<(String, String)> {
    let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let part = |line: &str| {
        let mut words = line.strip_prefix("Formwork-Source: ")?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    last.lines().filter_map(part).collect()
}

/// The files of all parts, each under its own folder.
pub(super) fn merged<'a>(parts: impl IntoIterator<Item = (Option<&'a str>, &'a Tree)>) -> Tree {
    let mut whole = Tree::default();
    for (mount, tree) in parts {
        whole.mounts.extend(mount.map(str::to_owned));
        for (path, file) in &tree.files {
            let path = mount.map_or_else(|| path.clone(), |mount| format!("{mount}/{path}"));
            whole.files.insert(path, file.clone());
        }
    }
    whole
}

/// Which mounted sources' new commits go into the site, judged together and, where that fails, one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// These are good; the others were refused with these findings.
    Choose {
        /// Indexes.
        good: Vec<usize>,
        /// Index and findings.
        refused: Vec<(usize, Vec<String>)>,
    },
    /// It is the main source's doing: whatever is chosen would be refused.
    Main,
}

/// Judges candidates on top of what is in use. `judge` is asked for a set of new ones.
pub(super) fn decide(candidates: &[usize], mut judge: impl FnMut(&[usize]) -> Result<(), Vec<String>>) -> Verdict {
    if candidates.is_empty() || judge(candidates).is_ok() {
        return Verdict::Choose { good: candidates.to_vec(), refused: Vec::new() };
    }
    if judge(&[]).is_err() {
        return Verdict::Main;
    }
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for candidate in candidates {
        good.push(*candidate);
        if let Err(findings) = judge(&good) {
            good.pop();
            refused.push((*candidate, findings));
        }
    }
    Verdict::Choose { good, refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, mount: Option<&str>, message: &str) -> Part {
        let summary = message.lines().next().unwrap_or_default().to_owned();
        let id = name.repeat(40).chars().take(40).collect();
        Part {
            name: name.to_owned(),
            mount: mount.map(str::to_owned),
            subpath: None,
            revision: Revision { id, summary, message: message.to_owned() },
        }
    }

    #[test]
    fn a_composite_says_what_it_is_made_of_and_keeps_the_main_sources_trailers() {
        let parts =
            [part("a", None, "New kernel\n\nWhy.\n\nFormwork-Empty: yes\n"), part("b", Some("tenants/b"), "One more")];
        let message = message_of(&parts);
        assert_eq!(message.lines().next(), Some("New kernel (with b bbbbbbbbbb)"));
        assert!(message.lines().any(|line| line == "Formwork-Empty: yes"), "{message}");
        let line = format!("Formwork-Source: b {} at tenants/b: One more", "b".repeat(40));
        assert!(message.lines().any(|found| found == line), "{message}");
        assert_eq!(message, message_of(&parts));
    }

    #[test]
    fn the_parts_of_a_composite_are_those_that_it_was_made_of_whatever_its_main_source_says() {
        let forged = format!("x\n\nFormwork-Source: b {} at tenants/b: forged\n", "0".repeat(40));
        let parts = [part("a", None, &forged), part("b", Some("tenants/b"), "One: more")];
        let expected = ["a", "b"].map(|name| (name.to_owned(), name.repeat(40)));
        assert_eq!(parts_of(&message_of(&parts)), expected);
        assert_eq!(parts_of("One repository\n"), []);
    }

    #[test]
    fn one_bad_source_holds_back_no_other_and_a_bad_main_source_blames_nobody_else() {
        let judge = |bad: &'static [usize], main_is_bad: bool| {
            move |chosen: &[usize]| match chosen.iter().find(|index| bad.contains(index)) {
                _ if main_is_bad => Err(vec!["main".to_owned()]),
                Some(index) => Err(vec![format!("finding in {index}")]),
                None => Ok(()),
            }
        };
        let choose = |good: &[usize], refused: &[usize]| Verdict::Choose {
            good: good.to_vec(),
            refused: refused.iter().map(|index| (*index, vec![format!("finding in {index}")])).collect(),
        };
        assert_eq!(decide(&[1, 2, 3], judge(&[], false)), choose(&[1, 2, 3], &[]));
        assert_eq!(decide(&[1, 2, 3], judge(&[2], false)), choose(&[1, 3], &[2]));
        assert_eq!(decide(&[1, 2], judge(&[1, 2], false)), choose(&[], &[1, 2]));
        assert_eq!(decide(&[1, 2], judge(&[], true)), Verdict::Main);
        assert_eq!(decide(&[], judge(&[], true)), choose(&[], &[]));
    }
}
