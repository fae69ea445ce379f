//! Decrypted params of one document.

use serde_json::Value;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// What stands before the name of a secret that is sealed beside its document. No name of the secrets folder has a `/`.
const PREFIX: &str = "sops/";

/// Values by the secret's name, as JSON text that is wiped when it goes. Cannot be printed.
#[derive(Default)]
pub struct Sealed(BTreeMap<String, Zeroizing<String>>);

impl Sealed {
    /// Keeps a param's value, and gives what takes its place: `{secret: sops/PARAM/DIGEST}`. No value: it stays unknown.
    pub(super) fn keep(&mut self, param: &str, ciphertext: &[String], value: Option<&Value>) -> Value {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for text in ciphertext {
            digest.update(text.as_bytes());
        }
        let digest: String = digest.finish().as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("{PREFIX}{param}/{digest}");
        if let Some(text) = value.and_then(|value| serde_json::to_string(value).ok()) {
            self.0.insert(name.clone(), Zeroizing::new(text));
        }
        serde_json::json!({ "secret": name })
    }

    /// Whether that is a name of what is sealed beside a document, and not one of the secrets folder.
    pub(crate) fn is_name(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// The value that a reference stands for.
    pub(crate) fn open(&self, reference: &Value) -> Option<Value> {
        let name = reference.as_object().filter(|map| map.len() == 1)?.get("secret")?.as_str()?;
        serde_json::from_str(self.0.get(name)?).ok()
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({})", self.0.len())
    }
}
