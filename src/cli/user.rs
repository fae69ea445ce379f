//! `formwork user`: who may read from and push to the hosted repository. At the server itself, in its state directory.

use super::error::CliError;
use super::output::{Format, Output, Style, Word as Cell};
use super::time::{Clock, now_unix_ms};
use crate::git::receive::{Users, UsersError};
use crate::identity::user::{May, Rights, User};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  formwork user add ada --read --push main --may wipe      pushes to main, and may say -o allow-wipe=…
  formwork user add ci --read                              only clones and fetches
  formwork user add bob --read --push 'feature/*,tags/*'   any branch below feature/, and tags
  formwork user list
  formwork user change ada --read --push main --may wipe,leave  other rights, all of them; the token stays
  formwork user token ada                                  another token; the one before is dead
  formwork user remove bob";

/// Says who may read from and push to the hosted repository (`formwork serve --hosted`).
///
/// Run at the server: users are in its state directory, as digests of their tokens. A running server sees each change at once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Adds a user and shows their token, once.
    #[command(after_help = EXAMPLES)]
    Add(Add),
    /// Gives a user other rights in the place of all that they have; their token stays.
    #[command(after_help = EXAMPLES)]
    Change(Add),
    /// Lists users and what they may do.
    #[command(after_help = EXAMPLES)]
    List(At),
    /// Takes a user away; their token opens nothing from then on.
    #[command(after_help = EXAMPLES)]
    Remove(Named),
    /// Gives a user another token and shows it, once; the one before is dead.
    #[command(after_help = EXAMPLES)]
    Token(Named),
}

#[derive(Debug, Args)]
struct At {
    /// The server's state directory.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    /// How the answer is printed (default: table on a terminal, json in a pipe).
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Args)]
struct Named {
    /// The user.
    name: String,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct Add {
    /// Their name: lower-case letters, digits, `-`, `.`, `_`. It is in the journal and in nobody's way: the token alone counts.
    name: String,
    /// They may clone and fetch.
    #[arg(long)]
    read: bool,
    /// Branches they may push to, by commas or by giving it again: names, or patterns with `*`; tags are tags/NAME.
    #[arg(long, value_name = "BRANCH", value_delimiter = ',')]
    push: Vec<String>,
    /// What they may allow when they push, by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    may: Vec<Word>,
    #[command(flatten)]
    at: At,
}

impl Add {
    fn rights(&self) -> Rights {
        let may = self.may.iter().map(|word| May::from(*word)).collect();
        Rights { read: self.read, push: self.push.clone(), may }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// `-o allow-wipe=…`: machines are wiped beyond the guard.
    Wipe,
    /// `-o allow-empty`: from many objects to none.
    Empty,
    /// `-o allow-rewrite`: the followed branch is rewritten.
    Rewrite,
    /// `-o allow-leave=…`: machines leave beyond the guard.
    Leave,
    /// `-o allow-site-rename=…`: the site gets another name.
    Rename,
}

impl From<Word> for May {
    fn from(word: Word) -> Self {
        match word {
            Word::Wipe => Self::Wipe,
            Word::Empty => Self::Empty,
            Word::Rewrite => Self::Rewrite,
            Word::Leave => Self::Leave,
            Word::Rename => Self::Rename,
        }
    }
}

/// A user as they are shown: never what recognises their token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    read: bool,
    push: &'a [String],
    may: Vec<&'static str>,
    token_since_unix_ms: i64,
}

impl<'a> Row<'a> {
    fn of(user: &'a User) -> Self {
        let may = user.rights.may.iter().map(|may| may.as_str()).collect();
        Self {
            name: &user.name,
            read: user.rights.read,
            push: &user.rights.push,
            may,
            token_since_unix_ms: user.token_since_unix_ms,
        }
    }
}

/// A token, on its way to the person it is for.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    token: &'a str,
}

