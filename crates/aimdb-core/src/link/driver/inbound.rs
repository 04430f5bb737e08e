//! The inbound links of a connector, and the messages that wait for room in a record.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::buffer::error::Closed;
use crate::clock::Instant;
use crate::link::inbound::InboundLink;
use crate::link::status::LinkStatus;
use crate::loss::Loss;
use crate::sync::Arc;

/// A message that a link can decode.
///
/// ```
/// use aimdb_core::link::InboundLink;
/// use aimdb_core::link::driver::Deliver;
/// use aimdb_core::{Closed, Incoming};
/// use std::task::{Context, Poll};
///
/// struct Frame {
///     channel: String,
///     bytes: Vec<u8>,
/// }
///
/// impl Deliver for Frame {
///     fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
///         link.poll_accept(&Incoming::new(&self.channel, &self.bytes), cx)
///     }
/// }
/// ```
pub trait Deliver {
    /// Passes the message to the link by [`InboundLink::poll_accept`], and returns its result.
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;
}

/// How many messages wait for records without room, and how long.
///
/// ```
/// use aimdb_core::link::driver::Limits;
///
/// let limits = Limits { unacknowledged: 8, ..Limits::default() };
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages with a receipt, for all links together: the connector reads no further. 64 by default.
    pub acknowledged: usize,
    /// Messages without a receipt, for each link: further ones are dropped and counted. 64 by default.
    pub unacknowledged: usize,
    /// How long the connector does not read when a link has reached that number. One read can bring more messages than
    /// that; without the pause they would be lost even for a reader that is fast enough and only has not run yet. 20 ms
    /// by default.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { acknowledged: 64, unacknowledged: 64, grace: Duration::from_millis(20) }
    }
}

/// Whether a connector may take another message from its peer.
///
/// ```
/// use aimdb_core::Instant;
/// use aimdb_core::link::driver::Reading;
///
/// /// Until when a connector sleeps if nothing else happens.
/// fn next(reading: Reading, ping_at: Instant) -> Instant {
///     match reading {
///         Reading::Until(grace) => grace.min(ping_at),
///         Reading::Now | Reading::Held => ping_at,
///     }
/// }
/// # let _ = next;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It may.
    Now,
    /// Not until a record has room.
    Held,
    /// Not until a record has room or this time has come.
    Until(Instant),
}

/// The inbound links of a connector.
///
/// A message that finds its record full waits here, and each link receives its messages in order: a full record holds
/// back its own messages and no others. `K` is a receipt: it returns from [`next_delivered`](Self::next_delivered) when
/// every record that the message is for has it, so that the connector can acknowledge it.
///
/// ```
/// use aimdb_core::link::driver::{Deliver, InboundLinks};
/// use std::task::Context;
///
/// /// Moves what waits into the records, and returns the numbers of the messages to acknowledge.
/// fn acknowledgements<M: Deliver>(links: &mut InboundLinks<M, u16>, cx: &mut Context<'_>) -> Vec<u16> {
///     links.poll_deliver(cx);
///     std::iter::from_fn(|| links.next_delivered()).collect()
/// }
/// ```
pub struct InboundLinks<M, K> {
    /// Empty after a shutdown has dropped the links.
    links: Vec<State<M>>,
    /// They outlive the links.
    statuses: Vec<Arc<LinkStatus>>,
    /// Indices of the links for which messages wait.
    busy: Vec<usize>,
    /// The messages with receipts that wait, each with its number.
    slots: Vec<(u64, Slot<K>)>,
    /// The number of the next slot.
    next: u64,
    delivered: VecDeque<K>,
    limits: Limits,
    /// Called for each message that a record did not take.
    on_lost: Option<Box<dyn Fn() + Send + Sync>>,
    /// The link that has just reached its limit, and when its time is over.
    grace: Option<(usize, Instant)>,
}

struct State<M> {
    link: InboundLink,
    /// The message whose value the link holds.
    pending: Option<Ticket>,
    queue: VecDeque<(Arc<M>, Ticket)>,
    /// Messages without a receipt in the queue.
    unacknowledged: usize,
    /// A pause for this link did not help, and messages have waited for it since.
    blocked: bool,
}

/// The number of a message's slot; `None` without a receipt.
type Ticket = Option<u64>;

struct Slot<K> {
    /// `None` if it must not be acknowledged.
    receipt: Option<K>,
    /// How many links do not have it.
    links: usize,
}

