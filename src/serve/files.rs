//! Boot files: what the applied revision declares of them is compared with the image folder, after each revision and now and then.

use crate::catalog::{BootEnv, Catalog};
use crate::content::kinds::{Architecture, FileSource};
use crate::fleet::Fleet;
use crate::net::files::{Declared, Folder};
use crate::net::tftp::Loaders;
use crate::replicas::Replicas;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often files are looked at; one that has not changed costs a look at its size and time.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is looked at, and for whom.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) fleet: Arc<Fleet>,
    pub(super) images: Arc<Folder>,
    /// Where that folder is.
    pub(super) folder: PathBuf,
    pub(super) loaders: Arc<Loaders>,
    /// Firmware asks this server for loaders.
    pub(super) gives_loaders: bool,
    pub(super) http_port: u16,
    /// Of several servers the one that leads writes down what is wrong with its files.
    pub(super) replicas: Replicas,
}

impl Files {
    /// Keeps the folder's declared checksums those of the applied revision.
    fn declare(&self) {
        if let Some(catalog) = self.fleet.current() {
            self.images.declare(declared(&catalog));
        }
    }

    /// What machines will ask for and what is not in the image folder, in one line; none: all is there. Reads no file.
    pub(super) fn missing(&self) -> Option<String> {
        self.declare();
        let loaders = if self.gives_loaders { self.loaders.lacking() } else { Default::default() };
        let missing: Vec<String> = loaders.into_keys().chain(self.images.missing()).collect();
        if missing.is_empty() { None } else { Some(missing.join(", ")) }
    }

    /// Takes in loaders that came, and tells what is wrong with files, after each revision and now and then. Never ends.
    pub(super) async fn follow(self, mut applied: watch::Receiver<u64>) {
        let mut first = true;
        loop {
            applied.mark_unchanged();
            self.declare();
            let files = self.clone();
            let look = move || {
                files.loaders.reload(&files.folder, files.http_port);
                let mut troubles = files.images.troubles();
                if files.gives_loaders {
                    troubles.extend(files.loaders.lacking());
                }
                troubles
            };
            if let Ok(mut troubles) = tokio::task::spawn_blocking(look).await {
                let known = self.fleet.file_troubles();
                if self.fleet.current().is_none() {
                    // Before a revision serves, nothing that it boots is known to be right again.
                    let boots = known.iter().filter(|(file, _)| !file.starts_with("loaders/"));
                    troubles.extend(boots.map(|(file, reason)| (file.clone(), reason.clone())));
                }
                for (_, reason) in troubles.iter().filter(|(file, _)| first || !known.contains_key(*file)) {
                    tracing::warn!(reason, "a boot file is not served");
                }
                first = false;
                if self.replicas.leads()
                    && let Err(error) = self.fleet.found_files(troubles).await
                {
                    tracing::error!(%error, "what is wrong with boot files could not be written down");
                }
            }
            let _ = tokio::time::timeout(LOOK_EVERY, applied.changed()).await;
        }
    }
}

/// The files that workflows boot from the image folder, and all that have checksums, with these.
fn declared(catalog: &Catalog) -> Declared {
    let mut declared = Declared::new();
    let stages = catalog.workflows().flat_map(|workflow| &workflow.stages);
    let booted: HashSet<&str> = stages.filter_map(|stage| stage.boot_env.as_deref()).collect();
    for boot_env in catalog.boot_envs() {
        let specs = boot_env.architectures.values();
        for source in specs.flat_map(|spec| std::iter::once(&spec.kernel).chain(&spec.initrds)) {
            let Some(file) = &source.file else { continue };
            if source.sha256.is_some() || booted.contains(&*boot_env.name) {
                let sums = declared.entry(file.clone()).or_default();
                sums.extend(source.sha256.as_ref().map(|sum| sum.to_ascii_lowercase()));
            }
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
