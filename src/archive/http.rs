//! How an object store is spoken with: the HTTP of this program, hyper, with the TLS of this program, rustls and ring.
//!
//! Authorities are the system's, or those of `SSL_CERT_FILE`: so an object store with an authority of its own is trusted by naming that.

use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector as Tcp};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, Error};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A connection that is not up by then never comes.
const CONNECT: Duration = Duration::from_secs(5);
/// The head of an answer is there by then: what was sent is at most a log.
const HEAD: Duration = Duration::from_secs(30);
/// A connection that nobody uses is kept for so long.
const IDLE: Duration = Duration::from_secs(60);
/// So many of them.
const IDLE_MAX: usize = 8;

/// Makes clients.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<rustls::ClientConfig>);

impl Connector {
    /// With the system's authorities, which there have to be where `secure`.
    ///
    /// # Errors
    /// There are none.
    pub(super) fn new(secure: bool) -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 && secure {
            let why = found.errors.first().map_or_else(|| "none is there".to_owned(), ToString::to_string);
            return Err(format!("the authorities of this system cannot be read (package ca-certificates): {why}"));
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient, Error> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|allowed| allowed == "true");
        let builder = HttpsConnectorBuilder::new().with_tls_config(rustls::ClientConfig::clone(&self.0));
        let https =
            if plain { builder.https_or_http() } else { builder.https_only() }.enable_http1().wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(IDLE_MAX);
        Ok(HttpClient::new(Service(client.build(https))))
    }
}

#[derive(Debug)]
struct Service(Client<HttpsConnector<Tcp>, HttpRequestBody>);

type Called<'a> = std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Service {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> Called<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let answered = timeout(HEAD, self.0.request(request)).await.map_err(|elapsed| {
                // Whether it was done is not known; what is asked may be asked again.
                HttpError::new(HttpErrorKind::Timeout, elapsed)
            })?;
            let (head, body) = answered.map_err(of_client)?.into_parts();
            let body = HttpResponseBody::new(body.map_err(|error| HttpError::new(kind(&error), error)));
            Ok(HttpResponse::from_parts(head, body))
        })
    }
}

fn of_client(error: hyper_util::client::legacy::Error) -> HttpError {
    let kind = match error.is_connect() {
        true => HttpErrorKind::Connect,
        false => std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<hyper::Error>())
            .map_or(HttpErrorKind::Request, kind),
    };
    HttpError::new(kind, error)
}

fn kind(error: &hyper::Error) -> HttpErrorKind {
    match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_parse() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    }
}