impl<M: Deliver, K> InboundLinks<M, K> {
    pub(super) fn new(links: Vec<InboundLink>, limits: Limits) -> Self {
        let statuses = links.iter().map(|link| Arc::clone(link.status())).collect();
        // A link of an attempt before may have a value that waits for room. Its receipt was that attempt's.
        let holds = |link: &InboundLink| link.has_pending().then_some(None);
        let busy = (0..links.len()).filter(|at| links[*at].has_pending()).collect();
        let state = |link| State {
            pending: holds(&link),
            link,
            queue: VecDeque::new(),
            unacknowledged: 0,
            blocked: false,
        };
        Self {
            links: links.into_iter().map(state).collect(),
            statuses,
            busy,
            slots: Vec::new(),
            next: 0,
            delivered: VecDeque::new(),
            limits,
            on_lost: None,
            grace: None,
        }
    }

    /// The links, in the order of their indices. There are none after a shutdown has dropped them.
    pub fn iter(&self) -> impl Iterator<Item = &InboundLink> {
        self.links.iter().map(|state| &state.link)
    }

    /// The status of a link, which outlives the link.
    ///
    /// # Panics
    ///
    /// If there was no such link.
    #[must_use]
    pub fn status(&self, link: usize) -> &Arc<LinkStatus> {
        &self.statuses[link]
    }

    /// The statuses of all links.
    #[must_use]
    pub fn statuses(&self) -> &[Arc<LinkStatus>] {
        &self.statuses
    }

    /// Passes a message to the links with these indices. Where it has to wait, `hold` makes a copy that lasts.
    pub fn offer<B: Deliver>(
        &mut self,
        links: &[usize],
        message: &B,
        receipt: Option<K>,
        hold: impl FnOnce(&B) -> M,
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        let ticket = receipt.is_some().then_some(self.next);
        let (mut waiting, mut is_lost) = (0, false);
        let mut hold = Some(hold);
        let mut held = None;
        for &index in links {
            let Some(state) = self.links.get_mut(index) else {
                self.statuses[index].count_received();
                self.refuse(index, receipt.is_some());
                is_lost = true;
                continue;
            };
            if state.is_idle() {
                match message.deliver(&mut state.link, cx) {
                    Poll::Ready(Ok(())) if state.link.has_pending() => {
                        state.pending = Some(ticket);
                        self.busy.push(index);
                        waiting += 1;
                        continue;
                    }
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(Closed)) => {
                        self.refuse(index, receipt.is_some());
                        is_lost = true;
                        continue;
                    }
                    Poll::Pending => self.busy.push(index),
                }
            }
            if ticket.is_none() && state.unacknowledged >= self.limits.unacknowledged {
                if state.blocked {
                    self.statuses[index].count_received();
                    self.count_lost(index, Loss::FullRecord, "its record is full");
                    continue;
                }
                self.grace = Some((index, now + self.limits.grace));
            }
            let held = held.get_or_insert_with(|| Arc::new((hold.take().expect("once"))(message)));
            state.queue.push_back((Arc::clone(held), ticket));
            state.unacknowledged += usize::from(ticket.is_none());
            waiting += 1;
        }
        let receipt = receipt.filter(|_| !is_lost);
        if waiting == 0 {
            self.delivered.extend(receipt);
        } else if ticket.is_some() {
            self.slots.push((self.next, Slot { receipt, links: waiting }));
            self.next += 1;
        }
    }

    /// Delivers what waits, as far as the records have room. The waker of `cx` is woken when one has.
    pub fn poll_deliver(&mut self, cx: &mut Context<'_>) {
        let mut position = 0;
        while let Some(&index) = self.busy.get(position) {
            while let Some((ticket, outcome)) = self.links[index].poll_next(cx) {
                if outcome.is_err() {
                    self.refuse(index, self.is_kept(ticket));
                }
                self.finish(ticket, outcome.is_ok());
            }
            let state = &mut self.links[index];
            if state.is_idle() {
                state.blocked = false;
                self.busy.swap_remove(position);
            } else {
                position += 1;
            }
        }
    }

    /// [Delivers](Self::poll_deliver) what waits, and in a shutdown drops the links when no message waits: the shutdown
    /// waits for that to close their records.
    pub fn poll_deliver_or_close(&mut self, stopping: bool, cx: &mut Context<'_>) {
        self.poll_deliver(cx);
        if stopping && self.busy.is_empty() {
            self.links.clear();
        }
    }

    /// The receipt of a message that every record has.
    pub fn next_delivered(&mut self) -> Option<K> {
        self.delivered.pop_front()
    }

    /// Calls `on_lost` for each message that a link did not take, besides the link's own count: for a connector with
    /// counters of its own.
    pub fn on_lost(&mut self, on_lost: impl Fn() + Send + Sync + 'static) {
        self.on_lost = Some(Box::new(on_lost));
    }

    /// Whether the connector may take the next message from its peer.
    pub fn reading(&mut self, now: Instant) -> Reading {
        if let Some((index, until)) = self.grace {
            match self.links.get_mut(index) {
                Some(state) if state.unacknowledged > 0 && now < until => {
                    return Reading::Until(until);
                }
                Some(state) if state.unacknowledged > 0 => {
                    state.blocked = true;
                    self.drop_excess(index);
                }
                _ => {}
            }
            self.grace = None;
        }
        if self.slots.len() >= self.limits.acknowledged { Reading::Held } else { Reading::Now }
    }

    /// Drops the newest messages over the limit of a link.
    fn drop_excess(&mut self, index: usize) {
        while let state = &mut self.links[index]
            && state.unacknowledged > self.limits.unacknowledged
            && let Some(newest) = state.queue.iter().rposition(|(_, ticket)| ticket.is_none())
        {
            state.queue.remove(newest);
            state.unacknowledged -= 1;
            self.statuses[index].count_received();
            self.count_lost(index, Loss::FullRecord, "its record is full");
        }
    }

    /// The peer knows nothing of the messages that wait: their receipts do not return.
    pub fn forget_receipts(&mut self) {
        self.slots.iter_mut().for_each(|(_, slot)| slot.receipt = None);
        self.delivered.clear();
    }

    /// One link is done with a message that waited; `delivered`, if its record has it.
    fn finish(&mut self, ticket: Ticket, delivered: bool) {
        let Some(at) = self.slots.iter().position(|(number, _)| Some(*number) == ticket) else {
            return;
        };
        let slot = &mut self.slots[at].1;
        slot.links -= 1;
        if !delivered {
            slot.receipt = None;
        }
        if slot.links == 0 {
            let (_, slot) = self.slots.remove(at);
            self.delivered.extend(slot.receipt);
        }
    }
}

