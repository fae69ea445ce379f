//! Which references a push moves, and whether it may. Pure.

use super::PushOptions;
use crate::identity::user::Rights;
use serde::{Deserialize, Serialize};

/// A push that moves more is refused.
pub const UPDATES_MAX: usize = 100;

/// One reference of a push, as `pre-receive` is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// What it points to; none: it is new.
    pub old: Option<String>,
    /// What it is to point to; none: it is deleted.
    pub new: Option<String>,
    /// `refs/heads/main`.
    pub reference: String,
}

impl Update {
    /// From a line of standard input of `pre-receive` and `post-receive`: old, new, reference.
    pub fn from_line(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (old, new, reference) = (words.next()?, words.next()?, words.next()?);
        let id = |word: &str| {
            let hexadecimal = word.len() >= 40 && word.len() <= 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
            hexadecimal.then(|| Some(word.to_owned()).filter(|word| word.bytes().any(|b| b != b'0')))
        };
        Some(Self { old: id(old)?, new: id(new)?, reference: reference.to_owned() })
    }

    /// Whether it moves this branch.
    pub fn is_branch(&self, branch: &str) -> bool {
        self.reference.strip_prefix("refs/heads/") == Some(branch)
    }
}

/// How a reference moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It is new.
    Created,
    /// To a descendant.
    Forward,
    /// To something else: commits are lost.
    Rewritten,
    /// It is no more.
    Deleted,
}

/// Why a push is refused, apart from its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// What is refused, in a sentence.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal.
    pub fn new(what: impl Into<String>, hint: Option<String>) -> Self {
        Self { what: what.into(), hint }
    }
}

/// `main` for `refs/heads/main`, `tags/v1` for `refs/tags/v1`; none for what is neither.
pub fn short_name(reference: &str) -> Option<String> {
    match reference.strip_prefix("refs/heads/") {
        Some(branch) => Some(branch.to_owned()),
        None => reference.strip_prefix("refs/tags/").map(|tag| format!("tags/{tag}")),
    }
}

/// Why these updates may not be, apart from their content; empty where they may.
pub fn refusals(updates: &[(Update, Moved)], followed: &str, rights: &Rights, options: &PushOptions) -> Vec<Refusal> {
    if updates.len() > UPDATES_MAX {
        let what = format!("{} references in one push are too many", updates.len());
        return vec![Refusal::new(what, Some(format!("push at most {UPDATES_MAX} at a time")))];
    }
    // git carries each command out; only the first would have been judged.
    let mut seen = std::collections::BTreeSet::new();
    if let Some((twice, _)) = updates.iter().find(|(update, _)| !seen.insert(update.reference.as_str())) {
        let what = format!("`{}` is moved twice in one push", twice.reference);
        return vec![Refusal::new(what, Some("push it once".to_owned()))];
    }
    updates.iter().filter_map(|(update, moved)| refusal(update, *moved, followed, rights, options)).collect()
}

