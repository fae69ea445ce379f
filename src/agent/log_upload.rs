//! Sends a job's log while the job runs: by offset, so that a retry neither doubles nor loses a line.

use super::connection::Connection;
use super::job_log::JobLog;
use super::transport::{Patience, Request, Response, sleep_unless};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most bytes in one request.
const CHUNK_BYTES: usize = 256 * 1024;
/// Lines that come within this time travel together.
const GATHER: Duration = Duration::from_millis(150);

/// A log on its way.
pub struct LogUpload {
    log: Arc<JobLog>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LogUpload {
    /// Starts to send.
    pub fn start(connection: Arc<Connection>, job: String, log: Arc<JobLog>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (thread_log, thread_stop) = (Arc::clone(&log), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || send_all(&connection, &job, &thread_log, &thread_stop))
            .ok();
        Self { log, stop, thread }
    }

    /// Closes the log and waits until the server has all of it, or for `patience`.
    pub fn finish(mut self, patience: Duration) {
        self.log.close();
        let end = Instant::now() + patience;
        while !self.log.is_complete() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take().filter(|_| self.log.is_complete()) {
            let _ = thread.join();
        }
    }
}

fn send_all(connection: &Connection, job: &str, log: &JobLog, stop: &AtomicBool) {
    let stopped = || stop.load(Ordering::Relaxed);
    while !stopped() && !log.is_complete() {
        match log.unsent(CHUNK_BYTES, Duration::from_secs(1)) {
            Ok(None) => continue,
            Ok(Some((_, first))) if first.len() < CHUNK_BYTES && !log.is_closed() => std::thread::sleep(GATHER),
            Ok(Some(_)) => {}
            Err(error) => {
                eprintln!("formwork-agent: the log of job {job} cannot be read: {error}");
                log.refuse();
                return;
            }
        }
        let Ok(Some((offset, bytes))) = log.unsent(CHUNK_BYTES, Duration::ZERO) else { continue };
        let path = format!("/v1/agent/jobs/{job}/log?offset={offset}");
        let request = Request::new("PUT", path).header("content-type", "application/octet-stream").body(bytes);
        match connection.ask(request, Patience::Forever, &stopped) {
            Ok(response) => match judge(&response, offset) {
                Judgement::Has(length) => log.acknowledge(length),
                Judgement::Refuses => {
                    eprintln!("formwork-agent: no more of the log is taken: {}", response.problem().message);
                    log.refuse();
                }
                Judgement::Unclear => {
                    sleep_unless(Duration::from_secs(2), &stopped);
                }
            },
            Err(error) => {
                eprintln!("formwork-agent: the log waits: {error}");
                sleep_unless(Duration::from_secs(2), &stopped);
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// The server has so many bytes.
    Has(u64),
    /// It will never take more.
    Refuses,
    /// Ask again.
    Unclear,
}

fn judge(response: &Response, offset: u64) -> Judgement {
    #[derive(serde::Deserialize)]
    struct Length {
        length: u64,
    }
    match response.status {
        200..=299 => response.json::<Length>().map_or(Judgement::Unclear, |has| Judgement::Has(has.length)),
        409 => match response.header("formwork-log-length").and_then(|text| text.trim().parse().ok()) {
            Some(length) if length != offset => Judgement::Has(length),
            _ => Judgement::Unclear,
        },
        404 | 410 | 413 => Judgement::Refuses,
        _ => Judgement::Unclear,
    }
}
