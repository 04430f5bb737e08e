//! The session of an MQTT client without I/O: bytes in, bytes out, time in, events out.
//!
//! [`Session`] has the example. A program with a socket, a clock and an executor of any kind drives it:
//!
//! 1. [`Session::connect`], over a new stream.
//! 2. Read into [`Session::input`], report [`Session::received`]; take all [events](Session::next_event); write
//!    [`Session::output`], report [`Session::written`]; at the [deadline](Session::deadline), and after each of these,
//!    [`Session::handle_time`].
//! 3. On an error, or at the end of the stream: [`Session::connection_lost`], and begin again.
//!
//! # Guarantees
//!
//! - A message at QoS 1 or 2 is sent until the broker has answered it, over any number of connections; also if the
//!   broker loses the session, which makes a duplicate possible.
//! - A received message at QoS 2 is one event in one session, however often the broker sends it. So is one at QoS 1 until
//!   its acknowledgement is sent: if that is lost, the broker sends the message again, and MQTT calls it new. Both are
//!   acknowledged when the program says so, in the order that MQTT demands.
//! - The session never sends what the CONNACK excludes: a QoS, a retained message, a subscription, a larger packet, more
//!   messages than the receive maximum.
//! - A connection is alive as long as the broker is read from: it is tested after the keep-alive interval without input
//!   *or* output, and dead one interval later.
//!
//! # Tolerance
//!
//! A packet that cannot be decoded ends the connection, with its fault in [`Malformed`]; an unknown property is such a
//! fault, because its length is unknown. A property that can be decoded and is not allowed is ignored, and the values
//! pass: one in a packet that may not carry it, one that occurs twice (either counts), a capability that is neither 0 nor
//! 1, a receive maximum of 0 (taken for 1), an authentication method. MQTT lets a client end the connection for that, but
//! each further connection would end in the same way. The properties of acknowledgements are not read.
//!
//! # Limits
//!
//! - MQTT 5's enhanced authentication and topic aliases are not used.
//! - A program that does not read, because it has no room, must expect that the connection counts as dead.
//! - One SUBSCRIBE has one filter, and at most 64 requests are unanswered.
//! - A program that [gives up](Session::forget) a message at QoS 2 in a kept session leaves its identifier in use at the
//!   broker, which may mistake a message 65,535 later for it.
//! - Nothing is stored: a new process begins with an empty session.
//! - If the broker loses the session, and the CONNACK that says so does not arrive, the next CONNACK has a session that the
//!   client takes for the earlier one: MQTT does not tell them apart.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod config;
mod connect;
mod error;
mod input;
mod message;
mod properties;
mod reason;
mod session;
mod subscription;
mod wire;

pub use config::{SessionConfig, Version, Will};
pub use connect::Capabilities;
pub use error::{Error, Malformed, Unsent};
pub use message::{Message, QoS, Receipt, Received};
pub use properties::{MessageProperties, Properties};
pub use reason::Reason;
pub use session::{Event, Lost, Oversized, Session, Token};
pub use subscription::{RetainHandling, SubscribeOptions};
