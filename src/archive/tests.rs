//! Uploads and reads on objects in memory that fail as they are told to.

use super::*;
use crate::store::BoxFuture;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, iter};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Objects in memory.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Nothing is done.
    away: AtomicBool,
    /// A put is never answered.
    stuck: AtomicBool,
    puts: AtomicUsize,
    lists: AtomicUsize,
}

impl Memory {
    fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn there(&self) -> Result<(), ObjectsError> {
        let away = self.away.load(Ordering::SeqCst);
        if away { Err(ObjectsError::Refused("no such bucket".into())) } else { Ok(()) }
    }
}

impl Objects for Memory {
    fn put<'a>(&'a self, path: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectsError>> {
        Box::pin(async move {
            self.there()?;
            if self.stuck.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            self.puts.fetch_add(1, Ordering::SeqCst);
            self.objects.lock().unwrap().insert(path.to_owned(), bytes);
            Ok(())
        })
    }

    fn get<'a>(&'a self, path: &'a str, _: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectsError>> {
        Box::pin(async move { self.there().map(|()| self.objects.lock().unwrap().get(path).cloned()) })
    }

    fn list(&self, folder: &str) -> BoxStream<'_, Result<Listed, ObjectsError>> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.there() {
            return iter([Err(error)]).boxed();
        }
        let objects = self.objects.lock().unwrap();
        let folder = format!("{folder}/");
        let listed = objects
            .iter()
            .filter(|(path, _)| path.starts_with(&folder))
            .map(|(path, bytes)| Ok(Listed { path: path.clone(), bytes: bytes.len() as u64, made_unix_ms: 1_000 }));
        iter(listed.collect::<Vec<_>>()).boxed()
    }

    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), ObjectsError>> {
        Box::pin(async move {
            self.there()?;
            self.objects.lock().unwrap().remove(path);
            Ok(())
        })
    }
}

/// A server with a folder of logs of its own, on these objects.
struct Server {
    archive: Arc<Archive>,
    logs: Arc<LogStore>,
    dir: tempfile::TempDir,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    fn new(memory: &Arc<Memory>, kept_here: u64) -> Self {
        Self::in_folder(memory, kept_here, tempfile::tempdir().unwrap())
    }

    fn in_folder(memory: &Arc<Memory>, kept_here: u64, dir: tempfile::TempDir) -> Self {
        let logs = Arc::new(LogStore::open(&dir.path().join("logs")).unwrap());
        let of = Of {
            site: "lab".into(),
            authority: "ab".repeat(32),
            logs: Arc::clone(&logs),
            kept_here,
            metrics: metrics::Archive::default(),
        };
        let objects: Arc<dyn Objects> = Arc::clone(memory) as _;
        Self { archive: Arc::new(Archive::new(objects, "memory".into(), of)), logs, dir, task: None }
    }

    fn run(&mut self, open: &'static [&'static str]) {
        let open = move || open.iter().map(|job| (*job).to_owned()).collect::<HashSet<_>>();
        self.task = Some(tokio::spawn(Arc::clone(&self.archive).run(open)));
    }

    /// As a kill does: what is in memory is lost.
    fn killed(self) -> tempfile::TempDir {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.dir
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(60), "not within 60 s: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn text(server: &Server, job: &str) -> Option<String> {
    let log = server.archive.read(job).await.unwrap();
    log.map(|log| String::from_utf8(log.to_vec()).unwrap())
}

