//! The routes of the hosted repository: git's own, and nothing else below `/git`. Refusals are plain text, since git shows that to
//! whoever pushes.

use super::report::Report;
use super::{Answer, Pass, Pusher, Question, answer};
use crate::api::access::{Peer, bearer};
use crate::api::extract::Json;
use crate::api::{ApiError, App};
use crate::git::GitError;
use crate::git::receive::{Ask, Backend, BackendError, Hosted, PUSH_BYTES_MAX, Service, UPDATES_MAX, UsersError};
use crate::identity::user::{ADMINISTRATOR, Rights};
use crate::net::routes::{Opens, Route, Routes};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use base64::Engine as _;
use futures_util::StreamExt as _;

/// The largest question of a fetch, bytes: what the client has and wants.
const FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of a push, a little more than git itself takes, so that its own refusal is the one that is read.
const PUSH_BODY_MAX: usize = (PUSH_BYTES_MAX as usize) + (16 << 20);

/// Who asks: by a user's token or the administrator's.
#[derive(Clone)]
pub(in crate::api) struct Visitor(Pusher);

pub(in crate::api) fn routes() -> Routes<App> {
    let advertised = "application/x-git-upload-pack-advertisement";
    let refs = Route::get("/git/site.git/info/refs", Opens::Git, "What the hosted repository has, for git")
        .word("service", "`git-upload-pack` or `git-receive-pack`")
        .gives_media(advertised);
    let fetch = Route::post("/git/site.git/git-upload-pack", Opens::Git, "Clone and fetch, spoken by git")
        .takes_media("application/x-git-upload-pack-request")
        .body_max(FETCH_BYTES_MAX)
        .gives_media("application/x-git-upload-pack-result");
    let push =
        Route::post("/git/site.git/git-receive-pack", Opens::Git, "Push, spoken by git; judged before it is taken")
            .takes_media("application/x-git-receive-pack-request")
            .body_max(PUSH_BODY_MAX)
            .gives_media("application/x-git-receive-pack-result");
    let ask = Route::post("/v1/push", Opens::Git, "A hook asks whether a push may be taken")
        .takes_media("application/json")
        .gives_media("application/json");
    Routes::default().route(refs, info_refs).route(fetch, upload_pack).route(push, receive_pack).route(ask, hook)
}

/// Finds out who asks. Basic, where the password is the token and the name is not looked at; or a bearer token.
///
/// # Errors
/// 401, the same whatever is wrong.
pub(in crate::api) fn visitor(app: &App, parts: &Parts) -> Result<Visitor, ApiError> {
    let token = bearer(&parts.headers).map(str::to_owned).or_else(|| password(&parts.headers)).ok_or_else(denied)?;
    // Both are looked at, so that the time taken does not tell which it nearly was.
    let (administrator, user) = (app.administrators.verify(&token), app.receiving.users.whose(&token));
    if administrator {
        return Ok(Visitor(Pusher { name: ADMINISTRATOR.to_owned(), rights: Rights::all() }));
    }
    match user {
        Ok(Some(user)) => Ok(Visitor(Pusher { name: user.name, rights: user.rights })),
        Ok(None) => Err(denied()),
        Err(error @ (UsersError::File { .. } | UsersError::Broken { .. })) => {
            tracing::error!(%error, "users cannot be read; nobody but the administrator is let in");
            Err(denied())
        }
        Err(_) => Err(denied()),
    }
}

/// The refusal of whoever is not known.
pub(in crate::api) fn denied() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "token-invalid", "the token is not known here; give it as the password")
        .hint("at the server: formwork user add NAME, or formwork user token NAME")
        .header("www-authenticate", HeaderValue::from_static("Basic realm=\"Formwork\", charset=\"UTF-8\""))
        .plain()
}

fn password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

fn hosted(app: &App) -> Result<&(Hosted, Backend), ApiError> {
    app.receiving.hosted.as_ref().ok_or_else(|| {
        ApiError::not_found("this server hosts no repository; it follows one that is elsewhere")
            .hint("formwork status says which; or serve with --hosted")
            .plain()
    })
}

fn allowed(visitor: &Visitor, service: Service) -> Result<(), ApiError> {
    let rights = &visitor.0.rights;
    let (may, what) = match service {
        Service::UploadPack => (rights.read, "read"),
        Service::ReceivePack => (!rights.push.is_empty(), "push"),
    };
    if may {
        return Ok(());
    }
    let message = format!("{} may not {what} here", visitor.0.name);
    tracing::warn!(by = visitor.0.name, what, "a clone or push was refused: they may not");
    let mut with = rights.clone();
    match service {
        Service::UploadPack => with.read = true,
        Service::ReceivePack => with.push.push("BRANCH".to_owned()),
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "not-allowed", message)
        .hint(format!("at the server: formwork user change {} {}", visitor.0.name, with.as_options()))
        .plain())
}

