//! What the texts of one boot may know of it besides params and machine.

use super::render::ServerInfo;
use crate::content::kinds::EndsBy;
use serde::Serialize;

/// `boot` in templates: where this boot finds its files, and how its installer calls back. What is not there is undefined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BootInfo {
    /// `http://ADDRESS:PORT/boot/files/OFFER`; a file of the environment is `/NAME` below it.
    pub files: String,
    /// Where an installer says how it ended: `/done` or `/failed` below it. Only where the environment ends by a callback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// What the callback is opened by, as a bearer token; good for nothing else. Never on a command line. Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl BootInfo {
    /// Of an offer of an environment that ends by `ends_by`. The token goes to files, not to command lines.
    pub fn of(server: &ServerInfo, offer: &str, ends_by: EndsBy, token: Option<String>) -> Self {
        let callback = (ends_by == EndsBy::Callback).then(|| format!("{}/boot/callback/{offer}", server.http));
        let token = token.filter(|_| callback.is_some());
        Self { files: format!("{}/boot/files/{offer}", server.http), callback, token }
    }
}
