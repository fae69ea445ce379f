//! What objects are called: `SITE/logs/JOB/LENGTH-SHA256.log.zst`. Pure.
//!
//! The name says what is in it, so an object that is there needs no index, is never written twice with something else, and can be checked
//! by whoever has it: `zstd -d < … | sha256sum`.

use ring::digest::{SHA256, digest};
use std::fmt::Write as _;

/// Digits of a length: names of one job sort by it.
const DIGITS: usize = 12;
const HASH_DIGITS: usize = 64;
const END: &str = ".log.zst";
/// So much of the authority's digest tells one site from another of its name.
const AUTHORITY: usize = 12;

/// The folder of a site: several may have one bucket, and none ever looks at what is another's.
pub(super) fn site(name: &str, authority: &str) -> String {
    let digest = authority.chars().filter(char::is_ascii_hexdigit).take(AUTHORITY).collect::<String>();
    format!("{name}-{}", digest.to_ascii_lowercase())
}

/// The folder of all logs of a site.
pub(super) fn logs(site: &str) -> String {
    format!("{site}/logs")
}

/// The folder of one job.
pub(super) fn folder(site: &str, job: &str) -> String {
    format!("{site}/logs/{job}")
}

/// What one object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The job.
    pub(super) job: String,
    /// The length of its log, bytes.
    pub(super) length: u64,
    /// SHA-256 of the log, hexadecimal.
    pub(super) hash: String,
}

impl Name {
    /// The name of this log.
    pub(super) fn of(job: &str, log: &[u8]) -> Self {
        let mut hash = String::with_capacity(HASH_DIGITS);
        for byte in digest(&SHA256, log).as_ref() {
            let _ = write!(hash, "{byte:02x}");
        }
        Self { job: job.to_owned(), length: log.len() as u64, hash }
    }

    /// Where it lies.
    pub(super) fn path(&self, site: &str) -> String {
        format!("{}/{:0DIGITS$}-{}{END}", folder(site, &self.job), self.length, self.hash)
    }

    /// What an object of that path is; `None` for what is no log of this site.
    pub(super) fn parse(site: &str, path: &str) -> Option<Self> {
        let (job, file) = path.strip_prefix(site)?.strip_prefix("/logs/")?.split_once('/')?;
        let (length, hash) = file.strip_suffix(END)?.split_once('-')?;
        let digits = length.len() >= DIGITS && length.bytes().all(|byte| byte.is_ascii_digit());
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let whole = digits && hash.len() == HASH_DIGITS && hash.bytes().all(hex) && !job.is_empty();
        whole.then(|| Some(Self { job: job.to_owned(), length: length.parse().ok()?, hash: hash.to_owned() }))?
    }
}

/// What there is to do for a log, given the objects that its job has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// It has to be put there.
    pub(super) put: bool,
    /// These go then: a longer one says all that they say.
    pub(super) remove: Vec<Name>,
    /// Up to which length the log is there afterwards.
    pub(super) length: u64,
}

/// The longest is the whole one. One of the same length stays, whoever made it.
pub(super) fn plan(own: &Name, there: &[Name]) -> Plan {
    let longest = there.iter().map(|it| it.length).max();
    let put = longest.is_none_or(|longest| longest < own.length);
    let length = longest.unwrap_or_default().max(own.length);
    let remove = there.iter().filter(|it| it.length < length).cloned().collect();
    Plan { put, remove, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lab-0123456789ab";

    fn name(length: u64, digit: char) -> Name {
        Name { job: "job-1".into(), length, hash: digit.to_string().repeat(HASH_DIGITS) }
    }

    #[test]
    fn a_name_says_whose_log_it_is_how_long_and_what_is_in_it() {
        assert_eq!(site("lab", "01:23:45:67:89:AB:CD:EF"), SITE);
        let name = Name::of("job-1", b"hello\n");
        let path = name.path(SITE);
        assert_eq!(
            path,
            "lab-0123456789ab/logs/job-1/000000000006-\
             5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.log.zst"
        );
        assert_eq!(Name::parse(SITE, &path), Some(name.clone()));
        assert_eq!(Name::parse("lab-0123456789ac", &path), None, "another site's");
        assert!(path.starts_with(&folder(SITE, "job-1")) && path.starts_with(&logs(SITE)));
    }

    #[test]
    fn what_is_no_log_is_none() {
        let hash = "0".repeat(HASH_DIGITS);
        for path in [
            String::new(),
            SITE.to_owned(),
            format!("{SITE}/logs/job-1"),
            format!("{SITE}/logs/000000000006-{hash}.log.zst"),
            format!("{SITE}/logs//000000000006-{hash}.log.zst"),
            format!("{SITE}/logs/job-1/6-{hash}.log.zst"),
            format!("{SITE}/logs/job-1/00000000000x-{hash}.log.zst"),
            format!("{SITE}/logs/job-1/99999999999999999999999-{hash}.log.zst"),
            format!("{SITE}/logs/job-1/000000000006-{hash}.log"),
            format!("{SITE}/logs/job-1/000000000006-{}.log.zst", &hash[1..]),
            format!("{SITE}/logs/job-1/000000000006-{}.log.zst", hash.replace('0', "A")),
            format!("{SITE}/others/job-1/000000000006-{hash}.log.zst"),
        ] {
            assert_eq!(Name::parse(SITE, &path), None, "{path}");
        }
    }

    #[test]
    fn the_longest_stays_and_nothing_is_put_twice() {
        let (own, other) = (name(5, 'a'), name(5, 'b'));
        for (there, put, remove, length) in [
            (vec![], true, vec![], 5),
            (vec![own.clone()], false, vec![], 5),
            (vec![other.clone()], false, vec![], 5),
            (vec![name(3, 'c')], true, vec![name(3, 'c')], 5),
            (vec![name(9, 'd')], false, vec![], 9),
            (vec![name(3, 'c'), own.clone(), name(9, 'd')], false, vec![name(3, 'c'), own.clone()], 9),
        ] {
            assert_eq!(plan(&own, &there), Plan { put, remove, length }, "{there:?}");
        }
    }
}
