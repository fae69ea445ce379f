//! `kind: Subnet`: a network that machines boot on.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// How long a lease can last, seconds. The last number of 32 bits means "for ever" on the wire (RFC 2131 3.3), which no lease of
/// ours is.
pub const LEASE_SECONDS: std::ops::RangeInclusive<u64> = 60..=0xffff_fffe;

/// What Formwork does for DHCP on a subnet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SubnetMode {
    /// It is the DHCP server.
    #[default]
    Server,
    /// Another server gives addresses; Formwork adds what to boot.
    Proxy,
    /// Nothing.
    Off,
}

/// Addresses given to machines without a reservation, both ends included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubnetSpec {
    /// Such as `10.77.0.0/24`.
    pub cidr: String,
    /// The router (option 3).
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// Server, proxy or off.
    #[serde(default)]
    pub mode: SubnetMode,
    /// Ranges for machines without a reservation.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// How long a lease lasts.
    #[serde(default)]
    pub lease_time: Option<super::Span>,
    /// DHCP options by their IANA name (`domain-name-servers`, `ntp-servers`, `domain-name`, `interface-mtu`, …).
    #[serde(default)]
    pub options: super::Params,
}
