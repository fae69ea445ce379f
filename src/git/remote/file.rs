//! `sources.yaml`: which repositories a server follows. In the server's hands, never in a repository: who may write it can say
//! what the machines become. Read strictly, with findings that say where.

use super::follow::Follow;
use super::settings::{
    Allow, Credentials, DOWNLOAD_BYTES, Forge, ForgeKind, INTERVAL, INTERVAL_LEAST, INTERVAL_LOCAL, INTERVAL_MOST,
    OnRewrite, SourceSettings, Sources, TIMEOUT, Webhook, WebhookKind, is_folder,
};
use super::url::Location;
use crate::content::kinds::{API_VERSION, Span};
use crate::content::{
    Document, File, FileKind, Findings, Kind, Place, Report, Severity, Step, names, sources_document,
};
use crate::git::regular::{FILE_MAX, open_regular, whole};
use serde::Deserialize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The most sources of one site.
const SOURCES_MAX: usize = 64;
/// The longest a fetch may take.
const TIMEOUT_MOST: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Spec {
    sources: Vec<SourceSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SourceSpec {
    name: String,
    url: String,
    branch: Option<String>,
    tag: Option<String>,
    semver: Option<String>,
    commit: Option<String>,
    path: Option<String>,
    interval: Option<Span>,
    timeout: Option<Span>,
    max_megabytes: Option<u64>,
    credentials: Option<CredentialsSpec>,
    certificate_authority_file: Option<PathBuf>,
    #[serde(default)]
    on_rewrite: OnRewrite,
    webhook: Option<WebhookSpec>,
    forge: Option<ForgeSpec>,
    mount: Option<String>,
    allow: Option<AllowSpec>,
    age_identities: Option<PathBuf>,
    trust: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CredentialsSpec {
    token_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    known_hosts_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookSpec {
    kind: WebhookKind,
    secret_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ForgeSpec {
    kind: ForgeKind,
    url: String,
    project: String,
    token_file: PathBuf,
    certificate_authority_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AllowSpec {
    kinds: Vec<String>,
    names: Vec<String>,
    machines: Vec<String>,
}

/// Reads the file. Paths in it are seen from its folder.
///
/// # Errors
/// All findings at once.
pub fn read_sources(path: &Path) -> Result<Sources, Findings> {
    let shown = path.display().to_string();
    let mut report = Report::default();
    let start = || Place { file: Arc::from(shown.as_str()), line: 1, column: 1 };
    let bytes = match open_regular(path).and_then(|(file, found)| Ok((found.mode(), whole(file, FILE_MAX)?))) {
        Ok((mode, _)) if mode & 0o002 != 0 => {
            report
                .at(Severity::Error, "open-file", start(), "everybody on this machine can write this file")
                .hint(format!("who writes it says what the machines become: chmod o-w {shown}"));
            return Err(report.into_findings());
        }
        Ok((_, bytes)) => bytes,
        Err(error) => {
            report
                .at(Severity::Error, "unreadable", start(), format!("the file cannot be read: {error}"))
                .hint("it is a sources.yaml in the server's hands, not in a repository");
            return Err(report.into_findings());
        }
    };
    parse_sources(&shown, &bytes, path.parent().unwrap_or(Path::new("")))
}

/// As [`read_sources`], from bytes. `folder`: where relative paths are seen from.
///
/// # Errors
/// All findings at once.
pub fn parse_sources(shown: &str, bytes: &[u8], folder: &Path) -> Result<Sources, Findings> {
    let mut report = Report::default();
    let file = File { bytes: Arc::from(bytes), kind: FileKind::Regular, blob: None };
    let read = sources_document::<Spec>(shown, &file, API_VERSION, &mut report);
    let mut sources = Vec::new();
    if let Some((document, spec)) = read {
        sources = check(&document, spec, folder, &mut report);
    }
    if report.refuses() { Err(report.into_findings()) } else { Ok(Sources(sources)) }
}

fn check(document: &Document, spec: Spec, folder: &Path, report: &mut Report) -> Vec<SourceSettings> {
    let list = ["spec".into(), "sources".into()];
    let mut sources: Vec<SourceSettings> = Vec::new();
    if spec.sources.is_empty() || spec.sources.len() > SOURCES_MAX {
        let said = match spec.sources.len() {
            0 => format!("no source is named: a site has 1 to {SOURCES_MAX}"),
            more => format!("{more} sources: a site has 1 to {SOURCES_MAX}"),
        };
        report.error("sources", document.value(&list), said).hint(
            "the site itself is `- {name: site, url: https://…, branch: main}`; each other source has a `mount` as well",
        );
        return sources;
    }
    for (index, spec) in spec.sources.into_iter().enumerate() {
        let mut checker = Checker { document, index, folder, report: &mut *report };
        let Some(source) = checker.source(spec) else { continue };
        if sources.iter().any(|other| other.name == source.name) {
            checker.error(&["name"], "twin", format!("a second source `{}`", source.name), None);
        }
        let under = |one: &str, other: &str| other == one || other.starts_with(&format!("{one}/"));
        let overlaps = source.mount.as_deref().and_then(|mount| {
            sources
                .iter()
                .find(|other| other.mount.as_deref().is_some_and(|taken| under(taken, mount) || under(mount, taken)))
        });
        if let Some(other) = overlaps {
            let said = format!("source `{}` is mounted at this place already", other.name);
            checker.error(&["mount"], "mount", said, Some("each source has a folder of its own".to_owned()));
        }
        sources.push(source);
    }
    let mains = sources.iter().filter(|source| source.mount.is_none()).count();
    if mains != 1 && !report.refuses() {
        report
            .error("main-source", document.value(&list), format!("{mains} sources have no `mount`"))
            .hint("exactly one is the site itself, with site.yaml at its root; each other one has `mount: FOLDER`");
    }
    // The main one first.
    sources.sort_by_key(|source| source.mount.is_some());
    sources
}

/// Checks one source.
struct Checker<'a> {
    document: &'a Document,
    index: usize,
    folder: &'a Path,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn error(&mut self, path: &[&str], code: &'static str, message: String, hint: Option<String>) {
        let mut steps: Vec<Step<'_>> = vec!["spec".into(), "sources".into(), self.index.into()];
        steps.extend(path.iter().map(|key| Step::Key(key)));
        self.report.error(code, self.document.value(&steps), message).hint_if(hint);
    }

    fn file(&self, path: PathBuf) -> PathBuf {
        self.folder.join(path)
    }

    fn source(&mut self, spec: SourceSpec) -> Option<SourceSettings> {
        if !names::is_label(&spec.name) {
            let hint = names::as_label(&spec.name).map(|name| format!("`{name}` would be one"));
            self.error(&["name"], "name", format!("`{}` is not a name", spec.name), hint);
        }
        let location = match Location::parse(&spec.url) {
            Ok(Location::Local(path)) => Location::Local(self.file(path)),
            Ok(location) => location,
            Err(error) => {
                let hint = "`credentials` names that file, such as `credentials: {tokenFile: site.token}`";
                let hint = error.is_of_credential().then(|| hint.to_owned());
                self.error(&["url"], "url", error.to_string(), hint);
                return None;
            }
        };
        let follow = self.follow(&spec)?;
        let local = matches!(location, Location::Local(_));
        let interval = spec.interval.map_or(if local { INTERVAL_LOCAL } else { INTERVAL }, |span| span.0);
        if spec.interval.is_some() && !(INTERVAL_LEAST..=INTERVAL_MOST).contains(&interval) {
            self.error(&["interval"], "interval", "an interval is 5s to 1d".to_owned(), None);
        }
        let timeout = spec.timeout.map_or(TIMEOUT, |span| span.0);
        if timeout < Duration::from_secs(1) || timeout > TIMEOUT_MOST {
            self.error(&["timeout"], "timeout", "a fetch may take 1s to 1h".to_owned(), None);
        }
        let megabytes = spec.max_megabytes.unwrap_or(DOWNLOAD_BYTES >> 20);
        if !(1..=16_384).contains(&megabytes) {
            self.error(&["maxMegabytes"], "limit", "a fetch may download 1 to 16384 MiB".to_owned(), None);
        }
        for (key, folder) in [("path", &spec.path), ("mount", &spec.mount)] {
            if folder.as_deref().is_some_and(|folder| !is_folder(folder)) {
                let hint = "write it from the root, such as `tenants/a`".to_owned();
                self.error(&[key], "folder", format!("`{key}` is no folder of a repository"), Some(hint));
            }
        }
        let credentials = self.credentials(&location, spec.credentials.unwrap_or_default());
        if spec.certificate_authority_file.is_some() && !matches!(location, Location::Https { .. }) {
            let said = "only https:// has authorities".to_owned();
            self.error(&["certificateAuthorityFile"], "authority", said, None);
        }
        let own = spec.certificate_authority_file.clone();
        let forge = spec.forge.and_then(|forge| self.forge(forge, own));
        let allow = match (&spec.mount, spec.allow) {
            (Some(_), allow) => self.allow(allow.unwrap_or_default()),
            (None, Some(_)) => {
                let hint = "the main source may declare everything; give this one a `mount`".to_owned();
                self.error(&["allow"], "allow", "only a mounted source is restricted".to_owned(), Some(hint));
                Allow::default()
            }
            (None, None) => Allow::default(),
        };
        if spec.mount.is_none() && spec.age_identities.is_some() {
            let said = "only a mounted source has identities of its own".to_owned();
            let hint = "those of the site are given by `formwork serve --age-identities FILE`".to_owned();
            self.error(&["ageIdentities"], "identities", said, Some(hint));
        }
        Some(SourceSettings {
            name: spec.name,
            location,
            follow,
            subpath: spec.path,
            interval,
            timeout,
            download_bytes_max: megabytes << 20,
            credentials,
            authority_file: spec.certificate_authority_file.map(|path| self.file(path)),
            on_rewrite: spec.on_rewrite,
            webhook: spec
                .webhook
                .map(|webhook| Webhook { kind: webhook.kind, secret_file: self.file(webhook.secret_file) }),
            forge,
            mount: spec.mount,
            allow,
            trust: spec.trust.map(|path| self.file(path)),
            age_identities: spec.age_identities.map(|path| self.file(path)),
        })
    }

    fn follow(&mut self, spec: &SourceSpec) -> Option<Follow> {
        let given: Vec<(&str, &str)> = [
            ("branch", spec.branch.as_deref()),
            ("tag", spec.tag.as_deref()),
            ("semver", spec.semver.as_deref()),
            ("commit", spec.commit.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
        let [(key, value)] = given[..] else {
            let said = "a source follows exactly one of branch, tag, semver and commit".to_owned();
            self.error(&[], "follow", said, Some("such as `branch: main`".to_owned()));
            return None;
        };
        match Follow::read(key, value) {
            Ok(follow) => Some(follow),
            Err(hint) => {
                self.error(&[key], "follow", format!("`{value}` is no {key}"), Some(hint.to_owned()));
                None
            }
        }
    }

    fn credentials(&mut self, location: &Location, spec: CredentialsSpec) -> Credentials {
        let wrong = |checker: &mut Self, said: &str, hint: &str| {
            checker.error(&["credentials"], "credentials", said.to_owned(), Some(hint.to_owned()));
            Credentials::Nobody
        };
        match (location, spec) {
            (
                Location::Local(_),
                CredentialsSpec {
                    token_file: None,
                    user: None,
                    password_file: None,
                    key_file: None,
                    known_hosts_file: None,
                },
            ) => Credentials::Nobody,
            (Location::Local(_), _) => wrong(self, "a path of this machine needs no credentials", "leave them out"),
            (
                Location::Https { .. },
                CredentialsSpec { token_file, user, password_file, key_file: None, known_hosts_file: None },
            ) => match (token_file, user, password_file) {
                (None, None, None) => Credentials::Nobody,
                // Forges take a token as the password of any user.
                (Some(file), user, None) => Credentials::Basic {
                    user: user.unwrap_or_else(|| "x-access-token".to_owned()),
                    password_file: self.file(file),
                },
                (None, Some(user), Some(file)) if !user.contains(':') => {
                    Credentials::Basic { user, password_file: self.file(file) }
                }
                _ => wrong(
                    self,
                    "over https:// either a token or a user and a password",
                    "`{tokenFile: …}` or `{user: …, passwordFile: …}`",
                ),
            },
            (
                Location::Ssh { .. },
                CredentialsSpec {
                    token_file: None,
                    user: None,
                    password_file: None,
                    key_file,
                    known_hosts_file: Some(known),
                },
            ) => {
                Credentials::Ssh { key_file: key_file.map(|file| self.file(file)), known_hosts_file: self.file(known) }
            }
            (Location::Ssh { host, port, .. }, _) => {
                let hint = format!(
                    "`{{keyFile: …, knownHostsFile: …}}`; get the host's keys by `{}` and compare them with \
                     what its owner says",
                    super::url::keyscan(host, *port)
                );
                wrong(self, "over ssh knownHostsFile is needed, and keyFile where the other side asks for a key", &hint)
            }
            (Location::Https { .. }, _) => {
                wrong(self, "keys and known hosts are for ssh", "over https:// a token, or a user and a password")
            }
        }
    }

    /// `own`: the authorities of the source, which are the forge's too where it has none.
    fn forge(&mut self, spec: ForgeSpec, own: Option<PathBuf>) -> Option<Forge> {
        let base = spec.url.trim_end_matches('/').to_owned();
        // The same rules as for repositories: over TLS, and no credentials in it. A path is not needed.
        let good = matches!(Location::parse(&format!("{base}/x")), Ok(Location::Https { .. }));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
        let parts = spec.project.split('/').filter(|part| !matches!(*part, "" | "." | "..")).count();
        if !good {
            let hint = "such as https://api.github.com, or https://git.example.org for GitLab and Gitea".to_owned();
            self.error(
                &["forge", "url"],
                "url",
                "no https:// URL of a forge, without credentials".to_owned(),
                Some(hint),
            );
        }
        if parts < 2 || parts != spec.project.split('/').count() || !spec.project.chars().all(plain) {
            let said = format!("`{}` is no repository of a forge", spec.project);
            self.error(&["forge", "project"], "project", said, Some("OWNER/NAME".to_owned()));
        }
        Some(Forge {
            kind: spec.kind,
            url: base,
            project: spec.project,
            token_file: self.file(spec.token_file),
            authority_file: spec.certificate_authority_file.or(own).map(|path| self.file(path)),
        })
    }

    fn allow(&mut self, spec: AllowSpec) -> Allow {
        let mut kinds = Vec::new();
        for word in &spec.kinds {
            match Kind::from_name(word) {
                Some(kind @ (Kind::Site | Kind::Pack | Kind::Enrollment)) => {
                    let said = format!("a mounted source cannot declare a {kind}");
                    let hint =
                        "that is the main source's: it says which packs are in use and how unknown boxes are named";
                    self.error(&["allow", "kinds"], "allow", said, Some(hint.to_owned()));
                }
                Some(kind) => kinds.push(kind),
                None => {
                    let known = Kind::ALL.iter().map(|kind| kind.as_str());
                    self.error(
                        &["allow", "kinds"],
                        "kind",
                        format!("kind `{word}` is not known"),
                        names::did_you_mean(word, known),
                    );
                }
            }
        }
        if kinds.is_empty() && spec.kinds.is_empty() {
            let hint = "such as `allow: {kinds: [Machine], machines: [\"a-*\"]}`".to_owned();
            self.error(
                &[],
                "allow",
                "a mounted source may declare nothing without `allow.kinds`".to_owned(),
                Some(hint),
            );
        }
        Allow { kinds, names: spec.names, machines: spec.machines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_names_no_source_is_refused_with_what_to_write() {
        let head = "apiVersion: formwork.dev/v1alpha1\nkind: Sources\n";
        for (text, place, said, hint) in [
            (String::new(), "sources.yaml:1:1", "one document of kind Sources was expected", "spec.sources"),
            (head.to_owned(), "sources.yaml:1:1", "", ""),
            (format!("{head}spec: {{}}\n"), "sources.yaml:3:7", "no source is named", "- {name: site, url:"),
            (format!("{head}spec:\n  sources: []\n"), "sources.yaml:4:12", "no source is named", "- {name: site, url:"),
        ] {
            let findings =
                parse_sources("sources.yaml", text.as_bytes(), Path::new("/")).expect_err("refused").to_string();
            assert!(
                findings.starts_with(place) && findings.contains(said) && findings.contains(hint),
                "{text}\n{findings}"
            );
        }
    }

    #[test]
    fn a_forge_is_trusted_by_its_own_authority_or_by_that_of_its_source() {
        for (source, forge, expected) in [
            (None, None, None),
            (Some("source.pem"), None, Some("/etc/formwork/source.pem")),
            (None, Some("forge.pem"), Some("/etc/formwork/forge.pem")),
            (Some("source.pem"), Some("forge.pem"), Some("/etc/formwork/forge.pem")),
        ] {
            let line = |file: Option<&str>| file.map(|file| format!(", certificateAuthorityFile: {file}"));
            let text = format!(
                "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n  - {{name: site, url: \"https://g/x\", \
                 branch: main{}, forge: {{kind: gitea, url: \"https://g\", project: o/r, tokenFile: t{}}}}}\n",
                line(source).unwrap_or_default(),
                line(forge).unwrap_or_default()
            );
            let read = parse_sources("sources.yaml", text.as_bytes(), Path::new("/etc/formwork"));
            let sources = read.unwrap_or_else(|findings| panic!("{findings}"));
            let found = sources.0[0].forge.as_ref().and_then(|forge| forge.authority_file.as_deref());
            assert_eq!(found, expected.map(Path::new), "{source:?} {forge:?}");
        }
    }
}
