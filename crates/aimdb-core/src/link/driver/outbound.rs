//! The outbound links of a connector, served in turn.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};

use crate::context::RuntimeContext;
use crate::link::outbound::{OutboundLink, Outgoing};
use crate::link::status::LinkStatus;
use crate::loss::Loss;
use crate::runtime::adapter::Runtime;
use crate::sync::Arc;

/// The outbound links of a connector.
///
/// A message is in flight from [`poll_take`](Self::poll_take) to [`sent`](Self::sent) or [`lost`](Self::lost).
///
/// ```
/// use aimdb_core::Runtime;
/// use aimdb_core::link::driver::OutboundLinks;
/// use std::task::{Context, Poll};
///
/// /// Takes one message of any link and writes it to `wire`.
/// fn poll_send<R: Runtime>(links: &mut OutboundLinks<R>, wire: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<()> {
///     let mut payload = Vec::new();
///     links.poll_take(&mut payload, |_| true, cx).map(|taken| {
///         wire.append(&mut payload);
///         links.sent(taken.link);
///     })
/// }
/// ```
pub struct OutboundLinks<R> {
    links: Vec<State>,
    /// The link that is polled first.
    next: usize,
    context: RuntimeContext<R>,
}

struct State {
    link: OutboundLink,
    in_flight: u64,
    /// The record is not drained.
    open: bool,
    /// The current value is to be sent again.
    renew: bool,
}

/// A message that was taken from a record. Its payload is in the buffer that was passed to
/// [`OutboundLinks::poll_take`].
///
/// ```
/// use aimdb_core::link::driver::Taken;
///
/// /// The topic to send to, where `topics` are those of the links' addresses.
/// fn topic<'t>(taken: &'t Taken, topics: &'t [String]) -> &'t str {
///     taken.topic.as_deref().unwrap_or(&topics[taken.link])
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken {
    /// The index of the link.
    pub link: usize,
    /// A computed topic; `None` for the topic of the link's address.
    pub topic: Option<String>,
    /// Computed properties, as [`Outgoing::user`](crate::link::Outgoing::user).
    pub user: Vec<(String, String)>,
}

impl<R: Runtime> OutboundLinks<R> {
    pub(super) fn new(links: Vec<OutboundLink>, context: RuntimeContext<R>) -> Self {
        let state = |link| State { link, in_flight: 0, open: true, renew: false };
        Self { links: links.into_iter().map(state).collect(), next: 0, context }
    }

    /// The number of links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is no link.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The links, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &OutboundLink> {
        self.links.iter().map(|state| &state.link)
    }

    /// The status of a link.
    ///
    /// # Panics
    ///
    /// If there is no such link.
    #[must_use]
    pub fn status(&self, link: usize) -> &Arc<LinkStatus> {
        self.links[link].link.status()
    }

    /// Takes the next message of a link for which `ready` returns `true`, from the links in turn.
    ///
    /// The payload replaces the content of `payload`. The waker of `cx` is woken when a link that is ready has a
    /// message, and, in a shutdown, when a link is drained.
    pub fn poll_take(
        &mut self,
        payload: &mut Vec<u8>,
        mut ready: impl FnMut(usize) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Taken> {
        let count = self.links.len();
        for index in (self.next..count).chain(0..self.next.min(count)) {
            let state = &mut self.links[index];
            if !state.open {
                continue;
            }
            if !ready(index) {
                if self.context.is_stopping() {
                    state.open = state.link.poll_drained(cx).is_pending();
                }
                continue;
            }
            let renew = core::mem::take(&mut state.renew);
            let outgoing = match state.link.poll_next(payload, cx) {
                Poll::Ready(Ok(outgoing)) => outgoing,
                Poll::Ready(Err(_)) => {
                    state.open = false;
                    continue;
                }
                Poll::Pending if renew => match state.link.newest(payload) {
                    Some(outgoing) => outgoing,
                    None => continue,
                },
                Poll::Pending => continue,
            };
            self.next = index + 1;
            state.in_flight += 1;
            state.link.status().set_in_flight(state.in_flight);
            let Outgoing { topic, user } = outgoing;
            return Poll::Ready(Taken { link: index, topic, user });
        }
        Poll::Pending
    }

    /// Sends the current value of a latest record again, at the link's next turn. No other record has one.
    pub fn renew(&mut self, link: usize) {
        if let Some(state) = self.links.get_mut(link) {
            state.renew = state.open;
        }
    }

    /// Whether all records are drained and no message is in flight. Takes no message.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> bool {
        for state in self.links.iter_mut().filter(|state| state.open) {
            state.open = state.link.poll_drained(cx).is_pending();
        }
        self.are_drained()
    }

    /// Whether a [`poll_take`](Self::poll_take) or [`poll_drained`](Self::poll_drained) has found all records drained,
    /// and no message is in flight.
    #[must_use]
    pub fn are_drained(&self) -> bool {
        self.links.iter().all(|state| !state.open && state.in_flight == 0)
    }

    fn finish(&mut self, link: usize) -> Option<&State> {
        let state = self.links.get_mut(link)?;
        state.in_flight = state.in_flight.saturating_sub(1);
        state.link.status().set_in_flight(state.in_flight);
        Some(state)
    }

    /// A message of this link was sent and, where the protocol acknowledges, acknowledged.
    pub fn sent(&mut self, link: usize) {
        if let Some(state) = self.finish(link) {
            state.link.status().count_sent();
        }
    }

    /// A message of this link is lost. It is counted by its cause, and the reason is the link's last error and a line of
    /// the log.
    pub fn lost(
        &mut self,
        link: usize,
        topic: Option<&str>,
        cause: Loss,
        reason: impl fmt::Display,
    ) {
        let Some(state) = self.finish(link) else { return };
        let topic = topic.unwrap_or(&state.link.address().topic);
        let record = state.link.record();
        let text = alloc::format!("a message of `{record}` to `{topic}` was dropped: {reason}");
        state.link.status().count_lost(cause);
        state.link.status().set_error(&text);
        self.context.log().warn(text);
    }
}

impl<R> fmt::Debug for OutboundLinks<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.links.iter().map(|state| &state.link)).finish()
    }
}
