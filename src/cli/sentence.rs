//! One readable sentence an event. Pure.

use crate::journal::{Ask, Event, RefusedCommit, Stream};
use crate::wire::{JobOutcome, JobRequest};

/// Whose event it is, in a column: a machine's bare name, else the kind before it.
pub fn subject(stream: &Stream) -> String {
    match stream {
        Stream::Site => "(site)".to_owned(),
        Stream::Machine(name) => name.clone(),
        Stream::Box(mac) => format!("box {mac}"),
        Stream::Cluster(name) => format!("cluster {name}"),
    }
}

/// A revision as people say it: the first ten characters.
pub fn short(revision: &str) -> &str {
    revision.get(..10).filter(|_| revision.len() > 12).unwrap_or(revision)
}

/// What happened, in one sentence without its subject and without a full stop. `task` is what the job of a [`Event::JobEnded`]
/// was about, where that is known: the event itself only has the job's id.
pub fn sentence(event: &Event, task: Option<&str>) -> String {
    match event {
        Event::SiteCreated { site, fresh } => {
            let said = if *fresh { "; no machine of it was ever installed" } else { "" };
            format!("site {site} was created{said}")
        }
        Event::SiteAdopted { by, reason } => {
            format!("machines without a journal are new from now on, says {by}{}", because(Some(reason)))
        }
        Event::RevisionApplied { revision, summary, machines, signed_by, .. } => {
            let signed = match signed_by.as_slice() {
                [] => String::new(),
                [one] => format!(", signed by {one}"),
                [one, more @ ..] => format!(", signed by {one} and {} more", more.len()),
            };
            format!("revision {} applies: {summary} ({}){signed}", short(revision), count(*machines, "machine"))
        }
        Event::RevisionRefused { revision, summary, findings, count: all } => {
            let first = findings.first().map(|finding| format!(": {}", one_line(finding))).unwrap_or_default();
            format!("revision {} is refused{}: {}{first}", short(revision), aside(summary), count(*all, "finding"))
        }
        Event::RevisionPushed { by, branch, revision, summary, words } => {
            let allowed = if words.is_empty() { String::new() } else { format!(", allowed {}", words.join(", ")) };
            format!("{by} pushes revision {} to {branch}{allowed}: {summary}", short(revision))
        }
        Event::RevisionAllowed { by, revision, summary, words, reason } => {
            format!(
                "{by} allows revision {}{} more than the guards: {}{}",
                short(revision),
                aside(summary),
                words.join(", "),
                because(Some(reason))
            )
        }
        Event::FollowingSuspended { by, reason } => {
            format!("nothing the source shows is applied from now on, says {by}{}", because(Some(reason)))
        }
        Event::RevisionPinned { by, revision, summary, reason } => {
            format!(
                "{by} goes back to revision {}{}, which stays{}",
                short(revision),
                aside(summary),
                because(Some(reason))
            )
        }
        Event::FollowingResumed { by, reason } => {
            format!("the source is followed again, says {by}{}", because(Some(reason)))
        }
        Event::Seen { mac, subnet, by, architecture } => {
            format!("{mac} was seen by {by}{}{}", on("on", subnet), on("as", architecture))
        }
        Event::Enrolled { rule, mac, architecture, .. } => {
            format!("enrolled by rule {rule}, from {mac}{}", on("as", architecture))
        }
        Event::Adopted { by, run, workflow, reason, .. } => {
            let done = match workflow {
                Some(workflow) => format!("run {run} of {workflow} counts as done"),
                None => format!("runs up to {run} count as done"),
            };
            format!("adopted by {by}: {done}{}", because(Some(reason)))
        }
        Event::Folded { state, .. } => {
            format!("{} went before and are folded", count(usize::try_from(state.head).unwrap_or(usize::MAX), "event"))
        }
        Event::StoreRestored { .. } => "the store came back from a backup: held until adopted".to_owned(),
        Event::Forgotten { by, reason } => {
            format!("forgotten, says {by}{}; it may be enrolled again", because(Some(reason)))
        }
        Event::Left { revision } => format!("is gone from Git with revision {}", short(revision)),
        Event::Returned { revision } => format!("is declared again with revision {}", short(revision)),
        Event::Leased { mac, address, subnet, seconds } => {
            format!("leased {address} to {mac} on {subnet} for {}", super::time::coarse(i64::from(*seconds) * 1000))
        }
        Event::Offered { environment, address, firmware, reason, .. } => {
            format!("was offered {environment} ({firmware}{}): {reason}", on("at", address))
        }
        Event::Held { reason } => format!("is held: {reason}"),
        Event::Overdue { reason } => format!("is overdue: {reason}"),
        Event::Quarantined { reason } => format!("is in quarantine: {reason}"),
        Event::SourceRewritten { source, reference, from, to, followed } => {
            let what = if *followed { "followed" } else { "held where it was" };
            format!("{reference} of source {source} was rewritten from {} to {}, and is {what}", short(from), short(to))
        }
        Event::SourceFetchedAgain { source, path, why } => {
            format!("{path}, fetched of source {source}, was damaged ({}), and was fetched again", one_line(why))
        }
        Event::SourceAccepted { source, from, to, by, reason } => {
            let why = because(Some(reason));
            format!(
                "source {source}, which was rewritten, goes on from {} at {}, says {by}{why}",
                short(from),
                short(to)
            )
        }
        Event::SourceRefused(RefusedCommit { source, revision, summary, findings, count: all }) => {
            let first = findings.first().map(|finding| format!(": {}", one_line(finding))).unwrap_or_default();
            let what = count(*all, "finding");
            format!("revision {} of source {source} is refused{}: {what}{first}", short(revision), aside(summary))
        }
        Event::SourceTrusted { source, revision, signed_by } => {
            let by =
                if signed_by.is_empty() { "a key that has expired since".to_owned() } else { signed_by.join(", ") };
            format!("revision {} of source {source} is trusted, signed by {by}", short(revision))
        }
        Event::FileWrong { reason, .. } => format!("does not serve a file: {reason}"),
        Event::FileRight { file } => format!("serves {file} again, which is what content declares"),
        Event::ApprovalAwaited { key, address, .. } => {
            format!(
                "waits for `formwork approve`: its key is {}, it speaks from {address}",
                key.get(..16).unwrap_or(key)
            )
        }
        Event::Exchanged { .. } => "its agent proved who it is".to_owned(),
        Event::DiskTicketPlanted { run, .. } => {
            format!("gave its installed system the means to prove who it is (run {run})")
        }
        Event::GenerationRaised { reason, .. } => format!("every token that it was given is dead: {reason}"),
        Event::CheckedIn { check_in, .. } => format!(
            "booted {} ({}, {}, kernel {}{})",
            check_in.environment,
            check_in.firmware,
            check_in.architecture,
            check_in.kernel,
            on("at", &check_in.address),
        ),
        Event::FactsReported { facts, .. } => {
            let names: Vec<&str> = facts.keys().map(String::as_str).collect();
            format!("reported {}", list(&names, "nothing"))
        }
        Event::RunStarted { run, workflow, revision, reason, destructive_allowed } => {
            let held = if *destructive_allowed { "" } else { "; destructive stages wait for a raised run" };
            format!("run {run} of {workflow} began on revision {}{}{held}", short(revision), aside(reason))
        }
        Event::RunResumed { run, revision, reason } => {
            format!("run {run} goes on with revision {}: {reason}", short(revision))
        }
        Event::RunDiverged { run, revision, reason } => {
            format!("run {run} has diverged from revision {} and waits for a person: {reason}", short(revision))
        }
        Event::RunFinished { run } => format!("run {run} is done"),
        Event::RunCancelled { run, by, reason } => format!("run {run} was cancelled by {by}: {reason}"),
        Event::JobGranted { job, stage, task, attempt, destructive, .. } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            let disks = if *destructive { ", may change disks" } else { "" };
            format!("starts {task} of stage {stage} (job {job}{again}{disks})")
        }
        Event::JobEnded { job, outcome, exit_code, message, requests, .. } => {
            let what = task.map_or_else(|| format!("job {job}"), str::to_owned);
            ended(&what, *outcome, *exit_code, message.as_deref(), requests)
        }
        Event::TaskSkipped { task, by, reason, .. } => format!("task {task} was skipped by {by}: {reason}"),
        Event::InstallerFinished { success, message, .. } => {
            let how = if *success { "is done" } else { "failed" };
            format!("the installer {how}{}", because(message.as_deref()))
        }
        Event::Asked { by, what, reason } => {
            let asked = match what {
                Ask::Retry => "asked to try again",
                Ask::Approve => "trusts its next exchange",
                Ask::Reboot => "asked for a reboot",
            };
            format!("{by} {asked}{}", because(Some(reason)))
        }
        Event::ClusterFrozen { by, reason: Some(reason) } => format!("is frozen by {by}: {}", one_line(reason)),
        Event::ClusterFrozen { by, reason: None } => format!("is thawed by {by}"),
        Event::EpochRaised { epoch, reason } => format!("begins epoch {epoch}: {reason}"),
        Event::Claim { claim, change, machine, fence, reason } => {
            let whose = match (machine, change.as_str()) {
                (Some(machine), "granted") => format!(" to {machine}"),
                (Some(machine), _) => format!(", held by {machine}"),
                (None, _) => String::new(),
            };
            format!("claim {claim} {change}{whose} (fence {fence}){}", because(reason.as_deref()))
        }
        Event::BarrierOpened { set, count: members } => {
            format!("barrier {set} opened with {}", count(usize::try_from(*members).unwrap_or(usize::MAX), "member"))
        }
    }
}

