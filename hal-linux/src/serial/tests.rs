//! A line whose other end is a pseudo terminal of the test.

use std::fs::File;
use std::io::{Read as _, Write as _};

use embedded_io::{Read, ReadReady, Write, WriteReady};
use nix::pty::{OpenptyResult, openpty};
use nix::unistd::ttyname;

use super::*;

fn pair() -> (File, SerialLine, PathBuf) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let path = ttyname(&slave).unwrap();
    let line = SerialLine::open(&path, 9600, Carrier::Unknown).unwrap();
    (File::from(master), line, path)
}

/// Waits until the line has something to say.
fn hear(line: &mut SerialLine) -> Result<Vec<u8>, ErrorKind> {
    while !line.read_ready().unwrap() {
        std::thread::yield_now();
    }
    let mut octets = [0; 64];
    line.read(&mut octets).map(|read| octets[..read].to_vec())
}

#[test]
fn octets_pass_as_they_are() {
    let (mut far, mut line, _) = pair();
    far.write_all(b"\x03\r\n\x11\xff\0x").unwrap();
    let mut heard = Vec::new();
    while heard.len() < 7 {
        heard.extend(hear(&mut line).unwrap());
    }
    assert_eq!(heard, b"\x03\r\n\x11\xff\0x");
    assert!(line.write_ready().unwrap());
    assert_eq!(line.write(b"\r\nok \xff\0").unwrap(), 7);
    let mut octets = [0; 7];
    far.read_exact(&mut octets).unwrap();
    assert_eq!(&octets, b"\r\nok \xff\0");
}

#[test]
fn nothing_is_not_the_end() {
    let (far, mut line, _) = pair();
    assert!(!line.read_ready().unwrap());
    assert_eq!(line.read(&mut [0; 4]), Err(ErrorKind::TimedOut));
    drop(far);
    assert_eq!(hear(&mut line), Ok(Vec::new()));
    assert_eq!(hear(&mut line), Ok(Vec::new()), "and it stays ended");
    assert_eq!(line.write(b"x"), Err(ErrorKind::BrokenPipe));
}

#[test]
fn a_line_that_takes_no_more_says_so() {
    let (_far, mut line, _) = pair();
    let mut written = 0;
    while line.write_ready().unwrap() {
        written += line.write(&[b'x'; 512]).unwrap();
        assert!(written < 1 << 20, "a line that takes everything");
    }
    assert!(matches!(line.write(&[b'x'; 65_536]), Ok(_) | Err(ErrorKind::TimedOut)));
}

#[test]
fn one_program_at_a_time() {
    let (_far, line, path) = pair();
    assert!(matches!(SerialLine::open(&path, 9600, Carrier::Unknown), Err(SerialError::InUse(_))));
    drop(line);
    assert!(SerialLine::open(&path, 115_200, Carrier::Unknown).is_ok());
}

#[test]
fn settings_are_put_back() {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let before = tcgetattr(&slave).unwrap();
    let line = SerialLine::open(&ttyname(&slave).unwrap(), 57_600, Carrier::Unknown).unwrap();
    let during = tcgetattr(&slave).unwrap();
    assert!(during.input_flags.contains(InputFlags::PARMRK) && during != before);
    drop(line);
    assert_eq!(tcgetattr(&slave).unwrap().input_flags, before.input_flags);
    drop(master);
}

#[test]
fn what_is_no_line_is_named() {
    let speed = SerialLine::open(Path::new("/dev/null"), 9601, Carrier::Unknown).unwrap_err();
    assert!(speed.to_string().contains("9600"), "{speed}");
    let null = SerialLine::open(Path::new("/dev/null"), 9600, Carrier::Unknown).unwrap_err();
    assert!(matches!(null, SerialError::Settings(..)), "{null}");
    let missing = SerialLine::open(Path::new("/dev/no-such-line"), 9600, Carrier::Unknown).unwrap_err();
    assert!(matches!(missing, SerialError::Open(..)), "{missing}");
}

#[test]
fn every_speed_is_one() {
    assert!(SPEEDS_BAUD.iter().all(|&baud| speed(baud).is_some()));
}
