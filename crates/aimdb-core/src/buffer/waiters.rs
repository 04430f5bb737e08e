//! The wait list: a FIFO of wakers in which every waiter keeps its place until it is done or
//! dropped.
//!
//! The states of a waiter, and the function that makes each transition:
//!
//! ```text
//!            register                    notify_*                 remove
//!   (none) ───────────▶ Waiting(waker) ───────────▶ Notified ───────────▶ (none)
//!              ▲                                       │
//!              └────────────── register ───────────────┘   (woken: to the front; suspended: to the end)
//! ```
//!
//! [`WaitList::remove`] also leads from `Waiting` to none. [`WaitTicket::suspend`] changes the
//! ticket and no slot: a suspended ticket keeps its place, whose state is `Notified`, and is not
//! registered.
//!
//! # Waiting
//!
//! A task or a thread that finds nothing to do registers its waker with [`WaitList::register`] and
//! then checks its condition once more. If the condition still does not hold, the waiter sleeps.
//! The thread that makes the condition true notifies afterwards. Both use the lock of the list, so
//! one of them sees the other.
//!
//! Waiters are notified first in, first out within their group. A waiter that is woken and finds
//! that another thread was faster registers again, and returns to the front: it loses no place.
//!
//! # Passing wake-ups on
//!
//! A notified waiter has left the FIFO but keeps its slot. If it is dropped before it was polled,
//! [`WaitList::remove`] reports that ([`Removed::notified`]), and the caller passes the wake-up on.
//! No function here calls user code: wakers are moved in and out, and the holder of the lock wakes
//! and drops them after unlocking.
//!
//! # Invariants
//!
//! - A slot is linked in the FIFO if and only if it is [`Waiter::Waiting`].
//! - `waiting` is the number of linked slots, `head` the first of them, `tail` the last.
//! - A slot is occupied for as long as the ticket that holds its index has a place. Only
//!   [`WaitList::remove`] frees it, so no index is used by two tickets.
//! - A list has one owner lock, which its caller holds for the duration of every method. The list
//!   has no lock of its own: [`Subscribers`](super::subscribers::Subscribers) keeps three lists
//!   under one.

use core::task::Waker;

use arrayvec::ArrayVec;

use crate::panic::{Caught, is_unwinding};

/// The index of a waiter's slot in a wait list; `None` while it has no slot.
type Place = Option<usize>;

/// The index of a neighbour's slot. Half of a [`Place`], so that the slots of a record with few
/// readers share a cache line or two.
type Link = u32;

/// No neighbour.
const NONE: Link = Link::MAX;

/// A wait: the place of one waiter in a wait list.
///
/// A default ticket has no place and costs nothing. The first poll that finds nothing gives it one.
///
/// It belongs to one record, [`WaitQueue`](crate::wait::WaitQueue) or similar, and to one task or
/// thread: its place is an index into that one list, and has no meaning in another one. Its owner
/// must give it back with `cancel_wait` when it gives up; a `poll_*` that returned `Ready` has done
/// so already. [`WaitGuard`](crate::wait::WaitGuard) gives it back when it is dropped.
///
/// A ticket that is dropped while it has a place leaves its slot and its waker in the list, and a
/// wake-up that it received reaches no other waiter.
///
/// ```text
///   place  registered   the owner                          left by
///   none   no           does not wait                      register
///   some   yes          waits, or was notified             remove, suspend
///   some   no           suspended its wait, keeps a slot   register, remove
/// ```
///
/// Only the owner changes its ticket, so both fields are plain. A notification changes the slot in
/// the list and not the ticket.
#[derive(Debug, Default)]
pub struct WaitTicket {
    /// The slot of this waiter. Set by [`WaitList::register`], taken by [`WaitList::remove`].
    place: Place,
    /// The owner has registered and has not been ready since, so the list may hold its waker.
    registered: bool,
    /// How often the list had been emptied when the owner registered, as far as it fits. Set by a
    /// [`Coordinator`](super::coordinator::Coordinator) only.
    emptied: u32,
}

