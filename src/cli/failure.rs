//! How commands end that open a site's state directory: what somebody named wrongly is told apart from what failed.

use super::error::CliError;
use crate::git::regular::must_be_regular;
use crate::net::dhcp::DhcpError;
use crate::net::tftp::TftpError;
use crate::serve::{ServeError, SiteError, StateDirectory};
use crate::store::{StoreError, embedded};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Why a state directory cannot be made or used.
pub fn of_site(error: &SiteError) -> CliError {
    let usage = || CliError::Usage { message: error.to_string(), hint: None };
    match error {
        SiteError::Name(_) | SiteError::Missing { .. } | SiteError::Store(StoreError::Path(_)) => usage(),
        SiteError::File { path, error: cause } if is_of_the_path(cause) => {
            CliError::Usage { message: error.to_string(), hint: of_a_file(path, cause) }
        }
        SiteError::File { path, error: cause } => not_written(path, cause, || error.to_string()),
        SiteError::Store(StoreError::Full(_)) => {
            CliError::Failed { message: error.to_string(), hint: format!("{ROOM}; nothing that was there is changed") }
        }
        SiteError::Json { path, .. } => {
            let known = if path.ends_with("administrators.json") { ADMINISTRATORS } else { CONTEXT };
            CliError::Failed {
                message: error.to_string(),
                hint: format!("{known}; bring it back from a backup of the state directory"),
            }
        }
        SiteError::NoKeys { path } => CliError::Usage {
            message: error.to_string(),
            hint: Some(format!("{}; a wholly new site needs another --state-dir", keys_come_back(path))),
        },
        SiteError::Keys { path, elsewhere, .. } => {
            let shown = path.display();
            let back = match elsewhere {
                false => format!("formwork store restore BACKUP --state-dir {shown} puts a backup of its store in"),
                true => "a store in Kubernetes comes back with a backup of etcd".to_owned(),
            };
            let hint = format!("{back}; a wholly new site needs another --state-dir, or those files moved away first");
            CliError::Refused { code: "keys".to_owned(), message: error.to_string(), hint: Some(hint) }
        }
        SiteError::Store(StoreError::Open(_) | StoreError::Exists(_)) => not_opened(error),
        SiteError::Store(StoreError::Unreachable(_)) => unreachable(error),
        _ => CliError::NotSo(error.to_string()),
    }
}

/// What to do on a full disk.
const ROOM: &str = "make room on that disk, then start it again";

/// How a command ends that could not write a file: with what to do, where the disk is full or cannot be written.
pub fn not_written(path: &Path, error: &io::Error, message: impl FnOnce() -> String) -> CliError {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ROOM.to_owned(),
        ErrorKind::ReadOnlyFilesystem => {
            format!(
                "{} is on a disk that is mounted read-only: mount it to be written, or name another place",
                path.display()
            )
        }
        ErrorKind::PermissionDenied => "run this as a user who may write there, or name another place".to_owned(),
        _ => return CliError::NotSo(message()),
    };
    CliError::Failed { message: message(), hint }
}

/// What helps where a file of the state directory cannot be read.
fn of_a_file(path: &Path, error: &io::Error) -> Option<String> {
    let of_a_site =
        path.parent().is_some_and(|folder| folder.ends_with("keys")) || path.ends_with("administrators.json");
    match error.kind() {
        ErrorKind::NotFound if of_a_site => Some(LOST_KEYS.to_owned()),
        ErrorKind::PermissionDenied => {
            Some("run this as the user who owns it: of a state directory, that is the user of the server".to_owned())
        }
        _ => None,
    }
}

/// What to do where a site's keys or administrators are lost.
const LOST_KEYS: &str = "bring the file back from a backup of the state directory: agents and administrators trust no other. A wholly new site: \
     formwork site create NAME --state-dir DIR, in another directory";
/// What a good `administrators.json` is.
const ADMINISTRATORS: &str =
    r#"it is {"name": "administrator", "sha256": "…"}, with the SHA-256 of a token as 64 hexadecimal digits"#;
