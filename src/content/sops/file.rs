//! A whole file: its stanza taken out, its values decrypted and sealed, its MAC checked.

use super::cipher::{self, CipherError};
use super::data_key::{self, DataKey};
use super::sealed::Sealed;
use super::stanza::{Misread, Stanza};
use super::{Identities, Keys};
use crate::content::{Document, Report, Step};
use serde_json::Value;
use std::sync::Arc;

/// The key of the stanza.
const STANZA: &str = "sops";
/// What the MAC begins with where only encrypted values count (SOPS, `MACOnlyEncryptedInitialization`).
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Opens the documents of a file that SOPS encrypted; those of any other file are left as they are. A document whose names are
/// encrypted is left out, so that no finding tells what they are.
pub(crate) fn open(mut documents: Vec<(Document, Value)>, keys: &Keys, report: &mut Report) -> Vec<(Document, Value)> {
    let has_stanza = |value: &Value| value.get(STANZA).is_some_and(Value::is_object);
    if !documents.iter().any(|(_, value)| has_stanza(value)) {
        documents.iter().for_each(|(document, value)| tell_ciphertext(document, value, &mut Vec::new(), report));
        return documents;
    }
    let mut first: Option<(Document, Result<Stanza, Misread>)> = None;
    for (document, value) in &mut documents {
        let Some(Value::Object(stanza)) = value.as_object_mut().and_then(|map| map.shift_remove(STANZA)) else {
            continue;
        };
        if first.is_none() {
            first = Some((document.clone(), Stanza::read(&stanza)));
        }
    }
    let Some((home, stanza)) = first else { return documents };
    let stanza = match stanza {
        Ok(stanza) => stanza,
        Err((field, message)) => {
            report
                .error("sops", home.value(&[Step::Key(STANZA), Step::Key(field)]), message)
                .hint("encrypt it with: sops encrypt --age RECIPIENT --encrypted-regex '^params$' --in-place FILE");
            return Vec::new();
        }
    };
    let place = home.place().file;
    let key = match keys.of(&place) {
        None => None,
        Some((identities, mount)) => match data_key(&stanza, identities, mount) {
            Ok(key) => Some(key),
            Err((message, hint)) => {
                report.error("sops", home.value(&[Step::Key(STANZA), Step::Key("age")]), message).hint(hint);
                None
            }
        },
    };
    let mut walk =
        Walk { stanza: &stanza, key: key.as_ref(), mac: Mac::new(&stanza), troubles: Vec::new(), found: None };
    let mut opened = Vec::with_capacity(documents.len());
    let mut sound = true;
    for (document, mut value) in documents {
        let mut sealed = Sealed::default();
        walk.troubles.clear();
        walk.found = None;
        walk.document(&mut value, &mut sealed);
        let shown = walk.found.take();
        for (way, error) in walk.troubles.drain(..) {
            sound = false;
            report
                .error("sops", document.value(&steps(&way)), error.to_string())
                .hint("an encrypted value is written by sops only: sops edit FILE");
        }
        match shown {
            None => opened.push((document.with_sealed(Arc::new(sealed)), value)),
            Some(way) => {
                sound = false;
                cipher::wipe(&mut value);
                let keys: Vec<&str> = way.iter().filter_map(|step| step.key()).collect();
                report
                    .error(
                        "secret-shown",
                        document.value(&steps(&way)),
                        format!("{} is encrypted, and is there to be shown", keys.join(".")),
                    )
                    .hint("only params may be encrypted: sops encrypt --encrypted-regex '^(params|default)$'");
            }
        }
    }
    if let (Some(key), true) = (&key, sound)
        && !walk.mac.fits(&stanza, key)
    {
        report
            .error(
                "sops",
                home.value(&[Step::Key(STANZA), Step::Key("mac")]),
                "the MAC does not fit: a value of the file was changed, added or taken away since it was encrypted",
            )
            .hint(
                "change it by `sops edit FILE` only; numbers and dates that are not encrypted are best written in quotes",
            );
    }
    opened
}

/// An encrypted value whose file does not say how: taken as it stands, the ciphertext would be the value.
fn tell_ciphertext(document: &Document, value: &Value, way: &mut Vec<Way>, report: &mut Report) {
    match value {
        Value::String(text) if cipher::is_encrypted(text) && text.ends_with(']') => {
            let message = "this is an encrypted value, and the file has no `sops:` part that says how: the machines would get the \
                           text as it stands";
            report.error("sops", document.value(&steps(way)), message).hint(
                "take the file as sops wrote it, with the `sops:` part at its end; or write the value itself here, and encrypt the \
                 file: sops encrypt --age RECIPIENT --encrypted-regex '^params$' --in-place FILE",
            );
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                way.push(Way::Item(index));
                tell_ciphertext(document, item, way, report);
                way.pop();
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                way.push(Way::Key(key.clone()));
                tell_ciphertext(document, item, way, report);
                way.pop();
            }
        }
        _ => {}
    }
}

fn data_key(stanza: &Stanza, identities: &Identities, mount: Option<&str>) -> Result<DataKey, (String, String)> {
    if let Some(key) = stanza.recipients.iter().find_map(|(_, enc)| data_key::open(enc, identities)) {
        return Ok(key);
    }
    let theirs: Vec<&str> = stanza.recipients.iter().map(|(recipient, _)| recipient.as_str()).collect();
    let ours = identities.recipients();
    let message = format!("the file is encrypted for {}, and none of the identities here opens it", theirs.join(", "));
    let hint = if let (true, Some(mount)) = (ours.is_empty(), mount) {
        format!(
            "give the source that is mounted at {mount} identities of its own: `ageIdentities` in the server's sources.yaml"
        )
    } else if ours.is_empty() {
        "give the server the identity: formwork serve --age-identities FILE".to_owned()
    } else if ours.iter().any(|recipient| theirs.contains(&recipient.as_str())) {
        "the data key is broken: encrypt the file anew".to_owned()
    } else {
        format!("add a recipient of the server, {}: sops updatekeys FILE", ours.join(" or "))
    };
    Err((message, hint))
}

