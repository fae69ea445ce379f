//! `formwork reconcile [--wait]`: has the server look at its source now, and waits for what comes of it.

use super::error::CliError;
use super::output::printable;
use super::session::{Options, Session};
use super::time::parse_duration;
use crate::api::views::ContentStatus;
use clap::Args;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Between two looks at the status.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// Has the server look at its content now.
#[derive(Debug, Args)]
#[command(
    after_help = "A push on the same disk is noticed by itself; this is for sources that are only polled, and for scripts that go on
when a push has come to its end.

With --wait it ends with 0 once the newest revision serves; with 1 when that is refused (its findings are printed) or the
source cannot be read; with 4 when it is suspended or pinned and so not applied; with 124 when the time is over first.
A repository elsewhere is asked and not waited for: the answer is then about the newest commit that was fetched before.

Examples:
  formwork reconcile && formwork status
  git push && formwork reconcile --wait --timeout 2m"
)]
pub struct Arguments {
    /// Wait until the request was acted on, and say what came of it.
    #[arg(short, long)]
    wait: bool,
    /// Give up after this time (exit code 124).
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    session: Options,
}

/// The answer, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    asked: &'a str,
    /// The number of the request.
    token: u64,
    /// `applied`, `refused`, `unavailable` or `held`; none without `--wait`.
    outcome: Option<&'a str>,
    revision: Option<&'a str>,
    message: &'a str,
    findings: &'a [String],
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// What the source shows serves.
    Applied,
    /// It is refused.
    Refused,
    /// The source cannot be read.
    Unavailable,
    /// A person said that it is not applied.
    Held,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Held => "held",
        }
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let asked = session.client.reconcile()?;
    if !arguments.wait {
        let answer = Answer {
            asked: "reconcile",
            token: asked.token,
            outcome: None,
            revision: None,
            message: &asked.message,
            findings: &[],
        };
        return session.output.item(&answer, "all", || printable(&asked.message));
    }
    let until = Instant::now() + arguments.timeout;
    let (end, content) = loop {
        // A server that is away for a moment has not answered; that one is started anew answers the same request.
        let content = match session.client.status() {
            Ok(status) => status.content,
            Err(error) if error.is_passing() && Instant::now() < until => {
                std::thread::sleep(BETWEEN_LOOKS);
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(end) = ended(&content, asked.token) {
            break (end, content);
        }
        if Instant::now() >= until {
            return Err(CliError::TimedOut(format!("it has not come to an end in time: {}", content.message)));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    };
    let revision = content.last_attempted_revision.as_deref().filter(|_| end != End::Unavailable);
    let answer = Answer {
        asked: "reconcile",
        token: asked.token,
        outcome: Some(end.as_str()),
        revision,
        message: &content.message,
        findings: &content.findings,
    };
    session.output.item(&answer, revision.unwrap_or("none"), || draw(end, &content))?;
    match end {
        End::Applied => Ok(()),
        End::Refused | End::Unavailable => Err(CliError::NotSo(content.message)),
        End::Held => Err(CliError::Refused {
            code: "held".to_owned(),
            message: content.message,
            hint: Some("formwork resume lifts it".to_owned()),
        }),
    }
}

/// What the status says of the request; none while it goes on.
fn ended(content: &ContentStatus, token: u64) -> Option<End> {
    if content.observed_request < token || content.condition == "Reconciling" {
        return None;
    }
    Some(match (content.condition.as_str(), content.reason.as_str()) {
        ("Ready", _) => End::Applied,
        (_, "SourceUnavailable") => End::Unavailable,
        (_, "Suspended" | "Pinned") => End::Held,
        _ => End::Refused,
    })
}

fn draw(end: End, content: &ContentStatus) -> String {
    let mut text = String::new();
    if end != End::Unavailable {
        for finding in &content.findings {
            text.push_str(&printable(finding));
            text.push('\n');
        }
    }
    text.push_str(&printable(&content.message));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(condition: &str, reason: &str, observed: u64) -> ContentStatus {
        ContentStatus {
            condition: condition.to_owned(),
            reason: reason.to_owned(),
            observed_request: observed,
            message: "so it is".to_owned(),
            findings: vec!["site.yaml:1:1: error: x".to_owned()],
            ..ContentStatus::default()
        }
    }

    #[test]
    fn a_request_has_ended_when_it_was_acted_on_and_nothing_goes_on() {
        for (condition, reason, observed, expected) in [
            ("Ready", "Applied", 6, None),
            ("Ready", "Applied", 7, Some(End::Applied)),
            ("Ready", "Suspended", 8, Some(End::Applied)),
            ("Reconciling", "Postponed", 8, None),
            ("Reconciling", "Loading", 7, None),
            ("Stalled", "Refused", 7, Some(End::Refused)),
            ("Stalled", "Refused", 6, None),
            ("Stalled", "PinRefused", 7, Some(End::Refused)),
            ("Stalled", "SourceUnavailable", 7, Some(End::Unavailable)),
            ("Stalled", "Suspended", 7, Some(End::Held)),
            ("Stalled", "Pinned", 7, Some(End::Held)),
        ] {
            let answer = ended(&content(condition, reason, observed), 7);
            assert_eq!(answer, expected, "{condition} {reason} {observed}");
        }
    }

    #[test]
    fn findings_are_printed_before_the_sentence_that_sums_them_up() {
        assert_eq!(draw(End::Refused, &content("Stalled", "Refused", 7)), "site.yaml:1:1: error: x\nso it is");
        assert_eq!(draw(End::Unavailable, &content("Stalled", "SourceUnavailable", 7)), "so it is");
    }
}
