//! An object: a document whose kind is known and whose spec was read.

use super::Document;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The kinds of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The root of a repository.
    Site,
    /// A directory of content.
    Pack,
    /// A network that machines boot on.
    Subnet,
    /// A box.
    Machine,
    /// A rule that takes in unknown machines.
    Enrollment,
    /// A named set of params.
    Profile,
    /// What a param may be.
    Param,
    /// The declaration of the one document that machines share.
    ClusterProfile,
    /// Steps.
    Task,
    /// A boot environment and ordered tasks.
    Stage,
    /// Ordered stages.
    Workflow,
    /// An OS environment to boot.
    BootEnv,
    /// A template for a file.
    Template,
    /// A test of a pack.
    PackTest,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Site,
        Self::Pack,
        Self::Subnet,
        Self::Machine,
        Self::Enrollment,
        Self::Profile,
        Self::Param,
        Self::ClusterProfile,
        Self::Task,
        Self::Stage,
        Self::Workflow,
        Self::BootEnv,
        Self::Template,
        Self::PackTest,
    ];

    /// The word after `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Site => "Site",
            Self::Pack => "Pack",
            Self::Subnet => "Subnet",
            Self::Machine => "Machine",
            Self::Enrollment => "Enrollment",
            Self::Profile => "Profile",
            Self::Param => "Param",
            Self::ClusterProfile => "ClusterProfile",
            Self::Task => "Task",
            Self::Stage => "Stage",
            Self::Workflow => "Workflow",
            Self::BootEnv => "BootEnv",
            Self::Template => "Template",
            Self::PackTest => "PackTest",
        }
    }

    /// The kind of that word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether a pack's name goes before the names of this kind.
    pub const fn is_qualified(self) -> bool {
        matches!(self, Self::Profile | Self::Task | Self::Stage | Self::Workflow | Self::BootEnv | Self::Template)
    }

    /// Whether only the site itself says it, and no pack.
    pub const fn is_of_site(self) -> bool {
        matches!(self, Self::Site | Self::Subnet | Self::Machine | Self::Enrollment)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object as written, with where it stands.
#[derive(Debug, Clone)]
pub struct Object<T> {
    /// Its name in the catalog: `pack.name` where its kind is qualified and it is in a pack.
    pub name: Arc<str>,
    /// The pack it is in; none: the site itself.
    pub pack: Option<Arc<str>>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub spec: T,
    /// Where it stands.
    pub document: Document,
}

/// A pack in use.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its name.
    pub name: Arc<str>,
    /// The folder it lies in, as findings show it: `packs/etcd`, `builtin:discovery`.
    pub root: String,
    /// Its `pack.yaml`.
    pub object: Object<super::kinds::PackSpec>,
}
