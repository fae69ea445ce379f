//! Params and their schemas: each value is checked where it is written, once.

use super::Named;
use super::circles::{Circle, Part, Ways, circle};
use super::model::Param;
use crate::content::kinds::{Assurance, ClusterProfileSpec, Params};
use crate::content::names::{is_secret, is_subdomain, nearest};
use crate::content::{Document, Kind, Object, Place, Report, Step};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Findings about one value before the rest is left out.
const ERRORS_A_VALUE_MAX: usize = 4;
/// References of a circle before the rest is left out.
const CIRCLE_MAX: usize = 8;
/// In so many ways a schema may ask about one part of a value: more, and nobody waits for the answer.
const WAYS_MAX: u64 = 100_000;
/// Where a value breaks it is told as long as it is asked about in no more ways: each of them is an error of its own, and kept.
const WAYS_TOLD_MAX: u64 = 10_000;
/// So many schemas may be in one: what a long chain of references costs grows by its square.
const SCHEMAS_MAX: usize = 20_000;

/// The schema of a param.
struct Declared {
    validator: jsonschema::Validator,
    ways: Ways,
    secret: bool,
    document: Document,
}

/// The validators of all declared params.
pub(super) struct Schemas {
    validators: HashMap<Arc<str>, Declared>,
    declared: HashSet<Arc<str>>,
    /// Names that tasks use without a declaration.
    used: HashSet<String>,
    told: HashSet<String>,
    /// Tasks or params could not be read: what looks unused may not be.
    incomplete: bool,
}

/// Whether a value names a secret instead of being one: `{secret: NAME}`.
pub fn is_secret_reference(value: &Value) -> bool {
    secret_named(value).is_some()
}

/// The name in `{secret: NAME}`.
fn secret_named(value: &Value) -> Option<&str> {
    value.as_object().filter(|map| map.len() == 1)?.get("secret")?.as_str()
}

fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(schema).map_err(|error| error.to_string())
}

/// In how many ways a schema asks. None: in too many, or by references that no value ends, and that is told before anybody follows
/// them: whoever does never comes back.
fn asked(schema: &Value, document: &Document, at: &[Step<'_>], report: &mut Report) -> Option<Ways> {
    let Circle { path, references } = match circle(schema) {
        Ok(ways) if ways.schemas > SCHEMAS_MAX => {
            let said = format!("there are {} schemas in it, and there may be {SCHEMAS_MAX}", ways.schemas);
            report.error("schema", document.value(at), said).hint("leave out what nothing refers to");
            return None;
        }
        Ok(ways) if ways.most > WAYS_MAX => {
            let said = format!("the schema asks about one part of a value in more than {WAYS_MAX} ways");
            report
                .error("schema", document.value(at), said)
                .hint("of definitions that refer to each other several times, each doubles what the next one costs: let each be asked once");
            return None;
        }
        Ok(ways) => return Some(ways),
        Err(circle) => circle,
    };
    let way: Vec<Step<'_>> = at.iter().copied().chain(path.iter().map(Part::step)).collect();
    let mut shown: Vec<&str> = references.iter().map(String::as_str).take(CIRCLE_MAX).collect();
    if references.len() > CIRCLE_MAX {
        shown.push("…");
    }
    shown.extend(references.first().map(String::as_str));
    report
        .error(
            "schema",
            document.value(&way),
            format!("the schema refers in a circle that no value ends: {}", shown.join(" -> ")),
        )
        .hint("let one of them say what a value is, or refer below `properties` or `items`, where each turn takes a part of the value");
    None
}

/// How deep a value nests.
fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0).saturating_add(1),
        Value::Object(map) => map.values().map(depth).max().unwrap_or(0).saturating_add(1),
        _ => 0,
    }
}

/// The first reference of a schema that leads out of it.
fn reference_elsewhere(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str).filter(|target| !target.starts_with('#'));
            own.or_else(|| map.values().find_map(reference_elsewhere))
        }
        Value::Array(items) => items.iter().find_map(reference_elsewhere),
        _ => None,
    }
}

