//! What a push would do: read from its quarantine, loaded, compiled and guarded as the reconciler will, compared with what serves.

use super::checks::Pushed;
use super::said::said;
use super::{Answer, Applied, Other, Pusher, Question, Shown, Verdict};
use crate::api::App;
use crate::api::words::{allowance, unknown_names};
use crate::catalog::Catalog;
use crate::content::{Tree, count_of};
use crate::git::receive::{Moved, Refusal, Said, Update, in_quarantine, parse_options, refusals, short_name};
use crate::git::{GitError, Revision};
use crate::identity::user::{May, Rights};
use crate::inspect::change::Change;
use crate::reconcile::{
    Allowance, Built, Foreseen, Outcome, Promise, guard_bound, guard_leave, guard_leave_bound, guard_site, guard_wipe,
    of_push,
};
use crate::store::StoreError;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many findings are sent; a pusher reads the first ones.
const FINDINGS_MAX: usize = 100;
/// Of so many other branches the content is looked at.
const OTHERS_MAX: usize = 4;
/// A push is judged within this, the packs that it waits for included, or refused; the hook waits a little longer, for the word.
pub(super) const JUDGE_MAX: Duration = Duration::from_secs(115);
/// How long a push waits for its revision to serve, after the branch moved.
const APPLIED_WAIT: Duration = Duration::from_secs(3);

/// What is known of a push before its content is looked at.
struct Seen {
    followed: String,
    quarantine: Option<PathBuf>,
    moves: Vec<(Update, Moved)>,
    /// Names of references that git would refuse by itself.
    clashes: Vec<Refusal>,
}

/// Why it cannot be judged.
enum Unable {
    Git(GitError),
    Refused(Refusal),
}

impl From<GitError> for Unable {
    fn from(error: GitError) -> Self {
        Self::Git(error)
    }
}

/// The answer, where it comes in time; work on it is left off otherwise.
pub(super) async fn in_time(most: Duration, judged: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(most, judged).await.unwrap_or_else(|_| {
        tracing::warn!(seconds = most.as_secs(), "a push took too long to be judged and is refused");
        Answer::unable(
            format!("it could not be judged within {} seconds", most.as_secs()),
            Some(
                "nothing was changed; push again, or smaller pieces. formwork status says what the server is busy with",
            ),
        )
    })
}

/// Judges a push. What it would be allowed beyond the guards is promised when it is accepted, before git moves the branch, and
/// counts when that has moved.
pub(super) async fn judge(app: &App, question: Question, pusher: Pusher) -> Answer {
    let by = pusher.name.clone();
    let seen = match look(app, &question).await {
        Ok(seen) => seen,
        Err(answer) => return answer,
    };
    let mut verdict = Verdict { site: app.fleet.site.clone(), branch: seen.followed.clone(), by, ..Verdict::default() };
    let options = match parse_options(&question.options, &pusher.rights, Said::BY_PUSH) {
        Ok(options) => options,
        Err(refused) => {
            verdict.refusals = refused;
            return Answer::Judged(Box::new(verdict));
        }
    };
    verdict.dry_run = options.dry_run;
    verdict.refusals = refusals(&seen.moves, &seen.followed, &pusher.rights, &options);
    verdict.refusals.extend(seen.clashes.iter().cloned());
    if !verdict.refusals.is_empty() {
        return Answer::Judged(Box::new(verdict));
    }
    let rights = pusher.rights;
    let rewrite = Vec::from_iter(options.rewrite.then(|| "allow-rewrite".to_owned()));
    let mut allowed = allowance(app, pusher.name, options);
    let moved = seen.moves.iter().find(|(update, _)| update.is_branch(&seen.followed));
    if let Some((Update { old, new: Some(new), .. }, _)) = moved {
        verdict.followed = true;
        verdict.old.clone_from(old);
        verdict.new = Some(new.clone());
        match content(app, &seen, new, &allowed, &rights).await {
            Ok(content) => {
                allowed = content.said.and(&allowed);
                content.into_verdict(&mut verdict);
            }
            Err(error) => return unable(&error),
        }
    }
    verdict.others = others(app, &seen).await;
    verdict.accepted = verdict.refusals.is_empty() && !verdict.findings.iter().any(|finding| finding.error);
    if verdict.accepted
        && !verdict.dry_run
        && let Some(new) = &verdict.new
        && let Err(error) = promise(app, &verdict, new, (&allowed, rewrite)).await
    {
        if allowed.is_some() {
            return Answer::unable(error.to_string(), Some("what was allowed could not be written down; push again"));
        }
        tracing::warn!(%error, by = verdict.by, revision = new, "who pushed this is not written down");
    }
    if !verdict.accepted
        && let Some(received) = &app.receiving.received
    {
        received.refused();
    }
    // One that is refused is logged with its reason, by whoever asked.
    if verdict.accepted || verdict.dry_run {
        tracing::info!(
            by = verdict.by,
            branch = verdict.branch,
            revision = verdict.new,
            accepted = verdict.accepted,
            dry_run = verdict.dry_run,
            findings = verdict.findings.len() + verdict.left_out,
            "a push was judged"
        );
    }
    Answer::Judged(Box::new(verdict))
}