impl WaitTicket {
    /// Whether the ticket has a place in a list. While it has none, there is nothing to cancel, and
    /// the caller saves the lock.
    #[inline]
    pub(crate) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Ends the wait and keeps the place for the next one. The waiter must not be in the FIFO: the
    /// caller knows without the lock that it was notified.
    #[inline]
    pub(crate) fn suspend(&mut self) {
        self.registered = false;
    }

    /// Notes how often the list had been emptied when the owner registered.
    #[inline]
    pub(crate) fn note_emptied(&mut self, emptied: u32) {
        self.emptied = emptied;
    }

    /// How often the list had been emptied when the owner registered.
    #[inline]
    pub(crate) fn emptied(&self) -> u32 {
        self.emptied
    }

    /// Whether the owner has suspended its last wait: it has waited before, and does not wait now.
    #[inline]
    pub(crate) fn is_suspended(&self) -> bool {
        self.place.is_some() && !self.registered
    }

    /// Whether the list may hold the owner's waker: a hint that saves a lock.
    #[inline]
    pub(crate) fn is_registered(&self) -> bool {
        self.registered
    }
}

/// The state of one occupied slot.
enum Waiter {
    /// The slot is linked in the FIFO. `prev` and `next` are the neighbours' slots.
    Waiting { waker: Waker, group: u32, prev: Link, next: Link },
    /// The slot is not linked: the waiter was notified, or its wait is suspended. Its waker has
    /// left the list.
    Notified,
}

/// The result of [`WaitList::remove`].
pub(crate) struct Removed {
    /// The waiter was notified and did not use the wake-up.
    pub(crate) notified: bool,
    /// For the caller to drop after unlocking.
    pub(crate) waker: Option<Waker>,
}

/// A FIFO of waiters. The waiters of one `group` wait for the same value. A list has fewer than
/// 2³² waiters and groups.
///
/// The FIFO is a doubly linked list through the slots of a slab: registering and removing take
/// constant time, and a waiter in the middle can leave. A free slot is used again, so a list that
/// has once held its largest number of waiters allocates no more.
///
/// Notifying takes time in proportion to the waiters of other groups that precede the notified one.
pub(crate) struct WaitList {
    /// One slot for each ticket with a place, linked or not.
    slots: slab::Slab<Waiter>,
    /// The first linked slot, which is notified first.
    head: Link,
    /// The last linked slot, behind which a new waiter is linked.
    tail: Link,
    /// The number of linked slots.
    waiting: usize,
}

impl WaitList {
    /// A list without waiters. It allocates nothing.
    pub(crate) const fn new() -> Self {
        Self { slots: slab::Slab::new(), head: NONE, tail: NONE, waiting: 0 }
    }

    /// Allocates slots for this many waiters, so that their waits allocate nothing.
    pub(crate) fn reserve(&mut self, waiters: usize) {
        let more = waiters.saturating_sub(self.slots.len());
        // Most records have one reader; a list that grows reserves ahead.
        if waiters == 1 { self.slots.reserve_exact(more) } else { self.slots.reserve(more) }
    }

    /// The number of waiters that have not been notified. Zero means that a notification would find
    /// no waiter: the coordinator derives its flags from it.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether the owner of `ticket` waits with a waker that wakes the same task as `waker`. Then
    /// it need not register.
    pub(crate) fn holds(&self, ticket: &WaitTicket, waker: &Waker) -> bool {
        let waiter = ticket.place.map(|at| &self.slots[at]);
        matches!(waiter, Some(Waiter::Waiting { waker: held, .. }) if held.will_wake(waker))
    }

    /// Whether the owner of `ticket` is in the FIFO, with whatever waker.
    #[cfg(all(test, aimdb_loom))]
    pub(crate) fn links(&self, ticket: &WaitTicket) -> bool {
        let waiter = ticket.place.map(|at| &self.slots[at]);
        matches!(waiter, Some(Waiter::Waiting { .. }))
    }

