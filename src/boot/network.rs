//! Subnets and reservations as DHCP needs them: made once for each revision, read for every packet.

use super::Mac;
use crate::catalog::{Catalog, MachineView};
use crate::content::dhcp_options::{self, Encoded, OptionError};
use crate::content::kinds::{SubnetMode, SubnetSpec};
use rpds::{HashTrieMapSync, HashTrieSetSync};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// So many machines that differ are put in place of what they were; of more the whole is made anew.
const PATCHED_MAX: usize = 1024;

/// A lease where a subnet names no length, seconds.
pub const DEFAULT_LEASE_SECONDS: u32 = 3600;
/// The shortest lease given, seconds: below it a booting machine loses its address between firmware and kernel.
pub const SHORTEST_LEASE_SECONDS: u32 = 60;

/// Why a subnet cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not `ADDRESS/LENGTH`.
    #[error("subnet {subnet}: `{cidr}` is no IPv4 network; write it as 10.77.0.0/24")]
    Cidr {
        /// The subnet.
        subnet: String,
        /// As written.
        cidr: String,
    },
    /// An option with a name or value that cannot be sent.
    #[error("subnet {subnet}: {problem}")]
    Option {
        /// The subnet.
        subnet: String,
        /// What is wrong with it.
        problem: OptionError,
    },
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    base: u32,
    length: u8,
}

impl Prefix {
    /// Reads `10.77.0.0/24`; host bits are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.trim().split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let length: u8 = length.parse().ok().filter(|l| *l <= 32)?;
        let prefix = Self { base: 0, length };
        Some(Self { base: u32::from(address) & prefix.mask_bits(), length })
    }

    const fn mask_bits(self) -> u32 {
        if self.length == 0 { 0 } else { u32::MAX << (32 - self.length) }
    }

    /// The subnet mask (option 1).
    pub fn mask(self) -> Ipv4Addr {
        self.mask_bits().into()
    }

    /// The broadcast address (option 28).
    pub fn broadcast(self) -> Ipv4Addr {
        (self.base | !self.mask_bits()).into()
    }

    /// The network's own address.
    pub fn base(self) -> Ipv4Addr {
        self.base.into()
    }

    /// Prefix length.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether the address is of this network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask_bits() == self.base
    }

    /// Whether a host can have the address: of this network, and neither its base nor its broadcast.
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        self.contains(address) && (self.length >= 31 || (address != self.base() && address != self.broadcast()))
    }
}

/// A subnet ready to serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnet {
    /// Its name in content.
    pub name: String,
    /// Its network.
    pub prefix: Prefix,
    /// Server, proxy or off.
    pub mode: SubnetMode,
    /// The router.
    pub gateway: Option<Ipv4Addr>,
    /// Pools, both ends included, cut to the network's hosts.
    pub pools: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Lease length.
    pub lease_seconds: u32,
    /// Options from content, encoded, by code.
    pub options: Vec<Encoded>,
}

impl Subnet {
    /// Reads what people wrote.
    ///
    /// # Errors
    /// A network or an option that cannot be sent.
    pub fn new(name: &str, spec: &SubnetSpec) -> Result<Self, NetworkError> {
        let prefix = Prefix::parse(&spec.cidr)
            .ok_or_else(|| NetworkError::Cidr { subnet: name.to_owned(), cidr: spec.cidr.clone() })?;
        let pools = spec
            .pools
            .iter()
            .filter(|pool| prefix.has_host(pool.first) && prefix.has_host(pool.last) && pool.first <= pool.last)
            .map(|pool| (pool.first, pool.last))
            .collect();
        let mut encoded = Vec::with_capacity(spec.options.len());
        for (option, value) in &spec.options {
            let wrong = |problem| NetworkError::Option { subnet: name.to_owned(), problem };
            encoded.push(dhcp_options::encode(option, value).map_err(wrong)?);
        }
        let seconds = spec.lease_time.map_or(u64::from(DEFAULT_LEASE_SECONDS), |span| span.0.as_secs());
        Ok(Self {
            name: name.to_owned(),
            prefix,
            mode: spec.mode,
            gateway: spec.gateway,
            pools,
            // u32::MAX means "for ever" on the wire (RFC 2131 3.3), which no lease of ours is.
            lease_seconds: u32::try_from(seconds).unwrap_or(u32::MAX - 1).clamp(SHORTEST_LEASE_SECONDS, u32::MAX - 1),
            options: encoded,
        })
    }

