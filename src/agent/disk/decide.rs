//! Whether a disk may be wiped: pure, and the only place that says so.

use crate::wire::{DestructiveGrant, DiskState};
use std::cmp::Ordering;

/// Why a disk may not be wiped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It holds something and no marker of ours.
    #[error("it holds {found} and no marker of ours; `wipe: true` in the machine's spec allows it")]
    Unmarked {
        /// What was found.
        found: String,
    },
    /// Another machine or site marked it.
    #[error("it is marked by {machine} of site {site}; `wipe: true` in the machine's spec allows it")]
    Foreign {
        /// The site in the marker.
        site: String,
        /// The machine in the marker.
        machine: String,
    },
    /// A later run of this machine marked it: this job is of an older one.
    #[error(
        "it is marked by run {marked}, which is later than this run {run}; `wipe: true` in the machine's spec allows it"
    )]
    LaterRun {
        /// The run in the marker.
        marked: u64,
        /// The run of the job.
        run: u64,
    },
    /// A run of the same number marked it, and it was another one: since then the server's store went back or was made anew.
    #[error(
        "it is marked by an earlier walk of this machine under the same number, run {run}: the server's store is not the one \
         that walked it (restored from a backup, or made anew); a raised `spec.run`, or `wipe: true` in the machine's spec, \
         allows it"
    )]
    OtherWalk {
        /// The run in the marker and of the job.
        run: u64,
    },
}

/// A blank disk may be wiped, and one that this machine marked in this very run (an interrupted install goes on) or in one of a
/// lower number; any other only where the grant says `wipe`. A number alone does not make it this run: a store that was restored
/// from a backup begins runs again that were walked already.
pub fn may_wipe(state: &DiskState, grant: &DestructiveGrant) -> Result<(), Refusal> {
    let refusal = match state {
        DiskState::Blank => return Ok(()),
        DiskState::Marked { site, machine, run, begun_unix_ms } if *site == grant.site && *machine == grant.machine => {
            match run.cmp(&grant.run) {
                Ordering::Less => return Ok(()),
                Ordering::Equal if same_walk(*begun_unix_ms, grant) => return Ok(()),
                Ordering::Equal => Refusal::OtherWalk { run: *run },
                Ordering::Greater => Refusal::LaterRun { marked: *run, run: grant.run },
            }
        }
        DiskState::Marked { site, machine, .. } => Refusal::Foreign { site: site.clone(), machine: machine.clone() },
        DiskState::Unknown { found } => Refusal::Unmarked { found: found.join(", ") },
    };
    if grant.wipe { Ok(()) } else { Err(refusal) }
}

/// Whether the disk carries exactly this run's marker: the claim was made, now or before an interruption.
pub fn is_claimed(state: &DiskState, grant: &DestructiveGrant) -> bool {
    matches!(state, DiskState::Marked { site, machine, run, begun_unix_ms }
        if *site == grant.site && *machine == grant.machine && *run == grant.run && same_walk(*begun_unix_ms, grant))
}

/// A server that does not say when its run began is taken by the number alone.
fn same_walk(marked: Option<i64>, grant: &DestructiveGrant) -> bool {
    grant.begun_unix_ms.is_none() || grant.begun_unix_ms == marked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(site: &str, machine: &str, run: u64) -> DiskState {
        DiskState::Marked { site: site.into(), machine: machine.into(), run, begun_unix_ms: Some(70) }
    }

    fn grant(wipe: bool, begun_unix_ms: Option<i64>) -> DestructiveGrant {
        DestructiveGrant { site: "lab".into(), machine: "node-1".into(), run: 3, begun_unix_ms, wipe }
    }

    #[test]
    fn only_blank_disks_and_our_own_earlier_work_may_be_wiped_without_leave() {
        let unknown = DiskState::Unknown { found: vec!["gpt".into(), "ext4".into()] };
        let foreign = |site: &str, machine: &str| Refusal::Foreign { site: site.into(), machine: machine.into() };
        let table = [
            ("blank", DiskState::Blank, Ok(())),
            ("this run, interrupted", marked("lab", "node-1", 3), Ok(())),
            ("an earlier run", marked("lab", "node-1", 1), Ok(())),
            ("a later run", marked("lab", "node-1", 4), Err(Refusal::LaterRun { marked: 4, run: 3 })),
            ("another machine", marked("lab", "node-2", 1), Err(foreign("lab", "node-2"))),
            ("another site", marked("shop", "node-1", 1), Err(foreign("shop", "node-1"))),
            ("unmarked", unknown, Err(Refusal::Unmarked { found: "gpt, ext4".into() })),
        ];
        for (name, state, wanted) in table {
            assert_eq!(may_wipe(&state, &grant(false, Some(70))), wanted, "{name}");
            assert_eq!(may_wipe(&state, &grant(true, Some(70))), Ok(()), "{name}, with wipe");
        }
    }

    #[test]
    fn a_claim_is_of_this_run_and_no_other() {
        let grant = grant(true, Some(70));
        assert!(is_claimed(&marked("lab", "node-1", 3), &grant));
        for state in
            [DiskState::Blank, marked("lab", "node-1", 2), marked("lab", "node-2", 3), marked("x", "node-1", 3)]
        {
            assert!(!is_claimed(&state, &grant), "{state:?}");
        }
    }

    #[test]
    fn a_number_walked_again_after_the_store_went_back_is_another_run() {
        let disk = marked("lab", "node-1", 3);
        let later = grant(false, Some(71));
        assert_eq!(may_wipe(&disk, &later), Err(Refusal::OtherWalk { run: 3 }));
        assert!(!is_claimed(&disk, &later));
        assert_eq!(may_wipe(&disk, &grant(true, Some(71))), Ok(()));
        assert_eq!(may_wipe(&marked("lab", "node-1", 2), &later), Ok(()), "a raised run says so");
        assert_eq!(may_wipe(&disk, &grant(false, None)), Ok(()), "a server that does not say");
        let old = DiskState::Marked { site: "lab".into(), machine: "node-1".into(), run: 3, begun_unix_ms: None };
        assert_eq!(may_wipe(&old, &later), Err(Refusal::OtherWalk { run: 3 }), "a marker that does not say");
    }
}
