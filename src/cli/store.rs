//! `formwork store check|backup|dump`: the store of a server that is stopped, on the server itself.

use super::client::Client;
use super::error::CliError;
use super::failure::keys_come_back;
use super::output::{Format, Output, note};
use super::progress::{Progress, Stages, Unit};
use super::sentence::count;
use crate::api::views::Context;
use crate::git::regular::{FILE_MAX, read_regular};
use crate::serve::StateDirectory;
use crate::store::StoreError;
use crate::store::embedded::{self, DumpError, Report, Restored};
use clap::{Args, Subcommand};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Checks, copies, shows or restores the store of this host, whether its server runs or not.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Reads everything once and compares what must agree. While a server runs, a copy that it makes is checked.
    Check(Check),
    /// Copies the store to a new file, also while a server writes to it.
    #[command(after_help = "Examples:
  formwork store backup /backup/store-$(date +%F).redb")]
    Backup(Backup),
    /// Shows every event and what else is there, one JSON object a line; values stay hidden.
    Dump(Place),
    /// Puts a backup in the place of the store of a stopped server. Machines are then held until adopted, clusters frozen until
    /// thawed, and every token is dead: what happened after the backup is not known.
    #[command(after_help = "Examples:
  formwork store restore /backup/store.redb                 where there is no store
  formwork store restore /backup/store.redb --replace       puts the one that is there aside
  formwork adopt --all                                      the machines are installed: leave them as they are
  formwork cluster thaw etcd                                once its document was looked at")]
    Restore(Restore),
    /// Says that etcd, and a store in Kubernetes with it, came back from a backup. As after `store restore` machines are then held until
    /// adopted, clusters frozen until thawed, and every token is dead. Stop every server on the store first.
    #[cfg(feature = "kubernetes")]
    #[command(after_help = "Examples:
  formwork store restored --store kubernetes --store-namespace formwork-lab
  formwork adopt --all                                      the machines are installed: leave them as they are
  formwork cluster thaw etcd                                once its document was looked at")]
    Restored(super::restored::Arguments),
}

#[derive(Debug, Args)]
struct Restore {
    #[command(flatten)]
    place: Place,
    /// The backup.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    /// Puts a store that is there aside.
    #[arg(long)]
    replace: bool,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Args)]
struct Place {
    /// The directory that holds `store.redb`.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
}

impl Place {
    /// Refuses a directory that is not there: it is the site's, with its keys, and one made for a store alone serves nothing.
    fn is_made(&self) -> Result<(), CliError> {
        let about = std::fs::metadata(&self.state_dir);
        if !about.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(());
        }
        Err(CliError::Usage {
            message: format!("there is no directory {}", self.state_dir.display()),
            hint: Some(format!(
                "a store serves nothing without the keys of its site; {}",
                keys_come_back(&self.state_dir)
            )),
        })
    }

    /// That the keys are not there, and what to do.
    fn lacks_keys(&self) -> Option<String> {
        let there = StateDirectory(self.state_dir.clone()).keys_of_a_site();
        let said = || format!("the keys of the site are not there: {}", keys_come_back(&self.state_dir));
        there.is_ok_and(|there| there.is_empty()).then(said)
    }
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    place: Place,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Args)]
struct Backup {
    #[command(flatten)]
    place: Place,
    /// The new file. It holds secrets as the store does: keep it as carefully.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let stages = Stages::default();
    match &arguments.command {
        StoreCommand::Check(Check { place, output }) => {
            is_here(place)?;
            let report = match Copy::of_running(place)? {
                Some(copy) => embedded::check_file_watched(&copy.0, &stages),
                None => embedded::check_watched(&place.state_dir, &stages),
            }
            .map_err(|error| not_whole(error, &place.state_dir))?;
            drop(stages);
            let name = place.state_dir.display().to_string();
            Output::of_process(*output).answer(&report, || vec![name], |_| sentence(&report, "the store is whole"))
        }
        StoreCommand::Backup(Backup { place, to, output }) => {
            is_here(place)?;
            new_file(to)?;
            let report = match Copy::of_running(place)? {
                Some(copy) => copy.give_to(to, &stages),
                None => embedded::backup_watched(&place.state_dir, to, &stages),
            }
            .map_err(|error| failed_with_room(error, &embedded::file(&place.state_dir), to))?;
            drop(stages);
            let name = to.display().to_string();
            let words = format!("{name} is a whole copy");
            Output::of_process(*output).answer(&report, || vec![name], |_| sentence(&report, &words))
        }
        StoreCommand::Dump(place) => {
            is_here(place)?;
            let mut out = BufWriter::new(super::stdout::stdout());
            let dumped = match Copy::of_running(place)? {
                Some(copy) => embedded::dump_file(&copy.0, &mut out),
                None => embedded::dump(&place.state_dir, &mut out),
            };
            dumped.map_err(|error| match error {
                DumpError::Store(error) => failed(error, &place.state_dir),
                DumpError::Output(error) => CliError::Output(error),
            })?;
            Ok(out.flush()?)
        }
        #[cfg(feature = "kubernetes")]
        StoreCommand::Restored(arguments) => {
            drop(stages);
            super::restored::run(arguments)
        }
        StoreCommand::Restore(Restore { place, from, replace, output }) => {
            super::failure::ends_once(from)?;
            place.is_made()?;
            let site = StateDirectory(place.state_dir.clone()).site_of_keys();
            let restored = embedded::restore_watched(from, &place.state_dir, *replace, site.as_deref(), &stages);
            let restored = restored.map_err(|error| not_restored(error, from, &place.state_dir))?;
            drop(stages);
            let name = place.state_dir.display().to_string();
            Output::of_process(*output).answer(&restored, || vec![name], |_| restored_sentence(&restored))?;
            place.lacks_keys().into_iter().for_each(|said| note(&said));
            Ok(())
        }
    }
}

