//! Who belongs to which cluster on the applied revision, and what a cluster's operations are told of it.

use super::entry::Entry;
use super::machines::Fleet;
use crate::catalog::{Catalog, MachineView};
use crate::cluster;
use crate::store::{Batch, Operation, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Of so many machines membership is looked at one by one; of more for all anew.
const REFRESHED_MAX: usize = 256;

impl Fleet {
    /// Members of a cluster on the applied revision, sorted by name.
    pub fn members(&self, cluster: &str) -> Arc<[String]> {
        self.members.load().get(cluster).cloned().unwrap_or_default()
    }

    /// Makes the lists of members anew: after a revision was applied.
    pub fn refresh_members(&self) {
        let Some(catalog) = self.current() else { return };
        let mut members: HashMap<String, Vec<String>> = HashMap::new();
        let mut add = |view: &MachineView| {
            for profile in catalog.clusters_of(view) {
                members.entry(profile.name.to_string()).or_default().push(view.name.to_string());
            }
        };
        catalog.machines().for_each(&mut add);
        for entry in self.all() {
            if catalog.machine(&entry.name).is_none()
                && let Some(view) = Self::view_on(&catalog, &entry.name, &entry.state())
            {
                add(&view);
            }
        }
        let members = members
            .into_iter()
            .map(|(cluster, mut names)| {
                names.sort_unstable();
                (cluster, Arc::from(names))
            })
            .collect();
        self.members.store(Arc::new(members));
    }

    /// The same after a revision took the place of another, and after these machines were settled: of those that are not the same
    /// in both only, where they are few.
    pub fn refresh_members_after(&self, before: Option<&Catalog>, settled: &[Arc<Entry>]) {
        let Some((before, current)) = before.zip(self.current()) else { return self.refresh_members() };
        let clusters = |catalog: &Catalog| -> Vec<Arc<str>> {
            catalog.cluster_profiles().map(|profile| Arc::clone(&profile.name)).collect()
        };
        let (differing, _) = current.differing(before);
        let few = differing.len().saturating_add(settled.len()) <= REFRESHED_MAX;
        // What enrolled machines carry is their rules' to say.
        let rules = before.enrollments().next().is_some() || current.enrollments().next().is_some();
        if !few || rules || clusters(before) != clusters(&current) {
            return self.refresh_members();
        }
        let names = differing.into_iter().chain(settled.iter().map(|entry| entry.name.as_str()));
        names.for_each(|name| self.refresh_member(name));
    }

    /// The same for one machine that was enrolled or forgotten.
    pub(super) fn refresh_member(&self, name: &str) {
        let Some(catalog) = self.current() else { return };
        let state = self.known(name).map(|entry| entry.state()).unwrap_or_default();
        let view = Self::view_on(&catalog, name, &state);
        let member_of =
            view.map(|view| catalog.clusters_of(&view).iter().map(|profile| profile.name.to_string()).collect());
        let member_of: BTreeSet<String> = member_of.unwrap_or_default();
        self.members.rcu(|members| {
            let mut members = HashMap::clone(members);
            for (cluster, names) in &mut members {
                if !member_of.contains(cluster) && names.iter().any(|known| known == name) {
                    *names = names.iter().filter(|known| *known != name).cloned().collect();
                }
            }
            for cluster in &member_of {
                let names = members.entry(cluster.clone()).or_default();
                if let Err(place) = names.binary_search_by(|known| known.as_str().cmp(name)) {
                    let mut more = names.to_vec();
                    more.insert(place, name.to_owned());
                    *names = more.into();
                }
            }
            members
        });
    }

    /// Writes down, for every cluster, what a new revision changes by itself: an epoch that rose with `spec.run`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn settle_clusters(&self) -> Result<(), StoreError> {
        for cluster in self.store.clusters()? {
            let Some(context) = self.cluster_context(&cluster, cluster::Caller::Server) else { continue };
            let request = cluster::Request { cluster, operation: cluster::Operation::Settle, context };
            let operations = vec![Operation::Cluster(Box::new(request))];
            self.commit(Batch { expected: Vec::new(), events: Vec::new(), operations }).await?;
        }
        Ok(())
    }

    /// What a cluster operation needs to know around it; `None`: the applied revision has no such cluster.
    pub fn cluster_context(&self, cluster: &str, caller: cluster::Caller) -> Option<cluster::Context> {
        let catalog = self.current()?;
        let profile = catalog.cluster_profile(cluster)?;
        Some(cluster::Context {
            now_ms: self.clock.now_ms(),
            now_unix_ms: self.clock.now_unix_ms(),
            caller,
            epoch: None,
            members: self.members(cluster),
            size: profile.spec.size,
            run: profile.spec.run,
            keys: Arc::from(profile.spec.keys.as_slice()),
            idempotency_key: None,
            fence: None,
        })
    }
}
