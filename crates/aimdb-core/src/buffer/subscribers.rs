//! The readers of a record and the waiters on it: everything about a buffer that is not on the path
//! of a value.
//!
//! Plain data under a [`Lock`](crate::sync::Lock), which belongs to the
//! [`Coordinator`](super::coordinator::Coordinator). No function here wakes or drops a waker. User
//! code other than the runtime's clock never runs: a function returns wakers, or fills a [`WakeBatch`], and the coordinator
//! wakes them after it has unlocked.
//!
//! # The waiters
//!
//! | list | waiter | group | notified by |
//! |---|---|---|---|
//! | `read_waiters` | a reader without a value | the reader's id; in a mailbox [`ANY`] | a write, a close, a read that leaves values to other threads of the reader, a lag that was reported to one of them, a command that returns to its mailbox, a waiter that passes its wake-up on, the drop of their reader |
//! | `write_waiters` | a writer without room in a queue | [`ANY`] | a read, a reader that leaves, a close, a writer that passes its wake-up on |
//! | `drain_waiters` | a task that waits until the record is drained | [`ANY`] | a close, and after it each read |
//!
//! # The life of an entry
//!
//! ```text
//!   Buffer::enter ──▶ enter ──▶ Entry: writers wait for its cursor (queue), metrics list it
//!                                 │
//!   Buffer::leave ──▶ leave ◀─────┘     its numbers move to `delivered_before` and `backlog`
//! ```
//!
//! A reader has one entry from its subscription until its drop, and one cursor, which the entry
//! shares with it. The functions here load cursors and never lock them: the threads that have
//! locked a cursor may be running a `Clone`.
//!
//! # Rounds
//!
//! A produced value wakes each reader once, although more readers may wait than one [`WakeBatch`]
//! holds, and the lock is released between two batches. Such a wake-up has a round number.
//! An entry notes the last round that has reached it, and a reader that was woken, found another
//! value and waits again is not woken a second time in the same round.
//!
//! # Backlog
//!
//! A shutdown reports the values that stages have not finished with. They are unread (no reader has
//! received them) or interrupted (a reader has received them and has not read again). The values of
//! a reader that left are kept in `backlog`; those of a present reader are computed from its
//! cursor. Values of readers outside of the graph are not reported.

use alloc::vec::Vec;
use core::task::Waker;

use super::cursor::{Cursor, CursorSnapshot};
use super::waiters::{WaitList, WaitTicket, WakeBatch};
use crate::clock::{Clock, Instant};
use crate::metrics::DepartedReaders;
use crate::sync::Arc;

/// The group of waiters that all wait for the same thing: takers of a mailbox, writers of a queue.
const ANY: usize = 0;

/// The number of a queue's writers that can wait before their list grows.
const FEW_WRITERS: usize = 4;

/// The values that a stage had not finished with when its reader was dropped, or has not finished
/// with now.
///
/// A stage with several readers, or one that restarted, has one backlog: [`merge_backlog`] adds
/// them by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// The name of the stage.
    pub(crate) reader: Arc<str>,
    /// Values that no reader of the stage has received, a value in a stash included.
    pub(crate) unread: u64,
    /// Values that a reader received and did not finish with. Zero if a connector accounts for
    /// them.
    pub(crate) interrupted: u64,
}

