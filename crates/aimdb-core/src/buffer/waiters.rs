//! The wait list: a FIFO of wakers in which every waiter keeps its place until it is done or
//! dropped.
//!
//! The states of a waiter, and the function that makes each transition:
//!
//! ```text
//!            register                    notify_*                 remove
//!   (none) ───────────▶ Waiting(waker) ───────────▶ Notified ───────────▶ (none)
//!              ▲                                       │
//!              └────────────── register ───────────────┘   (woken, found nothing, waits again)
//! ```
//!
//! A notified waiter has left the FIFO but keeps its slot. If it is dropped before it was polled,
//! [`WaitList::remove`] reports that ([`Removed::notified`]), and the caller passes the wake-up on.
//! No function here calls user code: wakers are moved in and out, and the holder of the lock wakes
//! and drops them after unlocking.

use core::task::Waker;

use arrayvec::ArrayVec;

use crate::panic::Caught;

/// The place of a waiter in a wait list; `None` while it does not wait.
type Place = Option<usize>;

/// A wait: the place of one waiter in a wait list.
///
/// It belongs to one record, [`WaitQueue`](crate::wait::WaitQueue) or similar, and to one task or
/// thread. Its owner must give it back with `cancel_wait` when it gives up; a `poll_*` that
/// returned `Ready` has done so already.
#[derive(Debug, Default)]
pub struct WaitTicket {
    place: Place,
    /// The owner has registered and has not been ready since, so the list may hold its waker.
    registered: bool,
}

impl WaitTicket {
    /// Whether the ticket has a place in a list.
    #[inline]
    pub(crate) fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// Ends the wait and keeps the place for the next one. The waiter must not be in the FIFO.
    #[inline]
    pub(crate) fn suspend(&mut self) {
        self.registered = false;
    }

    /// Whether the list may hold the owner's waker: a hint that saves a lock.
    #[inline]
    pub(crate) fn is_registered(&self) -> bool {
        self.registered
    }
}

enum Waiter {
    Waiting { waker: Waker, group: usize, prev: Place, next: Place },
    Notified { group: usize },
}

/// The result of [`WaitList::remove`].
pub(crate) struct Removed {
    /// The waiter was notified and did not use the wake-up.
    pub(crate) notified: bool,
    /// For the caller to drop after unlocking.
    pub(crate) waker: Option<Waker>,
}

