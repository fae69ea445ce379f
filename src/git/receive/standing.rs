//! Whether hooks stand as they were written. git leaves out a hook that is missing or that it may not run, says nothing of it, and
//! takes the push: so this is looked at before git is.

use super::hooks::write;
use rustix::fs::{Access, StatVfsMountFlags};
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What to do about a file system that runs nothing.
const NOEXEC_HINT: &str = "mount it with exec (mount -o remount,exec MOUNTPOINT), or have the repository (of --hosted: the state directory) on another file system";

/// What stands in the place of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A folder, a link, a pipe.
    NoFile,
    OtherText,
    OurText,
}

/// A hook as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    found: Found,
    /// By the user that runs git.
    executable: bool,
    /// No file of its file system can be run.
    noexec: bool,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// It has to be written anew: it …
    Write(&'static str),
    /// Writing it does not help.
    Noexec,
}

/// Whether git would run it, and whether it would be ours. Pure.
const fn standing(seen: Seen) -> Standing {
    match (seen.noexec, seen.found, seen.executable) {
        (true, _, _) => Standing::Noexec,
        (false, Found::Nothing, _) => Standing::Write("was missing"),
        (false, Found::NoFile, _) => Standing::Write("was no file"),
        (false, Found::OtherText, _) => Standing::Write("was changed"),
        (false, Found::OurText, false) => Standing::Write("could not be run"),
        (false, Found::OurText, true) => Standing::Good,
    }
}

