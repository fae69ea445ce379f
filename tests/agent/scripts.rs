//! `formwork agent …` from scripts: the cluster, facts, disks.

use crate::server::{Server, script};
use crate::{Agent, PATIENCE};
use formwork::wire::{DestructiveGrant, JobOutcome};
use serde_json::json;

/// Runs one script on an agent and gives what it printed after `--`, and how it ended.
fn run(server: &Server, text: &str) -> (String, JobOutcome) {
    server.site().jobs.push_back(script("j1", text));
    let agent = Agent::start(server);
    let end = server.end_of("j1", PATIENCE);
    drop(agent);
    (server.log_of("j1").replace("formwork: step 1 of 1: main\n", ""), end.outcome)
}

#[test]
fn the_leader_runs_publishes_and_is_done_even_when_replies_are_lost() {
    let server = Server::start();
    server.site().claim_losses = 2;
    let (log, outcome) = run(
        &server,
        r#"formwork agent cluster elect init --ttl 2s --publish out.json --follower 'echo never' \
             --leader 'echo leading $FORMWORK_FENCE; sleep 2; printf "{\"join\": \"kubeadm join\"}" >out.json'
           echo "elect $?"
           formwork agent cluster elect init --leader 'echo again'; echo "elect $?"
           formwork agent cluster get join --wait 5s; echo " get $?""#,
    );
    assert_eq!(outcome, JobOutcome::Done, "{log}");
    assert_eq!(log, "leading 42\nelect 0\nelect 0\nkubeadm join get 0\n");
    let site = server.site();
    assert!(site.renewals >= 1, "a claim that lives two seconds was renewed while its leader worked");
    let keys = &site.idempotency_keys;
    assert_eq!(keys[0], keys[1], "a question asked again has the same key");
    assert_eq!(keys[0], keys[2]);
    assert_ne!(keys[2], keys[3], "another question has another");
}

#[test]
fn a_leader_that_fails_lets_another_try() {
    let server = Server::start();
    let (log, _) = run(&server, "formwork agent cluster elect init --leader 'exit 7'; echo elect $?");
    assert_eq!(log, "elect 7\n");
    assert!(server.site().cluster["failed"].starts_with("fence=42&retry=true&reason="));
    assert!(!server.site().claim_done);
}

#[test]
fn exit_codes_tell_followers_dead_producers_and_late_values_apart() {
    let server = Server::start();
    server.site().claim_role = "follower".into();
    let (log, _) = run(
        &server,
        r#"formwork agent cluster elect init --leader 'echo never'; echo "no follower command $?"
           formwork agent cluster elect init --leader 'echo never' --follower 'echo following; exit 5'; echo "follower $?"
           formwork agent cluster get absent 2>/dev/null; echo "absent $?"
           formwork agent cluster get absent --wait 1s 2>/dev/null; echo "late $?"
           formwork agent cluster get absent --wait 1m --of broken 2>/dev/null; echo "producer $?"
           formwork agent cluster put key --value v 2>/dev/null; echo "no condition $?"
           printf piped | formwork agent cluster put key --create; formwork agent cluster get key; echo " $?"
           formwork agent cluster get key --cluster other 2>/dev/null; echo "other cluster $?"
           formwork agent nonsense 2>/dev/null; echo "nonsense $?""#,
    );
    let wanted = "no follower command 10\nfollowing\nfollower 5\nabsent 1\nlate 28\nproducer 24\nno condition 2\n\
                  piped 0\nother cluster 1\nnonsense 2\n";
    assert_eq!(log.lines().filter(|line| !line.is_empty()).map(|l| format!("{l}\n")).collect::<String>(), wanted);
}

#[test]
fn a_wrong_capability_and_a_finished_job_are_not_answered() {
    let server = Server::start();
    let (log, _) = run(
        &server,
        "FORMWORK_CAPABILITY=wrong formwork agent fact set stolen 1; echo $?; formwork agent fact set own 1; echo $?",
    );
    assert!(log.ends_with("1\n0\n") && log.contains("of no job that runs now"), "{log}");
    assert!(server.site().facts.contains_key("own") && !server.site().facts.contains_key("stolen"));
}

#[test]
fn facts_inventory_and_log_lines_reach_the_server() {
    let server = Server::start();
    let (log, outcome) = run(
        &server,
        "formwork agent inventory >/dev/null && formwork agent fact set release bookworm && \
         echo '[1]' | formwork agent fact set list && formwork agent log hello there",
    );
    assert_eq!(outcome, JobOutcome::Done, "{log}");
    let site = server.site();
    assert_eq!((&site.facts["release"], &site.facts["list"]), (&json!("bookworm"), &json!([1])));
    assert!(site.facts["cpu"]["threads"].as_u64() > Some(0) && site.facts.contains_key("disks"));
    assert!(log.contains("hello there\n"));
}

#[test]
fn an_image_comes_over_broken_connections_and_only_onto_a_claimed_disk() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let image: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let sum: String =
        ring::digest::digest(&ring::digest::SHA256, &image).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    server.site().files.insert("image.raw".into(), image.clone());
    server.site().break_files_at = vec![5_000_000, 1_000_000];
    // More than the failures after which a download is given up: who waits for its turn has not failed.
    server.site().busy_files = 9;
    let mut job = script(
        "j1",
        &format!(
            "write='formwork agent disk write-image {disk} --url http://{address}/files/image.raw --sha256'\n\
             $write {sum}; echo unclaimed $?\n\
             formwork agent disk claim {disk} && formwork agent disk zero {disk} && $write {sum}; echo claimed $?\n\
             formwork agent disk inspect {disk}\n\
             $write {wrong}; echo wrong $?\n\
             formwork agent disk ticket --to {ticket} && stat -c %a {ticket}",
            disk = disk.display(),
            address = server.address,
            wrong = "0".repeat(64),
            ticket = dir.path().join("boot.json").display(),
        ),
    );
    job.destructive = Some(DestructiveGrant {
        site: "lab".into(),
        machine: "node-1".into(),
        run: 1,
        begun_unix_ms: None,
        wipe: false,
    });
    server.site().jobs.push_back(job);
    let _agent = Agent::start(&server);
    server.end_of("j1", PATIENCE);
    let log = server.log_of("j1");
    for line in [
        "unclaimed 1\n",
        "claimed 0\n",
        "taken up again",
        "waits for its turn",
        "read back and equal",
        r#"{"state":"marked","site":"lab","machine":"node-1","run":1}"#,
        "wrong 1\n",
        "600\n",
    ] {
        assert!(log.contains(line), "{line} is not in the log:\n{log}");
    }
    assert!(std::fs::read(&disk).unwrap()[..image.len()] == image[..]);
}

#[test]
fn a_job_without_leave_changes_no_disk() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(4 << 20).unwrap();
    let path = disk.display();
    let (log, _) =
        run(&server, &format!("formwork agent disk claim {path}; echo $?; formwork agent disk zero {path}; echo $?"));
    assert_eq!(log.matches("may not change disks").count(), 2, "{log}");
    assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0));
}
