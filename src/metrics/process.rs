//! The process, as `/proc` shows it, under the names that every exporter gives these numbers.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fs::{read_dir, read_to_string};

/// The process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    cpu_seconds: f64,
    threads: u64,
    start_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
}

/// What the kernel counts in.
#[derive(Debug, Clone, Copy)]
struct Units {
    ticks_per_second: u64,
    page_bytes: u64,
}

impl Process {
    /// Reads `/proc`. Waits for the kernel: not for a thread that answers others.
    pub fn read() -> Option<Self> {
        let units = Units { ticks_per_second: clock_ticks_per_second(), page_bytes: page_size() as u64 };
        let mut process =
            Self::parse(&read_to_string("/proc/self/stat").ok()?, &read_to_string("/proc/stat").ok()?, units)?;
        // The folder that is read is one of them.
        process.open_files = read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
        process.open_files_max = getrlimit(Resource::Nofile).current;
        Some(process)
    }

    /// From the texts of `/proc/self/stat` and `/proc/stat`, see proc(5).
    fn parse(own: &str, system: &str, units: Units) -> Option<Self> {
        // The name of the program is in brackets, and may have any in it; the next field is the third.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / units.ticks_per_second as f64;
        let booted: u64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Self {
            cpu_seconds: seconds(field(14)?.checked_add(field(15)?)?),
            threads: field(20)?,
            start_seconds: booted as f64 + seconds(field(22)?),
            virtual_bytes: field(23)?,
            resident_bytes: field(24)?.checked_mul(units.page_bytes)?,
            open_files: None,
            open_files_max: None,
        })
    }

    pub(super) fn register(self, to: &mut Registry) {
        to.register("cpu_seconds", "Processor time, of the user and the system", ConstCounter::new(self.cpu_seconds));
        to.register("threads", "Threads", ConstGauge::new(self.threads));
        to.register("start_time_seconds", "When the process began, Unix time", ConstGauge::new(self.start_seconds));
        to.register("virtual_memory_bytes", "Virtual memory", ConstGauge::new(self.virtual_bytes));
        to.register("resident_memory_bytes", "Resident memory", ConstGauge::new(self.resident_bytes));
        if let Some(open) = self.open_files {
            to.register("open_fds", "Open files, connections among them", ConstGauge::new(open));
        }
        if let Some(most) = self.open_files_max {
            to.register("max_fds", "As many may be open", ConstGauge::new(most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_proc_are_read_whatever_the_program_is_called() {
        let units = Units { ticks_per_second: 100, page_bytes: 4096 };
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 17 0 3000 1048576 25 18446744073709551615 1";
        let system = "cpu  1 2 3\nbtime 1700000000\nprocesses 4\n";
        let wanted = Process {
            cpu_seconds: 3.0,
            threads: 17,
            start_seconds: 1_700_000_030.0,
            virtual_bytes: 1_048_576,
            resident_bytes: 25 * 4096,
            open_files: None,
            open_files_max: None,
        };
        for name in ["formwork", "a b) R 9", ")"] {
            assert_eq!(Process::parse(&format!("42 ({name}) {rest}"), system, units), Some(wanted), "{name}");
        }
        assert_eq!(Process::parse("42 (formwork) S 1", system, units), None);
        assert_eq!(Process::parse(&format!("42 (formwork) {rest}"), "cpu 1", units), None);
        let read = Process::read().expect("this process");
        assert!(read.threads >= 1 && read.resident_bytes > 0 && read.open_files > Some(0), "{read:?}");
    }
}
