//! Content as people write it: the kinds, strict loading, findings with their places.

pub mod kinds;
mod tree;

pub use tree::{File, FileKind, Tree};
