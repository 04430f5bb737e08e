//! What a record's buffer is at one moment, and every step it can make. No lock, no waker is called, no user code
//! runs except `Clone`, and that before anything has changed.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;

use super::waiters::{WaitKey, WaitList, WakeBatch};
use super::{
    BufferCfg, Evicted, TryRecvError, latest::Latest, mailbox::Mailbox, queue::Queue, ring::Ring,
};
use crate::runtime::{Clock, Instant};

/// Readers of a mailbox, and writers of a queue, all want the same thing.
pub(super) const ANYONE: usize = 0;

/// Writers of a queue that can wait at once before their list grows.
const FEW_WRITERS: usize = 4;

/// One of the four kinds.
pub(super) enum Storage<T> {
    Ring(Ring<T>),
    Queue(Queue<T>),
    Latest(Latest<T>),
    Mailbox(Mailbox<T>),
}

/// Where one reader stands.
pub(super) struct Cursor {
    pub(super) name: Arc<str>,
    /// The graph made this reader: what it leaves behind is reported.
    pub(super) of_stage: bool,
    /// Several threads wait through this cursor, so a value left over must wake the next of them.
    shared: bool,
    next: u64,
    pub(super) lagged: u64,
    pub(super) delivered: u64,
    /// Values handed out by the last read and not yet followed by another one.
    pub(super) in_hand: u64,
    /// What it takes is counted by whom it is handed to.
    pub(super) hands_on: bool,
    /// The last round of wake-ups that has reached this reader.
    round: u64,
}

/// What a stage had not dealt with when its reader was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned {
    pub(crate) reader: Arc<str>,
    pub(crate) left: u64,
    pub(crate) interrupted: u64,
}

/// When the newest value came, without asking the clock for every value.
///
/// The clock is read where its cost hides: when a reader is woken, when nobody reads, when a reader runs dry, and
/// for every sixteenth value besides.
struct Recency {
    at: Option<Instant>,
    counted: u64,
}

/// What a read came to. The value itself goes to where the reader wants it.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    Value,
    Lagged(u64),
    Empty,
    Closed,
}

/// Wakers that a read sets free. Both are rare and at most one each.
#[derive(Default)]
pub(super) struct Follow {
    /// A writer for which there is room now.
    pub(super) writer: Option<Waker>,
    /// Another waiter on the same cursor, or another taker, for which there is a value.
    pub(super) reader: Option<Waker>,
}

/// Why a value stayed with its writer.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    Full,
    Closed,
}

pub(super) struct State<T> {
    pub(super) storage: Storage<T>,
    pub(super) readers: slab::Slab<Cursor>,
    pub(super) read_waiters: WaitList,
    pub(super) write_waiters: WaitList,
    pub(super) closed: bool,
    pub(super) produced: u64,
    pub(super) overwritten: u64,
    pub(super) abandoned: Vec<Abandoned>,
    /// What the stage readers that are gone had taken.
    pub(super) delivered_before: u64,
    pub(super) full_since: Option<Instant>,
    recency: Recency,
    round: u64,
}

impl Follow {
    /// Wakes them. Outside the lock: wakers are user code.
    #[inline]
    pub(super) fn wake(self) {
        if let Some(writer) = self.writer {
            writer.wake();
        }
        if let Some(reader) = self.reader {
            reader.wake();
        }
    }
}

impl<T: Clone> Storage<T> {
    pub(super) fn new(cfg: BufferCfg) -> Self {
        match cfg {
            BufferCfg::SpmcRing { capacity } => Self::Ring(Ring::new(capacity)),
            BufferCfg::SpmcQueue { capacity } => Self::Queue(Queue::new(capacity)),
            BufferCfg::SingleLatest => Self::Latest(Latest::new()),
            BufferCfg::Mailbox => Self::Mailbox(Mailbox::new()),
        }
    }

    /// Accepts `value`, which there must be [`room`](Self::room) for.
    #[inline]
    fn push(&mut self, value: T) -> Option<Evicted<T>> {
        match self {
            Self::Ring(ring) => ring.push(value),
            Self::Queue(queue) => queue.push(value),
            Self::Latest(latest) => latest.push(value),
            Self::Mailbox(mailbox) => mailbox.push(value),
        }
    }

    fn enter(&mut self) -> u64 {
        match self {
            Self::Ring(ring) => ring.first_position(),
            Self::Queue(queue) => queue.enter(),
            Self::Latest(latest) => latest.first_position(),
            Self::Mailbox(_) => 0,
        }
    }

