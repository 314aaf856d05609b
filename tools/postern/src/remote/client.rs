//! Calls and their answers: numbers, time-outs, frames that were lost.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};

use postern_console::rpc::reply::Welcome;
use postern_console::rpc::{
    Answer, Call, Deframer, FRAME_BYTES_MAX, PROTOCOL, Refusal, Reply, Request, encode_frame,
};

use super::failure::{Failure, Outcome};
use super::link::Link;

/// How long an answer may take besides its way: a commit flushes a slow medium.
const ANSWER: Duration = Duration::from_secs(20);

/// How long on a line that loses octets, where asking again costs little.
const ANSWER_LOSSY: Duration = Duration::from_secs(6);

/// How often a call is sent on a line that loses octets.
const TRIES_LOSSY: u32 = 12;

/// A gateway one can ask.
pub struct Client {
    link: Box<dyn Link>,
    deframer: Deframer,
    number: u16,
    patience: Option<Duration>,
    moved: Moved,
    /// Whether the last call was sent more than once, so that the gateway may have carried it out
    /// before the answer that came.
    repeated: bool,
    /// Octets before the call that nobody answers.
    ahead: usize,
    /// The gateway restarts: it answers nothing any more.
    restarts: bool,
}

/// Octets that went over the link, for people who wait.
struct Moved {
    octets: u64,
    shown: bool,
    begun: Instant,
    told: Option<Instant>,
}

/// Octets between two words about progress come at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// Progress is shown once something takes this long.
const PROGRESS_AFTER: Duration = Duration::from_millis(700);

impl Client {
    /// Asks over `link`. `patience` is how long an answer may take when the usual does not do;
    /// `progress` shows octets even when standard error is no terminal.
    pub fn new(link: Box<dyn Link>, patience: Option<Duration>, progress: bool) -> Self {
        let slow = link.nature().octets_per_sec.is_some();
        let shown = progress || (slow && std::io::stderr().is_terminal());
        let moved = Moved { octets: 0, shown, begun: Instant::now(), told: None };
        Self {
            link,
            deframer: Deframer::new(),
            number: 0,
            patience,
            moved,
            repeated: false,
            ahead: 0,
            restarts: false,
        }
    }

