//! Packs from elsewhere: a bare repository with the commits that locks pin, filled by the program `git`.
//!
//! A person's own `git` is used, and not libgit2, because it is the person's: their keys, agents, credential helpers, proxies
//! and `insteadOf` rules hold without a word of ours, and no credential passes through this program. What is fetched is
//! trusted for nothing: whoever uses it compares it with the hash of the lock.
//!
//! Nothing here decides which commit is wanted, and nothing is ever checked out.

use super::bounded::Bounds;
use super::loose::Loose;
use super::{GitError, read_once};
use crate::content::Tree;
use crate::content::elsewhere::{LockedPack, lay_in, missing};
use git2::{Oid, Repository, RepositoryInitOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Above the references that keep fetched commits.
const KEPT: &str = "refs/formwork/packs";
/// Where references lie while all of a repository is looked through for a commit.
const PASSING: &str = "refs/formwork/passing";
/// The most references of a repository that are looked at.
const REFERENCES_MAX: usize = 100_000;
/// So much of what `git` said is repeated, characters.
const SAID_CHARACTERS: usize = 600;
/// A server's fetch of a pack takes no longer than this.
const FETCH_TIME: Duration = Duration::from_secs(600);
/// And brings no more than this, bytes: as much as all files of a revision may hold.
const FETCH_BYTES: u64 = 256 << 20;
/// A server keeps so many commits, those that were wanted last.
const KEPT_MAX: usize = 256;
/// The ways a server fetches by.
const PROTOCOLS: &str = "https:ssh:file";
/// Variables that would make `git` work on another repository than ours.
const OTHER_REPOSITORY: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
];

/// Why a pack could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The program is not there.
    #[error("the program `git` cannot be started: {0}")]
    NoGit(String),
    /// It said no.
    #[error("{url} cannot be read: {said}")]
    Remote {
        /// The repository.
        url: String,
        /// What `git` said.
        said: String,
    },
    /// The commit is not there.
    #[error("{url} has no commit {commit} that can be fetched")]
    NoCommit {
        /// The repository.
        url: String,
        /// The commit.
        commit: String,
    },
    /// The cache fails, or the commit cannot be read from it.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A reference of another repository, and the commit it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteReference {
    /// `refs/tags/v1.2.3`.
    pub name: String,
    /// The commit; of a tag with a message, what the tag is of.
    pub commit: String,
}

/// The commits of packs that were fetched.
#[derive(Debug, Clone)]
pub struct PackCache {
    path: PathBuf,
    /// Nobody sits before it.
    alone: Option<Alone>,
}

/// A server's.
#[derive(Debug, Clone)]
struct Alone {
    bounds: Bounds,
    kept: usize,
    /// One fetches at a time: they share references, and what nobody keeps is swept between them.
    turn: Arc<Mutex<()>>,
}

impl PackCache {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// [`GitError::Mirror`]: it is no repository, and cannot be made one.
    pub fn open(path: &Path) -> Result<Self, PackError> {
        if !path.join("objects").is_dir() {
            let mut options = RepositoryInitOptions::new();
            options.bare(true).mkdir(true).mkpath(true).external_template(false);
            options.mode(git2::RepositoryInitMode::from_bits_retain(0o700));
            Repository::init_opts(path, &options)
                .map_err(|error| GitError::Mirror { path: path.to_owned(), message: error.message().to_owned() })?;
        }
        Ok(Self { path: path.to_owned(), alone: None })
    }

    /// For a server: nothing is asked of a person, and what hangs ends by itself.
    pub fn for_server(path: &Path) -> Result<Self, PackError> {
        let bounds = Bounds { time: FETCH_TIME, bytes: FETCH_BYTES, folder: path.join("objects/pack") };
        let alone = Alone { bounds, kept: KEPT_MAX, turn: Arc::default() };
        Ok(Self { alone: Some(alone), ..Self::open(path)? })
    }

