//! Repositories that are elsewhere, with real parts on both sides: `git http-backend` behind TLS, OpenSSH's `sshd`, the real
//! `git` pushing. Only the forge that takes commit statuses is a stand-in, and is named so.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

#[path = "../bed/mod.rs"]
mod bed;
mod behind;
mod broken;
mod brought;
mod changed;
mod follows;
mod forge_stand_in;
mod held;
mod https;
mod https_server;
mod proxy;
mod repository;
mod several;
mod site;
mod ssh;
mod statuses;
mod traced;
mod trusted;
mod waited;
mod whole;
