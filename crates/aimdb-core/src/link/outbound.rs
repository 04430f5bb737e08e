//! Outbound links: from a record to a connector.

use crate::sync::Arc;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::codec::Encode;
use super::target::{FilterFn, PropertiesFn, TopicFn};
use crate::address::Address;
use crate::buffer::error::Closed;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::link::status::{LinkInfo, LinkStatus};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime, log};

/// A link that a connector sends: the values of one record, encoded.
///
/// A connector receives it in [`Links`](super::Links) and drops it when it has sent the last value.
///
/// ```
/// use aimdb_core::link::OutboundLink;
/// # async fn send(_topic: &str, _payload: &[u8]) {}
///
/// async fn send_all(mut link: OutboundLink) {
///     let mut payload = Vec::new();
///     while let Ok(outgoing) = link.next(&mut payload).await {
///         let topic = outgoing.topic.as_deref().unwrap_or(&link.address().topic);
///         send(topic, &payload).await;
///         link.status().count_sent();
///     }
/// }
/// ```
pub struct OutboundLink {
    info: LinkInfo,
    /// `None` only while [`wrap`](Self::wrap) runs.
    messages: Option<Box<dyn MessageSource>>,
}

/// A message that a connector sends.
///
/// Its payload is in the buffer that was passed to [`OutboundLink::next`].
///
/// ```
/// use aimdb_core::Closed;
/// use aimdb_core::link::{OutboundLink, Outgoing};
///
/// /// The next message as one line: its topic, a space, and its payload.
/// async fn next_line(link: &mut OutboundLink) -> Result<Vec<u8>, Closed> {
///     let mut payload = Vec::new();
///     let Outgoing { topic, .. } = link.next(&mut payload).await?;
///     let topic = topic.as_deref().unwrap_or(&link.address().topic);
///     Ok([topic.as_bytes(), b" ", &payload, b"\n"].concat())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The topic computed from the value. With `None`, the topic is the address's.
    pub topic: Option<String>,
    /// Properties of the message, computed from the value: names and values that mean something to the programs alone.
    /// Empty unless [`Connector::carries_properties`](crate::Connector::carries_properties) is `true`.
    pub user: Vec<(String, String)>,
}

impl OutboundLink {
    pub(crate) fn new(info: LinkInfo, messages: Box<dyn MessageSource>) -> Self {
        Self { info, messages: Some(messages) }
    }

    /// Puts something between the link and its messages.
    pub(super) fn wrap(
        &mut self,
        wrap: impl FnOnce(Box<dyn MessageSource>) -> Box<dyn MessageSource>,
    ) {
        self.messages = self.messages.take().map(wrap);
    }

    /// Waits for the next message and writes its payload to `payload`.
    ///
    /// The payload replaces the content of `payload`, whose memory is reused. A value that does not encode is counted,
    /// logged and skipped.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is drained.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no value.
    pub async fn next(&mut self, payload: &mut Vec<u8>) -> Result<Outgoing, Closed> {
        poll_fn(|cx| self.poll_next(payload, cx)).await
    }

    /// Polls for the [next](Self::next) message, for connectors that serve several links in one task.
    ///
    /// The link wakes the waker of the latest call.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is drained.
    pub fn poll_next(
        &mut self,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>> {
        let Some(messages) = &mut self.messages else { return Poll::Ready(Err(Closed)) };
        self.info.status.set_has_message(false);
        let next = messages.poll_next(&self.info, payload, cx);
        if let Poll::Ready(Ok(_)) = &next {
            self.info.status.set_has_message(true);
        }
        next
    }

    /// Waits until the record is drained, and takes no value.
    ///
    /// A connector without a connection awaits it: if no value is left to send, it need not reconnect.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn drained(&mut self) {
        poll_fn(|cx| self.poll_drained(cx)).await;
    }

    /// Polls whether the record is [drained](Self::drained), for connectors that serve several links in one task.
    ///
    /// The link wakes the waker of the latest call.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.messages.as_mut().map_or(Poll::Ready(()), |messages| messages.poll_drained(cx))
    }

    /// Writes the current value of a latest record to `payload`, whether it was sent before or not.
    ///
    /// A connector uses it where the peer may have lost the value: a retained message of a broker without persistence.
    /// `None` if the record has another buffer or no value yet, or if the value does not encode.
    pub fn newest(&mut self, payload: &mut Vec<u8>) -> Option<Outgoing> {
        let newest = self.messages.as_mut()?.newest(&self.info, payload);
        if newest.is_some() {
            self.info.status.set_has_message(true);
        }
        newest
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

impl Drop for OutboundLink {
    fn drop(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.end(&self.info);
        }
    }
}

