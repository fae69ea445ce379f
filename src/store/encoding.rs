//! How values are written, in every engine alike: one version byte, then JSON; and how spaces and streams are called in keys.

use super::{Space, StoreError};
use crate::journal::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte of an encoded value.
const JSON: u8 = 1;

/// How a space is called in keys.
pub(super) fn space_key(space: Space) -> &'static str {
    match space {
        Space::Grant => "grant",
        Space::Meta => "meta",
        Space::Log => "log",
        Space::Heard => "heard",
    }
}

/// How a stream is called in keys.
pub(super) fn stream_key(stream: &Stream) -> String {
    stream.to_string()
}

/// The stream of a key; the error says what is wrong with it.
pub(super) fn stream_of(key: &str) -> Result<Stream, String> {
    match key.split_once('/') {
        None if key == "site" => Ok(Stream::Site),
        Some(("machine", name)) => Ok(Stream::Machine(name.into())),
        Some(("box", mac)) => Ok(Stream::Box(mac.into())),
        Some(("cluster", name)) => Ok(Stream::Cluster(name.into())),
        _ => Err(format!("`{key}` is no stream")),
    }
}

/// Encodes a value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![JSON];
    serde_json::to_writer(&mut bytes, value)
        .map_err(|error| StoreError::Io(format!("a value cannot be encoded: {error}")))?;
    Ok(bytes)
}

/// Decodes a value; `what` names it in the error.
pub(super) fn decode<T: DeserializeOwned>(what: impl Fn() -> String, bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json_of(&what, bytes)?).map_err(|error| format!("{}: {error}", what()))
}

/// The JSON text of an encoded value.
pub(super) fn json_of(what: impl Fn() -> String, bytes: &[u8]) -> Result<&[u8], String> {
    match bytes.split_first() {
        Some((&JSON, json)) => Ok(json),
        _ => Err(format!("{}: unknown encoding", what())),
    }
}
