//! Sources of content, who may sign for them and what opens what is encrypted: what a server would meet that is given the same.

use super::Check;
use crate::cli::age_identities;
use crate::cli::error::CliError;
use crate::cli::located::{At, located, named, trust};
use crate::cli::offline::Place;
use crate::cli::sentence::count;
use crate::git::remote::forge::{self, NotTaken};
use crate::git::remote::{Forge, Location, Secret, SourceSettings, Sources, probe};
use crate::git::{GitError, Source};
use crate::trust::{Check as Asked, Policy};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// So long a source may take to say what it shows.
const ANSWER: Duration = Duration::from_secs(10);
/// So long all of them are waited for: looking a name up is bounded by nobody else.
const ALL: Duration = Duration::from_secs(15);

/// What `serve` is given about sources.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Given {
    /// A sources.yaml, as `formwork serve` takes it: each source is asked what it shows.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "repository", "branch", "path", "revision"])]
    sources: Option<PathBuf>,
    /// With --repository over https://: the file with the token that it asks for.
    #[arg(long, value_name = "FILE", requires = "repository")]
    token_file: Option<PathBuf>,
    /// With --repository over https://: the authorities to trust in place of the system's, PEM.
    #[arg(long, value_name = "FILE", requires = "repository")]
    repository_ca: Option<PathBuf>,
    /// With --repository over ssh: the private key.
    #[arg(long, value_name = "FILE", requires = "repository")]
    key_file: Option<PathBuf>,
    /// With --repository over ssh: the keys of hosts that are trusted.
    #[arg(long, value_name = "FILE", requires = "repository")]
    known_hosts: Option<PathBuf>,
    /// Who may sign revisions: the policy and the files that it names are read.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// What opens content that SOPS encrypted with age: whether it can be used.
    #[arg(long, value_name = "FILE")]
    age_identities: Option<PathBuf>,
}

/// Whether what `--repository` was given is no path of this computer.
pub(super) fn is_elsewhere(repository: &str) -> bool {
    !matches!(Location::parse(repository), Ok(Location::Local(_)))
}

/// All that is to be said of them.
pub(super) fn sources(place: &Place, given: &Given) -> Vec<Check> {
    let followed = match (&given.sources, place.repository()) {
        (Some(path), _) => named(path),
        (None, Some((repository, branch, path))) if is_elsewhere(repository) || given.is_elsewhere() => {
            let at = At {
                repository,
                branch,
                path,
                token_file: given.token_file.as_ref(),
                repository_ca: given.repository_ca.as_ref(),
                key_file: given.key_file.as_ref(),
                known_hosts: given.known_hosts.as_ref(),
            };
            located(&at).map(|source| if let Source::Sources(sources) = source { sources } else { Sources(Vec::new()) })
        }
        (None, _) => Ok(Sources(Vec::new())),
    };
    let mut checks = Vec::new();
    let sources = match followed {
        Ok(sources) => sources.0,
        Err(error) => {
            checks.push(wrong("sources", &error));
            Vec::new()
        }
    };
    checks.extend(reached(&sources, |settings| probe(settings, ANSWER)));
    checks.extend(sources.iter().flat_map(secrets));
    checks.extend(forges(&sources, |forge| forge::probe(forge, ANSWER)));
    checks.extend(signers(given.trust.as_deref(), &sources));
    let identities = sources.iter().filter_map(|source| Some((source.name.clone(), source.age_identities.as_deref()?)));
    let identities = identities.map(|(name, path)| (format!("age identities of {name}"), path));
    let own = given.age_identities.as_deref().map(|path| ("age identities".to_owned(), path));
    checks.extend(own.into_iter().chain(identities).map(|(name, path)| opens(name, path)));
    checks
}

impl Given {
    /// Credentials are given that no path of this computer needs.
    const fn is_elsewhere(&self) -> bool {
        self.token_file.is_some()
            || self.repository_ca.is_some()
            || self.key_file.is_some()
            || self.known_hosts.is_some()
    }
}

fn wrong(name: impl Into<String>, error: &CliError) -> Check {
    Check::fail(name, error.to_string(), error.hint().unwrap_or("`formwork serve` ends with the same"))
}

/// The name that is followed and what it leads to, or why nothing is.
type Answer = Result<(String, String), GitError>;

/// What each of them shows, asked at the same time.
pub(super) fn reached(
    sources: &[SourceSettings],
    ask: impl Fn(&SourceSettings) -> Answer + Clone + Send + 'static,
) -> Vec<Check> {
    let (sender, answers) = channel();
    for (index, settings) in sources.iter().cloned().enumerate() {
        let (sender, ask) = (sender.clone(), ask.clone());
        // One that hangs is left behind, and ends with the program.
        std::thread::spawn(move || drop(sender.send((index, ask(&settings)))));
    }
    drop(sender);
    let (mut told, end) = (vec![None; sources.len()], Instant::now() + ALL);
    while let Ok((index, answer)) = answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if let Some(place) = told.get_mut(index) {
            *place = Some(answer);
        }
    }
    let check = |(settings, answer): (&SourceSettings, Option<Answer>)| {
        let (name, url) = (format!("source {}", settings.name), &settings.location);
        match answer {
            Some(Ok((reference, id))) => {
                Check::ok(name, format!("{url} shows {reference} at {}", id.get(..10).unwrap_or(&id)))
            }
            Some(Err(error)) => {
                let remedy = "look at the URL, its credentials and the way there: a server goes on with what it has of it, if anything";
                Check::fail(name, error.to_string(), remedy)
            }
            None => Check::fail(
                name,
                format!("{url}: no answer within {} s", ALL.as_secs()),
                "look at the way there: names, routes, firewalls",
            ),
        }
    };
    sources.iter().zip(told).map(check).collect()
}

