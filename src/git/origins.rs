//! Where the files of a site come from: of each the repository, its name there, and who wrote it.

use super::once::History;
use crate::content::elsewhere::{Lock, vendor_folder};
use crate::content::{Place, Tree};
use crate::inspect::{Commit, OfRepository, Trace, is_built_in};
use std::path::{Path, PathBuf};

/// A repository that files of a site come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The folder of the site that they are in; none: all that is in no other.
    pub folder: Option<String>,
    /// How people reach it; none: it is the site's own, on this disk.
    pub repository: Option<String>,
    /// The folder of it that they are from; none: its root.
    pub subpath: Option<String>,
    /// The commit.
    pub revision: String,
    /// Where its objects are; none: they are not here.
    pub objects: Option<PathBuf>,
}

/// The parts of a site, each with its history.
pub struct Origins {
    /// Those in a folder first.
    parts: Vec<(Part, Option<History>)>,
}

impl Origins {
    /// Opens the histories of these. Reads the disk.
    pub fn open(parts: Vec<Part>) -> Self {
        let open =
            |part: &Part| History::of_repository(part.objects.as_deref()?, &part.revision, part.subpath.as_deref());
        let parts = parts.into_iter().map(|part| {
            let history = open(&part);
            (part, history)
        });
        Self::of(parts.collect())
    }

    /// A site that lies in one place, with the packs from elsewhere that its files name.
    pub fn of_site(history: Option<History>, tree: &Tree) -> Self {
        let site = Part { folder: None, repository: None, subpath: None, revision: String::new(), objects: None };
        let packs = packs(tree, None).into_iter().map(|part| (part, None));
        Self::of(std::iter::once((site, history)).chain(packs).collect())
    }

    fn of(mut parts: Vec<(Part, Option<History>)>) -> Self {
        parts.sort_by_key(|(part, _)| std::cmp::Reverse(part.folder.as_ref().map(String::len)));
        Self { parts }
    }

    /// Says of all that makes a machine where it is from.
    pub fn tell(&self, trace: &mut Trace) {
        for origin in &mut trace.origins {
            (origin.repository, origin.commit) = self.find(&origin.place, origin.line);
        }
    }

    /// Where a place is from, and who wrote it: its line, or its whole file.
    pub fn find(&self, place: &Place, line: bool) -> (Option<OfRepository>, Option<Commit>) {
        let (mut repository, mut commit) = (None, None);
        // Nobody's who has a repository, whichever folder it seems to lie in.
        if is_built_in(place) {
            return (repository, commit);
        }
        for (part, history) in &self.parts {
            let Some(file) = inside(part.folder.as_deref(), &place.file) else { continue };
            if repository.is_none() {
                repository = part.repository.as_ref().map(|url| OfRepository {
                    url: url.clone(),
                    file: part.subpath.as_ref().map_or_else(|| file.to_owned(), |folder| format!("{folder}/{file}")),
                    revision: part.revision.clone(),
                });
            }
            let place = Place { file: file.into(), ..place.clone() };
            commit = history.as_ref().and_then(|history| history.of(&place, line)).map(Commit::from);
            // A pack that lies in the site's repository was written there by whom that one knows.
            if commit.is_some() {
                break;
            }
        }
        (repository, commit)
    }
}

fn inside<'a>(folder: Option<&str>, file: &'a str) -> Option<&'a str> {
    match folder {
        Some(folder) => file.strip_prefix(folder)?.strip_prefix('/'),
        None => Some(file),
    }
}

