//! Content without a server: a directory as it lies there, or a revision of a repository. What a machine did before is then not
//! known: it is looked at as one that never was seen.

use super::CliError;
use super::formats::Base;
use super::suggest;
use super::validate::read_directory;
use crate::catalog::{Catalog, MachineView, ServerInfo, builtin_packs, from_tree};
use crate::content::{Place as ContentPlace, Tree};
use crate::git::{GitError, History, Origins, read_once};
use crate::inspect::{Commit, Lacks, Subject, Trace};
use crate::journal::MachineState;
use crate::params::ClusterKeys;
use crate::workflow::{Question, Running, Trust};
use clap::Args;
use std::path::PathBuf;

/// Where content is read from in place of a server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Without a server")]
pub struct Place {
    /// Read this directory as it lies there, committed or not, in place of asking the server.
    // With all that asks for a repository: clap lets a `requires` go where what it wants conflicts with what is given.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["repository", "branch", "path", "revision"])]
    dir: Option<PathBuf>,
    /// Read a revision of this Git repository in place of asking the server.
    #[arg(long, value_name = "PATH")]
    repository: Option<PathBuf>,
    /// The branch; the repository's HEAD where not given.
    #[arg(long, requires = "repository")]
    branch: Option<String>,
    /// The site's folder inside the repository.
    #[arg(long, value_name = "FOLDER", requires = "repository")]
    path: Option<String>,
    /// A commit, tag or anything else that Git can resolve.
    #[arg(long, value_name = "REVISION", requires = "repository", conflicts_with = "branch")]
    revision: Option<String>,
}

/// What stands for the server where there is none.
pub fn server(site: &str) -> ServerInfo {
    ServerInfo { http: "http://SERVER:8080".to_owned(), https: "https://SERVER:8443".to_owned(), site: site.to_owned() }
}

/// Content that was read and compiled.
pub struct Offline {
    /// The revision.
    pub catalog: Catalog,
    origins: Origins,
}

impl Place {
    /// The repository with its branch and folder, as they were given; none: none was.
    pub(super) fn repository(&self) -> Option<(&str, Option<&String>, Option<&String>)> {
        Some((self.repository.as_deref()?.to_str()?, self.branch.as_ref(), self.path.as_ref()))
    }

    /// Reads what was asked for; `None`: the server is to be asked.
    ///
    /// # Errors
    /// It cannot be read, or would be refused.
    pub fn open(&self) -> Result<Option<Offline>, CliError> {
        if let Some(dir) = &self.dir {
            let mut tree = read_directory(dir).map_err(|(path, error)| CliError::Usage {
                message: format!("cannot read {}: {error}", path.display()),
                hint: Some("name the directory that has the site's site.yaml in it".to_owned()),
            })?;
            super::pack::lay_in_fetched(&mut tree);
            let catalog = compile(&tree, "work tree", &dir.display().to_string(), &Base::of(dir))?;
            return Ok(Some(Offline { catalog, origins: Origins::of_site(History::of_directory(dir), &tree) }));
        }
        let Some(path) = &self.repository else { return Ok(None) };
        let subpath = self.path.as_deref();
        let (revision, mut tree) =
            read_once(path, self.branch.as_deref(), subpath, self.revision.as_deref()).map_err(|error| {
                let hint = "restore it from a backup, or clone it anew from where it is whole";
                let hint = matches!(error, GitError::Damaged { .. }).then(|| hint.to_owned());
                CliError::Usage { message: error.to_string(), hint }
            })?;
        super::pack::lay_in_fetched(&mut tree);
        let catalog = compile(&tree, &revision.id, &path.display().to_string(), &Base::of_folder(subpath))?;
        let history = History::of_repository(path, &revision.id, subpath);
        Ok(Some(Offline { catalog, origins: Origins::of_site(history, &tree) }))
    }
}

pub(super) fn compile(tree: &Tree, revision: &str, shown: &str, base: &Base) -> Result<Catalog, CliError> {
    from_tree(tree, &builtin_packs(), revision).map_err(|mut findings| {
        base.name(&mut findings.0, tree);
        let from = base.shown().map(|base| format!("; paths are from {base}")).unwrap_or_default();
        let errors = findings.errors();
        let plural = if errors == 1 { "" } else { "s" };
        CliError::NotSo(format!("{findings}\n{errors} error{plural} in {shown}{from}"))
    })
}

impl Offline {
    /// The declared machine of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&self, name: &str) -> Result<&MachineView, CliError> {
        self.catalog.machine(name).ok_or_else(|| {
            let names = self.catalog.machines().map(|machine| machine.name.as_str());
            let hint = suggest::hint(name, names, "formwork validate");
            let rules = self.catalog.enrollments().count();
            let rules = if rules > 0 { "; what a rule takes in is known to the server only" } else { "" };
            CliError::NotFound {
                message: format!("no machine {name} is declared in {}", self.catalog.revision),
                hint: Some(format!("{hint}{rules}")),
            }
        })
    }

    /// Looks at a declared machine as one that was never seen.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn look<T>(&self, name: &str, show: impl FnOnce(&Subject<'_>) -> T) -> Result<T, CliError> {
        self.look_with(name, &MachineState::default(), show)
    }

    /// The same, with something known of it.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn look_with<T>(
        &self,
        name: &str,
        state: &MachineState,
        show: impl FnOnce(&Subject<'_>) -> T,
    ) -> Result<T, CliError> {
        let question = Question {
            machine: name,
            current: Some(&self.catalog),
            view: Some(self.machine(name)?),
            pinned: None,
            state,
            running: Running::Firmware,
            trust: Trust::New,
            now_unix_ms: super::time::now_unix_ms(),
        };
        Ok(show(&Subject { question, records: &[], clusters: &ClusterKeys::default(), lacks: Lacks::NOTHING }))
    }

    /// Who wrote a line.
    pub fn commit(&self, place: &ContentPlace) -> Option<Commit> {
        self.origins.find(place, true).1
    }

    /// Says of all that makes a machine where it is from, and who wrote it.
    pub fn tell(&self, trace: &mut Trace) {
        self.origins.tell(trace);
    }
}
