//! `formwork agent cluster …`: one request each, waits asked again until their time is over.

use super::commands::{Asked, Done, Failure, refusal};
use super::exit;
use super::words::Words;
use crate::agent::active::HeldClaim;
use crate::agent::identity::random_hex;
use crate::agent::transport::{Patience, Request, Response, sleep_unless};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// One wait of the server; it allows 60 s.
const ONE_WAIT: Duration = Duration::from_secs(55);
/// How long a command without a wait goes on trying when there is no answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// A claim's lifetime, where none is given.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// A barrier's time, where none is given.
const BARRIER: Duration = Duration::from_secs(20 * 60);

/// The server's word on a claim.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimWord {
    role: String,
    fence: u64,
    #[serde(default)]
    state: String,
}

struct Cluster<'a> {
    asked: &'a Asked<'a>,
    name: String,
}

/// Answers `formwork agent cluster` with these words.
pub fn answer(asked: &Asked<'_>, rest: &[String]) -> Done {
    let (command, rest) = rest.split_first().ok_or_else(|| "`cluster` wants a command".to_owned())?;
    let known: &[&str] = match command.as_str() {
        "get" => &["cluster", "wait", "of", "after"],
        "put" => &["cluster", "value", "create", "if-version", "overwrite", "fence", "secret"],
        "claim" => &["cluster", "ttl", "json"],
        "done" => &["cluster", "fence"],
        "fail" => &["cluster", "fence", "final", "reason"],
        "renew" => &["cluster", "fence", "ttl"],
        "join" | "members" | "get-document" => &["cluster"],
        "barrier" => &["cluster", "count", "timeout"],
        other => return Err(format!("`cluster {other}` is no command; see formwork agent help").into()),
    };
    let words = Words::parse(rest, known)?;
    words.at_most(usize::from(command != "get-document"))?;
    let cluster = Cluster { asked, name: choose(asked, words.option("cluster"))? };
    match command.as_str() {
        "get" => cluster.get(&words),
        "put" => cluster.put(&words),
        "claim" => cluster.claim(&words),
        "done" => cluster.done(&words),
        "fail" => cluster.fail(&words),
        "renew" => cluster.renew(&words),
        "join" => cluster.join(&words),
        "barrier" => cluster.barrier(&words),
        "members" => cluster.plain(&format!("sets/{}", name_of(&words, "the SET")?)),
        _ => cluster.plain(""),
    }
}

fn choose(asked: &Asked<'_>, named: Option<&str>) -> Result<String, Failure> {
    let mut all = asked.connection.clusters();
    match (named, all.len()) {
        (Some(name), _) if all.iter().any(|known| known == name) => Ok(name.to_owned()),
        (Some(name), _) => Err(Failure::plain(format!("this machine is not in the cluster {name}"))),
        (None, 0) => Err(Failure::plain("this machine is in no cluster: give it a cluster profile")),
        (None, 1) => Ok(all.remove(0)),
        (None, _) => Err(format!("this machine is in {}: say which by --cluster", all.join(", ")).into()),
    }
}

/// A key's, claim's or set's name: the server judges it, but it must not become another address on the way.
fn name_of<'a>(words: &'a Words, what: &str) -> Result<&'a str, String> {
    let name = words.place(0, what)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let folds = name.split('/').any(|segment| matches!(segment, "" | "." | ".."));
    if folds || !name.chars().all(plain) {
        return Err(format!("`{name}` is no name: a-z, 0-9, `.`, `_`, `-`, segments joined by `/`"));
    }
    Ok(name)
}

