//! Permits to hand a publish at QoS 1 or 2 to the client, shared by all links of one connector.
//!
//! ```text
//!  link ─ takes a value ─ waits for a permit ─ publishes ─ waits for the completion ─ returns the permit
//!         └─ awaiting permit ───────────────┘ └─ in flight ──────────────────────┘
//! ```
//!
//! There are as many permits as the client has packet identifiers, so no message waits for an identifier inside the
//! client. A message that waited there could deadlock: when the connection breaks twice in a row, the client queues
//! messages that have an identifier behind messages that need one, and waits without limit.
//!
//! A link takes its value before it requests a permit, so a link without values keeps no permit from the others. Links
//! receive permits in the order of their requests.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Belongs to one message until its completion, across retries. Dropping it returns it.
#[derive(Debug)]
pub(crate) struct Permit(
    #[allow(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit,
);

#[derive(Clone, Debug)]
pub(crate) struct Permits {
    available: Arc<Semaphore>,
    /// How many permits, in use or on their way back, are to be revoked instead of given out again.
    to_revoke: Arc<AtomicUsize>,
}

impl Permits {
    pub(crate) fn new(count: u16) -> Self {
        Self { available: Arc::new(Semaphore::new(count.into())), to_revoke: Arc::default() }
    }

    /// Changes the number of permits from `before` to `now`. If more than `now` are in use, none is given out until
    /// enough of them have returned.
    ///
    /// Only the driver calls this, so two calls never overlap.
    pub(crate) fn resize(&self, before: u16, now: u16) {
        let fewer = usize::from(before.saturating_sub(now));
        let more = usize::from(now.saturating_sub(before));
        self.to_revoke.fetch_add(fewer - self.available.forget_permits(fewer), Relaxed);
        let kept = (0..more).take_while(|_| self.take_revocation()).count();
        self.available.add_permits(more - kept);
    }

    /// A permit, if one is available and no link waits for it.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        loop {
            let permit = Arc::clone(&self.available).try_acquire_owned().ok()?;
            if !self.take_revocation() {
                return Some(Permit(permit));
            }
            permit.forget();
        }
    }

    /// Waits for a permit, in the order of the calls.
    ///
    /// # Cancel safety
    ///
    /// The queue position belongs to the future. A caller that drops the future loses the position.
    pub(crate) async fn acquire(self) -> Permit {
        loop {
            let Ok(permit) = Arc::clone(&self.available).acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            if !self.take_revocation() {
                return Permit(permit);
            }
            permit.forget();
        }
    }

    /// Takes one pending revocation. Returns `false` if there is none.
    fn take_revocation(&self) -> bool {
        self.to_revoke.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type PermitFuture = Pin<Box<dyn Future<Output = Permit>>>;

    fn acquire_all(permits: &Permits) -> Vec<Permit> {
        std::iter::from_fn(|| permits.try_acquire()).collect()
    }

    #[test]
    fn no_permit_is_given_out_while_more_are_in_use_than_there_are() {
        let permits = Permits::new(10);
        let mut in_use = acquire_all(&permits);
        assert_eq!(in_use.len(), 10);
        permits.resize(10, 3);
        for _ in 0..7 {
            in_use.pop();
            assert!(permits.try_acquire().is_none(), "{} are in use", in_use.len());
        }
        in_use.pop();
        in_use.extend(acquire_all(&permits));
        assert_eq!(in_use.len(), 3);
        // Revokes a permit in use as well as an available one.
        in_use.truncate(2);
        permits.resize(3, 1);
        permits.resize(1, 4);
        assert_eq!(acquire_all(&permits).len(), 2);
        in_use.clear();
        assert_eq!(acquire_all(&permits).len(), 4);
    }

    #[test]
    fn waiting_links_receive_permits_in_order_also_while_permits_are_revoked() {
        let mut cx = Context::from_waker(Waker::noop());
        let permits = Permits::new(4);
        let mut in_use = VecDeque::from(acquire_all(&permits));
        let request = || -> PermitFuture { Box::pin(permits.clone().acquire()) };
        let mut requests = [(); 3].map(|()| request());
        let mut granted = Vec::new();
        let mut return_one = |requests: &mut [PermitFuture; 3], in_use: &mut VecDeque<Permit>| {
            in_use.pop_front();
            for (link, future) in requests.iter_mut().enumerate() {
                if let Poll::Ready(permit) = future.as_mut().poll(&mut cx) {
                    *future = request();
                    granted.push(link);
                    in_use.push_back(permit);
                }
            }
            assert!(permits.try_acquire().is_none(), "another link waits");
            granted.clone()
        };
        for count in 0..3 {
            assert!(return_one(&mut requests, &mut in_use).len() <= count + 1);
        }
        assert_eq!(return_one(&mut requests, &mut in_use), [0, 1, 2, 0]);
        permits.resize(4, 2);
        for _ in 0..2 {
            let granted = return_one(&mut requests, &mut in_use);
            assert_eq!(granted.len(), 4, "more are in use than there are");
        }
        assert_eq!(in_use.len(), 2);
        for _ in 0..6 {
            return_one(&mut requests, &mut in_use);
        }
        let mut granted = return_one(&mut requests, &mut in_use).split_off(4);
        granted.truncate(6);
        granted.sort_unstable();
        assert_eq!(granted, [0, 0, 1, 1, 2, 2]);
        assert_eq!(in_use.len(), 2);
    }
}
