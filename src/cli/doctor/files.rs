//! Files that a server needs: state directory, keys, content, images.

use super::Check;
use super::pod::Pod;
use crate::catalog::Catalog;
use crate::cli::error::CliError;
use crate::cli::offline::Place;
use crate::cli::progress::{Progress, Unit};
use crate::cli::sentence::count;
use crate::content::kinds::FileSource;
use crate::git::receive::{Hosted, folder_of, is_noexec};
use crate::git::regular::{FILE_MAX, read_regular};
use crate::git::{GitError, Looked, read_history, read_through};
use crate::net::files::Folder;
use crate::net::tftp::FIRST_LOADERS;
use crate::serve::StateDirectory;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long the history of the hosted repository is read.
const HISTORY_WITHIN: Duration = Duration::from_secs(10);
/// A certificate that ends sooner is worth a word, seconds.
const SOON_SECONDS: i64 = 90 * 86_400;

/// Where the store of the site lies that a server here would serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// In the state directory.
    Here,
    /// Elsewhere.
    Elsewhere,
    /// Elsewhere, and the keys beside it, for whoever has none.
    ElsewhereWithKeys,
}

/// The state directory: there, and its owner's alone.
pub(super) fn state(folder: &Path, stored: Stored, pod: Option<&Pod>) -> Vec<Check> {
    let name = "state directory";
    let shown = folder.display();
    let about = match std::fs::metadata(folder) {
        Ok(about) if about.is_dir() => about,
        Ok(_) => return vec![Check::fail(name, format!("{shown} is no directory"), "name another with --state-dir")],
        Err(error) if error.kind() == io::ErrorKind::NotFound && stored == Stored::ElsewhereWithKeys => {
            return vec![Check::ok(name, format!("{shown} is not there yet; a server with --replica makes it"))];
        }
        Err(error) => {
            let made = format!("formwork site create NAME --state-dir {shown}; or name another with --state-dir");
            let remedy = Pod::makes_site(pod, made);
            return vec![Check::fail(name, format!("{shown}: {error}"), remedy)];
        }
    };
    if std::fs::read_dir(folder).is_err() {
        let remedy = format!("run as the user that owns it (uid {})", about.uid());
        return vec![Check::fail(name, format!("{shown} cannot be read by this user"), remedy)];
    }
    let mut checks = Vec::new();
    let open = about.permissions().mode() & 0o077;
    checks.push(if open != 0 {
        let says = format!("{shown} is open to others (mode {:04o})", about.permissions().mode() & 0o7777);
        Check::warn(name, says, format!("chmod 700 {shown}"))
    } else {
        Check::ok(name, format!("{shown} is its owner's alone"))
    });
    if stored == Stored::Here {
        checks.push(store(folder, pod));
    }
    checks.extend(hooks(folder));
    checks.extend(hosted(folder));
    checks.extend(hosted_history(folder));
    let mut wrong = Vec::new();
    let mut secret = vec![folder.join("administrator.json"), folder.join("administrators.json")];
    for below in ["keys", "secrets"] {
        let entries = std::fs::read_dir(folder.join(below)).into_iter().flatten().flatten();
        secret.extend(entries.map(|entry| entry.path()));
    }
    for path in &secret {
        let mode = std::fs::symlink_metadata(path).map_or(0, |about| about.permissions().mode());
        if mode & 0o077 != 0 {
            wrong.push(path.display().to_string());
        }
    }
    checks.push(match wrong.is_empty() {
        true => Check::ok("keys and secrets", "readable by their owner alone"),
        false => {
            let says = format!("others can read {}", wrong.join(", "));
            Check::fail("keys and secrets", says, format!("chmod 600 {}", wrong.join(" ")))
        }
    });
    let certificate = folder.join("keys/authority.pem");
    if stored != Stored::ElsewhereWithKeys || certificate.exists() {
        checks.extend(authority(&certificate));
    }
    checks
}

