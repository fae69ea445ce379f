//! The small file by which an environment knows whose machine it runs on.

use serde::{Deserialize, Serialize};

/// Where a [`BootFile`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BootFileKind {
    /// Generated for one network boot, in an initrd overlay at `/formwork/boot.json`.
    Boot,
    /// Planted on the installed system by the install, root only, at `/etc/formwork/boot.json`.
    Disk,
}

/// What an agent needs before it can speak to the server: the server's address, the authority to pin, and a ticket.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BootFile {
    /// How this file reached the machine.
    pub kind: BootFileKind,
    /// The site's name.
    pub site: String,
    /// Base URL of the machine API, `https://ADDRESS:PORT`, no trailing slash.
    pub server: String,
    /// The site's certificate authority, PEM. The only root the agent trusts.
    pub ca_certificate: String,
    /// SHA-256 over the authority's DER, lower-case hexadecimal: what is pinned and shown to people.
    pub ca_fingerprint: String,
    /// The ticket, `id.secret`: exchanged once for tokens bound to the agent's key. Secret.
    pub ticket: String,
    /// The machine's name in the catalog.
    pub machine: String,
    /// The boot environment that was offered (qualified name); `local` on an installed system.
    pub environment: String,
    /// The server's clock when this file was made, Unix milliseconds: machines' clocks lie.
    pub server_time_unix_ms: i64,
}

impl std::fmt::Debug for BootFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootFile")
            .field("kind", &self.kind)
            .field("server", &self.server)
            .field("ca_fingerprint", &self.ca_fingerprint)
            .field("machine", &self.machine)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}
