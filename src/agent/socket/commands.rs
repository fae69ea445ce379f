//! What the agent does for a script: one place that knows every command the socket answers.

use super::words::Words;
use super::{cluster, exit};
use crate::agent::active::ActiveJob;
use crate::agent::connection::Connection;
use crate::agent::transport::{Patience, Request, Response};
use crate::wire::{FactsReport, JobRequest, SocketAnswer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a command goes on trying when there is no answer and it was told no other time.
const PATIENCE: Duration = Duration::from_secs(120);
/// The same for facts: the server takes so many a minute, and says how long the next has to wait (four minutes for the largest).
const FACTS_PATIENCE: Duration = Duration::from_secs(600);

/// Why a command failed, and the exit code that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: i32,
    /// For standard error.
    pub message: String,
}

impl Failure {
    /// With a code of its own.
    pub fn with(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Plainly failed.
    pub fn plain(message: impl Into<String>) -> Self {
        Self::with(exit::FAILED, message)
    }
}

impl From<String> for Failure {
    /// Wrong words.
    fn from(message: String) -> Self {
        Self::with(exit::MISUSED, message)
    }
}

/// What a command came to: standard output and exit code.
pub type Done = Result<(String, i32), Failure>;

/// Everything a command may use.
pub struct Asked<'a> {
    /// The way to the server.
    pub connection: &'a Connection,
    /// The job that asks.
    pub job: &'a ActiveJob,
    /// Standard input, where there was any.
    pub input: Option<String>,
}

impl Asked<'_> {
    /// Whether the job is to end: waits end with it.
    pub fn stop(&self) -> bool {
        self.job.abandoned().is_some() || self.job.log.is_closed()
    }

    /// A request with the machine token, tried for two minutes; a refusal is a failure.
    pub fn machine(&self, request: Request) -> Result<Response, Failure> {
        self.machine_within(request, PATIENCE)
    }

    fn machine_within(&self, request: Request, patience: Duration) -> Result<Response, Failure> {
        let patience = Patience::Until(Instant::now() + patience);
        let answered = self.connection.ask(request, patience, &|| self.stop());
        let response = answered.map_err(|error| Failure::plain(error.to_string()))?;
        if response.is_success() { Ok(response) } else { Err(refusal(&response)) }
    }
}

/// What the server's refusal says to a script.
pub fn refusal(response: &Response) -> Failure {
    let problem = response.problem();
    let hint = problem.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    Failure::plain(format!("{} ({}){hint}", problem.message, problem.code))
}

/// Answers one question.
pub fn answer(connection: &Connection, job: &ActiveJob, arguments: &[String], input: Option<String>) -> SocketAnswer {
    let asked = Asked { connection, job, input };
    match dispatch(&asked, arguments) {
        Ok((output, exit_code)) => SocketAnswer { output, error: String::new(), exit_code },
        Err(failure) => SocketAnswer { output: String::new(), error: failure.message, exit_code: failure.code },
    }
}

fn dispatch(asked: &Asked<'_>, arguments: &[String]) -> Done {
    let (command, rest) = arguments.split_first().ok_or_else(|| "a command is missing".to_owned())?;
    match command.as_str() {
        "cluster" => cluster::answer(asked, rest),
        "fact" => fact(asked, rest),
        "facts" => report_facts(asked),
        "request" => request(asked, rest),
        "log" => log(asked, rest),
        "job" => Ok((job(asked), 0)),
        "disk-ticket" => {
            let response =
                asked.machine(Request::post_json("/v1/agent/disk-ticket", &json!({ "job": asked.job.grant.job })))?;
            Ok((response.text(), 0))
        }
        other => Err(format!("there is no command {other}; see formwork agent help").into()),
    }
}

fn fact(asked: &Asked<'_>, rest: &[String]) -> Done {
    let words = Words::parse(rest, &[])?;
    let name = words.place(1, "the fact's NAME")?.to_owned();
    let value = match words.place(0, "`set` or `remove`")? {
        "set" => {
            words.at_most(3)?;
            let text = words.optional_place(2).map(str::to_owned).or_else(|| asked.input.clone());
            let text = text.ok_or_else(|| "a value is missing: as JSON, or on standard input".to_owned())?;
            // What is no JSON is a text: `fact set release bookworm` means what it says.
            serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::String(text.trim_end().to_owned()))
        }
        "remove" => Value::Null,
        other => return Err(format!("`fact {other}` is no command; it is `fact set` or `fact remove`").into()),
    };
    report(asked, &FactsReport { facts: [(name, value)].into_iter().collect() })?;
    Ok((String::new(), 0))
}

fn report_facts(asked: &Asked<'_>) -> Done {
    let reported: FactsReport = serde_json::from_str(asked.input.as_deref().unwrap_or_default())
        .map_err(|error| format!("the facts cannot be read: {error}"))?;
    report(asked, &reported)?;
    Ok((String::new(), 0))
}

fn report(asked: &Asked<'_>, report: &FactsReport) -> Result<(), Failure> {
    asked.machine_within(Request::post_json("/v1/agent/facts", report), FACTS_PATIENCE).map(drop)
}

fn request(asked: &Asked<'_>, rest: &[String]) -> Done {
    let words = Words::parse(rest, &[])?;
    words.at_most(1)?;
    let wanted = match words.place(0, "what to request")? {
        "reboot" => JobRequest::Reboot,
        "stop" => JobRequest::Stop,
        "poweroff" => JobRequest::Poweroff,
        "again" => JobRequest::Again,
        other => return Err(format!("`{other}` cannot be requested; reboot, stop, poweroff and again can").into()),
    };
    asked.job.request(wanted);
    Ok((String::new(), 0))
}

fn log(asked: &Asked<'_>, rest: &[String]) -> Done {
    let text = if rest.is_empty() { asked.input.clone().unwrap_or_default() } else { rest.join(" ") };
    asked.job.log.append(format!("{}\n", text.trim_end_matches('\n')).as_bytes());
    Ok((String::new(), 0))
}

/// The job as the client's own commands need it.
fn job(asked: &Asked<'_>) -> String {
    let (grant, boot) = (&asked.job.grant, asked.connection.boot());
    json!({
        "job": grant.job,
        "run": grant.run,
        "destructive": grant.destructive,
        "server": boot.server,
        "caCertificate": boot.ca_certificate,
    })
    .to_string()
}
