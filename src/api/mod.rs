//! HTTP routes for machines, administrators and events. Thin.

pub mod cluster;
pub mod views;