    /// Adds a waiter that is new, or had suspended its wait, at the end; returns one that was notified
    /// to the front, and replaces the waker of one that still waits. Returns the replaced waker, for the caller to drop after
    /// unlocking.
    ///
    /// The caller clones `waker` before it locks and checks its condition after it has unlocked.
    #[inline]
    pub(crate) fn register(
        &mut self,
        ticket: &mut WaitTicket,
        group: usize,
        waker: Waker,
    ) -> Option<Waker> {
        let again = core::mem::replace(&mut ticket.registered, true);
        let Some(at) = ticket.place else {
            ticket.place = Some(self.link_last(group, waker));
            return None;
        };
        let slot = &mut self.slots[at];
        if let Waiter::Waiting { waker: old, .. } = slot {
            return Some(core::mem::replace(old, waker));
        }
        // Notified → Waiting: a woken waiter that found nothing keeps its turn; one that suspended its
        // wait has had its turn.
        let (prev, next) = if again { (NONE, self.head) } else { (self.tail, NONE) };
        *slot = Waiter::Waiting { waker, group: group as u32, prev, next };
        self.link_between(prev, at as Link, next);
        None
    }

    /// Ends a wait and frees its slot. Returns `None` if the ticket had no place.
    ///
    /// A removed waiter that was notified has used up a wake-up. The caller decides whether it
    /// acted on it; if not, the caller notifies the next waiter. A ticket that was suspended also
    /// counts as notified, so the caller checks first that there is something to wake for.
    pub(crate) fn remove(&mut self, ticket: &mut WaitTicket) -> Option<Removed> {
        ticket.registered = false;
        // Before the slot is freed: another ticket may receive the same index at once.
        let at = ticket.place.take()?;
        let waker = self.unlink(at);
        self.slots.remove(at);
        Some(Removed { notified: waker.is_none(), waker })
    }

    /// Notifies the first waiter of any group and returns its waker, for the caller to wake after
    /// unlocking. Returns `None` if no waiter is in the FIFO.
    #[inline]
    pub(crate) fn notify_first(&mut self) -> Option<Waker> {
        if self.waiting != 1 {
            return if self.head == NONE { None } else { self.unlink(self.head as usize) };
        }
        // The list is empty afterwards: no neighbour's link changes.
        let slot = &mut self.slots[self.head as usize];
        (self.head, self.tail, self.waiting) = (NONE, NONE, 0);
        match core::mem::replace(slot, Waiter::Notified) {
            Waiter::Waiting { waker, .. } => Some(waker),
            Waiter::Notified => None,
        }
    }

    /// Notifies the first waiter of `group` and returns its waker, for the caller to wake after
    /// unlocking. Returns `None` if no waiter of the group is in the FIFO.
    pub(crate) fn notify_one(&mut self, group: usize) -> Option<Waker> {
        let mut at = self.head;
        while at != NONE {
            let Waiter::Waiting { group: of, next, .. } = &self.slots[at as usize] else {
                unreachable!("notified waiters are not linked")
            };
            if *of == group as u32 {
                return self.unlink(at as usize);
            }
            at = *next;
        }
        None
    }

    /// Notifies all waiters, in order, if the empty `batch` has room for them. Returns whether it has.
    #[inline]
    pub(crate) fn notify_all(&mut self, batch: &mut WakeBatch) -> bool {
        if self.waiting > WakeBatch::SIZE {
            return false;
        }
        let mut at = self.head;
        (self.head, self.tail, self.waiting) = (NONE, NONE, 0);
        // No link is written: the slots that the old ones lead to are notified too.
        while at != NONE {
            let slot = core::mem::replace(&mut self.slots[at as usize], Waiter::Notified);
            let Waiter::Waiting { waker, next, .. } = slot else {
                unreachable!("notified waiters are not linked")
            };
            at = next;
            batch.wakers.push(waker);
        }
        true
    }

