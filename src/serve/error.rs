//! Why a server cannot run, or what ended that never should.

use super::site::SiteError;
use crate::api;
use crate::archive::PlaceError;
use crate::git::GitError;
use crate::git::receive::BackendError;
use crate::identity::IdentityError;
use crate::net::dhcp::DhcpError;
use crate::net::tftp::TftpError;
use crate::reconcile::ReconcileError;
use crate::store::StoreError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state directory.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source of content.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The reconciler.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The keys of those who may sign.
    #[error("signatures cannot be checked: {0}")]
    Trust(String),
    /// git, which receives pushes.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The socket of hooks.
    #[error(transparent)]
    Hooks(#[from] api::push::SocketError),
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// DHCP.
    #[error(transparent)]
    Dhcp(#[from] DhcpError),
    /// TFTP.
    #[error(transparent)]
    Tftp(#[from] TftpError),
    /// Job logs.
    #[error("the folder of job logs cannot be used: {0}")]
    Logs(std::io::Error),
    /// The object store.
    #[error("--object-store: {0}")]
    ObjectStore(#[from] PlaceError),
    /// The image folder.
    #[error("the image folder {path} cannot be opened: {error}; scripts/build-images makes one")]
    Images {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The other servers on the store.
    #[error("{0}")]
    Replicas(String),
    /// A listener.
    #[error("cannot listen on {address} ({option}): {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that says so.
        option: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A service that should never end did.
    #[error("{service} ended: {message}")]
    Ended {
        /// Which.
        service: &'static str,
        /// With what.
        message: String,
    },
}