/// The state of the subscribers that writers and readers load without the lock.
///
/// [`Subscribers::flags`] computes them; the coordinator keeps a copy. A set flag costs a needless
/// lock at worst. A flag that is missing would leave a waiter asleep: the [module](super) argues
/// why that cannot happen.
pub(super) mod flags {
    /// A reader waits for a value. Loaded by a writer after its write, by a reader that shares its
    /// cursor after its read, and by a reader that suspends its wait.
    pub(in super::super) const READERS_WAIT: usize = 1;
    /// Several readers wait that a value wakes together: not the takers of a mailbox. A hint.
    pub(in super::super) const SEVERAL_WAIT: usize = 64;
    /// A writer waits for room. Loaded by a reader after its read.
    pub(in super::super) const WRITERS_WAIT: usize = 2;
    /// There is no reader, so that only the writer can note the time of a value.
    pub(in super::super) const NO_READERS: usize = 4;
    /// The record is closed, and a task waits until it is drained. Loaded by a reader after its
    /// read. Before the close a read cannot drain the record, so it need not notify.
    pub(in super::super) const DRAIN_AWAITED: usize = 8;
    /// The shutdown has written its report: readers of stages receive nothing more. Loaded by a
    /// reader after its read.
    pub(in super::super) const STAGES_ENDED: usize = 32;
    /// Values come seldom enough that the writer notes the time of each. Loaded by a writer after
    /// its write.
    pub(in super::super) const EACH_NOTED: usize = 16;
    /// The record has observers. Loaded by a writer before it produces.
    pub(in super::super) const OBSERVED: usize = 128;
    /// All flags.
    pub(in super::super) const ALL_FLAGS: usize = EMPTIED - 1;
    /// The unit of the number above the flags: how often the last waiting reader was notified or
    /// left. A reader that registered before that is not in the FIFO.
    pub(in super::super) const EMPTIED: usize = 256;
    /// The flags that change while readers wait and are notified.
    pub(in super::super) const READER_FLAGS: usize = READERS_WAIT | SEVERAL_WAIT | EACH_NOTED;
}

/// The time of the newest value, without a clock reading for every value of a burst.
///
/// | the values come | the time is noted |
/// |---|---|
/// | seldom, [`SELDOM`] apart or more on average | by the writer, for each value |
/// | faster | if [`FEW`] values have come since the last note: by the writer at every 64th value, or at the first one after it that wakes a reader; when a reader runs dry; without readers by the writer |
///
/// Each [`WINDOW`] of values decides for the next one. A measurement begins a window in which each
/// value is noted.
///
/// The time is outdated only during a burst and after it: by less than a window of values, and no
/// longer than until the first value after a measurement.
#[derive(Default)]
struct Recency {
    /// `None` before the first note.
    at: Option<Instant>,
    /// The number of values accepted at the time `at`: a repeated note of the same value is
    /// ignored.
    produced: u64,
    /// Whether the writer notes the time of each value.
    each: bool,
    /// The number of values accepted when the window began, and the time.
    window: (u64, Instant),
}

/// Every this many values the time of the newest one is noted, even if no reader waits.
pub(super) const STAMP_EVERY: u64 = 64;

/// The number of values after which the mean time between them is computed.
const WINDOW: u64 = 64;

/// The number of values between two notes in a burst, at least: a reading of the clock costs as much
/// as a wake-up.
const FEW: u64 = 8;

/// The mean time between two values from which on each is noted, in nanoseconds: a hundred times
/// what a note costs.
const SELDOM: u64 = 10_000;

/// Whether the writer ever notes each value. Under loom it does not: the lock that a note takes
/// would hide a missing wake-up from the models.
const MAY_NOTE_EACH: bool = cfg!(not(aimdb_loom));

impl Recency {
    /// Whether the time of the `produced`th value is worth a reading of the clock.
    fn is_due(&self, produced: u64) -> bool {
        produced.saturating_sub(self.produced) >= if self.each { 1 } else { FEW }
    }

    /// [`is_due`](Self::is_due) for the writer, which leaves most values of a burst to the readers: it
    /// notes the first value that it comes to after each 64th one.
    #[inline]
    fn is_due_for_writer(&self, produced: u64, no_readers: bool) -> bool {
        self.is_due(produced)
            && (self.each || no_readers || produced / STAMP_EVERY > self.produced / STAMP_EVERY)
    }

    #[cold]
    fn note(&mut self, produced: u64, now: Instant) {
        self.at = Some(now);
        self.produced = produced;
        let (before, since) = self.window;
        let values = produced.saturating_sub(before);
        let elapsed = now.as_nanos().saturating_sub(since.as_nanos());
        let seldom = elapsed / values.max(1) >= SELDOM;
        // The end of a burst shows before its window is over.
        if values >= WINDOW || seldom && !self.each {
            self.each = MAY_NOTE_EACH && seldom;
            self.window = (produced, now);
        }
    }

