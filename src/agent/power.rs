//! Reboot and power-off: the last thing an agent does.

use rustix::system::RebootCommand;
use std::path::Path;
use std::process::Command;

/// What is to happen to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerAction {
    /// Boot anew.
    Reboot,
    /// Switch off.
    PowerOff,
}

/// Does it. With `instead`, runs that command line by `sh -c`; where systemd runs, asks it, so that services end in order; else
/// flushes and leaves by reboot(2).
pub fn perform(action: PowerAction, instead: Option<&str>) -> std::io::Result<()> {
    rustix::fs::sync();
    let mut command = match instead {
        Some(line) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(line);
            shell
        }
        // sd_booted(3)
        None if Path::new("/run/systemd/system").is_dir() => {
            let mut systemctl = Command::new("systemctl");
            systemctl.arg(match action {
                PowerAction::Reboot => "reboot",
                PowerAction::PowerOff => "poweroff",
            });
            systemctl
        }
        None => {
            // Filesystems that a script left mounted are made read-only first, so that they need no repair.
            let _ = std::fs::write("/proc/sysrq-trigger", "u");
            return Ok(rustix::system::reboot(match action {
                PowerAction::Reboot => RebootCommand::Restart,
                PowerAction::PowerOff => RebootCommand::PowerOff,
            })?);
        }
    };
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("it ended with {status}"))) }
}
