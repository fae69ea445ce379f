//! `git http-backend` as a child: git's own code speaks the protocol, we bound it.
//!
//! The child's environment is made from nothing: the client decides the protocol's version and encoding, out of a few known
//! words, and nothing else. Bodies are streamed; bytes, time and the number of children are bounded; when the client goes away
//! the child and all that it started are ended, first so that git can clean up after itself, then in any case.

use super::feed::{Body, feed};
use crate::git::bounded::{limit_memory, limit_processor};
use crate::identity::user::ADMINISTRATOR;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Where programs are looked for, and all that the child finds.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// So many clone or fetch at once.
const READERS: usize = 16;
/// So many push at once.
const WRITERS: usize = 8;
/// So many of either are one user's, so that others come in too; the administrator's own are not counted.
const READERS_EACH: usize = 8;
const WRITERS_EACH: usize = 4;
/// For so long one more waits for a place.
const PLACE_WAIT: Duration = Duration::from_secs(15);
/// One question takes no longer than this.
const RUN_MAX: Duration = Duration::from_secs(600);
/// So long one of its programs may keep a processor busy: what it is sent may unpack to a thousand times its size.
const PROCESSOR_MAX: Duration = Duration::from_secs(180);
/// After its input was closed, a child has so long to end by itself.
const CLOSE_GRACE: Duration = Duration::from_secs(3);
/// After it was asked to end, it has so long to clean up.
const END_GRACE: Duration = Duration::from_secs(5);
/// The head of an answer, bytes.
const HEAD_MAX: u64 = 16 * 1024;
/// Its complaints are waited for so long after its end.
const COMPLAINT_WAIT: Duration = Duration::from_secs(2);
/// What is kept of its complaints, bytes.
const COMPLAINT_MAX: u64 = 4 * 1024;

/// Parts of what git says of a question that it does not understand, in lower case.
const NOT_UNDERSTOOD: [&str; 9] = [
    "protocol error",
    "hung up unexpectedly",
    "invalid shallow line",
    "invalid deepen",
    "invalid command",
    "unknown capability",
    "no command requested",
    "unexpected line",
    "expected flush",
];

/// Why git did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It is not installed.
    #[error(
        "git is not installed: no git-http-backend was found by {PATH}; install git (Debian: apt install git) or serve without --hosted"
    )]
    NoGit,
    /// There are too many questions.
    #[error("too many clones and pushes at once; ask again in a moment")]
    Busy,
    /// It could not be started, or gave no answer.
    #[error("git gave no answer: {0}")]
    Failed(String),
    /// What came is no push, and no question either.
    #[error("what was sent is not what git sends: it ended without an answer")]
    NotGit,
    /// What came did not come to its end.
    #[error("what was sent did not come to its end: {0}")]
    CutOff(&'static str),
    /// It ended before it answered, and not for what came.
    #[error("git ended before it answered, perhaps for want of memory; the server's log says more. Push again")]
    Ended,
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// To clone or fetch.
    UploadPack,
    /// To push.
    ReceivePack,
}

impl Service {
    /// git's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }

    /// By git's name for it.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack].into_iter().find(|service| service.as_str() == name)
    }
}

/// One question, with nothing in it that a client made up.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What is wanted.
    pub service: Service,
    /// Its body comes with it; without, it asks what there is.
    pub has_body: bool,
    /// The length of the body, where it is known.
    pub length: Option<u64>,
    /// The body is compressed; git is given it unpacked.
    pub gzip: bool,
    /// The protocol's version, out of 1 and 2.
    pub version: Option<u8>,
    /// Who asks.
    pub user: String,
    /// From where.
    pub peer: IpAddr,
    /// What the hooks of this push show to be believed. It is in the environment of git and its hooks and nowhere else.
    pub capability: Option<String>,
    /// The longest body, bytes, also when it is unpacked.
    pub body_max: u64,
}

/// What git answers.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body. Dropping it before its end ends git.
    pub body: AnswerBody,
}