    /// Notifies all waiters whose group `pick` accepts, in order, until `batch` is full. Returns
    /// whether it stopped because the batch was full.
    ///
    /// A notified waiter's neighbours are linked once, at the next waiter that stays: where all are
    /// notified, each slot is changed once and no link is written.
    pub(crate) fn notify_where(
        &mut self,
        batch: &mut WakeBatch,
        mut pick: impl FnMut(usize) -> bool,
    ) -> bool {
        let (mut at, mut before) = (self.head, NONE);
        // Before `pick`, which may record that it accepted the waiter: a waiter that has no room in
        // this batch must be offered again in the next one.
        while at != NONE && !batch.is_full() {
            let slot = &mut self.slots[at as usize];
            let Waiter::Waiting { group, next, .. } = slot else {
                unreachable!("notified waiters are not linked")
            };
            let (here, next) = (at, *next);
            at = next;
            if !pick(*group as usize) {
                self.link(before, here);
                before = here;
            } else if let Waiter::Waiting { waker, .. } = core::mem::replace(slot, Waiter::Notified)
            {
                self.waiting -= 1;
                batch.wakers.push(waker);
            }
        }
        self.link(before, at);
        at != NONE
    }

    /// None → Waiting, at the end of the FIFO: a new waiter. Returns its place.
    #[cold]
    fn link_last(&mut self, group: usize, waker: Waker) -> usize {
        let last = self.tail;
        let waiter = Waiter::Waiting { waker, group: group as u32, prev: last, next: NONE };
        let at = self.slots.insert(waiter);
        self.link_between(last, at as Link, NONE);
        at
    }

    /// Makes the new waiter `at` the neighbour of two others, or the first, or the last. Its own links
    /// are set already.
    #[inline]
    fn link_between(&mut self, before: Link, at: Link, after: Link) {
        match before {
            NONE => self.head = at,
            before => self.set_next(before, at),
        }
        match after {
            NONE => self.tail = at,
            after => self.set_prev(after, at),
        }
        self.waiting += 1;
    }

    /// Waiting → Notified. Returns the waker, or `None` if the waiter was notified already.
    fn unlink(&mut self, at: usize) -> Option<Waker> {
        // The slot changes first: its links are then owned, and the neighbours' slots can be
        // borrowed.
        let Waiter::Waiting { waker, prev, next, .. } =
            core::mem::replace(&mut self.slots[at], Waiter::Notified)
        else {
            return None;
        };
        self.link(prev, next);
        self.waiting -= 1;
        Some(waker)
    }

    /// Makes two slots neighbours. Instead of the first one, [`NONE`] means the beginning of the
    /// FIFO; instead of the second one, its end.
    fn link(&mut self, before: Link, after: Link) {
        match before {
            NONE => self.head = after,
            before => self.set_next(before, after),
        }
        match after {
            NONE => self.tail = before,
            after => self.set_prev(after, before),
        }
    }

    /// Changes the successor of a linked slot.
    fn set_next(&mut self, at: Link, to: Link) {
        if let Waiter::Waiting { next, .. } = &mut self.slots[at as usize] {
            *next = to;
        }
    }

    /// Changes the predecessor of a linked slot.
    fn set_prev(&mut self, at: Link, to: Link) {
        if let Waiter::Waiting { prev, .. } = &mut self.slots[at as usize] {
            *prev = to;
        }
    }
}

/// Wakers that one lock section hands out. To wake more, [`wake_batches`] locks again.
///
/// A batch holds 32 wakers on the stack, so that waking allocates nothing. Waiters that register
/// between two rounds of the loop are notified too, unless `pick` of [`WaitList::notify_where`]
/// excludes them.
///
/// Wakers are user code. One that panics keeps no other waiter asleep: the batch catches the panic
/// and resumes it when the batch is dropped, after the last waker.
#[derive(Default)]
pub(crate) struct WakeBatch {
    /// The wakers of the waiters that were notified in this round.
    wakers: ArrayVec<Waker, { WakeBatch::SIZE }>,
    /// The first panic of a waker, in any round.
    panic: Option<Caught>,
}

impl WakeBatch {
    /// The number of wakers that a batch holds.
    pub(crate) const SIZE: usize = 32;

    /// Whether the batch can hold no further waker before [`wake_all`](Self::wake_all).
    fn is_full(&self) -> bool {
        self.wakers.is_full()
    }

