//! The hooks of a repository: two small scripts that start this program, which asks the server.

use super::standing::{self, Hooks};
use crate::git::GitError;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The hooks there are: before a branch moves, and after.
pub const HOOKS: [&str; 2] = ["pre-receive", "post-receive"];
/// The variable that says which push a hook belongs to.
pub(super) const CAPABILITY: &str = "FORMWORK_PUSH";
/// By this line a hook is known as ours.
const MARK: &str = "# A hook of formwork";

/// What a hook does when the server cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhenAway {
    /// It refuses the push.
    Refuse,
    /// It lets the push through with a warning; the server judges it when it is back.
    Accept,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The folder of hooks.
    pub folder: PathBuf,
}

/// The folder that git looks for a repository's hooks in, absolute.
///
/// # Errors
/// [`GitError`]: it is none, or cannot be read.
pub fn folder_of(repository: &Path) -> Result<PathBuf, GitError> {
    let fails = |message: String| GitError::Hooks { path: repository.to_owned(), message };
    let opened = crate::git::open(repository)?;
    let config = opened.config().map_err(|error| fails(error.message().to_owned()))?;
    // The repository's own word alone: the git that pushes may read another system's and home's configuration than we do.
    let own = config.open_level(git2::ConfigLevel::Local).and_then(|mut own| own.snapshot());
    let folder = match own.and_then(|own| own.get_path("core.hooksPath")) {
        Ok(path) => opened.path().join(path),
        Err(_) => opened.commondir().join("hooks"),
    };
    // Absolute, since git takes a relative one from where it runs.
    std::path::absolute(folder).map_err(|error| fails(error.to_string()))
}

/// The hooks as they are written.
pub(super) fn hooks(folder: PathBuf, program: &Path, arguments: &[String]) -> Hooks {
    Hooks { folder, texts: HOOKS.map(|hook| (hook, script(program, hook, arguments))).to_vec() }
}

/// Writes the hooks of a repository, and lets it take push options. `arguments` go behind `formwork hook run NAME`.
///
/// # Errors
/// [`GitError::Hooks`]: also where there is a hook of somebody else's and `replace` is not said.
pub fn install(repository: &Path, program: &Path, arguments: &[String], replace: bool) -> Result<Installed, GitError> {
    let fails = |message: String| GitError::Hooks { path: repository.to_owned(), message };
    let folder = folder_of(repository)?;
    // Before anything is written: there git would leave out what we write, without a word.
    match standing::is_noexec(&folder) {
        Ok(false) => {}
        Ok(true) => return Err(fails(standing::noexec(&folder))),
        Err(error) => return Err(fails(format!("its folder of hooks, {}: {error}", folder.display()))),
    }
    let opened = crate::git::open(repository)?;
    let mut config = opened.config().map_err(|error| fails(error.message().to_owned()))?;
    for hook in HOOKS {
        if let Ok(text) = std::fs::read_to_string(folder.join(hook))
            && !text.contains(MARK)
            && !replace
        {
            return Err(fails(format!(
                "it has a {hook} hook already; move that away, or say --replace (to run both, call ours from yours)"
            )));
        }
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| fails(format!("its folder of hooks, {}: {error}", folder.display())))?;
    for (hook, text) in hooks(folder.clone(), program, arguments).texts {
        write(&folder.join(hook), &text).map_err(|error| fails(format!("{hook}: {error}")))?;
    }
    let place = folder.to_string_lossy();
    config.set_str("core.hooksPath", &place).map_err(|error| fails(error.message().to_owned()))?;
    config.set_bool("receive.advertisePushOptions", true).map_err(|error| fails(error.message().to_owned()))?;
    Ok(Installed { folder })
}

fn script(program: &Path, hook: &str, arguments: &[String]) -> String {
    let arguments: String = arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
    format!(
        "#!/bin/sh\n{MARK}: it asks the server before a push is taken.\nexec {} hook run {hook}{arguments}\n",
        quoted(&program.to_string_lossy())
    )
}

