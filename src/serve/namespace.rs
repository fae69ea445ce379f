//! Entering another process's user and network namespace: the boot network apart from the network the host stands on.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd as _;

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} namespace of process {pid} cannot be entered: {error}")]
pub struct NamespaceError {
    kind: &'static str,
    pid: u32,
    error: std::io::Error,
}

/// Enters the user namespace (where it differs) and the network namespace of a process. To be called while the process has
/// one thread only: listeners opened before stay in the network they were opened in.
///
/// # Errors
/// [`NamespaceError`].
pub fn enter(pid: u32) -> Result<(), NamespaceError> {
    let wrong = |kind, error: std::io::Error| NamespaceError { kind, pid, error };
    let user = format!("/proc/{pid}/ns/user");
    let same = std::fs::read_link(&user).ok() == std::fs::read_link("/proc/self/ns/user").ok();
    let user = std::fs::File::open(user).map_err(|error| wrong("user", error))?;
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).map_err(|error| wrong("network", error))?;
    if !same {
        move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
            .map_err(|error| wrong("user", error.into()))?;
    }
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| wrong("network", error.into()))
}
