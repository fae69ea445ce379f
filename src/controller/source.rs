//! From a `ContentSource` and its Secret to what is followed. Pure.
//!
//! Credentials go from the Secret into files of the state directory, from which a fetch reads them, as those that a person
//! names on the command line. So nothing here holds one; it only says which file is for what.

use super::resources::ContentSourceSpec;
use crate::content::names;
use crate::git::remote::{
    Credentials, Follow, INTERVAL_LEAST, INTERVAL_MOST, Location, SourceSettings, UrlError, is_folder, keyscan,
};
use std::collections::BTreeMap;
use std::path::Path;
use zeroize::Zeroizing;

/// Keys of a Secret that are used; others are never read.
pub(super) const KEYS: [&str; 5] = ["username", "password", "ca.crt", "identity", "known_hosts"];
/// The largest key of a Secret that is used, bytes: bundles of authorities are the largest.
const KEY_BYTES_MAX: usize = 512 * 1024;
/// Who logs in over HTTPS where the Secret names nobody: forges that take a token take it under this name.
const USER: &str = "x-access-token";
/// The one source, by its name on the disk: as with `--repository`.
const NAME: &str = "site";

/// What a Secret holds.
pub(super) type Keys = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Followed {
    pub settings: SourceSettings,
    pub fetch_packs: bool,
}

/// What a spec and its Secret say. `keys`: what the Secret holds; none: there is no such Secret, or none is named. `folder`:
/// where each key is a file. `content`: the repository into which resources are committed.
///
/// # Errors
/// Why it cannot be followed, in a sentence, and never with a word of the Secret.
pub(super) fn source_of(
    spec: &ContentSourceSpec,
    keys: Option<&Keys>,
    folder: &Path,
    content: &Path,
) -> Result<Followed, String> {
    let mut settings = settings_of(spec, content)?;
    let secret = match (&spec.secret_ref, keys) {
        (None, _) => None,
        (Some(named), Some(keys)) => Some((named.name.as_str(), keys)),
        (Some(named), None) => return Err(format!("there is no Secret `{}` in the namespace", named.name)),
    };
    if let Some((name, keys)) = secret
        && let Some((key, value)) = keys.iter().find(|(_, value)| value.len() > KEY_BYTES_MAX)
    {
        let bytes = value.len();
        return Err(format!(
            "the Secret `{name}`: `{key}` is too long, {bytes} bytes; at most {KEY_BYTES_MAX} are taken, so leave in it what the \
             repository's host needs"
        ));
    }
    (settings.credentials, settings.authority_file) = match (&settings.location, secret) {
        (Location::Local(_), _) | (Location::Https { .. }, None) => (Credentials::Nobody, None),
        (Location::Https { .. }, Some((name, keys))) => over_https(name, keys, folder)?,
        (Location::Ssh { host, port, .. }, secret) => (over_ssh(&keyscan(host, *port), secret, folder)?, None),
    };
    Ok(Followed { settings, fetch_packs: spec.fetch_packs })
}

