//! The MQTT client, behind the small interface that the driver needs.
//!
//! The client library exists twice, for MQTT 5 and for 3.1.1, with types of the same names. Each has a module here.

mod client;
mod library;
mod socket;
#[cfg(feature = "v311")]
mod v311;
mod v5;

pub(crate) use client::{
    Client, Completion, ConnectionEvent, ConnectionLost, DeliveryOptions, EventLoop, MAX_IN_FLIGHT,
    MessageAttributes, Protocol, ReceivedPublish, RequestError,
};
pub(crate) use v5::V5;
#[cfg(feature = "v311")]
pub(crate) use v311::V311;
