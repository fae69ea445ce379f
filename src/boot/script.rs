//! iPXE scripts. Nothing that comes from the network or from content can add a command to one.
//!
//! iPXE reads a script line by line, replaces `${…}`, and splits at white space; `||`, `&&`, `;` as words of their own and
//! words that begin with `#` end a command. It has no quoting that all its ages know, so nothing is quoted here: text for
//! the screen is reduced to harmless characters, and a URL or argument that could be anything else than one word is refused.
//!
//! What keeps a machine from being stuck: every fetch is tried again, then the server is asked anew what to do, and a
//! server that stays away is left with `exit 1` (plain `exit` counts as success and drops UEFI firmware into its setup).

use super::client::Firmware;
use super::desk::{ScriptAction, ScriptAnswer};

/// Where a box begins over HTTP: a short script that says who it is and fetches the one made for it. Short enough for
/// the 127 bytes of a DHCP header, which iPXE prefers to option 67.
pub const START_PATH: &str = "/boot/start";
/// Where the script made for a box is.
pub const SCRIPT_PATH: &str = "/boot/script";
/// What a box says of itself, in iPXE's settings.
const SAYS: &str =
    "mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&arch=${buildarch}&platform=${platform}";
/// How often the server is asked before the firmware goes on: with the waits, about two minutes.
const ASKS: u32 = 24;
/// How often files are fetched before the server is asked anew.
const FETCHES: u32 = 3;
/// The longest command line, bytes: what the Linux kernel takes on x86.
const LONGEST_ARGUMENTS_BYTES: usize = 2047;
/// The longest text on screen, characters.
const LONGEST_TEXT: usize = 240;
/// The shortest and longest wait of a held machine, seconds.
const HOLD_SECONDS: (u32, u32) = (1, 3600);

/// Why a script cannot be made of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A URL that iPXE would take for something else.
    #[error("`{0}` is no URL that a boot script can hold")]
    Url(String),
    /// An argument that iPXE would take for something else.
    #[error("the kernel argument `{0}` cannot be in a boot script")]
    Argument(String),
    /// More arguments than a kernel takes.
    #[error("the kernel command line has {0} bytes, a kernel takes {LONGEST_ARGUMENTS_BYTES}")]
    TooLong(usize),
    /// An offer's id that is not one of ours.
    #[error("the offer's id is not one")]
    Offer,
}

/// The first script of a box, over HTTP: from here on paths are of this server.
pub fn start() -> String {
    format!("#!ipxe\n{}", ask("", &format!("{SCRIPT_PATH}?{SAYS}")))
}

/// The same for iPXE that looks for `autoexec.ipxe` before it has an address.
///
/// It is handed to TFTP clients, for whom no path is of this server's HTTP: the host is the boot server that DHCP named, a
/// proxy's before another's.
pub fn autoexec(http_port: u16) -> String {
    let body = ask("formwork-", &format!("http://${{formwork-server}}:{http_port}{SCRIPT_PATH}?{SAYS}"));
    format!(
        "#!ipxe\n\
         set formwork-configured:int32 0\n\
         :configure\n\
         dhcp && goto configured ||\n\
         inc formwork-configured\n\
         iseq ${{formwork-configured}} 5 && exit 1 ||\n\
         sleep 2\n\
         goto configure\n\
         :configured\n\
         set formwork-server ${{next-server}}\n\
         isset ${{proxydhcp/next-server}} && set formwork-server ${{proxydhcp/next-server}} ||\n\
         {body}"
    )
}

/// Asks until there is an answer. The script that comes takes this one's place, so that nothing piles up.
fn ask(prefix: &str, url: &str) -> String {
    format!(
        "set {prefix}asked:int32 0\n\
         :{prefix}ask\n\
         chain --replace --autofree {url} ||\n\
         echo Formwork: no answer from the boot server, trying again\n\
         inc {prefix}asked\n\
         iseq ${{{prefix}asked}} {ASKS} && exit 1 ||\n\
         sleep 5\n\
         goto {prefix}ask\n"
    )
}

/// The script for an answer.
///
/// # Errors
/// What in the answer cannot be put into a script: such a machine is held, and shown the reason.
pub fn render(answer: &ScriptAnswer, firmware: Firmware) -> Result<String, ScriptError> {
    let mut script = String::from("#!ipxe\n");
    let machine = answer.machine.as_deref().map_or_else(|| "this machine".to_owned(), |m| format!("machine {m}"));
    say(
        &mut script,
        &format!("{machine}{}", answer.revision.as_deref().map(|r| format!(", revision {r}")).unwrap_or_default()),
    );
    if let Some(waits_for) = &answer.waits_for {
        say(&mut script, waits_for);
    }
    match &answer.action {
        ScriptAction::Boot { environment, offer, kernel, initrds, arguments } => {
            say(&mut script, &format!("boots {environment}"));
            boot(&mut script, offer, kernel, initrds, arguments)?;
        }
        ScriptAction::Local => {
            say(&mut script, "boots its own disk");
            local(&mut script, firmware);
        }
        ScriptAction::Hold { reason, retry_seconds } => {
            let seconds = (*retry_seconds).clamp(HOLD_SECONDS.0, HOLD_SECONDS.1);
            say(&mut script, &format!("held: {reason}"));
            say(&mut script, &format!("asks again in {seconds} seconds"));
            script.push_str(&format!("sleep {seconds}\n"));
            script.push_str(&ask("", &format!("{SCRIPT_PATH}?{SAYS}")));
        }
        ScriptAction::Nothing { reason } => {
            say(&mut script, &format!("nothing to boot: {reason}"));
            script.push_str("sleep 3\nexit 1\n");
        }
    }
    Ok(script)
}

