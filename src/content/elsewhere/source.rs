//! What an entry of `spec.packs` names.

use super::super::kinds::PackSource;
use super::super::names::is_label;

/// Where a pack comes from, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It comes with the program.
    Builtin(String),
    /// A folder of the repository.
    Folder(String),
    /// Another repository.
    Git {
        /// Its name here: that of its `pack.yaml`.
        name: String,
        /// The repository.
        url: String,
        /// The folder inside it; none: its root.
        path: Option<String>,
        /// Which commit.
        request: Request,
    },
}

/// Which commit of a repository is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// This one.
    Commit(String),
    /// That of a tag.
    Tag(String),
    /// The newest of a branch, when the lock is written.
    Branch(String),
    /// The highest version among the tags that fits, when the lock is written.
    Version(semver::VersionReq),
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commit(id) => write!(f, "commit {}", id.get(..12).unwrap_or(id)),
            Self::Tag(name) => write!(f, "tag {name}"),
            Self::Branch(name) => write!(f, "branch {name}"),
            Self::Version(range) => write!(f, "version {range}"),
        }
    }
}

/// A version as tags name it: `1.2.3` or `v1.2.3`.
pub type Version = semver::Version;

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// The field to look at; none: the entry.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

fn wrong(field: Option<&'static str>, message: impl Into<String>, hint: Option<&str>) -> SourceError {
    SourceError { field, message: message.into(), hint: hint.map(str::to_owned) }
}

/// Understands an entry. A folder of the repository is not looked at here.
///
/// # Errors
/// [`SourceError`].
pub fn origin(source: &PackSource) -> Result<Origin, SourceError> {
    let asked = [
        source.commit.as_ref().map(|id| Request::Commit(id.clone())),
        source.tag.as_ref().map(|name| Request::Tag(name.clone())),
        source.branch.as_ref().map(|name| Request::Branch(name.clone())),
    ];
    let Some(url) = &source.git else {
        let of_git = asked.iter().any(Option::is_some) || source.version.is_some() || source.name.is_some();
        return match (&source.builtin, &source.path) {
            _ if of_git => Err(wrong(
                None,
                "`commit`, `tag`, `branch`, `version` and `name` are for a pack that comes from `git`",
                None,
            )),
            (Some(name), None) => Ok(Origin::Builtin(name.clone())),
            (None, Some(folder)) => Ok(Origin::Folder(folder.clone())),
            _ => Err(wrong(None, "a pack is named by exactly one of `builtin`, `path` and `git`", None)),
        };
    };
    if source.builtin.is_some() {
        return Err(wrong(None, "a pack is named by exactly one of `builtin`, `path` and `git`", None));
    }
    check_url(url)?;
    if let Some(path) = &source.path
        && path.trim_end_matches('/').split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(wrong(
            Some("path"),
            format!("`{path}` is not a folder inside that repository"),
            Some("write it from the repository's root, such as `packs/etcd`; leave it out for the root"),
        ));
    }
    let range = source.version.as_ref().map(|text| {
        let hint = Some("a range of versions, such as `^1.2` or `>=1.2, <2`");
        semver::VersionReq::parse(text)
            .map(Request::Version)
            .map_err(|error| wrong(Some("version"), format!("`{text}` is not a range of versions: {error}"), hint))
    });
    let mut requests: Vec<Request> = asked.into_iter().flatten().collect();
    requests.extend(range.transpose()?);
    let (Some(request), true) = (requests.pop(), requests.is_empty()) else {
        return Err(wrong(
            None,
            "a pack from `git` says exactly one of `commit`, `tag`, `branch` and `version`",
            Some("`version: ^1.2` follows compatible versions; each is pinned in packs.lock until it is updated"),
        ));
    };
    match &request {
        Request::Commit(id) if !is_commit(id) => {
            return Err(wrong(
                Some("commit"),
                format!("`{id}` is not a commit"),
                Some("write all 40 hexadecimal digits"),
            ));
        }
        Request::Tag(name) | Request::Branch(name) if !is_reference_name(name) => {
            let field = if matches!(request, Request::Tag(_)) { "tag" } else { "branch" };
            return Err(wrong(Some(field), format!("`{name}` cannot be the name of a {field}"), None));
        }
        _ => {}
    }
    let name = name_of(source).ok_or_else(|| {
        wrong(
            source.name.is_some().then_some("name"),
            "the pack's name is not known from its address",
            Some("write `name:` as the pack's own pack.yaml says it, in lower-case letters, digits and `-`"),
        )
    })?;
    Ok(Origin::Git {
        name,
        url: url.clone(),
        path: source.path.as_ref().map(|path| path.trim_end_matches('/').to_owned()),
        request,
    })
}

/// The name of a pack from Git: as it is written, or the last word of its path or address.
pub fn name_of(source: &PackSource) -> Option<String> {
    let url = source.git.as_ref()?;
    let name = match (&source.name, &source.path) {
        (Some(name), _) => name.as_str(),
        (None, Some(path)) => path.trim_end_matches('/').rsplit('/').next()?,
        (None, None) => url.trim_end_matches('/').rsplit(['/', ':']).next()?.trim_end_matches(".git"),
    };
    is_label(name).then(|| name.to_owned())
}

