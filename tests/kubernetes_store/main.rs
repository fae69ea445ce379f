//! The store in Kubernetes, on a real kube-apiserver over a real etcd: the suite that every engine passes, and what only an API
//! server can do to it.
//!
//! The programs come from `KUBEBUILDER_ASSETS`, or from `scripts/kubernetes-programs`; without them a test says SKIPPED and why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]
#![allow(dead_code, reason = "of what is taken in by its path some is for others")]

#[path = "../kubernetes/cluster.rs"]
mod api_server;
mod dhcp;
mod doctor;
mod faulty;
mod figures;
mod figures_fleet;
mod lifetimes;
mod log_elsewhere;
mod moved;
mod outages;
mod paused;
mod replicas;
mod served;
mod shared;
mod site;
mod together;
mod waited_for;

// What the suite calls by its place in the program.
use formwork::{cluster, journal};
mod store;

use api_server::Cluster;
use faulty::{Mood, Wire};
use formwork::store::kubernetes::{Connect, KubernetesStore, Options, Sharing, client};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use store::conformance::power::{Powered, history};
use store::conformance::program::Dice;
use store::conformance::{NOW, conformance_tests, decided, machine};
use store::{Store, StoreError};

/// The API server of the tests that have it in common: all that neither stop it nor look at what etcd holds, each in namespaces of its
/// own. They mostly wait, so they run beside each other. It ends with the last of them that has it.
static COMMON: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// None: there are no programs for it, and it was said.
fn common(test: &str) -> Option<Arc<Cluster>> {
    let mut common = COMMON.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cluster) = common.upgrade() {
        return Some(cluster);
    }
    let cluster = Arc::new(Cluster::started(test)?);
    *common = Arc::downgrade(&cluster);
    Some(cluster)
}

/// Namespaces of one API server.
struct Namespaces<'a> {
    cluster: &'a Cluster,
    config: kube::Config,
}

impl<'a> Namespaces<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let file = cluster.path("kubeconfig");
        // In a thread of its own: a test may have a runtime already.
        let read = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let file = kube::config::Kubeconfig::read_from(file).unwrap();
                kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap()
            })
        });
        Self { cluster, config: read.join().unwrap() }
    }

    fn connect(&self, namespace: &str) -> Connect {
        client::connect(self.config.clone(), namespace.to_owned())
    }

    /// A namespace with a new store in it.
    fn site(&self, namespace: &str) {
        self.cluster.kubectl(&["create", "namespace", namespace]);
        KubernetesStore::create(self.connect(namespace), "lab", true).unwrap();
    }

    fn open(&self, namespace: &str) -> Arc<KubernetesStore> {
        Arc::new(KubernetesStore::open(self.connect(namespace), options()).unwrap())
    }

    fn secrets(&self, namespace: &str) -> Vec<String> {
        let names =
            self.cluster.kubectl(&["-n", namespace, "get", "secrets", "-l", "formwork.dev/store", "-o", "name"]);
        names.lines().map(|line| line.trim_start_matches("secret/").to_owned()).collect()
    }
}

/// A failure is an answer, and ends no test.
fn options() -> Options {
    Options { on_fatal: Arc::new(|_| {}), patience: Duration::from_secs(60), ..Options::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A replica that loses its connection for good, and one that is started after it.
struct Replica<'a> {
    namespaces: &'a Namespaces<'a>,
    namespace: &'a str,
    wire: Wire,
}

impl Powered for Replica<'_> {
    fn start(&self, now_ms: u64) -> Result<Arc<dyn Store>, StoreError> {
        let options =
            Options { now_ms, patience: Duration::ZERO, snapshot_segments: 20, kept_segments: 5, ..options() };
        let connect = self.wire.connect(self.namespaces.connect(self.namespace));
        Ok(Arc::new(KubernetesStore::open(connect, options)?))
    }

    fn cut_after(&self, calls: u64) {
        self.wire.set(Mood { left: Some(calls), ..Mood::default() });
    }

    fn power_back(&mut self, _: &mut Dice) {
        self.wire.set(Mood::default());
    }
}

#[test]
fn a_real_api_server_keeps_what_every_store_keeps() {
    let Some(cluster) = common("the store in a real API server") else { return };
    let namespaces = Namespaces::of(&cluster);
    let began = Instant::now();
    let mut made = 0;
    let mut fresh = || {
        made += 1;
        let namespace = format!("suite-{made}");
        namespaces.site(&namespace);
        let store: Arc<dyn Store> = namespaces.open(&namespace);
        (store, namespace)
    };
    runtime().block_on(async { conformance_tests!(in_turn fresh()) });
    println!("{made} tests of the suite in {:?}", began.elapsed());

    replicas::of_two_stores_and_64_clients_one_leads_though_one_store_dies(&namespaces);
    replicas::a_lost_request_or_reply_is_neither_lost_nor_done_twice(&namespaces);
    replicas::nobody_changes_a_segment_and_a_deleted_one_is_found(&namespaces);

    let began = Instant::now();
    let mut answers = 0;
    for seed in 1..=3 {
        let namespace = format!("cuts-{seed}");
        namespaces.site(&namespace);
        let mut replica = Replica { namespaces: &namespaces, namespace: &namespace, wire: Wire::new(seed) };
        let seen = history(&mut replica, |store| store, seed, 20);
        answers += seen.unwrap_or_else(|wrong| panic!("{wrong}")).len();
    }
    println!("60 replicas cut off, {answers} answers in {:?}", began.elapsed());
}