impl Cluster<'_> {
    fn send(&self, request: Request, patience: Duration) -> Result<Response, Failure> {
        let until = Patience::Until(Instant::now() + patience);
        let answered = self.asked.connection.ask_cluster(&self.name, request, until, &|| self.asked.stop());
        answered.map_err(|error| Failure::plain(error.to_string()))
    }

    /// A write: with an `Idempotency-Key`, so that a reply that was lost is given again and nothing is done twice.
    fn write(&self, request: Request) -> Result<Response, Failure> {
        let key = random_hex(16).map_err(|error| Failure::plain(error.to_string()))?;
        self.send(request.header("idempotency-key", key), PATIENCE)
    }

    fn plain(&self, path: &str) -> Done {
        let slash = if path.is_empty() { "" } else { "/" };
        let request = Request::new("GET", format!("/v1/cluster{slash}{path}")).header("accept", "application/json");
        let (text, code) = finished(self.send(request, PATIENCE)?)?;
        Ok((format!("{}\n", text.trim_end()), code))
    }

    /// Asks again while the answer is "not yet" (408), until `patience` is over.
    fn wait(&self, patience: Duration, request: impl Fn(Duration) -> Request) -> Result<Response, Failure> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let one = left.min(ONE_WAIT);
            let request = request(one).timeout(one + Duration::from_secs(15));
            let response = match self.send(request, left.max(Duration::from_secs(1))) {
                Ok(response) => response,
                Err(failure) if Instant::now() >= end => return Err(Failure::with(exit::TIMED_OUT, failure.message)),
                Err(failure) if self.asked.stop() => return Err(failure),
                // Sending gives up a pause before the time is over: what is left is too short for another try.
                Err(failure) if left < Duration::from_secs(2) => {
                    return Err(Failure::with(exit::TIMED_OUT, failure.message));
                }
                Err(failure) => return Err(failure),
            };
            if response.status != 408 {
                return Ok(response);
            }
            if Instant::now() >= end {
                return Err(Failure::with(exit::TIMED_OUT, "the wait is over and it did not come"));
            }
            if !sleep_unless(Duration::from_millis(50), &|| self.asked.stop()) {
                return Err(Failure::plain("the job is over"));
            }
        }
    }

    fn get(&self, words: &Words) -> Done {
        let key = name_of(words, "the KEY")?;
        let mut conditions = String::new();
        if let Some(claim) = words.option("of") {
            conditions.push_str(&format!("&of={}", query_value(claim)));
        }
        if let Some(version) = words.option("after") {
            conditions.push_str(&format!("&after={}", query_value(version)));
        }
        let path = format!("/v1/cluster/keys/{key}");
        let response = match words.duration("wait")? {
            Some(wait) => self.wait(wait, |one| {
                Request::new("GET", format!("{path}?wait={}ms{conditions}", one.as_millis()))
                    .header("accept", "text/plain")
            })?,
            None => {
                let conditions = conditions.strip_prefix('&').map(|rest| format!("?{rest}")).unwrap_or_default();
                let request = Request::new("GET", format!("{path}{conditions}"));
                self.send(request.header("accept", "text/plain"), PATIENCE)?
            }
        };
        finished(response)
    }

    fn put(&self, words: &Words) -> Done {
        let key = name_of(words, "the KEY")?;
        let value = words.option("value").map(str::to_owned).or_else(|| self.asked.input.clone());
        let value = value.ok_or_else(|| "a value is missing: --value, or on standard input".to_owned())?;
        let secret = if words.switch("secret") { "?secret=1" } else { "" };
        let request = Request::new("PUT", format!("/v1/cluster/keys/{key}{secret}"));
        let request = match (words.switch("create"), words.option("if-version"), words.switch("overwrite")) {
            (true, None, false) => request.header("if-none-match", "*"),
            (false, Some(version), false) => request.header("if-match", format!("\"{}\"", version.trim_matches('"'))),
            (false, None, true) => request.header("if-match", "*"),
            _ => return Err("one of --create, --if-version V and --overwrite must be said".to_owned().into()),
        };
        let mut request = request.header("content-type", "text/plain; charset=utf-8").body(value.into_bytes());
        if let Some(claim) = words.option("fence") {
            request = request.header("fence", self.fence_header(claim)?);
        }
        written(self.write(request)?)
    }

    /// `CLAIM` (held by this job) or `CLAIM=42` as the header has it.
    fn fence_header(&self, claim: &str) -> Result<String, Failure> {
        if claim.contains('=') {
            return Ok(claim.to_owned());
        }
        let fence = self.asked.job.fence(&self.name, claim);
        fence.map(|fence| format!("{claim}={fence}")).ok_or_else(|| not_held(claim))
    }

    fn fence(&self, words: &Words, claim: &str) -> Result<u64, Failure> {
        match words.option("fence") {
            Some(text) => Ok(text.parse().map_err(|_| format!("--fence: `{text}` is no number"))?),
            None => self.asked.job.fence(&self.name, claim).ok_or_else(|| not_held(claim)),
        }
    }

    fn claim(&self, words: &Words) -> Done {
        let claim = name_of(words, "the CLAIM")?;
        let lifetime = words.duration("ttl")?.unwrap_or(LIFETIME);
        let path = format!("/v1/cluster/claims/{claim}?ttl={}s", lifetime.as_secs().max(1));
        let response = self.write(Request::new("POST", path).header("accept", "application/json"))?;
        if !response.is_success() {
            return Err(refusal(&response));
        }
        let word: ClaimWord = response.json().map_err(Failure::plain)?;
        let leads = match word.role.as_str() {
            "leader" => true,
            "follower" => false,
            other => return Err(Failure::plain(format!("the server gave the role {other}, which is not known here"))),
        };
        if leads && word.state != "done" {
            let (cluster, claim) = (self.name.clone(), claim.to_owned());
            let held = HeldClaim { cluster, claim, fence: word.fence, lifetime, renewed: Instant::now() };
            self.asked.job.hold(held);
        }
        let output = if words.switch("json") {
            response.text()
        } else {
            let done = if word.state == "done" { " done" } else { "" };
            format!("{} {}{done}\n", word.role, word.fence)
        };
        Ok((output, if leads { 0 } else { exit::FOLLOWER }))
    }

    fn done(&self, words: &Words) -> Done {
        let claim = name_of(words, "the CLAIM")?;
        let path = format!("/v1/cluster/claims/{claim}/done?fence={}", self.fence(words, claim)?);
        let mut request = Request::new("POST", path);
        if let Some(publish) = self.asked.input.as_ref().filter(|text| !text.trim().is_empty()) {
            request = request.header("content-type", "application/json").body(publish.clone().into_bytes());
        }
        let response = self.write(request)?;
        if response.is_success() || response.status == 409 {
            self.asked.job.release(&self.name, claim);
        }
        written(response)
    }

    fn fail(&self, words: &Words) -> Done {
        let claim = name_of(words, "the CLAIM")?;
        let retry = !words.switch("final");
        let reason = words.option("reason").map(|text| format!("&reason={}", query_value(text))).unwrap_or_default();
        let fence = self.fence(words, claim)?;
        let path = format!("/v1/cluster/claims/{claim}/fail?fence={fence}&retry={retry}{reason}");
        let response = self.write(Request::new("POST", path))?;
        if response.is_success() || response.status == 409 {
            self.asked.job.release(&self.name, claim);
        }
        written(response)
    }

    fn renew(&self, words: &Words) -> Done {
        let claim = name_of(words, "the CLAIM")?;
        let fence = self.fence(words, claim)?;
        let ttl = words.duration("ttl")?.map(|ttl| format!("&ttl={}s", ttl.as_secs().max(1))).unwrap_or_default();
        written(self.write(Request::new("PUT", format!("/v1/cluster/claims/{claim}?fence={fence}{ttl}")))?)
    }

    fn join(&self, words: &Words) -> Done {
        let set = name_of(words, "the SET")?;
        let request = Request::new("PUT", format!("/v1/cluster/sets/{set}/self")).header("accept", "application/json");
        joined(&self.write(request)?)
    }

    fn barrier(&self, words: &Words) -> Done {
        let set = name_of(words, "the SET")?;
        let count = query_value(words.option("count").unwrap_or("all"));
        let timeout = words.duration("timeout")?.unwrap_or(BARRIER);
        let response = self.wait(timeout, |one| {
            // Joining is idempotent by nature: asked again, it is the same place in the set.
            let path = format!("/v1/cluster/sets/{set}/self?wait={}ms&count={count}", one.as_millis());
            Request::new("PUT", path).header("accept", "application/json")
        })?;
        joined(&response)
    }
}