    /// Adds a waker, if there is one.
    ///
    /// # Panics
    ///
    /// If the batch is full. One waker always fits at the beginning of a round.
    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    /// Wakes all wakers of the batch and empties it. The caller must hold no lock: a waker may poll
    /// its task at once, and the task may use the same record.
    ///
    /// `is_last`: no batch follows.
    #[inline]
    fn wake_all(&mut self, is_last: bool) {
        // The most common batch. A panic of the only waker needs no catch: no other waiter is asleep
        // because of it.
        if is_last && self.wakers.len() == 1 && self.panic.is_none() {
            return wake(self.wakers.pop());
        }
        self.wake_several();
    }

    /// [`wake_all`](Self::wake_all) where one waker may panic before another is woken.
    #[inline(never)]
    fn wake_several(&mut self) {
        let Self { wakers, panic, .. } = self;
        let mut wakers = wakers.drain(..);
        while wakers.len() > 0 {
            // One catch for all of them: the likely case is that none panics.
            let outcome = Caught::by(|| wakers.by_ref().for_each(Waker::wake));
            // A second panic would end the process: the first one is enough.
            *panic = panic.take().or(outcome.err());
        }
    }
}

/// Resumes the first panic, now that every waiter has been woken.
impl Drop for WakeBatch {
    #[inline]
    fn drop(&mut self) {
        if let Some(panic) = self.panic.take() {
            panic.resume();
        }
    }
}

/// Wakes batch after batch: `fill` locks, fills the batch, unlocks, and returns whether there are
/// more waiters to notify. The caller must hold no lock.
#[inline]
pub(crate) fn wake_batches(mut fill: impl FnMut(&mut WakeBatch) -> bool) {
    let mut batch = WakeBatch::default();
    loop {
        let more = fill(&mut batch);
        batch.wake_all(!more);
        if !more {
            break;
        }
    }
}

/// Wakes one waker, if there is one. The caller must hold no lock.
///
/// A panic of the waker is the caller's, unless its thread unwinds another panic already: two would
/// end the process.
#[inline]
pub(crate) fn wake(waker: Option<Waker>) {
    let Some(waker) = waker else { return };
    if !is_unwinding() {
        waker.wake();
    } else if let Err(panic) = Caught::by(|| waker.wake()) {
        panic.resume();
    }
}

