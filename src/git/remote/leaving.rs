//! Whether too many machines leave one mounted source at once: the accident of one team is told to it, and holds back nobody
//! else. Pure.

use super::settings::SourceSettings;
use crate::content::kinds::LeaveGuard;
use crate::content::{Finding, Head, Kind, Severity, Tree, heads};
use crate::git::{LEAVE_TRAILER, MayLeave, Revision};
use std::collections::BTreeSet;

/// How many machines a finding names.
const MACHINES_NAMED: usize = 20;

/// Why a commit of a source may not take the place of the one that is used. Its own message says what is meant: the machines are
/// its own. `said`: what a person let leave by it afterwards. `elsewhere`: the main source's files, which a machine may have moved to.
pub(super) fn left_too_many(
    settings: &SourceSettings,
    (used, next): (&Tree, &Tree),
    revision: &Revision,
    said: &MayLeave,
    elsewhere: &Tree,
) -> Option<String> {
    let mount = settings.mount.as_ref()?;
    let machines = |tree: &Tree, prefix: &str| -> Vec<Head> {
        heads(tree, prefix).into_iter().filter(|head| head.kind == Kind::Machine).collect()
    };
    let before = machines(used, &format!("{mount}/"));
    let names = |heads: Vec<Head>| heads.into_iter().map(|head| head.name).collect::<BTreeSet<_>>();
    let stay = names(machines(next, ""));
    let of = before.len();
    let gone: Vec<Head> = before.into_iter().filter(|head| !stay.contains(&head.name)).collect();
    let guard = crate::content::leave_guard(elsewhere);
    if !guard.asks(gone.len(), of) {
        return None;
    }
    let moved = names(machines(elsewhere, ""));
    let gone: Vec<Head> = gone.into_iter().filter(|head| !moved.contains(&head.name)).collect();
    let may = MayLeave::of_message(&revision.message).and(said);
    finding(settings, guard, revision, &may.beyond(&gone, |head| &head.name), (gone.len(), of))
}

fn finding(
    settings: &SourceSettings,
    guard: LeaveGuard,
    revision: &Revision,
    gone: &[&Head],
    (leaving, of): (usize, usize),
) -> Option<String> {
    if !guard.asks(gone.len(), of) {
        return None;
    }
    let (first, source) = (gone.first()?, &settings.name);
    let named: Vec<&str> = gone.iter().take(MACHINES_NAMED).map(|head| head.name.as_str()).collect();
    let more =
        if gone.len() > MACHINES_NAMED { format!(" and {} more", gone.len() - MACHINES_NAMED) } else { String::new() };
    let finding = Finding {
        severity: Severity::Error,
        code: "leave-guard",
        file: first.kind_place.file.to_string(),
        line: 1,
        column: 1,
        message: format!(
            "{} of the {of} machines of source `{source}` would leave Git, more than {} % (spec.leaveGuard of the site): {}{more}",
            gone.len(),
            guard.share,
            named.join(", ")
        ),
        hint: Some(format!(
            "their runs would end, and they would boot their own disks; if that is meant, say so in that commit's message with the \
             line `{LEAVE_TRAILER} {leaving}`, with names or `all`; or an administrator says it: `formwork reconcile \
             --allow-leave {leaving} --revision {}`",
            revision.short()
        )),
    };
    Some(finding.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::remote::{Follow, Location};

    fn tree(machines: impl IntoIterator<Item = usize>) -> Tree {
        let machine = |n: usize| {
            let text =
                format!("apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: a-{n}}}\nspec: {{}}\n");
            (format!("machines/a-{n}.yaml"), text)
        };
        Tree::from_texts(machines.into_iter().map(machine))
    }

    fn site(guard: &str) -> Tree {
        let head = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n";
        Tree::from_texts([("site.yaml", format!("{head}spec: {{{guard}}}\n"))])
    }

    #[test]
    fn a_source_that_empties_needs_a_word_of_its_own_commit() {
        let mut settings = SourceSettings::new("team-a", Location::Local("/a".into()), Follow::Default);
        settings.mount = Some("tenants/a".to_owned());
        let usual = site("");
        for (used, next, message, main, allowed) in [
            (1..=4, 1..=4, "", &usual, true),
            (1..=4, 3..=4, "", &usual, true),
            (1..=4, 4..=4, "", &usual, false),
            (1..=4, 9..=9, "renamed", &usual, false),
            (1..=20, 6..=20, "", &usual, true),
            (1..=20, 7..=20, "", &usual, false),
            (1..=20, 7..=20, "Formwork-Allow-Leave: 6", &usual, true),
            (1..=20, 7..=20, "Formwork-Allow-Leave: 5", &usual, false),
            (1..=20, 7..=20, "Formwork-Allow-Leave: a-1", &usual, true),
            (1..=20, 7..=20, "", &site("leaveGuard: {share: 100}"), true),
            (1..=20, 2..=20, "", &site("leaveGuard: {share: 0, atLeast: 1}"), false),
            // They are the main source's now.
            (1..=4, 9..=9, "", &tree(1..=4), true),
        ] {
            let revision = Revision { id: "a".into(), summary: String::new(), message: message.into() };
            let trees = (tree(used.clone()), tree(next.clone()));
            let found = left_too_many(&settings, (&trees.0, &trees.1), &revision, &MayLeave::default(), main);
            assert_eq!(found.is_none(), allowed, "{used:?} {next:?} {message:?}: {found:?}");
        }
        let revision = Revision { id: "a".into(), summary: String::new(), message: String::new() };
        let left = |said: &MayLeave| left_too_many(&settings, (&tree(1..=4), &tree(4..=4)), &revision, said, &usual);
        for (most, allowed) in [(2, false), (3, true)] {
            let said = MayLeave { most, ..MayLeave::default() };
            assert_eq!(left(&said).is_none(), allowed, "a person lets {most} leave");
        }
        let found = left(&MayLeave::default());
        let expected = "tenants/a/machines/a-1.yaml:1:1: error: 3 of the 4 machines of source `team-a` would leave Git, more than 25 % \
                        (spec.leaveGuard of the site): a-1, a-2, a-3\n  hint: their runs would end, and they would boot their own \
                        disks; if that is meant, say so in that commit's message with the line `Formwork-Allow-Leave: 3`, with names or `all`; or an \
                        administrator says it: `formwork reconcile --allow-leave 3 --revision a`";
        assert_eq!(found.as_deref(), Some(expected));
    }
}