fn ended(
    what: &str,
    outcome: JobOutcome,
    exit_code: Option<i32>,
    message: Option<&str>,
    requests: &[JobRequest],
) -> String {
    let how = match outcome {
        JobOutcome::Done => "is done",
        JobOutcome::Failed => "failed",
        JobOutcome::TimedOut => "ran out of time",
        JobOutcome::Interrupted => "was interrupted",
        JobOutcome::Abandoned => "was abandoned",
    };
    let code = exit_code.filter(|code| *code != 0).map(|code| format!(" with exit code {code}")).unwrap_or_default();
    let asked: Vec<&str> = requests
        .iter()
        .map(|request| match request {
            JobRequest::Reboot => "a reboot",
            JobRequest::Stop => "a stop",
            JobRequest::Poweroff => "power off",
            JobRequest::Again => "another round",
        })
        .collect();
    let asked = if asked.is_empty() { String::new() } else { format!(", asks for {}", list(&asked, "")) };
    format!("{what} {how}{code}{asked}{}", because(message))
}

/// `3 machines`, `1 machine`, `no machines`.
pub fn count(number: usize, thing: &str) -> String {
    match number {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(words: &[&str], nothing: &str) -> String {
    match words {
        [] => nothing.to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn on(word: &str, value: &Option<impl std::fmt::Display>) -> String {
    value.as_ref().map(|value| format!(" {word} {value}")).unwrap_or_default()
}

fn because(reason: Option<&str>) -> String {
    reason.filter(|reason| !reason.is_empty()).map(|reason| format!(": {}", one_line(reason))).unwrap_or_default()
}

/// Said by the way; nothing, where nothing is said.
fn aside(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// The first line of a text of several.
fn one_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: serde_json::Value) -> String {
        sentence(&serde_json::from_value(event).unwrap(), None)
    }

    #[test]
    fn what_is_not_said_leaves_no_empty_brackets() {
        for event in [
            json!({"type": "revision-refused", "revision": "0123456789abcdef", "summary": "", "findings": ["x"], "count": 1}),
            json!({"type": "revision-pinned", "by": "ann", "revision": "0123456789abcdef", "summary": "", "reason": ""}),
            json!({"type": "source-refused", "source": "a", "revision": "0123456789abcdef", "summary": "", "findings": [], "count": 0}),
            json!({"type": "run-started", "run": 2, "workflow": "w", "revision": "0123456789abcdef", "reason": "",
                "destructiveAllowed": true}),
            json!({"type": "following-suspended", "by": "ann", "reason": ""}),
        ] {
            let said = read(event);
            assert!(!said.contains("()") && !said.contains("  ") && !said.ends_with(' '), "{said}");
        }
    }

    #[test]
    fn each_event_reads_as_a_sentence() {
        let lines = [
            read(json!({"type": "site-created", "site": "lab", "fresh": true})),
            read(json!({"type": "site-adopted", "by": "ann"})),
            read(
                json!({"type": "revision-applied", "revision": "0123456789abcdef0123", "summary": "Add three machines", "machines": 1}),
            ),
            read(json!({"type": "revision-refused", "revision": "0123456789abcdef0123", "summary": "Oops",
                "findings": ["machines/a.yaml:3:5: error: unknown field `profile`\n  hint: profiles"], "count": 2})),
            read(json!({"type": "following-suspended", "by": "ann", "reason": "audit"})),
            read(json!({"type": "revision-pinned", "by": "ann", "revision": "0123456789abcdef0123",
                "summary": "Add three machines", "reason": "the new kernel hangs"})),
            read(json!({"type": "following-resumed", "by": "ann", "reason": ""})),
            read(
                json!({"type": "seen", "mac": "52:54:00:00:00:01", "subnet": "lab", "by": "dhcp", "architecture": null}),
            ),
            read(
                json!({"type": "enrolled", "rule": "any", "mac": "52:54:00:00:00:01", "uuid": null, "serial": null, "architecture": "x86_64"}),
            ),
            read(json!({"type": "adopted", "by": "ann", "run": 2, "workflow": "etcd-node", "reason": "moved here"})),
            read(
                json!({"type": "leased", "mac": "52:54:00:00:00:01", "address": "10.0.0.9", "seconds": 3600, "subnet": "lab"}),
            ),
            read(json!({"type": "offered", "offer": "o1", "environment": "discovery.ram", "address": "10.0.0.9",
                "mac": "52:54:00:00:00:01", "firmware": "uefi", "reason": "run 1 is in stage discover", "run": 1})),
            read(
                json!({"type": "checked-in", "bootId": "b1", "environment": "discovery.ram", "architecture": "x86_64",
                "firmware": "uefi", "agentVersion": "0.1.0", "kernel": "6.1.0", "address": "10.0.0.9", "hardware": {}, "offer": "o1"}),
            ),
            read(json!({"type": "facts-reported", "facts": {"cpu": 1, "memory": 2, "disks": []}, "job": null})),
            read(json!({"type": "run-started", "run": 2, "workflow": "etcd-node", "revision": "0123456789abcdef0123",
                "reason": "spec.run raised from 1", "destructiveAllowed": false})),
            read(
                json!({"type": "job-granted", "job": "j1", "run": 1, "stageIndex": 0, "stage": "scrub", "taskIndex": 0,
                "task": "hardware.scrub", "digest": "", "attempt": 2, "bootId": "b1", "destructive": true, "timeoutSeconds": 60}),
            ),
            read(
                json!({"type": "job-ended", "job": "j1", "outcome": "failed", "exitCode": 3, "message": "step erase: no disk",
                "requests": []}),
            ),
            read(json!({"type": "job-ended", "job": "j2", "outcome": "done", "exitCode": 0, "message": null,
                "requests": ["reboot", "again"]})),
            read(
                json!({"type": "task-skipped", "run": 1, "stageIndex": 0, "stage": "scrub", "taskIndex": 0, "task": "burn", "by": "ann", "reason": "known good"}),
            ),
            read(json!({"type": "asked", "by": "ann", "ask": "retry", "reason": "the disk is another"})),
            read(json!({"type": "asked", "by": "ann", "ask": "reboot"})),
            read(
                json!({"type": "claim", "claim": "init", "change": "granted", "machine": "a1", "fence": 7, "reason": null}),
            ),
            read(
                json!({"type": "claim", "claim": "init", "change": "revoked", "machine": "a1", "fence": 7, "reason": "a new run"}),
            ),
            read(json!({"type": "barrier-opened", "set": "ready", "count": 3})),
            read(json!({"type": "run-finished", "run": 1})),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        site lab was created; no machine of it was ever installed
        machines without a journal are new from now on, says ann
        revision 0123456789 applies: Add three machines (1 machine)
        revision 0123456789 is refused (Oops): 2 findings: machines/a.yaml:3:5: error: unknown field `profile`
        nothing the source shows is applied from now on, says ann: audit
        ann goes back to revision 0123456789 (Add three machines), which stays: the new kernel hangs
        the source is followed again, says ann
        52:54:00:00:00:01 was seen by dhcp on lab
        enrolled by rule any, from 52:54:00:00:00:01 as x86_64
        adopted by ann: run 2 of etcd-node counts as done: moved here
        leased 10.0.0.9 to 52:54:00:00:00:01 on lab for 1h00m
        was offered discovery.ram (uefi at 10.0.0.9): run 1 is in stage discover
        booted discovery.ram (uefi, x86_64, kernel 6.1.0 at 10.0.0.9)
        reported cpu, memory and disks
        run 2 of etcd-node began on revision 0123456789 (spec.run raised from 1); destructive stages wait for a raised run
        starts hardware.scrub of stage scrub (job j1, attempt 2, may change disks)
        job j1 failed with exit code 3: step erase: no disk
        job j2 is done, asks for a reboot and another round
        task burn was skipped by ann: known good
        ann asked to try again: the disk is another
        ann asked for a reboot
        claim init granted to a1 (fence 7)
        claim init revoked, held by a1 (fence 7): a new run
        barrier ready opened with 3 members
        run 1 is done
        ");
    }

    #[test]
    fn a_short_name_of_a_revision_is_never_shortened() {
        assert_eq!(short("main"), "main");
        assert_eq!(short("0123456789abcdef0123"), "0123456789");
    }
}
