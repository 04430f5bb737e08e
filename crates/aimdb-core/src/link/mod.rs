//! Links: records on one side, a broker on the other, bytes in between.
//!
//! ```text
//! outbound   [buffer] ─▶ Reader<T> ─▶ codec ─▶ OutboundLink::next ─▶ connector ─▶ broker
//! inbound    broker ─▶ connector ─▶ InboundLink::deliver ─▶ codec ─▶ Producer<T> ─▶ [buffer]
//! ```
//!
//! A [`Connector`] never sees a record's type, and a record never sees a protocol. What crosses is a payload, a topic,
//! and the [`Address`] the user wrote. A link's counters live in its [`LinkStatus`].

pub(crate) mod codec;
pub(crate) mod connector;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod status;
pub(crate) mod target;

#[cfg(feature = "postcard")]
pub use codec::VersionedPostcard;
pub use codec::{DecodeFn, EncodeFn};
pub use connector::{LinkRequest, Links};
pub use inbound::InboundLink;
pub use outbound::{OutboundLink, Outgoing};
pub use status::LinkStatus;
pub use target::{InboundTarget, OutboundTarget, TopicFn};