/// A path of the image folder as a URL path beneath `/files/`.
pub fn file_url(path: &str) -> String {
    let mut url = String::from("/files/");
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => url.push(char::from(byte)),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    url
}

fn boot(
    script: &mut String,
    offer: &str,
    kernel: &str,
    initrds: &[String],
    arguments: &str,
) -> Result<(), ScriptError> {
    let id = offer.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if offer.is_empty() || offer.len() > 128 || !id {
        return Err(ScriptError::Offer);
    }
    let overlay = format!("/boot/overlay/{offer}.cpio");
    let mut images: Vec<(String, &str)> = Vec::with_capacity(initrds.len() + 1);
    for (place, url) in initrds.iter().enumerate() {
        images.push((format!("initrd-{place}"), checked_url(url)?));
    }
    // Last, so that it is laid over all others.
    images.push(("overlay".to_owned(), &overlay));

    // UEFI kernels look for their RAM disks by these names; BIOS ones ignore them.
    let mut words: Vec<String> = images.iter().map(|(name, _)| format!("initrd={name}")).collect();
    for word in arguments.split_ascii_whitespace() {
        words.push(checked_word(word).ok_or_else(|| ScriptError::Argument(word.to_owned()))?.to_owned());
    }
    let line = words.join(" ");
    if line.len() > LONGEST_ARGUMENTS_BYTES {
        return Err(ScriptError::TooLong(line.len()));
    }
    script.push_str(&format!(
        "set fetched:int32 0\n:fetch\nimgfree\nkernel {} {line} || goto again\n",
        checked_url(kernel)?
    ));
    for (name, url) in &images {
        script.push_str(&format!("initrd --name {name} {url} || goto again\n"));
    }
    script.push_str(&format!(
        "boot || goto again\n\
         :again\n\
         echo Formwork: could not fetch or start it, trying again\n\
         inc fetched\n\
         iseq ${{fetched}} {FETCHES} && goto anew ||\n\
         sleep 3\n\
         goto fetch\n\
         :anew\n\
         imgfree\n"
    ));
    script.push_str(&ask("", &format!("{SCRIPT_PATH}?{SAYS}")));
    Ok(())
}

/// The way to the disk. Each line falls through to the next when there is nothing of its kind.
fn local(script: &mut String, firmware: Firmware) {
    match firmware {
        Firmware::Bios => script.push_str("sanboot --no-describe --drive 0x80 || exit 1\n"),
        // iPXE's EFI builds find the file system with a boot loader among the local disks from 1.21 on (older ones say
        // that there is no such command or drive and fall through). `exit 1` gives the firmware's next boot entry a try.
        Firmware::Uefi => script.push_str(
            "sanboot --no-describe --drive 0x80 ||\n\
             sanboot --no-describe --drive 0 --filename \\EFI\\BOOT\\BOOTX64.EFI ||\n\
             echo Formwork: this iPXE finds no system on a disk, the firmware's next entry is tried\n\
             sleep 2\n\
             exit 1\n",
        ),
    }
}

/// A line on the screen. Only characters that mean nothing to iPXE are left.
fn say(script: &mut String, text: &str) {
    script.push_str("echo Formwork: ");
    let shown = text.chars().take(LONGEST_TEXT).map(|character| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => character,
        ' ' | '.' | ',' | ':' | '_' | '-' | '+' | '/' | '(' | ')' | '[' | ']' | '=' | '@' | '%' | '*' | '!' | '?'
        | '~' => character,
        // A quote may begin a string in some iPXE; the words between two are read without them.
        '`' | '\'' | '"' => ' ',
        character if character.is_whitespace() => ' ',
        _ => '.',
    });
    script.extend(shown);
    script.push('\n');
}

/// One word to iPXE, whatever its age.
fn checked_word(word: &str) -> Option<&str> {
    let printable = word.bytes().all(|b| b.is_ascii_graphic());
    let special = matches!(word, "||" | "&&" | ";") || word.starts_with('#') || word.contains("${");
    (!word.is_empty() && printable && !special).then_some(word)
}