    /// Notes each value of a window that begins now.
    fn begin_window(&mut self, produced: u64, now: Instant) {
        self.each = MAY_NOTE_EACH;
        self.window = (produced, now);
    }
}

/// A reader among the subscribers. Its id is the index of its entry.
struct Entry {
    /// Shared with the reader, which changes it without this lock.
    cursor: Arc<Cursor>,
    /// The last wake-up round that has reached this reader.
    round: u64,
}

/// The readers of a record, the waiters on it, and its time of the newest value.
///
/// All fields are changed under the coordinator's lock.
pub(super) struct Subscribers {
    /// Mailbox: all takers wait for the same command.
    takers_compete: bool,
    /// The present readers. A queue changes it under the lock of its head too, so that a writer
    /// sees the readers that its value counts.
    entries: slab::Slab<Entry>,
    /// Readers that wait for a value.
    read_waiters: WaitList,
    /// Writers that wait for room in a queue; empty for the other kinds.
    write_waiters: WaitList,
    /// Tasks that wait until the record is closed and drained.
    drain_waiters: WaitList,
    /// Set by [`close`](Self::close), after the storage is closed. Only for the
    /// [`DRAIN_AWAITED`](flags::DRAIN_AWAITED) flag: readers and writers load the storage's own
    /// mark.
    closed: bool,
    /// Set by [`end_stages`](Self::end_stages).
    stages_ended: bool,
    /// The record has observers.
    observed: bool,
    /// The last taker that left a mailbox: a command that is pending without takers is its backlog.
    last_taker: Option<Arc<str>>,
    /// The sums of the readers that have left.
    departed: DepartedReaders,
    /// Values that present readers of stages were refused.
    refused: u64,
    /// The backlog of stages whose readers have left.
    backlog: Vec<Backlog>,
    /// Values delivered to readers of stages that have left.
    delivered_before: u64,
    /// When a writer began to wait while no other writer waited. `None` while no writer waits.
    full_since: Option<Instant>,
    recency: Recency,
    /// The number of the newest round of wake-ups. The first round is one; a new entry is at zero.
    round: u64,
    /// Several threads may wait through one reader: of its waiters, one is notified for a value.
    some_share: bool,
}

/// Several readers wait for a value.
pub(super) struct SeveralWait;

impl Subscribers {
    /// No readers and no waiters. `takers_compete` is `true` for a mailbox.
    pub(super) fn new(takers_compete: bool) -> Self {
        Self {
            takers_compete,
            entries: slab::Slab::new(),
            read_waiters: WaitList::new(),
            write_waiters: WaitList::new(),
            drain_waiters: WaitList::new(),
            closed: false,
            stages_ended: false,
            observed: false,
            last_taker: None,
            backlog: Vec::new(),
            departed: DepartedReaders::default(),
            refused: 0,
            delivered_before: 0,
            full_since: None,
            recency: Recency { each: MAY_NOTE_EACH, ..Recency::default() },
            round: 0,
            some_share: false,
        }
    }

    /// The current value of the [`flags`]. The coordinator calls it after each change, before it
    /// unlocks.
    pub(super) fn flags(&self) -> usize {
        let mut flags = self.reader_flags();
        if self.write_waiters.waiting() > 0 {
            flags |= flags::WRITERS_WAIT;
        }
        if self.entries.is_empty() {
            flags |= flags::NO_READERS;
        }
        if self.closed && self.drain_waiters.waiting() > 0 {
            flags |= flags::DRAIN_AWAITED;
        }
        if self.stages_ended {
            flags |= flags::STAGES_ENDED;
        }
        if self.observed {
            flags |= flags::OBSERVED;
        }
        flags
    }

    /// The [`flags`] that the wait of a reader and the notification of a value may change:
    /// [`READER_FLAGS`](flags::READER_FLAGS).
    #[inline]
    pub(super) fn reader_flags(&self) -> usize {
        let waiting = self.read_waiters.waiting();
        let several = waiting > 1 && !self.takers_compete;
        usize::from(waiting > 0) * flags::READERS_WAIT
            + usize::from(several) * flags::SEVERAL_WAIT
            + usize::from(self.recency.each) * flags::EACH_NOTED
    }

    // Readers.

