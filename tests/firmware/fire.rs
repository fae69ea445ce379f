//! Runs under fire on real firmware: machines walk the demo's workflow (from a blank disk to a member of an etcd cluster), while
//! the server is killed, their power is cut, their reset button is pressed and their agents are killed at seeded random moments. Then
//! what the server wrote down is held against what the machines said on their consoles, which no server sees.
//!
//! `scripts/test` leaves this out, for its length: `scripts/fire --long` runs it. By itself it is three faults on one machine;
//! `FORMWORK_FIRE_FAULTS`, `FORMWORK_FIRE_MACHINES` (1 to 3) and `FORMWORK_FIRE_SEED` say otherwise.

use super::site::{Site, images};
use super::{checksum, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The longest that one round may take: an emulated machine needs some minutes from blank to member.
const ROUND: Duration = Duration::from_secs(45 * 60);
/// Lines that each counting task prints.
const LINES: u64 = 40;
/// The tasks that count; the workflow has more.
const COUNTING: [&str; 2] = ["count-in-memory", "count-on-disk"];

/// A task that says who it is on the console before its end, which the server knows nothing of. In line `kill_at` of its first
/// two attempts it kills the agent, by the machine's own means: more would be too many interruptions of one task, beside the others.
fn counting(name: &str, kill_at: u64) -> String {
    format!(
        r#"---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {{name: {name}}}
spec:
  timeout: 10m
  steps:
    - name: count
      script: |
        for i in $(seq {LINES}); do
          echo "line $FORMWORK_JOB $i"
          if [ "$i" = {kill_at} ] && [ "$FORMWORK_ATTEMPT" -le 2 ]; then
            echo "fire: $FORMWORK_JOB kills its agent" >/dev/ttyS0
            kill -9 $(pidof formwork-agent)
            sleep 60
            exit 1
          fi
          sleep 0.2
        done
        echo "fire: $FORMWORK_JOB is done" >/dev/ttyS0
"#
    )
}

/// Numbers from a seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn name(number: u64) -> String {
    format!("node-{number}")
}

fn mac(number: u64) -> String {
    format!("52:54:00:00:00:0{number}")
}

/// The demo's site for so many machines in their so-many-th run.
fn content(machines: u64, run: u64, dice: &mut Dice, image: &str) -> Vec<(String, String)> {
    let example = root().join("examples/etcd-cluster");
    let read = |path: &str| std::fs::read_to_string(example.join(path)).expect("a file of the example");
    let replaced = |path: &str, changes: &[(&str, &str)]| {
        let mut text = read(path);
        for (from, to) in changes {
            assert!(text.contains(from), "{path} has no `{from}` any more");
            text = text.replace(from, to);
        }
        (path.to_owned(), text)
    };
    // All disks go, so the cluster is built anew with them.
    let cluster = [("size: 3", format!("size: {machines}")), ("run: 1", format!("run: {run}"))];
    let cluster: Vec<(&str, &str)> = cluster.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let nothing = "0".repeat(64);
    let mut files = vec![
        replaced("site.yaml", &[]),
        replaced("networks/rack-1.yaml", &[]),
        replaced("profiles/lab-defaults.yaml", &[]),
        replaced("profiles/image.yaml", &[(&nothing, image)]),
        replaced("clusters/etcd-lab.yaml", &cluster),
        replaced(
            "workflows/etcd-node.yaml",
            &[
                ("    - discover ", "    - count-in-memory\n    - discover "),
                ("    - join ", "    - count-on-disk\n    - join "),
            ],
        ),
    ];
    let (in_memory, on_disk) = (1 + dice.below(LINES), 1 + dice.below(LINES));
    files.push((
        "counting.yaml".to_owned(),
        format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Stage\nmetadata: {{name: count-in-memory}}\n\
             spec: {{bootEnv: discovery.discovery, tasks: [count-in-memory]}}\n---\n\
             apiVersion: formwork.dev/v1alpha1\nkind: Stage\nmetadata: {{name: count-on-disk}}\n\
             spec: {{bootEnv: local, tasks: [count-on-disk]}}\n{}{}",
            counting(COUNTING[0], in_memory),
            counting(COUNTING[1], on_disk)
        ),
    ));
    for number in 1..=machines {
        let machine = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {}}}\nspec:\n  match: {{macs: [\"{}\"]}}\n  \
             address: 10.77.0.1{number}\n  profiles: [debian-etcd, etcd-lab]\n  workflow: etcd-node\n  run: {run}\n",
            name(number),
            mac(number)
        );
        files.push((format!("machines/{}.yaml", name(number)), machine));
    }
    files
}

