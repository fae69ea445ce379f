//! `formwork status`: the site, what was tried and what serves, and how the machines are.

use super::error::CliError;
use super::get::tone_of_phase;
use super::output::{Style, Tone, Word, printable, table};
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::{Phase, SiteStatus, SourceRow};
use clap::Args;

/// Shows the site: its content, what was refused and why, and how its machines are.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 says that the last revision was refused (the one before goes on serving), or that the disk of the store is full.

Examples:
  formwork status
  formwork status -o json | jq -r '.content.findings[]'
  formwork status >/dev/null && echo \"what is in Git is what serves\""
)]
pub struct Arguments {
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let status = session.client.status()?;
    session.output.answer(&status, || vec![status.site.clone()], |style| render(&status, &session.clock, style))?;
    if status.store.condition == "Full" {
        return Err(CliError::NotSo(format!("the store is full: {}", status.store.message)));
    }
    if is_refused(&status) {
        return Err(CliError::NotSo(status.content.message.clone()));
    }
    match status.sources.iter().find_map(|source| Some((source.name.as_str(), source.trouble()?))) {
        Some((name, trouble)) => Err(CliError::NotSo(format!("source {name}: {trouble}"))),
        None => Ok(()),
    }
}

/// What the source shows does not serve: it was refused, or the source cannot be read.
fn is_refused(status: &SiteStatus) -> bool {
    let content = &status.content;
    let differs = content.last_attempted_revision != content.last_applied_revision;
    content.condition == "Stalled" || (content.condition != "Reconciling" && differs)
}

fn render(status: &SiteStatus, clock: &Clock, style: Style) -> String {
    let content = &status.content;
    let revision = |revision: &Option<String>| revision.clone().unwrap_or_else(|| "none yet".to_owned());
    let (tone, condition) = match content.condition.as_str() {
        "Ready" => (Tone::Good, "Ready"),
        "Stalled" => (Tone::Bad, "Stalled"),
        other => (Tone::Waiting, other),
    };
    let mut rows = vec![
        vec![Word::from("site"), Word::from(status.site.as_str())],
        vec!["server".into(), format!("formwork {}", status.version).into()],
        vec!["authority".into(), status.ca_fingerprint.as_str().into()],
        vec!["content".into(), content.source.as_str().into()],
        vec![
            "attempted".into(),
            match &content.last_attempted_revision {
                Some(revision) => format!("{revision}  ({})", clock.ago(content.at_unix_ms)).into(),
                None => "none yet".into(),
            },
        ],
        vec!["applied".into(), revision(&content.last_applied_revision).into()],
        vec!["condition".into(), Word::new(format!("{condition}: {}", content.message), tone)],
    ];
    for source in &status.sources {
        rows.push(source_of(source, clock));
    }
    if !status.store.message.is_empty() {
        let said = format!("{}: {}", status.store.condition, status.store.message);
        rows.push(vec!["store".into(), Word::new(said, Tone::Bad)]);
    }
    if status.holds_unknown {
        let said = "machines without a journal are held until `formwork adopt`";
        rows.push(vec!["unknown".into(), Word::new(said, Tone::Waiting)]);
    }
    for said in &status.files {
        rows.push(vec!["files".into(), Word::new(format!("not served: {said}"), Tone::Bad)]);
    }
    let machines: Vec<String> = status.machines.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let needs_a_person =
        ["failed", "held", "overdue"].iter().any(|phase| status.machines.get(*phase).is_some_and(|count| *count > 0));
    let tone = if needs_a_person { tone_of_phase(Phase::Failed) } else { Tone::Plain };
    let machines = if machines.is_empty() { "none".to_owned() } else { machines.join(", ") };
    rows.push(vec!["machines".into(), Word::new(machines, tone)]);
    let mut text: String = table(&["", ""], rows, style).lines().skip(1).map(|line| format!("{line}\n")).collect();
    if !content.findings.is_empty() {
        text.push('\n');
        // In full and never folded: `file:line:column` is what editors jump to.
        for finding in &content.findings {
            text.push_str(&printable(finding));
            text.push('\n');
        }
    }
    for source in status.sources.iter().filter(|source| !source.findings.is_empty()) {
        text.push_str(&format!("\nsource {}\n", source.name));
        for finding in &source.findings {
            text.push_str(&printable(finding));
            text.push('\n');
        }
    }
    text
}