fn refusal(update: &Update, moved: Moved, followed: &str, rights: &Rights, options: &PushOptions) -> Option<Refusal> {
    let Some(name) = short_name(&update.reference) else {
        let what = format!("`{}` is neither a branch nor a tag", update.reference);
        return Some(Refusal::new(what, Some("push to refs/heads/… or refs/tags/…".into())));
    };
    if update.reference == "refs/heads/HEAD" && moved != Moved::Deleted {
        let what = "`HEAD` is no name for a branch: it is another one's";
        return Some(Refusal::new(what, Some("push to a branch by its own name".into())));
    }
    if !rights.may_push(&name) {
        let hint = match rights.push.as_slice() {
            [] => "you may only read".to_owned(),
            patterns => format!("you may push to: {}", patterns.join(", ")),
        };
        return Some(Refusal::new(format!("you may not push to `{name}`"), Some(hint)));
    }
    if !update.is_branch(followed) {
        return None;
    }
    match moved {
        Moved::Deleted => Some(Refusal::new(
            format!("`{followed}` is what this server follows, it is not deleted"),
            Some("push a revision that declares less; or follow another branch first".into()),
        )),
        Moved::Rewritten if !options.rewrite => Some(Refusal::new(
            format!("`{followed}` would be rewritten: commits that machines run from are not in what you push"),
            Some(format!(
                "fetch and rebase onto origin/{followed}; where it is meant: git push --force -o allow-rewrite"
            )),
        )),
        Moved::Created | Moved::Forward | Moved::Rewritten => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    #[test]
    fn a_line_of_standard_input_is_read_and_nothing_else_is_an_update() {
        let read = |line: String| Update::from_line(&line);
        let moved = read(format!("{OLD} {NEW} refs/heads/a b")).expect("an update");
        assert_eq!((moved.old.as_deref(), moved.new.as_deref()), (Some(OLD), Some(NEW)));
        assert_eq!(moved.reference, "refs/heads/a b");
        assert_eq!(read(format!("{ZERO} {NEW} refs/heads/a")).expect("created").old, None);
        assert_eq!(read(format!("{OLD} {ZERO} refs/heads/a")).expect("deleted").new, None);
        for wrong in ["", "a b c", &format!("{OLD} {NEW}"), &format!("{OLD} x{} refs/heads/a", &NEW[1..])] {
            assert!(Update::from_line(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn who_may_move_what() {
        let rights = |push: &[&str]| Rights {
            push: push.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..Rights::default()
        };
        let plain = PushOptions::default();
        let rewrite = PushOptions { rewrite: true, ..PushOptions::default() };
        for (reference, moved, push, options, expected) in [
            ("refs/heads/main", Moved::Forward, &["main"] as &[_], &plain, None),
            ("refs/heads/main", Moved::Created, &["main"], &plain, None),
            ("refs/heads/main", Moved::Forward, &["feature/*"], &plain, Some("may not push to `main`")),
            ("refs/heads/main", Moved::Forward, &[], &plain, Some("may not push to `main`")),
            ("refs/heads/main", Moved::Rewritten, &["*"], &plain, Some("would be rewritten")),
            ("refs/heads/main", Moved::Rewritten, &["*"], &rewrite, None),
            ("refs/heads/main", Moved::Deleted, &["*"], &rewrite, Some("not deleted")),
            ("refs/heads/feature/a", Moved::Rewritten, &["feature/*"], &plain, None),
            ("refs/heads/feature/a", Moved::Deleted, &["feature/*"], &plain, None),
            ("refs/tags/v1", Moved::Created, &["main"], &plain, Some("may not push to `tags/v1`")),
            ("refs/tags/v1", Moved::Created, &["tags/*"], &plain, None),
            ("refs/heads/HEAD", Moved::Created, &["*"], &plain, Some("no name for a branch")),
            ("refs/heads/HEAD", Moved::Deleted, &["*"], &plain, None),
            ("refs/formwork/applied", Moved::Created, &["*"], &rewrite, Some("neither a branch nor a tag")),
        ] {
            let update = Update { old: None, new: None, reference: reference.to_owned() };
            let refused = refusals(&[(update, moved)], "main", &rights(push), options);
            match expected {
                None => assert_eq!(refused, [], "{reference} {moved:?}"),
                Some(part) => assert!(refused.len() == 1 && refused[0].what.contains(part), "{reference}: {refused:?}"),
            }
        }
        let many = vec![(Update { old: None, new: None, reference: "refs/heads/a".into() }, Moved::Created); 101];
        assert_eq!(refusals(&many, "main", &rights(&["*"]), &plain).len(), 1);
        // Of two moves of one branch, one would be judged and the other made.
        let twice = |references: [&str; 2]| {
            let update = |reference: &str| Update { old: None, new: None, reference: reference.to_owned() };
            let moves = references.map(|reference| (update(reference), Moved::Forward));
            refusals(&moves, "main", &rights(&["*"]), &plain)
        };
        let refused = twice(["refs/heads/main", "refs/heads/main"]);
        assert!(refused.iter().any(|refusal| refusal.what.contains("moved twice")), "{refused:?}");
        assert_eq!(twice(["refs/heads/main", "refs/heads/aside"]), []);
    }
}
