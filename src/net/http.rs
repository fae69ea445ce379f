//! Plain HTTP of the boot network: scripts, overlays, loaders, files. Nothing here is secret but an overlay, which is given
//! only for an offer's unguessable id and to whom the desk gives it.
//!
//! Firmware is a poor client: it wants Content-Length on GET and HEAD, a connection that stays open after HEAD, and no
//! redirects. Files are streamed in pieces; what a client does not read is not read from the disk.

use super::files::{FileError, Folder, Opened};
use super::tftp::Loaders;
use crate::boot::client::Firmware;
use crate::boot::desk::{
    BootDesk, BootPermit, InstallerRefusal, InstallerSaid, ScriptAction, ScriptAnswer, ScriptAsk, SeenBox,
};
use crate::boot::leases::LeaseTable;
use crate::boot::network::Network;
use crate::boot::query::{self, Said};
use crate::boot::script;
use crate::metrics::Boot;
use crate::net::places::Full;
use crate::net::routes::{Opens, Route, Routes, Shape};
use crate::store::{BoxFuture, Lease, StoreError};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use std::convert::Infallible;
use std::io::{Seek, SeekFrom};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use tracing::{debug, warn};

mod installer;
mod range;
mod streams;

use range::{Wanted, wanted};
use streams::Streams;

/// A piece of a file in memory, bytes: with [`streams::STREAMS`], the bound on what slow clients cost.
const PIECE_BYTES: usize = 64 << 10;
/// A held machine asks again after so many seconds when its answer cannot be made into a script.
const RETRY_SECONDS: u32 = 30;

/// What is served besides the desk's answers.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// The image folder, for `/files/`.
    pub images: Arc<Folder>,
    /// Loaders, for `/boot/loaders/`.
    pub loaders: Arc<Loaders>,
    /// The site's certificate authority, PEM, for `/ca.pem`.
    pub ca_pem: Bytes,
    /// The port this is served on, for `autoexec.ipxe`.
    pub http_port: u16,
    /// The address this is served at: who asks from it is on this host.
    pub own: IpAddr,
}

struct Served<D> {
    desk: Arc<D>,
    config: HttpConfig,
    streams: Streams,
    metrics: Boot,
}

/// The routes of the boot network. Serve them with `into_make_service_with_connect_info::<SocketAddr>()`: scripts and
/// overlays go by the peer's address.
pub fn routes<D: BootDesk>(desk: Arc<D>, config: HttpConfig, metrics: Boot) -> Router {
    let streams = Streams::new(config.own);
    let served = Arc::new(Served { desk, config, streams, metrics });
    // Nothing here asks for a token: what an overlay needs is judged by the desk.
    entries::<D>().into_router(|_, _| Ok::<_, Infallible>(())).with_state(served)
}

/// The table of these routes.
pub fn table() -> Vec<Route> {
    entries::<Nobody>().table()
}

fn entries<D: BootDesk>() -> Routes<Arc<Served<D>>> {
    let get = |path, summary| Route::get(path, Opens::Anybody, summary).body_max(0);
    let bytes = "application/octet-stream";
    Routes::default()
        .route(
            get(script::START_PATH, "The first script, the same for every box").gives_media("text/plain"),
            || async { ipxe(script::start()) },
        )
        .route(
            get(script::SCRIPT_PATH, "The script made for a box; giving it is an offer")
                .word("mac", "The MAC it boots from.")
                .word("uuid", "Its SMBIOS UUID.")
                .word("serial", "Its SMBIOS serial number.")
                .word("arch", "iPXE's `${buildarch}`.")
                .word("platform", "iPXE's `${platform}`.")
                .gives_media("text/plain"),
            boot_script::<D>,
        )
        .route(
            Route::get("/boot/overlay/{name}", Opens::Offer, "The initrd overlay of an offer: its ticket")
                .body_max(0)
                .gives_media(bytes),
            overlay::<D>,
        )
        .route(
            Route::get("/boot/files/{offer}/{name}", Opens::Offer, "A file of an offer's environment, rendered for it")
                .body_max(0)
                .gives_media("text/plain"),
            installer::file::<D>,
        )
        .route(
            Route::post("/boot/callback/{offer}/{outcome}", Opens::Callback, "An installer is `done`, or has `failed`")
                .takes_media("text/plain")
                .optional()
                .body_max(installer::MESSAGE_BYTES)
                .gives_media("text/plain"),
            installer::callback::<D>,
        )
        .route(get("/boot/loaders/{name}", "A loader").gives_media(bytes), loader::<D>)
        .route(get("/autoexec.ipxe", "What iPXE looks for by itself").gives_media("text/plain"), autoexec::<D>)
        .route(
            get("/files/{*path}", "A file of the image folder")
                .header("Range", "A part of it.")
                .gives_media(bytes)
                .reply(
                    206,
                    "The part that was asked for.",
                    vec![Shape { media: "application/octet-stream", schema: None }],
                ),
            file::<D>,
        )
        .route(
            get("/ca.pem", "The site's certificate authority; compare its fingerprint")
                .gives_media("application/x-pem-file"),
            ca::<D>,
        )
}

