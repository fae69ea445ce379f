//! Objects added, changed and removed, by kind and name; of the changed, the fields that differ. Values that are or may be
//! secret are left out here, where they are gathered.

use crate::catalog::{Catalog, Listed, is_secret_reference};
use crate::content::{Kind, Place};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// A value longer than this is not shown, only that it changed; characters.
const VALUE_MAX: usize = 80;
/// So many fields of one object are told apart; of more it is only said how many there are.
const FIELDS_MAX: usize = 100;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// Only the new revision has it.
    Added,
    /// Both have it, and it says something else.
    Changed,
    /// Only the old revision has it.
    Removed,
}

/// An object that is not the same in both revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// Its kind, as after `kind:`.
    pub kind: String,
    /// Its name in the catalog.
    pub name: String,
    /// What became of it.
    pub became: Became,
    /// Where it stands in the new revision; of a removed one, where it stood in the old.
    pub place: Place,
    /// What differs, of a changed one; in the order of the paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// A field that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path, such as `spec.run` or `spec.keys[join-key].writers`.
    pub path: String,
    /// What it was, as JSON; none: it was not there, or it is too long or too secret to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its values are secret, and so are not here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// All objects that differ, by kind and name. Costs a comparison of texts an object, and a reading of both texts for each that
/// differs.
pub(super) fn objects(old: Option<&Catalog>, new: &Catalog) -> Vec<ObjectChange> {
    let before = old.map(|old| old.objects_beside(Some(new))).unwrap_or_default();
    let after = new.objects_beside(old);
    let secrets = Secrets { old, new };
    let mut changes = Vec::new();
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let whole = |became, declared: &Listed<'_>| ObjectChange {
        kind: declared.kind.as_str().to_owned(),
        name: declared.name.to_owned(),
        became,
        place: declared.place(),
        fields: Vec::new(),
    };
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => (old.kind, old.name).cmp(&(new.kind, new.name)),
        };
        let removed = if order.is_le() { before.next() } else { None };
        let added = if order.is_ge() { after.next() } else { None };
        match (removed, added) {
            (Some(old), Some(new)) => {
                if !old.says_the_same(new) {
                    let fields = fields(old, new, &secrets);
                    if !fields.is_empty() {
                        changes.push(ObjectChange { fields, ..whole(Became::Changed, new) });
                    }
                }
            }
            (Some(old), None) => changes.push(whole(Became::Removed, old)),
            (None, Some(new)) => changes.push(whole(Became::Added, new)),
            (None, None) => break,
        }
    }
    changes
}

/// Which params are secret in either revision: what was one does not stop being one.
struct Secrets<'a> {
    old: Option<&'a Catalog>,
    new: &'a Catalog,
}

impl Secrets<'_> {
    fn has(&self, param: &str) -> bool {
        let secret = |catalog: &Catalog| catalog.param(param).is_some_and(|param| param.spec.secret);
        self.old.is_some_and(secret) || secret(self.new)
    }

    /// Whether values below this path of an object may not be shown.
    fn hides(&self, declared: &Listed<'_>, path: &[String]) -> bool {
        let mut steps = path.iter().map(String::as_str);
        match (steps.next(), steps.next(), steps.next()) {
            (Some("spec"), Some("params"), Some(param)) => self.has(param),
            // Whole maps of params are never shown.
            (Some("spec"), Some("params"), None) => true,
            (Some("spec"), Some("default" | "schema"), _) => declared.kind == Kind::Param && self.has(declared.name),
            _ => false,
        }
    }
}

fn fields(old: &Listed<'_>, new: &Listed<'_>, secrets: &Secrets<'_>) -> Vec<FieldChange> {
    let read = |declared: &Listed<'_>| -> Value {
        let mut value: Value = serde_yaml::from_str(declared.document.text()).unwrap_or(Value::Null);
        // Who may decrypt a file, and when it was encrypted, is nothing that an object says.
        if value.get("sops").is_some_and(Value::is_object) {
            value.as_object_mut().map(|map| map.shift_remove("sops"));
        }
        value
    };
    let mut found = Found { secrets, declared: new, fields: Vec::new(), path: Vec::new() };
    found.compare(Some(&read(old)), Some(&read(new)));
    if old.files != new.files {
        // A task's digest is over its document as well: only where that is the same, a file must have changed.
        let steps = found.fields.iter().any(|field| field.path.starts_with("spec."));
        if new.kind != Kind::Task || !steps {
            found.push("text of its files".to_owned(), None, None, false);
        }
    }
    found.fields.truncate(FIELDS_MAX);
    found.fields
}

