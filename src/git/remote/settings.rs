//! What is said of each source, once it was checked: plain data, and of credentials only the files that hold them.

use super::follow::Follow;
use super::url::Location;
use crate::content::Kind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a remote repository is looked at where nothing is said.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// How often a repository on the local disk is looked at, where nothing is said.
pub const INTERVAL_LOCAL: Duration = Duration::from_millis(500);
/// The shortest interval that is taken.
pub const INTERVAL_LEAST: Duration = Duration::from_secs(5);
/// The longest interval that is taken.
pub const INTERVAL_MOST: Duration = Duration::from_secs(86_400);
/// How long a fetch may take where nothing is said.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// How much one fetch may download where nothing is said, bytes.
pub const DOWNLOAD_BYTES: u64 = 256 << 20;

/// How the other side learns who asks. Each credential is a file, read anew at each fetch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Nobody,
    /// A user and a password or token, over HTTPS.
    Basic {
        /// The user.
        user: String,
        /// The file with the password or token.
        password_file: PathBuf,
    },
    /// SSH.
    Ssh {
        /// The private key; none: the other side takes whoever comes.
        key_file: Option<PathBuf>,
        /// The hosts' keys. There is no way to follow a host whose key is not in it.
        known_hosts_file: PathBuf,
    },
}

/// What becomes of a branch that was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRewrite {
    /// It is followed, and an event says so.
    #[default]
    Follow,
    /// What served before goes on, an event says so, and the status until the branch goes on from there.
    Hold,
}

/// Who sends hints, and how they prove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookKind {
    /// `X-Hub-Signature-256: sha256=…` over the body.
    Github,
    /// `X-Gitea-Signature` or `X-Forgejo-Signature` over the body, or GitHub's.
    Gitea,
    /// The secret itself in `X-Gitlab-Token`.
    Gitlab,
    /// `X-Formwork-Signature: sha256=…` over the body.
    Hmac,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Whose.
    pub kind: WebhookKind,
    /// The file with the secret that both sides know.
    pub secret_file: PathBuf,
}

/// Which HTTP API takes commit statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForgeKind {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

/// Where commit statuses go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forge {
    /// Whose API.
    pub kind: ForgeKind,
    /// Its base, such as `https://api.github.com` or `https://git.example.org`.
    pub url: String,
    /// The repository as the forge names it: `owner/name`, for GitLab with all groups.
    pub project: String,
    /// The file with the token.
    pub token_file: PathBuf,
    /// The authorities to trust; none: the system's.
    pub authority_file: Option<PathBuf>,
}

/// What a mounted source may declare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow {
    /// Kinds.
    pub kinds: Vec<Kind>,
    /// Patterns for the names of everything but machines; `*` stands for any text.
    pub names: Vec<String>,
    /// Patterns for the names of machines.
    pub machines: Vec<String>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Its name here: in the status, in events, in the path of its webhook.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// What of it is followed.
    pub follow: Follow,
    /// The folder that counts; none: its root.
    pub subpath: Option<String>,
    /// How often it is looked at.
    pub interval: Duration,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// How much a fetch may download, bytes.
    pub download_bytes_max: u64,
    /// Who asks.
    pub credentials: Credentials,
    /// The authorities that HTTPS trusts; none: the system's.
    pub authority_file: Option<PathBuf>,
    /// What becomes of a rewritten branch.
    pub on_rewrite: OnRewrite,
    /// Its webhook.
    pub webhook: Option<Webhook>,
    /// Where its commit statuses go.
    pub forge: Option<Forge>,
    /// The folder of the site that it is mounted at; none: it is the site's main source.
    pub mount: Option<String>,
    /// What it may declare there.
    pub allow: Allow,
    /// The policy by which its commits are signed; none: signatures are not asked for.
    pub trust: Option<PathBuf>,
    /// What opens files of a mounted source that SOPS encrypted, and nothing else does; none: none of them is opened.
    pub age_identities: Option<PathBuf>,
}

impl SourceSettings {
    /// A source about which only this is said.
    pub fn new(name: &str, location: Location, follow: Follow) -> Self {
        let interval = if matches!(location, Location::Local(_)) { INTERVAL_LOCAL } else { INTERVAL };
        Self {
            name: name.to_owned(),
            location,
            follow,
            subpath: None,
            interval,
            timeout: TIMEOUT,
            download_bytes_max: DOWNLOAD_BYTES,
            credentials: Credentials::Nobody,
            authority_file: None,
            on_rewrite: OnRewrite::Follow,
            webhook: None,
            forge: None,
            mount: None,
            allow: Allow::default(),
            trust: None,
            age_identities: None,
        }
    }
}

impl SourceSettings {
    /// The files that each fetch of it reads anew.
    pub fn read_at_each_fetch(&self) -> Vec<&Path> {
        let credentials = match &self.credentials {
            Credentials::Nobody => [None, None],
            Credentials::Basic { password_file, .. } => [Some(password_file), None],
            Credentials::Ssh { key_file, known_hosts_file } => [key_file.as_ref(), Some(known_hosts_file)],
        };
        credentials.into_iter().flatten().chain(&self.authority_file).map(PathBuf::as_path).collect()
    }

    /// Whether its last good commit goes on where a newer one is refused by itself: of a mounted one, and of a main one that has
    /// to be signed.
    pub fn is_kept(&self) -> bool {
        self.mount.is_some() || self.trust.is_some()
    }
}

/// Whether a path can be a folder inside a repository: no step out of it, nothing hidden.
pub fn is_folder(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.starts_with('.'))
        && !path.chars().any(char::is_control)
}

/// All sources of a site: the main one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources(pub Vec<SourceSettings>);

impl std::fmt::Display for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, source) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "repository {}, {}", source.location, source.follow)?;
            if let Some(subpath) = &source.subpath {
                write!(f, ", folder {subpath}")?;
            }
            if let Some(mount) = &source.mount {
                write!(f, ", at {mount}")?;
            }
        }
        Ok(())
    }
}
