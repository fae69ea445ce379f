//! Names of references that git cannot keep beside each other: each is a file, and no file is a folder too.

use super::{Moved, Received, Refusal, Update};
use crate::git::GitError;

impl Received {
    /// Why references that are new cannot be, as git would say only after the push was judged. Blocks.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn clashes(&self, moves: &[(Update, Moved)]) -> Result<Vec<Refusal>, GitError> {
        if !moves.iter().any(|(_, moved)| *moved == Moved::Created) {
            return Ok(Vec::new());
        }
        let repository = self.open(None)?;
        let stands = |name: &str| repository.find_reference(name).is_ok();
        let below = |folder: &str| -> Option<String> {
            let found = repository.references_glob(&format!("{folder}*")).ok()?;
            let found = found.filter_map(|reference| reference.ok()?.name().ok().map(str::to_owned));
            found.into_iter().find(|name| !is_deleted(moves, name))
        };
        Ok(clashing(moves, stands, below))
    }
}

fn is_deleted(moves: &[(Update, Moved)], name: &str) -> bool {
    moves.iter().any(|(update, moved)| *moved == Moved::Deleted && update.reference == name)
}

/// Pure: `stands` tells whether there is a reference, `below` names one in a folder that is not deleted by this push.
fn clashing(
    moves: &[(Update, Moved)],
    stands: impl Fn(&str) -> bool,
    below: impl Fn(&str) -> Option<String>,
) -> Vec<Refusal> {
    let created = || moves.iter().filter(|(_, moved)| *moved == Moved::Created).map(|(update, _)| &*update.reference);
    let clash = |name: &str| {
        let above = name.match_indices('/').map(|(at, _)| &name[..at]).filter(|above| above.matches('/').count() >= 2);
        let mut above = above
            .filter(|above| created().any(|other| other == *above) || (stands(above) && !is_deleted(moves, above)));
        let folder = format!("{name}/");
        above.next().map(str::to_owned).or_else(|| below(&folder))
    };
    let refusal = |name: &str| {
        let other = clash(name)?;
        let what = format!("`{name}` cannot be beside `{other}`: git keeps no reference below another one");
        Some(Refusal::new(what, Some("push it by another name, or delete the other first".to_owned())))
    };
    created().filter_map(refusal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reference_is_below_another() {
        let update =
            |(name, moved): &(&str, Moved)| (Update { old: None, new: None, reference: (*name).to_owned() }, *moved);
        let there = ["refs/heads/main", "refs/heads/team/a"];
        let clashes = |moves: &[(&str, Moved)]| {
            let moves: Vec<_> = moves.iter().map(update).collect();
            let below = |folder: &str| {
                let mut names = there.iter().filter(|name| name.starts_with(folder) && !is_deleted(&moves, name));
                names.next().map(|name| (*name).to_owned())
            };
            clashing(&moves, |name| there.contains(&name), below).len()
        };
        for (moves, count) in [
            (&[("refs/heads/main/x", Moved::Created)] as &[_], 1),
            (&[("refs/heads/team", Moved::Created)], 1),
            (&[("refs/heads/team/b", Moved::Created)], 0),
            (&[("refs/heads/mainly/x", Moved::Created)], 0),
            (&[("refs/tags/main/x", Moved::Created)], 0),
            (&[("refs/heads/main", Moved::Forward)], 0),
            (&[("refs/heads/n", Moved::Created), ("refs/heads/n/m", Moved::Created)], 1),
            (&[("refs/heads/team", Moved::Created), ("refs/heads/team/a", Moved::Deleted)], 0),
        ] {
            assert_eq!(clashes(moves), count, "{moves:?}");
        }
    }
}
