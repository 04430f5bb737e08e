//! The async API. Its futures are polled by hand.

use aimdb_core::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    AimDb, AimDbBuilder, BufferCfg, Closed, Consumer, Event, ProduceError, ProduceManyError,
    Producer, Reader, Record, Runtime, SubscribeError, TryProduceError, TryRecvError,
};

use super::api::{OpenRecord, RecordApi, RecordReader, Takers};

/// The async API, as the suite's subject: `Producer`, `Consumer` and `Reader`.
///
/// The suite uses the runtime's clock alone. It spawns no stage.
#[derive(Debug)]
pub struct AsyncApi<R>(
    /// The runtime.
    pub Arc<R>,
);

const KEY: &str = "record";

impl<R: Runtime> RecordApi for AsyncApi<R> {
    type Open<T: Record> = AsyncRecord<T, R>;

    fn open<T: Record>(&self, cfg: BufferCfg, takers: Takers) -> AsyncRecord<T, R> {
        let mut builder = AimDbBuilder::new().runtime(Arc::clone(&self.0));
        builder.configure::<T>(KEY, |reg| {
            reg.buffer(cfg);
            if takers == Takers::Many {
                reg.shared();
            }
        });
        let db = builder.build().expect("a record with a buffer is a valid graph");
        let producer = db.producer(KEY).expect("the graph has the record");
        let consumer = db.consumer(KEY).expect("the graph has the record");
        AsyncRecord { db, producer, consumer }
    }
}

/// An open record of the async API: a database, and the handles of its one record.
#[derive(Debug)]
pub struct AsyncRecord<T: Record, R: Runtime> {
    db: AimDb<R>,
    producer: Producer<T, R>,
    consumer: Consumer<T, R>,
}

impl<T: Record, R: Runtime> OpenRecord<T> for AsyncRecord<T, R> {
    type Reader = Reader<T>;

    fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        self.producer.try_produce(value)
    }

    fn produce_during(&self, value: T, during: impl FnOnce()) -> Poll<Result<(), ProduceError<T>>> {
        poll_during(self.producer.produce(value), during)
    }

    fn produce_many(&self, values: Vec<T>) -> Poll<Result<usize, ProduceManyError>> {
        poll_during(self.producer.produce_many(values), || ())
    }

    fn subscribe(&self) -> Result<Reader<T>, SubscribeError> {
        self.consumer.subscribe()
    }

    fn latest(&self) -> Option<T> {
        self.consumer.latest()
    }

    fn close(&self) {
        let report = poll_during(self.db.shutdown(Duration::ZERO), || ());
        assert!(report.is_ready(), "a database without stages shuts down at once");
    }

    fn metrics(&self) -> Option<RecordMetrics> {
        self.db.metrics().record(KEY).cloned()
    }
}

impl<T: Record> RecordReader<T> for Reader<T> {
    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        Reader::try_recv(self)
    }

    fn recv_during(&mut self, during: impl FnOnce()) -> Poll<Result<T, Closed>> {
        poll_during(Reader::recv(self), during)
    }

    fn next_event(&mut self) -> Poll<Result<Event<T>, Closed>> {
        poll_during(Reader::next_event(self), || ())
    }

    fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Poll<Result<usize, Closed>> {
        poll_during(Reader::recv_many(self, into, limit), || ())
    }

    fn lagged(&self) -> u64 {
        Reader::lagged(self)
    }

    fn pending(&self) -> Option<u64> {
        Some(Reader::pending(self))
    }

    fn latest(&self) -> Option<T> {
        Reader::latest(self)
    }
}

/// Polls `future`, runs `during`, and polls again only if the future was woken. Drops a pending future.
fn poll_during<F: Future>(future: F, during: impl FnOnce()) -> Poll<F::Output> {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let first = poll_while_woken(future.as_mut(), &woken);
    during();
    if first.is_ready() { first } else { poll_while_woken(future, &woken) }
}

fn poll_while_woken<F: Future>(mut future: Pin<&mut F>, woken: &Arc<Woken>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(woken));
    while woken.0.swap(false, SeqCst) {
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            return polled;
        }
    }
    Poll::Pending
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}