/// Who pushes, and what they allow.
async fn promise(
    app: &App,
    verdict: &Verdict,
    revision: &str,
    (allowed, said): (&Allowance, Vec<String>),
) -> Result<(), StoreError> {
    let promise = Promise {
        by: verdict.by.clone(),
        branch: verdict.branch.clone(),
        summary: verdict.summary.clone(),
        allowed: allowed.clone(),
        said,
    };
    promise.put(app.fleet.store.as_ref(), revision).await
}

fn unable(error: &GitError) -> Answer {
    Answer::unable(error.to_string(), Some("nothing was changed; see the server's log, and push again"))
}

/// Work on files that may wait, on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| GitError::Stopped)
}

async fn look(app: &App, question: &Question) -> Result<Seen, Answer> {
    let receiving = Arc::clone(&app.receiving);
    if receiving.received.is_none() {
        let what = format!("this server follows {}, which is not pushed to", app.fleet.content_status().source);
        return Err(Answer::unable(
            what,
            Some("serve with --hosted, or with --repository for a repository of your own"),
        ));
    }
    let (repository, quarantine) = (question.repository.clone(), question.quarantine.clone());
    let updates = question.updates.clone();
    let seen = aside(move || {
        let Some(received) = &receiving.received else { return Err(GitError::Stopped.into()) };
        let same =
            received.path.canonicalize().is_ok_and(|ours| repository.canonicalize().is_ok_and(|it| within(&ours, &it)));
        if !same {
            let what = format!("this server follows {}, not {}", received.path.display(), repository.display());
            return Err(Unable::Refused(Refusal::new(what, None)));
        }
        let quarantine = match quarantine {
            Some(folder) => Some(in_quarantine(&received.path, &folder).map_err(Unable::Refused)?),
            None => None,
        };
        if let Some(alias) = updates.iter().find(|update| received.is_alias(&update.reference)) {
            let what = format!("`{}` is another name of a branch", alias.reference);
            return Err(Unable::Refused(Refusal::new(what, Some("push to the branch itself".to_owned()))));
        }
        let moves = received.moves(quarantine.as_deref(), updates)?;
        let clashes = received.clashes(&moves)?;
        Ok(Seen { followed: received.followed()?, quarantine, moves, clashes })
    });
    match seen.await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(Unable::Refused(refusal))) => Err(Answer::unable(refusal.what, refusal.hint.as_deref())),
        Ok(Err(Unable::Git(error))) | Err(error) => Err(unable(&error)),
    }
}

/// A hook runs in the repository itself, or in the `.git` of a work tree.
fn within(ours: &std::path::Path, theirs: &std::path::Path) -> bool {
    ours == theirs || ours.join(".git") == *theirs
}