/// Secrets that are asked for only when somebody comes, or something is to be told.
fn secrets(settings: &SourceSettings) -> Vec<Check> {
    let webhook = settings.webhook.as_ref().map(|webhook| ("webhook", &webhook.secret_file));
    let forge = settings.forge.as_ref().map(|forge| ("forge", &forge.token_file));
    let check = |(what, path): (&str, &PathBuf)| {
        let name = format!("{what} of {}", settings.name);
        match Secret::read(path) {
            Ok(_) => Check::ok(name, format!("{} can be used", path.display())),
            Err(error) => Check::fail(name, error.to_string(), "put the secret there, one line, mode 0600"),
        }
    };
    webhook.into_iter().chain(forge).map(check).collect()
}

/// Whether forges are there and take their tokens, asked at the same time. Of a token that cannot be read enough is said already.
pub(super) fn forges(
    sources: &[SourceSettings],
    ask: impl Fn(&Forge) -> Result<(), NotTaken> + Clone + Send,
) -> Vec<Check> {
    let declared = sources.iter().filter_map(|settings| Some((settings.name.as_str(), settings.forge.as_ref()?)));
    let declared = declared.filter(|(_, forge)| Secret::read(&forge.token_file).is_ok());
    std::thread::scope(|scope| {
        let asked = declared.map(|(name, forge)| {
            let ask = ask.clone();
            (name, forge, scope.spawn(move || ask(forge)))
        });
        let asked: Vec<_> = asked.collect();
        let checks = asked.into_iter().filter_map(|(name, forge, answer)| {
            let (name, url) = (format!("commit statuses of {name}"), &forge.url);
            Some(match answer.join().ok()? {
                Ok(()) => Check::ok(name, format!("{url} shows {} to the token", forge.project)),
                Err(error) => Check::warn(
                    name,
                    format!("{url} of {}: {}", forge.project, error.why),
                    "look at the forge's URL, the project and the token: it needs the right to write commit statuses; what serves does \
                     not depend on it",
                ),
            })
        });
        checks.collect()
    })
}

/// Who may sign, as the server would read it.
fn signers(whole: Option<&Path>, sources: &[SourceSettings]) -> Vec<Check> {
    let (whole, of) = match trust(whole, sources) {
        Ok(read) => read,
        Err(error) => return vec![wrong("trust", &error)],
    };
    let whole = whole.map(|file| ("trust".to_owned(), file));
    let of = of.into_iter().map(|(name, file)| (format!("trust of {name}"), file));
    let files: Vec<_> = whole.into_iter().chain(of).collect();
    let mut checks: Vec<Check> = files.iter().map(|(name, file)| Check::ok(name, of_policy(&file.policy))).collect();
    if files.iter().any(|(_, file)| !file.policy.openpgp_files.is_empty()) {
        let found =
            Command::new("gpg").arg("--version").stdin(Stdio::null()).output().is_ok_and(|it| it.status.success());
        checks.push(match found {
            true => Check::ok("gpg", "it is there, for OpenPGP signatures"),
            false => Check::fail("gpg", "a policy names OpenPGP keys, and gpg does not run", "install the package gpg"),
        });
    }
    checks
}

/// What a policy asks, in a line.
pub(super) fn of_policy(policy: &Policy) -> String {
    let asked = match policy.check {
        Asked::Range => "every commit has to be signed",
        Asked::Tip => "the newest commit has to be signed",
        Asked::Tag => "the newest commit has to have a signed tag",
    };
    let (ssh, openpgp) = (count(policy.ssh.lines.len(), "signer"), count(policy.openpgp_files.len(), "file"));
    format!("{asked}; {ssh} by SSH, {openpgp} of OpenPGP keys, {}", count(policy.rules.len(), "rule"))
}

/// Whether a file of identities can be used.
fn opens(name: String, path: &Path) -> Check {
    match age_identities::read(path) {
        Ok(found) if found.is_empty() => {
            Check::fail(name, format!("{} has no identity in it", path.display()), "make one with: age-keygen -o FILE")
        }
        Ok(found) => {
            let identities =
                if found.len() == 1 { "1 identity".to_owned() } else { format!("{} identities", found.len()) };
            Check::ok(name, format!("{}: {identities}, its owner's alone", path.display()))
        }
        Err(error) => wrong(name, &error),
    }
}
