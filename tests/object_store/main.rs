//! Logs of jobs in an object store, as a process writes them: in a folder, and in a real server of S3 (`versitygw`, over TLS) that is stuck,
//! slow, refuses or gives back something else. The machines are simulated, and never wait for it.
//!
//! `scripts/test` builds the server of S3 into `cache/s3` where it can; without it those tests say SKIPPED.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

#[path = "../bed/mod.rs"]
mod bed;
#[allow(dead_code, reason = "nothing is under fire here")]
#[path = "../fire/check.rs"]
mod check;
#[path = "../fire/content.rs"]
mod content;
mod s3;
mod site;

use s3::{Mood, S3};
use site::Site;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    below.filter(|path| path.to_str().is_some_and(|path| path.ends_with(".log.zst"))).collect()
}

/// Whether the objects are exactly one for each of these jobs.
fn has_one_of_each(objects: &[PathBuf], logs: &BTreeMap<String, Vec<u8>>) -> bool {
    let mut jobs: Vec<&str> = objects
        .iter()
        .map(|path| path.parent().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str).expect("a job"))
        .collect();
    jobs.sort_unstable();
    jobs.iter().copied().eq(logs.keys().map(String::as_str))
}

/// Reads every log by the command line, and holds it against what the state directory had.
fn reads_all(site: &Site, logs: &BTreeMap<String, Vec<u8>>) {
    assert!(logs.len() >= 10 && logs.values().all(|log| !log.is_empty()), "{} logs", logs.len());
    for (job, log) in logs {
        let output = site.type_in(&["logs", job]);
        assert!(output.status.success(), "{job}: {output:?}\n{}", site.said());
        assert!(output.stdout == *log, "{job}: {} bytes, and not {}", output.stdout.len(), log.len());
    }
}

#[test]
fn in_a_folder_are_the_logs_of_a_server_that_lost_its_own() {
    let mut site = Site::new();
    let folder = site.path("objects");
    let url = format!("file://{}", folder.display());
    // A folder that is not there is a disk that is not mounted.
    let refused = site.refused(&[("FORMWORK_OBJECT_STORE", &url)]);
    assert!(refused.contains("objects cannot be used") && !folder.exists(), "{refused}");
    std::fs::create_dir(&folder).unwrap();
    site.start(&[("FORMWORK_OBJECT_STORE", &url)]);
    site.walk();
    let logs = site.logs();
    site.until("every log is there once", || has_one_of_each(&files(&folder), &logs));
    site.until("nothing waits", || site.waiting() == Some(0));
    site.kill();
    // Another host, with the keys and the store of this one.
    site.start_without_logs(&[("FORMWORK_OBJECT_STORE", &url)]);
    reads_all(&site, &logs);

    let damaged = files(&folder).remove(0);
    let job = damaged.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    site.kill();
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&damaged, bytes).unwrap();
    site.start(&[("FORMWORK_OBJECT_STORE", &url)]);
    let output = site.type_in(&["logs", &job]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty() && said.contains("is damaged"), "{output:?}");
    let others: BTreeMap<_, _> = logs.into_iter().filter(|(name, _)| *name != job).collect();
    reads_all(&site, &others);
    // Nobody knows of a log that never was.
    assert!(site.logs().is_empty(), "what is read there is not kept here");
    let output = site.type_in(&["logs", "no-such-job"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn what_a_bucket_did_not_take_before_a_kill_it_has_after_the_next_start() {
    let Some(s3) = S3::started("what_a_bucket_did_not_take_before_a_kill_it_has_after_the_next_start") else { return };
    s3.make_bucket("logs");
    let mut site = Site::new();
    let url = s3.url("logs/lab/one");
    let mut environment = s3.environment();
    environment.push(("FORMWORK_OBJECT_STORE", &url));
    s3.set(Mood::Stuck);
    site.start(&environment);
    site.walk();
    let logs = site.logs();
    assert!(site.waiting().is_some_and(|waiting| waiting >= logs.len()), "{:?} of {}", site.waiting(), logs.len());
    assert!(files(&s3.folder()).is_empty());
    site.kill();

    s3.set(Mood::Slow);
    site.start(&environment);
    site.until("every log is there once", || has_one_of_each(&files(&s3.folder()), &logs));
    let path = files(&s3.folder()).remove(0);
    assert!(path.strip_prefix(s3.folder()).unwrap().starts_with("logs/lab/one"), "{}", path.display());
    site.until("nothing waits", || site.waiting() == Some(0));
    s3.set(Mood::Well);
    site.kill();
    site.start_without_logs(&environment);
    reads_all(&site, &logs);
    site.kill();

    // What the bucket gives back is not what was put there.
    let (job, _) = logs.iter().next().unwrap();
    let object = files(&s3.folder()).into_iter().find(|path| path.to_str().unwrap().contains(job.as_str())).unwrap();
    let other = files(&s3.folder()).into_iter().find(|path| *path != object).unwrap();
    std::fs::write(&object, std::fs::read(other).unwrap()).unwrap();
    site.start(&environment);
    let output = site.type_in(&["logs", job]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty() && said.contains("is damaged"), "{output:?}");
    // One that does not answer is told, and the server answers all else.
    s3.set(Mood::Stuck);
    let (job, _) = logs.iter().next_back().unwrap();
    site.kill();
    site.start(&environment);
    let output = site.type_in(&["logs", job]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("object store"), "{output:?}");
    assert!(site.type_in(&["get", "machines"]).status.success());
}

#[test]
fn while_a_bucket_refuses_machines_walk_on_and_no_secret_is_told() {
    let Some(s3) = S3::started("while_a_bucket_refuses_machines_walk_on_and_no_secret_is_told") else { return };
    let mut site = Site::new();
    let url = s3.url("not-yet");
    let mut environment = s3.environment();
    environment.push(("FORMWORK_OBJECT_STORE", &url));
    site.start(&environment);
    site.walk();
    let logs = site.logs();
    site.until("a refusal is told", || site.said().contains("logs cannot be uploaded; they wait"));
    assert!(site.said().contains("NoSuchBucket"), "{}", site.said());
    assert_eq!(site.waiting(), Some(logs.len()));
    s3.make_bucket("not-yet");
    site.until("every log is there once", || has_one_of_each(&files(&s3.folder()), &logs));
    site.until("it is told", || site.said().contains("logs are uploaded again"));
    site.kill();

    // By a wrong key nothing is read, and neither key is shown.
    let wrong = environment.iter().map(|(name, value)| match *name {
        "AWS_SECRET_ACCESS_KEY" => (*name, "hunter2hunter2"),
        _ => (*name, *value),
    });
    site.start_without_logs(&wrong.collect::<Vec<_>>());
    let (job, _) = logs.iter().next().unwrap();
    let output = site.type_in(&["logs", job]);
    let said = format!("{}{}{}", String::from_utf8_lossy(&output.stderr), site.said(), site.status());
    assert!(!output.status.success() && said.contains("SignatureDoesNotMatch"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains(s3::SECRET), "{said}");
}