/// The packs from elsewhere that a site locks. `cache`: where those are that do not lie in it.
pub(super) fn packs(tree: &Tree, cache: Option<&Path>) -> Vec<Part> {
    let lock = Lock::of_tree(tree).unwrap_or_default();
    let part = |pack: crate::content::elsewhere::LockedPack| {
        let folder = vendor_folder(&pack.name);
        let lies_here = tree.files.keys().any(|file| inside(Some(&folder), file).is_some());
        Some(Part {
            repository: Some(pack.from.git?),
            subpath: pack.from.path,
            revision: pack.commit,
            objects: cache.filter(|_| !lies_here).map(Path::to_path_buf),
            folder: Some(folder),
        })
    };
    lock.packs.into_iter().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn files_are_found_in_the_repository_that_they_are_from() {
        let (main, team) = (TestRepository::new(), TestRepository::new());
        let platform = main.push("platform", &[("site.yaml", "x"), ("packs/vendor/web/pack.yaml", "y")]);
        let first = team.push("first", &[("deep/a.yaml", "one\ntwo\n")]);
        let second = team.push("second", &[("deep/a.yaml", "one\nthree\n")]);
        let part = |folder: Option<&str>, url: &str, revision: &str, objects: Option<PathBuf>| Part {
            folder: folder.map(str::to_owned),
            repository: Some(url.to_owned()),
            subpath: None,
            revision: revision.to_owned(),
            objects,
        };
        let mut mounted = part(Some("tenants/a"), "https://h/a", &second, Some(team.bare()));
        mounted.subpath = Some("deep".to_owned());
        let origins = Origins::open(vec![
            part(None, "https://h/main", &platform, Some(main.bare())),
            mounted,
            part(Some("packs/vendor/web"), "https://h/web", &"4".repeat(40), None),
        ]);
        for (file, line, url, inside, revision, commit) in [
            ("site.yaml", 1, "https://h/main", "site.yaml", &platform, Some(&platform)),
            ("tenants/a/a.yaml", 1, "https://h/a", "deep/a.yaml", &second, Some(&first)),
            ("tenants/a/a.yaml", 2, "https://h/a", "deep/a.yaml", &second, Some(&second)),
            ("tenants/ab.yaml", 1, "https://h/main", "tenants/ab.yaml", &platform, None),
            ("packs/vendor/web/pack.yaml", 1, "https://h/web", "pack.yaml", &"4".repeat(40), Some(&platform)),
        ] {
            let (found, written) = origins.find(&Place { file: file.into(), line, column: 1 }, true);
            let repository = OfRepository { url: url.into(), file: inside.into(), revision: revision.clone() };
            assert_eq!(found, Some(repository), "{file}");
            assert_eq!(written.map(|commit| commit.id).as_ref(), commit, "{file}:{line}");
        }
    }

    #[test]
    fn what_is_built_into_the_program_is_from_no_repository() {
        let repository = TestRepository::new();
        let commit = repository.push("all of it", &[("site.yaml", "x")]);
        let part = Part {
            folder: None,
            repository: Some("https://h/main".to_owned()),
            subpath: None,
            revision: commit.clone(),
            objects: Some(repository.bare()),
        };
        let origin = |file: &str| {
            crate::inspect::Origin::new(file.to_owned(), Place { file: file.into(), line: 1, column: 1 }, false)
        };
        let mut trace = Trace {
            machine: "node-1".to_owned(),
            revision: commit.clone(),
            origins: vec![origin("builtin:discovery/pack.yaml"), origin("site.yaml")],
        };
        Origins::open(vec![part]).tell(&mut trace);
        let [built_in, own] = &trace.origins[..] else { panic!("two: {trace:?}") };
        assert_eq!((&built_in.repository, &built_in.commit), (&None, &None));
        assert!(built_in.built_in.is_some() && own.built_in.is_none(), "{trace:?}");
        assert_eq!(own.commit.as_ref().map(|written| &written.id), Some(&commit));
        assert!(own.repository.is_some());
    }

    #[test]
    fn at_the_edge_of_a_history_that_is_not_here_in_whole_it_is_said_so() {
        let repository = TestRepository::new();
        repository.push("old", &[("a", "one\ntwo\n"), ("b", "x")]);
        let edge = repository.push("edge", &[("c", "x")]);
        let newest = repository.push("newest", &[("a", "one\nthree\n")]);
        let shallow = repository.beside("shallow.git");
        let from = format!("file://{}", repository.bare().display());
        repository.git(&["clone", "-q", "--bare", "--depth", "2", &from, &shallow.to_string_lossy()]);
        let part =
            Part { folder: None, repository: None, subpath: None, revision: newest.clone(), objects: Some(shallow) };
        let origins = Origins::open(vec![part]);
        for (file, line, commit, or_before) in [
            ("a", Some(1), &edge, true),
            ("a", Some(2), &newest, false),
            ("a", None, &newest, false),
            ("b", None, &edge, true),
        ] {
            let place = Place { file: file.into(), line: line.unwrap_or(1), column: 1 };
            let written = origins.find(&place, line.is_some()).1.expect("a commit");
            assert_eq!((&written.id, written.or_before), (commit, or_before), "{file} {line:?}");
        }
    }
}
