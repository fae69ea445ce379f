//! Runs the steps of one job: scripts in process groups of their own, files whole or not at all.

use super::active::ActiveJob;
use super::environment::{Around, params_document, variables};
use super::exit_codes::{Verdict, judge};
use super::layout::{Layout, private_dir, write_atomically};
use super::processes::{Mark, ProcessRecord, end_family, record};
use super::running::Running;
use crate::wire::{JobOutcome, StepAction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::BTreeMap;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// From `SIGTERM` to `SIGKILL`.
const GRACE: Duration = Duration::from_secs(3);
/// How long output is read on after a script ended, while a process it left behind keeps the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// How a job ended, as far as its steps know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The outcome.
    pub outcome: JobOutcome,
    /// The last script's exit code.
    pub exit_code: Option<i32>,
    /// What went wrong.
    pub message: Option<String>,
}

impl Ended {
    fn done(exit_code: Option<i32>) -> Self {
        Self { outcome: JobOutcome::Done, exit_code, message: None }
    }

    fn with(outcome: JobOutcome, exit_code: Option<i32>, message: impl Into<String>) -> Self {
        Self { outcome, exit_code, message: Some(message.into()) }
    }
}

/// Why a script was ended by the agent.
enum Cut {
    TimedOut,
    Abandoned(String),
}

/// Runs every step, and leaves nothing of the job's working folder behind.
pub fn execute(layout: &Layout, boot_id: &str, boot_environment: &str, job: &ActiveJob) -> Ended {
    let dir = layout.job_dir(&job.grant.job);
    let ended = run_steps(layout, boot_id, boot_environment, job, &dir)
        .unwrap_or_else(|error| Ended::with(JobOutcome::Failed, None, format!("the agent could not run it: {error}")));
    for left in ["work", "steps"] {
        let _ = std::fs::remove_dir_all(dir.join(left)); // the boot's end takes what cannot be removed now
    }
    let _ = std::fs::remove_file(dir.join("params.json"));
    if let Some(message) = &ended.message {
        job.log.note(message);
    }
    ended
}

fn run_steps(layout: &Layout, boot_id: &str, boot_environment: &str, job: &ActiveJob, dir: &Path) -> io::Result<Ended> {
    let grant = &job.grant;
    let deadline = Instant::now() + Duration::from_secs(grant.timeout_seconds.max(1));
    let (work, steps) = (dir.join("work"), dir.join("steps"));
    for folder in [&work, &steps] {
        let _ = std::fs::remove_dir_all(folder);
        private_dir(folder)?;
    }
    let params_file = dir.join("params.json");
    let document = serde_json::to_vec_pretty(&params_document(grant)).map_err(io::Error::other)?;
    write_atomically(&params_file, &document, 0o600)?;
    let path = std::env::var("PATH").ok();
    let environment = variables(
        grant,
        Around {
            bin_dir: &layout.bin_dir(),
            params_file: &params_file,
            socket: &layout.socket(),
            capability: &job.capability,
            boot_environment,
            path: path.as_deref(),
        },
    );
    let last_script = grant.steps.iter().rposition(|step| matches!(step.action, StepAction::Script { .. }));
    let mark = Mark::new(&grant.job, &layout.socket());
    let mut exit_code = None;
    for (index, step) in grant.steps.iter().enumerate() {
        if let Some(reason) = job.abandoned() {
            return Ok(Ended::with(JobOutcome::Abandoned, exit_code, reason));
        }
        if Instant::now() >= deadline {
            return Ok(timed_out(&step.name, grant.timeout_seconds));
        }
        job.log.note(&format!("step {} of {}: {}", index + 1, grant.steps.len(), step.name));
        match &step.action {
            StepAction::File { to, content, mode } => {
                if let Err(reason) = write_file(to, content, mode) {
                    let message = format!("step {}: {to}: {reason}", step.name);
                    return Ok(Ended::with(JobOutcome::Failed, exit_code, message));
                }
            }
            StepAction::Script { text } => {
                let file = steps.join(index.to_string());
                write_atomically(&file, text.as_bytes(), 0o700)?;
                let script = Script { text, file, work: &work, environment: &environment, mark: &mark };
                let note = |leader| {
                    let (boot_id, job) = (boot_id.to_owned(), grant.job.clone());
                    Running { boot_id, job, leader: Some(leader), end: None }.save(layout)
                };
                let status = match run_script(script, job, deadline, &note) {
                    Ok(Ok(status)) => status,
                    Ok(Err(Cut::TimedOut)) => return Ok(timed_out(&step.name, grant.timeout_seconds)),
                    Ok(Err(Cut::Abandoned(reason))) => return Ok(Ended::with(JobOutcome::Abandoned, None, reason)),
                    Err(error) => {
                        let message = format!("step {} could not be started: {error}", step.name);
                        return Ok(Ended::with(JobOutcome::Failed, None, message));
                    }
                };
                exit_code = status.code().or(status.signal().map(|signal| 128 + signal));
                match judge(grant.exit_codes, status.code(), Some(index) == last_script) {
                    Verdict::Next => {}
                    Verdict::Done(requests) => {
                        requests.into_iter().for_each(|request| job.request(request));
                        return Ok(Ended::done(exit_code));
                    }
                    Verdict::Failed => {
                        let how = match (status.code(), status.signal()) {
                            (Some(code), _) => format!("exit code {code}"),
                            (None, Some(signal)) => format!("ended by signal {signal}"),
                            (None, None) => "ended".to_owned(),
                        };
                        return Ok(Ended::with(JobOutcome::Failed, exit_code, format!("step {}: {how}", step.name)));
                    }
                }
            }
        }
    }
    Ok(Ended::done(exit_code))
}