#[tokio::test]
async fn a_log_goes_up_when_its_job_ends_and_any_server_reads_it() {
    let memory = Arc::new(Memory::default());
    let (mut one, other) = (Server::new(&memory, u64::MAX), Server::new(&memory, u64::MAX));
    one.run(&["open"]);
    one.logs.append("open", 0, b"not yet").unwrap();
    one.logs.append("done", 0, b"what it printed").unwrap();
    one.archive.ended("done");
    one.archive.ended("said-nothing");
    one.until("the log is remembered", || one.logs.uploaded("done") == Some(15)).await;
    assert_eq!(memory.names().len(), 1, "{:?}", memory.names());
    assert!(memory.names()[0].starts_with("lab-abababababab/logs/done/000000000015-"));
    assert_eq!(text(&other, "done").await.as_deref(), Some("what it printed"));
    assert_eq!(text(&other, "open").await, None);
    one.archive.ended("done");
    one.until("nothing waits", || one.archive.uploads().waiting == 0).await;
    assert_eq!(memory.puts.load(Ordering::SeqCst), 1, "nothing is put twice");

    // More came: the longer one takes the place of the shorter.
    one.logs.append("done", 15, b", and more").unwrap();
    one.archive.ended("done");
    one.until("the rest is there", || one.logs.uploaded("done") == Some(25)).await;
    assert_eq!(memory.names().len(), 1, "{:?}", memory.names());
}

#[tokio::test]
async fn while_the_object_store_is_away_logs_wait_and_a_kill_loses_none() {
    let memory = Arc::new(Memory::default());
    memory.away.store(true, Ordering::SeqCst);
    let mut server = Server::new(&memory, 0);
    server.run(&[]);
    for job in ["one", "two", "three"] {
        server.logs.append(job, 0, job.as_bytes()).unwrap();
        server.archive.ended(job);
    }
    server.until("one failed", || server.archive.state().failing.is_some()).await;
    assert_eq!(server.archive.uploads().waiting, 3);
    assert_eq!(server.archive.uploads().failure, None, "what passes by itself is no news");
    assert!(matches!(server.archive.read("one").await, Err(ReadError::Objects(_))));

    let dir = server.killed();
    let mut server = Server::in_folder(&memory, 0, dir);
    server.run(&["three"]);
    server.until("it is tried again", || server.archive.state().failing.is_some()).await;
    memory.away.store(false, Ordering::SeqCst);
    server.until("all that ended are there", || memory.names().len() == 2).await;
    server.until("nothing waits", || server.archive.uploads().waiting == 0).await;
    assert!(server.archive.state().failing.is_none());
    assert_eq!(server.logs.length("one").unwrap(), 3, "what was just written stays here for a while");
}

