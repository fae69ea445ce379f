//! The one resolver of params: jobs, boots, plans and `formwork why` all ask it.
//!
//! First wins: the machine; its profiles in their order, a cluster profile at its place in that order (its run-time keys that
//! Git declares as params before the params it gives itself); the stage; the stage's profiles; the packs' defaults; the
//! site's global profiles; the Param's default.

use crate::catalog::{Catalog, MachineView, Stage, Task, is_secret_reference};
use crate::content::kinds::Params;
use crate::content::{Document, Place, Step, place_of};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Run-time values of the machine's clusters: cluster profile to key to value. Only keys that Git declares with `param: true`
/// count; empty for boot decisions.
pub type ClusterKeys = BTreeMap<String, Map<String, Value>>;

/// Who gives a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The machine (or the rule that took it in).
    Machine,
    /// A profile of the machine.
    Profile(String),
    /// A key of a cluster's document, as it stands now.
    ClusterKey(String),
    /// The params that a cluster profile gives its members.
    ClusterProfile(String),
    /// The stage.
    Stage(String),
    /// A profile of the stage.
    StageProfile(String),
    /// The defaults of a pack.
    Pack(String),
    /// A global profile of the site.
    Global(String),
    /// The Param's own default.
    Default,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine => f.write_str("machine"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::ClusterKey(name) => write!(f, "cluster {name}, run time"),
            Self::ClusterProfile(name) => write!(f, "cluster {name}"),
            Self::Stage(name) => write!(f, "stage {name}"),
            Self::StageProfile(name) => write!(f, "stage profile {name}"),
            Self::Pack(name) => write!(f, "pack {name}"),
            Self::Global(name) => write!(f, "global profile {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Where a value stands, found when somebody asks: most never do.
#[derive(Debug, Clone)]
struct Origin {
    document: Document,
    /// `None`: the Param's default.
    name: Option<String>,
}

impl Origin {
    fn place(&self) -> Place {
        let path = match &self.name {
            Some(name) => vec![Step::Key("spec"), Step::Key("params"), Step::Key(name)],
            None => vec![Step::Key("spec"), Step::Key("default")],
        };
        place_of(self.document.value(&path))
    }
}

/// A value that lost to a stronger layer.
#[derive(Debug, Clone)]
pub struct Shadowed {
    /// Who gives it.
    pub layer: Layer,
    /// The value.
    pub value: Value,
    origin: Option<Origin>,
}

impl Shadowed {
    /// Where it stands; none for what a cluster's document holds.
    pub fn place(&self) -> Option<Place> {
        self.origin.as_ref().map(Origin::place)
    }
}

/// A param's value, who gives it, and who else does.
#[derive(Debug, Clone)]
pub struct Layered {
    /// The value.
    pub value: Value,
    /// Who gives it.
    pub layer: Layer,
    /// Never show it: the Param or the cluster's key says so, or the value names a secret.
    pub secret: bool,
    /// Weaker values, strongest first.
    pub shadowed: Vec<Shadowed>,
    origin: Option<Origin>,
}

impl Layered {
    /// What the value stands for, where it stood encrypted in its own file. Secret: for the job of a machine, and for nothing
    /// that is shown or kept.
    pub fn unseal(&self) -> Option<Value> {
        self.origin.as_ref()?.document.unseal(&self.value)
    }

    /// Where the value stands; none for what a cluster's document holds.
    pub fn place(&self) -> Option<Place> {
        self.origin.as_ref().map(Origin::place)
    }
}

/// All params of a machine, in the order of the layers that give them.
#[derive(Debug, Clone, Default)]
pub struct Resolved(pub IndexMap<String, Layered>);

impl Resolved {
    /// A param's value and where it comes from.
    pub fn get(&self, name: &str) -> Option<&Layered> {
        self.0.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Layered)> {
        self.0.iter().map(|(name, layered)| (name.as_str(), layered))
    }

    /// All values that are not secret, for what a boot is served: it travels in plain.
    pub fn values(&self) -> Map<String, Value> {
        self.iter()
            .filter(|(_, layered)| !layered.secret)
            .map(|(name, layered)| (name.to_owned(), layered.value.clone()))
            .collect()
    }

    /// The values that a task declares, and so gets.
    pub fn for_task(&self, task: &Task) -> Map<String, Value> {
        let declared = task.params.iter();
        declared.filter_map(|param| Some((param.name.clone(), self.get(&param.name)?.value.clone()))).collect()
    }

    /// Params that the task requires and nobody gives.
    pub fn missing<'a>(&self, task: &'a Task) -> Vec<&'a str> {
        let required = task.params.iter().filter(|param| param.required);
        required.map(|param| param.name.as_str()).filter(|name| !self.0.contains_key(*name)).collect()
    }
}

