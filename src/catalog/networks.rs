//! Subnets: networks that are ones, pools inside them, nothing given twice.

use super::model::Subnet;
use crate::content::dhcp_options::{self, OptionError};
use crate::content::kinds::{LEASE_SECONDS, SubnetMode, SubnetSpec};
use crate::content::names::nearest;
use crate::content::{Object, Report, Step};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Compiles a subnet; `None` where its network could not be read.
pub(super) fn subnet(object: &Object<SubnetSpec>, report: &mut Report) -> Option<Subnet> {
    let document = &object.document;
    let path = [Step::Key("spec"), Step::Key("cidr")];
    let written = object.spec.cidr.as_str();
    let parsed = written.split_once('/').and_then(|(base, prefix)| {
        let base: Ipv4Addr = base.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some((base, prefix))
    });
    let Some((base, prefix)) = parsed else {
        report
            .error("cidr", document.value(&path), format!("`{written}` is not a network"))
            .hint("write it as ADDRESS/LENGTH, such as `10.77.0.0/24`");
        return None;
    };
    if !(8..=30).contains(&prefix) {
        report
            .error(
                "cidr",
                document.value(&path),
                format!("a prefix of {prefix} bits is not a subnet that machines boot on"),
            )
            .hint("8 to 30 bits");
        return None;
    }
    let place = document.place();
    let mut subnet = Subnet {
        name: Arc::clone(&object.name),
        base,
        prefix,
        place,
        document: document.clone(),
        spec: object.spec.clone(),
    };
    let network = Ipv4Addr::from(u32::from(base) & u32::from(subnet.mask()));
    if let Some(what) = no_network_of_hosts(network) {
        report
            .error("cidr", document.value(&path), format!("`{written}` is {what}: no machine boots on it"))
            .hint("write a network that hosts have addresses in, such as `10.77.0.0/24`");
        return None;
    }
    if let Some(lease) = subnet.spec.lease_time.filter(|lease| !LEASE_SECONDS.contains(&lease.0.as_secs())) {
        report
            .error(
                "lease-time",
                document.value(&["spec".into(), "leaseTime".into()]),
                format!("`{lease}` is not how long a lease can last"),
            )
            .hint(format!(
                "{} to {} seconds: clients ask again at half of it, and the number after the last means for ever (RFC 2131), which \
                 no lease here is; `1h` is usual",
                LEASE_SECONDS.start(),
                LEASE_SECONDS.end()
            ));
    }
    if network != base {
        report
            .error("cidr", object.document.value(&path), format!("`{}` is an address in a network", subnet.spec.cidr))
            .hint(format!("the network is {network}/{prefix}"));
        subnet.base = network;
    }
    if let Some(gateway) = subnet.spec.gateway
        && !is_host(&subnet, gateway)
    {
        report
            .error(
                "gateway",
                object.document.value(&["spec".into(), "gateway".into()]),
                format!("{gateway} is not a host's address in {network}/{prefix}"),
            )
            .hint(hosts(&subnet));
    }
    for (index, pool) in subnet.spec.pools.iter().enumerate() {
        let at = [Step::Key("spec"), Step::Key("pools"), Step::Item(index)];
        if pool.first > pool.last {
            report
                .error(
                    "pool",
                    object.document.value(&at),
                    format!("the pool ends at {} before it begins at {}", pool.last, pool.first),
                )
                .hint("swap the two");
        }
        for (field, address) in [("first", pool.first), ("last", pool.last)] {
            if !is_host(&subnet, address) {
                let at = [Step::Key("spec"), Step::Key("pools"), Step::Item(index), Step::Key(field)];
                report
                    .error(
                        "pool",
                        object.document.value(&at),
                        format!("{address} is not a host's address in {network}/{prefix}"),
                    )
                    .hint(hosts(&subnet));
            }
        }
        if let Some(gateway) = subnet.spec.gateway.filter(|gateway| (pool.first..=pool.last).contains(gateway)) {
            report
                .error("pool", object.document.value(&at), format!("the gateway {gateway} lies in this pool"))
                .hint("leave it out of the pool");
        }
        let before = subnet.spec.pools.iter().take(index);
        if let Some(other) = before.into_iter().find(|other| other.first <= pool.last && pool.first <= other.last) {
            report
                .error(
                    "pool",
                    object.document.value(&at),
                    format!("overlaps the pool {} to {}", other.first, other.last),
                )
                .hint("an address is in one pool: make one of the two, or let the second begin behind the first");
        }
    }
    for (name, value) in &subnet.spec.options {
        if let Err(error) = dhcp_options::encode(name, value) {
            let at = ["spec".into(), "options".into(), Step::Key(name)];
            let hint = match error {
                OptionError::Name(_) => {
                    nearest(name, dhcp_options::names()).map(|near| format!("did you mean `{near}`?"))
                }
                OptionError::Ours(_) => Some(
                    "take it out; what a subnet itself says (`gateway`, `leaseTime`) goes into its own fields"
                        .to_owned(),
                ),
                OptionError::Value { .. } => None,
            };
            report.error("dhcp-option", object.document.value(&at), error.to_string()).hint_if(hint);
        }
    }
    if subnet.spec.mode != SubnetMode::Server && !subnet.spec.pools.is_empty() {
        report
            .warning(
                "pool",
                object.document.key(&["spec".into(), "pools".into()]),
                "these pools are not used: only `mode: server` gives addresses",
            )
            .hint("remove them, or set `mode: server`");
    }
    Some(subnet)
}

/// What the addresses of a network are for, where they are for no hosts (RFC 6890). No subnet is larger than one of these blocks.
fn no_network_of_hosts(network: Ipv4Addr) -> Option<&'static str> {
    match network.octets() {
        [0, ..] => Some("in 0.0.0.0/8, which is for hosts that have no address yet"),
        [127, ..] => Some("loopback, which each computer has for itself"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("in 240.0.0.0/4, which is reserved"),
        _ => None,
    }
}

/// Which addresses hosts of a subnet may have.
pub(super) fn hosts(subnet: &Subnet) -> String {
    let (first, last) = (u32::from(subnet.base).saturating_add(1), u32::from(subnet.broadcast()).saturating_sub(1));
    format!("hosts of {}/{} are {} to {}", subnet.base, subnet.prefix, Ipv4Addr::from(first), Ipv4Addr::from(last))
}

/// Whether a machine may have the address: in the subnet, neither its first nor its last.
pub(super) fn is_host(subnet: &Subnet, address: Ipv4Addr) -> bool {
    subnet.contains(address) && address != subnet.base && address != subnet.broadcast()
}

/// Subnets that overlap: an address would be in both.
pub(super) fn check_overlaps(subnets: &[Subnet], report: &mut Report) {
    let mut sorted: Vec<&Subnet> = subnets.iter().collect();
    sorted.sort_by_key(|subnet| (subnet.base, subnet.prefix));
    let mut widest: Option<&Subnet> = None;
    for subnet in sorted {
        match widest {
            Some(wide) if wide.contains(subnet.base) => report
                .error(
                    "overlap",
                    subnet.document.value(&["spec".into(), "cidr".into()]),
                    format!("overlaps subnet `{}` ({}/{})", wide.name, wide.base, wide.prefix),
                )
                .hint("an address belongs to one subnet"),
            _ => widest = Some(subnet),
        }
    }
}
