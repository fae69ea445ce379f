//! `formwork status`: the site, what was tried and what serves, and how the machines are.

use super::error::CliError;
use super::get::tone_of_phase;
use super::output::{Style, Tone, Word, printable, table};
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::{
    ContentStatus, LogsStatus, Phase, PushStatus, SiteStatus, SourceRow, StoreStatus, UploadsStatus,
};
use clap::Args;

mod sources;

use sources::{history, source_of};

/// Shows the site: its content, what was refused and why, and how its machines are.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 says that what the source shows does not serve and does not come to it by itself (it was refused or postponed, the source
cannot be read, or somebody suspended or pinned), that a repository on the server's disk has lost something of its history, that the disk
of the store or of the jobs' logs is full, that those logs cannot be written for another reason, or that the store cannot be reached; also with --machines, whichever are named.

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
    ends(&status)
}

/// How the command ends by how the site stands.
fn ends(status: &SiteStatus) -> Result<(), CliError> {
    if let Some(trouble) = store_trouble(&status.store) {
        return Err(CliError::NotSo(trouble));
    }
    if let Some(trouble) = logs_trouble(&status.logs) {
        return Err(CliError::NotSo(trouble));
    }
    if is_refused(status) {
        return Err(CliError::NotSo(status.content.message.clone()));
    }
    let wrong = |source: &SourceRow| {
        let why = source.trouble().map(str::to_owned).or_else(|| history(source))?;
        Some(format!("source {}: {why}", source.name))
    };
    status.sources.iter().find_map(wrong).map_or(Ok(()), |why| Err(CliError::NotSo(why)))
}

/// What is wrong with the store, in a sentence.
fn store_trouble(store: &StoreStatus) -> Option<String> {
    match store.condition.as_str() {
        "Full" => Some(format!("the store is full: {}", store.message)),
        "Unreachable" => Some(format!("the store cannot be reached: {}", store.message)),
        _ => None,
    }
}

/// Logs that wait for their upload; none where all is well.
fn uploads_row(uploads: &UploadsStatus) -> Option<Vec<Word>> {
    let UploadsStatus { place, waiting, failure } = uploads;
    let (said, tone) = match (failure.as_str(), waiting) {
        ("", 0) => return None,
        ("", _) => (format!("{waiting} go to {place}"), Tone::Plain),
        _ => (format!("{waiting} wait here, since they do not go to {place}: {failure}"), Tone::Bad),
    };
    Some(vec!["uploads".into(), Word::new(said, tone)])
}

/// What is wrong with the logs of jobs, in a sentence.
fn logs_trouble(logs: &LogsStatus) -> Option<String> {
    let uploads = logs.object_store.as_ref().filter(|uploads| !uploads.failure.is_empty());
    let waits = || uploads.map(|it| format!("logs are not uploaded to {}: {}", it.place, it.failure));
    matches!(logs.condition.as_str(), "Full" | "Failing").then(|| logs.message.clone()).or_else(waits)
}

/// How machines stand to Git; of none named, all.
fn machines(names: &[String], session: &Session) -> Result<(), CliError> {
    let mut list = session.client.drift()?;
    for name in names {
        if !list.items.iter().any(|row| row.is_called(name)) {
            let known = list.items.iter().map(|row| row.name.as_str());
            let hint = Some(super::suggest::hint(name, known, "formwork status --machines"));
            return Err(CliError::NotFound { message: format!("there is no machine {name}"), hint });
        }
    }
    list.items.retain(|row| names.is_empty() || names.iter().any(|name| row.is_called(name)));
    let rows: Vec<_> = list.items.iter().collect();
    let shown = || rows.iter().map(|row| row.name.clone()).collect();
    session.output.answer(&list, shown, |style| match rows.is_empty() {
        true => "no machines\n".to_owned(),
        false => super::drift::draw(&rows, &session.clock, style),
    })?;
    ends(&session.client.status()?)
}

