//! May this revision follow the one trusted last? Pure.

use super::evidence::{Base, CommitEvidence, Evidence, Seal};
use super::{Check, Policy, Refusal, Rewritten, Rule, Signer, ssh};
use crate::content::{Finding, Severity};

/// So many paths of one commit are named in a finding; the rest is counted.
const PATHS_NAMED: usize = 3;
/// So many signers of a rule are named.
const SIGNERS_NAMED: usize = 5;
/// So many findings are kept.
const FINDINGS_MAX: usize = 100;
/// So many signers of a range are remembered.
const SIGNERS_MAX: usize = 20;

/// Who signed what was trusted: the tip's (or tag's) signer first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed(pub Vec<Signer>);

/// Decides.
///
/// Every path that a commit touches must be allowed to its signer by the first rule that covers the path; a path of no rule is
/// allowed to whoever may sign at all. The newest commit must always be signed, even if it touches nothing: its message speaks
/// to the server. A merge answers for what no side of it had so. Where the history cannot be walked from something trusted, one
/// signature answers for all that differs.
///
/// # Errors
/// One finding for each commit that is not signed as it must be.
pub fn decide(policy: &Policy, evidence: &Evidence, now_unix_s: i64) -> Result<Signed, Vec<Finding>> {
    let tip = &evidence.tip;
    let mut judge = Judge { policy, now_unix_s, findings: Vec::new(), signers: Vec::new() };
    let whole = match &evidence.base {
        // Trusted when it came; a key that expired since takes nothing back.
        Base::Itself => return Ok(Signed(judge.signer(&tip.seal).into_iter().collect())),
        Base::Ancestor(_) => policy.check != Check::Range,
        Base::Nothing => true,
        Base::Rewritten(old) | Base::Gone(old) if policy.rewritten == Rewritten::Refuse => {
            let message = format!(
                "commit {} does not descend from {}, which was trusted last: the branch was rewritten",
                short(&tip.id),
                short(old)
            );
            let hint = "put the branch back, or set `rewritten: follow` in trust.yaml: then the newest commit's signer \
                        answers for all that differs";
            return Err(vec![finding("", message, Some(hint.to_owned()))]);
        }
        Base::Rewritten(_) | Base::Gone(_) => true,
        Base::NoAnchor(anchor) => {
            let message = format!("commit {} does not descend from the anchor {}", short(&tip.id), short(anchor));
            let hint = "name one of its ancestors as `anchor` in trust.yaml";
            return Err(vec![finding("", message, Some(hint.to_owned()))]);
        }
    };
    if evidence.too_many {
        let message = format!("more commits lead to {} than are checked at once", short(&tip.id));
        let hint = "set `anchor` in trust.yaml to a commit that is trusted as it is";
        return Err(vec![finding("", message, Some(hint.to_owned()))]);
    }
    if policy.check == Check::Tag {
        judge.tags(evidence);
    } else {
        judge.commit(tip, if whole { &evidence.difference } else { &tip.paths }, true, whole);
    }
    if policy.check == Check::Range {
        for commit in evidence.commits.iter().filter(|commit| commit.id != tip.id) {
            judge.commit(commit, &commit.paths, false, false);
        }
    }
    if judge.findings.is_empty() { Ok(Signed(judge.signers)) } else { Err(judge.findings) }
}

struct Judge<'a> {
    policy: &'a Policy,
    now_unix_s: i64,
    findings: Vec<Finding>,
    signers: Vec<Signer>,
}

