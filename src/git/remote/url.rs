//! Where a repository is: a path on this machine, `https://`, `ssh://`, `user@host:path`. Never with credentials in it.

use std::path::PathBuf;

/// A repository that is elsewhere, or here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On the local disk.
    Local(PathBuf),
    /// Over HTTPS.
    Https {
        /// Host, with the port where one was written.
        authority: String,
        /// From the slash on.
        path: String,
    },
    /// Over SSH.
    Ssh {
        /// Who logs in; `git` where nobody is named.
        user: String,
        /// The host alone.
        host: String,
        /// The port where one was written.
        port: Option<u16>,
        /// As the other side understands it.
        path: String,
    },
}

/// The command that shows a host's keys.
pub fn keyscan(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| format!("ssh-keyscan {host}"), |port| format!("ssh-keyscan -p {port} {host}"))
}

/// Why a URL is not followed. The text that was given is not shown: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is a user or a password in it.
    #[error(
        "a URL with a user or password in it is not taken: it would end in logs and in `ps`; write it without, and the credential into a file"
    )]
    Credentials,
    /// There is a query or a fragment in it.
    #[error("a repository's URL has no `?` and no `#`; a token belongs into a file")]
    Query,
    /// A scheme that is not followed.
    #[error(
        "only https://, ssh://, user@host:path, file:// and paths of this machine are followed: http:// and git:// show and take content from anybody on the way"
    )]
    Scheme,
    /// Not a URL that can be understood.
    #[error("this is no URL of a repository; write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or a path")]
    Malformed,
}

impl UrlError {
    /// Whether a credential was given where none is taken: whoever tells it knows how the file is named.
    pub const fn is_of_credential(self) -> bool {
        matches!(self, Self::Credentials | Self::Query)
    }
}

impl Location {
    /// Reads what a person wrote.
    ///
    /// # Errors
    /// [`UrlError`], without the text: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() || text.chars().any(char::is_control) || text.starts_with('-') {
            return Err(UrlError::Malformed);
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let (authority, path) = rest.split_once('/').ok_or(UrlError::Malformed)?;
            if authority.contains('@') {
                return Err(UrlError::Credentials);
            }
            if text.contains(['?', '#']) {
                return Err(UrlError::Query);
            }
            let (host, port) = host_and_port(authority).ok_or(UrlError::Malformed)?;
            if !is_host(host) || !is_path(path) {
                return Err(UrlError::Malformed);
            }
            let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            return Ok(Self::Https { authority, path: format!("/{}", path.trim_end_matches('/')) });
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            let (authority, path) = rest.split_once('/').ok_or(UrlError::Malformed)?;
            let (user, authority) = user_of(authority)?;
            let (host, port) = host_and_port(authority).ok_or(UrlError::Malformed)?;
            let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
            return ssh(user, host, port, &path);
        }
        if let Some(path) = text.strip_prefix("file://") {
            return if path.starts_with('/') { Ok(Self::Local(path.into())) } else { Err(UrlError::Malformed) };
        }
        if text.contains("://") {
            return Err(UrlError::Scheme);
        }
        // As git has it: a colon before the first slash is a host's.
        match text.split_once(':') {
            Some((authority, path)) if !authority.contains('/') => {
                // `USER:PASSWORD@HOST:PATH`: its first colon is none of a host's.
                let first = path.split('/').next().unwrap_or_default();
                let hidden = first.rsplit_once('@').is_some_and(|(_, host)| host.contains(':'));
                if hidden && !authority.contains('@') {
                    return Err(UrlError::Credentials);
                }
                let (user, host) = user_of(authority)?;
                ssh(user, host, None, path)
            }
            _ => Ok(Self::Local(text.into())),
        }
    }
}

/// Splits a user off; a password beside it is refused.
fn user_of(authority: &str) -> Result<(&str, &str), UrlError> {
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(UrlError::Credentials),
        Some((user, host)) => Ok((user, host)),
        None => Ok(("git", authority)),
    }
}

fn ssh(user: &str, host: &str, port: Option<u16>, path: &str) -> Result<Location, UrlError> {
    let is_user = !user.is_empty()
        && !user.starts_with('-')
        && user.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !is_user || !is_host(host) || !is_path(path) {
        return Err(UrlError::Malformed);
    }
    Ok(Location::Ssh {
        user: user.to_owned(),
        host: host.to_owned(),
        port,
        path: path.trim_end_matches('/').to_owned(),
    })
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(end) = authority.find(']') {
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

/// What `ssh` is given as a host: never an option, never a word for a shell.
fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && !host.starts_with(['-', '.'])
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    }
}

fn is_path(path: &str) -> bool {
    !path.trim_matches('/').is_empty() && !path.starts_with(['-', ':']) && !path.contains(['\'', '\\'])
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Https { authority, path } => write!(f, "https://{authority}{path}"),
            Self::Ssh { user, host, port: None, path } => write!(f, "{user}@{host}:{path}"),
            Self::Ssh { user, host, port: Some(port), path } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                write!(f, "ssh://{user}@{host}:{port}{slash}{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_git_reads_them() {
        for (text, shown) in [
            ("https://git.example.org/team/site.git", "https://git.example.org/team/site.git"),
            ("https://git.example.org:8443/team/site.git/", "https://git.example.org:8443/team/site.git"),
            ("https://[2001:db8::1]:8443/site.git", "https://[2001:db8::1]:8443/site.git"),
            ("ssh://git@git.example.org/team/site.git", "git@git.example.org:/team/site.git"),
            ("ssh://git.example.org:2222/site.git", "ssh://git@git.example.org:2222/site.git"),
            ("git@git.example.org:team/site.git", "git@git.example.org:team/site.git"),
            ("git.example.org:site.git", "git@git.example.org:site.git"),
            ("git.example.org:@team/site.git", "git@git.example.org:@team/site.git"),
            ("/srv/site.git", "/srv/site.git"),
            ("file:///srv/site.git", "/srv/site.git"),
            ("site.git", "site.git"),
            ("./a:b/site.git", "./a:b/site.git"),
        ] {
            assert_eq!(Location::parse(text).map(|location| location.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_never_repeated() {
        for (text, error) in [
            ("https://ada:hunter2@git.example.org/site.git", UrlError::Credentials),
            ("https://hunter2@git.example.org/site.git", UrlError::Credentials),
            ("ssh://ada:hunter2@git.example.org/site.git", UrlError::Credentials),
            ("ada:hunter2@git.example.org:team/site.git", UrlError::Credentials),
            ("https://git.example.org/site.git?private_token=hunter2", UrlError::Query),
            ("http://git.example.org/site.git", UrlError::Scheme),
            ("git://git.example.org/site.git", UrlError::Scheme),
            ("ext::sh -c hunter2", UrlError::Malformed),
            ("https://git.example.org", UrlError::Malformed),
            ("https:///site.git", UrlError::Malformed),
            ("https://git.example.org:notaport/x", UrlError::Malformed),
            ("ssh://-oProxyCommand=hunter2/x", UrlError::Malformed),
            ("-oProxyCommand=x:y", UrlError::Malformed),
            ("git@-oProxyCommand=x:y", UrlError::Malformed),
            ("git@host:-x", UrlError::Malformed),
            ("git@host:a'b", UrlError::Malformed),
            ("git@host:", UrlError::Malformed),
            ("", UrlError::Malformed),
            ("/srv/a\nb", UrlError::Malformed),
        ] {
            let found = Location::parse(text);
            assert_eq!(found, Err(error), "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
