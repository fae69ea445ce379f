//! The document as JSON: for members with its secrets, for everybody else with their lengths.

use super::{Claim, ClaimStanding, ClaimState, Document, Entry, Set};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Whether values of secret keys are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// To members of the cluster.
    Shown,
    /// To everybody else, and in events: that there is one and how long it is.
    Hidden,
}

/// A place in a stream of changes.
pub type Place = (u64, u64);

/// `epoch.version`, as in an `ETag`.
pub fn etag(epoch: u64, version: u64) -> String {
    format!("{epoch}.{version}")
}

/// Reads `epoch.version`, with or without quotes.
pub fn parse_etag(text: &str) -> Option<Place> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (epoch, version) = text.split_once('.')?;
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    Some((number(epoch)?, number(version)?))
}

/// The whole document, as it is read.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentView {
    /// The cluster.
    pub cluster: String,
    /// Rises when the cluster is built anew.
    pub epoch: u64,
    /// Rises with each accepted write.
    pub version: u64,
    /// The document's size, bytes.
    pub bytes: usize,
    /// Why machines change nothing now; not there where they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Keys: `value` (of a secret, for all but members: `secret` and `bytes`), `version`, `by`, `atUnixMs`.
    pub keys: Map<String, Value>,
    /// Claims: `state`, `fence`, `holder`, and what goes with the state.
    pub claims: Map<String, Value>,
    /// Sets: `members` in order, `barriers`.
    pub sets: Map<String, Value>,
}

/// The whole document.
pub fn document_view(cluster: &str, document: &Document, secrets: Secrets, now_ms: u64) -> DocumentView {
    DocumentView {
        cluster: cluster.to_owned(),
        epoch: document.epoch,
        version: document.version,
        frozen: document.frozen.clone(),
        bytes: document.bytes,
        keys: document.keys.iter().map(|(name, entry)| (name.clone(), entry_json(entry, secrets))).collect(),
        claims: document.claims.iter().map(|(name, claim)| (name.clone(), claim_json(claim, now_ms))).collect(),
        sets: document.sets.iter().map(|(name, set)| (name.clone(), set_json(set))).collect(),
    }
}

/// A key.
pub fn entry_json(entry: &Entry, secrets: Secrets) -> Value {
    let mut object = Map::new();
    if entry.secret {
        object.insert("secret".to_owned(), json!(true));
        object.insert("bytes".to_owned(), json!(entry.bytes));
    }
    if !entry.secret || secrets == Secrets::Shown {
        object.insert("value".to_owned(), (*entry.value.0).clone());
    }
    object.insert("version".to_owned(), json!(entry.version));
    object.insert("by".to_owned(), json!(entry.by));
    object.insert("atUnixMs".to_owned(), json!(entry.at_unix_ms));
    Value::Object(object)
}

/// A claim.
pub fn claim_json(claim: &Claim, now_ms: u64) -> Value {
    let state = claim.standing(now_ms);
    let mut object = Map::new();
    object.insert("state".to_owned(), json!(state));
    object.insert("version".to_owned(), json!(claim.version));
    object.insert("fence".to_owned(), json!(claim.grant.fence));
    object.insert("holder".to_owned(), json!(claim.grant.machine));
    object.insert("run".to_owned(), json!(claim.grant.run));
    object.insert("atUnixMs".to_owned(), json!(claim.grant.at_unix_ms));
    if let Some(previous) = &claim.grant.previous {
        object.insert("previous".to_owned(), json!(previous));
    }
    match (&claim.state, state) {
        (ClaimState::Held { expires_ms, .. }, ClaimStanding::Held) => {
            object.insert("expiresInMs".to_owned(), json!(expires_ms.saturating_sub(now_ms)));
        }
        (ClaimState::Held { .. }, _) => {
            object.insert("fall".to_owned(), json!({"why": "expired"}));
        }
        (ClaimState::Vacant { fall }, _) => {
            object.insert("fall".to_owned(), json!(fall));
        }
        (ClaimState::Failed { reason }, _) => {
            object.insert("reason".to_owned(), json!(reason));
        }
        (ClaimState::Done, _) => {}
    }
    Value::Object(object)
}

/// A set: its members in the order they joined.
pub fn set_json(set: &Set) -> Value {
    let members: Vec<Value> = set
        .order
        .iter()
        .map(|(ordinal, name)| {
            let version = set.members.get(name).map(|member| member.version);
            json!({"machine": name, "ordinal": ordinal, "version": version})
        })
        .collect();
    let barriers: Vec<Value> = set
        .barriers
        .iter()
        .map(|barrier| json!({"count": barrier.count.to_string(), "opened": barrier.opened}))
        .collect();
    json!({"version": set.version, "members": members, "barriers": barriers})
}

/// What one version changed, as far as nothing later changed it again.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The version.
    pub version: u64,
    /// What: objects with `key`, `claim` or `set`, and how that is now. No secrets.
    pub changes: Vec<Value>,
}

/// All that changed after `version`, oldest first. Somebody who reads this and applies it to what was there at `version` has
/// the document; what changed twice is told once. `None` where deletions that old are no longer known.
pub fn changes_after(document: &Document, version: u64, now_ms: u64) -> Option<Vec<Change>> {
    if version < document.compacted {
        return None;
    }
    let named = |kind: &str, name: &str, mut about: Value| {
        if let Some(object) = about.as_object_mut() {
            object.shift_insert(0, kind.to_owned(), json!(name));
        }
        about
    };
    let mut found: std::collections::BTreeMap<u64, Vec<Value>> = std::collections::BTreeMap::new();
    let mut tell = |at: u64, change: Value| {
        if at > version {
            found.entry(at).or_default().push(change);
        }
    };
    for (name, entry) in document.keys.iter().filter(|(_, entry)| entry.version > version) {
        tell(entry.version, named("key", name, entry_json(entry, Secrets::Hidden)));
    }
    for (name, at) in document.deleted.iter() {
        tell(*at, json!({"key": name, "deleted": true, "version": at}));
    }
    for (name, claim) in document.claims.iter().filter(|(_, claim)| claim.version > version) {
        tell(claim.version, named("claim", name, claim_json(claim, now_ms)));
    }
    for (name, set) in document.sets.iter().filter(|(_, set)| set.version > version) {
        tell(set.version, named("set", name, set_json(set)));
    }
    Some(found.into_iter().map(|(version, changes)| Change { version, changes }).collect())
}

#[cfg(test)]
mod tests {
    use super::parse_etag;

    #[test]
    fn etags_are_epoch_and_version_quoted_or_not() {
        assert_eq!(parse_etag("\"1.42\""), Some((1, 42)));
        assert_eq!(parse_etag(" 1.42 "), Some((1, 42)));
        for wrong in ["", "1", ".", "1.", ".1", "W/\"1.2\"", "+1.2", "1.2.3", "\"1.2", "99999999999999999999.1"] {
            assert_eq!(parse_etag(wrong), None, "{wrong}");
        }
    }
}
