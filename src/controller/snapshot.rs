//! From resources of the namespace to the files of a site, and what is said of a change. Pure.

use super::{GROUP, MANAGED_BY, MANAGED_LABEL, VERSION};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So many objects are named in the message of a commit, and so many writers.
const NAMED_MAX: usize = 10;
/// The source of a machine that content declares, in its status.
const DECLARED: &str = "git";
/// The kind of which a rule makes some, too.
const MACHINE: &str = "Machine";
/// The kind that is the root of the files.
const SITE: &str = "Site";

/// The kinds of content that are read from resources: kind and plural.
pub(super) const KINDS: [(&str, &str); 12] = [
    (SITE, "sites"),
    ("Subnet", "subnets"),
    ("Machine", "machines"),
    ("Enrollment", "enrollments"),
    ("Profile", "profiles"),
    ("Param", "params"),
    ("ClusterProfile", "clusterprofiles"),
    ("Task", "tasks"),
    ("Stage", "stages"),
    ("Workflow", "workflows"),
    ("BootEnv", "bootenvs"),
    ("Template", "templates"),
];

/// An object that says something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resource {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub spec: Value,
    /// Who wrote it, by its field managers.
    pub writers: BTreeSet<String>,
    pub version: Option<String>,
    /// It is on its way out, or a mirror wrote it: it says nothing.
    pub mute: bool,
    /// The site whose mirror wrote it, where one did.
    pub mirror_of: Option<String>,
    /// Who says that there is such a machine, by its status.
    pub source: Option<String>,
}

impl Resource {
    /// Reads it.
    pub fn read(object: DynamicObject) -> Self {
        let (metadata, mut data) = (object.metadata, object.data);
        let labels = metadata.labels.unwrap_or_default();
        let of_site = labels.get(&format!("{GROUP}/site"));
        let mirror_of = of_site.filter(|_| labels.get(MANAGED_LABEL).is_some_and(|by| by == MANAGED_BY)).cloned();
        let mirrored = mirror_of.is_some();
        let source = data["status"]["source"].as_str().map(str::to_owned);
        let managers = metadata.managed_fields.unwrap_or_default().into_iter();
        Self {
            name: metadata.name.unwrap_or_default(),
            labels,
            spec: data["spec"].take(),
            // A status is no word of theirs.
            writers: managers.filter(|it| it.subresource.is_none()).filter_map(|it| it.manager).collect(),
            version: metadata.resource_version,
            mute: mirrored || metadata.deletion_timestamp.is_some(),
            mirror_of: mirror_of.filter(|_| metadata.deletion_timestamp.is_none()),
            source,
        }
    }

    fn file(&self, kind: &str) -> Result<String, String> {
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": kind,
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": self.spec,
        });
        serde_yaml::to_string(&object)
            .map_err(|error| format!("{kind}/{} cannot be written as YAML: {error}", self.name))
    }
}

/// The files of a site, by path: `machines/node-1.yaml`.
pub(super) type Files = BTreeMap<String, String>;

/// What they are as files. `site`: the name of the site, which has no packs where no Site says so.
///
/// # Errors
/// Why they are no content, in a sentence.
pub(super) fn files<'a>(
    site: &str,
    resources: impl IntoIterator<Item = (usize, &'a Resource)>,
) -> Result<Files, String> {
    let (mut files, mut sites) = (Files::new(), Vec::new());
    for (index, resource) in resources.into_iter().filter(|(_, resource)| !resource.mute) {
        let Some((kind, plural)) = KINDS.get(index) else { continue };
        if *kind == SITE {
            sites.push(resource);
        } else {
            files.insert(format!("{plural}/{}.yaml", resource.name), resource.file(kind)?);
        }
    }
    let root = match sites[..] {
        [one] => one.file(SITE)?,
        [] => {
            let spec = json!({"packs": []});
            let (labels, writers) = (BTreeMap::new(), BTreeSet::new());
            let name = site.to_owned();
            Resource { name, labels, spec, writers, version: None, mute: false, mirror_of: None, source: None }
                .file(SITE)?
        }
        _ => {
            let names: Vec<&str> = sites.iter().take(NAMED_MAX).map(|site| site.name.as_str()).collect();
            return Err(format!(
                "there are {} Sites in the namespace ({}), and it is one site's: delete the others",
                sites.len(),
                names.join(", ")
            ));
        }
    };
    files.insert("site.yaml".to_owned(), root);
    Ok(files)
}