    /// Whether a pool holds the address.
    pub fn in_pool(&self, address: Ipv4Addr) -> bool {
        self.pools.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }

    /// Addresses in all pools.
    pub fn pool_size(&self) -> u64 {
        self.pools.iter().map(|(first, last)| u64::from(u32::from(*last) - u32::from(*first)) + 1).sum()
    }

    /// The pool's address at a place from 0.
    pub fn pool_address(&self, mut place: u64) -> Option<Ipv4Addr> {
        for (first, last) in &self.pools {
            let size = u64::from(u32::from(*last) - u32::from(*first)) + 1;
            if place < size {
                return u32::try_from(place).ok().and_then(|p| u32::from(*first).checked_add(p)).map(Ipv4Addr::from);
            }
            place -= size;
        }
        None
    }
}

/// A machine's fixed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The machine.
    pub machine: String,
    /// The address.
    pub address: Ipv4Addr,
}

/// All subnets and reservations of a revision. A copy shares with what it is a copy of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Network {
    /// The revision that it is of, where it is of one.
    revision: Option<Arc<str>>,
    subnets: Vec<Subnet>,
    reservations: HashTrieMapSync<Mac, Reservation>,
    reserved: HashTrieSetSync<Ipv4Addr>,
    names: HashTrieMapSync<Mac, String>,
}

impl Network {
    /// From ready subnets and machines (name, MACs, reserved address). The most specific subnet is found first.
    pub fn new<'a>(
        mut subnets: Vec<Subnet>,
        machines: impl IntoIterator<Item = (&'a str, Vec<Mac>, Option<Ipv4Addr>)>,
    ) -> Self {
        subnets.sort_by(|a, b| b.prefix.length().cmp(&a.prefix.length()).then_with(|| a.name.cmp(&b.name)));
        let mut network = Self { subnets, ..Self::default() };
        machines.into_iter().for_each(|(machine, macs, address)| network.put(machine, macs, address));
        network
    }

    fn put(&mut self, machine: &str, macs: impl IntoIterator<Item = Mac>, address: Option<Ipv4Addr>) {
        for mac in macs {
            self.names.insert_mut(mac, machine.to_owned());
            if let Some(address) = address {
                self.reservations.insert_mut(mac, Reservation { machine: machine.to_owned(), address });
                self.reserved.insert_mut(address);
            }
        }
    }

    /// The network of a revision. A catalog holds no subnet that cannot be served; should one be there all the same, it is
    /// left out and said, and the others serve.
    pub fn of(catalog: &Catalog) -> (Self, Vec<NetworkError>) {
        let (subnets, wrong) = subnets(catalog);
        let machines =
            catalog.machines().map(|machine| (machine.name.as_str(), macs(machine).collect(), machine.address));
        let network = Self { revision: Some(Arc::clone(&catalog.revision)), ..Self::new(subnets, machines) };
        (network, wrong)
    }

