//! A file descriptor that tells an event loop of a consumer's values.
//!
//! ```text
//! arm:   the waker joins the record's line of readers, unless there is something already
//! wake:  a value has come: a byte goes into the socket, and the place in line to the next reader
//! ```
//!
//! The byte stays until a reader that finds nothing arms it again. So the descriptor is readable as long as nobody has
//! looked in vain.

use std::io;
use std::sync::Arc;

use crate::consumer::AnyConsumer;

#[cfg(not(unix))]
pub(crate) struct Descriptor;

#[cfg(not(unix))]
impl Descriptor {
    pub(crate) fn new(_: Arc<AnyConsumer>) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "descriptors are for Unix"))
    }

    pub(crate) fn arm(&self) {}

    pub(crate) fn number(&self) -> i32 {
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

    pub(crate) struct Descriptor(Arc<Bell>);

    struct Bell {
        consumer: Arc<AnyConsumer>,
        ear: UnixStream,
        state: Mutex<State>,
    }

    struct State {
        mouth: UnixStream,
        /// A byte is in the socket.
        rung: bool,
        ticket: WaitTicket,
    }

    impl Descriptor {
        pub(crate) fn new(consumer: Arc<AnyConsumer>) -> io::Result<Self> {
            let (ear, mouth) = UnixStream::pair()?;
            ear.set_nonblocking(true)?;
            mouth.set_nonblocking(true)?;
            let state = Mutex::new(State { mouth, rung: false, ticket: WaitTicket::default() });
            Ok(Self(Arc::new(Bell { consumer, ear, state })))
        }

        pub(crate) fn number(&self) -> i32 {
            self.0.ear.as_raw_fd()
        }

        /// Makes it readable if there is something to take, and else when there will be.
        pub(crate) fn arm(&self) {
            let bell = &self.0;
            let waker = Waker::from(Arc::clone(bell));
            let mut state = bell.lock();
            let consumer = bell.consumer.waitable();
            match consumer.poll_ready(&mut state.ticket, &mut Context::from_waker(&waker)) {
                Poll::Ready(()) => state.ring(),
                Poll::Pending => state.quieten(&bell.ear),
            }
        }
    }

    /// The waker in the record's line would keep the bell, and the bell the record.
    impl Drop for Descriptor {
        fn drop(&mut self) {
            self.0.consumer.waitable().cancel_wait(&mut self.0.lock().ticket);
        }
    }

    impl Bell {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let mut state = self.lock();
            state.ring();
            // Whoever waits behind takes the value perhaps; an event loop may be long in coming.
            self.consumer.waitable().cancel_wait(&mut state.ticket);
        }
    }

    impl State {
        fn ring(&mut self) {
            if !self.rung {
                // There is room for one byte: it is the only one.
                self.rung = self.mouth.write(&[1]).is_ok();
            }
        }

        fn quieten(&mut self, mut ear: &UnixStream) {
            if self.rung {
                self.rung = ear.read(&mut [0; 8]).is_err();
            }
        }
    }
}
