//! Where content comes from.

use super::{HOOK_SOCKET, ServeError, SiteError, StateDirectory};
use crate::git::Source;
use crate::git::receive::{Backend, Hosted};

/// Where content comes from.
pub enum Content {
    /// From here.
    Source(Source),
    /// From a repository of the server's own in the state directory, which people push to.
    Hosted {
        /// The branch to follow; none: `main`.
        branch: Option<String>,
        /// The site's folder inside the repository; none: its root.
        subpath: Option<String>,
    },
    /// From where a `ContentSource` in Kubernetes says.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Cluster),
}

/// The way to a Kubernetes API; there is none without the feature.
#[cfg(feature = "kubernetes")]
type Cluster = crate::controller::Link;
#[cfg(not(feature = "kubernetes"))]
type Cluster = std::convert::Infallible;

/// What is followed; the repository that people push to, where it is our own; the cluster that says what is followed.
pub(super) type Where = (Source, Option<(Hosted, Backend)>, Option<Cluster>);

/// Opens what that needs.
///
/// # Errors
/// The repository of our own, or the git that serves it, cannot be used, and nothing served before that could serve on without it.
pub(super) fn opened(state: &StateDirectory, content: Content) -> Result<Where, ServeError> {
    let (branch, subpath) = match content {
        Content::Source(source) => return Ok((source, None, None)),
        #[cfg(feature = "kubernetes")]
        Content::Kubernetes(cluster) => return Ok((crate::controller::followed_last(&state.0), None, Some(cluster))),
        Content::Hosted { branch, subpath } => (branch, subpath),
    };
    // A hook runs in the repository: what it is given are whole paths.
    let wrong = |error| SiteError::File { path: state.0.clone(), error };
    let folder = state.0.canonicalize().map_err(wrong)?;
    let program = std::env::current_exe().map_err(wrong)?;
    let socket = folder.join(HOOK_SOCKET);
    let what = (branch.as_deref(), subpath.as_deref());
    let hosted = Hosted::open(&folder, what, (&program, &socket), state.served_before())?;
    let backend = Backend::find(hosted.root())?.with_hooks(hosted.hooks());
    Ok((hosted.source(), Some((hosted, backend)), None))
}
