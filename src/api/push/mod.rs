//! Pushes: who may push what, and what a push would do, answered before it is taken.
//!
//! A push comes over HTTPS to the hosted repository, or by the repository's own sshd. Either way git runs a hook before a branch
//! moves, the hook asks here by the socket in the state directory (or by the API), and prints what it is told. A hook of a push over HTTPS shows a
//! capability that was made for this push alone and stands for the rights of whose token it came with. Whoever else reaches the
//! socket can read the state directory, and has every right.
//!
//! Nothing here moves a branch or applies a revision: git does the one, the reconciler the other.

mod checks;
mod http;
mod judge;
mod report;
mod said;
mod shown;
mod socket;
mod status;
mod unmoved;
mod wire;

pub(super) use http::{routes, visitor};
pub use shown::{Shown, Source as SourceLine};
pub(super) use socket::serve;
pub use socket::{SocketError, listen};
pub use status::{PushStatus, RejectedPush};
pub use wire::{Answer, Applied, Hook, Other, Question, Verdict};

use super::App;
use crate::git::receive::{Backend, Hosted, Received, Users, short_name};
use crate::git::{Follower, Source, Verifier};
use crate::identity::IdentityError;
use crate::identity::user::Rights;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// So many pushes that were not taken are remembered.
const REJECTED_KEPT: usize = 10;
/// The longest reason that is, characters.
const REASON_MAX: usize = 300;
/// So many branches of a push that was not taken are logged by name.
const BRANCHES_LOGGED: usize = 5;

/// What receives pushes.
pub struct Receiving {
    users: Users,
    hosted: Option<(Hosted, Backend)>,
    received: Option<Received>,
    checks: Option<checks::Checks>,
    open: Mutex<HashMap<String, Open>>,
    rejected: Mutex<PushStatus>,
    awaited: Mutex<Vec<unmoved::Awaited>>,
}

/// A push over HTTPS that is under way.
struct Open {
    pusher: Pusher,
    /// What its hooks asked already: each asks once.
    asked: Vec<Hook>,
}

/// Who pushes.
#[derive(Debug, Clone)]
pub(super) struct Pusher {
    /// Their name, for the journal.
    pub name: String,
    /// What they may do.
    pub rights: Rights,
}

impl Receiving {
    /// For a server that follows this source; `hosted` where that is its own repository.
    pub fn new(users: PathBuf, source: &Source, hosted: Option<(Hosted, Backend)>) -> Self {
        let received = match source {
            Source::Bare { path, branch, subpath } => {
                Some(Received::new(path.clone(), branch.clone(), subpath.clone()))
            }
            _ => None,
        };
        Self {
            users: Users::in_file(users),
            hosted,
            received,
            checks: None,
            open: Mutex::default(),
            rejected: Mutex::default(),
            awaited: Mutex::default(),
        }
    }

    /// Pushes are judged as this follower's revisions are: signed by this policy (none: signatures are not asked for), and with
    /// the packs that it fetches.
    #[must_use]
    pub fn checking(mut self, follower: Arc<Follower>, verifier: Option<Arc<Verifier>>) -> Self {
        self.checks = Some(checks::Checks { follower, verifier });
        self
    }

    /// At this server, `https://…`: where its own repository is, is told from now on.
    #[must_use]
    pub fn at(mut self, server: &str) -> Self {
        if let (Some((hosted, _)), Ok(status)) = (&self.hosted, self.rejected.get_mut()) {
            status.url = Some(format!("{server}/git/{}", hosted.name()));
        }
        self
    }

