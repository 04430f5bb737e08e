//! AimDB by its two doors: a [`Record`] without stages for tasks, a [`Door`] for threads.

use std::sync::Arc;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Producer, Reader};
use aimdb_sync::{Attach, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;

use super::{Get, Read, Set, TryRead, TryWrite, Write};
use crate::payload::{Payload, Value};

const KEY: &str = "bench";

/// A record of a database without stages, seen through its handles.
#[derive(Clone, Debug)]
pub struct Record<P: Payload = Value> {
    /// Writes it.
    pub producer: Producer<P, TokioAdapter>,
    /// Without it the record closes.
    _db: Arc<AimDb<TokioAdapter>>,
}

fn declared<P: Payload>(buffer: BufferCfg) -> AimDbBuilder<TokioAdapter> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<P>(KEY, |reg| {
        reg.buffer(buffer);
    });
    builder
}

/// A record and `readers` readers of it.
///
/// # Panics
///
/// If the database refuses to be built, which would be a bug here.
#[must_use]
pub fn record<P: Payload>(buffer: BufferCfg, readers: usize) -> (Record<P>, Vec<Reader<P>>) {
    let db = declared::<P>(buffer).build().expect("one record with a buffer");
    let consumer = db.consumer::<P>(KEY).expect("configured above");
    let readers = (0..readers).map(|_| consumer.subscribe().expect("still open")).collect();
    (Record { producer: db.producer(KEY).expect("configured above"), _db: Arc::new(db) }, readers)
}

impl<P: Payload> TryWrite<P> for Record<P> {
    #[inline]
    fn try_write(&mut self, value: P) {
        self.producer.try_produce(value).expect("open and not full");
    }
}

impl<P: Payload> Write<P> for Record<P> {
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

/// A producer at the blocking door.
#[derive(Clone, Debug)]
pub struct Door<P: Payload = Value> {
    producer: SyncProducer<P>,
    /// Without it the database ends.
    _handle: Arc<SyncHandle>,
}

/// A record at the blocking door, and the one consumer of it.
///
/// # Panics
///
/// If the database refuses to be built, which would be a bug here.
#[must_use]
pub fn door<P: Payload>(buffer: BufferCfg) -> (Door<P>, Vec<SyncConsumer<P>>) {
    let handle = declared::<P>(buffer).attach().expect("one record with a buffer");
    let consumer = handle.consumer(KEY).expect("configured above");
    let producer = handle.producer(KEY).expect("configured above");
    (Door { producer, _handle: Arc::new(handle) }, vec![consumer])
}

impl<P: Payload> TryWrite<P> for Door<P> {
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

impl<P: Payload> Set<P> for Door<P> {
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
