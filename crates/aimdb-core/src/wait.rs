//! Waiting outside the buffers: a wait queue for a condition of one's own, and a token that cancels waits.
//!
//! The wait list is that of the buffers: tasks and parked threads wait in it alike, first in, first out. No waker is cloned,
//! woken or dropped under its lock, and a waker that panics keeps no other waiter asleep.

use core::fmt;
use core::task::Waker;

use crate::buffer::waiters::{WaitList, WaitTicket, wake, wake_batches};
use crate::sync::Lock;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};

/// A place to wait: its waits can be cancelled.
pub trait CancelWait {
    /// Ends the wait of `ticket`, if it waits. An unused wake-up passes to the next waiter.
    fn cancel_wait(&self, ticket: &mut WaitTicket);
}

impl<W: CancelWait> CancelWait for &W {
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        W::cancel_wait(self, ticket);
    }
}

/// A wait at `on`. The drop cancels it, so that a dropped future leaves no waiter behind.
#[derive(Debug)]
pub struct WaitGuard<W: CancelWait> {
    /// Where the owner waits.
    pub on: W,
    /// The owner's wait.
    pub ticket: WaitTicket,
}

impl<W: CancelWait> WaitGuard<W> {
    /// No wait yet.
    #[must_use]
    pub fn new(on: W) -> Self {
        Self { on, ticket: WaitTicket::default() }
    }
}

impl<W: CancelWait> Drop for WaitGuard<W> {
    fn drop(&mut self) {
        self.on.cancel_wait(&mut self.ticket);
    }
}

/// The tasks and threads that wait until another thread makes a condition true.
///
/// A waiter registers and then checks its condition once more before it sleeps. The other thread makes the condition true
/// and then notifies. Both take the queue's lock, so either the waiter's check sees the change or the notification finds
/// the waiter.
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
/// use std::task::{Poll, Waker};
/// use aimdb_core::wait::{WaitGuard, WaitQueue};
///
/// let (queue, ready) = (WaitQueue::new(), AtomicBool::new(false));
/// let mut wait = WaitGuard::new(&queue);
/// let mut poll = || {
///     queue.register(&mut wait.ticket, Waker::noop());
///     if ready.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
/// };
/// assert!(poll().is_pending());
/// ready.store(true, Relaxed);
/// queue.notify_all();
/// assert!(poll().is_ready());
/// ```
pub struct WaitQueue {
    list: Lock<WaitList>,
}

impl WaitQueue {
    /// A queue without waiters.
    #[must_use]
    pub fn new() -> Self {
        Self { list: Lock::new(WaitList::new()) }
    }

    /// Registers the owner of `ticket` with `waker`, or replaces its waker. The caller must check its condition afterwards,
    /// before it sleeps.
    pub fn register(&self, ticket: &mut WaitTicket, waker: &Waker) {
        if ticket.is_registered() && self.list.with(|list| list.holds(ticket, waker)) {
            return;
        }
        let waker = waker.clone();
        let _replaced = self.list.with(|list| list.register(ticket, 0, waker));
    }

    /// Ends the wait of `ticket`. Returns `true` if it was notified since it registered: if the notification was for one
    /// waiter and the owner does not use it, the next waiter must have it.
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) -> bool {
        if !ticket.has_place() {
            return false;
        }
        let removed = self.list.with(|list| list.remove(ticket));
        removed.is_some_and(|removed| removed.notified)
    }

    /// Wakes the first waiter.
    pub fn notify_one(&self) {
        wake(self.list.with(|list| list.notify_one(0)));
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        wake_batches(|batch| self.list.with(|list| list.notify_where(batch, |_| true)));
    }
}

/// For conditions that [`notify_all`](WaitQueue::notify_all) announces: no wake-up is passed on.
impl CancelWait for WaitQueue {
    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        WaitQueue::cancel_wait(self, ticket);
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.list.with(|list| list.waiting());
        f.debug_struct("WaitQueue").field("waiting", &waiting).finish()
    }
}

/// Cancels the waits of any number of calls, from any thread.
///
/// It cancels the waits under way and later ones, until [`reset`](Self::reset). A call that need not wait is not affected.
///
/// ```
/// use aimdb_core::wait::CancelToken;
///
/// let token = CancelToken::new();
/// token.cancel();
/// assert!(token.is_cancelled());
/// token.reset();
/// assert!(!token.is_cancelled());
/// ```
#[derive(Default)]
pub struct CancelToken {
    /// Incremented by each change, odd while cancelled: a wait also notices a cancellation that was reset.
    changes: Changes,
    waiting: WaitQueue,
}

struct Changes(AtomicUsize);

impl Default for Changes {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl CancelToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every wait with `Cancelled`, from now on.
    pub fn cancel(&self) {
        self.change_to(1);
        self.waiting.notify_all();
    }

    /// Lets calls wait again.
    pub fn reset(&self) {
        self.change_to(0);
    }

