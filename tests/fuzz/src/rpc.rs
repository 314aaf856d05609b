//! Frames of the control socket and the serial line: read, or refused; what was read is framed again
//! and read as the same.

use postern_console::rpc::{Answer, Call, Deframer, FRAME_BYTES_MAX, FrameError, encode_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads the bytes as a stream of frames, and as the body of a frame whose check sum is right.
///
/// # Panics
/// When the framing breaks a promise.
pub fn run(bytes: &[u8]) {
    stream(bytes);
    // A fuzzer cannot guess a check sum.
    body::<Call>(bytes);
    body::<Answer>(bytes);
}

/// Noise in front costs no frame behind a zero.
fn stream(bytes: &[u8]) {
    let mut deframer = Deframer::new();
    for &octet in bytes {
        match deframer.take::<Call>(octet) {
            None | Some(Err(FrameError::TooLong | FrameError::Damaged | FrameError::NotAMessage)) => {}
            Some(Ok(call)) => again(&call),
        }
    }
    let _ = deframer.take::<Call>(0);
    assert!(!deframer.is_within_frame(), "a zero ends every frame");
    let call = Call { number: 7, request: postern_console::rpc::request::Request::Status };
    let mut frame = [0; FRAME_BYTES_MAX];
    let frame = encode_frame(&call, &mut frame).expect("a short message");
    let heard = frame.iter().find_map(|&octet| deframer.take::<Call>(octet));
    assert_eq!(heard, Some(Ok(call)), "what was before does not matter");
}

fn body<T: DeserializeOwned + Serialize + PartialEq + core::fmt::Debug>(bytes: &[u8]) {
    if let Ok((message, _)) = postcard::take_from_bytes::<T>(bytes) {
        again(&message);
    }
}

fn again<T: DeserializeOwned + Serialize + PartialEq + core::fmt::Debug>(message: &T) {
    let mut frame = [0; FRAME_BYTES_MAX];
    let Ok(frame) = encode_frame(message, &mut frame) else { return };
    let mut deframer = Deframer::new();
    let heard = frame.iter().find_map(|&octet| deframer.take::<T>(octet));
    let Some(Ok(heard)) = heard else { panic!("{message:?} is not read again") };
    assert_eq!(&heard, message);
}