/// All digits of a commit's id: SHA-1 or SHA-256.
pub(super) fn is_commit(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// git-check-ref-format(1), as far as a name could do harm.
fn is_reference_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let strange = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !name.starts_with('-')
        && !name.contains(strange)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part)
}

/// An address that everybody who has the site can be given: a URL with `https`, `ssh` or `file`, the short form of SSH, or a path
/// from the root of the disk.
fn check_url(url: &str) -> Result<(), SourceError> {
    let error = |message: String, hint: &str| Err(wrong(Some("git"), message, Some(hint)));
    const FORMS: &str = "what is allowed: `https://…`, `ssh://…` or `git@host:path`, and on this machine `file:///…` or a path that \
                         begins with `/`";
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) || url.starts_with('-') {
        return error("the address holds what no address can".to_owned(), FORMS);
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let host = url.split_once(':').map(|(host, _)| host);
        let short = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
        // `ext::command` would be a command.
        let short = short && !url.contains("::");
        return if url.starts_with('/') || short {
            Ok(())
        } else {
            error(format!("`{url}` is not the address of a repository"), FORMS)
        };
    };
    match scheme {
        "file" => Ok(()),
        "https" | "ssh" => {
            let user = rest.split('/').next().unwrap_or_default().rsplit_once('@').map(|(user, _)| user);
            // Not shown: it is one.
            if user.is_some_and(|user| user.contains(':')) || (scheme == "https" && user.is_some()) {
                return error(
                    "the address holds a credential; it would be in the history for ever".to_owned(),
                    "leave it out: `git` finds credentials by its own configuration (gitcredentials(7))",
                );
            }
            Ok(())
        }
        "http" | "git" => error(
            format!(
                "a pack is not fetched over {scheme}://: whoever is on the way could read it and put another in its place"
            ),
            FORMS,
        ),
        _ => error(format!("a pack is not fetched over {scheme}://"), FORMS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(yaml: &str) -> PackSource {
        serde_yaml::from_str(yaml).expect("an entry")
    }

    #[test]
    fn each_way_to_name_a_pack_is_understood() {
        let git = |name: &str, url: &str, path: Option<&str>, request| Origin::Git {
            name: name.into(),
            url: url.into(),
            path: path.map(str::to_owned),
            request,
        };
        let range = |text| Request::Version(semver::VersionReq::parse(text).expect("a range"));
        let id = "0123456789abcdef0123456789abcdef01234567";
        for (yaml, expected) in [
            ("{builtin: etcd}".to_owned(), Origin::Builtin("etcd".into())),
            ("{path: packs/web}".to_owned(), Origin::Folder("packs/web".into())),
            (
                "{git: https://example.org/packs/etcd.git, version: ^1.2}".to_owned(),
                git("etcd", "https://example.org/packs/etcd.git", None, range("^1.2")),
            ),
            (
                format!("{{git: 'git@example.org:packs.git', path: sets/web/, commit: {id}}}"),
                git("web", "git@example.org:packs.git", Some("sets/web"), Request::Commit(id.into())),
            ),
            (
                "{git: /srv/Packs.git, name: web, branch: main}".to_owned(),
                git("web", "/srv/Packs.git", None, Request::Branch("main".into())),
            ),
            (
                "{git: ssh://git@example.org/web, tag: v1}".to_owned(),
                git("web", "ssh://git@example.org/web", None, Request::Tag("v1".into())),
            ),
        ] {
            assert_eq!(origin(&entry(&yaml)), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn what_could_not_be_fetched_or_would_do_harm_is_refused_and_no_credential_is_repeated() {
        for (yaml, field) in [
            ("{}", None),
            ("{builtin: a, path: b}", None),
            ("{builtin: a, git: /b, tag: v1}", None),
            ("{path: a, tag: v1}", None),
            ("{builtin: a, name: b}", None),
            ("{git: /a}", None),
            ("{git: /a, tag: v1, branch: main}", None),
            ("{git: /a, version: one}", Some("version")),
            ("{git: /a, commit: abc}", Some("commit")),
            ("{git: /a, tag: '--upload-pack=x'}", Some("tag")),
            ("{git: /a, branch: 'a..b'}", Some("branch")),
            ("{git: /a, branch: 'a b'}", Some("branch")),
            ("{git: '--upload-pack=x', tag: v1}", Some("git")),
            ("{git: 'ext::sh -c x', tag: v1}", Some("git")),
            ("{git: 'ext::x', tag: v1}", Some("git")),
            ("{git: 'http://a/b', tag: v1}", Some("git")),
            ("{git: ../a, tag: v1}", Some("git")),
            ("{git: 'https://user:hunter2@a/b', tag: v1}", Some("git")),
            ("{git: 'https://hunter2@a/b', tag: v1}", Some("git")),
            ("{git: 'ssh://user:hunter2@a/b', tag: v1}", Some("git")),
            ("{git: /a, path: ../b, tag: v1}", Some("path")),
            ("{git: /A, tag: v1}", None),
            ("{git: /a, name: A_b, tag: v1}", Some("name")),
        ] {
            let error = origin(&entry(yaml)).expect_err(yaml);
            assert_eq!(error.field, field, "{yaml}: {error:?}");
            assert!(!format!("{error:?}").contains("hunter2"), "{yaml}: {error:?}");
        }
    }
}
