//! Who reads, who waits, and what was left behind: everything about a buffer that is not on the path of a value.
//!
//! Plain data under a [`Lock`](crate::sync::Lock). No waker is called and none is dropped in here, and no other user
//! code runs.

use crate::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;

use super::cursor::{Cursor, Standing};
use super::waiters::{WaitKey, WaitList, WakeBatch};
use crate::clock::{Clock, Instant};

/// Readers of a mailbox, and writers of a queue, all want the same thing.
const ANYONE: usize = 0;

/// Writers of a queue that can wait at once before their list grows.
const FEW_WRITERS: usize = 4;

/// What a stage had not dealt with when its reader was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned {
    pub(crate) reader: Arc<str>,
    pub(crate) left: u64,
    pub(crate) interrupted: u64,
}

/// What those who move values must know of the registry, without its lock.
pub(super) mod signals {
    /// Someone waits for a value.
    pub(in super::super) const READERS_WAIT: usize = 1;
    /// Someone waits for room.
    pub(in super::super) const WRITERS_WAIT: usize = 2;
    /// There is no reader, so that nobody but the writer can note when a value came.
    pub(in super::super) const NOBODY_READS: usize = 4;
    /// The record is closed, and someone waits for it to be empty.
    pub(in super::super) const DRAIN_AWAITED: usize = 8;
}

/// When the newest value came, without asking the clock for every value.
///
/// The clock is read where its cost hides: when a reader is woken, when nobody reads, when a reader runs dry, and
/// for every 64th value besides.
#[derive(Default)]
struct Recency {
    at: Option<Instant>,
    counted: u64,
}

struct Seat {
    cursor: Arc<Cursor>,
    /// The last round of wake-ups that has reached this reader.
    round: u64,
}

pub(super) struct Registry {
    /// Takers of a mailbox all wait for the same command.
    one_for_all: bool,
    seats: slab::Slab<Seat>,
    read_waiters: WaitList,
    write_waiters: WaitList,
    /// Those who want to know when the record is closed and empty.
    end_waiters: WaitList,
    closed: bool,
    /// Who took from a mailbox last before nobody did: what is in it then is what they left.
    last_taker: Option<Arc<str>>,
    abandoned: Vec<Abandoned>,
    /// What the stage readers that are gone had taken.
    delivered_before: u64,
    full_since: Option<Instant>,
    recency: Recency,
    round: u64,
}

impl Registry {
    pub(super) fn new(one_for_all: bool) -> Self {
        Self {
            one_for_all,
            seats: slab::Slab::new(),
            read_waiters: WaitList::new(),
            write_waiters: WaitList::new(),
            end_waiters: WaitList::new(),
            closed: false,
            last_taker: None,
            abandoned: Vec::new(),
            delivered_before: 0,
            full_since: None,
            recency: Recency::default(),
            round: 0,
        }
    }

    /// What the [`signals`] should say.
    pub(super) fn signals(&self) -> usize {
        let mut signals = 0;
        if self.read_waiters.waiting() > 0 {
            signals |= signals::READERS_WAIT;
        }
        if self.write_waiters.waiting() > 0 {
            signals |= signals::WRITERS_WAIT;
        }
        if self.seats.is_empty() {
            signals |= signals::NOBODY_READS;
        }
        if self.closed && self.end_waiters.waiting() > 0 {
            signals |= signals::DRAIN_AWAITED;
        }
        signals
    }

    // Readers.

    pub(super) fn enter(&mut self, cursor: Arc<Cursor>, writers_wait: bool) -> usize {
        // Before anything flows, so that the first wait, which may come much later, allocates nothing.
        self.read_waiters.make_room_for(self.seats.len() + 1);
        if writers_wait {
            self.write_waiters.make_room_for(FEW_WRITERS);
        }
        self.seats.insert(Seat { cursor, round: 0 })
    }

