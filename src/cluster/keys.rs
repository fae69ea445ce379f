//! Keys: conditions, declarations, limits.

use super::apply::Draft;
use super::limits::{DELETED_MAX, DOCUMENT_MAX_BYTES, KEYS_MAX, VALUE_MAX_BYTES, VALUE_MAX_DEPTH, check_key};
use super::{Answer, Caller, ClaimStanding, Condition, Content, Context, Current, Document, Entry, Refusal, Writer};
use crate::content::kinds::{KeySpec, Writers};

/// Of a value that breaks its schema it is told where, if it nests at most so many levels.
const TOLD_DEPTH: usize = 8;

/// The declaration of a key: by its own name, else by the longest `prefix/*`.
pub fn declared<'a>(keys: &'a [KeySpec], key: &str) -> Option<&'a KeySpec> {
    keys.iter().find(|spec| spec.name == key).or_else(|| {
        keys.iter()
            .filter(|spec| {
                spec.name
                    .strip_suffix('*')
                    .is_some_and(|prefix| prefix.ends_with('/') && key.len() > prefix.len() && key.starts_with(prefix))
            })
            .max_by_key(|spec| spec.name.len())
    })
}

pub(super) fn put(
    draft: &mut Draft<'_>,
    key: &str,
    value: &Content,
    condition: &Condition,
    secret: bool,
) -> Result<Answer, Refusal> {
    check_key(key)?;
    meet(&draft.document, draft.context, key, condition)?;
    let created = draft.document.keys.get(key).is_none();
    write(draft, key, value, secret)?;
    Ok(draft.written(created))
}

pub(super) fn delete(draft: &mut Draft<'_>, key: &str, condition: &Condition) -> Result<Answer, Refusal> {
    check_key(key)?;
    if draft.document.keys.get(key).is_none() {
        // There is nothing that any version could match.
        return Err(unmet(&draft.document, draft.context, key));
    }
    meet(&draft.document, draft.context, key, condition)?;
    remove(draft, key)?;
    Ok(draft.written(false))
}

/// Whether the condition holds on the key.
fn meet(document: &Document, context: &Context, key: &str, condition: &Condition) -> Result<(), Refusal> {
    let entry = document.keys.get(key);
    let met = match condition {
        Condition::Absent => entry.is_none(),
        Condition::Any => true,
        Condition::Versions(versions) => entry.is_some_and(|entry| versions.contains(&(document.epoch, entry.version))),
    };
    if met { Ok(()) } else { Err(unmet(document, context, key)) }
}

fn unmet(document: &Document, context: &Context, key: &str) -> Refusal {
    let current = document
        .keys
        .get(key)
        .map(|entry| Current { version: entry.version, value: shows(context, entry).then(|| entry.value.clone()) });
    Refusal::Condition { key: key.to_owned(), epoch: document.epoch, current }
}

/// Whether the caller may see the value: members see secrets, nobody else does.
pub(super) fn shows(context: &Context, entry: &Entry) -> bool {
    !entry.secret || matches!(context.caller, Caller::Machine { .. })
}

/// Writes a key whose condition is met: declarations and limits.
pub(super) fn write(draft: &mut Draft<'_>, key: &str, value: &Content, secret: bool) -> Result<(), Refusal> {
    check_key(key)?;
    let context = draft.context;
    let bytes = value.len();
    if bytes > VALUE_MAX_BYTES {
        return Err(Refusal::TooLarge {
            message: format!("the value of `{key}` has {bytes} bytes, a value has at most {VALUE_MAX_BYTES}"),
        });
    }
    if !shallow(&value.0, VALUE_MAX_DEPTH) {
        return Err(Refusal::TooLarge {
            message: format!("the value of `{key}` nests deeper than {VALUE_MAX_DEPTH} levels"),
        });
    }
    let spec = declared(&context.keys, key);
    let before = draft.document.keys.get(key).map(|entry| (entry.bytes, entry.version, entry.secret));
    if let Some(spec) = spec {
        permit(draft, key, spec, before.map(|(_, version, _)| version))?;
        if let Some(schema) = &spec.schema {
            keep_schema(key, schema, value)?;
        }
    }
    let grown = match before {
        Some((old, ..)) => draft.document.bytes.saturating_sub(old).saturating_add(bytes),
        None => draft.document.bytes.saturating_add(key.len()).saturating_add(bytes),
    };
    if grown > DOCUMENT_MAX_BYTES {
        return Err(Refusal::TooLarge {
            message: format!("with `{key}` the document has {grown} bytes, it has at most {DOCUMENT_MAX_BYTES}"),
        });
    }
    if before.is_none() && draft.document.keys.size() >= KEYS_MAX {
        return Err(Refusal::TooLarge { message: format!("the document has {KEYS_MAX} keys, that is the limit") });
    }
    let entry = Entry {
        value: value.clone(),
        version: draft.version,
        bytes,
        // What was secret stays so: an overwrite does not make it public.
        secret: secret || spec.is_some_and(|spec| spec.secret) || before.is_some_and(|(.., secret)| secret),
        by: Writer::from(&context.caller),
        at_unix_ms: context.now_unix_ms,
    };
    draft.document.bytes = grown;
    draft.document.keys.insert_mut(key.to_owned(), entry);
    draft.document.deleted.remove_mut(key);
    Ok(())
}

