//! Whether this replica answers a client that every replica on the wire has heard. The idea is RFC 3074's: each client is in one
//! replica's share, and one that waits although its own replica must have heard it is answered by whoever hears it.

use super::Mac;
use super::leases::Binding;
use super::packet::{MessageKind, Request};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// A client that says that it has waited for so many seconds is everybody's.
const WAITED_SECONDS: u16 = 4;
/// And one that was first heard so long ago and nobody's offer was taken, milliseconds: many clients leave `secs` at 0. Firmware asks
/// again after four seconds, iPXE after one, two and four.
const WAITED_MS: u64 = 3_000;
/// What a client asks after this is something new, milliseconds.
const FORGOTTEN_MS: u64 = 60_000;
/// Clients that are remembered at most. One that is not is still answered for its `secs`.
const REMEMBERED: usize = 16_384;

/// Whom a request names as its server (option 54).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Nobody: all who hear it are asked.
    Nobody,
    /// This replica.
    Us,
    /// Another server: one of the other replicas, or anybody's.
    Other,
}

impl Named {
    /// By the addresses that this replica goes by.
    pub fn of(request: &Request, ours: &[Ipv4Addr]) -> Self {
        match request.server_identifier() {
            None => Self::Nobody,
            // A relay that puts itself there asks for all of us (RFC 5107).
            Some(named) if ours.contains(&named) || request.server_identifier_override() == Some(named) => Self::Us,
            Some(_) => Self::Other,
        }
    }
}

/// How a request was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Whether the client is in this replica's share.
    pub in_share: bool,
    /// Whether it was sent to this replica alone.
    pub only_here: bool,
    /// Whom it names.
    pub named: Named,
}

/// Whether a client asks the one server that gave it its lease, by unicast (RENEWING), and not whoever hears it (REBINDING). The
/// packets are the same (RFC 2131 4.3.2); which it is tells the time that is left: an eighth of the lease is for rebinding.
pub fn renews(request: &Request, binding: Option<&Binding>, now_ms: u64) -> bool {
    binding.is_some_and(|binding| {
        let left = binding.expires_ms.saturating_sub(now_ms);
        request.kind == MessageKind::Request
            && request.ciaddr == binding.lease.address
            && left > u64::from(binding.lease.seconds) * 1000 / 8
    })
}

/// The clients that were left to other replicas, and since when.
#[derive(Debug, Default)]
pub struct Unanswered(HashMap<Mac, u64>);

impl Unanswered {
    /// Whether this replica judges the request now; otherwise it says nothing, and remembers the client.
    pub fn takes(&mut self, request: &Request, heard: Heard, now_ms: u64) -> bool {
        let mine = heard.in_share || heard.only_here;
        // What names a server was answered by one. RELEASE and DECLINE want no answer, only to be known.
        let settled =
            heard.named != Named::Nobody || matches!(request.kind, MessageKind::Decline | MessageKind::Release);
        if mine || settled {
            self.0.remove(&request.mac);
            return true;
        }
        let since = self.since(request.mac, now_ms);
        seconds(request) >= WAITED_SECONDS || now_ms.saturating_sub(since) >= WAITED_MS
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Since when a client is heard and not answered here.
    fn since(&mut self, mac: Mac, now_ms: u64) -> u64 {
        let recent = |since: u64| now_ms.saturating_sub(since) < FORGOTTEN_MS;
        if let Some(since) = self.0.get(&mac).copied().filter(|since| recent(*since)) {
            return since;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, since| recent(*since));
        }
        if self.0.len() < REMEMBERED {
            self.0.insert(mac, now_ms);
        }
        now_ms
    }
}

/// The seconds that a client says it has waited. Some write them in the wrong byte order: what has nothing in its lower byte is
/// taken to be of those, as ISC's server does.
const fn seconds(request: &Request) -> u16 {
    match request.secs {
        swapped if swapped > 0xff && swapped & 0xff == 0 => swapped >> 8,
        seconds => seconds,
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
