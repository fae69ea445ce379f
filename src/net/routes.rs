//! The table of HTTP routes. A router is built from it and from nothing else, so that no route is outside it: who may call a
//! route is asked by a guard before the handler is, its body is bounded, tests try every token on every entry, and the
//! OpenAPI document is written from it.

use axum::RequestExt as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use futures_util::StreamExt as _;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::time::Duration;

/// The largest body where a route says nothing else, bytes.
pub const BODY_MAX: usize = 1024 * 1024;
/// How long the body of a refused request is taken.
const REFUSED_BODY: Duration = Duration::from_secs(10);

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opens {
    /// Whoever reaches the listener.
    Anybody,
    /// Who knows the unguessable id of an offer, from the address that it was made to.
    Offer,
    /// The installer of an offer, by the token that its files gave it.
    Callback,
    /// Who has a ticket and proves a key: the ticket is in the body.
    Ticket,
    /// A forge, by the secret of its webhook: it is proved over the body.
    Hook,
    /// A machine, by its machine token.
    Machine,
    /// A machine, by its token for one cluster.
    Cluster,
    /// A person, by the administrator's token.
    Administrator,
    /// A person, by their own token for the hosted repository or the administrator's; as git sends it, too.
    Git,
}

/// The methods that are in use; `HEAD` goes with `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Puts something in its place.
    Put,
    /// Changes a part.
    Patch,
    /// Takes away.
    Delete,
}

impl Method {
    /// As it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Makes the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A body, coming or going.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its media type.
    pub media: &'static str,
    /// Its schema, where it is JSON.
    pub schema: Option<SchemaOf>,
}

/// An answer that is no refusal.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// What it means.
    pub what: &'static str,
    /// Its body in the types it comes in; none where it has no body.
    pub shapes: Vec<Shape>,
}

/// A word of the query or a header.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub what: &'static str,
    /// Whether it must be said.
    pub required: bool,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a segment and `{*name}` for all that is left.
    pub path: String,
    /// Who may call it.
    pub opens: Opens,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The longest body, bytes.
    pub body_max: usize,
    /// The body it takes, in the types it takes it in; none where it takes no body.
    pub takes: Vec<Shape>,
    /// The body may be left out.
    pub body_optional: bool,
    /// What it answers.
    pub gives: Vec<Reply>,
    /// The query as a type.
    pub query: Option<SchemaOf>,
    /// The query in words, where it is no type.
    pub words: Vec<Word>,
    /// Headers that mean something here.
    pub headers: Vec<Word>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Route {
    /// A route that takes and gives nothing yet.
    pub fn new(method: Method, path: impl Into<String>, opens: Opens, summary: &'static str) -> Self {
        Self {
            method,
            path: path.into(),
            opens,
            summary,
            body_max: BODY_MAX,
            takes: Vec::new(),
            body_optional: false,
            gives: Vec::new(),
            query: None,
            words: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(path: impl Into<String>, opens: Opens, summary: &'static str) -> Self {
        Self::new(Method::Get, path, opens, summary)
    }

    /// `POST`.
    pub fn post(path: impl Into<String>, opens: Opens, summary: &'static str) -> Self {
        Self::new(Method::Post, path, opens, summary)
    }

    /// `PUT`.
    pub fn put(path: impl Into<String>, opens: Opens, summary: &'static str) -> Self {
        Self::new(Method::Put, path, opens, summary)
    }

    /// It takes this as JSON.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes.push(Shape { media: "application/json", schema: Some(schema_of::<T>) });
        self
    }

    /// It takes this, which is not described further.
    #[must_use]
    pub fn takes_media(mut self, media: &'static str) -> Self {
        self.takes.push(Shape { media, schema: None });
        self
    }

    /// The body may be left out.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.body_optional = true;
        self
    }

    /// The longest body, bytes.
    #[must_use]
    pub fn body_max(mut self, bytes: usize) -> Self {
        self.body_max = bytes;
        self
    }

    /// It answers 200 with this as JSON.
    #[must_use]
    pub fn gives<T: JsonSchema>(self) -> Self {
        let shape = Shape { media: "application/json", schema: Some(schema_of::<T>) };
        self.reply(200, "Done.", vec![shape])
    }

    /// It answers 200 with a body of this type.
    #[must_use]
    pub fn gives_media(self, media: &'static str) -> Self {
        self.reply(200, "Done.", vec![Shape { media, schema: None }])
    }

    /// It answers 204.
    #[must_use]
    pub fn gives_nothing(self) -> Self {
        self.reply(204, "Done; there is nothing more to say.", Vec::new())
    }

    /// It answers this.
    #[must_use]
    pub fn reply(mut self, status: u16, what: &'static str, shapes: Vec<Shape>) -> Self {
        match self.gives.iter_mut().find(|reply| reply.status == status) {
            Some(reply) => reply.shapes.extend(shapes),
            None => self.gives.push(Reply { status, what, shapes }),
        }
        self
    }

    /// Its query.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|generator| T::json_schema(generator));
        self
    }

    /// A word of its query.
    #[must_use]
    pub fn word(mut self, name: &'static str, what: &'static str) -> Self {
        self.words.push(Word { name, what, required: false });
        self
    }

    /// A word that the query must say.
    #[must_use]
    pub fn needs(mut self, name: &'static str, what: &'static str) -> Self {
        self.words.push(Word { name, what, required: true });
        self
    }

    /// A header that means something here.
    #[must_use]
    pub fn header(mut self, name: &'static str, what: &'static str) -> Self {
        self.headers.push(Word { name, what, required: false });
        self
    }
}