/// A desk that is never there: the table needs a type, and no desk.
enum Nobody {}

impl BootDesk for Nobody {
    fn network(&self) -> Arc<Network> {
        match *self {}
    }
    fn leases(&self) -> Arc<LeaseTable> {
        match *self {}
    }
    fn put_lease(&self, _: Lease, _: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        match *self {}
    }
    fn boot_permitted(&self, _: SeenBox) -> BoxFuture<'_, BootPermit> {
        match *self {}
    }
    fn script(&self, _: ScriptAsk) -> BoxFuture<'_, ScriptAnswer> {
        match *self {}
    }
    fn overlay(&self, _: String, _: IpAddr) -> BoxFuture<'_, Option<Bytes>> {
        match *self {}
    }
    fn boot_file(&self, _: String, _: String, _: IpAddr) -> BoxFuture<'_, Option<Result<String, String>>> {
        match *self {}
    }
    fn installer_ended(&self, _: String, _: InstallerSaid) -> BoxFuture<'_, Result<(), InstallerRefusal>> {
        match *self {}
    }
}

fn ipxe(script: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], script).into_response()
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    (status, why).into_response()
}

async fn autoexec<D: BootDesk>(State(served): State<Arc<Served<D>>>) -> Response {
    ipxe(script::autoexec(served.config.http_port))
}

async fn ca<D: BootDesk>(State(served): State<Arc<Served<D>>>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], served.config.ca_pem.clone()).into_response()
}

/// The script made for a box. A HEAD is answered without asking the desk: it would count as an offer.
async fn boot_script<D: BootDesk>(
    State(served): State<Arc<Served<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    RawQuery(raw): RawQuery,
) -> Response {
    if method == Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Said { mac, uuid, serial, architecture, firmware } = match query::parse(raw.as_deref().unwrap_or_default()) {
        Ok(said) => said,
        // An error page would end a boot without a word on the screen.
        Err(error) => return ipxe(held(&error.to_string(), Firmware::Bios)),
    };
    let ask = ScriptAsk { mac, uuid, serial, architecture, firmware, address: plain(peer.ip()) };
    // A box that hangs up must not leave an offer half taken in.
    let asked = Arc::clone(&served);
    let Ok(answer) = tokio::spawn(async move { asked.desk.script(ask).await }).await else {
        return ipxe(held("the server failed; see its log", firmware));
    };
    served.metrics.script(kind(&answer.action));
    debug!(%mac, machine = ?answer.machine, action = ?kind(&answer.action), "script");
    match script::render(&answer, firmware) {
        Ok(script) => ipxe(script),
        Err(error) => {
            warn!(%mac, machine = ?answer.machine, %error, "a boot script cannot be made");
            let action = ScriptAction::Hold { reason: error.to_string(), retry_seconds: RETRY_SECONDS };
            ipxe(script::render(&ScriptAnswer { action, ..answer }, firmware).unwrap_or_else(|_| script::start()))
        }
    }
}

/// The action without what is secret or long in it.
const fn kind(action: &ScriptAction) -> &'static str {
    match action {
        ScriptAction::Boot { .. } => "boot",
        ScriptAction::Local => "local",
        ScriptAction::Hold { .. } => "hold",
        ScriptAction::Nothing { .. } => "nothing",
    }
}

