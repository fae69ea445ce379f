//! The machine's clock, which may say 1970 or 2099: set before anything checks a certificate.

use std::time::{SystemTime, UNIX_EPOCH};

/// A clock behind the server's by more than this is set, milliseconds.
const BEHIND_MS: i64 = 60_000;
/// A clock ahead of the latest time that can be by more than this is set, milliseconds. The boot file is made before the
/// kernel starts; slow firmware may lie between.
const AHEAD_MS: i64 = 3_600_000;

/// The time to set, or `None` when the clock can be right. `server_ms` was the server's time when the boot file was made,
/// `uptime_ms` the time since the kernel started; the true time lies between `server_ms` and a little over their sum.
/// A clock that is ahead is only set where the environment was booted with this very file (`made_for_this_boot`).
pub fn correction(own_ms: i64, server_ms: i64, uptime_ms: i64, made_for_this_boot: bool) -> Option<i64> {
    let latest = server_ms.saturating_add(uptime_ms.max(0));
    if server_ms.saturating_sub(own_ms) > BEHIND_MS {
        return Some(if made_for_this_boot { latest } else { server_ms });
    }
    (made_for_this_boot && own_ms.saturating_sub(latest) > AHEAD_MS).then_some(latest)
}

/// The wall clock, Unix milliseconds.
pub fn now_unix_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
    }
}

/// The time since the kernel started, milliseconds.
pub fn uptime_ms() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Sets the system clock. Needs the right to; the caller says so when it has not and goes on.
pub fn set(unix_ms: i64) -> std::io::Result<()> {
    let time = rustix::time::Timespec {
        tv_sec: unix_ms.div_euclid(1_000),
        tv_nsec: unix_ms.rem_euclid(1_000).saturating_mul(1_000_000),
    };
    rustix::time::clock_settime(rustix::time::ClockId::Realtime, time).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_set_only_when_it_cannot_be_right() {
        let server = 1_700_000_000_000;
        let table = [
            ("right", server + 20_000, 20_000, true, None),
            ("a little behind", server - 59_000, 20_000, true, None),
            ("in 1970", 5_000, 20_000, true, Some(server + 20_000)),
            ("in 1970 on an installed system", 5_000, 90_000, false, Some(server)),
            ("in 2099", server + 2_300_000_000_000, 20_000, true, Some(server + 20_000)),
            ("hours after the boot", server + 9_000_000, 9_000_000, true, None),
            ("a year after the install", server + 31_536_000_000, 20_000, false, None),
        ];
        for (name, own, uptime, fresh, wanted) in table {
            assert_eq!(correction(own, server, uptime, fresh), wanted, "{name}");
        }
    }
}
