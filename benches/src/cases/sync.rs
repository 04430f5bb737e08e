//! The sync API next to its alternatives for threads: `std::sync::mpsc::sync_channel`, and Tokio's broadcast with a
//! reader that parks.

use std::hint::black_box;
use std::sync::Arc;
use std::thread;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_sync::{Attach, SyncConsumer, SyncHandle, SyncProducer};
use aimdb_tokio_adapter::TokioAdapter;

use crate::kit::{Case, Delivery, Run, Scale, on_threads, time};
use crate::payload::{Payload, Value, stream, sum};
use crate::peers::{self, Get, Set, TryRead, get_all, get_all_many};
use crate::table::Table;

const DEPTH: usize = 1024;
const BATCH: usize = 256;
const RING: BufferCfg = BufferCfg::SpmcRing { capacity: DEPTH };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: DEPTH };
const KEYS: [&str; 2] = ["there", "back"];

/// A database with two records, without stages.
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

pub(super) fn write_then_read(scale: Scale) -> Table {
    let operations = scale.operations(500_000);
    let (sender, mut subscriber) = single_reader(peers::broadcast(DEPTH, 1));
    let handle = database(RING);
    let (producer, consumer) = direct(&handle, KEYS[0]);
    Case::against("broadcast", "same thread, set + try_get: ring(1024) / broadcast(1024)")
        .contestant("broadcast", || {
            let elapsed = time(|| {
                for n in 0..operations {
                    sender.send(Value::new(black_box(n))).expect("a receiver lives");
                    black_box(subscriber.try_read().map(|value: Value| value.digest()));
                }
            });
            Run::new(operations, elapsed)
        })
        .contestant("aimdb set + try_get", || {
            let elapsed = time(|| {
                for n in 0..operations {
                    producer.set(Value::new(black_box(n))).expect("attached");
                    black_box(consumer.try_get().ok().map(|value| value.digest()));
                }
            });
            Run::new(operations, elapsed)
        })
        .run(scale)
}

pub(super) fn wake(scale: Scale) -> Table {
    let (rings, queues) = (database(RING), database(QUEUE));
    Case::against("sync_channel", "two parked threads, one way (half a round trip)")
        .contestant("sync_channel", || {
            ping_pong_run(scale, || single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("broadcast, blocking_recv", || {
            ping_pong_run(scale, || single_reader(peers::broadcast(DEPTH, 1)))
        })
        .contestant("aimdb queue", || records(scale, &queues, direct))
        .contestant("aimdb ring", || records(scale, &rings, direct))
        .run(scale)
}

pub(super) fn flow(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against("sync_channel", "two threads, per value: queue(1024) / sync_channel(1024)")
        .contestant("sync_channel", || {
            transfer::<Value, _, _>(scale, single_reader(peers::sync_channel(DEPTH)))
        })
        .contestant("aimdb queue", || transfer(scale, direct(&handle, KEYS[0])))
        .run(scale)
}

pub(super) fn batches(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against(
        "sync_channel",
        "two threads, per value, in batches: queue(1024) / sync_channel(1024)",
    )
    .contestant("sync_channel", || {
        transfer::<Value, _, _>(scale, single_reader(peers::sync_channel(DEPTH)))
    })
    .contestant("aimdb, get_many(256)", || {
        let (mut producer, consumer) = direct(&handle, KEYS[0]);
        let write =
            || stream(values(scale)).for_each(|value| Set::set(&mut producer, black_box(value)));
        measured::<Value>(scale, write, || get_all_many(consumer, BATCH))
    })
    .contestant("aimdb, set_many too", || {
        transfer_batches::<Value, _, _>(scale, direct(&handle, KEYS[0]))
    })
    .run(scale)
}

/// The writer and its only reader.
pub fn single_reader<W, R>((writer, mut readers): (W, Vec<R>)) -> (W, R) {
    (writer, readers.remove(0))
}

pub(super) fn bridges(scale: Scale) -> Table {
    let handle = database(QUEUE);
    Case::against("direct", "bridges of 1024, two threads, per value: queue(1024)")
        .contestant("direct", || transfer(scale, direct(&handle, KEYS[0])))
        .contestant("queued into the engine", || transfer(scale, queued_in(&handle, KEYS[0])))
        .contestant("queued out of it", || transfer(scale, queued_out(&handle, KEYS[0])))
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

/// Sends a stream of values from one thread to another.
pub(super) fn transfer<P: Payload, S: Set<P>, G: Get<P>>(
    scale: Scale,
    (mut setter, getter): (S, G),
) -> Run {
    let write = || stream(values(scale)).for_each(|value| setter.set(black_box(value)));
    measured::<P>(scale, write, || get_all(getter))
}

/// Sends a stream of values from one thread to another, in batches.
pub(super) fn transfer_batches<P: Payload, S: Set<P>, G: Get<P>>(
    scale: Scale,
    (mut setter, getter): (S, G),
) -> Run {
    let write = || setter.set_many(stream(values(scale)).map(black_box));
    measured::<P>(scale, write, || get_all_many(getter, BATCH))
}

fn measured<P: Payload>(
    scale: Scale,
    write: impl FnOnce() + Send,
    read: impl FnOnce() -> Delivery + Send,
) -> Run {
    let flow = on_threads(vec![write], vec![read]);
    let delivery: Delivery = flow.outcomes.into_iter().sum();
    assert_eq!(delivery.delivered, values(scale), "nothing is lost");
    assert_eq!(delivery.sum, sum::<P>(values(scale)), "what came out is what went in");
    Run::new(delivery.delivered, flow.read)
}

fn records<S: Set + Clone, G: Get>(
    scale: Scale,
    handle: &SyncHandle,
    open: fn(&SyncHandle, &'static str) -> (S, G),
) -> Run {
    let mut keys = KEYS.into_iter();
    ping_pong_run(scale, || open(handle, keys.next().expect("two channels")))
}

/// Two threads send one value back and forth; the receiver is parked. The time is of one direction.
fn ping_pong_run<S: Set + Clone, G: Get>(scale: Scale, mut make: impl FnMut() -> (S, G)) -> Run {
    let trips = scale.operations(10_000);
    let ((mut ping, mut pinged), (pong, mut ponged)) = (make(), make());
    thread::scope(|scope| {
        // A clone keeps the second channel open until both threads are done.
        let mut back = pong.clone();
        scope.spawn(move || (0..trips).for_each(|_| back.set(black_box(pinged.get()))));
        let elapsed = time(|| {
            for n in 0..trips {
                ping.set(black_box(Value::new(n)));
                black_box(ponged.get());
            }
        });
        Run::new(2 * trips, elapsed)
    })
}
