//! The OpenAPI document (3.1), written from the route table and the types themselves. Pure.

use super::extract::Json;
use super::{App, table};
use crate::net::routes::{Method, Opens, Reply, Route, Routes, SchemaOf, Shape, Word};
use crate::wire::Problem;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where the document is served.
const PATH: &str = "/v1/openapi.json";

pub(super) fn routes() -> Routes<App> {
    let route = Route::get(PATH, Opens::Administrator, "This document").gives::<Map<String, Value>>();
    let head = Route::get("/v1", Opens::Administrator, "Where to look").gives::<Map<String, Value>>();
    Routes::default().route(route, async || Json(document())).route(head, async || Json(directory()))
}

/// Where to look: every route that can be read as it stands, with what it gives.
fn directory() -> Map<String, Value> {
    let readable =
        |route: &Route| route.method == Method::Get && route.opens == Opens::Administrator && !route.path.contains('{');
    let routes = table().into_iter().filter(|route| readable(route) && route.path != "/v1");
    let mut head = Map::new();
    head.insert("document".into(), json!(PATH));
    head.insert("routes".into(), routes.map(|route| (route.path, json!(route.summary))).collect::<Map<_, _>>().into());
    head
}

/// The document of both listeners.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in table() {
        add(&mut paths, &route, &mut generator, None);
    }
    for route in crate::net::http::table() {
        add(&mut paths, &route, &mut generator, Some("http://localhost:8080"));
    }
    let bearer = |description: &str| json!({"type": "http", "scheme": "bearer", "description": description});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Formwork",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Bare metal becomes what a Git repository says. Written from the server's route table: every route is here.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{
            "url": "https://localhost:8443",
            "description": "The API. Its certificate is issued by the site's own authority.",
        }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "Refused: a code for programs, a sentence for people, and what to do about it.",
                    "content": {"application/json": {"schema": problem}},
                },
            },
            "securitySchemes": {
                "machine": bearer("The machine token that an exchange gives: this machine and its jobs."),
                "cluster": bearer("The token for one cluster that an exchange gives."),
                "callback": bearer("What an installer's files gave it: good for the callback of its own boot."),
                "administrator": bearer("The administrator's token, made with the site."),
                "git": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "A user's token, or the administrator's, as the password; the name is not looked at.",
                },
            },
        },
    })
}

fn add(paths: &mut Map<String, Value>, route: &Route, generator: &mut SchemaGenerator, server: Option<&str>) {
    let path = route.path.replace("{*", "{");
    let item = paths.entry(path).or_insert_with(|| match server {
        Some(url) => {
            json!({"servers": [{"url": url, "description": "Boot files: plain HTTP on the boot network."}]})
        }
        None => json!({}),
    });
    let method = route.method.as_str().to_ascii_lowercase();
    if let Some(item) = item.as_object_mut() {
        item.insert(method, operation(route, generator));
    }
}

fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), json!(operation_id(route)));
    operation.insert("summary".into(), json!(route.summary));
    operation.insert("tags".into(), json!([tag(route)]));
    if let Some(security) = security(route.opens) {
        operation.insert("security".into(), security);
    }
    let parameters = parameters(route, generator);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), Value::Array(parameters));
    }
    if !route.takes.is_empty() {
        let content = content(&route.takes, generator);
        let mut body = json!({"required": !route.body_optional, "content": content});
        body["description"] = json!(format!("At most {} bytes.", route.body_max));
        operation.insert("requestBody".into(), body);
    }
    operation.insert("responses".into(), responses(route, generator));
    Value::Object(operation)
}

/// `post_v1_agent_jobs_job_end`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(route.method.as_str().to_ascii_lowercase(), |id, word| format!("{id}_{word}"))
}

fn tag(route: &Route) -> &'static str {
    match route.opens {
        Opens::Cluster => "cluster",
        Opens::Machine | Opens::Ticket => "agent",
        Opens::Administrator if route.path.starts_with("/v1/clusters/") => "clusters",
        Opens::Administrator => "administrators",
        Opens::Hook => "hooks",
        Opens::Git => "git",
        Opens::Anybody if route.path == super::health::PATH => "health",
        Opens::Anybody | Opens::Offer | Opens::Callback => "boot",
    }
}

fn security(opens: Opens) -> Option<Value> {
    let scheme = match opens {
        Opens::Anybody | Opens::Offer | Opens::Ticket | Opens::Hook => return None,
        Opens::Callback => "callback",
        Opens::Machine => "machine",
        Opens::Cluster => "cluster",
        Opens::Administrator => "administrator",
        Opens::Git => "git",
    };
    Some(json!([{scheme: []}]))
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let named = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = named
        .map(|name| {
            let name = name.trim_start_matches('*');
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
        })
        .collect();
    if let Some(query) = route.query {
        parameters.extend(typed(query, generator));
    }
    let word = |place: &str, word: &Word| {
        let mut said = json!({"name": word.name, "in": place, "description": word.what, "schema": {"type": "string"}});
        if word.required {
            said["required"] = json!(true);
        }
        said
    };
    parameters.extend(route.words.iter().map(|said| word("query", said)));
    parameters.extend(route.headers.iter().map(|said| word("header", said)));
    parameters
}

