//! The definitions of custom resources, made from the types that read content and from those of [`super::resources`].

use super::resources::{ClusterProfileStatus, ContentSourceSpec, ContentSourceStatus, MachineStatus};
use super::structural::{self, Bounds, bounded};
use super::{GROUP, VERSION};
use crate::content::kinds::{
    BootEnvSpec, ClusterProfileSpec, EnrollmentSpec, MachineSpec, ParamSpec, ProfileSpec, SiteSpec, StageSpec,
    SubnetSpec, TaskSpec, TemplateSpec, WorkflowSpec,
};
use serde_json::{Value, json};

/// A kind as a custom resource.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The kind: `Machine`.
    pub kind: &'static str,
    /// Its name in paths: `machines`.
    pub plural: &'static str,
    /// What `kubectl apply` takes.
    pub document: Value,
}

/// What is said of a kind beside its schema.
struct Words {
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    description: &'static str,
    /// Name, type, path, and whether only `-o wide` shows it.
    columns: &'static [(&'static str, &'static str, &'static str, bool)],
    /// What is true of a spec, in CEL, and what is said where it is not.
    rules: &'static [(&'static str, &'static str)],
}

/// Of a kind that says nothing of itself: how it stands is said by the source that reads it.
const fn content(kind: &'static str, singular: &'static str, plural: &'static str, description: &'static str) -> Words {
    let columns = &[("Age", "date", ".metadata.creationTimestamp", false)];
    Words { kind, singular, plural, short: &[], description, columns, rules: &[] }
}

const CONTENT_SOURCE: Words = Words {
    kind: "ContentSource",
    singular: "contentsource",
    plural: "contentsources",
    // `cs` is taken: componentstatuses.
    short: &["csrc"],
    description: "What Formwork follows: a Git repository, or resources of this namespace, that say what machines become.",
    columns: &[
        ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", false),
        ("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason", false),
        ("Applied", "string", ".status.lastAppliedRevision", false),
        ("Machines", "integer", ".status.machines", false),
        ("Url", "string", ".spec.url", true),
        ("Message", "string", ".status.conditions[?(@.type==\"Ready\")].message", true),
        ("Age", "date", ".metadata.creationTimestamp", false),
    ],
    rules: &[
        (
            "[has(self.branch), has(self.tag), has(self.semver), has(self.commit)].filter(given, given).size() <= 1",
            "of branch, tag, semver and commit at most one is given",
        ),
        (
            "[has(self.url), has(self.resources)].filter(given, given).size() == 1",
            "of url and resources exactly one is given",
        ),
        (
            "!has(self.resources) || [has(self.branch), has(self.tag), has(self.semver), has(self.commit), has(self.path), \
             has(self.secretRef)].filter(given, given).size() == 0",
            "beside resources nothing is given that is of a repository: branch, tag, semver, commit, path, secretRef",
        ),
        ("!has(self.url) || self.url.size() > 0", "url names the repository"),
        (
            "!has(self.url) || !self.url.matches('(?i)^[[:space:]]*(http|git)://')",
            "only https://, ssh:// and paths are followed: http:// and git:// take content from anybody on the way",
        ),
        (
            // Of any scheme, as of none (`USER:PASSWORD@HOST:PATH`): what is not followed is kept and shown all the same.
            "!has(self.url) || !self.url.matches('(?i)^[[:space:]]*https://[^/]*@') \
             && !self.url.matches('(?i)^[[:space:]]*[a-z][a-z0-9+.-]*://[^/]*:[^/]*@') \
             && !self.url.matches('^[[:space:]]*[^/:@]*:[^/@]*@[^/]*:')",
            "a URL has no password in it, and over https:// no user: they belong into the Secret that secretRef names",
        ),
        (
            "!has(self.url) || !self.url.matches('(?is)^[[:space:]]*https://.*[?#]')",
            "a repository's URL has no ? and no #: a token belongs into the Secret that secretRef names",
        ),
        (
            "!has(self.url) || self.url.size() == 0 \
             || self.url.matches('^(https://[^/]+/.|ssh://[^/]+/.|file:///|/|[^/:-][^/:]*:/?[^/])')",
            "url is https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, or a path that begins with /",
        ),
        (
            "!has(self.commit) || self.commit.matches('^[0-9a-f]{40}$')",
            "commit is all 40 characters of a commit's id, in lower case",
        ),
        (
            // A day is no unit of durations here.
            "!has(self.interval) || self.interval.contains('d') || (duration(self.interval.trim()) >= duration('5s') \
             && duration(self.interval.trim()) <= duration('24h'))",
            "interval is between 5s and 1d",
        ),
    ],
};

