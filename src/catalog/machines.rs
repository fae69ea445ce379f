//! Machines and enrollment rules: each box selected by one machine, each address given to one.

use super::ground::Ground;
use super::memory::{Clean, Machines};
use super::model::{Enrollment, MachineView, Seen, Source, Subnet};
use super::references::References;
use super::stages::profile_names;
use super::{Named, Selectors, networks, render};
use crate::content::kinds::{EnrollmentSpec, MachineSpec};
use crate::content::names::is_subdomain;
use crate::content::{Document, Hinted, Kind, Object, Report, Step, junk};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a machine may carry in its list of profiles.
const CARRIED: [Kind; 2] = [Kind::Profile, Kind::ClusterProfile];

/// A machine or rule and whether all it refers to is sound.
pub(super) struct Whole<T> {
    pub(super) value: T,
    pub(super) whole: bool,
}

/// Who has a selector or an address already.
struct Taken<K> {
    by: HashMap<K, usize>,
}

impl<K: Eq + Hash> Taken<K> {
    fn new(expected: usize) -> Self {
        Self { by: HashMap::with_capacity(expected) }
    }

    /// Takes it for a machine; the machine that has it already, if one does.
    fn take(&mut self, key: K, machine: usize) -> Option<usize> {
        match self.by.entry(key) {
            std::collections::hash_map::Entry::Occupied(taken) => Some(*taken.get()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(machine);
                None
            }
        }
    }
}

/// A declared machine on its way into the catalog.
pub(super) struct Machine {
    pub(super) object: Arc<Object<MachineSpec>>,
    pub(super) view: Arc<MachineView>,
    /// All it refers to is sound.
    pub(super) whole: bool,
    /// Nothing had to be said of it so far.
    pub(super) silent: bool,
    /// It is as it was in a revision before, where nothing had to be said of it.
    pub(super) recalled: Option<Clean>,
}

/// Two machines that want the same.
struct Twins {
    /// Who is told.
    told: Arc<Object<MachineSpec>>,
    /// Who has it.
    other: Arc<Object<MachineSpec>>,
    /// They are of two sources.
    across: bool,
}

impl Twins {
    /// Of two sources the later one is told: nobody takes what is another's. In one the second is told.
    fn of(first: Arc<Object<MachineSpec>>, second: Arc<Object<MachineSpec>>, mounts: &[String]) -> Self {
        let rank = |object: &Object<MachineSpec>| {
            let file: &str = object.document.file();
            let inside = |mount: &String| file.strip_prefix(mount.as_str()).is_some_and(|rest| rest.starts_with('/'));
            // An empty one is the root, which comes first where it is not named.
            let place = mounts.iter().position(inside).or_else(|| mounts.iter().position(String::is_empty));
            place.map_or(0, |at| at + 1)
        };
        let (one, two) = (rank(&first), rank(&second));
        let (told, other) = if one > two { (first, second) } else { (second, first) };
        Self { told, other, across: one != two }
    }

    /// Tells it. Whoever looks at one source does not see where the other has it: that is said. `path`: where a machine has it.
    fn tell<'r>(
        &self,
        code: &'static str,
        path: impl Fn(&Arc<Object<MachineSpec>>) -> Vec<Step<'static>>,
        said: impl FnOnce(&str) -> String,
        report: &'r mut Report,
    ) -> Hinted<'r> {
        let mut said = said(&self.other.name);
        if self.across {
            let place = report.place(self.other.document.value(&path(&self.other)));
            said.push_str(&format!(", at {place}"));
        }
        report.error(code, self.told.document.value(&path(&self.told)), said)
    }
}

/// Who has which selector and address.
struct AllTaken {
    macs: Taken<String>,
    uuids: Taken<String>,
    serials: Taken<String>,
    addresses: Taken<Ipv4Addr>,
}

impl AllTaken {
    /// Takes all that a machine has, if all of it is free.
    fn take_all(&mut self, view: &MachineView, machine: usize) -> bool {
        let free = view.macs.iter().all(|mac| !self.macs.by.contains_key(mac))
            && view.uuid.as_ref().is_none_or(|uuid| !self.uuids.by.contains_key(uuid))
            && view.serial.as_ref().is_none_or(|serial| !self.serials.by.contains_key(serial))
            && view.address.is_none_or(|address| !self.addresses.by.contains_key(&address));
        if free {
            self.macs.by.extend(view.macs.iter().map(|mac| (mac.clone(), machine)));
            self.uuids.by.extend(view.uuid.iter().map(|uuid| (uuid.clone(), machine)));
            self.serials.by.extend(view.serial.iter().map(|serial| (serial.clone(), machine)));
            self.addresses.by.extend(view.address.map(|address| (address, machine)));
        }
        free
    }
}

