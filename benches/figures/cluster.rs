//! Writes, reads, waits and elections on one cluster profile, beside etcd.

use super::etcd::{self, Etcd};
use super::formwork::Formwork;
use super::median;
use super::wire::{Grpc, Http};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, mpsc};

/// Turns of each figure; the median is given.
const TURNS: u16 = 3;
/// How long each turn of writes and reads takes.
const TURN: Duration = Duration::from_secs(2);
const VALUE: &str =
    "\"a hundred bytes, about what machines tell each other: a join command, an address, a token, a name\"";

/// What one client does.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    /// Compare-and-swap of a key of its own.
    Spread,
    /// Compare-and-swap of the one key that all write.
    Hot,
    /// Joins sets that all join (etcd: one key a set, which each swaps until it is in).
    Join,
    /// Asks for claims that all ask for, one after another: the first leads, the others are told who does (etcd: a key that
    /// whoever finds none creates).
    Claim,
}

/// A document holds 512 KiB: so many joins of sets fit.
const JOINS: usize = 3_000;
/// And so many sets.
const SETS: usize = 1_000;

pub fn print(figures: &[&str]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("| figure | formwork | etcd | ratio |\n| --- | ---: | ---: | ---: |");
    runtime.block_on(async {
        for figure in figures {
            match *figure {
                "writes" => {
                    writes(&[
                        (Load::Spread, "accepted writes, each client its own key"),
                        (Load::Hot, "accepted writes, one hot key, client compare-and-swap"),
                    ])
                    .await
                }
                "claims" => {
                    writes(&[
                        (Load::Join, "accepted writes, one hot key, joining sets"),
                        (Load::Claim, "answers who leads, all clients asking for the same claim"),
                    ])
                    .await
                }
                "ceiling" => ceiling().await,
                "reads" => reads().await,
                "waiters" => {
                    times("1,000 waiters woken by one write, to the last answer", waiters_formwork, waiters_etcd).await
                }
                _ => {
                    times(
                        "election of 1,000 at once, first request to the last follower's answer",
                        election_formwork,
                        election_etcd,
                    )
                    .await
                }
            }
        }
    });
}

fn row(name: &str, ours: f64, theirs: f64, unit: &str, more_is_better: bool) {
    let ratio = if more_is_better { ours / theirs } else { theirs / ours };
    let digits = |number: f64| if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.1}") };
    println!("| {name} | {} {unit} | {} {unit} | {ratio:.1} |", digits(ours), digits(theirs));
}

async fn writes(loads: &[(Load, &str)]) {
    for (load, name) in loads.iter().copied() {
        for clients in [1, 64, 1000] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for turn in 0..TURNS {
                let port = 20_000 + turn * 10;
                let server = Formwork::start(port);
                ours.push(write_formwork(server.clients(clients).await, load).await);
                drop(server);
                let server = Etcd::start(port + 2).expect("etcd is needed: Debian's package etcd-server");
                theirs.push(write_etcd(server.clients(clients).await, load).await);
            }
            row(&format!("{name}, {clients} clients"), median(ours), median(theirs), "/s", true);
        }
    }
}

/// How often each of so many clients can join a set or ask for a claim before the document is full.
fn rounds(load: Load, clients: usize) -> usize {
    if load == Load::Claim { SETS } else { (JOINS / clients.max(1)).min(SETS) }
}

/// Runs all clients for a turn, and gives the accepted writes a second.
async fn rate<F>(tasks: Vec<F>) -> f64
where
    F: Future<Output = u64> + Send + 'static,
{
    let began = Instant::now();
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut all = 0;
    for task in tasks {
        all += task.await.expect("a client");
    }
    all as f64 / began.elapsed().as_secs_f64()
}

