//! A record's buffer: the storage of its values and the coordinator of its readers and writers.
//!
//! An operation has three steps: it moves values in or out of the storage, it notifies the waiters
//! that can continue because of it, and it drops user values that it pushed out. The storage needs
//! no lock of the buffer; the notification takes the lock of the subscribers only if a flag is set.
//!
//! | operation | changes, while it holds | then notifies |
//! |---|---|---|
//! | [`Buffer::try_produce`], [`Buffer::try_produce_batch`] | the storage, with a write permit | readers |
//! | [`Buffer::try_read`] and its relatives | the storage and a cursor, which it has locked | writers, tasks that wait for the drain, other threads of the reader |
//! | [`Buffer::enter`] | the subscribers, under their lock; a queue's head is locked too | – |
//! | [`Buffer::leave`] | the same, and the cells of a queue or the slot of a mailbox | writers, threads that wait through the reader, takers |
//! | [`Buffer::close`] | the storage's mark | all |
//!
//! # Likely and unlikely paths
//!
//! With std the first attempt to produce or to read one value is inlined into the caller: one writer
//! and readers that keep up need no more. Without std it is not, to keep the program small. Other
//! active threads, a full queue, lost values and a closed record are handled by `#[cold]` functions
//! ([`Buffer::try_produce_contended`], [`Buffer::poll_produce_refused`], [`read_contended`]), so that
//! they cost the likely path neither registers nor instruction cache.
//!
//! # Critical sections
//!
//! Each operation accesses the storage inside of a [`CriticalSection`]. With std it is nothing.
//! Without std it keeps interrupts off, so it ends before wakers run and before user values are
//! dropped: the notification follows the block that holds the section.
//!
//! # Polling
//!
//! Each `poll_*` repeats three steps: attempt, register the waker, check again. If the check fails
//! because another thread is active, the poll spins and attempts again; after a long spin it yields
//! ([`yield_if_long`]). The attempt itself may wait for another thread's `Clone` of the same value
//! or under the same cursor. A poll that returns `Pending` has received no value, and the values
//! that it did not accept are with its caller, which may therefore drop its future at any time, if
//! it cancels the wait.

use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use arrayvec::ArrayVec;

use super::cfg::BufferCfg;
use super::coordinator::{Coordinator, readable};
use super::cursor::{Access, Cursor, CursorGuard};
use super::error::{Closed, TryProduceError, TryRecvError};
use super::event::Event;
use super::kind::{
    BufferState, Discard, Kind, Look, NoMemory, ReadOutcome, ReadResult, Receive, ReserveError,
    WritePermit, Written,
};
use super::latest::Latest;
use super::mailbox::Mailbox;
use super::mirror::{Mirror, Observation};
use super::queue::Queue;
use super::ring::Ring;
use super::start::Start;
use super::stash::Stash;
use super::subscribers::flags::{
    DRAIN_AWAITED, EACH_NOTED, NO_READERS, OBSERVED, READERS_WAIT, STAGES_ENDED, WRITERS_WAIT,
};
use super::subscribers::{STAMP_EVERY, Subscribers};
use super::waiters::WaitTicket;
use crate::clock::Clock;
use crate::panic::catch;
use crate::sync::{Arc, CriticalSection, Lock, Spin};
use crate::wait::CancelWait;

/// The storage of one of the four kinds. An enum and no trait object, so that each operation is
/// compiled for each kind, and with std the first attempt is inlined.
enum Storage<T> {
    Ring(Ring<T>),
    Queue(Queue<T>),
    Latest(Latest<T>),
    Mailbox(Mailbox<T>),
}

/// Evaluates the same expression for each kind, with the storage bound to the given name: static
/// dispatch over [`Storage`].
macro_rules! each {
    ($storage:expr, $kind:ident => $answer:expr) => {
        match $storage {
            Storage::Ring($kind) => $answer,
            Storage::Queue($kind) => $answer,
            Storage::Latest($kind) => $answer,
            Storage::Mailbox($kind) => $answer,
        }
    };
}

/// A record's buffer.
///
/// Handles and stages share it through an [`Arc`]. It is open from its creation until
/// [`close`](Self::close), and never opens again.
pub(crate) struct Buffer<T: Clone> {
    /// The values. It has no lock of its own: the words of the kind guard them.
    storage: Storage<T>,
    /// The readers and the waiters.
    coordinator: Coordinator,
    /// The mirror for the observers.
    observation: Lock<Observation<T, Self>>,
}

impl<T: Clone> Buffer<T> {
    /// An open buffer without readers.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] if the allocator does not have the memory of `capacity` values. All memory of
    /// the values is allocated here; no write allocates.
    pub(crate) fn new(cfg: BufferCfg, clock: Arc<dyn Clock>) -> Result<Arc<Self>, NoMemory> {
        let storage = match cfg {
            BufferCfg::SpmcRing { capacity } => Storage::Ring(Ring::new(capacity)?),
            BufferCfg::SpmcQueue { capacity } => Storage::Queue(Queue::new(capacity)?),
            BufferCfg::SingleLatest => Storage::Latest(Latest::new()),
            BufferCfg::Mailbox => Storage::Mailbox(Mailbox::new()),
        };
        let coordinator = Coordinator::new(cfg, clock);
        Ok(Arc::new(Self { storage, coordinator, observation: Lock::new(Observation::none()) }))
    }

    /// The kind of the buffer, and its capacity.
    pub(crate) fn cfg(&self) -> BufferCfg {
        self.coordinator.cfg()
    }

