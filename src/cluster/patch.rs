//! Many keys, all or nothing: JSON Patch (RFC 6902) over `{"keys": {NAME: {"value": …, "version": …}}}`, and `absent`, which
//! RFC 6902 cannot say.

use super::apply::Draft;
use super::limits::{PATCH_STEPS_MAX, VALUE_MAX_BYTES, check_key};
use super::pointer::{self, Pointer};
use super::{Answer, Content, Refusal, keys};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One operation of a patch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// Where.
    pub path: Place,
}

/// What an operation of a patch does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `add`.
    Add(Content),
    /// `replace`.
    Replace(Content),
    /// `remove`.
    Remove,
    /// `test`: by version, or by value only where that is meant.
    Test(Content),
    /// `absent`: the place is not there.
    Absent,
    /// `copy` from there.
    Copy(Place),
    /// `move` from there.
    Move(Place),
}

impl Action {
    /// Its name in the patch.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Replace(_) => "replace",
            Self::Remove => "remove",
            Self::Test(_) => "test",
            Self::Absent => "absent",
            Self::Copy(_) => "copy",
            Self::Move(_) => "move",
        }
    }
}

/// A place in the document: a key, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The key.
    pub key: String,
    /// Nothing (the whole key), `value` and below, or `version`.
    pub rest: Pointer,
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a place; write /keys/NAME, /keys/NAME/value… or /keys/NAME/version, a `/` in NAME as `~1`"
            )
        };
        let mut pointer = pointer::parse(text).ok_or_else(wrong)?.into_iter();
        let (Some("keys"), Some(key)) = (pointer.next().as_deref(), pointer.next()) else {
            return Err(wrong());
        };
        check_key(&key).map_err(|refusal| refusal.to_string())?;
        let rest: Pointer = pointer.collect();
        let known = match rest.first().map(String::as_str) {
            None | Some("value") => true,
            Some("version") => rest.len() == 1,
            Some(_) => false,
        };
        if known { Ok(Self { key, rest }) } else { Err(wrong()) }
    }

    fn full(&self) -> Pointer {
        ["keys".to_owned(), self.key.clone()].into_iter().chain(self.rest.iter().cloned()).collect()
    }

    fn whole(&self) -> bool {
        self.rest.is_empty()
    }

    fn is_version(&self) -> bool {
        self.rest.first().is_some_and(|first| first == "version")
    }

    /// Whether what is there, or below, shows something of the value.
    fn reveals(&self) -> bool {
        !self.is_version()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&pointer::text(&self.full()))
    }
}

/// Reads a patch; `absent` only where `ours` (`application/vnd.formwork.patch+json`).
///
/// # Errors
/// [`Refusal::BadPatch`] names the operation.
pub fn parse_patch(patch: &Value, ours: bool) -> Result<Vec<Step>, Refusal> {
    let whole = |message: &str| Refusal::BadPatch { index: None, message: message.to_owned() };
    let operations = patch.as_array().ok_or_else(|| whole("a patch is a list of operations"))?;
    if operations.is_empty() || operations.len() > PATCH_STEPS_MAX {
        return Err(whole(&format!("a patch has 1 to {PATCH_STEPS_MAX} operations")));
    }
    operations
        .iter()
        .enumerate()
        .map(|(index, operation)| {
            parse_step(operation, ours).map_err(|message| Refusal::BadPatch { index: Some(index), message })
        })
        .collect()
}

fn parse_step(operation: &Value, ours: bool) -> Result<Step, String> {
    let text = |field: &str| {
        operation.get(field).and_then(Value::as_str).ok_or_else(|| format!("it has no text in `{field}`"))
    };
    let value = || operation.get("value").cloned().map(Content::from).ok_or_else(|| "it has no `value`".to_owned());
    let path = Place::parse(text("path")?)?;
    let action = match text("op")? {
        "add" => Action::Add(value()?),
        "replace" => Action::Replace(value()?),
        "remove" => Action::Remove,
        "test" => Action::Test(value()?),
        "copy" => Action::Copy(Place::parse(text("from")?)?),
        "move" => Action::Move(Place::parse(text("from")?)?),
        "absent" if ours => Action::Absent,
        "absent" => return Err("`absent` needs Content-Type: application/vnd.formwork.patch+json".to_owned()),
        other => return Err(format!("there is no operation `{other}`")),
    };
    let writes = !matches!(action, Action::Test(_) | Action::Absent);
    let source = match &action {
        Action::Copy(from) | Action::Move(from) => Some(from),
        _ => None,
    };
    if writes && (path.is_version() || source.is_some_and(Place::is_version)) {
        return Err("a version is tested, never written or taken".to_owned());
    }
    let removed = match &action {
        Action::Remove => Some(&path),
        Action::Move(from) => Some(from),
        _ => None,
    };
    if removed.is_some_and(|place| place.rest.len() == 1) {
        return Err("a key without its value is nothing: remove the key".to_owned());
    }
    if let Some(from) = source
        && from.whole() != path.whole()
    {
        return Err("a whole key goes to a whole key, a value to a value".to_owned());
    }
    if let Action::Add(content) | Action::Replace(content) = &action
        && path.whole()
        && !content.0.as_object().is_some_and(|object| object.len() == 1 && object.contains_key("value"))
    {
        return Err("a key is written as {\"value\": …}".to_owned());
    }
    Ok(Step { action, path })
}

