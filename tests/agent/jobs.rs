//! Jobs: steps, logs, ends, timeouts, restarts.

use crate::server::{Server, script, steps};
use crate::{Agent, PATIENCE, is_alive};
use formwork::wire::{ExitCodes, JobOutcome, JobRequest, Step, StepAction};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn a_job_is_done_step_by_step_with_its_params_and_its_log() {
    let server = Server::start();
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("etc/default/etcd");
    let job = steps(
        "j1",
        vec![
            Step {
                name: "configuration".into(),
                action: StepAction::File {
                    to: file.to_str().unwrap().into(),
                    content: "A=1\n".into(),
                    mode: "0640".into(),
                },
            },
            Step {
                name: "show".into(),
                action: StepAction::Script {
                    text: format!(
                        "#!/bin/sh -eu\necho disk=$FORMWORK_PARAM_INSTALL_DISK\necho to stderr >&2\ncat {}\n\
                         grep -c install-disk \"$FORMWORK_PARAMS\"\ncommand -v formwork\npwd >{}\ntouch left-behind\n\
                         echo secret=${{HOME_OF_THE_AGENT:-none}}\n",
                        file.display(),
                        target.path().join("pwd").display()
                    ),
                },
            },
        ],
    );
    server.site().jobs.push_back(job);
    let agent = Agent::start(&server);
    let end = server.end_of("j1", PATIENCE);
    assert_eq!((end.outcome, end.exit_code, end.message.as_deref()), (JobOutcome::Done, Some(0), None));
    let log = server.log_of("j1");
    assert_eq!(end.log_bytes, log.len() as u64, "the log was whole before the end");
    for line in ["disk=/dev/vda", "to stderr", "A=1", "step 2 of 2: show", "/run/bin/formwork", "secret=none"] {
        assert!(log.contains(line), "{line} is not in the log:\n{log}");
    }
    let pwd = std::fs::read_to_string(target.path().join("pwd")).unwrap();
    assert!(!std::path::Path::new(pwd.trim()).exists(), "the working folder is gone");
    assert_eq!(server.site().check_ins, 1);
    drop(agent);
}

#[test]
fn lost_replies_neither_double_nor_lose_a_line() {
    let server = Server::start();
    {
        let mut site = server.site();
        site.lose_every_log = 2;
        site.unavailable = 2;
        site.end_replies_to_lose = 1;
        site.jobs.push_back(script("j1", "for i in $(seq 1 40); do echo line $i; sleep 0.05; done; seq 100000 200000"));
        site.jobs.push_back(script("j2", "echo second"));
    }
    let _agent = Agent::start(&server);
    server.end_of("j2", PATIENCE);
    let end = server.end_of("j1", PATIENCE);
    assert_eq!(end.outcome, JobOutcome::Done);
    let log = server.log_of("j1");
    let mut wanted: String = (1..=40).map(|i| format!("line {i}\n")).collect();
    wanted.extend((100_000..=200_000).map(|i| format!("{i}\n")));
    assert!(log.ends_with(&wanted), "every line once and in order");
    assert_eq!(log, format!("formwork: step 1 of 1: main\n{wanted}"));
    assert!(server.site().log_requests > 4);
    assert_eq!(server.site().ends.iter().filter(|(id, _)| id == "j1").count(), 1);
}

#[test]
fn a_failed_step_ends_the_job_and_says_which_and_how() {
    let server = Server::start();
    let table = [
        ("code", ExitCodes::Formwork, "exit 3", JobOutcome::Failed, Some(3), vec![]),
        ("sixty-four", ExitCodes::Formwork, "exit 64", JobOutcome::Failed, Some(64), vec![]),
        (
            "rebar-reboot",
            ExitCodes::DigitalRebar,
            "exit 192",
            JobOutcome::Done,
            Some(192),
            vec![JobRequest::Again, JobRequest::Reboot],
        ),
        ("signal", ExitCodes::DigitalRebar, "kill -KILL $$", JobOutcome::Failed, Some(137), vec![]),
        (
            "asked",
            ExitCodes::Formwork,
            "formwork agent request stop; formwork agent request stop",
            JobOutcome::Done,
            Some(0),
            vec![JobRequest::Stop],
        ),
        ("no-interpreter", ExitCodes::Formwork, "#!/no/such/program\n", JobOutcome::Failed, None, vec![]),
    ];
    for (job, codes, text, ..) in &table {
        let mut grant = script(job, text);
        grant.exit_codes = *codes;
        server.site().jobs.push_back(grant);
    }
    let _agent = Agent::start(&server);
    for (job, _, _, outcome, code, requests) in table {
        let end = server.end_of(job, PATIENCE);
        assert_eq!((end.outcome, end.exit_code, end.requests), (outcome, code, requests), "{job}");
        assert_eq!(end.message.is_some(), outcome == JobOutcome::Failed, "{job}");
    }
}

