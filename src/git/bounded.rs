//! Programs that a server starts and nobody watches: they end in time, and fill the disk so far and no further.

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it is looked what a program does.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is kept of each of its outputs, bytes.
const SAID_MAX: u64 = 1024 * 1024;
/// Memory that a program may map, bytes.
pub(super) const MEMORY_MAX: u64 = 2 << 30;

/// What a program may take.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// From its start to its end.
    pub time: Duration,
    /// So many bytes may come to this folder.
    pub bytes: u64,
    /// A flat folder.
    pub folder: PathBuf,
}

/// What it said.
pub(super) struct Said {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Bounds {
    /// Runs a program. Past a bound it is ended, with all that it started.
    pub(super) fn run(&self, mut command: Command) -> Result<Said, String> {
        let (end, before) = (Instant::now() + self.time, self.held());
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        limit_memory(pid(&child));
        let readers = (reader(child.stdout.take()), reader(child.stderr.take()));
        let status = loop {
            let why = match child.try_wait() {
                Err(error) => error.to_string(),
                Ok(_) if Instant::now() >= end => format!("it took longer than {} seconds", self.time.as_secs()),
                Ok(Some(status)) => break Ok(status),
                Ok(None) if self.held().saturating_sub(before) > self.bytes => {
                    format!("it brought more than {} MiB", self.bytes >> 20)
                }
                Ok(None) => {
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
            };
            if let Some(group) = pid(&child) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
            break Err(format!("{why}, and was ended"));
        };
        let [stdout, stderr] = [readers.0, readers.1].map(|reader| reader.join().unwrap_or_default());
        Ok(Said { status: status?, stdout, stderr })
    }

    fn held(&self) -> u64 {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum()
    }
}

/// What it may take of memory: a stream that unpacks to far more than it seems ends there. Where that cannot be said, the other
/// bounds hold.
pub(super) fn limit_memory(child: Option<Pid>) {
    let bound = Rlimit { current: Some(MEMORY_MAX), maximum: Some(MEMORY_MAX) };
    match child.map(|child| prlimit(Some(child), Resource::As, bound)) {
        // One that ended already takes nothing.
        Some(Ok(_) | Err(rustix::io::Errno::SRCH)) | None => {}
        Some(Err(error)) => tracing::warn!(%error, "the memory of git is not bounded"),
    }
}

/// For how long it, and each program that it starts from now on, may keep a processor busy.
pub(super) fn limit_processor(child: Option<Pid>, most: Duration) {
    let bound = Rlimit { current: Some(most.as_secs()), maximum: Some(most.as_secs().saturating_add(1)) };
    match child.map(|child| prlimit(Some(child), Resource::Cpu, bound)) {
        Some(Ok(_) | Err(rustix::io::Errno::SRCH)) | None => {}
        Some(Err(error)) => tracing::warn!(%error, "the time of git is not bounded"),
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// A program whose output nobody reads waits for a reader.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = (&mut pipe).take(SAID_MAX).read_to_end(&mut said);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        said
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, seconds: u64, bytes: u64) -> (Result<Said, String>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { time: Duration::from_secs(seconds), bytes, folder: folder.path().to_owned() };
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path());
        (bounds.run(command), folder)
    }

    #[test]
    fn what_ends_in_time_is_heard() {
        let (said, _folder) = run("echo out; echo err >&2; exit 3", 60, 1 << 20);
        let said = said.unwrap();
        assert_eq!(
            (said.status.code(), said.stdout.as_slice(), said.stderr.as_slice()),
            (Some(3), b"out\n".as_slice(), b"err\n".as_slice())
        );
    }

    // Its children hold its outputs open: were they left, the end of them would be waited for.
    #[test]
    fn what_hangs_is_ended_with_all_that_it_started() {
        let began = Instant::now();
        let error = run("sleep 600 & sleep 600", 1, 1 << 20).0.err().unwrap();
        assert!(error.contains("longer than 1 seconds"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn what_fills_the_disk_is_ended() {
        let began = Instant::now();
        let (said, folder) = run("head -c 8000000 /dev/zero > pack; sleep 600", 500, 4 << 20);
        assert!(said.err().unwrap().contains("more than 4 MiB"));
        assert!(began.elapsed() < Duration::from_secs(300) && folder.path().join("pack").exists());
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old"), vec![0; 2 << 20]).unwrap();
        let bounds = Bounds { time: Duration::from_secs(60), bytes: 1 << 20, folder: folder.path().to_owned() };
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.3"]);
        assert!(bounds.run(command).is_ok_and(|said| said.status.success()));
    }
    #[test]
    fn what_keeps_a_processor_busy_is_ended() {
        let mut command = Command::new("sh");
        let child = command.args(["-c", "sleep 0.2; sh -c 'while :; do :; done'"]).spawn();
        let mut child = child.unwrap();
        limit_processor(pid(&child), Duration::from_secs(1));
        assert!(!child.wait().unwrap().success());
    }
}
