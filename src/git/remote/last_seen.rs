//! What a repository on this disk that is followed alone showed last, also to an earlier process: it lies where the same is known of
//! others.

use super::fetch::{Known, Room};
use super::follow::Follow;
use super::settings::SourceSettings;
use super::url::Location;
use crate::git::ALONE;
use std::path::Path;

/// Where it is written down.
pub(in crate::git) struct LastSeen {
    settings: SourceSettings,
    room: Room,
}

impl LastSeen {
    /// Of this repository and branch (none: the one that its `HEAD` names), beside the mirror.
    pub(in crate::git) fn beside(mirror: &Path, repository: &Path, branch: Option<&str>) -> Self {
        let follow = branch.map_or(Follow::Default, |branch| Follow::Branch(branch.to_owned()));
        let settings = SourceSettings::new(ALONE, Location::Local(repository.to_owned()), follow);
        let room = Room::new(&mirror.with_file_name("remotes"), &settings);
        Self { settings, room }
    }

    /// The commit that this reference pointed to; none where nothing is known, or of another reference.
    pub(in crate::git) fn read(&self, reference: &str) -> Option<String> {
        let known = self.room.read_known(&self.settings)?;
        (known.reference == reference).then_some(known.commit)
    }

    /// Writes it down.
    pub(in crate::git) fn write(&self, reference: &str, commit: &str) -> std::io::Result<()> {
        if let Some(folder) = self.room.known.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let (reference, id, commit) = (reference.to_owned(), commit.to_owned(), commit.to_owned());
        self.room.write_known(&self.settings, &Known { reference, id, commit })
    }
}
