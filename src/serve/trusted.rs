//! Who may sign is read again when the files that say it change, without a restart: never what is half written, and where what is
//! new is not sound, what was read before stays in force.

use crate::api::{ChangedFile, PolicyFiles, ReadOnce};
use crate::git::Verifier;
use crate::trust::Policy;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long they have to be as they are before they are read: whoever writes them has ended.
const SETTLED: Duration = Duration::from_secs(3);

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

/// The files of a policy, and who judges by it.
pub(super) struct Watched {
    path: PathBuf,
    files: Vec<ReadOnce>,
    read: Arc<ReadAgain>,
    verifier: Arc<Verifier>,
    /// Files as they are now, where that is not what is in force: since when.
    changing: Option<(Vec<ReadOnce>, Instant)>,
    /// These were tried, and are not taken in for this.
    refused: Option<(Vec<ReadOnce>, String)>,
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
    pub(super) fn new(file: TrustFile, verifier: &Arc<Verifier>) -> Self {
        let TrustFile { path, files, read, .. } = file;
        Self { path, files, read, verifier: Arc::clone(verifier), changing: None, refused: None }
    }

    /// Takes in what changed, once it is whole. Reads the disk.
    fn look(&mut self, now: Instant) -> Came {
        let seen: Vec<ReadOnce> = self.files.iter().map(ReadOnce::again).collect();
        if seen == self.files {
            (self.changing, self.refused) = (None, None);
            return Came::Nothing;
        }
        if self.refused.as_ref().is_some_and(|(refused, _)| *refused == seen) {
            return Came::Nothing;
        }
        let since = match self.changing.take() {
            Some((before, since)) if before == seen => since,
            _ => now,
        };
        self.changing = Some((seen.clone(), since));
        if now.duration_since(since) < SETTLED {
            return Came::Nothing;
        }
        let taken = (self.read)().and_then(|(policy, files)| {
            // Written to since they were compared: that is looked at next time.
            if files.iter().any(|file| file.changed().is_some()) {
                return Ok(None);
            }
            self.verifier.replace(policy).map(|()| Some(files))
        });
        match taken {
            Ok(None) => Came::Nothing,
            Ok(Some(files)) => {
                (self.files, self.changing, self.refused) = (files, None, None);
                Came::InForce
            }
            Err(why) => {
                self.refused = Some((seen, why.clone()));
                Came::Refused(why)
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

/// Looks at the files of all policies for ever. `renewed`: another is in force, and what was refused is to be judged again.
pub(super) async fn follow(mut watched: Vec<Watched>, told: PolicyFiles, renewed: impl Fn()) {
    if watched.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = tokio::task::spawn_blocking(move || {
            let now = Instant::now();
            let came: Vec<(PathBuf, Came)> =
                watched.iter_mut().map(|watched| (watched.path.clone(), watched.look(now))).collect();
            let changed = watched.iter().flat_map(Watched::changed).collect();
            (watched, came, changed)
        });
        let Ok((back, came, changed)) = look.await else { return std::future::pending().await };
        watched = back;
        told.set(changed);
        for (path, came) in came {
            let path = path.display();
            match came {
                Came::Nothing => {}
                Came::InForce => {
                    tracing::info!(%path, "who may sign was read again, and is in force");
                    renewed();
                }
                Came::Refused(why) => {
                    tracing::error!(%path, why, "who may sign was changed and is not taken in; what was read before stays in force");
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
        (Watched::new(file, &verifier), verifier)
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

    #[tokio::test]
    async fn without_a_policy_nothing_is_looked_at_and_the_server_goes_on() {
        let renewed = Mutex::new(0);
        let follows = follow(Vec::new(), PolicyFiles::default(), || *renewed.lock().unwrap() += 1);
        assert!(tokio::time::timeout(Duration::from_millis(50), follows).await.is_err());
    }
}
