//! The links of a connector that has a restart policy, between its attempts.

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::connector::{Connector, Links};
use super::inbound::InboundLink;
use super::outbound::OutboundLink;
use crate::context::RuntimeContext;
use crate::engine::restart::Attempts;
use crate::runtime::adapter::Runtime;
use crate::sync::{Arc, AtomicWaker, Lock};

/// The links that no attempt has. A link that an attempt drops returns here, until the stage ends and drops the pool.
///
/// ```text
/// Restarting ── ConnectorAttempts ──> LinkPool <── each link of the present attempt, which returns when it is dropped
/// ```
pub(crate) struct LinkPool {
    state: Lock<PoolState>,
    /// The task of the stage, which waits until all links are here.
    stage: AtomicWaker,
}

struct PoolState {
    links: Links,
    /// The links that an attempt has.
    away: usize,
}

impl LinkPool {
    pub(crate) fn new(links: Links) -> Arc<Self> {
        let state = Lock::new(PoolState { links, away: 0 });
        Arc::new(Self { state, stage: AtomicWaker::new() })
    }

    /// Takes the links, once the attempt before has dropped all of them. Its tasks may outlive its future for a moment.
    fn poll_take(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Links> {
        // Before the look, so that a link that returns meanwhile wakes the task.
        self.stage.register(cx.waker());
        let taken = self.state.with(|state| {
            if state.away > 0 {
                return None;
            }
            let links = mem::take(&mut state.links);
            state.away = links.outbound.len() + links.inbound.len();
            Some(links)
        });
        let Some(mut links) = taken else { return Poll::Pending };
        links.outbound.iter_mut().for_each(|link| link.set_pool(Arc::clone(self)));
        links.inbound.iter_mut().for_each(|link| link.set_pool(Arc::clone(self)));
        Poll::Ready(links)
    }

    pub(super) fn put_outbound(&self, link: OutboundLink) {
        self.put(|links| links.outbound.push(link));
    }

    pub(super) fn put_inbound(&self, link: InboundLink) {
        self.put(|links| links.inbound.push(link));
    }

    /// Counts a link that has ended as no longer away.
    pub(super) fn forget(&self) {
        self.put(|_| {});
    }

    fn put(&self, put: impl FnOnce(&mut Links)) {
        self.state.with(|state| {
            put(&mut state.links);
            state.away -= 1;
        });
        self.stage.wake();
    }
}

/// The attempts of a connector: the function that makes it, and its links.
pub struct ConnectorAttempts<F> {
    make: F,
    links: Arc<LinkPool>,
}

impl<F> ConnectorAttempts<F> {
    pub(crate) fn new(make: F, links: Links) -> Self {
        Self { make, links: LinkPool::new(links) }
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
        Runs { #[pin] run: Run },
    }
}

impl<R: Runtime, C: Connector<R>> Future for ConnectorAttempt<R, C, C::Run> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.as_mut().project() {
                ConnectorAttemptProjection::Runs { run } => return run.poll(cx),
                ConnectorAttemptProjection::Waits { connector, context, links } => {
                    let links = core::task::ready!(links.poll_take(cx));
                    let Some(connector) = connector.take() else { return Poll::Ready(()) };
                    let run = connector.run(links, context.clone());
                    self.set(Self::Runs { run });
                }
            }
        }
    }
}