/// Refuses a state directory whose store lies elsewhere, before it is called missing.
fn is_here(place: &Place) -> Result<(), CliError> {
    let folder = &place.state_dir;
    match StateDirectory(folder.clone()).store_elsewhere() {
        Some(elsewhere) if !embedded::exists(folder) => Err(CliError::Refused {
            code: "store".to_owned(),
            message: format!("the store of the site in {} is no file here: it lies in {elsewhere}", folder.display()),
            hint: Some(
                "it is backed up with etcd, and each start of `formwork serve` reads and checks all of it".to_owned(),
            ),
        }),
        _ => super::failure::has_store(folder),
    }
}

/// Refuses a place where there is something already, before a server is asked for a copy.
fn new_file(to: &Path) -> Result<(), CliError> {
    let shown = to.display();
    let (message, hint) = match std::fs::symlink_metadata(to) {
        Ok(there) if there.is_dir() => (
            format!("{shown} is a directory"),
            format!("name a new file in it, such as {}", to.join("store.redb").display()),
        ),
        Ok(_) => (
            format!("{shown} is there already, and a backup never takes a file's place"),
            "name another file, or take this one away first".to_owned(),
        ),
        // A folder is never made: where a disk is not mounted, the backup would end up on another.
        Err(_) => return folder_of(to),
    };
    Err(CliError::Refused { code: "store".to_owned(), message, hint: Some(hint) })
}

