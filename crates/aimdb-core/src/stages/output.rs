//! The pending output of a transform.

use core::task::{Context, Poll};

use crate::buffer::error::Closed;
use crate::handle::producer::Producer;
use crate::key::Record;
use crate::record::RecordCell;
use crate::sync::Arc;
use crate::wait::WaitGuard;

/// The output value that a transform has made and its record has not yet accepted.
pub(super) struct PendingOutput<T: Record> {
    wait: WaitGuard<Producer<T, ()>>,
    pub(super) value: Option<T>,
}

impl<T: Record> PendingOutput<T> {
    pub(super) fn new(record: Arc<RecordCell<T>>) -> Self {
        Self { wait: WaitGuard::new(Producer::new(record)), value: None }
    }

    /// Sets the value that a transform's closure made of its input, or counts that it made none.
    pub(super) fn set_or_count(&mut self, value: Option<T>) {
        if value.is_none() {
            self.wait.on.count_filtered();
        }
        self.value = value;
    }

    /// Completes when the record has accepted the value, or if no value is pending.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let Self { wait, value } = self;
        match value {
            None => Poll::Ready(Ok(())),
            Some(_) => wait.on.poll_produce(value, &mut wait.ticket, cx),
        }
    }
}