/// A place to ask from, given back when this is dropped.
struct Place {
    _own: Option<OwnedSemaphorePermit>,
    _shared: OwnedSemaphorePermit,
}

/// Runs git for one folder of repositories.
#[derive(Debug)]
pub struct Backend {
    program: PathBuf,
    root: PathBuf,
    hooks: Option<PathBuf>,
    readers: Arc<Semaphore>,
    writers: Arc<Semaphore>,
    /// The places of each user who has one now.
    each: Mutex<HashMap<(String, Service), Weak<Semaphore>>>,
}

impl Backend {
    /// Finds git.
    ///
    /// # Errors
    /// [`BackendError::NoGit`].
    pub fn find(root: &Path) -> Result<Self, BackendError> {
        let git = PATH.split(':').map(|folder| Path::new(folder).join("git")).find(|path| path.is_file());
        let said = git.and_then(|git| std::process::Command::new(git).arg("--exec-path").env_clear().output().ok());
        let folder = said.map(|said| PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()));
        let program = folder.map(|folder| folder.join("git-http-backend")).filter(|path| path.is_file());
        Ok(Self {
            program: program.ok_or(BackendError::NoGit)?,
            root: root.to_owned(),
            hooks: None,
            readers: Arc::new(Semaphore::new(READERS)),
            writers: Arc::new(Semaphore::new(WRITERS)),
            each: Mutex::default(),
        })
    }

    /// git looks for hooks in this folder, whatever the repository's configuration says by then.
    #[must_use]
    pub fn with_hooks(mut self, folder: PathBuf) -> Self {
        self.hooks = Some(folder);
        self
    }

    /// Asks git about a repository in the folder.
    ///
    /// # Errors
    /// [`BackendError`].
    pub async fn ask<S, E>(&self, repository: &str, ask: Ask, body: S) -> Result<Answer, BackendError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
        E: Send + 'static,
    {
        let place = tokio::time::timeout(PLACE_WAIT, self.place(&ask)).await;
        let Ok(Some(place)) = place else { return Err(BackendError::Busy) };
        let failed = |what: &str| BackendError::Failed(what.to_owned());
        let mut child =
            self.command(repository, &ask).spawn().map_err(|error| BackendError::Failed(error.to_string()))?;
        limit_memory(pid(&child));
        limit_processor(pid(&child), PROCESSOR_MAX);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (tell_complaint, complaint) = oneshot::channel();
        if let Some(mut stderr) = child.stderr.take().map(|stderr| stderr.take(COMPLAINT_MAX)) {
            tokio::spawn(async move {
                let mut complaint = Vec::new();
                let _ = stderr.read_to_end(&mut complaint).await;
                if !complaint.is_empty() {
                    tracing::debug!(said = %String::from_utf8_lossy(&complaint).trim(), "git http-backend");
                }
                let _ = tell_complaint.send(String::from_utf8_lossy(&complaint).into_owned());
                // A child whose complaints nobody reads waits for a reader.
                let _ = tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await;
            });
        }
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let (tell_end, ended) = oneshot::channel();
        tokio::spawn(end_when_told(child, stop.clone(), place, tell_end));
        let (tell_cut, cut) = oneshot::channel();
        if let Some(stdin) = stdin {
            let user = ask.user.clone();
            let given = Body { most: ask.body_max, gzip: ask.gzip };
            tokio::spawn(async move {
                let fed = tokio::time::timeout(RUN_MAX, feed(stdin, body, given, &stop)).await;
                let Err(why) = fed.unwrap_or(Err("it took too long")) else { return };
                tracing::warn!(user, why, "a clone or push was cut off");
                // Whoever waits for git's end knows then why it was ended.
                let _ = tell_cut.send(why);
                stop.cancel();
            });
        }
        let mut stdout = BufReader::new(stdout.ok_or_else(|| failed("its output is not there"))?);
        let begun = head(&mut stdout).await;
        let mut cut = cut;
        let Some((status, headers)) = begun else {
            let was_cut = cut.try_recv().ok().map(BackendError::CutOff);
            return Err(was_cut.unwrap_or_else(|| failed("it ended, or its answer has no head")));
        };
        let pieces = Some(ReaderStream::new(stdout));
        let mut body = AnswerBody { first: None, pieces, guard: Some(guard), cut: Some(cut) };
        // git ends without a word where it was sent something else; that it was asked for nothing is no fault.
        if ask.has_body && !body.begins().await {
            let ended = ended.await.ok().flatten();
            match body.cut.as_mut().map(oneshot::Receiver::try_recv) {
                Some(Ok(why)) => return Err(BackendError::CutOff(why)),
                // All of it was taken: nothing is to be waited for any more.
                Some(Err(oneshot::error::TryRecvError::Closed)) => body.cut = None,
                Some(Err(oneshot::error::TryRecvError::Empty)) | None => {}
            }
            if let Some(status) = ended.filter(|status| !status.success()) {
                let complaint = tokio::time::timeout(COMPLAINT_WAIT, complaint).await;
                let complaint = complaint.ok().and_then(Result::ok).unwrap_or_default();
                let (why, what) = (why_silent(status, &complaint), ask.service.as_str());
                tracing::warn!(user = ask.user, what, %status, said = complaint.trim(), %why, "there was no answer from git");
                return Err(why);
            }
        }
        Ok(Answer { status, headers, body })
    }

    /// A place among one user's, then one among all.
    async fn place(&self, ask: &Ask) -> Option<Place> {
        let (all, each) = match ask.service {
            Service::UploadPack => (&self.readers, READERS_EACH),
            Service::ReceivePack => (&self.writers, WRITERS_EACH),
        };
        let own = match ask.user.as_str() {
            ADMINISTRATOR => None,
            user => {
                let places = {
                    let mut held = self.each.lock().unwrap_or_else(PoisonError::into_inner);
                    held.retain(|_, places| places.strong_count() > 0);
                    let key = (user.to_owned(), ask.service);
                    let places = held.get(&key).and_then(Weak::upgrade);
                    let places = places.unwrap_or_else(|| Arc::new(Semaphore::new(each)));
                    held.insert(key, Arc::downgrade(&places));
                    places
                };
                Some(places.acquire_owned().await.ok()?)
            }
        };
        Some(Place { _own: own, _shared: Arc::clone(all).acquire_owned().await.ok()? })
    }

    fn command(&self, repository: &str, ask: &Ask) -> Command {
        let mut command = Command::new(&self.program);
        let service = ask.service.as_str();
        let (method, way) = if ask.has_body { ("POST", service) } else { ("GET", "info/refs") };
        command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GATEWAY_INTERFACE", "CGI/1.1")
            .env("SERVER_PROTOCOL", "HTTP/1.1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", format!("/{repository}/{way}"))
            .env("QUERY_STRING", if ask.has_body { String::new() } else { format!("service={service}") })
            .env("REMOTE_USER", &ask.user)
            .env("REMOTE_ADDR", ask.peer.to_string());
        if ask.has_body {
            command.env("CONTENT_TYPE", format!("application/x-{service}-request"));
        }
        if let Some(length) = ask.length.filter(|_| !ask.gzip) {
            command.env("CONTENT_LENGTH", length.to_string());
        }
        if let Some(version) = ask.version {
            command.env("GIT_PROTOCOL", format!("version={version}"));
        }
        if let Some(folder) = &self.hooks {
            command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "core.hooksPath");
            command.env("GIT_CONFIG_VALUE_0", folder);
        }
        if let Some(capability) = &ask.capability {
            command.env(super::hooks::CAPABILITY, capability);
        }
        command.current_dir(&self.root).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Why git ended badly without a word to the client: it says what it does not understand, and nothing where it was ended.
