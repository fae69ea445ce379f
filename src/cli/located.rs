//! Where content is, as `serve` and `doctor` are told: a repository with what goes with its kind of URL, a sources.yaml, and who may
//! sign for what.

use super::error::CliError;
use super::policy::policy;
use crate::git::remote::{Credentials, Follow, Location, SourceSettings, Sources, keyscan, read_sources};
use crate::git::{ALONE, Source};
use crate::serve::TrustFile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the command line says of a repository.
pub(super) struct At<'a> {
    pub repository: &'a str,
    pub branch: Option<&'a String>,
    pub path: Option<&'a String>,
    pub token_file: Option<&'a PathBuf>,
    pub repository_ca: Option<&'a PathBuf>,
    pub key_file: Option<&'a PathBuf>,
    pub known_hosts: Option<&'a PathBuf>,
}

fn usage(message: String, hint: Option<&str>) -> CliError {
    CliError::Usage { message, hint: hint.map(str::to_owned) }
}

/// The sources that a sources.yaml names.
pub(super) fn named(path: &Path) -> Result<Sources, CliError> {
    read_sources(path).map_err(|findings| usage(format!("{} cannot be used:\n{findings}", path.display()), None))
}

/// What is to be followed of one repository.
pub(super) fn located(at: &At<'_>) -> Result<Source, CliError> {
    // What was typed is not shown again: there may be a password in it.
    let location = Location::parse(at.repository).map_err(|error| {
        let hint = "--token-file FILE names it, of https://; --key-file FILE and --known-hosts FILE, of ssh";
        usage(format!("--repository: {error}"), error.is_of_credential().then_some(hint))
    })?;
    let https = at.token_file.is_some() || at.repository_ca.is_some();
    let ssh = at.key_file.is_some() || at.known_hosts.is_some();
    let credentials = match &location {
        Location::Https { .. } if !ssh => at.token_file.cloned().map_or(Credentials::Nobody, |password_file| {
            Credentials::Basic { user: "x-access-token".to_owned(), password_file }
        }),
        Location::Ssh { host, port, .. } if !https => Credentials::Ssh {
            key_file: at.key_file.cloned(),
            known_hosts_file: at.known_hosts.cloned().ok_or_else(|| {
                let hint = format!(
                    "get the host's keys by `{}` and compare them with what its owner says",
                    keyscan(host, *port)
                );
                usage("over ssh --known-hosts is needed".to_owned(), Some(&hint))
            })?,
        },
        Location::Local(path) if !https && !ssh => {
            return Ok(Source::Bare { path: path.clone(), branch: at.branch.cloned(), subpath: at.path.cloned() });
        }
        _ => {
            let hint = "--token-file and --repository-ca go with https://, --key-file and --known-hosts with ssh";
            return Err(usage("these credentials are for another kind of URL".to_owned(), Some(hint)));
        }
    };
    let follow = at.branch.cloned().map_or(Follow::Default, Follow::Branch);
    let mut settings = SourceSettings::new(ALONE, location, follow);
    settings.subpath = at.path.cloned();
    settings.credentials = credentials;
    settings.authority_file = at.repository_ca.cloned();
    Ok(Source::Sources(Sources(vec![settings])))
}

/// Who may sign: of one repository, by `--trust` or by what is said of its source; of several, each source's own.
pub(super) fn trust(
    whole: Option<&Path>,
    sources: &[SourceSettings],
) -> Result<(Option<TrustFile>, BTreeMap<String, TrustFile>), CliError> {
    let own = sources.iter().filter_map(|source| Some((source.name.clone(), source.trust.as_deref()?)));
    let mut own = own.map(|(name, path)| Ok((name, policy(path)?))).collect::<Result<BTreeMap<_, _>, CliError>>()?;
    let Some(path) = whole else {
        // What is said of the only source is said of the whole.
        let whole = (sources.len() == 1).then(|| own.pop_first()).flatten();
        return Ok((whole.map(|(_, policy)| policy), own));
    };
    if sources.len() > 1 || !own.is_empty() {
        let message = "--trust is about one repository, and of several each has its own signers";
        let hint = "in the sources.yaml: `trust: FILE` of each source that has to be signed, and no --trust";
        return Err(usage(message.to_owned(), Some(hint)));
    }
    Ok((Some(policy(path)?), BTreeMap::new()))
}
