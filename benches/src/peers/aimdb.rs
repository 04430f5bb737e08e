//! AimDB through its two APIs: the async one as a [`Record`] without stages, the sync one as a [`SyncRecord`].

use std::sync::Arc;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Observer, Producer, Reader, SendRuntime};
use aimdb_sync::{Attach, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;

use super::traits::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

const KEY: &str = "bench";

/// The producer of a record in a database without stages.
#[derive(Clone, Debug)]
pub struct Record<P: Payload = Value, R: SendRuntime = TokioAdapter> {
    /// The producer.
    pub producer: Producer<P, R>,
    /// Keeps the record open.
    db: Arc<AimDb<R>>,
}

fn builder_with_record<P: Payload, R: SendRuntime>(
    runtime: R,
    buffer: BufferCfg,
) -> AimDbBuilder<R> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(runtime));
    builder.configure::<P>(KEY, |reg| {
        reg.buffer(buffer).written_from_outside().read_from_outside();
    });
    builder
}

/// Creates a record with `readers` readers.
///
/// # Panics
///
/// If the graph has findings, which would be a bug of this function.
#[must_use]
pub fn record<P: Payload>(buffer: BufferCfg, readers: usize) -> (Record<P>, Vec<Reader<P>>) {
    record_on(TokioAdapter, buffer, readers)
}

/// [`record`] on another runtime.
///
/// # Panics
///
/// As [`record`].
#[must_use]
pub fn record_on<P: Payload, R: SendRuntime>(
    runtime: R,
    buffer: BufferCfg,
    readers: usize,
) -> (Record<P, R>, Vec<Reader<P>>) {
    let db =
        builder_with_record::<P, R>(runtime, buffer).build().expect("one record with a buffer");
    let consumer = db.consumer::<P>(KEY).expect("configured above");
    let readers = (0..readers).map(|_| consumer.subscribe().expect("still open")).collect();
    (Record { producer: db.producer(KEY).expect("configured above"), db: Arc::new(db) }, readers)
}

impl<P: Payload, R: SendRuntime> Record<P, R> {
    /// [`TryWrite::try_write`] of a value that is made in its place.
    #[inline]
    pub fn try_write_with(&self, make: impl FnOnce() -> P) {
        self.producer.try_produce_with(make).expect("open and not full");
    }

    /// Observes the record.
    ///
    /// # Panics
    ///
    /// If there is no memory for it.
    #[must_use]
    pub fn observe(&self, name: &str) -> Observer<P> {
        let consumer = self.db.consumer::<P>(KEY).expect("configured above");
        consumer.observe(name).expect("still open")
    }
}

impl<P: Payload, R: SendRuntime> TryWrite<P> for Record<P, R> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.try_produce(value).expect("open and not full");
    }
}

impl<P: Payload, R: SendRuntime> Write<P> for Record<P, R> {
    #[inline]
    async fn write(&mut self, value: P) {
        self.producer.produce(value).await.expect("open");
    }

    async fn write_many(&mut self, values: impl Iterator<Item = P> + Send) {
        self.producer.produce_many(values).await.expect("open");
    }
}

impl<P: Payload> TryRead<P> for Reader<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.try_recv().ok()
    }

    fn lagged(&self) -> u64 {
        Reader::lagged(self)
    }
}

impl<P: Payload> Read<P> for Reader<P> {
    #[inline]
    async fn read(&mut self) -> P {
        self.recv().await.expect("open")
    }

    async fn read_many(&mut self, into: &mut Vec<P>, limit: usize) {
        self.recv_many(into, limit).await.expect("open");
    }
}

/// The producer of a record, of the sync API.
#[derive(Clone, Debug)]
pub struct SyncRecord<P: Payload = Value> {
    producer: SyncProducer<P>,
    /// Keeps the database running.
    _handle: Arc<SyncHandle>,
}

/// Creates a record of the sync API with one consumer.
///
/// # Panics
///
/// If the graph has findings, which would be a bug of this function.
#[must_use]
pub fn sync_record<P: Payload>(buffer: BufferCfg) -> (SyncRecord<P>, Vec<SyncConsumer<P>>) {
    let handle = builder_with_record::<P, _>(TokioAdapter, buffer)
        .attach()
        .expect("one record with a buffer");
    let consumer = handle.consumer(KEY).expect("configured above");
    let producer = handle.producer(KEY).expect("configured above");
    (SyncRecord { producer, _handle: Arc::new(handle) }, vec![consumer])
}

impl<P: Payload> TryWrite<P> for SyncRecord<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.try_set(value).expect("attached and not full");
    }
}

impl<P: Payload> TryRead<P> for SyncConsumer<P> {
    #[inline]
    fn try_read(&mut self) -> Option<P> {
        self.try_get().ok()
    }
}

impl<P: Payload> Set<P> for SyncRecord<P> {
    #[inline]
    fn set(&mut self, value: P) {
        self.producer.set(value).expect("attached");
    }

    fn set_many(&mut self, values: impl Iterator<Item = P>) {
        self.producer.set_many(values).expect("attached");
    }
}

impl<P: Payload> Set<P> for SyncProducer<P> {
    #[inline]
    fn set(&mut self, value: P) {
        Self::set(self, value).expect("attached");
    }
}

impl<P: Payload> Get<P> for SyncConsumer<P> {
    #[inline]
    fn get(&mut self) -> P {
        Self::get(self).expect("attached")
    }

    fn get_many(&mut self, into: &mut Vec<P>, limit: usize) {
        Self::get_many(self, into, limit).expect("attached");
    }
}
