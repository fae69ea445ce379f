//! Where the agent keeps things on the machine, and how it writes them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder for what must not outlive a boot, where the command line names none. A tmpfs: memory.
pub const RUN_DIR: &str = "/run/formwork";
/// The folder for what must outlive a boot of an installed system, where the command line names none.
pub const STATE_DIR: &str = "/var/lib/formwork-agent";

/// The agent's folders.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Gone with the boot: socket, logs not sent yet, the running job's record.
    pub run_dir: PathBuf,
}

impl Layout {
    /// Makes the folders, readable by their owner only.
    pub fn create(run_dir: &Path) -> io::Result<Self> {
        let layout = Self { run_dir: run_dir.to_owned() };
        for dir in [run_dir.to_owned(), layout.bin_dir(), layout.jobs_dir()] {
            private_dir(&dir)?;
        }
        Ok(layout)
    }

    /// Holds `formwork`, a link to this program: the first folder of every script's `PATH`.
    pub fn bin_dir(&self) -> PathBuf {
        self.run_dir.join("bin")
    }

    /// The socket scripts speak to.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// What runs now, for an agent that is started after this one was killed.
    pub fn running(&self) -> PathBuf {
        self.run_dir.join("running.json")
    }

    /// Folders of jobs.
    pub fn jobs_dir(&self) -> PathBuf {
        self.run_dir.join("jobs")
    }

    /// The folder of one job: its log and its working folder.
    pub fn job_dir(&self, job: &str) -> PathBuf {
        // Job ids are the server's: what is not plainly a file's name is spelt in hexadecimal.
        let plain = !job.is_empty()
            && job.len() <= 100
            && !job.starts_with('.')
            && job.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let name = if plain {
            job.to_owned()
        } else {
            let digest = ring::digest::digest(&ring::digest::SHA256, job.as_bytes());
            format!("x{}", super::transport::hex(digest.as_ref()))
        };
        self.jobs_dir().join(name)
    }

    /// Puts `formwork` on the path of scripts.
    pub fn link_program(&self) -> io::Result<()> {
        let program = std::env::current_exe()?;
        let link = self.bin_dir().join("formwork");
        if std::fs::read_link(&link).is_ok_and(|target| target == program) {
            return Ok(());
        }
        let fresh = self.bin_dir().join(".formwork.new");
        let _ = std::fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&program, &fresh)?;
        std::fs::rename(&fresh, &link)
    }
}

/// Makes a folder of mode 0700, or makes one that is there so.
pub fn private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).recursive(true).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}

/// Writes a file whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other(format!("{} names no file", path.display())))?;
    let temporary = folder.join(format!(".{}.formwork-new", name.to_string_lossy()));
    let _ = std::fs::remove_file(&temporary);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The mode at creation is cut by the umask.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // Not every filesystem can sync a folder; the rename is done all the same.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_never_leaves_the_jobs_folder() {
        let layout = Layout { run_dir: "/run/formwork".into() };
        assert_eq!(layout.job_dir("run-1.stage.2"), Path::new("/run/formwork/jobs/run-1.stage.2"));
        for odd in ["../../etc", "a/b", "", ".", "..", "ü", &"x".repeat(101)] {
            let dir = layout.job_dir(odd);
            assert_eq!(dir.parent(), Some(Path::new("/run/formwork/jobs")), "{odd}");
            assert_eq!(dir.file_name().map(|n| n.len()), Some(65), "{odd}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&path, b"one", 0o644).unwrap();
        write_atomically(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
