//! Commit statuses back to a forge: what is said of a commit, and how each forge wants to hear it. Sending is one call that may
//! take its time: never on a thread that anybody waits for.

use super::secret::Secret;
use super::settings::{Forge, ForgeKind};
use super::tls;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a forge may take.
const ANSWER: Duration = Duration::from_secs(20);
/// GitHub takes no longer description; the others take as much.
const DESCRIPTION_MAX: usize = 140;
/// What the status is called there.
const CONTEXT: &str = "formwork";

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It is on its way.
    Pending,
    /// It serves.
    Success,
    /// It is refused.
    Failure,
}

/// What is said of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The commit.
    pub commit: String,
    /// What became of it.
    pub state: State,
    /// In a line.
    pub description: String,
}

/// Why a forge did not take a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NotTaken {
    /// In words, without the token.
    pub why: String,
    /// Whether asking again may help.
    pub again: bool,
}

/// Where it goes and what it says. Pure.
fn request(forge: &Forge, report: &Report) -> (String, Value) {
    let Forge { kind, url, project, .. } = forge;
    let commit = &report.commit;
    let line = report.description.lines().next().unwrap_or_default();
    let description: String = if line.chars().count() > DESCRIPTION_MAX {
        line.chars().take(DESCRIPTION_MAX - 1).chain(['…']).collect()
    } else {
        line.to_owned()
    };
    let state = match (report.state, kind) {
        (State::Pending, _) => "pending",
        (State::Success, _) => "success",
        (State::Failure, ForgeKind::Gitlab) => "failed",
        (State::Failure, _) => "failure",
    };
    match kind {
        ForgeKind::Github | ForgeKind::Gitea => {
            let api = if *kind == ForgeKind::Gitea { "/api/v1" } else { "" };
            let body = json!({"state": state, "context": CONTEXT, "description": description});
            (format!("{url}{api}/repos/{project}/statuses/{commit}"), body)
        }
        ForgeKind::Gitlab => {
            // GitLab wants the whole path as one word.
            let body = json!({"state": state, "name": CONTEXT, "description": description});
            (format!("{url}/api/v4/projects/{}/statuses/{commit}", project.replace('/', "%2F")), body)
        }
    }
}

/// The header that carries the token. Pure.
fn authorization(kind: ForgeKind, token: &Secret) -> (&'static str, String) {
    match kind {
        ForgeKind::Github => ("authorization", format!("Bearer {}", token.expose())),
        ForgeKind::Gitea => ("authorization", format!("token {}", token.expose())),
        ForgeKind::Gitlab => ("private-token", token.expose().to_owned()),
    }
}

/// Says it to the forge.
///
/// # Errors
/// [`NotTaken`] says whether asking again may help.
pub fn send(forge: &Forge, report: &Report) -> Result<(), NotTaken> {
    let (url, body) = request(forge, report);
    match ask(forge, &url, Some(&body), ANSWER)? {
        200..=299 => Ok(()),
        status @ (401 | 403) => {
            Err(failed(format!("it does not take the token (HTTP {status}); may it write commit statuses?"), false))
        }
        // A forge that was told of a push may not have the commit in its database yet.
        status @ (404 | 422) => {
            Err(failed(format!("it does not know the repository or the commit (HTTP {status})"), true))
        }
        status @ (408 | 429 | 500..) => Err(failed(format!("it answers with HTTP {status}"), true)),
        status => Err(failed(format!("it answers with HTTP {status}"), false)),
    }
}

/// Whether the forge is there, takes the token, and shows it the repository. Nothing is written there, so that whether the token
/// may write commit statuses is not known after it.
///
/// # Errors
/// Why not.
pub fn probe(forge: &Forge, most: Duration) -> Result<(), NotTaken> {
    match ask(forge, &repository(forge), None, most)? {
        200..=299 => Ok(()),
        status @ (401 | 403) => Err(failed(format!("it does not take the token (HTTP {status})"), false)),
        404 => Err(failed(
            "it does not know the repository, or does not show it to the token (HTTP 404)".to_owned(),
            false,
        )),
        status => Err(failed(format!("it answers with HTTP {status}"), true)),
    }
}