impl Judge<'_> {
    fn signer(&self, seal: &Seal) -> Result<Signer, Refusal> {
        match seal {
            Seal::None => Err(Refusal::new(None, "")),
            Seal::Unknown => Err(Refusal::new(None, "is neither by SSH nor by OpenPGP")),
            Seal::Ssh { signature, signed } => ssh::verify(signature, signed, &self.policy.ssh, self.now_unix_s),
            Seal::OpenPgp(Err(refusal)) => Err(refusal.clone()),
            Seal::OpenPgp(Ok(fingerprint)) => match self.policy.openpgp.get(fingerprint) {
                Some(names) => Ok(Signer { principals: names.clone(), key: fingerprint.clone() }),
                None => Err(Refusal::new(Some(fingerprint.clone()), "is by a key that the policy does not name")),
            },
        }
    }

    /// One commit and what it answers for. `tip`: it must be signed even if that is nothing.
    fn commit(&mut self, commit: &CommitEvidence, paths: &[String], tip: bool, whole: bool) {
        if paths.is_empty() && !tip {
            return;
        }
        let what = format!("commit {} (“{}”)", short(&commit.id), commit.summary);
        match self.signer(&commit.seal) {
            Ok(signer) => {
                self.allowed(&what, &signer, paths, whole);
                self.remember(signer);
            }
            Err(refusal) => self.refused(&what, &refusal, paths, &told(commit, paths, whole)),
        }
    }

    /// Any annotated tag that is signed well will do.
    fn tags(&mut self, evidence: &Evidence) {
        let tip = &evidence.tip;
        let paths = &evidence.difference;
        let before = self.findings.len();
        for tag in &evidence.tags {
            let what = format!("tag {} of commit {} (“{}”)", tag.reference, short(&tip.id), tip.summary);
            let found = self.findings.len();
            if tag.name != tag.reference {
                self.say(paths.first(), format!("{what} was signed as `{}`: somebody renamed it", tag.name), None);
                continue;
            }
            match self.signer(&tag.seal) {
                Ok(signer) => {
                    self.allowed(&what, &signer, paths, true);
                    if self.findings.len() == found {
                        self.findings.truncate(before);
                        self.remember(signer);
                        return;
                    }
                }
                Err(refusal) => self.refused(&what, &refusal, paths, &told(tip, paths, true)),
            }
        }
        if evidence.tags.is_empty() {
            let message = format!("no annotated tag is on commit {} (“{}”)", short(&tip.id), tip.summary);
            self.say(paths.first(), message, Some("sign one: git tag -s NAME, and push it".to_owned()));
        }
    }

    /// `told`: how much it is about, in words.
    fn refused(&mut self, what: &str, refusal: &Refusal, paths: &[String], told: &str) {
        let rule = paths.first().and_then(|path| self.policy.rule(path));
        let wanted = rule.map_or_else(String::new, |rule| format!("; rule `{}` asks for one", rule.name));
        let (message, hint) = if refusal.reason.is_empty() {
            let may = rule.map_or_else(String::new, |rule| format!("; {}", may_sign(rule)));
            (format!("{what} is not signed{wanted}"), Some(format!("sign it: git commit --amend -S{may}")))
        } else {
            let key = refusal.key.as_ref().map_or_else(String::new, |key| format!(" ({key})"));
            (format!("{what}: its signature{key} {}{wanted}", refusal.reason), rule.map(may_sign))
        };
        self.say(paths.first(), format!("{message}{told}"), hint);
    }

    fn allowed(&mut self, what: &str, signer: &Signer, paths: &[String], whole: bool) {
        let mut by_rule: Vec<(&str, Vec<&String>)> = Vec::new();
        for path in paths {
            let Some(rule) = self.policy.rule(path).filter(|rule| !rule.allows(signer)) else { continue };
            match by_rule.iter_mut().find(|(name, _)| *name == rule.name) {
                Some((_, paths)) => paths.push(path),
                None => by_rule.push((&rule.name, vec![path])),
            }
        }
        for (rule, paths) in by_rule {
            let answers = if whole { "answers for" } else { "touches" };
            let named: Vec<&str> = paths.iter().take(PATHS_NAMED).map(|path| path.as_str()).collect();
            let rest = paths.len().saturating_sub(PATHS_NAMED);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            let message = format!(
                "{what} is signed by {signer} and {answers} {}{rest}, which rule `{rule}` does not allow to this signer",
                named.join(", ")
            );
            let may = self.policy.rules.iter().find(|known| known.name == rule).map(may_sign);
            let hint = match (whole, may) {
                (true, may) => Some(format!(
                    "set `anchor` in trust.yaml to a commit that is trusted as it is, or let somebody sign who may for all of \
                     it{}",
                    may.map(|may| format!("; {may}")).unwrap_or_default()
                )),
                (false, may) => may,
            };
            self.say(paths.first().copied(), message, hint);
        }
    }

    fn say(&mut self, path: Option<&String>, message: String, hint: Option<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding(path.map_or("", String::as_str), message, hint));
        }
    }

    fn remember(&mut self, signer: Signer) {
        if self.signers.len() < SIGNERS_MAX && !self.signers.contains(&signer) {
            self.signers.push(signer);
        }
    }
}

fn finding(path: &str, message: String, hint: Option<String>) -> Finding {
    let file = if path.is_empty() { "(the revision)".to_owned() } else { path.to_owned() };
    Finding { severity: Severity::Error, code: "untrusted", file, line: 1, column: 1, message, hint }
}

/// Who may sign, in a clause.
fn may_sign(rule: &Rule) -> String {
    let named: Vec<&str> = rule.signers.iter().take(SIGNERS_NAMED).map(String::as_str).collect();
    let rest = rule.signers.len().saturating_sub(SIGNERS_NAMED);
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("rule `{}` lets sign: {}{rest}", rule.name, named.join(", "))
}

/// What a commit touches by itself, and what else its signer answers for.
fn told(commit: &CommitEvidence, paths: &[String], whole: bool) -> String {
    let files = |count: usize| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let own = match commit.paths.len() {
        0 => "it touches no file itself".to_owned(),
        count => format!("it touches {}", files(count)),
    };
    // With the commits before it, which nobody is asked about one by one.
    if whole && *paths != *commit.paths {
        return format!(" ({own}, and its signer answers for {} in all)", files(paths.len()));
    }
    match commit.paths.len() {
        // The place says which.
        1 => String::new(),
        _ => format!(" ({own})"),
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
