//! What a script's exit code means.

use crate::wire::{ExitCodes, JobRequest};

/// What follows from one script's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next step; after the last, the job is done.
    Next,
    /// The job is done, the steps that are left are not run, and this is asked for.
    Done(Vec<JobRequest>),
    /// The job has failed.
    Failed,
}

/// Judges an exit code. `last` says whether this was the job's last script. A script ended by a signal has no code and has
/// failed.
pub fn judge(codes: ExitCodes, code: Option<i32>, last: bool) -> Verdict {
    use JobRequest::{Again, Poweroff, Reboot, Stop};
    match (codes, code) {
        (_, Some(0)) => Verdict::Next,
        (ExitCodes::Formwork, _) => Verdict::Failed,
        (ExitCodes::DigitalRebar, Some(code)) => {
            let mut requests = match code {
                16 => vec![Stop],
                32 => vec![Poweroff],
                64 => vec![Reboot],
                128 => vec![Again],
                144 => vec![Again, Stop],
                160 => vec![Again, Poweroff],
                192 => vec![Again, Reboot],
                _ => return Verdict::Failed,
            };
            if !last {
                // There, "incomplete" from a script that is not the last one means "done early".
                requests.retain(|request| *request != Again);
            }
            Verdict::Done(requests)
        }
        (ExitCodes::DigitalRebar, None) => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use JobRequest::{Again, Poweroff, Reboot, Stop};

    #[test]
    fn zero_is_done_and_everything_else_has_failed_unless_the_task_speaks_digital_rebar() {
        for code in [1, 2, 16, 32, 64, 128, 144, 160, 192, 255] {
            assert_eq!(judge(ExitCodes::Formwork, Some(code), true), Verdict::Failed, "{code}");
        }
        assert_eq!(judge(ExitCodes::Formwork, Some(0), true), Verdict::Next);
        assert_eq!(judge(ExitCodes::Formwork, None, true), Verdict::Failed);
    }

    #[test]
    fn digital_rebars_numbers_ask_by_bits() {
        let table = [
            (16, true, vec![Stop]),
            (32, true, vec![Poweroff]),
            (64, true, vec![Reboot]),
            (128, true, vec![Again]),
            (144, true, vec![Again, Stop]),
            (160, true, vec![Again, Poweroff]),
            (192, true, vec![Again, Reboot]),
            (128, false, vec![]),
            (192, false, vec![Reboot]),
        ];
        for (code, last, wanted) in table {
            assert_eq!(judge(ExitCodes::DigitalRebar, Some(code), last), Verdict::Done(wanted), "{code} {last}");
        }
        for code in [Some(1), Some(17), Some(127), Some(137), None] {
            assert_eq!(judge(ExitCodes::DigitalRebar, code, true), Verdict::Failed, "{code:?}");
        }
        assert_eq!(judge(ExitCodes::DigitalRebar, Some(0), false), Verdict::Next);
    }
}