async fn write_formwork(clients: Vec<Http>, load: Load) -> f64 {
    let rounds = rounds(load, clients.len());
    let until = Instant::now() + TURN;
    let tasks = clients.into_iter().enumerate().map(move |(number, mut client)| async move {
        let (mut accepted, mut tag) = (0, String::new());
        let key =
            if load == Load::Spread { format!("/v1/cluster/keys/k{number}") } else { "/v1/cluster/keys/hot".into() };
        let mut round = 0;
        while Instant::now() < until {
            if matches!(load, Load::Join | Load::Claim) {
                if round == rounds {
                    break;
                }
                let (method, path) = match load {
                    Load::Join => ("PUT", format!("/v1/cluster/sets/s{round}/self")),
                    _ => ("POST", format!("/v1/cluster/claims/c{round}?ttl=60s")),
                };
                let answer = client.ask(method, &path, &[], Bytes::new()).await;
                assert!(answer.status.is_success(), "{}: {:?}", answer.status, answer.body);
                accepted += 1;
                round += 1;
                continue;
            }
            let condition = if tag.is_empty() { ("if-none-match", "*") } else { ("if-match", tag.as_str()) };
            let answer = client.ask("PUT", &key, &[condition], Bytes::from_static(VALUE.as_bytes())).await;
            match answer.status.as_u16() {
                200 | 201 => accepted += 1,
                412 => {}
                other => panic!("{other}: {:?}", answer.body),
            }
            tag = answer.tag;
        }
        accepted
    });
    rate(tasks.collect()).await
}

async fn write_etcd(clients: Vec<Grpc>, load: Load) -> f64 {
    let rounds = rounds(load, clients.len());
    let until = Instant::now() + TURN;
    let tasks = clients.into_iter().enumerate().map(move |(number, mut client)| async move {
        let (mut accepted, mut revision, mut round) = (0, 0, 0);
        while Instant::now() < until {
            let key = match load {
                Load::Spread => format!("k{number}"),
                Load::Hot => "hot".to_owned(),
                Load::Join | Load::Claim if round == rounds => break,
                Load::Join => format!("s{round}"),
                Load::Claim => format!("c{round}"),
            };
            let (put, now) = etcd::swap(&mut client, &key, revision, VALUE.as_bytes()).await;
            accepted += u64::from(put);
            revision = now;
            if load == Load::Claim {
                accepted += u64::from(!put); // told who leads
                (round, revision) = (round + 1, 0);
            } else if put && load == Load::Join {
                (round, revision) = (round + 1, 0);
            }
        }
        accepted
    });
    rate(tasks.collect()).await
}

/// Answers a second of a route that asks no store: no figure above can be higher on this machine with this client.
async fn ceiling() {
    for clients in [1, 64, 1000] {
        let mut ours = Vec::new();
        for turn in 0..TURNS {
            let server = Formwork::start(20_300 + turn * 10);
            let until = Instant::now() + TURN;
            let asking = server.clients(clients).await.into_iter().map(|mut client| async move {
                let mut count = 0;
                while Instant::now() < until {
                    let answer = client.ask("POST", "/nothing", &[], Bytes::new()).await;
                    assert!(answer.status.is_success());
                    count += 1;
                }
                count
            });
            ours.push(rate(asking.collect()).await);
        }
        println!("| answers of a route that asks no store, {clients} clients | {:.0} /s | – | – |", median(ours));
    }
}

/// Reads a second by four clients, alone and while eight write.
async fn reads() {
    for writers in [0_usize, 8] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            let port = 20_100 + turn * 10;
            let server = Formwork::start(port);
            let mut clients = server.clients(writers + 4).await;
            clients[0].ask("PUT", "/v1/cluster/keys/k0", &[("if-none-match", "*")], VALUE.into()).await;
            let readers = clients.split_off(writers);
            let writing = tokio::spawn(write_formwork(clients, Load::Spread));
            let until = Instant::now() + TURN;
            let reading = readers.into_iter().map(|mut client| async move {
                let mut count = 0;
                while Instant::now() < until {
                    let answer = client.ask("GET", "/v1/cluster/keys/k0", &[], Bytes::new()).await;
                    assert!(answer.status.is_success());
                    count += 1;
                }
                count
            });
            ours.push(rate(reading.collect()).await);
            writing.await.expect("the writers");
            drop(server);
            let server = Etcd::start(port + 2).expect("etcd is needed: Debian's package etcd-server");
            let mut clients = server.clients(writers + 4).await;
            etcd::put(&mut clients[0], "k0", VALUE.as_bytes()).await;
            let readers = clients.split_off(writers);
            let writing = tokio::spawn(write_etcd(clients, Load::Spread));
            let until = Instant::now() + TURN;
            let reading = readers.into_iter().map(|mut client| async move {
                let mut count = 0;
                while Instant::now() < until {
                    etcd::get(&mut client, "k0").await;
                    count += 1;
                }
                count
            });
            theirs.push(rate(reading.collect()).await);
            writing.await.expect("the writers");
        }
        let name = format!("reads of a key by 4 clients while {writers} write");
        row(&name, median(ours), median(theirs), "/s", true);
    }
}

