//! The body of a question on its way to git.

use super::gunzip::{Gunzip, Step};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// The next piece of a body comes within this.
const PIECE_MAX: Duration = Duration::from_secs(60);
/// What is too long is taken off the connection up to so many times the bound, and thrown away, so that the client comes to read
/// why it was refused.
pub(super) const DRAINED_TIMES: u64 = 4;
/// Unpacked at once, bytes.
const UNPACKED_AT_ONCE: usize = 64 * 1024;

/// What is known of a body before it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    /// So much of it is given on, bytes, unpacked.
    pub most: u64,
    /// It is compressed.
    pub gzip: bool,
}

/// Gives the body to the child. What the child does not want any more, and what is too much for it, is still taken off the
/// connection, so that the client comes to read why.
///
/// # Errors
/// Why not all of it was taken.
pub(super) async fn feed<W, S, E>(
    stdin: W,
    mut body: S,
    known: Body,
    stop: &CancellationToken,
) -> Result<(), &'static str>
where
    W: AsyncWrite + Unpin,
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
{
    let mut giving = Giving { stdin: Some(stdin), gunzip: known.gzip.then(Gunzip::new), given: 0, most: known.most };
    let mut taken = 0_u64;
    loop {
        let piece = tokio::select! {
            piece = tokio::time::timeout(PIECE_MAX, body.next()) => piece,
            () = stop.cancelled() => return Ok(()),
        };
        match piece {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(piece))) => {
                taken = taken.saturating_add(piece.len() as u64);
                if taken > known.most.saturating_mul(DRAINED_TIMES) {
                    return Err("it is far too large");
                }
                // One that does not read is ended, and its input closed first.
                tokio::select! {
                    () = giving.give(&piece) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            Err(_) => return Err("it came too slowly"),
            Ok(Some(Err(_))) => return Err("the client went away"),
        }
    }
}

/// A body that is given to a child.
struct Giving<W> {
    /// None when it wants no more, or gets no more.
    stdin: Option<W>,
    gunzip: Option<Gunzip>,
    given: u64,
    most: u64,
}

impl<W: AsyncWrite + Unpin> Giving<W> {
    /// Gives a piece on, unpacked.
    async fn give(&mut self, piece: &[u8]) {
        let Some(mut gunzip) = self.gunzip.take() else { return self.write(piece).await };
        let (mut rest, mut unpacked) = (piece, vec![0; UNPACKED_AT_ONCE]);
        while self.stdin.is_some() {
            let Ok(Step { read, made }) = gunzip.step(rest, &mut unpacked) else {
                self.stdin = None;
                break;
            };
            rest = rest.get(read..).unwrap_or_default();
            self.write(unpacked.get(..made).unwrap_or_default()).await;
            if read == 0 && made == 0 {
                break;
            }
        }
        self.gunzip = Some(gunzip);
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.given = self.given.saturating_add(bytes.len() as u64);
        let Some(stdin) = &mut self.stdin else { return };
        if self.given > self.most || stdin.write_all(bytes).await.is_err() {
            self.stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gunzip::gzip;
    use super::*;
    use tokio::io::AsyncReadExt as _;

    async fn fed(pieces: Vec<Bytes>, known: Body) -> (Result<(), &'static str>, Vec<u8>) {
        let (pipe, mut child) = tokio::io::duplex(4096);
        let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
        let stop = CancellationToken::new();
        let mut got = Vec::new();
        let (answer, read) = tokio::join!(feed(pipe, pieces, known, &stop), child.read_to_end(&mut got));
        read.unwrap();
        (answer, got)
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_taken_off_the_connection_and_one_without_end_is_cut_off() {
        for (count, given, answer) in
            [(2, 200, Ok(())), (10, 200, Ok(())), (4 * DRAINED_TIMES, 200, Err("it is far too large"))]
        {
            let pieces = (0..count).map(|_| Bytes::from_static(&[b'x'; 100])).collect();
            let (said, got) = fed(pieces, Body { most: 250, gzip: false }).await;
            assert_eq!((said, got.len()), (answer, given), "its input is closed: {count}");
        }
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
        let known = Body { most: 250, gzip: false };
        let fed = feed(tokio::io::sink(), broken, known, &CancellationToken::new()).await;
        assert_eq!(fed, Err("the client went away"));
    }

    // A kilobyte of gzip may be a megabyte of a body: what counts is what git gets.
    #[tokio::test]
    async fn a_compressed_body_is_bounded_by_what_it_unpacks_to() {
        let known = Body { most: 1_000_000, gzip: true };
        let whole = vec![b'x'; 1_000_000];
        let (said, got) = fed(vec![gzip(&whole).into()], known).await;
        assert!(said == Ok(()) && got == whole);
        let bomb = gzip(&vec![0; 64 << 20]);
        assert!(bomb.len() < 100_000);
        let (said, got) = fed(vec![bomb.into()], known).await;
        assert!(said == Ok(()) && got.len() <= 1_000_000, "{said:?} {}", got.len());
        let (said, got) = fed(vec![Bytes::from_static(b"0000 no gzip at all")], known).await;
        assert_eq!((said, got), (Ok(()), Vec::new()));
    }

    #[tokio::test]
    async fn a_child_that_reads_nothing_lets_go_of_the_body_when_it_is_to_end() {
        let (pipe, child) = tokio::io::duplex(16);
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 100]))]);
        let stop = CancellationToken::new();
        let feeding = feed(pipe, pieces, Body { most: 250, gzip: false }, &stop);
        let told = async { stop.cancel() };
        let (said, ()) = tokio::join!(feeding, told);
        assert_eq!(said, Ok(()));
        drop(child);
    }
}
