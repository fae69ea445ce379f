//! `formwork reconcile [--wait]`: has the server look at its source now, and waits for what comes of it.

use super::error::CliError;
use super::hold::AllowSeen;
use super::output::{Format, printable};
use super::session::{Options, Session};
use super::time::parse_duration;
use crate::api::views::{ContentStatus, SourceRow};
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

With --wait it ends once every source was looked at after the request and what they show was applied or refused: with 0 when
the newest revision of all of them serves; with 1 when it, or the commit of one source, is refused (its findings are printed)
or a source cannot be read; with 4 when it is suspended or pinned and so not applied; with 124 when the time is over first.

What a guard refuses, and is meant, is let through by the words of a push, of the revision that the source shows now and of no other;
--revision says which one was judged (`formwork diff`), and nothing is allowed where it is another one by now.

Examples:
  formwork reconcile && formwork status
  formwork reconcile --wait --allow-leave 12 --revision 3f2a91c --reason 'rack 7 is sold'
  git push && formwork reconcile --wait --timeout 2m"
)]
pub struct Arguments {
    /// Wait until the request was acted on, and say what came of it.
    #[arg(short, long)]
    wait: bool,
    /// Give up after this time (exit code 124).
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, requires = "wait")]
    timeout: Duration,
    /// Why, for the journal, where something is allowed.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    allow: AllowSeen,
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
    /// The sources that are asked; empty for one on the server's own disk.
    sources: &'a [String],
    /// `applied`, `refused`, `unavailable` or `held`; none without `--wait`.
    outcome: Option<&'a str>,
    revision: Option<&'a str>,
    message: &'a str,
    findings: &'a [String],
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What the source shows serves.
    Applied,
    /// It is refused.
    Refused,
    /// The source cannot be read.
    Unavailable,
    /// A person said that it is not applied.
    Held,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Held => "held",
        }
    }
}