/// Whether nothing can be run on the file system of this path, or of where it would be made.
///
/// # Errors
/// What the system says.
pub fn is_noexec(path: &Path) -> io::Result<bool> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("."));
    let about = rustix::fs::statvfs(there)?;
    Ok(about.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// That nothing of this folder can be run, and what to do about it.
pub(super) fn noexec(folder: &Path) -> String {
    format!(
        "{} is on a file system that is mounted noexec, where git leaves out the hooks that ask before a push is taken; \
         {NOEXEC_HINT}",
        folder.display()
    )
}

/// The hooks of a repository as they have to be: names and texts.
#[derive(Debug, Clone)]
pub(super) struct Hooks {
    pub folder: PathBuf,
    pub texts: Vec<(&'static str, String)>,
}

impl Hooks {
    /// Looks at each, and writes anew what is not as it has to be: which, and what was wrong with it.
    ///
    /// # Errors
    /// Why git would leave one out all the same, and what to do about it.
    pub fn stand(&self) -> Result<Vec<String>, String> {
        let mut written = Vec::new();
        for (name, text) in &self.texts {
            let path = self.folder.join(name);
            let wrong = |error: &dyn std::fmt::Display| {
                format!("the hook {} cannot be put right: {error}; look at that folder and its owner", path.display())
            };
            let was = match standing(look(&path, text).map_err(|error| wrong(&error))?) {
                Standing::Good => continue,
                Standing::Noexec => return Err(noexec(&self.folder)),
                Standing::Write(was) => was,
            };
            std::fs::create_dir_all(&self.folder)
                .and_then(|()| write(&path, text))
                .map_err(|error| wrong(&format!("it {was}, and {error}")))?;
            match standing(look(&path, text).map_err(|error| wrong(&error))?) {
                Standing::Good => written.push(format!("{name} {was}")),
                Standing::Noexec => return Err(noexec(&self.folder)),
                Standing::Write(_) => {
                    return Err(wrong(&format!("it {was}, and does so again as soon as it is written")));
                }
            }
        }
        Ok(written)
    }
}

/// Whether this is a file with this text that git can run.
pub(super) fn is_good(path: &Path, text: &str) -> bool {
    look(path, text).is_ok_and(|seen| seen.found == Found::OurText && seen.executable)
}

fn look(path: &Path, text: &str) -> io::Result<Seen> {
    let noexec = is_noexec(path)?;
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => return Err(error),
        Ok(about) if !about.is_file() => Found::NoFile,
        // One that cannot be read is written anew as well.
        Ok(_) if holds(path, text).unwrap_or(false) => Found::OurText,
        Ok(_) => Found::OtherText,
    };
    // As git asks.
    Ok(Seen { found, executable: rustix::fs::access(path, Access::EXEC_OK).is_ok(), noexec })
}

/// Whether a file holds this text and nothing else; never waits for a pipe that came into its place.
fn holds(path: &Path, text: &str) -> io::Result<bool> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut there = Vec::new();
    file.take(text.len() as u64 + 1).read_to_end(&mut there)?;
    Ok(there == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn only_a_hook_that_git_would_run_and_that_is_ours_is_good() {
        use Found::{NoFile, Nothing, OtherText, OurText};
        for (found, executable, noexec, expected) in [
            (OurText, true, false, Standing::Good),
            (OurText, false, false, Standing::Write("could not be run")),
            (OtherText, true, false, Standing::Write("was changed")),
            (OtherText, false, false, Standing::Write("was changed")),
            (NoFile, true, false, Standing::Write("was no file")),
            (NoFile, false, false, Standing::Write("was no file")),
            (Nothing, false, false, Standing::Write("was missing")),
            (Nothing, true, false, Standing::Write("was missing")),
            (OurText, true, true, Standing::Noexec),
            (OurText, false, true, Standing::Noexec),
            (OtherText, false, true, Standing::Noexec),
            (NoFile, false, true, Standing::Noexec),
            (Nothing, false, true, Standing::Noexec),
        ] {
            let seen = Seen { found, executable, noexec };
            assert_eq!(standing(seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_mount_of_which_nothing_can_be_run_is_known_as_one() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        // Of several on one folder the last is seen.
        let mounts: std::collections::BTreeMap<&str, bool> = mounts
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                Some((*words.get(1)?, words.get(3)?.split(',').any(|option| option == "noexec")))
            })
            .collect();
        for folder in ["/", "/proc", "/sys", "/dev/shm"] {
            let Some(noexec) = mounts.get(folder) else { continue };
            assert_eq!(is_noexec(Path::new(folder)).unwrap(), *noexec, "{folder}");
            let below = Path::new(folder).join("nowhere/at/all");
            assert_eq!(is_noexec(&below).unwrap(), *noexec, "{folder}: of what would be made there");
        }
    }

    #[test]
    fn what_is_not_as_it_has_to_be_is_written_anew_or_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("hooks");
        let texts = vec![("pre-receive", "#!/bin/sh\nexit 1\n".to_owned()), ("post-receive", "#!/bin/sh\n".to_owned())];
        let hooks = Hooks { folder: at.clone(), texts };
        let (hook, elsewhere) = (at.join("pre-receive"), folder.path().join("elsewhere"));
        let stand = |expected: &[&str]| {
            assert_eq!(hooks.stand().unwrap(), expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
            assert_eq!(std::fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 1\n");
            assert_eq!(hooks.stand().unwrap(), Vec::<String>::new(), "good from then on");
        };
        stand(&["pre-receive was missing", "post-receive was missing"]);
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o644)).unwrap();
        stand(&["pre-receive could not be run"]);
        std::fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        stand(&["pre-receive was changed"]);
        std::fs::write(&hook, "#!/bin/sh\nexit 1\n\n").unwrap();
        stand(&["pre-receive was changed"]);
        std::fs::rename(&hook, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &hook).unwrap();
        stand(&["pre-receive was no file"]);
        std::fs::remove_file(&hook).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &hook,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_bits_retain(0o755),
            0,
        )
        .unwrap();
        stand(&["pre-receive was no file"]);
        std::fs::rename(&at, folder.path().join("away")).unwrap();
        stand(&["pre-receive was missing", "post-receive was missing"]);
        // What cannot be made right.
        std::fs::remove_file(&hook).unwrap();
        std::fs::create_dir_all(hook.join("full")).unwrap();
        let why = hooks.stand().unwrap_err();
        assert!(why.contains("pre-receive cannot be put right: it was no file") && why.contains("look at"), "{why}");
    }
}
