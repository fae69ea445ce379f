//! What people allow a revision beyond the guards: the words of a push, and the same words said of what is pushed already.

use super::views::AllowBody;
use super::{ApiError, App};
use crate::catalog::Catalog;
use crate::content::names::nearest;
use crate::git::Revision;
use crate::git::receive::{PushOptions, Refusal, Said, parse_options};
use crate::identity::user::Rights;
use crate::reconcile::{Allowance, Held, REVISION_LEAST};
use axum::http::StatusCode;
use std::collections::BTreeSet;

/// The longest list of one word.
const WORD_MAX: usize = 64 * 1024;
/// So many unknown names are told.
const NAMES_TOLD: usize = 20;

/// What somebody's words come to.
pub(super) fn allowance(app: &App, by: String, options: PushOptions) -> Allowance {
    Allowance {
        by,
        at_unix_ms: app.fleet.clock.now_unix_ms(),
        empty: options.empty,
        wipe_all: options.wipe_all,
        wipe: options.wipe,
        leave: options.leave,
        rename: options.rename,
        in_use: false,
    }
}

/// Reads what an administrator allows, who may allow all that a push can.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(app: &App, by: &str, body: &AllowBody) -> Result<Allowance, ApiError> {
    let valued = [
        ("allow-wipe", &body.allow_wipe),
        ("allow-leave", &body.allow_leave),
        ("allow-site-rename", &body.allow_site_rename),
    ];
    let mut words: Vec<String> =
        valued.into_iter().filter_map(|(word, value)| Some(format!("{word}={}", value.as_ref()?))).collect();
    if words.iter().any(|word| word.len() > WORD_MAX) {
        let hint = "say `all`, or a number where a number can be said";
        return Err(ApiError::bad_request("a list of machines is too long").hint(hint));
    }
    if body.allow_empty {
        words.push("allow-empty".to_owned());
    }
    if words.is_empty() && body.revision.is_some() {
        let message = "a revision is named, and nothing is allowed to it";
        return Err(ApiError::bad_request(message).hint("--revision says of which revision an --allow-… is said"));
    }
    let options = parse_options(&words, &Rights::all(), Said::BY_COMMAND).map_err(|refused| wrong(&refused))?;
    Ok(allowance(app, by.to_owned(), options))
}

/// Of what waits, what a word is said of: what was judged, where that is said; else what waits of the whole, or all that is held.
/// Pure.
///
/// # Errors
/// Another revision waits than the one that was judged; or it does not say which, and the word reaches machines that nobody has
/// thought of.
pub(super) fn meant(held: Vec<Held>, revision: Option<&str>, allowed: &Allowance) -> Result<Vec<Held>, ApiError> {
    if let Some(judged) = revision {
        return judged_one(held, judged);
    }
    let (whole, parts): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|held| held.source.is_none());
    let meant = if whole.is_empty() { parts } else { whole };
    if allowed.wipe_all || allowed.leave.all {
        let message = "`all` is said of a revision that was judged, and none is named";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "revision-missing", message).hint(said_again(&meant)));
    }
    if meant.len() > 1 && allowed.leave.most > 0 {
        let names: Vec<&str> = meant.iter().filter_map(|held| held.source.as_deref()).collect();
        let message = format!("a guard holds commits of several sources: {}", names.join(", "));
        let hint = format!("nothing was changed; say which machines, by their names; or {}", said_again(&meant));
        return Err(ApiError::conflict("several-held", message).hint(hint));
    }
    Ok(meant)
}

fn judged_one(held: Vec<Held>, judged: &str) -> Result<Vec<Held>, ApiError> {
    let wanted = judged.trim().to_ascii_lowercase();
    if wanted.len() < REVISION_LEAST {
        let message = format!("revision `{wanted}` has less than {REVISION_LEAST} characters");
        return Err(ApiError::bad_request(message).hint(said_again(&held)));
    }
    let (found, others): (Vec<Held>, Vec<Held>) =
        held.into_iter().partition(|held| held.revision.id.starts_with(&wanted));
    let told = |held: &[Held]| held.iter().map(of_what).collect::<Vec<_>>().join(", ");
    match found.as_slice() {
        [_] => Ok(found),
        [] => {
            let message = format!("what waits is {}, and not revision {wanted}", told(&others));
            Err(ApiError::conflict("moved", message).hint(format!("nothing was changed; {}", said_again(&others))))
        }
        several => {
            let message = format!("several that wait begin with {wanted}: {}", told(several));
            Err(ApiError::conflict("ambiguous", message).hint("nothing was changed; give more of it"))
        }
    }
}