/// A FIFO of waiters. The waiters of one `group` wait for the same value.
#[derive(Default)]
pub(crate) struct WaitList {
    slots: slab::Slab<Waiter>,
    head: Place,
    tail: Place,
    waiting: usize,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self { slots: slab::Slab::new(), head: None, tail: None, waiting: 0 }
    }

    /// Allocates slots for this many waiters, so that their waits allocate nothing.
    pub(crate) fn reserve(&mut self, waiters: usize) {
        self.slots.reserve(waiters.saturating_sub(self.slots.len()));
    }

    /// The number of waiters that have not been notified.
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

    /// Adds a new waiter at the end, returns one that was notified to the front, and replaces the
    /// waker of one that still waits. Returns the replaced waker, for the caller to drop after
    /// unlocking.
    pub(crate) fn register(
        &mut self,
        ticket: &mut WaitTicket,
        group: usize,
        waker: Waker,
    ) -> Option<Waker> {
        ticket.registered = true;
        match ticket.place {
            Some(at) => match &mut self.slots[at] {
                Waiter::Waiting { waker: old, .. } => Some(core::mem::replace(old, waker)),
                Waiter::Notified { .. } => {
                    self.link_first(at, group, waker);
                    None
                }
            },
            None => {
                let at = self.slots.insert(Waiter::Notified { group });
                self.link_last(at, group, waker);
                ticket.place = Some(at);
                None
            }
        }
    }

    /// Ends a wait.
    pub(crate) fn remove(&mut self, ticket: &mut WaitTicket) -> Option<Removed> {
        ticket.registered = false;
        let at = ticket.place.take()?;
        let waker = self.unlink(at);
        self.slots.remove(at);
        Some(Removed { notified: waker.is_none(), waker })
    }

    /// Notifies the first waiter of `group` and returns its waker.
    pub(crate) fn notify_one(&mut self, group: usize) -> Option<Waker> {
        let mut at = self.head;
        while let Some(here) = at {
            match &self.slots[here] {
                Waiter::Waiting { group: g, .. } if *g == group => return self.unlink(here),
                Waiter::Waiting { next, .. } => at = *next,
                Waiter::Notified { .. } => unreachable!("notified waiters are not linked"),
            }
        }
        None
    }

    /// Notifies all waiters whose group `pick` accepts, in order, until `batch` is full. Returns
    /// whether it stopped because the batch was full.
    pub(crate) fn notify_where(
        &mut self,
        batch: &mut WakeBatch,
        mut pick: impl FnMut(usize) -> bool,
    ) -> bool {
        let mut at = self.head;
        while let Some(here) = at {
            if batch.is_full() {
                return true;
            }
            let Waiter::Waiting { group, next, .. } = &self.slots[here] else {
                unreachable!("notified waiters are not linked")
            };
            at = *next;
            if pick(*group) {
                batch.extend(self.unlink(here));
            }
        }
        false
    }

    fn link_last(&mut self, at: usize, group: usize, waker: Waker) {
        self.slots[at] = Waiter::Waiting { waker, group, prev: self.tail, next: None };
        match self.tail {
            Some(last) => self.set_next(last, Some(at)),
            None => self.head = Some(at),
        }
        self.tail = Some(at);
        self.waiting += 1;
    }

    fn link_first(&mut self, at: usize, group: usize, waker: Waker) {
        self.slots[at] = Waiter::Waiting { waker, group, prev: None, next: self.head };
        match self.head {
            Some(first) => self.set_prev(first, Some(at)),
            None => self.tail = Some(at),
        }
        self.head = Some(at);
        self.waiting += 1;
    }

    /// Waiting → Notified. `None` if it was notified already.
    fn unlink(&mut self, at: usize) -> Option<Waker> {
        let group = match self.slots[at] {
            Waiter::Waiting { group, .. } | Waiter::Notified { group } => group,
        };
        let Waiter::Waiting { waker, prev, next, .. } =
            core::mem::replace(&mut self.slots[at], Waiter::Notified { group })
        else {
            return None;
        };
        match prev {
            Some(before) => self.set_next(before, next),
            None => self.head = next,
        }
        match next {
            Some(after) => self.set_prev(after, prev),
            None => self.tail = prev,
        }
        self.waiting -= 1;
        Some(waker)
    }

    fn set_next(&mut self, at: usize, to: Place) {
        if let Waiter::Waiting { next, .. } = &mut self.slots[at] {
            *next = to;
        }
    }

    fn set_prev(&mut self, at: usize, to: Place) {
        if let Waiter::Waiting { prev, .. } = &mut self.slots[at] {
            *prev = to;
        }
    }
}

/// Wakers that one lock section hands out. To wake more, the caller locks again:
///
/// ```text
/// loop { lock; more = fill the batch; unlock; batch.wake_all(); if !more { break } }
/// ```
///
/// Wakers are user code. One that panics keeps no other waiter asleep: the batch catches the panic
/// and resumes it when the batch is dropped, after the last waker.
#[derive(Default)]
pub(crate) struct WakeBatch {
    wakers: ArrayVec<Waker, 32>,
    panic: Option<Caught>,
}

impl WakeBatch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn is_full(&self) -> bool {
        self.wakers.is_full()
    }

    /// Adds a waker. The batch must not be full.
    pub(crate) fn extend(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    /// Wakes all wakers of the batch. The caller must hold no lock.
    pub(crate) fn wake_all(&mut self) {
        for waker in self.wakers.drain(..) {
            let outcome = Caught::by(|| waker.wake());
            // A second panic would end the process: the first one is enough.
            self.panic = self.panic.take().or(outcome.err());
        }
    }
}

impl Drop for WakeBatch {
    fn drop(&mut self) {
        if let Some(panic) = self.panic.take() {
            panic.resume();
        }
    }
}

/// Wakes one waker, if there is one. The caller must hold no lock.
pub(crate) fn wake(waker: Option<Waker>) {
    waker.into_iter().for_each(Waker::wake);
}

#[cfg(all(test, not(aimdb_loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn waiting_groups(list: &mut WaitList) -> Vec<usize> {
        let mut seen = Vec::new();
        let mut batch = WakeBatch::new();
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
        let mut batch = WakeBatch::new();
        assert!(list.notify_where(&mut batch, |_| true));
        batch.wakers.clear();
        assert!(!list.notify_where(&mut batch, |_| true));
        assert_eq!(batch.wakers.len(), 8);
    }
}
