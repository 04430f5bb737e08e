//! From the connection into the records.

use aimdb_core::Arc;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::Ordering::Relaxed;
use core::task::{Context, Poll};
use core::time::Duration;

use aimdb_core::link::{InboundLink, LinkStatus};
use aimdb_core::{Incoming, Runtime, RuntimeContext};
use minimq::{InboundPublish, Property};

use super::gate::Signals;
use crate::QoS;
use crate::options::LinkOptions;
use crate::routes::Routes;
use crate::topic::matched_parts;
use aimdb_core::race::now_or_never;

pub(crate) struct Inlets<R> {
    links: Vec<Inlet>,
    /// They stay when the links are gone.
    pub(crate) statuses: Vec<Arc<LinkStatus>>,
    pub(crate) routes: Routes,
    patience: Duration,
    signals: Arc<Signals>,
    context: RuntimeContext<R>,
}

struct Inlet {
    link: InboundLink,
    filter: String,
    /// The link has a value that its record had no room for.
    holds: bool,
    /// It was waited for in vain, and its record has had no room since.
    stuck: bool,
}

impl<R: Runtime> Inlets<R> {
    pub(crate) fn new(
        links: Vec<InboundLink>,
        patience: Duration,
        signals: Arc<Signals>,
        context: RuntimeContext<R>,
    ) -> Self {
        let statuses = links.iter().map(|link| Arc::clone(link.status())).collect();
        let routes = Routes::new(&links);
        let inlet = |link: InboundLink| {
            let filter = LinkOptions::of(link.address()).topic;
            Inlet { link, filter, holds: false, stuck: false }
        };
        let links = links.into_iter().map(inlet).collect();
        Self { links, statuses, routes, patience, signals, context }
    }

    /// Hands a message to every link it is for. When it returns, each of their records has it, unless one was waited for
    /// in vain.
    pub(crate) async fn take(&mut self, message: &InboundPublish<'_>) {
        let topic = message.topic();
        let identifiers: Vec<usize> = message
            .properties()
            .iter()
            .filter_map(|property| match property {
                Ok(Property::SubscriptionIdentifier(id)) => usize::try_from(id).ok(),
                _ => None,
            })
            .collect();
        let links = self.routes.links(&identifiers, topic);
        if links.is_empty() {
            let reason = "no link is for it; a kept session may have a subscription too many";
            self.context.log().warn(format_args!("a message on `{topic}` was dropped: {reason}"));
        }
        for at in links {
            if let Some(inlet) = self.links.get_mut(at) {
                inlet.accept(topic, message.payload(), self.patience, &self.context).await;
            }
        }
    }

    /// Brings values that wait into their records. When a shutdown has begun the broker's messages stay the broker's; when
    /// none waits any more the links are dropped, by which the shutdown goes on.
    pub(crate) fn poll_held(&mut self, stopping: bool, cx: &mut Context<'_>) {
        let waiting = self
            .links
            .iter_mut()
            .filter_map(|inlet| inlet.poll_room(cx).is_pending().then_some(()));
        let waiting = waiting.count();
        if stopping {
            self.signals.closed.store(true, Relaxed);
            if waiting == 0 && !self.signals.amid.load(Relaxed) {
                self.links.clear();
            }
        }
    }

    /// Counts what the client has refused since the last look. It does not say which messages these were, so the first link
    /// at QoS 2 has them all.
    pub(crate) fn count_refused(&self) {
        let count = self.signals.refused.swap(0, Relaxed);
        let twos = self.routes.iter().filter(|(_, route)| route.qos == QoS::ExactlyOnce);
        let Some(at) = twos.filter_map(|(_, route)| route.links.first()).min() else { return };
        let status = &self.statuses[*at];
        for _ in 0..count {
            status.received();
            status.dropped();
            let reason = "a message at QoS 2 was refused: the broker has sent more than 8 at once";
            status.error(reason);
            self.context.log().warn(reason);
        }
    }

    /// No message will come any more.
    pub(crate) fn are_gone(&self) -> bool {
        self.links.is_empty()
    }
}

impl Inlet {
    /// Whether the record has everything that the link was given.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.holds {
            let kept = core::task::ready!(self.link.poll_flush(cx));
            (self.holds, self.stuck) = (false, false);
            if kept.is_err() {
                self.refused("its record is closed");
            }
        }
        Poll::Ready(())
    }

    async fn accept<R: Runtime>(
        &mut self,
        topic: &str,
        payload: &[u8],
        patience: Duration,
        context: &RuntimeContext<R>,
    ) {
        let room = poll_fn(|cx| Poll::Ready(self.poll_room(cx).is_ready())).await;
        if !room {
            // Only after it was waited for in vain.
            self.link.status().received();
            return self.refused("its record is full");
        }
        let parts = matched_parts(&self.filter, topic).unwrap_or_default();
        let message = Incoming { topic, parts: &parts, payload };
        match now_or_never(self.link.deliver(message)).await {
            Some(Ok(())) => {}
            Some(Err(_closed)) => self.refused("its record is closed"),
            // The link has the value. The connection rests until the record has it too, for a while.
            None => {
                self.holds = true;
                let room = poll_fn(|cx| self.poll_room(cx));
                if context.time().timeout(patience, room).await.is_err() {
                    self.stuck = true;
                    let (record, address) = (self.link.record(), self.link.address());
                    context.log().warn(format_args!(
                        "link from `{address}`: `{record}` is full; a value waits, and newer ones are dropped meanwhile"
                    ));
                }
            }
        }
    }

    /// A value is lost at its record.
    fn refused(&self, reason: &str) {
        self.link.status().dropped();
        self.link.status().error(format_args!("a message was dropped: {reason}"));
    }
}

/// Cut off at a shutdown's deadline, a value that still waits is lost.
impl Drop for Inlet {
    fn drop(&mut self) {
        if self.holds {
            self.refused("the shutdown's deadline is over");
        }
    }
}