    /// Adds a reader and returns its id, which stays valid until [`leave`](Self::leave) and may be
    /// that of an earlier reader. `writers_wait` is `true` for a queue, whose caller holds the lock
    /// of the head.
    pub(super) fn enter(&mut self, cursor: Arc<Cursor>, writers_wait: bool) -> usize {
        // Now, so that the first wait, which may be much later, allocates nothing.
        self.read_waiters.reserve(self.entries.len() + 1);
        if writers_wait {
            self.write_waiters.reserve(FEW_WRITERS);
        }
        if self.entries.is_empty() {
            // As the list of waiters.
            self.entries.reserve_exact(1);
        }
        self.entries.insert(Entry { cursor, round: 0 })
    }

    /// Removes a reader that leaves `unread` values. Notes its numbers if it belongs to a stage.
    ///
    /// A queue's caller holds the lock of the head. No thread reads through the cursor any more, so
    /// its snapshot is final. Waiters of the reader stay in their list: the caller notifies them
    /// next.
    ///
    /// # Panics
    ///
    /// If there is no reader with this id.
    ///
    /// `missed` values were lost and not counted by the reader.
    pub(super) fn leave(&mut self, reader: usize, unread: u64, missed: u64) {
        // From here on no writer waits for this reader.
        let Entry { cursor, .. } = self.entries.remove(reader);
        let snapshot = cursor.snapshot();
        // The values that a stage was refused count as delivered in its cursor.
        let refused = if cursor.of_stage { self.refused.min(snapshot.delivered) } else { 0 };
        self.refused -= refused;
        // A pending command belongs to no taker before it is taken.
        let left = refused + if self.takers_compete { 0 } else { unread };
        self.departed.add(&DepartedReaders {
            readers: 1,
            entered: match self.takers_compete {
                true => snapshot.delivered,
                false => snapshot.delivered + snapshot.lagged + missed + unread,
            },
            delivered: snapshot.delivered - refused,
            lagged: snapshot.lagged + missed,
            unread: left,
            unread_at_end: if self.closed || self.stages_ended { left } else { 0 },
        });
        if !cursor.of_stage {
            return;
        }
        self.delivered_before += snapshot.delivered;
        if self.takers_compete {
            // A pending command belongs to no taker before it is taken.
            add_backlog(&mut self.backlog, &cursor, snapshot, 0);
            self.last_taker = Some(Arc::clone(&cursor.name));
        } else {
            add_backlog(&mut self.backlog, &cursor, snapshot, unread);
        }
    }

    /// From now on the readers of stages receive nothing: a shutdown is about to count what they
    /// have not received.
    pub(super) fn end_stages(&mut self) {
        self.stages_ended = true;
    }

    /// Whether the reader of `cursor` must drop the `received` values that it has just read. They
    /// then count as its unread values. A thread that reads the cursor's numbers has this lock, so
    /// it counts each value once.
    pub(super) fn refuse_values(&mut self, cursor: &Cursor, received: u64) -> bool {
        let refused = self.stages_ended && cursor.of_stage;
        if refused {
            if !cursor.is_shared() {
                cursor.finish();
            }
            merge_backlog(&mut self.backlog, &cursor.name, received, 0);
            self.refused += received;
        }
        refused
    }

    /// Whether the record has observers.
    pub(super) fn set_observed(&mut self, observed: bool) {
        self.observed = observed;
    }

    /// From now on several threads may wait through one reader.
    pub(super) fn share(&mut self) {
        self.some_share = true;
    }

    /// The cursors of all present readers, those of stages and those outside of the graph.
    pub(super) fn cursors(&self) -> impl Iterator<Item = &Arc<Cursor>> {
        self.entries.iter().map(|(_, entry)| &entry.cursor)
    }