    /// The coordinator, for metrics and reports, which do not depend on the type of the values.
    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// The state of the storage, without the type of its values.
    pub(crate) fn state(&self) -> &dyn BufferState {
        each!(&self.storage, kind => kind)
    }

    // Writing.

    /// Accepts `value` if there is room, wakes the readers that wait for it, then drops the value
    /// that it pushed out.
    ///
    /// It waits for other active writers, which move one value, and in the kinds other than a queue
    /// for a thread that clones the value in the slot. It never waits for room.
    ///
    /// # Errors
    ///
    /// The value is returned: `Full` for a queue without room, `Closed` after
    /// [`close`](Self::close).
    #[cfg_attr(feature = "std", inline)]
    pub(crate) fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        if self.is_observed() {
            return self.try_produce_observed(value);
        }
        let Written { evicted, produced } = {
            let section = CriticalSection::enter();
            // The value moves from the caller straight to its slot: see DESIGN.md, "Values move in
            // place".
            each!(&self.storage, kind => match kind.try_reserve() {
                Some(permit) => permit.write(|| value),
                None => {
                    // The contended path enters a section of its own and leaves it before it wakes
                    // readers.
                    section.exit();
                    return self.try_produce_contended(value);
                }
            })
        };
        // Before the drop, which is user code and may take long or panic.
        self.notify_readers(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// Whether a writer must ask for the mirror.
    #[inline(always)]
    fn is_observed(&self) -> bool {
        self.coordinator.has_flag(OBSERVED)
    }

    /// The mirror, if the record has observers.
    fn mirror(&self) -> Option<Arc<dyn Mirror<T, Self>>> {
        self.observation.with(|observation| observation.mirror.clone())
    }

    /// [`try_produce`](Self::try_produce) where observers see the value.
    #[cold]
    #[inline(never)]
    fn try_produce_observed(&self, value: T) -> Result<(), TryProduceError<T>> {
        let Some(mirror) = self.mirror() else { return self.try_produce_contended(value) };
        let Written { evicted, produced } = mirror.put(self, value)?;
        self.notify_readers(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// For a mirror: whether a write would be refused now, before a copy is made for it.
    pub(super) fn refusal(&self) -> Option<ReserveError> {
        if self.is_closed() {
            return Some(ReserveError::Closed);
        }
        let full = matches!(self.storage, Storage::Queue(_)) && {
            let slowest = self.coordinator.slowest_reader();
            let _section = CriticalSection::enter();
            self.state().room(slowest) == 0
        };
        full.then_some(ReserveError::Full)
    }

    /// For a mirror: writes the value that `make` returns. `make` receives its number, and runs while
    /// the caller has the permit. The caller notifies the readers.
    pub(super) fn put_numbered(
        &self,
        make: impl FnOnce(u64) -> T,
    ) -> Result<Written<T>, ReserveError> {
        let _section = CriticalSection::enter();
        each!(&self.storage, kind => {
            let permit = kind.reserve(|| self.coordinator.slowest())?;
            let number = permit.number();
            Ok(permit.write(|| make(number)))
        })
    }

    /// For a mirror: its storage, which is a ring.
    pub(super) fn ring(&self) -> Option<&Ring<T>> {
        match &self.storage {
            Storage::Ring(ring) => Some(ring),
            _ => None,
        }
    }

    /// For a mirror, without the permit of the record: wakes the observers that wait for the
    /// `produced`th copy.
    pub(super) fn notify_observers(&self, produced: u64) {
        // A panic of an observer's waker is not the writer's concern.
        let _panicked = catch(|| self.notify_readers(produced, 1));
    }

    /// [`try_produce`](Self::try_produce) while other writers are active, or the queue looks full,
    /// or the record is closed.
    #[cold]
    #[inline(never)]
    fn try_produce_contended(&self, value: T) -> Result<(), TryProduceError<T>> {
        let Written { evicted, produced } = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => match kind.reserve(|| self.coordinator.slowest()) {
                Ok(permit) => permit.write(|| value),
                // No permit, so the value has not moved and returns to the caller.
                Err(refused) => return Err(refused.refuse(value)),
            })
        };
        self.notify_readers(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// [`try_produce`](Self::try_produce) of a value that is made in its place, once that is
    /// certain. `make` runs with the write permit: other writers, and a closer, wait for it.
    ///
    /// # Errors
    ///
    /// Those of [`try_produce`](Self::try_produce); `make` was not called then.
    #[inline]
    pub(crate) fn try_produce_with(
        &self,
        make: impl FnOnce() -> T,
    ) -> Result<(), TryProduceError<()>> {
        if self.is_observed()
            && let Some(mirror) = self.mirror()
        {
            let mut make = Some(make);
            let written = mirror.put_with(self, &mut || make.take().expect("it is called once")());
            let Written { evicted, produced } = written.map_err(|refused| refused.refuse(()))?;
            self.notify_readers(produced, 1);
            drop(evicted);
            return Ok(());
        }
        let Written { evicted, produced } = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => {
                let permit = kind.try_reserve().map_or_else(
                    || kind.reserve(|| self.coordinator.slowest()),
                    Ok,
                );
                match permit {
                    Ok(permit) => permit.write(make),
                    Err(refused) => return Err(refused.refuse(())),
                }
            })
        };
        self.notify_readers(produced, 1);
        drop(evicted);
        Ok(())
    }

    /// [`try_produce_with`](Self::try_produce_with), waiting for room. `make` is `None` once it was
    /// called.
    ///
    /// # Errors
    ///
    /// [`Closed`]; `make` was not called then.
    ///
    /// # Cancel safety
    ///
    /// A caller that polls no more must call [`cancel_write_wait`](Self::cancel_write_wait).
    ///
    /// # Panics
    ///
    /// If `make` is `None` already: an earlier poll was ready, or `make` panicked in it.
    pub(crate) fn poll_produce_with<F: FnOnce() -> T>(
        &self,
        make: &mut Option<F>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut spin = Spin::new();
        let outcome = loop {
            assert!(make.is_some(), "polled again after its closure was called");
            match self.try_produce_with(|| make.take().expect("asserted above")()) {
                Ok(()) => break Ok(()),
                Err(TryProduceError::Closed(())) => break Err(Closed),
                Err(TryProduceError::Full(())) => {}
            }
            if self.register_writer(ticket, cx.waker()) || yield_if_long(&spin, cx) {
                return Poll::Pending;
            }
            spin.wait();
        };
        self.cancel_write_wait(ticket);
        Poll::Ready(outcome)
    }

    /// Accepts values from `batch` in order while there is room, and leaves the rest in it. A full
    /// queue is no error: the caller sees by the batch that values were left.
    ///
    /// A queue writes the values that fit with one lock of its head; the other kinds write one by
    /// one.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record closed before all values were accepted. The rest stays in the
    /// batch.
    pub(crate) fn try_produce_batch<const N: usize>(
        &self,
        batch: &mut ArrayVec<T, N>,
    ) -> Result<(), Closed> {
        if self.is_observed()
            && let Some(mirror) = self.mirror()
        {
            return self.try_produce_batch_observed(batch, &*mirror);
        }
        // Declared first, so that its values are dropped last, after the notification.
        let mut evicted = ArrayVec::<T, N>::new();
        let offered = batch.len() as u64;
        let section = CriticalSection::enter();
        let outcome = match &self.storage {
            Storage::Queue(queue) => {
                queue.write_batch(batch, || self.coordinator.slowest(), &mut evicted)
            }
            Storage::Ring(kind) => write_one_by_one(kind, batch, &mut evicted),
            Storage::Latest(kind) => write_one_by_one(kind, batch, &mut evicted),
            Storage::Mailbox(kind) => write_one_by_one(kind, batch, &mut evicted),
        };
        // Wakers run below, and user values are dropped.
        section.exit();
        match outcome {
            Ok(produced) => self.notify_readers(produced, offered - batch.len() as u64),
            Err(ReserveError::Full) => {}
            // Values written before the refusal need no notification: the close wakes all readers.
            Err(ReserveError::Closed) => return Err(Closed),
        }
        Ok(())
    }

    /// [`try_produce_batch`](Self::try_produce_batch) where observers see the values: each with a
    /// permit of its own, and one notification.
    #[cold]
    fn try_produce_batch_observed<const N: usize>(
        &self,
        batch: &mut ArrayVec<T, N>,
        mirror: &dyn Mirror<T, Self>,
    ) -> Result<(), Closed> {
        // Dropped last, after the notification.
        let mut evicted = ArrayVec::<T, N>::new();
        let (mut written, mut newest, mut outcome) = (0, 0, Ok(()));
        let mut values = core::mem::take(batch).into_iter();
        for value in values.by_ref() {
            match mirror.put(self, value) {
                Ok(one) => {
                    evicted.extend(one.evicted);
                    (written, newest) = (written + 1, one.produced);
                    continue;
                }
                Err(TryProduceError::Full(back)) => batch.push(back),
                Err(TryProduceError::Closed(back)) => {
                    batch.push(back);
                    outcome = Err(Closed);
                }
            }
            break;
        }
        batch.extend(values);
        if written > 0 {
            self.notify_readers(newest, written);
        }
        outcome
    }

    /// After `written` values: wakes the readers that wait for them, and notes the time if no
    /// reader would, or if values come seldom.
    ///
    /// The permit has been dropped: a reader that is woken finds the value. The second condition is
    /// true if one of the last `written` positions is a multiple of [`STAMP_EVERY`].
    #[inline(always)]
    fn notify_readers(&self, produced: u64, written: u64) {
        let flagged = self.coordinator.has_flag(READERS_WAIT | NO_READERS | EACH_NOTED);
        if flagged || produced % STAMP_EVERY < written {
            self.coordinator.wake_readers(produced);
        }
    }

    /// Accepts `value` or waits for room. The value stays with the caller until it is accepted.
    /// Ready at once if `value` is `None`: an earlier poll accepted it.
    ///
    /// # Errors
    ///
    /// [`Closed`]; the value is then in `value` again.
    ///
    /// # Cancel safety
    ///
    /// A caller that polls no more must call [`cancel_write_wait`](Self::cancel_write_wait). The
    /// value is either accepted or in `value`.
    #[cfg_attr(feature = "std", inline(always))]
    pub(crate) fn poll_produce(
        &self,
        value: &mut Option<T>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let Some(offered) = value.take() else { return Poll::Ready(Ok(())) };
        let Err(refused) = self.try_produce(offered) else {
            self.cancel_write_wait(ticket);
            return Poll::Ready(Ok(()));
        };
        self.poll_produce_refused(refused, value, ticket, cx)
    }

    /// [`poll_produce`](Self::poll_produce) after its first attempt was refused.
    #[cold]
    fn poll_produce_refused(
        &self,
        mut refused: TryProduceError<T>,
        value: &mut Option<T>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut spin = Spin::new();
        let outcome = loop {
            let offered = match refused {
                TryProduceError::Closed(back) => {
                    *value = Some(back);
                    break Err(Closed);
                }
                TryProduceError::Full(back) => back,
            };
            // Registers first and checks for room afterwards: a reader that makes room after the
            // check sees the flag.
            if self.register_writer(ticket, cx.waker()) || yield_if_long(&spin, cx) {
                *value = Some(offered);
                return Poll::Pending;
            }
            spin.wait();
            match self.try_produce(offered) {
                Ok(()) => break Ok(()),
                Err(again) => refused = again,
            }
        };
        // After an error too: the caller polls no more, and its ticket must leave the list.
        self.cancel_write_wait(ticket);
        Poll::Ready(outcome)
    }

    /// Accepts all values of `batch`, in order, or waits for room. The values not accepted stay in
    /// the batch.
    ///
    /// # Errors
    ///
    /// [`Closed`]; the rest is in the batch.
    ///
    /// # Cancel safety
    ///
    /// As for [`poll_produce`](Self::poll_produce): each value is either accepted or in the batch.
    pub(crate) fn poll_produce_batch<const N: usize>(
        &self,
        batch: &mut ArrayVec<T, N>,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut spin = Spin::new();
        loop {
            let outcome = self.try_produce_batch(batch);
            if outcome.is_err() || batch.is_empty() {
                self.cancel_write_wait(ticket);
                return Poll::Ready(outcome);
            }
            if self.register_writer(ticket, cx.waker()) || yield_if_long(&spin, cx) {
                return Poll::Pending;
            }
            spin.wait();
        }
    }

    /// Registers a writer's waker. Returns `false` if the writer must retry: there is room, the
    /// record is closed, or a reader is active.
    pub(super) fn register_writer(&self, ticket: &mut WaitTicket, waker: &Waker) -> bool {
        matches!(self.storage, Storage::Queue(_))
            && self.coordinator.register_writer(self.state(), ticket, waker)
    }

    /// Ends a wait for room and passes an unused wake-up on. It takes no lock if the writer never
    /// waited.
    #[inline]
    pub(crate) fn cancel_write_wait(&self, ticket: &mut WaitTicket) {
        if ticket.has_place() {
            self.coordinator.cancel_write_wait(self.state(), ticket);
        }
    }

    // Reading.

    /// Reads the next value for the reader of `cursor` into `place`: the one in its `stash`, or the
    /// next one of the storage. Lost values are counted and skipped.
    ///
    /// `reader` is the id of the reader's entry. `access` must be [`Access::Shared`] if another
    /// thread may read through the cursor.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]. The place has no value after `Empty`; after `Closed` it may have one that
    /// the reader may not keep.
    #[cfg_attr(feature = "std", inline(always))]
    pub(super) fn try_read<P: Receive<T>>(
        &self,
        reader: usize,
        cursor: &Cursor,
        access: Access,
        stash: &Stash<T>,
        place: &mut P,
    ) -> Result<(), TryRecvError> {
        // Dropped last, as no lock is held then.
        let _evicted = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => {
                let mut out = ReadResult::nth(1, &mut *place);
                let mut guard = kind.lock(cursor, access);
                if !stash.is_full() && kind.try_read(&mut guard, &mut out) {
                    out.evicted
                } else {
                    // The guard moves there: the cursor stays locked between the two attempts.
                    let (outcome, value, evicted) = read_contended(kind, guard, stash);
                    match (outcome, value) {
                        (ReadOutcome::Closed, _) => return Err(TryRecvError::Closed),
                        (_, None) => return Err(TryRecvError::Empty),
                        (_, Some(value)) => place.receive(value),
                    }
                    evicted
                }
            })
        };
        self.may_keep(reader, cursor, 1)
    }

    /// [`try_read`](Self::try_read) by reference: calls `look` with the next value where it is, and
    /// returns what it returned. A value at which it panics is not received.
    ///
    /// While `look` runs, the reader has the value to itself: a writer that needs its place waits,
    /// and without std interrupts are off. What it may do is what a `Clone` may do.
    pub(super) fn try_look<O>(
        &self,
        reader: usize,
        cursor: &Cursor,
        access: Access,
        stash: &Stash<T>,
        look: impl FnOnce(&T) -> O,
    ) -> Result<O, TryRecvError> {
        let mut place = Look { look: Some(look), seen: None };
        let _evicted = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => {
                let mut guard = kind.lock(cursor, access);
                let mut out = ReadResult::nth(1, &mut place);
                if stash.is_full() {
                    look_at_stash(&mut guard, stash, &mut out);
                } else if !kind.try_read(&mut guard, &mut out) {
                    guard.finish_previous();
                    if kind.read(LagReported(&mut guard).0, &mut out) == ReadOutcome::Closed {
                        return Err(TryRecvError::Closed);
                    }
                }
                out.evicted
            })
        };
        let seen = place.seen.ok_or(TryRecvError::Empty)?;
        self.may_keep(reader, cursor, 1)?;
        Ok(seen)
    }

    /// [`notify_after_read`](Self::notify_after_read), as the result of a read.
    #[inline(always)]
    fn may_keep(&self, reader: usize, cursor: &Cursor, received: u64) -> Result<(), TryRecvError> {
        if self.notify_after_read(reader, cursor, received) {
            Ok(())
        } else {
            Err(TryRecvError::Closed)
        }
    }

    /// Whether the reader of `cursor` finds no value, and the record is open, at the first look. The
    /// caller is inside a critical section.
    #[inline]
    pub(super) fn is_dry(&self, cursor: &Cursor) -> bool {
        each!(&self.storage, kind => kind.is_dry(cursor.next()))
    }

    /// Advances past the next value of the reader of `cursor` without cloning it: a value whose
    /// `Clone` panics would otherwise be the next one for good. It counts as received.
    #[cold]
    pub(super) fn skip(&self, reader: usize, cursor: &Cursor, access: Access, stash: &Stash<T>) {
        let mut place = Discard(None);
        let mut out = ReadResult::nth(1, &mut place);
        let outcome = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => {
                let mut guard = kind.lock(cursor, access);
                if stash.is_full() {
                    out.evicted = unstash(&mut guard, stash);
                    ReadOutcome::Value
                } else {
                    guard.finish_previous();
                    kind.read(LagReported(&mut guard).0, &mut out)
                }
            })
        };
        if outcome == ReadOutcome::Value {
            self.notify_after_read(reader, cursor, 1);
        }
        // Where the value was moved instead of cloned, its drop is user code, and this may run while
        // a panic unwinds.
        let evicted = out.evicted;
        let _panicked = catch(|| drop(evicted));
        let _panicked = catch(|| drop(place));
    }

    /// Reads the next event for the reader of `cursor`. The value behind a lag moves to the `stash`
    /// under the same lock of the cursor, so that no writer can overwrite it in between: a lag that
    /// is reported is followed by a value.
    ///
    /// ```text
    ///   read          unreported lag   returns           the value
    ///   a value       none             Value             is returned
    ///   a value       some             Lagged            is stashed, for the next call
    ///   no value      –                Empty or Closed   –
    /// ```
    ///
    /// Threads that share the reader wait for a value, and the stashed one is their next. All of
    /// them are woken: one that cancels its wait instead passes its wake-up on for values of the
    /// storage only.
    pub(super) fn try_read_event(
        &self,
        reader: usize,
        cursor: &Cursor,
        access: Access,
        stash: &Stash<T>,
    ) -> Result<Event<T>, TryRecvError> {
        let mut value = None;
        let mut out = ReadResult::nth(1, &mut value);
        let (outcome, missed) = {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => {
                let mut guard = kind.lock(cursor, access);
                if stash.is_full() {
                    *out.place = unstash(&mut guard, stash);
                    (ReadOutcome::Value, 0)
                } else {
                    guard.finish_previous();
                    let outcome = kind.read(&mut guard, &mut out);
                    // After the read: a `Clone` that panics leaves its lag to the next event.
                    let received = outcome == ReadOutcome::Value;
                    let missed = if received { guard.take_unreported() } else { 0 };
                    if missed > 0 {
                        // In this order: the value is in the stash before the position shows that
                        // it is no longer in the storage.
                        stash.put(out.place.take());
                        guard.stash(out.number);
                    }
                    (outcome, missed)
                }
            })
        };
        // Notifies at the end, also if a waker panics before.
        let received = usize::from(outcome == ReadOutcome::Value);
        let mut batch = ReadBatch { buffer: self, reader, cursor, received };
        // The position has advanced, so the storage no longer shows the value to threads that check
        // it.
        if missed > 0 && cursor.is_shared() {
            self.coordinator.wake_all_of(reader);
        }
        if !batch.notify() {
            return Err(TryRecvError::Closed);
        }
        match (outcome, value) {
            (ReadOutcome::Value, Some(value)) => Ok(Event::Value(value)),
            (ReadOutcome::Value, None) => Ok(Event::Lagged(missed)),
            (ReadOutcome::Closed, _) => Err(TryRecvError::Closed),
            (ReadOutcome::Empty, _) => Err(TryRecvError::Empty),
        }
    }

    /// Reads up to `limit` values for the reader of `cursor`, appends them to `into` and returns
    /// how many. A value in its `stash` is returned alone, because the others are newer.
    ///
    /// All values are read under one lock of the cursor, and the waiters are notified once. If a
    /// `Clone` panics, the values received before it are in `into`.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`] if there is no value at all. `limit` must not be zero.
    pub(super) fn try_read_many(
        &self,
        reader: usize,
        cursor: &Cursor,
        access: Access,
        stash: &Stash<T>,
        into: &mut Vec<T>,
        limit: usize,
    ) -> Result<usize, TryRecvError> {
        // Dropped after the batch, which notifies: the order of declaration reversed.
        let mut evicted = Vec::new();
        // Notifies also if a `Clone` panics after some values were received.
        let before = into.len();
        let mut batch = ReadBatch { buffer: self, reader, cursor, received: 0 };
        let end = each!(&self.storage, kind => {
            let _section = CriticalSection::enter();
            let mut guard = kind.lock(cursor, access);
            if stash.is_full() {
                into.extend(unstash(&mut guard, stash));
                batch.received = 1;
                ReadOutcome::Value
            } else {
                read_many(kind, guard, into, limit, &mut evicted, &mut batch.received)
            }
        });
        match (batch.received, end) {
            (0, ReadOutcome::Closed) => Err(TryRecvError::Closed),
            (0, _) => Err(TryRecvError::Empty),
            (received, _) => {
                if batch.notify() {
                    return Ok(received);
                }
                into.truncate(before);
                Err(TryRecvError::Closed)
            }
        }
    }

    /// After a reader received `received` values: wakes the waiters that can continue because of
    /// it. Returns whether the reader may keep the values: a stage may not once its database is shut
    /// down.
    ///
    /// The cursor has been unlocked: its new position is published, and a woken writer finds the
    /// room. A reader with the cursor to itself need not look for other readers, which have cursors
    /// of their own.
    #[inline(always)]
    fn notify_after_read(&self, reader: usize, cursor: &Cursor, received: u64) -> bool {
        if self.coordinator.has_flag(WRITERS_WAIT | DRAIN_AWAITED | STAGES_ENDED)
            || self.coordinator.has_flag(READERS_WAIT) && cursor.is_shared()
        {
            self.coordinator.wake_after_read(self.state(), reader, cursor, received);
            return !self.coordinator.refuses_values(cursor, received);
        }
        true
    }

    /// Registers a reader's waker. Returns `false` if the reader must retry: there is a value, the
    /// record is closed, or a writer is active.
    pub(super) fn register_reader(
        &self,
        reader: usize,
        cursor: &Cursor,
        ticket: &mut WaitTicket,
        waker: &Waker,
    ) -> bool {
        // In this order: registered, then checked. The check is a read-modify-write, which a plain
        // load cannot replace: a load may return an old word.
        let (next, produced) = {
            let _section = CriticalSection::enter();
            let next = cursor.next();
            // The reader has received everything, so its position is the number of the values. A
            // taker's is not.
            let is_mailbox = matches!(self.storage, Storage::Mailbox(_));
            (next, if is_mailbox { self.produced() } else { next })
        };
        self.coordinator.register_reader(produced, reader, ticket, waker);
        let _section = CriticalSection::enter();
        each!(&self.storage, kind => kind.may_sleep(next))
    }

    /// Ends a wait of the reader of `cursor` and passes an unused wake-up on to another thread of
    /// the reader, or in a mailbox to another taker.
    #[inline]
    pub(super) fn cancel_read_wait(&self, reader: usize, cursor: &Cursor, ticket: &mut WaitTicket) {
        if ticket.has_place() {
            self.coordinator.cancel_read_wait(self.state(), reader, cursor, ticket);
        }
    }

    /// Ends a wait of the reader of `cursor`, which has the cursor to itself. If it was notified, it
    /// is not in the FIFO: then it keeps its place for the next wait, without a lock.
    ///
    /// `received`: it has received what it waited for. Otherwise a wake-up of a taker belongs to
    /// another taker.
    #[inline]
    pub(super) fn suspend_read_wait(
        &self,
        reader: usize,
        cursor: &Cursor,
        ticket: &mut WaitTicket,
        received: bool,
    ) {
        let passes_on = !received && matches!(self.storage, Storage::Mailbox(_));
        if passes_on || self.coordinator.may_wait(ticket) {
            self.cancel_read_wait(reader, cursor, ticket);
        } else {
            ticket.suspend();
        }
    }

    /// Ready when the record is closed and the reader of `cursor` has received everything, the
    /// value in its stash not considered.
    pub(super) fn poll_drained(
        &self,
        cursor: &Cursor,
        ticket: &mut WaitTicket,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut spin = Spin::new();
        // In this order: every value accepted before the close is counted.
        while !self.is_closed() || self.readable(cursor) > 0 {
            // Registered first: the check below makes the waker visible to later reads.
            self.coordinator.register_drain_waiter(ticket, cx.waker());
            if self.may_wait_for_drain(cursor) || yield_if_long(&spin, cx) {
                return Poll::Pending;
            }
            spin.wait();
        }
        self.cancel_drain_wait(ticket);
        Poll::Ready(())
    }

    /// Whether a registered task that waits until the record is drained may sleep. The close needs
    /// no second check: closing takes the subscribers' lock after its mark, and the task registered
    /// under that lock.
    fn may_wait_for_drain(&self, cursor: &Cursor) -> bool {
        let _section = CriticalSection::enter();
        match each!(&self.storage, kind => kind.has_unread(cursor)) {
            Some(unread) => unread || !self.is_closed(),
            // A reader or a writer is active and may change the answer.
            None => false,
        }
    }

    /// Ends a wait for the drain.
    pub(super) fn cancel_drain_wait(&self, ticket: &mut WaitTicket) {
        self.coordinator.cancel_drain_wait(ticket);
    }

    // Subscribing and leaving.

    /// Adds a reader that begins at `start` if `condition` permits it. Returns its id and its cursor.
    ///
    /// `condition` runs under the lock of the subscribers, so that of several takers that enter at
    /// the same time one is first. A queue adds the reader while its head is locked: no value is
    /// written between the choice of the position and the entry. In the other kinds a value may be
    /// written in between, and the new reader receives it.
    ///
    /// # Errors
    ///
    /// The error of `condition`. The buffer is then unchanged.
    pub(super) fn enter<E>(
        &self,
        name: Arc<str>,
        of_stage: bool,
        start: Option<Start>,
        condition: impl FnOnce(&Subscribers) -> Result<(), E>,
    ) -> Result<(usize, Arc<Cursor>), E> {
        let is_queue = matches!(self.storage, Storage::Queue(_));
        let subscribe = |position| {
            let cursor = Arc::new(Cursor::new(name, of_stage, position));
            // Also clears the flag `NO_READERS`.
            let reader = self.coordinator.subscribers(|subscribers| {
                condition(subscribers)?;
                Ok(subscribers.enter(Arc::clone(&cursor), is_queue))
            })?;
            Ok((reader, cursor))
        };
        // Without std the section also joins the choice of the position and the entry to one step.
        let _section = CriticalSection::enter();
        match &self.storage {
            Storage::Queue(queue) => queue.enter(subscribe),
            Storage::Ring(kind) => subscribe(kind.start(start)),
            Storage::Latest(kind) => subscribe(kind.start(start)),
            Storage::Mailbox(kind) => subscribe(kind.start(start)),
        }
    }

    /// Removes a reader, which may have a value in its stash. Called once, by the drop of the
    /// subscription.
    ///
    /// In this order: the stashed command returns to its mailbox, so that another taker may have
    /// it; the reader leaves the subscribers, so that writers no longer wait for it; the waiters
    /// are woken; the values that only this reader had not received are dropped.
    pub(super) fn leave(&self, reader: usize, cursor: &Cursor, stashed: Option<T>) {
        let had_stashed = stashed.is_some();
        // Dropped last, as the values of a queue: a `Drop` that panics leaves no reader behind.
        let discarded = stashed.and_then(|value| self.return_stashed(cursor, value));
        let is_mailbox = matches!(self.storage, Storage::Mailbox(_));
        // A mailbox counts a replaced command itself.
        let lost = u64::from(discarded.is_some() && !is_mailbox);
        let remove = |unread| {
            let missed = {
                let _section = CriticalSection::enter();
                self.state().missed(cursor.next())
            };
            self.coordinator
                .subscribers(|subscribers| subscribers.leave(reader, unread + lost, missed));
        };
        let _freed = match &self.storage {
            Storage::Queue(queue) => {
                let _section = CriticalSection::enter();
                queue.leave(cursor, remove)
            }
            // Writers of the other kinds do not wait for readers, so the count needs no lock.
            _ => {
                remove(readable(self.state(), cursor));
                Vec::new()
            }
        };
        // Last, as both wake: a waker that panics leaves no reader behind either.
        if had_stashed && is_mailbox && discarded.is_none() {
            // The command is pending again: a taker that found nothing meanwhile may be asleep.
            self.coordinator.wake_readers(self.produced());
        }
        self.coordinator.wake_after_leave(self.state(), reader);
    }

    /// Returns a stashed command to its mailbox, unless a newer one was accepted. Returns a value
    /// that no reader receives, for the caller to drop.
    fn return_stashed(&self, cursor: &Cursor, value: T) -> Option<T> {
        let _section = CriticalSection::enter();
        let number = cursor.lock().discard_stash();
        match &self.storage {
            Storage::Mailbox(mailbox) => mailbox.give_back(value, number),
            _ => Some(value),
        }
    }

    // Closing and observing.

    /// Closes the record: it accepts no more values, and all waiters are woken. A second call
    /// changes nothing.
    ///
    /// The storage is closed first. A waiter that the wake-up does not reach registers later, and
    /// sees the closed storage in its second check.
    pub(crate) fn close(&self) {
        {
            let _section = CriticalSection::enter();
            each!(&self.storage, kind => kind.close());
        }
        // Every accepted value is in the mirror. An observer that comes later finds the record closed.
        let _mirror = CloseOnDrop(self.mirror());
        // After the mark, and outside of the section: this wakes all waiters.
        self.coordinator.close();
    }

    /// The names of the observers.
    pub(crate) fn observers(&self) -> Vec<Arc<str>> {
        self.mirror().map_or_else(Vec::new, |mirror| mirror.observers())
    }

    /// Calls `work` with the mirror under its lock.
    pub(super) fn observation<O>(&self, work: impl FnOnce(&mut Observation<T, Self>) -> O) -> O {
        self.observation.with(work)
    }

    /// Whether the record is closed. A caller that receives `true` sees every value that was
    /// accepted, and no further one will be.
    pub(crate) fn is_closed(&self) -> bool {
        each!(&self.storage, kind => kind.is_closed())
    }

    /// A clone of the newest value held. It may wait for a reader that has claimed that value; a
    /// queue waits for a reader that has not received it.
    pub(crate) fn latest(&self) -> Option<T> {
        self.latest_numbered().map(|(_, value)| value)
    }

    /// [`latest`](Self::latest), with the number of the value among those accepted, from one.
    pub(crate) fn latest_numbered(&self) -> Option<(u64, T)> {
        let _section = CriticalSection::enter();
        match &self.storage {
            Storage::Ring(ring) => ring.latest(),
            Storage::Latest(latest) => latest.latest(),
            Storage::Mailbox(mailbox) => mailbox.latest(),
            Storage::Queue(queue) => queue.latest(|head| self.coordinator.behind(head)),
        }
    }

    /// The number of values accepted.
    pub(crate) fn produced(&self) -> u64 {
        let _section = CriticalSection::enter();
        each!(&self.storage, kind => kind.produced())
    }

    /// The number of values that the reader of `cursor` can receive, the one in its stash not
    /// included.
    pub(super) fn readable(&self, cursor: &Cursor) -> u64 {
        readable(self.state(), cursor)
    }

    /// The number of values that the reader of `cursor` has lost.
    pub(super) fn lagged(&self, cursor: &Cursor) -> u64 {
        Coordinator::lagged(self.state(), cursor)
    }
}

