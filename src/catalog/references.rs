//! What a name means: inside a pack its own objects first, then the exact name; from the site also a short name that only one
//! pack has.

use crate::content::names::nearest;
use crate::content::{Kind, Loaded, Report, Spot};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// All names of a revision.
#[derive(Debug, Default)]
pub(super) struct References {
    names: HashMap<Kind, BTreeSet<Arc<str>>>,
    /// Short name to qualified names, over all packs.
    short: HashMap<Kind, HashMap<String, Vec<Arc<str>>>>,
    broken: HashSet<(Kind, Arc<str>)>,
    requires: BTreeMap<Arc<str>, HashSet<String>>,
    packs: HashSet<Arc<str>>,
    /// Something could not be read: an unknown name may be in it.
    incomplete: bool,
}

/// What a reference came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This object.
    Sound(Arc<str>),
    /// An object with findings of its own, or nothing (which was reported).
    Hole,
}

/// So many names that there are, are told beside one that there is not.
const KNOWN_SHOWN: usize = 12;

/// Where a reference leads, before it is known whether that is sound.
enum Look<'a> {
    /// To the object of that name, or the pack's own.
    Exact(Kind, Arc<str>),
    /// To the only pack's object of that short name.
    Only(Kind, Arc<str>),
    /// To several packs' objects.
    Several(&'a [Arc<str>]),
    /// Nowhere.
    Nothing,
}

impl Found {
    pub(super) fn sound(self) -> Option<Arc<str>> {
        match self {
            Self::Sound(name) => Some(name),
            Self::Hole => None,
        }
    }
}

impl References {
    pub(super) fn new(loaded: &Loaded) -> Self {
        let mut references = Self {
            broken: loaded.broken.clone(),
            incomplete: loaded.site.is_none() || !loaded.broken_packs.is_empty(),
            ..Self::default()
        };
        for pack in &loaded.packs {
            references.packs.insert(Arc::clone(&pack.name));
            references.requires.insert(Arc::clone(&pack.name), pack.object.spec.requires.iter().cloned().collect());
        }
        macro_rules! names {
            ($($kind:ident: $list:ident),* $(,)?) => {
                $(references.add(Kind::$kind, loaded.$list.iter().map(|object| &object.name));)*
            };
        }
        // Nothing refers to a machine.
        names! {
            Enrollment: enrollments, Subnet: subnets, Profile: profiles, Param: params,
            ClusterProfile: cluster_profiles, Task: tasks, Stage: stages, Workflow: workflows, BootEnv: boot_envs,
            Template: templates,
        }
        for (kind, name) in &loaded.broken {
            references.add(*kind, std::iter::once(name));
        }
        references
    }