/// One layer's params.
pub(crate) struct LayerParams<'a> {
    who: Who<'a>,
    values: Values<'a>,
    document: Option<&'a Document>,
}

enum Values<'a> {
    Written(&'a Params),
    RunTime(&'a Map<String, Value>),
}

/// As [`Layer`], borrowed: most layers are looked into and never named.
#[derive(Clone, Copy)]
enum Who<'a> {
    Machine,
    Profile(&'a str),
    ClusterKey(&'a str),
    ClusterProfile(&'a str),
    Stage(&'a str),
    StageProfile(&'a str),
    Pack(&'a str),
    Global(&'a str),
}

impl Who<'_> {
    fn layer(self) -> Layer {
        match self {
            Self::Machine => Layer::Machine,
            Self::Profile(name) => Layer::Profile(name.to_owned()),
            Self::ClusterKey(name) => Layer::ClusterKey(name.to_owned()),
            Self::ClusterProfile(name) => Layer::ClusterProfile(name.to_owned()),
            Self::Stage(name) => Layer::Stage(name.to_owned()),
            Self::StageProfile(name) => Layer::StageProfile(name.to_owned()),
            Self::Pack(name) => Layer::Pack(name.to_owned()),
            Self::Global(name) => Layer::Global(name.to_owned()),
        }
    }
}

/// The layers of a machine in a stage, strongest first; the Params' defaults come after them. Order is decided here and nowhere
/// else.
pub(crate) fn layers<'a>(
    catalog: &'a Catalog,
    machine: &'a MachineView,
    stage: Option<&'a Stage>,
    clusters: &'a ClusterKeys,
) -> Vec<LayerParams<'a>> {
    let written =
        |who, params, document| LayerParams { who, values: Values::Written(params), document: Some(document) };
    let mut layers = vec![written(Who::Machine, &machine.params, &machine.document)];
    for name in &machine.profiles {
        if let Some(profile) = catalog.profile(name) {
            layers.push(written(Who::Profile(name), &profile.spec.params, &profile.document));
        } else if let Some(cluster) = catalog.cluster_profile(name) {
            if let Some(keys) = clusters.get(name) {
                layers.push(LayerParams { who: Who::ClusterKey(name), values: Values::RunTime(keys), document: None });
            }
            layers.push(written(Who::ClusterProfile(name), &cluster.spec.params, &cluster.document));
        }
    }
    if let Some(stage) = stage {
        layers.push(written(Who::Stage(&stage.name), &stage.params, &stage.document));
        for name in &stage.profiles {
            if let Some(profile) = catalog.profile(name) {
                layers.push(written(Who::StageProfile(name), &profile.spec.params, &profile.document));
            }
        }
    }
    for pack in catalog.packs() {
        layers.push(written(Who::Pack(&pack.name), &pack.params, &pack.document));
    }
    for name in catalog.global() {
        if let Some(profile) = catalog.profile(name) {
            layers.push(written(Who::Global(name), &profile.spec.params, &profile.document));
        }
    }
    layers
}

/// The strongest value of one param; the cheap way for those who want only a few.
pub(crate) fn lookup<'a>(catalog: &'a Catalog, layers: &[LayerParams<'a>], name: &str) -> Option<&'a Value> {
    let given = layers.iter().find_map(|layer| match layer.values {
        Values::Written(params) => params.get(name),
        Values::RunTime(keys) => keys.get(name),
    });
    given.or_else(|| catalog.param(name).and_then(|param| param.spec.default.as_ref()))
}

/// As [`lookup`], by the name that a template speaks: `install_disk` is `install-disk`. With the param's own name.
pub(crate) fn lookup_spoken<'a>(
    catalog: &'a Catalog,
    layers: &[LayerParams<'a>],
    spoken: &str,
) -> Option<(&'a str, &'a Value)> {
    let same = |name: &str| {
        name.len() == spoken.len()
            && name.bytes().zip(spoken.bytes()).all(|(a, b)| a == b || (b == b'_' && matches!(a, b'-' | b'.')))
    };
    let given = layers.iter().find_map(|layer| match layer.values {
        Values::Written(params) => params.keys().find(|name| same(name)),
        Values::RunTime(keys) => keys.keys().find(|name| same(name)),
    });
    let defaults = || catalog.params().find(|param| same(&param.name)).map(|param| &*param.name);
    let name = given.map(String::as_str).or_else(defaults)?;
    Some((name, lookup(catalog, layers, name)?))
}

/// All params of a machine in a stage (or outside one), each with who gives it and who else does.
pub fn resolve(catalog: &Catalog, machine: &MachineView, stage: Option<&Stage>, clusters: &ClusterKeys) -> Resolved {
    let mut resolved = Resolved::default();
    for layer in layers(catalog, machine, stage, clusters) {
        match layer.values {
            Values::Written(params) => {
                for (name, value) in params {
                    let origin =
                        layer.document.map(|document| Origin { document: document.clone(), name: Some(name.clone()) });
                    give(&mut resolved, catalog, name, value, layer.who.layer(), origin, false);
                }
            }
            Values::RunTime(keys) => {
                let Who::ClusterKey(cluster) = layer.who else { continue };
                let Some(cluster) = catalog.cluster_profile(cluster) else { continue };
                for declared in cluster.spec.keys.iter().filter(|key| key.param) {
                    if let Some(value) = keys.get(&declared.name) {
                        give(&mut resolved, catalog, &declared.name, value, layer.who.layer(), None, declared.secret);
                    }
                }
            }
        }
    }
    for param in catalog.params() {
        if let Some(value) = &param.spec.default {
            let origin = Origin { document: param.document.clone(), name: None };
            give(&mut resolved, catalog, &param.name, value, Layer::Default, Some(origin), false);
        }
    }
    resolved
}

/// A layer that was asked for one param.
#[derive(Debug, Clone)]
pub struct Giver {
    /// Who was asked.
    pub layer: Layer,
    /// What it gives; `None`: nothing.
    pub value: Option<Value>,
    /// Where that stands; none for what a cluster's document holds.
    pub place: Option<Place>,
}

/// Everyone who is asked for one param, strongest first, the Param's default last; the first that gives a value wins.
pub fn givers(
    catalog: &Catalog,
    machine: &MachineView,
    stage: Option<&Stage>,
    clusters: &ClusterKeys,
    name: &str,
) -> Vec<Giver> {
    let mut givers = Vec::new();
    for layer in layers(catalog, machine, stage, clusters) {
        let value = match layer.values {
            Values::Written(params) => params.get(name),
            Values::RunTime(keys) => keys.get(name),
        };
        let origin = || Some(Origin { document: layer.document?.clone(), name: Some(name.to_owned()) }.place());
        givers.push(Giver { layer: layer.who.layer(), value: value.cloned(), place: value.and_then(|_| origin()) });
    }
    if let Some(param) = catalog.param(name) {
        let value = param.spec.default.clone();
        let place = value.as_ref().map(|_| Origin { document: param.document.clone(), name: None }.place());
        givers.push(Giver { layer: Layer::Default, value, place });
    }
    givers
}

fn give(
    resolved: &mut Resolved,
    catalog: &Catalog,
    name: &str,
    value: &Value,
    layer: Layer,
    origin: Option<Origin>,
    secret: bool,
) {
    if let Some(stronger) = resolved.0.get_mut(name) {
        // A secret does not stop being one because a stronger layer overwrites it.
        stronger.secret |= secret;
        stronger.shadowed.push(Shadowed { layer, value: value.clone(), origin });
        return;
    }
    let secret = secret || is_secret_reference(value) || catalog.param(name).is_some_and(|param| param.spec.secret);
    resolved.0.insert(name.to_owned(), Layered { value: value.clone(), layer, secret, shadowed: Vec::new(), origin });
}
