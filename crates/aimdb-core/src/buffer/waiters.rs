//! Who waits: a FIFO of wakers in which every waiter keeps its place until it is done or dropped.
//!
//! A waiter's life, and the function that makes each step:
//!
//! ```text
//!            register                    notify_*                 remove
//!   (none) ───────────▶ Waiting(waker) ───────────▶ Notified ───────────▶ (none)
//!              ▲                                       │
//!              └────────────── register ───────────────┘   (woken, found nothing, waits again)
//! ```
//!
//! A notified waiter has been taken out of the FIFO but keeps its slot, so that dropping it before it was polled
//! is noticed ([`Removed::notified`]) and its wake-up is passed on. Nothing here calls user code: wakers are moved
//! in and out, and whoever holds the lock wakes and drops them after unlocking.

use core::task::Waker;

use arrayvec::ArrayVec;

use crate::panic::catch;

/// Wakers carried out of a lock at once. Waking more takes another round under the lock.
pub(crate) type WakeBatch = ArrayVec<Waker, 32>;

/// A place in a [`WaitList`]; `None` while its owner does not wait.
pub(crate) type WaitKey = Option<usize>;

enum Waiter {
    Waiting { waker: Waker, group: usize, prev: WaitKey, next: WaitKey },
    Notified { group: usize },
}

/// What [`WaitList::remove`] took out.
pub(crate) struct Removed {
    /// It had been woken and did not come to use it.
    pub(crate) notified: bool,
    /// To be dropped outside the lock.
    pub(crate) waker: Option<Waker>,
}

/// A FIFO of waiters. Waiters of one `group` want the same value.
#[derive(Default)]
pub(crate) struct WaitList {
    slots: slab::Slab<Waiter>,
    head: WaitKey,
    tail: WaitKey,
    waiting: usize,
}

impl WaitList {
    pub(crate) const fn new() -> Self {
        Self { slots: slab::Slab::new(), head: None, tail: None, waiting: 0 }
    }

    /// Makes room for this many waiters, so that their waits allocate nothing.
    pub(crate) fn make_room_for(&mut self, waiters: usize) {
        self.slots.reserve(waiters.saturating_sub(self.slots.len()));
    }

    /// How many wait and have not been notified.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Puts a new waiter at the end, one that was notified in vain back to the front, and renews the waker of one
    /// that still waits. Returns the waker it replaced.
    pub(crate) fn register(
        &mut self,
        key: &mut WaitKey,
        group: usize,
        waker: Waker,
    ) -> Option<Waker> {
        match key.map(|at| &mut self.slots[at]) {
            Some(Waiter::Waiting { waker: old, .. }) => Some(core::mem::replace(old, waker)),
            Some(Waiter::Notified { .. }) => {
                self.link_first(key.expect("matched above"), group, waker);
                None
            }
            None => {
                let at = self.slots.insert(Waiter::Notified { group });
                self.link_last(at, group, waker);
                *key = Some(at);
                None
            }
        }
    }

    /// Ends a wait.
    pub(crate) fn remove(&mut self, key: &mut WaitKey) -> Option<Removed> {
        let at = key.take()?;
        let waker = self.unlink(at);
        self.slots.remove(at);
        Some(Removed { notified: waker.is_none(), waker })
    }

    /// Takes the waker of the first waiter of `group`.
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

    /// Takes the wakers of all waiters whose group `pick` accepts, in order, until `batch` is full.
    /// Returns whether it stopped because the batch was full.
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

    /// Waiting → Notified; `None` if it was notified already.
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

    fn set_next(&mut self, at: usize, to: WaitKey) {
        if let Waiter::Waiting { next, .. } = &mut self.slots[at] {
            *next = to;
        }
    }

    fn set_prev(&mut self, at: usize, to: WaitKey) {
        if let Waiter::Waiting { prev, .. } = &mut self.slots[at] {
            *prev = to;
        }
    }
}

/// Wakes every waker of the batch, the rest too if one of them panics.
///
/// Wakers are user code, so this runs outside the lock.
fn wake_all(batch: &mut WakeBatch) {
    struct Rest<'b>(&'b mut WakeBatch);

    impl Drop for Rest<'_> {
        fn drop(&mut self) {
            wake_in_spite_of_panics(self.0);
        }
    }

    while let Some(waker) = batch.pop_at(0) {
        let rest = Rest(batch);
        waker.wake();
        core::mem::forget(rest);
    }
}

/// For the time after a first panic, which the caller is told of. A second one would end the process.
fn wake_in_spite_of_panics(batch: &mut WakeBatch) {
    while let Some(waker) = batch.pop_at(0) {
        let _panicked_too = catch(|| waker.wake());
    }
}

/// Wakes batch after batch until `fill` says that there are no more, also if a waker panics.
pub(crate) fn wake_in_batches(mut fill: impl FnMut(&mut WakeBatch) -> bool) {
    // Not compiled anew for every `fill`.
    struct Rest<'f> {
        fill: &'f mut dyn FnMut(&mut WakeBatch) -> bool,
        more: bool,
    }

    impl Rest<'_> {
        fn wake(&mut self, wake_batch: fn(&mut WakeBatch)) {
            while self.more {
                let mut batch = WakeBatch::new();
                self.more = (self.fill)(&mut batch);
                wake_batch(&mut batch);
            }
        }
    }

    impl Drop for Rest<'_> {
        fn drop(&mut self) {
            self.wake(wake_in_spite_of_panics);
        }
    }

    Rest { fill: &mut fill, more: true }.wake(wake_all);
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

    fn register(list: &mut WaitList, group: usize) -> WaitKey {
        let mut key = None;
        list.register(&mut key, group, Waker::noop().clone());
        key
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
        let mut key = register(&mut list, 7);
        assert!(list.notify_one(7).is_some());
        assert_eq!(list.waiting(), 0);
        assert!(list.remove(&mut key).unwrap().notified);
    }

    #[test]
    fn a_notified_waiter_may_wait_again_in_the_same_slot() {
        let mut list = WaitList::new();
        let mut key = register(&mut list, 7);
        list.notify_one(7);
        list.register(&mut key, 7, Waker::noop().clone());
        assert_eq!(list.waiting(), 1);
        assert!(!list.remove(&mut key).unwrap().notified);
    }

    #[test]
    fn a_full_batch_asks_for_another_round() {
        let mut list = WaitList::new();
        for _ in 0..40 {
            register(&mut list, 0);
        }
        let mut batch = WakeBatch::new();
        assert!(list.notify_where(&mut batch, |_| true));
        batch.clear();
        assert!(!list.notify_where(&mut batch, |_| true));
        assert_eq!(batch.len(), 8);
    }
}
