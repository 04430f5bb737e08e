//! From a connector to a record.

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
use crate::link::status::{LinkInfo, LinkStatus};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime};
use crate::wait::WaitGuard;

/// A payload that did not decode, as the dead-letter hook sees it.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetter<'m> {
    /// The record it was meant for.
    pub record: &'m str,
    /// The link it came by.
    pub link: &'m Address,
    /// The message.
    pub message: Incoming<'m>,
    /// Why it did not decode.
    pub reason: &'m str,
}

pub(crate) type DeadLetterHook = Arc<dyn Fn(&DeadLetter<'_>) + Send + Sync>;

/// One record on its way in, as a connector sees it.
pub struct InboundLink {
    info: LinkInfo,
    deliveries: Box<dyn Deliveries>,
    /// Told when the link is dropped, so that a shutdown can close the record.
    connector: Arc<StageCell>,
}

impl InboundLink {
    pub(crate) fn new(
        info: LinkInfo,
        deliveries: Box<dyn Deliveries>,
        connector: Arc<StageCell>,
    ) -> Self {
        Self { info, deliveries, connector }
    }

    /// Decodes `message` and gives the value to the record, waiting for room where its buffer does. When it returns
    /// `Ok` the message is done with and may be acknowledged, also if it did not decode.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: the message was not taken and should not be acknowledged.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for room, the value is still delivered, before the next message's.
    pub async fn deliver(&mut self, message: Incoming<'_>) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_accept(&message, cx)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Takes `message` unless a value still waits; for a connector that serves several links in one task. `Pending`: it
    /// was not taken. `Ready`: it was, and its value is in the record, or [waits](Self::holds) for
    /// [`poll_flush`](Self::poll_flush) to bring it there. The waker of the last call is woken.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: neither the message nor a value that waited is in it.
    pub fn poll_accept(
        &mut self,
        message: &Incoming<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        core::task::ready!(self.poll_flush(cx))?;
        self.info.status.count_received();
        self.deliveries.accept(&self.info, message);
        match self.poll_flush(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }

    /// Whether every value decoded so far is in the record. Until then no message is taken. The waker of the last call is
    /// woken.
    ///
    /// # Errors
    ///
    /// [`Closed`] if the record is closed: a value that waited is lost.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        self.deliveries.poll_flush(cx)
    }

    /// Whether a value waits for room in its record. A connector that drops the link then loses it.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.deliveries.holds()
    }

    /// The record's key.
    #[must_use]
    pub fn record(&self) -> &str {
        &self.info.key
    }

    /// What the user wrote.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.info.address
    }

    /// The link's counters.
    #[must_use]
    pub fn status(&self) -> &Arc<LinkStatus> {
        &self.info.status
    }
}

impl Drop for InboundLink {
    fn drop(&mut self) {
        self.info.status.end();
        self.connector.engine().changed.notify();
    }
}

impl fmt::Debug for InboundLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InboundLink").field(&self.info.key).field(&self.info.address).finish()
    }
}

/// Messages on their way into a record, without the record's type.
pub(crate) trait Deliveries: Send {
    fn accept(&mut self, info: &LinkInfo, message: &Incoming<'_>);

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>>;

    fn holds(&self) -> bool;
}

/// A codec and a producer.
pub(crate) struct InboundQueue<T: Record, R, C> {
    pub(crate) wait: WaitGuard<Producer<T, R>>,
    pub(crate) codec: C,
    pub(crate) decoded: Option<T>,
    pub(crate) dead_letters: Option<DeadLetterHook>,
    pub(crate) runtime: Arc<R>,
}

impl<T: Record, R: Runtime, C: Decode<T>> Deliveries for InboundQueue<T, R, C> {
    fn accept(&mut self, info: &LinkInfo, message: &Incoming<'_>) {
        // The codec is user code: a panic in it costs this message, not the connector.
        let outcome =
            catch(|| self.codec.decode(message).map_err(|error| alloc::format!("{error}")));
        match outcome.and_then(|decoded| decoded) {
            Ok(value) => self.decoded = Some(value),
            Err(reason) => self.refuse(info, message, &reason),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { wait, decoded, .. } = self;
        let kept = wait.on.poll_produce(decoded, &mut wait.ticket, cx);
        if matches!(kept, Poll::Ready(Err(Closed))) {
            *decoded = None;
        }
        kept
    }

    fn holds(&self) -> bool {
        self.decoded.is_some()
    }
}

impl<T: Record, R: Runtime, C> InboundQueue<T, R, C> {
    fn refuse(&self, info: &LinkInfo, message: &Incoming<'_>, reason: &str) {
        let LinkInfo { key, address, status, .. } = info;
        status.count_decode_error();
        status.set_error(format_args!("a payload on `{}` did not decode: {reason}", message.topic));
        let (topic, bytes) = (message.topic, message.payload.len());
        self.runtime.log(
            LogLevel::Warn,
            key,
            format_args!(
                "link from `{address}`: {bytes} bytes on `{topic}` did not decode: {reason}"
            ),
        );
        if let Some(hook) = &self.dead_letters {
            let letter = DeadLetter { record: key, link: address, message: *message, reason };
            if let Err(panic) = catch(|| hook(&letter)) {
                self.runtime.log(
                    LogLevel::Error,
                    key,
                    format_args!("the dead-letter hook {panic}"),
                );
            }
        }
    }
}