    /// Branches and tags of a repository.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn references(&self, url: &str) -> Result<Vec<RemoteReference>, PackError> {
        let said = self.git(url, &["ls-remote", "--heads", "--tags", "--", url])?;
        Ok(references_in(&said))
    }

    /// Makes a commit be here. `reference`: one that led to it, for servers that give nothing by a commit's id.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn fetch(&self, url: &str, commit: &str, reference: Option<&str>) -> Result<(), PackError> {
        let turn = self.alone.as_ref().map(|alone| alone.turn.lock().unwrap_or_else(PoisonError::into_inner));
        if self.has(commit) {
            self.used(commit);
            return Ok(());
        }
        self.bring(url, commit, reference)?;
        if let Some(alone) = &self.alone {
            self.sweep(alone.kept);
        }
        drop(turn);
        Ok(())
    }

    fn bring(&self, url: &str, commit: &str, reference: Option<&str>) -> Result<(), PackError> {
        let mut last = None;
        let by_reference = reference.map(|name| format!("+{name}:{PASSING}/one"));
        let shallow = [Some(format!("+{commit}:{PASSING}/one")), by_reference];
        for wanted in shallow.into_iter().flatten() {
            match self
                .git(url, &["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--", url, &wanted])
            {
                Ok(_) if self.has(commit) => return self.keep(commit),
                Ok(_) => {}
                Err(error) => last = Some(error),
            }
        }
        // The reference has moved on, and the server gives nothing by an id: the commit lies behind one of them, or nowhere.
        let (heads, tags) = (format!("+refs/heads/*:{PASSING}/heads/*"), format!("+refs/tags/*:{PASSING}/tags/*"));
        let all = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", url, &heads, &tags];
        match self.git(url, &all) {
            Ok(_) if self.has(commit) => self.keep(commit),
            Ok(_) => Err(PackError::NoCommit { url: url.to_owned(), commit: commit.to_owned() }),
            Err(error) => Err(last.unwrap_or(error)),
        }
    }

    /// Whether a commit is here.
    pub fn has(&self, commit: &str) -> bool {
        let found = Repository::open_bare(&self.path).and_then(|repository| {
            let loose = Loose::of(&repository);
            loose.tree(&repository, loose.commit(&repository, Oid::from_str(commit)?)?.tree_id())?;
            Ok(())
        });
        found.is_ok()
    }

    /// The files of a commit, or of a folder of it.
    ///
    /// # Errors
    /// [`GitError`]: the commit or the folder is not there, or it is over a limit.
    pub fn tree(&self, commit: &str, folder: Option<&str>) -> Result<Tree, PackError> {
        Ok(read_once(&self.path, None, folder, Some(commit))?.1)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a commit, and lets go of what led to it.
    fn keep(&self, commit: &str) -> Result<(), PackError> {
        let done = || {
            let repository = Repository::open_bare(&self.path)?;
            repository.reference(&format!("{KEPT}/{commit}"), Oid::from_str(commit)?, true, "formwork")?;
            for reference in repository.references_glob(&format!("{PASSING}/*"))? {
                reference?.delete()?;
            }
            Ok(())
        };
        done().map_err(|error: git2::Error| {
            GitError::Mirror { path: self.path.clone(), message: error.message().to_owned() }.into()
        })
    }

    fn kept(&self, commit: &str) -> PathBuf {
        self.path.join(KEPT).join(commit)
    }

    /// A commit was wanted again: the time of its reference says when.
    fn used(&self, commit: &str) {
        let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
        let touched = std::fs::File::options().write(true).open(self.kept(commit)).and_then(|file| file.set_times(now));
        if let Err(error) = touched {
            tracing::debug!(commit, %error, "when this pack was wanted cannot be written down");
        }
    }

    /// Lets go of the commits that were not wanted for longest, where there are more than so many. What is swept away and wanted
    /// again is fetched again.
    fn sweep(&self, most: usize) {
        let entries = std::fs::read_dir(self.path.join(KEPT)).into_iter().flatten().filter_map(Result::ok);
        let wanted = |entry: std::fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
        let mut kept: Vec<(SystemTime, PathBuf)> = entries.filter_map(wanted).collect();
        if kept.len() <= most {
            return;
        }
        kept.sort();
        let old = kept.len() - most;
        for (_, path) in kept.into_iter().take(old) {
            let _ = std::fs::remove_file(path);
        }
        // It must not write references together into one file: the time of each says when it was wanted.
        for words in
            [["repack", "-a", "-d", "--quiet"].as_slice(), &["prune", "--expire=now"], &["prune-packed", "--quiet"]]
        {
            if let Err(error) = self.git("packs.git", words) {
                tracing::warn!(%error, "packs that nobody wants are still kept");
            }
        }
    }

    /// Lays in the packs that a revision locks and does not hold, from here, or fetched: always the locked commit, and no
    /// reference. Whether the files are those of the lock is found when the revision is loaded.
    ///
    /// # Errors
    /// One of them cannot be fetched.
    pub fn complete(&self, tree: &mut Tree) -> Result<(), GitError> {
        for pack in missing(tree) {
            let LockedPack { name, from, commit, .. } = pack;
            let url = from.git.as_deref().unwrap_or_default();
            let made = self.fetch(url, &commit, None).and_then(|()| self.tree(&commit, from.path.as_deref()));
            match made {
                Ok(files) => lay_in(tree, &name, &files),
                // It is there, and is not what the lock says of it: loading tells.
                Err(PackError::Git(error)) if error.is_fault_of_revision() => {}
                Err(error) => return Err(GitError::Pack { name, message: error.to_string() }),
            }
        }
        Ok(())
    }

    /// Runs `git` on the cache; what it printed.
    fn git(&self, url: &str, words: &[&str]) -> Result<String, PackError> {
        let mut command = Command::new("git");
        if self.alone.is_some() {
            // Nobody is there who could be asked. What comes is one file, which shows how large it is while it comes.
            command
                .env("GIT_TERMINAL_PROMPT", "0")
                .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
                .args(["-c", "fetch.unpackLimit=1", "-c", "pack.threads=1"])
                .args(["-c", "http.lowSpeedLimit=100", "-c", "http.lowSpeedTime=30"])
                .args(["-c", "core.sshCommand=ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15"]);
        }
        command
            .arg("--git-dir")
            .arg(&self.path)
            // A transport that is a command is none for packs; what is broken is refused where it arrives.
            .args(["-c", "protocol.ext.allow=never", "-c", "fetch.fsckObjects=true", "-c", "gc.auto=0"])
            .args(words)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        for name in OTHER_REPOSITORY {
            command.env_remove(name);
        }
        let refused = |said: &str| {
            // One line of it all, for messages that are one.
            let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let said = without_credentials(&lines.join(" "));
            PackError::Remote { url: without_credentials(url), said: said.chars().take(SAID_CHARACTERS).collect() }
        };
        let (status, stdout, stderr) = match &self.alone {
            Some(alone) => {
                let said = alone.bounds.run(command).map_err(|why| refused(&why))?;
                (said.status, said.stdout, said.stderr)
            }
            None => {
                let output = command.output().map_err(|error| PackError::NoGit(error.to_string()))?;
                (output.status, output.stdout, output.stderr)
            }
        };
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(refused(&String::from_utf8_lossy(&stderr)))
    }
}

