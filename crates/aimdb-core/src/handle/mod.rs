//! What stages and callers hold of a record, and the futures of its operations.

pub(crate) mod budget;
pub(crate) mod consumer;
pub(crate) mod producer;
pub(crate) mod reader;

pub use producer::{Produce, ProduceMany, ProduceWith};
pub use reader::{NextEvent, Recv, RecvMany, RecvWith};