/// What something that waits is called.
pub(super) fn of_what(held: &Held) -> String {
    let (short, summary) = (held.revision.short(), &held.revision.summary);
    match &held.source {
        None => format!("revision {short} ({summary})"),
        Some(source) => format!("commit {short} of source {source} ({summary})"),
    }
}

/// How one sees what it would do, and says the word of it.
fn said_again(held: &[Held]) -> String {
    let words: Vec<String> = held.iter().map(|held| format!("--revision {}", held.revision.short())).collect();
    format!("`formwork diff` shows what it would do; if that is meant, say it with {}", words.join(" or "))
}

/// Whether a rollback says which revision it goes back to, where it says `all`. `chosen`: the one that it would be. Pure.
///
/// # Errors
/// It does not.
pub(super) fn named_where_all(to: Option<&str>, chosen: &str, allowed: &Allowance) -> Result<(), ApiError> {
    if to.is_some() || !(allowed.wipe_all || allowed.leave.all) {
        return Ok(());
    }
    let short = chosen.get(..12).unwrap_or(chosen);
    let message = "`all` is said of a revision that was judged, and none is named";
    let hint = format!(
        "`formwork diff ..{chosen}` shows what going back would do; if that is meant, say it with --to {short}"
    );
    Err(ApiError::new(StatusCode::BAD_REQUEST, "revision-missing", message).hint(hint))
}

fn wrong(refused: &[Refusal]) -> ApiError {
    let what: Vec<&str> = refused.iter().map(|refusal| refusal.what.as_str()).collect();
    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "words-wrong", what.join("; "));
    match refused.iter().find_map(|refusal| refusal.hint.clone()) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Refuses names that nobody has, neither in what serves nor in this revision; none: what was here is known by what the store has of it.
///
/// # Errors
/// Which those are; or the revision is not signed as it must be.
pub(super) async fn refuse_unknown(
    app: &App,
    revision: Option<&Revision>,
    allowed: &Allowance,
) -> Result<(), ApiError> {
    if allowed.wipe.is_empty() && allowed.leave.names.is_empty() {
        return Ok(());
    }
    let next = match revision {
        Some(revision) => {
            // Before a byte of its content is read.
            app.fleet.reconciler.signed(revision).await?;
            // One that is refused by itself has no machines; those that are known then are the ones that serve.
            app.fleet.reconciler.catalog_at(&revision.id).await.ok()
        }
        None => None,
    };
    let unknown = unknown_names(app, next.as_deref(), allowed, Said::BY_COMMAND, NAMES_TOLD);
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "words-wrong", unknown.join("\n"))),
    }
}

/// Machines that may be wiped or leave and that nobody knows: a slip, by which the ones that were meant would not be allowed.
pub(super) fn unknown_names(
    app: &App,
    next: Option<&Catalog>,
    allowed: &Allowance,
    said: Said,
    most: usize,
) -> Vec<String> {
    if allowed.wipe.is_empty() && allowed.leave.names.is_empty() {
        return Vec::new();
    }
    let (serving, seen) = (app.fleet.current(), app.fleet.all());
    let declared = [next, serving.as_deref()].into_iter().flatten().flat_map(Catalog::machines);
    let known: BTreeSet<&str> =
        declared.map(|machine| machine.name.as_str()).chain(seen.iter().map(|entry| entry.name.as_str())).collect();
    let named = allowed.wipe.iter().map(|name| ("allow-wipe", name));
    let named = named.chain(allowed.leave.names.iter().map(|name| ("allow-leave", name)));
    let unknown = named.filter(|(_, name)| !known.contains(name.as_str()));
    unknown.take(most).map(|(option, name)| unknown_name(said, option, name, &known)).collect()
}