fn held(reason: &str, firmware: Firmware) -> String {
    let action = ScriptAction::Nothing { reason: reason.to_owned() };
    let answer = ScriptAnswer { machine: None, revision: None, waits_for: None, action };
    script::render(&answer, firmware).unwrap_or_else(|_| script::start())
}

/// An IPv4 address that came in by an IPv6 socket is an IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

async fn overlay<D: BootDesk>(
    State(served): State<Arc<Served<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
) -> Response {
    let offer = name.strip_suffix(".cpio").filter(|offer| !offer.is_empty() && offer.len() <= 128);
    let Some(offer) = offer else { return refuse(StatusCode::NOT_FOUND, "no such overlay") };
    match served.desk.overlay(offer.to_owned(), plain(peer.ip())).await {
        Some(bytes) => {
            ([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")], bytes)
                .into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, "no such overlay"),
    }
}

async fn loader<D: BootDesk>(State(served): State<Arc<Served<D>>>, Path(name): Path<String>) -> Response {
    match served.config.loaders.get(&name) {
        // application/efi is what UEFI HTTP boot takes for a loader whatever its name (UEFI 2.10, 24.7.3.1).
        Some(bytes) => {
            let kind = if name.ends_with(".efi") { "application/efi" } else { "application/octet-stream" };
            ([(header::CONTENT_TYPE, kind)], Bytes::from_owner(bytes)).into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, "no such loader"),
    }
}

async fn file<D: BootDesk>(
    State(served): State<Arc<Served<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let peer = plain(peer.ip());
    let room = match served.streams.place(peer) {
        Ok(room) => room,
        Err(full) => {
            let why = match full {
                Full::All => "busy: as many files as may be are being sent; ask again\n",
                Full::Address => {
                    "busy: as many files as one address may take at a time are being sent to yours; ask again\n"
                }
            };
            if served.streams.tell(Instant::now()) {
                warn!(%peer, %path, "a file is not sent now, {}", why.trim_end());
            }
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "2")], why).into_response();
        }
    };
    let folder = Arc::clone(&served.config.images);
    let name = path.clone();
    let opened = tokio::task::spawn_blocking(move || folder.checked(&name)).await;
    let Opened { mut file, length, tag } = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(FileError::Missing(_))) => return refuse(StatusCode::NOT_FOUND, "no such file"),
        Ok(Err(error @ FileError::Wrong { .. })) => {
            warn!(%error, "a file is not served");
            return (StatusCode::CONFLICT, format!("{error}\n")).into_response();
        }
        Ok(Err(error)) => {
            warn!(%path, %error, "a file of the image folder cannot be opened");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be opened");
        }
        Err(_) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be opened"),
    };

    let mut answer = HeaderMap::new();
    let put = |answer: &mut HeaderMap, name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.insert(name, value);
        }
    };
    put(&mut answer, header::ETAG, &tag);
    put(&mut answer, header::ACCEPT_RANGES, "bytes");
    put(
        &mut answer,
        header::CONTENT_TYPE,
        if path.ends_with(".efi") { "application/efi" } else { "application/octet-stream" },
    );

    let (status, start, count) = match wanted(&method, &headers, &tag, length) {
        Wanted::Unchanged => return (StatusCode::NOT_MODIFIED, answer).into_response(),
        Wanted::Whole => (StatusCode::OK, 0, length),
        Wanted::Part { first, last } => {
            put(&mut answer, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Wanted::Outside => {
            put(&mut answer, header::CONTENT_RANGE, &format!("bytes */{length}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response();
        }
    };
    put(&mut answer, header::CONTENT_LENGTH, &count.to_string());
    if method == Method::HEAD {
        return (status, answer).into_response();
    }
    // Seeking moves a number in the kernel: it does not wait for the disk.
    if let Err(error) = file.seek(SeekFrom::Start(start)) {
        warn!(%path, %error, "a file of the image folder cannot be read");
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read");
    }
    let sent = served.metrics.bytes.clone();
    let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(count), PIECE_BYTES);
    // A file that shrinks under way ends short of Content-Length, and the client sees the connection break.
    let pieces = pieces.inspect(move |piece| {
        let _held_until_the_stream_ends = &room;
        sent.inc_by(piece.as_ref().map_or(0, |bytes| bytes.len() as u64));
    });
    (status, answer, Body::from_stream(pieces)).into_response()
}
