//! OpenPGP signatures, checked by `gpg`.
//!
//! Why a program and not a crate: `gpg` is what `git verify-commit` asks, knows every form of key and signature that people
//! have, and judges revocation, expiry and the binding of subkeys itself. The OpenPGP crate whose licence fits (rPGP) gives the
//! parts and leaves that judgement to its caller, and adds some seventy crates to every build; sequoia is under the LGPL and
//! wants a C library. `gpgv` is no choice: it says itself that it looks at neither expiry nor revocation. The price is one
//! process a signature, about ten milliseconds, and only where OpenPGP keys are named.
//!
//! The keys lie in a folder of our own that is made anew at each start, so that nothing of the user's own keyring counts.

use crate::trust::{KeyFile, Refusal, openpgp};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any signature takes, also on a loaded machine.
const LONGEST: Duration = Duration::from_secs(60);
/// The most that is read of what `gpg` says.
const OUTPUT_MAX: u64 = 1024 * 1024;

/// The public keys that the policy names, imported.
#[derive(Debug)]
pub(super) struct Keyring {
    home: PathBuf,
}

impl Keyring {
    /// Imports keys into a folder of their own, and says whose each primary key is.
    pub(super) fn import(home: &Path, files: &[KeyFile]) -> Result<(Self, BTreeMap<String, Vec<String>>), String> {
        use std::os::unix::fs::DirBuilderExt as _;
        let failed = |error: std::io::Error| format!("{}: {error}", home.display());
        match std::fs::remove_dir_all(home) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(home).map_err(failed)?;
        let keyring = Self { home: home.to_owned() };
        let mut principals: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in files {
            let found = openpgp::read_imported(&keyring.run(&["--status-fd=1", "--import"], &key.bytes)?);
            if found.is_empty() {
                return Err(format!("{}: no OpenPGP public key is in it", key.file));
            }
            for fingerprint in found {
                principals.entry(fingerprint).or_default().push(key.principal.clone());
            }
        }
        Ok((keyring, principals))
    }

    /// Checks one signature.
    pub(super) fn verify(&self, signature: &[u8], signed: &[u8]) -> Result<openpgp::Fingerprint, Refusal> {
        let failed = |why: String| Refusal { key: None, reason: format!("cannot be checked: {why}") };
        let file = self.home.join("signature.asc");
        std::fs::write(&file, signature).map_err(|error| failed(error.to_string()))?;
        let file = file.to_string_lossy().into_owned();
        let status = self.run(&["--status-fd=1", "--verify", "--", &file, "-"], signed).map_err(failed)?;
        openpgp::read_status(&status)
    }

    /// Runs it with this input and gives what it prints. That it ends with a failure is told by what it prints.
    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no `gpg`; install GnuPG (package gpg)".to_owned(),
            _ => format!("gpg: {error}"),
        };
        let mut child = Command::new("gpg")
            .args(["--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--no-auto-check-trustdb"])
            .args(["--trust-model", "always", "--weak-digest", "SHA1", "--disable-dirmngr", "--homedir"])
            .arg(&self.home)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.is_some_and(|mut stdin| stdin.write_all(&input).is_ok()));
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(stdout) = stdout {
                let _ = stdout.take(OUTPUT_MAX).read_to_end(&mut text);
            }
            text
        });
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            match child.try_wait().map_err(failed)? {
                Some(_) => break,
                None if began.elapsed() > LONGEST => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("gpg did not answer within {} s", LONGEST.as_secs()));
                }
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        let _ = writer.join();
        let text = reader.join().map_err(|_| "gpg's answer could not be read".to_owned())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
