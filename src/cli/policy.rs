//! Who may sign, as a server is told: a policy and the files that it names, which nobody else may write.

use super::error::CliError;
use crate::api::ReadOnce;
use crate::trust::Policy;
use std::cell::RefCell;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads the policy, and the files that it names beside it; notes which those are.
pub(super) fn policy(path: &Path, read_once: &mut Vec<ReadOnce>) -> Result<Policy, CliError> {
    let unreadable = |error: io::Error| CliError::Usage {
        message: format!("the policy {} cannot be read: {error}", path.display()),
        hint: Some("it is a trust.yaml in the server's hands, not in the repository".to_owned()),
    };
    let files = RefCell::new(vec![ReadOnce::of(path)]);
    let bytes = read_guarded(path).map_err(unreadable)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let open = |name: &str| {
        files.borrow_mut().push(ReadOnce::of(&folder.join(name)));
        read_guarded(&folder.join(name)).map_err(|error| error.to_string())
    };
    let zone = jiff::tz::TimeZone::system();
    let policy = Policy::read(&path.display().to_string(), &bytes, &zone, &open);
    read_once.extend(files.into_inner());
    policy.map_err(|findings| {
        CliError::NotSo(format!(
            "{findings}
without a sound policy nothing is served"
        ))
    })
}

/// A file that says who is trusted: whoever can write it is.
fn read_guarded(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.permissions().mode() & 0o002 != 0 {
        let path = path.display();
        return Err(io::Error::other(format!("everybody on this machine can write it; chmod o-w {path}")));
    }
    std::fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_policy_that_everybody_can_write_and_one_that_names_such_a_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("trust.yaml"), "allowedSigners: allowed\n").unwrap();
        std::fs::write(at("allowed"), "").unwrap();
        let mode = |name: &str, mode| std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        for (policy_mode, signers_mode, words) in
            [(0o644, 0o644, None), (0o666, 0o644, Some("trust.yaml")), (0o644, 0o602, Some("allowed"))]
        {
            mode("trust.yaml", policy_mode);
            mode("allowed", signers_mode);
            let said = policy(&at("trust.yaml"), &mut Vec::new()).err().map(|error| error.to_string());
            let refused = said.as_ref().is_some_and(|said| said.contains("everybody on this machine can write it"));
            assert_eq!(refused, words.is_some(), "{said:?}");
            assert!(words.is_none_or(|word| said.as_ref().is_some_and(|said| said.contains(word))), "{said:?}");
        }
    }
}