    /// Takes a reader out that leaves `left` values unread.
    pub(super) fn leave(&mut self, reader: usize, left: u64) {
        let Seat { cursor, .. } = self.seats.remove(reader);
        if !cursor.of_stage {
            return;
        }
        let standing = cursor.standing();
        self.delivered_before += standing.delivered;
        if self.one_for_all {
            // What waits in a mailbox is nobody's until it is taken.
            note(&mut self.abandoned, &cursor, standing, 0);
            self.last_taker = Some(Arc::clone(&cursor.name));
        } else {
            note(&mut self.abandoned, &cursor, standing, left);
        }
    }

    /// Wakes all that wait through one reader; in a mailbox all takers, which are one group.
    pub(super) fn wake_group(&mut self, reader: usize, batch: &mut WakeBatch) -> bool {
        let wanted = self.group(reader);
        self.read_waiters.notify_where(batch, |group| group == wanted)
    }

    pub(super) fn cursors(&self) -> impl Iterator<Item = &Arc<Cursor>> {
        self.seats.iter().map(|(_, seat)| &seat.cursor)
    }

    /// Where the reader stands that is furthest behind.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.cursors().map(|cursor| cursor.next()).min()
    }

    /// What stages have not dealt with: those whose readers are gone, and those that still hold one.
    pub(super) fn not_dealt_with(&self, readable: &dyn Fn(u64) -> u64) -> Vec<Abandoned> {
        let mut all = self.abandoned.clone();
        let live = || self.cursors().filter(|cursor| cursor.of_stage);
        for (nth, cursor) in live().enumerate() {
            let standing = cursor.standing();
            // What waits in a mailbox waits for any of its takers: told once.
            let left = if self.one_for_all && nth > 0 { 0 } else { readable(standing.next) };
            note(&mut all, cursor, standing, left + standing.stashed);
        }
        if let Some(taker) = self.last_taker.as_ref().filter(|_| live().next().is_none()) {
            add(&mut all, taker, readable(0), 0);
        }
        all
    }

    /// Values that stages have taken so far.
    pub(super) fn delivered_to_stages(&self) -> u64 {
        let live = self.cursors().filter(|cursor| cursor.of_stage);
        self.delivered_before + live.map(|cursor| cursor.standing().delivered).sum::<u64>()
    }

    // Time.

    /// Notes that the `produced`th value came just now, or did before and was not noted.
    pub(super) fn stamp(&mut self, produced: u64, clock: &dyn Clock) {
        if self.recency.counted != produced {
            self.recency = Recency { at: Some(clock.now()), counted: produced };
        }
    }

    pub(super) fn updated(&self) -> Option<Instant> {
        self.recency.at
    }

    /// Since when writers wait, and how many.
    pub(super) fn blocked(&self) -> Option<(Instant, usize)> {
        self.full_since.map(|since| (since, self.write_waiters.waiting()))
    }

    // Waiting to read.

    /// Begins a round of wake-ups.
    pub(super) fn begin_round(&mut self, batch: &mut WakeBatch) -> WakeRound {
        if self.read_waiters.waiting() == 0 {
            return WakeRound { number: 0, more: false };
        }
        self.round += 1;
        self.wake_readers(self.round, batch)
    }

    /// Goes on with a round: one waiter for each reader that has none woken yet.
    pub(super) fn wake_readers(&mut self, round: u64, batch: &mut WakeBatch) -> WakeRound {
        if self.one_for_all {
            batch.extend(self.read_waiters.notify_one(ANYONE));
            return WakeRound { number: round, more: false };
        }
        let seats = &mut self.seats;
        let more = self.read_waiters.notify_where(batch, |group| {
            // Whoever waits through a reader that is gone is woken to find out.
            seats
                .get_mut(group)
                .is_none_or(|seat| core::mem::replace(&mut seat.round, round) != round)
        });
        WakeRound { number: round, more }
    }

    /// Notes that the record is closed, and wakes all who wait for anything. Returns whether there were more than the
    /// batch could carry.
    pub(super) fn close(&mut self, batch: &mut WakeBatch) -> bool {
        self.closed = true;
        self.full_since = None;
        self.read_waiters.notify_where(batch, |_| true)
            || self.write_waiters.notify_where(batch, |_| true)
            || self.wake_end_waiters(batch)
    }

    // Waiting for the end.

    pub(super) fn wait_for_end(&mut self, key: &mut WaitKey, waker: Waker) -> Option<Waker> {
        self.end_waiters.register(key, ANYONE, waker)
    }

    pub(super) fn cancel_drain_wait(&mut self, key: &mut WaitKey) -> Option<Waker> {
        self.end_waiters.remove(key)?.waker
    }

    pub(super) fn wake_end_waiters(&mut self, batch: &mut WakeBatch) -> bool {
        self.end_waiters.notify_where(batch, |_| true)
    }

    /// Another waiter on the cursor of `reader`.
    pub(super) fn next_of_group(&mut self, reader: usize) -> Option<Waker> {
        let group = self.group(reader);
        self.read_waiters.notify_one(group)
    }

    fn group(&self, reader: usize) -> usize {
        if self.one_for_all { ANYONE } else { reader }
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

    /// Ends a wait to read. A wake-up that came and was not used goes to the next waiter, if there is `something` left.
    pub(super) fn stop_reading(
        &mut self,
        reader: usize,
        key: &mut WaitKey,
        something: &dyn Fn() -> bool,
    ) -> [Option<Waker>; 2] {
        let Some(removed) = self.read_waiters.remove(key) else { return [None, None] };
        let heir = if removed.notified && something() { self.next_of_group(reader) } else { None };
        [removed.waker, heir]
    }

    // Waiting to write.

    pub(super) fn wait_to_write(
        &mut self,
        key: &mut WaitKey,
        waker: Waker,
        clock: &dyn Clock,
    ) -> Option<Waker> {
        self.full_since.get_or_insert_with(|| clock.now());
        self.write_waiters.register(key, ANYONE, waker)
    }

    /// Ends a wait to write. A wake-up that came and was not used goes to the next waiter, if there is `room`.
    pub(super) fn stop_writing(
        &mut self,
        key: &mut WaitKey,
        room: &dyn Fn(Option<u64>) -> u64,
    ) -> [Option<Waker>; 2] {
        let Some(removed) = self.write_waiters.remove(key) else { return [None, None] };
        let heir = if removed.notified { self.writer_with_room(room) } else { None };
        self.note_end_of_waits();
        [removed.waker, heir]
    }

    /// The first waiting writer, if there is room for it.
    pub(super) fn writer_with_room(&mut self, room: &dyn Fn(Option<u64>) -> u64) -> Option<Waker> {
        if self.write_waiters.waiting() == 0 || room(self.slowest()) == 0 {
            return None;
        }
        let writer = self.write_waiters.notify_one(ANYONE);
        self.note_end_of_waits();
        writer
    }

    /// Wakes the writers that fit now. Returns whether there were more than the batch could carry.
    pub(super) fn wake_writers_with_room(
        &mut self,
        batch: &mut WakeBatch,
        room: &dyn Fn(Option<u64>) -> u64,
    ) -> bool {
        let mut room = room(self.slowest());
        let more = self.write_waiters.notify_where(batch, |_| {
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        });
        self.note_end_of_waits();
        more
    }

    fn note_end_of_waits(&mut self) {
        if self.write_waiters.waiting() == 0 {
            self.full_since = None;
        }
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
fn note(abandoned: &mut Vec<Abandoned>, cursor: &Cursor, standing: Standing, left: u64) {
    add(abandoned, &cursor.name, left, if cursor.hands_on() { 0 } else { standing.in_hand });
}

fn add(abandoned: &mut Vec<Abandoned>, reader: &Arc<str>, left: u64, interrupted: u64) {
    if left + interrupted == 0 {
        return;
    }
    match abandoned.iter_mut().find(|known| known.reader == *reader) {
        Some(known) => {
            known.left += left;
            known.interrupted += interrupted;
        }
        None => abandoned.push(Abandoned { reader: Arc::clone(reader), left, interrupted }),
    }
}
