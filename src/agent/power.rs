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
            links_down(Path::new("/sys/class/net"));
            return Ok(rustix::system::reboot(match action {
                PowerAction::Reboot => RebootCommand::Restart,
                PowerAction::PowerOff => RebootCommand::PowerOff,
            })?);
        }
    };
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("it ended with {status}"))) }
}

/// Takes all network interfaces down, so that no driver has packets on its way while the kernel stops the devices under it:
/// virtio's has been seen to spin for ever then. What cannot be taken down is left.
fn links_down(class: &Path) {
    const UP: u32 = 1; // IFF_UP of netdevice(7)
    for interface in std::fs::read_dir(class).into_iter().flatten().flatten() {
        let file = interface.path().join("flags");
        let flags = std::fs::read_to_string(&file).ok();
        let flags = flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
        if let Some(flags) = flags.filter(|flags| flags & UP != 0) {
            let _ = std::fs::write(&file, format!("{:#x}", flags & !UP)); // the reboot goes on regardless
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_that_are_up_are_taken_down_and_others_are_left() {
        let class = tempfile::tempdir().expect("a folder");
        for (name, flags) in [("eth0", "0x1003\n"), ("eth1", "0x1002\n"), ("odd", "what\n")] {
            std::fs::create_dir(class.path().join(name)).expect("an interface");
            std::fs::write(class.path().join(name).join("flags"), flags).expect("its flags");
        }
        links_down(class.path());
        let flags = |name: &str| std::fs::read_to_string(class.path().join(name).join("flags")).expect("its flags");
        assert_eq!((flags("eth0"), flags("eth1"), flags("odd")), ("0x1002".into(), "0x1002\n".into(), "what\n".into()));
    }
}
