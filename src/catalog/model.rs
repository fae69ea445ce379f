//! What a compiled catalog is made of.

pub use crate::content::kinds::OnFailure;
use crate::content::kinds::{
    Architecture, ArchitectureSpec, ClusterProfileSpec, EndsBy, EnrollmentSpec, ParamSpec, Params, ProfileSpec,
    Retries, Span, SubnetSpec, TaskParam,
};
use crate::content::{Document, Object, Place};
use crate::wire::{ExitCodes, OnInterrupt};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The boot environment that is always there: the machine's own disk.
pub const LOCAL: &str = "local";

/// A declared profile.
pub type Profile = Object<ProfileSpec>;
/// A declared param.
pub type Param = Object<ParamSpec>;
/// A declared cluster profile: its name and spec.
pub type ClusterProfile = Object<ClusterProfileSpec>;

/// Who says that there is such a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A document in Git.
    Git(Place),
    /// A rule took it in.
    Enrollment {
        /// The rule's name.
        rule: String,
    },
}

/// A machine as one revision sees it, declared or enrolled; all references resolved.
#[derive(Debug, Clone)]
pub struct MachineView {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// MAC addresses, `aa:bb:cc:dd:ee:ff`.
    pub macs: Vec<String>,
    /// SMBIOS UUID, lower case.
    pub uuid: Option<String>,
    /// SMBIOS serial number.
    pub serial: Option<String>,
    /// The reserved address.
    pub address: Option<Ipv4Addr>,
    /// Profiles and cluster profiles in order, by their names in the catalog.
    pub profiles: Vec<String>,
    /// Its own params.
    pub params: Arc<Params>,
    /// The workflow, by its name in the catalog.
    pub workflow: Option<String>,
    /// `spec.run`.
    pub run: u64,
    /// Destructive stages are refused.
    pub protect: bool,
    /// Disks that are neither blank nor ours may be wiped.
    pub wipe: bool,
    /// Who says so.
    pub source: Source,
    /// The document that its params stand in.
    pub(crate) document: Document,
}

/// A rule that takes in unknown machines.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// Its name.
    pub name: Arc<str>,
    /// What it says, as written.
    pub spec: EnrollmentSpec,
    /// Beginnings of MAC addresses, `52:54:00`.
    pub mac_prefixes: Vec<String>,
    /// Profiles by their names in the catalog.
    pub profiles: Vec<String>,
    /// The workflow by its name in the catalog.
    pub workflow: Option<String>,
    pub(crate) document: Document,
}

/// A subnet.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// Its name.
    pub name: Arc<str>,
    /// What it says.
    pub spec: SubnetSpec,
    /// The network's first address.
    pub base: Ipv4Addr,
    /// The length of its prefix, 0 to 32.
    pub prefix: u8,
    /// Where it is declared.
    pub place: Place,
    pub(crate) document: Document,
}

impl Subnet {
    /// Whether the address lies in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = self.mask_bits();
        u32::from(address) & mask == u32::from(self.base) & mask
    }

    /// The network mask (option 1).
    pub fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.mask_bits())
    }

    /// The network's last address (option 28).
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) | !self.mask_bits())
    }

    fn mask_bits(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }
}

/// A workflow, its stages resolved.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// Its stages in order; none is there twice.
    pub stages: Vec<Arc<Stage>>,
    /// Where it is declared.
    pub place: Place,
    pub(crate) document: Document,
}

/// A stage, its references resolved.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// The environment its tasks run in, by its name in the catalog, or [`LOCAL`]; none: whichever runs.
    pub boot_env: Option<Arc<str>>,
    /// Tasks in order; none is there twice.
    pub tasks: Vec<Arc<Task>>,
    /// It changes disks.
    pub destructive: bool,
    /// What follows a failure; a stage to go to by its name in the catalog, later in each workflow that has this stage.
    pub on_failure: OnFailure,
    /// Always a new boot before it.
    pub fresh_boot: bool,
    /// Its own params.
    pub params: Params,
    /// Its profiles by their names in the catalog.
    pub profiles: Vec<String>,
    pub(crate) document: Document,
}

/// A task, its files read.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// Params it uses: its scripts and templates get these and no others.
    pub params: Vec<TaskParam>,
    /// The whole task ends after it; 1h where not given.
    pub timeout: Option<Span>,
    /// Retries; none where not given.
    pub retries: Option<Retries>,
    /// What happens when the boot ends under it.
    pub on_interrupt: OnInterrupt,
    /// What exit codes mean.
    pub exit_codes: ExitCodes,
    /// Its steps.
    pub steps: Vec<CompiledStep>,
    /// SHA-256 over all it is made of (scripts, templates, files, what it says), lower-case hexadecimal.
    pub digest: Arc<str>,
    pub(crate) document: Document,
}

/// A step, its file read.
#[derive(Debug, Clone)]
pub struct CompiledStep {
    /// Its name.
    pub name: String,
    /// `if:`, an expression.
    pub condition: Option<Arc<str>>,
    /// What it does.
    pub action: CompiledAction,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum CompiledAction {
    /// Run a script, never templated.
    Script {
        /// Its text.
        text: Arc<str>,
    },
    /// Render a template to a file.
    Template {
        /// The template's name in the catalog.
        template: Arc<str>,
        /// Absolute path.
        to: String,
        /// Octal mode.
        mode: String,
    },
    /// Write a file as it is.
    File {
        /// Its text.
        content: Arc<str>,
        /// Absolute path.
        to: String,
        /// Octal mode.
        mode: String,
    },
}

/// A boot environment.
#[derive(Debug, Clone)]
pub struct BootEnv {
    /// Its name in the catalog, or [`LOCAL`].
    pub name: Arc<str>,
    /// For people.
    pub description: String,
    /// Who ends a boot of it.
    pub ends_by: EndsBy,
    /// What each architecture boots.
    pub architectures: BTreeMap<Architecture, ArchitectureSpec>,
    /// Templates served to its boots: the name that boots ask for (as written) and the name in the catalog.
    pub templates: Vec<(String, Arc<str>)>,
    pub(crate) document: Option<Document>,
}

/// A template's text.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its name in the catalog.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
    /// The file that the text is in; none: in the document itself.
    pub(crate) file: Option<Arc<str>>,
    pub(crate) document: Document,
}

/// A pack in use, as the resolver of params needs it.
#[derive(Debug, Clone)]
pub struct PackDefaults {
    /// The pack's name.
    pub name: Arc<str>,
    /// Its params.
    pub params: Params,
    pub(crate) document: Document,
}

/// What a box has shown, for enrollment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its MAC address.
    pub mac: String,
    /// Its SMBIOS UUID.
    pub uuid: Option<String>,
    /// Its SMBIOS serial number.
    pub serial: Option<String>,
    /// Its architecture.
    pub architecture: Option<Architecture>,
    /// The name of the subnet it was seen on.
    pub subnet: Option<String>,
}

/// Which declared machine a box is.
#[derive(Debug, Clone)]
pub enum Selection<'a> {
    /// None.
    None,
    /// This one.
    One(&'a MachineView),
    /// Its selectors point to several: it is held and nothing is wiped.
    Conflict(Vec<&'a MachineView>),
}
