//! What people allow a revision beyond the guards: the words of a push, and the same words said of what is pushed already.

use super::views::AllowBody;
use super::{ApiError, App};
use crate::catalog::Catalog;
use crate::content::names::nearest;
use crate::git::Revision;
use crate::git::receive::{PushOptions, Refusal, Said, parse_options};
use crate::identity::user::Rights;
use crate::reconcile::Allowance;
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
    let options = parse_options(&words, &Rights::all(), Said::BY_COMMAND).map_err(|refused| wrong(&refused))?;
    Ok(allowance(app, by.to_owned(), options))
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
