//! Who may sign, what opens encrypted files and which repositories are followed is read again when the files that say it change,
//! without a restart: never what is half written, and where what is new is not sound, what was read before stays in force.

use crate::api::{ChangedFile, PolicyFiles, ReadOnce};
use crate::content::sops::Keys;
use crate::git::Verifier;
use crate::reconcile::KeysInForce;
use crate::trust::Policy;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long they have to be as they are before they are read: whoever writes them has ended.
const SETTLED: Duration = Duration::from_secs(3);
/// After so long a file that names others is tried again where it was not taken in.
const TRIED_AGAIN: Duration = Duration::from_secs(10);

/// Reads a policy again, with the files that were read for it; else why that is not possible, as shown to people.
pub type ReadAgain = dyn Fn() -> Result<(Policy, Vec<ReadOnce>), String> + Send + Sync;

/// A policy, and how it is read again.
pub struct TrustFile {
    /// Its file.
    pub path: PathBuf,
    /// As it was read.
    pub policy: Policy,
    /// The files that were read for it, as they were.
    pub files: Vec<ReadOnce>,
    /// How.
    pub read: Arc<ReadAgain>,
}

/// Reads identities again, with the files that they are in; else why that is not possible, as shown to people.
pub type ReadKeysAgain = dyn Fn() -> Result<(Keys, Vec<ReadOnce>), String> + Send + Sync;

/// What opens encrypted files, and how it is read again.
pub struct KeyFiles {
    /// As they were read.
    pub keys: Keys,
    /// The files that were read for it, as they were; none: nothing is watched.
    pub files: Vec<ReadOnce>,
    /// How.
    pub read: Arc<ReadKeysAgain>,
}

/// Reads files again and puts what they say in force. None: they were written to meanwhile, or it cannot be done at this moment.
pub(super) type TakeIn = dyn Fn() -> Result<Option<TakenIn>, String> + Send + Sync;

/// Files whose words are in force.
#[derive(Default)]
pub(super) struct TakenIn {
    /// As they were when they were read.
    pub files: Vec<ReadOnce>,
    /// What other files are watched from now on; none: those that are.
    pub others: Option<Others>,
}

impl TakenIn {
    /// These, and no others than before.
    pub(super) fn files(files: Vec<ReadOnce>) -> Self {
        Self { files, others: None }
    }
}

/// Where others are followed, other files say who may sign for them and what opens their secrets.
pub(super) struct Others {
    /// Of these sources the policies are watched on, as is that of the whole.
    pub stay: BTreeSet<String>,
    /// These are watched besides.
    pub new: Vec<Watched>,
}

/// What files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Who may sign: for this one of several sources, or for the whole.
    Signers(Option<String>),
    /// What opens encrypted files.
    Keys,
    /// Which repositories are followed.
    Sources,
}

impl What {
    fn words(&self) -> &'static str {
        match self {
            Self::Signers(_) => "who may sign",
            Self::Keys => "what opens encrypted files",
            Self::Sources => "which repositories are followed",
        }
    }

    /// Whether files that say it are watched on.
    fn stays(&self, others: &Others) -> bool {
        match self {
            Self::Signers(Some(source)) => others.stay.contains(source),
            Self::Signers(None) | Self::Sources => true,
            Self::Keys => false,
        }
    }
}

/// Files that are read again when they change.
pub(super) struct Watched {
    /// What they say.
    what: What,
    path: PathBuf,
    files: Vec<ReadOnce>,
    take_in: Arc<TakeIn>,
    /// Files as they are now, where that is not what is in force: since when.
    changing: Option<(Vec<ReadOnce>, Instant)>,
    /// These were tried, and are not taken in for this.
    refused: Option<(Vec<ReadOnce>, String)>,
    /// When they are tried again as they are: what they name may be mended without them.
    again: Option<Instant>,
    /// What others are watched since.
    others: Option<Others>,
}

/// Nobody wrote to them since they were compared; else they are looked at next time.
fn are_whole(files: &[ReadOnce]) -> bool {
    files.iter().all(|file| file.changed().is_none())
}

/// What came of a look.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// Nothing is new.
    Nothing,
    /// Another policy is in force.
    InForce,
    /// What is there now is not taken in.
    Refused(String),
}

impl Watched {
    /// The files of a policy, for whom it is, and who judges by it.
    pub(super) fn policy(file: TrustFile, of: Option<String>, verifier: &Arc<Verifier>) -> Self {
        let TrustFile { path, files, read, .. } = file;
        let verifier = Arc::clone(verifier);
        let take_in = move || {
            let (policy, files) = read()?;
            match are_whole(&files) {
                true => verifier.replace(policy).map(|()| Some(TakenIn::files(files))),
                false => Ok(None),
            }
        };
        Self::new(What::Signers(of), path, files, Arc::new(take_in))
    }