/// Whether the hosted repository holds all of what serves.
fn hosted(folder: &Path) -> Option<Check> {
    let (name, place) = ("hosted repository", Hosted::place(folder));
    if !place.join("objects").is_dir() {
        return None;
    }
    match read_through(&place, None) {
        Ok(head) => {
            Some(Check::ok(name, format!("all of its newest commit is there ({})", head.get(..10).unwrap_or(&head))))
        }
        Err(GitError::NoCommit { .. }) => None,
        Err(error) => {
            let remedy = "a server that runs puts back what its mirror holds; what it cannot: docs/git.md";
            Some(Check::fail(name, error.to_string(), remedy))
        }
    }
}

/// Whether it holds all of its history, as far as that can be read within a moment.
fn hosted_history(folder: &Path) -> Option<Check> {
    let (name, place) = ("hosted history", Hosted::place(folder));
    if !place.join("objects").is_dir() {
        return None;
    }
    let fsck = || format!("git -C {} fsck", place.display());
    match read_history(&place, HISTORY_WITHIN) {
        Ok(Looked { commits: 0, all: true }) => None,
        Ok(Looked { commits, all: true }) => Some(Check::ok(name, format!("{} whole", are(commits)))),
        Ok(Looked { commits, all: false }) => {
            let says = format!(
                "the newest {} whole; older ones were not looked at within {} s, {} does",
                are(commits),
                HISTORY_WITHIN.as_secs(),
                fsck()
            );
            Some(Check::ok(name, says))
        }
        // Of the newest commit that is said already.
        Err(_) if read_through(&place, None).is_err() => None,
        Err(error) => {
            let remedy = "what serves is whole, and nobody can clone this: push it again from a clone, or start anew (docs/git.md)";
            Some(Check::warn(name, error.to_string(), remedy))
        }
    }
}

fn are(commits: usize) -> String {
    if commits == 1 { "1 commit is".to_owned() } else { format!("{commits} commits are") }
}

/// Whether git would run the hooks of the repository that people push to. Nothing is said where there is none, and could be one.
fn hooks(folder: &Path) -> Option<Check> {
    let repository = Hosted::place(folder);
    let hosted = repository.join("objects").is_dir();
    let place = if hosted { folder_of(&repository).unwrap_or(repository) } else { repository };
    let shown = place.display();
    let remedy = "mount it with exec (mount -o remount,exec MOUNTPOINT), or name another with --state-dir";
    match (is_noexec(&place), hosted) {
        (Ok(false), true) => Some(Check::ok("hooks", format!("git can run them in {shown}"))),
        (Ok(false), false) => None,
        (Ok(true), true) => {
            let says = format!("{shown} is mounted noexec: git leaves out the hooks that ask before a push is taken");
            Some(Check::fail("hooks", says, remedy))
        }
        (Ok(true), false) => {
            let says = format!("{} is mounted noexec: `serve --hosted` does not start there", folder.display());
            Some(Check::warn("hooks", says, remedy))
        }
        (Err(error), _) => Some(Check::warn("hooks", format!("{shown}: {error}"), "look at the folder and its owner")),
    }
}

/// The store, where it is a file of the state directory.
fn store(folder: &Path, pod: Option<&Pod>) -> Check {
    let elsewhere = StateDirectory(folder.to_owned()).store_elsewhere();
    let found = match crate::store::embedded::find(folder) {
        Ok(found) => found,
        Err(error) => return Check::fail("store", error.to_string(), "ask again as the user of the server"),
    };
    match (found, elsewhere) {
        (true, _) => match written_beside(folder) {
            Ok(()) => Check::ok("store", "there is one, and it can be written"),
            Err((path, error)) => {
                let says = format!("there is one, but {} cannot be written: {error}", path.display());
                Check::fail("store", says, who_writes(folder, &error))
            }
        },
        (false, Some(place)) => {
            let remedy = "ask again with --store kubernetes and its --store-namespace, as the server has them";
            Check::fail("store", format!("it is not here, but in {place}"), remedy)
        }
        (false, None) => {
            let lost = StateDirectory(folder.to_owned()).keys_of_a_site().is_ok_and(|keys| !keys.is_empty());
            let pod = pod.filter(|_| !lost);
            Check::fail("store", "there is none", Pod::makes_site(pod, crate::cli::failure::without_store(folder)))
        }
    }
}

