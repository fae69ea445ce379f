//! Formwork in Kubernetes: custom resources, made from the types of content.
//!
//! ```text
//!  content::kinds::MachineSpec ──┐
//!  resources::MachineStatus ─────┼──► structural schema ──► definition ──► `formwork crds`, charts/formwork-crds
//!  columns, names, rules (CEL) ──┘
//! ```
//!
//! The floor of content knows nothing of Kubernetes: what an API server wants to be told otherwise is made here. What keeps
//! these resources is still to come; `docs/kubernetes.md` says what is there.

mod definitions;
mod resources;
mod structural;

pub use definitions::{Definition, definitions};
pub use resources::{ContentSourceSpec, ContentSourceStatus, MachineStatus, ResourceCondition, SecretReference};

/// The group of all custom resources.
pub const GROUP: &str = "formwork.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
