//! A repository to commit to, with people who sign.

use formwork::git::Verifier;
use formwork::trust::Policy;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a work tree `work`, a bare repository `site.git`, keys and a policy.
pub struct Repository {
    folder: tempfile::TempDir,
}

/// Who signs.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// Nobody.
    Nobody,
    /// An SSH key of that name.
    Ssh(&'a str),
    /// An OpenPGP key of that address.
    OpenPgp(&'a str),
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Repository {
    pub fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        run(Command::new("git").args(["init", "-q", "--bare", "-b", "main", "site.git"]).current_dir(this.root()));
        run(Command::new("git").args(["init", "-q", "-b", "main", "work"]).current_dir(this.root()));
        this.git(&["remote", "add", "origin", "../site.git"]);
        std::fs::create_dir(this.root().join("gnupg")).unwrap();
        std::fs::set_permissions(this.root().join("gnupg"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .unwrap();
        this
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn bare(&self) -> PathBuf {
        self.root().join("site.git")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Any git command in the work tree.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_by(By::Nobody, arguments)
    }

    /// The same, signed.
    pub fn git_by(&self, by: By<'_>, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .current_dir(self.root().join("work"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GNUPGHOME", self.root().join("gnupg"))
            .args(["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "merge.renames=false"]);
        match by {
            By::Nobody => {}
            By::Ssh(key) => {
                let key = self.root().join(key);
                command.args(["-c", "gpg.format=ssh", "-c", "commit.gpgSign=true", "-c", "tag.gpgSign=true"]);
                command.arg("-c").arg(format!("user.signingKey={}", key.display()));
            }
            By::OpenPgp(address) => {
                command.args(["-c", "commit.gpgSign=true", "-c", "tag.gpgSign=true"]);
                command.arg("-c").arg(format!("user.signingKey={address}"));
            }
        }
        let output = run(command.args(arguments));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files and commits them.
    pub fn commit(&self, by: By<'_>, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            self.write(&format!("work/{path}"), text);
        }
        self.git(&["add", "-A"]);
        self.git_by(by, &["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn push(&self) {
        self.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    }

    /// Makes an SSH key, and gives its line without principals.
    pub fn ssh_key(&self, name: &str) -> String {
        run(Command::new("ssh-keygen")
            .current_dir(self.root())
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]));
        std::fs::read_to_string(self.root().join(format!("{name}.pub"))).unwrap()
    }

    pub fn gpg(&self, arguments: &[&str]) -> String {
        let home = self.root().join("gnupg");
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(home).args([
            "--batch",
            "--quiet",
            "--yes",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]);
        String::from_utf8_lossy(&run(command.args(arguments)).stdout).into_owned()
    }

    /// Makes an OpenPGP key.
    pub fn openpgp_key(&self, address: &str) {
        self.gpg(&["--quick-gen-key", address, "ed25519", "sign", "never"]);
    }

    /// Its public half, as it is now, in a file.
    pub fn export(&self, address: &str, file: &str) {
        let armored = self.gpg(&["--armor", "--export", address]);
        self.write(file, &armored);
    }

    /// The policy in `trust.yaml`, beside the repository.
    pub fn verifier(&self, policy: &str) -> Verifier {
        let open = |name: &str| std::fs::read(self.root().join(name)).map_err(|error| error.to_string());
        let policy = Policy::read("trust.yaml", policy.as_bytes(), &jiff::tz::TimeZone::UTC, &open).unwrap();
        Verifier::new(policy, &self.root().join("signers")).unwrap()
    }

    /// Whether the work tree's commit may follow another: who signed, or the findings.
    pub fn verify(&self, verifier: &Verifier, last: Option<&str>) -> Result<Vec<String>, String> {
        let repository = git2::Repository::open(self.root().join("work")).unwrap();
        let answer = verifier.verify(&repository, None, last, &self.head()).unwrap();
        answer
            .map(|signed| signed.0.into_iter().flat_map(|signer| signer.principals).collect())
            .map_err(|findings| findings.iter().map(|finding| format!("{finding}\n")).collect())
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        // The agent that gpg started for its keys.
        let _ =
            Command::new("gpgconf").arg("--homedir").arg(self.root().join("gnupg")).args(["--kill", "all"]).output();
    }
}
