//! Links in their typed form: `mqtt::topic("sensors/temp").qos(QoS::AtLeastOnce).retain()`.
//!
//! They become the same [`Address`] as the text form, so one check serves both.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use aimdb_core::Address;
use aimdb_core::Arc;
use aimdb_core::graph::LinkNode;
use aimdb_core::link::{InboundTarget, OutboundTarget, TopicFn};

use crate::QoS;

/// A topic that a record is sent to.
///
/// ```
/// use aimdb_mqtt_connector::{QoS, mqtt};
///
/// let target = mqtt::topic("sensors/temp/indoor").qos(QoS::AtLeastOnce).retain();
/// # let _ = target;
/// ```
#[must_use]
pub fn topic(topic: impl Into<String>) -> Topic {
    Topic { address: Address::new(crate::DEFAULT_NAME, topic) }
}

/// A topic that is computed from each value.
///
/// A computed topic that is empty or has a wildcard costs that value: it is counted as an encode error, and logged.
///
/// ```
/// use aimdb_mqtt_connector::mqtt;
///
/// struct Reading {
///     room: &'static str,
/// }
/// let target = mqtt::topic_from(|reading: &Reading| format!("sensors/{}/temp", reading.room));
/// # let _ = target;
/// ```
#[must_use]
pub fn topic_from<T>(topic: impl Fn(&T) -> String + Send + Sync + 'static) -> ComputedTopic<T> {
    // By a box: the `Arc` for processors without compare-and-swap is not made from the closure at once.
    let topic: Box<dyn Fn(&T) -> String + Send + Sync> = Box::new(topic);
    ComputedTopic { address: Address::new(crate::DEFAULT_NAME, ""), topic: Arc::from(topic) }
}

/// A filter that a record is filled from. It may have the wildcards `+` and `#`; the codec sees what they matched.
///
/// ```
/// use aimdb_mqtt_connector::{QoS, mqtt};
///
/// let target = mqtt::filter("commands/+/set").qos(QoS::ExactlyOnce);
/// # let _ = target;
/// ```
#[must_use]
pub fn filter(filter: impl Into<String>) -> Filter {
    Filter { address: Address::new(crate::DEFAULT_NAME, filter) }
}

/// Made by [`topic`].
#[derive(Clone, Debug)]
pub struct Topic {
    address: Address,
}

/// Made by [`topic_from`].
pub struct ComputedTopic<T> {
    address: Address,
    topic: TopicFn<T>,
}

/// Made by [`filter`].
#[derive(Clone, Debug)]
pub struct Filter {
    address: Address,
}

macro_rules! options {
    ($($kind:ident [$($generic:ident)?]: $($retain:ident)?;)*) => {$(
        impl$(<$generic>)? $kind$(<$generic>)? {
            /// The connector to use, by its name. `mqtt` unless set.
            #[must_use]
            pub fn on(mut self, connector: impl Into<String>) -> Self {
                self.address.scheme = connector.into();
                self
            }

            /// The quality of service. [`QoS::AtMostOnce`] unless set.
            #[must_use]
            pub fn qos(mut self, qos: QoS) -> Self {
                self.address = self.address.option("qos", qos as u8);
                self
            }

            $(
                /// The broker keeps the newest message for whoever subscribes later.
                #[must_use]
                pub fn $retain(mut self) -> Self {
                    self.address = self.address.option("retain", "");
                    self
                }
            )?
        }
    )*};
}

options! {
    Topic []: retain;
    ComputedTopic [T]: retain;
    Filter []: ;
}

impl<T> OutboundTarget<T> for Topic {
    fn node(&self) -> LinkNode {
        (&self.address).into()
    }
}

impl<T> OutboundTarget<T> for ComputedTopic<T> {
    fn node(&self) -> LinkNode {
        LinkNode { computed_topic: true, ..(&self.address).into() }
    }

    fn topic(&self) -> Option<TopicFn<T>> {
        Some(Arc::clone(&self.topic))
    }
}

impl InboundTarget for Filter {
    fn node(&self) -> LinkNode {
        (&self.address).into()
    }
}

impl<T> fmt::Debug for ComputedTopic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputedTopic").field("address", &self.address).finish_non_exhaustive()
    }
}
