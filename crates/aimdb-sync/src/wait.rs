//! Waiting for the first of several.

use std::task::{Context, Poll, Waker};

use aimdb_core::wait::CancelTicket;

use crate::error::GetError;
use crate::limit::{Over, WaitLimit};
use crate::park;
use crate::queued::QueuedTicket;

/// A consumer of any type, or a [`CancelToken`](crate::CancelToken), as something to wait for: [`wait_any`], an event loop, an
/// executor.
pub trait Waitable {
    /// Ready when there is something to take, or when nothing will come any more. It takes nothing, so another thread
    /// that shares the consumer may be first. It does not wake `cx`'s waker itself, so a caller may hold a lock that the
    /// waker takes.
    fn poll_ready(&self, ticket: &mut WaitTicket, cx: &mut Context<'_>) -> Poll<()>;

    /// Gives a ticket back whose wait is over before it was ready. A wake-up it had received goes to the next in line.
    fn cancel_wait(&self, ticket: &mut WaitTicket);

    /// Whether a wait, here and now, would keep the database's own runtime thread from ever ending it.
    fn would_deadlock(&self) -> bool;
}

/// A place in the line of those who wait. It belongs to one consumer, and must be given back with
/// [`cancel_wait`](Waitable::cancel_wait) when its owner gives up.
#[derive(Debug, Default)]
pub struct WaitTicket {
    pub(crate) direct: aimdb_core::buffer::WaitTicket,
    pub(crate) queued: QueuedTicket,
    pub(crate) cancel: CancelTicket,
}

/// A wait for one thing, whose place in the line is given back when it ends in whatever way.
pub(crate) struct Waiting<'w, W: Waitable> {
    pub(crate) on: &'w W,
    pub(crate) ticket: WaitTicket,
}

impl<'w, W: Waitable> Waiting<'w, W> {
    pub(crate) fn new(on: &'w W) -> Self {
        Self { on, ticket: WaitTicket::default() }
    }
}

impl<W: Waitable> Drop for Waiting<'_, W> {
    fn drop(&mut self) {
        self.on.cancel_wait(&mut self.ticket);
    }
}

/// So many consumers are waited for without allocating.
const FEW: usize = 16;

/// Waits until one of `consumers` has something to take, or has ended, and says which: the first in their order. Nothing
/// is taken yet, so another thread that shares the consumer may be first.
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
/// [`GetError::Timeout`] and [`GetError::Cancelled`] as `limit` says; [`GetError::WouldDeadlock`] if it would have to
/// wait on the runtime thread; [`GetError::Empty`] if there are no consumers.
pub fn wait_any(consumers: &[&dyn Waitable], limit: WaitLimit<'_>) -> Result<usize, GetError> {
    if consumers.is_empty() {
        return Err(GetError::Empty);
    }
    let (mut few, mut many): ([WaitTicket; FEW], _) = (Default::default(), Vec::new());
    let tickets = if consumers.len() <= FEW {
        &mut few[..consumers.len()]
    } else {
        many.resize_with(consumers.len(), WaitTicket::default);
        &mut many[..]
    };
    let mut waiting = WaitingForAny { consumers, tickets };
    if consumers.iter().any(|consumer| consumer.would_deadlock()) {
        return match waiting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(first) => Ok(first),
            Poll::Pending => Err(GetError::WouldDeadlock),
        };
    }
    Ok(park::wait(limit, |cx| waiting.poll(cx))?)
}

/// Places in the lines of several consumers, given back when the wait ends in whatever way.
struct WaitingForAny<'w> {
    consumers: &'w [&'w dyn Waitable],
    tickets: &'w mut [WaitTicket],
}

impl WaitingForAny<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let mut all = self.consumers.iter().zip(self.tickets.iter_mut());
        match all.position(|(consumer, ticket)| consumer.poll_ready(ticket, cx).is_ready()) {
            Some(first) => Poll::Ready(first),
            None => Poll::Pending,
        }
    }
}

impl Drop for WaitingForAny<'_> {
    fn drop(&mut self) {
        for (consumer, ticket) in self.consumers.iter().zip(self.tickets.iter_mut()) {
            consumer.cancel_wait(ticket);
        }
    }
}

impl From<Over> for GetError {
    fn from(over: Over) -> Self {
        match over {
            Over::Timeout => Self::Timeout,
            Over::Cancelled => Self::Cancelled,
        }
    }
}