#[test]
fn a_timeout_ends_grandchildren_too_even_in_sessions_of_their_own() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let pid = |name: &str| dir.path().join(name).display().to_string();
    let mut job = script(
        "j1",
        &format!(
            "trap '' TERM\n(trap '' TERM; echo $(exec sh -c 'echo $PPID') >{}; while :; do sleep 0.2; done) &\n\
             setsid sh -c 'echo $$ >{}; exec sleep 600' &\nwhile :; do sleep 0.2; done",
            pid("child"),
            pid("session")
        ),
    );
    job.timeout_seconds = 2;
    server.site().jobs.push_back(job);
    server.site().jobs.push_back(script("j2", "echo next"));
    let begun = Instant::now();
    let _agent = Agent::start(&server);
    let end = server.end_of("j1", PATIENCE);
    assert_eq!(end.outcome, JobOutcome::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(40));
    for name in ["child", "session"] {
        let pid = std::fs::read_to_string(pid(name)).unwrap();
        assert!(!is_alive(&pid), "{name} {pid} lives");
    }
    server.end_of("j2", PATIENCE);
}

#[test]
fn a_job_that_is_no_longer_wanted_is_ended() {
    let server = Server::start();
    server.site().abandon = true;
    server.site().jobs.push_back(script("j1", "sleep 600"));
    let _agent = Agent::start(&server);
    assert_eq!(server.end_of("j1", PATIENCE).outcome, JobOutcome::Abandoned);
}

#[test]
fn work_stops_when_the_identity_is_no_longer_taken_and_goes_on_through_errors_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    for (code, stops) in [("quarantined", true), ("machine-gone", true), ("ticket-ended", true), ("http-409", false)] {
        let server = Server::start();
        let started = dir.path().join(code);
        server.site().jobs.push_back(script("j1", &format!("echo $$ >{}; exec sleep 600", started.display())));
        let _agent = Agent::start(&server);
        let pid = server.wait(PATIENCE, "the script's start", |_| {
            std::fs::read_to_string(&started).ok().filter(|pid| pid.ends_with('\n'))
        });
        let beats = server.wait(PATIENCE, "a heartbeat", |site| (site.heartbeats > 0).then_some(site.heartbeats));
        server.site().refuses = Some(code);
        if stops {
            server.wait(PATIENCE, "the script's end", |_| (!is_alive(&pid)).then_some(()));
        } else {
            // It is asked again, and the job is still there when the server is itself again.
            std::thread::sleep(Duration::from_secs(12));
            server.site().refuses = None;
            server.wait(PATIENCE, "another heartbeat", |site| (site.heartbeats > beats).then_some(()));
            assert!(is_alive(&pid));
        }
    }
}

#[test]
fn a_killed_agent_is_the_same_machine_when_it_comes_back_and_says_what_was_interrupted() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let started = dir.path().join("started");
    server.site().jobs.push_back(script("j1", &format!("echo before; echo $$ >{}; exec sleep 600", started.display())));
    let mut agent = Agent::start(&server);
    server
        .wait(PATIENCE, "the script's start", |_| std::fs::read_to_string(&started).ok().filter(|pid| !pid.is_empty()));
    let pid = std::fs::read_to_string(&started).unwrap();
    agent.restart();
    let end = server.end_of("j1", PATIENCE);
    assert_eq!(end.outcome, JobOutcome::Interrupted);
    assert!(!is_alive(&pid), "the script it left is ended");
    let log = server.log_of("j1");
    assert!(log.contains("before\n") && log.contains("started anew"), "{log}");
    assert_eq!(log.matches("before\n").count(), 1);
    assert_eq!(end.log_bytes, log.len() as u64);
    server.site().jobs.push_back(script("j2", "echo next"));
    assert_eq!(server.end_of("j2", PATIENCE).outcome, JobOutcome::Done);
    let keys = server.site().keys_seen.clone();
    assert!(keys.len() >= 2 && keys.iter().all(|key| *key == keys[0]), "the same key at each exchange");
}

#[test]
fn a_dead_token_is_exchanged_anew_and_work_goes_on() {
    let server = Server::start();
    server.site().short_tokens = true;
    server.site().jobs.push_back(script("j1", "formwork agent fact set a 1 && formwork agent fact set b '\"x\"'"));
    let _agent = Agent::start(&server);
    assert_eq!(server.end_of("j1", PATIENCE).outcome, JobOutcome::Done);
    let site = server.site();
    assert_eq!((&site.facts["a"], &site.facts["b"]), (&json!(1), &json!("x")));
    assert!(site.exchanges > 1);
}

#[test]
fn a_server_of_another_authority_gets_no_ticket() {
    let (server, other) = (Server::start(), Server::start());
    let mut agent = Agent::start(&server);
    let mut boot = server.boot_file(formwork::wire::BootFileKind::Boot);
    boot.server = format!("https://{}", other.address);
    std::fs::write(agent.path("boot.json"), serde_json::to_vec(&boot).unwrap()).unwrap();
    agent.restart();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(other.site().exchanges, 0);
}

#[test]
fn the_machine_boots_anew_when_it_is_told_to() {
    let server = Server::start();
    server.site().afterwards = Some(json!({"action": "reboot", "reason": "the next stage boots something else"}));
    let agent = Agent::start(&server);
    let said = server.wait(PATIENCE, "the reboot", |_| std::fs::read_to_string(agent.path("power")).ok());
    assert_eq!(said, "reboot\n");
}