    /// The same, where this is the network of the revision before: machines that are the same in both are not looked at.
    pub fn after(&self, before: &Catalog, catalog: &Catalog) -> (Self, Vec<NetworkError>) {
        let (differing, _) = catalog.differing(before);
        if self.revision.as_deref() != Some(&*before.revision) || differing.len() > PATCHED_MAX {
            return Self::of(catalog);
        }
        let (subnets, wrong) = subnets(catalog);
        let none: [(&str, Vec<Mac>, Option<Ipv4Addr>); 0] = [];
        let mut next = Self { subnets: Self::new(subnets, none).subnets, ..self.clone() };
        next.revision = Some(Arc::clone(&catalog.revision));
        // All that goes before all that comes: a MAC may move from one machine to another.
        for machine in differing.iter().filter_map(|name| before.machine(name)) {
            for mac in macs(machine) {
                next.names.remove_mut(&mac);
                next.reservations.remove_mut(&mac);
            }
            if let Some(address) = &machine.address {
                next.reserved.remove_mut(address);
            }
        }
        for machine in differing.iter().filter_map(|name| catalog.machine(name)) {
            next.put(&machine.name, macs(machine), machine.address);
        }
        (next, wrong)
    }

    /// The subnet that an address is of.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(address))
    }

    /// All subnets, the most specific first.
    pub fn subnets(&self) -> &[Subnet] {
        &self.subnets
    }

    /// A MAC's reservation.
    pub fn reservation(&self, mac: Mac) -> Option<&Reservation> {
        self.reservations.get(&mac)
    }

    /// Whether an address is kept for a declared machine.
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        self.reserved.contains(&address)
    }

    /// The declared machine of a MAC.
    pub fn machine(&self, mac: Mac) -> Option<&str> {
        self.names.get(&mac).map(String::as_str)
    }
}

fn macs(machine: &MachineView) -> impl Iterator<Item = Mac> {
    machine.macs.iter().filter_map(|mac| mac.parse().ok())
}

