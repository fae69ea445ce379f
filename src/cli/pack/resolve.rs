//! Which commit a request means, by the references of a repository. Pure.

use crate::content::elsewhere::{Request, Version};
use crate::git::RemoteReference;

/// A commit that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) commit: String,
    /// What led to it; none: the commit itself was named.
    pub(super) reference: Option<String>,
}

/// Versions that tags name, the highest last. Tags that name none are left out.
pub(super) fn versions(references: &[RemoteReference]) -> Vec<(Version, &RemoteReference)> {
    let mut found: Vec<(Version, &RemoteReference)> = references
        .iter()
        .filter_map(|reference| {
            let tag = reference.name.strip_prefix("refs/tags/")?;
            let version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
            Some((version, reference))
        })
        .collect();
    // Of `1.0.0` and `v1.0.0` the one without a letter is the last; any rule will do, as long as it is always the same.
    found.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| y.name.cmp(&x.name)));
    found
}

/// The commit of a request.
///
/// # Errors
/// There is none: what there is, in words.
pub(super) fn resolve(request: &Request, references: &[RemoteReference]) -> Result<Resolved, String> {
    let named = |name: String, what: &str| {
        let found = references.iter().find(|reference| reference.name == name);
        found
            .map(|reference| Resolved { commit: reference.commit.clone(), reference: Some(name) })
            .ok_or_else(|| format!("there is no {what}"))
    };
    match request {
        Request::Commit(id) => Ok(Resolved { commit: id.clone(), reference: None }),
        Request::Tag(tag) => named(format!("refs/tags/{tag}"), &format!("tag {tag}")),
        Request::Branch(branch) => named(format!("refs/heads/{branch}"), &format!("branch {branch}")),
        Request::Version(range) => {
            let versions = versions(references);
            let fits = versions.iter().rev().find(|(version, _)| range.matches(version));
            fits.map(|(_, reference)| Resolved {
                commit: reference.commit.clone(),
                reference: Some(reference.name.clone()),
            })
            .ok_or_else(|| match versions.last() {
                Some((highest, _)) => format!("no version fits {range}; the highest is {highest}"),
                None => format!("no version fits {range}: no tag is a version, such as v1.2.3"),
            })
        }
    }
}

/// A name for what was locked: the tag or branch, else the commit.
pub(super) fn shown(reference: Option<&str>, commit: &str) -> String {
    let short = super::short(commit);
    match reference {
        Some(name) => {
            let name = name.trim_start_matches("refs/tags/").trim_start_matches("refs/heads/");
            format!("{name} ({short})")
        }
        None => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references() -> Vec<RemoteReference> {
        [
            ("refs/heads/main", "m"),
            ("refs/heads/v9.0.0", "no"),
            ("refs/tags/v1.2.0", "a"),
            ("refs/tags/1.10.0", "b"),
            ("refs/tags/v1.9.0", "c"),
            ("refs/tags/v2.0.0-rc.1", "d"),
            ("refs/tags/latest", "e"),
        ]
        .map(|(name, commit)| RemoteReference { name: name.into(), commit: commit.into() })
        .to_vec()
    }

    #[test]
    fn a_request_means_one_commit_or_says_what_there_is() {
        let range = |text| Request::Version(semver::VersionReq::parse(text).expect("a range"));
        for (request, expected) in [
            (range("^1.2"), Ok(("b", "refs/tags/1.10.0"))),
            (range("~1.9"), Ok(("c", "refs/tags/v1.9.0"))),
            (range("=1.2.0"), Ok(("a", "refs/tags/v1.2.0"))),
            (range("^2"), Err("the highest is 2.0.0-rc.1")),
            (range(">=2.0.0-rc.0"), Ok(("d", "refs/tags/v2.0.0-rc.1"))),
            (Request::Tag("latest".into()), Ok(("e", "refs/tags/latest"))),
            (Request::Tag("gone".into()), Err("no tag gone")),
            (Request::Branch("main".into()), Ok(("m", "refs/heads/main"))),
            (Request::Branch("latest".into()), Err("no branch latest")),
        ] {
            let found = resolve(&request, &references());
            match expected {
                Ok((commit, name)) => {
                    let expected = Resolved { commit: commit.into(), reference: Some(name.into()) };
                    assert_eq!(found, Ok(expected), "{request}");
                }
                Err(part) => assert!(found.as_ref().is_err_and(|said| said.contains(part)), "{request}: {found:?}"),
            }
        }
        let found = resolve(&Request::Commit("x".into()), &[]).expect("it is itself");
        assert_eq!((found.commit.as_str(), found.reference), ("x", None));
        assert!(resolve(&range("^1"), &[]).is_err_and(|said| said.contains("no tag is a version")));
    }

    #[test]
    fn what_is_locked_is_shown_by_its_name_and_commit() {
        let id = "0123456789abcdef";
        assert_eq!(shown(Some("refs/tags/v1.2.0"), id), "v1.2.0 (0123456789ab)");
        assert_eq!(shown(Some("refs/heads/main"), id), "main (0123456789ab)");
        assert_eq!(shown(None, id), "0123456789ab");
    }
}
