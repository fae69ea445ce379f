//! Git over SSH, by OpenSSH's own client: a known host or none, the key that was named or none, nothing asked of a terminal,
//! nothing of anybody's configuration or agent.

use super::job::{Job, Way};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most of what `ssh` says that is read, bytes.
const SAID_BYTES_MAX: u64 = 4_096;

/// A running client.
pub(super) struct Ssh {
    job: Arc<Job>,
    child: Arc<Mutex<Child>>,
    /// Taken away when it ends.
    input: Option<ChildStdin>,
    output: ChildStdout,
    said: Receiver<String>,
    /// Dropped when it ends: whoever watches the clock then stops.
    _done: Sender<()>,
}

impl Ssh {
    /// Starts it; the other side runs `git-upload-pack`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(job: &Arc<Job>) -> std::io::Result<Self> {
        let mut command = command(job)?;
        let mut child = command.spawn().map_err(|error| job.fail(format!("ssh cannot be started: {error}")))?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(job.fail("ssh has no pipes"));
        };
        let (tell, said) = sync_channel(1);
        spawn(job, "formwork-ssh-said", move || {
            let mut text = Vec::new();
            let mut errors = errors;
            let _ = (&mut errors).take(SAID_BYTES_MAX).read_to_end(&mut text);
            // The rest is read and dropped, so that it never waits for a reader.
            let _ = std::io::copy(&mut errors, &mut std::io::sink());
            let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
        })?;
        let child = Arc::new(Mutex::new(child));
        let (done, ended) = channel::<()>();
        let (watched, clock) = (Arc::clone(&child), Arc::clone(job));
        spawn(job, "formwork-ssh-clock", move || {
            let left = clock.left().unwrap_or(Duration::ZERO);
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                let _ = clock.fail_late();
                let _ = watched.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        })?;
        Ok(Self { job: Arc::clone(job), child, input: Some(input), output, said, _done: done })
    }

    /// What it says went wrong, once it has ended.
    fn why(&self, otherwise: &str) -> std::io::Error {
        let said = self.said.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
        self.job.fail(explain(&said).unwrap_or_else(|| otherwise.to_owned()))
    }
}

fn spawn(job: &Arc<Job>, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| job.fail(format!("no thread for ssh: {error}")))
}

fn command(job: &Arc<Job>) -> std::io::Result<Command> {
    let Way::Ssh { user, host, port, path, key_file, known_hosts_file } = &job.way else {
        return Err(job.fail("this is no SSH"));
    };
    let mut command = Command::new("ssh");
    // Nothing of the environment but what finds the program, no configuration, no agent, no other key, no password, no question.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
    command.args(["-T", "-F", "/dev/null"]);
    for option in [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey,none",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "ConnectTimeout=15",
        "ServerAliveInterval=15",
        "LogLevel=ERROR",
    ] {
        command.args(["-o", option]);
    }
    command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", known_hosts_file.display()));
    let key = key_file.as_ref().map_or_else(|| "none".to_owned(), |file| format!("\"{}\"", file.display()));
    command.arg("-o").arg(format!("IdentityFile={key}"));
    if let Some(port) = port {
        command.args(["-p", &port.to_string()]);
    }
    // A path has no quote in it: `Location::parse` sees to that.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    command.args(["-l", user, "--", host]).arg(format!("git-upload-pack '{path}'"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// What OpenSSH and Git say, in words that say what to do. Pure.
fn explain(said: &str) -> Option<String> {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let has = |words: &str| said.contains(words);
    Some(if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        "the host's key is not the one in known_hosts: either it has a new key, or somebody stands between; nothing was fetched".to_owned()
    } else if has("Host key verification failed") || has("No matching host key") || has("host key is known for") {
        "the host is not in known_hosts: get its keys by ssh-keyscan, compare them with what its owner says, and add them".to_owned()
    } else if has("Permission denied") {
        "it does not take the key; add its public half to the repository (reading is enough)".to_owned()
    } else if has("does not appear to be a git repository") || has("epository not found") {
        "there is no such repository, or not for this key".to_owned()
    } else {
        format!("ssh says: {last}")
    })
}

impl Read for Ssh {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = match self.output.read(buffer) {
            Ok(0) if !buffer.is_empty() => return Err(self.why("the connection ended in the middle")),
            Ok(count) => count,
            Err(error) => return Err(self.why(&format!("the connection broke: {error}"))),
        };
        self.job.came(count)?;
        Ok(count)
    }
}

impl Write for Ssh {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.input.as_mut().map(|input| input.write(bytes));
        match written {
            Some(Ok(count)) => Ok(count),
            _ => Err(self.why("the connection ended in the middle")),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.input.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        drop(self.input.take());
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn what_ssh_says_is_said_with_what_to_do() {
        for (said, expected) in [
            ("", None),
            (
                "No ED25519 host key is known for x and you have requested strict checking.\r\nHost key verification failed.\r\n",
                Some("ssh-keyscan"),
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Some("somebody stands between"),
            ),
            ("git@x: Permission denied (publickey).\r\n", Some("does not take the key")),
            ("fatal: '/x' does not appear to be a git repository\n", Some("no such repository")),
            (
                "ssh: connect to host x port 22: Connection refused\r\n",
                Some("ssh says: ssh: connect to host x port 22: Connection refused"),
            ),
        ] {
            let found = explain(said);
            match expected {
                None => assert_eq!(found, None),
                Some(part) => assert!(found.as_deref().is_some_and(|text| text.contains(part)), "{said}: {found:?}"),
            }
        }
    }
}
