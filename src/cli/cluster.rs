//! `formwork cluster get|freeze|thaw|reset NAME`: the document that the machines of a cluster share, as administrators may see
//! it, and the three words they have for it.

use super::error::CliError;
use super::output::{Style, Tone, Word, printable, table};
use super::session::{Options, Session};
use super::suggest;
use super::time::{Clock, coarse};
use clap::{Args, Subcommand};
use serde_json::Value;

/// Looks at the documents that machines of a cluster share, holds them still, begins them anew.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Get(Get),
    /// Machines change nothing until it is thawed; they are told the reason (423).
    #[command(after_help = "Examples:
  formwork cluster freeze etcd --reason 'moving the rack'")]
    Freeze(Reasoned),
    /// Lets machines write again; claims that were held have their lifetime anew.
    #[command(after_help = "Examples:
  formwork cluster thaw etcd")]
    Thaw(Named),
    /// Begins anew: the epoch rises, and every key, claim and set is gone. Machines that are reinstalled then elect again.
    #[command(after_help = "Examples:
  formwork cluster reset etcd --reason 'built anew by hand'")]
    Reset(Reasoned),
}

/// A cluster, and why.
#[derive(Debug, Args)]
struct Reasoned {
    /// The cluster profile's name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// A cluster.
#[derive(Debug, Args)]
struct Named {
    /// The cluster profile's name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    session: Options,
}

/// Shows a cluster's document: version, keys, claims, sets. Secrets are not in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork cluster get etcd
  formwork cluster get etcd -o json | jq '.keys | keys'")]
struct Get {
    /// The cluster profile's name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let arguments = match &arguments.command {
        ClusterCommand::Get(arguments) => arguments,
        ClusterCommand::Freeze(said) => return tell(&said.session, &said.name, "freeze", Some(&said.reason)),
        ClusterCommand::Thaw(said) => return tell(&said.session, &said.name, "thaw", None),
        ClusterCommand::Reset(said) => return tell(&said.session, &said.name, "reset", Some(&said.reason)),
    };
    let session = Session::open(&arguments.session)?;
    let name = &arguments.name;
    let document = session.client.cluster(name).map_err(|error| not_found(&session, name, error))?;
    session.output.answer(&document, || vec![name.clone()], |style| render(&document, &session.clock, style))
}

/// Has the server do it, and says what version that gave.
fn tell(options: &Options, name: &str, verb: &str, reason: Option<&str>) -> Result<(), CliError> {
    let session = Session::open(options)?;
    let answer = session.client.tell_cluster(name, verb, reason).map_err(|error| not_found(&session, name, error))?;
    let field = |name: &str| answer.get(name).map(plain).unwrap_or_else(|| "?".to_owned());
    let text = format!("cluster {name}: {verb}, epoch {}, version {}\n", field("epoch"), field("version"));
    session.output.answer(&answer, || vec![name.to_owned()], |_| printable(text.trim_end()) + "\n")
}

fn not_found(session: &Session, name: &str, error: CliError) -> CliError {
    match error {
        CliError::NotFound { message, .. } => {
            let machines = session.client.machines().map(|list| list.items).unwrap_or_default();
            let mut names: Vec<&str> =
                machines.iter().flat_map(|machine| machine.clusters.iter().map(String::as_str)).collect();
            names.sort_unstable();
            names.dedup();
            let hint = Some(suggest::hint(name, names, "formwork get clusters"));
            CliError::NotFound { message, hint }
        }
        other => other,
    }
}

/// A long value would push everything else off the screen; `-o json` has all of it.
const VALUE_SHOWN: usize = 60;

/// Version and size, then a table each of keys, claims and sets.
fn render(document: &Value, clock: &Clock, style: Style) -> String {
    let field = |name: &str| document.get(name).map(plain).unwrap_or_else(|| "?".to_owned());
    let name = document.get("cluster").map(|name| format!("cluster {}, ", plain(name))).unwrap_or_default();
    let mut text = printable(&format!("{name}epoch {}, version {}", field("epoch"), field("version"))) + "\n";
    if let Some(reason) = document.get("frozen").filter(|reason| reason.is_string()) {
        text.push_str(&(printable(&format!("frozen: {}", plain(reason))) + "\n"));
    }
    let at =
        |value: &Value| value.get("atUnixMs").and_then(Value::as_i64).map_or_else(String::new, |at| clock.show(at));
    text.push_str(&part(document, "keys", &["key", "value", "version", "by", "at"], style, |name, key| {
        vec![name.into(), key_value(key), field_of(key, "version"), writer(key.get("by")).into(), at(key).into()]
    }));
    text.push_str(&part(document, "claims", &["claim", "state", "holder", "fence", "at", ""], style, |name, claim| {
        let tone = match claim.get("state").and_then(Value::as_str) {
            Some("done") => Tone::Good,
            Some("held") => Tone::Busy,
            Some("failed") => Tone::Bad,
            _ => Tone::Waiting,
        };
        let state = Word::new(claim.get("state").map(plain).unwrap_or_default(), tone);
        vec![
            name.into(),
            state,
            field_of(claim, "holder"),
            field_of(claim, "fence"),
            at(claim).into(),
            why(claim).into(),
        ]
    }));
    text.push_str(&part(document, "sets", &["set", "members", "barriers"], style, |name, set| {
        let each = |list: &str, word: fn(&Value) -> String| {
            let items = set.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Word::from(items.iter().map(word).collect::<Vec<_>>().join(", "))
        };
        let member = |member: &Value| member.get("machine").map(plain).unwrap_or_default();
        let barrier = |barrier: &Value| match barrier.get("opened") {
            None | Some(Value::Null | Value::Bool(false)) => format!("{} waits", field_text(barrier, "count")),
            Some(_) => format!("{} opened", field_text(barrier, "count")),
        };
        vec![name.into(), each("members", member), each("barriers", barrier)]
    }));
    text
}

