//! Waiting for the first of several consumers.

use std::task::{Context, Poll, Waker};

use aimdb_core::wait::{CancelTicket, CancelToken};

use crate::error::GetError;
use crate::limit::WaitLimit;
use crate::park;
use crate::queued::QueuedTicket;

/// A consumer of any type, or a [`CancelToken`], as a source of readiness.
///
/// [`wait_any`] waits for several of them. An event loop or an executor polls one with a waker of its own:
///
/// 1. Keep one [`WaitTicket`] for each wait.
/// 2. Call [`poll_ready`](Self::poll_ready) until it returns `Ready`, then read with `try_get`.
/// 3. To stop earlier, call [`cancel_wait`](Self::cancel_wait) with the ticket.
///
/// ```
/// # use std::{sync::Arc, task::{Context, Poll, Waker}};
/// # use aimdb_core::{AimDbBuilder, BufferCfg};
/// # use aimdb_tokio_adapter::TokioAdapter;
/// use aimdb_sync::{Attach, WaitTicket, Waitable};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
/// # builder.configure::<u32>("level", |reg| { reg.buffer(BufferCfg::SingleLatest); });
/// # let handle = builder.attach()?;
/// # let producer = handle.producer::<u32>("level")?;
/// let consumer = handle.consumer::<u32>("level")?;
/// let mut ticket = WaitTicket::default();
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(consumer.poll_ready(&mut ticket, &mut cx), Poll::Pending);
/// producer.set(1)?;
/// assert_eq!(consumer.poll_ready(&mut ticket, &mut cx), Poll::Ready(()));
/// assert_eq!(consumer.try_get(), Ok(1));
/// # Ok(())
/// # }
/// ```
pub trait Waitable {
    /// Ready when there is a value or a lag to take, or when the record is drained; for a token, when it is cancelled.
    ///
    /// It takes nothing, so another thread that shares the consumer may take the value first. While it returns `Pending`,
    /// the ticket holds a place in the wait list, and `cx`'s waker is woken at the next change; the caller then polls
    /// again. `Ready` gives the ticket's place up.
    ///
    /// `poll_ready` may wake `cx`'s waker before it returns `Pending`, for instance while another reader's `Clone` takes long.
    /// So the caller must not hold a lock that the waker takes.
    fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()>;

    /// Gives the ticket's place in the wait list up, before it was ready.
    ///
    /// A wake-up that the ticket has received and not used is passed to the next waiter. On a ticket without a place it
    /// does nothing.
    fn cancel_wait(&self, ticket: &mut WaitTicket);

    /// Whether a wait on the calling thread would block the runtime thread that has to end the wait.
    fn would_deadlock(&self) -> bool;
}

/// A place in the wait list of one consumer or [`CancelToken`].
///
/// A ticket belongs to one [`Waitable`]. An owner that stops waiting must give the place up with
/// [`cancel_wait`](Waitable::cancel_wait); a `poll_ready` that returns `Ready` has done so already. The default ticket has no
/// place.
#[derive(Debug, Default)]
pub struct WaitTicket {
    pub(crate) direct: aimdb_core::buffer::WaitTicket,
    pub(crate) queued: QueuedTicket,
    cancel: CancelTicket,
}

/// Ready when the token is cancelled, also if it has been reset since the wait began. In a [`wait_any`] it
/// stops the wait for the consumers.
impl Waitable for CancelToken {
    fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cancelled_since(&mut ticket.cancel, cx.waker()) {
            Waitable::cancel_wait(self, ticket);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn cancel_wait(&self, ticket: &mut WaitTicket) {
        CancelToken::cancel_wait(self, &mut ticket.cancel);
    }

    fn would_deadlock(&self) -> bool {
        false
    }
}

/// One wait for one [`Waitable`]. Dropping it gives its place in the wait list up.
pub(crate) struct Wait<'w, W: Waitable> {
    on: &'w W,
    pub(crate) ticket: WaitTicket,
}

impl<'w, W: Waitable> Wait<'w, W> {
    pub(crate) fn new(on: &'w W) -> Self {
        Self { on, ticket: WaitTicket::default() }
    }
}

impl<W: Waitable> Drop for Wait<'_, W> {
    fn drop(&mut self) {
        self.on.cancel_wait(&mut self.ticket);
    }
}

/// Tickets that [`wait_any`] keeps on the stack. More consumers than this make it allocate.
const TICKETS_ON_STACK: usize = 16;

/// Waits until one of `consumers` is ready, and returns its index: the first in their order.
///
/// A consumer is ready when it has something to take or is drained. `wait_any` takes nothing, so another thread that shares
/// the consumer may take the value first.
///
/// ```
/// # use aimdb_sync::{GetError, WaitLimit, SyncConsumer, wait_any};
/// # fn example(levels: &SyncConsumer<f32>, alarms: &SyncConsumer<String>) -> Result<(), GetError> {
/// match wait_any(&[alarms, levels], WaitLimit::none())? {
///     0 => println!("alarm: {}", alarms.try_get()?),
///     _ => println!("level: {}", levels.try_get()?),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`GetError::Timeout`] and [`GetError::Cancelled`] if `limit` expires first; [`GetError::WouldDeadlock`] if the call would
/// have to wait on the runtime thread; [`GetError::Empty`] if there are no consumers.
pub fn wait_any(consumers: &[&dyn Waitable], limit: WaitLimit<'_>) -> Result<usize, GetError> {
    if consumers.is_empty() {
        return Err(GetError::Empty);
    }
    let (mut on_stack, mut on_heap): ([WaitTicket; TICKETS_ON_STACK], _) =
        (Default::default(), Vec::new());
    let tickets = if consumers.len() <= TICKETS_ON_STACK {
        &mut on_stack[..consumers.len()]
    } else {
        on_heap.resize_with(consumers.len(), WaitTicket::default);
        &mut on_heap[..]
    };
    let mut wait = WaitForAny { consumers, tickets };
    if consumers.iter().any(|consumer| consumer.would_deadlock()) {
        return match wait.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(first) => Ok(first),
            Poll::Pending => Err(GetError::WouldDeadlock),
        };
    }
    Ok(park::wait(limit, |cx| wait.poll(cx))?)
}

/// One wait for several [`Waitable`]s. Dropping it gives its places in all their wait lists up.
struct WaitForAny<'w> {
    consumers: &'w [&'w dyn Waitable],
    tickets: &'w mut [WaitTicket],
}

impl WaitForAny<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut all = self.consumers.iter().zip(self.tickets.iter_mut());
        match all.position(|(consumer, ticket)| consumer.poll_ready(ticket, cx).is_ready()) {
            Some(first) => Poll::Ready(first),
            None => Poll::Pending,
        }
    }
}

impl Drop for WaitForAny<'_> {
    fn drop(&mut self) {
        for (consumer, ticket) in self.consumers.iter().zip(self.tickets.iter_mut()) {
            consumer.cancel_wait(ticket);
        }
    }
}
