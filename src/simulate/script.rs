//! Reads what a boot script of ours tells a machine to do. It reads the scripts that [`crate::boot::script`] writes, as a
//! machine whose iPXE ran them would obey; it is no iPXE.

/// What a script says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The machine's name, where the server gave one.
    pub machine: Option<String>,
    /// What to do.
    pub order: Order,
}

/// What a machine does by a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Fetch these files in order, and the overlay; start.
    Boot {
        /// Paths of kernel and RAM disks, as they stand there.
        files: Vec<String>,
        /// The overlay's path.
        overlay: String,
    },
    /// Start what is on the disk.
    Local,
    /// Ask again after so many seconds.
    Hold {
        /// Why, as the screen shows it.
        reason: String,
        /// When.
        seconds: u64,
    },
    /// There is nothing for this machine.
    Nothing {
        /// Why, as the screen shows it.
        reason: String,
    },
}

/// Reads a script; `None`: it is none of ours.
pub fn read(text: &str) -> Option<Script> {
    let mut lines = text.lines();
    if lines.next()? != "#!ipxe" {
        return None;
    }
    let mut machine = None;
    let (mut files, mut overlay, mut reason, mut seconds) = (Vec::new(), None, None, None);
    let (mut local, mut nothing) = (false, None);
    for line in lines {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let Some(said) = line.strip_prefix("echo Formwork: ") {
            let name = said.strip_prefix("machine ").and_then(|rest| rest.split([',', ' ']).next());
            machine = machine.or_else(|| name.map(str::to_owned));
            reason = reason.or_else(|| said.strip_prefix("held: ").map(str::to_owned));
            nothing = nothing.or_else(|| said.strip_prefix("nothing to boot: ").map(str::to_owned));
            continue;
        }
        match words.as_slice() {
            ["kernel", url, ..] => files.push((*url).to_owned()),
            ["initrd", "--name", "overlay", url, ..] => overlay = Some((*url).to_owned()),
            ["initrd", "--name", _, url, ..] => files.push((*url).to_owned()),
            ["sanboot", ..] => local = true,
            ["sleep", number] if seconds.is_none() => seconds = number.parse().ok(),
            _ => {}
        }
    }
    let order = match (overlay, local, reason, nothing) {
        (Some(overlay), ..) => Order::Boot { files, overlay },
        (None, true, ..) => Order::Local,
        (None, false, Some(reason), _) => Order::Hold { reason, seconds: seconds.unwrap_or(15) },
        (None, false, None, Some(reason)) => Order::Nothing { reason },
        (None, false, None, None) => return None,
    };
    Some(Script { machine, order })
}

/// The bytes of a file in a `newc` archive; `None` where it is not in there or the archive is cut short.
pub fn file_in_archive<'a>(archive: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    /// Six characters of magic and thirteen fields of eight.
    const HEADER: usize = 110;
    let mut rest = archive;
    loop {
        let header = rest.get(..HEADER)?;
        let field = |number: usize| {
            let at = 6 + number * 8;
            usize::from_str_radix(std::str::from_utf8(header.get(at..at + 8)?).ok()?, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name = rest.get(HEADER..HEADER.checked_add(name_size)?)?;
        let body = HEADER.checked_add(name_size)?.checked_next_multiple_of(4)?;
        let bytes = rest.get(body..body.checked_add(size)?)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        if name == wanted.as_bytes() {
            return Some(bytes);
        }
        if name == b"TRAILER!!!" {
            return None;
        }
        rest = rest.get(body.checked_add(size)?.checked_next_multiple_of(4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::client::Firmware;
    use crate::boot::desk::{ScriptAction, ScriptAnswer};
    use crate::boot::overlay::{OverlayFile, cpio};
    use crate::boot::script::render;
    use proptest::prelude::*;

    fn script(action: ScriptAction) -> Script {
        let answer = ScriptAnswer {
            machine: Some("simulated-1".into()),
            revision: Some("0123abc".into()),
            waits_for: Some("run 1, stage discover".into()),
            action,
        };
        let texts = [Firmware::Bios, Firmware::Uefi].map(|firmware| render(&answer, firmware).unwrap());
        let [bios, uefi] = texts.map(|text| read(&text).unwrap());
        assert_eq!(bios, uefi);
        assert_eq!(bios.machine.as_deref(), Some("simulated-1"));
        bios
    }

    #[test]
    fn each_script_that_the_server_writes_is_understood() {
        let boot = ScriptAction::Boot {
            environment: "discovery".into(),
            offer: "offer-1".into(),
            kernel: "/files/discovery/vmlinuz".into(),
            initrds: vec!["/files/discovery/initrd.zst".into(), "/files/more".into()],
            arguments: "quiet".into(),
        };
        let files = ["/files/discovery/vmlinuz", "/files/discovery/initrd.zst", "/files/more"].map(str::to_owned);
        let order = Order::Boot { files: files.to_vec(), overlay: "/boot/overlay/offer-1.cpio".into() };
        assert_eq!(script(boot).order, order);
        assert_eq!(script(ScriptAction::Local).order, Order::Local);
        let hold = ScriptAction::Hold { reason: "not yet".into(), retry_seconds: 30 };
        assert_eq!(script(hold).order, Order::Hold { reason: "not yet".into(), seconds: 30 });
        let nothing = ScriptAction::Nothing { reason: "no rule".into() };
        assert_eq!(script(nothing).order, Order::Nothing { reason: "no rule".into() });
        assert_eq!(read("<html>"), None);
        assert_eq!(read("#!ipxe\nexit 1\n"), None);
    }

    #[test]
    fn a_file_is_found_in_an_overlay() {
        let file = |path, bytes| OverlayFile { path, mode: 0o600, bytes };
        let archive = cpio(&[file("formwork/boot.json", b"{\"a\": 1}"), file("z", b"12345")]).unwrap();
        assert_eq!(file_in_archive(&archive, "formwork/boot.json"), Some(b"{\"a\": 1}".as_slice()));
        assert_eq!(file_in_archive(&archive, "z"), Some(b"12345".as_slice()));
        assert_eq!(file_in_archive(&archive, "y"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_makes_the_readers_panic(text in "(#!ipxe\n)?\\PC{0,200}", bytes: Vec<u8>) {
            let _ = read(&text);
            let _ = file_in_archive(&bytes, "x");
        }
    }
}
