//! The policy: `trust.yaml`, strict, with findings that say where.

use super::allowed_signers::{self, AllowedSigners};
use super::pattern::matches_name;
use super::{Signer, matches_path};
use crate::content::{Findings, Step, StrictFile};
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What has to be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Every commit since the revision trusted last, each for the paths it touches.
    #[default]
    Range,
    /// The newest commit, for all that changed since the revision trusted last.
    Tip,
    /// An annotated tag of the newest commit, for all that changed since the revision trusted last.
    Tag,
}

/// What becomes of a revision that does not descend from the one trusted last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rewritten {
    /// It is refused.
    #[default]
    Refuse,
    /// The signer of its newest commit answers for all that differs.
    Follow,
}

/// Who may sign for some paths.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What findings call it.
    pub name: String,
    /// Patterns of paths from the repository's root.
    pub paths: Vec<String>,
    /// Patterns of principals, or keys: `SHA256:…`, an OpenPGP fingerprint.
    pub signers: Vec<String>,
}

impl Rule {
    /// Whether it is about this path.
    pub fn covers(&self, path: &str) -> bool {
        self.paths.iter().any(|pattern| matches_path(path, pattern))
    }

    /// Whether it lets this signer sign.
    pub fn allows(&self, signer: &Signer) -> bool {
        self.signers.iter().any(|pattern| {
            *pattern == signer.key
                || pattern.eq_ignore_ascii_case(&signer.key) && !signer.key.starts_with("SHA256:")
                || signer.principals.iter().any(|name| matches_name(name, pattern))
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    check: Check,
    rewritten: Rewritten,
    anchor: Option<String>,
    allowed_signers: Option<String>,
    revoked_keys: Option<String>,
    openpgp: Vec<WrittenKey>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenKey {
    principal: String,
    file: String,
}

/// An OpenPGP key file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Whose keys are in it.
    pub principal: String,
    /// Its name, as the policy gives it.
    pub file: String,
    /// Armored public keys.
    pub bytes: Vec<u8>,
}

/// Who may say what the machines become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What has to be signed.
    pub check: Check,
    /// What becomes of a rewritten branch.
    pub rewritten: Rewritten,
    /// A commit that a person trusts as it is: what came before it is not asked about.
    pub anchor: Option<String>,
    /// Who may sign by SSH.
    pub ssh: AllowedSigners,
    /// OpenPGP public keys as they were read; `git` imports them.
    pub openpgp_files: Vec<KeyFile>,
    /// Principals of OpenPGP primary keys by fingerprint, known once they are imported.
    pub openpgp: BTreeMap<String, Vec<String>>,
    /// Who may sign for which paths; the first rule that covers a path decides. A path of no rule: anybody of the above.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Reads `trust.yaml`. `open` reads the files that it names, relative to it; `zone` is of times in allowed signers.
    ///
    /// # Errors
    /// All that is wrong, with places in the policy and in the files it names.
    pub fn read(
        file: &str,
        bytes: &[u8],
        zone: &TimeZone,
        open: &dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, Findings> {
        let mut strict = StrictFile::new(file);
        let written: Written = strict.read(bytes);
        let mut policy = Self {
            check: written.check,
            rewritten: written.rewritten,
            anchor: written.anchor,
            rules: written.rules,
            ..Self::default()
        };
        if let Some(anchor) = &policy.anchor
            && !(matches!(anchor.len(), 40 | 64) && anchor.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            strict.error("anchor", &["anchor".into()], format!("`{anchor}` is not the whole id of a commit"));
        }
        if let Some(name) = &written.allowed_signers {
            match open(name).and_then(|bytes| String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())) {
                Err(why) => strict.error("unreadable", &["allowedSigners".into()], format!("`{name}`: {why}")),
                Ok(text) => match allowed_signers::parse(&text, zone) {
                    // Nobody is no policy: it would refuse whatever is pushed, and a file that was emptied by accident looks so.
                    Ok(lines) if lines.is_empty() => {
                        let said = format!("`{name}` has no signer in it: nobody could sign by SSH");
                        let hint = "write who may sign, one a line: `alice@example.org ssh-ed25519 AAAA…`; or leave \
                                    `allowedSigners` out, where all sign by OpenPGP";
                        strict.error_with("nobody", &["allowedSigners".into()], said, Some(hint.to_owned()));
                    }
                    Ok(lines) => policy.ssh.lines = lines,
                    Err(errors) => strict.elsewhere("allowed-signer", name, errors),
                },
            }
        }
        if let Some(name) = &written.revoked_keys {
            match open(name) {
                Err(why) => strict.error("unreadable", &["revokedKeys".into()], format!("`{name}`: {why}")),
                Ok(bytes) => match allowed_signers::parse_revoked(&bytes) {
                    Ok(keys) => policy.ssh.revoked = keys,
                    Err(errors) => strict.elsewhere("revoked-key", name, errors),
                },
            }
        }
        for (index, key) in written.openpgp.into_iter().enumerate() {
            let way = [Step::Key("openpgp"), Step::Item(index), Step::Key("file")];
            match open(&key.file) {
                Err(why) => strict.error("unreadable", &way, format!("`{}`: {why}", key.file)),
                Ok(bytes) => {
                    policy.openpgp_files.push(KeyFile { principal: key.principal, file: key.file, bytes });
                }
            }
        }
        if written.allowed_signers.is_none() && policy.openpgp_files.is_empty() && !strict.refuses() {
            strict.error("nobody", &[], "nobody may sign: give `allowedSigners` or `openpgp`".to_owned());
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            for (field, list) in [("paths", &rule.paths), ("signers", &rule.signers)] {
                if list.is_empty() {
                    let way = [Step::Key("rules"), Step::Item(index), Step::Key(field)];
                    strict.error("empty", &way, format!("rule `{}` has no {field}", rule.name));
                }
            }
            for (at, pattern) in rule.paths.iter().enumerate().filter(|(_, pattern)| pattern.starts_with(['/', '.'])) {
                let way = [Step::Key("rules"), Step::Item(index), Step::Key("paths"), Step::Item(at)];
                let message =
                    format!("`{pattern}` matches no path: write it from the repository's root, without `/` or `.`");
                strict.error("pattern", &way, message);
            }
        }
        strict.finish(policy)
    }

    /// The first rule about this path.
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers(path))
    }
}
