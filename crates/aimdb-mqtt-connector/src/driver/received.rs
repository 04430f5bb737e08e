//! Received messages, as the links see them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll};

use aimdb_core::link::InboundLink;
use aimdb_core::link::driver::Deliver;
use aimdb_core::{Closed, Incoming, MessageProperties};
use aimdb_mqtt_protocol::{Properties, Received};

use crate::topic::matched_parts;

/// A message in the session's buffer.
pub(crate) struct BorrowedMessage<'m> {
    topic: &'m str,
    payload: &'m [u8],
    retained: bool,
    properties: Properties<'m>,
}

/// A message that waits for room in a record.
pub(crate) struct HeldMessage {
    topic: Box<str>,
    payload: Box<[u8]>,
    retained: bool,
    /// `None` for a message without properties that a codec can see, as most are.
    properties: Option<Box<OwnedProperties>>,
}

struct OwnedProperties {
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user: Vec<(String, String)>,
}

impl<'m> From<&Received<'m>> for BorrowedMessage<'m> {
    fn from(message: &Received<'m>) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload,
            retained: message.retain,
            properties: message.properties,
        }
    }
}

impl BorrowedMessage<'_> {
    pub(crate) fn hold(&self) -> HeldMessage {
        let properties = self.properties;
        let owned = OwnedProperties {
            content_type: properties.content_type().map(Into::into),
            response_topic: properties.response_topic().map(Into::into),
            correlation_data: properties.correlation_data().map(Into::into),
            user: user_properties(properties),
        };
        HeldMessage {
            topic: self.topic.into(),
            payload: self.payload.into(),
            retained: self.retained,
            properties: (!properties.is_empty()).then(|| Box::new(owned)),
        }
    }
}

fn user_properties(properties: Properties<'_>) -> Vec<(String, String)> {
    properties.user().map(|(name, value)| (name.into(), value.into())).collect()
}

impl Deliver for BorrowedMessage<'_> {
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut properties = MessageProperties::default();
        let user;
        if !self.properties.is_empty() {
            user = user_properties(self.properties);
            properties.content_type = self.properties.content_type();
            properties.response_topic = self.properties.response_topic();
            properties.correlation_data = self.properties.correlation_data();
            properties.user = &user;
        }
        accept(link, self.topic, self.payload, self.retained, properties, cx)
    }
}

impl Deliver for HeldMessage {
    fn deliver(&self, link: &mut InboundLink, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut properties = MessageProperties::default();
        if let Some(owned) = &self.properties {
            properties.content_type = owned.content_type.as_deref();
            properties.response_topic = owned.response_topic.as_deref();
            properties.correlation_data = owned.correlation_data.as_deref();
            properties.user = &owned.user;
        }
        accept(link, &self.topic, &self.payload, self.retained, properties, cx)
    }
}

fn accept(
    link: &mut InboundLink,
    topic: &str,
    payload: &[u8],
    retained: bool,
    properties: MessageProperties<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Closed>> {
    let parts = matched_parts(&link.address().topic, topic).unwrap_or_default();
    let message = Incoming::new(topic, payload)
        .with_parts(&parts)
        .with_retained(retained)
        .with_properties(properties);
    link.poll_accept(&message, cx)
}