/// What the source shows does not serve: it was refused or postponed, or the source cannot be read.
fn is_refused(status: &SiteStatus) -> bool {
    let content = &status.content;
    let differs = content.last_attempted_revision != content.last_applied_revision;
    content.condition == "Stalled" || content.reason == "Postponed" || (content.condition != "Reconciling" && differs)
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
    if let Some(url) = status.pushes.as_ref().and_then(|pushes| pushes.url.as_deref()) {
        rows.insert(4, vec!["push to".into(), url.into()]);
    }
    if !content.signed_by.is_empty() {
        rows.insert(rows.len() - 1, vec!["signed by".into(), content.signed_by.join(", ").into()]);
    }
    for source in &status.sources {
        rows.push(source_of(source, clock));
        if let Some(why) = history(source) {
            rows.push(vec!["history".into(), Word::new(format!("{}: {why}", source.name), Tone::Bad)]);
        }
        if let Some((why, since)) = source.not_reported() {
            let said = format!("{}: commit statuses are not taken since {}: {why}", source.name, clock.ago(since));
            rows.push(vec!["forge".into(), Word::new(said, Tone::Waiting)]);
        }
    }
    rows.extend(held(content, clock));
    if let Some(at) = content.retry_unix_ms {
        rows.push(vec!["again".into(), format!("in {}", super::time::coarse(clock.until(at))).into()]);
    }
    if !status.store.message.is_empty() {
        let said = format!("{}: {}", status.store.condition, status.store.message);
        let tone = if status.store.condition == "Ready" { Tone::Waiting } else { Tone::Bad };
        rows.push(vec!["store".into(), Word::new(said, tone)]);
    }
    if !status.enrollment.is_empty() {
        rows.push(vec!["enrollment".into(), Word::new(status.enrollment.as_str(), Tone::Waiting)]);
    }
    if !status.logs.message.is_empty() {
        let said = format!("{}: {}", status.logs.condition, status.logs.message);
        rows.push(vec!["logs".into(), Word::new(said, Tone::Bad)]);
    }
    rows.extend(status.logs.object_store.as_ref().and_then(uploads_row));
    for said in &status.open_to_others {
        rows.push(vec!["private".into(), Word::new(said.as_str(), Tone::Bad)]);
    }
    if status.holds_unknown {
        let said = "machines without a journal are held until `formwork adopt`";
        rows.push(vec!["unknown".into(), Word::new(said, Tone::Waiting)]);
    }
    if let Some(pushes) = status.pushes.as_ref().filter(|pushes| pushes.rejected > 0) {
        rows.push(vec!["pushes".into(), Word::new(rejected(pushes, clock), Tone::Waiting)]);
    }
    for file in &status.changed_files {
        let since = file.since_unix_ms.map_or_else(String::new, |at| format!(" (changed {})", clock.ago(at)));
        rows.push(vec!["changed".into(), Word::new(format!("{}{since}", file.message), Tone::Waiting)]);
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
    for source in status.sources.iter().filter(|source| !source.findings.is_empty()) {
        text.push_str(&format!("\nsource {}\n", source.name));
        for finding in &source.findings {
            text.push_str(&printable(finding));
            text.push('\n');
        }
    }
    text
}

/// Pushes that were not taken: how many, and the last one's reason.
fn rejected(pushes: &PushStatus, clock: &Clock) -> String {
    let count = if pushes.rejected == 1 { "1 push".to_owned() } else { format!("{} pushes", pushes.rejected) };
    let last = pushes.recent.last().map(|last| {
        let more = if last.count > 1 { format!(" (and {} more)", last.count - 1) } else { String::new() };
        format!("; the last by {} {}: {}{more}", last.by, clock.ago(last.at_unix_ms), last.reason)
    });
    format!("{count} rejected since the start{}", last.unwrap_or_default())
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
    use crate::api::views::{ChangedFile, RejectedPush};
    use std::collections::BTreeMap;

    fn status() -> SiteStatus {
        SiteStatus {
            store: StoreStatus::default(),
            logs: LogsStatus::default(),
            enrollment: String::new(),
            open_to_others: Vec::new(),
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
                ..ContentStatus::default()
            },
            machines: BTreeMap::from([("ready".to_owned(), 2), ("working".to_owned(), 1)]),
            drift: BTreeMap::from([("in-step".to_owned(), 2), ("behind".to_owned(), 1)]),
            holds_unknown: true,
            pushes: Some(PushStatus {
                url: Some("https://10.77.0.1:8443/git/site.git".to_owned()),
                rejected: 3,
                recent: vec![RejectedPush {
                    by: "ada".to_owned(),
                    at_unix_ms: 1_795_384_984_000,
                    reason: "machines/a.yaml:3:5: there is no Workflow `instal`".to_owned(),
                    count: 2,
                    ..RejectedPush::default()
                }],
            }),
            changed_files: vec![ChangedFile {
                path: "/etc/formwork/sources.yaml".to_owned(),
                since_unix_ms: Some(1_795_384_984_000),
                takes_effect: "restart".to_owned(),
                message: "/etc/formwork/sources.yaml was changed".to_owned(),
            }],
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
        push to    https://10.77.0.1:8443/git/site.git
        attempted  bbbb  (12s ago)
        applied    aaaa
        condition  Stalled: revision bbbb has 1 error
        unknown    machines without a journal are held until `formwork adopt`
        pushes     3 pushes rejected since the start; the last by ada 12s ago: machines/a.yaml:3:5: there is no Workflow `instal` (and 1 more)
        changed    /etc/formwork/sources.yaml was changed (changed 12s ago)
        files      not served: discovery/vmlinuz is not in the image folder
        machines   2 ready, 1 working
        drift      2 in step, 1 behind

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
            applied: Some("1234567890abcdef".to_owned()),
            condition: "Ready".to_owned(),
            last_success_unix_ms: Some(1_795_384_984_000),
            ..SourceRow::default()
        };
        let mut away = source("platform");
        (away.condition, away.since_unix_ms) = ("Stalled".to_owned(), Some(1_795_384_936_000));
        away.message = "https://git.example.org/site.git: no answer".to_owned();
        away.asked_unix_ms = Some(1_795_384_990_000);
        let mut refused = source("team-b");
        refused.condition = "Stalled".to_owned();
        refused.applied = refused.used.clone();
        refused.message =
            "commit 1234567890 is refused with 1 finding; its last good commit is used (1111111111)".to_owned();
        refused.findings = vec!["tenants/b/x.yaml:2:7: error: source `team-b` may not declare a Subnet".to_owned()];
        let mut unheard = source("team-a");
        unheard.conditions = vec![crate::reconcile::ConditionRow {
            kind: "Reporting".to_owned(),
            status: "False".to_owned(),
            reason: "NotTaken".to_owned(),
            message: "https://git.example.org of o/r: it does not take the token (HTTP 401)".to_owned(),
            last_transition_unix_ms: 1_795_384_936_000,
        }];
        let mut old = source("hosted");
        old.damage = Some("commit 77 in /state/git/site.git is damaged: object 88 is gone".to_owned());
        let mut good = status.clone();
        (good.content.condition, good.content.last_attempted_revision) = ("Ready".to_owned(), Some("aaaa".to_owned()));
        assert!(ends(&good).is_ok());
        good.sources = vec![old.clone()];
        assert!(matches!(ends(&good), Err(CliError::NotSo(why)) if why.contains("object 88 is gone")));
        status.sources = vec![away, unheard, refused, old];
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        for line in [
            "source     platform: Stalled since 1m00s ago: 1234567890 of branch main (seen 12s ago, asked 6s ago and silent since), \
             serves; https://git.example.org/site.git: no answer",
            "source     team-a: 1234567890 of branch main (seen 12s ago) serves",
            "forge      team-a: commit statuses are not taken since 1m00s ago: https://git.example.org of o/r: it does not take \
             the token (HTTP 401)",
            "history    hosted: commit 77 in /state/git/site.git is damaged: object 88 is gone; what serves is whole, and nobody can \
             clone it: docs/git.md",
            "source     team-b: Stalled: 1234567890 of branch main (seen 12s ago), 1111111111 serves; commit 1234567890 is \
             refused with 1 finding; its last good commit is used (1111111111)",
            "tenants/b/x.yaml:2:7: error: source `team-b` may not declare a Subnet",
        ] {
            assert!(text.lines().any(|found| found.trim_end() == line), "{line}\n{text}");
        }
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
    fn what_is_not_wrong_yet_is_told_and_is_no_failure() {
        let mut status = status();
        status.content.condition = "Ready".to_owned();
        status.store.condition = "Ready".to_owned();
        status.store.message = "300 MiB are left on its disk".to_owned();
        status.enrollment = "boxes have to wait".to_owned();
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        assert!(text.contains("store       Ready: 300 MiB are left") && text.contains("enrollment  boxes"), "{text}");
        assert_eq!(store_trouble(&status.store), None);
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
    fn a_store_that_does_not_answer_is_not_called_full() {
        let store = |condition: &str| StoreStatus {
            condition: condition.to_owned(),
            message: "so it is".to_owned(),
            ..StoreStatus::default()
        };
        for (condition, said) in [
            ("Ready", None),
            ("Full", Some("the store is full: so it is")),
            ("Unreachable", Some("the store cannot be reached: so it is")),
        ] {
            assert_eq!(store_trouble(&store(condition)).as_deref(), said);
        }
    }

    #[test]
    fn logs_that_cannot_be_written_and_keys_that_others_can_read_are_told() {
        let mut status = status();
        status.logs.condition = "Full".to_owned();
        status.logs.message = "no log can be written".to_owned();
        status.open_to_others = vec!["/srv/keys/signing.key is open to others (mode 0644)".to_owned()];
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        assert!(text.contains("logs       Full: no log can be written"), "{text}");
        assert_eq!(logs_trouble(&status.logs).as_deref(), Some("no log can be written"));
        status.logs.condition = "Failing".to_owned();
        assert_eq!(logs_trouble(&status.logs).as_deref(), Some("no log can be written"));
        assert_eq!(logs_trouble(&LogsStatus::default()), None);
        let mut uploads = UploadsStatus { place: "s3://logs".to_owned(), waiting: 3, failure: String::new() };
        status.logs = LogsStatus { object_store: Some(uploads.clone()), ..LogsStatus::default() };
        let text = render(&status, &Clock::fixed(1_795_384_996_000), Style::default());
        assert!(text.contains("uploads    3 go to s3://logs\n"), "{text}");
        assert_eq!(logs_trouble(&status.logs), None, "they are on their way");
        uploads.failure = "it refuses: no such bucket".to_owned();
        assert!(uploads_row(&uploads).is_some());
        status.logs.object_store = Some(uploads);
        assert!(logs_trouble(&status.logs).is_some_and(|said| said.ends_with("s3://logs: it refuses: no such bucket")));
        assert!(uploads_row(&UploadsStatus::default()).is_none());
        assert!(text.contains("private    /srv/keys/signing.key is open to others (mode 0644)"), "{text}");
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
