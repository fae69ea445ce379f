//! A loader by TFTP, as iPXE-sized firmware fetches it (RFC 1350, 2347, 2348, 2349, 7440); its bytes are counted and forgotten.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: u32 = 5;
/// What is asked for: a block that fits an Ethernet frame, eight blocks in flight.
const BLOCK: usize = 1468;
const WINDOW: u16 = 8;

/// Fetches a file and gives its length in bytes.
///
/// # Errors
/// What did not come, for people.
pub async fn fetch(server: SocketAddr, name: &str) -> Result<u64, String> {
    let wrong = |error: std::io::Error| format!("TFTP: {error}");
    let socket = UdpSocket::bind(("0.0.0.0", 0)).await.map_err(wrong)?;
    let mut request = vec![0, 1];
    let (block, window) = (BLOCK.to_string(), WINDOW.to_string());
    for text in [name, "octet", "tsize", "0", "blksize", block.as_str(), "windowsize", window.as_str()] {
        request.extend(text.bytes());
        request.push(0);
    }
    let mut buffer = vec![0; BLOCK + 4];
    let (mut to, mut last) = (server, request);
    let (mut next, mut in_window, mut length, mut tries): (u16, u16, u64, u32) = (1, 0, 0, 0);
    // Before an OACK, blocks are of 512 bytes and in no window (RFC 1350).
    let (mut size, mut window) = (512, 1);
    socket.send_to(&last, to).await.map_err(wrong)?;
    loop {
        let Ok(received) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await else {
            tries += 1;
            if tries >= TRIES {
                return Err(format!("TFTP: {name}: no answer"));
            }
            socket.send_to(&last, to).await.map_err(wrong)?;
            continue;
        };
        let (count, from) = received.map_err(wrong)?;
        let packet = buffer.get(..count).unwrap_or_default();
        let (kind, rest) = packet.split_at_checked(2).ok_or("TFTP: a packet that is too short")?;
        to = from;
        let number = rest.get(..2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
        match kind {
            [0, 6] => {
                (size, window) = options(rest);
                last = acknowledge(0);
            }
            [0, 3] if number == next => {
                let bytes = rest.len().saturating_sub(2);
                length += bytes as u64;
                next = next.wrapping_add(1);
                in_window += 1;
                let end = bytes < size;
                if !end && in_window < window {
                    continue;
                }
                in_window = 0;
                last = acknowledge(number);
                if end {
                    socket.send_to(&last, to).await.map_err(wrong)?;
                    return Ok(length);
                }
            }
            // A block was lost or came twice: the last good one is said again.
            [0, 3] => {
                in_window = 0;
                last = acknowledge(next.wrapping_sub(1));
            }
            [0, 5] => return Err(format!("TFTP: {name}: {}", refusal(number, rest.get(2..).unwrap_or_default()))),
            _ => continue,
        }
        tries = 0;
        socket.send_to(&last, to).await.map_err(wrong)?;
    }
}

fn acknowledge(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![0, 4, high, low]
}

/// The block and window sizes of an OACK.
fn options(bytes: &[u8]) -> (usize, u16) {
    let words: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let value = |name: &[u8]| {
        let pair = words.chunks(2).find(|pair| pair.first().is_some_and(|word| word.eq_ignore_ascii_case(name)))?;
        std::str::from_utf8(pair.get(1)?).ok()?.parse::<u16>().ok()
    };
    (value(b"blksize").map_or(512, usize::from), value(b"windowsize").unwrap_or(1).max(1))
}

/// What a server refuses with: its own words, else those of the code (RFC 1350, appendix; 8 of RFC 2347).
fn refusal(code: u16, words: &[u8]) -> String {
    let words: String = String::from_utf8_lossy(words).chars().take_while(|c| *c != '\0').take(80).collect();
    let meaning = match code {
        1 => "file not found",
        2 => "access violation",
        3 => "disk full",
        4 => "illegal operation",
        5 => "unknown transfer",
        8 => "options refused",
        _ => "not defined",
    };
    let words = if words.trim().is_empty() { meaning } else { words.trim() };
    format!("error {code}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_in_words() {
        assert_eq!(refusal(1, b"\0"), "error 1: file not found");
        assert_eq!(refusal(0, b"busy, ask again\0"), "error 0: busy, ask again");
        assert_eq!(refusal(9, b""), "error 9: not defined");
    }

    #[test]
    fn what_a_server_grants_is_what_holds() {
        assert_eq!(options(b"tsize\x001000\x00blksize\x001468\x00windowsize\x008\x00"), (1468, 8));
        assert_eq!(options(b"tsize\x001000\x00"), (512, 1));
        assert_eq!(options(b""), (512, 1));
    }
}
