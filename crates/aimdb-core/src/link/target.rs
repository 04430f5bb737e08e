//! What a user may name as the other end of a link: text, an [`Address`], or a connector's typed target.

use alloc::string::{String, ToString};

use crate::address::Address;
use crate::graph::node::LinkNode;
use crate::sync::Arc;

/// A topic computed from the value.
pub type TopicFn<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// Where a record can be sent: a text, an [`Address`], or a connector's typed target.
pub trait OutboundTarget<T> {
    /// The address as written and as understood.
    fn node(&self) -> LinkNode;

    /// The topic for each value, if it is computed.
    fn topic(&self) -> Option<TopicFn<T>> {
        None
    }
}

/// Where a record can come from: a text, an [`Address`], or a connector's typed target.
pub trait InboundTarget {
    /// The address as written and as understood.
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
