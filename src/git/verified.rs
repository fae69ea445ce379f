//! Which loose objects of the mirror were found whole, so that a start costs what is new, and not what the fleet has become.
//!
//! Kept in the mirror (`formwork-verified`), by what the file system says of each file: inode, length, and when it was changed last,
//! which nobody can set back. One that says the same as when it was hashed is not hashed again at a start. Damage that the
//! file system does not know of (a disk that forgets bits) is found in two other ways: whatever is read is hashed as it is
//! read, and once a day all of it is, in short pieces while nobody asks for anything.
//!
//! Before this is written down, the file system brings all it has to the disk: after a power cut no file is called whole that
//! was whole in memory only.

use super::loose::LooseObject;
use super::mend::loose_objects;
use git2::Oid;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file, in the mirror.
const FILE: &str = "formwork-verified";
/// Its first words; another layout has others, and is not read.
const HEAD: &str = "formwork-verified 1";
/// Its last line: without it, the rest is missing.
const END: &str = "end";
/// As much of it as is read, bytes: that of half a million objects.
const FILE_BYTES: u64 = 64 << 20;
/// All objects are hashed again after so long, seconds.
const WHOLE_EVERY_SECONDS: u64 = 86_400;
/// So long at a time, since a question may come meanwhile.
const PIECE: Duration = Duration::from_millis(25);

/// What the file system says of a file: inode, length, and seconds and nanoseconds of its last change and of its content's.
type Stamp = [i128; 6];

/// A round through all objects: those that remain, and those that were found whole.
type Round = (Vec<(Oid, PathBuf)>, HashMap<Oid, Stamp>);

/// Objects that were found whole.
#[derive(Debug, Default)]
pub(super) struct Verified {
    stamps: HashMap<Oid, Stamp>,
    /// When all of them were hashed last, Unix seconds.
    whole: u64,
    /// The file says something else.
    unsaved: bool,
    /// What remains of the round that goes through all of them, and what it found.
    round: Option<Round>,
    saving: Saving,
}

/// The writing of the file: it waits for a disk that may be busy with other things, and who owns the mirror waits for nothing.
#[derive(Debug, Default)]
struct Saving(Option<JoinHandle<()>>);

