//! Where a site's data is kept, as commands are told.

use super::error::CliError;
use crate::content::names;
use crate::git::Source;
use crate::replicas::ALONE;
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
    /// Whether it goes with where the store is, and is a name that a Lease can have.
    pub fn may_be(&self, store: &StoreAt) -> Result<(), CliError> {
        let Some(name) = &self.replica else { return Ok(()) };
        let usage = |message: String, hint: &str| Err(CliError::Usage { message, hint: Some(hint.to_owned()) });
        if store.store == Place::Embedded {
            return usage(
                format!(
                    "--replica {name} is about a store that several servers can reach, and this one is a file of this machine"
                ),
                "add --store kubernetes, and --store-namespace NAME where it is not the namespace of the context; or leave --replica out",
            );
        }
        if !names::is_label(name) || name == ALONE {
            return usage(
                format!("--replica: `{name}` is no name of a replica"),
                "lower-case letters, digits and `-`, 63 at most, beginning and ending with a letter or digit, such as the pod's name; \
                 `alone` is what a server without others is called",
            );
        }
        Ok(())
    }

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
        ReplicaAt { replica: replica.map(str::to_owned) }.may_be(self)?;
        match self.store {
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

    #[test]
    fn a_replica_needs_a_store_that_others_reach_and_a_name_that_a_lease_can_have() {
        let named = |name: &str| ReplicaAt { replica: Some(name.to_owned()) };
        let at = |store| StoreAt { store, store_namespace: None };
        assert!(ReplicaAt { replica: None }.may_be(&at(Place::Embedded)).is_ok());
        let error = named("a").may_be(&at(Place::Embedded)).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.hint().is_some_and(|hint| hint.contains("--store kubernetes")),
            "{error}"
        );
        #[cfg(feature = "kubernetes")]
        for (name, taken) in
            [("formwork-0", true), ("", false), ("A", false), ("a.b", false), ("-a", false), ("alone", false)]
        {
            let judged = named(name).may_be(&at(Place::Kubernetes));
            assert_eq!(judged.is_ok(), taken, "{name}");
            assert!(judged.err().is_none_or(|error| error.exit_code() == 2), "{name}");
        }
    }
}
