//! Who asks, and what the request says beside its body.

use super::refused::epoch_over;
use super::{Asking, ClusterAccess, Desk, Refused, limits};
use crate::api::extract::{BODY_UNWANTED, says_nothing};
use crate::cluster::{Answer, Caller, Condition, Context, Count, Document, Operation, Request, Secrets, parse_etag};
use crate::content::kinds::Span;
use crate::store::{self, Batch};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest body that is read, bytes: a patch of a whole document with what JSON adds to it.
const BODY_MAX: usize = 1024 * 1024;
/// Longest wait of one call.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Who asks for what.
pub(super) struct Asker<A> {
    pub desk: Arc<Desk<A>>,
    pub cluster: String,
    pub caller: Caller,
    /// The epoch of the token.
    pub epoch: Option<u64>,
    pub headers: HeaderMap,
    params: HashMap<String, String>,
    query: HashMap<String, String>,
}

impl<A: ClusterAccess> FromRequestParts<Arc<Desk<A>>> for Asker<A> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk<A>>) -> Result<Self, Refused> {
        let raw = RawPathParams::from_request_parts(parts, desk)
            .await
            .map_err(|_| Refused::bad_request("the path is not UTF-8"))?;
        let params: HashMap<String, String> =
            raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri)
            .map_err(|_| Refused::bad_request("the query of the address cannot be read"))?;
        let asking = parts.extensions.remove::<Asking>();
        let (cluster, caller, epoch) = match (asking, params.get("name")) {
            (Some(Asking::Machine(found)), None) => (found.cluster, found.caller, found.epoch),
            (Some(Asking::Administrator(caller)), Some(name)) => (name.clone(), caller, None),
            _ => return Err(Refused::new(StatusCode::UNAUTHORIZED, "token-invalid", "nobody asks")),
        };
        let asker =
            Self { desk: Arc::clone(desk), cluster, caller, epoch, headers: parts.headers.clone(), params, query };
        asker.desk.limits.request(&asker.token())?;
        Ok(asker)
    }
}

impl<A: ClusterAccess> Asker<A> {
    /// Under which name its use is counted.
    fn token(&self) -> String {
        match &self.caller {
            Caller::Machine { token, .. } => format!("token/{token}"),
            Caller::Administrator { name } => format!("administrator/{name}"),
            Caller::Server => "server".to_owned(),
        }
    }

    /// Counts a wait or a stream while the result lives.
    pub fn waiting(&self) -> Result<limits::Waiting, Refused> {
        self.desk.limits.wait(&self.token())
    }

    /// What surrounds the question now; refused where the asker has nothing to ask here any more.
    pub fn context(&self) -> Result<Context, Refused> {
        let found = self.desk.access.context(&self.cluster, &self.caller);
        let mut context = found.ok_or_else(|| match &self.caller {
            Caller::Machine { machine, .. } => Refused::new(
                StatusCode::FORBIDDEN,
                "not-a-member",
                format!("{machine} is not a member of the cluster {}, or its tokens were revoked", self.cluster),
            ),
            _ => {
                Refused::new(StatusCode::NOT_FOUND, "no-such-cluster", format!("there is no cluster {}", self.cluster))
            }
        })?;
        context.caller = self.caller.clone();
        context.epoch = self.epoch;
        Ok(context)
    }

    /// The document as of the last commit, under the declared run; 410 for the token of an earlier epoch.
    pub fn document(&self, context: &Context) -> Result<Document, Refused> {
        let found = self.desk.access.store().cluster(&self.cluster)?;
        let document = found.map_or_else(|| Document::default().at_run(context.run), |found| found.at_run(context.run));
        match context.epoch {
            Some(token) if token != document.epoch => Err(gone(document.epoch, token)),
            _ => Ok(document),
        }
    }