/// Tries whether a server would write there: a new file beside the store, which is taken away again, and the store's own files, of
/// which nothing is changed. Which path it is that cannot be written, and why.
fn written_beside(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let tried = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tried).map_err(at(folder))?;
    let written = file.write_all(b"formwork doctor tries whether it can write here\n").and_then(|()| file.sync_all());
    let removed = std::fs::remove_file(&tried);
    written.and(removed).map_err(at(folder))?;
    for name in ["store.redb", "store.lock"] {
        let path = folder.join(name);
        match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// What to do where a server could not write. What is there can be read all the same.
fn who_writes(folder: &Path, error: &io::Error) -> String {
    let (shown, owner) = (folder.display(), std::fs::metadata(folder).map_or(0, |about| about.uid()));
    let first = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount it to be written (`mount -o remount,rw`; where the kernel made it read-only, `dmesg` says why)"
                .to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there".to_owned(),
        _ => {
            format!("run as the user that owns it (uid {owner}), or look whether it is immutable (`lsattr -d {shown}`)")
        }
    };
    format!("{first}; it can be read as it is: formwork store check --state-dir {shown}, and backup and dump likewise")
}

/// The site's authority: since when and until when its certificate is good.
fn authority(path: &Path) -> Option<Check> {
    let name = "authority";
    let text = match read_regular(path, FILE_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let says = format!("{} is not there", path.display());
            return Some(Check::fail(name, says, "bring it back with the store's backup: agents trust no other"));
        }
        Err(error) => return Some(Check::warn(name, error.to_string(), "run as the user that owns it")),
    };
    let now = crate::cli::time::now_unix_ms() / 1000;
    Some(match validity(&text) {
        Some((from, until)) => judge_validity(name, now, from, until),
        None => Check::fail(name, format!("{} holds no certificate", path.display()), "bring it back from the backup"),
    })
}