/// A figure that is a time in milliseconds, on servers of its own.
async fn times<A, B, X, Y>(name: &str, ours: A, theirs: B)
where
    A: Fn(Vec<Http>) -> X,
    B: Fn(Vec<Grpc>) -> Y,
    X: Future<Output = f64>,
    Y: Future<Output = f64>,
{
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let port = 20_200 + turn * 10;
        let server = Formwork::start(port);
        a.push(ours(server.clients(1001).await).await);
        drop(server);
        let server = Etcd::start(port + 2).expect("etcd is needed: Debian's package etcd-server");
        b.push(theirs(server.clients(1001).await).await);
    }
    row(name, median(a), median(b), "ms", false);
}

async fn waiters_formwork(mut clients: Vec<Http>) -> f64 {
    let mut writer = clients.pop().expect("a client");
    let waits = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let answer = client.ask("GET", "/v1/cluster/keys/wake?wait=55s", &[], Bytes::new()).await;
            assert!(answer.status.is_success(), "{}", answer.status);
        })
    });
    let waits: Vec<_> = waits.collect();
    tokio::time::sleep(Duration::from_secs(2)).await; // all of them wait by then
    let began = Instant::now();
    writer.ask("PUT", "/v1/cluster/keys/wake", &[("if-none-match", "*")], VALUE.into()).await;
    for wait in waits {
        wait.await.expect("a waiter");
    }
    began.elapsed().as_secs_f64() * 1e3
}

async fn waiters_etcd(mut clients: Vec<Grpc>) -> f64 {
    let mut writer = clients.pop().expect("a client");
    let (sender, mut ready) = mpsc::unbounded_channel();
    let waits = clients.into_iter().map(|mut client| {
        let sender = sender.clone();
        tokio::spawn(async move { etcd::wait(&mut client, "wake", || sender.send(()).expect("told")).await })
    });
    let waits: Vec<_> = waits.collect();
    for _ in &waits {
        ready.recv().await;
    }
    let began = Instant::now();
    etcd::put(&mut writer, "wake", VALUE.as_bytes()).await;
    for wait in waits {
        wait.await.expect("a waiter");
    }
    began.elapsed().as_secs_f64() * 1e3
}

async fn election_formwork(mut clients: Vec<Http>) -> f64 {
    clients.pop();
    let start = Arc::new(Barrier::new(clients.len() + 1));
    let all = clients.into_iter().map(|mut client| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            let answer = client.ask("POST", "/v1/cluster/claims/init?ttl=60s", &[], Bytes::new()).await;
            let word: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            if word["role"] == "leader" {
                let path = format!("/v1/cluster/claims/init/done?fence={}", word["fence"]);
                let answer = client.ask("POST", &path, &[], Bytes::from(format!("{{\"token\": {VALUE}}}"))).await;
                assert!(answer.status.is_success());
            } else {
                let answer = client.ask("GET", "/v1/cluster/keys/token?wait=55s&of=init", &[], Bytes::new()).await;
                assert!(answer.status.is_success());
            }
        })
    });
    let all: Vec<_> = all.collect();
    start.wait().await;
    let began = Instant::now();
    for one in all {
        one.await.expect("a machine");
    }
    began.elapsed().as_secs_f64() * 1e3
}

async fn election_etcd(mut clients: Vec<Grpc>) -> f64 {
    clients.pop();
    let start = Arc::new(Barrier::new(clients.len() + 1));
    let all = clients.into_iter().map(|mut client| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            let (leads, _) = etcd::swap(&mut client, "init", 0, b"me").await;
            if leads {
                etcd::put(&mut client, "token", VALUE.as_bytes()).await;
            } else {
                etcd::wait(&mut client, "token", || ()).await;
            }
        })
    });
    let all: Vec<_> = all.collect();
    start.wait().await;
    let began = Instant::now();
    for one in all {
        one.await.expect("a machine");
    }
    began.elapsed().as_secs_f64() * 1e3
}
