//! What a simulated machine does and what happens to it: the words between its decisions and the network.

use super::script::Script;
use crate::wire::BootFile;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What happened since the machine last did something.
#[derive(Debug)]
pub enum Happened {
    /// It was put into its rack.
    Began,
    /// What it did is over, and went well.
    Passed,
    /// A boot script came.
    Script(Script),
    /// The overlay came, with its boot file.
    BootFile(Box<BootFile>),
    /// The API answered.
    Answered(Answer),
    /// An administrator was told how its run stands.
    Stands(Standing),
    /// Nothing came back, or nothing that can be used.
    Lost(String),
}

/// An answer of the API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `formwork-log-length`, where there was one.
    pub log_length: Option<u64>,
    /// `retry-after`, seconds, where there was one.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// How a machine's run stands, by the server's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It goes on, or waits for something that comes by itself.
    Open,
    /// It is done.
    Finished,
    /// It waits for a person.
    Failed(String),
}

/// What the machine does now.
#[derive(Debug)]
pub enum Do {
    /// Lets time pass.
    Pause(Duration),
    /// Loses all its connections: its power went, or its agent.
    Disconnect,
    /// Gets an address, as this program.
    Address(Asker),
    /// Fetches the loader that DHCP named.
    Loader,
    /// Fetches its boot script.
    Script,
    /// Fetches files, and forgets them.
    Files(Vec<String>),
    /// Fetches the overlay.
    Overlay(String),
    /// Asks the API.
    Ask(Box<Ask>),
    /// Has an administrator ask how its run stands.
    Stand(String),
    /// It is over.
    End(Verdict),
}

impl Do {
    /// In words, for a machine that is stopped in the middle of it; none where that takes no time.
    pub fn words(&self) -> Option<&'static str> {
        Some(match self {
            Self::Pause(_) => "it booted, worked or waited",
            Self::Address(_) => "it asked for an address",
            Self::Loader => "it fetched its loader",
            Self::Script => "it asked for its boot script",
            Self::Files(_) => "it fetched its boot files",
            Self::Overlay(_) => "it fetched its overlay",
            Self::Ask(ask) => match ask.kind {
                Kind::Exchange => "it asked for tokens",
                Kind::Next => "it asked for its next job",
                Kind::Cluster | Kind::ClusterWait => "it asked for what its cluster says",
                _ => "it told the server of a job",
            },
            Self::Stand(_) => "it was asked for how its run stands",
            Self::Disconnect | Self::End(_) => return None,
        })
    }
}

/// Who speaks DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// UEFI firmware of a 64-bit PC.
    Firmware,
    /// iPXE.
    Ipxe,
}

/// How a simulated machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its run is done.
    Finished,
    /// Its run is done, and it was given no job: it was done before.
    Idle,
    /// Its run waits for a person.
    Failed(String),
    /// The server and the machine did not come together.
    Broken(String),
}

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// DHCP, one exchange of four messages (two with a proxy).
    Dhcp,
    /// A loader by TFTP.
    Tftp,
    /// A boot script.
    Script,
    /// A kernel or RAM disk.
    File,
    /// An overlay.
    Overlay,
    /// A ticket for tokens.
    Exchange,
    /// A check-in.
    CheckIn,
    /// "What is next?"; its time holds what the server waited.
    Next,
    /// A piece of log.
    Log,
    /// A word that a job still runs.
    Heartbeat,
    /// Facts.
    Facts,
    /// A disk ticket.
    DiskTicket,
    /// A job's end.
    End,
    /// A claim, a key, joining a set.
    Cluster,
    /// A wait for a key or a barrier; its time holds what the server waited.
    ClusterWait,
    /// An administrator's question.
    Administrator,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 16] = [
        Self::Dhcp,
        Self::Tftp,
        Self::Script,
        Self::File,
        Self::Overlay,
        Self::Exchange,
        Self::CheckIn,
        Self::Next,
        Self::Log,
        Self::Heartbeat,
        Self::Facts,
        Self::DiskTicket,
        Self::End,
        Self::Cluster,
        Self::ClusterWait,
        Self::Administrator,
    ];
}

/// Whose token a question carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// None: a ticket is inside.
    None,
    /// The machine's.
    Machine,
    /// That of a cluster.
    Cluster(String),
}

/// A question to the API.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What it counts as.
    pub kind: Kind,
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Whose token it carries.
    pub token: Token,
    /// That token, filled in when it is sent. Secret.
    pub bearer: Option<String>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long the server may hold the answer.
    pub hold: Duration,
    /// The answer is read to its end and thrown away, as if it had been lost on its way back.
    pub lose_answer: bool,
}

impl Ask {
    /// A question with no body.
    pub fn new(kind: Kind, token: Token, method: &'static str, path: String) -> Self {
        let (headers, body) = (Vec::new(), Vec::new());
        Self { kind, method, path, token, bearer: None, headers, body, hold: Duration::ZERO, lose_answer: false }
    }

    /// The same with a body of JSON.
    pub fn json(mut self, body: &impl Serialize) -> Self {
        self.headers.push(("content-type", "application/json".to_owned()));
        // Messages are plain structs with string keys: they always serialize.
        self.body = serde_json::to_vec(body).unwrap_or_default();
        self
    }

    /// The same with one header more.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, held by the server for so long.
    pub fn held(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }
}
