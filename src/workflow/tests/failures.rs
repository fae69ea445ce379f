//! Interruption, retries, silence, failure policies, fixing, and what tasks ask for.

use super::world::{Content, PLAIN, World, reason, word};
use crate::journal::{Ask, Event, LOCAL, RunStatus};
use crate::wire::{JobOutcome, JobRequest};

const BROKEN: JobOutcome = JobOutcome::Failed;

/// One stage in `ram` with tasks `first`, `second`, whose specs a test gives.
fn two<'a>(tasks: &'a [(&'a str, &'a str)]) -> Content<'a> {
    Content { machine: "workflow: walk", stages: &[("work", "bootEnv: ram, tasks: [first, second]")], tasks }
}

#[test]
fn an_open_job_is_given_again_in_the_same_boot() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (job, _) = world.job();
    for _ in 0..3 {
        let answer = world.agent();
        assert_eq!(word(&answer), format!("again {job}"));
        assert_eq!(answer.ask_again_ms, Some(180_000));
    }
    assert_eq!(word(&world.agent_with(Some(&job))), format!("again {job}"));
    assert_eq!(word(&world.agent_with(Some("job-9"))), "abandon job-9");
    assert_eq!(world.state.run.as_ref().unwrap().task("look", "see").unwrap().attempts, 1);
}

#[test]
fn another_boot_ends_the_open_job_as_interrupted_and_it_is_run_again() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (job, _) = world.job();
    // A script that is served ends nothing; only the check-in is a boot.
    assert_eq!(world.offer().as_deref(), Some("ram"));
    assert!(world.state.run.as_ref().unwrap().job.is_some());
    world.check_in("ram");
    let answer = world.agent();
    assert_eq!(word(&answer), "grant 0.0 attempt 2");
    assert!(matches!(
        world.last("job-ended"),
        Some(Event::JobEnded { job: ended, outcome: JobOutcome::Interrupted, .. }) if *ended == job
    ));
}

#[test]
fn a_task_that_says_so_fails_when_its_boot_ends_under_it() {
    let mut world = World::new(&two(&[("first", "onInterrupt: fail"), ("second", "")]));
    world.boot();
    world.job();
    world.boot();
    let answer = world.agent();
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).contains("onInterrupt: fail"), "{}", reason(&answer));
    world.person(Ask::Retry);
    assert_eq!(word(&world.agent()), "grant 0.0 attempt 2");
}

#[test]
fn interruptions_have_a_cap_of_their_own() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 1}"), ("second", "")]));
    world.boot();
    for _ in 0..6 {
        world.job();
        world.boot();
    }
    let answer = world.agent();
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).contains("its boot ended under it 6 times"), "{}", reason(&answer));
    assert_eq!(world.state.run.as_ref().unwrap().task("work", "first").unwrap().failures, 0);
}

#[test]
fn an_agent_that_lets_go_of_a_wanted_job_for_ever_is_stopped_too() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    for _ in 0..6 {
        assert_eq!(world.job_ends(JobOutcome::Abandoned, &[]), "first");
    }
    assert!(reason(&world.agent()).contains("its agent let go of it 6 times"));
}

#[test]
fn retries_back_off_and_end() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 3, backoff: 10s}"), ("second", "")]));
    world.boot();
    for pause in [10_000, 20_000, 40_000] {
        assert_eq!(world.fails(), "first");
        let answer = world.agent();
        assert_eq!((word(&answer).as_str(), answer.ask_again_ms), ("wait", Some(pause)));
        world.pass(i64::try_from(pause).unwrap() - 1);
        assert_eq!(world.agent().ask_again_ms, Some(1));
        world.pass(1);
    }
    assert_eq!(world.fails(), "first");
    let answer = world.agent();
    assert_eq!((word(&answer).as_str(), answer.ask_again_ms), ("wait", None));
    assert!(reason(&answer).contains("failed: exit code 1; push a fix, or `formwork retry node`"));
    world.pass(24 * 3600 * 1000);
    assert_eq!(word(&world.agent()), "wait");
}

#[test]
fn a_long_row_of_retries_never_pauses_longer_than_ten_minutes() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 40, backoff: 1m}"), ("second", "")]));
    world.boot();
    for _ in 0..40 {
        world.fails();
        let pause = world.agent().ask_again_ms.unwrap();
        assert!(pause <= 600_000);
        world.pass(i64::try_from(pause).unwrap());
    }
    world.fails();
    assert_eq!(world.agent().ask_again_ms, None);
}