impl<M, K> InboundLinks<M, K> {
    /// Whether the peer keeps the message of this ticket: it is to be acknowledged and was not.
    fn is_kept(&self, ticket: Ticket) -> bool {
        let slot = self.slots.iter().find(|(number, _)| Some(*number) == ticket);
        slot.is_some_and(|(_, slot)| slot.receipt.is_some())
    }

    /// The closed record of a link did not take a message, which is lost unless the peer keeps it.
    fn refuse(&self, index: usize, is_kept: bool) {
        if is_kept {
            self.report_refused();
        } else {
            self.count_lost(index, Loss::Shutdown, "its record is closed");
        }
    }

    fn report_refused(&self) {
        if let Some(on_lost) = &self.on_lost {
            on_lost();
        }
    }

    /// Counts a message that still waits at the end of the links. Outside of a shutdown the link's last error says why the
    /// connector has ended.
    fn count_left(&self, index: usize) {
        if self.links[index].link.is_stopping() {
            self.count_lost(index, Loss::Shutdown, "the shutdown's deadline is over");
        } else {
            self.report_refused();
            self.statuses[index].count_lost(Loss::Abandoned);
        }
    }

    /// Counts a message that one link did not take.
    fn count_lost(&self, index: usize, cause: Loss, reason: &str) {
        self.report_refused();
        if let Some(status) = self.statuses.get(index) {
            status.count_lost(cause);
            status.set_error(format_args!("a message was dropped: {reason}"));
        }
    }
}

impl<M: Deliver> State<M> {
    fn is_idle(&self) -> bool {
        self.pending.is_none() && self.queue.is_empty()
    }

    /// Delivers the first message that waits. `None` if there is none or no room.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Option<(Ticket, Result<(), Closed>)> {
        if self.pending.is_none() {
            let (message, ticket) = self.queue.front()?;
            let ticket = *ticket;
            let Poll::Ready(outcome) = message.deliver(&mut self.link, cx) else { return None };
            self.queue.pop_front();
            self.unacknowledged -= usize::from(ticket.is_none());
            if outcome.is_err() || !self.link.has_pending() {
                return Some((ticket, outcome));
            }
            self.pending = Some(ticket);
        }
        let Poll::Ready(outcome) = self.link.poll_flush(cx) else { return None };
        Some((self.pending.take()?, outcome))
    }
}

/// Counts the messages that are lost when a shutdown's deadline aborts the connector: those that the peer does not keep.
impl<M, K> Drop for InboundLinks<M, K> {
    fn drop(&mut self) {
        for (index, state) in self.links.iter().enumerate() {
            // The link has counted the message whose value it holds as received, and may keep it for the next attempt.
            let held = state.pending.iter().filter(|_| !state.link.outlives_its_drop());
            for _ in held.filter(|ticket| !self.is_kept(**ticket)) {
                self.count_left(index);
            }
            for _ in state.queue.iter().filter(|(_, ticket)| !self.is_kept(*ticket)) {
                self.statuses[index].count_received();
                self.count_left(index);
            }
        }
    }
}

impl<M, K> fmt::Debug for InboundLinks<M, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.links.iter().map(|state| &state.link)).finish()
    }
}