/// A mirror that closes also if a waker of a reader panics.
struct CloseOnDrop<T: Clone>(Option<Arc<dyn Mirror<T, Buffer<T>>>>);

impl<T: Clone> Drop for CloseOnDrop<T> {
    fn drop(&mut self) {
        if let Some(mirror) = &self.0 {
            mirror.close();
        }
    }
}

/// The wait of a writer for room.
impl<T: Clone> CancelWait for Buffer<T> {
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        self.cancel_write_wait(ticket);
    }
}

/// A read while there is no value, or one in the stash, or values are lost, or other threads are
/// active.
///
/// It has a result of its own and takes the guard by value, so that the likely path lends neither
/// to a function that is not inlined. One that is compiled once for all places of values, too. A lag
/// counts as reported, because the caller does not read events.
#[cold]
#[inline(never)]
fn read_contended<T: Clone, K: Kind<T>>(
    kind: &K,
    mut guard: CursorGuard<'_>,
    stash: &Stash<T>,
) -> (ReadOutcome, Option<T>, Option<T>) {
    if stash.is_full() {
        return (ReadOutcome::Value, unstash(&mut guard, stash), None);
    }
    guard.finish_previous();
    let mut value = None;
    let mut out = ReadResult::nth(1, &mut value);
    let outcome = kind.read(LagReported(&mut guard).0, &mut out);
    let evicted = out.evicted;
    (outcome, value, evicted)
}

