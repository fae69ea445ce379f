//! Formwork: bare metal becomes what a Git repository says, over as many reboots as it takes.
//!
//! # The map of the house
//!
//! A module imports only from floors below its own; a test reads the imports and holds the floors.
//!
//! Deciding (no socket, no clock, no disk), from the ground up:
//!
//! * [`wire`]: what agent and server say to each other
//! * [`content`]: the kinds as people write them, strict loading, findings with places
//! * [`catalog`]: a revision compiled: references, indexes, templates checked
//! * [`params`]: the one resolver
//! * [`journal`]: events and the fold
//! * [`cluster`]: the cluster document and its operations
//! * [`identity`]: tickets, tokens, generations
//! * [`trust`]: who may say what the machines become: signatures, judged by the server's own policy
//! * [`workflow`]: what a machine does next, one pure function
//! * [`boot`]: what a box gets to boot
//! * [`inspect`]: what people are shown of a decision: why, what, and what comes next
//!
//! Doing (thin):
//!
//! * [`metrics`], [`store`], [`archive`], [`git`], [`replicas`], [`reconcile`], [`net`], [`fleet`], [`api`]
//! * [`controller`], [`agent`], [`serve`], [`simulate`], [`cli`]

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
#[cfg_attr(not(feature = "object-storage"), path = "archive/without.rs")]
pub mod archive;
#[cfg(feature = "server")]
pub mod boot;
#[cfg(feature = "server")]
pub mod catalog;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod cluster;
#[cfg(feature = "server")]
pub mod content;
#[cfg(feature = "kubernetes")]
pub mod controller;
#[cfg(feature = "server")]
pub mod fleet;
#[cfg(feature = "server")]
pub mod git;
#[cfg(feature = "server")]
pub mod identity;
#[cfg(feature = "server")]
pub mod inspect;
#[cfg(feature = "server")]
pub mod journal;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod net;
#[cfg(feature = "server")]
pub mod params;
#[cfg(feature = "server")]
pub mod reconcile;
#[cfg(feature = "server")]
pub mod replicas;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod simulate;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod trust;
pub mod wire;
#[cfg(feature = "server")]
pub mod workflow;