fn checked_url(url: &str) -> Result<&str, ScriptError> {
    let known = ["/", "http://", "https://", "tftp://"].iter().any(|start| url.starts_with(start));
    checked_word(url).filter(|_| known && url.len() <= 1024).ok_or_else(|| ScriptError::Url(url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(action: ScriptAction) -> ScriptAnswer {
        ScriptAnswer {
            machine: Some("node-1".into()),
            revision: Some("0123abc".into()),
            waits_for: Some("stage discover".into()),
            action,
        }
    }

    fn kernel(arguments: &str) -> ScriptAnswer {
        answer(ScriptAction::Boot {
            environment: "discovery".into(),
            offer: "offer-1".into(),
            kernel: "/files/discovery/vmlinuz".into(),
            initrds: vec!["/files/discovery/initrd.zst".into()],
            arguments: arguments.into(),
        })
    }

    #[test]
    fn a_kernel_gets_its_disks_by_name_and_the_overlay_last() {
        let script = render(&kernel("console=ttyS0 quiet --- splash"), Firmware::Uefi).expect("a script");
        let lines: Vec<&str> = script.lines().collect();
        let place = |start: &str| lines.iter().position(|l| l.starts_with(start)).expect(start);
        assert_eq!(lines.first(), Some(&"#!ipxe"));
        assert_eq!(
            lines[place("kernel ")],
            "kernel /files/discovery/vmlinuz initrd=initrd-0 initrd=overlay console=ttyS0 quiet --- splash || goto again"
        );
        assert!(place("imgfree") < place("kernel "));
        assert!(place("initrd --name initrd-0 ") < place("initrd --name overlay /boot/overlay/offer-1.cpio"));
        assert!(place("echo Formwork: machine node-1, revision 0123abc") < place("echo Formwork: stage discover"));
    }

    #[test]
    fn what_ipxe_would_take_for_a_command_is_refused() {
        for arguments in ["a || shell", "a && exit", "a ; b", "#comment", "x=${net0/mac}", "na\u{ef}ve"] {
            assert!(matches!(render(&kernel(arguments), Firmware::Bios), Err(ScriptError::Argument(_))), "{arguments}");
        }
        for url in ["", "file:/x", "/a b", "/a\nshell", "//${x}", "-x", "relative"] {
            let mut wrong = kernel("");
            if let ScriptAction::Boot { kernel, .. } = &mut wrong.action {
                url.clone_into(kernel);
            }
            assert!(matches!(render(&wrong, Firmware::Bios), Err(ScriptError::Url(_))), "{url}");
        }
        assert!(matches!(render(&kernel(&"a ".repeat(2000)), Firmware::Bios), Err(ScriptError::TooLong(_))));
        // A newline in arguments is white space to the kernel and becomes a space here.
        assert!(render(&kernel("a\nshell"), Firmware::Bios).expect("a script").contains(" a shell || goto again"));
    }

    #[test]
    fn leaving_is_always_a_failure_to_the_firmware() {
        for action in [ScriptAction::Local, ScriptAction::Nothing { reason: "unknown".into() }] {
            for firmware in [Firmware::Bios, Firmware::Uefi] {
                let script = render(&answer(action.clone()), firmware).expect("a script");
                assert!(script.contains("exit 1\n") && !script.lines().any(|l| l.ends_with("exit")), "{script}");
            }
        }
    }

    #[test]
    fn a_held_machine_shows_why_and_asks_again() {
        let held = ScriptAction::Hold { reason: "three offers, no boot".into(), retry_seconds: 0 };
        let script = render(&answer(held), Firmware::Bios).expect("a script");
        assert!(script.contains("echo Formwork: held: three offers, no boot\n"));
        assert!(script.contains("sleep 1\n") && script.contains("chain --replace --autofree /boot/script?mac="));
    }

    #[test]
    fn file_urls_hold_nothing_but_url_characters() {
        assert_eq!(file_url("discovery/vm linuz${x}"), "/files/discovery/vm%20linuz%24%7Bx%7D");
    }

    proptest! {
        #[test]
        fn no_text_adds_a_line_or_an_expansion(machine in "\\PC{0,40}", reason in any::<String>()) {
            let held = ScriptAnswer {
                machine: Some(machine),
                revision: None,
                waits_for: Some(reason.clone()),
                action: ScriptAction::Nothing { reason },
            };
            let script = render(&held, Firmware::Bios).expect("a script");
            prop_assert_eq!(script.lines().count(), 6);
            prop_assert!(!script.contains('$') && !script.contains('|') && !script.contains('&') && !script.contains(';'));
        }

        #[test]
        fn no_argument_adds_a_line_or_an_expansion(arguments in any::<String>()) {
            if let Ok(script) = render(&kernel(&arguments), Firmware::Bios) {
                let plain = render(&kernel(""), Firmware::Bios).expect("a script");
                prop_assert_eq!(script.lines().count(), plain.lines().count());
                prop_assert_eq!(script.matches("${").count(), plain.matches("${").count());
            }
        }
    }
}