/// A read by reference of the value in the stash, which is full. A value at which the look panics
/// returns to the stash.
#[cold]
#[inline(never)]
fn look_at_stash<T, P: Receive<T>>(
    guard: &mut CursorGuard<'_>,
    stash: &Stash<T>,
    out: &mut ReadResult<'_, T, P>,
) {
    let mut lifted = Lifted { value: stash.lift(), stash };
    if let Some(value) = &lifted.value {
        out.place.receive_ref(value);
    }
    out.evicted = lifted.value.take();
    unstash(guard, stash);
}

/// A value out of a stash, which still counts as full. The drop returns it, unless it was taken.
struct Lifted<'s, T> {
    value: Option<T>,
    stash: &'s Stash<T>,
}

impl<T> Drop for Lifted<'_, T> {
    fn drop(&mut self) {
        if self.value.is_some() {
            self.stash.put_back(self.value.take());
        }
    }
}

/// A read of values: a lag before them counts as reported, also if a `Clone` panics. A later event
/// must not report it.
struct LagReported<'g, 'c>(&'g mut CursorGuard<'c>);

impl Drop for LagReported<'_, '_> {
    fn drop(&mut self) {
        self.0.take_unreported();
    }
}

/// Moves the value behind a reported lag out of the reader's stash, which is full. The value and its
/// count change under one lock of the cursor.
///
/// Every read asks for it after it has locked the cursor and before it reads the storage, so that
/// no thread receives a newer value first. `#[cold]`: few reads find one.
#[cold]
#[inline(never)]
fn unstash<T>(guard: &mut CursorGuard<'_>, stash: &Stash<T>) -> Option<T> {
    guard.unstash();
    stash.take()
}

