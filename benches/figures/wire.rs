//! A client for both: HTTP/1.1 for Formwork's routes, gRPC over HTTP/2 for etcd's own interface.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

async fn stream(port: u16) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    TokioIo::new(stream)
}

/// One connection of one machine.
pub struct Http {
    sender: http1::SendRequest<Full<Bytes>>,
    machine: String,
}

/// An answer: status, ETag, body.
pub struct Answer {
    pub status: StatusCode,
    pub tag: String,
    pub body: Bytes,
}

impl Http {
    pub async fn connect(port: u16, machine: usize) -> Self {
        let (sender, connection) = http1::handshake(stream(port).await).await.expect("HTTP");
        tokio::spawn(connection);
        Self { sender, machine: format!("m{machine:05}") }
    }

    pub async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        request = request.header("authorization", format!("Bearer {}", self.machine));
        request = request.header("accept", "application/json").header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.ready().await.expect("ready");
        let response = self.sender.send_request(request.body(Full::new(body)).expect("a request")).await.expect("sent");
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, tag, body }
    }
}

/// A connection to etcd; clones share it.
#[derive(Clone)]
pub struct Grpc {
    sender: http2::SendRequest<Full<Bytes>>,
    port: u16,
}

impl Grpc {
    pub async fn connect(port: u16) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream(port).await).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { sender, port }
    }

    fn request(&self, method: &str, message: &[u8]) -> Request<Full<Bytes>> {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).expect("a small message"));
        framed.put_slice(message);
        Request::builder()
            .method("POST")
            .uri(format!("http://127.0.0.1:{}/etcdserverpb.{method}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(framed.freeze()))
            .expect("a request")
    }

    /// One message for one message.
    pub async fn ask(&mut self, method: &str, message: &[u8]) -> Bytes {
        let request = self.request(method, message);
        self.sender.ready().await.expect("ready");
        let response = self.sender.send_request(request).await.expect("sent");
        let whole = response.into_body().collect().await.expect("a body");
        let status = whole.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let body = whole.to_bytes();
        assert!(body.len() >= 5, "{method} was refused: {status:?}");
        body.slice(5..)
    }

    /// Watches a key from a revision on; gives back when its first event came. `ready` is told when the watch stands.
    pub async fn watch(&mut self, create: &[u8], ready: impl FnOnce()) {
        let request = self.request("Watch/Watch", &field_bytes(1, create));
        self.sender.ready().await.expect("ready");
        // The stream of requests ends after the first; etcd then ends the watch too unless an event comes before, so
        // the response is read as it comes.
        let response = self.sender.send_request(request).await.expect("sent");
        let mut body = response.into_body();
        let mut kept = BytesMut::new();
        let mut ready = Some(ready);
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.expect("a frame").into_data() {
                kept.extend_from_slice(&data);
            }
            while kept.len() >= 5 {
                let length = u32::from_be_bytes([kept[1], kept[2], kept[3], kept[4]]) as usize;
                if kept.len() < length + 5 {
                    break;
                }
                let message = kept.split_to(length + 5).freeze().slice(5..);
                if let Some(ready) = ready.take() {
                    ready();
                }
                if bytes_field(&message, 11).is_some() {
                    return;
                }
            }
        }
        panic!("etcd ended a watch with no event");
    }
}

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Protocol Buffers: a field that is a number.
pub fn field_number(field: u64, number: u64) -> Vec<u8> {
    let mut to = Vec::new();
    varint(field << 3, &mut to);
    varint(number, &mut to);
    to
}

/// Protocol Buffers: a field that is bytes, a text or a message.
pub fn field_bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(bytes.len() + 6);
    varint(field << 3 | 2, &mut to);
    varint(bytes.len() as u64, &mut to);
    to.extend_from_slice(bytes);
    to
}

fn read_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
}

fn find(message: &[u8], wanted: u64) -> Option<(u64, &[u8])> {
    let mut at = 0;
    while at < message.len() {
        let key = read_varint(message, &mut at)?;
        let (number, bytes): (u64, &[u8]) = match key & 7 {
            0 => (read_varint(message, &mut at)?, &[]),
            2 => {
                let length = read_varint(message, &mut at)? as usize;
                let bytes = message.get(at..at + length)?;
                at += length;
                (0, bytes)
            }
            1 => {
                at += 8;
                (0, &[])
            }
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some((number, bytes));
        }
    }
    None
}

/// A field that is a number; 0 where it is not there, as Protocol Buffers has it.
pub fn number_field(message: &[u8], field: u64) -> u64 {
    find(message, field).map_or(0, |(number, _)| number)
}

/// A field that is bytes or a message.
pub fn bytes_field(message: &[u8], field: u64) -> Option<&[u8]> {
    find(message, field).map(|(_, bytes)| bytes)
}
