//! From plain values to the kinds: the envelope and the spec, unknown fields refused, every finding of a document at once.
//!
//! A reader of typed data stops at the first thing that is wrong. So what is wrong is reported and cut out, and the rest read
//! again, until nothing is wrong any more. What had to be cut is never used: it only lets us see what else is wrong. In the place of
//! what is missing something is put, where that says nothing itself, for the same end.

mod remedy;
mod stand_in;
mod written;

use self::remedy::{plain, remedy};
use self::stand_in::stand_in;
use super::Guess;
use super::finding::Report;
use super::names::did_you_mean;
use super::spans::{Spot, Step, Target};
use super::{Document, Kind, kinds};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many things are cut out of one document before we stop looking for more.
const CUTS_MAX: usize = 64;

/// So many times something is put in the place of what is missing: each try reads all of the document again.
const STAND_INS_MAX: usize = 8;

/// A document's head.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) kind: Kind,
    /// Empty where none is given, which was told: what else is wrong with the document is looked at all the same.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether something in the head was wrong; the rest is then only looked at.
    pub(crate) sound: bool,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    // For other tools; ours never reads them.
    #[serde(default, rename = "annotations")]
    _annotations: BTreeMap<String, String>,
}

/// Reads the head. `None`: it is not known what this document is.
pub(crate) fn envelope(document: &Document, value: &mut Value, report: &mut Report) -> Option<Envelope> {
    let Value::Object(map) = value else {
        report
            .error(
                "not-a-document",
                document.value(&[]),
                "a document is a map with apiVersion, kind, metadata and spec",
            )
            .hint(format!("begin it with `apiVersion: {}`", kinds::API_VERSION));
        return None;
    };
    let fields = ["apiVersion", "kind", "metadata", "spec"];
    if !map.contains_key("apiVersion") && !map.contains_key("kind") {
        report
            .error("not-a-document", document.value(&[]), "not a Formwork document: it has neither apiVersion nor kind")
            .hint(
                "YAML that is not content belongs into a folder called `files`, `scripts` or `tests`, or a hidden one",
            );
        return None;
    }
    let mut sound = true;
    for key in map.keys().filter(|key| !fields.contains(&key.as_str())) {
        report
            .error("unknown-field", document.key(&[Step::Key(key)]), format!("unknown field `{key}`"))
            .hint_if(did_you_mean(key, fields));
        sound = false;
    }
    match map.get("apiVersion") {
        Some(Value::String(version)) if version == kinds::API_VERSION => {}
        Some(version) => {
            report
                .error(
                    "api-version",
                    document.value(&["apiVersion".into()]),
                    format!("apiVersion {version} is not known"),
                )
                .hint(format!("this program reads `{}`", kinds::API_VERSION));
            sound = false;
        }
        None => {
            report
                .error("api-version", document.value(&[]), "apiVersion is missing")
                .hint(format!("begin the document with `apiVersion: {}`", kinds::API_VERSION));
            sound = false;
        }
    }
    let kind = match map.get("kind") {
        Some(Value::String(kind)) => match Kind::from_name(kind) {
            Some(kind) => Some(kind),
            None => {
                report
                    .error("kind", document.value(&["kind".into()]), format!("kind `{kind}` is not known"))
                    .hint_if(did_you_mean(kind, Kind::ALL.iter().map(|kind| kind.as_str())));
                None
            }
        },
        Some(_) => {
            report.error("kind", document.value(&["kind".into()]), "kind must be text");
            None
        }
        None => {
            report
                .error("kind", document.value(&[]), "kind is missing")
                .hint(format!("one of {}", Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")));
            None
        }
    };
    let mut metadata = map.get("metadata").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let Decoded { read, clean, .. } = decode::<Metadata>(document, "metadata", None, &mut metadata, report);
    sound &= clean;
    let read = read.unwrap_or_default();
    let kind = kind?;
    let Some(name) = read.name else {
        if clean {
            report
                .error("missing-field", document.value(&["metadata".into()]), "metadata.name is missing")
                .hint("write `metadata: {name: …}`");
        }
        return Some(Envelope { kind, name: String::new(), labels: read.labels, sound: false });
    };
    // Names are words of a path and of a host: DNS-1123. Where a pack qualifies it, the dot is not the author's to use.
    let dotted = matches!(kind, Kind::Machine | Kind::Param);
    let good = if dotted { super::names::is_subdomain(&name) } else { super::names::is_label(&name) };
    if !good {
        let what = if dotted {
            "labels of lower-case letters, digits and `-`, joined by dots"
        } else {
            "lower-case letters, digits and `-`"
        };
        report
            .error(
                "name",
                document.value(&["metadata".into(), "name".into()]),
                format!("`{name}` is not a name ({what}, 63 at most)"),
            )
            .hint(match super::names::as_label(&name) {
                Some(name) => format!("`{name}` would be one"),
                None => format!(
                    "shorten it, and begin and end it with a letter or digit; it has {} characters",
                    name.chars().count()
                ),
            });
        sound = false;
    }
    Some(Envelope { kind, name, labels: read.labels, sound })
}

/// Reads the spec. The answer is `Some` only if nothing was wrong.
pub(crate) fn spec<T: DeserializeOwned>(document: &Document, value: &mut Value, report: &mut Report) -> Option<T> {
    match guessed_spec(document, value, report) {
        Some((read, None)) => Some(read),
        _ => None,
    }
}

/// Reads the spec. With a guess something is put in the place of what is wrong: it is only for looking at what else is.
pub(crate) fn guessed_spec<T: DeserializeOwned>(
    document: &Document,
    value: &mut Value,
    report: &mut Report,
) -> Option<(T, Option<Guess>)> {
    let kind = value.get("kind").and_then(Value::as_str).and_then(Kind::from_name);
    let mut spec = match value.get_mut("spec") {
        Some(spec) => spec.take(),
        None => Value::Object(serde_json::Map::new()),
    };
    let Decoded { read, clean, guessed } = decode::<T>(document, "spec", kind, &mut spec, report);
    let guess = guessed.map(|told| Guess { document: document.place(), told });
    if clean { Some((read?, None)) } else { Some((read?, Some(guess?))) }
}

/// Reads one part of a document that is no object. The answer is `Some` only if nothing was wrong.
pub(crate) fn part<T: DeserializeOwned>(
    document: &Document,
    root: &str,
    value: &mut Value,
    report: &mut Report,
) -> Option<T> {
    let Decoded { read, clean, .. } = decode::<T>(document, root, None, value, report);
    if clean { read } else { None }
}

/// What became of a part of a document.
struct Decoded<T> {
    read: Option<T>,
    /// Nothing was wrong.
    clean: bool,
    /// Where nothing was wrong but single values in the place of which something else could be put: the ways to these.
    guessed: Option<Vec<Vec<Way>>>,
}

/// Reads a part of a document, cutting out what is wrong. Whether nothing was. `kind`: that of the document, where the part is its spec.
fn decode<T: DeserializeOwned>(
    document: &Document,
    root: &str,
    kind: Option<Kind>,
    value: &mut Value,
    report: &mut Report,
) -> Decoded<T> {
    // `spec:` with nothing behind it is an empty one.
    if value.is_null() {
        *value = Value::Object(serde_json::Map::new());
    }
    let mut cuts: Vec<(Vec<Way>, usize)> = Vec::new();
    let mut gone: Vec<Vec<Way>> = Vec::new();
    let mut stand_ins = 0;
    let mut guessed = Some(Vec::new());
    for round in 0..CUTS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&*value) {
            Ok(read) => return Decoded { read: Some(read), clean: round == 0, guessed },
            Err(error) => error,
        };
        let mut way: Vec<Way> = error.path().iter().filter_map(Way::from_segment).collect();
        let said = error.inner().to_string();
        let trouble = Trouble::of(&said);
        if let Trouble::UnknownField { field, .. } = &trouble {
            // The key is on the way already where the reader saw it.
            if way.last() != Some(&Way::Key(field.clone())) {
                way.push(Way::Key(field.clone()));
            }
        }
        // A field that was cut out is there, and what is wrong with it was told.
        let missing = trouble.missing().map(|field| {
            let mut missing = original(&way, &cuts);
            missing.push(Way::Key(field.to_owned()));
            missing
        });
        if missing.is_none_or(|missing| !gone.contains(&missing)) {
            tell(document, (root, kind), &way, &trouble, &cuts, report);
        }
        // Of several that are missing the reader names one.
        if let Some(field) = trouble.missing().filter(|_| stand_ins < STAND_INS_MAX) {
            stand_ins += 1;
            if stand_in::<T>(value, &way, field) {
                continue;
            }
        }
        match guess::<T>(value, &way, &trouble, &mut stand_ins) {
            true => guessed.iter_mut().for_each(|told| told.push(original(&way, &cuts))),
            false => guessed = None,
        }
        if guessed.is_some() {
            continue;
        }
        // What cannot be cut out by itself goes with what is around it.
        let whole = way.len();
        let taken = (1..=whole).rev().filter_map(|length| way.get(..length)).find(|way| cut(value, way, &mut cuts));
        match taken {
            Some(way) if matches!(way.last(), Some(Way::Key(_))) => gone.push(original(way, &cuts)),
            Some(_) => {}
            None => return Decoded { read: None, clean: false, guessed: None },
        }
    }
    Decoded { read: None, clean: false, guessed: None }
}

