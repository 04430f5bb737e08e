//! Leave to hand a message to the client, of all links of one connector together.
//!
//! ```text
//!  link ─ takes a value ─ waits for a permit ─ publishes ─ waits for the notice ─ gives the permit back
//!         └─ in hand ───────────────────────┘ └─ in the window ──────────────────┘
//! ```
//!
//! There are as many permits as the client has identifiers, so no message waits for one inside the client. Those that do
//! are a trap: when the connection breaks and breaks again, the client puts messages that have an identifier behind others
//! that need one, and waits for ever.
//!
//! A value is taken first, so a link with nothing to send keeps no permit from the others. Links are served in the order
//! in which they asked.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Goes with a message until its end, however often it is sent.
#[derive(Debug)]
pub(crate) struct Permit(
    #[allow(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit,
);

#[derive(Clone, Debug)]
pub(crate) struct Permits {
    free: Arc<Semaphore>,
    /// Permits that are out, or on their way back, and shall not be given out again.
    owed: Arc<AtomicUsize>,
}

impl Permits {
    pub(crate) fn new(count: u16) -> Self {
        Self { free: Arc::new(Semaphore::new(count.into())), owed: Arc::default() }
    }

    /// Sets from `before` to `now` how many there are. If more are out, no new one is until so many have come back.
    ///
    /// Only the driver does this, so nobody does it at the same time.
    pub(crate) fn resize(&self, before: u16, now: u16) {
        let less = usize::from(before.saturating_sub(now));
        let more = usize::from(now.saturating_sub(before));
        self.owed.fetch_add(less - self.free.forget_permits(less), Relaxed);
        let forgiven = (0..more).take_while(|_| self.pay()).count();
        self.free.add_permits(more - forgiven);
    }

    /// One, if one is free and nobody waits for it.
    pub(crate) fn try_get(&self) -> Option<Permit> {
        loop {
            let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if !self.pay() {
                return Some(Permit(permit));
            }
            permit.forget();
        }
    }

    /// One, in its turn. The turn is the future's: whoever drops it stands in line anew.
    pub(crate) async fn get(self) -> Permit {
        loop {
            let Ok(permit) = Arc::clone(&self.free).acquire_owned().await else {
                unreachable!("it is never closed")
            };
            if !self.pay() {
                return Permit(permit);
            }
            permit.forget();
        }
    }

    /// Whether one that is there has to go, and is taken off.
    fn pay(&self) -> bool {
        self.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Permit>>>;

    fn all(permits: &Permits) -> Vec<Permit> {
        std::iter::from_fn(|| permits.try_get()).collect()
    }

    #[test]
    fn no_new_permit_is_given_while_more_are_out_than_there_are() {
        let permits = Permits::new(10);
        let mut out = all(&permits);
        assert_eq!(out.len(), 10);
        permits.resize(10, 3);
        for _ in 0..7 {
            out.pop();
            assert!(permits.try_get().is_none(), "{} are out", out.len());
        }
        out.pop();
        out.extend(all(&permits));
        assert_eq!(out.len(), 3);
        // From what is still out as well as from what is free.
        out.truncate(2);
        permits.resize(3, 1);
        permits.resize(1, 4);
        assert_eq!(all(&permits).len(), 2);
        out.clear();
        assert_eq!(all(&permits).len(), 4);
    }

    #[test]
    fn who_waits_is_served_in_turn_also_while_permits_are_taken_off() {
        let mut cx = Context::from_waker(Waker::noop());
        let permits = Permits::new(4);
        let mut out = VecDeque::from(all(&permits));
        let stand_in_line = || -> Waiting { Box::pin(permits.clone().get()) };
        let mut line = [(); 3].map(|()| stand_in_line());
        let mut turns = Vec::new();
        let mut come_back = |line: &mut [Waiting; 3], out: &mut VecDeque<Permit>| {
            out.pop_front();
            for (at, waiting) in line.iter_mut().enumerate() {
                if let Poll::Ready(permit) = waiting.as_mut().poll(&mut cx) {
                    *waiting = stand_in_line();
                    turns.push(at);
                    out.push_back(permit);
                }
            }
            assert!(permits.try_get().is_none(), "somebody else waits");
            turns.clone()
        };
        for at in 0..3 {
            assert!(come_back(&mut line, &mut out).len() <= at + 1);
        }
        assert_eq!(come_back(&mut line, &mut out), [0, 1, 2, 0]);
        permits.resize(4, 2);
        for _ in 0..2 {
            assert_eq!(come_back(&mut line, &mut out).len(), 4, "more are out than there are");
        }
        assert_eq!(out.len(), 2);
        for _ in 0..6 {
            come_back(&mut line, &mut out);
        }
        let mut turns = come_back(&mut line, &mut out).split_off(4);
        turns.truncate(6);
        turns.sort_unstable();
        assert_eq!(turns, [0, 0, 1, 1, 2, 2]);
        assert_eq!(out.len(), 2);
    }
}
