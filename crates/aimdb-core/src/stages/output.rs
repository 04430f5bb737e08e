//! A value on its way into the record that a stage writes.

use core::task::{Context, Poll};

use crate::buffer::{Closed, WaitTicket};
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;

/// A value on its way into the output record.
pub(super) struct PendingOutput<T: Record> {
    producer: Producer<T, ()>,
    pub(super) value: Option<T>,
    ticket: WaitTicket,
}

impl<T: Record> PendingOutput<T> {
    pub(super) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { producer: Producer::new(record), value: None, ticket: WaitTicket::default() }
    }

    /// Ready when there is nothing left to send.
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
