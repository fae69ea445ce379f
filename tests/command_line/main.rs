//! The commands as they are typed, against a real server on loopback: what JSON they print (a contract, kept as golden files), how they
//! end, and what shells and manual readers make of them.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is not as it should be")]

mod changes;
mod contract;
mod endings;
mod findings;
mod images;
mod metrics;
mod shells;
mod site;