fn not_held(claim: &str) -> Failure {
    Failure::plain(format!("this job does not hold the claim {claim}"))
}

/// The ordinal, alone on a line.
fn joined(response: &Response) -> Done {
    #[derive(Deserialize)]
    struct Joined {
        ordinal: u64,
    }
    if !response.is_success() {
        return Err(refusal(response));
    }
    let joined: Joined = response.json().map_err(Failure::plain)?;
    Ok((format!("{}\n", joined.ordinal), 0))
}

/// Nothing of a success: a script wants to know that it is written, and the exit code says so.
fn written(response: Response) -> Done {
    finished(response).map(|(_, code)| (String::new(), code))
}

/// The body of a success; for anything else the exit code that says what it was.
fn finished(response: Response) -> Done {
    match response.status {
        200..=299 => Ok((response.text(), 0)),
        424 => Err(Failure::with(exit::PRODUCER_FAILED, refusal(&response).message)),
        408 => Err(Failure::with(exit::TIMED_OUT, refusal(&response).message)),
        _ => Err(refusal(&response)),
    }
}

/// Percent-encodes what a query's value may not hold as it is (RFC 3986, section 2.3).
fn query_value(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_another_address() {
        let named = |text: &str| {
            let words = Words::parse(&[text.to_owned()], &[]).unwrap();
            name_of(&words, "the KEY").map(str::to_owned)
        };
        assert_eq!(named("etcd/join-command"), Ok("etcd/join-command".into()));
        for odd in ["../claims/init", "a/../b", "a//b", "", "a?secret=0", "a#b", "a%2fb", "a b"] {
            assert!(named(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_query_keeps_its_values_apart() {
        assert_eq!(query_value("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
