//! What stages and callers hold of a record, and the futures of its operations.

pub(crate) mod budget;
pub(crate) mod consumer;
pub(crate) mod observer;
pub(crate) mod producer;
pub(crate) mod reader;

pub use observer::See;
pub use producer::{Produce, ProduceMany, ProduceWith};
pub use reader::{NextEvent, Recv, RecvMany, RecvWith};
