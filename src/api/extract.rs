//! What a request says, read; whatever cannot be read is refused as a [`Problem`](crate::wire::Problem) like everything else.

use super::ApiError;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A body of JSON, coming or going.
pub(super) struct Json<T>(pub T);

/// A body of JSON that may be left out: then it is the default. One that is there is read, or refused.
pub(super) struct Optional<T>(pub T);

/// No body. What somebody says in one would have no effect, so that is refused.
pub(super) struct NoBody;

/// The words of the query.
pub(super) struct Query<T>(pub T);

/// The words of the path.
pub(super) struct Path<T>(pub T);

/// What the library says of a request, for those who sent it and do not know the library.
fn in_our_words(said: &str) -> String {
    for (theirs, ours) in [
        ("Failed to deserialize query string: ", "the query cannot be read: "),
        ("Invalid URL: ", "the path cannot be read: "),
        ("Failed to deserialize the JSON body into the target type: ", "the body is not what is taken here: "),
        ("Failed to parse the request body as JSON: ", "the body is not JSON: "),
        ("Failed to buffer the request body: ", "the body did not come whole: "),
    ] {
        if let Some(rest) = said.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    said.to_owned()
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection {
            JsonRejection::JsonDataError(_) => "body-wrong",
            JsonRejection::JsonSyntaxError(_) => "not-json",
            JsonRejection::MissingJsonContentType(_) => "content-type",
            _ => "body-unreadable",
        };
        Self::new(rejection.status(), code, in_our_words(&rejection.body_text()))
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), "body-unreadable", rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(in_our_words(&rejection.body_text()))
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(rejection.status(), "bad-request", in_our_words(&rejection.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        is_json(request.headers())?;
        let bytes = <Bytes as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(read(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Optional<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let said = is_json(request.headers());
        let bytes = <Bytes as FromRequest<S>>::from_request(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        said?;
        Ok(Self(read(&bytes)?))
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = <Bytes as FromRequest<S>>::from_request(request, state).await?;
        if says_nothing(&bytes) {
            return Ok(Self);
        }
        Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "body-wrong", BODY_UNWANTED).hint("send no body"))
    }
}

/// What is told of a body where none is taken.
pub(super) const BODY_UNWANTED: &str = "this route takes no body: what was sent in it would have no effect";

/// Nothing, or an object without fields.
pub(super) fn says_nothing(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    let object = || serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
    bytes.is_empty() || object().is_ok_and(|object| object.is_empty())
}

/// The Content-Type says that the body is JSON.
fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json")) {
        return Ok(());
    }
    let message = "the body must be JSON and be said to be: Content-Type: application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message))
}

/// What a body says. A list is refused first: its items would be taken for the fields in their order.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let message = "the body is a list; it must be an object, with each value under its name";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "body-wrong", message));
    }
    Ok(axum::Json::<T>::from_bytes(bytes)?.0)
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::extract::Query::from_request_parts(parts, state).await?.0))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(axum::extract::Path::from_request_parts(parts, state).await?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::HoldBody;
    use axum::body::Body;

    fn request(media: Option<&str>, body: &'static str) -> Request {
        let mut request = axum::http::Request::builder();
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        request.body(Body::from(body)).expect("a request")
    }

    fn status<T>(read: Result<T, ApiError>) -> u16 {
        read.err().map_or(200, |refused| refused.into_response().status().as_u16())
    }

    #[tokio::test]
    async fn a_body_that_may_be_left_out_is_read_or_refused_and_never_ignored() {
        let json = Some("application/json");
        for (media, body, expected) in [
            (None, "", 200),
            (json, " \n", 200),
            (json, r#"{"reason": "r"}"#, 200),
            (Some("Application/JSON; charset=utf-8"), "{}", 200),
            (None, r#"{"reason": "r"}"#, 415),
            (Some("application/x-www-form-urlencoded"), "reason=r", 415),
            (json, "[]", 422),
            (json, r#" ["a"]"#, 422),
            (json, "null", 422),
            (json, r#"{"raeson": "r"}"#, 422),
            (json, "{", 400),
        ] {
            let read = <Optional<HoldBody> as FromRequest<()>>::from_request(request(media, body), &()).await;
            assert_eq!(status(read), expected, "{media:?} {body}");
        }
        let list = <Json<HoldBody> as FromRequest<()>>::from_request(request(json, r#"["a"]"#), &()).await;
        assert_eq!(status(list), 422, "neither is one that must be there");
        let missing = <Json<HoldBody> as FromRequest<()>>::from_request(request(json, ""), &()).await;
        assert_eq!(status(missing), 400);
    }

    #[tokio::test]
    async fn where_no_body_is_taken_one_that_says_something_is_refused() {
        for (body, expected) in [("", 200), (" {} ", 200), ("[]", 422), (r#"{"at": 1}"#, 422), ("now", 422)] {
            let read = <NoBody as FromRequest<()>>::from_request(request(None, body), &()).await;
            assert_eq!(status(read), expected, "{body}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_in_our_words() {
        for (said, ours) in [
            (
                "Failed to deserialize query string: limit: invalid digit",
                "the query cannot be read: limit: invalid digit",
            ),
            ("Invalid URL: Cannot parse `x` to a `u64`", "the path cannot be read: Cannot parse `x` to a `u64`"),
            ("else", "else"),
        ] {
            assert_eq!(in_our_words(said), ours);
        }
    }
}