    /// The files of identities, and what is built by them. None: there are no files.
    pub(super) fn keys(files: Vec<ReadOnce>, read: Arc<ReadKeysAgain>, in_force: &Arc<KeysInForce>) -> Option<Self> {
        let path = files.first()?.path().to_owned();
        let in_force = Arc::clone(in_force);
        let take_in = move || {
            let (keys, files) = read()?;
            if !are_whole(&files) {
                return Ok(None);
            }
            in_force.replace(keys);
            Ok(Some(TakenIn::files(files)))
        };
        Some(Self::new(What::Keys, path, files, Arc::new(take_in)))
    }

    pub(super) fn new(what: What, path: PathBuf, files: Vec<ReadOnce>, take_in: Arc<TakeIn>) -> Self {
        Self { what, path, files, take_in, changing: None, refused: None, again: None, others: None }
    }

    /// Takes in what changed, once it is whole. Reads the disk.
    fn look(&mut self, now: Instant) -> Came {
        let seen: Vec<ReadOnce> = self.files.iter().map(ReadOnce::again).collect();
        if seen == self.files {
            (self.changing, self.refused, self.again) = (None, None, None);
            return Came::Nothing;
        }
        let refused = self.refused.as_ref().filter(|(refused, _)| *refused == seen);
        if refused.is_some() && self.again.is_none_or(|at| now < at) {
            return Came::Nothing;
        }
        let said = refused.map(|(_, why)| why.clone());
        let since = match self.changing.take() {
            Some((before, since)) if before == seen => since,
            _ => now,
        };
        self.changing = Some((seen.clone(), since));
        if now.duration_since(since) < SETTLED {
            return Came::Nothing;
        }
        match (self.take_in)() {
            Ok(None) => Came::Nothing,
            Ok(Some(taken)) => {
                (self.files, self.others) = (taken.files, taken.others);
                (self.changing, self.refused, self.again) = (None, None, None);
                Came::InForce
            }
            Err(why) => {
                self.refused = Some((seen, why.clone()));
                self.again = (self.what == What::Sources).then(|| now + TRIED_AGAIN);
                // Said once.
                if said.as_ref() == Some(&why) { Came::Nothing } else { Came::Refused(why) }
            }
        }
    }

    /// Its files that are not what is in force, for people.
    fn changed(&self) -> Vec<ChangedFile> {
        let why = self.refused.as_ref().map(|(_, why)| why.lines().next().unwrap_or_default());
        let rows = self.files.iter().filter_map(ReadOnce::changed).map(|mut file| {
            let path = &file.path;
            (file.takes_effect, file.message) = match why {
                Some(why) => (
                    "mended".to_owned(),
                    format!("{path} was changed and is not taken in, what was read before stays in force: {why}"),
                ),
                None => ("soon".to_owned(), format!("{path} was changed and is taken in as soon as nobody writes it")),
            };
            file
        });
        rows.collect()
    }
}

