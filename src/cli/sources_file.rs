//! The sources.yaml that `serve` takes, so that a server can read it again, with all that it names.

use super::age_identities;
use super::keeping::ReplicaAt;
use super::located::trust;
use super::policy::NO_END;
use crate::api::ReadOnce;
use crate::git::Source;
use crate::git::regular::{FILE_MAX, open_regular, whole};
use crate::git::remote::read_sources;
use crate::serve::{Content, SourcesFile, SourcesSaid};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How it is read again. `signers` and `identities`: the files that the command line names for the whole.
pub(super) fn sources_file(
    path: &Path,
    replica: &ReplicaAt,
    signers: Option<&Path>,
    identities: Option<&Path>,
) -> SourcesFile {
    let (again, replica) = (path.to_owned(), replica.clone());
    let (signers, identities) = (signers.map(Path::to_owned), identities.map(Path::to_owned));
    let read = move || read(&again, &replica, signers.as_ref(), identities.as_ref());
    SourcesFile { file: ReadOnce::of(path), read: Arc::new(read) }
}

fn read(
    path: &Path,
    replica: &ReplicaAt,
    signers: Option<&PathBuf>,
    identities: Option<&PathBuf>,
) -> Result<SourcesSaid, String> {
    let file = ReadOnce::of(path);
    let bytes = open_regular(path).and_then(|(file, _)| whole(file, FILE_MAX));
    // One that cannot be read is told of below, and one that is another by then is read again.
    if bytes.is_ok_and(|bytes| !bytes.ends_with(b"\n")) {
        return Err(format!("{}: {NO_END}", path.display()));
    }
    let sources = read_sources(path).map_err(|findings| findings.to_string())?;
    let content = Content::Source(Source::Sources(sources.clone()));
    let wrong = |error: super::CliError| format!("{}: {error}", path.display());
    replica.may_follow(&content).map_err(wrong)?;
    let (trust, trust_of) = trust(signers.map(PathBuf::as_path), &sources.0).map_err(|error| error.to_string())?;
    let keys = age_identities::files(identities.map(PathBuf::as_path), &sources.0);
    let keys = keys.map_err(|error| error.to_string())?;
    Ok(SourcesSaid { file, sources, trust, trust_of, keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_that_is_half_written_or_not_sound_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sources.yaml");
        let head = "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n";
        let one = "  - {name: site, url: /srv/site.git, branch: main}\n";
        let mounted =
            "  - {name: a, url: /srv/a.git, branch: main, mount: a, allow: {kinds: [Machine]}, ageIdentities: a.age}\n";
        let read = |replica: Option<&str>, signers: Option<&Path>| {
            let replica = ReplicaAt { replica: replica.map(str::to_owned) };
            (sources_file(&path, &replica, signers, None).read)().map(|said| said.sources.0.len())
        };
        let write = |text: String| std::fs::write(&path, text).unwrap();
        write(format!("{head}{one}"));
        assert_eq!(read(Some("one"), None), Ok(1));
        write(format!("{head}{one}").trim_end().to_owned());
        assert!(read(None, None).is_err_and(|why| why.contains("sources.yaml: its last line has no end")));
        write(format!("{head}  - {{name: site, url: /srv/site.git, branch: main, mounted: x}}\n"));
        let why = read(None, None).expect_err("an unknown field");
        assert!(why.contains("sources.yaml:5:") && why.contains("mounted"), "{why}");
        write(format!("{head}{one}{mounted}"));
        let why = read(None, None).expect_err("identities that are not there");
        assert!(why.contains("a.age"), "{why}");
        let identity = include_str!("../content/sops/fixture/identity.txt");
        std::fs::write(folder.path().join("a.age"), identity).unwrap();
        std::fs::set_permissions(folder.path().join("a.age"), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(None, None), Ok(2));
        assert!(read(Some("one"), None).is_err_and(|why| why.contains("they would put together other revisions")));
        assert!(read(None, Some(Path::new("/x"))).is_err_and(|why| why.contains("--trust is about one repository")));
        std::fs::remove_file(&path).unwrap();
        assert!(read(None, None).is_err_and(|why| why.contains("sources.yaml:1:1") && why.contains("cannot be read")));
    }
}