/// Whether a value nests at most so many levels.
fn shallow(value: &serde_json::Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return false };
    match value {
        serde_json::Value::Array(list) => list.iter().all(|value| shallow(value, below)),
        serde_json::Value::Object(object) => object.values().all(|value| shallow(value, below)),
        _ => true,
    }
}

/// Deletes a key that is there.
pub(super) fn remove(draft: &mut Draft<'_>, key: &str) -> Result<(), Refusal> {
    let Some((bytes, version)) = draft.document.keys.get(key).map(|entry| (entry.bytes, entry.version)) else {
        return Ok(());
    };
    if let Some(spec) = declared(&draft.context.keys, key) {
        permit(draft, key, spec, Some(version))?;
    }
    let document = &mut draft.document;
    document.bytes = document.bytes.saturating_sub(bytes.saturating_add(key.len()));
    document.keys.remove_mut(key);
    document.deleted.insert_mut(key.to_owned(), draft.version);
    if document.deleted.size() > DELETED_MAX
        && let Some((oldest, at)) =
            document.deleted.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (key.clone(), *at))
    {
        document.deleted.remove_mut(&oldest);
        document.compacted = document.compacted.max(at);
    }
    Ok(())
}

/// Writers and immutability. Administrators write what any member may.
fn permit(draft: &Draft<'_>, key: &str, spec: &KeySpec, written: Option<u64>) -> Result<(), Refusal> {
    if let Some(version) = written
        && spec.immutable
    {
        return Err(Refusal::Immutable { key: key.to_owned(), version });
    }
    let Caller::Machine { machine, run, .. } = &draft.context.caller else {
        return Ok(());
    };
    let refused = |writers: String| Err(Refusal::NotAWriter { key: key.to_owned(), writers });
    match &spec.writers {
        Writers::Any => Ok(()),
        Writers::Own => match key.rsplit('/').next() {
            Some(last) if last == machine => Ok(()),
            _ => refused("the machine of that name".to_owned()),
        },
        Writers::HolderOf(claim) => {
            let holds = draft.document.claims.get(claim).is_some_and(|found| {
                found.grant.machine == *machine
                    && found.grant.run == *run
                    && matches!(found.standing(draft.context.now_ms), ClaimStanding::Held | ClaimStanding::Done)
            });
            if holds { Ok(()) } else { refused(format!("the holder of the claim `{claim}`")) }
        }
    }
}

/// Checks a value; the message never holds it.
fn keep_schema(key: &str, schema: &serde_json::Value, value: &Content) -> Result<(), Refusal> {
    let broken = |message: String| Refusal::Schema { key: key.to_owned(), message };
    // The draft by which the catalog took it.
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft7)
        .build(schema)
        .map_err(|error| broken(format!("the declared schema cannot be used: {}", error.masked())))?;
    if validator.is_valid(&value.0) {
        return Ok(());
    }
    // All errors are made before the first is given: of a schema that comes to itself twice, twice as many with each level.
    if !shallow(&value.0, TOLD_DEPTH) {
        return Err(broken("it nests too deep to say where".to_owned()));
    }
    validator.validate(&value.0).map_err(|error| broken(format!("{} at `{}`", error.masked(), error.instance_path())))
}