/// What came of it, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    kind: Kind,
    message: String,
    findings: Vec<String>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let asked = session.client.reconcile(&arguments.allow.body(&arguments.reason))?;
    if !arguments.wait {
        let answer = Answer {
            asked: "reconcile",
            token: asked.token,
            sources: &asked.sources,
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
        let status = match session.client.status() {
            Ok(status) => status,
            Err(error) if error.is_passing() && Instant::now() < until => {
                std::thread::sleep(BETWEEN_LOOKS);
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(end) = ended(&status.content, &status.sources, asked.token) {
            break (end, status.content);
        }
        if Instant::now() >= until {
            let why = unanswered(&status.content, &status.sources, asked.token);
            return Err(CliError::TimedOut(format!("it has not come to an end in time: {why}")));
        }
        std::thread::sleep(BETWEEN_LOOKS);
    };
    let revision = content.last_attempted_revision.as_deref().filter(|_| end.kind != Kind::Unavailable);
    let answer = Answer {
        asked: "reconcile",
        token: asked.token,
        sources: &asked.sources,
        outcome: Some(end.kind.as_str()),
        revision,
        message: &end.message,
        findings: &end.findings,
    };
    let drawn = draw(&end);
    if session.output.format() != Format::Table || !drawn.is_empty() {
        session.output.item(&answer, revision.unwrap_or("none"), || drawn)?;
    }
    ends(end)
}

/// How the command ends by what came of it: the table in `docs/git.md`.
fn ends(end: End) -> Result<(), CliError> {
    match end.kind {
        Kind::Applied => Ok(()),
        Kind::Refused | Kind::Unavailable => Err(CliError::NotSo(end.message)),
        Kind::Held => Err(CliError::Refused {
            code: "held".to_owned(),
            message: end.message,
            hint: Some("formwork resume lifts it".to_owned()),
        }),
    }
}

/// What the status says of the request; none while it goes on.
fn ended(content: &ContentStatus, sources: &[SourceRow], token: u64) -> Option<End> {
    if content.observed_request < token || content.condition == "Reconciling" {
        return None;
    }
    let kind = match (content.condition.as_str(), content.reason.as_str()) {
        ("Ready", _) => Kind::Applied,
        (_, "SourceUnavailable" | "InvalidSpec") => Kind::Unavailable,
        (_, "Suspended" | "Pinned") => Kind::Held,
        _ => Kind::Refused,
    };
    // The site serves what it has of a source that is away or refused by itself: what that one shows now does not serve.
    let own = sources.iter().flat_map(|source| source.findings.iter().cloned());
    let findings = match (kind, content.reason.as_str()) {
        (Kind::Unavailable, _) | (_, "SourceRefused" | "SourceUntrusted" | "SourceRewritten") => own.collect(),
        (Kind::Refused, _) => content.findings.iter().cloned().chain(own).collect(),
        (Kind::Applied | Kind::Held, _) => content.findings.clone(),
    };
    Some(End { kind, message: content.message.clone(), findings })
}

/// What is waited for still.
fn unanswered(content: &ContentStatus, sources: &[SourceRow], token: u64) -> String {
    let late = sources.iter().filter(|source| source.observed_request < token);
    let late: Vec<&str> = late.map(|source| source.name.as_str()).collect();
    match late.is_empty() {
        true => content.message.clone(),
        false => format!("not looked at since the request: {}; {}", late.join(", "), content.message),
    }
}

/// For people. Where the command ends by an error, that is what says the message.
fn draw(end: &End) -> String {
    let lines = end.findings.iter().chain((end.kind == Kind::Applied).then_some(&end.message));
    lines.map(|line| printable(line)).collect::<Vec<_>>().join("\n")
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

    fn source(name: &str, findings: &[&str]) -> SourceRow {
        SourceRow {
            name: name.to_owned(),
            findings: findings.iter().map(|&finding| finding.to_owned()).collect(),
            observed_request: 7,
            ..SourceRow::default()
        }
    }

    #[test]
    fn a_request_has_ended_when_it_was_acted_on_and_nothing_goes_on() {
        for (condition, reason, observed, expected) in [
            ("Ready", "Applied", 6, None),
            ("Ready", "Applied", 7, Some(Kind::Applied)),
            ("Ready", "Suspended", 8, Some(Kind::Applied)),
            ("Reconciling", "Postponed", 8, None),
            ("Reconciling", "Loading", 7, None),
            ("Stalled", "Refused", 7, Some(Kind::Refused)),
            ("Stalled", "Refused", 6, None),
            ("Stalled", "PinRefused", 7, Some(Kind::Refused)),
            ("Stalled", "SourceUnavailable", 7, Some(Kind::Unavailable)),
            ("Stalled", "SourceRefused", 7, Some(Kind::Refused)),
            ("Stalled", "SourceUntrusted", 7, Some(Kind::Refused)),
            ("Stalled", "SourceRewritten", 7, Some(Kind::Refused)),
            ("Stalled", "InvalidSpec", 7, Some(Kind::Unavailable)),
            ("Stalled", "Suspended", 7, Some(Kind::Held)),
            ("Stalled", "Pinned", 7, Some(Kind::Held)),
        ] {
            let answer = ended(&content(condition, reason, observed), &[], 7).map(|end| end.kind);
            assert_eq!(answer, expected, "{condition} {reason} {observed}");
        }
    }

    #[test]
    fn what_one_of_several_sources_shows_and_does_not_serve_is_the_end_of_the_request() {
        let (good, bad) = (source("main", &[]), source("bad", &["a:1:1: error: y"]));
        let end = |condition: &str, reason: &str, sources: &[&SourceRow]| {
            let sources: Vec<SourceRow> = sources.iter().map(|&source| source.clone()).collect();
            let end = ended(&content(condition, reason, 7), &sources, 7).expect("an end");
            assert_eq!(end.message, "so it is");
            (
                end.kind,
                end.findings.iter().map(|finding| finding.split(':').next().unwrap_or_default().to_owned()).collect(),
            )
        };
        let files = |files: &[&str]| files.iter().map(|&file| file.to_owned()).collect::<Vec<String>>();
        // What was found in the revision that serves is no news.
        assert_eq!(end("Stalled", "SourceUnavailable", &[&good]), (Kind::Unavailable, files(&[])));
        for reason in ["SourceRefused", "SourceUntrusted"] {
            assert_eq!(end("Stalled", reason, &[&good, &bad]), (Kind::Refused, files(&["a"])));
        }
        assert_eq!(end("Stalled", "SourceRewritten", &[&good, &good]), (Kind::Refused, files(&[])));
        assert_eq!(end("Stalled", "Refused", &[&good, &bad]), (Kind::Refused, files(&["site.yaml", "a"])));
        // What the site itself says goes first.
        assert_eq!(end("Stalled", "Pinned", &[&bad]), (Kind::Held, files(&["site.yaml"])));
    }

    #[test]
    fn people_read_what_came_of_it_once() {
        for kind in [Kind::Applied, Kind::Refused, Kind::Unavailable, Kind::Held] {
            for findings in [vec![], vec!["site.yaml:1:1: error: x".to_owned()]] {
                let end = End { kind, message: "so it is".to_owned(), findings };
                let mut shown = draw(&end);
                if let Err(error) = ends(end.clone()) {
                    shown.push_str(&format!("\nerror: {error}"));
                }
                assert_eq!(shown.matches("so it is").count(), 1, "{shown}");
                assert!(end.findings.iter().all(|finding| shown.contains(finding)), "{shown}");
            }
        }
    }

    #[test]
    fn whoever_gives_up_is_told_which_sources_have_not_answered() {
        let mut late = source("late", &[]);
        late.observed_request = 6;
        let said = unanswered(&content("Ready", "Applied", 6), &[source("main", &[]), late], 7);
        assert_eq!(said, "not looked at since the request: late; so it is");
        assert_eq!(unanswered(&content("Reconciling", "Loading", 7), &[], 7), "so it is");
    }

    #[test]
    fn the_documentation_and_the_help_have_each_code_that_it_ends_with() {
        let code = |kind| {
            ends(End { kind, message: String::new(), findings: Vec::new() }).err().map_or(0, |it| it.exit_code())
        };
        let mut codes: Vec<u8> =
            [Kind::Applied, Kind::Refused, Kind::Unavailable, Kind::Held].into_iter().map(code).collect();
        codes.push(CliError::TimedOut(String::new()).exit_code());
        codes.dedup();
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/git.md")).unwrap();
        let table = page.split("| ends with | when |").nth(1).unwrap_or_default();
        let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
        assert_eq!(rows.collect::<Vec<u8>>(), codes);
        let command = <Arguments as Args>::augment_args(clap::Command::new("reconcile"));
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for code in codes {
            assert!(help.contains(&format!("with {code} ")), "{code} is not in:\n{help}");
        }
    }

    #[test]
    fn findings_are_printed_before_the_sentence_that_sums_them_up() {
        let drawn =
            |condition: &str, reason: &str| draw(&ended(&content(condition, reason, 7), &[], 7).expect("an end"));
        assert_eq!(drawn("Ready", "Applied"), "site.yaml:1:1: error: x\nso it is");
        assert_eq!(drawn("Stalled", "Refused"), "site.yaml:1:1: error: x");
        assert_eq!(drawn("Stalled", "SourceUnavailable"), "");
    }
}