/// That git will run the hooks that ask here: it leaves out one that it cannot run, and takes the push unasked.
async fn hooks_stand(hosted: &Hosted, visitor: &Visitor) -> Result<(), ApiError> {
    let (looked, by) = (hosted.clone(), &visitor.0.name);
    let stood = tokio::task::spawn_blocking(move || looked.stand()).await.unwrap_or(Err(GitError::Stopped));
    match stood {
        Ok(written) if written.is_empty() => Ok(()),
        Ok(written) => {
            let hooks = written.join(", ");
            tracing::warn!(by, hooks, "hooks were not as this server writes them, and were written anew before a push");
            Ok(())
        }
        Err(error @ GitError::Missing { .. }) => {
            tracing::error!(by, %error, "a push was refused: the repository is not there");
            let message = format!("no push is taken now: {error}");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "repository-missing", message)
                .hint("at the server: bring its folder back (is a disk not mounted?); a server that is started without it begins an empty one")
                .plain())
        }
        Err(error) => {
            tracing::error!(by, %error, "a push was refused: the hooks that ask before it is taken would not run");
            let message = format!("no push is taken now: {error}");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "hooks-not-run", message).plain())
        }
    }
}

async fn info_refs(State(app): State<App>, Peer(peer): Peer, request: Request) -> Result<Response<Body>, ApiError> {
    let visitor = request.extensions().get::<Visitor>().cloned().ok_or_else(denied)?;
    let name = request.uri().query().and_then(|query| query.strip_prefix("service="));
    let service = name.and_then(Service::from_name).ok_or_else(|| {
        ApiError::new(StatusCode::FORBIDDEN, "not-smart", "only git's smart protocol is spoken here")
            .hint("use git 1.6.6 or newer")
            .plain()
    })?;
    let (hosted, backend) = hosted(&app)?;
    allowed(&visitor, service)?;
    if service == Service::ReceivePack {
        hooks_stand(hosted, &visitor).await?;
    }
    let ask = Ask {
        service,
        has_body: false,
        length: None,
        gzip: false,
        version: version(request.headers()),
        user: visitor.0.name,
        peer,
        capability: None,
        body_max: 0,
    };
    let answer = backend.ask(hosted.name(), ask, futures_util::stream::empty::<Result<_, std::io::Error>>()).await;
    respond(answer, None)
}

async fn upload_pack(state: State<App>, peer: Peer, request: Request) -> Result<Response<Body>, ApiError> {
    service(state, peer, request, Service::UploadPack, FETCH_BYTES_MAX).await
}

async fn receive_pack(state: State<App>, peer: Peer, request: Request) -> Result<Response<Body>, ApiError> {
    service(state, peer, request, Service::ReceivePack, PUSH_BODY_MAX).await
}