const MACHINE: Words = Words {
    kind: "Machine",
    singular: "machine",
    plural: "machines",
    short: &["mach"],
    description: "A box: how it is recognised, what it carries, which workflow it walks, and where it is.",
    columns: &[
        ("Phase", "string", ".status.phase", false),
        ("Boot", "string", ".status.boot", false),
        ("Stage", "string", ".status.stage", false),
        ("Task", "string", ".status.task", false),
        ("Address", "string", ".status.address", false),
        ("Waits for", "string", ".status.waitsFor", true),
        ("Workflow", "string", ".status.workflow", true),
        ("Last seen", "string", ".status.lastSeen", true),
        ("Age", "date", ".metadata.creationTimestamp", false),
    ],
    // What Git takes is taken, however it is written ([`crate::content::junk`]): what is refused is refused there, too.
    rules: &[
        (
            "(has(self.match.macs) && self.match.macs.size() > 0) || has(self.match.uuid) || has(self.match.serial)",
            "match says which box it is: at least one of macs, uuid and serial",
        ),
        (
            "!has(self.match.macs) || self.match.macs.all(mac, mac.matches('^([0-9A-Fa-f][02468ACEace]([:.-][0-9A-Fa-f]{2}){5}\
             |[.]*[0-9A-Fa-f][.]*[02468ACEace][.]*([0-9A-Fa-f][.]*){10})$'))",
            "a MAC address is six bytes such as 52:54:00:00:00:01, and no group address",
        ),
        (
            "!has(self.match.uuid) \
             || self.match.uuid.trim().matches('^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$')",
            "a UUID is written as `dmidecode -s system-uuid` shows it",
        ),
        (
            "!has(self.match.serial) || self.match.serial.matches('(?s)[0-9A-Za-z].*[0-9A-Za-z]')",
            "a serial number has two letters or digits at least",
        ),
    ],
};

const CLUSTER_PROFILE: Words = Words {
    kind: "ClusterProfile",
    singular: "clusterprofile",
    plural: "clusterprofiles",
    short: &["cp"],
    description: "The declaration of the one document that the machines of a cluster share while they are built.",
    columns: &[
        ("Size", "integer", ".spec.size", false),
        ("Run", "integer", ".spec.run", false),
        ("Epoch", "integer", ".status.epoch", false),
        ("Version", "integer", ".status.version", false),
        ("Keys", "integer", ".status.keysCount", true),
        ("Age", "date", ".metadata.creationTimestamp", false),
    ],
    rules: &[],
};

/// Of what is written for a cluster alone, and of what this program writes there itself, which it cuts ([`super::report`], [`super::mirror`]).
const WRITTEN: Bounds = Bounds { text: 4_096, items: 256 };
/// Of what Git says, which is mirrored as it is: beyond what an object can hold, etcd takes 1.5 MiB.
const MIRRORED: Bounds = Bounds { text: 262_144, items: 16_384 };

/// What is given a closer bound than [`MIRRORED`], so that a rule costs what an API server allows: under `match` of a machine.
fn machine() -> Value {
    let mut spec = structural::of::<MachineSpec>();
    let selectors = &mut spec["properties"]["match"]["properties"];
    selectors["macs"]["maxItems"] = 1_024.into();
    selectors["macs"]["items"]["maxLength"] = 64.into();
    selectors["uuid"]["maxLength"] = 256.into();
    selectors["serial"]["maxLength"] = 4_096.into();
    spec
}