/// What a good `administrator.json` is.
const CONTEXT: &str = r#"it is {"server": "https://…", "caCertificate": "…", "token": "…"}"#;

/// Why a server of the site in `state` does not run. `interfaces` are those that there are.
pub fn of_server(error: &ServeError, state: &Path, interfaces: &[String]) -> CliError {
    let usage = |hint: Option<String>| CliError::Usage { message: error.to_string(), hint };
    match error {
        ServeError::Site(error) => of_site(error),
        ServeError::Store(StoreError::Open(_) | StoreError::Exists(_)) => not_opened(error),
        ServeError::Store(StoreError::Unreachable(_)) => unreachable(error),
        ServeError::Store(StoreError::Path(_)) if matches!(embedded::find(state), Ok(false)) => {
            usage(Some(without_store(state)))
        }
        ServeError::Images { .. } | ServeError::Store(StoreError::Path(_)) | ServeError::ObjectStore(_) => usage(None),
        ServeError::Logs(error) if is_of_the_path(error) => usage(None),
        ServeError::Store(StoreError::Damaged(_)) if embedded::exists(state) => {
            let state = state.display();
            CliError::Failed {
                message: error.to_string(),
                hint: format!(
                    "formwork store check --state-dir {state} says what does not agree; \
                     formwork store restore BACKUP --replace --state-dir {state} puts a backup in its place"
                ),
            }
        }
        ServeError::Dhcp(DhcpError::Listen { interface, error, .. })
            if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
        {
            let there = if interfaces.is_empty() { "none".to_owned() } else { interfaces.join(", ") };
            CliError::Usage {
                message: format!("there is no network interface {interface}"),
                hint: Some(format!("there are: {there}")),
            }
        }
        ServeError::Listen { address, option, error: cause } => {
            let hint = match cause.kind() {
                ErrorKind::AddrInUse => {
                    format!("{}; or give another {option}", held_by("-ltnp", address.port()))
                }
                ErrorKind::AddrNotAvailable => format!(
                    "no interface of this computer has {}: `ip -br address` shows what there is; see --address and --listen",
                    address.ip()
                ),
                ErrorKind::PermissionDenied => {
                    format!("ports under 1024 are for root or CAP_NET_BIND_SERVICE; or give another {option}")
                }
                _ => return CliError::NotSo(error.to_string()),
            };
            CliError::Failed { message: error.to_string(), hint }
        }
        ServeError::Tftp(TftpError::Listen { address, error: cause }) if cause.kind() == ErrorKind::AddrInUse => {
            let hint = format!("{}; or give --no-tftp", held_by("-lunp", address.port()));
            CliError::Failed { message: error.to_string(), hint }
        }
        ServeError::Dhcp(DhcpError::Listen { port, error: cause, .. }) if cause.kind() == ErrorKind::AddrInUse => {
            let hint = format!("{}; or give --no-dhcp", held_by("-lunp", *port));
            CliError::Failed { message: error.to_string(), hint }
        }
        _ => CliError::NotSo(error.to_string()),
    }
}

/// How one sees who has a port.
fn held_by(what: &str, port: u16) -> String {
    format!("`ss {what} 'sport = :{port}'` shows, as root, which program has it: end that one")
}

/// What to do where there is no store. Where a site's keys are, a new site would end what they are trusted for.
pub fn without_store(state: &Path) -> String {
    let shown = state.display();
    if let Some(aside) = embedded::put_aside(state) {
        return format!(
            "it lies in {aside}, where a restore put it: `mv {aside} {there}` takes it back as it was, or \
             formwork store restore BACKUP --replace --state-dir {shown} puts a backup in its place",
            aside = aside.display(),
            there = embedded::file(state).display()
        );
    }
    match StateDirectory(state.to_owned()).keys_of_a_site() {
        Ok(there) if there.is_empty() => format!("formwork site create NAME --state-dir {shown} makes one, once"),
        _ => format!(
            "the keys of a site are there: formwork store restore BACKUP --state-dir {shown} puts a backup of its store in"
        ),
    }
}

