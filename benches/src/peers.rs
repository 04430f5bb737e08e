//! The contestants behind two small traits, so that a case is written once for all of them.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Producer, Reader};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use crate::Value;
use crate::kit::Fate;

/// The end that values go into.
pub trait Write: Send + 'static {
    /// Accepts a value now. No contestant is full or closed when it is asked.
    fn try_write(&self, value: Value);

    /// Accepts a value, waiting for room where there is none.
    fn write(&self, value: Value) -> impl Future<Output = ()> + Send;
}

/// The end that values come out of.
pub trait Read: Send + 'static {
    /// The next value, if there is one.
    fn try_read(&mut self) -> Option<Value>;

    /// The next value, waiting for it.
    fn read(&mut self) -> impl Future<Output = Value> + Send;

    /// How many values it was told it had lost.
    fn lagged(&self) -> u64 {
        0
    }
}

/// Reads to the last value of a stream.
pub async fn drain(mut reader: impl Read) -> Fate {
    let mut delivered = 1;
    while !std::hint::black_box(reader.read().await).is_last() {
        delivered += 1;
    }
    Fate { delivered, lagged: reader.lagged() }
}

/// A record of a database without stages, seen through its handles.
#[derive(Debug)]
pub struct Record {
    /// Writes it.
    pub producer: Producer<Value, TokioAdapter>,
    /// Without it the record closes.
    _db: AimDb<TokioAdapter>,
}

/// A record and `readers` readers of it.
///
/// # Panics
///
/// If the database refuses to be built, which would be a bug here.
#[must_use]
pub fn record(buffer: BufferCfg, readers: usize) -> (Record, Vec<Reader<Value>>) {
    const KEY: &str = "bench";
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<Value>(KEY, |reg| {
        reg.buffer(buffer);
    });
    let db = builder.build().expect("one record with a buffer");
    let consumer = db.consumer::<Value>(KEY).expect("configured above");
    let readers = (0..readers).map(|_| consumer.subscribe().expect("still open")).collect();
    (Record { producer: db.producer(KEY).expect("configured above"), _db: db }, readers)
}

impl Write for Record {
    #[inline]
    fn try_write(&self, value: Value) {
        self.producer.try_produce(value).expect("open and not full");
    }

    #[inline]
    async fn write(&self, value: Value) {
        self.producer.produce(value).await.expect("open");
    }
}

impl Read for Reader<Value> {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        self.try_recv().ok()
    }

    #[inline]
    async fn read(&mut self) -> Value {
        self.recv().await.expect("open")
    }

    fn lagged(&self) -> u64 {
        Reader::lagged(self)
    }
}

/// A broadcast receiver that counts what it lost, as a [`Reader`] does.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Value>,
    lagged: u64,
}

/// Tokio's broadcast channel.
#[must_use]
pub fn broadcast(capacity: usize, readers: usize) -> (broadcast::Sender<Value>, Vec<Listener>) {
    let sender = broadcast::Sender::new(capacity);
    let listen = |_| Listener { receiver: sender.subscribe(), lagged: 0 };
    let readers = (0..readers).map(listen).collect();
    (sender, readers)
}

impl Write for broadcast::Sender<Value> {
    #[inline]
    fn try_write(&self, value: Value) {
        self.send(value).expect("a receiver lives");
    }

    #[inline]
    async fn write(&self, value: Value) {
        self.try_write(value);
    }
}

/// A writer that gives way now and then, as a record's does by itself.
#[derive(Debug)]
pub struct Polite<W>(pub W);

impl<W: Write + Sync> Write for Polite<W> {
    #[inline]
    fn try_write(&self, value: Value) {
        self.0.try_write(value);
    }

    #[inline]
    async fn write(&self, value: Value) {
        tokio::task::coop::consume_budget().await;
        self.0.write(value).await;
    }
}

impl Read for Listener {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        self.receiver.try_recv().ok()
    }

    #[inline]
    async fn read(&mut self) -> Value {
        loop {
            match self.receiver.recv().await {
                Ok(value) => return value,
                Err(RecvError::Lagged(missed)) => self.lagged += missed,
                Err(RecvError::Closed) => panic!("the sender lives"),
            }
        }
    }

    fn lagged(&self) -> u64 {
        self.lagged
    }
}

/// Tokio's bounded queue.
#[must_use]
pub fn mpsc(capacity: usize) -> (mpsc::Sender<Value>, Vec<mpsc::Receiver<Value>>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, vec![receiver])
}

impl Write for mpsc::Sender<Value> {
    #[inline]
    fn try_write(&self, value: Value) {
        self.try_send(value).expect("open and not full");
    }

    #[inline]
    async fn write(&self, value: Value) {
        self.send(value).await.expect("open");
    }
}

impl Read for mpsc::Receiver<Value> {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        self.try_recv().ok()
    }

    #[inline]
    async fn read(&mut self) -> Value {
        self.recv().await.expect("open")
    }
}

/// Tokio's watch channel.
#[must_use]
pub fn watch() -> (watch::Sender<Value>, Vec<watch::Receiver<Value>>) {
    let (sender, receiver) = watch::channel(Value::new(0));
    (sender, vec![receiver])
}

impl Write for watch::Sender<Value> {
    #[inline]
    fn try_write(&self, value: Value) {
        self.send(value).expect("a receiver lives");
    }

    #[inline]
    async fn write(&self, value: Value) {
        self.try_write(value);
    }
}

impl Read for watch::Receiver<Value> {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        Some(*self.borrow_and_update())
    }

    #[inline]
    async fn read(&mut self) -> Value {
        self.changed().await.expect("the sender lives");
        *self.borrow_and_update()
    }
}

/// What people write by hand for one pending command: a slot and a bell.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<(Mutex<Option<Value>>, Notify)>);

/// A slot's two ends.
#[must_use]
pub fn slot() -> (Slot, Vec<Slot>) {
    let slot = Slot::default();
    (slot.clone(), vec![slot])
}

impl Write for Slot {
    #[inline]
    fn try_write(&self, value: Value) {
        let (pending, bell) = &*self.0;
        *pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        bell.notify_one();
    }

    #[inline]
    async fn write(&self, value: Value) {
        self.try_write(value);
    }
}

impl Read for Slot {
    #[inline]
    fn try_read(&mut self) -> Option<Value> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    #[inline]
    async fn read(&mut self) -> Value {
        loop {
            if let Some(value) = self.try_read() {
                return value;
            }
            self.0.1.notified().await;
        }
    }
}
