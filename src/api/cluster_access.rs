//! What the cluster routes need of the server: who asks, and what surrounds the question.

use super::App;
use super::access::bearer;
use super::cluster::{Authorized, ClusterAccess, Refused};
use crate::cluster::{Caller, Context};
use crate::fleet::TokenRefusal;
use crate::identity::Audience;
use crate::store::Store;
use axum::http::{HeaderMap, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;

impl From<TokenRefusal> for Refused {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Invalid => Self::new(StatusCode::UNAUTHORIZED, "token-invalid", refusal.to_string()),
            TokenRefusal::Revoked | TokenRefusal::Audience => {
                Self::new(StatusCode::FORBIDDEN, "token-revoked", refusal.to_string())
            }
        }
    }
}

impl ClusterAccess for App {
    fn authorize(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Authorized, Refused> {
        let token = bearer(headers).ok_or(TokenRefusal::Invalid)?;
        let (claims, entry) = self.fleet.authenticate(token)?;
        let Audience::Cluster(cluster) = &claims.audience else {
            return Err(TokenRefusal::Audience.into());
        };
        let state = entry.state();
        let run = state.run.as_ref();
        let caller = Caller::Machine {
            machine: claims.machine.clone(),
            run: run.map_or(claims.run, |run| run.number),
            boot_id: claims.boot_id.clone(),
            job: run.and_then(|run| run.job.as_ref()).map(|job| job.id.clone()),
            token: claims.id.clone(),
            address: peer.map(|peer| peer.ip().to_canonical().to_string()).unwrap_or_default(),
        };
        Ok(Authorized { cluster: cluster.clone(), caller, epoch: claims.cluster_epoch })
    }

    fn authorize_administrator(&self, headers: &HeaderMap, _: Option<SocketAddr>) -> Result<Caller, Refused> {
        let token = bearer(headers).ok_or(TokenRefusal::Invalid)?;
        if self.administrators.verify(token) {
            Ok(Caller::Administrator { name: self.administrators.name.clone() })
        } else {
            Err(TokenRefusal::Invalid.into())
        }
    }

    fn context(&self, cluster: &str, caller: &Caller) -> Option<Context> {
        let context = self.fleet.cluster_context(cluster, caller.clone())?;
        if let Caller::Machine { machine, .. } = caller {
            context.members.binary_search(machine).ok()?;
        }
        Some(context)
    }

    fn shows_wait(&self, machine: &str, wait: u64, what: Option<String>) {
        if let Some(entry) = self.fleet.known(machine) {
            entry.shows_wait(&self.fleet.clock, wait, what);
        }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.fleet.store)
    }

    fn now_ms(&self) -> u64 {
        self.fleet.clock.now_ms()
    }
}