fn why_silent(status: ExitStatus, complaint: &str) -> BackendError {
    let complains = complaint.to_ascii_lowercase();
    let not_understood = NOT_UNDERSTOOD.iter().any(|words| complains.contains(words));
    // What is left of a long body finds nobody who reads it: git's server ends by that after git has said what is wrong.
    let signal = status.signal().filter(|signal| *signal != Signal::PIPE.as_raw());
    let by_force = signal.is_some() || complaint.contains("died of signal");
    if not_understood && !by_force { BackendError::NotGit } else { BackendError::Ended }
}

/// Waits for its end; ends it when told to, or when its time is over. The place is given back after that.
async fn end_when_told(
    mut child: Child,
    stop: CancellationToken,
    place: Place,
    tell: oneshot::Sender<Option<ExitStatus>>,
) {
    let mut ended = None;
    tokio::select! {
        status = child.wait() => ended = status.ok(),
        () = stop.cancelled() => end(&mut child).await,
        () = tokio::time::sleep(RUN_MAX) => {
            tracing::warn!("a clone or push took too long and was ended");
            end(&mut child).await;
        }
    }
    drop(place);
    let _ = tell.send(ended);
}

/// Its input is closed by now: git takes its half-received objects away in order and ends. Told by a signal, its programs would do
/// so at the same moment, and get in each other's way.
async fn end(child: &mut Child) {
    if tokio::time::timeout(CLOSE_GRACE, child.wait()).await.is_ok() {
        return;
    }
    let Some(group) = pid(child) else { return };
    let _ = kill_process_group(group, Signal::TERM);
    if tokio::time::timeout(END_GRACE, child.wait()).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait().await;
    }
}