/// What the content of a revision came to.
struct Content {
    revision: Revision,
    /// What its message allows, as far as its pusher may say that, and what of it they may not.
    said: Allowance,
    refusals: Vec<Refusal>,
    signed_by: Vec<String>,
    findings: Vec<Shown>,
    left_out: usize,
    change: Option<Change>,
    machines: usize,
}

impl Content {
    /// Of a revision that is not even compiled.
    fn refused(revision: Revision, texts: &[String]) -> Self {
        let (findings, left_out) = shown(texts, &Tree::default());
        let (said, refusals) = (Allowance::default(), Vec::new());
        Self { revision, said, refusals, signed_by: Vec::new(), findings, left_out, change: None, machines: 0 }
    }

    fn into_verdict(self, verdict: &mut Verdict) {
        verdict.summary = self.revision.summary;
        verdict.refusals.extend(self.refusals);
        verdict.signed_by = self.signed_by;
        verdict.findings = self.findings;
        verdict.left_out = self.left_out;
        verdict.change = self.change;
        verdict.machines = self.machines;
    }
}

/// Errors first: what is left out is the least.
fn shown(texts: &[String], tree: &Tree) -> (Vec<Shown>, usize) {
    let mut findings: Vec<Shown> =
        texts.iter().take(FINDINGS_MAX * 10).map(|text| Shown::from_text(text, tree)).collect();
    findings.sort_by_key(|finding| !finding.error);
    findings.truncate(FINDINGS_MAX);
    let left_out = count_of(texts).saturating_sub(findings.len());
    (findings, left_out)
}

/// What a revision says of itself, as far as that can be read.
async fn summary(app: &App, seen: &Seen, id: &str) -> Revision {
    let (receiving, quarantine, wanted) = (Arc::clone(&app.receiving), seen.quarantine.clone(), id.to_owned());
    let found = aside(move || receiving.received.as_ref().map(|it| it.revision(quarantine.as_deref(), &wanted))).await;
    match found {
        Ok(Some(Ok(revision))) => revision,
        _ => Revision { id: id.to_owned(), summary: String::new(), message: String::new() },
    }
}

async fn read(app: &App, seen: &Seen, id: &str) -> Result<(Revision, Tree), GitError> {
    let (receiving, quarantine, id) = (Arc::clone(&app.receiving), seen.quarantine.clone(), id.to_owned());
    let read = aside(move || match &receiving.received {
        Some(received) => received.tree(quarantine.as_deref(), &id),
        None => Err(GitError::Stopped),
    });
    read.await?
}

/// The followed branch's new revision.
async fn content(app: &App, seen: &Seen, id: &str, allowed: &Allowance, rights: &Rights) -> Result<Content, GitError> {
    // Who signed it, before a byte of its content is read.
    let updates = seen.moves.iter().map(|(update, _)| update.clone()).collect();
    let pushed = Pushed { quarantine: seen.quarantine.clone(), id: id.to_owned(), updates };
    let remembered = app.fleet.reconciler.trusted_before().await;
    let signed_by = match app.receiving.signed(pushed, remembered).await? {
        Ok(signed) => signed.0.iter().map(ToString::to_string).collect(),
        Err(findings) => {
            let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
            return Ok(Content::refused(summary(app, seen, id).await, &texts));
        }
    };
    let (revision, tree) = match read(app, seen, id).await {
        Ok(read) => read,
        Err(error) if error.is_fault_of_revision() => {
            let revision = Revision { id: id.to_owned(), summary: String::new(), message: String::new() };
            return Ok(Content::refused(revision, &error.findings()));
        }
        Err(error) => return Err(error),
    };
    let tree = match app.receiving.completed(tree).await {
        Ok(tree) => Arc::new(tree),
        Err(finding) => return Ok(Content::refused(revision, &[finding])),
    };
    // What a commit's message allows counts as far as its pusher may allow it, and by nothing but what is promised with the push.
    let (said, refusals) = said(&revision.message, rights);
    let silent = Revision { message: String::new(), ..revision.clone() };
    let (words, allowed) = (allowed, &said.and(allowed));
    let judged = app.fleet.reconciler.judge(Arc::clone(&tree), &silent, allowed).await;
    let (texts, change, machines) = match judged {
        Ok(built) => {
            let serving = app.fleet.current();
            let change = app.fleet.foresee(serving.clone(), Arc::clone(&built.catalog)).await;
            let mut texts = built.warnings.clone();
            let known = app.fleet.reconciler.site().await;
            let renamed = guard_site(known.as_deref(), &built.site, &silent, allowed).err();
            texts.extend(renamed.map(|finding| of_push(&finding).to_owned()));
            if let Some(serving) = serving {
                texts.extend(guarded((&serving, &built), &change, &tree, &silent, allowed));
            }
            texts.extend(unknown_names(app, Some(&built.catalog), words, Said::BY_PUSH, FINDINGS_MAX));
            (texts, Some(change), built.census.machines)
        }
        Err(findings) => (findings.iter().map(|finding| of_push(finding).to_owned()).collect(), None, 0),
    };
    let texts: Vec<String> = texts.iter().map(|text| by_rights(text, &rights.may)).collect();
    let (findings, left_out) = shown(&texts, &tree);
    Ok(Content { revision, said, refusals, signed_by, findings, left_out, change, machines })
}