    fn add<'a>(&mut self, kind: Kind, names: impl Iterator<Item = &'a Arc<str>>) {
        let known = self.names.entry(kind).or_default();
        let short = self.short.entry(kind).or_default();
        for name in names {
            if !known.insert(Arc::clone(name)) {
                continue;
            }
            if let (true, Some((_, after))) = (kind.is_qualified(), name.split_once('.')) {
                short.entry(after.to_owned()).or_default().push(Arc::clone(name));
            }
        }
    }

    fn known(&self, kind: Kind, name: &str) -> Option<Arc<str>> {
        self.names.get(&kind)?.get(name).cloned()
    }

    /// What a reference of one kind means; what is wrong with it is reported at its spot.
    pub(super) fn resolve(
        &self,
        kind: Kind,
        from: Option<&Arc<str>>,
        written: &str,
        spot: Spot<'_>,
        report: &mut Report,
    ) -> Found {
        self.resolve_any(&[kind], from, written, spot, report)
    }

    /// The same where objects of several kinds may be meant, the first kind first.
    pub(super) fn resolve_any(
        &self,
        kinds: &[Kind],
        from: Option<&Arc<str>>,
        written: &str,
        spot: Spot<'_>,
        report: &mut Report,
    ) -> Found {
        match self.look(kinds, from, written) {
            Look::Exact(kind, name) => {
                self.check_required(from, &name, kind, spot, report);
                return self.found(kind, name);
            }
            Look::Only(kind, name) => return self.found(kind, name),
            Look::Several(several) => {
                let mut names: Vec<&str> = several.iter().map(AsRef::as_ref).collect();
                names.sort_unstable();
                report
                    .error("ambiguous", spot, format!("`{written}` could be any of {}", names.join(", ")))
                    .hint("write the pack's name before it");
                return Found::Hole;
            }
            Look::Nothing => {}
        }
        if !self.incomplete {
            let what = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
            report
                .error("unknown-reference", spot, format!("there is no {what} `{written}`"))
                .hint_if(self.suggestion(kinds, from, written));
        }
        Found::Hole
    }

    /// What a reference means, if there is nothing to say about it.
    pub(super) fn sound(&self, kinds: &[Kind], from: Option<&Arc<str>>, written: &str) -> Option<(Kind, Arc<str>)> {
        match self.look(kinds, from, written) {
            Look::Exact(kind, name) | Look::Only(kind, name) => {
                self.found(kind, Arc::clone(&name)).sound().map(|name| (kind, name))
            }
            Look::Several(_) | Look::Nothing => None,
        }
    }

    fn look(&self, kinds: &[Kind], from: Option<&Arc<str>>, written: &str) -> Look<'_> {
        for kind in kinds {
            let own = from.and_then(|pack| self.known(*kind, &format!("{pack}.{written}")));
            if let Some(name) = own.or_else(|| self.known(*kind, written)) {
                return Look::Exact(*kind, name);
            }
        }
        if from.is_none() {
            for kind in kinds {
                let candidates =
                    self.short.get(kind).and_then(|short| short.get(written)).map_or(&[][..], Vec::as_slice);
                match candidates {
                    [] => {}
                    [only] => return Look::Only(*kind, Arc::clone(only)),
                    several => return Look::Several(several),
                }
            }
        }
        Look::Nothing
    }

    fn found(&self, kind: Kind, name: Arc<str>) -> Found {
        if self.broken.contains(&(kind, Arc::clone(&name))) { Found::Hole } else { Found::Sound(name) }
    }

    fn check_required(&self, from: Option<&Arc<str>>, name: &str, kind: Kind, spot: Spot<'_>, report: &mut Report) {
        let (Some(from), true, Some((pack, _))) = (from, kind.is_qualified(), name.split_once('.')) else { return };
        let named = pack == &**from || self.requires.get(from).is_some_and(|requires| requires.contains(pack));
        if !named && self.packs.contains(pack) {
            report
                .error(
                    "not-required",
                    spot,
                    format!("pack `{from}` refers to `{name}` but does not require pack `{pack}`"),
                )
                .hint(format!("add `{pack}` to spec.requires of its pack.yaml"));
        }
    }

    fn suggestion(&self, kinds: &[Kind], from: Option<&Arc<str>>, written: &str) -> Option<String> {
        if let Some((pack, _)) = written.split_once('.')
            && !self.packs.contains(pack)
            && super::packs::is_builtin(pack)
        {
            return Some(format!(
                "the pack `{pack}` is not in use: add `- builtin: {pack}` to spec.packs of site.yaml"
            ));
        }
        let names = || kinds.iter().filter_map(|kind| self.names.get(kind)).flatten().map(AsRef::as_ref);
        let prefix = from.map(|pack| format!("{pack}."));
        let own =
            names().filter_map(|name| prefix.as_ref().map_or(Some(name), |prefix| name.strip_prefix(prefix.as_str())));
        if let Some(near) = nearest(written, own) {
            return Some(format!("did you mean `{near}`?"));
        }
        let last = written.rsplit('.').next().unwrap_or(written);
        let same = names().find(|name| name.split_once('.').is_some_and(|(_, short)| nearest(last, [short]).is_some()));
        same.map(|name| format!("did you mean `{name}`?")).or_else(|| {
            let kind = kinds.first()?;
            let mut known: Vec<&str> = names().collect();
            known.sort_unstable();
            known.dedup();
            Some(match known.len() {
                0 => format!("none is declared: `kind: {kind}` with `metadata: {{name: {written}}}` would be it"),
                1..=KNOWN_SHOWN => format!("known here: {}", known.join(", ")),
                _ => format!("declare it: `kind: {kind}` with `metadata: {{name: {written}}}`"),
            })
        })
    }
}
