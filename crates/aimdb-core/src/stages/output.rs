//! A value on its way into the record that a stage writes.

use core::task::{Context, Poll};

use crate::buffer::error::Closed;
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;
use crate::wait::WaitGuard;

/// The output of a stage: a value that its record may not have room for yet.
pub(super) struct PendingOutput<T: Record> {
    wait: WaitGuard<Producer<T, ()>>,
    pub(super) value: Option<T>,
}

impl<T: Record> PendingOutput<T> {
    pub(super) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { wait: WaitGuard::new(Producer::new(record)), value: None }
    }

    /// Ready when the record has accepted the value, if there is one.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { wait, value } = self;
        match value {
            None => Poll::Ready(Ok(())),
            Some(_) => wait.on.poll_produce(value, &mut wait.ticket, cx),
        }
    }
}
