//! TFTP for loaders (RFC 1350, 2347 to 2349, 7440), by async-tftp, from memory.
//!
//! The names are a table: what stands in the image folder's `loaders/` and `autoexec.ipxe`. No name from the network ever
//! becomes a path, and the handler never waits, since the library holds one lock around it for all clients.
//!
//! A known gap of the library and what keeps it harmless: it does not listen to a client's ERROR, with which UEFI firmware
//! ends its size probe, and goes on sending the OACK to a port that is closed. With one-second time-outs and three resends
//! that is over in four seconds, and the firmware's next request comes from another port meanwhile.

use super::files::Folder;
use crate::boot::script::autoexec;
use crate::metrics::Tftp;
use async_tftp::packet;
use async_tftp::server::{Handler, TftpServerBuilder};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tracing::{debug, warn};

/// What firmware of the machines that are served asks for first, by whom.
pub const FIRST_LOADERS: &[(&str, &str)] = &[("undionly.kpxe", "BIOS machines"), ("snponly.efi", "UEFI machines")];
/// The largest loader, bytes.
const LARGEST_LOADER: u64 = 16 << 20;
/// Loaders at most.
const LOADERS: usize = 64;
/// Transfers at once: beyond it a client is told that the server is busy, and asks again.
const TRANSFERS: usize = 512;
/// What fits an Ethernet frame with IP, UDP and TFTP headers.
const BLOCK_BYTES: u16 = 1468;
/// Blocks in flight: what the small receive rings of boot ROMs take.
const WINDOW_BLOCKS: u16 = 8;
const RESENDS: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(1);

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// The socket cannot be had.
    #[error("TFTP cannot listen on {address}: {error}; is another TFTP server running, and may this process bind it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server ended.
    #[error("TFTP ended: {0}")]
    Ended(#[from] async_tftp::Error),
}

/// The table of names.
#[derive(Debug, Default)]
pub struct Loaders(RwLock<Names>);

#[derive(Debug, Default)]
struct Names {
    files: HashMap<String, Loader>,
    /// What cannot be served, and why: said once, not at each look.
    refused: HashMap<String, String>,
}

#[derive(Debug, Clone)]
struct Loader {
    /// The file's validator: one that has not changed is not read again.
    tag: String,
    bytes: Arc<[u8]>,
}

impl Loaders {
    /// Reads `loaders/` of the image folder and makes `autoexec.ipxe`. Names that are in the folder win.
    pub fn read(images: &Path, http_port: u16) -> Self {
        let loaders = Self::default();
        loaders.reload(images, http_port);
        loaders
    }

    /// Reads what has come or changed since. What cannot be read is said and left out.
    pub fn reload(&self, images: &Path, http_port: u16) {
        let own = Loader { tag: String::new(), bytes: Arc::from(autoexec(http_port).into_bytes()) };
        let mut next = Names { files: HashMap::from([("autoexec.ipxe".to_owned(), own)]), ..Names::default() };
        if let Ok(folder) = Folder::open(&images.join("loaders")) {
            let names = std::fs::read_dir(images.join("loaders")).into_iter().flatten();
            for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).take(LOADERS) {
                match self.one(&folder, &name) {
                    Ok(loader) => drop(next.files.insert(name, loader)),
                    Err(reason) => drop(next.refused.insert(name, reason)),
                }
            }
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (name, reason) in next.refused.iter().filter(|(name, reason)| names.refused.get(*name) != Some(*reason)) {
            warn!(%name, %reason, "a loader is not served");
        }
        *names = next;
    }

    fn one(&self, folder: &Folder, name: &str) -> Result<Loader, String> {
        let opened = folder.file(name).map_err(|error| error.to_string())?;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).files.get(name).cloned();
        if let Some(known) = known.filter(|known| known.tag == opened.tag) {
            return Ok(known);
        }
        let mut bytes = Vec::new();
        match opened.file.take(LARGEST_LOADER + 1).read_to_end(&mut bytes) {
            Ok(read) if read as u64 <= LARGEST_LOADER => Ok(Loader { tag: opened.tag, bytes: Arc::from(bytes) }),
            Ok(_) => Err("it is over 16 MiB".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Those that firmware is told to fetch and that are not there, with what it means: a path of the image folder each.
    pub fn lacking(&self) -> BTreeMap<String, String> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let lacks = |name: &str| names.files.get(name).is_none_or(|loader| loader.bytes.is_empty());
        let wanted = FIRST_LOADERS.iter().filter(|(name, _)| lacks(name));
        let said = wanted.map(|(name, whom)| {
            let path = format!("loaders/{name}");
            let said =
                format!("{path} is not in the image folder, so {whom} boot nothing; scripts/build-images makes it");
            (path, said)
        });
        said.collect()
    }

    /// A file by the name that a client asks for: any leading slashes or backslashes are taken off, nothing else is done.
    pub fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        let name = name.trim_start_matches(['/', '\\']);
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.files.get(name).map(|loader| Arc::clone(&loader.bytes))
    }
}

