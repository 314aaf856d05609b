//! Frames: COBS (Cheshire and Baker 1999) between zeros, closed by a CRC-32C.
//!
//! ```text
//! 00 | COBS( message in postcard | CRC-32C of the message, u32 le ) | 00
//! ```
//!
//! The zero in front ends whatever noise came before it; empty frames mean nothing. A frame that is
//! too long or damaged is dropped, and the next zero begins a new one.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Octets of the largest message.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// Octets of the largest frame on the wire: message, check sum, one COBS code for each 254 octets,
/// two zeros.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 4 + (MESSAGE_BYTES_MAX + 4) / 254 + 1 + 2;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
const CRC_BYTES: usize = 4;

/// Why a frame was dropped, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    TooLong,
    /// Not COBS, or the check sum does not fit.
    Damaged,
    /// Whole, and not a message of this protocol.
    NotAMessage,
}

/// Writes the frame of `message` into `frame`; returns the part that was written.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode_frame<'f, T: Serialize>(
    message: &T,
    frame: &'f mut [u8; FRAME_BYTES_MAX],
) -> Result<&'f [u8], FrameError> {
    let mut body = [0; MESSAGE_BYTES_MAX + CRC_BYTES];
    let room = body.get_mut(..MESSAGE_BYTES_MAX).ok_or(FrameError::TooLong)?;
    let length = postcard::to_slice(message, room).map_err(|_| FrameError::TooLong)?.len();
    let crc = CRC.checksum(body.get(..length).unwrap_or_default()).to_le_bytes();
    body.get_mut(length..length + CRC_BYTES).ok_or(FrameError::TooLong)?.copy_from_slice(&crc);
    let body = body.get(..length + CRC_BYTES).ok_or(FrameError::TooLong)?;
    let mut out = Writer { frame, at: 0 };
    out.put(0)?;
    for run in CobsRuns(Some(body)) {
        out.put(run.code)?;
        for &octet in run.octets {
            out.put(octet)?;
        }
    }
    out.put(0)?;
    let at = out.at;
    frame.get(..at).ok_or(FrameError::TooLong)
}

struct Writer<'f> {
    frame: &'f mut [u8; FRAME_BYTES_MAX],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, octet: u8) -> Result<(), FrameError> {
        *self.frame.get_mut(self.at).ok_or(FrameError::TooLong)? = octet;
        self.at += 1;
        Ok(())
    }
}

/// Octets without a zero, and the code that stands before them.
struct Run<'b> {
    code: u8,
    octets: &'b [u8],
}

/// Splits a body into runs; `None` once the last was given.
struct CobsRuns<'b>(Option<&'b [u8]>);

impl<'b> Iterator for CobsRuns<'b> {
    type Item = Run<'b>;

    fn next(&mut self) -> Option<Run<'b>> {
        let body = self.0?;
        let window = body.get(..254).unwrap_or(body);
        let length = window.iter().position(|&octet| octet == 0).unwrap_or(window.len());
        let (octets, rest) = body.split_at_checked(length)?;
        // A run of 254 stands for itself; every other stands for a zero behind it as well.
        self.0 = match (length, rest.split_first()) {
            (_, None) => None,
            (254, Some(_)) => Some(rest),
            (_, Some((_, behind))) => Some(behind),
        };
        Some(Run { code: u8::try_from(length + 1).unwrap_or(u8::MAX), octets })
    }
}

/// Finds frames in a stream, octet by octet.
#[derive(Debug)]
pub struct Deframer {
    octets: heapless::Vec<u8, FRAME_BYTES_MAX>,
    overrun: bool,
}

impl Default for Deframer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deframer {
    /// Waits for a frame.
    pub const fn new() -> Self {
        Self { octets: heapless::Vec::new(), overrun: false }
    }