#[test]
fn a_wall_clock_that_steps_back_only_delays() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 3, backoff: 10s}"), ("second", "")]));
    world.boot();
    world.fails();
    world.pass(-3_600_000);
    assert_eq!(world.agent().ask_again_ms, Some(10_000));
}

#[test]
fn a_silent_agent_loses_its_job_after_timeout_and_grace() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 1, backoff: 1s}"), ("second", "")]));
    world.boot();
    let (job, _) = world.job();
    world.pass(180_000);
    assert_eq!(word(&world.agent_with(Some(&job))), format!("again {job}"));
    world.pass(1);
    assert_eq!(word(&world.agent_with(Some(&job))), format!("abandon {job}"));
    assert!(matches!(world.last("job-ended"), Some(Event::JobEnded { outcome: JobOutcome::TimedOut, .. })));
    world.pass(1_000);
    assert_eq!(word(&world.agent()), "grant 0.0 attempt 2");
}

#[test]
fn what_follows_a_failure_is_the_stages_word() {
    let stages = |policy: &str| format!("bootEnv: ram, tasks: [first, second], onFailure: {policy}");
    // (policy, what comes after the first task failed)
    let table = [
        ("stop", "wait"),
        ("continue", "grant 0.1 attempt 1"),
        ("{goTo: later}", "reboot"),
        ("{goTo: between}", "grant 1.0 attempt 1"),
    ];
    for (policy, after) in table {
        let work = stages(policy);
        let stages = [
            ("work", work.as_str()),
            ("between", "bootEnv: ram, tasks: [third]"),
            ("later", "bootEnv: blue, tasks: [third]"),
        ];
        let tasks = [("first", ""), ("second", ""), ("third", "")];
        let mut world = World::new(&Content { machine: "workflow: walk", stages: &stages, tasks: &tasks });
        world.boot();
        world.fails();
        assert_eq!(word(&world.agent()), after, "{policy}");
    }
}

#[test]
fn what_failed_and_was_gone_past_is_not_run_again_by_a_retry_or_a_fix_of_what_came_later() {
    let stages =
        [("work", "bootEnv: ram, tasks: [first], onFailure: continue"), ("later", "bootEnv: ram, tasks: [second]")];
    let content = |script| {
        let tasks = [("first", ""), ("second", script)];
        World::new(&Content { machine: "workflow: walk", stages: &stages, tasks: &tasks })
    };
    let mut world = content("");
    world.boot();
    assert_eq!((world.fails(), world.fails()), ("first".into(), "second".into()));
    world.person(Ask::Retry);
    assert_eq!(word(&world.agent()), "grant 1.0 attempt 2");
    world.fails();
    let tasks = [("first", ""), ("second", "steps: [{name: s, script: fixed}]")];
    world.push("r2", &Content { machine: "workflow: walk", stages: &stages, tasks: &tasks });
    assert_eq!(world.done(), "second");
    assert!(reason(&world.agent()).contains("run 1 of walk is done"));
}

#[test]
fn an_interrupted_job_behind_a_jump_boots_the_environment_of_the_walk_and_not_of_what_was_jumped_over() {
    let stages = [
        ("work", "bootEnv: ram, tasks: [first], onFailure: {goTo: last}"),
        ("between", "bootEnv: blue, tasks: [second]"),
        ("last", "tasks: [third]"),
    ];
    let tasks = [("first", ""), ("second", ""), ("third", "")];
    let mut world = World::new(&Content { machine: "workflow: walk", stages: &stages, tasks: &tasks });
    world.boot();
    world.fails();
    world.job();
    assert_eq!(word(&world.firmware()), "boot ram");
}

#[test]
fn a_newer_revision_resumes_a_failed_run_by_what_changed_in_it() {
    let script = |text: &str| format!("steps: [{{name: s, script: {text}}}]");
    let (same, other) = (script("'true'"), script("other"));
    // (first task, second task, which events follow)
    let table: [(&str, &str, &[&str]); 4] = [
        (&same, &other, &["run-resumed"]),
        (&same, &same, &[]),
        (&other, &other, &["run-diverged"]),
        (&other, &same, &["run-diverged"]),
    ];
    for (first, second, events) in table {
        let mut world = World::new(&two(&[("first", &same), ("second", &same)]));
        world.boot();
        assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
        assert_eq!(word(&world.agent()), "wait");
        let before = world.records.len();
        world.push("r2", &two(&[("first", first), ("second", second)]));
        world.agent();
        assert_eq!(world.names_since(before), events, "{first} {second}");
    }
}

