//! The context: where the server is, which authority to trust, and the token. Read from a file that only its owner can read.

use super::error::CliError;
use crate::api::views::Context;
use crate::git::regular::open_regular;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A context file is one certificate and a few words.
const CONTEXT_MAX_BYTES: u64 = 256 * 1024;

/// Where the context is without `--context` and `FORMWORK_CONTEXT`: `$XDG_CONFIG_HOME/formwork/administrator.json`, else under
/// `~/.config`. `None` where there is no home.
pub fn default_path(config_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let folder = match config_home.filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(home.filter(|path| !path.is_empty())?).join(".config"),
    };
    Some(folder.join("formwork").join("administrator.json"))
}

/// Reads and checks a context file.
///
/// # Errors
/// [`CliError::Context`]: it is not there, others than its owner can read it, or it is not a context.
pub fn read(path: &Path) -> Result<Context, CliError> {
    let error = |what: String, hint: &str| CliError::Context { path: path.to_owned(), what, hint: hint.to_owned() };
    let (file, metadata) = open_regular(path).map_err(|cause| {
        error(cause.to_string(), "name the file that `formwork site create` wrote: --context FILE, or FORMWORK_CONTEXT")
    })?;
    if metadata.mode() & 0o077 != 0 {
        return Err(error(
            format!("others can read it (mode {:04o}), and it holds a token", metadata.mode() & 0o7777),
            &format!("chmod 600 {}", path.display()),
        ));
    }
    let mut text = String::new();
    file.take(CONTEXT_MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|cause| error(cause.to_string(), "it must be a text file"))?;
    // The parser's own message could quote what stands in the file, and a token stands there: give the place only.
    let unread = |cause: serde_json::Error| {
        error(
            format!("is not a context (line {}, column {})", cause.line(), cause.column()),
            "it has `server`, `caCertificate` and `token`, as JSON",
        )
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(unread)?;
    let absent = |field: &&str| value.is_object() && !value.get(field).is_some_and(serde_json::Value::is_string);
    if let Some(field) = ["server", "caCertificate", "token"].iter().find(|field| absent(field)) {
        return Err(error(
            format!("it has no `{field}`, or one that is no text"),
            "take the file that `formwork site create` wrote as it is: it has `server`, `caCertificate` and `token`",
        ));
    }
    let mut context: Context = serde_json::from_str(&text).map_err(unread)?;
    // The newline at the end of a file that was pasted in is no part of a token; anything else that a header cannot hold is told
    // here, since nobody would be asked.
    context.token = context.token.trim().to_owned();
    if context.token.is_empty() || !context.token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(error(
            match context.token.is_empty() {
                true => "its `token` is empty".to_owned(),
                false => {
                    "its `token` has a line break, a space or another character in it that no token has".to_owned()
                }
            },
            "write the token as it was given, in one piece and on one line",
        ));
    }
    context.server = context.server.trim().to_owned();
    if !context.server.starts_with("https://") || context.server.contains('@') {
        return Err(error("its server is not an https://HOST:PORT URL".to_owned(), "the token only travels over TLS"));
    }
    if context.server.parse::<ureq::http::Uri>().is_err() {
        return Err(error("its server is no URL".to_owned(), "write https://HOST:PORT, as in https://10.0.0.1:8443"));
    }
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn write(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("administrator.json");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    const GOOD: &str = r#"{"server": "https://10.0.0.1:8443", "caCertificate": "PEM", "token": "the-secret"}"#;

    #[test]
    fn a_file_of_its_owner_is_read() {
        let (_folder, path) = write(GOOD, 0o600);
        assert_eq!(read(&path).map_err(|e| e.to_string()).unwrap().server, "https://10.0.0.1:8443");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        for mode in [0o644, 0o640, 0o602] {
            let (_folder, path) = write(GOOD, mode);
            let error = read(&path).map(|_| ()).unwrap_err();
            assert_eq!(error.hint(), Some(format!("chmod 600 {}", path.display()).as_str()));
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn a_broken_file_is_refused_without_a_word_of_it() {
        for text in [r#"{"server": "https://h", "token": the-secret"#, r#"{"token": ["the-secret"]}"#, "the-secret"] {
            let (_folder, path) = write(text, 0o600);
            let error = read(&path).map(|_| ()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("the-secret"));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for field in ["server", "caCertificate", "token"] {
            let (_folder, path) = write(&GOOD.replace(field, "other"), 0o600);
            let error = read(&path).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&format!("it has no `{field}`")), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("as it is")) && error.exit_code() == 2);
        }
    }

    #[test]
    fn a_token_that_no_request_can_carry_is_told_before_anybody_is_asked() {
        for (token, good) in [
            (r"the-secret\n", true),
            (r" the-secret\r\n", true),
            (r"the-\nsecret", false),
            (r"the- secret", false),
            (r"the-\u0000secret", false),
            (r"the-s\u00e9cret", false),
            (r"\n", false),
        ] {
            let (_folder, path) = write(&GOOD.replace("the-secret", token), 0o600);
            match read(&path) {
                Ok(context) => assert!(good && context.token == "the-secret", "{token}"),
                Err(error) => {
                    assert!(!good && error.exit_code() == 2 && error.hint().is_some(), "{token}: {error}");
                    let said = error.to_string();
                    assert!(said.contains("its `token`") && !said.contains("cret"), "{said}");
                }
            }
        }
        let (_folder, path) = write(&GOOD.replace("8443", "84 43"), 0o600);
        let error = read(&path).map(|_| ()).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().ends_with("its server is no URL"), "{error}");
    }

    #[test]
    fn a_server_without_tls_is_refused() {
        for server in ["http://10.0.0.1:8080", "https://user:word@10.0.0.1"] {
            let (_folder, path) = write(&GOOD.replace("https://10.0.0.1:8443", server), 0o600);
            assert!(read(&path).is_err(), "{server}");
        }
    }

    #[test]
    fn the_default_place_follows_the_base_directory_specification() {
        let path =
            |config: Option<&str>, home: Option<&str>| default_path(config.map(Into::into), home.map(Into::into));
        assert_eq!(path(None, Some("/home/a")), Some("/home/a/.config/formwork/administrator.json".into()));
        assert_eq!(path(Some("/c"), Some("/home/a")), Some("/c/formwork/administrator.json".into()));
        assert_eq!(path(Some("relative"), Some("/home/a")), Some("/home/a/.config/formwork/administrator.json".into()));
        assert_eq!(path(None, None), None);
    }
}
