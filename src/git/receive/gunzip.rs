//! The body of a question that came compressed, unpacked piece by piece (RFC 1952): git would unpack it too, but whatever it comes
//! to. The checksum at its end is not looked at: what matters in it has its own.

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// The longest head, bytes; git's has ten.
const HEAD_MAX: usize = 4 * 1024;
const HAS_CHECKSUM: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

/// What came is no gzip.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotGzip;

/// Unpacks one member.
pub(super) struct Gunzip {
    /// What there is of the head; none: it is over.
    head: Option<Vec<u8>>,
    state: Box<InflateState>,
    ended: bool,
}

/// So much was read, and so much made of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub read: usize,
    pub made: usize,
}

impl Gunzip {
    pub fn new() -> Self {
        Self { head: Some(Vec::new()), state: InflateState::new_boxed(DataFormat::Raw), ended: false }
    }

    /// Unpacks as much as `output` takes. Where nothing was read and nothing made, it wants more. What comes after the end is
    /// read and is nothing.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, NotGzip> {
        if self.ended {
            return Ok(Step { read: input.len(), made: 0 });
        }
        if let Some(head) = &mut self.head {
            let before = head.len();
            head.extend_from_slice(input.get(..HEAD_MAX).unwrap_or(input));
            return match head_length(head)? {
                Some(length) => {
                    self.head = None;
                    Ok(Step { read: length.saturating_sub(before), made: 0 })
                }
                None if head.len() > HEAD_MAX => Err(NotGzip),
                None => Ok(Step { read: head.len() - before, made: 0 }),
            };
        }
        let answer = inflate(&mut self.state, input, output, MZFlush::None);
        let step = Step { read: answer.bytes_consumed, made: answer.bytes_written };
        match answer.status {
            Ok(MZStatus::StreamEnd) => self.ended = true,
            Ok(_) | Err(MZError::Buf) => {}
            Err(_) => return Err(NotGzip),
        }
        Ok(step)
    }
}

/// How long the head is; none: there is more to come of it.
fn head_length(head: &[u8]) -> Result<Option<usize>, NotGzip> {
    let Some((fixed, mut rest)) = head.split_at_checked(10) else { return Ok(None) };
    let &[0x1f, 0x8b, 8, flags, ..] = fixed else { return Err(NotGzip) };
    if flags & HAS_EXTRA != 0 {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let Some((_, after)) = after.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
            return Ok(None);
        };
        rest = after;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(None) };
            rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        }
    }
    if flags & HAS_CHECKSUM != 0 {
        let Some((_, after)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        rest = after;
    }
    Ok(Some(head.len() - rest.len()))
}

#[cfg(test)]
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    packed.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
    packed.extend([0; 8]);
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gunzip(packed: &[u8], piece: usize) -> Result<Vec<u8>, NotGzip> {
        let (mut gunzip, mut all, mut out) = (Gunzip::new(), Vec::new(), [0; 100]);
        for mut piece in packed.chunks(piece) {
            loop {
                let Step { read, made } = gunzip.step(piece, &mut out)?;
                piece = &piece[read..];
                all.extend_from_slice(&out[..made]);
                if (read, made) == (0, 0) {
                    break;
                }
            }
            assert!(piece.is_empty());
        }
        Ok(all)
    }

    #[test]
    fn what_was_packed_comes_out_whatever_the_pieces_and_the_head() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(|n| (n % 251 * n).to_le_bytes()).collect();
        let packed = gzip(&text);
        for piece in [1, 7, 1000, packed.len()] {
            assert_eq!(gunzip(&packed, piece).as_deref(), Ok(text.as_slice()), "{piece}");
        }
        let mut full = vec![0x1f, 0x8b, 8, 0x1f, 0, 0, 0, 0, 0, 3, 2, 0, b'x', b'y'];
        full.extend(b"name\0comment\0cc");
        full.extend(&packed[10..]);
        for piece in [1, full.len()] {
            assert_eq!(gunzip(&full, piece).as_deref(), Ok(text.as_slice()), "{piece}");
        }
        assert_eq!(gunzip(&packed[..packed.len() / 2], 10).map(|half| text.starts_with(&half)), Ok(true));
    }

    #[test]
    fn what_is_no_gzip_is_said_to_be_none() {
        let mut damaged = gzip(&[7; 100]);
        damaged[10] = 0xff;
        let endless: Vec<u8> = [0x1f, 0x8b, 8, HAS_NAME, 0, 0, 0, 0, 0, 3].into_iter().chain([b'x'; 9000]).collect();
        for wrong in [b"0000garbage".to_vec(), vec![0; 50], damaged, endless] {
            assert_eq!(gunzip(&wrong, 64), Err(NotGzip), "{wrong:?}");
        }
    }
}