/// How often each fault was done.
#[derive(Debug, Default)]
struct Faults {
    servers_killed: u64,
    power_cuts: u64,
    resets: u64,
}

impl Faults {
    fn all(&self) -> u64 {
        self.servers_killed + self.power_cuts + self.resets
    }

    /// One more, on the server or on one of the machines.
    fn one_more(&mut self, site: &mut Site, machines: u64, dice: &mut Dice) {
        let victim = 1 + dice.below(machines);
        let pause = Duration::from_millis(dice.below(3_000));
        // By turns, so that few faults are of all kinds; when and on whom is chance.
        match self.all() % 3 {
            0 => {
                println!("fire: the server is killed, and starts again after {pause:?}");
                site.kill_server();
                std::thread::sleep(pause);
                site.serve();
                self.servers_killed += 1;
            }
            1 => {
                println!("fire: the power of {} goes, and comes again after {pause:?}", name(victim));
                site.power_cut(&name(victim));
                std::thread::sleep(pause);
                site.power_on(&name(victim), &mac(victim));
                self.power_cuts += 1;
            }
            _ => {
                println!("fire: the reset button of {} is pressed", name(victim));
                site.reset(&name(victim));
                self.resets += 1;
            }
        }
    }
}

/// Walks the machines through one run, with faults until there were so many.
fn round(site: &mut Site, machines: u64, run: u64, wanted: u64, faults: &mut Faults, dice: &mut Dice) {
    let began = Instant::now();
    let finished = |site: &Site| (1..=machines).all(|number| site.count(&name(number), "run-finished") as u64 == run);
    loop {
        let pause = Duration::from_millis(3_000 + dice.below(22_000));
        let next = Instant::now() + pause;
        loop {
            if finished(site) {
                return;
            }
            for number in 1..=machines {
                let machine = site.machine(&name(number));
                assert_ne!(machine["phase"], "failed", "{}: {}", name(number), machine["waitsFor"]);
            }
            assert!(began.elapsed() < ROUND, "run {run} is not done within {ROUND:?}:\n{}", site.words());
            if faults.all() < wanted && Instant::now() >= next {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        faults.one_more(site, machines, dice);
    }
}

#[test]
fn what_the_server_wrote_is_what_real_machines_did_however_often_anybody_is_killed() {
    let Some(images) = images() else { return println!("SKIPPED: no images; scripts/build-images makes them") };
    let from_environment = |name: &str, otherwise: u64| -> u64 {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let machines = from_environment("FORMWORK_FIRE_MACHINES", 1).clamp(1, 3);
    let wanted = from_environment("FORMWORK_FIRE_FAULTS", 3);
    let seed = from_environment("FORMWORK_FIRE_SEED", 1);
    let (mut dice, mut faults, image) = (Dice(seed), Faults::default(), checksum(&images));
    let files = content(machines, 1, &mut dice, &image);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut site = Site::new(images, &files);
    site.create(true);
    site.serve();
    for number in 1..=machines {
        site.power_on(&name(number), &mac(number));
    }
    let mut runs = 1;
    loop {
        round(&mut site, machines, runs, wanted, &mut faults, &mut dice);
        println!("fire: seed {seed}: run {runs} of {machines} machines is done, {faults:?} so far");
        if faults.all() >= wanted {
            break;
        }
        runs += 1;
        let files = content(machines, runs, &mut dice, &image);
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        site.commit("all of it anew", &files);
    }
    // Once more: what was answered must be on the disk.
    site.kill_server();
    site.serve();
    let found = Evidence::of(&site, machines, runs).violations();
    assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
}

/// What is seen afterwards.
struct Evidence {
    machines: u64,
    runs: u64,
    /// Events by machine.
    events: BTreeMap<String, Vec<Value>>,
    /// Events of the cluster.
    cluster: Vec<Value>,
    /// What machines said on their consoles.
    consoles: BTreeMap<String, String>,
    /// Logs of counting jobs.
    logs: BTreeMap<String, String>,
    /// What each machine's last task said.
    health: BTreeMap<String, String>,
}

fn word<'a>(record: &'a Value, name: &str) -> &'a str {
    record["event"][name].as_str().unwrap_or_default()
}

impl Evidence {
    fn of(site: &Site, machines: u64, runs: u64) -> Self {
        let mut evidence = Self {
            machines,
            runs,
            events: BTreeMap::new(),
            cluster: site.all_events().into_iter().filter(|record| !record["stream"]["cluster"].is_null()).collect(),
            consoles: BTreeMap::new(),
            logs: BTreeMap::new(),
            health: BTreeMap::new(),
        };
        for machine in (1..=machines).map(name) {
            let events = site.events(&machine);
            for granted in events.iter().filter(|record| word(record, "type") == "job-granted") {
                if COUNTING.contains(&word(granted, "task")) {
                    let job = word(granted, "job").to_owned();
                    let output = site.formwork(&["logs", &job]).output().expect("logs");
                    evidence.logs.insert(job, String::from_utf8_lossy(&output.stdout).into_owned());
                }
            }
            let console = site.folder.path().join("lab/machines").join(&machine).join("console.log");
            let console = std::fs::read(&console).expect("a console");
            evidence.consoles.insert(machine.clone(), String::from_utf8_lossy(&console).into_owned());
            evidence.health.insert(machine.clone(), site.log(&machine, "etcd.health"));
            evidence.events.insert(machine, events);
        }
        evidence
    }

    /// What is wrong; empty: nothing.
    fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (machine, events) in &self.events {
            self.runs_of(machine, events, &mut wrong);
            self.jobs_of(machine, events, &mut wrong);
            let health = self.health.get(machine).map_or("", String::as_str);
            let lines = |what: &str| health.lines().filter(|line| line.contains(what)).count() as u64;
            if lines(": member ") != self.machines || lines(": written on ") != self.machines - 1 {
                wrong.push(format!("{machine} does not see all {} members of one cluster:\n{health}", self.machines));
            }
        }
        self.cluster_of_all(&mut wrong);
        let killed = self.consoles.values().map(|console| console.matches(" kills its agent").count()).sum::<usize>();
        if killed == 0 {
            wrong.push("no agent was killed".to_owned());
        }
        wrong
    }

    /// Every run has begun and ended once, with each of its tasks done once.
    fn runs_of(&self, machine: &str, events: &[Value], wrong: &mut Vec<String>) {
        for kind in ["run-started", "run-finished"] {
            let numbers: Vec<u64> = events
                .iter()
                .filter(|record| word(record, "type") == kind)
                .filter_map(|record| record["event"]["run"].as_u64())
                .collect();
            if numbers != (1..=self.runs).collect::<Vec<_>>() {
                wrong.push(format!("{machine}: {kind} of runs {numbers:?}, and there were {}", self.runs));
            }
        }
        let (mut granted, mut done) = (BTreeMap::new(), BTreeMap::<(u64, &str), u64>::new());
        for record in events {
            match word(record, "type") {
                "job-granted" => {
                    let task = (record["event"]["run"].as_u64().unwrap_or_default(), word(record, "task"));
                    granted.insert(word(record, "job"), task);
                    done.entry(task).or_default();
                }
                "job-ended" if word(record, "outcome") == "done" => match granted.get(word(record, "job")) {
                    Some(task) => *done.entry(*task).or_default() += 1,
                    None => wrong.push(format!("{machine}: a job ended that was never granted: {record}")),
                },
                _ => {}
            }
        }
        for ((run, task), times) in &done {
            if *times != 1 {
                wrong.push(format!("{machine}: task {task} of run {run} is recorded as done {times} times"));
            }
        }
        let tasks = |run: u64| done.keys().filter(|(of, _)| *of == run).map(|(_, task)| *task).collect::<BTreeSet<_>>();
        for run in 1..=self.runs {
            let tasks = tasks(run);
            if tasks.len() < 10 || !COUNTING.iter().all(|task| tasks.contains(task)) {
                wrong.push(format!("{machine}: run {run} had only the tasks {tasks:?}"));
            }
        }
    }

    /// What is recorded as done was done, by the machine's own word on its console; no line of its log is lost or doubled.
    fn jobs_of(&self, machine: &str, events: &[Value], wrong: &mut Vec<String>) {
        let console = self.consoles.get(machine).map_or("", String::as_str);
        for (job, log) in &self.logs {
            let its_own = |record: &&Value| word(record, "job") == job;
            if !events.iter().any(|record| its_own(&record)) {
                continue;
            }
            let end = events.iter().filter(its_own).find(|record| word(record, "type") == "job-ended");
            let outcome = end.map_or("", |record| word(record, "outcome"));
            let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("line ")).collect();
            let should: Vec<String> = (1..=LINES).map(|number| format!("line {job} {number}")).collect();
            if !should.iter().map(String::as_str).zip(&lines).all(|(should, line)| should == *line)
                || lines.len() > should.len()
            {
                wrong.push(format!("{machine}: the log of job {job} lost or doubled a line:\n{log}"));
            }
            if outcome == "done" && lines.len() != should.len() {
                wrong.push(format!("{machine}: job {job} is done, and its log has {} lines of {LINES}", lines.len()));
            }
            if outcome == "done" && !console.contains(&format!("fire: {job} is done")) {
                wrong.push(format!("{machine}: job {job} is recorded as done, and the machine never said so"));
            }
            let killed = console.contains(&format!("fire: {job} kills its agent"));
            if killed && !["interrupted", "abandoned"].contains(&outcome) {
                wrong.push(format!("{machine}: job {job} killed its agent, and is recorded as {outcome:?}"));
            }
        }
    }

    /// In each epoch one machine leads to the end, and barriers open to all.
    fn cluster_of_all(&self, wrong: &mut Vec<String>) {
        let claims =
            self.cluster.iter().filter(|record| word(record, "type") == "claim" && word(record, "change") == "done");
        let claims = claims.count() as u64;
        if claims != self.runs {
            wrong.push(format!("{claims} elections were won to the end in {} epochs", self.runs));
        }
        let mut opened = 0;
        for record in self.cluster.iter().filter(|record| word(record, "type") == "barrier-opened") {
            opened += 1;
            if record["event"]["count"].as_u64() != Some(self.machines) {
                wrong.push(format!("a barrier opened short: {record}"));
            }
        }
        if opened == 0 {
            wrong.push("no barrier ever opened".to_owned());
        }
    }
}