/// Puts something in the place of a single value that is of the wrong type or out of its bounds.
fn guess<T: DeserializeOwned>(value: &mut Value, way: &[Way], trouble: &Trouble, stand_ins: &mut usize) -> bool {
    let Some((Way::Key(field), parents)) = way.split_last() else { return false };
    let single =
        stand_in::at(value, way).filter(|value| !value.is_object() && !value.is_array()).map(|value| value.clone());
    let Some(written) = single.filter(|_| matches!(trouble, Trouble::Other(_)) && *stand_ins < STAND_INS_MAX) else {
        return false;
    };
    *stand_ins += 1;
    if stand_in::<T>(value, parents, field) {
        return true;
    }
    // As it was, for it to be cut out.
    if let Some(map) = stand_in::map_at(value, parents) {
        map.insert(field.clone(), written);
    }
    false
}

/// A step of our own, since those of the reader's error end with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    Key(String),
    Item(usize),
}

impl Way {
    /// The same, of a place in the text.
    pub(crate) fn step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::Item(item) => Step::Item(*item),
        }
    }

    fn from_segment(segment: &serde_path_to_error::Segment) -> Option<Self> {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Seq { index } => Some(Self::Item(*index)),
            Segment::Map { key } => Some(Self::Key(key.clone())),
            Segment::Enum { variant } => Some(Self::Key(variant.clone())),
            Segment::Unknown => None,
        }
    }
}

