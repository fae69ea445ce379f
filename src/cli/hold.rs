//! `formwork suspend|resume|rollback`: what people say about following the source. Each becomes an event of the site.

use super::error::CliError;
use super::given_words;
use super::output::printable;
use super::session::{Options, Session};
use crate::api::views::{AllowBody, AskAnswer, HoldBody, RollbackBody};
use clap::Args;
use serde::Serialize;

/// Applies nothing that the source shows from now on; it is still looked at.
#[derive(Debug, Args)]
#[command(
    after_help = "Also after a restart of the server. Newer revisions are fetched and judged, and `formwork status` says which waits.
A rollback is a person's own order, and is carried out while suspended.

Examples:
  formwork suspend --reason 'the switch is replaced today'
  formwork resume"
)]
pub struct Suspend {
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// Follows the source again: lifts a suspension and a pin, or goes along with a branch that was rewritten.
#[derive(Debug, Args)]
#[command(
    after_help = "A guard may hold the newest revision still: whoever means it says so of the revision that the source shows now, as with a push.
It is written down, and allows nothing to any other revision. --revision says which one was judged (`formwork diff`).

Examples:
  formwork resume
  formwork resume --allow-wipe node-7,node-8 --revision 3f2a91c --reason 'the new layout is meant'
  formwork resume --rewritten platform --reason 'history was cleaned up'
  formwork resume --reason 'the fix is pushed' && formwork reconcile --wait"
)]
pub struct Resume {
    /// Go along with this source's branch, which was rewritten and is held (`onRewrite: hold`); a suspension and a pin stay.
    #[arg(
        long,
        value_name = "SOURCE",
        conflicts_with_all = ["allow_wipe", "allow_leave", "allow_empty", "allow_site_rename", "revision"]
    )]
    rewritten: Option<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    allow: AllowSeen,
    #[command(flatten)]
    session: Options,
}

/// Goes back to an earlier good revision, which stays until `formwork resume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without a revision: the one that served before. Only what was good and applied here can be gone back to
(`formwork history`). The rules for disks are those of a push: a lower spec.run starts nothing, and the guards are asked.

Examples:
  formwork rollback --reason 'the new kernel hangs on r640'
  formwork rollback 3f2a91c --reason 'known good'
  formwork resume"
)]
pub struct Rollback {
    /// The revision, or how it begins (at least four characters).
    #[arg(value_name = "REVISION", conflicts_with = "to")]
    revision: Option<String>,
    /// The same. One of them is required with `all`.
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", required = true, value_parser = given_words::reason)]
    reason: String,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    session: Options,
}

/// What a revision may do beyond the guards: the words of a push.
#[derive(Debug, Args)]
pub struct Allow {
    /// Let machines be wiped beyond spec.wipeGuard: names by commas, or all.
    #[arg(long, value_name = "NAMES|all", value_parser = given_words::wipe)]
    allow_wipe: Option<String>,
    /// Let machines leave beyond spec.leaveGuard: how many, names by commas, or all.
    #[arg(long, value_name = "NUMBER|NAMES|all", value_parser = given_words::leave)]
    allow_leave: Option<String>,
    /// Let it go from many objects to none.
    #[arg(long)]
    allow_empty: bool,
}

/// The same of what the source shows now.
#[derive(Debug, Args)]
pub struct AllowSeen {
    #[command(flatten)]
    allow: Allow,
    /// Let the site be called this from now on.
    #[arg(long, value_name = "NAME", value_parser = given_words::rename)]
    allow_site_rename: Option<String>,
    /// Allow it to this revision only (how it begins will do, at least four characters): where another one waits by now, nothing is
    /// allowed. Required with `all`.
    #[arg(long, value_name = "ID", value_parser = given_words::revision)]
    revision: Option<String>,
}

impl AllowSeen {
    /// As it is sent.
    pub fn body(&self, reason: &str) -> AllowBody {
        AllowBody {
            reason: reason.to_owned(),
            allow_wipe: self.allow.allow_wipe.clone(),
            allow_leave: self.allow.allow_leave.clone(),
            allow_empty: self.allow.allow_empty,
            allow_site_rename: self.allow_site_rename.clone(),
            revision: self.revision.clone(),
        }
    }
}

/// An answer, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    asked: &'a str,
    message: &'a str,
}

/// Suspends.
pub fn run_suspend(arguments: &Suspend) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let body = HoldBody { reason: arguments.reason.clone() };
    tell("suspend", &session.client.tell_content("suspend", &body)?, &session)
}

/// Resumes.
pub fn run_resume(arguments: &Resume) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let reason = &arguments.reason;
    let answer = match &arguments.rewritten {
        Some(source) => session.client.accept_source(source, &HoldBody { reason: reason.clone() })?,
        None => session.client.tell_content("resume", &arguments.allow.body(reason))?,
    };
    tell("resume", &answer, &session)
}

/// Rolls back.
pub fn run_rollback(arguments: &Rollback) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let to = arguments.revision.clone().or_else(|| arguments.to.clone());
    let Allow { allow_wipe, allow_leave, allow_empty } = &arguments.allow;
    let body = RollbackBody {
        to,
        reason: arguments.reason.clone(),
        allow_wipe: allow_wipe.clone(),
        allow_leave: allow_leave.clone(),
        allow_empty: *allow_empty,
    };
    tell("rollback", &session.client.tell_content("rollback", &body)?, &session)
}

fn tell(asked: &str, answer: &AskAnswer, session: &Session) -> Result<(), CliError> {
    let said = Said { asked, message: &answer.message };
    session.output.item(&said, asked, || printable(&answer.message))
}
