//! The processes of a job: which they are, and how all of them end.
//!
//! A step runs in a process group of its own and carries `FORMWORK_JOB` in its environment. A process belongs to the job when it
//! is in that group (and the group's leader is verified by its start time), when it descends from the leader, or when its
//! environment says so: a grandchild that made a session of its own is found too.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

/// A process that cannot be mistaken for another with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessRecord {
    /// Its number, and that of the process group it leads.
    pub pid: i32,
    /// When it started, in clock ticks since the kernel did (`/proc/PID/stat`, field 22).
    pub start_ticks: u64,
}

/// What matters of `/proc/PID/stat` (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessStat {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
    start_ticks: u64,
}

/// Reads a line of `/proc/PID/stat`. The command's name may hold spaces and brackets: fields count from the last `)`.
pub fn parse_stat(line: &str) -> Option<ProcessStat> {
    let (head, tail) = line.rsplit_once(')')?;
    let pid = head.split('(').next()?.trim().parse().ok()?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    Some(ProcessStat {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// Those of `all` that belong to the job whose current step is led by `leader`; `marked` says whether a process's environment
/// names the job and this agent. Zombies are not counted.
pub fn family(all: &[ProcessStat], leader: Option<ProcessRecord>, marked: &dyn Fn(i32) -> bool) -> BTreeSet<i32> {
    // The same number with another start time is a stranger: then the group's number is not ours either.
    let alive = leader.filter(|leader| all.iter().any(|p| p.pid == leader.pid && p.start_ticks == leader.start_ticks));
    let mut found = BTreeSet::new();
    loop {
        let before = found.len();
        for process in all.iter().filter(|p| p.state != 'Z') {
            let in_group = alive.is_some_and(|leader| process.group == leader.pid || process.parent == leader.pid);
            if in_group || found.contains(&process.parent) || marked(process.pid) {
                found.insert(process.pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The record of a process that runs.
pub fn record(pid: i32) -> Option<ProcessRecord> {
    let stat = parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(ProcessRecord { pid, start_ticks: stat.start_ticks })
}

fn all() -> Vec<ProcessStat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// How a process says whose it is: by its job, and by the agent that runs it.
#[derive(Debug, Clone)]
pub struct Mark {
    job: String,
    socket: String,
}

impl Mark {
    /// The mark of this job's processes.
    pub fn new(job: &str, socket: &std::path::Path) -> Self {
        Self { job: format!("FORMWORK_JOB={job}"), socket: format!("FORMWORK_SOCKET={}", socket.display()) }
    }

    fn is_on(&self, pid: i32) -> bool {
        let mut bytes = Vec::new();
        let Ok(file) = std::fs::File::open(format!("/proc/{pid}/environ")) else { return false };
        if file.take(1024 * 1024).read_to_end(&mut bytes).is_err() {
            return false;
        }
        let has = |wanted: &str| bytes.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes());
        has(&self.job) && has(&self.socket)
    }
}

/// Ends every process of the job: `SIGTERM` to the group, after `grace` `SIGKILL` to the whole family, again until none is
/// left. Says how many are left in spite of all (processes in an uninterruptible call).
pub fn end_family(leader: Option<ProcessRecord>, mark: &Mark, grace: Duration) -> usize {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let living = || {
        let mut found = family(&all(), leader, &|pid| mark.is_on(pid));
        found.remove(&own);
        found.remove(&1);
        found
    };
    let mut left = living();
    if let Some(leader) = leader.filter(|leader| !grace.is_zero() && left.contains(&leader.pid)) {
        if let Some(pid) = Pid::from_raw(leader.pid) {
            let _ = kill_process_group(pid, Signal::TERM); // gone already is as good
        }
        let end = Instant::now() + grace;
        while !left.is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = living();
        }
    }
    let end = Instant::now() + Duration::from_secs(5);
    while !left.is_empty() && Instant::now() < end {
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(20));
        left = living();
    }
    left.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn process(pid: i32, parent: i32, group: i32, start_ticks: u64) -> ProcessStat {
        ProcessStat { pid, state: 'S', parent, group, start_ticks }
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_command_is_called() {
        let line = "12 (a) S 1 (b)) S 7 12 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2";
        let read = parse_stat(line).unwrap();
        assert_eq!((read.pid, read.parent, read.group, read.start_ticks), (12, 7, 12, 987_654));
    }

    #[test]
    fn a_family_is_its_group_its_descendants_and_whoever_says_so() {
        let leader = ProcessRecord { pid: 10, start_ticks: 100 };
        let all = [
            process(10, 5, 10, 100),  // the script
            process(11, 10, 10, 101), // in its group
            process(12, 11, 12, 102), // a session of its own, still a descendant
            process(13, 1, 13, 103),  // a daemon, known by its environment
            process(20, 1, 20, 50),   // somebody else
        ];
        assert_eq!(family(&all, Some(leader), &|pid| pid == 13), BTreeSet::from([10, 11, 12, 13]));
    }

    #[test]
    fn a_number_used_again_by_a_stranger_is_left_alone() {
        let leader = ProcessRecord { pid: 10, start_ticks: 100 };
        let all = [process(10, 1, 10, 999), process(11, 10, 10, 1000)];
        assert_eq!(family(&all, Some(leader), &|_| false), BTreeSet::new());
    }

    #[test]
    fn a_group_whose_leader_is_gone_is_ours_only_where_its_environment_says_so() {
        let leader = ProcessRecord { pid: 10, start_ticks: 100 };
        let all = [process(11, 1, 10, 101), process(12, 1, 10, 102)];
        assert_eq!(family(&all, Some(leader), &|pid| pid == 12), BTreeSet::from([12]));
    }

    proptest! {
        #[test]
        fn no_line_makes_the_stat_reader_panic(line in ".{0,300}") {
            let _ = parse_stat(&line);
        }
    }
}