#[tokio::test]
async fn one_that_never_answers_holds_up_nobody_who_ends_a_job() {
    let memory = Arc::new(Memory::default());
    memory.stuck.store(true, Ordering::SeqCst);
    let mut server = Server::new(&memory, 0);
    server.run(&[]);
    let began = std::time::Instant::now();
    for number in 0..WAITING_MAX + 100 {
        let job = format!("job-{number}");
        if number < 10 {
            server.logs.append(&job, 0, b"x").unwrap();
        }
        server.archive.ended(&job);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(server.archive.uploads().waiting <= WAITING_MAX);
}

#[tokio::test]
async fn of_what_several_servers_have_the_longest_stays() {
    let memory = Arc::new(Memory::default());
    let (mut one, mut other) = (Server::new(&memory, 0), Server::new(&memory, 0));
    one.logs.append("job", 0, b"the beg").unwrap();
    one.run(&[]);
    one.until("its part is there", || one.logs.uploaded("job") == Some(7)).await;
    other.logs.append("job", 0, b"the beginning and the end").unwrap();
    other.run(&[]);
    other.until("the whole is there", || other.logs.uploaded("job") == Some(25)).await;
    assert_eq!(memory.names().len(), 1);
    one.archive.ended("job");
    one.until("it knows that there is more", || one.logs.uploaded("job") == Some(25)).await;
    assert_eq!(text(&one, "job").await.as_deref(), Some("the beginning and the end"));
    assert_eq!(memory.puts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_damaged_object_is_told_and_no_log_leaves_the_state_directory_for_it() {
    let memory = Arc::new(Memory::default());
    let mut server = Server::new(&memory, 0);
    server.logs.append("job", 0, b"what it printed").unwrap();
    server.run(&[]);
    server.until("it is there", || server.logs.uploaded("job").is_some()).await;
    let path = memory.names().remove(0);
    memory.objects.lock().unwrap().insert(path.clone(), seal::seal(b"what it pr1nted"));
    let other = Server::new(&memory, 0);
    match other.archive.read("job").await {
        Err(ReadError::Damaged { path: told, message }) => {
            assert!(told == path && message.contains("SHA-256"), "{message}")
        }
        read => panic!("{read:?}"),
    }
    let kept = server.logs.kept().unwrap().remove(0);
    assert!(kept.is_uploaded() && server.archive.drop_here(&kept).await);
    assert_eq!(server.logs.length("job").unwrap(), 15, "it stays");
    assert_eq!(server.logs.uploaded("job"), None, "and goes up again");
    server.archive.ended("job");
    server.until("it is there again", || server.logs.uploaded("job").is_some()).await;
    assert_eq!(text(&other, "job").await.as_deref(), Some("what it printed"));

    let kept = server.logs.kept().unwrap().remove(0);
    memory.away.store(true, Ordering::SeqCst);
    assert!(!server.archive.drop_here(&kept).await, "nothing leaves while nobody can look");
    assert_eq!(server.logs.length("job").unwrap(), 15);
    memory.away.store(false, Ordering::SeqCst);
    assert!(server.archive.drop_here(&kept).await);
    assert_eq!(server.logs.kept().unwrap(), [], "it leaves when it was read there");
}

#[tokio::test]
async fn what_retention_drops_is_removed_and_what_it_could_not_is_swept() {
    let memory = Arc::new(Memory::default());
    let mut server = Server::new(&memory, 0);
    for job in ["kept", "dropped", "missed"] {
        server.logs.append(job, 0, job.as_bytes()).unwrap();
    }
    let site = name::site("lab", &"ab".repeat(32));
    memory.objects.lock().unwrap().insert("other-site/logs/job/x.log.zst".into(), Vec::new());
    memory.objects.lock().unwrap().insert(format!("{site}/logs/README"), Vec::new());
    server.run(&[]);
    server.until("all are there", || memory.names().len() == 5).await;
    server.archive.remove("dropped").await.unwrap();
    server.archive.remove("dropped").await.unwrap();
    assert_eq!(memory.names().len(), 4);
    let named = |job: &str| job == "kept";
    assert_eq!(server.archive.sweep(named, 1_000).await, Ok(0), "what is younger stays");
    assert_eq!(server.archive.sweep(named, 1_001).await, Ok(1));
    let names = memory.names();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().any(|name| name.contains("/kept/")), "{names:?}");
    assert_eq!(text(&server, "missed").await, None);
}

#[tokio::test]
async fn an_object_store_that_is_away_is_not_asked_to_remove_one_job_after_another() {
    let memory = Arc::new(Memory::default());
    let mut server = Server::new(&memory, u64::MAX);
    server.run(&[]);
    server.logs.append("done", 0, b"what it printed").unwrap();
    server.archive.ended("done");
    server.until("the log is up", || memory.names().len() == 1).await;
    memory.away.store(true, Ordering::SeqCst);
    let before = memory.lists.load(Ordering::SeqCst);
    assert!(server.archive.remove("done").await.is_err());
    for job in ["done", "another", "a-third"] {
        assert_eq!(server.archive.remove(job).await, Ok(false));
    }
    assert_eq!(memory.lists.load(Ordering::SeqCst), before + 1, "it was asked once");
    // After the pause it is asked again.
    memory.away.store(false, Ordering::SeqCst);
    server.archive.state().removes_again = Some(Instant::now());
    assert_eq!(server.archive.remove("done").await, Ok(true));
    assert_eq!(memory.names(), Vec::<String>::new());
}
