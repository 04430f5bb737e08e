//! The blocking door next to what threads use without it: `std::sync::mpsc::sync_channel`, and Tokio's broadcast with a
//! reader that parks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_sync::{Attach, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::sync::broadcast::{Receiver as Listener, Sender as Broadcast};

use crate::kit::{Case, Run, Scale, Table, time};
use crate::peers::Read;
use crate::{Value, peers, stream};

const DEPTH: usize = 1024;
const BATCH: usize = 256;
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: DEPTH };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const KEYS: [&str; 2] = ["there", "back"];

/// The end that values go into.
trait Set: Clone + Send + 'static {
    fn set(&self, value: Value);
}

/// The end that values come out of.
trait Get: Send + 'static {
    fn get(&mut self) -> Value;
}

impl Set for SyncProducer<Value> {
    fn set(&self, value: Value) {
        Self::set(self, value).expect("attached");
    }
}

impl Get for SyncConsumer<Value> {
    fn get(&mut self) -> Value {
        Self::get(self).expect("attached")
    }
}

impl Set for SyncSender<Value> {
    fn set(&self, value: Value) {
        self.send(value).expect("the receiver lives");
    }
}

impl Get for Receiver<Value> {
    fn get(&mut self) -> Value {
        self.recv().expect("the sender lives")
    }
}

impl Set for Broadcast<Value> {
    fn set(&self, value: Value) {
        self.send(value).expect("a receiver lives");
    }
}

impl Get for Listener<Value> {
    fn get(&mut self) -> Value {
        self.blocking_recv().expect("the sender lives, and nothing is lost")
    }
}

/// A database with two records and nobody at them.
fn database(buffer: BufferCfg) -> SyncHandle {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    for key in KEYS {
        builder.configure::<Value>(key, |reg| {
            reg.buffer(buffer);
        });
    }
    builder.attach().expect("two records with buffers")
}

fn direct(handle: &SyncHandle, key: &'static str) -> (SyncProducer<Value>, SyncConsumer<Value>) {
    (handle.producer(key).expect("configured"), handle.consumer(key).expect("configured"))
}

fn queued_in(handle: &SyncHandle, key: &'static str) -> (SyncProducer<Value>, SyncConsumer<Value>) {
    let producer = handle.producer_with_capacity(key, DEPTH).expect("configured");
    (producer, handle.consumer(key).expect("configured"))
}

fn queued_out(
    handle: &SyncHandle,
    key: &'static str,
) -> (SyncProducer<Value>, SyncConsumer<Value>) {
    let consumer = handle.consumer_with_capacity(key, DEPTH).expect("configured");
    (handle.producer(key).expect("configured"), consumer)
}

pub(super) fn there_and_back(scale: Scale) -> Table {
    let operations = scale.operations(500_000);
    let (sender, mut listeners) = peers::broadcast(DEPTH, 1);
    let handle = database(RING);
    let (producer, consumer) = direct(&handle, KEYS[0]);
    Case::against("broadcast", "same thread, set + try_get: ring(1024) / broadcast(1024)")
        .contestant("broadcast", || {
            let elapsed = time(|| {
                for n in 0..operations {
                    sender.send(black_box(Value::new(n))).expect("a receiver lives");
                    black_box(listeners[0].try_read());
                }
            });
            Run { operations, elapsed, fate: None }
        })
        .contestant("aimdb set + try_get", || {
            let elapsed = time(|| {
                for n in 0..operations {
                    producer.set(black_box(Value::new(n))).expect("attached");
                    black_box(consumer.try_get().ok());
                }
            });
            Run { operations, elapsed, fate: None }
        })
        .run(scale)
}

pub(super) fn wake(scale: Scale) -> Table {
    let (rings, queues) = (database(RING), database(QUEUE));
    Case::against("sync_channel", "two parked threads, one way (half a round trip)")
        .contestant("sync_channel", || rally(scale, || sync_channel(DEPTH)))
        .contestant("broadcast, blocking_recv", || {
            rally(scale, || {
                let sender = Broadcast::new(DEPTH);
                let listener = sender.subscribe();
                (sender, listener)
            })
        })
        .contestant("aimdb queue", || records(scale, &queues, direct))
        .contestant("aimdb ring", || records(scale, &rings, direct))
        .run(scale)
}