    /// Moves `next` over the values that are lost to its reader, and says how many those are.
    #[inline]
    fn settle(&mut self, next: &mut u64) -> u64 {
        let missed = match self {
            Self::Ring(ring) => ring.missed(*next),
            Self::Queue(_) => 0,
            Self::Latest(latest) => latest.missed(*next),
            Self::Mailbox(mailbox) => return mailbox.settle(),
        };
        *next += missed;
        missed
    }

    /// The value at `next`, after [`settle`](Self::settle).
    #[inline]
    fn read(&mut self, next: u64) -> Option<T> {
        match self {
            Self::Ring(ring) => ring.read(next),
            Self::Queue(queue) => queue.read(next),
            Self::Latest(latest) => latest.read(next),
            Self::Mailbox(mailbox) => mailbox.read(),
        }
    }

    /// What the reader at `next` has lost without having been told.
    fn missed(&self, next: u64) -> u64 {
        match self {
            Self::Ring(ring) => ring.missed(next),
            Self::Latest(latest) => latest.missed(next),
            // A queue loses nothing; a mailbox charges whoever takes the command that replaced the others.
            Self::Queue(_) | Self::Mailbox(_) => 0,
        }
    }

    fn readable(&self, next: u64) -> u64 {
        match self {
            Self::Ring(ring) => ring.readable(next),
            Self::Queue(queue) => queue.readable(next),
            Self::Latest(latest) => latest.readable(next),
            Self::Mailbox(mailbox) => mailbox.readable(),
        }
    }

    pub(super) fn latest(&self) -> Option<&T> {
        match self {
            Self::Ring(ring) => ring.latest(),
            Self::Queue(queue) => queue.latest(),
            Self::Latest(latest) => latest.latest(),
            Self::Mailbox(mailbox) => mailbox.latest(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.len(),
            Self::Queue(queue) => queue.len(),
            Self::Latest(latest) => latest.len(),
            Self::Mailbox(mailbox) => mailbox.len(),
        }
    }

    /// How many more values fit before a writer must wait; `None` if writers never wait.
    pub(super) fn room(&self) -> Option<usize> {
        match self {
            Self::Queue(queue) => Some(queue.room()),
            _ => None,
        }
    }

    fn is_mailbox(&self) -> bool {
        matches!(self, Self::Mailbox(_))
    }
}

impl<T: Clone> State<T> {
    pub(super) fn new(cfg: BufferCfg) -> Self {
        Self {
            storage: Storage::new(cfg),
            readers: slab::Slab::new(),
            read_waiters: WaitList::new(),
            write_waiters: WaitList::new(),
            closed: false,
            produced: 0,
            overwritten: 0,
            abandoned: Vec::new(),
            delivered_before: 0,
            full_since: None,
            recency: Recency { at: None, counted: 0 },
            round: 0,
        }
    }

    /// Takes the value out of `value` if it accepts it, and gives back the one it pushed out.
    #[inline]
    pub(super) fn push(&mut self, value: &mut Option<T>) -> Result<Option<T>, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        if self.storage.room() == Some(0) {
            return Err(Refused::Full);
        }
        let Some(accepted) = value.take() else { return Ok(None) };
        Ok(self.accept(accepted))
    }

    /// Accepts a value that there is room for, and gives back the one it pushed out.
    #[inline]
    pub(super) fn accept(&mut self, value: T) -> Option<T> {
        self.produced += 1;
        let evicted = self.storage.push(value)?;
        self.overwritten += u64::from(evicted.unread);
        Some(evicted.value)
    }

    /// Begins a round of wake-ups for the values just pushed, and notes the time if it is worth it.
    #[inline]
    pub(super) fn after_push(&mut self, clock: &dyn Clock, batch: &mut WakeBatch) -> WakeRound {
        let someone_waits = self.read_waiters.waiting() > 0;
        if someone_waits || self.readers.is_empty() || self.produced & 15 == 0 {
            self.stamp(clock);
        }
        if !someone_waits {
            return WakeRound { number: 0, more: false };
        }
        self.round += 1;
        self.wake_readers(self.round, batch)
    }

    /// Goes on with a round: one waiter for each reader that has none woken yet.
    #[cold]
    pub(super) fn wake_readers(&mut self, round: u64, batch: &mut WakeBatch) -> WakeRound {
        if self.storage.is_mailbox() {
            batch.extend(self.read_waiters.notify_one(ANYONE));
            return WakeRound { number: round, more: false };
        }
        let readers = &mut self.readers;
        let more = self.read_waiters.notify_where(batch, |group| {
            core::mem::replace(&mut readers[group].round, round) != round
        });
        WakeRound { number: round, more }
    }

