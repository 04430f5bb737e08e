//! What a connector implements.

use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;

use super::inbound::InboundLink;
use super::outbound::OutboundLink;
use crate::address::{Address, Direction};
use crate::context::RuntimeContext;
use crate::graph::finding::Finding;
use crate::runtime::adapter::Runtime;

/// A bridge to one broker: given its links as bytes, it runs until shutdown.
///
/// # Implementing
///
/// - [`check`](Self::check) MUST refuse every option it will not act on.
/// - [`run`](Self::run) MUST connect, reconnect with backoff, and heal both directions after a reconnect.
/// - Outbound it MUST take the next value only when it can use it, so that the buffer's semantics hold: a ring drops
///   oldest, a queue holds its writers back, latest sends the newest once back. It MUST NOT lose a value it took
///   while the link asks for delivery, and ends when [`OutboundLink::next`] says that the record is closed and
///   everything taken has been sent.
/// - Inbound it MUST acknowledge only after [`InboundLink::deliver`] returned, and MUST drop its inbound links soon
///   after [`RuntimeContext::stopping`] completes, when what it accepted has been delivered.
/// - It MUST return when its inbound links are dropped and its outbound links have ended.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a connector for the runtime `{R}`")]
pub trait Connector<R: Runtime>: 'static {
    /// The running connector.
    type Run: Future<Output = ()> + 'static;

    /// The scheme that links use to name it.
    fn name(&self) -> &str;

    /// What it is and where it connects to, for people. No secrets.
    fn describe(&self) -> String;

    /// What is wrong with its own configuration and with the links that name it.
    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding>;

    /// Runs it.
    fn run(self, links: Links, context: RuntimeContext<R>) -> Self::Run;
}

/// A link as a connector sees it when it checks.
#[derive(Clone, Copy, Debug)]
pub struct LinkRequest<'g> {
    /// The record's key.
    pub record: &'g str,
    /// What the user wrote.
    pub address: &'g Address,
    /// The direction of the link.
    pub direction: Direction,
    /// The topic is computed from each value; the address names none.
    pub computed_topic: bool,
}

/// The links of one connector.
#[derive(Debug, Default)]
pub struct Links {
    /// Records to send.
    pub outbound: Vec<OutboundLink>,
    /// Records to fill.
    pub inbound: Vec<InboundLink>,
}