/// What to do where a site's keys are not.
pub fn keys_come_back(state: &Path) -> String {
    let shown = state.display();
    format!(
        "bring keys/, secrets/, administrators.json and administrator.json back into {shown} from a backup of the site's state directory"
    )
}

/// Refuses a folder without a store, or that this user may not look into.
pub fn has_store(state: &Path) -> Result<(), CliError> {
    match embedded::find(state) {
        Ok(true) => Ok(()),
        Ok(false) => Err(CliError::Usage {
            message: format!("there is no store in {}", state.display()),
            hint: Some(without_store(state)),
        }),
        Err(error) => Err(super::store::failed(error, state)),
    }
}

/// A store that is there, and not to be had or made as things stand: another process has it, it is of another site or version, or
/// one is to be made where it is.
fn not_opened(error: &dyn std::fmt::Display) -> CliError {
    CliError::Refused { code: "store".to_owned(), message: error.to_string(), hint: None }
}

/// Refuses a pipe or a device in the place of a file: it may never end. What else is wrong is told by who reads it.
pub fn ends_once(path: &Path) -> Result<(), CliError> {
    match std::fs::metadata(path) {
        Ok(about) if !about.is_dir() => must_be_regular(&about).map_err(|error| CliError::Usage {
            message: format!("{} cannot be read: {error}", path.display()),
            hint: Some("copy what comes from there to a file first".to_owned()),
        }),
        _ => Ok(()),
    }
}

/// A store elsewhere that does not answer, or says no.
fn unreachable(error: &dyn std::fmt::Display) -> CliError {
    CliError::Failed {
        message: error.to_string(),
        hint: "formwork doctor with the same --store, --store-namespace and --replica says whether the API server answers and which \
               rights are missing; KUBECONFIG names the file that says where it is and who asks"
            .to_owned(),
    }
}

