//! The links of a connector that has a restart policy, between its attempts.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::codec::Incoming;
use super::connector::{Connector, Links};
use super::inbound::{InboundLink, MessageSink};
use super::outbound::{MessageSource, OutboundLink, Outgoing};
use super::status::LinkInfo;
use crate::buffer::error::Closed;
use crate::context::RuntimeContext;
use crate::engine::restart::Attempts;
use crate::engine::stage::StageCell;
use crate::runtime::adapter::Runtime;
use crate::sync::{Arc, AtomicWaker, Lock};

/// The links that no attempt has. A link that an attempt drops returns here, until the stage ends and drops the pool.
///
/// ```text
/// Restarting ── ConnectorAttempts ──▶ LinkPool ◀── Pooled: the messages of each link of the present attempt, which return
///                                                  when the link is dropped
/// ```
pub(crate) struct LinkPool {
    state: Lock<PoolState>,
    /// The task of the stage, which waits until all links are here.
    task: AtomicWaker,
    /// The cell of the connector.
    connector: Arc<StageCell>,
}

struct PoolState {
    links: Links,
    /// Links that the present attempt has dropped. If it goes on they have ended, as they would without a policy; if it
    /// ends, it has dropped them on its way out.
    dropped: Links,
    /// The links that an attempt has.
    away: usize,
}

impl LinkPool {
    fn new(links: Links, connector: Arc<StageCell>) -> Arc<Self> {
        let state = Lock::new(PoolState { links, dropped: Links::default(), away: 0 });
        Arc::new(Self { state, task: AtomicWaker::new(), connector })
    }

    /// Takes the links, once the attempt before has dropped all of them. Its tasks may outlive its future for a moment.
    fn poll_take(pool: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Links> {
        // Before the look, so that a link that returns meanwhile wakes the task.
        pool.task.register(cx.waker());
        let taken = pool.state.with(|state| {
            if state.away > 0 {
                return None;
            }
            let mut links = mem::take(&mut state.links);
            links.outbound.append(&mut state.dropped.outbound);
            links.inbound.append(&mut state.dropped.inbound);
            state.away = links.outbound.len() + links.inbound.len();
            Some(links)
        });
        let Some(mut links) = taken else { return Poll::Pending };
        for link in &mut links.outbound {
            link.wrap(|messages| {
                Box::new(Pooled { messages: Some(messages), pool: Arc::clone(pool) })
            });
        }
        for link in &mut links.inbound {
            link.wrap(|messages| {
                Box::new(Pooled { messages: Some(messages), pool: Arc::clone(pool) })
            });
        }
        Poll::Ready(links)
    }

    /// Ends the links that the present attempt has dropped, because it goes on without them.
    fn end_dropped(&self, cx: &mut Context<'_>) {
        // A task of the attempt that drops a link later wakes the stage's.
        self.task.register(cx.waker());
        let ended = self.state.with(|state| mem::take(&mut state.dropped));
        drop(ended);
    }

    /// Takes a link back. `attempt_fails`: it has failed for certain, perhaps in a task that its future has yet to hear of.
    fn put(&self, attempt_fails: bool, put: impl FnOnce(&mut Links)) {
        self.state.with(|state| {
            put(if attempt_fails { &mut state.links } else { &mut state.dropped });
            state.away -= 1;
        });
        self.task.wake();
    }
}

/// Whether the thread unwinds a panic, in which it drops what the panicking function has.
fn is_panicking() -> bool {
    #[cfg(feature = "std")]
    return std::thread::panicking();
    #[cfg(not(feature = "std"))]
    return false;
}

/// The messages of a link, which return to the pool when the attempt drops the link.
///
/// Only a connector with a restart policy has it, so that a program without one does not contain its code.
struct Pooled<M: ?Sized> {
    /// `None` once the link has been dropped.
    messages: Option<Box<M>>,
    pool: Arc<LinkPool>,
}

impl MessageSource for Pooled<dyn MessageSource> {
    fn poll_next(
        &mut self,
        info: &LinkInfo,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(Err(Closed)) };
        messages.poll_next(info, payload, cx)
    }

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.messages.as_mut().map_or(Poll::Ready(()), |messages| messages.poll_drained(cx))
    }

    fn newest(&mut self, info: &LinkInfo, payload: &mut Vec<u8>) -> Option<Outgoing> {
        self.messages.as_mut()?.newest(info, payload)
    }

    fn cancel_wait(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.cancel_wait();
        }
    }

    fn end(&mut self, info: &LinkInfo) {
        let Some(mut messages) = self.messages.take() else { return };
        if self.pool.connector.must_stop() {
            // The report of the shutdown that aborts the connector counts the message that it had.
            messages.end(info);
            drop(messages);
            return self.pool.put(true, |_| {});
        }
        messages.cancel_wait();
        info.status.abandon();
        let link = OutboundLink::new(info.clone(), messages);
        self.pool.put(is_panicking(), |links| links.outbound.push(link));
    }
}

