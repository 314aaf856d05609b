//! Sending frames as they are, one by one or as a paced, bounded flood.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use crate::namespace::Namespace;

/// A packet socket (packet(7)) that only sends.
#[derive(Debug)]
pub struct FrameSender {
    socket: OwnedFd,
}

impl FrameSender {
    /// Opens `interface` of `namespace`.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let address = getifaddrs()?
                .filter(|entry| entry.interface_name == interface)
                .find_map(|entry| entry.address.and_then(|address| address.as_link_addr().copied()))
                .with_context(|| format!("no interface {interface} in {}", namespace.name()))?;
            // Protocol 0: nothing is ever received, so that sending costs no more than it must.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok(Self { socket })
        })
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// From the kernel.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }
}

/// A flood that runs until its count is sent or it is stopped.
#[derive(Debug)]
pub struct Flood {
    thread: Option<JoinHandle<Result<()>>>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Flood {
    /// Sends `frame(0)`, `frame(1)`, ... at `per_second`, at most `count` of them.
    pub fn start(
        sender: FrameSender,
        per_second: u32,
        count: u64,
        mut frame: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            for number in 0..count {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let due = Duration::from_secs_f64(number as f64 / f64::from(per_second));
                if let Some(early) = due.checked_sub(started.elapsed()) {
                    std::thread::sleep(early);
                }
                sender.send(&frame(number))?;
                counter.store(number + 1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { thread: Some(thread), stop, sent }
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it and returns how many frames were sent.
    ///
    /// # Errors
    /// When sending failed.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until all frames are sent and returns how many that were.
    ///
    /// # Errors
    /// When sending failed.
    pub fn finish(mut self) -> Result<u64> {
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| anyhow!("the flood's thread panicked"))??;
        }
        Ok(self.sent())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