/// Why resources are no revision yet: some that the mirror of this site wrote have its label still. Each whose label goes would be a
/// revision of its own, without those that have it: machines would leave one by one.
pub(super) fn waits_for<'a>(site: &str, resources: impl IntoIterator<Item = (usize, &'a Resource)>) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    let mut count = 0_usize;
    for (index, resource) in resources {
        let Some((kind, _)) = KINDS.get(index) else { continue };
        // Machines that a rule let in stay in the mirror, and are not read.
        let is_declared = *kind != MACHINE || resource.source.as_deref() == Some(DECLARED);
        if !is_declared || resource.mirror_of.as_deref() != Some(site) {
            continue;
        }
        count += 1;
        if names.len() < NAMED_MAX {
            names.push(format!("{kind}/{}", resource.name));
        }
    }
    let are = match count {
        0 => return None,
        1 => "1 object is".to_owned(),
        many => format!("{many} objects are"),
    };
    if count > NAMED_MAX {
        names.push(format!("{} more", count - NAMED_MAX));
    }
    Some(format!(
        "{are} still in the mirror of what was followed before ({}), and nothing new is applied before none is, so that one whole \
         revision comes: take the label off those that are to be content (kubectl label KIND NAME {GROUP}/site-), and delete the others",
        names.join(", ")
    ))
}

