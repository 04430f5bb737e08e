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
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::{Mutex, PoisonError, TryLockError};
    use std::task::{Context, Poll, Wake, Waker};

    use aimdb_sync::WaitTicket;

    pub(crate) struct Descriptor(Arc<ReadyWaker>);

    struct ReadyWaker {
        consumer: Arc<AnyConsumer>,
        /// The end that C polls.
        read_end: UnixStream,
        state: Mutex<State>,
        /// The waker was woken. The thread that has locked the state applies it after it unlocks: a poll may wake the waker
        /// of the task that polls, so `wake` must not wait for the lock.
        woken: AtomicBool,
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
            Ok(Self(Arc::new(ReadyWaker {
                consumer,
                read_end,
                state,
                woken: AtomicBool::new(false),
            })))
        }

        pub(crate) fn raw_fd(&self) -> i32 {
            self.0.read_end.as_raw_fd()
        }

        #[cfg(test)]
        pub(super) fn is_readable(&self) -> bool {
            self.0.state.lock().unwrap().signalled
        }

        /// Calls `work` with the waker while this thread has locked the state, as a poll does.
        #[cfg(test)]
        pub(super) fn with_state_locked(&self, work: impl FnOnce(Waker)) {
            self.0.with_state(|_| work(Waker::from(Arc::clone(&self.0))));
        }

        /// Makes the descriptor readable now if the consumer is ready, or else when it becomes ready.
        pub(crate) fn arm(&self) {
            let ready_waker = &self.0;
            let waker = Waker::from(Arc::clone(ready_waker));
            ready_waker.with_state(|state| {
                let consumer = ready_waker.consumer.waitable();
                match consumer.poll_ready(&mut state.ticket, &mut Context::from_waker(&waker)) {
                    Poll::Ready(()) => state.signal(),
                    Poll::Pending => state.clear(&ready_waker.read_end),
                }
            });
        }
    }

    /// Breaks a reference cycle: the waker in the record's wait list owns the `ReadyWaker`, which owns the consumer of the
    /// record.
    impl Drop for Descriptor {
        fn drop(&mut self) {
            self.0.with_state(|state| self.0.consumer.waitable().cancel_wait(&mut state.ticket));
        }
    }

    impl ReadyWaker {
        fn with_state(&self, work: impl FnOnce(&mut State)) {
            work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
            self.apply_wake();
        }

        /// Applies a wake-up, unless another call has locked the state: that call applies it after it unlocks.
        fn apply_wake(&self) {
            // `SeqCst`: either this thread locks the state, or the thread that has it locked loads the flag after the store
            // in `wake`.
            while self.woken.load(SeqCst) {
                let mut state = match self.state.try_lock() {
                    Ok(state) => state,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => return,
                };
                self.woken.store(false, SeqCst);
                state.signal();
                // An event loop may take long to react, so the next reader in the wait list may take the value.
                self.consumer.waitable().cancel_wait(&mut state.ticket);
            }
        }
    }

    impl Wake for ReadyWaker {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, SeqCst);
            self.apply_wake();
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

#[cfg(all(test, unix))]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use aimdb_core::{AimDbBuilder, BufferCfg};
    use aimdb_sync::Attach;
    use aimdb_tokio_adapter::TokioAdapter;

    use super::unix::Descriptor;
    use crate::erased::AnyConsumer;
    use crate::value::JsonString;

    #[test]
    fn a_waker_woken_by_its_own_poll_signals_after_the_poll() {
        let mut builder = AimDbBuilder::on(TokioAdapter);
        builder.configure::<JsonString>("it", |reg| {
            reg.buffer(BufferCfg::latest());
        });
        let handle = builder.attach().unwrap();
        let consumer = handle.consumer::<JsonString>("it").unwrap();
        let descriptor = Descriptor::new(Arc::new(AnyConsumer::Json(consumer))).unwrap();
        descriptor.arm();
        assert!(!descriptor.is_readable());
        descriptor.with_state_locked(|waker: Waker| waker.wake());
        assert!(descriptor.is_readable());
        descriptor.arm();
        assert!(!descriptor.is_readable(), "armed again, it waits");
        handle.detach().unwrap();
    }
}
