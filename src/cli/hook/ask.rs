//! One run of a hook: what git says of the push goes to the server, its answer to the pusher's terminal.

use super::draw;
use crate::api::push::{Answer, Hook, Question};
use crate::cli::client::Client;
use crate::cli::context;
use crate::cli::error::CliError;
use crate::git::receive::{Update, WhenAway};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The variables of git and of the server that a hook reads.
const CAPABILITY: &str = "FORMWORK_PUSH";
/// A push that moves more than this is refused by the server anyway.
const INPUT_MAX: u64 = 1024 * 1024;
/// The longest answer, bytes.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;
/// A revision is judged within this; the server itself gives up a little sooner, and says so.
const ANSWER_TIME: Duration = Duration::from_secs(120);
/// After so long without an answer whoever pushes is told that it is waited for.
const SILENCE: Duration = Duration::from_secs(5);
/// A socket waits no shorter.
const MOMENT: Duration = Duration::from_millis(1);
/// More push options are refused; git takes any number.
const OPTIONS_MAX: usize = 1_000;

/// What to do about a socket that is not this user's to open.
const OTHER_USER: &str = "the server runs as another user than who pushes: have the hooks ask its API, by a user's token \
                          (formwork hook install REPOSITORY --context FILE)";

/// How a hook was started.
pub(super) struct Hooked {
    pub post: bool,
    pub socket: Option<PathBuf>,
    pub context: Option<PathBuf>,
    pub when_away: WhenAway,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Unanswered {
    /// There is nobody to ask.
    Away(String),
    /// Somebody is, or the question cannot be asked: whether the push is good is not known, and no word of `--when-away` is
    /// about that. Whoever pushes can bring much of it about.
    Failed(String),
}

/// Asks, prints, and ends so that git does what was answered.
///
/// # Errors
/// The push is refused; what there was to say is printed already.
pub(super) fn run(hooked: &Hooked) -> Result<(), CliError> {
    let answer = question(hooked).map_err(Unanswered::Failed).and_then(|question| ask(hooked, &question));
    let (text, taken) = match answer {
        Ok(answer) => draw::answer(&answer),
        Err(Unanswered::Away(why) | Unanswered::Failed(why)) if hooked.post => (draw::not_told(&why), true),
        Err(Unanswered::Away(why)) => (draw::away(&why, hooked.when_away), hooked.when_away == WhenAway::Accept),
        Err(Unanswered::Failed(why)) => draw::answer(&Answer::unable(why, Some("nothing was changed; push again"))),
    };
    // git gives this to the pusher's terminal, line by line.
    // Where it is gone already, what was answered holds all the same.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    // After the branch moved there is nothing left to refuse.
    if taken || hooked.post { Ok(()) } else { Err(CliError::Said) }
}

fn question(hooked: &Hooked) -> Result<Question, String> {
    let updates = updates(std::io::stdin())?;
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let count = text("GIT_PUSH_OPTION_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0_usize);
    let options = options(count, |name| std::env::var_os(name))?;
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
        updates,
        options,
    })
}

/// Which references move.
fn updates(input: impl std::io::Read) -> Result<Vec<Update>, String> {
    let mut lines = Vec::new();
    input.take(INPUT_MAX + 1).read_to_end(&mut lines).map_err(|error| format!("git says nothing: {error}"))?;
    // What is cut off here would be moved unseen.
    if u64::try_from(lines.len()).unwrap_or(u64::MAX) > INPUT_MAX {
        return Err("too many references in one push".to_owned());
    }
    let lines = String::from_utf8(lines).map_err(|error| {
        let mut lines = error.as_bytes().split(|byte| *byte == b'\n');
        let line = lines.find(|line| std::str::from_utf8(line).is_err()).unwrap_or_default();
        let name = String::from_utf8_lossy(line.splitn(3, |byte| *byte == b' ').last().unwrap_or_default());
        format!("the name of the reference `{name}` is not UTF-8; push it by another one")
    })?;
    let updates: Option<Vec<Update>> = lines.lines().map(Update::from_line).collect();
    updates.ok_or_else(|| "git says something else than which references move".to_owned())
}