impl MessageSink for Pooled<dyn MessageSink> {
    fn accept(&mut self, info: &LinkInfo, message: &Incoming<'_>) {
        if let Some(messages) = &mut self.messages {
            messages.accept(info, message);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.messages.as_mut().map_or(Poll::Ready(Err(Closed)), |messages| messages.poll_flush(cx))
    }

    fn has_pending(&self) -> bool {
        self.messages.as_ref().is_some_and(|messages| messages.has_pending())
    }

    fn cancel_wait(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.cancel_wait();
        }
    }

    fn is_pooled(&self) -> bool {
        true
    }

    /// After a shutdown has begun, a connector drops its inbound links to let their records close.
    fn end(&mut self, info: &LinkInfo, connector: &Arc<StageCell>) {
        let Some(mut messages) = self.messages.take() else { return };
        if connector.engine().is_stopping() {
            messages.end(info, connector);
            drop(messages);
            self.pool.put(true, |_| {});
        } else {
            messages.cancel_wait();
            info.status.abandon();
            let link = InboundLink::new(info.clone(), messages, Arc::clone(connector));
            self.pool.put(is_panicking(), |links| links.inbound.push(link));
        }
    }
}

/// The attempts of a connector: the function that makes it, and its links.
pub struct ConnectorAttempts<F> {
    make: F,
    links: Arc<LinkPool>,
}

impl<F> ConnectorAttempts<F> {
    pub(crate) fn new(make: F, links: Links, connector: Arc<StageCell>) -> Self {
        Self { make, links: LinkPool::new(links, connector) }
    }
}

impl<R: Runtime, C: Connector<R>, F: Fn() -> C> Attempts<R> for ConnectorAttempts<F> {
    type Attempt = ConnectorAttempt<R, C, C::Run>;

    fn begin(&self, context: RuntimeContext<R>) -> Self::Attempt {
        let connector = Some((self.make)());
        ConnectorAttempt::Waits { connector, context, links: Arc::clone(&self.links) }
    }
}

impl<F> fmt::Debug for ConnectorAttempts<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectorAttempts")
    }
}

pin_project_lite::pin_project! {
    /// One attempt of a connector, which waits for the links of the attempt before.
    #[project = ConnectorAttemptProjection]
    #[doc(hidden)]
    pub enum ConnectorAttempt<R: Runtime, C, Run> {
        Waits { connector: Option<C>, context: RuntimeContext<R>, links: Arc<LinkPool> },
        Runs { #[pin] run: Run, links: Arc<LinkPool> },
    }
}

impl<R: Runtime, C: Connector<R>> Future for ConnectorAttempt<R, C, C::Run> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.as_mut().project() {
                ConnectorAttemptProjection::Runs { run, links } => {
                    let outcome = run.poll(cx);
                    if outcome.is_pending() {
                        links.end_dropped(cx);
                    }
                    return outcome;
                }
                ConnectorAttemptProjection::Waits { connector, context, links: pool } => {
                    let links = core::task::ready!(LinkPool::poll_take(pool, cx));
                    let Some(connector) = connector.take() else { return Poll::Ready(()) };
                    let run = connector.run(links, context.clone());
                    let links = Arc::clone(pool);
                    self.set(Self::Runs { run, links });
                }
            }
        }
    }
}
