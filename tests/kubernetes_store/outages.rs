//! An API server that is killed, paused, and comes back from an older backup of etcd, under a store that writes.

use super::*;
use journal::Event;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use store::Batch;

/// Writes to one stream until it is told to stop, and remembers each event that was answered.
struct Clerk {
    stop: Arc<AtomicBool>,
    works: std::thread::JoinHandle<(Vec<String>, u64)>,
}

impl Clerk {
    fn starts(store: &Arc<KubernetesStore>, name: &'static str) -> Self {
        let (stop, store) = (Arc::new(AtomicBool::new(false)), Arc::clone(store));
        let stopped = Arc::clone(&stop);
        let works = std::thread::spawn(move || {
            let (mut answered, mut failed) = (Vec::new(), 0);
            let stream = machine(name);
            let runtime = runtime();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let reason = format!("{name}-{number}");
                let head = store.head(&stream).unwrap();
                match runtime.block_on(store.commit(decided(&stream, head, &reason), NOW)) {
                    Ok(_) => answered.push(reason),
                    Err(StoreError::Unreachable(_) | StoreError::Conflict { .. }) => failed += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            (answered, failed)
        });
        Self { stop, works }
    }

    /// What was answered, and how many were not.
    fn stops(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.works.join().unwrap()
    }
}

fn reasons(store: &dyn Store, name: &str) -> Vec<String> {
    let records = store.events_of(&machine(name), 0, usize::MAX).unwrap();
    let reason = |event| match event {
        Event::Held { reason } => reason,
        other => panic!("{other:?}"),
    };
    records.into_iter().map(|record| reason(record.event)).collect()
}

/// Everything that was answered is there, once and in its order; what was not answered is there once or not at all.
fn whole(store: &dyn Store, name: &str, answered: &[String]) {
    let there = reasons(store, name);
    let mut expected = answered.iter().peekable();
    for reason in &there {
        expected.next_if_eq(&reason);
    }
    assert_eq!(expected.next(), None, "{answered:?}\n{there:?}");
    let once: std::collections::BTreeSet<&String> = there.iter().collect();
    assert_eq!(once.len(), there.len(), "{there:?}");
}

#[test]
fn a_real_api_server_is_killed_paused_and_comes_back_older() {
    let Some(mut cluster) = Cluster::started("the store while an API server goes and comes") else { return };
    let (connect, config) = {
        let namespaces = Namespaces::of(&cluster);
        namespaces.site("site");
        (namespaces.connect("site"), namespaces.config.clone())
    };
    let again = || client::connect(config.clone(), "site".into());
    let patient = Options { patience: Duration::from_secs(2), ..options() };
    let store = Arc::new(KubernetesStore::open(connect, patient.clone()).unwrap());
    let other = Arc::new(KubernetesStore::open(again(), patient).unwrap());
    let runtime = runtime();

    // Killed, under two replicas that write.
    let clerks = [Clerk::starts(&store, "one"), Clerk::starts(&other, "two")];
    cluster.until("both write", || (store.position().0 > 20).then_some(()));
    cluster.kill_api_server();
    cluster.until("both say that it is away", || {
        [&store, &other].iter().all(|store| store.health().unreachable.is_some()).then_some(())
    });
    let began = Instant::now();
    let refused = runtime.block_on(store.commit(decided(&machine("x"), 0, "x"), NOW)).unwrap_err();
    assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert!(!reasons(&*store, "one").is_empty(), "there are reads");
    cluster.start_api_server();
    let before = store.position().0;
    cluster.until("both go on", || (store.position().0 > before + 20).then_some(()));
    let [(one, failed_one), (two, failed_two)] = clerks.map(Clerk::stops);
    println!("killed: {} answered, {} not", one.len() + two.len(), failed_one + failed_two);
    let opened = KubernetesStore::open(again(), options()).unwrap();
    whole(&opened, "one", &one);
    whole(&opened, "two", &two);

    // Paused: connections stay, and say nothing. What was asked then may be done when it goes on.
    let clerk = Clerk::starts(&store, "three");
    cluster.until("it writes", || (reasons(&*store, "three").len() > 5).then_some(()));
    cluster.signal_api_server("STOP");
    let began = Instant::now();
    let refused = runtime.block_on(other.commit(decided(&machine("x"), 0, "x"), NOW)).unwrap_err();
    assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    cluster.signal_api_server("CONT");
    let before = reasons(&*store, "three").len();
    cluster.until("it goes on", || (reasons(&*store, "three").len() > before + 5).then_some(()));
    let (three, failed) = clerk.stops();
    println!("paused: {} answered, {failed} not", three.len());
    whole(&KubernetesStore::open(again(), options()).unwrap(), "three", &three);

    // An older backup of etcd.
    cluster.kill_api_server();
    cluster.kill_etcd();
    let (folder, kept) = (cluster.path("etcd"), cluster.path("etcd.kept"));
    let copied = Command::new("cp").arg("-a").arg(&folder).arg(&kept).status().unwrap();
    assert!(copied.success());
    cluster.start_etcd();
    cluster.start_api_server();
    let stream = machine("later");
    let mut index = 0;
    cluster.until("it writes again", || {
        let committed = runtime.block_on(store.commit(decided(&stream, index, "later"), NOW));
        index += u64::from(committed.is_ok());
        (index == 5).then_some(())
    });
    cluster.kill_api_server();
    cluster.kill_etcd();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&kept, &folder).unwrap();
    cluster.start_etcd();
    cluster.start_api_server();
    let damaged = cluster.until("it is found", || {
        let committed = runtime.block_on(store.commit(Batch::default(), NOW));
        assert!(committed.is_err(), "nothing is answered from what is gone");
        committed.err().filter(|error| !matches!(error, StoreError::Unreachable(_)))
    });
    assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains("older backup")), "{damaged}");
    let damaged = cluster.until("who only follows finds it, too", || {
        let committed = runtime.block_on(other.commit(decided(&stream, 5, "never"), NOW));
        assert!(committed.is_err(), "nothing is written on what is gone");
        committed.err().filter(|error| !matches!(error, StoreError::Unreachable(_)))
    });
    assert!(matches!(damaged, StoreError::Damaged(_)), "{damaged}");
    assert_eq!(reasons(&*store, "later").len(), 5, "what it knew can still be read");
}