/// What was said with `-o`, all of it: an option that is left out is one that is not obeyed.
fn options(count: usize, variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<String>, String> {
    if count > OPTIONS_MAX {
        return Err(format!("{count} push options are too many; say each once"));
    }
    let said = |at| {
        let option = variable(&format!("GIT_PUSH_OPTION_{at}")).ok_or("git does not say what a push option is")?;
        option.into_string().map_err(|option| format!("the push option `{}` is not UTF-8", option.to_string_lossy()))
    };
    (0..count).map(said).collect()
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

fn ask(hooked: &Hooked, question: &Question) -> Result<Answer, Unanswered> {
    let failed = |error: &dyn std::fmt::Display| Unanswered::Failed(error.to_string());
    if let Some(path) = &hooked.context {
        let context = context::read(path).map_err(|error| failed(&error))?;
        let answer = Client::new(&context).and_then(|client| client.push(question));
        return answer.map_err(|error| match &error {
            CliError::Unreachable { away: true, .. } => Unanswered::Away(error.to_string()),
            _ => failed(&error),
        });
    }
    let socket = hooked.socket.as_deref().ok_or_else(|| failed(&"the hook does not say whom to ask"))?;
    let wrong = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        // A server that ended leaves its socket, and one that never ran has none.
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Unanswered::Away(wrong(error)),
        ErrorKind::PermissionDenied => Unanswered::Failed(format!("{}; {OTHER_USER}", wrong(error))),
        _ => Unanswered::Failed(wrong(error)),
    })?;
    let wrong = |error: std::io::Error| Unanswered::Failed(wrong(error));
    let mut text = serde_json::to_vec(question).map_err(|error| failed(&error))?;
    text.push(b'\n');
    stream.write_all(&text).map_err(wrong)?;
    let answer = wait(&stream, (SILENCE, ANSWER_TIME), || {
        let _ = writeln!(std::io::stderr().lock(), "{}", draw::WAITING);
    });
    let answer = answer.map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            failed(&format!("the server gave no answer within {} seconds", ANSWER_TIME.as_secs()))
        }
        _ => wrong(error),
    })?;
    if answer.is_empty() {
        return Err(failed(&"the server went away before it answered"));
    }
    serde_json::from_slice(&answer).map_err(|error| failed(&format!("its answer is not understood: {error}")))
}

