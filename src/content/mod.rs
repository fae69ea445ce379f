//! Content as people write it: the kinds, strict loading, findings with their places.
//!
//! [`load`] turns the files of one revision into [`Loaded`]: every document read, every object of a known kind, nothing resolved
//! yet (that is `catalog`). It never stops at the first thing that is wrong.

mod decode;
pub mod dhcp_options;
mod document;
pub mod elsewhere;
pub mod explain;
mod finding;
mod guess;
pub mod junk;
pub mod kinds;
mod load;
mod memory;
pub mod names;
mod nesting;
mod not_yaml;
mod object;
mod pack_tests;
pub mod schema;
mod shapes;
mod slips;
pub mod sops;
mod sources;
mod spans;
mod stop;
mod strict;
#[cfg(test)]
mod tests;
mod tree;
pub mod visible;

pub use document::Document;
pub use finding::{FINDINGS_MAX, Finding, Findings, Place, Severity, count_of};
pub(crate) use finding::{Hinted, Report};
pub(crate) use guess::Guess;
pub use load::{Loaded, load};
pub(crate) use load::{read, too_large};
pub(crate) use memory::Memory;
pub use object::{Kind, Object, Pack};
pub use pack_tests::{PackTest, pack_tests};
pub(crate) use slips::{CONFLICT_HELP, conflict};
pub(crate) use sops::Sealed;
pub(crate) use sources::{Head, heads, leave_guard, sources_document};
pub(crate) use spans::{Spot, Step, place_of};
pub use stop::{Stop, StopOnDrop};
pub(crate) use strict::StrictFile;
pub use tree::{File, FileKind, Files, Tree};

/// The largest file that a task or template may refer to, bytes.
pub(crate) const REFERENCED_BYTES_MAX: usize = 1024 * 1024;
pub(crate) use document::{FILE_BYTES_MAX, LFS_POINTER};
pub(crate) use elsewhere::hidden;