fn subnets(catalog: &Catalog) -> (Vec<Subnet>, Vec<NetworkError>) {
    let (mut subnets, mut wrong) = (Vec::new(), Vec::new());
    for subnet in catalog.subnets() {
        match Subnet::new(&subnet.name, &subnet.spec) {
            Ok(subnet) => subnets.push(subnet),
            Err(error) => wrong.push(error),
        }
    }
    (subnets, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_knows_its_mask_broadcast_and_hosts() {
        let prefix = Prefix::parse("10.77.3.9/22").expect("a network");
        assert_eq!(prefix.base(), Ipv4Addr::new(10, 77, 0, 0));
        assert_eq!(prefix.mask(), Ipv4Addr::new(255, 255, 252, 0));
        assert_eq!(prefix.broadcast(), Ipv4Addr::new(10, 77, 3, 255));
        assert!(prefix.has_host([10, 77, 0, 255].into()) && !prefix.has_host([10, 77, 3, 255].into()));
        for wrong in ["", "10.77.0.0", "10.77.0.0/33", "10.77.0/24", "10.77.0.0/-1"] {
            assert_eq!(Prefix::parse(wrong), None, "{wrong}");
        }
        assert!(Prefix::parse("0.0.0.0/0").is_some_and(|all| all.contains([8, 8, 8, 8].into())));
    }

    #[test]
    fn pool_places_run_through_all_pools() {
        let spec: SubnetSpec = serde_json::from_value(serde_json::json!({
            "cidr": "10.0.0.0/24",
            "pools": [{"first": "10.0.0.10", "last": "10.0.0.11"}, {"first": "10.0.0.20", "last": "10.0.0.20"},
                      {"first": "10.0.1.1", "last": "10.0.1.9"}],
        }))
        .expect("a spec");
        let subnet = Subnet::new("rack", &spec).expect("a subnet");
        assert_eq!(subnet.pool_size(), 3);
        let all: Vec<String> = (0..4).filter_map(|p| subnet.pool_address(p)).map(|a| a.to_string()).collect();
        assert_eq!(all, ["10.0.0.10", "10.0.0.11", "10.0.0.20"]);
    }

    fn catalog(option: &str) -> Result<Catalog, crate::content::Findings> {
        let head = "apiVersion: formwork.dev/v1alpha1\nkind: ";
        let files = [
            ("site.yaml", format!("{head}Site\nmetadata: {{name: lab}}\nspec: {{}}\n")),
            (
                "networks/rack.yaml",
                format!(
                    "{head}Subnet\nmetadata: {{name: rack-1}}\nspec:\n  cidr: 10.77.0.0/24\n  options:\n    {option}\n"
                ),
            ),
            (
                "machines/node-1.yaml",
                format!(
                    "{head}Machine\nmetadata: {{name: node-1}}\nspec: {{match: {{macs: [\"52-54-00-00-00-01\"]}}, address: 10.77.0.11}}\n"
                ),
            ),
        ];
        let loaded = crate::content::load(&crate::content::Tree::from_texts(files), &Default::default())?;
        crate::catalog::compile(loaded, "0123abc")
    }

    #[test]
    fn a_revisions_network_has_its_subnets_options_and_reservations() {
        let catalog = catalog("domain-name: lab").expect("a catalog");
        let (network, wrong) = Network::of(&catalog);
        assert_eq!(wrong, []);
        let mac: Mac = "52:54:00:00:00:01".parse().expect("a MAC");
        assert_eq!(network.reservation(mac).map(|r| r.address), Some([10, 77, 0, 11].into()));
        assert_eq!(network.machine(mac), Some("node-1"));
        assert_eq!(network.subnet_of([10, 77, 0, 200].into()).map(|s| s.options.len()), Some(1));
    }

    #[test]
    fn an_option_that_cannot_be_sent_is_a_finding_at_its_place() {
        for option in ["dns: 10.77.0.1", "interface-mtu: large", "option-53: \"01\""] {
            let found = catalog(option).map(|_| ()).expect_err(option).to_string();
            assert!(found.contains("networks/rack.yaml:7:"), "{found}");
        }
    }
    #[test]
    fn a_network_after_a_commit_is_that_of_the_revision_whatever_moved() {
        let head = "apiVersion: formwork.dev/v1alpha1\nkind: ";
        let site = |subnet: &str, machines: &[(&str, &str, Option<u8>)]| {
            let mut text =
                format!("{head}Site\nmetadata: {{name: lab}}\n---\n{head}Subnet\nmetadata: {{name: all}}\n{subnet}");
            for (name, mac, address) in machines {
                let address = address.map(|last| format!(", address: 10.77.0.{last}")).unwrap_or_default();
                text.push_str(&format!(
                    "---\n{head}Machine\nmetadata: {{name: {name}}}\nspec: {{match: {{macs: ['52:54:00:00:00:{mac}']}}{address}}}\n"
                ));
            }
            text
        };
        let (one, other) = ("spec: {cidr: 10.77.0.0/24}\n", "spec: {cidr: 10.77.0.0/16}\n");
        let steps = [
            site(one, &[("a", "01", Some(1)), ("b", "02", None), ("c", "03", Some(3))]),
            // A MAC and an address that change hands, one that goes, one that comes.
            site(one, &[("a", "02", Some(3)), ("b", "01", Some(1)), ("d", "04", None)]),
            site(other, &[("a", "02", Some(3)), ("b", "01", Some(1)), ("d", "04", None)]),
            site(other, &[("a", "02", Some(4)), ("d", "04", Some(3))]),
            site(other, &[]),
        ];
        let mut compiler = crate::catalog::Compiler::new(Default::default(), crate::content::sops::Keys::Unknown);
        let mut last: Option<(Catalog, Network)> = None;
        for (step, text) in steps.iter().enumerate() {
            let tree = crate::content::Tree::from_texts([("site.yaml", text.as_str())]);
            let catalog = compiler.compile(&tree, &format!("r{step}")).expect("it compiles");
            let (whole, _) = Network::of(&catalog);
            if let Some((before, network)) = &last {
                assert_eq!(network.after(before, &catalog).0, whole, "step {step}");
            }
            // Of another revision nothing is taken over.
            assert_eq!(Network::default().after(&catalog, &catalog).0, whole);
            last = Some((catalog, whole));
        }
    }
}
