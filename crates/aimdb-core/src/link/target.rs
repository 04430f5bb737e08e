//! Targets of links: a text, an [`Address`], or a connector's typed target.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::address::Address;
use crate::graph::node::LinkNode;
use crate::sync::Arc;

/// A function that computes a message's topic from its value.
pub type TopicFn<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// A function that computes properties of a message from its value: names and values.
pub type PropertiesFn<T> = Arc<Properties<T>>;

type Properties<T> = dyn Fn(&T) -> Vec<(String, String)> + Send + Sync;

/// A function that decides whether a link sends a value.
pub type FilterFn<T> = Arc<dyn Fn(&T) -> bool + Send + Sync>;

/// The target of an outbound link: a text, an [`Address`], or a connector's typed target.
///
/// [`Registrar::link_to`](crate::Registrar::link_to) takes it.
///
/// ```
/// use aimdb_core::Arc;
/// use aimdb_core::graph::LinkNode;
/// use aimdb_core::link::{OutboundTarget, TopicFn};
///
/// struct Reading {
///     room: &'static str,
///     celsius: f32,
/// }
///
/// /// Sends each reading to the topic of its room: `reg.link_to(ByRoom, Json)`.
/// struct ByRoom;
///
/// impl OutboundTarget<Reading> for ByRoom {
///     fn node(&self) -> LinkNode {
///         LinkNode::from("radio://").with_computed_topic()
///     }
///
///     fn topic(&self) -> Option<TopicFn<Reading>> {
///         Some(Arc::new(|reading: &Reading| format!("rooms/{}", reading.room)))
///     }
/// }
///
/// let topic = ByRoom.topic().unwrap();
/// assert_eq!(topic(&Reading { room: "hall", celsius: 21.5 }), "rooms/hall");
/// # let _ = Reading { room: "", celsius: 0.0 }.celsius;
/// ```
pub trait OutboundTarget<T> {
    /// The address, as the text of the user and as the result of its parsing.
    fn node(&self) -> LinkNode;

    /// [`node`](Self::node) for a record whose key has the address `own`. Only [`own_address`] uses it.
    fn node_of(&self, own: Option<&str>) -> LinkNode {
        let _ = own;
        self.node()
    }

    /// The function that computes the topic from each value, if the target has one.
    fn topic(&self) -> Option<TopicFn<T>> {
        None
    }

    /// The function that chooses the values to send, if not all are sent.
    fn filter(&self) -> Option<FilterFn<T>> {
        None
    }

    /// The function that computes properties of each message, if there are any.
    fn properties(&self) -> Option<PropertiesFn<T>> {
        None
    }
}

/// The target of an inbound link: a text, an [`Address`], or a connector's typed target.
///
/// [`Registrar::link_from`](crate::Registrar::link_from) takes it.
///
/// ```
/// use aimdb_core::Address;
/// use aimdb_core::graph::LinkNode;
/// use aimdb_core::link::InboundTarget;
///
/// /// A register that a connector polls: the typed form of `modbus://40001?every_ms=500`.
/// struct Register {
///     number: u16,
///     every_ms: u32,
/// }
///
/// impl InboundTarget for Register {
///     fn node(&self) -> LinkNode {
///         let address = Address::new("modbus", self.number.to_string());
///         LinkNode::from(&address.option("every_ms", self.every_ms))
///     }
/// }
///
/// let level = Register { number: 40001, every_ms: 500 };
/// assert_eq!(level.node(), "modbus://40001?every_ms=500".node());
/// ```
pub trait InboundTarget {
    /// The address, as the text of the user and as the result of its parsing.
    fn node(&self) -> LinkNode;

    /// [`node`](Self::node) for a record whose key has the address `own`. Only [`own_address`] uses it.
    fn node_of(&self, own: Option<&str>) -> LinkNode {
        let _ = own;
        self.node()
    }
}

