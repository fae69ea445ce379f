//! What the message of a pushed commit allows, as far as that is its pusher's to say. Pure.

use crate::git::MayLeave;
use crate::git::receive::Refusal;
use crate::identity::user::{May, Rights};
use crate::reconcile::{Allowance, said_in};
use std::collections::BTreeSet;

/// What a message allows of what its pusher may allow; and a refusal for each line that is not theirs to write. Whether such a line
/// is needed now is not asked: the commit may be applied much later, when it does more than it does today.
pub(super) fn said(message: &str, rights: &Rights) -> (Allowance, Vec<Refusal>) {
    let mut said = said_in(message);
    let spoken = [
        (said.wipe_all || !said.wipe.is_empty(), May::Wipe, "Formwork-Allow-Wipe"),
        (said.leave.is_some(), May::Leave, "Formwork-Allow-Leave"),
        (said.empty, May::Empty, "Formwork-Empty"),
        (said.rename.is_some(), May::Rename, "Formwork-Allow-Site-Rename"),
    ];
    let mut refused = Vec::new();
    for (_, may, line) in spoken.into_iter().filter(|(spoken, may, _)| *spoken && !rights.may.contains(may)) {
        match may {
            May::Wipe => (said.wipe_all, said.wipe) = (false, BTreeSet::new()),
            May::Leave => said.leave = MayLeave::default(),
            May::Empty => said.empty = false,
            May::Rename => said.rename = None,
            May::Rewrite => {}
        }
        let mut with = rights.clone();
        with.may.insert(may);
        refused.push(Refusal::new(
            format!("you may not push a commit whose message has the line `{line}: …`"),
            Some(format!(
                "take the line out of the message (git commit --amend), or ask somebody who may to push it; at the server: formwork \
                 user change NAME {}",
                with.as_options()
            )),
        ));
    }
    (said, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_as_far_as_its_pusher_may_say_it_and_is_refused_else() {
        let message = "Anew\n\nFormwork-Allow-Wipe: m1, m2\nFormwork-Allow-Leave: 3\nFormwork-Empty: yes\n\
                       Formwork-Allow-Site-Rename: plant\n";
        let with =
            |may: &[May]| Rights { read: true, push: vec!["main".to_owned()], may: may.iter().copied().collect() };
        let (all, refused) = said(message, &Rights::all());
        assert_eq!(all.words(), ["allow-empty", "allow-wipe=m1,m2", "allow-leave=3", "allow-site-rename=plant"]);
        assert_eq!(refused, []);
        let (some, refused) = said(message, &with(&[May::Leave, May::Rename]));
        assert_eq!(some.words(), ["allow-leave=3", "allow-site-rename=plant"]);
        let lines: BTreeSet<&str> = refused.iter().filter_map(|refusal| refusal.what.split('`').nth(1)).collect();
        assert_eq!(lines, BTreeSet::from(["Formwork-Allow-Wipe: …", "Formwork-Empty: …"]));
        let hint = refused[0].hint.as_deref().unwrap_or_default();
        assert!(hint.contains("--may wipe,leave,rename") && hint.contains("git commit --amend"), "{hint}");
        let (none, refused) = said(message, &with(&[]));
        assert_eq!((none.is_some(), refused.len()), (false, 4));
        assert_eq!(said("Nothing\n\nFormwork-Empty: no\n", &with(&[])), (Allowance::default(), Vec::new()));
    }
}