    /// The URL to push to, where the repository is our own.
    pub fn url(&self) -> Option<String> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).url.clone()
    }

    /// Pushes that were judged and not taken; none where nobody pushes to what is followed.
    pub(super) fn rejected(&self) -> Option<PushStatus> {
        self.received.as_ref()?;
        Some(self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Remembers a push that is not taken, and logs it: who, to which branches, why.
    fn note(&self, by: &str, branches: &str, at_unix_ms: i64, answer: &Answer) {
        let Some(rejected) = rejected(by, at_unix_ms, answer) else { return };
        tracing::warn!(by, branch = branches, why = rejected.reason, findings = rejected.count, "a push was refused");
        let mut status = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        status.rejected = status.rejected.saturating_add(1);
        status.recent.push(rejected);
        let more = status.recent.len().saturating_sub(REJECTED_KEPT);
        status.recent.drain(..more);
    }

    /// Takes away what broken pushes left, now and then. Blocks for a moment.
    pub fn sweep(&self) {
        if let Some((hosted, _)) = &self.hosted {
            hosted.sweep();
        }
    }

    /// A capability for the hooks of one push.
    pub(in crate::api) fn admit(self: &Arc<Self>, pusher: Pusher) -> Result<Pass, IdentityError> {
        let capability = crate::identity::new_id()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(capability.clone(), Open { pusher, asked: Vec::new() });
        Ok(Pass { receiving: Arc::clone(self), capability })
    }

    /// Whose push this is, where the capability is one of ours and this hook has not asked with it yet.
    fn redeem(&self, capability: &str, hook: Hook) -> Option<Pusher> {
        let mut pushes = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // 128 random bits, looked up by a keyed hash: time tells nothing.
        let open = pushes.get_mut(capability)?;
        if open.asked.contains(&hook) {
            return None;
        }
        open.asked.push(hook);
        Some(open.pusher.clone())
    }
}

/// A capability, good until this is dropped.
pub(in crate::api) struct Pass {
    receiving: Arc<Receiving>,
    pub(in crate::api) capability: String,
}

impl Pass {
    /// Whether the hook asked that can refuse.
    fn has_asked(&self) -> bool {
        let open = self.receiving.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&self.capability).is_some_and(|open| open.asked.contains(&Hook::PreReceive))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let open = self.receiving.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.capability);
        let Some(open) = open.filter(|open| !open.asked.contains(&Hook::PreReceive)) else { return };
        let receiving = Arc::clone(&self.receiving);
        // The answer of a push ends on a thread of the runtime, which waits for no disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || receiving.look_after(open))),
            Err(_) => receiving.look_after(open),
        }
    }
}

impl Receiving {
    /// Of a push of nothing, or one that git refuses by itself, no hook asks. Where they were not as they have to be at its end, it may
    /// have been taken unasked.
    fn look_after(&self, Open { pusher, asked }: Open) {
        let changed = match self.hosted.as_ref().map(|(hosted, _)| hosted.stand()) {
            None => return,
            Some(Ok(written)) if written.is_empty() => return,
            Some(Ok(written)) => written.join(", "),
            Some(Err(error)) => error.to_string(),
        };
        let by = pusher.name;
        tracing::error!(
            by,
            ?asked,
            hooks = changed,
            "hooks were changed while a push ran that asked for no judgement; look at the branches"
        );
    }
}

/// What is remembered of an answer that takes nothing; none: it is taken, or nothing was to be.
fn rejected(by: &str, at_unix_ms: i64, answer: &Answer) -> Option<RejectedPush> {
    let line = |text: &str| text.lines().next().unwrap_or_default().chars().take(REASON_MAX).collect::<String>();
    let (revision, summary, reason, count) = match answer {
        Answer::Applied(_) => return None,
        Answer::Unable { message, .. } => (None, String::new(), line(message), 0),
        Answer::Judged(verdict) if verdict.accepted || verdict.dry_run => return None,
        Answer::Judged(verdict) => {
            let finding = verdict.findings.iter().find(|finding| finding.error);
            let told = finding.map(|finding| match finding.place.as_str() {
                "" => finding.message.clone(),
                place => format!("{place}: {}", finding.message),
            });
            let reason = verdict.refusals.first().map(|refusal| refusal.what.clone()).or(told).unwrap_or_default();
            let count = verdict.refusals.len() + verdict.findings.len() + verdict.left_out;
            (verdict.new.clone(), line(&verdict.summary), line(&reason), count)
        }
    };
    Some(RejectedPush { by: by.to_owned(), at_unix_ms, revision, summary, reason, count })
}

/// What a push moves, in a line.
fn branches(question: &Question) -> String {
    let name = |reference: &str| short_name(reference).unwrap_or_else(|| reference.to_owned());
    let names: Vec<String> =
        question.updates.iter().take(BRANCHES_LOGGED).map(|update| name(&update.reference)).collect();
    let more = question.updates.len().saturating_sub(names.len());
    let named: String = names.join(", ").chars().filter(|c| !c.is_control()).take(REASON_MAX).collect();
    if more > 0 { format!("{named} and {more} more") } else { named }
}

