//! From bytes to documents: size, encoding, splitting at `---`, YAML to plain values. Refuses what other readers would
//! silently accept: duplicate keys, keys that are not text, tags, numbers that do not fit.

use super::finding::{self, Report, Severity};
use super::nesting;
use super::not_yaml::NotYaml;
use super::slips;
use super::spans::{Spot, Step, Target};
use super::{File, Place, Sealed};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::sync::Arc;

/// The largest file of a revision, bytes: YAML of 10,000 machines with twenty params each fit.
pub(crate) const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most values that one document may have once its aliases are followed.
const DOCUMENT_VALUES_MAX: usize = 500_000;
/// The most bytes of text that one document may have once its aliases are followed.
const DOCUMENT_TEXT_MAX: usize = 32 * 1024 * 1024;
/// What a Git LFS pointer begins with (git-lfs specification, version 1).
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A document of a file: where it begins and ends. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Document {
    file: Arc<str>,
    bytes: Arc<[u8]>,
    start: usize,
    end: usize,
    first_line: usize,
    /// The first line with content, for people.
    place_line: usize,
    /// What was encrypted in it; the text keeps the ciphertext.
    sealed: Option<Arc<Sealed>>,
}

impl Document {
    /// The file's path.
    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The same with decrypted values beside it.
    pub(crate) fn with_sealed(self, sealed: Arc<Sealed>) -> Self {
        Self { sealed: Some(sealed), ..self }
    }

    /// What a reference stands for, where it is one to a value that stood encrypted in this document. Secret.
    pub(crate) fn unseal(&self, reference: &Value) -> Option<Value> {
        self.sealed.as_ref()?.open(reference)
    }

    /// Whether a secret's name is one that was given to what stood encrypted in this document, opened or not.
    pub(crate) fn seals(&self, name: &str) -> bool {
        self.sealed.is_some() && Sealed::is_name(name)
    }

    /// The line that the document's text begins on.
    pub(crate) fn first_line(&self) -> usize {
        self.first_line
    }

    /// The document's own text.
    pub(crate) fn text(&self) -> &str {
        self.bytes.get(self.start..self.end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// Where it begins.
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(&self.file), line: self.place_line, column: 1 }
    }

    /// The place of a line and column of its own text.
    fn place_of(&self, (line, column): (usize, usize)) -> Place {
        Place {
            file: Arc::clone(&self.file),
            line: self.first_line.saturating_add(line.saturating_sub(1)),
            column: column.max(1),
        }
    }

    /// The value at a path.
    pub(crate) fn value<'a>(&'a self, path: &'a [Step<'a>]) -> Spot<'a> {
        Spot { document: self, path, target: Target::Value }
    }

    /// The key at the end of a path.
    pub(crate) fn key<'a>(&'a self, path: &'a [Step<'a>]) -> Spot<'a> {
        Spot { document: self, path, target: Target::Key }
    }

    /// The folder of its file, without a slash at the end.
    pub(crate) fn folder(&self) -> &str {
        self.file.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// Reads all documents of a file; what is wrong goes to the report, what could be read is given.
pub(crate) fn read(path: &str, file: &File, report: &mut Report) -> Vec<(Document, Value)> {
    let name: Arc<str> = Arc::from(path);
    let start = || Place { file: Arc::clone(&name), line: 1, column: 1 };
    if file.bytes.len() > FILE_BYTES_MAX {
        // Told of already.
        return Vec::new();
    }
    if file.bytes.starts_with(LFS_POINTER) {
        report
            .at(Severity::Error, "lfs-pointer", start(), "a Git LFS pointer, not the file itself")
            .hint("content is read from Git's own objects: take the file out of LFS (`git lfs untrack`) and commit it");
        return Vec::new();
    }
    let text = match std::str::from_utf8(&file.bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = file.bytes.get(..error.valid_up_to()).unwrap_or(&[]);
            let place = place_at(&name, std::str::from_utf8(before).unwrap_or(""));
            report.at(Severity::Error, "not-utf-8", place, "not UTF-8 text").hint("save the file as UTF-8");
            return Vec::new();
        }
    };
    // YAML's own refusal would not say where (YAML 1.2.2, 5.1).
    let strange = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some(at) = text.find(strange) {
        let place = place_at(&name, text.get(..at).unwrap_or(""));
        report
            .at(Severity::Error, "control-character", place, "a control character")
            .hint("content is plain text: take it out, or write it as an escape in double quotes, such as \"\\x1b\"");
        return Vec::new();
    }
    if let Some(line) = slips::conflict(text) {
        let place = Place { line, ..start() };
        report
            .at(Severity::Error, "merge-conflict", place, "a merge conflict that is not resolved")
            .hint(slips::CONFLICT_HELP);
        return Vec::new();
    }
    let mut documents = Vec::new();
    for (start, end, first_line, place_line) in split(text) {
        let bytes = Arc::clone(&file.bytes);
        let document = Document { file: Arc::clone(&name), bytes, start, end, first_line, place_line, sealed: None };
        if let Some(value) = parse(&document, report) {
            documents.push((document, value));
        }
    }
    let keys = report.keys.clone();
    super::sops::open(documents, &keys, report)
}

