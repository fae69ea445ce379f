//! Bounds on connections: how many there are, how many one peer has, how long one may stand still, how slowly one may take what it
//! asked for. A listener without them is closed to all by whoever opens a thousand connections and says nothing.

use crate::net::places::{Place, Places};
use axum_server::accept::Accept;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// What a client that asked for much must take of it, while writing to it waits: `bytes` in `within`, or all that waits. Far below what any network
/// that machines boot from gives, and longer than a switch takes to learn its ports again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub bytes: usize,
    pub within: Duration,
}

/// The pace of files.
pub(super) const PACE: Pace = Pace { bytes: 128 << 10, within: Duration::from_secs(60) };
/// So much of a file lies in the kernel unsent at most, bytes: more would only hide how slowly it is taken.
const UNSENT: u32 = 128 << 10;

/// The bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections of all listeners together.
    pub connections: usize,
    /// Connections of one address; the server's own addresses are not counted.
    pub of_one_peer: usize,
    /// A connection on which nothing moves for so long is closed: longer than any question is held.
    pub idle: Duration,
    /// How slowly one may take an answer; `None` is as slowly as `idle` lets it.
    pub pace: Option<Pace>,
}

impl Limits {
    /// For a process that may have so many files open; a fifth of them is for the rest.
    pub fn with_files(files: Option<u64>) -> Self {
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let connections = (files / 5 * 4).clamp(64, 131_072);
        Self { connections, of_one_peer: connections / 8, idle: Duration::from_secs(150), pace: None }
    }
}

/// Counts connections as they are accepted.
#[derive(Debug, Clone)]
pub(super) struct Bounded {
    limits: Limits,
    places: Places,
}

impl Bounded {
    pub fn new(limits: Limits) -> Self {
        Self { limits, places: Places::new(limits.connections, limits.of_one_peer) }
    }

    /// The same places, for connections that must take what they ask for at a pace.
    pub fn at(mut self, pace: Pace) -> Self {
        self.limits.pace = Some(pace);
        self
    }

    /// A place for a connection from `peer` to `own`.
    fn place(&self, peer: IpAddr, own: Option<IpAddr>) -> Option<Place> {
        let peer = Some(peer).filter(|peer| !peer.to_canonical().is_loopback() && own != Some(*peer));
        self.places.take(peer).ok()
    }
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Connection<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let own = stream.local_addr().ok().map(|own| own.ip());
        let place = stream.peer_addr().ok().and_then(|peer| self.place(peer.ip(), own));
        if self.limits.pace.is_some()
            && let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)
        {
            tracing::debug!(%error, "how much of an answer waits in the kernel stays as it is");
        }
        ready(match place {
            Some(place) => Ok((Connection::new(stream, self.limits, Some(place)), service)),
            None => Err(io::Error::other("too many connections")),
        })
    }
}

/// A connection that is closed when nothing moves on it, or what it asked for is taken too slowly.
#[derive(Debug)]
pub(super) struct Connection<S> {
    stream: S,
    still: Pin<Box<Sleep>>,
    idle: Duration,
    pace: Option<Pace>,
    /// Set while writing waits: what was taken since, and when it is looked at.
    slow: Option<(usize, Pin<Box<Sleep>>)>,
    _place: Option<Place>,
}

impl<S> Connection<S> {
    fn new(stream: S, limits: Limits, place: Option<Place>) -> Self {
        let Limits { idle, pace, .. } = limits;
        Self { stream, still: Box::pin(sleep(idle)), idle, pace, slow: None, _place: place }
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

    /// What came of a try to write; an error where too little was taken for too long.
    fn written(&mut self, came: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(Pace { bytes, within }) = self.pace else { return self.moved(came, context) };
        match &came {
            Poll::Ready(Ok(more)) => {
                let enough = self.slow.as_mut().is_some_and(|(taken, _)| {
                    *taken += more;
                    *taken >= bytes
                });
                if enough {
                    self.slow = None;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let (_, end) = self.slow.get_or_insert_with(|| (0, Box::pin(sleep(within))));
                if end.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        self.moved(came, context)
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
        self.written(came, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let came = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(came, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that waited is taken: what comes next has its time from when it waits.
        self.slow = None;
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
        let bounded = Bounded::new(Limits { connections: 4, of_one_peer: 2, idle: Duration::MAX, pace: None });
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
            bounded.place(other, Some(other)).is_some_and(|place| place.peer().is_none()),
            "the server's own address"
        );
        drop((_second, _fourth));
        assert_eq!(bounded.places.taken().1, 0);
    }

    #[test]
    fn limits_leave_files_for_the_rest() {
        for (files, connections) in [(None, 131_072), (Some(1_024), 816), (Some(20_000), 16_000), (Some(10), 64)] {
            assert_eq!(Limits::with_files(files).connections, connections, "{files:?}");
        }
    }

    fn limits(idle: Duration, pace: Option<Pace>) -> Limits {
        Limits { connections: 4, of_one_peer: 4, idle, pace }
    }

    #[tokio::test]
    async fn who_takes_an_answer_too_slowly_is_let_go_of_and_who_is_slow_and_steady_is_not() {
        let pace = Pace { bytes: 64, within: Duration::from_millis(400) };
        // A byte in 50 ms moves always, and is 8 in the time in which 64 must be taken.
        let (ours, mut theirs) = duplex(16);
        let mut connection = Connection::new(ours, limits(Duration::from_secs(60), Some(pace)), None);
        let reader = tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let error = connection.write_all(&[0; 512]).await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(connection);
        reader.await.expect("it ends");

        let (ours, mut theirs) = duplex(16);
        let mut connection = Connection::new(ours, limits(Duration::from_secs(60), Some(pace)), None);
        let reader = tokio::spawn(async move {
            let (mut piece, mut all) = ([0; 16], 0);
            while all < 512 {
                theirs.read_exact(&mut piece).await.expect("a piece");
                all += piece.len();
                sleep(Duration::from_millis(20)).await;
            }
            theirs
        });
        connection.write_all(&[0; 512]).await.expect("all is taken");
        connection.flush().await.expect("flushed");
        let _theirs = reader.await.expect("it ends");
        // A last piece was waited for; the next answer, much later, has its own time.
        sleep(Duration::from_millis(500)).await;
        connection.write_all(&[0; 16]).await.expect("taken");
    }

    #[tokio::test]
    async fn a_connection_is_closed_when_nothing_moves() {
        let (ours, mut theirs) = duplex(16);
        let mut connection = Connection::new(ours, limits(Duration::from_millis(20), None), None);
        theirs.write_all(b"x").await.expect("written");
        assert_eq!(connection.read_u8().await.expect("a byte"), b'x');
        assert_eq!(connection.read_u8().await.expect_err("closed").kind(), io::ErrorKind::TimedOut);
        // A reader that does not read stops the writer in the same way.
        let error = connection.write_all(&[0; 64]).await.expect_err("closed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
