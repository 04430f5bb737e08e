//! The queued bridges: a channel and a task between a caller and a record.
//!
//! ```text
//! set ─▶ tokio mpsc(n) ─▶ ForwardTask ─▶ [buffer]       the send wakes the task
//! [buffer] ─▶ FillTask ─▶ std mpsc(n) ─▶ get            the read parks until the task wakes it
//! ```
//!
//! A shutdown drains the queues of producers before it closes the records; [`DrainTracker`] knows all of them. It need not
//! drain the queues of consumers: a consumer reads its queue, and after it the record, also when the database is closed.

mod consumer;
mod drain;
mod producer;

pub(crate) use consumer::{QueuedConsumer, QueuedTicket};
pub(crate) use drain::DrainTracker;
pub(crate) use producer::QueuedProducer;
