//! The agent's end of the socket: bounded in connections, bytes and time.

use super::LINE_LIMIT_BYTES;
use super::commands;
use super::exit;
use crate::agent::active::ActiveJob;
use crate::agent::connection::{Connection, lock};
use crate::wire::{SocketAnswer, SocketRequest};
use ring::hmac;
use ring::rand::SystemRandom;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Questions answered at once; waits are questions too.
const MOST_CONNECTIONS: usize = 64;
/// A question must have come in whole by then.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What the socket answers for: the job that runs now, if one does.
#[derive(Default)]
pub struct Desk {
    active: Mutex<Option<Arc<ActiveJob>>>,
}

impl Desk {
    /// From now on scripts of this job are answered.
    pub fn open_for(&self, job: Arc<ActiveJob>) {
        *lock(&self.active) = Some(job);
    }

    /// From now on nobody is.
    pub fn close(&self) {
        *lock(&self.active) = None;
    }

    /// The job whose capability this is. Compared in constant time.
    fn job_of(&self, capability: &str) -> Option<Arc<ActiveJob>> {
        let job = lock(&self.active).clone()?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let wanted = hmac::sign(&key, job.capability.as_bytes());
        hmac::verify(&key, capability.as_bytes(), wanted.as_ref()).ok().map(|()| job)
    }
}

/// Listens at this path, in a thread of its own.
pub fn start(path: &Path, desk: Arc<Desk>, connection: Arc<Connection>) -> io::Result<()> {
    let _ = std::fs::remove_file(path); // an agent before this one left it
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new().name("socket".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                std::thread::sleep(Duration::from_millis(100)); // out of descriptors: let some go
                continue;
            };
            let (desk, connection, open) = (Arc::clone(&desk), Arc::clone(&connection), Arc::clone(&open));
            if open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                let _ = reply(&stream, &failure("too many questions at once; ask again"));
                continue;
            }
            let counted = Arc::clone(&open);
            let spawned = std::thread::Builder::new().name("question".into()).spawn(move || {
                let _ = answer(&stream, &desk, &connection); // the asker is gone: nobody to tell
                counted.fetch_sub(1, Ordering::Relaxed);
            });
            if spawned.is_err() {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(())
}

fn failure(error: &str) -> SocketAnswer {
    SocketAnswer { output: String::new(), error: error.to_owned(), exit_code: exit::FAILED }
}

fn answer(stream: &UnixStream, desk: &Desk, connection: &Connection) -> io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_TIMEOUT))?;
    stream.set_write_timeout(Some(QUESTION_TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LINE_LIMIT_BYTES)).read_until(b'\n', &mut line)?;
    let answer = match serde_json::from_slice::<SocketRequest>(&line) {
        Err(_) => failure("this is no question to an agent"),
        Ok(request) => match desk.job_of(&request.capability) {
            None => failure("this capability is of no job that runs now"),
            Some(job) => commands::answer(connection, &job, &request.arguments, request.input),
        },
    };
    reply(stream, &answer)
}

fn reply(mut stream: &UnixStream, answer: &SocketAnswer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}
