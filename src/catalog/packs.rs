//! The packs that come with the program.

use crate::content::Tree;
use std::collections::BTreeMap;

/// Pack, path inside it, bytes. Written by `build.rs` from `content-packs/`.
static FILES: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin_packs.rs"));

/// Whether a pack of this name comes with the program.
pub(super) fn is_builtin(name: &str) -> bool {
    FILES.iter().any(|(pack, _, _)| *pack == name)
}

/// The packs that come with the program, by name.
pub fn builtin_packs() -> BTreeMap<String, Tree> {
    let mut packs: BTreeMap<String, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (pack, path, bytes) in FILES {
        packs.entry((*pack).to_owned()).or_default().push((path, bytes));
    }
    packs.into_iter().map(|(pack, files)| (pack, Tree::from_texts(files))).collect()
}
