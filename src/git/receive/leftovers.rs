//! What pushes left in the hosted repository that were killed where they stood, with the machine or by force: quarantines, files
//! half-written, locks that nobody holds any more and that would keep every later push out.
//!
//! What a push that goes on is using is never touched: git works in the repository's own folder, so as long as a process does that,
//! all that is there stays. What belongs to another user is not ours to judge.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files that git writes and puts in place at the end, in `objects/pack` and in the folders of single objects.
const HALF_WRITTEN: [&str; 3] = ["tmp_pack_", "tmp_idx_", "tmp_obj_"];
/// The deepest folder of references that is looked into.
const DEPTH_MAX: usize = 16;

/// Whether this is a folder that git keeps a push in until that is taken.
pub(super) fn is_quarantine(name: &str) -> bool {
    name.starts_with("tmp_objdir-incoming-")
}

/// Takes away what is stale; how much that was. To be done when a server starts.
pub(super) fn take_away(repository: &Path) -> usize {
    // In this order: whoever made what is found now, and is alive, is seen after that.
    let found = found(repository);
    if found.is_empty() || somebody_works_in(repository) {
        return 0;
    }
    let taken = found.iter().filter(|path| {
        let gone = match path.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        match &gone {
            Ok(()) => tracing::info!(path = %path.display(), "what a push left that was killed is taken away"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "what a killed push left stays"),
        }
        gone.is_ok()
    });
    taken.count()
}

fn found(repository: &Path) -> Vec<PathBuf> {
    let objects = repository.join("objects");
    let half_written = |name: &str| HALF_WRITTEN.iter().any(|start| name.starts_with(start));
    let mut found = ours(&objects, is_quarantine);
    found.extend(ours(&objects.join("pack"), half_written));
    for folder in ours(&objects, |name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        found.extend(ours(&folder, half_written));
    }
    let is_lock = |name: &str| Path::new(name).extension().is_some_and(|ending| ending == "lock");
    found.extend(ours(repository, is_lock).into_iter().filter(|path| path.is_file()));
    locks(&repository.join("refs"), 0, &is_lock, &mut found);
    found
}

fn locks(folder: &Path, depth: usize, is_lock: &impl Fn(&str) -> bool, found: &mut Vec<PathBuf>) {
    if depth > DEPTH_MAX {
        return;
    }
    for path in ours(folder, |_| true) {
        if path.is_dir() {
            locks(&path, depth + 1, is_lock, found);
        } else if path.file_name().and_then(|name| name.to_str()).is_some_and(is_lock) {
            found.push(path);
        }
    }
}

/// What in a folder has such a name and is this user's own; links are left alone.
fn ours(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.filter_map(Result::ok).filter(|entry| {
        let about = std::fs::symlink_metadata(entry.path());
        let mine = about.is_ok_and(|about| about.uid() == own && !about.is_symlink());
        mine && entry.file_name().to_str().is_some_and(&wanted)
    });
    entries.map(|entry| entry.path()).collect()
}

/// Whether a process has its place in the repository. Where that cannot be told, one has.
fn somebody_works_in(repository: &Path) -> bool {
    let Ok(repository) = repository.canonicalize() else { return true };
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let places = processes.filter_map(|process| std::fs::read_link(process.ok()?.path().join("cwd")).ok());
    places.into_iter().any(|place| place.starts_with(&repository))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_is_stale_goes_and_what_is_in_use_or_git_s_own_stays() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("site.git");
        let stale = [
            "objects/tmp_objdir-incoming-Ab1/pack/tmp_pack_x",
            "objects/pack/tmp_pack_Ab1",
            "objects/pack/tmp_idx_Ab1",
            "objects/0f/tmp_obj_Ab1",
            "refs/heads/main.lock",
            "refs/heads/feature/one.lock",
            "packed-refs.lock",
            "config.lock",
        ];
        let kept = [
            "objects/pack/pack-1.pack",
            "objects/0f/11",
            "objects/info/packs",
            "refs/heads/main",
            "HEAD",
            "tmp_pack_x",
        ];
        for path in stale.iter().chain(&kept) {
            let path = repository.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let there = |paths: &[&str]| paths.iter().filter(|path| repository.join(path).exists()).count();
        // A push that goes on, by whatever way it came.
        let mut push = Command::new("sleep").arg("60").current_dir(&repository).stdin(Stdio::null()).spawn().unwrap();
        assert_eq!(take_away(&repository), 0);
        assert_eq!(there(&stale), stale.len());
        push.kill().unwrap();
        push.wait().unwrap();
        assert_eq!(take_away(&repository), stale.len());
        assert_eq!((there(&stale), there(&kept)), (0, kept.len()));
        assert!(!repository.join("objects/tmp_objdir-incoming-Ab1").exists());
    }
}