    /// The position of the slowest reader; `None` without readers.
    ///
    /// Readers advance meanwhile, so the true position may be later, never earlier: a writer that
    /// relies on it overwrites no value that a reader still wants.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.cursors().map(|cursor| cursor.next()).min()
    }

    /// The backlog of all stages: those whose readers have left, and those that still have one.
    /// `readable` returns how many values a reader at a position can receive.
    ///
    /// The pending command of a mailbox belongs to no taker. It is reported for the first present
    /// taker; without takers for the last one that left.
    pub(super) fn backlog(&self, readable: &dyn Fn(u64) -> u64) -> Vec<Backlog> {
        let mut all = self.backlog.clone();
        let of_stages = || self.cursors().filter(|cursor| cursor.of_stage);
        for (nth, cursor) in of_stages().enumerate() {
            let snapshot = cursor.snapshot();
            // A pending command waits for any of the takers: reported once.
            let unread = if self.takers_compete && nth > 0 { 0 } else { readable(snapshot.next) };
            add_backlog(&mut all, cursor, snapshot, unread + snapshot.stashed);
        }
        // A mailbox ignores the position. Takers outside of the graph do not count: without a taker
        // of a stage, the pending command is the backlog of the last stage that had one.
        if let Some(taker) = self.last_taker.as_ref().filter(|_| of_stages().next().is_none()) {
            merge_backlog(&mut all, taker, readable(0), 0);
        }
        all
    }

    /// The number of values delivered to stages so far. It never decreases, so the difference of
    /// two calls is the number delivered between them: readers that left are included.
    pub(super) fn delivered_to_stages(&self) -> u64 {
        let of_stages = self.cursors().filter(|cursor| cursor.of_stage);
        self.delivered_before + of_stages.map(|cursor| cursor.snapshot().delivered).sum::<u64>()
    }

    // Time.

    /// [`stamp`](Self::stamp) by the writer of the value, whose time it costs: in a burst it leaves
    /// most values to the readers that run dry.
    #[inline]
    pub(super) fn stamp_written(&mut self, produced: u64, clock: &dyn Clock) {
        if self.recency.is_due_for_writer(produced, self.entries.is_empty()) {
            self.recency.note(produced, clock.now());
        }
    }

    /// Notes that the `produced`th value was accepted now, unless that is known well enough.
    #[inline]
    pub(super) fn stamp(&mut self, produced: u64, clock: &dyn Clock) {
        if self.recency.is_due(produced) {
            self.recency.note(produced, clock.now());
        }
    }

    /// Notes each of the next values, because somebody asks for the time of the newest one.
    pub(super) fn note_each(&mut self, produced: u64, now: Instant) {
        self.recency.begin_window(produced, now);
    }

    /// The time of the newest value, as far as [`stamp`](Self::stamp) noted it; `None` before the
    /// first note.
    pub(super) fn updated(&self) -> Option<Instant> {
        self.recency.at
    }

    /// When the first of the waiting writers began to wait, and how many wait. `None` while no
    /// writer waits. The time begins again when all of them were notified and one of them has to
    /// wait again.
    pub(super) fn blocked(&self) -> Option<(Instant, usize)> {
        self.full_since.map(|since| (since, self.write_waiters.waiting()))
    }

    // Waking readers.

    /// The sums of the readers that have left.
    pub(super) fn departed(&self) -> DepartedReaders {
        self.departed
    }

    /// Notifies the readers for a new value, if one notification does: one waits, or takers compete.
    /// Returns its waker; an error if several are to be notified.
    #[inline]
    pub(super) fn notify_only_reader(&mut self) -> Result<Option<Waker>, SeveralWait> {
        if self.read_waiters.waiting() > 1 && !self.takers_compete {
            return Err(SeveralWait);
        }
        Ok(self.read_waiters.notify_first())
    }

    /// Notifies one waiter of each reader that this round has not reached yet; not for a mailbox, whose
    /// takers compete. Returns whether there are more than the batch can hold: the caller passes `round`
    /// again then.
    ///
    /// One waiter of a reader suffices: threads that share a reader receive each value once, and
    /// the thread that receives one notifies the next if values remain.
    pub(super) fn notify_readers(
        &mut self,
        round: &mut Option<u64>,
        batch: &mut WakeBatch,
    ) -> bool {
        // One batch, one waiter for each reader: the round ends before anyone waits again.
        if round.is_none() && !self.some_share && self.read_waiters.notify_all(batch) {
            return false;
        }
        let round = *round.get_or_insert_with(|| {
            self.round += 1;
            self.round
        });
        let entries = &mut self.entries;
        self.read_waiters.notify_where(batch, |reader| {
            // A waiter whose reader has left is woken, so that it finds out.
            entries
                .get_mut(reader)
                .is_none_or(|entry| core::mem::replace(&mut entry.round, round) != round)
        })
    }

    /// Notifies the next waiter of one reader, or the next taker of a mailbox. Returns its waker.
    pub(super) fn notify_next(&mut self, reader: usize) -> Option<Waker> {
        let group = self.group(reader);
        self.read_waiters.notify_one(group)
    }

    /// Notifies all waiters of one reader, or all takers of a mailbox. Returns whether there are
    /// more than the batch can hold.
    pub(super) fn notify_all_of(&mut self, reader: usize, batch: &mut WakeBatch) -> bool {
        let wanted = self.group(reader);
        self.read_waiters.notify_where(batch, |group| group == wanted)
    }

    /// The group in which the waiters of a reader wait: takers of one mailbox have a common one.
    fn group(&self, reader: usize) -> usize {
        if self.takers_compete { ANY } else { reader }
    }

    // Closing.

    /// Notes that the record is closed, and notifies all waiters: readers, then writers, then tasks
    /// that wait for the drain. Returns whether there are more than the batch can hold; the caller
    /// then wakes the batch and calls again.
    pub(super) fn close(&mut self, batch: &mut WakeBatch) -> bool {
        self.closed = true;
        // A closed record holds no writer back, though its writers may not have been polled yet.
        self.full_since = None;
        // `||` stops at the first list with more waiters than the batch can hold.
        self.read_waiters.notify_where(batch, |_| true)
            || self.write_waiters.notify_where(batch, |_| true)
            || self.notify_drain_waiters(batch)
    }

    /// Notifies the tasks that wait until the record is drained, drained or not: each waits for a
    /// reader of its own and checks it again. Returns whether there are more than the batch can
    /// hold.
    pub(super) fn notify_drain_waiters(&mut self, batch: &mut WakeBatch) -> bool {
        self.drain_waiters.notify_where(batch, |_| true)
    }

    /// Whether the owner of `ticket` waits for the drain with an equivalent of `waker`.
    pub(super) fn holds_drain_waiter(&self, ticket: &WaitTicket, waker: &Waker) -> bool {
        self.drain_waiters.holds(ticket, waker)
    }

    /// Registers a task that waits for the drain. Returns a replaced waker, for the caller to drop
    /// after unlocking.
    pub(super) fn register_drain_waiter(
        &mut self,
        ticket: &mut WaitTicket,
        waker: Waker,
    ) -> Option<Waker> {
        self.drain_waiters.register(ticket, ANY, waker)
    }

    /// Ends a wait for the drain. Returns its waker, for the caller to drop after unlocking. All
    /// such waiters are notified together, so there is no wake-up to pass on.
    pub(super) fn cancel_drain_wait(&mut self, ticket: &mut WaitTicket) -> Option<Waker> {
        self.drain_waiters.remove(ticket)?.waker
    }

    // Waiting to read.

    /// Whether the owner of `ticket` waits for a value with an equivalent of `waker`.
    pub(super) fn holds_reader(&self, ticket: &WaitTicket, waker: &Waker) -> bool {
        self.read_waiters.holds(ticket, waker)
    }

    /// Whether the owner of `ticket` is in the FIFO of the readers.
    #[cfg(all(test, aimdb_loom))]
    pub(super) fn links_reader(&self, ticket: &WaitTicket) -> bool {
        self.read_waiters.links(ticket)
    }

    /// Registers a waiter of `reader`. Returns a replaced waker, for the caller to drop after
    /// unlocking.
    #[inline]
    pub(super) fn register_reader(
        &mut self,
        reader: usize,
        ticket: &mut WaitTicket,
        waker: Waker,
    ) -> Option<Waker> {
        let group = self.group(reader);
        self.read_waiters.register(ticket, group, waker)
    }

    /// Ends a wait to read. An unused wake-up passes to the next waiter, if there `is_readable` a
    /// value for it. Returns the waker to drop and the waker to wake.
    ///
    /// The check and the notification are one step under the lock. Without a value the wake-up need
    /// not be passed on: the next value notifies the next waiter.
    pub(super) fn cancel_read_wait(
        &mut self,
        reader: usize,
        ticket: &mut WaitTicket,
        is_readable: &dyn Fn() -> bool,
    ) -> [Option<Waker>; 2] {
        // A suspended wait has used its wake-up.
        let waited = ticket.is_registered();
        let Some(removed) = self.read_waiters.remove(ticket) else { return [None, None] };
        let next = if waited && removed.notified && is_readable() {
            self.notify_next(reader)
        } else {
            None
        };
        [removed.waker, next]
    }

    // Waiting to write.

    /// Whether the owner of `ticket` waits for room with an equivalent of `waker`.
    pub(super) fn holds_writer(&self, ticket: &WaitTicket, waker: &Waker) -> bool {
        self.write_waiters.holds(ticket, waker)
    }

    /// Registers a waiting writer, and notes the time if it is the first one. Returns a replaced
    /// waker, for the caller to drop after unlocking.
    pub(super) fn register_writer(
        &mut self,
        ticket: &mut WaitTicket,
        waker: Waker,
        clock: &dyn Clock,
    ) -> Option<Waker> {
        self.full_since.get_or_insert_with(|| clock.now());
        self.write_waiters.register(ticket, ANY, waker)
    }

    /// Ends a wait to write. An unused wake-up passes to the next waiter, if there is `room`.
    /// Returns the waker to drop and the waker to wake.
    pub(super) fn cancel_write_wait(
        &mut self,
        ticket: &mut WaitTicket,
        room: &dyn Fn(Option<u64>) -> u64,
    ) -> [Option<Waker>; 2] {
        let Some(removed) = self.write_waiters.remove(ticket) else { return [None, None] };
        let next = if removed.notified { self.notify_writer(room) } else { None };
        self.update_full_since();
        [removed.waker, next]
    }

    /// Notifies the first waiting writer, if there is room for it.
    fn notify_writer(&mut self, room: &dyn Fn(Option<u64>) -> u64) -> Option<Waker> {
        if self.write_waiters.waiting() == 0 || room(self.slowest()) == 0 {
            return None;
        }
        self.write_waiters.notify_one(ANY)
    }

    /// Notifies the waiting writers that there is room for. Returns whether there are more than the
    /// batch can hold.
    ///
    /// One writer is notified for each free place. A writer that was notified before and has not
    /// written yet is not subtracted: at worst, a writer wakes, finds no room and returns to the
    /// front.
    pub(super) fn notify_writers(
        &mut self,
        batch: &mut WakeBatch,
        room: &dyn Fn(Option<u64>) -> u64,
    ) -> bool {
        let mut room = room(self.slowest());
        let more = self.write_waiters.notify_where(batch, |_| {
            // Counts down for notified writers only: without room `pick` accepts no further one.
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        });
        self.update_full_since();
        more
    }

    /// Ends the time of blocked writers once none of them waits.
    fn update_full_since(&mut self) {
        if self.write_waiters.waiting() == 0 {
            self.full_since = None;
        }
    }
}

/// Adds the backlog of one reader to that of other readers of the same stage. The values in
/// progress count as interrupted, unless a connector accounts for them.
fn add_backlog(all: &mut Vec<Backlog>, cursor: &Cursor, snapshot: CursorSnapshot, unread: u64) {
    let interrupted = if cursor.delegates_accounting() { 0 } else { snapshot.in_progress };
    merge_backlog(all, &cursor.name, unread, interrupted);
}

/// Adds numbers to the backlog of `reader`. A backlog of zero values is not listed.
fn merge_backlog(all: &mut Vec<Backlog>, reader: &Arc<str>, unread: u64, interrupted: u64) {
    if unread + interrupted == 0 {
        return;
    }
    match all.iter_mut().find(|known| known.reader == *reader) {
        Some(known) => {
            known.unread += unread;
            known.interrupted += interrupted;
        }
        None => all.push(Backlog { reader: Arc::clone(reader), unread, interrupted }),
    }
}