async fn service(
    State(app): State<App>,
    Peer(peer): Peer,
    request: Request,
    service: Service,
    body_max: usize,
) -> Result<Response<Body>, ApiError> {
    let visitor = request.extensions().get::<Visitor>().cloned().ok_or_else(denied)?;
    let (hosted, backend) = hosted(&app)?;
    allowed(&visitor, service)?;
    let headers = request.headers();
    let said = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    if said(header::CONTENT_TYPE) != Some(format!("application/x-{}-request", service.as_str()).as_bytes()) {
        return Err(wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is not of the type that git sends"));
    }
    let gzip = match said(header::CONTENT_ENCODING) {
        None | Some(b"identity") => false,
        Some(b"gzip" | b"x-gzip") => true,
        Some(_) => {
            return Err(wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is compressed in another way than gzip"));
        }
    };
    let length = match headers.get(header::CONTENT_LENGTH).map(|length| length.to_str().ok().map(str::parse::<u64>)) {
        None => None,
        Some(Some(Ok(length))) if length <= body_max as u64 => Some(length),
        Some(Some(Ok(_))) => {
            let most = format!("more than {} MiB at once are not taken", body_max >> 20);
            return Err(wrong(StatusCode::PAYLOAD_TOO_LARGE, &most));
        }
        Some(_) => return Err(wrong(StatusCode::BAD_REQUEST, "the length of the body is no number")),
    };
    let pass = match service {
        Service::UploadPack => None,
        Service::ReceivePack => {
            hooks_stand(hosted, &visitor).await?;
            let pass = app.receiving.admit(visitor.0.clone());
            Some(pass.map_err(|error| wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))?)
        }
    };
    let watched = Watched { app: app.clone(), by: visitor.0.name.clone(), service, pass, report: Report::default() };
    let ask = Ask {
        service,
        has_body: true,
        length,
        gzip,
        version: version(headers),
        user: visitor.0.name,
        peer,
        capability: watched.pass.as_ref().map(|pass| pass.capability.clone()),
        body_max: body_max as u64,
    };
    let answer = backend.ask(hosted.name(), ask, request.into_body().into_data_stream()).await;
    if let Err(error) = &answer {
        watched.unanswered(error);
    }
    respond(answer, Some(watched))
}

/// A clone or a push while git answers it: what git says at its end is told to who runs the server, too.
struct Watched {
    app: App,
    by: String,
    service: Service,
    /// Of a push. It lives as long as the answer: that is when the hooks have ended.
    pass: Option<Pass>,
    report: Report,
}

impl Watched {
    /// git did not even begin to answer.
    fn unanswered(&self, error: &BackendError) {
        if self.service == Service::ReceivePack && !matches!(error, BackendError::NotGit) {
            self.note(&error.to_string());
        }
    }

    fn note(&self, why: &str) {
        let now = self.app.fleet.clock.now_unix_ms();
        self.app.receiving.note(&self.by, "", now, &Answer::unable(why, None));
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        match self.service {
            Service::ReceivePack => {
                // What a hook refused is told by whom it asked.
                let asked = self.pass.as_ref().is_some_and(|pass| pass.has_asked());
                if let Some(rejected) = self.report.rejected().filter(|it| !(it.by_hook && asked)) {
                    self.note(&rejected.reason);
                }
            }
            Service::UploadPack => {
                let Some(why) = self.report.fatal() else { return };
                let repository = self.app.receiving.hosted.as_ref().map(|(hosted, _)| hosted.path());
                let repository = repository.unwrap_or_default();
                tracing::error!(
                    by = self.by,
                    why,
                    "git could not give a clone or fetch; look with: git -C {} fsck",
                    repository.display()
                );
            }
        }
    }
}

/// The protocol's version, out of the ones there are; everything else that the header may say is left out.
fn version(headers: &HeaderMap) -> Option<u8> {
    let said = headers.get("git-protocol")?.to_str().ok()?;
    said.split(':').find_map(|word| match word.strip_prefix("version=")? {
        "1" => Some(1),
        "2" => Some(2),
        _ => None,
    })
}

fn wrong(status: StatusCode, message: &str) -> ApiError {
    ApiError::new(status, "not-git", message).plain()
}

fn respond(
    answer: Result<crate::git::receive::Answer, BackendError>,
    mut watched: Option<Watched>,
) -> Result<Response<Body>, ApiError> {
    let answer = answer.map_err(|error| match error {
        BackendError::Busy => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error.to_string()).retry(5).plain()
        }
        BackendError::NotGit | BackendError::CutOff(_) => wrong(StatusCode::BAD_REQUEST, &error.to_string()),
        BackendError::NoGit | BackendError::Failed(_) | BackendError::Ended => {
            tracing::error!(%error, "git did not answer");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "git-failed", error.to_string()).plain()
        }
    })?;
    let body = answer.body.map(move |piece| {
        if let (Some(watched), Ok(piece)) = (&mut watched, &piece) {
            watched.report.see(piece);
        }
        piece
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A hook that reaches no socket: of a repository that another user of this host owns.
async fn hook(
    State(app): State<App>,
    axum::Extension(Visitor(pusher)): axum::Extension<Visitor>,
    Json(question): Json<Question>,
) -> Json<Answer> {
    if pusher.rights.push.is_empty() {
        return Json(Answer::unable("you may only read", None));
    }
    if question.updates.len() > UPDATES_MAX {
        return Json(Answer::unable("too many references in one push", None));
    }
    let question = Question { capability: None, ..question };
    Json(answer(&app, question, Some(pusher)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_password_is_the_token_whatever_the_name() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        for (value, expected) in [
            (format!("Basic {}", encode("ada:fwu_x")), Some("fwu_x")),
            (format!("basic {}", encode(":fwu:x")), Some("fwu:x")),
            (format!("Basic {}", encode("fwu_x")), None),
            ("Basic %%%".to_owned(), None),
            ("Bearer fwu_x".to_owned(), None),
            ("Basic".to_owned(), None),
        ] {
            assert_eq!(password(&headers(&[("authorization", &value)])).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_client_chooses_the_version_of_the_protocol_and_nothing_else() {
        for (value, expected) in [
            ("version=2", Some(2)),
            ("version=1", Some(1)),
            ("a=b:version=2", Some(2)),
            ("version=3", None),
            ("version=2\u{e9}", None),
            ("GIT_DIR=/etc", None),
        ] {
            assert_eq!(version(&headers(&[("git-protocol", value)])), expected, "{value}");
        }
        assert_eq!(version(&HeaderMap::new()), None);
    }
}
