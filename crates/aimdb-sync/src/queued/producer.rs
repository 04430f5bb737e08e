//! The queue from a producer to a record, and the task that empties it.

use std::sync::Arc;

use aimdb_core::{Producer, Record};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use super::drain::{DrainTracker, TrackedQueue};

/// The largest number of values that the task takes from the queue at once. It makes room for as many with one operation, so
/// a producer that waits for room is woken once for all of them.
const LARGEST_BATCH: usize = 64;

/// What the task may take at once from a queue of `capacity` values: a sixteenth, so that hardly more values than those wait
/// on their way to the record.
fn batch(capacity: usize) -> usize {
    (capacity / 16).clamp(1, LARGEST_BATCH)
}

/// The producer's end of a queue to a record.
pub(crate) struct QueuedProducer<T: Record> {
    pub(crate) queue: mpsc::Sender<T>,
    handles: Arc<CloseOnDrop>,
}

impl<T: Record> Clone for QueuedProducer<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), handles: Arc::clone(&self.handles) }
    }
}

/// Closes the queue when its last producer is dropped. The channel does not close by itself: the [`TrackedQueue`] keeps a
/// sender too, to count the values in the queue.
struct CloseOnDrop(Arc<TrackedQueue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.closing.notify_one();
    }
}

impl<T: Record> QueuedProducer<T> {
    /// Makes the queue and starts its task. After the begin of a shutdown the queue is closed from the start.
    pub(crate) fn start(
        tokio: &Handle,
        producer: Producer<T, TokioAdapter>,
        capacity: usize,
        drain: &DrainTracker,
    ) -> Self {
        let (queue, mut values) = mpsc::channel(capacity.min(Semaphore::MAX_PERMITS));
        let sender = queue.clone();
        let len = move || sender.max_capacity() - sender.capacity();
        let tracked = Arc::new(TrackedQueue::new(producer.key().into(), len));
        let handles = Arc::new(CloseOnDrop(Arc::clone(&tracked)));
        if drain.register(&tracked) {
            let task = ForwardTask { values, producer, tracked, drain: drain.clone() };
            tokio.spawn(task.run(batch(capacity)));
        } else {
            values.close();
        }
        Self { queue, handles }
    }
}

/// The task that forwards values from the queue into the record.
struct ForwardTask<T: Record> {
    values: mpsc::Receiver<T>,
    producer: Producer<T, TokioAdapter>,
    tracked: Arc<TrackedQueue>,
    drain: DrainTracker,
}

impl<T: Record> ForwardTask<T> {
    /// Forwards values until the queue is closed and empty. A dropped last producer and a shutdown close the queue; so does
    /// a closed record, whose refused values stay counted as in progress.
    async fn run(mut self, limit: usize) {
        let mut open = true;
        let mut batch = Vec::with_capacity(limit);
        loop {
            let taken = tokio::select! {
                biased;
                () = self.tracked.closing.notified(), if open => {
                    open = false;
                    self.values.close();
                    continue;
                }
                taken = self.values.recv_many(&mut batch, limit) => taken,
            };
            if taken == 0 {
                return;
            }
            self.tracked.begin_forward(taken as u64);
            for value in batch.drain(..) {
                match self.producer.produce(value).await {
                    Ok(()) => self.tracked.end_forward(),
                    Err(_closed) => self.values.close(),
                }
            }
        }
    }
}

impl<T: Record> Drop for ForwardTask<T> {
    /// Reports the values not forwarded: at the end of `run`, or at the await point where the runtime dropped the task.
    fn drop(&mut self) {
        self.values.close();
        let undelivered = self.tracked.in_progress() + self.values.len() as u64;
        self.drain.unregister(&self.tracked, undelivered);
    }
}
