//! What `gpg --status-fd` says of an OpenPGP signature (GnuPG, doc/DETAILS). Only its words are read, never its prose.

use super::Refusal;

/// A good signature's key: the primary fingerprint, 40 hexadecimal digits (or 64).
pub type Fingerprint = String;

/// Whether a signature is of this kind.
pub fn is_openpgp(signature: &[u8]) -> bool {
    let begin = signature.trim_ascii_start();
    begin.starts_with(b"-----BEGIN PGP SIGNATURE-----") || begin.starts_with(b"-----BEGIN PGP MESSAGE-----")
}

/// Reads the status lines of one verification. Exactly one signature must be there, and it must be good in every respect.
///
/// # Errors
/// Why it is not.
pub fn read_status(status: &str) -> Result<Fingerprint, Refusal> {
    let mut key: Option<String> = None;
    let mut valid: Option<String> = None;
    let mut good = 0_usize;
    let mut signatures = 0_usize;
    let mut bad: Option<&str> = None;
    for line in status.lines() {
        let Some(line) = line.strip_prefix("[GNUPG:] ") else { continue };
        let mut words = line.split(' ');
        let (word, first) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match word {
            "NEWSIG" => signatures += 1,
            "GOODSIG" => good += 1,
            "VALIDSIG" => {
                // Ten fields; the last is the primary key's, older ones leave it out.
                let primary = words.nth(8).unwrap_or(first);
                valid = Some(primary.to_owned());
                key = Some(primary.to_owned());
            }
            "BADSIG" => bad = Some("does not fit: what was signed was changed, or somebody else signed it"),
            "EXPSIG" => bad = Some("has expired"),
            "EXPKEYSIG" => bad = Some("is by a key that has expired"),
            "REVKEYSIG" => bad = Some("is by a key that was revoked"),
            "ERRSIG" => {
                let code = line.split(' ').nth(6).unwrap_or("");
                bad = Some(if code == "9" {
                    "is by a key that the policy does not name"
                } else {
                    "cannot be checked: its algorithm or its form is not known"
                });
            }
            "NODATA" => bad = bad.or(Some("is not an OpenPGP signature")),
            _ => {}
        }
        if matches!(word, "BADSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG" | "ERRSIG") && key.is_none() {
            key = Some(first.to_owned());
        }
    }
    match (bad, valid) {
        (Some(reason), _) => Err(Refusal::new(key, reason)),
        (None, Some(fingerprint)) if good == 1 && signatures <= 1 && is_fingerprint(&fingerprint) => Ok(fingerprint),
        (None, Some(_)) => Err(Refusal::new(key, "is not exactly one good signature")),
        (None, None) => Err(Refusal::new(key, "cannot be checked: gpg says nothing of it")),
    }
}

/// The primary fingerprints of the keys that an import took.
pub fn read_imported(status: &str) -> Vec<Fingerprint> {
    let taken = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] IMPORT_OK "));
    let fingerprints = taken.filter_map(|line| line.split(' ').nth(1)).filter(|text| is_fingerprint(text));
    fingerprints.map(str::to_owned).collect()
}

fn is_fingerprint(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "0123456789ABCDEF0123456789ABCDEF01234567";
    const SUB: &str = "89ABCDEF0123456789ABCDEF0123456789ABCDEF";

    #[test]
    fn only_one_signature_that_is_good_in_every_respect_is_taken() {
        let valid = format!("[GNUPG:] VALIDSIG {SUB} 2024-01-01 1 0 4 0 22 10 00 {PRIMARY}\n");
        let good = format!("[GNUPG:] NEWSIG a@b\n[GNUPG:] GOODSIG 0123 A\n{valid}");
        assert_eq!(read_status(&good), Ok(PRIMARY.to_owned()));
        for (status, part) in [
            ("[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 0123456789ABCDEF A\n".to_owned(), "does not fit"),
            (format!("[GNUPG:] EXPKEYSIG 01 A\n{valid}"), "key that has expired"),
            (format!("[GNUPG:] EXPSIG 01 A\n{valid}"), "has expired"),
            (format!("[GNUPG:] REVKEYSIG 01 A\n{valid}"), "revoked"),
            (
                format!("[GNUPG:] ERRSIG 0123456789ABCDEF 22 10 00 1 9 {PRIMARY}\n[GNUPG:] NO_PUBKEY 01\n"),
                "does not name",
            ),
            ("[GNUPG:] ERRSIG 0123456789ABCDEF 99 10 00 1 4 -\n".to_owned(), "not known"),
            ("[GNUPG:] NODATA 4\n".to_owned(), "not an OpenPGP signature"),
            (format!("{good}{good}"), "exactly one"),
            (format!("{good}[GNUPG:] NEWSIG\n[GNUPG:] BADSIG 01 B\n"), "does not fit"),
            (valid.clone(), "exactly one"),
            (format!("gpg: Good signature\n VALIDSIG {PRIMARY}\n"), "says nothing"),
            (String::new(), "says nothing"),
        ] {
            let refusal = read_status(&status).unwrap_err();
            assert!(refusal.reason.contains(part), "{status}: {refusal:?}");
        }
    }

    #[test]
    fn an_import_names_the_keys_that_it_took() {
        let status = format!(
            "[GNUPG:] KEY_CONSIDERED {SUB} 0\n[GNUPG:] IMPORTED 01 A\n[GNUPG:] IMPORT_OK 1 {PRIMARY}\n[GNUPG:] IMPORT_OK 1 x\n"
        );
        assert_eq!(read_imported(&status), [PRIMARY]);
    }

    proptest::proptest! {
        #[test]
        fn no_output_makes_it_panic(text in "(\\[GNUPG:\\] [A-Z]{3,9}( [ -~]{0,20}){0,4}\n){0,6}") {
            let _ = read_status(&text);
            let _ = read_imported(&text);
        }
    }
}