/// The place after this much of a file.
fn place_at(file: &Arc<str>, before: &str) -> Place {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Place { file: Arc::clone(file), line, column }
}

/// Byte range, first line, and first line with content of each document that has content. `---` and `...` at the beginning of a
/// line always end a document (YAML 1.2.2, 9.1.2), in a block scalar too.
fn split(text: &str) -> Vec<(usize, usize, usize, usize)> {
    let mut documents = Vec::new();
    let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut start = begin;
    let mut first_line = 1;
    let mut content_line = None;
    let mut position = begin;
    for (line, whole) in (1..).zip(text.get(begin..).unwrap_or("").split_inclusive('\n')) {
        let stripped = whole.trim_end_matches(['\n', '\r']);
        let marker = ["---", "..."].into_iter().find(|marker| {
            stripped.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        if let Some(marker) = marker {
            if let Some(content) = content_line.take() {
                documents.push((start, position, first_line, content));
            }
            // `---` belongs to the text that follows it: a value may stand on its line.
            (start, first_line) = if marker == "---" { (position, line) } else { (position + whole.len(), line + 1) };
            let rest = stripped.get(3..).unwrap_or("").trim_start();
            if marker == "---" && !rest.is_empty() && !rest.starts_with('#') {
                content_line = Some(line);
            }
        } else {
            let trimmed = stripped.trim_start();
            if content_line.is_none() && !trimmed.is_empty() && !trimmed.starts_with('#') {
                content_line = Some(line);
            }
        }
        position += whole.len();
    }
    if let Some(content) = content_line {
        documents.push((start, text.len(), first_line, content));
    }
    documents
}

fn parse(document: &Document, report: &mut Report) -> Option<Value> {
    // A key and a value are two.
    if let Err(broken) = nesting::check(document.text(), DOCUMENT_VALUES_MAX.saturating_mul(2)) {
        not_yaml(document, broken, report);
        return None;
    }
    let mut state = State { troubles: Vec::new(), values: 0, text: 0, depth: 0 };
    let read =
        Reader { state: &mut state, way: &Way::Root }.deserialize(serde_yaml::Deserializer::from_str(document.text()));
    let broken = !state.troubles.is_empty();
    for trouble in state.troubles {
        let path: Vec<Step<'_>> = trouble.path.iter().map(OwnedStep::as_step).collect();
        let spot = Spot { document, path: &path, target: trouble.target };
        report.error(trouble.code, spot, trouble.message).hint_if(trouble.hint);
    }
    match read {
        Ok(value) => Some(value),
        Err(_) if broken => None,
        Err(error) => {
            not_yaml(document, NotYaml::of(&error, document.text()), report);
            None
        }
    }
}

/// Tells why a document could not be read.
fn not_yaml(document: &Document, broken: NotYaml, report: &mut Report) {
    let place = broken.at.map_or_else(|| document.place(), |mark| document.place_of(mark));
    let hint = broken.hint(document.first_line);
    report.at(Severity::Error, "not-yaml", place, broken.message).hint_if(hint);
}

struct State {
    troubles: Vec<Trouble>,
    values: usize,
    text: usize,
    /// Lists and maps around the value being read.
    depth: usize,
}

struct Trouble {
    code: &'static str,
    message: String,
    hint: Option<String>,
    path: Vec<OwnedStep>,
    target: Target,
}

enum OwnedStep {
    Key(String),
    Item(usize),
}

impl OwnedStep {
    fn as_step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::Item(item) => Step::Item(*item),
        }
    }
}

/// The way to the value being read, kept on the stack: it costs nothing while all is well.
enum Way<'a> {
    Root,
    Key(&'a Way<'a>, &'a str),
    Item(&'a Way<'a>, usize),
}

impl Way<'_> {
    fn steps(&self) -> Vec<OwnedStep> {
        match self {
            Self::Root => Vec::new(),
            Self::Key(parent, key) => {
                let mut steps = parent.steps();
                steps.push(OwnedStep::Key((*key).to_owned()));
                steps
            }
            Self::Item(parent, item) => {
                let mut steps = parent.steps();
                steps.push(OwnedStep::Item(*item));
                steps
            }
        }
    }
}

