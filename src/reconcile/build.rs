//! How the files of a revision become the catalog that serves.

use super::{Build, Built, Census, SiteName};
use crate::catalog::{Catalog, Compiler, builtin_packs, from_tree_until};
use crate::content::sops::Keys;
use crate::content::{Findings, Stop, Tree};
use std::sync::{Arc, Mutex, PoisonError};

/// What opens encrypted files now: others may take its place while revisions are built.
#[derive(Default)]
pub struct KeysInForce(Mutex<(u64, Keys)>);

impl KeysInForce {
    /// These do.
    pub fn new(keys: Keys) -> Self {
        Self(Mutex::new((0, keys)))
    }

    /// These do from the next build on.
    pub fn replace(&self, keys: Keys) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = (held.0.wrapping_add(1), keys);
    }

    /// How often they were replaced.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> u64 {
        self.now().0
    }

    /// Which do, and how often they were replaced.
    fn now(&self) -> (u64, Keys) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Loads and compiles with the packs that come with this program; what a revision has in common with the one before costs
/// nothing. `keys` open encrypted files.
pub fn catalogs(keys: Keys) -> Arc<Build<Catalog>> {
    catalogs_by(Arc::new(KeysInForce::new(keys)))
}

/// The same, by keys that may be replaced. What was remembered of files that the keys before opened, or did not, goes with them.
pub fn catalogs_by(keys: Arc<KeysInForce>) -> Arc<Build<Catalog>> {
    let (generation, first) = keys.now();
    let compiler = Mutex::new((generation, Compiler::new(builtin_packs(), first)));
    // What is remembered is whole at every moment, also after a panic.
    Arc::new(move |tree, revision, stop| {
        let mut held = compiler.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, now) = keys.now();
        if held.0 != generation {
            *held = (generation, Compiler::new(builtin_packs(), now));
        }
        build(&mut held.1, tree, revision, stop)
    })
}

/// The same without keys, and with nothing remembered between two: what a schema says of a secret would tell of it.
pub fn sealed_catalogs() -> Arc<Build<Catalog>> {
    let builtin = builtin_packs();
    Arc::new(move |tree, revision, stop| built(from_tree_until(tree, &builtin, revision, stop)))
}

fn build(compiler: &mut Compiler, tree: &Tree, revision: &str, stop: &Stop) -> Result<Built<Catalog>, Vec<String>> {
    let answer = compiler.compile_until(tree, revision, stop);
    let work = compiler.work();
    tracing::debug!(
        revision,
        parsed = work.files_parsed,
        files = work.files,
        compiled = work.machines_compiled,
        machines = work.machines,
        "revision compiled"
    );
    built(answer)
}

fn built(answer: Result<Catalog, Findings>) -> Result<Built<Catalog>, Vec<String>> {
    let shown = |findings: &Findings| findings.0.iter().map(ToString::to_string).collect();
    let catalog = answer.map_err(|findings| shown(&findings))?;
    let machines = catalog.machines().count();
    // What a site declares by itself; a pack's tasks and stages are there whatever becomes of it.
    let others = catalog.enrollments().count() + catalog.subnets().count() + catalog.cluster_profiles().count();
    let warnings = shown(&catalog.warnings);
    let site = SiteName {
        name: catalog.site.clone(),
        place: catalog.site_place().map_or_else(|| "site.yaml:1:1".to_owned(), |place| place.to_string()),
    };
    let census = Census { machines, objects: machines + others };
    Ok(Built { catalog: Arc::new(catalog), census, site, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sops::Identities;
    use crate::content::{File, FileKind};

    // A schema is an oracle: by what it says of a value that it is shown, a value is found out.
    #[test]
    fn without_keys_no_schema_says_anything_of_what_is_encrypted() {
        let param = |schema: &str| {
            format!(
                "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {{name: lab}}\nspec: {{}}\n---\n\
                 apiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {{name: password}}\nspec: {{schema: {schema}}}\n"
            )
        };
        let tree = |schema: &str| {
            let mut tree = Tree::default();
            let encrypted = include_str!("../content/sops/fixture/partial.yaml").to_owned();
            for (path, text) in [("site.yaml", param(schema)), ("profiles/database.yaml", encrypted)] {
                let file = File { bytes: Arc::from(text.as_bytes()), kind: FileKind::Regular, blob: None };
                tree.files.insert(path.to_owned(), file);
            }
            tree
        };
        let identities = Identities::parse(include_str!("../content/sops/fixture/identity.txt")).unwrap();
        let (known, sealed) = (catalogs(Keys::Known(Arc::new(identities))), sealed_catalogs());
        let said = |build: &Build<Catalog>, schema: &str| match build(&tree(schema), "r", &Stop::default()) {
            Ok(built) => built.warnings.join("\n"),
            Err(findings) => findings.join("\n"),
        };
        let (right, wrong) = ("{type: string, pattern: '^c'}", "{type: string, pattern: '^x'}");
        let place = "profiles/database.yaml:";
        assert!(said(known.as_ref(), wrong) != said(known.as_ref(), right), "with keys the value is looked at");
        assert!(said(known.as_ref(), wrong).contains(place), "{}", said(known.as_ref(), wrong));
        assert_eq!(said(sealed.as_ref(), wrong), said(sealed.as_ref(), right));
    }

    #[test]
    fn other_keys_open_what_was_refused_before_and_the_other_way_round() {
        let site = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nspec: {}\n";
        let encrypted = include_str!("../content/sops/fixture/partial.yaml");
        let param =
            "---\napiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {name: password}\nspec: {schema: {}}\n";
        let site = format!("{site}{param}");
        let tree = Tree::from_texts([("site.yaml", site.as_str()), ("profiles/database.yaml", encrypted)]);
        let keys = Arc::new(KeysInForce::new(Keys::Known(Arc::new(Identities::none()))));
        let build = catalogs_by(Arc::clone(&keys));
        let opens = || match build(&tree, "r", &Stop::default()) {
            Ok(_) => true,
            Err(findings) => {
                assert!(findings.iter().all(|it| it.starts_with("profiles/database.yaml:")), "{findings:?}");
                false
            }
        };
        assert!(!opens());
        let right = Identities::parse(include_str!("../content/sops/fixture/identity.txt")).unwrap();
        keys.replace(Keys::Known(Arc::new(right)));
        assert!(opens() && opens());
        keys.replace(Keys::Known(Arc::new(Identities::none())));
        assert!(!opens(), "nothing of what was opened is remembered");
    }

    #[test]
    fn what_nobody_waits_for_is_left_off_and_leaves_the_next_one_whole() {
        let machine = |number: usize| {
            let text = format!(
                "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: n{number}}}\n\
                 spec: {{match: {{macs: ['52:54:00:00:00:{number:02x}']}}}}\n"
            );
            (format!("machines/n{number}.yaml"), text)
        };
        let site = (
            "site.yaml".to_owned(),
            "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n".to_owned(),
        );
        let mut tree = Tree::default();
        for (path, text) in (1..=20).map(machine).chain([site]) {
            let file = File { bytes: Arc::from(text.as_bytes()), kind: FileKind::Regular, blob: None };
            tree.files.insert(path, file);
        }
        for build in [catalogs(Keys::Unknown), sealed_catalogs()] {
            let stop = Stop::default();
            drop(stop.on_drop());
            let findings = build(&tree, "r", &stop).expect_err("left off");
            assert!(findings.iter().any(|finding| finding.contains("nobody waited any longer")), "{findings:?}");
            let built = build(&tree, "r", &Stop::default()).expect("whole");
            assert_eq!(built.census.machines, 20);
        }
    }
}