/// Whether a poll has spun for long, perhaps for another reader's `Clone`. Then it wakes its task,
/// which must return [`Poll::Pending`] so that other tasks of its thread run first.
pub(super) fn yield_if_long(spin: &Spin, cx: &Context<'_>) -> bool {
    let long = spin.is_long();
    if long {
        cx.waker().wake_by_ref();
    }
    long
}

/// Writes the values of `batch`, each with a permit of its own. Returns the number of values
/// accepted so far, or the refusal, with the rest in the batch again. Values that are pushed out
/// move to `evicted`, which has room for as many as the batch.
fn write_one_by_one<T: Clone, K: Kind<T>, const N: usize>(
    kind: &K,
    batch: &mut ArrayVec<T, N>,
    evicted: &mut ArrayVec<T, N>,
) -> Result<u64, ReserveError> {
    let mut produced = 0;
    // The values move out of the batch one by one; a refusal returns the rest to it, in order.
    let mut values = core::mem::take(batch).into_iter();
    while values.len() > 0 {
        // Only a queue needs the slowest reader.
        let permit = match kind.reserve(|| 0) {
            Ok(permit) => permit,
            Err(refused) => {
                batch.extend(values);
                return Err(refused);
            }
        };
        if let Some(value) = values.next() {
            let written = permit.write(|| value);
            evicted.extend(written.evicted);
            produced = written.produced;
        }
    }
    Ok(produced)
}