/// Answers a hook. `trusted`: who asked if they show no capability.
pub(super) async fn answer(app: &App, question: Question, trusted: Option<Pusher>) -> Answer {
    let pusher = match (&question.capability, trusted) {
        (Some(capability), _) => app.receiving.redeem(capability, question.hook),
        (None, trusted) => trusted,
    };
    let Some(pusher) = pusher else {
        return Answer::unable("this push is not known here, or its hook asked already", Some("push again"));
    };
    match question.hook {
        Hook::PreReceive => {
            let (by, branches, moves) = (pusher.name.clone(), branches(&question), unmoved::Moves::of(&question));
            let answer = judge::in_time(judge::JUDGE_MAX, judge::judge(app, question, pusher)).await;
            app.receiving.note(&by, &branches, app.fleet.clock.now_unix_ms(), &answer);
            if let (Some(moves), Answer::Judged(verdict)) = (moves, &answer)
                && verdict.accepted
                && !verdict.dry_run
            {
                let fleet = Arc::clone(&app.fleet);
                app.receiving.await_moves(&by, moves, move || fleet.clock.now_unix_ms());
            }
            answer
        }
        Hook::PostReceive => {
            app.receiving.have_moved(&question);
            judge::wait(app, question).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_that_were_not_taken_are_counted_and_the_last_few_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let bare = Source::Bare { path: folder.path().into(), branch: None, subpath: None };
        let receiving = Receiving::new(folder.path().join("users.json"), &bare, None);
        let finding = |error, message: &str| Shown {
            error,
            place: "site.yaml:1:1".into(),
            message: message.into(),
            hint: None,
            source: None,
        };
        let verdict = Verdict { new: Some("abc".into()), summary: "More".into(), ..Verdict::default() };
        let findings = vec![finding(false, "odd"), finding(true, "wrong\nand more")];
        let refused = Verdict { findings, ..verdict.clone() };
        for verdict in [
            Verdict { accepted: true, ..verdict.clone() },
            Verdict { dry_run: true, ..refused.clone() },
            refused.clone(),
        ] {
            receiving.note("ada", "main", 1, &Answer::Judged(Box::new(verdict)));
        }
        let status = receiving.rejected().unwrap();
        let expected = RejectedPush {
            by: "ada".into(),
            at_unix_ms: 1,
            revision: Some("abc".into()),
            summary: "More".into(),
            reason: "site.yaml:1:1: wrong".into(),
            count: 2,
        };
        assert_eq!((status.rejected, status.recent), (1, vec![expected]));
        for n in 0..50 {
            receiving.note("bob", "main", n, &Answer::unable(format!("no {n}"), None));
        }
        let status = receiving.rejected().unwrap();
        assert_eq!((status.rejected, status.recent.len()), (51, REJECTED_KEPT));
        assert_eq!(status.recent.last().map(|push| push.reason.as_str()), Some("no 49"));
        let other = Source::Directory { path: folder.path().into() };
        assert_eq!(Receiving::new(folder.path().join("users.json"), &other, None).rejected(), None);
    }

    #[test]
    fn a_capability_is_good_for_each_hook_once_and_dies_with_its_push() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Directory { path: folder.path().into() };
        let receiving = Arc::new(Receiving::new(folder.path().join("users.json"), &source, None));
        let pusher = Pusher { name: "ada".into(), rights: Rights::all() };
        let pass = receiving.admit(pusher).unwrap();
        let capability = pass.capability.clone();
        let whose = |hook| receiving.redeem(&capability, hook).map(|pusher| pusher.name);
        assert_eq!(whose(Hook::PreReceive).as_deref(), Some("ada"));
        assert_eq!(whose(Hook::PreReceive), None, "once");
        assert_eq!(whose(Hook::PostReceive).as_deref(), Some("ada"));
        assert!(receiving.redeem("", Hook::PreReceive).is_none());
        let pass = (receiving.admit(Pusher { name: "bob".into(), rights: Rights::all() }).unwrap(), pass);
        let other = pass.0.capability.clone();
        drop(pass);
        assert!(receiving.redeem(&other, Hook::PreReceive).is_none(), "over");
    }
}