    /// Whether waits are cancelled now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.changes() % 2 == 1
    }

    fn change_to(&self, parity: usize) {
        let change = |changes: usize| (changes % 2 != parity).then_some(changes.wrapping_add(1));
        // `AcqRel` pairs with the `Acquire` load in `changes`. An error means that the parity is as wanted.
        let _unchanged = self.changes.0.fetch_update(AcqRel, Acquire, change);
    }

    fn changes(&self) -> usize {
        // Pairs with `change_to`.
        self.changes.0.load(Acquire)
    }

    /// Whether the wait of `ticket` has been cancelled since it began, even if the token was reset afterwards. Otherwise
    /// `waker` is woken by the next cancellation.
    pub fn is_cancelled_since(&self, ticket: &mut CancelTicket, waker: &Waker) -> bool {
        let began = match ticket.began {
            Some(began) => began,
            None => *ticket.began.insert(self.changes()),
        };
        if began % 2 == 0 && self.changes() == began {
            self.waiting.register(&mut ticket.wait, waker);
        }
        began % 2 == 1 || self.changes() != began
    }

    /// Ends the wait of `ticket`, which can be used for another one.
    pub fn cancel_wait(&self, ticket: &mut CancelTicket) {
        self.waiting.cancel_wait(&mut ticket.wait);
        ticket.began = None;
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// A wait that a [`CancelToken`] can cancel.
#[derive(Debug, Default)]
pub struct CancelTicket {
    wait: WaitTicket,
    /// The token's changes when the wait began.
    began: Option<usize>,
}

#[cfg(all(test, not(aimdb_loom)))]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::task::Wake;
    use alloc::vec::Vec;
    use core::sync::atomic::AtomicBool;
    use core::sync::atomic::Ordering::Relaxed;

    /// A waker that records its wake-up, and panics if `panics` is set.
    #[derive(Default)]
    struct Bell {
        rung: AtomicBool,
        panics: bool,
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.rung.store(true, Relaxed);
            assert!(!self.panics, "a waker that panics");
        }
    }

    fn bells(panics: impl Fn(usize) -> bool) -> Vec<Arc<Bell>> {
        let bell = |nth| Arc::new(Bell { rung: AtomicBool::new(false), panics: panics(nth) });
        (0..80).map(bell).collect()
    }

    fn all_rang(bells: &[Arc<Bell>]) -> bool {
        bells.iter().all(|bell| bell.rung.load(Relaxed))
    }

    #[test]
    fn wakers_that_panic_leave_no_other_waiter_asleep() {
        for panics in [|nth| nth == 3, |nth| nth % 7 == 0, |_| true] {
            let (queue, bells) = (WaitQueue::new(), bells(panics));
            let mut tickets: Vec<_> = bells.iter().map(|_| WaitTicket::default()).collect();
            for (bell, ticket) in bells.iter().zip(&mut tickets) {
                queue.register(ticket, &Waker::from(Arc::clone(bell)));
            }
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.notify_all()));
            assert!(outcome.is_err(), "the caller receives the panic");
            assert!(all_rang(&bells));
        }
    }

    #[test]
    fn a_cancellation_reaches_all_waits_though_one_waker_panics() {
        let (cancel, bells) = (CancelToken::new(), bells(|nth| nth == 40));
        let mut tickets: Vec<_> = bells.iter().map(|_| CancelTicket::default()).collect();
        for (bell, ticket) in bells.iter().zip(&mut tickets) {
            assert!(!cancel.is_cancelled_since(ticket, &Waker::from(Arc::clone(bell))));
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cancel.cancel()));
        assert!(outcome.is_err() && all_rang(&bells));
        cancel.reset();
        for (bell, ticket) in bells.iter().zip(&mut tickets) {
            assert!(cancel.is_cancelled_since(ticket, &Waker::from(Arc::clone(bell))));
        }
    }

    /// A waker whose clone and drop use the token that it waits for.
    struct Entangled(Arc<CancelToken>);

    impl Wake for Entangled {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Entangled {
        fn drop(&mut self) {
            self.0.cancel();
            self.0.reset();
        }
    }

    #[test]
    fn a_waker_may_use_the_line_that_drops_it() {
        let cancel = Arc::new(CancelToken::new());
        let mut ticket = CancelTicket::default();
        for _ in 0..3 {
            let waker = Waker::from(Arc::new(Entangled(Arc::clone(&cancel))));
            cancel.is_cancelled_since(&mut ticket, &waker);
        }
        cancel.cancel_wait(&mut ticket);
        let waker = Waker::from(Arc::new(Entangled(Arc::clone(&cancel))));
        cancel.is_cancelled_since(&mut ticket, &waker);
        cancel.cancel_wait(&mut ticket);
    }

    #[test]
    fn one_notification_wakes_the_first_and_says_so_when_it_leaves() {
        let (queue, bells) = (WaitQueue::new(), bells(|_| false));
        let (mut first, mut second) = (WaitTicket::default(), WaitTicket::default());
        queue.register(&mut first, &Waker::from(Arc::clone(&bells[0])));
        queue.register(&mut second, &Waker::from(Arc::clone(&bells[1])));
        queue.notify_one();
        assert!(bells[0].rung.load(Relaxed) && !bells[1].rung.load(Relaxed));
        assert!(
            queue.cancel_wait(&mut first)
                && !queue.cancel_wait(&mut second)
                && !queue.cancel_wait(&mut second)
        );
    }
}
