//! Between the client and its stream.
//!
//! The client acknowledges whatever it has read, and it forgets to say which message it took when writing fails. So:
//!
//! - After a shutdown has begun messages are not let through. Unread they are not acknowledged, and stay the broker's.
//! - A write that fails is told by the next read. Publishing then never fails half-way, and the client's own record of
//!   what is under way is exact.
//! - A message at QoS 2 that the client has no place for is refused without a word to us; the refusal is seen here.

use aimdb_core::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use embedded_io_async::{ErrorType, Read, Write};

/// What both sides of the gate know. One task looks at it, so no ordering is needed.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Messages are not let through any more.
    pub(crate) closed: AtomicBool,
    /// The client is in the middle of a packet.
    pub(crate) amid: AtomicBool,
    /// What is written goes nowhere.
    pub(crate) broken: AtomicBool,
    /// So many messages at QoS 2 were refused: the broker has sent more at once than it may.
    pub(crate) refused: AtomicU32,
}

pub(crate) struct Gate<S: ErrorType> {
    stream: S,
    at: At,
    /// The packet that is being read is thrown away.
    passing_over: bool,
    failed: Option<S::Error>,
    signals: Arc<Signals>,
}

/// Where in a packet the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Kind,
    /// In the length, so many bits of which are known.
    Length(u32, usize),
    /// So many bytes before the end.
    Body(usize),
}

impl<S: ErrorType> Gate<S> {
    pub(crate) fn new(stream: S, signals: Arc<Signals>) -> Self {
        signals.amid.store(false, Relaxed);
        signals.broken.store(false, Relaxed);
        Self { stream, at: At::Kind, passing_over: false, failed: None, signals }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Follows what was read: one byte outside of a body, any number in it.
    fn follow(&mut self, bytes: &[u8]) {
        const PUBLISH: u8 = 3;
        self.at = match (self.at, bytes) {
            (At::Kind, [first, ..]) => {
                self.passing_over = first >> 4 == PUBLISH && self.signals.closed.load(Relaxed);
                At::Length(0, 0)
            }
            (At::Length(bits, known), [byte, ..]) => {
                let length = known | usize::from(byte & 0x7f) << bits;
                match (byte & 0x80 != 0, length) {
                    (true, _) if bits < 21 => At::Length(bits + 7, length),
                    (_, 0) => At::Kind,
                    (_, length) => At::Body(length),
                }
            }
            (At::Body(left), bytes) if left > bytes.len() => At::Body(left - bytes.len()),
            _ => At::Kind,
        };
        self.signals.amid.store(self.at != At::Kind && !self.passing_over, Relaxed);
    }
}

impl<S: ErrorType> ErrorType for Gate<S> {
    type Error = S::Error;
}

impl<S: Read> Read for Gate<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, S::Error> {
        loop {
            if self.signals.broken.load(Relaxed) {
                return self.failed.take().map_or(Ok(0), Err);
            }
            let most = match self.at {
                At::Body(left) => left.min(buffer.len()),
                _ => buffer.len().min(1),
            };
            let count = self.stream.read(&mut buffer[..most]).await?;
            if count == 0 {
                return Ok(0);
            }
            self.follow(&buffer[..count]);
            if !self.passing_over {
                return Ok(count);
            }
            self.passing_over = self.at != At::Kind;
        }
    }
}

impl<S: Write> Write for Gate<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        if self.signals.broken.load(Relaxed) {
            return Ok(bytes.len());
        }
        match self.stream.write(bytes).await {
            Ok(0) if !bytes.is_empty() => self.fail(None),
            Ok(count) => {
                if is_refusal(bytes) {
                    self.signals.refused.fetch_add(1, Relaxed);
                }
                return Ok(count);
            }
            Err(error) => self.fail(Some(error)),
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), S::Error> {
        if !self.signals.broken.load(Relaxed)
            && let Err(error) = self.stream.flush().await
        {
            self.fail(Some(error));
        }
        Ok(())
    }
}