/// What the guards say. The reconciler will ask the same of the same; here it is asked once for the answer and the guards, and
/// also whether a bound itself is loosened.
fn guarded(
    (serving, built): (&Catalog, &Built),
    change: &Change,
    tree: &Tree,
    revision: &Revision,
    allowed: &Allowance,
) -> Vec<String> {
    let foreseen = Foreseen::of(change, serving);
    let next = &built.catalog;
    let wipe_place = bound_place(tree, "wipeGuard:");
    let leave_place = bound_place(tree, "leaveGuard:");
    let said = [
        guard_wipe(&foreseen, revision, allowed),
        guard_leave(&foreseen, &[], built.census, revision, allowed),
        guard_bound(serving.wipe_guard(), next.wipe_guard(), &wipe_place, allowed),
        guard_leave_bound(serving.leave_guard(), next.leave_guard(), &leave_place, allowed),
    ];
    said.into_iter().filter_map(Result::err).map(|finding| of_push(&finding).to_owned()).collect()
}

/// A guard's finding as it is told to this pusher: a word that is not theirs to say is no hint.
fn by_rights(finding: &str, may: &BTreeSet<May>) -> String {
    let Some((what, hint)) = finding.split_once("\n  hint: ") else { return finding.to_owned() };
    let words = [
        (May::Wipe, "`-o allow-wipe=all`"),
        (May::Leave, "`-o allow-leave="),
        (May::Empty, "`-o allow-empty`"),
        (May::Rename, "`-o allow-site-rename="),
    ];
    let Some((right, _)) = words.iter().find(|(right, word)| !may.contains(right) && hint.contains(word)) else {
        return finding.to_owned();
    };
    let word = hint.split('`').find(|word| word.starts_with("-o allow-")).unwrap_or_default();
    format!(
        "{what}\n  hint: you may not allow that, neither by `{word}` nor by a line in the commit's message: that is for who has \
         the right `{}` (formwork user change NAME --may …, at the server); ask somebody who may to push it",
        right.as_str()
    )
}

/// Where a guard's bound stands, or would.
fn bound_place(tree: &Tree, field: &str) -> String {
    let text = tree.files.get("site.yaml").and_then(|file| std::str::from_utf8(&file.bytes).ok()).unwrap_or_default();
    let mut lines = text.lines().zip(1..).filter_map(|(line, number)| Some((number, line.find(field)? + 1)));
    let (line, column) = lines.next().unwrap_or((1, 1));
    format!("site.yaml:{line}:{column}")
}

