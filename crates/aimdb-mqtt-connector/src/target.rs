//! The typed form of links: `mqtt::topic("sensors/temp").qos(QoS::AtLeastOnce).retain()`.
//!
//! A typed link becomes the same [`Address`] as the text form, so one check serves both.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use aimdb_core::Address;
use aimdb_core::Arc;
use aimdb_core::graph::LinkNode;
use aimdb_core::link::{InboundTarget, OutboundTarget, TopicFn};

use aimdb_mqtt_protocol::{QoS, RetainHandling};

/// The name of a connector, and the scheme of its links, unless the user sets another one.
pub(crate) const DEFAULT_NAME: &str = "mqtt";

/// Publishes each value of a record to one topic.
///
/// The result is an argument of `link_to`. A topic that is empty, longer than 65,535 bytes or has a wildcard is a
/// finding of `build()`.
///
/// ```
/// use aimdb_mqtt_connector::{QoS, mqtt};
///
/// let target = mqtt::topic("sensors/temp/indoor").qos(QoS::AtLeastOnce).retain();
/// # let _ = target;
/// ```
#[must_use]
pub fn topic(topic: impl Into<String>) -> Topic {
    Topic { address: Address::new(DEFAULT_NAME, topic) }
}

/// Publishes each value of a record to a topic computed from it.
///
/// The result is an argument of `link_to`. If `topic` returns an empty topic or one with a wildcard, or panics, the
/// connector does not send that value: it counts an encode error and logs it, and the link continues with the next
/// value.
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
    // By way of a box: the `Arc` for processors without compare-and-swap does not coerce from a sized closure.
    let topic: Box<dyn Fn(&T) -> String + Send + Sync> = Box::new(topic);
    ComputedTopic { address: Address::new(DEFAULT_NAME, ""), topic: Arc::from(topic) }
}

/// Subscribes a record to the topics that match a filter.
///
/// The result is an argument of `link_from`. The filter may have the wildcards `+` and `#`; the codec sees the parts
/// that they matched. `$share/<group>/<filter>` is a shared subscription. A malformed filter is a finding of `build()`.
///
/// ```
/// use aimdb_mqtt_connector::{QoS, mqtt};
///
/// let target = mqtt::filter("commands/+/set").qos(QoS::ExactlyOnce);
/// # let _ = target;
/// ```
#[must_use]
pub fn filter(filter: impl Into<String>) -> Filter {
    Filter { address: Address::new(DEFAULT_NAME, filter) }
}

/// An outbound link to one topic. Created by [`topic`].
///
/// ```
/// use aimdb_core::link::OutboundTarget;
/// use aimdb_mqtt_connector::mqtt::{self, Topic};
/// use aimdb_mqtt_connector::QoS;
///
/// /// The topics of one machine, as all its records publish them.
/// fn machine(name: &str) -> Topic {
///     mqtt::topic(format!("plant/7/{name}")).qos(QoS::AtLeastOnce).on("plant-broker")
/// }
///
/// let address = OutboundTarget::<f32>::node(&machine("level")).text;
/// assert_eq!(address, "plant-broker://plant/7/level?qos=1");
/// ```
#[derive(Clone, Debug)]
pub struct Topic {
    address: Address,
}

/// An outbound link to a topic computed from each value. Created by [`topic_from`].
///
/// ```
/// use aimdb_mqtt_connector::mqtt::{self, ComputedTopic};
///
/// #[derive(Clone)]
/// struct Reading {
///     room: String,
///     celsius: f32,
/// }
///
/// /// One topic for each room, each with its newest reading.
/// fn by_room() -> ComputedTopic<Reading> {
///     mqtt::topic_from(|reading: &Reading| format!("rooms/{}/temp", reading.room)).retain()
/// }
/// # let _ = (by_room(), Reading { room: String::new(), celsius: 0.0 }.celsius);
/// ```
pub struct ComputedTopic<T> {
    address: Address,
    topic: TopicFn<T>,
}

/// An inbound link from the topics that match a filter. Created by [`filter`].
///
/// ```
/// use aimdb_core::link::InboundTarget;
/// use aimdb_mqtt_connector::mqtt::{self, Filter};
///
/// /// The commands of one group, which the broker divides among the processes that subscribe.
/// fn shared(group: &str) -> Filter {
///     mqtt::filter(format!("$share/{group}/commands/+"))
/// }
///
/// assert_eq!(shared("workers").node().text, "mqtt://$share/workers/commands/+");
/// ```
#[derive(Clone, Debug)]
pub struct Filter {
    address: Address,
}

/// A message that lives for a part of a second lives for a second.
fn whole_seconds(duration: core::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

macro_rules! options {
    ($($kind:ident [$($generic:ident)?]: $($retain:ident)?;)*) => {$(
        impl$(<$generic>)? $kind$(<$generic>)? {
            /// Selects the connector by its name. `mqtt` unless set.
            ///
            /// A name that no connector has is a finding of `build()`.
            #[must_use]
            pub fn on(mut self, connector: impl Into<String>) -> Self {
                self.address.scheme = connector.into();
                self
            }

            /// Sets the quality of service. [`QoS::AtMostOnce`] unless set.
            #[must_use]
            pub fn qos(mut self, qos: QoS) -> Self {
                self.address = self.address.option("qos", qos as u8);
                self
            }

            $(
                /// Makes the broker keep the newest message for later subscribers.
                ///
                /// A latest record sends its current value again to a broker that has lost the session.
                #[must_use]
                pub fn $retain(mut self) -> Self {
                    self.address = self.address.option("retain", "");
                    self
                }

                /// The broker forgets a message that it could not deliver for this long, in whole seconds. MQTT 5.
                #[must_use]
                pub fn expiry(mut self, expiry: core::time::Duration) -> Self {
                    self.address = self.address.option("expiry", whole_seconds(expiry));
                    self
                }

                /// Sets the kind of the payloads, for instance `application/json`. MQTT 5.
                #[must_use]
                pub fn content_type(mut self, content_type: impl fmt::Display) -> Self {
                    self.address = self.address.option("content_type", content_type);
                    self
                }

                /// Adds a user property to each message: a name without a colon, and a value. MQTT 5.
                #[must_use]
                pub fn property(mut self, name: &str, value: &str) -> Self {
                    self.address = self.address.option("property", format_args!("{name}:{value}"));
                    self
                }
            )?
        }
    )*};
}

impl Filter {
    /// The broker does not return messages that this connector publishes. MQTT 5.
    ///
    /// A record that is linked both ways to one topic needs it: otherwise its values return without end.
    #[must_use]
    pub fn no_local(mut self) -> Self {
        self.address = self.address.option("no_local", "");
        self
    }

    /// [`Incoming::retained`](aimdb_core::Incoming::retained) is what the publisher set, also for a message that is not
    /// old. MQTT 5.
    #[must_use]
    pub fn retain_as_published(mut self) -> Self {
        self.address = self.address.option("retain_as_published", "");
        self
    }

    /// Sets which retained messages the broker sends for the subscription. [`RetainHandling::Always`] unless set.
    /// MQTT 5.
    #[must_use]
    pub fn retain_handling(mut self, handling: RetainHandling) -> Self {
        self.address = self.address.option("retain_handling", handling as u8);
        self
    }
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
        LinkNode::from(&self.address).with_computed_topic()
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