/// Where the forge tells of the repository. Pure.
fn repository(forge: &Forge) -> String {
    let Forge { kind, url, project, .. } = forge;
    match kind {
        ForgeKind::Github => format!("{url}/repos/{project}"),
        ForgeKind::Gitea => format!("{url}/api/v1/repos/{project}"),
        ForgeKind::Gitlab => format!("{url}/api/v4/projects/{}", project.replace('/', "%2F")),
    }
}

const fn failed(why: String, again: bool) -> NotTaken {
    NotTaken { why, again }
}

/// Asks with the token, and has the status of the answer. With a body it is posted.
fn ask(forge: &Forge, url: &str, body: Option<&Value>, most: Duration) -> Result<u16, NotTaken> {
    // Files and networks can be mended.
    let token = Secret::read(&forge.token_file).map_err(|error| failed(error.to_string(), true))?;
    let agent = tls::agent(forge.authority_file.as_deref(), most).map_err(|why| failed(why, true))?;
    let (header, value) = authorization(forge.kind, &token);
    let answer = match body {
        None => agent.get(url).header(header, value).header("accept", "application/json").call(),
        Some(body) => agent
            .post(url)
            .header(header, value)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .send(body.to_string()),
    };
    match answer {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(failed(token.scrub(&tls::no_answer(&error, forge.authority_file.as_deref())), true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forge_hears_it_in_its_own_words() {
        let forge = |kind, url: &str, project: &str| Forge {
            kind,
            url: url.to_owned(),
            project: project.to_owned(),
            token_file: "/x".into(),
            authority_file: None,
        };
        let report = Report {
            commit: "1".repeat(40),
            state: State::Failure,
            description: "a.yaml:1:1: error: no\n  hint: yes".to_owned(),
        };
        let ask = |forge: &Forge| request(forge, &report);
        let (url, body) = ask(&forge(ForgeKind::Github, "https://api.github.com", "o/r"));
        assert_eq!(url, format!("https://api.github.com/repos/o/r/statuses/{}", report.commit));
        let told = |kind, url: &str, project: &str| repository(&forge(kind, url, project));
        assert_eq!(told(ForgeKind::Github, "https://api.github.com", "o/r"), "https://api.github.com/repos/o/r");
        assert_eq!(
            told(ForgeKind::Gitea, "https://git.example.org", "o/r"),
            "https://git.example.org/api/v1/repos/o/r"
        );
        assert_eq!(
            told(ForgeKind::Gitlab, "https://gitlab.example.org", "g/sub/r"),
            "https://gitlab.example.org/api/v4/projects/g%2Fsub%2Fr"
        );
        assert_eq!(body, json!({"state": "failure", "context": "formwork", "description": "a.yaml:1:1: error: no"}));
        let (url, body) = ask(&forge(ForgeKind::Gitea, "https://git.example.org", "o/r"));
        assert_eq!(url, format!("https://git.example.org/api/v1/repos/o/r/statuses/{}", report.commit));
        assert_eq!(body["state"], "failure");
        let (url, body) = ask(&forge(ForgeKind::Gitlab, "https://gitlab.example.org", "g/sub/r"));
        assert_eq!(url, format!("https://gitlab.example.org/api/v4/projects/g%2Fsub%2Fr/statuses/{}", report.commit));
        assert_eq!((&body["state"], &body["name"]), (&json!("failed"), &json!("formwork")));
    }

    #[test]
    fn a_description_is_cut_where_forges_would_refuse_it() {
        let forge = Forge {
            kind: ForgeKind::Github,
            url: "https://x".to_owned(),
            project: "o/r".to_owned(),
            token_file: "/x".into(),
            authority_file: None,
        };
        let report = Report { commit: "1".repeat(40), state: State::Pending, description: "ä".repeat(500) };
        let (_, body) = request(&forge, &report);
        assert_eq!(body["description"].as_str().map(|text| text.chars().count()), Some(140));
    }
}
