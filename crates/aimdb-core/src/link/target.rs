//! Targets of links: a text, an [`Address`], or a connector's typed target.

use alloc::string::{String, ToString};

use crate::address::Address;
use crate::graph::node::LinkNode;
use crate::sync::Arc;

/// A function that computes a message's topic from its value.
pub type TopicFn<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// The target of an outbound link: a text, an [`Address`], or a connector's typed target.
///
/// [`Registrar::link_to`](crate::Registrar::link_to) takes it.
pub trait OutboundTarget<T> {
    /// The address, as the text of the user and as the result of its parsing.
    fn node(&self) -> LinkNode;

    /// The function that computes the topic from each value, if the target has one.
    fn topic(&self) -> Option<TopicFn<T>> {
        None
    }
}

/// The target of an inbound link: a text, an [`Address`], or a connector's typed target.
///
/// [`Registrar::link_from`](crate::Registrar::link_from) takes it.
pub trait InboundTarget {
    /// The address, as the text of the user and as the result of its parsing.
    fn node(&self) -> LinkNode;
}

impl From<&str> for LinkNode {
    fn from(text: &str) -> Self {
        Self { text: text.into(), parsed: Address::parse(text), computed_topic: false }
    }
}

impl From<&Address> for LinkNode {
    fn from(address: &Address) -> Self {
        Self { text: address.to_string(), parsed: Ok(address.clone()), computed_topic: false }
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
