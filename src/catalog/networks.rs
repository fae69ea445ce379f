//! Subnets: networks that are ones, pools inside them, nothing given twice.

use super::model::Subnet;
use crate::content::dhcp_options::{self, OptionError};
use crate::content::kinds::{SubnetMode, SubnetSpec};
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
    if network != base {
        report
            .error("cidr", object.document.value(&path), format!("`{}` is an address in a network", subnet.spec.cidr))
            .hint(format!("the network is {network}/{prefix}"));
        subnet.base = network;
    }
    if let Some(gateway) = subnet.spec.gateway
        && !is_host(&subnet, gateway)
    {
        report.error(
            "gateway",
            object.document.value(&["spec".into(), "gateway".into()]),
            format!("{gateway} is not a host's address in {network}/{prefix}"),
        );
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
                report.error(
                    "pool",
                    object.document.value(&at),
                    format!("{address} is not a host's address in {network}/{prefix}"),
                );
            }
        }
        if let Some(gateway) = subnet.spec.gateway.filter(|gateway| (pool.first..=pool.last).contains(gateway)) {
            report
                .error("pool", object.document.value(&at), format!("the gateway {gateway} lies in this pool"))
                .hint("leave it out of the pool");
        }
        let before = subnet.spec.pools.iter().take(index);
        if let Some(other) = before.into_iter().find(|other| other.first <= pool.last && pool.first <= other.last) {
            report.error(
                "pool",
                object.document.value(&at),
                format!("overlaps the pool {} to {}", other.first, other.last),
            );
        }
    }
    for (name, value) in &subnet.spec.options {
        if let Err(error) = dhcp_options::encode(name, value) {
            let at = ["spec".into(), "options".into(), Step::Key(name)];
            let near = nearest(name, dhcp_options::names());
            let near = near.filter(|_| matches!(error, OptionError::Name(_)));
            report
                .error("dhcp-option", object.document.value(&at), error.to_string())
                .hint_if(near.map(|near| format!("did you mean `{near}`?")));
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
