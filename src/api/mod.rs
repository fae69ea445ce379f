//! HTTP routes for machines, administrators and events. Thin.

pub mod views;
