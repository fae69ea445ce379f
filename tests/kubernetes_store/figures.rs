//! What the store costs, beside what the API server itself does. Not a test: it measures.
//!
//! `cargo test --release --test kubernetes_store -- --ignored --nocapture figures`

use super::*;
use formwork::store::kubernetes::objects::Kind;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(10);

/// Commits a second of so many clients, each on a stream of its own, and the time of one in the middle and at 99 of 100.
fn commits(store: &Arc<KubernetesStore>, name: &str, clients: usize) -> (f64, Duration, Duration) {
    let began = Instant::now();
    let mut times = runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (store, stream) = (Arc::clone(store), machine(&format!("{name}-{clients}-{client}")));
            tasks.spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < TIME {
                    let (head, asked) = (store.head(&stream).unwrap(), Instant::now());
                    store.commit(decided(&stream, head, "a reason of some length"), NOW).await.unwrap();
                    times.push(asked.elapsed());
                }
                times
            });
        }
        tasks.join_all().await.concat()
    });
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    times.sort_unstable();
    (rate, times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Secrets of 300 bytes made a second by so many clients: what the API server and etcd do at best.
fn creates(namespaces: &Namespaces<'_>, clients: u64) -> f64 {
    let connect = namespaces.connect("plain");
    let made = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    runtime().block_on(async {
        let objects = connect().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (objects, made) = (Arc::clone(&objects), Arc::clone(&made));
            tasks.spawn(async move {
                let bytes: Arc<[u8]> = vec![7; 300].into();
                let mut number = 0;
                while began.elapsed() < TIME {
                    number += 1;
                    let name = format!("plain-{clients}-{client}-{number}");
                    objects.create(Kind::Part, &name, Arc::clone(&bytes)).await.unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tasks.join_all().await
    });
    made.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures"]
fn figures() {
    let Some(cluster) = Cluster::started("figures of the store in a real API server") else { return };
    let namespaces = Namespaces::of(&cluster);
    cluster.kubectl(&["create", "namespace", "plain"]);
    for clients in [1, 16, 64] {
        println!("plain creates, {clients} clients: {:.0} a second", creates(&namespaces, clients));
    }
    namespaces.site("figures");
    let store = namespaces.open("figures");
    for clients in [1, 16, 64, 256] {
        let (rate, middle, late) = commits(&store, "one", clients);
        println!("commits, {clients} clients: {rate:.0} a second, half within {middle:?}, 99 % within {late:?}");
    }
    let other = namespaces.open("figures");
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| commits(&store, "first", 32));
        let two = scope.spawn(|| commits(&other, "second", 32));
        (one.join().unwrap(), two.join().unwrap())
    });
    println!("two replicas, 32 clients each: {:.0} and {:.0} a second", both.0.0, both.1.0);
    let (number, snapshot) = store.position();
    println!(
        "{number} segments, snapshot of {snapshot}, {} objects, {:?}",
        namespaces.secrets("figures").len(),
        store.health()
    );
    println!("{} events", store.events_after(0, usize::MAX).unwrap().len());
    let began = Instant::now();
    drop(namespaces.open("figures"));
    println!("opened in {:?}", began.elapsed());
    let size = std::process::Command::new("du").arg("-sb").arg(cluster.path("etcd")).output().unwrap();
    println!("etcd's folder: {}", String::from_utf8_lossy(&size.stdout));
}