/// The same without credentials: enough to read what was mirrored before.
///
/// # Errors
/// Why it cannot be followed, in a sentence.
pub(super) fn settings_of(spec: &ContentSourceSpec, content: &Path) -> Result<SourceSettings, String> {
    let url = match (&spec.url, &spec.resources) {
        (Some(url), None) => url,
        (None, Some(_)) => return of_resources(spec, content),
        _ => return Err("of url and resources one is given, and not both".to_owned()),
    };
    let location = Location::parse(url).map_err(|error| match error {
        UrlError::Credentials | UrlError::Query => {
            "url: a URL with credentials in it is not taken; they belong into the Secret that secretRef names"
                .to_owned()
        }
        other => format!("url: {other}"),
    })?;
    if matches!(&location, Location::Local(path) if !path.is_absolute()) {
        return Err("url: a path begins with /".to_owned());
    }
    let given = [("branch", &spec.branch), ("tag", &spec.tag), ("semver", &spec.semver), ("commit", &spec.commit)];
    let given: Vec<(&str, &str)> = given.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let follow = match given[..] {
        [] => Follow::Default,
        [(key, value)] => Follow::read(key, value).map_err(|hint| format!("{key}: `{value}` is none; write {hint}"))?,
        _ => return Err("of branch, tag, semver and commit at most one is given".to_owned()),
    };
    if let Some(secret) = &spec.secret_ref {
        if !names::is_subdomain(&secret.name) {
            return Err(format!(
                "secretRef.name: `{}` is no name of a Secret: lower-case letters, digits, `-` and `.`, at most 253",
                secret.name
            ));
        }
        if matches!(location, Location::Local(_)) {
            return Err(format!(
                "url is a path, for which nobody needs the Secret `{}`: leave secretRef out",
                secret.name
            ));
        }
    }
    let mut settings = SourceSettings::new(NAME, location, follow);
    if let Some(interval) = spec.interval {
        if !(INTERVAL_LEAST..=INTERVAL_MOST).contains(&interval.0) {
            return Err(format!("interval: {interval} is not between 5s and 1d"));
        }
        settings.interval = interval.0;
    }
    if let Some(path) =
        spec.path.as_deref().map(|path| path.trim_matches('/')).filter(|path| !matches!(*path, "" | "."))
    {
        if !is_folder(path) {
            return Err(format!("path: `{path}` is no folder inside a repository"));
        }
        settings.subpath = Some(path.to_owned());
    }
    Ok(settings)
}

/// What is followed where resources are content.
fn of_resources(spec: &ContentSourceSpec, content: &Path) -> Result<SourceSettings, String> {
    let of_git = [
        ("branch", spec.branch.is_some()),
        ("tag", spec.tag.is_some()),
        ("semver", spec.semver.is_some()),
        ("commit", spec.commit.is_some()),
        ("path", spec.path.is_some()),
        ("secretRef", spec.secret_ref.is_some()),
    ];
    if let Some((field, _)) = of_git.into_iter().find(|(_, given)| *given) {
        return Err(format!("{field}: beside resources it means nothing: leave it out"));
    }
    let branch = Follow::Branch(crate::git::own::BRANCH.to_owned());
    Ok(SourceSettings::new(NAME, Location::Local(content.to_owned()), branch))
}

type Https = (Credentials, Option<std::path::PathBuf>);

fn over_https(name: &str, keys: &Keys, folder: &Path) -> Result<Https, String> {
    let authority = keys.contains_key("ca.crt").then(|| folder.join("ca.crt"));
    let Some(password) = keys.get("password") else {
        return match authority {
            Some(_) => Ok((Credentials::Nobody, authority)),
            None => Err(format!("the Secret `{name}` has neither `password` nor `ca.crt`, which https:// could use")),
        };
    };
    if line(password).is_none() {
        return Err(format!("the Secret `{name}`: `password` is not one line of text"));
    }
    let user = match keys.get("username") {
        None => USER,
        Some(user) => line(user).ok_or_else(|| format!("the Secret `{name}`: `username` is not one line of text"))?,
    };
    if user.contains(':') {
        return Err(format!("the Secret `{name}`: `username` has a colon in it"));
    }
    Ok((Credentials::Basic { user: user.to_owned(), password_file: folder.join("password") }, authority))
}

fn over_ssh(keyscan: &str, secret: Option<(&str, &Keys)>, folder: &Path) -> Result<Credentials, String> {
    let known = |keys: &Keys| keys.contains_key("known_hosts");
    match secret {
        Some((_, keys)) if known(keys) => Ok(Credentials::Ssh {
            key_file: keys.contains_key("identity").then(|| folder.join("identity")),
            known_hosts_file: folder.join("known_hosts"),
        }),
        _ => Err(format!(
            "over ssh the host's keys are needed: `known_hosts` in the Secret that secretRef names; get them by \
             `{keyscan}` and compare them with what its owner says"
        )),
    }
}

