//! How the files of a revision become the catalog that serves.

use super::{Build, Built, Census};
use crate::catalog::{Catalog, Compiler, builtin_packs};
use crate::content::Tree;
use crate::content::sops::Keys;
use std::sync::{Arc, Mutex, PoisonError};

/// Loads and compiles with the packs that come with this program; what a revision has in common with the one before costs
/// nothing. `keys` open encrypted files.
pub fn catalogs(keys: Keys) -> Arc<Build<Catalog>> {
    let compiler = Mutex::new(Compiler::new(builtin_packs(), keys));
    // What is remembered is whole at every moment, also after a panic.
    Arc::new(move |tree, revision| build(&mut compiler.lock().unwrap_or_else(PoisonError::into_inner), tree, revision))
}

fn build(compiler: &mut Compiler, tree: &Tree, revision: &str) -> Result<Built<Catalog>, Vec<String>> {
    let shown = |findings: &crate::content::Findings| findings.0.iter().map(ToString::to_string).collect();
    let answer = compiler.compile(tree, revision);
    let work = compiler.work();
    tracing::debug!(
        revision,
        parsed = work.files_parsed,
        files = work.files,
        compiled = work.machines_compiled,
        machines = work.machines,
        "revision compiled"
    );
    let catalog = answer.map_err(|findings| shown(&findings))?;
    let machines = catalog.machines().count();
    // What a site declares by itself; a pack's tasks and stages are there whatever becomes of it.
    let others = catalog.enrollments().count() + catalog.subnets().count() + catalog.cluster_profiles().count();
    let warnings = shown(&catalog.warnings);
    Ok(Built { catalog: Arc::new(catalog), census: Census { machines, objects: machines + others }, warnings })
}