/// The references that `git ls-remote` prints: `ID TAB NAME`, and for a tag with a message a second line `NAME^{}` with the commit.
fn references_in(said: &str) -> Vec<RemoteReference> {
    let mut all: Vec<RemoteReference> = Vec::new();
    for line in said.lines().take(REFERENCES_MAX) {
        let Some((commit, name)) = line.split_once('\t') else { continue };
        match name.strip_suffix("^{}") {
            Some(tag) => {
                if let Some(known) = all.iter_mut().rev().find(|known| known.name == tag) {
                    known.commit = commit.to_owned();
                }
            }
            None => all.push(RemoteReference { name: name.to_owned(), commit: commit.to_owned() }),
        }
    }
    all
}

/// What `git` says names an address as its own configuration has it, and that may hold a credential.
fn without_credentials(said: &str) -> String {
    let mut out = String::with_capacity(said.len());
    let mut rest = said;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '\'').unwrap_or(after.len());
        let (host, tail) = after.split_at(end);
        match host.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("…@{host}")),
            None => out.push_str(host),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn of_a_tag_with_a_message_the_commit_is_taken() {
        let said = "aaaa\trefs/heads/main\nbbbb\trefs/tags/v1\ncccc\trefs/tags/v1^{}\nnonsense\ndddd\trefs/tags/v2\n";
        let found: Vec<(String, String)> = references_in(said).into_iter().map(|r| (r.name, r.commit)).collect();
        let expected = [("refs/heads/main", "aaaa"), ("refs/tags/v1", "cccc"), ("refs/tags/v2", "dddd")];
        assert_eq!(found, expected.map(|(name, id)| (name.to_owned(), id.to_owned())));
    }

    #[test]
    fn a_server_keeps_the_packs_that_were_wanted_last_and_fetches_others_again() {
        let repository = TestRepository::new();
        let commits: Vec<String> =
            (0..4).map(|n| repository.push(&n.to_string(), &[("pack.yaml", &format!("n: {n}\n"))])).collect();
        repository.git_bare(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
        let url = format!("file://{}", repository.bare().display());
        let mut cache = PackCache::for_server(&repository.beside("packs.git")).unwrap();
        cache.alone.as_mut().unwrap().kept = 2;
        let old = std::fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        for (n, commit) in commits.iter().take(3).enumerate() {
            if n == 2 {
                // The first was wanted again since.
                cache.fetch(&url, &commits[0], None).unwrap();
            }
            cache.fetch(&url, commit, None).unwrap();
            let file = std::fs::File::options().write(true).open(cache.kept(commit)).unwrap();
            file.set_times(old).unwrap();
        }
        let has = |n: usize| cache.has(&commits[n]);
        assert_eq!([has(0), has(1), has(2)], [true, false, true], "the second was not wanted for longest");
        assert!(cache.tree(&commits[0], None).is_ok() && cache.tree(&commits[2], None).is_ok());
        cache.fetch(&url, &commits[1], None).unwrap();
        assert!(has(1));
    }

    #[test]
    fn a_server_fetches_by_the_ways_that_it_knows_and_within_its_bounds() {
        let repository = TestRepository::new();
        let commit = repository.push("one", &[("pack.yaml", "n: 1\n")]);
        let mut cache = PackCache::for_server(&repository.beside("packs.git")).unwrap();
        let said = |error: PackError| error.to_string();
        for url in ["http://127.0.0.1:1/x", "git://127.0.0.1:1/x", "ext::sh -c false"] {
            let error = cache.fetch(url, &commit, None).map_err(said).unwrap_err();
            assert!(error.contains("not allowed"), "{error}");
        }
        let url = format!("file://{}", repository.bare().display());
        cache.alone.as_mut().unwrap().bounds.time = Duration::ZERO;
        let error = cache.fetch(&url, &commit, None).map_err(said).unwrap_err();
        assert!(error.contains("longer than 0 seconds"), "{error}");
        cache.alone.as_mut().unwrap().bounds.time = FETCH_TIME;
        cache.fetch(&url, &commit, None).unwrap();
    }

    #[test]
    fn what_git_says_is_repeated_without_credentials() {
        for (said, shown) in [
            (
                "fatal: unable to access 'https://me:hunter2@host/x/': no",
                "fatal: unable to access 'https://…@host/x/': no",
            ),
            ("https://a@b@c/d ssh://e:f@g", "https://…@c/d ssh://…@g"),
            ("nothing of that kind", "nothing of that kind"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(without_credentials(said), shown);
        }
    }
}
