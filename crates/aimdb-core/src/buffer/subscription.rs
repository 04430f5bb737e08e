//! One reader's place in a buffer, usable through a shared reference.

use super::event::Event;
use crate::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};

use super::cursor::Cursor;
use super::kind::Taken;
use super::stash::Stash;
use super::waiters::WaitKey;
use super::{Buffer, Closed, TryRecvError, gives_way};
use crate::buffer::cfg::BufferCfg;
use crate::sync::Spin;

/// A reader's place in a record's buffer: the layer under [`Reader`](crate::Reader), for those who build a front door
/// of their own (blocking, FFI).
///
/// All methods take `&self`. Several threads may read through one subscription at once: each value then goes to one of
/// them, and each waits with a [`WaitTicket`] of its own. Call [`share`](Self::share) once before doing so.
pub struct Subscription<T: Clone> {
    buffer: Arc<Buffer<T>>,
    id: usize,
    cursor: Arc<Cursor>,
    stash: Stash<T>,
}

// Values in the stash are moved out, never pinned.
impl<T: Clone> Unpin for Subscription<T> {}

/// A place in the line of those who wait. It belongs to one subscription or producer and must be given back with
/// `cancel_wait` when its owner gives up; a `poll_*` that returns `Ready` has done so already.
#[derive(Debug, Default)]
pub struct WaitTicket(pub(crate) WaitKey);

impl<T: Clone> Subscription<T> {
    pub(super) fn new(buffer: Arc<Buffer<T>>, id: usize, cursor: Arc<Cursor>) -> Self {
        Self { buffer, id, cursor, stash: Stash::new() }
    }

    /// Declares that several threads wait through this subscription. A value that is left over when one of them has
    /// taken its own then wakes the next.
    pub fn share(&self) {
        self.cursor.share();
    }

    /// Declares that its only reader has done with the values it was given, without a further read.
    pub(crate) fn finish(&self) {
        // The value behind a reported lag has not been received.
        if !self.stash.is_full() {
            self.cursor.finish();
        }
    }

    /// Declares that whoever gets this reader's values accounts for them: none of them counts as interrupted here.
    pub(crate) fn hand_on(&self) {
        self.cursor.hand_on();
    }

