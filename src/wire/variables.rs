//! How params are variables of a script's environment.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A value longer than this is only in the file of params: the kernel takes 128 KiB a string, and all of them must fit together.
pub const LONGEST_VARIABLE_BYTES: usize = 16 * 1024;

/// The variables of params: texts as they are, the rest as JSON. What no variable can hold is only in the file of params.
pub fn param_variables(params: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in params {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if text.len() <= LONGEST_VARIABLE_BYTES && !text.contains('\0') {
            all.insert(variable_name(name), text);
        }
    }
    all
}

/// `install-disk` is `FORMWORK_PARAM_INSTALL_DISK`.
pub fn variable_name(param: &str) -> String {
    let name: String =
        param.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("FORMWORK_PARAM_{name}")
}