/// One part of the document as a table; nothing where it is empty.
fn part(document: &Value, name: &str, heads: &[&str], style: Style, row: impl Fn(&str, &Value) -> Vec<Word>) -> String {
    let Some(entries) = document.get(name).and_then(Value::as_object).filter(|entries| !entries.is_empty()) else {
        return String::new();
    };
    format!("\n{}", table(heads, entries.iter().map(|(name, value)| row(name, value)), style))
}

fn key_value(key: &Value) -> Word {
    match key.get("value") {
        Some(value) => {
            let text = plain(value).replace('\n', " ");
            match text.char_indices().nth(VALUE_SHOWN) {
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
                None => text.into(),
            }
        }
        None => {
            let bytes = field_text(key, "bytes");
            let unit = if bytes == "1" { "byte" } else { "bytes" };
            Word::new(format!("secret, {bytes} {unit}"), Tone::Waiting)
        }
    }
}

/// `node-1`, `ann`, `server`: whoever wrote.
fn writer(by: Option<&Value>) -> String {
    let Some(by) = by else { return String::new() };
    let inner = by.as_object().and_then(|by| by.values().next()).unwrap_or(by);
    let name = ["machine", "name"].iter().find_map(|field| inner.get(field).or_else(|| by.get(field)));
    name.filter(|name| name.is_string()).map_or_else(|| plain(inner), plain)
}

/// Why a claim is free again, or until when it is held.
fn why(claim: &Value) -> String {
    let fall = claim.get("fall");
    let reason = claim.get("reason").or_else(|| fall?.get("reason")).or_else(|| fall?.get("why"));
    let expires = claim.get("expiresInMs").and_then(Value::as_i64);
    match (reason, expires) {
        (Some(reason), _) => plain(reason),
        (None, Some(left)) => format!("expires in {}", coarse(left)),
        (None, None) => String::new(),
    }
}

fn field_text(value: &Value, name: &str) -> String {
    value.get(name).map(plain).unwrap_or_default()
}

fn field_of(value: &Value, name: &str) -> Word {
    field_text(value, name).into()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_shown_part_by_part() {
        let long = "x".repeat(100);
        let document = serde_json::json!({
            "cluster": "etcd", "epoch": 1, "version": 12, "bytes": 300,
            "keys": {
                "etcd/token": {"secret": true, "bytes": 32, "version": 7, "by": {"machine": {"machine": "node-1", "run": 1}}, "atUnixMs": 1000},
                "etcd/ca": {"value": long, "version": 8, "by": {"administrator": {"name": "ann"}}, "atUnixMs": 2000},
            },
            "claims": {
                "init": {"state": "done", "fence": 5, "holder": "node-1", "run": 1, "atUnixMs": 1000},
                "upgrade": {"state": "held", "fence": 11, "holder": "node-2", "run": 1, "atUnixMs": 3000, "expiresInMs": 90_000},
                "backup": {"state": "vacant", "fence": 9, "holder": "node-3", "fall": {"why": "revoked", "reason": "a new run"}},
            },
            "sets": {"ready": {"version": 9, "members": [{"machine": "node-1", "ordinal": 1}, {"machine": "node-2", "ordinal": 2}],
                "barriers": [{"count": "all", "opened": 9}]}},
        });
        insta::assert_snapshot!(render(&document, &Clock::fixed(9000), Style::default()), @r"
        cluster etcd, epoch 1, version 12

        KEY         VALUE                                                          VERSION  BY      AT
        etcd/token  secret, 32 bytes                                               7        node-1  00:00:01
        etcd/ca     xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…  8        ann     00:00:02

        CLAIM    STATE   HOLDER  FENCE  AT
        init     done    node-1  5      00:00:01
        upgrade  held    node-2  11     00:00:03  expires in 1m30s
        backup   vacant  node-3  9                a new run

        SET    MEMBERS         BARRIERS
        ready  node-1, node-2  all opened
        ");
    }

    #[test]
    fn a_document_of_another_shape_is_still_shown() {
        assert_eq!(render(&serde_json::json!([1]), &Clock::fixed(0), Style::default()), "epoch ?, version ?\n");
        let odd = serde_json::json!({"epoch": 1, "version": 2, "keys": {"a": 5}, "claims": [], "sets": {"b": {"members": 7}}});
        assert!(render(&odd, &Clock::fixed(0), Style::default()).starts_with("epoch 1, version 2\n"));
    }
}