/// What is not followed is looked at, and taken whatever is wrong with it: nothing comes of it yet.
async fn others(app: &App, seen: &Seen) -> Vec<Other> {
    let mut others = Vec::new();
    for (update, moved) in seen.moves.iter().filter(|(update, _)| !update.is_branch(&seen.followed)) {
        let name = short_name(&update.reference).unwrap_or_else(|| update.reference.clone());
        let what = match moved {
            Moved::Created => "new",
            Moved::Forward => "moved",
            Moved::Rewritten => "rewritten",
            Moved::Deleted => "deleted",
        };
        let mut other = Other { name, what: what.to_owned(), findings: Vec::new(), left_out: 0 };
        if let Some(new) = update.new.as_deref().filter(|_| update.reference.starts_with("refs/heads/"))
            && others.len() < OTHERS_MAX
            && let Ok((revision, tree)) = read(app, seen, new).await
        {
            // Packs are not fetched for what nothing comes of.
            let tree = Arc::new(tree);
            let texts = match app.fleet.reconciler.check(Arc::clone(&tree), &revision.id).await {
                Ok(built) => built.warnings,
                Err(findings) => findings,
            };
            (other.findings, other.left_out) = shown(&texts, &tree);
        }
        others.push(other);
    }
    others
}

/// Tells the reconciler that the branch moved, and waits a moment for what comes of it.
pub(super) async fn wait(app: &App, question: Question) -> Answer {
    let seen = match look(app, &Question { quarantine: None, ..question }).await {
        Ok(seen) => seen,
        Err(answer) => return answer,
    };
    let moved = seen.moves.into_iter().find(|(update, _)| update.is_branch(&seen.followed));
    let Some(revision) = moved.and_then(|(update, _)| update.new) else {
        let nothing = Applied { revision: None, serves: false, after_ms: 0, machines: 0, message: String::new() };
        return Answer::Applied(nothing);
    };
    let began = Instant::now();
    if let Err(error) = app.fleet.reconciler.moved(&revision).await {
        tracing::warn!(%error, revision, "who pushed this is not written down yet");
    }
    let mut status = app.fleet.reconciler.status();
    app.fleet.reconciler.ask();
    let ended = status.wait_for(|status| {
        let tried = status.attempted.as_ref().filter(|attempt| attempt.revision == revision);
        tried.is_some_and(|attempt| !matches!(attempt.outcome, Outcome::Postponed { .. }))
    });
    let _ = tokio::time::timeout(APPLIED_WAIT, ended).await;
    let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let now = app.fleet.content_status();
    let applied = now.applied.as_ref().filter(|applied| applied.revision == revision);
    Answer::Applied(Applied {
        serves: applied.is_some(),
        machines: applied.map_or(0, |applied| applied.machines),
        revision: Some(revision),
        after_ms,
        message: now.condition().1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_allow_a_thing_is_told_that_and_not_how() {
        let finding = "a.yaml:1:1: error: x\n  hint: the line `Formwork-Allow-Leave: 5`, or `-o allow-leave=5`; or so";
        assert_eq!(by_rights(finding, &BTreeSet::from([May::Leave])), finding);
        let told = by_rights(finding, &BTreeSet::from([May::Wipe]));
        assert!(told.starts_with("a.yaml:1:1: error: x\n  hint: you may not allow that"), "{told}");
        assert!(told.contains("`-o allow-leave=5`") && told.contains("right `leave`"), "{told}");
        assert!(!told.contains("Formwork-Allow-Leave"), "{told}");
        for other in ["a:1:1: error: y", "a:1:1: error: y\n  hint: write z"] {
            assert_eq!(by_rights(other, &BTreeSet::new()), other);
        }
    }

    #[tokio::test]
    async fn a_push_that_takes_too_long_to_be_judged_ends_with_a_clear_word() {
        let answer = in_time(Duration::from_millis(10), std::future::pending()).await;
        let Answer::Unable { message, hint } = answer else { panic!("{answer:?}") };
        assert!(message.contains("could not be judged within"), "{message}");
        assert!(hint.is_some_and(|hint| hint.contains("nothing was changed")));
        let good = Answer::Judged(Box::default());
        assert_eq!(in_time(JUDGE_MAX, std::future::ready(good.clone())).await, good);
    }
}
