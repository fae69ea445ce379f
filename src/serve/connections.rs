//! Bounds on connections: how many there are, how many one peer has, how long one may stand still. A listener without them is
//! closed to all by whoever opens a thousand connections and says nothing.

use axum_server::accept::Accept;
use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections of all listeners together.
    pub connections: usize,
    /// Connections of one address; the server's own addresses are not counted.
    pub of_one_peer: usize,
    /// A connection on which nothing moves for so long is closed: longer than any question is held.
    pub idle: Duration,
}

impl Limits {
    /// For a process that may have so many files open; a fifth of them is for the rest.
    pub fn with_files(files: Option<u64>) -> Self {
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let connections = (files / 5 * 4).clamp(64, 131_072);
        Self { connections, of_one_peer: connections / 8, idle: Duration::from_secs(150) }
    }
}

#[derive(Debug, Default)]
struct Open {
    connections: usize,
    of_peers: HashMap<IpAddr, usize>,
}

/// Counts connections as they are accepted.
#[derive(Debug, Clone)]
pub(super) struct Bounded {
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

/// A place among the connections; given back when dropped.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    peer: Option<IpAddr>,
}

impl Bounded {
    pub fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// A place for a connection from `peer` to `own`.
    fn place(&self, peer: IpAddr, own: Option<IpAddr>) -> Option<Place> {
        let peer = Some(peer).filter(|peer| !peer.to_canonical().is_loopback() && own != Some(*peer));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.connections >= self.limits.connections {
            return None;
        }
        if let Some(peer) = peer {
            let count = open.of_peers.entry(peer).or_default();
            if *count >= self.limits.of_one_peer {
                return None;
            }
            *count += 1;
        }
        open.connections += 1;
        Some(Place { open: Arc::clone(&self.open), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections = open.connections.saturating_sub(1);
        let Some(peer) = self.peer else { return };
        if let Some(count) = open.of_peers.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.of_peers.remove(&peer);
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Connection<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let own = stream.local_addr().ok().map(|own| own.ip());
        let place = stream.peer_addr().ok().and_then(|peer| self.place(peer.ip(), own));
        ready(match place {
            Some(place) => Ok((Connection::new(stream, self.limits.idle, Some(place)), service)),
            None => Err(io::Error::other("too many connections")),
        })
    }
}

/// A connection that is closed when nothing moves on it.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    still: Pin<Box<Sleep>>,
    idle: Duration,
    _place: Option<Place>,
}

impl<S> Connection<S> {
    fn new(stream: S, idle: Duration, place: Option<Place>) -> Self {
        Self { stream, still: Box::pin(sleep(idle)), idle, _place: place }
    }

    /// What came of a try to move bytes; an error where none moved for too long.
    fn moved<T>(&mut self, came: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            self.still.as_mut().reset(Instant::now() + self.idle);
            return came;
        }
        match self.still.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let came = Pin::new(&mut self.stream).poll_read(context, to);
        self.moved(came, context)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moved(came, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.moved(came, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[test]
    fn one_peer_has_so_many_connections_and_gives_them_back() {
        let bounded = Bounded::new(Limits { connections: 4, of_one_peer: 2, idle: Duration::MAX });
        let (one, other): (IpAddr, IpAddr) = ([10, 77, 0, 11].into(), [10, 77, 0, 12].into());
        let first = bounded.place(one, None).expect("a place");
        let _second = bounded.place(one, None).expect("a place");
        assert!(bounded.place(one, None).is_none(), "one peer's bound");
        let third = bounded.place(other, None).expect("another has its own");
        drop(first);
        let _fourth = bounded.place(one, None).expect("given back");
        let local: IpAddr = [127, 0, 0, 1].into();
        let _fifth = bounded.place(local, None).expect("the last");
        assert!(bounded.place(local, None).is_none(), "the bound of all");
        drop(third);
        assert!(
            bounded.place(other, Some(other)).is_some_and(|place| place.peer.is_none()),
            "the server's own address"
        );
        drop((_second, _fourth));
        assert!(bounded.open.lock().expect("not poisoned").of_peers.is_empty());
    }

    #[test]
    fn limits_leave_files_for_the_rest() {
        for (files, connections) in [(None, 131_072), (Some(1_024), 816), (Some(20_000), 16_000), (Some(10), 64)] {
            assert_eq!(Limits::with_files(files).connections, connections, "{files:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_closed_when_nothing_moves() {
        let (ours, mut theirs) = duplex(16);
        let mut connection = Connection::new(ours, Duration::from_millis(20), None);
        theirs.write_all(b"x").await.expect("written");
        assert_eq!(connection.read_u8().await.expect("a byte"), b'x');
        assert_eq!(connection.read_u8().await.expect_err("closed").kind(), io::ErrorKind::TimedOut);
        // A reader that does not read stops the writer in the same way.
        let error = connection.write_all(&[0; 64]).await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
