//! A file descriptor that signals a consumer's values to an event loop.
//!
//! ```text
//! arm:   registers the waker in the record's wait list, unless the consumer is ready already
//! wake:  writes one byte to the socket, and passes the place in the wait list to the next reader
//! ```
//!
//! The byte stays in the socket until a read of the consumer finds nothing and arms the descriptor again. The descriptor is
//! therefore readable from the moment a value is ready until a read has found the consumer empty.

use std::io;
use std::sync::Arc;

use crate::erased::AnyConsumer;

#[cfg(not(unix))]
pub(crate) struct Descriptor;

#[cfg(not(unix))]
impl Descriptor {
    pub(crate) fn new(_: Arc<AnyConsumer>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "descriptors are for Unix"))
    }

    pub(crate) fn arm(&self) {}

    pub(crate) fn raw_fd(&self) -> i32 {
        -1
    }
}

#[cfg(unix)]
pub(crate) use unix::Descriptor;

#[cfg(unix)]
mod unix {
    use super::{AnyConsumer, Arc, io};

    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, Wake, Waker};

    use aimdb_sync::WaitTicket;

    pub(crate) struct Descriptor(Arc<ReadyWaker>);

    struct ReadyWaker {
        consumer: Arc<AnyConsumer>,
        /// The end that C polls.
        read_end: UnixStream,
        state: Mutex<State>,
    }

    struct State {
        write_end: UnixStream,
        /// Whether a byte is in the socket.
        signalled: bool,
        ticket: WaitTicket,
    }

    impl Descriptor {
        pub(crate) fn new(consumer: Arc<AnyConsumer>) -> io::Result<Self> {
            let (read_end, write_end) = UnixStream::pair()?;
            read_end.set_nonblocking(true)?;
            write_end.set_nonblocking(true)?;
            let ticket = WaitTicket::default();
            let state = Mutex::new(State { write_end, signalled: false, ticket });
            Ok(Self(Arc::new(ReadyWaker { consumer, read_end, state })))
        }

        pub(crate) fn raw_fd(&self) -> i32 {
            self.0.read_end.as_raw_fd()
        }

        /// Makes the descriptor readable now if the consumer is ready, or else when it becomes ready.
        pub(crate) fn arm(&self) {
            let ready_waker = &self.0;
            let waker = Waker::from(Arc::clone(ready_waker));
            let mut state = ready_waker.lock();
            let consumer = ready_waker.consumer.waitable();
            match consumer.poll_ready(&mut state.ticket, &mut Context::from_waker(&waker)) {
                Poll::Ready(()) => state.signal(),
                Poll::Pending => state.clear(&ready_waker.read_end),
            }
        }
    }

    /// Breaks a reference cycle: the waker in the record's wait list owns the `ReadyWaker`, which owns the consumer of the
    /// record.
    impl Drop for Descriptor {
        fn drop(&mut self) {
            self.0.consumer.waitable().cancel_wait(&mut self.0.lock().ticket);
        }
    }

    impl ReadyWaker {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Wake for ReadyWaker {
        fn wake(self: Arc<Self>) {
            let mut state = self.lock();
            state.signal();
            // An event loop may take long to react, so the next reader in the wait list may take the value.
            self.consumer.waitable().cancel_wait(&mut state.ticket);
        }
    }

    impl State {
        fn signal(&mut self) {
            if !self.signalled {
                // The socket has room: it holds one byte at most.
                self.signalled = self.write_end.write(&[1]).is_ok();
            }
        }

        fn clear(&mut self, mut read_end: &UnixStream) {
            if self.signalled {
                self.signalled = read_end.read(&mut [0; 8]).is_err();
            }
        }
    }
}
