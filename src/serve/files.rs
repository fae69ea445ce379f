//! Boot files: what the applied revision declares of them is compared with the image folder, after each revision and now and then.

use crate::catalog::{BootEnv, Catalog};
use crate::content::kinds::{Architecture, FileSource};
use crate::fleet::Fleet;
use crate::net::files::{Declared, Folder};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often files are looked at; one that has not changed costs a look at its size and time.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Keeps the folder's declared checksums those of the applied revision, and tells what is wrong. Never ends.
pub(super) async fn follow(fleet: Arc<Fleet>, images: Arc<Folder>, mut applied: watch::Receiver<u64>) {
    loop {
        applied.mark_unchanged();
        if let Some(catalog) = fleet.current() {
            images.declare(declared(&catalog));
        }
        let folder = Arc::clone(&images);
        if let Ok(troubles) = tokio::task::spawn_blocking(move || folder.troubles()).await {
            for reason in troubles.iter().filter(|(file, _)| !fleet.file_troubles().contains_key(*file)).map(|t| t.1) {
                tracing::warn!(reason, "a boot file is not served");
            }
            if let Err(error) = fleet.found_files(troubles).await {
                tracing::error!(%error, "what is wrong with boot files could not be written down");
            }
        }
        let _ = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
    }
}

fn declared(catalog: &Catalog) -> Declared {
    let mut declared = Declared::new();
    let specs = catalog.boot_envs().flat_map(|boot_env| boot_env.architectures.values());
    for source in specs.flat_map(|spec| std::iter::once(&spec.kernel).chain(&spec.initrds)) {
        if let (Some(file), Some(sum)) = (&source.file, &source.sha256) {
            declared.entry(file.clone()).or_default().insert(sum.to_ascii_lowercase());
        }
    }
    declared
}

/// Whether what an environment boots has the checksums that its revision declares; else why not, for the box's screen.
pub(super) async fn good(images: &Arc<Folder>, boot_env: &BootEnv, architecture: Architecture) -> Result<(), String> {
    let Some(spec) = boot_env.architectures.get(&architecture) else { return Ok(()) };
    let pair = |source: &FileSource| Some((source.file.clone()?, source.sha256.clone()?));
    let files: Vec<_> = std::iter::once(&spec.kernel).chain(&spec.initrds).filter_map(pair).collect();
    if files.is_empty() {
        return Ok(());
    }
    let folder = Arc::clone(images);
    let check = move || files.iter().try_for_each(|(path, sum)| folder.check(path, sum));
    match tokio::task::spawn_blocking(check).await {
        Ok(checked) => checked.map_err(|error| error.to_string()),
        Err(_) => Err("the boot files cannot be checked now".into()),
    }
}
