//! Who may sign, as a server is told: a policy and the files that it names, which nobody else may write.

use super::error::CliError;
use crate::api::ReadOnce;
use crate::content::Findings;
use crate::git::regular::{FILE_MAX, open_regular, whole as whole_file};
use crate::serve::TrustFile;
use crate::trust::Policy;
use std::cell::RefCell;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// Why a file of a server that runs is not read.
pub(super) const NO_END: &str =
    "its last line has no end: it may be half written, and is read anew only when it ends with a line break";

/// Reads the policy, and the files that it names beside it, so that a server can read them again.
pub(super) fn policy(path: &Path) -> Result<TrustFile, CliError> {
    let (policy, files) = match read(path, false) {
        Ok(read) => read,
        Err(Unread::File(error)) => {
            return Err(CliError::Usage {
                message: format!("the policy {} cannot be read: {error}", path.display()),
                hint: Some("it is a trust.yaml in the server's hands, not in the repository".to_owned()),
            });
        }
        Err(Unread::Findings(findings)) => {
            return Err(CliError::NotSo(format!("{findings}\nwithout a sound policy nothing is served")));
        }
    };
    let again = path.to_owned();
    let read_again = Arc::new(move || {
        read(&again, true).map_err(|error| match error {
            Unread::File(error) => format!("{}: {error}", again.display()),
            Unread::Findings(findings) => findings.to_string(),
        })
    });
    Ok(TrustFile { path: path.to_owned(), policy, files, read: read_again })
}

/// Why a policy is not read.
enum Unread {
    /// Its file.
    File(io::Error),
    /// What is in it, and in the files that it names.
    Findings(Findings),
}

/// The policy with the files that were read for it. `whole`: each of them has to end as a text does that is written to its end.
fn read(path: &Path, whole: bool) -> Result<(Policy, Vec<ReadOnce>), Unread> {
    let files = RefCell::new(vec![ReadOnce::of(path)]);
    let bytes = read_guarded(path, whole).map_err(Unread::File)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let open = |name: &str| {
        files.borrow_mut().push(ReadOnce::of(&folder.join(name)));
        read_guarded(&folder.join(name), whole).map_err(|error| error.to_string())
    };
    let zone = jiff::tz::TimeZone::system();
    let policy = Policy::read(&path.display().to_string(), &bytes, &zone, &open).map_err(Unread::Findings)?;
    Ok((policy, files.into_inner()))
}

/// A file that says who is trusted: whoever can write it is.
fn read_guarded(path: &Path, whole: bool) -> io::Result<Vec<u8>> {
    let (file, about) = open_regular(path)?;
    if about.permissions().mode() & 0o002 != 0 {
        let path = path.display();
        return Err(io::Error::other(format!("everybody on this machine can write it; chmod o-w {path}")));
    }
    let bytes = whole_file(file, FILE_MAX)?;
    if whole && !bytes.ends_with(b"\n") {
        return Err(io::Error::other(NO_END));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const ALICE: &str =
        "alice@example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEMKQ8HhJAKpvXYTDuSGwQKGn4wGA7oHz7XkjKpKaWi\n";

    #[test]
    fn a_policy_that_everybody_can_write_and_one_that_names_such_a_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("trust.yaml"), "allowedSigners: allowed\n").unwrap();
        std::fs::write(at("allowed"), ALICE).unwrap();
        let mode = |name: &str, mode| std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        for (policy_mode, signers_mode, words) in
            [(0o644, 0o644, None), (0o666, 0o644, Some("trust.yaml")), (0o644, 0o602, Some("allowed"))]
        {
            mode("trust.yaml", policy_mode);
            mode("allowed", signers_mode);
            let said = policy(&at("trust.yaml")).err().map(|error| error.to_string());
            let refused = said.as_ref().is_some_and(|said| said.contains("everybody on this machine can write it"));
            assert_eq!(refused, words.is_some(), "{said:?}");
            assert!(words.is_none_or(|word| said.as_ref().is_some_and(|said| said.contains(word))), "{said:?}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_read_at_the_start_and_not_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("trust.yaml"), "allowedSigners: allowed\n").unwrap();
        std::fs::write(at("allowed"), ALICE.trim_end()).unwrap();
        let file = policy(&at("trust.yaml")).unwrap();
        assert_eq!((file.policy.ssh.lines.len(), file.files.len()), (1, 2));
        let said = (file.read)().unwrap_err();
        assert!(said.contains("`allowed`: its last line has no end"), "{said}");
        std::fs::write(at("allowed"), format!("{ALICE}{}", ALICE.replace("alice", "bob"))).unwrap();
        assert_eq!((file.read)().unwrap().0.ssh.lines.len(), 2);
        std::fs::write(at("trust.yaml"), "allowedSigners: allowed").unwrap();
        let said = (file.read)().unwrap_err();
        assert!(said.contains("trust.yaml: its last line has no end"), "{said}");
    }
}