/// Refuses a new file in a folder that is not there.
fn folder_of(to: &Path) -> Result<(), CliError> {
    let folder = folder_above(to);
    let what = match std::fs::metadata(folder) {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(_) => "it is no folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let hint = "name a file in a folder that is there, or make the folder first".to_owned();
    let message = format!("a backup cannot be made in {}: {what}", folder.display());
    Err(CliError::Usage { message, hint: Some(hint) })
}

/// A copy that a running server made of its store; removed when it was looked at.
struct Copy(PathBuf);

impl Copy {
    /// Has the server of that state directory make one; `None`: no server runs.
    fn of_running(place: &Place) -> Result<Option<Self>, CliError> {
        if !embedded::is_open(&place.state_dir) {
            return Ok(None);
        }
        let state = StateDirectory(place.state_dir.clone());
        let path = state.context();
        let context =
            read_regular(&path, FILE_MAX).ok().and_then(|bytes| serde_json::from_slice::<Context>(&bytes).ok());
        let context = context.ok_or_else(|| CliError::Context {
            path,
            what: "a server has the store open, and this file, by which it can be asked for a copy, cannot be read"
                .into(),
            hint: "run this as the user of the server, or stop it first".into(),
        })?;
        let client = Client::new(&context)?;
        let progress = Progress::new("the server copies its store", Unit::Entries, 0);
        let made = client.store_snapshot()?;
        drop(progress);
        let name = Path::new(&made.file).file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
        Ok(Some(Self(state.snapshots().join(name))))
    }

    /// Copies it to a new file, durably.
    fn give_to(&self, to: &Path, stages: &Stages) -> Result<Report, StoreError> {
        let bytes = std::fs::metadata(&self.0).map_or(0, |metadata| metadata.len());
        let progress = Progress::new("copying", Unit::Bytes, bytes);
        embedded::backup_of_copy(&self.0, to, &|count| progress.more(count), stages)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn restored_sentence(restored: &Restored) -> String {
    let mut text = sentence(&restored.report, "restored");
    if let Some(aside) = &restored.replaced {
        text.push_str(&format!("the store that was there is now {}\n", aside.display()));
    }
    text.push_str(&format!(
        "held until `formwork adopt`: {}; frozen until `formwork cluster thaw`: {}\n",
        many(restored.machines, "machine"),
        many(restored.report.clusters, "cluster")
    ));
    text
}

fn sentence(report: &Report, words: &str) -> String {
    let Report { events, streams, clusters, leases } = report;
    let (events, streams) = (many(*events, "event"), many(*streams, "stream"));
    format!("{words}: {events} in {streams}, {}, {}\n", many(*clusters, "cluster"), many(*leases, "lease"))
}

pub(super) fn many(number: impl TryInto<usize>, thing: &str) -> String {
    count(number.try_into().unwrap_or(usize::MAX), thing)
}

/// How a command ends that failed where it writes to the disk of `to`.
pub(super) fn failed(error: StoreError, to: &Path) -> CliError {
    match error {
        StoreError::Open(message) | StoreError::Exists(message) => {
            CliError::Refused { code: "store".to_owned(), message, hint: None }
        }
        StoreError::Path(message) => CliError::Usage { message, hint: None },
        StoreError::Full(why) => CliError::Failed {
            message: format!("the disk of {} is full: {why}", to.display()),
            hint: "make room there, then start it again; nothing of the store is lost".to_owned(),
        },
        other => CliError::NotSo(other.to_string()),
    }
}

/// How a check ends that found the store damaged.
fn not_whole(error: StoreError, state: &Path) -> CliError {
    match error {
        StoreError::Damaged(_) => CliError::Failed {
            message: error.to_string(),
            hint: format!(
                "formwork store restore BACKUP --replace --state-dir {} puts a backup in its place and this one aside",
                state.display()
            ),
        },
        other => failed(other, state),
    }
}

/// How a restore ends that put nothing in place.
fn not_restored(error: StoreError, from: &Path, state: &Path) -> CliError {
    match error {
        StoreError::Path(message) if !from.exists() => CliError::Usage {
            message,
            hint: Some("name the backup: a file that `formwork store backup` made".to_owned()),
        },
        other => failed_with_room(other, from, state),
    }
}

/// The same of a copy of the file `from`, with how much is wanted and what is free.
fn failed_with_room(error: StoreError, from: &Path, to: &Path) -> CliError {
    let folder = if to.is_dir() { to } else { folder_above(to) };
    let wanted = std::fs::metadata(from).map(|about| about.len()).ok();
    let free = rustix::fs::statvfs(folder).map(|room| room.f_bavail.saturating_mul(room.f_frsize)).ok();
    match (failed(error, to), wanted.zip(free)) {
        (CliError::Failed { message, hint }, Some((wanted, free))) => {
            CliError::Failed { message, hint: format!("{}; {hint}", room(wanted, free)) }
        }
        (other, _) => other,
    }
}

/// How much is wanted, and what is free.
fn room(wanted: u64, free: u64) -> String {
    format!("the copy takes up to {} MiB, and {} MiB are free there", wanted.div_ceil(1 << 20), free >> 20)
}

/// The folder of a file.
fn folder_above(to: &Path) -> &Path {
    to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_never_takes_the_place_of_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("store.redb");
        assert!(new_file(&at).is_ok());
        std::fs::write(&at, "an older backup").unwrap();
        let error = new_file(&at).unwrap_err();
        assert!(error.to_string().ends_with("is there already, and a backup never takes a file's place"), "{error}");
        assert_eq!((error.exit_code(), error.hint()), (4, Some("name another file, or take this one away first")));
        let error = new_file(folder.path()).unwrap_err();
        assert!(error.hint().unwrap().ends_with("/store.redb"), "{:?}", error.hint());
    }

    #[test]
    fn a_store_comes_back_where_a_site_is_or_it_is_said_that_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| Place { state_dir: folder.path().join(name) };
        let error = place("nowhere").is_made().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains("bring keys/")), "{:?}", error.hint());
        let there = place("there");
        std::fs::create_dir_all(&there.state_dir).unwrap();
        assert!(there.is_made().is_ok() && there.lacks_keys().is_some_and(|said| said.contains("bring keys/")));
        std::fs::create_dir(there.state_dir.join("keys")).unwrap();
        std::fs::write(there.state_dir.join("keys/signing.key"), "x").unwrap();
        std::fs::write(there.state_dir.join("administrators.json"), "{}").unwrap();
        assert_eq!(there.lacks_keys(), None);
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_wanted_and_what_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("store.redb"), folder.path().join("copy"));
        std::fs::write(&from, vec![0; (1 << 20) + 1]).unwrap();
        let ends = failed_with_room(StoreError::Full("no space left".to_owned()), &from, &to);
        let hint = ends.hint().unwrap_or_default();
        assert!(
            hint.starts_with("the copy takes up to 2 MiB, and ") && hint.contains(" MiB are free there; "),
            "{hint}"
        );
        assert_eq!(ends.exit_code(), 1);
        let other = failed_with_room(StoreError::Busy, &from, &to);
        assert_eq!(other.hint(), None);
        // What cannot be asked is left out.
        let ends = failed_with_room(StoreError::Full(String::new()), Path::new("/nowhere"), &to);
        assert!(ends.hint().is_some_and(|hint| hint.starts_with("make room")), "{:?}", ends.hint());
    }

    #[test]
    fn a_backup_is_made_in_a_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (to, code) in
            [(folder.path().join("a"), None), (folder.path().join("nowhere/a"), Some(2)), (file.join("a"), Some(2))]
        {
            assert_eq!(new_file(&to).err().map(|error| error.exit_code()), code, "{}", to.display());
        }
        assert!(new_file(Path::new("no-such-file")).is_ok(), "here");
    }

    #[test]
    fn each_failure_of_a_store_has_its_code_and_says_what_to_do() {
        let of = |error| failed(error, Path::new("/backup/a"));
        for (error, code, words) in [
            (StoreError::Path("/x: not found".to_owned()), 2, "/x: not found"),
            (StoreError::Open("in use".to_owned()), 4, "in use"),
            (StoreError::Full("a write failed".to_owned()), 1, "the disk of /backup/a is full: a write failed"),
            (StoreError::Damaged("event 7".to_owned()), 1, "the store is damaged: event 7"),
        ] {
            let error = of(error);
            assert!(error.exit_code() == code && error.to_string().starts_with(words), "{error}");
        }
        assert!(of(StoreError::Full(String::new())).hint().is_some_and(|hint| hint.contains("make room")));
    }

    #[test]
    fn a_damaged_store_and_a_backup_that_is_not_there_are_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], &[7; 8192]] {
            std::fs::write(folder.path().join("store.redb"), bytes).unwrap();
            let ends = not_whole(embedded::check(folder.path()).unwrap_err(), folder.path());
            assert_eq!(ends.exit_code(), 1, "{ends}");
            assert!(
                ends.to_string().contains("is not a store")
                    && ends.hint().is_some_and(|hint| hint.contains("restore BACKUP --replace")),
                "{ends}"
            );
        }
        let gone = folder.path().join("gone");
        let ends = not_restored(embedded::restore(&gone, folder.path(), true).unwrap_err(), &gone, folder.path());
        assert!(ends.exit_code() == 2 && ends.hint().is_some_and(|hint| hint.contains("name the backup")), "{ends}");
        assert_eq!(not_whole(StoreError::Open("in use".to_owned()), folder.path()).exit_code(), 4);
    }

    #[test]
    fn a_store_that_lies_in_kubernetes_is_not_called_missing() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { state_dir: folder.path().to_owned() };
        let error = is_here(&place).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("site create")), "nothing is known of it: {error}");
        std::fs::write(folder.path().join("administrator.json"), "{}").unwrap();
        let error = is_here(&place).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("store restore")), "a site lost its store: {error}");
        std::fs::write(folder.path().join("store.redb"), "a store").unwrap();
        assert!(is_here(&place).is_ok());
        std::fs::remove_file(folder.path().join("store.redb")).unwrap();
        std::fs::write(folder.path().join("store-elsewhere"), "namespace lab of Kubernetes").unwrap();
        let error = is_here(&place).unwrap_err();
        assert!(error.to_string().ends_with("is no file here: it lies in namespace lab of Kubernetes"), "{error}");
        assert!(error.hint().unwrap().contains("backed up with etcd"), "{:?}", error.hint());
    }

    #[test]
    fn one_of_a_thing_is_one() {
        let report = Report { events: 1, streams: 1, clusters: 0, leases: 2 };
        assert_eq!(sentence(&report, "whole"), "whole: 1 event in 1 stream, no clusters, 2 leases\n");
    }
}
