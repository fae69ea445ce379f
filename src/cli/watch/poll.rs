//! The thread behind the live view: waits for events, then asks what the machines are.

use crate::api::views::MachineSummary;
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::follow::{Follower, patiently};
use crate::journal::{Record, Stream};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Events come in bursts; one look answers for all of a burst.
const BURST: Duration = Duration::from_millis(100);
/// A look without an event: what a machine waits for can change with time alone, and with what others in its cluster do.
const LOOK_AT_LEAST: Duration = Duration::from_secs(3);
/// The same where there are many machines: the list is long.
const LOOK_AT_MANY: Duration = Duration::from_secs(20);
/// So many are many.
const MANY: usize = 100;
/// Up to so many machines are asked for one by one; past it the list is cheaper.
const ONE_BY_ONE: usize = 4;

/// What the thread has to say.
pub enum Update {
    /// What all machines are now.
    Machines {
        /// The applied revision.
        revision: Option<String>,
        /// All of them, by name.
        machines: Vec<MachineSummary>,
    },
    /// The server is away; it is waited for.
    Away(String),
    /// It cannot go on.
    Over(CliError),
}

/// Starts the thread. It ends with its reader, or with the process: it may be held by the server for a minute.
pub fn start(client: Arc<Client>) -> Receiver<Update> {
    let (send, receive) = sync_channel(16);
    std::thread::spawn(move || {
        if let Err(error) = poll(&client, &send) {
            // The reader may be gone: then nobody wants to know.
            let _ = send.send(Update::Over(error));
        }
    });
    receive
}

fn poll(client: &Client, send: &SyncSender<Update>) -> Result<(), CliError> {
    let mut away = |error: &CliError| {
        let _ = send.send(Update::Away(error.to_string()));
    };
    let mut follower = Follower::new(client, 0, None);
    patiently(None, &mut away, || follower.skip_to_now())?;
    let mut list = patiently(None, &mut away, || client.machines())?;
    loop {
        let update = Update::Machines { revision: list.revision.clone(), machines: list.items.clone() };
        if send.send(update).is_err() {
            return Ok(());
        }
        let mut records = follower.next_patiently(
            if list.items.len() > MANY { LOOK_AT_MANY } else { LOOK_AT_LEAST },
            None,
            &mut away,
        )?;
        if !records.is_empty() {
            std::thread::sleep(BURST);
            records.extend(patiently(None, &mut away, || follower.next(Duration::ZERO))?);
        }
        match changed(&records) {
            Some(names) => {
                for name in names {
                    match patiently(None, &mut away, || client.machine(&name)) {
                        Ok(machine) => match list.items.iter_mut().find(|item| item.name == name) {
                            Some(item) => *item = machine.summary,
                            None => list.items.push(machine.summary),
                        },
                        Err(CliError::NotFound { .. }) => list.items.retain(|item| item.name != name),
                        Err(error) => return Err(error),
                    }
                }
            }
            None => list = patiently(None, &mut away, || client.machines())?,
        }
        list.items.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// The machines that these events are about; `None`: all may have changed.
fn changed(records: &[Record]) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for record in records {
        match &record.stream {
            Stream::Machine(name) => {
                names.insert(name.clone());
            }
            // A revision or a claim can change what any machine waits for.
            Stream::Site | Stream::Cluster(_) => return None,
            Stream::Box(_) => {}
        }
    }
    (!records.is_empty() && names.len() <= ONE_BY_ONE).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::one_run;

    #[test]
    fn events_of_few_machines_ask_for_those_and_anything_else_for_all() {
        let of = |name: &str| one_run(name, 0).remove(0);
        let two = [of("a"), of("b"), of("a")];
        assert_eq!(changed(&two), Some(BTreeSet::from(["a".to_owned(), "b".to_owned()])));
        assert_eq!(changed(&[]), None, "the time for a look came without an event");
        let mut site = of("a");
        site.stream = Stream::Site;
        assert_eq!(changed(&[site]), None);
        let many: Vec<_> = (0..9).map(|i| of(&format!("m{i}"))).collect();
        assert_eq!(changed(&many), None);
    }
}