    /// Has the store do it.
    pub async fn commit(&self, operation: Operation) -> Result<Answer, Refused> {
        let mut context = self.context()?;
        context.idempotency_key = self.header("idempotency-key")?.map(str::to_owned);
        context.fence = self.fence_header()?;
        let now_unix_ms = context.now_unix_ms;
        let request = Request { cluster: self.cluster.clone(), operation, context };
        let batch = Batch { operations: vec![store::Operation::Cluster(Box::new(request))], ..Batch::default() };
        let committed = self.desk.access.store().commit(batch, now_unix_ms).await?;
        match committed.answers.into_iter().next() {
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            Some(answer) => Ok(answer),
            None => Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "no-answer", "the store gave no answer")),
        }
    }

    /// Whether this asker is shown secrets.
    pub fn secrets(&self) -> Secrets {
        match self.caller {
            Caller::Machine { .. } => Secrets::Shown,
            _ => Secrets::Hidden,
        }
    }

    /// A part of the path.
    pub fn param(&self, name: &str) -> Result<&str, Refused> {
        self.params.get(name).map(String::as_str).ok_or_else(|| Refused::bad_request(format!("the path has no {name}")))
    }

    /// Refuses words in the query that this route does not know: a slip of the pen must not be obeyed in part.
    pub fn knows(&self, words: &[&str]) -> Result<(), Refused> {
        match self.query.keys().find(|word| !words.contains(&word.as_str())) {
            None => Ok(()),
            Some(word) => {
                let known = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
                Err(Refused::bad_request(format!("`{word}` means nothing here; the query may say {known}")))
            }
        }
    }

    /// A word of the query.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// A word of the query, read.
    pub fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refused>
    where
        T::Err: std::fmt::Display,
    {
        self.word(name)
            .map(|text| text.parse().map_err(|error| Refused::bad_request(format!("{name}: {error}"))))
            .transpose()
    }

    /// A yes or no of the query; the bare word is a yes.
    pub fn switch(&self, name: &str) -> Result<bool, Refused> {
        match self.word(name) {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(other) => Err(Refused::bad_request(format!("{name}: `{other}` is neither true nor false"))),
        }
    }

    /// How long to wait, at most a minute.
    pub fn wait(&self) -> Result<Option<Duration>, Refused> {
        Ok(self.parsed::<Span>("wait")?.map(|span| span.0.min(WAIT_MAX)))
    }

    /// A length of time in milliseconds.
    pub fn span_ms(&self, name: &str) -> Result<Option<u64>, Refused> {
        Ok(self.parsed::<Span>(name)?.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)))
    }

    /// `count=N|all`.
    pub fn count(&self) -> Result<Option<Count>, Refused> {
        self.parsed("count")
    }

    /// The fence in the query, which must be there.
    pub fn fence(&self) -> Result<u64, Refused> {
        self.parsed("fence")?.ok_or_else(|| Refused::bad_request("fence=N is missing: the number that the claim gave"))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Result<Option<&str>, Refused> {
        let wrong = |_| Refused::bad_request(format!("the header {name} is not plain text"));
        self.headers.get(name).map(|value| value.to_str().map(str::trim).map_err(wrong)).transpose()
    }

    fn fence_header(&self) -> Result<Option<(String, u64)>, Refused> {
        let Some(text) = self.header("fence")? else { return Ok(None) };
        let read = text
            .split_once('=')
            .and_then(|(claim, fence)| Some((claim.trim().to_owned(), fence.trim().parse::<u64>().ok()?)));
        read.map(Some).ok_or_else(|| Refused::bad_request("write the header as `Fence: claim=42`"))
    }

    /// `If-Match` or `If-None-Match: *`; 428 where there is neither.
    pub fn condition(&self) -> Result<Condition, Refused> {
        match (self.header("if-none-match")?, self.header("if-match")?) {
            (Some("*"), None) => Ok(Condition::Absent),
            (None, Some("*")) => Ok(Condition::Any),
            (None, Some(list)) => Ok(Condition::Versions(versions(list)?)),
            (Some(_), None) => Err(Refused::bad_request("a write takes If-None-Match: * only")),
            (Some(_), Some(_)) => Err(Refused::bad_request("give If-Match or If-None-Match, not both")),
            (None, None) => Err(Refused::new(
                StatusCode::PRECONDITION_REQUIRED,
                "condition-required",
                "a write says what it expects to find",
            )
            .hint("If-None-Match: * creates; If-Match: \"epoch.version\" compares and swaps; If-Match: * overwrites")),
        }
    }

    /// Whether the asker wants JSON; others get a line of text.
    pub fn wants_json(&self) -> bool {
        self.accepts("application/json")
    }

    /// Whether `Accept` names this type.
    pub fn accepts(&self, kind: &str) -> bool {
        self.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value
                .split(',')
                .any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case(kind)))
        })
    }

    /// The type of the body, without its parameters, in lower case.
    pub fn content_type(&self) -> Result<String, Refused> {
        let text = self.header("content-type")?.unwrap_or_default();
        Ok(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
    }
}

/// The body, as far as it is allowed.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Refused> {
    axum::body::to_bytes(body, BODY_MAX).await.map_err(|_| {
        Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body broke off or is longer than {BODY_MAX} bytes"),
        )
    })
}

/// No body, or one that says nothing.
pub(super) async fn read_nothing(body: Body) -> Result<(), Refused> {
    if says_nothing(&read_body(body).await?) {
        return Ok(());
    }
    let refused = Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "body-wrong", BODY_UNWANTED);
    Err(refused
        .hint("send no body; what can be said, such as reason=TEXT or ttl=15m, stands in the query of the address"))
}

/// A list of ETags.
pub(super) fn versions(list: &str) -> Result<Vec<(u64, u64)>, Refused> {
    list.split(',')
        .map(|tag| {
            parse_etag(tag).ok_or_else(|| {
                Refused::bad_request(format!("`{}` is not a version; they look like \"1.42\"", tag.trim()))
            })
        })
        .collect()
}

/// 410: what was asked belongs to an epoch that is over.
pub(super) fn gone(epoch: u64, asked: u64) -> Refused {
    let message = format!("the cluster was begun anew: this is epoch {epoch}, the question is of epoch {asked}");
    epoch_over(Refused::new(StatusCode::GONE, "epoch-over", message), epoch)
}
