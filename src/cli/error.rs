//! What can go wrong for a person at the command line, with a hint and a stable exit code each.

use super::exit_code::Ending;
use crate::wire::Problem;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for something that makes no sense (exit code 2).
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// Two revisions differ, which is an answer and no error (exit code 1).
    #[error("something differs")]
    Differs,
    /// The context file cannot be used (exit code 2).
    #[error("the context file {}: {what}", path.display())]
    Context {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never its contents.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Nobody answered (exit code 5).
    #[error("no answer from {server}: {what}")]
    Unreachable {
        /// The server's base URL.
        server: String,
        /// What happened.
        what: String,
        /// What to look at.
        hint: &'static str,
        /// There is nobody at all: the question was not even begun.
        away: bool,
    },
    /// The server answered that it cannot (status 500 and above; exit code 5).
    #[error("the server cannot do that now ({status}): {message}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
        /// Its hint.
        hint: Option<String>,
    },
    /// There is nothing of that name (exit code 3).
    #[error("{message}")]
    NotFound {
        /// What there is not.
        message: String,
        /// What there is.
        hint: Option<String>,
    },
    /// The server refused (other status of 400 and above; exit code 4).
    #[error("{message}")]
    Refused {
        /// The server's stable word for it.
        code: String,
        /// Its words.
        message: String,
        /// Its hint.
        hint: Option<String>,
    },
    /// The answer is not what this command line understands (exit code 1).
    #[error("the answer to {path} is not understood: {what}")]
    Answer {
        /// What was asked.
        path: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The time that was given is over (exit code 124).
    #[error("{0}")]
    TimedOut(String),
    /// The thing asked about is not so, or failed (exit code 1).
    #[error("{0}")]
    NotSo(String),
    /// It failed, and something can be done about it (exit code 1).
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Some of several machines were not asked; each was told of when it happened.
    #[error("{failed} of {all} were not asked")]
    Partly {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// The exit code of the first.
        exit_code: u8,
    },
    /// It is not so, and all there was to say is said (exit code 1).
    #[error("")]
    Said,
    /// Standard output cannot be written (exit code 1; a reader that went away is no error).
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// The exit code, of the table in `exit_code`.
    pub fn exit_code(&self) -> u8 {
        let ending = match self {
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ending::Done,
            Self::NotSo(_)
            | Self::Failed { .. }
            | Self::Differs
            | Self::Said
            | Self::Answer { .. }
            | Self::Output(_) => Ending::NotSo,
            Self::Usage { .. } | Self::Context { .. } => Ending::Usage,
            Self::NotFound { .. } => Ending::NotFound,
            Self::Refused { .. } => Ending::Refused,
            Self::Unreachable { .. } | Self::Server { .. } => Ending::Unreachable,
            Self::TimedOut(_) => Ending::TimedOut,
            Self::Partly { exit_code, .. } => return *exit_code,
        };
        ending.code()
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Context { hint, .. } | Self::Failed { hint, .. } => Some(hint),
            Self::Unreachable { hint, .. } => Some(hint),
            Self::Usage { hint, .. }
            | Self::Server { hint, .. }
            | Self::NotFound { hint, .. }
            | Self::Refused { hint, .. } => hint.as_deref(),
            Self::Answer { .. } => Some(
                "server and command line may be of different ages: compare `formwork --version` and `formwork status`",
            ),
            Self::Output(_) => Some("what was asked is done; see where standard output goes, and that there is room"),
            Self::TimedOut(_) | Self::NotSo(_) | Self::Differs | Self::Said | Self::Partly { .. } => None,
        }
    }

    /// Asking again, unchanged, can succeed: the way to the server is broken, not the question.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Server { .. })
    }

    /// What a refusal of the server means. `path` is what was asked.
    pub fn of_answer(status: u16, path: &str, body: &[u8]) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
            code: format!("http-{status}"),
            message: format!("{path} was answered with status {status}"),
            hint: None,
            retry: false,
        });
        let Problem { code, message, hint, .. } = problem;
        match status {
            404 => Self::NotFound { message, hint },
            401 => Self::Refused {
                code,
                message,
                hint: hint
                    .or_else(|| Some("the token in the context file is not (or no longer) valid here".to_owned())),
            },
            500.. => Self::Server { status, message, hint },
            _ => Self::Refused { code, message, hint },
        }
    }

    /// Prints it for a person on standard error, as `error: …` and `hint: …`.
    pub fn report(&self) {
        if self.exit_code() == 0 || matches!(self, Self::Differs | Self::Said) {
            return;
        }
        super::output::note(&format!("error: {self}"));
        if let Some(hint) = self.hint() {
            super::output::note(&format!("hint: {hint}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: &str, hint: Option<&str>) -> Vec<u8> {
        serde_json::to_vec(&Problem {
            code: code.to_owned(),
            message: "so it is".to_owned(),
            hint: hint.map(str::to_owned),
            retry: false,
        })
        .unwrap()
    }

    #[test]
    fn every_status_of_the_server_has_its_exit_code() {
        for (status, expected) in
            [(400, 4), (401, 4), (403, 4), (404, 3), (409, 4), (428, 4), (500, 5), (503, 5), (507, 5)]
        {
            let error = CliError::of_answer(status, "/v1/status", &problem("x", None));
            assert_eq!(error.exit_code(), expected, "status {status}");
        }
    }

    #[test]
    fn the_servers_own_hint_is_shown() {
        let error = CliError::of_answer(409, "/v1/machines/a", &problem("protected", Some("lower spec.protect")));
        assert_eq!(error.hint(), Some("lower spec.protect"));
        assert_eq!(error.to_string(), "so it is");
    }

    #[test]
    fn an_answer_that_is_no_problem_document_still_says_what_was_asked() {
        let error = CliError::of_answer(502, "/v1/status", b"<html>");
        assert_eq!(error.to_string(), "the server cannot do that now (502): /v1/status was answered with status 502");
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        assert_eq!(CliError::Output(std::io::ErrorKind::BrokenPipe.into()).exit_code(), 0);
    }
}
