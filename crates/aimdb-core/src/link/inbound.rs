//! Inbound links: from a connector to a record.

use crate::sync::Arc;
use alloc::boxed::Box;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::codec::{Decode, Incoming};
use crate::address::Address;
use crate::buffer::error::Closed;
use crate::engine::stage::StageCell;
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::link::status::{LinkInfo, LinkStatus, shortened};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime, log};
use crate::wait::WaitGuard;

/// A message that did not decode, for the dead-letter hook.
///
/// [`AimDbBuilder::on_dead_letter`](crate::AimDbBuilder::on_dead_letter) sets the hook.
///
/// ```
/// use aimdb_core::DeadLetter;
///
/// fn print(letter: &DeadLetter<'_>) {
///     let bytes = letter.message.payload.len();
///     eprintln!("{}: {bytes} bytes from {}: {}", letter.record, letter.link, letter.reason);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DeadLetter<'m> {
    /// The key of the link's record.
    pub record: &'m str,
    /// The address of the link.
    pub link: &'m Address,
    /// The message.
    pub message: Incoming<'m>,
    /// The codec's error, or the message of its panic.
    pub reason: &'m str,
}

pub(crate) type DeadLetterHook = Arc<dyn Fn(&DeadLetter<'_>) + Send + Sync>;

/// A link that a connector fills: messages become values of one record.
///
/// A connector receives it in [`Links`](super::Links). A shutdown closes the record after the connector has dropped the
/// link, so the connector drops it soon after [`RuntimeContext::stopping`](crate::RuntimeContext::stopping) completes.
///
/// ```
/// use aimdb_core::link::InboundLink;
/// use aimdb_core::race::{Either, race};
/// use aimdb_core::{Incoming, Runtime, RuntimeContext};
/// # struct Message { topic: String, payload: Vec<u8> }
/// # impl Message { async fn acknowledge(self) {} }
/// # async fn receive() -> Message { Message { topic: String::new(), payload: Vec::new() } }
///
/// async fn receive_all<R: Runtime>(ctx: RuntimeContext<R>, mut link: InboundLink) {
///     while let Either::Second(message) = race(ctx.stopping(), receive()).await {
///         if link.deliver(Incoming::new(&message.topic, &message.payload)).await.is_err() {
///             return;
///         }
///         message.acknowledge().await;
///     }
/// }
/// ```
pub struct InboundLink {
    info: LinkInfo,
    /// `None` only while [`wrap`](Self::wrap) runs.
    messages: Option<Box<dyn MessageSink>>,
    /// The cell of the link's connector. Dropping the link notifies its engine, so that a shutdown can close the
    /// record.
    connector: Arc<StageCell>,
}

impl InboundLink {
    pub(crate) fn new(
        info: LinkInfo,
        messages: Box<dyn MessageSink>,
        connector: Arc<StageCell>,
    ) -> Self {
        Self { info, messages: Some(messages), connector }
    }

    /// Puts something between the link and its messages.
    pub(super) fn wrap(&mut self, wrap: impl FnOnce(Box<dyn MessageSink>) -> Box<dyn MessageSink>) {
        self.messages = self.messages.take().map(wrap);
    }

    /// Decodes `message` and writes the value to the record.
    ///
    /// If the record's buffer is a queue, the call waits for room. After `Ok` the connector may acknowledge the
    /// message, even if it did not decode: the message is then a dead letter.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: the link did not accept the message, and the connector should not
    /// acknowledge it.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while the message's value waits for room, the value stays [pending](Self::has_pending),
    /// and the next call delivers it before its own message. If the future is dropped while an earlier value is
    /// pending, the link has not accepted the message.
    pub async fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_accept(&message, cx)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Accepts `message` unless a value is pending, for connectors that serve several links in one task.
    ///
    /// With `Pending` the link did not accept the message. With `Ready(Ok(()))` it did: the value is in the record, or
    /// is [pending](Self::has_pending) until [`poll_flush`](Self::poll_flush) delivers it. The link wakes the waker of
    /// the latest call.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: it has accepted neither the message nor a pending value.
    pub fn poll_accept(
        &mut self,
        message: &Incoming<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        core::task::ready!(self.poll_flush(cx))?;
        self.info.status.count_received();
        if let Some(messages) = &mut self.messages {
            messages.accept(&self.info, message);
        }
        match self.poll_flush(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }

    /// Delivers the pending value, if there is one, for connectors that serve several links in one task.
    ///
    /// With `Ready(Ok(()))` every decoded value is in the record; until then the link accepts no message. The link
    /// wakes the waker of the latest call.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: a pending value is lost.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(Err(Closed)) };
        let has_value = messages.has_pending();
        let outcome = messages.poll_flush(cx);
        if has_value && matches!(outcome, Poll::Ready(Ok(()))) {
            self.info.status.count_delivered();
        }
        outcome
    }

    /// Whether a decoded value waits for room in the record.
    ///
    /// Dropping the link loses a pending value.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.messages.as_ref().is_some_and(|messages| messages.has_pending())
    }

    /// Whether the drop of the link loses no value, because the next attempt of the connector has the link.
    pub(crate) fn outlives_its_drop(&self) -> bool {
        !self.is_stopping() && self.messages.as_ref().is_some_and(|messages| messages.is_pooled())
    }

    /// Whether a shutdown has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.connector.engine().is_stopping()
    }

    /// The record's key.
    #[must_use]
    pub fn record(&self) -> &str {
        &self.info.key
    }

    /// The address that the user wrote.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.info.address
    }

    /// The link's counters and connection state, which the connector updates.
    #[must_use]
    pub fn status(&self) -> &Arc<LinkStatus> {
        &self.info.status
    }
}