/// One line of text, without the space around it.
fn line(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// Which of those that are there is followed: the one that was named, or the only one. `namespace` is for what is said.
///
/// # Errors
/// Why none is, in a sentence.
pub(super) fn choose<'a, T>(
    named: Option<&str>,
    seen: &'a BTreeMap<String, T>,
    namespace: &str,
) -> Result<(&'a str, &'a T), String> {
    match named {
        Some(name) => match seen.get_key_value(name) {
            Some((name, source)) => Ok((name, source)),
            None => Err(format!("there is no ContentSource `{name}` in the namespace {namespace}")),
        },
        None => match seen.iter().collect::<Vec<_>>()[..] {
            [] => Err(format!("there is no ContentSource in the namespace {namespace}")),
            [(name, source)] => Ok((name, source)),
            _ => {
                let names: Vec<&str> = seen.keys().take(5).map(String::as_str).collect();
                let count = seen.len();
                let names = names.join(", ");
                Err(format!(
                    "there are {count} ContentSources in the namespace {namespace} ({names}), and a server follows one: \
                     --content-source NAME says which"
                ))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))).collect()
    }

    fn said(spec: Value, keys: Option<&Keys>) -> Result<Followed, String> {
        source_of(&serde_json::from_value(spec).unwrap(), keys, Path::new("/c"), Path::new("/own.git"))
    }

    #[test]
    fn a_spec_becomes_what_the_command_line_would_say() {
        let none = keys(&[]);
        let token = keys(&[("password", "t0ken\n"), ("else", "x")]);
        let basic = |user: &str| Credentials::Basic { user: user.into(), password_file: "/c/password".into() };
        let ssh = |key: Option<&str>| Credentials::Ssh {
            key_file: key.map(Into::into),
            known_hosts_file: "/c/known_hosts".into(),
        };
        let https = "https://git.example.org/site.git";
        for (spec, keys, shown, credentials, authority) in [
            (json!({"url": "/srv/site.git"}), None, "repository /srv/site.git, its HEAD", Credentials::Nobody, None),
            (json!({"resources": {}}), None, "repository /own.git, branch main", Credentials::Nobody, None),
            (
                json!({"url": https, "branch": "main", "path": "/lab/"}),
                None,
                "repository https://git.example.org/site.git, branch main, folder lab",
                Credentials::Nobody,
                None,
            ),
            (
                json!({"url": https, "semver": ">=1, <2", "path": "."}),
                None,
                "repository https://git.example.org/site.git, the highest tag in >=1, <2",
                Credentials::Nobody,
                None,
            ),
            (
                json!({"url": https, "tag": "v1", "secretRef": {"name": "s"}}),
                Some(token),
                "repository https://git.example.org/site.git, tag v1",
                basic("x-access-token"),
                None,
            ),
            (
                json!({"url": https, "secretRef": {"name": "s"}}),
                Some(keys(&[("username", "ann"), ("password", "p"), ("ca.crt", "x")])),
                "repository https://git.example.org/site.git, its HEAD",
                basic("ann"),
                Some("/c/ca.crt"),
            ),
            (
                json!({"url": https, "secretRef": {"name": "s"}}),
                Some(keys(&[("ca.crt", "x")])),
                "repository https://git.example.org/site.git, its HEAD",
                Credentials::Nobody,
                Some("/c/ca.crt"),
            ),
            (
                json!({"url": "git@git.example.org:team/site.git", "secretRef": {"name": "s"}}),
                Some(keys(&[("identity", "k"), ("known_hosts", "h")])),
                "repository git@git.example.org:team/site.git, its HEAD",
                ssh(Some("/c/identity")),
                None,
            ),
            (
                json!({"url": "ssh://git@h/site.git", "secretRef": {"name": "s"}}),
                Some(keys(&[("known_hosts", "h")])),
                "repository git@h:/site.git, its HEAD",
                ssh(None),
                None,
            ),
        ] {
            let followed = said(spec.clone(), keys.as_ref()).unwrap_or_else(|why| panic!("{spec}: {why}"));
            let settings = followed.settings;
            assert_eq!(crate::git::remote::Sources(vec![settings.clone()]).to_string(), shown, "{spec}");
            assert_eq!(settings.credentials, credentials, "{spec}");
            assert_eq!(settings.authority_file, authority.map(Into::into), "{spec}");
        }
        assert!(said(json!({"url": https, "fetchPacks": true}), Some(&none)).unwrap().fetch_packs);
        let minute = said(json!({"url": https, "interval": "90s"}), None).unwrap().settings.interval;
        assert_eq!(minute.as_secs(), 90);
    }

    #[test]
    fn what_cannot_be_followed_is_said_without_a_word_of_the_secret() {
        let secret = |spec: Value| {
            let mut spec = spec;
            spec["secretRef"] = json!({"name": "s"});
            spec
        };
        let long = |key: &str| keys(&[(key, "x".repeat(KEY_BYTES_MAX + 1).as_str()), ("password", "a")]);
        let https = "https://git.example.org/site.git";
        for (spec, keys, why) in [
            (json!({"url": "https://ann:hunter22@h/x"}), None, "belong into the Secret"),
            (json!({"url": "https://h/x?token=hunter22"}), None, "belong into the Secret"),
            (json!({"url": "http://h/x"}), None, "only https://"),
            (json!({"url": "site.git"}), None, "a path begins with /"),
            (json!({"url": https, "branch": "-x"}), None, "branch: `-x` is none"),
            (json!({"url": https, "semver": "one"}), None, "semver: `one` is none"),
            (json!({"url": https, "commit": "abc"}), None, "all 40 characters"),
            (json!({"url": https, "branch": "a", "tag": "b"}), None, "at most one"),
            (json!({"url": https, "path": "../x"}), None, "no folder"),
            (json!({"url": https, "interval": "1s"}), None, "between 5s and 1d"),
            (json!({"url": https, "secretRef": {"name": "Site_git"}}), Some(keys(&[])), "is no name of a Secret"),
            (json!({"url": https, "secretRef": {"name": "a/b"}}), None, "is no name of a Secret"),
            (json!({}), None, "of url and resources one"),
            (json!({"url": https, "resources": {}}), None, "of url and resources one"),
            (json!({"resources": {}, "branch": "main"}), None, "branch: beside resources"),
            (secret(json!({"resources": {}})), Some(keys(&[])), "secretRef: beside resources"),
            (secret(json!({"url": https})), None, "there is no Secret `s`"),
            (secret(json!({"url": https})), Some(keys(&[("token", "hunter22")])), "neither `password` nor `ca.crt`"),
            (secret(json!({"url": https})), Some(keys(&[("password", "hunter22\nx")])), "`password` is not one line"),
            (secret(json!({"url": https})), Some(keys(&[("password", "a"), ("username", "hunter22:")])), "a colon"),
            (secret(json!({"url": https})), Some(long("ca.crt")), "`ca.crt` is too long, 524289 bytes"),
            (secret(json!({"url": "ssh://git@h/x"})), Some(long("known_hosts")), "`known_hosts` is too long"),
            (secret(json!({"url": "/srv/x"})), Some(keys(&[])), "leave secretRef out"),
            (json!({"url": "ann:hunter22@h:x"}), None, "belong into the Secret"),
            (json!({"url": "ssh://git@h/x"}), None, "ssh-keyscan h"),
            (secret(json!({"url": "ssh://git@h/x"})), Some(keys(&[("identity", "hunter22")])), "`known_hosts`"),
        ] {
            let said = said(spec.clone(), keys.as_ref()).expect_err("refused");
            assert!(said.contains(why) && !said.contains("hunter22"), "{spec}: {said}");
        }
    }

    #[test]
    fn one_of_those_that_are_there_is_followed_and_never_a_guess() {
        let seen = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), ())).collect::<BTreeMap<_, _>>();
        for (named, names, chosen) in [
            (None, &["a"][..], Ok("a")),
            (Some("b"), &["a", "b"], Ok("b")),
            (None, &[], Err("no ContentSource in the namespace lab")),
            (Some("c"), &["a", "b"], Err("no ContentSource `c`")),
            (None, &["a", "b"], Err("2 ContentSources")),
        ] {
            let seen = seen(names);
            match (choose(named, &seen, "lab"), chosen) {
                (Ok((name, ())), Ok(wanted)) => assert_eq!(name, wanted),
                (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{said}"),
                (other, wanted) => panic!("{other:?}, not {wanted:?}"),
            }
        }
    }
}