/// Runs the command.
///
/// # Errors
/// Users that cannot be read or changed.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        UserCommand::Add(add) => {
            let token = users(&add.at)?.add(&add.name, add.rights(), now_unix_ms()).map_err(wrong)?;
            show(&add.at, &add.name, &token, "added")
        }
        UserCommand::Change(change) => {
            let rights = change.rights();
            let told = format!("user {} has now: {}; the token is the same", change.name, rights.as_options());
            users(&change.at)?.allow(&change.name, rights).map_err(wrong)?;
            super::output::say(&told);
            Ok(())
        }
        UserCommand::List(at) => {
            let users = users(at)?.all().map_err(wrong)?;
            let rows: Vec<Row<'_>> = users.iter().map(Row::of).collect();
            let names = || rows.iter().map(|row| row.name.to_owned()).collect();
            Output::of_process(at.output).answer(&rows, names, |style| table(&rows, &Clock::here(), style))
        }
        UserCommand::Remove(named) => {
            users(&named.at)?.remove(&named.name).map_err(wrong)?;
            super::output::say(&format!("user {} removed; their token opens nothing any more", named.name));
            Ok(())
        }
        UserCommand::Token(named) => {
            let token = users(&named.at)?.renew(&named.name, now_unix_ms()).map_err(wrong)?;
            show(&named.at, &named.name, &token, "has a new token; the one before is dead")
        }
    }
}

fn users(at: &At) -> Result<Users, CliError> {
    let found = crate::store::embedded::find(&at.state_dir);
    if !found.map_err(|error| super::store::failed(error, &at.state_dir))? {
        return Err(CliError::Usage {
            message: format!("{} holds no site", at.state_dir.display()),
            hint: Some("name the server's state directory: --state-dir DIR, or FORMWORK_STATE_DIR".to_owned()),
        });
    }
    Ok(Users::in_file(crate::serve::StateDirectory(at.state_dir.clone()).users()))
}

fn wrong(error: UsersError) -> CliError {
    match error {
        UsersError::Wrong(message) => CliError::Usage { message, hint: None },
        UsersError::Exists(_) => {
            CliError::Refused { code: "exists".to_owned(), message: error.to_string(), hint: None }
        }
        UsersError::Unknown(_) => CliError::NotFound { message: error.to_string(), hint: None },
        UsersError::Broken { .. } => CliError::Failed { message: error.to_string(), hint: USERS.to_owned() },
        error => CliError::NotSo(error.to_string()),
    }
}

/// What a good file of users is.
const USERS: &str = r#"it is [{"name": "ada", "sha256": "…", "rights": {"read": true, "push": ["main"], "may": []}, "tokenSinceUnixMs": 0}], as `formwork user add` writes it; put it right, or bring it back from a backup; `[]` is a file without users"#;

fn show(at: &At, name: &str, token: &str, what: &str) -> Result<(), CliError> {
    let text = |_| {
        format!(
            "user {name} {what}\n  token  {token}\n  It is shown this once. git asks for it as the password, with any name:\n    \
             git clone https://{name}@BOOT-SERVER:8443/git/site.git\n"
        )
    };
    Output::of_process(at.output).answer(&Shown { name, token }, || vec![name.to_owned()], text)
}

fn table(rows: &[Row<'_>], clock: &Clock, style: Style) -> String {
    if rows.is_empty() {
        return "there are no users; the administrator's token opens everything\n  hint: formwork user add NAME --read --push main\n".to_owned();
    }
    let list = |words: Vec<&str>| if words.is_empty() { "-".to_owned() } else { words.join(", ") };
    let cells = rows.iter().map(|row| {
        vec![
            Cell::from(row.name),
            Cell::from(if row.read { "yes" } else { "no" }),
            Cell::from(list(row.push.iter().map(String::as_str).collect())),
            Cell::from(list(row.may.clone())),
            Cell::from(clock.ago(row.token_since_unix_ms)),
        ]
    });
    super::output::table(&["user", "reads", "pushes to", "may allow", "token made"], cells, style)
}
