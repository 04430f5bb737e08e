//! Counters and connection state of a link.

use alloc::string::String;
use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use portable_atomic::{AtomicBool, AtomicU64};

use crate::address::{Address, Direction};
use crate::clock::Instant;
use crate::engine::events::{DbEventKind, LinkId};
use crate::engine::health::LinkHealth;
use crate::engine::lifecycle::Engine;
use crate::loss::{CAUSES, Loss, Losses};
use crate::metrics::LinkMetrics;
use crate::owner::{Owner, StageId};
use crate::sync::{Arc, Lock};

/// The counters and the connection state of a link.
///
/// The connector and the link update them; [`AimDb::metrics`](crate::AimDb::metrics) and
/// [`AimDb::health`](crate::AimDb::health) read them. All methods may be called from any thread.
///
/// ```
/// use aimdb_core::link::LinkStatus;
/// use std::io;
///
/// /// Publishes the outcome of an attempt to connect.
/// fn report<S>(outcome: &io::Result<S>, link: &LinkStatus) {
///     match outcome {
///         Ok(_) => link.set_connected(),
///         Err(error) => {
///             link.set_disconnected();
///             link.set_error(error);
///         }
///     }
/// }
/// ```
pub struct LinkStatus {
    direction: Direction,
    owner: LinkOwner,
    connected: AtomicBool,
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    taken: AtomicU64,
    delivered: AtomicU64,
    lost: [AtomicU64; CAUSES],
    filtered: AtomicU64,
    in_flight: AtomicU64,
    /// The connector has taken a message since it counted one, or asked for one, for the last time.
    has_message: AtomicBool,
    /// The connector has dropped the link.
    ended: AtomicBool,
    last_error: Lock<Option<LastError>>,
    /// A connection was made or a message went through since the last error.
    error_is_over: AtomicBool,
}

/// The last error of a link, and its time.
#[derive(Clone)]
struct LastError {
    text: String,
    at: Instant,
}

impl LinkStatus {
    pub(crate) fn new(direction: Direction, owner: LinkOwner) -> Self {
        Self {
            direction,
            owner,
            connected: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            lost: [const { AtomicU64::new(0) }; CAUSES],
            filtered: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            has_message: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            last_error: Lock::new(None),
            error_is_over: AtomicBool::new(true),
        }
    }

    /// Declares that a connection serves the link. Connections after the first one count as reconnects.
    pub fn set_connected(&self) {
        if !self.connected.swap(true, Relaxed) {
            self.error_is_over.store(true, Relaxed);
            let again = self.connections.fetch_add(1, Relaxed) > 0;
            self.emit(|link| DbEventKind::LinkUp { link, again });
            self.owner.engine.changed.notify();
        }
    }

    /// Declares that no connection serves the link.
    pub fn set_disconnected(&self) {
        if self.connected.swap(false, Relaxed) {
            self.emit(|link| DbEventKind::LinkDown { link });
        }
    }

    /// Counts a message that was sent and, where the protocol acknowledges, acknowledged.
    pub fn count_sent(&self) {
        self.error_is_over.store(true, Relaxed);
        self.set_has_message(false);
        self.sent.fetch_add(1, Relaxed);
    }

    /// Counts a message that was received and not passed to the link.
    ///
    /// [`InboundLink::deliver`](super::InboundLink::deliver) and
    /// [`poll_accept`](super::InboundLink::poll_accept) count the messages that they accept themselves.
    pub fn count_received(&self) {
        self.error_is_over.store(true, Relaxed);
        self.received.fetch_add(1, Relaxed);
    }

    /// Counts a message that was lost at this link, by its cause.
    pub fn count_lost(&self, cause: Loss) {
        self.set_has_message(false);
        self.add_lost(cause, 1);
    }

    fn add_lost(&self, cause: Loss, values: u64) {
        self.lost[cause as usize].fetch_add(values, Relaxed);
    }

    /// Sets the number of messages that the connector has taken from the record and not finished.
    ///
    /// A connector that has one message at a time need not call it: the link knows of one from the
    /// [`next`](super::OutboundLink::next) that returned it to the count of it, or to the next `next`.
    ///
    /// A shutdown reports them as [interrupted](crate::Undelivered::interrupted) values.
    pub fn set_in_flight(&self, messages: u64) {
        self.in_flight.store(messages, Relaxed);
    }

    /// Sets the link's last error, which remains until the next one.
    pub fn set_error(&self, reason: impl fmt::Display) {
        let reason = shortened(alloc::format!("{reason}"));
        self.keep_error(reason.clone());
        let connected = self.connected.load(Relaxed);
        self.emit(|link| DbEventKind::LinkError { link, reason, connected });
    }

    /// Keeps an error and its time. It is over once a connection is made or a message goes through.
    fn keep_error(&self, text: String) {
        let error = LastError { text, at: self.owner.engine.events.now() };
        let _old = self.last_error.with(|last| last.replace(error));
        self.error_is_over.store(false, Relaxed);
    }