impl fmt::Debug for OutboundLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutboundLink").field(&self.info.key).field(&self.info.address).finish()
    }
}

/// The values of a record as messages, without the record's type.
pub(crate) trait MessageSource: Send {
    fn poll_next(
        &mut self,
        info: &LinkInfo,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>>;

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// The current value of a latest record.
    fn newest(&mut self, info: &LinkInfo, payload: &mut Vec<u8>) -> Option<Outgoing>;

    /// Ends the wait of the last poll: nobody polls for a while.
    fn cancel_wait(&mut self);

    /// Called once, by the drop of the link.
    fn end(&mut self, info: &LinkInfo) {
        info.status.set_ended();
    }
}

/// The reader, codec and topic of an outbound link.
pub(crate) struct OutboundQueue<T: Record, R, C> {
    pub(crate) reader: Reader<T>,
    pub(crate) codec: C,
    pub(crate) topic: Option<TopicFn<T>>,
    pub(crate) filter: Option<FilterFn<T>>,
    pub(crate) properties: Option<PropertiesFn<T>>,
    pub(crate) runtime: Arc<R>,
}

impl<T: Record, R: Runtime, C: Encode<T>> MessageSource for OutboundQueue<T, R, C> {
    fn poll_next(
        &mut self,
        info: &LinkInfo,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>> {
        loop {
            let value = core::task::ready!(self.reader.poll_recv(cx))?;
            if let Some(outgoing) = self.encode_or_report(info, &value, payload) {
                return Poll::Ready(Ok(outgoing));
            }
        }
    }

    fn newest(&mut self, info: &LinkInfo, payload: &mut Vec<u8>) -> Option<Outgoing> {
        // The clone is user code.
        let value = catch(|| self.reader.current()).ok()??;
        self.encode_or_report(info, &value, payload)
    }

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.poll_drained(cx)
    }

    fn cancel_wait(&mut self) {
        self.reader.suspend();
    }
}

impl<T: Record, R: Runtime, C: Encode<T>> OutboundQueue<T, R, C> {
    /// Encodes `value`, or counts why it is not sent.
    fn encode_or_report(
        &mut self,
        info: &LinkInfo,
        value: &T,
        payload: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        payload.clear();
        info.status.count_taken();
        match self.encode(value, payload) {
            Ok(Some(outgoing)) => return Some(outgoing),
            Ok(None) => info.status.count_filtered(),
            Err(reason) => self.report_skipped(info, &reason),
        }
        None
    }

    /// Encodes `value` and computes its topic; `None` for a value that the filter refuses. All are user code: if one
    /// panics, the link skips this value, and the connector continues.
    fn encode(&mut self, value: &T, payload: &mut Vec<u8>) -> Result<Option<Outgoing>, String> {
        let Self { codec, topic, filter, properties, .. } = self;
        catch(|| {
            if filter.as_ref().is_some_and(|wanted| !wanted(value)) {
                return Ok(None);
            }
            codec.encode(value, payload).map_err(|error| alloc::format!("{error}"))?;
            let topic = topic.as_ref().map(|topic| topic(value));
            match topic.as_deref().map(topic_fault) {
                Some(Some(fault)) => {
                    let topic = topic.unwrap_or_default();
                    Err(alloc::format!("the computed topic `{topic}` {fault}"))
                }
                _ => {
                    let user = properties.as_ref().map(|properties| properties(value));
                    Ok(Some(Outgoing { topic, user: user.unwrap_or_default() }))
                }
            }
        })
        .and_then(|outcome| outcome)
    }

    fn report_skipped(&self, info: &LinkInfo, reason: &str) {
        info.status.count_encode_error();
        info.status.set_error(format_args!("a value did not encode: {reason}"));
        let address = &info.address;
        log(
            &*self.runtime,
            LogLevel::Warn,
            &info.key,
            format_args!("link to `{address}`: a value did not encode and was skipped: {reason}"),
        );
    }
}

/// Returns the fault of a topic that no protocol allows in a message.
fn topic_fault(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        Some("is empty")
    } else if topic.contains(['+', '#']) {
        Some("contains a wildcard")
    } else if topic.contains('\0') {
        Some("contains a NUL")
    } else {
        None
    }
}
