//! One run of a hook: what git says of the push goes to the server, its answer to the pusher's terminal.

use super::draw;
use crate::api::push::{Answer, Hook, Question};
use crate::cli::client::Client;
use crate::cli::context;
use crate::cli::error::CliError;
use crate::git::receive::{Update, WhenAway};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variables of git and of the server that a hook reads.
const CAPABILITY: &str = "FORMWORK_PUSH";
/// A push that moves more than this is refused by the server anyway.
const INPUT_MAX: u64 = 1024 * 1024;
/// The longest answer, bytes.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// A revision is judged within this.
const ANSWER_TIME: Duration = Duration::from_secs(300);
/// More push options are not read; git takes any number.
const OPTIONS_MAX: usize = 1_000;

/// How a hook was started.
pub(super) struct Hooked {
    pub post: bool,
    pub socket: Option<PathBuf>,
    pub context: Option<PathBuf>,
    pub when_away: WhenAway,
}

/// Asks, prints, and ends so that git does what was answered.
///
/// # Errors
/// The push is refused; what there was to say is printed already.
pub(super) fn run(hooked: &Hooked) -> Result<(), CliError> {
    let answer = question(hooked).and_then(|question| ask(hooked, &question));
    let (text, taken) = match answer {
        Ok(answer) => draw::answer(&answer),
        Err(why) if hooked.post => (draw::not_told(&why), true),
        Err(why) => (draw::away(&why, hooked.when_away), hooked.when_away == WhenAway::Accept),
    };
    // git gives this to the pusher's terminal, line by line.
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
    // After the branch moved there is nothing left to refuse.
    if taken || hooked.post { Ok(()) } else { Err(CliError::Said) }
}

fn question(hooked: &Hooked) -> Result<Question, String> {
    let mut lines = String::new();
    std::io::stdin()
        .take(INPUT_MAX + 1)
        .read_to_string(&mut lines)
        .map_err(|error| format!("git says nothing: {error}"))?;
    // What is cut off here would be moved unseen.
    if u64::try_from(lines.len()).unwrap_or(u64::MAX) > INPUT_MAX {
        return Err("too many references in one push".to_owned());
    }
    let updates: Option<Vec<Update>> = lines.lines().map(Update::from_line).collect();
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let count = text("GIT_PUSH_OPTION_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0_usize);
    let options = (0..count.min(OPTIONS_MAX)).filter_map(|at| std::env::var(format!("GIT_PUSH_OPTION_{at}")).ok());
    let folder = text("GIT_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let absolute = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let quarantine = text("GIT_QUARANTINE_PATH").map(PathBuf::from);
    if let Some(folder) = &quarantine {
        open_to_server(folder);
    }
    Ok(Question {
        hook: if hooked.post { Hook::PostReceive } else { Hook::PreReceive },
        repository: absolute(&folder)?,
        quarantine: quarantine.as_deref().map(absolute).transpose()?,
        capability: text(CAPABILITY),
        user: text("GL_USER").or_else(|| text("USER")).or_else(|| text("LOGNAME")),
        updates: updates.ok_or("git says something else than which references move")?,
        options: options.collect(),
    })
}

/// git keeps what is pushed in a folder for its owner alone. Where the server is another user it may look in as it may into the
/// repository's other objects; the folder is gone after the push.
fn open_to_server(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(mode) = folder.parent().and_then(|objects| std::fs::metadata(objects).ok()) else { return };
    let mode = std::fs::Permissions::from_mode(0o700 | (mode.permissions().mode() & 0o055));
    // Where that cannot be, the server says that it cannot read it.
    let _ = std::fs::set_permissions(folder, mode);
}

fn ask(hooked: &Hooked, question: &Question) -> Result<Answer, String> {
    if let Some(path) = &hooked.context {
        let context = context::read(path).map_err(|error| error.to_string())?;
        return Client::new(&context).and_then(|client| client.push(question)).map_err(|error| error.to_string());
    }
    let socket = hooked.socket.as_deref().ok_or("the hook does not say whom to ask")?;
    let away = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(away)?;
    stream.set_read_timeout(Some(ANSWER_TIME)).map_err(away)?;
    let mut text = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    text.push(b'\n');
    stream.write_all(&text).map_err(away)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer).map_err(away)?;
    if answer.is_empty() {
        return Err("the server went away before it answered".to_owned());
    }
    serde_json::from_str(&answer).map_err(|error| format!("its answer is not understood: {error}"))
}
