//! `formwork status`: the site, what was tried and what serves, and how the machines are.

use super::error::CliError;
use super::get::tone_of_phase;
use super::output::{Style, Tone, Word, printable, table};
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::{ContentStatus, Phase, SiteStatus};
use clap::Args;

/// Shows the site: its content, what was refused and why, and how its machines are.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 says that what the source shows does not serve and does not come to it by itself (it was refused, the source cannot be
read, or somebody suspended or pinned), or that the disk of the store is full.

Examples:
  formwork status
  formwork status --machines                      how each machine stands to Git
  formwork status --machines node-1 node-2
  formwork status -o json | jq -r '.content.findings[]'
  formwork status >/dev/null && echo \"what is in Git is what serves\""
)]
pub struct Arguments {
    /// How each machine (or each of these) stands to Git: in step, behind and why, unknown to it, never seen, left.
    #[arg(long, value_name = "MACHINE", num_args = 0.., add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    machines: Option<Vec<String>>,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    if let Some(names) = &arguments.machines {
        return machines(names, &session);
    }
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

/// How machines stand to Git; of none named, all.
fn machines(names: &[String], session: &Session) -> Result<(), CliError> {
    let mut list = session.client.drift()?;
    for name in names {
        if !list.items.iter().any(|row| row.name == *name) {
            let known = list.items.iter().map(|row| row.name.as_str());
            let hint = Some(super::suggest::hint(name, known, "formwork status --machines"));
            return Err(CliError::NotFound { message: format!("there is no machine {name}"), hint });
        }
    }
    list.items.retain(|row| names.is_empty() || names.contains(&row.name));
    let rows: Vec<_> = list.items.iter().collect();
    let shown = || rows.iter().map(|row| row.name.clone()).collect();
    session.output.answer(&list, shown, |style| match rows.is_empty() {
        true => "no machines\n".to_owned(),
        false => super::drift::draw(&rows, &session.clock, style),
    })
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
    rows.extend(held(content, clock));
    if let Some(at) = content.retry_unix_ms {
        rows.push(vec!["again".into(), format!("in {}", super::time::coarse(clock.until(at))).into()]);
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
    let behind = status.drift.get("behind").is_some_and(|count| *count > 0);
    let tone = if behind { Tone::Bad } else { Tone::Plain };
    rows.push(vec!["drift".into(), Word::new(super::drift::line(&status.drift), tone)]);
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

/// What a person said about following the source.
fn held(content: &ContentStatus, clock: &Clock) -> Vec<Vec<Word>> {
    let said = |word: &crate::journal::Word| {
        let why = if word.reason.is_empty() { String::new() } else { format!(" ({})", word.reason) };
        format!("since {} ({}) by {}{why}", clock.show(word.since_unix_ms), clock.ago(word.since_unix_ms), word.by)
    };
    let newest = || {
        let seen = content.last_seen_revision.as_deref().unwrap_or("nothing yet");
        let waits = content.last_seen_revision.is_some() && content.last_seen_revision != content.last_applied_revision;
        format!("newest seen {seen}{}", if waits { ", which waits" } else { "" })
    };
    let mut rows = Vec::new();
    if let Some(word) = &content.suspended {
        let text = format!("{}; still looking; {}", said(word), newest());
        rows.push(vec!["suspended".into(), Word::new(text, Tone::Waiting)]);
    }
    if let Some(pin) = &content.pinned {
        let text = format!("{} ({}) {}; {}", pin.revision, pin.summary, said(&pin.word), newest());
        rows.push(vec!["pinned".into(), Word::new(text, Tone::Waiting)]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
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
                ..ContentStatus::default()
            },
            machines: BTreeMap::from([("ready".to_owned(), 2), ("working".to_owned(), 1)]),
            drift: BTreeMap::from([("in-step".to_owned(), 2), ("behind".to_owned(), 1)]),
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
        drift      2 in step, 1 behind

        machines/a.yaml:3:5: error: unknown field `profile`
          hint: did you mean profiles?
        ");
        assert!(is_refused(&status()));
    }

    #[test]
    fn what_people_said_is_shown_with_since_when_and_what_waits() {
        let word = |reason: &str| crate::journal::Word {
            by: "ann".to_owned(),
            reason: reason.to_owned(),
            since_unix_ms: 1_795_384_936_000,
        };
        let mut status = status();
        status.content.last_seen_revision = Some("bbbb".to_owned());
        status.content.suspended = Some(word(""));
        status.content.retry_unix_ms = Some(1_795_384_999_000);
        let (revision, summary) = ("aaaa".to_owned(), "Add node-4".to_owned());
        status.content.pinned = Some(crate::journal::Pin { revision, summary, word: word("the kernel hangs") });
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        let wanted = ["suspended", "pinned", "again"];
        let lines: Vec<&str> = text.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word))).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        suspended  since 22:02:16 (1m00s ago) by ann; still looking; newest seen bbbb, which waits
        pinned     aaaa (Add node-4) since 22:02:16 (1m00s ago) by ann (the kernel hangs); newest seen bbbb, which waits
        again      in 3s
        ");
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