/// A type's fields as words of the query.
fn typed(query: SchemaOf, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = query(generator).to_value();
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, field)| {
            let mut field = field.clone();
            let what = field.as_object_mut().and_then(|field| field.shift_remove("description"));
            let mut parameter = json!({"name": name, "in": "query", "schema": field});
            if let Some(what) = what {
                parameter["description"] = what;
            }
            if required.contains(&name.as_str()) {
                parameter["required"] = json!(true);
            }
            parameter
        })
        .collect()
}

fn content(shapes: &[Shape], generator: &mut SchemaGenerator) -> Value {
    let mut content = Map::new();
    for shape in shapes {
        let described = shape.schema.map_or_else(|| json!({}), |schema| json!({"schema": schema(generator)}));
        content.insert(shape.media.to_owned(), described);
    }
    Value::Object(content)
}

fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for Reply { status, what, shapes } in &route.gives {
        let mut response = json!({"description": what});
        if !shapes.is_empty() {
            response["content"] = content(shapes, generator);
        }
        responses.insert(status.to_string(), response);
    }
    let api = route.path == super::health::PATH;
    let text = matches!(route.opens, Opens::Anybody | Opens::Offer | Opens::Git) && !api;
    let refused = if text && route.path == "/v1/push" {
        // Asked by a hook: what is no token is told as git's clients are, what is no question as all programs are.
        let problem = json!({"schema": {"$ref": "#/components/schemas/Problem"}});
        json!({"description": "Refused, in a line of text, or with a code.", "content": {"text/plain": {}, "application/json": problem}})
    } else if text {
        json!({"description": "Refused, in a line of text.", "content": {"text/plain": {}}})
    } else {
        json!({"$ref": "#/components/responses/Problem"})
    };
    responses.insert("default".into(), refused);
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::document;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Set it to write the golden file anew.
    const BLESS: &str = "FORMWORK_BLESS";

    fn operations(document: &Value) -> impl Iterator<Item = &Value> {
        let items = document["paths"].as_object().into_iter().flatten().filter_map(|(_, item)| item.as_object());
        items.flatten().filter(|(method, _)| *method != "servers").map(|(_, operation)| operation)
    }

    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        let names: Vec<&str> = operations(&document).filter_map(|found| found["operationId"].as_str()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(names.len(), super::table().len() + crate::net::http::table().len());
    }

    #[test]
    fn the_first_page_says_where_to_look() {
        let head = super::directory();
        assert_eq!(head["document"], "/v1/openapi.json");
        assert_eq!(head["routes"]["/v1/machines"], "Every machine, in a line");
        assert!(head["routes"].get("/v1/adopt").is_none(), "what changes something is not to be tried out");
    }

    #[test]
    fn every_route_says_what_it_answers() {
        for route in super::table().into_iter().chain(crate::net::http::table()) {
            assert!(!route.gives.is_empty(), "{} {} gives nothing", route.method.as_str(), route.path);
            assert!(!route.summary.is_empty() && !route.summary.ends_with('.'), "{}: {}", route.path, route.summary);
        }
    }

    #[test]
    fn every_body_that_a_route_takes_is_fuzzed() {
        let targets = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/src/targets.rs");
        let targets = std::fs::read_to_string(targets).expect("the fuzzer's targets");
        let document = document();
        let schemas = operations(&document).filter_map(|operation| {
            operation.pointer("/requestBody/content/application~1json/schema/$ref").and_then(Value::as_str)
        });
        let bodies: BTreeSet<&str> = schemas.filter_map(|schema| schema.rsplit('/').next()).collect();
        assert!(bodies.len() > 10, "{bodies:?}");
        for body in bodies {
            assert!(targets.contains(&format!("::{body}>(bytes)")), "{body} is not among the fuzzed messages");
        }
    }

    #[test]
    fn the_document_is_the_one_in_docs() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        let text = serde_json::to_string_pretty(&document()).expect("text") + "\n";
        if std::env::var_os(BLESS).is_some() {
            std::fs::write(&path, &text).expect("written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let first = kept.lines().zip(text.lines()).position(|(kept, now)| kept != now);
        assert!(
            kept == text,
            "docs/openapi.json is not this server's (line {first:?}); {BLESS}=1 cargo test openapi writes it anew"
        );
    }
}