    pub(super) fn stamp(&mut self, clock: &dyn Clock) {
        if self.recency.counted != self.produced {
            self.recency = Recency { at: Some(clock.now()), counted: self.produced };
        }
    }

    pub(super) fn updated(&self) -> Option<Instant> {
        self.recency.at
    }

    pub(super) fn enter(&mut self, name: Arc<str>, of_stage: bool) -> usize {
        let next = self.storage.enter();
        // Before anything flows, so that the first wait, which may come much later, allocates nothing.
        self.read_waiters.make_room_for(self.readers.len() + 1);
        if self.storage.room().is_some() {
            self.write_waiters.make_room_for(FEW_WRITERS);
        }
        self.readers.insert(Cursor {
            name,
            of_stage,
            shared: false,
            next,
            lagged: 0,
            delivered: 0,
            in_hand: 0,
            hands_on: false,
            round: 0,
        })
    }

    pub(super) fn share(&mut self, reader: usize) {
        self.readers[reader].shared = true;
    }

    pub(super) fn hand_on(&mut self, reader: usize) {
        self.readers[reader].hands_on = true;
    }

    /// The next thing for `reader`: what it missed, if it wants to be told, then the next value.
    #[inline]
    pub(super) fn take(
        &mut self,
        reader: usize,
        tell_lag: bool,
        into: &mut Option<T>,
        follow: &mut Follow,
    ) -> Taken {
        let cursor = &mut self.readers[reader];
        cursor.in_hand = 0;
        let missed = self.storage.settle(&mut cursor.next);
        cursor.lagged += missed;
        if tell_lag && missed > 0 {
            return Taken::Lagged(missed);
        }
        *into = self.storage.read(cursor.next);
        if into.is_none() {
            return if self.closed { Taken::Closed } else { Taken::Empty };
        }
        cursor.next += 1;
        cursor.delivered += 1;
        cursor.in_hand = 1;
        self.follow(reader, follow);
        Taken::Value
    }

    /// Up to `limit` values at once.
    pub(super) fn take_many(
        &mut self,
        reader: usize,
        into: &mut Vec<T>,
        limit: usize,
        wake: &mut WakeBatch,
    ) -> Result<usize, TryRecvError> {
        let mut taken = 0;
        let mut value = None;
        let mut follow = Follow::default();
        // One value can set two wakers free.
        while taken < limit && wake.remaining_capacity() >= 2 {
            match self.take(reader, false, &mut value, &mut follow) {
                Taken::Value => {
                    into.extend(value.take());
                    wake.extend(follow.writer.take());
                    wake.extend(follow.reader.take());
                    taken += 1;
                }
                Taken::Closed if taken == 0 => return Err(TryRecvError::Closed),
                _ => break,
            }
        }
        if taken == 0 {
            return Err(TryRecvError::Empty);
        }
        self.readers[reader].in_hand = taken as u64;
        Ok(taken)
    }

    /// Who can go on because `reader` took a value.
    #[inline]
    fn follow(&mut self, reader: usize, follow: &mut Follow) {
        if self.write_waiters.waiting() > 0 {
            follow.writer = self.writer_with_room();
        }
        if self.read_waiters.waiting() > 0 && self.readers[reader].shared {
            follow.reader = self.next_of_group(reader);
        }
    }

    fn writer_with_room(&mut self) -> Option<Waker> {
        if self.storage.room() == Some(0) {
            return None;
        }
        let writer = self.write_waiters.notify_one(ANYONE);
        if self.write_waiters.waiting() == 0 {
            self.full_since = None;
        }
        writer
    }

    /// Another waiter on the same cursor, if there is something left for it.
    fn next_of_group(&mut self, reader: usize) -> Option<Waker> {
        if self.storage.readable(self.readers[reader].next) == 0 {
            return None;
        }
        let group = self.group(reader);
        self.read_waiters.notify_one(group)
    }

    fn group(&self, reader: usize) -> usize {
        if self.storage.is_mailbox() { ANYONE } else { reader }
    }

    pub(super) fn wait_to_read(
        &mut self,
        reader: usize,
        key: &mut WaitKey,
        waker: Waker,
    ) -> Option<Waker> {
        let group = self.group(reader);
        self.read_waiters.register(key, group, waker)
    }