/// All of them.
pub fn definitions() -> Vec<Definition> {
    [
        (CONTENT_SOURCE, WRITTEN, (structural::of::<ContentSourceSpec>(), structural::of::<ContentSourceStatus>())),
        (MACHINE, MIRRORED, (machine(), structural::of::<MachineStatus>())),
        (CLUSTER_PROFILE, MIRRORED, (structural::of::<ClusterProfileSpec>(), structural::of::<ClusterProfileStatus>())),
    ]
    .into_iter()
    .map(|(words, bounds, (spec, status))| definition(&words, bounded(spec, bounds), Some(bounded(status, WRITTEN))))
    .chain(of_content())
    .collect()
}

/// Those of content that says nothing of itself.
fn of_content() -> impl Iterator<Item = Definition> {
    let site = "The site itself: its packs and guards. There is one at most in a namespace.";
    let param = "What a param may be. Its name is the object's: lower-case letters, digits, `-` and `.`.";
    [
        (content("Site", "site", "sites", site), structural::of::<SiteSpec>()),
        (content("Subnet", "subnet", "subnets", "A network that machines boot on."), structural::of::<SubnetSpec>()),
        (
            content("Enrollment", "enrollment", "enrollments", "A rule that takes in unknown machines."),
            structural::of::<EnrollmentSpec>(),
        ),
        (content("Profile", "profile", "profiles", "A named set of params."), structural::of::<ProfileSpec>()),
        (content("Param", "param", "params", param), structural::of::<ParamSpec>()),
        (
            content("Task", "task", "tasks", "Steps with declared params, timeout and retries."),
            structural::of::<TaskSpec>(),
        ),
        (content("Stage", "stage", "stages", "A boot environment and ordered tasks."), structural::of::<StageSpec>()),
        (content("Workflow", "workflow", "workflows", "Ordered stages."), structural::of::<WorkflowSpec>()),
        (content("BootEnv", "bootenv", "bootenvs", "An environment to boot."), structural::of::<BootEnvSpec>()),
        (content("Template", "template", "templates", "A template for a file."), structural::of::<TemplateSpec>()),
    ]
    .into_iter()
    .map(|(words, spec)| definition(&words, bounded(spec, MIRRORED), None))
}

