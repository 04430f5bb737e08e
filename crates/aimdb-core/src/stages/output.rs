//! The pending output of a transform.

use core::task::{Context, Poll};

use crate::buffer::{Closed, WaitTicket};
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// The output value that a transform has made and its record has not yet accepted.
pub(super) struct PendingOutput<T: Record> {
    producer: Producer<T, ()>,
    pub(super) value: Option<T>,
    ticket: WaitTicket,
}

impl<T: Record> PendingOutput<T> {
    pub(super) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { producer: Producer::new(record), value: None, ticket: WaitTicket::default() }
    }

    /// Completes when the record has accepted the value, or if no value is pending.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        match self.value {
            None => Poll::Ready(Ok(())),
            Some(_) => self.producer.poll_produce(&mut self.value, &mut self.ticket, cx),
        }
    }
}

impl<T: Record> Drop for PendingOutput<T> {
    fn drop(&mut self) {
        self.producer.cancel_wait(&mut self.ticket);
    }
}
