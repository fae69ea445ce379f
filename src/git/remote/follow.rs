//! Which of the names that a repository shows is followed. Pure.

use git2::Oid;
use semver::{Version, VersionReq};

/// What is followed: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// The branch that the repository's `HEAD` names.
    Default,
    /// A branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// The highest version among the tags that fits (`v1.2.3` or `1.2.3`).
    Semver(VersionReq),
    /// One commit, and nothing after it.
    Commit(String),
}

impl Follow {
    /// Reads what stands under one of the keys `branch`, `tag`, `semver` and `commit`.
    ///
    /// # Errors
    /// How it is to be written.
    pub fn read(key: &str, value: &str) -> Result<Self, &'static str> {
        let follow = match key {
            "branch" if is_reference(value) => Some(Self::Branch(value.to_owned())),
            "tag" if is_reference(value) => Some(Self::Tag(value.to_owned())),
            "semver" => VersionReq::parse(value).ok().map(Self::Semver),
            "commit" if value.len() == 40 && value.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) => {
                Some(Self::Commit(value.to_owned()))
            }
            _ => None,
        };
        follow.ok_or(match key {
            "semver" => "a range such as `^1.4` or `>=1.2, <2`",
            "commit" => "all 40 characters of its id, in lower case",
            _ => "a name without `refs/…`",
        })
    }
}

impl Follow {
    /// What a repository lacks that has nothing of it to follow.
    pub(super) fn lacking(&self) -> String {
        match self {
            Self::Default => "it has no commit yet; push one".to_owned(),
            Self::Semver(range) => format!("it has no tag in {range}"),
            named => format!("it has no {named}"),
        }
    }
}

impl std::fmt::Display for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("its HEAD"),
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Semver(range) => write!(f, "the highest tag in {range}"),
            Self::Commit(id) => write!(f, "commit {id}"),
        }
    }
}

/// A name and what it points to (for an annotated tag: the tag itself).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advertised {
    pub name: String,
    pub id: Oid,
}

/// The one to fetch. `None`: it is not there.
pub(super) fn choose<'a>(follow: &Follow, advertised: &'a [Advertised]) -> Option<&'a Advertised> {
    let named = |name: &str| advertised.iter().find(|found| found.name == name);
    match follow {
        Follow::Default => named("HEAD"),
        Follow::Branch(branch) => named(&format!("refs/heads/{branch}")),
        Follow::Tag(tag) => named(&format!("refs/tags/{tag}")),
        Follow::Semver(range) => advertised
            .iter()
            .filter_map(|found| Some((version(found.name.strip_prefix("refs/tags/")?)?, found)))
            .filter(|(version, _)| range.matches(version))
            // Of `v1.2.0` and `1.2.0`, which are one version, always the same.
            .max_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)))
            .map(|(_, found)| found),
        Follow::Commit(id) => advertised.iter().find(|found| found.id.to_string() == *id),
    }
}

fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

/// Whether another object under this name, which is no later version, means that history was rewritten.
pub(super) fn names_move(follow: &Follow) -> bool {
    matches!(follow, Follow::Default | Follow::Branch(_))
}

/// Whether a word can be a branch's or a tag's name.
fn is_reference(name: &str) -> bool {
    !name.starts_with('-') && git2::Reference::is_valid_name(&format!("refs/heads/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_is_named_is_followed() {
        let id = |n: u8| Oid::from_bytes(&[n; 20]).unwrap();
        let names = [
            ("HEAD", 1),
            ("refs/heads/main", 1),
            ("refs/heads/v9.9.9", 2),
            ("refs/tags/v1.2.0", 3),
            ("refs/tags/v1.10.0", 4),
            ("refs/tags/v1.11.0-rc.1", 5),
            ("refs/tags/2.0.0", 6),
            ("refs/tags/nightly", 7),
        ];
        let advertised: Vec<_> =
            names.iter().map(|(name, n)| Advertised { name: (*name).to_owned(), id: id(*n) }).collect();
        let range = |text: &str| Follow::Semver(VersionReq::parse(text).unwrap());
        for (follow, expected) in [
            (Follow::Default, Some("HEAD")),
            (Follow::Branch("main".into()), Some("refs/heads/main")),
            (Follow::Branch("v1.2.0".into()), None),
            (Follow::Tag("nightly".into()), Some("refs/tags/nightly")),
            (Follow::Tag("main".into()), None),
            (range("^1.2"), Some("refs/tags/v1.10.0")),
            (range(">=1.11.0-rc.0, <1.12"), Some("refs/tags/v1.11.0-rc.1")),
            (range("*"), Some("refs/tags/2.0.0")),
            (range("^9"), None),
            (Follow::Commit(id(7).to_string()), Some("refs/tags/nightly")),
            (Follow::Commit(id(8).to_string()), None),
        ] {
            assert_eq!(choose(&follow, &advertised).map(|found| found.name.as_str()), expected, "{follow}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_in_a_sentence() {
        for (follow, words) in [
            (Follow::Default, "it has no commit yet; push one"),
            (Follow::Branch("main".into()), "it has no branch main"),
            (Follow::Tag("v1".into()), "it has no tag v1"),
            (Follow::Semver(VersionReq::parse(">=1").unwrap()), "it has no tag in >=1"),
        ] {
            assert_eq!(follow.lacking(), words);
        }
    }
}