fn unknown_name(said: Said, option: &str, name: &str, known: &BTreeSet<&str>) -> String {
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "formwork get machines names them".to_owned(),
    };
    format!("there is no machine `{name}`, as `{}{option}` has it\n  hint: {hint}", said.before())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(source: Option<&str>, id: &str) -> Held {
        let revision = Revision { id: id.to_owned(), summary: "One more".to_owned(), message: String::new() };
        Held { source: source.map(str::to_owned), revision }
    }

    fn said(word: &str) -> Allowance {
        let options = parse_options(&[word.to_owned()], &Rights::all(), Said::BY_COMMAND).expect("a word");
        Allowance { wipe_all: options.wipe_all, wipe: options.wipe, leave: options.leave, ..Allowance::default() }
    }

    /// The ids, or the status and the code.
    fn outcome(answer: Result<Vec<Held>, ApiError>) -> Result<Vec<String>, String> {
        let told = |error: ApiError| {
            let text = format!("{error:?}");
            let code = text.split("code: \"").nth(1).and_then(|rest| rest.split('"').next());
            format!("{} {text}", code.unwrap_or_default())
        };
        answer.map(|held| held.into_iter().map(|held| held.revision.id).collect()).map_err(told)
    }

    #[test]
    fn a_word_is_said_of_the_revision_that_was_judged_and_of_no_other() {
        let (whole, a, b) =
            (held(None, "aaaa1111"), held(Some("team-a"), "bbbb1111"), held(Some("team-b"), "bbbb2222"));
        let one = || vec![whole.clone()];
        let parts = || vec![a.clone(), b.clone()];
        let all = || vec![whole.clone(), a.clone()];
        for (held, revision, word, expected) in [
            (one(), None, "allow-wipe=m1", Ok(vec!["aaaa1111"])),
            (one(), Some("aaaa1"), "allow-wipe=all", Ok(vec!["aaaa1111"])),
            (one(), Some("AAAA1111"), "allow-leave=all", Ok(vec!["aaaa1111"])),
            (one(), None, "allow-wipe=all", Err("revision-missing")),
            (one(), None, "allow-leave=all", Err("revision-missing")),
            (one(), Some("cccc1"), "allow-wipe=m1", Err("moved")),
            (one(), Some("aaa"), "allow-wipe=m1", Err("bad-request")),
            // Commits of several sources: names are said of each, a number of one.
            (parts(), None, "allow-leave=m1", Ok(vec!["bbbb1111", "bbbb2222"])),
            (parts(), None, "allow-leave=3", Err("several-held")),
            (parts(), Some("bbbb2"), "allow-leave=3", Ok(vec!["bbbb2222"])),
            (parts(), Some("bbbb"), "allow-leave=3", Err("ambiguous")),
            // What waits of the whole comes first; a part is said by its commit.
            (all(), None, "allow-leave=3", Ok(vec!["aaaa1111"])),
            (all(), Some("bbbb1"), "allow-leave=all", Ok(vec!["bbbb1111"])),
        ] {
            let answer = outcome(meant(held, revision, &said(word)));
            let answer = answer.as_ref().map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
            let answer = answer.map_err(|told| told.split(' ').next().unwrap_or_default());
            assert_eq!(answer, expected, "{revision:?} {word}");
        }
        let moved = outcome(meant(one(), Some("cccc1"), &said("allow-wipe=m1"))).expect_err("it moved");
        for part in ["revision aaaa1111 (One more), and not revision cccc1", "formwork diff", "--revision aaaa1111"] {
            assert!(moved.contains(part), "{part} is not in: {moved}");
        }
    }

    #[test]
    fn a_rollback_that_says_all_names_its_revision() {
        let code = |to, word| named_where_all(to, "aaaa1111", &said(word)).map_err(|error| format!("{error:?}"));
        assert!(code(None, "allow-wipe=m1").is_ok() && code(Some("aaaa"), "allow-wipe=all").is_ok());
        let missing = code(None, "allow-leave=all").expect_err("it names none");
        assert!(missing.contains("revision-missing") && missing.contains("--to aaaa1111"), "{missing}");
    }
}
