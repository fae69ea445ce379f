//! Whole commands, as they are typed, against a stand-in for the server on loopback (`Double`).

use super::double::Double;
use super::testing::{detail, machine, one_run};
use super::{CommandLine, run};
use crate::api::views::{AskAnswer, AskBody, ContentStatus, EventPage, List, MachineDetail, Phase, SiteStatus};
use crate::cli::CliError;
use crate::wire::Problem;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::{CommandFactory, Parser};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the stand-in says of `node-1`, and when that changes.
struct Site {
    phase: tokio::sync::watch::Sender<Phase>,
    asked: Mutex<Vec<String>>,
}

type Shared = Arc<Site>;

async fn one(State(site): State<Shared>, Path(name): Path<String>) -> Response {
    if name != "node-1" {
        let message = format!("there is no machine {name}");
        let problem = Problem { code: "not-found".to_owned(), message, hint: Some("look".to_owned()), retry: false };
        return (StatusCode::NOT_FOUND, Json(problem)).into_response();
    }
    let phase = *site.phase.borrow();
    Json(MachineDetail { summary: machine("node-1", phase), ..detail("node-1") }).into_response()
}

async fn list(State(site): State<Shared>) -> Json<List<crate::api::views::MachineSummary>> {
    let mut held = machine("node-2", Phase::Held);
    held.run = None;
    Json(List { revision: None, held: None, items: vec![machine("node-1", *site.phase.borrow()), held] })
}

/// One event a change of phase; nothing while there is none.
async fn events(State(site): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Json<EventPage> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
    let (after, mut watch) = (number("after"), site.phase.subscribe());
    if after == 0 && *watch.borrow() != Phase::Ready {
        let wait = Duration::from_secs(number("wait"));
        let _ = tokio::time::timeout(wait, watch.wait_for(|phase| *phase == Phase::Ready)).await;
    }
    let happened = *watch.borrow() == Phase::Ready;
    let items: Vec<_> = one_run("node-1", 0).into_iter().take(usize::from(after == 0 && happened)).collect();
    let next = items.last().map_or(after, |record| record.sequence);
    Json(EventPage { items, next })
}

async fn status(State(site): State<Shared>) -> Json<SiteStatus> {
    let stalled = *site.phase.borrow() == Phase::Failed;
    Json(SiteStatus {
        store: crate::api::views::StoreStatus::default(),
        logs: crate::api::views::LogsStatus::default(),
        enrollment: String::new(),
        open_to_others: Vec::new(),
        site: "lab".to_owned(),
        version: "0.1.0".to_owned(),
        ca_fingerprint: String::new(),
        content: ContentStatus {
            last_attempted_revision: Some(if stalled { "r2" } else { "r1" }.to_owned()),
            last_applied_revision: Some("r1".to_owned()),
            condition: if stalled { "Stalled" } else { "Ready" }.to_owned(),
            ..ContentStatus::default()
        },
        machines: BTreeMap::new(),
        drift: BTreeMap::new(),
        holds_unknown: false,
        files: Vec::new(),
        pushes: None,
        changed_files: Vec::new(),
        sources: Vec::new(),
    })
}

async fn ask(
    State(site): State<Shared>,
    Path((name, verb)): Path<(String, String)>,
    Json(body): Json<AskBody>,
) -> Json<AskAnswer> {
    site.asked.lock().unwrap().push(format!("{verb} {name} new={}", body.new));
    Json(AskAnswer { message: "so be it".to_owned() })
}

async fn adopt_all(State(site): State<Shared>, Json(body): Json<AskBody>) -> Json<AskAnswer> {
    site.asked.lock().unwrap().push(format!("adopt the site new={}", body.new));
    Json(AskAnswer { message: "so be it".to_owned() })
}

/// A stand-in, and the way to type commands at it.
struct Desk {
    site: Shared,
    _double: Double,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(phase: Phase) -> Self {
        let site = Arc::new(Site { phase: tokio::sync::watch::Sender::new(phase), asked: Mutex::default() });
        let routes = Router::new()
            .route("/v1/machines", get(list))
            .route("/v1/machines/{name}", get(one))
            .route("/v1/machines/{name}/{verb}", post(ask))
            .route("/v1/adopt", post(adopt_all))
            .route("/v1/events", get(events))
            .route("/v1/status", get(status))
            .with_state(site.clone());
        let double = Double::serve(routes);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("context.json");
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
        serde_json::to_writer(file, &double.context).unwrap();
        Self { site, _double: double, folder }
    }

    /// Types a command; the answer goes to this process's standard output.
    fn type_in(&self, line: &str) -> Result<(), CliError> {
        let context = self.folder.path().join("context.json");
        let words = ["formwork"].into_iter().chain(line.split_whitespace()).map(Into::into);
        let words = words.chain(["--context".into(), context.into_os_string(), "-o".into(), "name".into()]);
        run(CommandLine::try_parse_from(words).unwrap().command)
    }

    fn exit_code(&self, line: &str) -> u8 {
        self.type_in(line).map_or_else(|error| error.exit_code(), |()| 0)
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.site.asked.lock().unwrap())
    }
}