/// What the reader said, taken apart.
enum Trouble {
    UnknownField { field: String, known: Vec<String> },
    MissingField(String),
    UnknownVariant { written: String, known: Vec<String> },
    Other(String),
}

impl Trouble {
    /// The field that is missing.
    fn missing(&self) -> Option<&str> {
        match self {
            Self::MissingField(field) => Some(field),
            _ => None,
        }
    }

    fn of(said: &str) -> Self {
        let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let mut words = quoted(said).into_iter();
        if said.starts_with("unknown field `") {
            if let Some(field) = words.next() {
                return Self::UnknownField { field, known: words.collect() };
            }
        } else if said.starts_with("missing field `") {
            if let Some(field) = words.next() {
                return Self::MissingField(field);
            }
        } else if said.starts_with("unknown variant `")
            && let Some(written) = words.next()
        {
            return Self::UnknownVariant { written, known: words.collect() };
        }
        Self::Other(said.to_owned())
    }
}

fn tell(
    document: &Document,
    (root, kind): (&str, Option<Kind>),
    way: &[Way],
    trouble: &Trouble,
    cuts: &[(Vec<Way>, usize)],
    report: &mut Report,
) {
    let original = original(way, cuts);
    let mut path: Vec<Step<'_>> = (!root.is_empty()).then_some(Step::Key(root)).into_iter().collect();
    path.extend(original.iter().map(Way::step));
    let shown = shown(root, &original);
    let shown = if shown.is_empty() { "the file" } else { shown.trim_start_matches('.') };
    let spot = |target| Spot { document, path: &path, target };
    match trouble {
        Trouble::UnknownField { field, known } => {
            let of_head = root == "spec" && way.len() == 1 && matches!(field.as_str(), "labels" | "annotations");
            let hint = if of_head {
                Some(format!("`{field}` stands under metadata: `metadata: {{name: …, {field}: {{…}}}}`"))
            } else {
                did_you_mean(field, known.iter().map(String::as_str))
            };
            report.error("unknown-field", spot(Target::Key), format!("unknown field `{field}`")).hint_if(hint);
        }
        Trouble::MissingField(field) => {
            let mut whole = original.clone();
            whole.push(Way::Key(field.clone()));
            let text = self::shown(root, &whole);
            report
                .error("missing-field", spot(Target::Value), format!("{} is missing", text.trim_start_matches('.')))
                .hint_by(|| Some(written::hint(kind, &whole, field)));
        }
        Trouble::UnknownVariant { written, known } => report
            .error("unknown-word", spot(Target::Value), format!("`{written}` is not a value of {shown}"))
            .hint_if(did_you_mean(written, known.iter().map(String::as_str))),
        Trouble::Other(said) => {
            let field = original.iter().rev().find_map(|way| match way {
                Way::Key(key) => Some(key.as_str()),
                Way::Item(_) => None,
            });
            report
                .error("wrong-type", spot(Target::Value), format!("{shown}: {}", plain(said)))
                .hint_if(remedy(said, field.unwrap_or_default()));
        }
    }
}

