//! Where an image comes from: over HTTP, taken up again where a connection broke, its checksum taken on the way.

use super::DiskError;
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

/// A download: reading goes on over broken connections.
pub struct Download {
    agent: ureq::Agent,
    url: String,
    offset: u64,
    total: Option<u64>,
    reader: Option<BodyReader<'static>>,
    digest: Context,
    failures: u32,
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

    fn open(&mut self) -> io::Result<BodyReader<'static>> {
        let mut request = self.agent.get(&self.url);
        if self.offset > 0 {
            request = request.header("range", format!("bytes={}-", self.offset));
        }
        let response = request.call().map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let fits = if self.offset == 0 { status == 200 } else { status == 206 };
        if !fits {
            let reason = format!("{} answered {status}", self.url);
            // What the server says plainly does not change by asking again.
            let kind = if (400..500).contains(&status) { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
            return Err(io::Error::new(kind, reason));
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
                Some(reader) => reader.read(buffer),
                None => match self.open() {
                    Ok(reader) => {
                        self.reader = Some(reader);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let error = match result {
                Ok(0) if self.total.is_some_and(|total| self.offset < total) => {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended early")
                }
                Ok(size) => {
                    self.digest.update(buffer.get(..size).unwrap_or_default());
                    self.offset += size as u64;
                    self.failures = 0;
                    return Ok(size);
                }
                Err(error) => error,
            };
            self.reader = None;
            self.failures += 1;
            if error.kind() == io::ErrorKind::NotFound || self.failures > MOST_FAILURES {
                return Err(error);
            }
            eprintln!("the download broke off at {} bytes and is taken up again: {error}", self.offset);
            std::thread::sleep(Duration::from_millis(250 << self.failures.min(5)));
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