/// Compiles all machines, sorted by name; those that are as they were are recalled.
pub(super) fn machines(
    objects: Named<Arc<Object<MachineSpec>>>,
    references: &References,
    subnets: &[Subnet],
    subnets_sound: bool,
    mounts: &[String],
    (memory, ground): (&mut Machines, &Ground),
    report: &mut Report,
) -> (Vec<Machine>, Selectors) {
    let mut taken = AllTaken {
        macs: Taken::new(objects.len()),
        uuids: Taken::new(0),
        serials: Taken::new(0),
        addresses: Taken::new(0),
    };
    let mut machines: Vec<Machine> = Vec::with_capacity(objects.len());
    for (position, (_, object)) in objects.into_iter().enumerate() {
        if report.stop.is_asked() {
            break;
        }
        if let Some(clean) = memory.recall(&object, ground, references)
            && taken.take_all(&clean.view, position)
        {
            let view = Arc::clone(&clean.view);
            machines.push(Machine { object, view, whole: true, silent: true, recalled: Some(clean) });
            continue;
        }
        memory.count_compiled();
        let said = report.said();
        let AllTaken { macs, uuids, serials, addresses } = &mut taken;
        let document = &object.document;
        let spec = &object.spec;
        let at = |field: &'static str| [Step::Key("spec"), Step::Key("match"), Step::Key(field)];
        let twins = |other: usize, machines: &[Machine]| {
            let other = machines.get(other).map_or_else(|| Arc::clone(&object), |other| Arc::clone(&other.object));
            Twins::of(other, Arc::clone(&object), mounts)
        };
        if spec.selectors == Default::default() {
            report
                .error("no-selector", document.value(&["spec".into(), "match".into()]), "nothing says which box it is")
                .hint("give at least one of `macs`, `uuid`, `serial`");
        }
        let mut normal = Vec::with_capacity(spec.selectors.macs.len());
        for (index, written) in spec.selectors.macs.iter().enumerate() {
            let path = [Step::Key("spec"), Step::Key("match"), Step::Key("macs"), Step::Item(index)];
            let Some(mac) = junk::normal_mac(written) else {
                report
                    .error(
                        "mac",
                        document.value(&path),
                        format!("`{written}` is not the MAC address of a network card"),
                    )
                    .hint("six bytes, such as `52:54:00:00:00:01`, in quotes; neither all zeros nor a group address");
                continue;
            };
            match macs.take(mac.clone(), position) {
                Some(other) => {
                    let path = |of: &Arc<Object<MachineSpec>>| {
                        let is_it = |written: &String| junk::normal_mac(written).as_ref() == Some(&mac);
                        let there = || of.spec.selectors.macs.iter().position(is_it).unwrap_or_default();
                        let at = if Arc::ptr_eq(of, &object) { index } else { there() };
                        vec![Step::Key("spec"), Step::Key("match"), Step::Key("macs"), Step::Item(at)]
                    };
                    let said = |other: &str| format!("MAC {mac} selects machine `{other}` already");
                    twins(other, &machines)
                        .tell("twin-mac", path, said, report)
                        .hint("a box is one machine: remove it from one of the two");
                }
                None => normal.push(mac),
            }
        }
        let uuid = spec.selectors.uuid.as_ref().and_then(|written| {
            let uuid = junk::normal_uuid(written);
            match &uuid {
                None => report
                    .error("uuid", document.value(&at("uuid")), format!("`{written}` is not a UUID"))
                    .hint("write it as `dmidecode -s system-uuid` shows it"),
                Some(uuid) if junk::is_junk_uuid(uuid) => report
                    .error(
                        "junk",
                        document.value(&at("uuid")),
                        format!("{uuid} is a vendor's placeholder; many boxes have it"),
                    )
                    .hint("select the machine by its MAC address"),
                Some(uuid) => {
                    if let Some(other) = uuids.take(uuid.clone(), position) {
                        let said = |other: &str| format!("UUID {uuid} selects machine `{other}` already");
                        twins(other, &machines).tell("twin-uuid", |_| at("uuid").to_vec(), said, report);
                    }
                }
            }
            uuid
        });
        let serial = spec.selectors.serial.as_ref().and_then(|written| {
            let serial = junk::normal_serial(written);
            match &serial {
                None => {
                    let (message, hint) = junk::why_no_serial(written);
                    report.error("junk", document.value(&at("serial")), format!("`{written}` {message}")).hint(hint);
                }
                Some(serial) => {
                    if let Some(other) = serials.take(serial.clone(), position) {
                        let said = |other: &str| format!("serial {serial} selects machine `{other}` already");
                        twins(other, &machines).tell("twin-serial", |_| at("serial").to_vec(), said, report);
                    }
                }
            }
            serial
        });
        if let Some(address) = spec.address {
            if let Some(other) = addresses.take(address, position) {
                let path = |_: &_| vec![Step::Key("spec"), Step::Key("address")];
                let said = |other: &str| format!("{address} is machine `{other}`'s already");
                twins(other, &machines)
                    .tell("twin-address", path, said, report)
                    .hint("an address belongs to one machine: give this one another, or none");
            }
            if subnets_sound {
                check_address(address, document, subnets, report);
            }
        }
        let (profiles, profiles_whole) =
            profile_names(&spec.profiles, &["spec", "profiles"], None, document, references, report, &CARRIED);
        let (workflow, workflow_whole) = workflow(spec.workflow.as_deref(), document, references, report);
        let view = MachineView {
            name: object.name.to_string(),
            labels: object.labels.clone(),
            macs: normal,
            uuid,
            serial,
            address: spec.address,
            profiles,
            params: Arc::clone(&spec.params),
            workflow,
            run: spec.run,
            protect: spec.protect,
            wipe: spec.wipe,
            source: Source::Git(document.place()),
            document: document.clone(),
        };
        machines.push(Machine {
            view: Arc::new(view),
            whole: profiles_whole && workflow_whole,
            silent: report.said() == said,
            recalled: None,
            object,
        });
    }
    (machines, Selectors { macs: taken.macs.by, uuids: taken.uuids.by, serials: taken.serials.by })
}

