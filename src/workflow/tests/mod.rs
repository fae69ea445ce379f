//! The rules of a run, each as a sentence.

mod boots;
mod destruction;
mod failures;
mod fixes;
mod installers;
mod leaving;
mod silence;
mod simulation;
mod starting;
pub(crate) mod world;