/// The message of a commit by which the files became others. `writers`: who wrote what is in a file, by path.
pub(super) fn message(before: &Files, after: &Files, writers: &BTreeMap<String, BTreeSet<String>>) -> String {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed: Vec<&String> = paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).collect();
    let word = |path: &&String| {
        let path = path.as_str();
        let name = path.strip_suffix(".yaml").unwrap_or(path);
        let verb = if after.contains_key(path) { "" } else { "no more " };
        format!("{verb}{name}")
    };
    let mut text: Vec<String> = changed.iter().take(NAMED_MAX).map(word).collect();
    if let Some(more) = changed.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        text.push(format!("{more} more"));
    }
    let by: BTreeSet<&String> = changed.iter().filter_map(|path| writers.get(*path)).flatten().collect();
    // A manager is a word that somebody else chose: it never begins a line, nor ends one.
    let by: Vec<String> = by.into_iter().take(NAMED_MAX).map(|name| name.replace(char::is_control, " ")).collect();
    let by = if by.is_empty() { String::new() } else { format!("\n\nApplied-By: {}", by.join(", ")) };
    format!("Resources: {}{by}\n", text.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, spec: Value, more: &Value) -> Resource {
        let mut object = json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": spec});
        for (key, value) in more.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        Resource::read(serde_json::from_value(object).unwrap())
    }

    fn index(kind: &str) -> usize {
        KINDS.iter().position(|(name, _)| *name == kind).unwrap()
    }

    #[test]
    fn resources_become_the_files_of_a_site_and_mirrors_and_what_is_going_do_not() {
        let none = json!({});
        let spec = json!({"match": {"serial": "x"}});
        let mirror = json!({"labels": {"app.kubernetes.io/managed-by": "formwork", "formwork.dev/site": "lab"}});
        let helm = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}});
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let site = || (SITE, resource("lab", json!({"packs": [{"builtin": "discovery"}]}), &none));
        for (what, resources, paths) in [
            ("nothing", vec![], Ok(vec!["site.yaml"])),
            ("a site", vec![site()], Ok(vec!["site.yaml"])),
            (
                "one by hand",
                vec![("Machine", resource("a", spec.clone(), &none)), ("Profile", resource("p", json!({}), &none))],
                Ok(vec!["machines/a.yaml", "profiles/p.yaml", "site.yaml"]),
            ),
            (
                "of a chart",
                vec![("Machine", resource("a", spec.clone(), &helm))],
                Ok(vec!["machines/a.yaml", "site.yaml"]),
            ),
            ("a mirror", vec![("Machine", resource("a", spec.clone(), &mirror))], Ok(vec!["site.yaml"])),
            ("going", vec![("Machine", resource("a", spec.clone(), &going))], Ok(vec!["site.yaml"])),
            ("two sites", vec![site(), (SITE, resource("x", json!({}), &none))], Err("there are 2 Sites")),
        ] {
            let all: Vec<(usize, Resource)> = resources.into_iter().map(|(kind, it)| (index(kind), it)).collect();
            let made = files("lab", all.iter().map(|(kind, it)| (*kind, it)));
            match (made, paths) {
                (Ok(files), Ok(paths)) => assert_eq!(files.keys().collect::<Vec<_>>(), paths, "{what}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{what}: {why}"),
                (made, _) => panic!("{what}: {made:?}"),
            }
        }
        let made = files("lab", [(index("Machine"), &resource("a", spec, &json!({"labels": {"rack": "1"}})))]).unwrap();
        assert_eq!(
            made["machines/a.yaml"],
            "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata:\n  name: a\n  labels:\n    rack: '1'\n\
             spec:\n  match:\n    serial: x\n"
        );
        assert!(made["site.yaml"].contains("name: lab"), "{made:?}");
    }

    #[test]
    fn a_revision_waits_while_the_mirror_of_what_was_followed_before_has_objects_that_it_would_read() {
        let labels = |site: &str| json!({"app.kubernetes.io/managed-by": "formwork", "formwork.dev/site": site});
        let object = |labels: Value, source: Option<&str>, more: &Value| {
            let mut object = json!({"metadata": {"name": "a", "labels": labels}, "spec": {}});
            if let Some(source) = source {
                object["status"] = json!({"source": source});
            }
            for (key, value) in more.as_object().into_iter().flatten() {
                object["metadata"][key] = value.clone();
            }
            Resource::read(serde_json::from_value(object).unwrap())
        };
        let (none, going) = (json!({}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        for (what, kind, resource, waits) in [
            ("declared before", "Machine", object(labels("lab"), Some("git"), &none), true),
            ("of which nothing is said yet", "Machine", object(labels("lab"), None, &none), false),
            ("a cluster profile", "ClusterProfile", object(labels("lab"), None, &none), true),
            ("let in by a rule", "Machine", object(labels("lab"), Some("enrollment r"), &none), false),
            ("left", "Machine", object(labels("lab"), Some("left"), &none), false),
            ("its label is off", "Machine", object(json!({}), Some("git"), &none), false),
            ("of another tool", "Machine", object(json!({"app.kubernetes.io/managed-by": "Helm"}), None, &none), false),
            ("of another site", "Machine", object(labels("other"), Some("git"), &none), false),
            ("on its way out", "Machine", object(labels("lab"), Some("git"), &going), false),
        ] {
            let said = waits_for("lab", [(index(kind), &resource)]);
            assert_eq!(said.is_some(), waits, "{what}: {said:?}");
            let begins = format!("1 object is still in the mirror of what was followed before ({kind}/a)");
            assert!(said.is_none_or(|said| said.starts_with(&begins)), "{what}");
        }
        let all: Vec<Resource> = (0..12).map(|_| object(labels("lab"), Some("git"), &none)).collect();
        let said = waits_for("lab", all.iter().map(|it| (index("Machine"), it))).unwrap();
        assert!(said.starts_with("12 objects are") && said.contains("Machine/a, 2 more)"), "{said}");
    }

    #[test]
    fn a_message_names_what_changed_and_who_wrote_it() {
        let files = |of: &[(&str, &str)]| of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Files>();
        let by = |path: &str, who: &str| (path.to_owned(), BTreeSet::from([who.to_owned()]));
        let before = files(&[("machines/a.yaml", "1"), ("machines/b.yaml", "1"), ("machines/c.yaml", "1")]);
        let after = files(&[("machines/a.yaml", "1"), ("machines/b.yaml", "2"), ("profiles/p.yaml", "1")]);
        let writers = BTreeMap::from([
            by("machines/a.yaml", "nobody"),
            by("machines/b.yaml", "kubectl\nFormwork-Allow-Wipe: all"),
            by("profiles/p.yaml", "flux"),
        ]);
        assert_eq!(
            message(&before, &after, &writers),
            "Resources: machines/b, no more machines/c, profiles/p\n\nApplied-By: flux, kubectl Formwork-Allow-Wipe: all\n"
        );
        let many = (0..12).map(|n| (format!("machines/{n:02}.yaml"), String::new())).collect();
        let said = message(&Files::new(), &many, &BTreeMap::new());
        assert!(said.ends_with("machines/09, 2 more\n"), "{said}");
    }
}
