//! From a record to a connector.

use crate::sync::Arc;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::codec::Encode;
use super::target::TopicFn;
use crate::address::Address;
use crate::buffer::error::Closed;
use crate::handle::reader::Reader;
use crate::key::Record;
use crate::link::status::{LinkInfo, LinkStatus};
use crate::panic::catch;
use crate::runtime::adapter::{LogLevel, Runtime};

/// One record on its way out, as a connector sees it.
pub struct OutboundLink {
    info: LinkInfo,
    messages: Box<dyn Messages>,
}

/// A message to send. Its payload is in the buffer that was given to [`OutboundLink::next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic computed from the value; `None` means the address's own.
    pub topic: Option<String>,
}

impl OutboundLink {
    pub(crate) fn new(info: LinkInfo, messages: Box<dyn Messages>) -> Self {
        Self { info, messages }
    }

    /// The next message; its payload replaces what is in `payload`, whose memory is kept. A value that does not encode
    /// is counted, logged, and skipped.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the record is closed and everything in it has been handed out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self, payload: &mut Vec<u8>) -> Result<Outgoing, Closed> {
        poll_fn(|cx| self.poll_next(payload, cx)).await
    }

    /// [`next`](Self::next) for whoever serves several links in one task. The waker of the last call is woken.
    pub fn poll_next(
        &mut self,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>> {
        self.messages.poll_next(&self.info, payload, cx)
    }

    /// Waits until the record is closed and nothing of it is left, without taking anything.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn drained(&mut self) {
        poll_fn(|cx| self.poll_drained(cx)).await;
    }

    /// [`drained`](Self::drained) for whoever serves several links in one task. The waker of the last call is woken.
    pub fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.messages.poll_drained(cx)
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

impl Drop for OutboundLink {
    fn drop(&mut self) {
        self.info.status.end();
    }
}

impl fmt::Debug for OutboundLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutboundLink").field(&self.info.key).field(&self.info.address).finish()
    }
}

/// A record's values as messages, without the record's type.
pub(crate) trait Messages: Send {
    fn poll_next(
        &mut self,
        info: &LinkInfo,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>>;

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A reader and its codec.
pub(crate) struct OutboundQueue<T: Record, R, C> {
    pub(crate) reader: Reader<T>,
    pub(crate) codec: C,
    pub(crate) topic: Option<TopicFn<T>>,
    pub(crate) runtime: Arc<R>,
}

impl<T: Record, R: Runtime, C: Encode<T>> Messages for OutboundQueue<T, R, C> {
    fn poll_next(
        &mut self,
        info: &LinkInfo,
        payload: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Outgoing, Closed>> {
        loop {
            let value = core::task::ready!(self.reader.poll_recv(cx))?;
            payload.clear();
            match self.encode(&value, payload) {
                Ok(outgoing) => return Poll::Ready(Ok(outgoing)),
                Err(reason) => self.skip(info, &reason),
            }
        }
    }

    fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.poll_drained(cx)
    }
}

impl<T: Record, R: Runtime, C: Encode<T>> OutboundQueue<T, R, C> {
    /// Codec and topic are user code: a panic in either costs this value, not the connector.
    fn encode(&mut self, value: &T, payload: &mut Vec<u8>) -> Result<Outgoing, String> {
        let Self { codec, topic, .. } = self;
        catch(|| {
            codec.encode(value, payload).map_err(|error| alloc::format!("{error}"))?;
            let topic = topic.as_ref().map(|topic| topic(value));
            match topic.as_deref().map(invalid_topic) {
                Some(Some(why)) => {
                    Err(alloc::format!("the computed topic `{}` {why}", topic.unwrap_or_default()))
                }
                _ => Ok(Outgoing { topic }),
            }
        })
        .and_then(|outcome| outcome)
    }

    fn skip(&self, info: &LinkInfo, reason: &str) {
        info.status.count_encode_error();
        info.status.set_error(format_args!("a value did not encode: {reason}"));
        let address = &info.address;
        self.runtime.log(
            LogLevel::Warn,
            &info.key,
            format_args!("link to `{address}`: a value did not encode and was skipped: {reason}"),
        );
    }
}

/// What no protocol here allows in the topic of a message.
fn invalid_topic(topic: &str) -> Option<&'static str> {
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
