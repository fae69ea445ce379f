//! A branch of a repository on this disk that does not go on from where it was: it is followed, and that is told.

use super::follower::ALONE;
use super::loose::Loose;
use super::owner::{Owner, open};
use super::remote::ancestry::{Descent, descends, parents_of};
use super::remote::{LastSeen, SourceEvent};
use super::{Revision, Source};
use git2::{Oid, Repository};

impl Owner {
    /// What the branch shows now. What it showed to an earlier process is written down: it may have been rewritten meanwhile.
    pub(super) fn notice(&mut self, head: &Revision) {
        let Source::Bare { path, branch, .. } = &self.source else { return };
        let last = self.last_head.replace(head.id.clone());
        if last.as_ref() == Some(&head.id) {
            return;
        }
        let Ok(repository) = open(path) else { return };
        let named = || repository.head().ok().and_then(|head| head.name().ok().map(str::to_owned));
        let reference = match branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => named().unwrap_or_else(|| "HEAD".to_owned()),
        };
        let last_seen = LastSeen::beside(&self.mirror.path, path, branch.as_deref());
        let before = last.or_else(|| last_seen.read(&reference)).filter(|before| *before != head.id);
        if let Some(before) = before.filter(|before| !goes_on(&repository, before, &head.id)) {
            tracing::warn!(reference, from = before, to = head.id, "the branch was rewritten, and is followed");
            (self.news)(SourceEvent::Rewritten {
                source: ALONE.to_owned(),
                reference: reference.clone(),
                from: before,
                to: head.id.clone(),
                followed: true,
            });
        }
        // Told first: what is not written down is told once more after a restart, and never lost.
        if let Err(error) = last_seen.write(&reference, &head.id) {
            tracing::warn!(%error, "a branch that is rewritten while the server is down will not be noticed");
        }
    }
}

/// Whether one commit comes after the other, as far as history can be read.
fn goes_on(repository: &Repository, before: &str, now: &str) -> bool {
    let (Ok(before), Ok(now), Ok(odb)) = (Oid::from_str(before), Oid::from_str(now), repository.odb()) else {
        return true;
    };
    let loose = Loose::of(repository);
    let parents = |id: Oid| {
        let object = loose.check(id).and_then(|()| odb.read(id));
        object.ok().map(|object| parents_of(object.data()))
    };
    // Most often it is the very next.
    parents(now).is_some_and(|parents| parents.contains(&before)) || descends(before, now, parents) == Descent::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;
    use crate::git::{Ears, Follower, Sight};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    #[tokio::test]
    async fn a_branch_on_this_disk_that_is_rewritten_is_told_once_and_followed() {
        let repository = TestRepository::new();
        let heard: Arc<Mutex<Vec<SourceEvent>>> = Arc::default();
        let news = Arc::clone(&heard);
        let ears = Ears { news: Arc::new(move |event| news.lock().unwrap().push(event)), ..Ears::default() };
        let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
        let first = repository.push("first", &[("a", "1")]);
        let start =
            || Follower::start_with(source.clone(), &repository.beside("state/mirror.git"), ears.clone()).unwrap();
        let until = async |follower: &Follower, id: &str| {
            let mut sight = follower.sight();
            let seen = sight.wait_for(|sight| matches!(sight, Sight::Head(revision) if revision.id == id));
            tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap().unwrap();
        };
        std::fs::create_dir(repository.beside("state")).unwrap();
        let mut follower = start();
        until(&follower, &first).await;
        repository.commit("second", &[("a", "2")]);
        let third = repository.push("third", &[("a", "3")]);
        until(&follower, &third).await;
        assert_eq!(*heard.lock().unwrap(), [], "two commits at once go on");
        repository.git(&["reset", "-q", "--hard", &first]);
        let other = repository.push("other", &[("a", "4")]);
        until(&follower, &other).await;
        let rewritten = |from: &str, to: &str| SourceEvent::Rewritten {
            source: ALONE.to_owned(),
            reference: "refs/heads/main".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            followed: true,
        };
        assert_eq!(*heard.lock().unwrap(), [rewritten(&third, &other)]);

        // While nobody looks: what goes on from there is no news after that, and what does not is.
        let mut last = other.clone();
        for (back_to, told) in [(None, 1), (Some(&first), 2), (None, 2)] {
            let mut sight = follower.sight();
            drop(follower);
            while sight.changed().await.is_ok() {}
            if let Some(commit) = back_to {
                repository.git(&["reset", "-q", "--hard", commit]);
            }
            let next = repository.push("next", &[("a", &format!("{last}, and on"))]);
            follower = start();
            until(&follower, &next).await;
            let heard = heard.lock().unwrap().clone();
            assert_eq!(heard.len(), told, "{back_to:?}: {heard:?}");
            if back_to.is_some() {
                assert_eq!(heard[1], rewritten(&last, &next));
            }
            last = next;
        }
    }
}