    /// Passes an event of this link to the database's listeners.
    fn emit(&self, kind: impl FnOnce(LinkId) -> DbEventKind) {
        self.owner.engine.events.emit(|| kind(self.id()));
    }

    fn id(&self) -> LinkId {
        LinkId {
            stage: StageId::new(
                Owner::Record(Arc::clone(&self.owner.key)),
                self.owner.stage.as_ref(),
            ),
            address: alloc::format!("{}", self.owner.address),
            direction: self.direction,
        }
    }

    /// Counts and announces a payload that did not decode.
    pub(crate) fn count_decode_error(&self, topic: &str, reason: &str) {
        self.add_lost(Loss::DecodeError, 1);
        // Both may be parts of the message, which has the size that the peer likes.
        let (topic, reason) = (shortened(topic.into()), shortened(reason.into()));
        self.keep_error(alloc::format!("a payload on `{topic}` did not decode: {reason}"));
        self.emit(|link| DbEventKind::DeadLetter { link, topic, reason });
    }

    pub(crate) fn count_filtered(&self) {
        self.filtered.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_encode_error(&self) {
        self.add_lost(Loss::EncodeError, 1);
    }

    /// Counts a value that an outbound link took from its record.
    pub(crate) fn count_taken(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// Counts a value of an inbound link that its record accepted.
    pub(crate) fn count_delivered(&self) {
        self.delivered.fetch_add(1, Relaxed);
    }

    /// The values that are neither delivered nor lost.
    fn held(&self, lost: &Losses) -> u64 {
        match self.direction {
            Direction::Outbound => self.in_flight(),
            Direction::Inbound => {
                let settled = self.delivered.load(Relaxed) + lost.total();
                self.received.load(Relaxed).saturating_sub(settled)
            }
        }
    }

    /// The connector has dropped the link. During a shutdown that is its orderly end and no event.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Relaxed);
        if self.owner.engine.is_stopping() {
            self.connected.store(false, Relaxed);
        } else {
            self.abandon();
        }
        self.owner.engine.changed.notify();
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// The attempt that served the link is over: no connection serves it, and what was under way is lost.
    pub(crate) fn abandon(&self) {
        let lost = self.in_flight();
        self.in_flight.store(0, Relaxed);
        self.set_has_message(false);
        self.add_lost(Loss::Abandoned, lost);
        self.set_disconnected();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed).max(u64::from(self.has_message.load(Relaxed)))
    }

    pub(crate) fn set_has_message(&self, has_message: bool) {
        self.has_message.store(has_message, Relaxed);
    }
}

/// The most bytes of a text that is kept: errors quote what a peer sent.
const LONGEST_TEXT: usize = 512;

/// The beginning of a text that is too long to be kept.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let mut end = LONGEST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// The names of a link, for its events.
pub(crate) struct LinkOwner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) key: Arc<str>,
    pub(crate) stage: Arc<str>,
    pub(crate) address: Arc<Address>,
}

/// The record, address and status of a link, for both directions.
#[derive(Clone, Debug)]
pub(crate) struct LinkInfo {
    pub(crate) key: Arc<str>,
    /// The stage's name, unique within its record.
    pub(crate) stage: Arc<str>,
    pub(crate) address: Arc<Address>,
    pub(crate) status: Arc<LinkStatus>,
}

impl fmt::Debug for LinkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkStatus").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl LinkInfo {
    pub(crate) fn metrics(&self) -> LinkMetrics {
        let status = &*self.status;
        let last_error = status.last_error.with(|last| last.clone());
        let mut lost = Losses::from_counts(status.lost.each_ref().map(|lost| lost.load(Relaxed)));
        let mut held = status.held(&lost);
        if status.direction.is_outbound() && status.has_ended() {
            // A shutdown has ended the link, and its report counts them: nothing sends them any more.
            lost.add(Loss::Shutdown, core::mem::take(&mut held));
        }
        LinkMetrics {
            key: self.key.as_ref().into(),
            stage: self.stage.as_ref().into(),
            address: alloc::format!("{}", self.address),
            direction: status.direction,
            connected: status.connected.load(Relaxed),
            sent: status.sent.load(Relaxed),
            received: status.received.load(Relaxed),
            taken: status.taken.load(Relaxed),
            delivered: status.delivered.load(Relaxed),
            held,
            lost,
            filtered: status.filtered.load(Relaxed),
            reconnects: status.connections.load(Relaxed).saturating_sub(1),
            last_error_at: last_error.as_ref().map(|error| error.at),
            last_error_is_over: status.error_is_over.load(Relaxed),
            last_error: last_error.map(|error| error.text),
        }
    }

    pub(crate) fn health(&self) -> LinkHealth {
        let last_error = self.status.last_error.with(|last| last.clone());
        LinkHealth {
            key: self.key.as_ref().into(),
            stage: self.stage.as_ref().into(),
            address: alloc::format!("{}", self.address),
            connected: self.status.connected.load(Relaxed),
            last_error_at: last_error.as_ref().map(|error| error.at),
            last_error_is_over: self.status.error_is_over.load(Relaxed),
            last_error: last_error.map(|error| error.text),
        }
    }
}
