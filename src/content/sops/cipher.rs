//! One encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use super::data_key::DataKey;
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

/// AES-256-GCM with the nonces of 32 bytes that SOPS makes.
type Cipher = AesGcm<Aes256, U32>;

const NONCE_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

/// Why a value cannot be decrypted. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CipherError {
    /// It has another form.
    #[error("not an encrypted value (`ENC[AES256_GCM,…]`), though the file says that this is encrypted")]
    Form,
    /// It was changed, moved, or encrypted by another key.
    #[error("the encrypted value was changed, or stood elsewhere when it was encrypted")]
    Forged,
    /// It is of a type that content does not have.
    #[error("an encrypted value of a type that content does not have")]
    Type,
}

/// A value taken apart.
struct Parts {
    data: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
    kind: String,
}

/// Whether text looks like an encrypted value.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with("ENC[AES256_GCM,")
}

/// Whether it is a comment: in a list, SOPS makes items of them.
pub(super) fn is_comment(text: &str) -> bool {
    is_encrypted(text) && text.ends_with(",type:comment]")
}

fn take_apart(text: &str) -> Option<Parts> {
    let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
    let (data, rest) = inner.split_once(",iv:")?;
    let (nonce, rest) = rest.split_once(",tag:")?;
    let (tag, kind) = rest.split_once(",type:")?;
    let decode = |text: &str| STANDARD.decode(text).ok();
    Some(Parts { data: decode(data)?, nonce: decode(nonce)?, tag: decode(tag)?, kind: kind.to_owned() })
}

/// What was encrypted: its value, and its bytes as they count for the file's MAC.
pub(super) struct Plain {
    /// The value.
    pub value: Value,
    /// The bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Decrypts a value that stands at a place (`spec:params:password:`), which is part of what is authentic.
pub(super) fn decrypt(text: &str, key: &DataKey, place: &str) -> Result<Plain, CipherError> {
    let mut parts = take_apart(text).ok_or(CipherError::Form)?;
    if parts.nonce.len() != NONCE_BYTES || parts.tag.len() != TAG_BYTES {
        return Err(CipherError::Form);
    }
    let cipher = Cipher::new(key.as_slice().into());
    let nonce = Nonce::<U32>::from_slice(&parts.nonce);
    let tag = Tag::from_slice(&parts.tag);
    cipher.decrypt_in_place_detached(nonce, place.as_bytes(), &mut parts.data, tag).map_err(|_| CipherError::Forged)?;
    let text = match String::from_utf8(std::mem::take(&mut parts.data)) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            error.into_bytes().zeroize();
            return Err(CipherError::Type);
        }
    };
    let value = match parts.kind.as_str() {
        "str" | "time" | "comment" => Value::String((*text).clone()),
        "int" => Value::from(text.parse::<i64>().map_err(|_| CipherError::Type)?),
        "float" => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or(CipherError::Type)?)
        }
        "bool" => match text.as_str() {
            "True" | "true" => Value::Bool(true),
            "False" | "false" => Value::Bool(false),
            _ => return Err(CipherError::Type),
        },
        _ => return Err(CipherError::Type),
    };
    let bytes = if value.is_string() { Zeroizing::new(text.as_bytes().to_vec()) } else { mac_bytes(&value) };
    Ok(Plain { value, bytes })
}

/// The bytes by which a value counts for the MAC, as Go writes it.
pub(super) fn mac_bytes(value: &Value) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Bool(true) => b"True".to_vec(),
        Value::Bool(false) => b"False".to_vec(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => number.to_string().into_bytes(),
            (_, Some(number), _) => number.to_string().into_bytes(),
            // Rust writes the shortest digits without an exponent, as Go's 'f' with -1 does.
            (.., Some(number)) => number.to_string().into_bytes(),
            _ => Vec::new(),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
    })
}

/// Wipes the text of a value that is not needed any more.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Number(_) | Value::Bool(_) => *value = Value::Null,
        Value::Null => {}
    }
}
