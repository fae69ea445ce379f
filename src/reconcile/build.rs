//! How the files of a revision become the catalog that serves.

use super::{Build, Built, Census};
use crate::catalog::{Catalog, builtin_packs, from_tree};
use crate::content::Tree;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Loads and compiles with the packs that come with this program.
pub fn catalogs() -> Arc<Build<Catalog>> {
    let packs = builtin_packs();
    Arc::new(move |tree, revision| build(tree, revision, &packs))
}

fn build(tree: &Tree, revision: &str, packs: &BTreeMap<String, Tree>) -> Result<Built<Catalog>, Vec<String>> {
    let shown = |findings: &crate::content::Findings| findings.0.iter().map(ToString::to_string).collect();
    let catalog = from_tree(tree, packs, revision).map_err(|findings| shown(&findings))?;
    let machines = catalog.machines().count();
    // What a site declares by itself; a pack's tasks and stages are there whatever becomes of it.
    let others = catalog.enrollments().count() + catalog.subnets().count() + catalog.cluster_profiles().count();
    let warnings = shown(&catalog.warnings);
    Ok(Built { catalog: Arc::new(catalog), census: Census { machines, objects: machines + others }, warnings })
}