fn definition(words: &Words, mut spec: Value, status: Option<Value>) -> Definition {
    let rules: Vec<Value> =
        words.rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    if let Some(spec) = spec.as_object_mut().filter(|_| !rules.is_empty()) {
        spec.insert("x-kubernetes-validations".into(), rules.into());
    }
    let mut schema = json!({
        "type": "object",
        "description": words.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
        },
    });
    let mut subresources = json!({});
    if let Some(status) = status {
        schema["properties"]["status"] = status;
        subresources = json!({"status": {}});
    }
    let columns = words.columns.iter().map(|(name, kind, path, wide)| {
        let mut column = json!({"name": name, "type": kind, "jsonPath": path});
        if let Some(column) = column.as_object_mut().filter(|_| *wide) {
            column.insert("priority".into(), 1.into());
        }
        column
    });
    let version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "additionalPrinterColumns": columns.collect::<Vec<_>>(),
        "subresources": subresources,
        "schema": {"openAPIV3Schema": schema},
    });
    let document = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        // With a definition go all objects of its kind: helm leaves it where the chart is uninstalled.
        "metadata": {
            "name": format!("{}.{GROUP}", words.plural),
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": words.kind,
                "listKind": format!("{}List", words.kind),
                "plural": words.plural,
                "singular": words.singular,
                "shortNames": words.short,
                "categories": ["formwork"],
            },
            "versions": [version],
        },
    });
    Definition { kind: words.kind, plural: words.plural, document }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a schema says nothing of what it is.
    fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            if property.get("description").is_none() {
                found.push(path.clone());
            }
            undescribed(&path, property, found);
        }
        if let Some(items) = schema.get("items") {
            undescribed(&format!("{path}[]"), items, found);
        }
    }

    /// Where a schema has no bound.
    fn unbounded(path: &str, schema: &Value, found: &mut Vec<String>) {
        let kind = schema.get("type").and_then(Value::as_str);
        let has = |word: &str| schema.get(word).is_some();
        match kind {
            Some("string") if !has("maxLength") && !has("enum") => found.push(path.to_owned()),
            Some("array") if !has("maxItems") => found.push(path.to_owned()),
            Some("object") if has("additionalProperties") && !has("maxProperties") => found.push(path.to_owned()),
            _ => {}
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            unbounded(&format!("{path}.{name}"), property, found);
        }
        for below in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(below) {
                unbounded(&format!("{path}[]"), below, found);
            }
        }
    }

    #[test]
    fn every_text_list_and_map_has_a_bound() {
        for definition in definitions() {
            let properties = &definition.document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            let mut found = Vec::new();
            for part in ["spec", "status"] {
                unbounded(&format!("{}.{part}", definition.kind), &properties[part], &mut found);
            }
            assert!(found.is_empty(), "{found:?}");
        }
    }

    /// Whether one of a rule's patterns is in it. None of them may be, by the rules of URLs.
    fn is_in(rule: &str, url: &str) -> bool {
        let patterns = rule.split("matches('").skip(1).filter_map(|rest| rest.split('\'').next());
        patterns.map(|pattern| regex::Regex::new(pattern).unwrap()).any(|pattern| pattern.is_match(url))
    }

    #[test]
    fn a_password_in_a_url_is_refused_however_it_is_written() {
        let none: &[&str] = &[];
        let (scheme, password, query) = ("only https://", "a URL has no password", "a repository's URL has no ?");
        for (url, refused) in [
            ("https://git.example.org/site.git", none),
            ("https://git.example.org:8443/@team/site.git", &[]),
            ("ssh://git@git.example.org/site.git", &[]),
            ("ssh://git@git.example.org:22/site.git", &[]),
            ("git@git.example.org:team/site.git", &[]),
            ("git.example.org:@team/site.git", &[]),
            ("/srv/site.git", &[]),
            ("https://ann:secret@h/x", &[password]),
            ("https://secret@h/x", &[password]),
            ("HTTPS://secret@h/x", &[password]),
            (" https://secret@h/x", &[password]),
            ("\n https://secret@h/x", &[password]),
            ("ssh://ann:secret@h/x", &[password]),
            (" SSH://ann:secret@h/x", &[password]),
            ("git+ssh://ann:secret@h/x", &[password]),
            ("ann:secret@h:x", &[password]),
            (" ann:sec@ret@h:x", &[password]),
            ("http://h/x", &[scheme]),
            (" Http://h/x", &[scheme]),
            ("GIT://h/x", &[scheme]),
            ("http://ann:secret@h/x", &[scheme, password]),
            ("https://h/x?token=secret", &[query]),
            (" HTTPS://h/x#secret", &[query]),
        ] {
            let refuses = CONTENT_SOURCE.rules.iter().filter(|(rule, _)| rule.contains("!self.url.matches"));
            let hits = refuses.filter(|(rule, _)| is_in(rule, url));
            let said: Vec<&str> = hits.map(|(_, message)| *message).collect();
            assert_eq!(said.len(), refused.len(), "{url:?}: {said:?}");
            assert!(said.iter().zip(refused).all(|(said, refused)| said.starts_with(*refused)), "{url:?}: {said:?}");
        }
    }

    /// The rule of a kind that says this.
    fn rule(words: &Words, said: &str) -> &'static str {
        words.rules.iter().find(|(_, message)| message.starts_with(said)).unwrap().0
    }

    proptest::proptest! {
        #[test]
        fn what_git_takes_as_a_selector_an_api_server_takes(
            mac in "[0-9A-Fa-f]{2}([:.-]?[0-9A-Fa-f]{2}){4,6}|[0-9A-F.]{12,16}|[0-9a-f]{4}[.][0-9a-f]{4}[.][0-9a-f]{4}",
            uuid in "[ \t]?[0-9A-Fa-f]{8}(-?[0-9A-Fa-f]{4}){3,4}-[0-9A-Fa-f]{12}\n?",
            serial in "[ 0aA.-]{0,4}\n?.{0,3}",
        ) {
            use crate::content::junk;
            let taken = |said: &str, text: &str| is_in(rule(&MACHINE, said), text);
            proptest::prop_assert!(junk::normal_mac(&mac).is_none() || taken("a MAC", &mac), "{mac}");
            proptest::prop_assert!(junk::normal_uuid(&uuid).is_none() || taken("a UUID", uuid.trim()), "{uuid:?}");
            proptest::prop_assert!(junk::normal_serial(&serial).is_none() || taken("a serial", &serial), "{serial:?}");
        }
    }

    #[test]
    fn what_can_be_no_selector_is_refused_by_an_api_server_already() {
        for (said, text, taken) in [
            ("a MAC", "52:54:00:00:00:01", true),
            ("a MAC", "52-54-00-AB-cd-01", true),
            ("a MAC", "5254.00ab.cd01", true),
            ("a MAC", "525400abcd01", true),
            ("a MAC", "52:54:00:ab:cd", false),
            ("a MAC", "52:54:00:ab:cd:0g", false),
            ("a MAC", "5:2:5:4:0:0:a:b:c:d:0:1", false),
            ("a MAC", "53:54:00:00:00:01", false),
            ("a MAC", "52:54:00:00:00:01\n", false),
            ("a UUID", "4C4C4544-0042-4E10-8034-B7C04F4E3132", true),
            ("a UUID", "4c4c454400424e108034b7c04f4e3132", false),
            ("a serial", "CN-0042", true),
            ("a serial", "x", false),
            ("a serial", "..", false),
        ] {
            assert_eq!(is_in(rule(&MACHINE, said), text), taken, "{said} {text:?}");
        }
        for (said, text, taken) in [
            ("commit", "0123456789abcdef0123456789abcdef01234567", true),
            ("commit", "0123456789ABCDEF0123456789abcdef01234567", false),
            ("commit", "abc", false),
            ("url is", "site.git", false),
            ("url is", "../site.git", false),
            ("url is", "ftp://h/x", false),
            ("url is", "https://h", false),
            ("url is", "-x@h:y", false),
        ] {
            assert_eq!(is_in(rule(&CONTENT_SOURCE, said), text), taken, "{said} {text:?}");
        }
    }

    #[test]
    fn a_url_that_is_followed_an_api_server_takes() {
        use crate::git::remote::Location;
        let parts =
            ["https://", "ssh://", "file://", "git@", "h", "[::1]", ":", "8443", "/", "~", "x.git", "-", "@", ""];
        let mut taken = 0;
        for one in parts {
            for two in parts {
                for three in parts {
                    for four in parts {
                        let url = format!("{one}{two}{three}{four}x");
                        let followed = match Location::parse(&url) {
                            Ok(Location::Local(path)) => path.is_absolute(),
                            other => other.is_ok(),
                        };
                        taken += u32::from(followed);
                        assert!(!followed || is_in(rule(&CONTENT_SOURCE, "url is"), &url), "{url}");
                    }
                }
            }
        }
        assert!(taken > 100, "{taken}");
    }

    #[test]
    fn every_field_of_every_definition_is_explained() {
        for definition in definitions() {
            let properties = &definition.document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            let mut found = Vec::new();
            for part in ["spec", "status"] {
                undescribed(&format!("{}.{part}", definition.kind), &properties[part], &mut found);
            }
            assert!(found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn the_spec_of_a_machine_is_that_of_content() {
        let definitions = definitions();
        let machine = definitions.iter().find(|definition| definition.kind == "Machine").unwrap();
        let spec = &machine.document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let kept = spec["properties"].as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        let read = crate::content::schema::of_kind(crate::content::Kind::Machine);
        let read = read["properties"]["spec"]["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(kept, read);
    }
}