/// Routes and what answers them.
pub struct Routes<S = ()>(Vec<(Route, MethodRouter<S>)>);

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// One more. The handler finds in the request's extensions who asks, as the guard found out.
    #[must_use]
    pub fn route<H: Handler<T, S>, T: 'static>(mut self, route: Route, handler: H) -> Self {
        let answers = on(route.method.filter(), handler);
        self.0.push((route, answers));
        self
    }

    /// These and those.
    #[must_use]
    pub fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// The table.
    pub fn table(&self) -> Vec<Route> {
        self.0.iter().map(|(route, _)| route.clone()).collect()
    }

    /// The router. `guard` looks at each request before its handler: it refuses, or leaves in the extensions who asks.
    pub fn into_router<G, E>(self, guard: G) -> Router<S>
    where
        G: Fn(Opens, &mut Parts) -> Result<(), E> + Clone + Send + Sync + 'static,
        E: IntoResponse + 'static,
    {
        self.0.into_iter().fold(Router::new(), |router, (route, answers)| {
            let (guard, opens, body_max) = (guard.clone(), route.opens, route.body_max);
            let ask = move |request: Request, next: Next| {
                let (mut parts, body) = request.into_parts();
                let found = guard(opens, &mut parts).map_err(IntoResponse::into_response);
                async move {
                    match found {
                        Ok(()) => next.run(Request::from_parts(parts, body).with_limited_body()).await,
                        Err(refusal) => {
                            take_off(body, body_max).await;
                            refusal
                        }
                    }
                }
            };
            let answers = answers.route_layer(from_fn(ask)).route_layer(DefaultBodyLimit::max(route.body_max));
            router.route(&route.path, answers)
        })
    }
}

/// Takes a refused request's body off the connection, as far as it would have been taken: a client that still writes when the
/// connection is closed under it may never read the refusal, and ask the same again without end.
async fn take_off(body: Body, most: usize) {
    let mut pieces = body.into_data_stream();
    let all = async {
        let mut taken = 0;
        while let Some(Ok(piece)) = pieces.next().await {
            taken += piece.len();
            if taken > most {
                break;
            }
        }
    };
    // Nobody's time but the asker's own.
    let _ = tokio::time::timeout(REFUSED_BODY, all).await;
}

#[cfg(test)]
mod tests {
    use super::{Opens, Route, Routes};
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn the_guard_is_asked_before_the_handler_and_the_body_is_bounded() {
        let routes: Routes = Routes::default()
            .route(Route::put("/a/{b}", Opens::Machine, "").body_max(4), |body: axum::body::Bytes| async move { body })
            .route(Route::get("/a/{b}", Opens::Anybody, ""), || async { "read" });
        let router = routes.into_router(|opens, parts| match opens {
            Opens::Anybody => Ok(()),
            _ if parts.headers.contains_key("authorization") => Ok(()),
            _ => Err(StatusCode::UNAUTHORIZED),
        });
        let ask = async |method: &str, token: bool, body: &'static str| {
            let mut request = Request::builder().method(method).uri("/a/x");
            if token {
                request = request.header("authorization", "t");
            }
            let request = request.body(Body::from(body)).expect("a request");
            router.clone().oneshot(request).await.expect("an answer").status().as_u16()
        };
        assert_eq!(ask("PUT", false, "1234").await, 401);
        assert_eq!(ask("PUT", true, "1234").await, 200);
        assert_eq!(ask("PUT", true, "12345").await, 413);
        assert_eq!(ask("GET", false, "").await, 200);
        assert_eq!(ask("HEAD", false, "").await, 200);
        assert_eq!(ask("DELETE", false, "").await, 405);
    }

    #[tokio::test]
    async fn a_refused_request_is_read_to_its_end_and_no_further_than_its_bound() {
        let routes: Routes =
            Routes::default().route(Route::put("/", Opens::Machine, "").body_max(100), || async { "never" });
        let router = routes.into_router(|_, _| Err::<(), _>(StatusCode::UNAUTHORIZED));
        for (pieces, wanted) in [(5_usize, 5_usize), (1_000, 11)] {
            let taken = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&taken);
            let body = futures_util::stream::iter((0..pieces).map(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>([b'x'; 10].as_slice())
            }));
            let request = Request::put("/").body(Body::from_stream(body)).expect("a request");
            let answer = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(taken.load(Ordering::Relaxed), wanted);
        }
    }
}
