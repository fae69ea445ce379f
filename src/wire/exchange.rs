//! From a ticket to tokens: `POST /v1/agent/exchange`, `/v1/agent/renew`, `/v1/agent/check-in`.

use serde::{Deserialize, Serialize};

/// What a box says it is. Selects a machine; never proves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HardwareIdentity {
    /// MAC addresses, lower-case with colons, the one it booted from first.
    #[serde(default)]
    pub macs: Vec<String>,
    /// SMBIOS system UUID, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SMBIOS system serial number as reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// `POST /v1/agent/exchange`: a ticket and a public key for tokens. The same key again gets an equal answer; another key
/// quarantines the machine (409 `quarantined`).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// `id.secret` of the boot file. Secret.
    pub ticket: String,
    /// The agent's Ed25519 public key, base64 (URL-safe, no padding), 32 bytes.
    pub public_key: String,
    /// Ed25519 signature by that key over `formwork-exchange-v1\n` + ticket id, base64 as above: proves possession.
    pub signature: String,
    /// `/proc/sys/kernel/random/boot_id` of this start of the kernel.
    pub boot_id: String,
    /// The agent's protocol version.
    pub protocol: u32,
    /// The agent's program version.
    pub agent_version: String,
    /// What the box says it is.
    pub hardware: HardwareIdentity,
}

/// A token that opens one cluster profile and nothing else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ClusterToken {
    /// The cluster profile's name.
    pub cluster: String,
    /// The PASETO token. Secret.
    pub token: String,
}

/// The answer to an exchange and to a renewal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeAnswer {
    /// The machine's name.
    pub machine: String,
    /// The machine token: this machine and its jobs; it never leaves the agent. Secret.
    pub token: String,
    /// One token for each cluster the machine is a member of.
    #[serde(default)]
    pub clusters: Vec<ClusterToken>,
    /// The machine's generation; a raised one revokes all tokens of the one before.
    pub generation: u64,
    /// Renew after this many seconds.
    pub renew_after_seconds: u64,
    /// The server's clock, Unix milliseconds.
    pub server_time_unix_ms: i64,
    /// The protocol version the server will speak with this agent.
    pub protocol: u32,
}

/// `POST /v1/agent/renew` with the (still valid) machine token as bearer: fresh tokens for the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// The agent's public key, as at the exchange: tokens hold only its digest.
    pub public_key: String,
    /// Ed25519 signature by the agent's key over `formwork-renew-v1\n` + the id (`jti`) of the token presented.
    pub signature: String,
}

/// `POST /v1/agent/check-in`: this kernel runs, this agent lives. The only thing that counts as a boot. Repeating it is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CheckInRequest {
    /// This start of the kernel.
    pub boot_id: String,
    /// The boot environment that runs (from the boot file).
    pub environment: String,
    /// `x86_64`, `aarch64`, …
    pub architecture: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The agent's program version.
    pub agent_version: String,
    /// `uname -r`.
    pub kernel: String,
    /// The address the machine has on the boot network, if it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the box says it is.
    pub hardware: HardwareIdentity,
}