/// Whether a patch says what must be so.
pub fn has_condition(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step.action, Action::Test(_) | Action::Absent))
}

/// Applies a patch: every operation or none.
pub(super) fn patch(draft: &mut Draft<'_>, steps: &[Step], versions: Option<&[(u64, u64)]>) -> Result<Answer, Refusal> {
    let (epoch, version) = (draft.document.epoch, draft.document.version);
    if versions.is_some_and(|versions| !versions.contains(&(epoch, version))) {
        return Err(Refusal::DocumentCondition { epoch, version });
    }
    let mut work = working_copy(draft, steps)?;
    let mut touched = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        walk(&mut work, epoch, step).map_err(|()| Refusal::PatchFailed {
            index,
            operation: step.action.name().to_owned(),
            path: step.path.to_string(),
            epoch,
            met: pointer::get(&work, &step.path.full()).cloned().map(Content::from),
            version: draft.document.keys.get(&step.path.key).map(|entry| entry.version),
        })?;
        match &step.action {
            Action::Test(_) | Action::Absent => continue,
            Action::Move(from) => {
                touched.insert(&from.key);
            }
            Action::Add(_) | Action::Replace(_) | Action::Remove | Action::Copy(_) => {}
        }
        touched.insert(&step.path.key);
        // A copy can double a value: never let it get far.
        let value = pointer::get(&work, &[String::from("keys"), step.path.key.clone(), String::from("value")]);
        if value.is_some_and(|value| value.to_string().len() > VALUE_MAX_BYTES * 2) {
            return Err(Refusal::TooLarge { message: format!("operation {index} makes a value of over 64 KiB") });
        }
    }
    if touched.is_empty() {
        return Ok(draft.unchanged());
    }
    for key in touched {
        match pointer::get(&work, &[String::from("keys"), key.clone(), String::from("value")]) {
            Some(value) => keys::write(draft, key, &Content::from(value.clone()), false)?,
            None => keys::remove(draft, key)?,
        }
    }
    Ok(draft.written(false))
}

/// The keys that the patch names, as the patch sees them. Whoever may not see a value may not test or copy it either.
fn working_copy(draft: &Draft<'_>, steps: &[Step]) -> Result<Value, Refusal> {
    let mut keys = serde_json::Map::new();
    for step in steps {
        let source = match &step.action {
            Action::Copy(from) | Action::Move(from) => Some(from),
            _ => None,
        };
        for place in std::iter::once(&step.path).chain(source) {
            let Some(entry) = draft.document.keys.get(&place.key) else { continue };
            if !keys::shows(draft.context, entry) {
                let looks = match &step.action {
                    Action::Test(_) => place.reveals(),
                    Action::Copy(_) | Action::Move(_) => true,
                    Action::Add(_) | Action::Replace(_) | Action::Remove => place.rest.len() > 1,
                    Action::Absent => place.rest.len() > 1,
                };
                if looks {
                    return Err(Refusal::WrongCaller {
                        who: format!("a member of the cluster (`{}` is secret)", place.key),
                    });
                }
            }
            let value = if keys::shows(draft.context, entry) { (*entry.value.0).clone() } else { Value::Null };
            keys.insert(place.key.clone(), json!({"value": value, "version": entry.version}));
        }
    }
    Ok(json!({ "keys": keys }))
}

/// One operation on the working copy.
fn walk(work: &mut Value, epoch: u64, step: &Step) -> Result<(), ()> {
    let at = step.path.full();
    match &step.action {
        Action::Add(content) => pointer::add(work, &at, (*content.0).clone()),
        Action::Replace(content) => {
            pointer::get(work, &at).ok_or(())?;
            *pointer::get_mut(work, &at).ok_or(())? = (*content.0).clone();
            Ok(())
        }
        Action::Remove => pointer::remove(work, &at).map(|_| ()),
        Action::Test(expected) => {
            let met = pointer::get(work, &at).ok_or(())?;
            let same = match (step.path.is_version(), expected.0.as_str()) {
                // A version may be written as its ETag, `epoch.version`.
                (true, Some(text)) => {
                    met.as_u64().is_some_and(|met| text.trim_matches('"') == format!("{epoch}.{met}"))
                }
                _ => pointer::equal(met, &expected.0),
            };
            if same { Ok(()) } else { Err(()) }
        }
        Action::Absent => match pointer::get(work, &at) {
            None => Ok(()),
            Some(_) => Err(()),
        },
        Action::Copy(from) => {
            let value = taken(pointer::get(work, &from.full()).cloned().ok_or(())?, from);
            pointer::add(work, &at, value)
        }
        Action::Move(from) => {
            let value = taken(pointer::remove(work, &from.full())?, from);
            pointer::add(work, &at, value)
        }
    }
}

/// A key that goes elsewhere leaves its version behind.
fn taken(mut value: Value, from: &Place) -> Value {
    if from.whole()
        && let Some(object) = value.as_object_mut()
    {
        object.remove("version");
    }
    value
}
