//! Links between records and brokers, and the interface for authors of connectors.
//!
//! ```text
//! outbound   [buffer] ─▶ Reader<T> ─▶ codec ─▶ OutboundLink::next ─▶ connector ─▶ broker
//! inbound    broker ─▶ connector ─▶ InboundLink::deliver ─▶ codec ─▶ Producer<T> ─▶ [buffer]
//! ```
//!
//! A [`Connector`] does not know the types of records, and a record does not know the protocol. A link carries payloads
//! (bytes) with a topic each, and has the [`Address`] that the user wrote. The connector counts in the link's
//! [`LinkStatus`].
//!
//! # A connector
//!
//! This connector has no broker: it returns each message of its outbound link through its inbound link.
//!
//! ```
//! use aimdb_core::link::{LinkRequest, Links};
//! use aimdb_core::loss::Loss;
//! use aimdb_core::race::{Either, race};
//! use aimdb_core::{Connector, Finding, Incoming, Rule, Runtime, RuntimeContext};
//! use std::future::Future;
//! use std::pin::Pin;
//!
//! struct Loopback;
//!
//! impl<R: Runtime> Connector<R> for Loopback {
//!     type Run = Pin<Box<dyn Future<Output = ()> + Send>>;
//!
//!     fn name(&self) -> &str {
//!         "loopback" // The scheme of its links: `reg.link_to("loopback://echo", Json)`.
//!     }
//!
//!     fn describe(&self) -> String {
//!         "a loopback without a broker".into()
//!     }
//!
//!     fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
//!         let unknown = links.iter().filter(|link| !link.address.options.is_empty());
//!         unknown
//!             .map(|link| {
//!                 let problem = format!("its link `{}` has options", link.address);
//!                 Finding::new(Rule::BadOption, link.record, problem, "remove the options")
//!             })
//!             .collect()
//!     }
//!
//!     fn run(self, mut links: Links, context: RuntimeContext<R>) -> Self::Run {
//!         Box::pin(async move {
//!             let (Some(mut outbound), Some(mut inbound)) =
//!                 (links.outbound.pop(), links.inbound.pop())
//!             else {
//!                 return context.fail("it needs one outbound and one inbound link");
//!             };
//!             outbound.status().set_connected();
//!             inbound.status().set_connected();
//!             let mut payload = Vec::new();
//!             while let Either::Second(next) =
//!                 race(context.stopping(), outbound.next(&mut payload)).await
//!             {
//!                 let Ok(outgoing) = next else { return };
//!                 let topic = outgoing.topic.unwrap_or_else(|| outbound.address().topic.clone());
//!                 if inbound.deliver(Incoming::new(&topic, &payload)).await.is_err() {
//!                     return;
//!                 }
//!                 outbound.status().count_sent();
//!             }
//!             // A shutdown has begun. The inbound link is dropped first, so that its record can close; then the
//!             // outbound link is drained.
//!             drop(inbound);
//!             while outbound.next(&mut payload).await.is_ok() {
//!                 outbound.status().count_lost(Loss::Shutdown);
//!             }
//!         })
//!     }
//! }
//! ```
//!
//! [`Connector`]: crate::Connector
//! [`Address`]: crate::Address

pub(crate) mod codec;
pub(crate) mod connector;
pub mod driver;
#[cfg(feature = "json")]
mod finite;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod pool;
pub(crate) mod status;
pub(crate) mod target;

#[cfg(feature = "json")]
pub use codec::StrictJson;
#[cfg(feature = "postcard")]
pub use codec::VersionedPostcard;
pub use codec::{DecodeFn, EncodeFn};
pub use connector::{LinkRequest, Links};
pub use inbound::InboundLink;
pub use outbound::{OutboundLink, Outgoing};
pub use status::LinkStatus;
pub use target::{
    FilterFn, InboundTarget, OnlyIf, OutboundTarget, OwnAddress, PropertiesFn, TopicFn,
    WithProperties, only_if, own_address, with_properties,
};
