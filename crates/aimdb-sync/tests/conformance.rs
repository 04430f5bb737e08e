//! The buffer conformance suite, through the direct handles of the sync API.

mod common;

use std::cell::Cell;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, Record, SubscribeError,
    TryProduceError, TryRecvError,
};
use aimdb_sync::{
    Attach, CancelToken, GetError, OpenError, SetError, SyncConsumer, SyncHandle, SyncProducer,
    WaitLimit,
};
use aimdb_testing::buffers::{OpenRecord, RecordApi, RecordReader, Takers};

/// How long a call waits. The actions of the suite during a wait take microseconds.
const WAIT_LIMIT: Duration = Duration::from_millis(250);

struct SyncApi;

struct Open<T: Record> {
    handle: SyncHandle,
    producer: SyncProducer<T>,
    /// The number of writers that wait while the suite acts.
    waiting: Cell<u32>,
}

struct Reader<T: Record>(SyncConsumer<T>);

impl RecordApi for SyncApi {
    type Open<T: Record> = Open<T>;

    fn open<T: Record>(&self, cfg: BufferCfg, takers: Takers) -> Open<T> {
        let mut builder = common::builder();
        builder.configure::<T>("r", |reg| {
            reg.buffer(cfg);
            if takers == Takers::Many {
                reg.shared();
            }
        });
        let handle = builder.attach().unwrap();
        let producer = handle.producer("r").unwrap();
        Open { handle, producer, waiting: Cell::new(0) }
    }
}

impl<T: Record> Open<T> {
    fn counted(&self) -> RecordMetrics {
        self.handle.metrics().record("r").unwrap().clone()
    }

    /// The number of values that a writer can write without a wait.
    fn room(&self) -> usize {
        let counted = self.counted();
        match counted.buffer {
            BufferCfg::SpmcQueue { capacity }
                if !counted.readers.is_empty() && !self.handle.is_closed() =>
            {
                capacity - counted.depth
            }
            _ => usize::MAX,
        }
    }
}

impl<T: Record> OpenRecord<T> for Open<T> {
    type Reader = Reader<T>;

    fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>> {
        self.producer.try_set(value).map_err(|error| match error {
            SetError::Full(value) => TryProduceError::Full(value),
            SetError::Closed(value) => TryProduceError::Closed(value),
            other => panic!("{other}"),
        })
    }

    fn produce_during(&self, value: T, during: impl FnOnce()) -> Poll<Result<(), ProduceError<T>>> {
        let before = self.waiting.get();
        self.waiting.set(before + 1);
        // A writer that begins to wait while another writer waits times out first.
        let limit = 4 * WAIT_LIMIT / (before + 1).pow(2);
        let producer = &self.producer;
        let outcome = thread::scope(|scope| {
            let writer = scope.spawn(move || producer.set_with_timeout(value, limit));
            common::eventually("the writer waits, or has finished", || {
                let waiting = common::blocked_writers(&self.handle, "r");
                writer.is_finished() || waiting > before as usize
            });
            during();
            writer.join().unwrap()
        });
        self.waiting.set(before);
        match outcome {
            Ok(()) => Poll::Ready(Ok(())),
            Err(SetError::Closed(value)) => Poll::Ready(Err(ProduceError(value))),
            Err(SetError::Timeout(_)) => Poll::Pending,
            Err(other) => panic!("{other}"),
        }
    }

    fn produce_many(&self, values: Vec<T>) -> Poll<Result<usize, ProduceManyError>> {
        let all = values.len();
        match self.producer.set_many(values.into_iter().take(self.room())) {
            Ok(set) if set == all => Poll::Ready(Ok(set)),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Err(ProduceManyError { accepted: error.accepted })),
        }
    }

    fn subscribe(&self) -> Result<Reader<T>, SubscribeError> {
        match self.handle.consumer("r") {
            Ok(consumer) => Ok(Reader(consumer)),
            Err(OpenError::Subscribe(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    fn latest(&self) -> Option<T> {
        self.handle.latest("r").unwrap()
    }

    fn close(&self) {
        self.handle.shutdown(Duration::from_secs(10)).unwrap();
    }

    fn metrics(&self) -> Option<RecordMetrics> {
        Some(self.counted())
    }
}

fn polled<O>(outcome: Result<O, GetError>) -> Poll<Result<O, Closed>> {
    match outcome {
        Ok(got) => Poll::Ready(Ok(got)),
        Err(GetError::Closed) => Poll::Ready(Err(Closed)),
        Err(GetError::Empty | GetError::Timeout | GetError::Cancelled) => Poll::Pending,
        Err(other) => panic!("{other}"),
    }
}

impl<T: Record> RecordReader<T> for Reader<T> {
    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_get().map_err(|error| match error {
            GetError::Empty => TryRecvError::Empty,
            GetError::Closed => TryRecvError::Closed,
            other => panic!("{other}"),
        })
    }

    fn recv_during(&mut self, during: impl FnOnce()) -> Poll<Result<T, Closed>> {
        let cancel = CancelToken::new();
        thread::scope(|scope| {
            let reader = scope.spawn(|| self.0.get_within(WaitLimit::none().or_cancelled(&cancel)));
            // There is no sign that a reader waits. A reader that does not wait yet will try once more.
            thread::sleep(WAIT_LIMIT / 25);
            during();
            // On a busy machine `during` may last longer than a time limit would allow, so the wait is cancelled instead. A
            // cancelled reader still takes a value that is there.
            let began = Instant::now();
            while !reader.is_finished() && began.elapsed() < WAIT_LIMIT {
                thread::sleep(Duration::from_millis(1));
            }
            cancel.cancel();
            polled(reader.join().unwrap())
        })
    }

    fn next_event(&mut self) -> Poll<Result<Event<T>, Closed>> {
        polled(self.0.try_next_event())
    }

    fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Poll<Result<usize, Closed>> {
        polled(self.0.try_get_many(into, limit))
    }

    fn lagged(&self) -> u64 {
        self.0.lagged()
    }

    fn pending(&self) -> Option<u64> {
        None
    }

    fn latest(&self) -> Option<T> {
        self.0.latest()
    }
}

aimdb_testing::buffer_conformance!(SyncApi, around = |case: fn()| common::watched(case));