    /// Takes one octet. Something is returned at the zero that ends a frame that is not empty: the
    /// message, or why it was dropped.
    pub fn take<T: DeserializeOwned>(&mut self, octet: u8) -> Option<Result<T, FrameError>> {
        if octet != 0 {
            self.overrun |= self.octets.push(octet).is_err();
            return None;
        }
        let overrun = core::mem::take(&mut self.overrun);
        if self.octets.is_empty() {
            return None;
        }
        let message = if overrun { Err(FrameError::TooLong) } else { decode(&mut self.octets) };
        self.octets.clear();
        Some(message)
    }

    /// Whether octets of a frame that has not ended are held.
    pub fn is_within_frame(&self) -> bool {
        !self.octets.is_empty()
    }
}

fn decode<T: DeserializeOwned>(octets: &mut [u8]) -> Result<T, FrameError> {
    let length = unstuff(octets).ok_or(FrameError::Damaged)?;
    let body = octets.get(..length).ok_or(FrameError::Damaged)?;
    let (message, crc) = body.split_last_chunk::<CRC_BYTES>().ok_or(FrameError::Damaged)?;
    if CRC.checksum(message) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Damaged);
    }
    match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::NotAMessage),
    }
}

/// Takes the COBS codes out in place; returns how many octets are left, `None` when it is not COBS.
fn unstuff(octets: &mut [u8]) -> Option<usize> {
    let (mut from, mut to) = (0, 0);
    while let Some(&code) = octets.get(from) {
        let length = usize::from(code).checked_sub(1)?;
        from += 1;
        if from + length > octets.len() {
            return None;
        }
        octets.copy_within(from..from + length, to);
        from += length;
        to += length;
        if code != u8::MAX && from < octets.len() {
            *octets.get_mut(to)? = 0;
            to += 1;
        }
    }
    Some(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    type Message = heapless::Vec<u8, MESSAGE_BYTES_MAX>;

    fn framed(message: &Message) -> Vec<u8> {
        encode_frame(message, &mut [0; FRAME_BYTES_MAX]).unwrap().to_vec()
    }

    fn received(stream: &[u8]) -> Vec<Result<Message, FrameError>> {
        let mut deframer = Deframer::new();
        stream.iter().filter_map(|&octet| deframer.take(octet)).collect()
    }

    #[test]
    fn every_length_and_content_comes_through() {
        for length in 0..MESSAGE_BYTES_MAX - 2 {
            let contents: [fn(usize) -> u8; 4] =
                [|_| 0, |_| 0xff, |at| at.to_le_bytes()[0], |at| if at % 255 == 254 { 0 } else { 1 }];
            for content in contents {
                let message: Message = (0..length).map(content).collect();
                let frame = framed(&message);
                assert!(frame[1..frame.len() - 1].iter().all(|&octet| octet != 0));
                assert_eq!(received(&frame), [Ok(message)]);
            }
        }
    }

    #[test]
    fn noise_before_and_a_lost_octet_cost_one_frame_at_most() {
        let message: Message = (0..100).collect();
        let frame = framed(&message);
        let mut stream = b"login: ".to_vec();
        stream.extend(&frame);
        assert_eq!(received(&stream), [Err(FrameError::Damaged), Ok(message.clone())]);
        for lost in 1..frame.len() - 1 {
            let mut stream = frame.clone();
            stream.remove(lost);
            stream.extend(&frame);
            assert_eq!(received(&stream), [Err(FrameError::Damaged), Ok(message.clone())], "octet {lost}");
        }
    }

    #[test]
    fn a_frame_without_end_is_dropped() {
        let mut stream = std::vec![1; 10 * FRAME_BYTES_MAX];
        stream.push(0);
        assert_eq!(received(&stream), [Err(FrameError::TooLong)]);
    }

    #[test]
    fn too_long_a_message_is_refused() {
        let long: heapless::Vec<u8, { MESSAGE_BYTES_MAX + 1 }> = (0..=MESSAGE_BYTES_MAX).map(|_| 7).collect();
        assert_eq!(encode_frame(&long, &mut [0; FRAME_BYTES_MAX]), Err(FrameError::TooLong));
    }
}
