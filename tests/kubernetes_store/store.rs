//! The library's stores, and beside them the suite that its own tests hold them to.

pub use formwork::store::*;

#[path = "../../src/store/conformance/mod.rs"]
pub mod conformance;
