//! What a machine of a site holds before the site's store moves, and holds after it.

use super::machine::Machine;
use super::program::{Answer, Question};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A claim, and the version of what was written last.
pub struct Held {
    fence: u64,
    version: u64,
    writes: u64,
}

impl Held {
    /// A machine claims and writes.
    pub fn by(machine: &Machine, at: SocketAddr) -> Self {
        let (leads, fence) = claim(machine, at);
        assert!(leads, "nobody else asked");
        let mut held = Self { fence, version: 0, writes: 0 };
        held.write(machine, at);
        held
    }

    /// It is held still, by the same word and the same token; another machine does not get it; and versions go on.
    pub fn still(&mut self, machine: &Machine, other: &Machine, at: SocketAddr) {
        assert_eq!(claim(machine, at), (true, self.fence));
        assert!(!claim(other, at).0);
        self.write(machine, at);
    }

    fn write(&mut self, machine: &Machine, at: SocketAddr) {
        self.writes += 1;
        let write = Question::Write { key: "held".into(), value: "x".into(), id: format!("w{}", self.writes) };
        let Answer::Written { version } = answered(|| machine.connect(at).ask(&write)) else { panic!("{write:?}") };
        assert!(version > self.version, "{version} after {}", self.version);
        self.version = version;
    }
}

fn claim(machine: &Machine, at: SocketAddr) -> (bool, u64) {
    answered(|| machine.connect(at).claim("moves", "10m"))
}

/// Asks until there is an answer: a server that was just started takes connections before all else.
fn answered<T>(ask: impl Fn() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(began.elapsed() < Duration::from_secs(60), "{why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