impl<S: ErrorType> Gate<S> {
    fn fail(&mut self, error: Option<S::Error>) {
        self.failed = error;
        self.signals.broken.store(true, Relaxed);
    }
}

/// PUBREC with the reason "receive maximum exceeded". The client starts each packet with a write of its own.
fn is_refusal(packet: &[u8]) -> bool {
    matches!(packet, [0x50, 3, _, _, 0x93] | [0x50, 4, _, _, 0x93, 0])
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    use embedded_io_async::ErrorKind;

    use super::*;

    /// Gives its bytes, and takes none.
    struct Script(&'static [u8]);

    impl ErrorType for Script {
        type Error = ErrorKind;
    }

    impl Read for Script {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
            let count = self.0.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    impl Write for Script {
        async fn write(&mut self, _bytes: &[u8]) -> Result<usize, ErrorKind> {
            Err(ErrorKind::BrokenPipe)
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    fn now<O>(future: impl Future<Output = O>) -> O {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => unreachable!("the script never waits"),
        }
    }

    fn read_all(gate: &mut Gate<Script>, room: usize) -> alloc::vec::Vec<u8> {
        let mut all = alloc::vec::Vec::new();
        let mut buffer = [0; 16];
        loop {
            match now(gate.read(&mut buffer[..room])).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// A ping's answer, a message, an acknowledgement, a message without a body, another answer.
    const TRAFFIC: &[u8] = &[0xd0, 0, 0x32, 5, 0, 1, b'a', 0, 9, 0x40, 2, 0, 7, 0x30, 0, 0xd0, 0];

    #[test]
    fn an_open_gate_changes_nothing() {
        for room in 1..8 {
            let mut gate = Gate::new(Script(TRAFFIC), Arc::default());
            assert_eq!(read_all(&mut gate, room), TRAFFIC);
        }
    }

    #[test]
    fn a_closed_gate_passes_over_messages_and_nothing_else() {
        for room in 1..8 {
            let signals = Arc::new(Signals::default());
            let mut gate = Gate::new(Script(TRAFFIC), Arc::clone(&signals));
            signals.closed.store(true, Relaxed);
            assert_eq!(read_all(&mut gate, room), [0xd0, 0, 0x40, 2, 0, 7, 0xd0, 0]);
            assert!(!signals.amid.load(Relaxed));
        }
    }

    #[test]
    fn a_message_that_was_begun_when_the_gate_closes_is_let_through() {
        let signals = Arc::new(Signals::default());
        let mut gate = Gate::new(Script(&TRAFFIC[2..]), Arc::clone(&signals));
        let mut byte = [0];
        now(gate.read(&mut byte)).unwrap();
        assert!(signals.amid.load(Relaxed));
        signals.closed.store(true, Relaxed);
        assert_eq!(read_all(&mut gate, 3), [5, 0, 1, b'a', 0, 9, 0x40, 2, 0, 7, 0xd0, 0]);
    }

    #[test]
    fn a_refused_message_is_told_from_an_accepted_one() {
        assert!(is_refusal(&[0x50, 4, 0, 9, 0x93, 0]) && is_refusal(&[0x50, 3, 0, 9, 0x93]));
        assert!(!is_refusal(&[0x50, 2, 0, 9]) && !is_refusal(&[0x40, 3, 0, 9, 0x93]));
    }

    #[test]
    fn a_write_that_fails_is_told_by_the_next_read() {
        let signals = Arc::new(Signals::default());
        let mut gate = Gate::new(Script(TRAFFIC), Arc::clone(&signals));
        assert_eq!(now(gate.write(b"abc")), Ok(3));
        assert!(signals.broken.load(Relaxed));
        assert_eq!((now(gate.write(b"d")), now(gate.flush())), (Ok(1), Ok(())));
        assert_eq!(now(gate.read(&mut [0; 4])), Err(ErrorKind::BrokenPipe));
        assert_eq!(now(gate.read(&mut [0; 4])), Ok(0));
    }
}