impl State {
    fn trouble(&mut self, code: &'static str, way: &Way<'_>, target: Target, message: String, hint: Option<&str>) {
        self.troubles.push(Trouble { code, message, hint: hint.map(str::to_owned), path: way.steps(), target });
    }

    /// Counts a value; an error ends the reading.
    fn count<E: serde::de::Error>(&mut self, text: usize) -> Result<(), E> {
        self.values += 1;
        self.text += text;
        if self.values > DOCUMENT_VALUES_MAX || self.text > DOCUMENT_TEXT_MAX {
            return Err(E::custom("repetition limit exceeded: too many values in one document"));
        }
        Ok(())
    }

    /// Counts a list or map that begins; an error ends the reading.
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.count(0)?;
        self.depth += 1;
        if self.depth > nesting::NESTING_MAX { Err(E::custom(nesting::TOO_DEEP)) } else { Ok(()) }
    }

    /// Gives what has ended.
    fn leave(&mut self, value: Value) -> Value {
        self.depth = self.depth.saturating_sub(1);
        value
    }
}

struct Reader<'a> {
    state: &'a mut State,
    way: &'a Way<'a>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a plain YAML value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        self.state.count(0)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.state.count(0)?;
        Ok(Value::from(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.state.count(0)?;
        Ok(Value::from(value))
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        self.bad_number(value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        self.bad_number(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => {
                self.state.count(0)?;
                Ok(Value::Number(number))
            }
            None => self.bad_number(value.to_string()),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.state.count(value.len())?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.state.count(value.len())?;
        Ok(Value::String(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.state.count(0)?;
        Ok(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.state.enter()?;
        let mut values = Vec::new();
        loop {
            let way = Way::Item(self.way, values.len());
            match items.next_element_seed(Reader { state: self.state, way: &way })? {
                Some(value) => values.push(value),
                None => return Ok(self.state.leave(Value::Array(values))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.state.enter()?;
        let mut map = serde_json::Map::new();
        while let Some(key) = entries.next_key::<Key>()? {
            let (key, sound) = match key {
                Key::Text(key) => (key, true),
                Key::Other(shown) => {
                    let way = Way::Key(self.way, &shown);
                    self.state.trouble(
                        "key-not-text",
                        &way,
                        Target::Key,
                        format!("the key `{shown}` is not text"),
                        Some("put it in quotes"),
                    );
                    (shown, false)
                }
            };
            let way = Way::Key(self.way, &key);
            if map.contains_key(&key) {
                self.state.trouble(
                    "duplicate-key",
                    &way,
                    Target::Twin,
                    format!("the key `{key}` is here a second time"),
                    Some("keep one of the two"),
                );
            } else if key == "<<" {
                self.state.trouble(
                    "merge-key",
                    &way,
                    Target::Key,
                    "merge keys (`<<`) are not part of the format".to_owned(),
                    Some("write the values out, or put them into a Profile"),
                );
            }
            let value = entries.next_value_seed(Reader { state: self.state, way: &way })?;
            if sound && key != "<<" {
                map.entry(key).or_insert(value);
            }
        }
        Ok(self.state.leave(Value::Object(map)))
    }
}

impl Reader<'_> {
    fn bad_number<E: serde::de::Error>(self, shown: String) -> Result<Value, E> {
        self.state.trouble(
            finding::NUMBER,
            self.way,
            Target::Value,
            format!("the number {shown} cannot be kept exactly"),
            Some("put it in quotes if it is text"),
        );
        Ok(Value::Null)
    }
}

/// A key, and what it was if it was not text.
enum Key {
    Text(String),
    Other(String),
}

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key that is text")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key::Text(key.to_owned()))
            }

            fn visit_string<E>(self, key: String) -> Result<Key, E> {
                Ok(Key::Text(key))
            }

            fn visit_bool<E>(self, key: bool) -> Result<Key, E> {
                Ok(Key::Other(key.to_string()))
            }

            fn visit_i64<E>(self, key: i64) -> Result<Key, E> {
                Ok(Key::Other(key.to_string()))
            }

            fn visit_u64<E>(self, key: u64) -> Result<Key, E> {
                Ok(Key::Other(key.to_string()))
            }

            fn visit_f64<E>(self, key: f64) -> Result<Key, E> {
                Ok(Key::Other(key.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Key, E> {
                Ok(Key::Other("~".to_owned()))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}
