//! Sockets of the boot network: DHCP, TFTP, HTTP files. Thin: what is answered is decided in [`crate::boot`].

pub mod dhcp;
pub mod discover;
pub mod files;
pub mod http;
mod interfaces;
pub(crate) mod places;
mod probe;
pub mod routes;
mod site_client;
pub mod tftp;

pub use interfaces::interfaces;
pub use site_client::site_client;