fn workflow(
    written: Option<&str>,
    document: &Document,
    references: &References,
    report: &mut Report,
) -> (Option<String>, bool) {
    let Some(written) = written else { return (None, true) };
    let path = [Step::Key("spec"), Step::Key("workflow")];
    let found = references.resolve(Kind::Workflow, None, written, document.value(&path), report).sound();
    let whole = found.is_some();
    (found.map(|name| name.to_string()), whole)
}

fn check_address(address: Ipv4Addr, document: &Document, subnets: &[Subnet], report: &mut Report) {
    let path = [Step::Key("spec"), Step::Key("address")];
    let spot = document.value(&path);
    let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(address)) else {
        report
            .error("address", spot, format!("{address} is in no subnet"))
            .hint("declare the Subnet, or give an address of one that is declared");
        return;
    };
    if !networks::is_host(subnet, address) {
        report
            .error("address", spot, format!("{address} is the first or last address of subnet `{}`", subnet.name))
            .hint(networks::hosts(subnet));
    } else if subnet.spec.gateway == Some(address) {
        report
            .error("address", spot, format!("{address} is the gateway of subnet `{}`", subnet.name))
            .hint("give the machine another one of that subnet, outside its pools");
    } else if let Some(pool) = subnet.spec.pools.iter().find(|pool| (pool.first..=pool.last).contains(&address)) {
        report
            .error(
                "address",
                spot,
                format!("{address} lies in the pool {} to {} of subnet `{}`", pool.first, pool.last, subnet.name),
            )
            .hint("another machine may have been given it: reserve an address outside the pools");
    }
}

/// Compiles all enrollment rules, in the order they are tried.
pub(super) fn enrollments(
    objects: Named<Arc<Object<EnrollmentSpec>>>,
    references: &References,
    environment: &minijinja::Environment<'static>,
    report: &mut Report,
) -> Vec<Whole<Enrollment>> {
    let mut rules: Vec<Whole<Enrollment>> = Vec::with_capacity(objects.len());
    for (_, object) in objects {
        let document = object.document.clone();
        let spec = object.spec.clone();
        let conditions = &spec.selectors;
        let mut whole = true;
        if conditions.subnet.is_none() && conditions.mac_prefixes.is_empty() && conditions.architectures.is_empty() {
            report
                .error(
                    "no-selector",
                    document.value(&["spec".into(), "match".into()]),
                    "this rule would take in every box there is",
                )
                .hint("give at least one of `subnet`, `macPrefixes`, `architectures`");
        }
        if let Some(subnet) = &conditions.subnet {
            let path = [Step::Key("spec"), Step::Key("match"), Step::Key("subnet")];
            whole &= references.resolve(Kind::Subnet, None, subnet, document.value(&path), report).sound().is_some();
        }
        let mut mac_prefixes = Vec::with_capacity(conditions.mac_prefixes.len());
        for (index, written) in conditions.mac_prefixes.iter().enumerate() {
            let path = [Step::Key("spec"), Step::Key("match"), Step::Key("macPrefixes"), Step::Item(index)];
            match junk::normal_mac_prefix(written) {
                Some(prefix) => mac_prefixes.push(prefix),
                None => report
                    .error("mac", document.value(&path), format!("`{written}` is not the beginning of a MAC address"))
                    .hint("whole bytes, such as `52:54:00`, in quotes"),
            }
        }
        let (profiles, profiles_whole) =
            profile_names(&spec.profiles, &["spec", "profiles"], None, &document, references, report, &CARRIED);
        let (workflow, workflow_whole) = workflow(spec.workflow.as_deref(), &document, references, report);
        let rule = Enrollment { name: Arc::clone(&object.name), mac_prefixes, profiles, workflow, document, spec };
        check_name(&rule, environment, report);
        rules.push(Whole { whole: whole && profiles_whole && workflow_whole, value: rule });
    }
    rules.sort_by(|a, b| {
        (-i64::from(a.value.spec.priority), &a.value.name).cmp(&(-i64::from(b.value.spec.priority), &b.value.name))
    });
    rules
}

