//! What a box gets to boot: DHCP answers, file names, iPXE scripts, HTTP boot. Pure.
//!
//! From the wire to the answer:
//!
//! ```text
//! bytes -> packet::Request -> client::classify -> dhcp::decide(request, situation) -> reply::Reply -> bytes
//!                                                     |  network (subnets, reservations), leases, permit
//! HTTP  -> query::parse -> desk::ScriptAsk -> BootDesk -> desk::ScriptAnswer -> script::render -> iPXE text
//! ```
//!
//! Nothing here opens a socket or reads a clock; [`crate::net`] does.

pub mod client;
pub mod desk;
pub mod dhcp;
pub mod kernel;
pub mod leases;
mod mac;
pub mod network;
pub mod overlay;
pub mod packet;
pub mod query;
pub mod reply;
pub mod script;
pub mod share;

pub use mac::{Mac, WrongMac};