#[test]
fn the_command_line_holds_together() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_command_that_speaks_with_a_server_has_examples() {
    fn check(command: &clap::Command, path: &str) {
        for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
            let path = format!("{path} {}", child.get_name());
            if child.has_subcommands() {
                check(child, &path);
            } else if child.get_arguments().any(|argument| argument.get_id() == "context") {
                let help = child.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{path} has no examples");
            }
        }
    }
    check(&CommandLine::command(), "formwork");
}

#[test]
fn a_mistyped_name_ends_with_3_and_the_right_one() {
    let desk = Desk::new(Phase::Ready);
    for line in ["get machine nod-1", "describe machine nod-1", "logs nod-1 --task x", "timeline nod-1"] {
        let error = desk.type_in(line).unwrap_err();
        assert_eq!((error.exit_code(), error.hint()), (3, Some("did you mean node-1?")), "{line}");
    }
}

#[test]
fn waiting_ends_when_an_event_makes_it_so_and_not_at_the_next_look() {
    let desk = Desk::new(Phase::Working);
    let site = desk.site.clone();
    let started = Instant::now();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        site.phase.send_replace(Phase::Ready);
    });
    assert_eq!(desk.exit_code("wait machine node-1 --for ready --timeout 30s"), 0);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn waiting_in_vain_ends_with_124_and_says_what_it_is_instead() {
    let desk = Desk::new(Phase::Working);
    let error = desk.type_in("wait machine node-1 node-9 --for ready --timeout 1s").unwrap_err();
    assert_eq!(error.exit_code(), 124);
    let text = error.to_string();
    assert!(text.contains("node-1 is working, run 1") && text.contains("node-9: there is no such machine"), "{text}");
}

#[test]
fn a_failure_ends_a_wait_early_only_where_that_was_asked_for() {
    let desk = Desk::new(Phase::Failed);
    assert_eq!(desk.exit_code("wait machine node-1 --for ready --timeout 20s --fail-early"), 1);
    assert_eq!(desk.exit_code("wait machine node-1 --for phase=failed --timeout 20s"), 0);
}

#[test]
fn watching_until_ready_ends_with_what_came_of_it() {
    for (phase, line, expected) in [
        (Phase::Ready, "watch node-1 --until-ready", 0),
        (Phase::Failed, "watch node-1 --until-ready", 1),
        (Phase::Ready, "watch --until-ready", 1),
        (Phase::Working, "watch node-1 --until-ready --timeout 1s", 124),
    ] {
        assert_eq!(Desk::new(phase).exit_code(line), expected, "{line} of {phase:?}");
    }
}

#[test]
fn status_ends_with_1_when_the_last_revision_was_refused() {
    assert_eq!(Desk::new(Phase::Ready).exit_code("status"), 0);
    assert_eq!(Desk::new(Phase::Failed).exit_code("status"), 1);
}

#[test]
fn adopting_all_without_new_takes_machines_as_done_and_never_lets_one_start() {
    let desk = Desk::new(Phase::Ready);
    assert_eq!(desk.exit_code("adopt --all"), 0);
    assert_eq!(desk.asked(), ["adopt node-2 new=false"]);
    assert_eq!(desk.exit_code("adopt --all --new"), 0);
    assert_eq!(desk.asked(), ["adopt the site new=true"]);
    assert_eq!(desk.exit_code("adopt --new node-2"), 0);
    assert_eq!(desk.asked(), ["adopt node-2 new=true"]);
}

#[test]
fn a_server_that_is_away_is_asked_again_and_a_refusal_is_not() {
    let (mut tries, mut notices) = (0, 0);
    let answer = super::follow::patiently(None, &mut |_| notices += 1, || {
        tries += 1;
        match tries {
            1 => Err(CliError::Server { status: 503, message: "starting".to_owned(), hint: None }),
            _ => Ok(tries),
        }
    });
    assert_eq!((answer.unwrap(), notices), (2, 1));
    let mut tries = 0;
    let refused = super::follow::patiently::<()>(None, &mut |_| (), || {
        tries += 1;
        Err(CliError::NotSo("no".to_owned()))
    });
    assert!(refused.is_err() && tries == 1);
}

#[test]
fn a_form_of_output_is_no_value_behind_dashes_and_words_that_say_nothing_are_a_wrong_line() {
    for (words, told) in [
        (&["hook", "install", "-o", "json", "site.git"][..], "leave -o out"),
        (&["init", "lab", "--output", "json"], "leave -o out"),
        (&["skip", "node-1", "--reason", " "], "it is empty"),
        (&["rollback", "--reason", ""], "it is empty"),
        (&["reconcile", "--allow-wipe", "a,,b"], "has an empty name in it"),
        // What is wrong with another option is told as before.
        (&["pack", "add", "--of", "packs/web"], "--of"),
    ] {
        let line = std::iter::once("formwork").chain(words.iter().copied());
        let error = super::without_output(CommandLine::try_parse_from(line).expect_err("a wrong line"));
        let said = error.to_string();
        assert!(said.contains(told) && !said.contains("-- -o"), "{said}");
        assert_eq!(error.exit_code(), 2);
    }
    for (command, told) in
        [("diff", "table, in a pipe too"), ("logs", "text, in a pipe too"), ("get", "json in a pipe")]
    {
        let line = ["formwork", command, "--help"];
        let said = CommandLine::try_parse_from(line).expect_err("help").to_string();
        assert!(said.contains(told), "{said}");
    }
}