/// The values of one read. The drop notifies the waiters that can continue because of them, a panic
/// of a `Clone` included. It follows the unlocking of the cursor.
struct ReadBatch<'b, T: Clone> {
    buffer: &'b Buffer<T>,
    reader: usize,
    cursor: &'b Cursor,
    /// How many values were received, counted by [`read_many`] as it proceeds.
    received: usize,
}

impl<T: Clone> ReadBatch<'_, T> {
    /// Notifies the waiters, once. Returns whether the reader may keep the values.
    fn notify(&mut self) -> bool {
        let received = core::mem::take(&mut self.received) as u64;
        received == 0 || self.buffer.notify_after_read(self.reader, self.cursor, received)
    }
}

impl<T: Clone> Drop for ReadBatch<'_, T> {
    fn drop(&mut self) {
        self.notify();
    }
}

/// Reads up to `limit` values under one lock of the cursor and counts them in `received`. Returns
/// how the last attempt ended: `Value` if the limit was reached.
///
/// One lock of the cursor keeps the values in order and together, if several threads share the
/// reader.
fn read_many<T: Clone, K: Kind<T>>(
    kind: &K,
    mut guard: CursorGuard<'_>,
    into: &mut Vec<T>,
    limit: usize,
    evicted: &mut Vec<T>,
    received: &mut usize,
) -> ReadOutcome {
    guard.finish_previous();
    loop {
        let mut value = None;
        let mut out = ReadResult::nth(*received as u64 + 1, &mut value);
        let outcome = kind.read(LagReported(&mut guard).0, &mut out);
        evicted.extend(out.evicted);
        into.extend(value);
        *received += usize::from(outcome == ReadOutcome::Value);
        if outcome != ReadOutcome::Value || *received == limit {
            return outcome;
        }
    }
}
