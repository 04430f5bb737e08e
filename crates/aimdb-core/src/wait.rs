//! Waiting beside the buffers: a line of wakers for a condition of one's own, and a token that ends waits.
//!
//! The line is the buffers' own `WaitList`: tasks and parked threads wait in it alike, in the order they came. No
//! waker is cloned, woken or dropped under its lock, and a waker that panics keeps no other waiter asleep.

use core::fmt;
use core::task::Waker;

use crate::buffer::{WaitList, WaitTicket, wake_in_batches};
use crate::sync::Lock;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};

/// A line of tasks and threads that wait until a condition holds, which another thread makes true.
///
/// The waiter puts itself in line and looks at the condition once more before it sleeps; the other side makes the
/// condition true and then notifies. Both sides take the line's lock, so either the second look sees the change or the
/// notification finds the waiter.
pub struct WaitQueue {
    list: Lock<WaitList>,
}

impl WaitQueue {
    /// An empty line.
    #[must_use]
    pub fn new() -> Self {
        Self { list: Lock::new(WaitList::new()) }
    }

    /// Puts the owner of `ticket` in line, or renews its waker if it is in line already. The caller must look at its
    /// condition once more before it sleeps.
    pub fn register(&self, ticket: &mut WaitTicket, waker: &Waker) {
        let waker = waker.clone();
        let _replaced = self.list.with(|list| list.register(&mut ticket.0, 0, waker));
    }

    /// Takes the owner of `ticket` out of the line. `true` if it had been notified since it was put in: if the
    /// notification was for one waiter and the owner makes no use of it, the next in line must have it.
    pub fn cancel_wait(&self, ticket: &mut WaitTicket) -> bool {
        if ticket.0.is_none() {
            return false;
        }
        let removed = self.list.with(|list| list.remove(&mut ticket.0));
        removed.is_some_and(|removed| removed.notified)
    }

    /// Wakes the first in line.
    pub fn notify_one(&self) {
        if let Some(waker) = self.list.with(|list| list.notify_one(0)) {
            waker.wake();
        }
    }

    /// Wakes all in line.
    pub fn notify_all(&self) {
        wake_in_batches(|wake| self.list.with(|list| list.notify_where(wake, |_| true)));
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

/// Ends the waits of any number of calls, from any thread: those that wait now, and those that would have to, until
/// [`reset`](Self::reset). A call that need not wait does its work all the same.
#[derive(Default)]
pub struct CancelToken {
    /// Odd while cancelled. It only grows, so that a wait sees a cancellation that has been reset by now.
    turns: Turns,
    waiting: WaitQueue,
}

struct Turns(AtomicUsize);

impl Default for Turns {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl CancelToken {
    /// Not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends every wait with `Cancelled`, from now on.
    pub fn cancel(&self) {
        self.turn_to(1);
        self.waiting.notify_all();
    }

    /// Lets calls wait again.
    pub fn reset(&self) {
        self.turn_to(0);
    }

    /// Whether waits are ended now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.turns() % 2 == 1
    }

    fn turn_to(&self, parity: usize) {
        let turn = |turns: usize| (turns % 2 != parity).then_some(turns.wrapping_add(1));
        let _was_so = self.turns.0.fetch_update(AcqRel, Acquire, turn);
    }

    fn turns(&self) -> usize {
        self.turns.0.load(Acquire)
    }

    /// Whether the wait of `ticket` has been ended since it began, also if that has been reset by now. If not, `waker`
    /// is woken when it is.
    pub fn is_cancelled_since(&self, ticket: &mut CancelTicket, waker: &Waker) -> bool {
        let began = match ticket.began {
            Some(began) => began,
            None => *ticket.began.insert(self.turns()),
        };
        if began % 2 == 0 && self.turns() == began {
            self.waiting.register(&mut ticket.place, waker);
        }
        began % 2 == 1 || self.turns() != began
    }

    /// Ends the wait of `ticket`, which may be used for another one.
    pub fn cancel_wait(&self, ticket: &mut CancelTicket) {
        self.waiting.cancel_wait(&mut ticket.place);
        ticket.began = None;
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

/// A wait that a [`CancelToken`] can end.
#[derive(Debug, Default)]
pub struct CancelTicket {
    place: WaitTicket,
    /// The turn in which the wait began.
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

    /// A waker that remembers, and panics if it is told to.
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
            assert!(outcome.is_err(), "the caller is told of the panic");
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
