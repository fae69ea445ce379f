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
mod shown;
mod socket;
mod wire;

pub(super) use http::{routes, visitor};
pub use shown::{Shown, Source as SourceLine};
pub(super) use socket::serve;
pub use socket::{SocketError, listen};
pub use wire::{Answer, Applied, Hook, Other, Question, Verdict};

use super::App;
use crate::git::receive::{Backend, Hosted, Received, Users};
use crate::git::{Follower, Source, Verifier};
use crate::identity::IdentityError;
use crate::identity::user::Rights;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What receives pushes.
pub struct Receiving {
    users: Users,
    hosted: Option<(Hosted, Backend)>,
    received: Option<Received>,
    checks: Option<checks::Checks>,
    open: Mutex<HashMap<String, Open>>,
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
        Self { users: Users::in_file(users), hosted, received, checks: None, open: Mutex::default() }
    }

    /// Pushes are judged as this follower's revisions are: signed by this policy (none: signatures are not asked for), and with
    /// the packs that it fetches.
    #[must_use]
    pub fn checking(mut self, follower: Arc<Follower>, verifier: Option<Arc<Verifier>>) -> Self {
        self.checks = Some(checks::Checks { follower, verifier });
        self
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

impl Drop for Pass {
    fn drop(&mut self) {
        self.receiving.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.capability);
    }
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
        Hook::PreReceive => judge::judge(app, question, pusher).await,
        Hook::PostReceive => judge::wait(app, question).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