/// Looks at all such files for ever. `renewed`: another is in force, and what was refused is to be judged again.
pub(super) async fn follow(mut watched: Vec<Watched>, told: PolicyFiles, renewed: impl Fn()) {
    if watched.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = tokio::task::spawn_blocking(move || {
            let now = Instant::now();
            let look = |watched: &mut Watched| (watched.what.words(), watched.path.clone(), watched.look(now));
            let came: Vec<(&'static str, PathBuf, Came)> = watched.iter_mut().map(look).collect();
            if let Some(others) = watched.iter_mut().find_map(|watched| watched.others.take()) {
                watched.retain(|watched| watched.what.stays(&others));
                watched.extend(others.new);
            }
            let changed = watched.iter().flat_map(Watched::changed).collect();
            (watched, came, changed)
        });
        let Ok((back, came, changed)) = look.await else { return std::future::pending().await };
        watched = back;
        told.set(changed);
        for (what, path, came) in came {
            let path = path.display();
            match came {
                Came::Nothing => {}
                Came::InForce => {
                    tracing::info!(%path, what, "a file was read again, and what it says is in force");
                    renewed();
                }
                Came::Refused(why) => {
                    tracing::error!(%path, what, why, "a file was changed and is not taken in; what was read before stays in force");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{KeyFile, Rewritten};
    use std::sync::Mutex;

    /// A policy in one file: `follow` and `refuse` are good, anything else is not.
    fn watched(path: &std::path::Path) -> (Watched, Arc<Verifier>) {
        let of = path.to_owned();
        let read = move || {
            let files = vec![ReadOnce::of(&of)];
            let text = std::fs::read_to_string(&of).map_err(|error| error.to_string())?;
            let rewritten = match text.trim() {
                "follow" => Rewritten::Follow,
                "refuse" => Rewritten::Refuse,
                "key" => {
                    let key = KeyFile { principal: "a".into(), file: "a.asc".into(), bytes: b"no key".to_vec() };
                    return Ok((Policy { openpgp_files: vec![key], ..Policy::default() }, files));
                }
                other => return Err(format!("`{other}` is no policy")),
            };
            Ok((Policy { rewritten, ..Policy::default() }, files))
        };
        let (policy, files) = read().expect("a policy");
        let keys = path.with_file_name("signers");
        let verifier = Arc::new(Verifier::new(policy.clone(), &keys).expect("a verifier"));
        let file = TrustFile { path: path.to_owned(), policy, files, read: Arc::new(read) };
        (Watched::policy(file, None, &verifier), verifier)
    }

    #[test]
    fn a_policy_is_taken_in_when_nobody_writes_it_and_a_broken_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trust.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("refuse\n");
        let (mut watched, verifier) = watched(&path);
        let began = Instant::now();
        let mut look = |seconds: u64| watched.look(began + Duration::from_secs(seconds));
        assert_eq!((look(0), look(10)), (Came::Nothing, Came::Nothing));
        write("foll");
        assert_eq!((look(11), look(12)), (Came::Nothing, Came::Nothing));
        // It goes on being written: its time begins anew.
        write("follow\n");
        assert_eq!((look(13), look(14), verifier.generation()), (Came::Nothing, Came::Nothing, 0));
        assert_eq!((look(16), verifier.generation()), (Came::InForce, 1));
        assert_eq!(look(17), Came::Nothing);
        // What is not sound is said once, and changes nothing.
        for (at, broken) in [(20, "x\n"), (30, "key\n")] {
            write(broken);
            look(at);
            assert!(matches!(look(at + 4), Came::Refused(_)), "{broken}");
            assert_eq!((look(at + 5), verifier.generation()), (Came::Nothing, 1));
        }
        assert_eq!(watched.changed()[0].takes_effect, "mended");
        // Gone, and back as it was.
        std::fs::remove_file(&path).unwrap();
        watched.look(began + Duration::from_secs(40));
        assert!(matches!(watched.look(began + Duration::from_secs(44)), Came::Refused(_)));
        write("follow\n");
        assert_eq!(watched.look(began + Duration::from_secs(45)), Came::Nothing);
        assert_eq!((watched.changed(), verifier.generation()), (Vec::new(), 1));
        write("refuse\n");
        watched.look(began + Duration::from_secs(50));
        assert_eq!(watched.changed()[0].takes_effect, "soon");
        assert_eq!(watched.look(began + Duration::from_secs(54)), Came::InForce);
    }

    #[test]
    fn identities_are_taken_in_and_broken_ones_leave_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("age.txt");
        std::fs::write(&path, "good").unwrap();
        let in_force = Arc::new(KeysInForce::new(Keys::Unknown));
        let of = path.clone();
        let read = move || {
            let files = vec![ReadOnce::of(&of)];
            match std::fs::read_to_string(&of).as_deref() {
                Ok(text) if text.starts_with("good") => Ok((Keys::Unknown, files)),
                _ => Err(format!("{}: there is no identity in it", of.display())),
            }
        };
        assert!(Watched::keys(Vec::new(), Arc::new(read.clone()), &in_force).is_none(), "no file is watched");
        let mut watched = Watched::keys(vec![ReadOnce::of(&path)], Arc::new(read), &in_force).expect("a file");
        let began = Instant::now();
        let mut look = |seconds: u64| watched.look(began + Duration::from_secs(seconds));
        std::fs::write(&path, "broken").unwrap();
        assert_eq!((look(0), in_force.generation()), (Came::Nothing, 0));
        assert!(matches!(look(4), Came::Refused(why) if why.contains("age.txt: there is no identity")));
        assert_eq!((look(5), in_force.generation()), (Came::Nothing, 0));
        // What is mended is as it was read: nothing is new. Another good one is.
        std::fs::write(&path, "good").unwrap();
        assert_eq!((look(6), look(10), in_force.generation()), (Came::Nothing, Came::Nothing, 0));
        std::fs::write(&path, "good, and one more").unwrap();
        assert_eq!((look(11), look(15), in_force.generation()), (Came::Nothing, Came::InForce, 1));
        std::fs::remove_file(&path).unwrap();
        look(20);
        assert!(matches!(look(24), Came::Refused(_)));
        assert_eq!(in_force.generation(), 1);
        assert_eq!(watched.changed()[0].takes_effect, "mended");
    }

    #[tokio::test]
    async fn without_a_policy_nothing_is_looked_at_and_the_server_goes_on() {
        let renewed = Mutex::new(0);
        let follows = follow(Vec::new(), PolicyFiles::default(), || *renewed.lock().unwrap() += 1);
        assert!(tokio::time::timeout(Duration::from_millis(50), follows).await.is_err());
    }
}