    pub(super) fn wait_to_write(
        &mut self,
        key: &mut WaitKey,
        waker: Waker,
        clock: &dyn Clock,
    ) -> Option<Waker> {
        self.full_since.get_or_insert_with(|| clock.now());
        self.write_waiters.register(key, ANYONE, waker)
    }

    /// Ends a wait to read. A wake-up that came and was not used goes to the next waiter.
    pub(super) fn stop_reading(&mut self, reader: usize, key: &mut WaitKey) -> [Option<Waker>; 2] {
        let Some(removed) = self.read_waiters.remove(key) else { return [None, None] };
        let heir = if removed.notified { self.next_of_group(reader) } else { None };
        [removed.waker, heir]
    }

    /// Ends a wait to write, likewise.
    pub(super) fn stop_writing(&mut self, key: &mut WaitKey) -> [Option<Waker>; 2] {
        let Some(removed) = self.write_waiters.remove(key) else { return [None, None] };
        let heir = if removed.notified { self.writer_with_room() } else { None };
        if self.write_waiters.waiting() == 0 {
            self.full_since = None;
        }
        [removed.waker, heir]
    }

    /// Takes a reader out. Returns what only it still wanted; the room goes to waiting writers.
    pub(super) fn leave(&mut self, reader: usize) -> Vec<T> {
        let cursor = self.readers.remove(reader);
        let left = self.storage.readable(cursor.next);
        let freed = match &mut self.storage {
            Storage::Queue(queue) => queue.leave(cursor.next),
            _ => Vec::new(),
        };
        // What waits in a mailbox is nobody's until it is taken: the last taker answers for it.
        let orphaned = !self.storage.is_mailbox() || self.readers.is_empty();
        if cursor.of_stage {
            self.delivered_before += cursor.delivered;
            note(&mut self.abandoned, &cursor, if orphaned { left } else { 0 });
        }
        freed
    }

    /// What stages have not dealt with: those whose readers are gone, and those that still hold one.
    pub(super) fn not_dealt_with(&self) -> Vec<Abandoned> {
        let mut all = self.abandoned.clone();
        let live = self.readers.iter().filter(|(_, cursor)| cursor.of_stage);
        for (nth, (_, cursor)) in live.enumerate() {
            // What waits in a mailbox waits for any of its takers: told once.
            let left = if self.storage.is_mailbox() && nth > 0 {
                0
            } else {
                self.storage.readable(cursor.next)
            };
            note(&mut all, cursor, left);
        }
        all
    }

    pub(super) fn lagged(&self, reader: usize) -> u64 {
        let cursor = &self.readers[reader];
        cursor.lagged + self.storage.missed(cursor.next)
    }

    pub(super) fn pending(&self, reader: usize) -> u64 {
        self.storage.readable(self.readers[reader].next)
    }

    /// The reader that is furthest behind.
    pub(super) fn slowest(&self) -> Option<&Cursor> {
        self.readers.iter().map(|(_, cursor)| cursor).min_by_key(|cursor| cursor.next)
    }

    pub(super) fn wake_writers(&mut self, batch: &mut WakeBatch) -> bool {
        self.full_since = None;
        self.write_waiters.notify_where(batch, |_| true)
    }

    /// Wakes the writers that fit now. Returns whether there were more than the batch could carry.
    pub(super) fn wake_writers_with_room(&mut self, batch: &mut WakeBatch) -> bool {
        let mut room = self.storage.room().unwrap_or(usize::MAX);
        let more = self.write_waiters.notify_where(batch, |_| {
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        });
        if self.write_waiters.waiting() == 0 {
            self.full_since = None;
        }
        more
    }
}

/// Where a round of wake-ups stands.
#[derive(Clone, Copy)]
pub(super) struct WakeRound {
    pub(super) number: u64,
    /// The batch was full: unlock, wake, and come back with this number.
    pub(super) more: bool,
}

/// Adds what the reader `cursor` did not deal with to what other readers of the same stage did not.
fn note(abandoned: &mut Vec<Abandoned>, cursor: &Cursor, left: u64) {
    let interrupted = if cursor.hands_on { 0 } else { cursor.in_hand };
    if left + interrupted == 0 {
        return;
    }
    match abandoned.iter_mut().find(|known| known.reader == cursor.name) {
        Some(known) => {
            known.left += left;
            known.interrupted += interrupted;
        }
        None => {
            abandoned.push(Abandoned { reader: Arc::clone(&cursor.name), left, interrupted });
        }
    }
}