#[cfg(all(test, not(aimdb_loom)))]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn waiting_groups(list: &mut WaitList) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut batch = WakeBatch::default();
        list.notify_where(&mut batch, |group| {
            seen.push(group);
            false
        });
        seen
    }

    fn register(list: &mut WaitList, group: usize) -> WaitTicket {
        let mut ticket = WaitTicket::default();
        list.register(&mut ticket, group, Waker::noop().clone());
        ticket
    }

    #[test]
    fn waiters_are_notified_in_the_order_they_came() {
        let mut list = WaitList::new();
        for group in [3, 1, 2] {
            register(&mut list, group);
        }
        assert_eq!(waiting_groups(&mut list), [3, 1, 2]);
    }

    #[test]
    fn one_in_the_middle_leaves_without_disturbing_the_others() {
        let mut list = WaitList::new();
        register(&mut list, 1);
        let mut middle = register(&mut list, 2);
        register(&mut list, 3);
        let removed = list.remove(&mut middle).unwrap();
        assert!(!removed.notified);
        assert_eq!(waiting_groups(&mut list), [1, 3]);
    }

    #[test]
    fn a_notified_waiter_that_leaves_says_so() {
        let mut list = WaitList::new();
        let mut ticket = register(&mut list, 7);
        assert!(list.notify_one(7).is_some());
        assert_eq!(list.waiting(), 0);
        assert!(list.remove(&mut ticket).unwrap().notified);
    }

    #[test]
    fn a_notified_waiter_may_wait_again_in_the_same_slot() {
        let mut list = WaitList::new();
        let mut ticket = register(&mut list, 7);
        list.notify_one(7);
        list.register(&mut ticket, 7, Waker::noop().clone());
        assert_eq!(list.waiting(), 1);
        assert!(!list.remove(&mut ticket).unwrap().notified);
    }

    #[test]
    fn a_full_batch_asks_for_another_round() {
        let mut list = WaitList::new();
        for _ in 0..40 {
            register(&mut list, 0);
        }
        let mut batch = WakeBatch::default();
        assert!(list.notify_where(&mut batch, |_| true));
        batch.wakers.clear();
        assert!(!list.notify_where(&mut batch, |_| true));
        assert_eq!(batch.wakers.len(), 8);
    }

    /// A step of the model: the waiter by its index, the group by its number.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Register(usize),
        Remove(usize),
        Suspend(usize),
        NotifyFirst,
        NotifyAll,
        NotifyOne(usize),
        /// Those whose bit is set.
        NotifyWhere(u8),
    }

    const GROUPS: usize = 4;
    const WAITERS: usize = 80;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..WAITERS).prop_map(Step::Register),
            1 => (0..WAITERS).prop_map(Step::Remove),
            2 => (0..WAITERS).prop_map(Step::Suspend),
            2 => Just(Step::NotifyFirst),
            1 => Just(Step::NotifyAll),
            1 => (0..GROUPS).prop_map(Step::NotifyOne),
            1 => (0..1_u8 << GROUPS).prop_map(Step::NotifyWhere),
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        /// The model is a plain queue of the waiting indices: a new one and one that was suspended at the end, one that
        /// was notified at the front.
        #[test]
        fn a_list_follows_its_model(steps in steps()) {
            let mut list = WaitList::new();
            let mut tickets: Vec<_> = (0..WAITERS).map(|_| WaitTicket::default()).collect();
            let mut fifo = VecDeque::new();
            for step in steps {
                match step {
                    Step::Register(waiter) => {
                        let is_new = !tickets[waiter].is_registered();
                        list.register(&mut tickets[waiter], waiter % GROUPS, Waker::noop().clone());
                        match fifo.contains(&waiter) {
                            true => {}
                            false if is_new => fifo.push_back(waiter),
                            false => fifo.push_front(waiter),
                        }
                    }
                    Step::Remove(waiter) => {
                        let notified = list.remove(&mut tickets[waiter]).map(|removed| removed.notified);
                        let before = fifo.len();
                        fifo.retain(|other| *other != waiter);
                        prop_assert_eq!(notified.unwrap_or(false), notified.is_some() && fifo.len() == before);
                    }
                    Step::Suspend(waiter) => {
                        // As its owner, which knows that it was notified.
                        if !fifo.contains(&waiter) {
                            tickets[waiter].suspend();
                        }
                    }
                    Step::NotifyFirst => {
                        prop_assert_eq!(list.notify_first().is_some(), fifo.pop_front().is_some());
                    }
                    Step::NotifyAll => {
                        let mut batch = WakeBatch::default();
                        let fits = list.notify_all(&mut batch);
                        prop_assert_eq!(fits, fifo.len() <= WakeBatch::SIZE);
                        prop_assert_eq!(batch.wakers.len(), if fits { fifo.len() } else { 0 });
                        if fits {
                            fifo.clear();
                        }
                        batch.wakers.clear();
                    }
                    Step::NotifyOne(group) => {
                        let first = fifo.iter().position(|waiter| waiter % GROUPS == group);
                        prop_assert_eq!(list.notify_one(group).is_some(), first.is_some());
                        first.map(|first| fifo.remove(first));
                    }
                    Step::NotifyWhere(groups) => {
                        let mut batch = WakeBatch::default();
                        let more = list.notify_where(&mut batch, |group| groups & 1 << group != 0);
                        let mut left = WakeBatch::SIZE;
                        let mut rest = VecDeque::new();
                        let mut full = false;
                        for waiter in core::mem::take(&mut fifo) {
                            full |= left == 0;
                            match !full && groups & 1 << (waiter % GROUPS) != 0 {
                                true => left -= 1,
                                false => rest.push_back(waiter),
                            }
                        }
                        fifo = rest;
                        prop_assert_eq!((more, batch.wakers.len()), (full, WakeBatch::SIZE - left));
                        batch.wakers.clear();
                    }
                }
                prop_assert_eq!(list.waiting(), fifo.len());
                let groups: Vec<_> = fifo.iter().map(|waiter| waiter % GROUPS).collect();
                prop_assert_eq!(waiting_groups(&mut list), groups);
            }
        }
    }
}
