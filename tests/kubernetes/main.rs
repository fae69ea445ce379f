//! Formwork in Kubernetes, against a real kube-apiserver and a real etcd, with a real kubectl.
//!
//! The programs come from `KUBEBUILDER_ASSETS`, or from `scripts/kubernetes-programs`; without them a test says SKIPPED and why.
//! `definitions` has what the API server makes of our custom resources, `follow` and `mirror`
//! what `formwork serve --kubernetes` makes of them, `resources` what it makes of content that is applied there, `charts` what helm makes of the charts, `metrics_chart` and `store_chart` of
//! parts of one of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

// It takes longest, most of that in waiting, and begins first: tests run in the order of their names.
mod among_replicas;
mod charts;
mod cluster;
mod definitions;
mod figures_mirror;
mod follow;
mod metrics_chart;
mod mirror;
mod resources;
mod server;
mod store_chart;