impl Schemas {
    pub(super) fn new(
        params: &Named<Arc<Param>>,
        broken: &HashSet<(Kind, Arc<str>)>,
        incomplete: bool,
        report: &mut Report,
    ) -> Self {
        let mut schemas = Self {
            validators: HashMap::new(),
            declared: params.keys().cloned().collect(),
            used: HashSet::new(),
            told: HashSet::new(),
            incomplete,
        };
        schemas
            .declared
            .extend(broken.iter().filter(|(kind, _)| *kind == Kind::Param).map(|(_, name)| Arc::clone(name)));
        for (name, param) in params {
            let Some(schema) = &param.spec.schema else { continue };
            let at = [Step::Key("spec"), Step::Key("schema")];
            let Some(ways) = asked(schema, &param.document, &at, report) else { continue };
            match compile(schema) {
                Ok(validator) => {
                    let (secret, document) = (param.spec.secret, param.document.clone());
                    schemas.validators.insert(Arc::clone(name), Declared { validator, ways, secret, document });
                }
                Err(error) => {
                    let spot = param.document.value(&at);
                    match reference_elsewhere(schema) {
                        Some(elsewhere) => report
                            .error(
                                "schema",
                                spot,
                                format!("the schema refers to {elsewhere}, and nothing is fetched for a schema"),
                            )
                            .hint("copy what it refers to under `definitions`: `{$ref: \"#/definitions/NAME\"}`"),
                        None => report
                            .error("schema", spot, format!("not a JSON Schema (draft-07): {error}"))
                            .hint("see json-schema.org; a simple one is `{type: string}`"),
                    }
                }
            }
        }
        for (name, param) in params {
            if let Some(default) = &param.spec.default {
                schemas.check(name, default, &param.document, &["spec".into(), "default".into()], report);
            }
        }
        schemas
    }