/// A step of a way of our own.
#[derive(Debug, Clone)]
enum Way {
    Key(String),
    Item(usize),
}

impl Way {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Item(_) => None,
        }
    }
}

fn steps(way: &[Way]) -> Vec<Step<'_>> {
    way.iter()
        .map(|step| match step {
            Way::Key(key) => Step::Key(key.as_str()),
            Way::Item(item) => Step::Item(*item),
        })
        .collect()
}

/// The hash over all values.
struct Mac(ring::digest::Context);

impl Mac {
    fn new(stanza: &Stanza) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA512);
        if stanza.mac_only_encrypted {
            context.update(&ONLY_ENCRYPTED);
        }
        Self(context)
    }

    fn fits(self, stanza: &Stanza, key: &DataKey) -> bool {
        let Ok(wanted) = cipher::decrypt(&stanza.mac, key, &stanza.last_modified) else { return false };
        let found: String = self.0.finish().as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        // Both come from the file: there is no secret to learn by timing.
        found.as_bytes() == wanted.bytes.as_slice()
    }
}

struct Walk<'a> {
    stanza: &'a Stanza,
    key: Option<&'a DataKey>,
    mac: Mac,
    troubles: Vec<(Vec<Way>, CipherError)>,
    /// An encrypted value where none may be.
    found: Option<Vec<Way>>,
}

impl Walk<'_> {
    /// Decrypts a document, and puts references where encrypted params stood.
    fn document(&mut self, value: &mut Value, sealed: &mut Sealed) {
        let Value::Object(map) = value else { return };
        for (name, value) in map.iter_mut() {
            let mut way = vec![Way::Key(name.clone())];
            if name != "spec" || !value.is_object() {
                if !self.value(value, &mut way, &mut Vec::new()) {
                    continue;
                }
                self.found.get_or_insert(way);
                continue;
            }
            let Value::Object(spec) = value else { continue };
            for (field, value) in spec.iter_mut() {
                way.push(Way::Key(field.clone()));
                match (field.as_str(), value) {
                    ("params", Value::Object(params)) => {
                        for (param, value) in params.iter_mut() {
                            way.push(Way::Key(param.clone()));
                            self.param(param, value, &mut way, sealed);
                            way.pop();
                        }
                    }
                    ("default", value) => self.param("default", value, &mut way, sealed),
                    (_, value) => {
                        if self.value(value, &mut way, &mut Vec::new()) {
                            self.found.get_or_insert(way.clone());
                        }
                    }
                }
                way.pop();
            }
        }
    }

    fn param(&mut self, param: &str, value: &mut Value, way: &mut Vec<Way>, sealed: &mut Sealed) {
        let mut ciphertext = Vec::new();
        if self.value(value, way, &mut ciphertext) {
            let whole = self.key.is_some().then_some(&*value);
            let reference = sealed.keep(param, &ciphertext, whole);
            cipher::wipe(value);
            *value = reference;
        }
    }

    /// Decrypts what is in a value, in the order of the file, and says whether anything was encrypted.
    fn value(&mut self, value: &mut Value, way: &mut Vec<Way>, ciphertext: &mut Vec<String>) -> bool {
        match value {
            Value::Null => false,
            Value::Array(items) => {
                let mut any = false;
                let mut comments = Vec::new();
                for (index, item) in items.iter_mut().enumerate() {
                    let comment = item.as_str().is_some_and(cipher::is_comment);
                    way.push(Way::Item(index));
                    any |= self.value(item, way, ciphertext);
                    way.pop();
                    comments.push(comment);
                }
                let mut comments = comments.into_iter();
                items.retain(|_| !comments.next().unwrap_or(false));
                any
            }
            Value::Object(map) => {
                let mut any = false;
                for (key, item) in map.iter_mut() {
                    way.push(Way::Key(key.clone()));
                    any |= self.value(item, way, ciphertext);
                    way.pop();
                }
                any
            }
            leaf => self.leaf(leaf, way, ciphertext),
        }
    }

    fn leaf(&mut self, leaf: &mut Value, way: &[Way], ciphertext: &mut Vec<String>) -> bool {
        let keys: Vec<String> = way.iter().filter_map(|step| step.key().map(str::to_owned)).collect();
        if !self.stanza.encrypts(&keys) {
            if !self.stanza.mac_only_encrypted {
                self.mac.0.update(&cipher::mac_bytes(leaf));
            }
            return false;
        }
        // SOPS leaves empty text as it is.
        if leaf.as_str() == Some("") {
            return false;
        }
        let place: String = keys.iter().map(|key| format!("{key}:")).collect();
        let text = leaf.as_str().filter(|text| cipher::is_encrypted(text)).map(str::to_owned);
        let Some(text) = text else {
            self.troubles.push((way.to_vec(), CipherError::Form));
            return true;
        };
        if let Some(key) = self.key {
            match cipher::decrypt(&text, key, &place) {
                Ok(plain) => {
                    if !cipher::is_comment(&text) {
                        self.mac.0.update(&plain.bytes);
                    }
                    *leaf = plain.value;
                }
                Err(error) => self.troubles.push((way.to_vec(), error)),
            }
        }
        ciphertext.push(text);
        true
    }
}
