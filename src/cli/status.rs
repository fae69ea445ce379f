//! `formwork status`: the site, what was tried and what serves, and how the machines are.

use super::error::CliError;
use super::get::tone_of_phase;
use super::output::{Style, Tone, Word, printable, table};
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::{Phase, SiteStatus};
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
    Ok(())
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
    if !content.signed_by.is_empty() {
        rows.insert(rows.len() - 1, vec!["signed by".into(), content.signed_by.join(", ").into()]);
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
    text
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
                signed_by: Vec::new(),
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
