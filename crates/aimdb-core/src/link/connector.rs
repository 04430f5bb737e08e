//! The interface of connectors.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;

use super::inbound::InboundLink;
use super::outbound::OutboundLink;
use crate::address::{Address, Direction};
use crate::context::RuntimeContext;
use crate::graph::finding::{Finding, Rule};
use crate::runtime::adapter::Runtime;

/// A bridge between links and one broker, which runs until the shutdown.
///
/// [`AimDbBuilder::connector`](crate::AimDbBuilder::connector) adds one to a graph. The connector sees messages as
/// bytes. The [`link`](crate::link) module has a complete example.
///
/// # Implementing
///
/// - [`check`](Self::check) MUST refuse every option that the connector does not implement.
/// - [`run`](Self::run) MUST connect, reconnect with backoff, and restore both directions after a reconnect.
/// - Outbound, the connector MUST take the next value only when it can send it, so that the buffer's semantics hold: a
///   ring overwrites its oldest values, a queue makes its writers wait, and a latest record sends the newest value
///   after a reconnect. It MUST NOT lose a value that it took if the link's options require delivery. An outbound link
///   has ended when [`OutboundLink::next`] returns [`Closed`](crate::Closed) and every value taken has been sent.
/// - Inbound, the connector MUST acknowledge a message only after [`InboundLink::deliver`] has returned `Ok`. It MUST
///   drop its inbound links soon after [`RuntimeContext::stopping`] completes, once the messages that it accepted have
///   been delivered.
/// - `run` MUST return when the inbound links are dropped and the outbound links have ended.
/// - Tasks that `run` starts MUST end with its future, and drop their links: a connector with a
///   [restart policy](crate::AimDbBuilder::connector_with) begins its next attempt when all links are back.
///
/// # Example
///
/// A skeleton; the [`link`](crate::link) module has a complete one.
///
/// ```
/// use aimdb_core::link::{LinkRequest, Links};
/// use aimdb_core::{Connector, Finding, Rule, Runtime, RuntimeContext};
/// use std::pin::Pin;
///
/// struct Radio {
///     channel: u8,
/// }
///
/// impl<R: Runtime> Connector<R> for Radio {
///     type Run = Pin<Box<dyn Future<Output = ()> + Send>>;
///
///     fn name(&self) -> &str {
///         "radio" // of links such as `radio://pump`
///     }
///
///     fn describe(&self) -> String {
///         format!("a radio on channel {}", self.channel)
///     }
///
///     fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
///         let with_options = links.iter().filter(|link| !link.address.options.is_empty());
///         with_options
///             .map(|link| {
///                 let problem = format!("its link `{}` has options", link.address);
///                 Finding::new(Rule::BadOption, link.record, problem, "remove the options")
///             })
///             .collect()
///     }
///
///     fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run {
///         Box::pin(async move {
///             let Links { inbound, mut outbound, .. } = links;
///             // … connect, and take nothing from `outbound` before that; then serve all links until:
///             context.stopping().await;
///             drop(inbound); // so that the records of the inbound links can close
///             let mut payload = Vec::new();
///             for link in &mut outbound {
///                 while link.next(&mut payload).await.is_ok() {
///                     // … send `payload`
///                     link.status().count_sent();
///                 }
///             }
///         })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a connector for the runtime `{R}`")]
pub trait Connector<R: Runtime>: 'static {
    /// The future of the running connector.
    type Run: Future<Output = ()> + 'static;

    /// The connector's name: the scheme of the links that it serves.
    fn name(&self) -> &str;

    /// Describes the connector and its broker for the printed graph. The text MUST NOT contain secrets.
    fn describe(&self) -> String;

    /// What the connector is to its peer, if the peer tolerates it only once: a client id at a broker, for instance.
    ///
    /// Two connectors of one program with the same identity are a finding. The text MUST NOT contain secrets.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Returns the faults of the connector's own configuration and of the links that name the connector.
    ///
    /// The engine calls it in [`AimDbBuilder::graph`](crate::AimDbBuilder::graph) and when it builds the graph, before
    /// it starts anything. A finding of severity error prevents the build.
    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding>;

    /// Whether the connector sends the properties of a message, [`Outgoing::user`](super::Outgoing::user). Unless it does, a
    /// link that has some is a finding.
    fn carries_properties(&self) -> bool {
        false
    }

    /// Starts the connector with its links.
    ///
    /// The engine calls it once, in `build()`, and polls the future first when the database starts.
    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run;
}

/// A link that names a connector, for [`Connector::check`].
///
/// ```
/// use aimdb_core::link::LinkRequest;
/// use aimdb_core::{Finding, Rule};
///
/// /// A message has one topic, so only an inbound link may have a wildcard.
/// fn check_topic(link: &LinkRequest<'_>) -> Option<Finding> {
///     let has_wildcard = link.address.topic.contains('*');
///     (link.direction.is_outbound() && has_wildcard).then(|| {
///         let problem = format!("its link `{}` sends to a wildcard", link.address);
///         Finding::new(Rule::BadTopic, link.record, problem, "name one topic")
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LinkRequest<'g> {
    /// The record's key.
    pub record: &'g str,
    /// The address that the user wrote.
    pub address: &'g Address,
    /// The direction of the link.
    pub direction: Direction,
    /// Whether the topic is computed from each value; the address has no topic then.
    pub computed_topic: bool,
    /// Whether properties of each message are computed from its value: [`Outgoing::user`](super::Outgoing::user).
    pub computed_properties: bool,
}

impl LinkRequest<'_> {
    /// The fault of a link whose properties the connector would drop.
    pub(crate) fn properties_finding(&self) -> Option<Finding> {
        self.computed_properties.then(|| {
            let problem = format!(
                "in its link to `{}` each message has properties, and this connector sends none",
                self.address
            );
            let remedy = "leave `with_properties(…)` away, or link to a connector whose protocol has them: MQTT 5";
            Finding::new(Rule::BadOption, self.record, problem, remedy)
        })
    }
}

/// The links of one connector, which [`Connector::run`] receives.
///
/// ```
/// use aimdb_core::link::{InboundLink, Links};
/// use std::collections::HashMap;
///
/// /// The inbound links by topic. The outbound ones stay in `links`.
/// fn take_routes(links: &mut Links) -> HashMap<String, InboundLink> {
///     links.inbound.drain(..).map(|link| (link.address().topic.clone(), link)).collect()
/// }
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Links {
    /// The links whose records the connector sends.
    pub outbound: Vec<OutboundLink>,
    /// The links whose records the connector fills.
    pub inbound: Vec<InboundLink>,
}
