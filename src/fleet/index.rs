//! Whose a MAC or a ticket is, without asking every machine: made from the same events as the states.
//!
//! Of a MAC there are two kinds of knowledge. A machine that was enrolled by it *has* it. A machine that was seen with it, was
//! declared with it when a person adopted it, or says at its check-in that it has a card with it only *claims* it: a claim keeps the box from being taken in as another machine,
//! and makes it nobody's, or one machine could have the installations of all others by naming their cards.

use crate::journal::{Event, MachineState};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    name: String,
    enrolled: bool,
}

/// Names by MACs and by tickets.
#[derive(Debug, Default)]
pub(super) struct Index {
    macs: HashMap<String, Holder>,
    tickets: HashMap<String, String>,
}

impl Index {
    /// Takes in an event of a machine, whose state it turned from `before` to `after`.
    pub fn take_in(&mut self, name: &str, event: &Event, before: &MachineState, after: &MachineState) {
        if matches!(event, Event::Forgotten { .. }) {
            self.macs.retain(|_, holder| holder.name != name);
        }
        if let Event::Enrolled { mac, .. } = event {
            let enrolled = Holder { name: name.to_owned(), enrolled: true };
            let holder = self.macs.entry(mac.clone()).or_insert_with(|| enrolled.clone());
            if !holder.enrolled {
                *holder = enrolled;
            }
        }
        // What was folded was taken in before all events.
        let seen = after.macs.difference(&before.macs).filter(|_| !matches!(event, Event::Folded { .. }));
        for mac in seen {
            let claim = || Holder { name: name.to_owned(), enrolled: false };
            self.macs.entry(mac.clone()).or_insert_with(claim);
        }
        if matches!(
            event,
            Event::Forgotten { .. } | Event::Offered { .. } | Event::DiskTicketPlanted { .. } | Event::Folded { .. }
        ) {
            for ticket in tickets(before) {
                // Planted anew under another name, it is that one's.
                if self.tickets.get(ticket).is_some_and(|owner| owner == name) {
                    self.tickets.remove(ticket);
                }
            }
            for ticket in tickets(after) {
                self.tickets.insert(ticket.to_owned(), name.to_owned());
            }
        }
    }

    /// Takes in which MACs led to a machine when it was folded.
    pub fn take_in_folded(&mut self, name: &str, macs: &[String], state: &MachineState) {
        for mac in macs {
            let enrolled = state.enrolled.as_ref().is_some_and(|by| by.mac == *mac);
            self.macs.insert(mac.clone(), Holder { name: name.to_owned(), enrolled });
        }
    }

    /// The machine that was enrolled by one of these MACs.
    pub fn enrolled_by(&self, macs: &[String]) -> Option<&str> {
        macs.iter().filter_map(|mac| self.macs.get(mac)).find(|holder| holder.enrolled).map(|holder| &*holder.name)
    }

    /// A machine that claims one of these MACs.
    pub fn claimed_by(&self, macs: &[String]) -> Option<&str> {
        macs.iter().find_map(|mac| self.macs.get(mac)).map(|holder| &*holder.name)
    }

    /// The machine that a remembered offer or disk ticket is for.
    pub fn ticket_of(&self, ticket: &str) -> Option<&str> {
        self.tickets.get(ticket).map(String::as_str)
    }
}

/// What a state remembers; as many as it is bounded to.
fn tickets(state: &MachineState) -> impl Iterator<Item = &str> {
    let offers = state.offers.iter().map(|offer| offer.id.as_str());
    offers.chain(state.disk_tickets.iter().map(|(ticket, _)| ticket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Record, Stream};

    struct One {
        index: Index,
        state: MachineState,
    }

    impl One {
        fn event(&mut self, event: Event) {
            let before = self.state.clone();
            let stream = Stream::Machine("node".into());
            let index = self.state.head;
            self.state.apply(&Record { sequence: index + 1, stream, index, at_unix_ms: 0, event: event.clone() });
            self.index.take_in("node", &event, &before, &self.state);
        }
    }

    fn offered(number: u32) -> Event {
        Event::Offered {
            offer: format!("offer-{number}"),
            environment: "ram".into(),
            address: None,
            mac: "52:54:00:00:00:01".into(),
            firmware: "uefi".into(),
            reason: String::new(),
            run: None,
        }
    }

    #[test]
    fn tickets_are_found_while_the_state_remembers_them_and_no_longer() {
        let mut one = One { index: Index::default(), state: MachineState::default() };
        for number in 0..1_000 {
            one.event(offered(number));
        }
        assert_eq!(one.index.ticket_of("offer-999"), Some("node"));
        assert_eq!(one.index.ticket_of("offer-0"), None);
        assert_eq!(one.index.tickets.len(), one.state.offers.len());
        one.event(Event::DiskTicketPlanted { ticket: "disk-1".into(), job: "j".into(), run: 1 });
        assert_eq!(one.index.ticket_of("disk-1"), Some("node"));
        one.event(Event::Forgotten { by: "anna".into(), reason: String::new() });
        assert!(one.index.tickets.is_empty() && one.index.macs.is_empty());
    }

    #[test]
    fn an_enrolment_outweighs_a_claim_and_a_claim_nothing() {
        let mut one = One { index: Index::default(), state: MachineState::default() };
        one.event(offered(1));
        let macs = ["52:54:00:00:00:01".to_owned()];
        assert_eq!((one.index.enrolled_by(&macs), one.index.claimed_by(&macs)), (None, Some("node")));
        let enrolled = |mac: &str| Event::Enrolled {
            rule: "rule".into(),
            mac: mac.into(),
            uuid: None,
            serial: None,
            architecture: None,
        };
        let mut other = MachineState::default();
        let stream = Stream::Machine("other".into());
        let event = enrolled(&macs[0]);
        other.apply(&Record { sequence: 9, stream, index: 0, at_unix_ms: 0, event: event.clone() });
        one.index.take_in("other", &event, &MachineState::default(), &other);
        assert_eq!(one.index.enrolled_by(&macs), Some("other"));
        one.event(offered(2));
        assert_eq!(one.index.claimed_by(&macs), Some("other"));
    }
}
