//! What simulated machines did and saw, in the order in which it happened in this process: the truth that a server's own record
//! can be held against. It is kept outside every machine, so what a power cut makes a machine forget is still here.

use crate::wire::JobOutcome;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Milliseconds since the simulation began.
    pub at_ms: u64,
    /// The machine's name.
    pub machine: String,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What a machine did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "what")]
pub enum Fact {
    /// Its agent checked in.
    Boots {
        /// The environment.
        environment: String,
    },
    /// It began a job.
    Works {
        /// The job.
        job: String,
        /// Its run.
        run: u64,
        /// The task.
        task: String,
    },
    /// A job is over for the machine; said before the server is told.
    Ends {
        /// The job.
        job: String,
        /// How.
        outcome: JobOutcome,
        /// Lines of its log, all.
        lines: u64,
    },
    /// Power went, or the agent was killed.
    Stops {
        /// Power went: all is forgotten but the disk. Else the agent alone.
        power: bool,
        /// The job that it was at.
        job: Option<String>,
        /// Lines that it had printed.
        lines: u64,
    },
    /// It was told that it leads.
    Leads {
        /// The cluster.
        cluster: String,
        /// The claim.
        claim: String,
        /// The fence.
        fence: u64,
    },
    /// It was told that its claim is done.
    Concludes {
        /// The cluster.
        cluster: String,
        /// The claim.
        claim: String,
        /// The fence.
        fence: u64,
    },
    /// It joins a set; said before the server is asked.
    Joins {
        /// The cluster.
        cluster: String,
        /// The set.
        set: String,
    },
    /// It was told that a barrier is open.
    Passes {
        /// The cluster.
        cluster: String,
        /// The set.
        set: String,
        /// What was waited for: `all` or a number.
        count: String,
        /// Its place in the set.
        ordinal: u64,
    },
}

/// Writes entries to a file, a line each, until that fails: after an error nothing more is written.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Writer {
    /// To this file.
    pub fn to(file: File) -> Self {
        Self { file: BufWriter::new(file), failed: None }
    }

    /// One entry. An error is told by [`Writer::finish`].
    pub fn write(&mut self, entry: &Entry) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_writer(&mut self.file, entry).map_err(io::Error::from);
        self.failed = written.and_then(|()| self.file.write_all(b"\n")).err();
    }

    /// Brings all to the file; the first error, where not all is there.
    pub fn finish(&mut self) -> Option<io::Error> {
        self.failed.take().or_else(|| self.file.flush().err())
    }
}

/// A line of a simulated job's log. Each says which it is, so that a lost or doubled one shows.
pub fn line(job: &str, number: u64) -> String {
    format!("{job} line {number:06} of a simulated task's output\n")
}

/// How many whole lines a log has, if it is nothing but the lines of this job from the first on.
///
/// # Errors
/// The number of the first line that is not as it must be.
pub fn count_lines(job: &str, log: &[u8]) -> Result<u64, u64> {
    let (mut number, mut rest) = (0, log);
    while !rest.is_empty() {
        number += 1;
        rest = rest.strip_prefix(line(job, number).as_bytes()).ok_or(number)?;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_cannot_be_written_is_told() {
        let entry = |environment: &str| {
            let fact = Fact::Boots { environment: environment.to_owned() };
            Entry { at_ms: 1, machine: "simulated-1".to_owned(), fact }
        };
        // A device that is always full: told when it is flushed, and when more is written than is kept in memory.
        for environment in ["ram".to_owned(), "x".repeat(1 << 20)] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let mut record = Writer::to(full);
            record.write(&entry(&environment));
            record.write(&entry("ram"));
            assert_eq!(record.finish().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut record = Writer::to(file.reopen().unwrap());
        record.write(&entry("ram"));
        assert!(record.finish().is_none());
        let read: Entry = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(read, entry("ram"));
    }

    #[test]
    fn a_log_with_a_lost_a_doubled_or_a_torn_line_is_noticed() {
        let lines: Vec<String> = (1..=4).map(|number| line("j", number)).collect();
        let log = |places: &[usize]| places.iter().map(|place| lines[*place].as_str()).collect::<String>();
        assert_eq!(count_lines("j", log(&[0, 1, 2, 3]).as_bytes()), Ok(4));
        assert_eq!(count_lines("j", b""), Ok(0));
        assert_eq!(count_lines("j", log(&[0, 2]).as_bytes()), Err(2));
        assert_eq!(count_lines("j", log(&[0, 1, 1]).as_bytes()), Err(3));
        assert_eq!(count_lines("other", log(&[0]).as_bytes()), Err(1));
        let torn = log(&[0, 1]);
        assert_eq!(count_lines("j", &torn.as_bytes()[..torn.len() - 1]), Err(2));
    }
}