#[test]
fn a_fix_is_tried_once_and_the_next_one_once_more() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    world.fails();
    for (revision, script) in [("r2", "one"), ("r3", "two")] {
        let spec = format!("steps: [{{name: s, script: {script}}}]");
        world.push(revision, &two(&[("first", &spec), ("second", "")]));
        assert_eq!(world.fails(), "first");
        let before = world.records.len();
        assert_eq!(word(&world.agent()), "wait");
        assert_eq!(word(&world.agent()), "wait");
        assert_eq!(world.names_since(before), Vec::<String>::new());
        assert_eq!(world.state.run.as_ref().unwrap().revision, revision);
    }
}

#[test]
fn a_diverged_run_is_looked_at_once_and_goes_on_by_a_persons_word() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
    // A task before what is done: the walk would be another one.
    let stages = [("work", "bootEnv: ram, tasks: [new, first, second]")];
    let tasks = [("new", ""), ("first", ""), ("second", "")];
    world.push("r2", &Content { machine: "workflow: walk", stages: &stages, tasks: &tasks });
    let before = world.records.len();
    let answer = world.agent();
    assert!(reason(&answer).contains("diverged: task first, already done, is not in its place any more"));
    assert!(reason(&answer).contains("`formwork retry node`"));
    world.agent();
    assert_eq!(world.names_since(before), ["run-diverged"]);
    world.retry();
    assert_eq!(world.done(), "new", "what is new is run");
    assert_eq!(world.done(), "second", "and what is done is not run again, wherever it stands now");
    assert_eq!(world.agent().ask_again_ms, None);
    assert_eq!(world.state.run.as_ref().unwrap().status, RunStatus::Finished);
}

#[test]
fn a_failed_task_that_is_gone_diverges() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
    let stages = [("work", "bootEnv: ram, tasks: [first]")];
    world.push("r2", &Content { machine: "workflow: walk", stages: &stages, tasks: &[("first", "")] });
    assert!(reason(&world.agent()).contains("diverged: task second is not in its place any more"));
}

#[test]
fn a_skipped_task_that_changes_is_not_work_that_differs() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    world.fails();
    world.event(Event::TaskSkipped {
        run: 1,
        stage_index: 0,
        stage: "work".into(),
        task_index: 0,
        task: "first".into(),
        by: "anna".into(),
        reason: "by hand".into(),
    });
    assert_eq!(world.fails(), "second");
    let changed = "steps: [{name: s, script: other}]";
    world.push("r2", &two(&[("first", changed), ("second", changed)]));
    assert_eq!(word(&world.agent()), "grant 0.1 attempt 2");
}

#[test]
fn a_param_that_a_failed_task_declares_is_part_of_what_it_is_made_of() {
    let content = |machine: &'static str| Content {
        machine,
        stages: &[("work", "bootEnv: ram, tasks: [first]")],
        tasks: &[("first", "params: [{name: size}]")],
    };
    let mut world = World::new(&content("workflow: walk, params: {size: 1}"));
    world.boot();
    world.fails();
    world.push("r2", &content("workflow: walk, params: {size: 2}"));
    assert_eq!(word(&world.agent()), "grant 0.0 attempt 2");
}

#[test]
fn a_retry_starts_the_counters_anew() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 1, backoff: 1s}"), ("second", "")]));
    world.boot();
    for _ in 0..3 {
        world.fails();
        world.pass(1_000);
        world.fails();
        assert_eq!(world.agent().ask_again_ms, None);
        world.person(Ask::Retry);
    }
    assert_eq!(word(&world.agent()), "grant 0.0 attempt 7");
}

#[test]
fn a_stage_in_another_environment_is_a_reboot() {
    let mut world = World::new(&PLAIN);
    world.boot();
    for _ in 0..3 {
        world.done();
    }
    let answer = world.agent();
    assert_eq!((word(&answer).as_str(), reason(&answer)), ("reboot", "reboots into local for stage use"));
    assert_eq!(world.boot(), LOCAL);
}

#[test]
fn a_stage_with_a_fresh_boot_gets_one_and_only_one() {
    let stages =
        [("a", "bootEnv: ram, tasks: [first]"), ("b", "bootEnv: ram, tasks: [second, third], freshBoot: true")];
    let tasks = [("first", ""), ("second", ""), ("third", "")];
    let mut world = World::new(&Content { machine: "workflow: walk", stages: &stages, tasks: &tasks });
    world.boot();
    world.done();
    assert_eq!(word(&world.agent()), "reboot");
    world.boot();
    assert_eq!((world.done(), world.done()), ("second".into(), "third".into()));
}