/// Unix seconds from and to which the first certificate of a PEM text is good.
pub(super) fn validity(pem: &[u8]) -> Option<(i64, i64)> {
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn of_days(days: i64) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

pub(super) fn judge_validity(name: &str, now: i64, from: i64, until: i64) -> Check {
    let days = until.saturating_sub(now) / 86_400;
    let renew = "every agent and administrator needs the new one: plan it";
    if now < from {
        return Check::fail(name, "its certificate is not good yet", "set this computer's clock");
    }
    if now >= until {
        return Check::fail(name, format!("its certificate ended {} ago", of_days(-days)), renew);
    }
    if until - now < SOON_SECONDS {
        return Check::warn(name, format!("its certificate ends in {}", of_days(days)), renew);
    }
    Check::ok(name, format!("its certificate is good for {} more", of_days(days)))
}

/// Content: readable, and what would be said of it.
pub(super) fn content(place: &Place) -> (Vec<Check>, Option<Catalog>) {
    // Of a repository elsewhere nothing is fetched: whether it can be reached is looked at with the sources.
    if place.repository().is_some_and(|(url, ..)| super::sources::is_elsewhere(url)) {
        return (Vec::new(), None);
    }
    match place.open() {
        Ok(None) => (Vec::new(), None),
        Ok(Some(offline)) => {
            let catalog = offline.catalog;
            let machines = count(catalog.machines().count(), "machine");
            let says = format!("revision {}: site {}, {machines}", catalog.revision, catalog.site);
            (vec![Check::ok("content", says)], Some(catalog))
        }
        Err(CliError::NotSo(message)) => {
            let last = message.lines().last().unwrap_or_default().to_owned();
            (vec![Check::fail("content", last, "formwork validate says what is wrong, and where")], None)
        }
        Err(error) => {
            let remedy = error.hint().unwrap_or("look at --dir or --repository").to_owned();
            (vec![Check::fail("content", error.to_string(), remedy)], None)
        }
    }
}

/// Images: loaders, what content boots, checksums.
pub(super) fn images(folder: &Path, catalog: Option<&Catalog>) -> Vec<Check> {
    let shown = folder.display();
    let opened = match Folder::open(folder) {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = "scripts/build-images makes one; or name another with --images";
            return vec![Check::fail("images", format!("{shown}: {error}"), remedy)];
        }
    };
    let mut checks = Vec::new();
    for (loader, whom) in FIRST_LOADERS {
        let name = format!("loader {loader}");
        let path = folder.join("loaders").join(loader);
        let remedy = format!(
            "put iPXE's {loader} to {}: scripts/build-images does, and Debian's package ipxe has it in /usr/lib/ipxe",
            path.display()
        );
        let looked = opened.file(&format!("loaders/{loader}")).map_err(|error| error.to_string()).and_then(|file| {
            let mut head = Vec::new();
            let read = file.file.take(super::loader::HEAD_BYTES).read_to_end(&mut head);
            read.map(|_| (file.length, head)).map_err(|error| error.to_string())
        });
        checks.push(match looked {
            Ok((length, head)) => match super::loader::wrong(loader, &head, length) {
                None => Check::ok(name, format!("{} KiB, for {whom}", length >> 10)),
                Some(what) => Check::fail(name, format!("{}: {what}, and {whom} start it", path.display()), remedy),
            },
            Err(error) => Check::fail(name, format!("{whom} get nothing: {error}"), remedy),
        });
    }
    let mut wanted: BTreeMap<String, Option<String>> = sums(folder);
    for environment in catalog.into_iter().flat_map(Catalog::boot_envs) {
        for spec in environment.architectures.values() {
            for FileSource { file, sha256, .. } in std::iter::once(&spec.kernel).chain(&spec.initrds) {
                if let Some(file) = file {
                    let known = wanted.entry(file.clone()).or_default();
                    *known = sha256.clone().or_else(|| known.take());
                }
            }
        }
    }
    let total = wanted.iter().filter(|(_, sum)| sum.is_some());
    let total = total.filter_map(|(file, _)| Some(opened.file(file).ok()?.length)).sum();
    let progress = Progress::new("checksums", Unit::Bytes, total);
    for (file, sum) in &wanted {
        checks.push(image(&opened, file, sum.as_deref(), &progress));
    }
    checks
}

/// What the sum files beside images say (`NAME.json` with `sha256` of `NAME.*`): file to sum.
fn sums(folder: &Path) -> BTreeMap<String, Option<String>> {
    let mut sums = BTreeMap::new();
    for entry in std::fs::read_dir(folder.join("images")).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json")) else { continue };
        let about: Option<serde_json::Value> =
            std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let sum = about.as_ref().and_then(|about| about.get("sha256")?.as_str());
        if let Some(sum) = sum {
            sums.insert(format!("images/{stem}.raw.zst"), Some(sum.to_owned()));
        }
    }
    sums
}

fn image(folder: &Folder, file: &str, sum: Option<&str>, progress: &Progress) -> Check {
    let name = format!("image {file}");
    let opened = match folder.file(file) {
        Ok(opened) => opened,
        Err(error) => {
            let remedy = "put it into the image folder, or take it out of content";
            return Check::fail(name, format!("content boots it: {error}"), remedy);
        }
    };
    let Some(sum) = sum else { return Check::ok(name, format!("{} KiB", opened.length >> 10)) };
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut reader = opened.file;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                context.update(buffer.get(..read).unwrap_or_default());
                progress.more(u64::try_from(read).unwrap_or(0));
            }
            Err(error) => return Check::fail(name, error.to_string(), "look at the disk"),
        }
    }
    let found: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(sum) {
        Check::ok(name, format!("{} KiB, its checksum is right", opened.length >> 10))
    } else {
        let remedy = "machines refuse it: build it anew, or mend the checksum";
        Check::fail(name, format!("its SHA-256 is {found}, not {sum}"), remedy)
    }
}