    /// The next event if there is one: a value, or before it how many were lost.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_event(&self) -> Result<Event<T>, TryRecvError> {
        self.buffer.try_take_event(self.id, &self.cursor, &self.stash)
    }

    /// The next value if there is one; lost values are only counted.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_value(&self) -> Result<T, TryRecvError> {
        self.value::<false>()
    }

    /// [`try_value`](Self::try_value) for who has the subscription alone, which is faster.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    #[inline]
    pub fn try_value_mut(&mut self) -> Result<T, TryRecvError> {
        self.value::<true>()
    }

    #[inline(always)]
    fn value<const ALONE: bool>(&self) -> Result<T, TryRecvError> {
        if let Some(value) = self.stashed() {
            return Ok(value);
        }
        let mut value = None;
        let taken = self.buffer.try_take::<ALONE>(self.id, &self.cursor, &mut value);
        // Another thread may have put a value in the stash meanwhile.
        match (taken, value.or_else(|| self.stashed())) {
            (_, Some(value)) => Ok(value),
            (Taken::Closed, None) => Err(TryRecvError::Closed),
            (_, None) => Err(TryRecvError::Empty),
        }
    }

    /// [`try_value`](Self::try_value), waiting while there is nothing.
    #[inline]
    pub fn poll_value(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Closed>> {
        self.poll::<false, _>(ticket, cx, || self.try_value())
    }

    /// [`poll_value`](Self::poll_value) for who has the subscription alone, which is faster. The ticket may keep its place
    /// in the list for the next time, so it must be given back in the end.
    #[inline]
    pub(crate) fn poll_value_mut(
        &mut self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, Closed>> {
        self.poll::<true, _>(ticket, cx, || self.value::<true>())
    }

    /// [`try_event`](Self::try_event), waiting while there is nothing.
    pub fn poll_event(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Event<T>, Closed>> {
        self.poll::<false, _>(ticket, cx, || self.try_event())
    }

    /// Appends up to `limit` values to `into`, waiting until there is at least one.
    pub fn poll_many(
        &self,
        into: &mut Vec<T>,
        limit: usize,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Closed>> {
        self.poll::<false, _>(ticket, cx, || self.try_many(into, limit))
    }

    /// Appends up to `limit` values to `into` and says how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] if there was not even one. A `limit` of zero gives `Ok(0)`.
    pub fn try_many(&self, into: &mut Vec<T>, limit: usize) -> Result<usize, TryRecvError> {
        if limit == 0 {
            return Ok(0);
        }
        if let Some(value) = self.stashed() {
            into.push(value);
            return Ok(1);
        }
        self.buffer.try_take_many(self.id, &self.cursor, into, limit).or_else(|nothing| {
            // Another thread may have put a value in the stash meanwhile.
            into.push(self.stashed().ok_or(nothing)?);
            Ok(1)
        })
    }

    /// The value behind a lag that was reported.
    #[inline(always)]
    fn stashed(&self) -> Option<T> {
        if self.stash.is_full() { self.buffer.unstash(&self.cursor, &self.stash) } else { None }
    }

    /// Ready when there is something to take, or when the record is closed and read to its end. It takes nothing, so
    /// another thread that reads through the same subscription may be first; a wake-up that this ticket had received goes
    /// to the next in line.
    pub fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.poll::<false, _>(ticket, cx, || {
            let something = self.pending() > 0 || self.is_closed();
            if something { Ok(()) } else { Err(TryRecvError::Empty) }
        });
        ready.map(|_| ())
    }

    #[inline]
    fn poll<const ALONE: bool, O>(
        &self,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut() -> Result<O, TryRecvError>,
    ) -> Poll<Result<O, Closed>> {
        let mut spin = Spin::new();
        loop {
            let outcome = match attempt() {
                Ok(got) => Ok(got),
                Err(TryRecvError::Closed) => Err(Closed),
                Err(TryRecvError::Empty)
                    if self.buffer.wait_for_value(
                        self.id,
                        &self.cursor,
                        &mut ticket.0,
                        cx.waker().clone(),
                    ) || gives_way(&spin, cx) =>
                {
                    return Poll::Pending;
                }
                Err(TryRecvError::Empty) => {
                    spin.wait();
                    continue;
                }
            };
            if ALONE {
                self.suspend_wait(ticket);
            } else {
                self.cancel_wait(ticket);
            }
            return Poll::Ready(outcome);
        }
    }

    /// Ready when the record is closed and nothing is left for this reader. The ticket is one for this alone, to be
    /// given back with [`cancel_drain_wait`](Self::cancel_drain_wait).
    pub(crate) fn poll_drained(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        // Only its owner, who polls this, can take it out.
        if self.stash.is_full() {
            return Poll::Pending;
        }
        self.buffer.poll_drained(&self.cursor, &mut ticket.0, cx)
    }

    pub(crate) fn cancel_drain_wait(&self, ticket: &mut WaitTicket) {
        self.buffer.cancel_drain_wait(&mut ticket.0);
    }

    /// Gives a ticket back. A wake-up it had received goes to the next in line.
    #[inline]
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.buffer.give_up_reading(self.id, &self.cursor, &mut ticket.0);
    }

    /// The same for now: the ticket will be used again, or given back.
    #[inline]
    pub(crate) fn suspend_wait(&self, ticket: &mut WaitTicket) {
        self.buffer.stop_reading(self.id, &self.cursor, &mut ticket.0);
    }

    /// How many values this reader has lost so far, those it has not come to yet included. For a mailbox: how many
    /// commands were replaced by the ones it took.
    #[must_use]
    pub fn lagged(&self) -> u64 {
        self.buffer.lagged(&self.cursor)
    }

    /// How many values wait for this reader.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.buffer.readable(&self.cursor) + u64::from(self.stash.is_full())
    }

    /// Whether the record holds one current value, which a newer one replaces: latest and mailbox.
    #[must_use]
    pub fn keeps_one(&self) -> bool {
        matches!(self.buffer.cfg(), BufferCfg::SingleLatest | BufferCfg::Mailbox)
    }

    /// The newest value held, not consumed.
    #[must_use]
    pub fn latest(&self) -> Option<T> {
        self.buffer.latest()
    }

    /// Whether the record is closed. There may still be values to read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.buffer.is_closed()
    }
}

impl<T: Clone> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.buffer.leave(self.id, &self.cursor, self.stash.take());
    }
}

impl<T: Clone> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("buffer", &self.buffer.cfg()).finish_non_exhaustive()
    }
}
