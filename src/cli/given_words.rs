//! What people say for others to act on, read before anybody is asked: what is none ends as a wrong command line does. Pure.

use crate::git::receive::{Said, parse_options};
use crate::identity::user::Rights;
use crate::reconcile::REVISION_LEAST;

/// A reason, for the journal.
pub fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty, and is to say why to whoever reads the journal".to_owned());
    }
    Ok(text.to_owned())
}

/// Machines that may be wiped.
pub fn wipe(text: &str) -> Result<String, String> {
    allowed("allow-wipe", text)
}

/// Machines that may leave.
pub fn leave(text: &str) -> Result<String, String> {
    allowed("allow-leave", text)
}

/// What the site may be called.
pub fn rename(text: &str) -> Result<String, String> {
    allowed("allow-site-rename", text)
}

/// The revision that is meant, or how it begins.
pub fn revision(text: &str) -> Result<String, String> {
    match text.chars().count() >= REVISION_LEAST && text.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "it is no revision: a commit's id has hexadecimal digits, of which at least {REVISION_LEAST} are given"
        )),
    }
}

/// Read as the server reads it, which also knows who there is.
fn allowed(word: &str, text: &str) -> Result<String, String> {
    match parse_options(&[format!("{word}={text}")], &Rights::all(), Said::BY_COMMAND) {
        Ok(_) => Ok(text.to_owned()),
        Err(refused) => {
            let told = refused.into_iter().map(|refusal| match refusal.hint {
                Some(hint) => format!("{}; {hint}", refusal.what),
                None => refusal.what,
            });
            Err(told.collect::<Vec<_>>().join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_or_names_nobody_is_wrong_before_anybody_is_asked() {
        for (read, good, wrong) in [
            (reason as fn(&str) -> Result<String, String>, &["x", " y "][..], &["", "  "][..]),
            (wipe, &["all", "a,b"], &["", "a,,b", "a b", "all,a", "-1"]),
            (leave, &["all", "12", "a,b"], &["", "A", "-1"]),
            (rename, &["plant"], &["", "a,b", "A"]),
            (revision, &["3f2a", "3F2A91c0"], &["", "3f2", "main", "v1.2", "HEAD"]),
        ] {
            for text in good {
                assert_eq!(read(text).as_deref(), Ok(*text));
            }
            for text in wrong {
                assert!(read(text).is_err(), "{text:?}");
            }
        }
        let said = wipe("a,B").unwrap_err();
        assert!(said.contains("names `B`") && said.contains("formwork get machines"), "{said}");
    }
}