/// One word for the shell, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A file of mode 0755: a new one, then renamed, so that a hook that runs is not written over.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if standing::is_good(path, text) {
        return Ok(());
    }
    let mut new = path.to_owned();
    new.as_mut_os_string().push(".new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(&new)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    drop(file);
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;
    use std::process::Command;

    #[test]
    fn a_script_gives_every_word_to_the_program_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("it's a program");
        write(&program, "#!/bin/sh\nfor word; do echo \"<$word>\"; done\n").unwrap();
        let hook = folder.path().join("hook");
        let arguments = ["--socket".to_owned(), "/a b/'$(id)'".to_owned()];
        write(&hook, &script(&program, "pre-receive", &arguments)).unwrap();
        let said = Command::new(&hook).output().unwrap();
        let expected = "<hook>\n<run>\n<pre-receive>\n<--socket>\n</a b/'$(id)'>\n";
        assert_eq!(String::from_utf8_lossy(&said.stdout), expected);
    }

    #[test]
    fn hooks_stand_where_the_git_that_is_pushed_to_looks_for_them() {
        for configured in [None, Some("own-hooks"), Some("/nowhere/at/all")] {
            let repository = TestRepository::new();
            if let Some(place) = configured {
                let place = if place.starts_with('/') {
                    repository.beside("elsewhere").display().to_string()
                } else {
                    place.to_owned()
                };
                repository.git_bare(&["config", "core.hooksPath", &place]);
            }
            let program = repository.beside("program");
            write(&program, "#!/bin/sh\necho no >&2\nexit 1\n").unwrap();
            let installed = install(&repository.bare(), &program, &[], false).unwrap();
            // A person's own configuration looks elsewhere: the repository's word is the last.
            let home = repository.beside("gitconfig");
            std::fs::write(&home, "[core]\n\thooksPath = /nowhere\n").unwrap();
            let looks = Command::new("git")
                .args(["rev-parse", "--path-format=absolute", "--git-path", "hooks"])
                .current_dir(repository.bare())
                .env("GIT_CONFIG_GLOBAL", &home)
                .output()
                .unwrap();
            let looks = String::from_utf8_lossy(&looks.stdout).trim().to_owned();
            assert_eq!(Path::new(&looks), installed.folder, "{configured:?}");
            repository.commit("one", &[("a", "1")]);
            let push = Command::new("git")
                .args(["push", "-q", "origin", "HEAD:main"])
                .current_dir(repository.work())
                .env("GIT_CONFIG_GLOBAL", &home)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&push.stderr);
            assert!(!push.status.success() && said.contains("pre-receive hook declined"), "{configured:?}: {said}");
        }
    }

    #[test]
    fn nothing_is_written_where_git_would_leave_hooks_out() {
        if !standing::is_noexec(Path::new("/proc")).unwrap() {
            println!("SKIPPED: /proc is not mounted noexec");
            return;
        }
        let repository = TestRepository::new();
        repository.git_bare(&["config", "core.hooksPath", "/proc/hooks"]);
        let before = std::fs::read_to_string(repository.bare().join("config")).unwrap();
        let error = install(&repository.bare(), Path::new("/bin/one"), &[], true).unwrap_err().to_string();
        assert!(error.contains("/proc/hooks") && error.contains("noexec") && error.contains("remount,exec"), "{error}");
        assert_eq!(std::fs::read_to_string(repository.bare().join("config")).unwrap(), before);
    }

    #[test]
    fn a_hook_of_somebody_else_is_left_alone_and_ours_is_written_anew() {
        let repository = TestRepository::new();
        let hook = repository.bare().join("hooks/pre-receive");
        std::fs::create_dir_all(repository.bare().join("hooks")).unwrap();
        std::fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
        let put = |program: &str, replace| install(&repository.bare(), Path::new(program), &[], replace);
        assert!(put("/bin/one", false).unwrap_err().to_string().contains("--replace"));
        assert_eq!(std::fs::read_to_string(&hook).unwrap(), "#!/bin/sh\nexit 0\n");
        put("/bin/one", true).unwrap();
        put("/bin/two", false).unwrap();
        assert!(std::fs::read_to_string(&hook).unwrap().contains("'/bin/two' hook run pre-receive"));
        assert_eq!(repository.git_bare(&["config", "receive.advertisePushOptions"]), "true");
    }
}
