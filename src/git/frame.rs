//! What of a repository is neither object nor branch: its settings and its packed references. libgit2 reads on where they are garbage, as long as
//! it needs nothing of them; git does not, and nobody can clone or push then.

use super::sound::{Stamp, stamp_of};
use git2::Repository;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// More packed references than any repository has that is followed; a file that is longer is not read on.
const LINES_MAX: usize = 1_000_000;
/// So much of the settings is looked at, bytes: they are a few hundred.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What was found at the last look.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The files as they stood; none: nobody looked yet.
    stamps: Option<[Option<Stamp>; 3]>,
    wrong: Option<String>,
}

impl Frame {
    /// Reads the files, where they are not as they were at the last look.
    ///
    /// # Errors
    /// Which of them git could not read, and why.
    pub(super) fn look(&mut self, repository: &Repository) -> Result<(), String> {
        let folder = repository.commondir();
        let stamps = ["config", "HEAD", "packed-refs"].map(|name| stamp_of(&folder.join(name)));
        if self.stamps != Some(stamps) {
            self.wrong = config(folder).and_then(|()| head(repository.path())).and_then(|()| packed(folder)).err();
            self.stamps = Some(stamps);
        }
        self.wrong.clone().map_or(Ok(()), Err)
    }
}

/// Whether git could read its settings.
///
/// # Errors
/// Why not.
pub(super) fn config(folder: &Path) -> Result<(), String> {
    let path = folder.join("config");
    if !path.exists() {
        return Err("its file `config` is gone".to_owned());
    }
    // A disk that lost a page of it leaves zeros, which libgit2 takes for its end.
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| format!("its file `config`: {error}"))?;
    if let Some(at) = bytes.iter().position(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
        let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        return Err(format!("its file `config`, line {line}: a control character"));
    }
    git2::Config::open(&path).map(drop).map_err(|error| format!("its file `config`: {}", error.message()))
}

/// Whether `HEAD` names a branch or a commit (gitrepository-layout(5)).
///
/// # Errors
/// It is gone, or garbage.
pub(super) fn head(folder: &Path) -> Result<(), String> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(folder.join("HEAD")).and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_end(&mut text));
    read.map_err(|error| format!("its file `HEAD`: {error}"))?;
    let text = text.trim_ascii_end();
    let names = text.strip_prefix(b"ref:").is_some_and(|name| is_name(name.trim_ascii_start()));
    let is_commit = matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    if names || is_commit { Ok(()) } else { Err("its file `HEAD` names neither a branch nor a commit".to_owned()) }
}

/// `ID NAME` in each line, `^ID` after that of an annotated tag, and a head that begins with `#` (gitrepository-layout(5)).
///
/// # Errors
/// The line that is none, or that the file ends within one: git reads none of it then.
pub(super) fn packed(folder: &Path) -> Result<(), String> {
    let Ok(mut file) = std::fs::File::open(folder.join("packed-refs")) else { return Ok(()) };
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last).map_err(|error| format!("its file `packed-refs`: {error}"))?;
    }
    if last != [b'\n'] {
        return Err("its file `packed-refs` ends within a line".to_owned());
    }
    file.rewind().map_err(|error| format!("its file `packed-refs`: {error}"))?;
    let id = |text: &[u8]| matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    for (line, text) in BufReader::new(file).split(b'\n').take(LINES_MAX).enumerate() {
        let text = text.map_err(|error| format!("its file `packed-refs`: {error}"))?;
        let good = match text.as_slice() {
            [b'#', ..] => true,
            [b'^', of @ ..] => id(of),
            text => text.split_first_chunk::<40>().is_some_and(|(first, rest)| {
                let space = rest.iter().position(|byte| *byte == b' ');
                id(first) && space.is_some_and(|at| (at == 0 || at == 24) && rest.get(at + 1..).is_some_and(is_name))
            }),
        };
        if !good {
            return Err(format!("its file `packed-refs`, line {}: neither a reference nor a comment", line + 1));
        }
    }
    Ok(())
}

fn is_name(name: &[u8]) -> bool {
    name.starts_with(b"refs/") && !name.iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn settings_and_packed_references_that_git_cannot_read_are_told_and_read_again_when_they_change() {
        let repository = TestRepository::new();
        repository.push("one", &[("a", "b")]);
        repository.git_bare(&["tag", "-a", "-m", "one", "v1", "main"]);
        repository.git_bare(&["pack-refs", "--all"]);
        let opened = Repository::open_bare(repository.bare()).unwrap();
        let mut frame = Frame::default();
        assert_eq!(frame.look(&opened), Ok(()));
        for name in ["packed-refs", "config", "HEAD"] {
            let path = repository.bare().join(name);
            let good = std::fs::read(&path).unwrap();
            for garbage in [&b"\x00\xff\x13garbage\n"[..], b"[core\nbare = tr", &good[..good.len() - 10], &[0; 4096]] {
                let cut = name != "packed-refs" && garbage.len() == good.len() - 10;
                std::fs::write(&path, garbage).unwrap();
                let found = frame.look(&opened);
                // Settings that end early may still be some.
                assert!(cut || found.as_ref().is_err_and(|said| said.contains(name)), "{name}: {garbage:?}: {found:?}");
            }
            std::fs::write(&path, good).unwrap();
            assert_eq!(frame.look(&opened), Ok(()), "{name}");
        }
        std::fs::remove_file(repository.bare().join("packed-refs")).unwrap();
        assert_eq!(frame.look(&opened), Ok(()), "there need be none");
        std::fs::remove_file(repository.bare().join("config")).unwrap();
        assert!(frame.look(&opened).is_err_and(|said| said.contains("gone")));
    }
}