/// The TFTP service: bound, ready to run.
pub struct TftpService {
    socket: UdpSocket,
    loaders: Arc<Loaders>,
    metrics: Tftp,
}

impl TftpService {
    /// Binds the socket; `metrics` counts.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub fn bind(address: SocketAddr, loaders: Arc<Loaders>, metrics: Tftp) -> Result<Self, TftpError> {
        let socket = UdpSocket::bind(address).map_err(|error| TftpError::Listen { address, error })?;
        Ok(Self { socket, loaders, metrics })
    }

    /// Serves until the future is dropped. All transfers run on the task that polls it: spawn it on its own.
    ///
    /// # Errors
    /// When the socket fails for good.
    pub async fn serve(self) -> Result<(), TftpError> {
        let handler = Table { loaders: self.loaders, metrics: self.metrics, transfers: Arc::default() };
        let server = TftpServerBuilder::with_handler(handler)
            .std_socket(self.socket)?
            .timeout(TIMEOUT)
            .max_send_retries(RESENDS)
            .block_size_limit(BLOCK_BYTES)
            .window_size_limit(WINDOW_BLOCKS)
            // A client could ask for 255 seconds and keep a transfer for a quarter of an hour.
            .ignore_client_timeout()
            .build()
            .await?;
        server.serve().await?;
        Ok(())
    }
}

struct Table {
    loaders: Arc<Loaders>,
    metrics: Tftp,
    transfers: Arc<AtomicUsize>,
}

impl Handler for Table {
    type Reader = Transfer;
    type Writer = Nowhere;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Transfer, Option<u64>), packet::Error> {
        let Some(bytes) = path.to_str().and_then(|name| self.loaders.get(name)) else {
            self.metrics.transfer("missing");
            debug!(%client, path = %path.display(), "TFTP: no such file");
            return Err(packet::Error::FileNotFound);
        };
        if self.transfers.fetch_add(1, Ordering::Relaxed) >= TRANSFERS {
            self.transfers.fetch_sub(1, Ordering::Relaxed);
            self.metrics.transfer("busy");
            return Err(packet::Error::Msg("busy, ask again".to_owned()));
        }
        debug!(%client, path = %path.display(), bytes = bytes.len(), "TFTP");
        let size = bytes.len() as u64;
        let transfer = Transfer { bytes, at: 0, metrics: self.metrics.clone(), transfers: Arc::clone(&self.transfers) };
        Ok((transfer, Some(size)))
    }

    async fn write_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
        _size: Option<u64>,
    ) -> Result<Nowhere, packet::Error> {
        Err(packet::Error::PermissionDenied)
    }
}

/// One transfer's place in its file; counts itself out when it ends.
struct Transfer {
    bytes: Arc<[u8]>,
    at: usize,
    metrics: Tftp,
    transfers: Arc<AtomicUsize>,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.transfers.fetch_sub(1, Ordering::Relaxed);
        self.metrics.transfer(if self.at >= self.bytes.len() { "complete" } else { "incomplete" });
    }
}

impl futures_util::io::AsyncRead for Transfer {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        self.metrics.bytes.inc_by(count as u64);
        Poll::Ready(Ok(count))
    }
}

/// Where writes would go: there are none.
struct Nowhere;

impl futures_util::io::AsyncWrite for Nowhere {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Err(std::io::ErrorKind::PermissionDenied.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_that_comes_later_is_served_and_one_that_stays_is_not_read_again() {
        let images = tempfile::tempdir().unwrap();
        let loaders = Loaders::read(images.path(), 8080);
        assert_eq!(loaders.lacking().into_keys().collect::<Vec<_>>(), ["loaders/snponly.efi", "loaders/undionly.kpxe"]);
        assert!(loaders.get("autoexec.ipxe").is_some() && loaders.get("snponly.efi").is_none());
        std::fs::create_dir(images.path().join("loaders")).unwrap();
        std::fs::write(images.path().join("loaders/snponly.efi"), b"loader").unwrap();
        loaders.reload(images.path(), 8080);
        let first = loaders.get("/snponly.efi").unwrap();
        assert_eq!(&*first, b"loader");
        assert_eq!(loaders.lacking().into_keys().collect::<Vec<_>>(), ["loaders/undionly.kpxe"]);
        std::fs::write(images.path().join("loaders/undionly.kpxe"), b"other").unwrap();
        loaders.reload(images.path(), 8080);
        assert!(loaders.lacking().is_empty());
        assert!(Arc::ptr_eq(&first, &loaders.get("snponly.efi").unwrap()));
        std::fs::write(images.path().join("loaders/snponly.efi"), b"a newer one").unwrap();
        loaders.reload(images.path(), 8080);
        assert_eq!(&*loaders.get("snponly.efi").unwrap(), b"a newer one");
        std::fs::remove_file(images.path().join("loaders/snponly.efi")).unwrap();
        loaders.reload(images.path(), 8080);
        assert!(loaders.get("snponly.efi").is_none());
    }
}
