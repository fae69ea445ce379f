//! Where an image comes from: over HTTP, taken up again where a connection broke, its checksum taken on the way.

use super::DiskError;
use crate::agent::retry;
use crate::agent::transport::{hex, http_agent};
use ring::digest::{Context, SHA256};
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::time::Duration;
use ureq::BodyReader;
use ureq::tls::Certificate;

/// A Zstandard frame begins so (RFC 8878, section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Broken connections in a row, without a byte between, after which it is given up.
const MOST_FAILURES: u32 = 8;

/// A server that is busy, and says so, is waited for so long in all without a byte between.
const LONGEST_BUSY: Duration = Duration::from_secs(3_600);
/// The longest pause between two questions to it, where it asks for none longer.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_secs(30);
/// How long one is waited for that does not say how long.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// Why nothing comes.
enum Broken {
    /// What the server says plainly does not change by asking again.
    Refused(io::Error),
    /// It sends to others, and said when to come again.
    Busy(Duration),
    Other(io::Error),
}

/// A download: reading goes on over broken connections.
pub struct Download {
    agent: ureq::Agent,
    url: String,
    offset: u64,
    total: Option<u64>,
    reader: Option<BodyReader<'static>>,
    digest: Context,
    failures: u32,
    /// How long a busy server was waited for since the last byte.
    busy: Duration,
}

impl Download {
    /// Nothing is asked yet. `authority` is the only root for `https`.
    pub fn new(url: &str, authority: &str) -> Result<Self, DiskError> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(DiskError::Image(format!("{url} is no http or https address")));
        }
        let certificate = Certificate::from_pem(authority.as_bytes())
            .map_err(|error| DiskError::Image(format!("the site's authority cannot be read: {error}")))?;
        Ok(Self {
            agent: http_agent(vec![certificate]),
            url: url.to_owned(),
            offset: 0,
            total: None,
            reader: None,
            digest: Context::new(&SHA256),
            failures: 0,
            busy: Duration::ZERO,
        })
    }

    /// Bytes that came so far.
    pub fn received(&self) -> u64 {
        self.offset
    }

    /// The checksum of everything that came, in hexadecimal.
    pub fn checksum(self) -> String {
        hex(self.digest.finish().as_ref())
    }

    fn open(&mut self) -> Result<BodyReader<'static>, Broken> {
        let mut request = self.agent.get(&self.url);
        if self.offset > 0 {
            request = request.header("range", format!("bytes={}-", self.offset));
        }
        let response = request.call().map_err(|error| Broken::Other(io::Error::other(error)))?;
        let status = response.status().as_u16();
        let fits = if self.offset == 0 { status == 200 } else { status == 206 };
        if !fits {
            let reason = io::Error::other(format!("{} answered {status}", self.url));
            return Err(match status {
                429 | 503 => {
                    let asked = response
                        .headers()
                        .get("retry-after")
                        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
                    let pause = asked.map_or(BUSY_PAUSE, Duration::from_secs);
                    Broken::Busy(pause.clamp(Duration::from_secs(1), retry::LONGEST_RETRY_AFTER))
                }
                400..500 => Broken::Refused(reason),
                _ => Broken::Other(reason),
            });
        }
        if let (0, Some(length)) = (self.offset, response.body().content_length()) {
            self.total = Some(length);
        }
        Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let result = match self.reader.as_mut() {
                Some(reader) => reader.read(buffer).map_err(Broken::Other),
                None => match self.open() {
                    Ok(reader) => {
                        self.reader = Some(reader);
                        continue;
                    }
                    Err(broken) => Err(broken),
                },
            };
            let broken = match result {
                Ok(0) if self.total.is_some_and(|total| self.offset < total) => {
                    Broken::Other(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended early"))
                }
                Ok(size) => {
                    self.digest.update(buffer.get(..size).unwrap_or_default());
                    self.offset += size as u64;
                    self.failures = 0;
                    self.busy = Duration::ZERO;
                    return Ok(size);
                }
                Err(broken) => broken,
            };
            self.reader = None;
            match broken {
                Broken::Refused(error) => return Err(error),
                Broken::Busy(_) if self.busy >= LONGEST_BUSY => {
                    return Err(io::Error::other(format!(
                        "{} was busy for {} minutes",
                        self.url,
                        self.busy.as_secs() / 60
                    )));
                }
                Broken::Busy(pause) => {
                    if self.busy.is_zero() {
                        eprintln!("the server sends as many files as it may: the download waits for its turn");
                    }
                    // Machines that all wait ask less and less often.
                    let pause = pause.max((self.busy / 4).min(LONGEST_BUSY_PAUSE));
                    self.busy += pause;
                    std::thread::sleep(pause);
                }
                Broken::Other(error) => {
                    self.failures += 1;
                    if self.failures > MOST_FAILURES {
                        return Err(error);
                    }
                    eprintln!("the download broke off at {} bytes and is taken up again: {error}", self.offset);
                    std::thread::sleep(Duration::from_millis(250 << self.failures.min(5)));
                }
            }
        }
    }
}

/// The image's bytes: unpacked where it is packed.
pub fn unpack<'a, R: Read>(source: &'a mut R) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(256 * 1024, source);
    let mut beginning = Vec::new();
    source.by_ref().take(4).read_to_end(&mut beginning)?;
    let packed = beginning == ZSTD;
    let whole = Cursor::new(beginning).chain(source);
    Ok(if packed { Box::new(Frames { source: Some(whole), frame: None }) } else { Box::new(whole) })
}

type Source<R> = Chain<Cursor<Vec<u8>>, R>;

/// The frames of a Zstandard file, one after the other.
struct Frames<R: Read> {
    source: Option<Source<R>>,
    frame: Option<Box<StreamingDecoder<Source<R>, ruzstd::decoding::FrameDecoder>>>,
}

impl<R: io::BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = self.frame.as_mut() {
                let size = frame.read(buffer)?;
                if size > 0 || buffer.is_empty() {
                    return Ok(size);
                }
                self.source = self.frame.take().map(|frame| frame.into_inner());
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if io::BufRead::fill_buf(&mut source)?.is_empty() {
                return Ok(0);
            }
            let frame = StreamingDecoder::new(source).map_err(io::Error::other)?;
            self.frame = Some(Box::new(frame));
        }
    }
}
