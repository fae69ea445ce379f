//! `formwork agent …` as a script calls it.

use super::{INPUT_LIMIT_BYTES, LINE_LIMIT_BYTES, elect, exit};
use crate::wire::{SocketAnswer, SocketRequest};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const HELP: &str = "\
formwork agent: what a task's script asks its agent.

  cluster get KEY [--wait 20m] [--of CLAIM]         print a value; 24: its producer failed, 28: it did not come
  cluster put KEY [--value V] --create | --if-version V | --overwrite [--fence CLAIM] [--secret]
                                                    write one; without --value from standard input
  cluster elect CLAIM --leader CMD [--ttl 15m] [--publish FILE.json] [--follower CMD] [--timeout 1h]
                                                    the first to ask runs CMD and publishes; 10: another leads
  cluster claim CLAIM [--ttl 15m] [--json]          `leader FENCE [done]` or `follower FENCE`; 0 or 10
  cluster done CLAIM [< FILE.json]                  the claim's work is done: publish
  cluster fail CLAIM [--final] [--reason TEXT]      it failed: another may try, or nobody
  cluster renew CLAIM                               (a running job's claims are renewed by themselves)
  cluster join SET                                  join, print one's ordinal
  cluster barrier SET [--count all|N] [--timeout 20m]   join and wait; 28: too few came
  cluster members SET, cluster get-document         print JSON
      [--cluster NAME] where the machine is in several
  fact set NAME [JSON]                              report a fact; without JSON from standard input
  fact remove NAME
  inventory [--print]                               report cpu, memory, disks, nics, firmware, system
  request reboot|stop|poweroff|again                ask for it once this task has ended
  log TEXT                                          a line in the job's log
  disk inspect DEV                                  what is on a disk, as JSON
  disk claim DEV                                    mark it as this run's, if it may be wiped
  disk zero DEV                                     overwrite all of it, but for the mark
  disk write-image DEV --url URL --sha256 HEX       write a raw or zstd image, and read it back
  disk ticket --to FILE                             plant the ticket of the installed system

Examples:
  formwork agent cluster elect init --leader ./init.sh --publish out.json --follower ./join.sh
  formwork agent cluster barrier etcd-ready --count all --timeout 20m
  formwork agent fact set services '[\"etcd\"]'
  formwork agent disk claim /dev/vda && formwork agent disk zero /dev/vda

What a script starts in the background ends with it; by setsid it lives on, and ends with the job only by its timeout.";

/// Does what a script asks, and gives the exit code.
pub fn main(words: &[String]) -> i32 {
    let mut names = words.iter().map(String::as_str);
    match (names.next(), names.next()) {
        (None | Some("help" | "--help" | "-h"), _) => {
            crate::agent::print_out(&format!("{HELP}\n"));
            0
        }
        (Some("cluster"), Some("elect")) => elect::main(words.get(2..).unwrap_or_default()),
        (Some("disk"), _) => crate::agent::disk::main(words.get(1..).unwrap_or_default()),
        (Some("inventory"), _) => crate::agent::inventory::main(words.get(1..).unwrap_or_default()),
        _ => match ask(words, input_for(words)) {
            Ok(answer) => show(&answer),
            Err(error) => complain(&error),
        },
    }
}

/// Prints an answer and gives its exit code.
pub fn show(answer: &SocketAnswer) -> i32 {
    crate::agent::print_out(&answer.output);
    if !answer.error.is_empty() {
        eprintln!("formwork agent: {}", answer.error);
    }
    answer.exit_code
}

/// Prints why there is no answer.
pub fn complain(error: &str) -> i32 {
    eprintln!("formwork agent: {error}");
    exit::FAILED
}

/// Standard input, for the commands that take it where no value stands on the command line.
fn input_for(words: &[String]) -> Option<String> {
    let names: Vec<&str> = words.iter().map(String::as_str).collect();
    let wanted = match names.as_slice() {
        ["cluster", "put", rest @ ..] => !rest.iter().any(|word| *word == "--value" || word.starts_with("--value=")),
        ["cluster", "done", ..] | ["log"] => true,
        ["fact", "set", _name] => true,
        _ => false,
    };
    if !wanted || io::stdin().is_terminal() {
        return None;
    }
    let mut text = String::new();
    let limit = u64::try_from(INPUT_LIMIT_BYTES).unwrap_or(u64::MAX);
    io::stdin().take(limit + 1).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Asks the agent.
pub fn ask(words: &[String], input: Option<String>) -> Result<SocketAnswer, String> {
    if input.as_ref().is_some_and(|text| text.len() > INPUT_LIMIT_BYTES) {
        return Err("standard input is larger than 512 KiB".into());
    }
    let capability = std::env::var("FORMWORK_CAPABILITY")
        .map_err(|_| "FORMWORK_CAPABILITY is not set: only the scripts of a running task can ask".to_owned())?;
    let path = std::env::var_os("FORMWORK_SOCKET")
        .map_or_else(|| PathBuf::from(super::super::layout::RUN_DIR).join("agent.sock"), PathBuf::from);
    let unreachable = |error: io::Error| format!("the agent does not answer at {}: {error}", path.display());
    let mut stream = UnixStream::connect(&path).map_err(unreachable)?;
    let request = SocketRequest { capability, arguments: words.to_vec(), input };
    let mut line = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(unreachable)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(LINE_LIMIT_BYTES * 4)).read_until(b'\n', &mut answer).map_err(unreachable)?;
    serde_json::from_slice(&answer).map_err(|_| "the agent ended before it answered".to_owned())
}
