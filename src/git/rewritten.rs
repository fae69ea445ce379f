//! A branch of a repository on this disk that does not go on from where it was: it is followed, and that is told.

use super::follower::ALONE;
use super::loose::Loose;
use super::owner::{Owner, open};
use super::remote::SourceEvent;
use super::remote::ancestry::{Descent, descends, parents_of};
use super::{Revision, Source};
use git2::{Oid, Repository};

impl Owner {
    /// What the branch shows now. Of what happened before the start nothing is known.
    pub(super) fn notice(&mut self, head: &Revision) {
        let Source::Bare { path, branch, .. } = &self.source else { return };
        let Some(before) = self.last_head.replace(head.id.clone()).filter(|before| *before != head.id) else { return };
        let Ok(repository) = open(path) else { return };
        if goes_on(&repository, &before, &head.id) {
            return;
        }
        let named = || repository.head().ok().and_then(|head| head.name().ok().map(str::to_owned));
        let reference = match branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => named().unwrap_or_else(|| "HEAD".to_owned()),
        };
        tracing::warn!(reference, from = before, to = head.id, "the branch was rewritten, and is followed");
        (self.news)(SourceEvent::Rewritten {
            source: ALONE.to_owned(),
            reference,
            from: before,
            to: head.id.clone(),
            followed: true,
        });
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
        let follower = Follower::start_with(source, &repository.beside("mirror.git"), ears).unwrap();
        let until = async |id: &str| {
            let mut sight = follower.sight();
            let seen = sight.wait_for(|sight| matches!(sight, Sight::Head(revision) if revision.id == id));
            tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap().unwrap();
        };
        until(&first).await;
        repository.commit("second", &[("a", "2")]);
        let third = repository.push("third", &[("a", "3")]);
        until(&third).await;
        assert_eq!(*heard.lock().unwrap(), [], "two commits at once go on");
        repository.git(&["reset", "-q", "--hard", &first]);
        let other = repository.push("other", &[("a", "4")]);
        until(&other).await;
        let expected = SourceEvent::Rewritten {
            source: ALONE.to_owned(),
            reference: "refs/heads/main".to_owned(),
            from: third,
            to: other,
            followed: true,
        };
        assert_eq!(*heard.lock().unwrap(), [expected]);
    }
}
