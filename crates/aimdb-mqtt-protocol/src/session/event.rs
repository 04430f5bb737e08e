//! The events of a session.

use alloc::borrow::Cow;

use crate::error::Unsent;
use crate::message::{QoS, Receipt, Received};
use crate::reason::Reason;

/// The identity of a request until its outcome is an [`Event`].
///
/// ```
/// use std::collections::HashMap;
///
/// use aimdb_mqtt_protocol::{Message, QoS, Session, Token};
///
/// fn send(session: &mut Session, sent: &mut HashMap<Token, &'static str>) {
///     let message = Message::new("pump/speed", b"3").qos(QoS::AtLeastOnce);
///     if let Ok(token) = session.publish(&message) {
///         sent.insert(token, "the pump's speed");
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(crate) u32);

/// An event of a session.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'s> {
    /// The broker has accepted the connection. [`Session::capabilities`](crate::Session::capabilities) are those of this broker from now on.
    Connected {
        /// Whether the broker has the state of an earlier connection: the subscriptions, and the messages under way.
        session_present: bool,
    },
    /// A message.
    Message(Received<'s>),
    /// A message above the limit, which was read past.
    Oversized(Oversized<'s>),
    /// The outcome of a [`publish`](crate::Session::publish): at QoS 0 all of it is written, else the broker has it.
    Published {
        /// The token that `publish` returned.
        token: Token,
        /// The reason if the broker does not have it.
        outcome: Result<(), Lost>,
    },
    /// The outcome of a [`subscribe`](crate::Session::subscribe).
    Subscribed {
        /// The token that `subscribe` returned.
        token: Token,
        /// The granted QoS, or the refusal.
        outcome: Result<QoS, Reason>,
    },
    /// The outcome of an [`unsubscribe`](crate::Session::unsubscribe).
    Unsubscribed {
        /// The token that `unsubscribe` returned.
        token: Token,
    },
}

/// A message that was larger than [`SessionConfig::max_incoming`](crate::SessionConfig::max_incoming).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Oversized<'s> {
    /// The topic; only its first 256 bytes if it is longer.
    pub topic: Cow<'s, str>,
    /// The size of the packet without its header, in bytes.
    pub size: usize,
    /// The argument of [`acknowledge`](crate::Session::acknowledge), at QoS 1 and 2.
    pub receipt: Option<Receipt>,
}

/// Why the broker does not have a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The broker refused it.
    Refused(Reason),
    /// The broker of the new connection cannot take it.
    Unsent(Unsent),
    /// The connection ended before all of it was written, or before the broker had shown that it has read it. Only at
    /// QoS 0: the others are sent again.
    Disconnected,
}

impl core::fmt::Display for Lost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the broker refused it: {reason}"),
            Self::Unsent(unsent) => unsent.fmt(f),
            Self::Disconnected => {
                f.write_str("the connection broke, and at QoS 0 it is not sent again")
            }
        }
    }
}