/// `spec.steps[2].mode`
fn shown(root: &str, way: &[Way]) -> String {
    let mut text = root.to_owned();
    for step in way {
        match step {
            Way::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Way::Item(item) => text.push_str(&format!("[{item}]")),
        }
    }
    text
}

/// The way in the text, where items were cut out before.
fn original(way: &[Way], cuts: &[(Vec<Way>, usize)]) -> Vec<Way> {
    let mut original: Vec<Way> = Vec::with_capacity(way.len());
    for step in way {
        let step = match step {
            Way::Key(key) => Way::Key(key.clone()),
            Way::Item(item) => {
                let mut gone: Vec<usize> =
                    cuts.iter().filter(|(list, _)| *list == original).map(|(_, item)| *item).collect();
                gone.sort_unstable();
                Way::Item(gone.into_iter().fold(*item, |item, gone| if gone <= item { item + 1 } else { item }))
            }
        };
        original.push(step);
    }
    original
}

/// Takes out what the way leads to. False: there is nothing that could be taken out.
fn cut(value: &mut Value, way: &[Way], cuts: &mut Vec<(Vec<Way>, usize)>) -> bool {
    let Some((last, parents)) = way.split_last() else { return false };
    let mut inner = value;
    for step in parents {
        let next = match (step, inner) {
            (Way::Key(key), Value::Object(map)) => map.get_mut(key),
            (Way::Item(item), Value::Array(items)) => items.get_mut(*item),
            _ => None,
        };
        match next {
            Some(next) => inner = next,
            None => return false,
        }
    }
    match (last, inner) {
        (Way::Key(key), Value::Object(map)) => map.shift_remove(key).is_some(),
        (Way::Item(item), Value::Array(items)) if *item < items.len() => {
            let mut list = original(way, cuts);
            if let Some(Way::Item(item)) = list.pop() {
                cuts.push((list, item));
            }
            items.remove(*item);
            true
        }
        _ => false,
    }
}
