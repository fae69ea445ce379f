//! `formwork agent cluster elect`: who asks first leads; the rest follow. Runs in the script's place, so that the commands it
//! starts are the script's children and end with it.

use super::client::{ask, complain, show};
use super::exit;
use super::words::Words;
use crate::wire::SocketAnswer;
use serde::Deserialize;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a vacant claim is asked for again, where nothing is said.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    role: String,
    fence: u64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    takeover: bool,
    #[serde(default)]
    previous: Option<serde_json::Value>,
}

struct Election {
    claim: String,
    /// `--cluster NAME`, where it was said.
    cluster: Vec<String>,
    ttl: String,
    leader: String,
    follower: Option<String>,
    publish: Option<String>,
}

/// Runs an election, and gives the exit code.
pub fn main(words: &[String]) -> i32 {
    match election(words) {
        Ok((election, end)) => election.run(end),
        Err(message) => {
            complain(&message);
            exit::MISUSED
        }
    }
}

fn election(words: &[String]) -> Result<(Election, Instant), String> {
    let words = Words::parse(words, &["cluster", "ttl", "leader", "follower", "publish", "timeout"])?;
    words.at_most(1)?;
    let election = Election {
        claim: words.place(0, "the CLAIM")?.to_owned(),
        cluster: words.option("cluster").map(|name| vec!["--cluster".into(), name.to_owned()]).unwrap_or_default(),
        ttl: words.option("ttl").unwrap_or("15m").to_owned(),
        leader: words.option("leader").ok_or("--leader CMD is missing")?.to_owned(),
        follower: words.option("follower").map(str::to_owned),
        publish: words.option("publish").map(str::to_owned),
    };
    Ok((election, Instant::now() + words.duration("timeout")?.unwrap_or(PATIENCE)))
}

impl Election {
    fn run(&self, end: Instant) -> i32 {
        loop {
            let answer = match self.ask(&["claim", &self.claim, "--json", "--ttl", &self.ttl], None) {
                Ok(answer) => answer,
                Err(error) => return complain(&error), // never read as "follower"
            };
            if !matches!(answer.exit_code, 0 | exit::FOLLOWER) {
                return show(&answer);
            }
            let standing: Standing = match serde_json::from_str(&answer.output) {
                Ok(standing) => standing,
                Err(error) => return complain(&format!("the claim's answer cannot be read: {error}")),
            };
            match (standing.role.as_str(), standing.state.as_str()) {
                ("leader", "done") => return 0, // an earlier attempt of this run has done it
                ("leader", _) => return self.lead(&standing),
                (_, "failed") => {
                    complain(&format!("the claim {} failed for good", self.claim));
                    return exit::PRODUCER_FAILED;
                }
                _ => {}
            }
            let Some(follower) = &self.follower else { return exit::FOLLOWER };
            let code = self.shell(follower, &standing);
            // The producer fell: perhaps it is this machine's turn now.
            if code != exit::PRODUCER_FAILED || Instant::now() >= end {
                return code;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn lead(&self, standing: &Standing) -> i32 {
        let fence = standing.fence.to_string();
        let code = self.shell(&self.leader, standing);
        if code != 0 {
            let reason = format!("the leader's command ended with {code}");
            self.give_up(&fence, &reason);
            return code;
        }
        let published = match &self.publish {
            None => None,
            Some(file) => match std::fs::read_to_string(file) {
                Ok(text) => Some(text),
                Err(error) => {
                    let reason = format!("--publish {file}: {error}");
                    self.give_up(&fence, &reason);
                    return complain(&reason);
                }
            },
        };
        match self.ask(&["done", &self.claim, "--fence", &fence], published) {
            Ok(answer) if answer.exit_code == 0 => 0,
            Ok(answer) => show(&answer),
            Err(error) => complain(&error),
        }
    }

    /// Lets another try; when even that cannot be said, the claim falls by its expiry.
    fn give_up(&self, fence: &str, reason: &str) {
        match self.ask(&["fail", &self.claim, "--fence", fence, "--reason", reason], None) {
            Ok(answer) if answer.exit_code == 0 => {}
            Ok(answer) => {
                show(&answer);
            }
            Err(error) => {
                complain(&error);
            }
        }
    }

    fn ask(&self, words: &[&str], input: Option<String>) -> Result<SocketAnswer, String> {
        let mut all = vec!["cluster".to_owned()];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all.extend(self.cluster.iter().cloned());
        ask(&all, input)
    }

    fn shell(&self, line: &str, standing: &Standing) -> i32 {
        let status = Command::new("/bin/sh")
            .arg("-c")
            .arg(line)
            .env("FORMWORK_CLAIM", &self.claim)
            .env("FORMWORK_FENCE", standing.fence.to_string())
            .env("FORMWORK_TAKEOVER", if standing.takeover { "1" } else { "" })
            .env("FORMWORK_PREVIOUS_HOLDER", standing.previous.as_ref().map(ToString::to_string).unwrap_or_default())
            .status();
        match status {
            // Ended by a signal: as a shell would say it is not known which; it has failed.
            Ok(status) => status.code().unwrap_or(exit::FAILED),
            Err(error) => complain(&format!("/bin/sh cannot be started: {error}")),
        }
    }
}