impl Saving {
    fn is_on(&self) -> bool {
        self.0.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn begin(&mut self, mirror: &Path, text: String) {
        let mirror = mirror.to_owned();
        let write = move || {
            if let Err(error) = write_down(&mirror, &text) {
                tracing::debug!(%error, "which objects are whole could not be written down; the next start hashes them again");
            }
        };
        // Without a thread it is not written down, which costs the next start what this one took.
        self.0 = std::thread::Builder::new().name("mirror-verified".to_owned()).spawn(write).ok();
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // Whoever opens the mirror next finds no other that still writes there.
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

impl Verified {
    /// What is known of a mirror. A file that is not there or not whole knows nothing.
    pub(super) fn read(mirror: &Path) -> Self {
        let mut text = String::new();
        let read = File::open(mirror.join(FILE)).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
        read.ok().and_then(|_| Self::of(&text)).unwrap_or_default()
    }

    fn of(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.lines();
        let whole = lines.next()?.strip_prefix(HEAD)?.trim().parse().ok()?;
        (lines.next_back()? == END).then_some(())?;
        let mut stamps = HashMap::new();
        for line in lines {
            let (id, numbers) = line.split_once(' ')?;
            let numbers: Vec<i128> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
            stamps.insert(Oid::from_str(id).ok()?, numbers.try_into().ok()?);
        }
        Some(Self { stamps, whole, ..Self::default() })
    }

    /// Nothing is known any more: all of it is hashed when it is looked at next.
    pub(super) fn forget(&mut self) {
        *self = Self { saving: std::mem::take(&mut self.saving), ..Self::default() };
    }

    /// Goes through all loose objects of a mirror, and hashes those that are new or changed. `damaged` is told of those that are
    /// not whole.
    pub(super) fn look(&mut self, mirror: &Path, mut damaged: impl FnMut(Oid, PathBuf, &git2::Error)) {
        let before = std::mem::take(&mut self.stamps);
        if before.is_empty() {
            self.whole = now();
        }
        for (id, file) in loose_objects(mirror) {
            let Some(stamp) = stamp(&file) else { continue };
            if before.get(&id) != Some(&stamp) {
                self.unsaved = true;
                match LooseObject::check_file(&file, id) {
                    Ok(true) => {}
                    // It was not looked at: it is not known to be whole.
                    Ok(false) => continue,
                    Err(error) => {
                        damaged(id, file, &error);
                        continue;
                    }
                }
            }
            self.stamps.insert(id, stamp);
        }
        self.unsaved |= before.len() != self.stamps.len();
        self.round = None;
    }

    /// A piece of what is to be done while nobody asks for anything: what is known is written down, and once a day all objects are
    /// hashed. Whether one was found that is not whole.
    pub(super) fn go_on(&mut self, mirror: &Path) -> bool {
        if self.unsaved && !self.saving.is_on() {
            self.unsaved = false;
            self.saving.begin(mirror, self.text());
            return false;
        }
        if self.round.is_none() && now().abs_diff(self.whole) >= WHOLE_EVERY_SECONDS {
            self.round = Some((loose_objects(mirror), HashMap::new()));
        }
        let Some((left, found)) = &mut self.round else { return false };
        let began = Instant::now();
        while began.elapsed() < PIECE {
            let Some((id, file)) = left.pop() else {
                self.stamps = std::mem::take(found);
                (self.round, self.whole, self.unsaved) = (None, now(), true);
                return false;
            };
            let stamp = stamp(&file);
            let Ok(looked) = LooseObject::check_file(&file, id) else { return true };
            found.extend(stamp.filter(|_| looked).map(|stamp| (id, stamp)));
        }
        false
    }

    /// The file.
    fn text(&self) -> String {
        let mut text = format!("{HEAD} {}\n", self.whole);
        for (id, stamp) in &self.stamps {
            let _ = write!(text, "{id}");
            for number in stamp {
                let _ = write!(text, " {number}");
            }
            text.push('\n');
        }
        text.push_str(END);
        text.push('\n');
        text
    }
}

fn write_down(mirror: &Path, text: &str) -> io::Result<()> {
    rustix::fs::syncfs(&File::open(mirror)?)?;
    let (new, file) = (mirror.join(format!("{FILE}.new")), mirror.join(FILE));
    fs::write(&new, text)?;
    fs::rename(new, file)
}

fn stamp(file: &Path) -> Option<Stamp> {
    let about = fs::symlink_metadata(file).ok()?;
    let (changed, content) = ((about.ctime(), about.ctime_nsec()), (about.mtime(), about.mtime_nsec()));
    let times = [changed.0, changed.1, content.0, content.1].map(i128::from);
    Some([about.ino().into(), about.len().into(), times[0], times[1], times[2], times[3]])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;
    use crate::git::{Follower, Source};

    fn follow(repository: &TestRepository) -> Follower {
        let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
        Follower::start(source, &repository.beside("mirror.git")).unwrap()
    }

    fn until(what: &str, is: impl Fn() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A mirror in which one file is damaged, and the file system says that it is as it was.
    async fn rotten(whole: u64) -> (TestRepository, String) {
        let repository = TestRepository::new();
        let first = repository.push("first", &[("site.yaml", "one"), ("machines/a", "a")]);
        let mirror = repository.beside("mirror.git");
        let follower = follow(&repository);
        follower.tree(&first).await.unwrap();
        follower.set_applied(&first).await.unwrap();
        drop(follower);
        let id = repository.git(&["rev-parse", "HEAD:machines/a"]);
        let file = mirror.join("objects").join(&id[..2]).join(&id[2..]);
        fs::remove_file(&file).unwrap();
        fs::write(&file, "garbage").unwrap();
        let mut verified = Verified { whole, ..Verified::default() };
        verified.stamps = loose_objects(&mirror).into_iter().map(|(id, file)| (id, stamp(&file).unwrap())).collect();
        write_down(&mirror, &verified.text()).unwrap();
        (repository, first)
    }

    #[tokio::test]
    async fn what_was_whole_is_not_hashed_again_at_a_start_and_is_when_it_is_read() {
        let (repository, first) = rotten(now()).await;
        let follower = follow(&repository);
        assert_eq!(follower.applied().await, Ok(Some(first.clone())));
        let aside = repository.beside("mirror.git.damaged");
        assert!(!aside.exists(), "it was hashed on the way to the first answer");
        let tree = follower.tree(&first).await.unwrap();
        assert_eq!(tree.files.get("machines/a").unwrap().bytes[..], b"a"[..]);
        // What is damaged was copied again from the source.
        let mut known = Verified::default();
        known.look(&repository.beside("mirror.git"), |_, file, error| panic!("{}: {error}", file.display()));
    }

    #[tokio::test]
    async fn once_a_day_all_of_it_is_hashed_while_nobody_asks() {
        let (repository, first) = rotten(now() - WHOLE_EVERY_SECONDS - 1).await;
        let follower = follow(&repository);
        until("nobody looked", || repository.beside("mirror.git.damaged").exists());
        let tree = follower.tree(&first).await.unwrap();
        assert_eq!(tree.files.get("machines/a").unwrap().bytes[..], b"a"[..]);
        // It is whole now, and that is written down.
        let mirror = repository.beside("mirror.git");
        until("it is not written down", || now() - Verified::read(&mirror).whole < 60);
    }

    #[tokio::test]
    async fn what_is_known_is_read_back_and_half_of_it_is_nothing() {
        let (repository, _) = rotten(77).await;
        let mirror = repository.beside("mirror.git");
        let known = Verified::read(&mirror);
        assert_eq!((known.whole, known.stamps.len()), (77, loose_objects(&mirror).len()));
        let text = fs::read_to_string(mirror.join(FILE)).unwrap();
        for length in 0..text.len() {
            assert!(Verified::of(&text[..length]).is_none(), "{length}");
        }
        assert!(Verified::of(&text.replace("verified 1", "verified 2")).is_none());
        // One that was changed since is hashed, and it alone.
        let (mut known, mut found) = (Verified::read(&mirror), Vec::new());
        known.look(&mirror, |_, file, _| found.push(file));
        assert!(found.is_empty() && !known.unsaved, "{found:?}");
        let (_, file) = loose_objects(&mirror).remove(0);
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, &bytes[1..]).unwrap();
        known.look(&mirror, |_, file, _| found.push(file));
        assert_eq!(found, [file]);
    }
}
