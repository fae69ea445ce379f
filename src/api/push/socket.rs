//! The socket in the state directory that hooks ask by. Who can open it can read the state directory.

use super::{Answer, Pusher, Question, answer};
use crate::api::App;
use crate::identity::user::Rights;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// The longest question, bytes.
const QUESTION_MAX: u64 = 256 * 1024;
/// A question is said within this.
const ASK_TIME: Duration = Duration::from_secs(10);
/// So many hooks ask at once.
const HOOKS_MAX: usize = 32;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("the hooks' socket {path} cannot be opened: {error}; the path of a socket is at most 107 bytes long")]
pub struct SocketError {
    path: PathBuf,
    error: io::Error,
}

/// Opens the socket, in place of the one that a server before left. The store's lock says that there is no other server.
///
/// # Errors
/// [`SocketError`].
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let wrong = |error| SocketError { path: path.to_owned(), error };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
    Ok(listener)
}

/// Answers hooks for as long as it is polled.
pub(in crate::api) async fn serve(listener: UnixListener, app: App) {
    let places = Arc::new(Semaphore::new(HOOKS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let app = app.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &app).await {
                        tracing::debug!(%error, "a hook went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a hook could not be heard");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, app: &App) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = Vec::new();
    let mut reading = BufReader::new(reading.take(QUESTION_MAX));
    tokio::time::timeout(ASK_TIME, reading.read_until(b'\n', &mut line)).await??;
    let said = match serde_json::from_slice::<Question>(&line) {
        Ok(question) => {
            let name = question.user.clone().unwrap_or_else(|| "somebody".to_owned());
            let local = Pusher { name: format!("{name} (by this host)"), rights: Rights::all() };
            answer(app, question, Some(local)).await
        }
        // The question could hold a capability: only the place of what is wrong is told.
        Err(error) => Answer::unable(
            format!("the hook's question is not understood (column {})", error.column()),
            Some("the hook is of another version of formwork: formwork hook install it anew"),
        ),
    };
    let mut text = serde_json::to_vec(&said).map_err(io::Error::other)?;
    text.push(b'\n');
    writing.write_all(&text).await?;
    writing.shutdown().await
}