/// What is made wrong with the evidence, and in what words.
type Change<'a> = (&'static str, &'a dyn Fn(&mut Evidence));

#[test]
fn the_check_of_the_evidence_sees_what_is_wrong_with_it() {
    let event = |text: Value| serde_json::json!({"event": text});
    let mut events = vec![event(serde_json::json!({"type": "run-started", "run": 1}))];
    let mut tasks: Vec<String> = COUNTING.iter().map(|task| (*task).to_owned()).collect();
    tasks.extend((0..8).map(|number| format!("task-{number}")));
    for task in &tasks {
        let job = format!("job-{task}");
        events.push(event(serde_json::json!({"type": "job-granted", "job": job, "run": 1, "task": task})));
        events.push(event(serde_json::json!({"type": "job-ended", "job": job, "outcome": "done"})));
    }
    events.push(event(serde_json::json!({"type": "run-finished", "run": 1})));
    let killed = "killed";
    events.push(event(serde_json::json!({"type": "job-granted", "job": killed, "run": 1, "task": COUNTING[0]})));
    events.push(event(serde_json::json!({"type": "job-ended", "job": killed, "outcome": "interrupted"})));
    let log = |job: &str, lines: u64| (1..=lines).map(|number| format!("line {job} {number}\n")).collect::<String>();
    let jobs = COUNTING.map(|task| format!("job-{task}"));
    let good = || Evidence {
        machines: 1,
        runs: 1,
        events: BTreeMap::from([(name(1), events.clone())]),
        cluster: vec![
            event(serde_json::json!({"type": "claim", "change": "done"})),
            event(serde_json::json!({"type": "barrier-opened", "count": 1})),
        ],
        consoles: BTreeMap::from([(
            name(1),
            format!("fire: {killed} kills its agent\nfire: {} is done\nfire: {} is done\n", jobs[0], jobs[1]),
        )]),
        logs: [(killed.to_owned(), log(killed, 7))]
            .into_iter()
            .chain(jobs.clone().map(|job| (job.clone(), log(&job, LINES))))
            .collect(),
        health: BTreeMap::from([(name(1), "etcd: member 1 is node-1, started\n".to_owned())]),
    };
    assert_eq!(good().violations(), Vec::<String>::new());
    let changes: [Change<'_>; 9] = [
        ("a run without an end", &|evidence| {
            let events = evidence.events.get_mut(&name(1)).expect("events");
            events.retain(|record| word(record, "type") != "run-finished");
        }),
        ("a task done twice", &|evidence| {
            let events = evidence.events.get_mut(&name(1)).expect("events");
            events.push(event(serde_json::json!({"type": "job-ended", "job": "job-task-0", "outcome": "done"})));
        }),
        ("a job recorded as done that the machine did not do", &|evidence| {
            let console = evidence.consoles.get_mut(&name(1)).expect("a console");
            *console = console.replace(&format!("fire: {} is done", jobs[1]), "");
        }),
        ("a killed agent whose job is done", &|evidence| {
            let console = evidence.consoles.get_mut(&name(1)).expect("a console");
            console.push_str(&format!("fire: {} kills its agent\n", jobs[0]));
        }),
        ("a lost line", &|evidence| {
            let log = evidence.logs.get_mut(&jobs[0]).expect("a log");
            *log = log.replace(&format!("line {} 9\n", jobs[0]), "");
        }),
        ("a doubled line of a job that was cut short", &|evidence| {
            evidence.logs.get_mut(killed).expect("a log").push_str(&format!("line {killed} 7\n"));
        }),
        ("a second leader", &|evidence| {
            evidence.cluster.push(event(serde_json::json!({"type": "claim", "change": "done"})));
        }),
        ("a barrier that opened short", &|evidence| {
            evidence.cluster.push(event(serde_json::json!({"type": "barrier-opened", "count": 0})));
        }),
        ("a member that is not there", &|evidence| {
            evidence.health.insert(name(1), String::new());
        }),
    ];
    for (what, change) in changes {
        let mut evidence = good();
        change(&mut evidence);
        assert!(!evidence.violations().is_empty(), "the check does not see {what}");
    }
}

#[test]
fn the_content_under_fire_is_the_demos_and_compiles() {
    for machines in 1..=3 {
        let files = content(machines, 2, &mut Dice(1), &"a".repeat(64));
        assert_eq!(files.iter().filter(|(path, _)| path.starts_with("machines/")).count() as u64, machines);
        let tree = formwork::content::Tree::from_texts(files);
        let catalog = formwork::catalog::from_tree(&tree, &formwork::catalog::builtin_packs(), "fire");
        let catalog = catalog.unwrap_or_else(|findings| panic!("{findings}"));
        assert!(catalog.warnings.to_string().is_empty(), "{}", catalog.warnings);
    }
}