pub(super) fn flow(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against("sync_channel", "two threads, per value: queue(1024) / sync_channel(1024)")
        .contestant("sync_channel", || across(scale, sync_channel(DEPTH)))
        .contestant("aimdb queue", || across(scale, direct(&handle, KEYS[0])))
        .run(scale)
}

pub(super) fn batches(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against(
        "sync_channel",
        "two threads, per value, in batches: queue(1024) / sync_channel(1024)",
    )
    .contestant("sync_channel", || across(scale, sync_channel(DEPTH)))
    .contestant("aimdb, get_many(256)", || {
        let (producer, consumer) = direct(&handle, KEYS[0]);
        let write =
            || stream(values(scale)).for_each(|value| Set::set(&producer, black_box(value)));
        measured(scale, write, move || drain_batches(&consumer))
    })
    .contestant("aimdb, set_many too", || {
        let (producer, consumer) = direct(&handle, KEYS[0]);
        let write = || {
            let set = producer.set_many(stream(values(scale)).map(black_box));
            assert_eq!(set.ok(), Some(values(scale) as usize));
        };
        measured(scale, write, move || drain_batches(&consumer))
    })
    .run(scale)
}

pub(super) fn bridges(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against("direct", "bridges of 1024, two threads, per value: queue(1024)")
        .contestant("direct", || across(scale, direct(&handle, KEYS[0])))
        .contestant("queued into the engine", || across(scale, queued_in(&handle, KEYS[0])))
        .contestant("queued out of it", || across(scale, queued_out(&handle, KEYS[0])))
        .run(scale)
}

pub(super) fn bridges_wake(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against("direct", "bridges of 1024, two parked threads, one way: queue(1024)")
        .contestant("direct", || records(scale, &handle, direct))
        .contestant("queued into the engine", || records(scale, &handle, queued_in))
        .contestant("queued out of it", || records(scale, &handle, queued_out))
        .run(scale)
}

fn values(scale: Scale) -> u64 {
    scale.operations(200_000)
}

/// A stream from one thread to another.
fn across<S: Set, G: Get>(scale: Scale, (setter, mut getter): (S, G)) -> Run {
    let write = || stream(values(scale)).for_each(|value| setter.set(black_box(value)));
    measured(scale, write, move || {
        let mut count = 1;
        while !black_box(getter.get()).is_last() {
            count += 1;
        }
        count
    })
}

fn drain_batches(consumer: &SyncConsumer<Value>) -> u64 {
    let mut batch = Vec::with_capacity(BATCH);
    let mut count = 0;
    loop {
        count += consumer.get_many(&mut batch, BATCH).expect("attached") as u64;
        if black_box(&batch).last().is_some_and(Value::is_last) {
            return count;
        }
        batch.clear();
    }
}

fn measured(scale: Scale, write: impl FnOnce(), read: impl FnOnce() -> u64 + Send) -> Run {
    thread::scope(|scope| {
        let reader = scope.spawn(read);
        let start = Instant::now();
        write();
        let operations = reader.join().expect("reads on");
        let elapsed = start.elapsed();
        assert_eq!(operations, values(scale), "nothing is lost");
        Run { operations, elapsed, fate: None }
    })
}

fn records<S: Set, G: Get>(
    scale: Scale,
    handle: &SyncHandle,
    open: fn(&SyncHandle, &'static str) -> (S, G),
) -> Run {
    let mut keys = KEYS.into_iter();
    rally(scale, || open(handle, keys.next().expect("two channels")))
}

/// Two threads send one value back and forth, each parking until it comes. The time is of one way.
fn rally<S: Set, G: Get>(scale: Scale, mut make: impl FnMut() -> (S, G)) -> Run {
    let trips = scale.operations(10_000);
    let ((ping, mut pinged), (pong, mut ponged)) = (make(), make());
    thread::scope(|scope| {
        // Kept open until both have played.
        let back = pong.clone();
        scope.spawn(move || (0..trips).for_each(|_| back.set(black_box(pinged.get()))));
        let elapsed = time(|| {
            for n in 0..trips {
                ping.set(black_box(Value::new(n)));
                black_box(ponged.get());
            }
        });
        Run { operations: 2 * trips, elapsed, fate: None }
    })
}
