//! A fleet on a real store and a folder of content, for tests.

use super::counting::Counting;
use super::{Clock, Entry, Fleet, Resolved, Secrets};
use crate::catalog::Catalog;
use crate::content::sops::Keys;
use crate::git::{Follower, Source};
use crate::identity::SiteKeys;
use crate::journal::Event;
use crate::reconcile::{Blind, Change, Hook, Parts, Reconciler};
use crate::store::embedded::EmbeddedStore;
use crate::store::{BoxFuture, Store};
use crate::wire::HardwareIdentity;
use crate::workflow::{Action, Running};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

struct Quiet;

impl Hook for Quiet {
    fn applied(&self, _: Change) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A fleet with nothing around it.
pub(crate) struct Lab {
    pub dir: tempfile::TempDir,
    pub keys: Arc<SiteKeys>,
    fleet: Option<Arc<Fleet>>,
    store: Option<Arc<Counting>>,
}

impl Lab {
    pub async fn new(fresh: bool, content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        EmbeddedStore::create(&dir.path().join("store"), "lab", fresh).unwrap();
        std::fs::create_dir(dir.path().join("content")).unwrap();
        let keys = Arc::new(SiteKeys::generate("lab").unwrap());
        let mut lab = Self { dir, keys, fleet: None, store: None };
        lab.write(content);
        lab.start().await;
        lab
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("content")
    }

    pub fn write(&self, content: &str) {
        let head = "apiVersion: formwork.dev/v1alpha1";
        let walk = "
kind: Site
metadata: {name: lab}
---
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: a/vmlinuz}}}}
---
kind: Task
metadata: {name: look}
spec: {steps: [{name: s, script: 'true'}]}
---
kind: Stage
metadata: {name: look}
spec: {bootEnv: ram, tasks: [look], destructive: true}
---
kind: Workflow
metadata: {name: walk}
spec: {stages: [look]}
---";
        let text = format!("{walk}{content}").replace("\nkind:", &format!("\n{head}\nkind:"));
        std::fs::write(self.folder().join("site.yaml"), text).unwrap();
    }

    pub async fn start(&mut self) {
        self.fleet = None;
        self.store = None;
        let inner: Arc<dyn Store> = {
            // The one before lets go of its lock when its writer has ended.
            let mut tries = 0;
            loop {
                match EmbeddedStore::open(&self.dir.path().join("store")) {
                    Ok(store) => break Arc::new(store),
                    Err(_) if tries < 200 => {
                        tries += 1;
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let counting = Arc::new(Counting { inner, most: AtomicUsize::new(0) });
        let store: Arc<dyn Store> = Arc::clone(&counting) as Arc<dyn Store>;
        self.store = Some(counting);
        let source = Source::Directory { path: self.folder() };
        let follower = Arc::new(Follower::start(source, &self.dir.path().join("mirror.git")).unwrap());
        let build = crate::reconcile::catalogs(Keys::Unknown);
        let parts = Parts {
            follower,
            store: Arc::clone(&store),
            build,
            sealed_build: crate::reconcile::sealed_catalogs(),
            hook: Arc::new(Quiet),
            foresee: Arc::new(Blind),
            verifier: None,
            hosted: false,
            others: false,
            longest: crate::reconcile::LOAD_MOST,
        };
        let reconciler: Reconciler<Catalog> = Reconciler::start(parts).await.unwrap();
        let keys = Arc::clone(&self.keys);
        let secrets = Secrets::in_folder(self.dir.path().join("secrets"));
        let clock = Clock::start();
        let fleet = Fleet::load(store, reconciler, keys, "lab".into(), String::new(), secrets, clock).unwrap();
        self.fleet = Some(Arc::new(fleet));
        self.until(|catalog| catalog.workflow("walk").is_some()).await;
    }

    pub async fn until(&self, wanted: impl Fn(&Catalog) -> bool) {
        for _ in 0..1000 {
            if self.fleet().current().is_some_and(|catalog| wanted(&catalog)) {
                self.fleet().refresh_members();
                return;
            }
            self.fleet().reconciler.ask();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the revision does not serve: {:?}", self.fleet().content_status());
    }

    pub fn fleet(&self) -> &Arc<Fleet> {
        self.fleet.as_ref().unwrap()
    }

    /// The most events that one question to the store gave since it was opened.
    pub fn most_read(&self) -> usize {
        self.store.as_ref().unwrap().most.load(Ordering::Relaxed)
    }

    pub async fn declare(&self, matches: &str, rule: &str) {
        self.write(&format!(
            "\nkind: Machine\nmetadata: {{name: declared}}\nspec: {{match: {{{matches}}}, workflow: walk}}\n---{rule}"
        ));
        self.until(|catalog| catalog.machine("declared").is_some()).await;
    }

    pub async fn show(&self, hardware: &HardwareIdentity) -> Resolved {
        self.fleet().resolve(hardware, None, None, "ipxe").await.unwrap()
    }

    pub async fn machine(&self, hardware: &HardwareIdentity) -> Arc<Entry> {
        match self.show(hardware).await {
            Resolved::Machine(entry) => entry,
            Resolved::Nothing { reason } | Resolved::Hold { reason } => panic!("{reason}"),
        }
    }

    pub async fn boots(&self, entry: &Entry) -> String {
        let _turn = entry.turn().await;
        match self.fleet().decide(entry, Running::Firmware).await.unwrap().next.action {
            Action::Boot { environment, .. } => environment,
            other => panic!("{other:?}"),
        }
    }

    pub async fn event(&self, entry: &Entry, event: Event) {
        let _turn = entry.turn().await;
        self.fleet().record(entry, &entry.state(), vec![event]).await.unwrap();
    }
}