    /// Who is there.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when nobody answers.
    pub fn hello(&mut self) -> Outcome<Welcome> {
        match self.call(Request::Hello { protocol: PROTOCOL })? {
            Reply::Welcome(welcome) => Ok(welcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Failure::Refused`] and [`Failure::Unreachable`].
    pub fn call(&mut self, request: Request) -> Outcome<Reply> {
        self.ask(request)?.map_err(Failure::Refused)
    }

    /// The same, with the gateway's refusal as a value.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn ask(&mut self, request: Request) -> Outcome<Result<Reply, Refusal>> {
        let restarts = request == Request::Reboot;
        self.number = if self.number == u16::MAX { 1 } else { self.number + 1 };
        self.repeated = false;
        let call = Call { number: self.number, request };
        let mut frame = [0; FRAME_BYTES_MAX];
        let frame = encode_frame(&call, &mut frame)
            .map_err(|error| Failure::Failed(format!("the request cannot be sent: {error:?}")))?;
        let frame = frame.to_vec();
        let tries = if self.link.nature().lossy { TRIES_LOSSY } else { 1 };
        for again in 0..tries {
            self.repeated = again > 0;
            self.link.send(&frame).map_err(|error| self.broken(&error))?;
            self.moved(frame.len());
            let answer = self.answer(frame.len() + self.ahead)?;
            self.ahead = 0;
            if let Some(result) = answer {
                self.restarts |= restarts && result.is_ok();
                return Ok(result);
            }
        }
        Err(Failure::Unreachable(match tries {
            1 => "no answer came in time; the request may have been carried out all the same".to_owned(),
            tries => format!("no whole answer came to {tries} tries: is it the right line and speed?"),
        }))
    }

    /// Sends what nobody answers.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub fn tell(&mut self, request: Request) -> Outcome<()> {
        let mut frame = [0; FRAME_BYTES_MAX];
        let frame = encode_frame(&Call { number: 0, request }, &mut frame)
            .map_err(|error| Failure::Failed(format!("the request cannot be sent: {error:?}")))?;
        self.link.send(frame).map_err(|error| self.broken(&error))?;
        self.ahead += frame.len();
        self.moved(frame.len());
        Ok(())
    }

    /// Octets a second of the way, when that is little.
    pub fn octets_per_sec(&self) -> Option<u32> {
        self.link.nature().octets_per_sec
    }

    /// Shows no octets any more: somebody else shows how it goes.
    pub fn hush(&mut self) {
        self.finish();
        self.moved.shown = false;
    }

    /// Whether it was told to restart, and does.
    pub fn restarts(&self) -> bool {
        self.restarts
    }

    /// Whether the last call was sent more than once.
    pub fn repeated(&self) -> bool {
        self.repeated
    }

    /// Takes the line of progress away.
    pub fn finish(&mut self) {
        if self.moved.told.take().is_some() {
            let _ = write!(std::io::stderr(), "\r{:40}\r", "");
        }
    }

    /// `None` when it is time to send the call again.
    fn answer(&mut self, sent: usize) -> Outcome<Option<Result<Reply, Refusal>>> {
        let until = Instant::now() + self.time_out(sent);
        let mut buffer = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let count = match self.link.receive(&mut buffer, left) {
                Ok(count) => count,
                // The link knows that nothing comes any more.
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(error) => return Err(self.broken(&error)),
            };
            self.moved(count);
            for &octet in buffer.get(..count).unwrap_or_default() {
                match self.deframer.take::<Answer>(octet) {
                    None => {}
                    Some(Ok(Answer { number, result })) if number == self.number => return Ok(Some(result)),
                    // The gateway could not read the call.
                    Some(Ok(Answer { number: 0, result: Err(Refusal::Malformed) })) => return Ok(None),
                    // An answer to a call that was sent again meanwhile.
                    Some(Ok(_)) => {}
                    // This may have been the answer. On a sound link it is noise from before.
                    Some(Err(_)) if self.link.nature().lossy => return Ok(None),
                    Some(Err(_)) => {}
                }
            }
        }
    }

    /// Both ways of the longest frames, and what the gateway needs.
    fn time_out(&self, sent: usize) -> Duration {
        let nature = self.link.nature();
        let usual = if nature.lossy { ANSWER_LOSSY } else { ANSWER };
        let octets = u32::try_from(sent + FRAME_BYTES_MAX).unwrap_or(u32::MAX);
        let way = nature.octets_per_sec.map_or(Duration::ZERO, |rate| {
            Duration::from_millis(u64::from(octets) * 1000 / u64::from(rate.max(1)))
        });
        self.patience.unwrap_or(usual) + 2 * way
    }

    fn broken(&mut self, error: &std::io::Error) -> Failure {
        let why = self.link.last_words().unwrap_or_else(|| match error.kind() {
            ErrorKind::UnexpectedEof => {
                "the gateway ended the connection: too many are open, or it stopped".to_owned()
            }
            _ => format!("the connection broke: {error}"),
        });
        Failure::Unreachable(why)
    }

    fn moved(&mut self, octets: usize) {
        self.moved.octets += octets as u64;
        let waited = self.moved.begun.elapsed() >= PROGRESS_AFTER;
        let due = self.moved.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY);
        if self.moved.shown && waited && due {
            let _ = write!(std::io::stderr(), "\r{} octets ", self.moved.octets);
            self.moved.told = Some(Instant::now());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A reply that does not belong to the request.
pub(crate) fn unexpected(reply: &Reply) -> Failure {
    let text = format!("{reply:?}");
    let name = text.split([' ', '(']).next().unwrap_or_default();
    Failure::Failed(format!("the gateway answered something else: {name}"))
}

/// Asks, and takes the one kind of reply that belongs to the request.
macro_rules! reply_of {
    ($client:expr, $request:expr, $pattern:pat => $value:expr) => {
        match $client.call($request)? {
            $pattern => Ok($value),
            other => Err($crate::remote::client::unexpected(&other)),
        }
    };
}
pub(crate) use reply_of;