/// The target that is the address of the record's key: `#[link_address = "…"]` of a derived
/// [`RecordKey`](crate::RecordKey).
///
/// A key without an address is a finding.
///
/// ```
/// # #[cfg(all(feature = "derive", feature = "json"))] {
/// use aimdb_core::link::own_address;
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json, RecordKey, Runtime};
///
/// #[derive(RecordKey, Clone, Copy)]
/// enum Room {
///     #[key = "hall.celsius"]
///     #[link_address = "mqtt://building/hall"]
///     Hall,
/// }
///
/// fn graph<R: Runtime>(builder: &mut AimDbBuilder<R>) {
///     builder.configure::<f32>(Room::Hall, |reg| {
///         reg.buffer(BufferCfg::latest()).link_from(own_address(), Json);
///     });
/// }
/// # }
/// ```
#[must_use]
pub fn own_address() -> OwnAddress {
    OwnAddress(())
}

/// The target that [`own_address`] returns.
#[derive(Clone, Copy, Debug)]
pub struct OwnAddress(());

impl OwnAddress {
    fn resolve(own: Option<&str>) -> LinkNode {
        own.map_or_else(
            || {
                let problem = "the key of the record has no address";
                LinkNode::new(LinkNode::OWN_ADDRESS.into(), Err(problem.into()))
            },
            LinkNode::from,
        )
    }
}

impl<T> OutboundTarget<T> for OwnAddress {
    fn node(&self) -> LinkNode {
        Self::resolve(None)
    }

    fn node_of(&self, own: Option<&str>) -> LinkNode {
        Self::resolve(own)
    }
}

impl InboundTarget for OwnAddress {
    fn node(&self) -> LinkNode {
        Self::resolve(None)
    }

    fn node_of(&self, own: Option<&str>) -> LinkNode {
        Self::resolve(own)
    }
}

/// Sends only the values for which `wanted` returns `true`.
///
/// The others are taken from the record and counted as [`filtered`](crate::metrics::LinkMetrics::filtered). A `wanted`
/// that panics costs its value, as a codec does.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use aimdb_core::link::only_if;
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json, Runtime};
///
/// fn alarms<R: Runtime>(builder: &mut AimDbBuilder<R>) {
///     builder.configure::<f32>("boiler.celsius", |reg| {
///         let hot = only_if("mqtt://boiler/alarm", |celsius: &f32| *celsius > 90.0);
///         reg.buffer(BufferCfg::queue(16)).link_to(hot, Json);
///     });
/// }
/// # }
/// ```
pub fn only_if<T, G: OutboundTarget<T>>(
    target: G,
    wanted: impl Fn(&T) -> bool + Send + Sync + 'static,
) -> OnlyIf<T, G> {
    OnlyIf { target, wanted: filter_fn(wanted) }
}

/// By a `Box`, because an `Arc` of a closure does not coerce where there is no compare-and-swap.
fn filter_fn<T>(wanted: impl Fn(&T) -> bool + Send + Sync + 'static) -> FilterFn<T> {
    let wanted: Box<dyn Fn(&T) -> bool + Send + Sync> = Box::new(wanted);
    wanted.into()
}

/// The target that [`only_if`] returns.
pub struct OnlyIf<T, G> {
    target: G,
    wanted: FilterFn<T>,
}

impl<T: 'static, G: OutboundTarget<T>> OutboundTarget<T> for OnlyIf<T, G> {
    fn node(&self) -> LinkNode {
        self.target.node()
    }

    fn node_of(&self, own: Option<&str>) -> LinkNode {
        self.target.node_of(own)
    }

    fn topic(&self) -> Option<TopicFn<T>> {
        self.target.topic()
    }

    fn filter(&self) -> Option<FilterFn<T>> {
        let wanted = Arc::clone(&self.wanted);
        match self.target.filter() {
            None => Some(wanted),
            Some(inner) => Some(filter_fn(move |value: &T| inner(value) && wanted(value))),
        }
    }

    fn properties(&self) -> Option<PropertiesFn<T>> {
        self.target.properties()
    }
}

impl<T, G: fmt::Debug> fmt::Debug for OnlyIf<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnlyIf").field(&self.target).finish()
    }
}