/// One followed repository in a line: what it shows, when it was seen, what is wrong.
fn source_of(source: &SourceRow, clock: &Clock) -> Vec<Word> {
    let short = |id: &Option<String>| id.as_deref().map_or("nothing yet", |id| id.get(..10).unwrap_or(id)).to_owned();
    let seen = source.last_success_unix_ms.map_or("never seen".to_owned(), |at| format!("seen {}", clock.ago(at)));
    let said = match source.trouble() {
        Some(trouble) => Word::new(format!("{}: {} ({seen}): {trouble}", source.name, short(&source.head)), Tone::Bad),
        None => Word::from(format!("{}: {} of {} ({seen})", source.name, short(&source.head), source.follows)),
    };
    vec!["source".into(), said]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::ContentStatus;
    use std::collections::BTreeMap;

    fn status() -> SiteStatus {
        SiteStatus {
            store: crate::api::views::StoreStatus::default(),
            site: "lab".to_owned(),
            version: "0.1.0".to_owned(),
            ca_fingerprint: "SHA256:ab:cd".to_owned(),
            content: ContentStatus {
                source: "/srv/content.git main".to_owned(),
                last_attempted_revision: Some("bbbb".to_owned()),
                last_applied_revision: Some("aaaa".to_owned()),
                condition: "Stalled".to_owned(),
                message: "revision bbbb has 1 error".to_owned(),
                findings: vec![
                    "machines/a.yaml:3:5: error: unknown field `profile`\n  hint: did you mean profiles?".to_owned(),
                ],
                at_unix_ms: 1_795_384_984_000,
            },
            machines: BTreeMap::from([("ready".to_owned(), 2), ("working".to_owned(), 1)]),
            holds_unknown: true,
            files: vec!["discovery/vmlinuz is not in the image folder".to_owned()],
            sources: Vec::new(),
        }
    }

    #[test]
    fn what_was_tried_and_what_serves_are_told_apart() {
        insta::assert_snapshot!(render(&status(), &Clock::fixed(1_795_384_996_000), Style::default()), @r"
        site       lab
        server     formwork 0.1.0
        authority  SHA256:ab:cd
        content    /srv/content.git main
        attempted  bbbb  (12s ago)
        applied    aaaa
        condition  Stalled: revision bbbb has 1 error
        unknown    machines without a journal are held until `formwork adopt`
        files      not served: discovery/vmlinuz is not in the image folder
        machines   2 ready, 1 working

        machines/a.yaml:3:5: error: unknown field `profile`
          hint: did you mean profiles?
        ");
        assert!(is_refused(&status()));
    }

    #[test]
    fn each_source_says_what_it_shows_and_what_is_wrong_with_it() {
        let mut status = status();
        let source = |name: &str| SourceRow {
            name: name.to_owned(),
            follows: "branch main".to_owned(),
            head: Some("1234567890abcdef".to_owned()),
            used: Some("1111111111111111".to_owned()),
            last_success_unix_ms: Some(1_795_384_984_000),
            ..SourceRow::default()
        };
        let mut away = source("platform");
        away.failure = Some("https://git.example.org/site.git: no answer".to_owned());
        let mut refused = source("team-b");
        refused.findings = vec!["tenants/b/x.yaml:2:7: error: source `team-b` may not declare a Subnet".to_owned()];
        status.sources = vec![away, source("team-a"), refused];
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        for line in [
            "source     platform: 1234567890 (seen 12s ago): https://git.example.org/site.git: no answer",
            "source     team-a: 1234567890 of branch main (seen 12s ago)",
            "source     team-b: 1234567890 (seen 12s ago): commit 1234567890 is refused with 1 finding; its last good commit is used",
            "tenants/b/x.yaml:2:7: error: source `team-b` may not declare a Subnet",
        ] {
            assert!(text.lines().any(|found| found.trim_end() == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_full_store_is_told() {
        let mut status = status();
        status.store.condition = "Full".to_owned();
        status.store.message = "nothing can be written until there is room".to_owned();
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        assert!(text.contains("store      Full: nothing can be written until there is room"), "{text}");
    }

    #[test]
    fn a_source_that_cannot_be_read_is_said_and_no_time_is_made_up() {
        let mut status = status();
        status.content.last_attempted_revision = None;
        status.content.last_applied_revision = None;
        status.content.at_unix_ms = 0;
        status.content.message = "the repository has no branch trunk; no revision serves".to_owned();
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        assert!(text.contains("attempted  none yet\n") && text.contains("has no branch trunk"), "{text}");
        assert!(is_refused(&status));
    }

    #[test]
    fn a_revision_that_serves_is_not_refused() {
        let mut status = status();
        status.content.condition = "Ready".to_owned();
        status.content.last_applied_revision = Some("bbbb".to_owned());
        assert!(!is_refused(&status));
    }
}
