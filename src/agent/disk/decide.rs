//! Whether a disk may be wiped: pure, and the only place that says so.

use crate::wire::{DestructiveGrant, DiskState};

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
}

/// A blank disk may be wiped, and one that this machine marked in this run or an earlier one; any other only where the grant
/// says `wipe`.
pub fn may_wipe(state: &DiskState, grant: &DestructiveGrant) -> Result<(), Refusal> {
    let refusal = match state {
        DiskState::Blank => return Ok(()),
        DiskState::Marked { site, machine, run } if *site == grant.site && *machine == grant.machine => {
            if *run <= grant.run {
                return Ok(());
            }
            Refusal::LaterRun { marked: *run, run: grant.run }
        }
        DiskState::Marked { site, machine, .. } => Refusal::Foreign { site: site.clone(), machine: machine.clone() },
        DiskState::Unknown { found } => Refusal::Unmarked { found: found.join(", ") },
    };
    if grant.wipe { Ok(()) } else { Err(refusal) }
}

/// Whether the disk carries exactly this run's marker: the claim was made, now or before an interruption.
pub fn is_claimed(state: &DiskState, grant: &DestructiveGrant) -> bool {
    matches!(state, DiskState::Marked { site, machine, run }
        if *site == grant.site && *machine == grant.machine && *run == grant.run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(site: &str, machine: &str, run: u64) -> DiskState {
        DiskState::Marked { site: site.into(), machine: machine.into(), run }
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
            let mut grant = DestructiveGrant { site: "lab".into(), machine: "node-1".into(), run: 3, wipe: false };
            assert_eq!(may_wipe(&state, &grant), wanted, "{name}");
            grant.wipe = true;
            assert_eq!(may_wipe(&state, &grant), Ok(()), "{name}, with wipe");
        }
    }

    #[test]
    fn a_claim_is_of_this_run_and_no_other() {
        let grant = DestructiveGrant { site: "lab".into(), machine: "node-1".into(), run: 3, wipe: true };
        assert!(is_claimed(&marked("lab", "node-1", 3), &grant));
        for state in
            [DiskState::Blank, marked("lab", "node-1", 2), marked("lab", "node-2", 3), marked("x", "node-1", 3)]
        {
            assert!(!is_claimed(&state, &grant), "{state:?}");
        }
    }
}
