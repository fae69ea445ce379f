//! The kinds as people write them, one file a kind. Plain data: what a field means is decided in the catalog and above.
//!
//! Every spec refuses unknown fields; names are camelCase in YAML.

mod boot_env;
mod cluster_profile;
mod enrollment;
mod machine;
mod pack;
mod pack_test;
mod param;
mod profile;
mod site;
mod span;
mod stage;
mod subnet;
mod task;
mod template;
mod workflow;

pub use boot_env::{Architecture, ArchitectureSpec, BootEnvSpec, EndsBy, FileSource};
pub use cluster_profile::{Assurance, ClusterProfileSpec, KeySpec, Writers};
pub use enrollment::{EnrollmentMatch, EnrollmentSpec};
pub use machine::{MachineSpec, Selectors};
pub use pack::PackSpec;
pub use pack_test::{
    Expectation, ExpectedBoot, ExpectedFinding, ExpectedJob, PackTestSpec, TestFirmware, TestMachine, TextRules,
};
pub use param::ParamSpec;
pub use profile::ProfileSpec;
pub use site::{LeaveGuard, PackSource, SiteSpec, WipeGuard};
pub use span::Span;
pub use stage::{OnFailure, StageSpec};
pub use subnet::{LEASE_SECONDS, Pool, SubnetMode, SubnetSpec};
pub use task::{Retries, StepSpec, TaskParam, TaskSpec};
pub use template::TemplateSpec;
pub use workflow::WorkflowSpec;

/// Params as written: name to any JSON value, in the order of the file. `{secret: NAME}` names a secret.
pub type Params = indexmap::IndexMap<String, serde_json::Value>;

/// The API version of every document.
pub const API_VERSION: &str = "formwork.dev/v1alpha1";