/// The head of a CGI answer: status and headers.
async fn head(stdout: &mut BufReader<ChildStdout>) -> Option<(u16, Vec<(String, String)>)> {
    let (mut status, mut headers, mut left) = (200, Vec::new(), HEAD_MAX);
    loop {
        let mut line = Vec::new();
        (&mut *stdout).take(left).read_until(b'\n', &mut line).await.ok()?;
        left = left.saturating_sub(line.len() as u64);
        let line = String::from_utf8(line).ok()?;
        let line = line.strip_suffix('\n')?;
        let line = line.trim_end_matches('\r');
        if line.is_empty() {
            return Some((status, headers));
        }
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("status") {
            status = value.trim().split(' ').next()?.parse().ok()?;
        } else {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// The body of git's answer, as it comes.
pub struct AnswerBody {
    /// What was looked at already.
    first: Option<Bytes>,
    /// None when it is over.
    pieces: Option<ReaderStream<BufReader<ChildStdout>>>,
    guard: Option<DropGuard>,
    /// Why the question was not taken to its end, once that is known. An answer that only stopped would be taken for a whole one,
    /// and its client would wait for the rest.
    cut: Option<oneshot::Receiver<&'static str>>,
}

impl AnswerBody {
    /// Waits for the first piece: whether there is one.
    async fn begins(&mut self) -> bool {
        let Some(pieces) = &mut self.pieces else { return false };
        self.first = pieces.next().await.and_then(Result::ok);
        self.first.is_some()
    }

    /// After git said all it had to say: the answer ends when the question does.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>> {
        let Some(cut) = &mut self.cut else { return Poll::Ready(None) };
        let Poll::Ready(cut) = cut.poll_unpin(context) else { return Poll::Pending };
        self.cut = None;
        Poll::Ready(cut.ok().map(|why| Err(std::io::Error::other(why))))
    }
}

impl Stream for AnswerBody {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(pieces) = &mut self.pieces else { return self.poll_end(context) };
        let piece = pieces.poll_next_unpin(context);
        // It said all it had to say: it ends by itself.
        if matches!(piece, Poll::Ready(None)) {
            self.pieces = None;
            if let Some(guard) = self.guard.take() {
                drop(guard.disarm());
            }
            return self.poll_end(context);
        }
        piece
    }
}

impl Drop for AnswerBody {
    /// What git still says is read and thrown away while it ends: a program that writes to nobody dies where it stands, and takes
    /// nothing away.
    fn drop(&mut self) {
        if let (Some(mut pieces), Ok(runtime)) = (self.pieces.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { while let Some(Ok(_)) = pieces.next().await {} });
        }
    }
}

#[cfg(test)]
mod tests;