impl Drop for InboundLink {
    fn drop(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.end(&self.info, &self.connector);
        }
    }
}

impl fmt::Debug for InboundLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InboundLink").field(&self.info.key).field(&self.info.address).finish()
    }
}

/// A record that accepts messages, without the record's type.
pub(crate) trait MessageSink: Send {
    fn accept(&mut self, info: &LinkInfo, message: &Incoming<'_>);

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    fn has_pending(&self) -> bool;

    /// Ends the wait of the last poll: nobody polls for a while.
    fn cancel_wait(&mut self);

    /// Whether they return to a pool when the link is dropped.
    fn is_pooled(&self) -> bool {
        false
    }

    /// Called once, by the drop of the link: lets a shutdown close the record.
    fn end(&mut self, info: &LinkInfo, connector: &Arc<StageCell>) {
        let _ = connector;
        info.status.set_ended();
    }
}

/// The codec, producer and pending value of an inbound link.
pub(crate) struct InboundQueue<T: Record, R, C> {
    pub(crate) wait: WaitGuard<Producer<T, R>>,
    pub(crate) codec: C,
    pub(crate) decoded: Option<T>,
    pub(crate) dead_letters: Option<DeadLetterHook>,
    pub(crate) runtime: Arc<R>,
}

impl<T: Record, R: Runtime, C: Decode<T>> MessageSink for InboundQueue<T, R, C> {
    fn accept(&mut self, info: &LinkInfo, message: &Incoming<'_>) {
        // The codec is user code: if it panics, this message is a dead letter, and the connector continues.
        let outcome =
            catch(|| self.codec.decode(message).map_err(|error| alloc::format!("{error}")));
        match outcome.and_then(|decoded| decoded) {
            Ok(value) => self.decoded = Some(value),
            Err(reason) => self.reject(info, message, &reason),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { wait, decoded, .. } = self;
        let outcome = wait.on.poll_produce(decoded, &mut wait.ticket, cx);
        if matches!(outcome, Poll::Ready(Err(Closed))) {
            *decoded = None;
        }
        outcome
    }

    fn has_pending(&self) -> bool {
        self.decoded.is_some()
    }

    fn cancel_wait(&mut self) {
        self.wait.on.cancel_wait(&mut self.wait.ticket);
    }
}

impl<T: Record, R: Runtime, C> InboundQueue<T, R, C> {
    /// Counts and logs a message that did not decode, and calls the dead-letter hook.
    fn reject(&self, info: &LinkInfo, message: &Incoming<'_>, reason: &str) {
        let LinkInfo { key, address, status, .. } = info;
        status.count_decode_error(message.topic, reason);
        let (topic, bytes) = (message.topic, message.payload.len());
        let short = shortened(reason.into());
        log(
            &*self.runtime,
            LogLevel::Warn,
            key,
            format_args!(
                "link from `{address}`: {bytes} bytes on `{topic}` did not decode: {short}"
            ),
        );
        if let Some(hook) = &self.dead_letters {
            let letter = DeadLetter { record: key, link: address, message: *message, reason };
            if let Err(panic) = catch(|| hook(&letter)) {
                log(
                    &*self.runtime,
                    LogLevel::Error,
                    key,
                    format_args!("the dead-letter hook {panic}"),
                );
            }
        }
    }
}
