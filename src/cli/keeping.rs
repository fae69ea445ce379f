//! Where a site's data is kept, as commands are told.

use super::error::CliError;
use crate::git::Source;
use crate::serve::{Content, Keeping};
use clap::{Args, ValueEnum};

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Place {
    // A file in the state directory. (No documentation of its own: one would give each option of the command three lines.)
    Embedded,
    // Secrets of a namespace of Kubernetes.
    #[cfg(feature = "kubernetes")]
    Kubernetes,
}

/// Where a site's data is kept.
#[derive(Debug, Args)]
pub struct StoreAt {
    /// Where events, cluster documents and leases are kept. Keys, logs and mirrors stay in the state directory.
    #[arg(long, value_name = "PLACE", value_enum, default_value = "embedded", env = "FORMWORK_STORE")]
    store: Place,
    /// With --store kubernetes: the namespace; where not given, that of the context, or of the pod.
    #[arg(long, value_name = "NAME", env = "FORMWORK_STORE_NAMESPACE")]
    store_namespace: Option<String>,
}

/// Whether a server has its store alone.
#[derive(Debug, Clone, Args)]
pub struct ReplicaAt {
    /// With --store kubernetes: the name of this server among several that serve the site together, each with another name (docs/kubernetes-store.md).
    #[arg(long, value_name = "NAME", env = "FORMWORK_REPLICA")]
    pub replica: Option<String>,
}

impl ReplicaAt {
    /// Several servers follow one repository, each for itself; what lies in one of them the others cannot have.
    pub fn may_follow(&self, content: &Content) -> Result<(), CliError> {
        let (message, hint) = match content {
            _ if self.replica.is_none() => return Ok(()),
            Content::Hosted { .. } => (
                "--hosted keeps the repository in the state directory of one server, and with --replica there are several",
                "keep the repository on a Git server, and follow it: --repository https://… or --kubernetes",
            ),
            Content::Source(Source::Sources(sources)) if sources.0.len() > 1 => (
                "of several sources the last good commit of each goes on, which each server of several would know from what it saw itself: \
                 they would put together other revisions",
                "follow one repository; packs of others may be named in its site.yaml (docs/kubernetes-store.md)",
            ),
            _ => return Ok(()),
        };
        Err(CliError::Usage { message: message.to_owned(), hint: Some(hint.to_owned()) })
    }
}

impl StoreAt {
    /// Reads how an API server is spoken with, where one is asked for.
    pub fn keeping(&self) -> Result<Keeping, CliError> {
        self.keeping_of(None)
    }

    /// The same for a server, which may be one of several.
    pub fn keeping_of(&self, replica: Option<&str>) -> Result<Keeping, CliError> {
        match self.store {
            Place::Embedded if replica.is_some() => Err(CliError::Usage {
                message: "--replica is about a store that several servers can reach".to_owned(),
                hint: Some("add --store kubernetes; on a file of this machine there is one server".to_owned()),
            }),
            Place::Embedded if self.store_namespace.is_some() => Err(CliError::Usage {
                message: "--store-namespace is about a store in Kubernetes".to_owned(),
                hint: Some("add --store kubernetes".to_owned()),
            }),
            Place::Embedded => Ok(Keeping::Embedded),
            #[cfg(feature = "kubernetes")]
            Place::Kubernetes => {
                let replica = replica.map(str::to_owned);
                Keeping::kubernetes(self.store_namespace.clone(), replica).map_err(|error| CliError::Usage {
                    message: error.to_string(),
                    hint: Some(
                        "name a kubeconfig that can be read and has a current-context: KUBECONFIG=FILE; `kubectl config view` shows what \
                         there is. A pod needs a service account that is mounted"
                            .to_owned(),
                    ),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::remote::{Follow, Location, SourceSettings, Sources};

    #[test]
    fn of_several_servers_each_follows_what_all_can_fetch() {
        let settings = |name: &str| {
            SourceSettings::new(name, Location::parse("https://git.example.org/site.git").unwrap(), Follow::Default)
        };
        let sources =
            |names: &[&str]| Content::Source(Source::Sources(Sources(names.iter().map(|it| settings(it)).collect())));
        let hosted = || Content::Hosted { branch: None, subpath: None };
        let (alone, among) = (ReplicaAt { replica: None }, ReplicaAt { replica: Some("a".to_owned()) });
        for (content, taken) in [(hosted(), false), (sources(&["site", "tenant"]), false), (sources(&["site"]), true)] {
            assert!(alone.may_follow(&content).is_ok());
            let judged = among.may_follow(&content);
            assert_eq!(judged.is_ok(), taken);
            assert!(judged.err().is_none_or(|error| error.exit_code() == 2 && error.hint().is_some()));
        }
        let at = StoreAt { store: Place::Embedded, store_namespace: None };
        assert!(at.keeping_of(Some("a")).unwrap_err().to_string().contains("several servers can reach"));
    }
}