fn timed_out(step: &str, seconds: u64) -> Ended {
    Ended::with(JobOutcome::TimedOut, None, format!("step {step}: the job was ended after its {seconds} seconds"))
}

fn write_file(to: &str, content: &str, mode: &str) -> Result<(), String> {
    let path = Path::new(to);
    if !path.is_absolute() {
        return Err("the path is not absolute".into());
    }
    let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or("the mode is not octal")?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    }
    write_atomically(path, content.as_bytes(), mode).map_err(|error| error.to_string())
}

/// The program and its one argument that a script's first line names (execve(2), "Interpreter scripts"); `/bin/sh` without one.
/// The agent reads it itself, so that scripts also run from filesystems mounted `noexec`.
fn interpreter(text: &str) -> (String, Option<String>) {
    let line = text.lines().next().unwrap_or_default();
    let Some(rest) = line.strip_prefix("#!").map(str::trim).filter(|rest| !rest.is_empty()) else {
        return ("/bin/sh".to_owned(), None);
    };
    match rest.split_once([' ', '\t']) {
        Some((program, argument)) => (program.to_owned(), Some(argument.trim().to_owned())),
        None => (rest.to_owned(), None),
    }
}

/// One script, and what it runs in.
struct Script<'a> {
    text: &'a str,
    file: PathBuf,
    work: &'a Path,
    environment: &'a BTreeMap<String, String>,
    mark: &'a Mark,
}

fn run_script(
    script: Script<'_>,
    job: &ActiveJob,
    deadline: Instant,
    note: &dyn Fn(ProcessRecord) -> io::Result<()>,
) -> io::Result<Result<ExitStatus, Cut>> {
    let (program, argument) = interpreter(script.text);
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(&program);
    command
        .args(argument)
        .arg(&script.file)
        .env_clear()
        .envs(script.environment)
        .current_dir(script.work)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    drop(command); // it holds the pipe's writing end
    let leader = i32::try_from(child.id()).ok().and_then(record);
    if let Some(leader) = leader {
        note(leader)?;
    }
    let cut = follow(&child, reader, job, deadline);
    // The leader is not reaped yet, so its group's number is still its own.
    let left = match &cut {
        Ok(None) => {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(pid, Signal::KILL); // what a script leaves in its group ends with it
            }
            0
        }
        Ok(Some(_)) | Err(_) => end_family(leader, script.mark, GRACE),
    };
    if left > 0 {
        job.log.note(&format!("{left} processes cannot be ended: they wait in the kernel"));
    }
    let cut = cut?;
    let status = if left == 0 { child.wait()? } else { child.try_wait()?.unwrap_or_default() };
    Ok(match cut {
        None => Ok(status),
        Some(why) => Err(why),
    })
}

/// Copies output to the log until the script ends by itself (`None`) or has to be ended.
fn follow(child: &Child, mut reader: PipeReader, job: &ActiveJob, deadline: Instant) -> io::Result<Option<Cut>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process"))?;
    let exit = pidfd_open(pid, PidfdFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    let (mut open, mut exited) = (true, false);
    let mut exited_at: Option<Instant> = None;
    while open || !exited {
        let mut watched = Vec::with_capacity(2);
        if open {
            watched.push(PollFd::new(&reader, PollFlags::IN));
        }
        if !exited {
            watched.push(PollFd::new(&exit, PollFlags::IN));
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        match poll(&mut watched, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = open && watched.first().is_some_and(|fd| !fd.revents().is_empty());
        exited = exited || watched.last().is_some_and(|fd| !fd.revents().is_empty() && (!open || watched.len() == 2));
        drop(watched);
        if readable {
            match reader.read(&mut buffer) {
                Ok(0) => open = false,
                Ok(size) => job.log.append(buffer.get(..size).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
        }
        if exited {
            let since = exited_at.get_or_insert_with(Instant::now).elapsed();
            if (!readable && since >= LAST_WORDS) || since >= LAST_WORDS * 10 {
                break;
            }
        }
        if !exited {
            if let Some(reason) = job.abandoned() {
                return Ok(Some(Cut::Abandoned(reason)));
            }
            if Instant::now() >= deadline {
                return Ok(Some(Cut::TimedOut));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_first_line_names_its_interpreter() {
        let table = [
            ("echo hi", "/bin/sh", None),
            ("#!/bin/bash\necho", "/bin/bash", None),
            ("#! /bin/sh -eu \necho", "/bin/sh", Some("-eu")),
            ("#!/usr/bin/env python3 -u\n", "/usr/bin/env", Some("python3 -u")),
            ("#!\n", "/bin/sh", None),
            ("", "/bin/sh", None),
        ];
        for (text, program, argument) in table {
            assert_eq!(interpreter(text), (program.to_owned(), argument.map(str::to_owned)), "{text:?}");
        }
    }

    #[test]
    fn a_file_step_wants_an_absolute_path_and_an_octal_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/file");
        assert!(write_file("relative", "", "0644").is_err());
        assert!(write_file(path.to_str().unwrap(), "", "rw").is_err());
        assert!(write_file(path.to_str().unwrap(), "", "17777").is_err());
        write_file(path.to_str().unwrap(), "text", "0640").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
    }
}