    /// Says that a task uses params of these names.
    pub(super) fn use_names<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.used.extend(names.into_iter().map(str::to_owned));
    }

    /// Names of params that tasks use, sorted; an ellipsis at the end where some may be where nobody could read them.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.used.iter().map(String::as_str).collect();
        names.sort_unstable();
        if self.incomplete {
            names.push("…");
        }
        names
    }

    /// Checks a map of params at the end of a path. Gives the names that nothing declares or uses, and whether there was
    /// nothing else to say.
    pub(super) fn check_map(
        &mut self,
        params: &Params,
        document: &Document,
        path: &[Step<'_>],
        report: &mut Report,
    ) -> (Vec<String>, bool) {
        let mut undeclared = Vec::new();
        let mut clean = true;
        for (name, value) in params {
            if self.is_unknown(name) {
                self.tell_unknown(name, document, path, report);
                undeclared.push(name.clone());
            }
            let mut inner = path.to_vec();
            inner.push(Step::Key(name));
            clean &= self.check(name, value, document, &inner, report);
        }
        (undeclared, clean)
    }

    fn is_unknown(&self, name: &str) -> bool {
        !self.declared.contains(name) && !self.used.contains(name)
    }

    /// Tells of a param that nothing declares and no task uses: once.
    pub(super) fn tell_unknown(&mut self, name: &str, document: &Document, path: &[Step<'_>], report: &mut Report) {
        if !self.told.insert(name.to_owned()) {
            return;
        }
        let mut inner = path.to_vec();
        inner.push(Step::Key(name));
        let spot = document.key(&inner);
        if is_subdomain(name) && self.incomplete {
            // It may be used where nobody could read it.
        } else if is_subdomain(name) {
            let known = self.declared.iter().map(AsRef::as_ref).chain(self.used.iter().map(String::as_str));
            let near = nearest(name, known);
            report.warning("unused-param", spot, format!("no Param declares `{name}` and no task uses it")).hint(
                near.map_or_else(
                    || "declare it with a Param, so that its values are checked".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ),
            );
        } else {
            report.error(
                "name",
                spot,
                format!("`{name}` is not the name of a param (lower-case letters, digits, `-`, `.`)"),
            );
        }
    }

    /// Checks a value; whether there was nothing to say.
    fn check(&self, name: &str, value: &Value, document: &Document, path: &[Step<'_>], report: &mut Report) -> bool {
        if let Some(secret) = secret_named(value)
            && !is_secret(secret)
            && !document.seals(secret)
        {
            let mut inner = path.to_vec();
            inner.push(Step::Key("secret"));
            report
                .error("secret-name", document.value(&inner), format!("`{secret}` is not the name of a secret"))
                .hint("it names a file of the server's secrets folder: lower-case letters, digits, `-`, `.`");
            return false;
        }
        let Some(Declared { validator, ways, secret, document: declared }) = self.validators.get(name) else {
            return true;
        };
        // What a secret of the secrets folder holds is known only where it is opened; what stood encrypted in Git is at hand.
        let sealed = document.unseal(value);
        if is_secret_reference(value) && sealed.is_none() {
            return true;
        }
        let secret = &(*secret || sealed.is_some());
        let value = sealed.as_ref().unwrap_or(value);
        if validator.is_valid(value) {
            return true;
        }
        // All errors are made before the first is given.
        if ways.at(depth(value)) > WAYS_TOLD_MAX {
            let schema = report.place(declared.value(&[Step::Key("spec"), Step::Key("schema")]));
            let said =
                format!("param `{name}`: it breaks its schema, which asks about it in too many ways to say where");
            report.error("param-schema", document.value(path), said).hint(format!("its schema is at {schema}"));
            return false;
        }
        for error in validator.iter_errors(value).take(ERRORS_A_VALUE_MAX) {
            // Of a secret only the rule is told, which stands in the schema for all to read: a message could hold the value, and the
            // names of its parts.
            let said = match *secret {
                true => format!("it is secret, and breaks the rule `{}` of its schema", error.schema_path().as_str()),
                false => error.to_string(),
            };
            let parts: Vec<String> = error
                .instance_path()
                .as_str()
                .split('/')
                .skip(1)
                .map(|part| part.replace("~1", "/").replace("~0", "~"))
                .collect();
            let mut way = path.to_vec();
            let mut inner = Some(value);
            for part in &parts {
                match inner {
                    Some(Value::Array(items)) => {
                        let item = part.parse::<usize>().unwrap_or(0);
                        way.push(Step::Item(item));
                        inner = items.get(item);
                    }
                    Some(Value::Object(map)) => {
                        way.push(Step::Key(part));
                        inner = map.get(part.as_str());
                    }
                    _ => break,
                }
            }
            let schema = report.place(declared.value(&[Step::Key("spec"), Step::Key("schema")]));
            report
                .error("param-schema", document.value(&way), format!("param `{name}`: {said}"))
                .hint(format!("its schema is at {schema}"));
        }
        false
    }
}

/// Checks what a cluster profile declares.
pub(super) fn check_cluster_profile(cluster: &Object<ClusterProfileSpec>, report: &mut Report) {
    let document = &cluster.document;
    let at =
        |index: usize, field: &'static str| [Step::Key("spec"), Step::Key("keys"), Step::Item(index), Step::Key(field)];
    if cluster.spec.size == 0 {
        report
            .error("cluster-size", document.value(&["spec".into(), "size".into()]), "a cluster has at least one member")
            .hint("write how many members it needs before a barrier for all may open");
    }
    if cluster.spec.assurance > Assurance::A2 {
        report
            .error(
                "assurance",
                document.value(&["spec".into(), "assurance".into()]),
                "assurance A3 (a TPM proves the machine) is not available yet",
            )
            .hint("A2 is the highest there is: an administrator approves a machine's first exchange");
    }
    let mut seen = HashSet::new();
    for (index, key) in cluster.spec.keys.iter().enumerate() {
        let name = key.name.strip_suffix("/*").unwrap_or(&key.name);
        let segment = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
        };
        if name.len() > 128 || !name.split('/').all(segment) {
            report
                .error(
                    "key-name",
                    document.value(&at(index, "name")),
                    format!("`{}` is not the name of a key", key.name),
                )
                .hint("segments of lower-case letters, digits, `.`, `_`, `-`, joined by `/`; 128 characters at most");
        }
        if !seen.insert(&key.name) {
            report.error("twin", document.value(&at(index, "name")), format!("a second key `{}`", key.name));
        }
        if key.param && (key.name.ends_with("/*") || !is_subdomain(&key.name)) {
            report
                .error(
                    "key-param",
                    document.value(&at(index, "param")),
                    format!("the key `{}` cannot be a param", key.name),
                )
                .hint("a key that jobs get as a param is named like one: lower-case letters, digits, `-`, `.`");
        }
        if let Some(schema) = &key.schema
            && asked(schema, document, &at(index, "schema"), report).is_some()
            && let Err(error) = compile(schema)
        {
            report.error(
                "schema",
                document.value(&at(index, "schema")),
                format!("not a JSON Schema (draft-07): {error}"),
            );
        }
        if let crate::content::kinds::Writers::HolderOf(claim) = &key.writers
            && (claim.is_empty() || !claim.split('/').all(segment))
        {
            report.error(
                "claim-name",
                document.value(&at(index, "writers")),
                format!("`{claim}` is not the name of a claim"),
            );
        }
    }
}

/// What pack defaults may not do: two packs that give one param different values leave it to chance which one is meant.
pub(super) fn check_pack_defaults(packs: &[crate::content::Pack], report: &mut Report) {
    let mut given: HashMap<&str, (&Value, Place, &str)> = HashMap::new();
    for pack in packs {
        for (name, value) in &pack.object.spec.params {
            let path = [Step::Key("spec"), Step::Key("params"), Step::Key(name)];
            match given.get(name.as_str()) {
                Some((known, place, other)) if *known != value => report
                    .error(
                        "pack-defaults",
                        pack.object.document.key(&path),
                        format!("packs `{other}` and `{}` give param `{name}` different values", pack.name),
                    )
                    .hint(format!("the other is at {place}; params have one name over all packs")),
                Some(_) => {}
                None => {
                    let place = report.place(pack.object.document.key(&path));
                    given.insert(name, (value, place, &pack.name));
                }
            }
        }
    }
}