/// Tries the rule's name with a box that it would take in.
fn check_name(rule: &Enrollment, environment: &minijinja::Environment<'static>, report: &mut Report) {
    let path = [Step::Key("spec"), Step::Key("name")];
    let place = report.place(rule.document.value(&path));
    let mut tell = |code: &'static str, message: String, hint: String| {
        report.at(crate::content::Severity::Error, code, place.clone(), message).hint(hint);
    };
    let known = ["mac", "uuid", "serial", "architecture", "subnet"];
    let variables = match environment.template_from_str(&rule.spec.name) {
        Ok(template) => template.undeclared_variables(false),
        Err(error) => {
            tell(
                "template",
                format!("the name is not a template: {}", error.detail().unwrap_or("")),
                format!("it may use {}", known.join(", ")),
            );
            return;
        }
    };
    if let Some(unknown) = variables.iter().find(|name| !known.contains(&name.as_str())) {
        tell("template", format!("a name cannot be made of `{unknown}`"), format!("it may use {}", known.join(", ")));
        return;
    }
    if !["mac", "uuid", "serial"].iter().any(|own| variables.contains(*own)) {
        tell(
            "enrollment-name",
            "all boxes of this rule would have the same name".to_owned(),
            "make it of `mac`, `uuid` or `serial`, such as \"node-{{ mac | replace(':', '') }}\"".to_owned(),
        );
        return;
    }
    // A serial number may be anything: nothing to try it with.
    if variables.contains("serial") {
        return;
    }
    let mut mac: String = rule.mac_prefixes.first().cloned().unwrap_or_default();
    for byte in ["52", "54", "00", "12", "34", "56"].iter().skip(mac.split(':').filter(|byte| !byte.is_empty()).count())
    {
        if !mac.is_empty() {
            mac.push(':');
        }
        mac.push_str(byte);
    }
    let sample = Seen {
        mac,
        uuid: Some("4c4c4544-0043-3010-8052-b4c04f4d3232".to_owned()),
        serial: None,
        architecture: rule
            .spec
            .selectors
            .architectures
            .first()
            .copied()
            .or(Some(crate::content::kinds::Architecture::X86_64)),
        subnet: Some(rule.spec.selectors.subnet.clone().unwrap_or_else(|| "subnet".to_owned())),
    };
    match render::render_name(environment, &rule.name, &rule.spec.name, &sample) {
        Ok(name) if is_subdomain(&name) => {}
        Ok(name) => tell(
            "enrollment-name",
            format!("the name becomes `{name}`, which is not one (lower-case letters, digits and `-`)"),
            "filters help, such as `mac | replace(':', '')` and `lower`".to_owned(),
        ),
        Err(error) => tell("template", error.to_string(), format!("it may use {}", known.join(", "))),
    }
}

impl Enrollment {
    /// Whether the rule takes in such a box. All conditions that are given hold.
    pub(super) fn takes(&self, seen: &Seen) -> bool {
        let conditions = &self.spec.selectors;
        let any = conditions.subnet.is_some() || !self.mac_prefixes.is_empty() || !conditions.architectures.is_empty();
        let subnet = conditions.subnet.as_ref().is_none_or(|subnet| seen.subnet.as_ref() == Some(subnet));
        let mac = self.mac_prefixes.is_empty()
            || self.mac_prefixes.iter().any(|prefix| seen.mac.starts_with(prefix.as_str()));
        let architectures = &conditions.architectures;
        let architecture = architectures.is_empty() || seen.architecture.is_some_and(|it| architectures.contains(&it));
        any && subnet && mac && architecture
    }

    /// A machine that this rule took in.
    pub(super) fn view(&self, name: &str, mac: &str, uuid: Option<&str>, serial: Option<&str>) -> MachineView {
        MachineView {
            name: name.to_owned(),
            labels: self.spec.labels.clone(),
            macs: junk::normal_mac(mac).into_iter().collect(),
            uuid: uuid.and_then(junk::normal_uuid),
            serial: serial.and_then(junk::normal_serial),
            address: None,
            profiles: self.profiles.clone(),
            params: Arc::clone(&self.spec.params),
            workflow: self.workflow.clone(),
            run: self.spec.run,
            protect: self.spec.protect,
            wipe: self.spec.may_wipe,
            source: Source::Enrollment { rule: self.name.to_string() },
            document: self.document.clone(),
        }
    }
}
