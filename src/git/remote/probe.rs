//! Whether a source would be followed: it is asked what it shows, and nothing of it is taken.

use super::fetch::{Known, Look, Room, Seen, failed, look};
use super::follow::{Advertised, Follow, choose};
use super::history::Wanted;
use super::job::Job;
use super::settings::SourceSettings;
use super::transport::Address;
use crate::git::GitError;
use git2::{Direction, Remote};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a source shows: the name that is followed, and what it leads to. It ends after its timeout, or after this where that is
/// sooner. Credentials are read as for a fetch.
///
/// # Errors
/// Why it would not be followed.
pub fn probe(settings: &SourceSettings, most: Duration) -> Result<(String, String), GitError> {
    let mut settings = settings.clone();
    settings.timeout = settings.timeout.min(most);
    let fails = |message: String| failed(&settings, message);
    let Some(job) = Job::begin(&settings).map_err(|error| fails(error.to_string()))?.map(Arc::new) else {
        return here(&settings);
    };
    let address = Address::of(&job).map_err(fails)?;
    let mut remote = Remote::create_detached(address.as_str()).map_err(|error| fails(job.why(&error)))?;
    remote.connect(Direction::Fetch).map_err(|error| fails(job.why(&error)))?;
    let listed = remote.list().map_err(|error| fails(job.why(&error)))?;
    let shown: Vec<Advertised> =
        listed.iter().map(|head| Advertised { name: head.name().to_owned(), id: head.oid() }).collect();
    match (choose(&settings.follow, &shown), &settings.follow) {
        (Some(chosen), _) => Ok((chosen.name.clone(), chosen.id.to_string())),
        // One that is not at the end of a branch is asked for by its id: what comes of that only a fetch shows.
        (None, Follow::Commit(id)) => Ok(("commit".to_owned(), id.clone())),
        (None, follow) => Err(fails(follow.lacking())),
    }
}

/// A repository on this disk.
fn here(settings: &SourceSettings) -> Result<(String, String), GitError> {
    let room = Room::new(Path::new(""), settings);
    match look(settings, &room, Seen { known: None, held: None }, &Wanted::default(), &mut 0)? {
        Look::New { known: Known { reference, commit, .. }, .. } => Ok((reference, commit)),
        Look::Same => Err(failed(settings, "nothing is to be seen".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::url::Location;
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn a_source_says_what_it_would_be_followed_at_or_why_not() {
        let repository = TestRepository::new();
        let commit = repository.push("one", &[("site.yaml", "x")]);
        let ask = |location: Location, branch: &str| {
            let settings = SourceSettings::new("site", location, Follow::Branch(branch.to_owned()));
            probe(&settings, Duration::from_secs(5)).map_err(|error| error.to_string())
        };
        let here = || Location::Local(repository.bare());
        assert_eq!(ask(here(), "main"), Ok(("refs/heads/main".to_owned(), commit)));
        assert!(ask(here(), "trunk").is_err_and(|error| error.contains("no branch trunk")));
        assert!(ask(Location::Local("/nowhere.git".into()), "main").is_err());
        // Nobody listens there, and nothing is waited for.
        let closed = Location::parse("https://127.0.0.1:1/site.git").expect("a URL");
        assert!(ask(closed, "main").is_err_and(|error| error.starts_with("https://127.0.0.1:1/site.git: ")));
    }
}