struct Found<'a> {
    secrets: &'a Secrets<'a>,
    declared: &'a Listed<'a>,
    fields: Vec<FieldChange>,
    path: Vec<String>,
}

impl Found<'_> {
    fn push(&mut self, path: String, from: Option<String>, to: Option<String>, secret: bool) {
        self.fields.push(FieldChange { path, from, to, secret });
    }

    fn compare(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if old == new || self.fields.len() > FIELDS_MAX {
            return;
        }
        match (old, new) {
            // A param's value is told of as one: what is inside is its own business.
            _ if self.is_param() || self.is_veiled_default(old, new) => self.differs(old, new),
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
                keys.sort_unstable();
                keys.dedup();
                for key in keys {
                    self.inside(key.clone(), before.get(key), after.get(key));
                }
            }
            // The whole map came or went.
            (None | Some(Value::Null), Some(Value::Object(after))) if !after.is_empty() && self.path.len() < 3 => {
                after.iter().for_each(|(key, value)| self.inside(key.clone(), None, Some(value)));
            }
            (Some(Value::Object(before)), None | Some(Value::Null)) if !before.is_empty() && self.path.len() < 3 => {
                before.iter().for_each(|(key, value)| self.inside(key.clone(), Some(value), None));
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => match (named(before), named(after)) {
                (Some(before), Some(after)) => self.named_items(&before, &after),
                _ => self.differs(old, new),
            },
            _ => self.differs(old, new),
        }
    }

    /// Items that have names are compared by them; another order alone is a difference of the list.
    fn named_items(&mut self, before: &[(&str, &Value)], after: &[(&str, &Value)]) {
        let count = self.fields.len();
        let of = |list: &[(&str, &Value)], name: &str| {
            list.iter().find(|(known, _)| *known == name).map(|(_, v)| *v).cloned()
        };
        for (name, value) in before {
            let now = of(after, name);
            self.inside(format!("[{name}]"), Some(value), now.as_ref());
        }
        for (name, value) in after {
            if of(before, name).is_none() {
                self.inside(format!("[{name}]"), None, Some(value));
            }
        }
        if self.fields.len() == count {
            let path = self.shown_path();
            self.push(format!("{path} (their order)"), None, None, false);
        }
    }

    fn inside(&mut self, step: String, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(step);
        self.compare(old, new);
        self.path.pop();
    }

    fn is_param(&self) -> bool {
        matches!(self.path.as_slice(), [spec, params, _] if spec == "spec" && params == "params")
    }

    /// The default of a param, of which a part is or was encrypted: what is around that part is secret too.
    fn is_veiled_default(&self, old: Option<&Value>, new: Option<&Value>) -> bool {
        let is_default = matches!(self.path.as_slice(), [spec, default] if spec == "spec" && default == "default");
        is_default && self.declared.kind == Kind::Param && (old.is_some_and(veiled) || new.is_some_and(veiled))
    }

    fn differs(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let secret =
            self.secrets.hides(self.declared, &self.path) || old.is_some_and(veiled) || new.is_some_and(veiled);
        let shown = |value: Option<&Value>| value.filter(|_| !secret).and_then(shown);
        let path = self.shown_path();
        self.push(path, shown(old), shown(new), secret);
    }

    fn shown_path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        path
    }
}

/// The items by their names, where each is a map with one of its own.
fn named(items: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named: Vec<(&str, &Value)> =
        items.iter().map(|item| Some((item.get("name")?.as_str()?, item))).collect::<Option<_>>()?;
    let mut names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    (names.len() == named.len()).then_some(named)
}

/// It names a secret, or is an encrypted value.
fn veiled(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with("ENC["),
        Value::Array(items) => items.iter().any(veiled),
        Value::Object(map) => is_secret_reference(value) || map.values().any(veiled),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A short value of one line; longer ones are texts, which are for `git diff`.
fn shown(value: &Value) -> Option<String> {
    let flat = match value {
        Value::Object(_) => false,
        Value::Array(items) => items.iter().all(|item| !item.is_object() && !item.is_array()),
        Value::String(text) => !text.contains('\n'),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    };
    let text = flat.then(|| value.to_string())?;
    (text.chars().count() <= VALUE_MAX).then_some(text)
}