/// The path itself is wrong, or not for this user; nothing is wrong with the disk.
pub(super) fn is_of_the_path(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn file(kind: ErrorKind) -> SiteError {
        SiteError::File { path: "/s/keys/signing.key".into(), error: kind.into() }
    }

    #[test]
    fn a_store_that_a_restore_put_aside_is_named_with_how_it_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let aside = folder.path().join("store.redb.replaced-1700000000000");
        std::fs::write(&aside, "the store").unwrap();
        let back = format!("`mv {} {}`", aside.display(), folder.path().join("store.redb").display());
        let error = has_store(folder.path()).unwrap_err();
        assert!(error.exit_code() == 2 && error.hint().is_some_and(|hint| hint.contains(&back)), "{error}");
        let missing = ServeError::Store(StoreError::Path("no store".to_owned()));
        let error = of_server(&missing, folder.path(), &[]);
        assert!(error.hint().is_some_and(|hint| hint.contains(&back) && hint.contains("--replace")), "{error}");
        std::fs::rename(&aside, folder.path().join("store.redb")).unwrap();
        assert!(has_store(folder.path()).is_ok());
    }

    #[test]
    fn what_was_named_wrongly_ends_with_two_and_what_failed_with_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("store.redb"), "a store").unwrap();
        let nowhere = PathBuf::from("/nowhere");
        let lost = folder.path().join("lost");
        std::fs::create_dir(&lost).unwrap();
        std::fs::write(lost.join("administrators.json"), "{}").unwrap();
        let keys = |elsewhere| SiteError::Keys { path: lost.clone(), there: "keys".to_owned(), elsewhere };
        let images = ServeError::Images { path: nowhere.clone(), error: ErrorKind::NotFound.into() };
        let listen = |interface: &str, errno: rustix::io::Errno| {
            ServeError::Dhcp(DhcpError::Listen { interface: interface.to_owned(), port: 67, error: errno.into() })
        };
        let tcp = |kind: ErrorKind| ServeError::Listen {
            address: ([10, 0, 0, 1], 8443).into(),
            option: "--api-port",
            error: kind.into(),
        };
        let json = SiteError::json("/s/administrators.json".into(), &serde_json::from_str::<u8>("\n {").unwrap_err());
        assert!(json.to_string().starts_with("/s/administrators.json:2:"), "{json}");
        let missing = SiteError::Missing { path: nowhere.clone(), nor: String::new(), options: String::new() };
        let damaged = || ServeError::Store(StoreError::Damaged("event 7".to_owned()));
        let there = ["br0".to_owned(), "eth0".to_owned()];
        for (error, state, code, hint) in [
            (images, &nowhere, 2, None),
            (missing.into(), &nowhere, 2, None),
            (SiteError::NoKeys { path: lost.clone() }.into(), &lost, 2, Some("bring keys/")),
            (StoreError::Unreachable("403".to_owned()).into(), &nowhere, 1, Some("formwork doctor")),
            (SiteError::Store(StoreError::Unreachable("403".to_owned())).into(), &nowhere, 1, Some("formwork doctor")),
            (SiteError::Name("X Y".to_owned()).into(), &nowhere, 2, None),
            (file(ErrorKind::PermissionDenied).into(), &nowhere, 2, Some("as the user who owns it")),
            (file(ErrorKind::StorageFull).into(), &nowhere, 1, Some("make room on that disk")),
            (file(ErrorKind::ReadOnlyFilesystem).into(), &nowhere, 1, Some("mounted read-only")),
            (
                SiteError::Store(StoreError::Full("a write".to_owned())).into(),
                &nowhere,
                1,
                Some("make room on that disk"),
            ),
            (file(ErrorKind::Interrupted).into(), &nowhere, 1, None),
            (ServeError::Logs(ErrorKind::PermissionDenied.into()), &nowhere, 2, None),
            (ServeError::Logs(ErrorKind::StorageFull.into()), &nowhere, 1, None),
            (StoreError::Path("no store".to_owned()).into(), &nowhere, 2, Some("formwork site create NAME")),
            (StoreError::Path("no store".to_owned()).into(), &lost, 2, Some("formwork store restore BACKUP")),
            (SiteError::Store(StoreError::Exists("made once".to_owned())).into(), &nowhere, 4, None),
            (keys(false).into(), &lost, 4, Some("formwork store restore BACKUP")),
            (keys(true).into(), &lost, 4, Some("a wholly new site needs another --state-dir")),
            // As the commands of the store end.
            (StoreError::Open("in use".to_owned()).into(), &nowhere, 4, None),
            (SiteError::Store(StoreError::Open("in use".to_owned())).into(), &nowhere, 4, None),
            (listen("nosuch", rustix::io::Errno::NODEV), &nowhere, 2, Some("there are: br0, eth0")),
            (listen("br0", rustix::io::Errno::ADDRINUSE), &nowhere, 1, Some("ss -lunp 'sport = :67'")),
            (listen("br0", rustix::io::Errno::PERM), &nowhere, 1, None),
            (tcp(ErrorKind::AddrInUse), &nowhere, 1, Some("`ss -ltnp 'sport = :8443'` shows, as root")),
            (tcp(ErrorKind::AddrInUse), &nowhere, 1, Some("give another --api-port")),
            (tcp(ErrorKind::AddrNotAvailable), &nowhere, 1, Some("no interface of this computer has 10.0.0.1")),
            (tcp(ErrorKind::ConnectionReset), &nowhere, 1, None),
            (file(ErrorKind::NotFound).into(), &nowhere, 2, Some("formwork site create NAME")),
            (json.into(), &nowhere, 1, Some(r#"{"name": "administrator", "sha256""#)),
            (damaged(), &folder.path().to_owned(), 1, Some("formwork store restore BACKUP --replace")),
            // A store elsewhere is no file that a backup takes the place of.
            (damaged(), &nowhere, 1, None),
        ] {
            let ends = of_server(&error, state, &there);
            assert_eq!(ends.exit_code(), code, "{error}");
            match hint {
                Some(words) => assert!(ends.hint().is_some_and(|hint| hint.contains(words)), "{:?}", ends.hint()),
                None => assert_eq!(ends.hint(), None, "{error}"),
            }
        }
    }
}