/// Sends properties with each message that are computed from its value: user properties of MQTT 5.
///
/// They follow those of the address. On a connector whose protocol has none they are a finding. A function that returns none
/// costs nothing: a trace that is sampled for one value of a thousand adds properties to one message of a thousand. If it
/// panics, the value is not sent and counted as an encode error.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use aimdb_core::link::with_properties;
/// use aimdb_core::{AimDbBuilder, BufferCfg, Json, Runtime};
///
/// #[derive(Clone, serde::Serialize)]
/// struct Reading {
///     celsius: f32,
///     /// The W3C trace context of a sampled reading.
///     #[serde(skip)]
///     trace: Option<String>,
/// }
///
/// fn publish<R: Runtime>(builder: &mut AimDbBuilder<R>) {
///     builder.configure::<Reading>("boiler.reading", |reg| {
///         let traced = with_properties("mqtt://boiler/reading", |reading: &Reading| {
///             reading.trace.iter().map(|trace| ("traceparent".into(), trace.clone())).collect()
///         });
///         reg.buffer(BufferCfg::queue(16)).link_to(traced, Json);
///     });
/// }
/// # }
/// ```
pub fn with_properties<T, G: OutboundTarget<T>>(
    target: G,
    properties: impl Fn(&T) -> Vec<(String, String)> + Send + Sync + 'static,
) -> WithProperties<T, G> {
    WithProperties { target, properties: properties_fn(properties) }
}

/// By a `Box`, as [`filter_fn`].
fn properties_fn<T>(
    properties: impl Fn(&T) -> Vec<(String, String)> + Send + Sync + 'static,
) -> PropertiesFn<T> {
    let properties: Box<Properties<T>> = Box::new(properties);
    properties.into()
}

/// The target that [`with_properties`] returns.
///
/// ```
/// use aimdb_core::link::{OutboundTarget, WithProperties, with_properties};
///
/// /// Readings that say which unit they have.
/// fn in_kelvin(address: &'static str) -> WithProperties<f32, &'static str> {
///     with_properties(address, |_| vec![("unit".into(), "K".into())])
/// }
///
/// assert!(in_kelvin("mqtt://boiler").node().computed_properties);
/// ```
pub struct WithProperties<T, G> {
    target: G,
    properties: PropertiesFn<T>,
}

impl<T: 'static, G: OutboundTarget<T>> OutboundTarget<T> for WithProperties<T, G> {
    fn node(&self) -> LinkNode {
        self.target.node().with_computed_properties()
    }

    fn node_of(&self, own: Option<&str>) -> LinkNode {
        self.target.node_of(own).with_computed_properties()
    }

    fn topic(&self) -> Option<TopicFn<T>> {
        self.target.topic()
    }

    fn filter(&self) -> Option<FilterFn<T>> {
        self.target.filter()
    }

    fn properties(&self) -> Option<PropertiesFn<T>> {
        let outer = Arc::clone(&self.properties);
        match self.target.properties() {
            None => Some(outer),
            Some(inner) => Some(properties_fn(move |value: &T| {
                let mut all = inner(value);
                all.append(&mut outer(value));
                all
            })),
        }
    }
}

impl<T, G: fmt::Debug> fmt::Debug for WithProperties<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WithProperties").field(&self.target).finish()
    }
}

impl From<&str> for LinkNode {
    fn from(text: &str) -> Self {
        Self::new(text.into(), Address::parse(text))
    }
}

impl From<&Address> for LinkNode {
    fn from(address: &Address) -> Self {
        Self::new(address.to_string(), Ok(address.clone()))
    }
}

macro_rules! plain_targets {
    ($($kind:ty),*) => {$(
        impl<T> OutboundTarget<T> for $kind {
            fn node(&self) -> LinkNode {
                LinkNode::from(&**self)
            }
        }

        impl InboundTarget for $kind {
            fn node(&self) -> LinkNode {
                LinkNode::from(&**self)
            }
        }
    )*};
}

plain_targets!(&str, String);

impl<T> OutboundTarget<T> for Address {
    fn node(&self) -> LinkNode {
        self.into()
    }
}

impl InboundTarget for Address {
    fn node(&self) -> LinkNode {
        self.into()
    }
}