/// The server's line. `silence`: after so long, once, it is said that it is waited for; after `most` it is waited for no longer.
fn wait(stream: &UnixStream, (silence, most): (Duration, Duration), say: impl FnOnce()) -> std::io::Result<Vec<u8>> {
    let mut reader = BufReader::new(stream.take(ANSWER_MAX));
    let (began, mut answer, mut say) = (Instant::now(), Vec::new(), Some(say));
    loop {
        let left = most.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let pause = if say.is_some() { silence.saturating_sub(began.elapsed()).max(MOMENT) } else { left };
        stream.set_read_timeout(Some(pause.min(left).max(MOMENT)))?;
        match reader.read_until(b'\n', &mut answer) {
            Ok(_) => return Ok(answer),
            // What came so far stays.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if let Some(say) = say.take_if(|_| began.elapsed() >= silence) {
                    say();
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Why a hook would get no answer if it asked now, and what there has to be; none: somebody listens.
pub(super) fn not_now(context: Option<&Path>, state: &Path) -> Option<String> {
    if let Some(path) = context {
        let client = context::read(path).and_then(|context| Client::new(&context));
        return match client.and_then(|client| client.status()) {
            Err(error @ CliError::Unreachable { .. }) => Some(format!("no server can be asked now: {error}")),
            Err(error @ CliError::Context { .. }) => {
                Some(format!("{error}: {}; each push will ask by this file", error.hint().unwrap_or_default()))
            }
            // Whoever answers is there, also where this token may see nothing.
            _ => None,
        };
    }
    let socket = state.join(crate::serve::HOOK_SOCKET);
    let Err(error) = UnixStream::connect(&socket) else { return None };
    let (there, state) = (state.is_dir(), state.display());
    Some(match error.kind() {
        ErrorKind::NotFound if !there => format!(
            "there is no state directory {state}, so no server was ever there: name that of the server which follows this \
             repository (--state-dir DIR), or start one with it"
        ),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("no server runs with {state}: start the one that follows this repository")
        }
        ErrorKind::PermissionDenied => format!("{} cannot be asked: {error}; {OTHER_USER}", socket.display()),
        _ => format!("{} cannot be asked: {error}", socket.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::double::Double;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    fn question() -> Question {
        Question {
            hook: Hook::PreReceive,
            repository: "/site.git".into(),
            quarantine: None,
            capability: None,
            user: None,
            updates: Vec::new(),
            options: Vec::new(),
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_waited_for_with_a_word_and_not_for_ever() {
        for (name, pieces, expected, (silent_ms, most_ms)) in [
            ("at once", &["{}\n"][..], Some("{}\n"), (5_000, 20_000)),
            ("in pieces", &["{", "", "}\n"], Some("{}\n"), (20, 20_000)),
            ("never", &["{"], None, (20, 200)),
        ] {
            let within = (Duration::from_millis(silent_ms), Duration::from_millis(most_ms));
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (done, wait_for) = std::sync::mpsc::channel::<()>();
            let server = std::thread::spawn(move || {
                for piece in pieces {
                    theirs.write_all(piece.as_bytes()).unwrap();
                    if pieces.len() > 1 {
                        std::thread::sleep(Duration::from_millis(30));
                    }
                }
                let _ = wait_for.recv();
            });
            let mut said = 0;
            let answer = wait(&ours, within, || said += 1);
            drop(done);
            server.join().unwrap();
            assert_eq!(answer.ok().map(|it| String::from_utf8(it).unwrap()).as_deref(), expected, "{name}");
            assert_eq!(said, usize::from(name != "at once"), "{name}");
        }
    }

    fn hooked(socket: Option<PathBuf>, context: Option<PathBuf>) -> Hooked {
        Hooked { post: false, socket, context, when_away: WhenAway::Accept }
    }

    #[test]
    fn a_push_of_which_a_part_would_not_be_seen_is_refused() {
        let line = |n: usize| format!("{n:040x} {:040x} refs/heads/{n}\n", n + 1);
        let text = |count: usize| (1..=count).map(line).collect::<String>();
        assert_eq!(updates(text(3).as_bytes()).map(|updates| updates.len()), Ok(3));
        let fits = usize::try_from(INPUT_MAX).unwrap() / line(99_999).len();
        assert!(updates(text(fits).as_bytes()).is_ok());
        let many = updates(text(fits + 1_000).as_bytes());
        assert!(many.is_err_and(|why| why.contains("too many references")));
        assert!(updates(b"nonsense\n".as_slice()).is_err());
        let mut line = line(1).into_bytes();
        line.truncate(line.len() - 1);
        line.extend(b"\xff\n");
        let why = updates(line.as_slice()).expect_err("refused");
        assert!(why.contains("`refs/heads/1\u{fffd}` is not UTF-8"), "{why}");
    }

    #[test]
    fn a_push_option_is_asked_about_or_refused_and_never_left_out() {
        use std::os::unix::ffi::OsStringExt as _;
        let said = |name: &str| match name {
            "GIT_PUSH_OPTION_0" => Some(OsString::from("dry-run")),
            "GIT_PUSH_OPTION_1" => Some(OsString::from_vec(b"allow-wipe=\xff".to_vec())),
            _ => None,
        };
        assert_eq!(options(0, said), Ok(Vec::new()));
        assert_eq!(options(1, said), Ok(vec!["dry-run".to_owned()]));
        assert!(options(2, said).is_err_and(|why| why.contains("allow-wipe=") && why.contains("not UTF-8")));
        assert!(options(3, |name| said(name).filter(|_| name != "GIT_PUSH_OPTION_1")).is_err());
        assert!(options(OPTIONS_MAX + 1, said).is_err_and(|why| why.contains("too many")));
    }

    #[test]
    fn a_socket_without_a_server_is_away_and_one_that_does_not_answer_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("hook.sock");
        let asked = || ask(&hooked(Some(socket.clone()), None), &question());
        assert!(matches!(asked(), Err(Unanswered::Away(_))), "it never ran");
        let listener = UnixListener::bind(&socket).unwrap();
        for said in [b"".as_slice(), b"nonsense\n", b"{\"judged\":"] {
            let listener = listener.try_clone().unwrap();
            let server = std::thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                (&stream).write_all(said).unwrap();
            });
            assert!(matches!(asked(), Err(Unanswered::Failed(_))), "{said:?}");
            server.join().unwrap();
        }
        drop(listener);
        assert!(matches!(asked(), Err(Unanswered::Away(_))), "it ended");
    }

    #[test]
    fn a_socket_of_another_user_is_told_with_the_way_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = UnixListener::bind(folder.path().join(crate::serve::HOOK_SOCKET)).unwrap();
        std::fs::set_permissions(folder.path().join(crate::serve::HOOK_SOCKET), std::fs::Permissions::from_mode(0o000))
            .unwrap();
        if rustix::process::geteuid().is_root() {
            let _ = std::io::Write::write_all(&mut std::io::stdout(), b"SKIPPED: root may open every socket\n");
            return;
        }
        let socket = folder.path().join(crate::serve::HOOK_SOCKET);
        let Err(Unanswered::Failed(why)) = ask(&hooked(Some(socket), None), &question()) else { panic!("answered") };
        let now = not_now(None, folder.path()).unwrap_or_default();
        assert!(why.contains("--context FILE") && now.contains("--context FILE"), "{why}\n{now}");
    }

    #[test]
    fn it_is_told_what_is_missing_for_a_push_to_be_judged() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let why = || not_now(None, &state).unwrap_or_default();
        assert!(why().contains("there is no state directory") && why().contains("--state-dir DIR"), "{}", why());
        std::fs::create_dir(&state).unwrap();
        assert!(why().starts_with("no server runs with"), "{}", why());
        let listener = UnixListener::bind(state.join(crate::serve::HOOK_SOCKET)).unwrap();
        assert_eq!(not_now(None, &state), None);
        drop(listener);
        assert!(why().starts_with("no server runs with"), "{}", why());
        let context = folder.path().join("nowhere.json");
        let why = not_now(Some(&context), &state).unwrap_or_default();
        assert!(why.contains("nowhere.json") && why.ends_with("each push will ask by this file"), "{why}");
    }

    #[test]
    fn an_api_that_refuses_or_breaks_off_is_not_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hook.json");
        let asked = |context: &crate::api::views::Context| {
            std::fs::write(&path, serde_json::to_vec(context).unwrap()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            ask(&hooked(None, Some(path.clone())), &question())
        };
        for status in [
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::OK,
        ] {
            let double = Double::serve(Router::new().route("/v1/push", post(move || async move { status })));
            assert!(matches!(asked(&double.context), Err(Unanswered::Failed(_))), "{status}");
        }
        let double = Double::serve(Router::new());
        // Another site's authority: whoever answers there is not our server, and does not stand for its absence.
        let other = Double::serve(Router::new());
        let mixed = crate::api::views::Context {
            ca_certificate: other.context.ca_certificate.clone(),
            ..double.context.clone()
        };
        assert!(matches!(asked(&mixed), Err(Unanswered::Failed(_))), "another authority");
        // Nobody listens there, and nobody has that name.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for server in [format!("https://{free}"), "https://nobody.invalid:8443".to_owned()] {
            let context = crate::api::views::Context { server: server.clone(), ..double.context.clone() };
            let answer = asked(&context);
            assert!(matches!(answer, Err(Unanswered::Away(_))), "{server}: {answer:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(ask(&hooked(None, Some(path.clone())), &question()), Err(Unanswered::Failed(_))));
    }
}