#[test]
fn a_fresh_boot_on_the_disk_is_one_even_where_the_run_found_the_disk_up() {
    let stages = [("a", "bootEnv: local, tasks: [first], freshBoot: true")];
    let content = |machine| Content { machine, stages: &stages, tasks: &[("first", "")] };
    let mut world = World::new(&content("params: {}"));
    world.check_in("local");
    world.push("r2", &content("workflow: walk"));
    assert_eq!(word(&world.agent()), "reboot");
    world.boot();
    assert_eq!(world.done(), "first");
}

#[test]
fn what_a_task_asks_for_is_done_after_it() {
    // (request, the answer in this boot, the answer in the next)
    let table = [(JobRequest::Reboot, "reboot"), (JobRequest::Poweroff, "poweroff"), (JobRequest::Stop, "wait")];
    for (request, answer) in table {
        let mut world = World::new(&two(&[("first", ""), ("second", "")]));
        world.boot();
        assert_eq!(world.job_ends(JobOutcome::Done, &[request]), "first");
        assert_eq!(word(&world.agent()), answer);
        if request == JobRequest::Stop {
            assert_eq!(word(&world.firmware()), "boot ram");
            world.person(Ask::Retry);
        } else {
            world.boot();
        }
        assert_eq!(word(&world.agent()), "grant 0.1 attempt 1");
    }
}

#[test]
fn what_the_last_task_asks_for_is_done_though_the_run_is_finished() {
    for (request, answer) in [(JobRequest::Reboot, "reboot"), (JobRequest::Poweroff, "poweroff")] {
        let mut world = World::new(&two(&[("first", ""), ("second", "")]));
        world.boot();
        world.done();
        world.job_ends(JobOutcome::Done, &[request]);
        assert_eq!(word(&world.agent()), answer);
        assert_eq!(world.state.run.as_ref().unwrap().status, RunStatus::Finished);
        assert_eq!(world.boot(), LOCAL);
        assert_eq!(word(&world.agent()), "wait");
    }
}

#[test]
fn requests_of_a_task_that_failed_are_not_heard() {
    let mut world = World::new(&two(&[("first", "retries: {limit: 1, backoff: 1s}"), ("second", "")]));
    world.boot();
    world.job_ends(BROKEN, &[JobRequest::Poweroff, JobRequest::Again]);
    world.pass(1_000);
    assert_eq!(word(&world.agent()), "grant 0.0 attempt 2");
}

#[test]
fn again_runs_the_task_again_after_a_second_and_is_bounded() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    world.job_ends(JobOutcome::Done, &[JobRequest::Again]);
    assert_eq!(world.agent().ask_again_ms, Some(1_000));
    let mut count = 1;
    loop {
        world.pass(1_000);
        let answer = world.agent();
        if word(&answer) == "wait" {
            assert!(reason(&answer).contains("it asked to be run again 101 times"), "{}", reason(&answer));
            break;
        }
        world.job_ends(JobOutcome::Done, &[JobRequest::Again]);
        count += 1;
        assert!(count < 1000);
    }
    assert_eq!(count, 101);
}

#[test]
fn again_with_a_reboot_boots_first() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    world.job_ends(JobOutcome::Done, &[JobRequest::Again, JobRequest::Reboot]);
    world.pass(1_000);
    assert_eq!(word(&world.agent()), "reboot");
    world.boot();
    assert_eq!(world.done(), "first");
}

#[test]
fn a_skipped_task_counts_as_done_even_while_its_job_is_open() {
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    let (job, _) = world.job();
    world.event(Event::TaskSkipped {
        run: 1,
        stage_index: 0,
        stage: "work".into(),
        task_index: 0,
        task: "first".into(),
        by: "anna".into(),
        reason: "it hangs".into(),
    });
    assert_eq!(word(&world.agent_with(Some(&job))), format!("abandon {job}"));
    assert_eq!(word(&world.agent()), "grant 0.1 attempt 1");
}

#[test]
fn a_retry_after_the_end_changes_nothing_in_what_was_done() {
    let stages = [("work", "bootEnv: ram, tasks: [first], onFailure: continue")];
    let mut world = World::new(&Content { machine: "workflow: walk", stages: &stages, tasks: &[("first", "")] });
    world.boot();
    world.fails();
    assert_eq!(word(&world.agent()), "wait");
    let before = world.state.run.clone();
    world.person(Ask::Retry);
    assert_eq!(world.state.run, before);
}
