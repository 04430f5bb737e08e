//! The protocols of the buffers, explored by loom: every interleaving of a few operations, and
//! every value that a weak memory may show them. Each model is named after its race.
//!
//! ```sh
//! RUSTFLAGS="--cfg aimdb_loom" cargo test -p aimdb-core --lib --release models
//! ```
//!
//! # How a model fails
//!
//! Values are loom's `Arc`s, which report leaks, and loom's cells report two threads in one. A lost
//! wake-up shows as a deadlock: loom reports that no thread can continue. A lost or repeated value
//! shows in the assertions. `tools/mutants` breaks the protocols on purpose and expects these
//! models to fail.
//!
//! # Bounds
//!
//! A model has two or three threads with a few operations each, because the number of interleavings
//! grows exponentially. Buffers are as small as the race permits: one slot where values must meet,
//! two where a wrong index must show. The largest models explore two preemptions instead of three,
//! and one of them one, because more would take too long.
//!
//! # Which models cover which pair of words
//!
//! | protocol | words | models |
//! |---|---|---|
//! | a reader sleeps, a writer writes | the slot or the queue's head; `READERS_WAIT` | `a_value_arrives_while_…`, `a_batch_arrives_while_…` |
//! | a reader ends its wait, a writer notifies | the flags and the number above them | `a_reader_that_received_…` |
//! | a writer sleeps, a reader makes room | the cursors; `WRITERS_WAIT` | `a_read_makes_room_…`, `two_readers_make_room_…` |
//! | a task waits for the drain | the cursor or the slot; `DRAIN_AWAITED` | `the_last_command_is_taken_…`, `a_record_closes_while_a_task_…` |
//! | closing | the gate and the slot | `a_record_closes_while_a_value_…` |
//! | a lag is reported | the cursor and the stash | `a_lag_is_reported_…`, `a_reported_lag_…` |
//! | the last reader of a value | the cell | `two_readers_want_the_last_of_one_value` |

use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::Arc as Value;
use loom::thread;

use super::buffer::Buffer;
use super::cfg::BufferCfg;
use super::cursor::Cursor;
use super::error::{Closed, TryRecvError};
use super::event::Event;
use super::observe::{observe, unobserve};
use super::{SharedSubscription, Subscription, WaitTicket};
use crate::clock::{Clock, Instant};
use crate::metrics::RecordMetrics;

/// The configurations under test. A test that names several explores each by itself.
const RING: fn(usize) -> BufferCfg = |capacity| BufferCfg::SpmcRing { capacity };
const QUEUE: fn(usize) -> BufferCfg = |capacity| BufferCfg::SpmcQueue { capacity };
const LATEST: BufferCfg = BufferCfg::SingleLatest;
const MAILBOX: BufferCfg = BufferCfg::Mailbox;

/// A record with values whose leak or double drop loom reports.
type Record = Arc<Buffer<Value<u64>>>;
/// The subscription of one reader.
type Reader = Subscription<Value<u64>>;

/// A clock that does not advance: no model depends on time.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_nanos(0)
    }
}

/// Explores `run` with at most three preemptions, unless `LOOM_MAX_PREEMPTIONS` is set. Races of
/// this size show within three.
fn model(run: impl Fn() + Sync + Send + 'static) {
    explore(3, run);
}

/// Explores `run` with at most `preemptions` preemptions, unless `LOOM_MAX_PREEMPTIONS` is set.
fn explore(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let asked = loom::model::Builder::new().preemption_bound;
    explore_within(asked.unwrap_or(preemptions), run);
}

/// Explores `run` with at most `preemptions` preemptions, whatever `LOOM_MAX_PREEMPTIONS` says.
fn explore_within(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

/// An open record without readers.
fn record(cfg: BufferCfg) -> Record {
    Buffer::new(cfg, Arc::new(Still)).expect("a few values find room")
}

/// Subscribes a reader of a stage.
fn subscribe(record: &Record) -> Reader {
    Subscription::of_stage(record, "reader".into())
}

/// Subscribes a reader that several threads read through.
fn subscribe_shared(record: &Record) -> Arc<SharedSubscription<Value<u64>>> {
    Arc::new(subscribe(record).into_shared())
}

/// Produces a value without waiting. Returns whether it was accepted.
fn produce(record: &Record, value: u64) -> bool {
    record.try_produce(Value::new(value)).is_ok()
}

/// Waits for room, then produces. Cancels the wait, so that an unused wake-up passes on.
fn produce_waiting(record: &Record, value: u64) -> Result<(), Closed> {
    let mut value = Some(Value::new(value));
    let mut ticket = WaitTicket::default();
    let accepted = block_on(poll_fn(|cx| record.poll_produce(&mut value, &mut ticket, cx)));
    record.cancel_write_wait(&mut ticket);
    accepted
}

/// Waits for a value.
fn read_waiting(reader: &mut Reader) -> Result<u64, Closed> {
    block_on(poll_fn(|cx| reader.poll_value(cx))).map(|value| *value)
}

/// Waits for a value that one of several threads receives.
fn read_waiting_shared(reader: &SharedSubscription<Value<u64>>) -> Result<u64, Closed> {
    let mut ticket = WaitTicket::default();
    let value = block_on(poll_fn(|cx| reader.poll_value(&mut ticket, cx)));
    reader.cancel_wait(&mut ticket);
    value.map(|value| *value)
}

/// Waits until the record is closed and drained.
fn wait_drained(mut reader: Reader) {
    block_on(poll_fn(|cx| reader.poll_drained(cx)));
}

/// The metrics of the record, taken while other threads are active.
fn metrics(record: &Record) -> RecordMetrics {
    record.coordinator().metrics(record.state(), "")
}

/// Receives every readable value.
fn drain(reader: &mut Reader) -> Vec<u64> {
    core::iter::from_fn(|| reader.try_value().ok()).map(|value| *value).collect()
}

/// The reader registers its waker and revalidates the slot or the head; the writer writes there and
/// loads the flag of waiting readers. One of the two sees the other.
#[test]
fn a_value_arrives_while_its_reader_falls_asleep() {
    for cfg in [RING(2), QUEUE(2), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let sleeper = thread::spawn(move || read_waiting(&mut reader));
            assert!(produce(&record, 7));
            assert_eq!(sleeper.join().unwrap(), Ok(7));
        });
    }
}

/// The same race in the other direction: the writer revalidates the cursor, and the reader loads
/// the flag of waiting writers after its read.
#[test]
fn a_read_makes_room_while_a_writer_falls_asleep() {
    model(|| {
        let record = record(QUEUE(1));
        let mut reader = subscribe(&record);
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        assert_eq!(reader.try_value().map(|value| *value), Ok(1));
        assert_eq!(sleeper.join().unwrap(), Ok(()));
        assert_eq!(drain(&mut reader), [2]);
    });
}

/// Without readers a queue has room: the leaving reader wakes the writer.
#[test]
fn the_reader_that_holds_a_writer_back_leaves() {
    model(|| {
        let record = record(QUEUE(1));
        let reader = subscribe(&record);
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        drop(reader);
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

/// A reader looks at a value in its place while another thread clones or takes it and then replaces
/// it, or finds no room: each value is received once by each reader that is owed it.
#[test]
fn a_look_meets_a_clone_and_a_write() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let (mut looking, other) = (subscribe(&record), subscribe(&record));
            assert!(produce(&record, 1));
            let others = thread::spawn({
                let record = Arc::clone(&record);
                let mut other = other;
                move || {
                    let first = other.try_value().ok().map(|value| *value);
                    (produce(&record, 2), first, other)
                }
            });
            let seen = looking.try_value_with(|value| **value).ok();
            let (second, first, mut other) = others.join().unwrap();
            let seen = Vec::from_iter(seen.into_iter().chain(drain(&mut looking)));
            let others = Vec::from_iter(first.into_iter().chain(drain(&mut other)));
            let all = if second { 2 } else { 1 };
            match cfg {
                BufferCfg::SpmcQueue { .. } => {
                    assert_eq!((&seen[..], &others[..]), (&[1, 2][..all], &[1, 2][..all]))
                }
                // One of the two takers has the newest command; no command is received twice.
                BufferCfg::Mailbox => {
                    let mut both = [seen, others].concat();
                    both.sort_unstable();
                    assert!(both == [2] || both == [1, 2], "{both:?}");
                }
                _ => [seen, others].iter().for_each(|values| {
                    assert!(values == &[2] || values == &[1, 2], "{values:?}");
                }),
            }
        });
    }
}

/// An observer comes and leaves while values are produced. It sees them in order and with their
/// numbers, and each one that is produced after it came; the reader receives what it would without.
#[test]
fn an_observer_comes_while_values_are_produced() {
    for cfg in [RING(2), QUEUE(2), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || assert!(produce(&record, 1) && produce(&record, 2))
            });
            let Ok((mut observer, mut last)) = observe(&record, "page".into(), 2) else {
                unreachable!("the record is open")
            };
            writer.join().unwrap();
            let mut received = drain(&mut reader);
            assert!(produce(&record, 3));
            received.extend(drain(&mut reader));
            let expected: &[u64] = match cfg {
                BufferCfg::SingleLatest | BufferCfg::Mailbox => &[2, 3],
                _ => &[1, 2, 3],
            };
            assert_eq!(received, expected);
            while let Ok(seen) = observer.try_value() {
                assert!(seen.seq > last, "in order");
                assert_eq!(**seen.value, seen.seq);
                last = seen.seq;
            }
            assert_eq!(last, 3, "it was produced after the observer came");
            drop(observer);
            unobserve(&record);
            assert!(produce(&record, 4));
        });
    }
}

/// Each value is either received or counted as lost, in order, and the newest one is received.
#[test]
fn an_overwrite_meets_a_read() {
    for cfg in [RING(1), RING(2), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || (1..=3).for_each(|value| assert!(produce(&record, value)))
            });
            let mut seen: Vec<u64> =
                reader.try_value().ok().map(|value| *value).into_iter().collect();
            writer.join().unwrap();
            seen.extend(drain(&mut reader));
            // Strictly ascending: no value is received twice.
            assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
            assert_eq!(seen.last(), Some(&3), "the newest is never lost");
            assert_eq!(seen.len() as u64 + reader.lagged(), 3, "{seen:?}");
        });
    }
}

/// The position computed from events is exact after each of them.
#[test]
fn a_lag_is_reported_before_the_value_that_follows_it() {
    model(|| {
        let record = record(RING(1));
        let mut reader = subscribe(&record);
        let writer = thread::spawn({
            let record = Arc::clone(&record);
            move || (1..=2).for_each(|value| assert!(produce(&record, value)))
        });
        // The number of values received or reported as lost so far: value `n` must be number `n`.
        let mut position = 0;
        let mut look = || match reader.try_event() {
            Ok(Event::Lagged(missed)) => {
                assert_ne!(missed, 0);
                position += missed;
            }
            Ok(Event::Value(value)) => {
                position += 1;
                assert_eq!(*value, position);
            }
            Err(_) => {}
        };
        look();
        writer.join().unwrap();
        // Two further events are enough: at most a lag and the value behind it remain.
        (0..2).for_each(|_| look());
        assert_eq!(position, 2);
    });
}

/// The write permit is exclusive: each writer has a slot or a cell of its own.
#[test]
fn two_writers_write_at_once() {
    for cfg in [RING(2), QUEUE(2)] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let other = thread::spawn({
                let record = Arc::clone(&record);
                move || assert!(produce(&record, 1))
            });
            assert!(produce(&record, 2));
            other.join().unwrap();
            let mut seen = drain(&mut reader);
            // The order of the two values is open.
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}

/// One of the two values replaces the other, and the count of overwritten values, which is not
/// increased atomically, loses nothing.
#[test]
fn two_writers_overwrite_at_once() {
    for cfg in [RING(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let other = thread::spawn({
                let record = Arc::clone(&record);
                move || assert!(produce(&record, 1))
            });
            assert!(produce(&record, 2));
            other.join().unwrap();
            assert_eq!(drain(&mut reader).len(), 1);
            assert_eq!(reader.lagged(), 1);
            assert_eq!(metrics(&record).overwritten, 1);
        });
    }
}

/// The read may wake the writer that gives up. Its wake-up then passes to the other writer.
#[test]
fn a_writer_cancels_its_wait_while_another_falls_asleep() {
    model(|| {
        let record = record(QUEUE(1));
        let mut reader = subscribe(&record);
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        let (mut value, mut ticket) = (Some(Value::new(3)), WaitTicket::default());
        let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
        // The queue is full, and this thread alone can make room: it waits in any order.
        let waits = record.poll_produce(&mut value, &mut ticket, &mut cx).is_pending();
        // Wakes the first waiter, which is either of the two.
        assert_eq!(reader.try_value().map(|value| *value), Ok(1));
        record.cancel_write_wait(&mut ticket);
        assert!(waits, "there was no room for it yet");
        assert_eq!(sleeper.join().unwrap(), Ok(()));
        assert_eq!(reader.try_value().map(|value| *value), Ok(2));
    });
}

/// The closer sets its mark and wakes all waiters under the subscribers' lock. A reader that
/// registers after that sees the mark.
#[test]
fn a_record_closes_while_its_reader_falls_asleep() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let sleeper = thread::spawn(move || read_waiting(&mut reader));
            record.close();
            assert_eq!(sleeper.join().unwrap(), Err(Closed));
        });
    }
}

/// As above, for a writer that waits for room.
#[test]
fn a_record_closes_while_a_writer_falls_asleep() {
    model(|| {
        let record = record(QUEUE(1));
        let _reader = subscribe(&record);
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        record.close();
        assert_eq!(sleeper.join().unwrap(), Err(Closed));
    });
}

/// A value that was accepted is received before the close, and a value that was refused is not
/// received.
#[test]
fn a_record_closes_while_a_value_arrives() {
    for cfg in [RING(2), QUEUE(2), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || produce(&record, 1)
            });
            let closer = thread::spawn({
                let record = Arc::clone(&record);
                move || record.close()
            });
            // A reader that receives `Closed` must have received everything.
            let mut seen = 0;
            let ended = loop {
                match reader.try_value() {
                    Ok(_) => seen += 1,
                    Err(TryRecvError::Closed) => break true,
                    Err(TryRecvError::Empty) => break false,
                }
            };
            closer.join().unwrap();
            let accepted = writer.join().unwrap();
            // The reader asked too early. After both joins it finds the value, if one was accepted.
            if !ended {
                seen += usize::from(reader.try_value().is_ok());
            }
            assert_eq!(seen == 1, accepted);
            assert_eq!(reader.try_value().err(), Some(TryRecvError::Closed));
        });
    }
}

/// Another taker takes the last command of a closed mailbox than the one that waits for the drain.
/// The waiter revalidates the slot, because its own cursor does not change.
#[test]
fn the_last_command_is_taken_while_another_taker_waits_for_the_drain() {
    model(|| {
        let record = record(MAILBOX);
        let (mut taker, waiter) = (subscribe(&record), subscribe(&record));
        assert!(produce(&record, 1));
        record.close();
        let waiter = thread::spawn(move || wait_drained(waiter));
        assert_eq!(drain(&mut taker), [1]);
        waiter.join().unwrap();
    });
}

/// Nothing is left to read, so only the close can wake the task.
#[test]
fn a_record_closes_while_a_task_waits_for_the_drain() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let reader = subscribe(&record);
            let waiter = thread::spawn(move || wait_drained(reader));
            record.close();
            waiter.join().unwrap();
        });
    }
}

/// A reader has claimed the slot that the writer needs. The closer does not wait for the reader,
/// and no value follows.
#[test]
fn a_record_closes_while_a_value_arrives_and_another_is_read() {
    for cfg in [RING(1), LATEST, MAILBOX] {
        explore(2, move || {
            let record = record(cfg);
            let _reader = subscribe(&record);
            assert!(produce(&record, 1));
            let onlooker = thread::spawn({
                let record = Arc::clone(&record);
                move || record.latest().map(|value| *value)
            });
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || produce(&record, 2)
            });
            record.close();
            // Right after the close, while the writer may still hold a value that it was refused.
            let newest = metrics(&record).produced;
            let accepted = writer.join().unwrap();
            assert_eq!(newest, 1 + u64::from(accepted), "it closes once, with everything in it");
            assert_eq!(metrics(&record).produced, newest);
            assert!(onlooker.join().unwrap().is_some());
        });
    }
}

/// Without the pause the reader would be overtaken by each value: `LostRaces::add` asserts that it
/// is not.
#[test]
fn an_overtaken_reader_pauses_a_writer_that_never_stops() {
    explore(2, || {
        let record = record(RING(1));
        let mut reader = subscribe(&record);
        // The reader has lost the first value before the race begins: its first attempt is a loss
        // already.
        (1..=2).for_each(|value| assert!(produce(&record, value)));
        let writer = thread::spawn({
            let record = Arc::clone(&record);
            move || (3..=5).for_each(|value| assert!(produce(&record, value)))
        });
        assert!(reader.try_value().is_ok());
        writer.join().unwrap();
    });
}

/// A lag is reported to one thread while a writer writes and another thread sleeps on the same
/// subscription. The value behind the lag moves to the stash, where the sleeping thread must find
/// it.
#[test]
fn a_lag_is_reported_while_another_thread_falls_asleep_for_a_value() {
    for cfg in [RING(1), LATEST, MAILBOX] {
        explore(2, move || {
            let record = record(cfg);
            let reader = subscribe_shared(&record);
            (1..=2).for_each(|value| assert!(produce(&record, value)));
            let sleeper = thread::spawn({
                let reader = Arc::clone(&reader);
                move || read_waiting_shared(&reader)
            });
            let mine = reader.try_event();
            // A thread that receives a lag leaves the value behind it to the sleeping thread.
            // Otherwise the sleeping thread needs one more value.
            if let Ok(Event::Value(_)) | Err(_) = mine {
                assert!(produce(&record, 3));
            }
            assert!([Ok(2), Ok(3)].contains(&sleeper.join().unwrap()), "{mine:?}");
        });
    }
}

/// A thread reads the storage of a closed record to its end. Another one moves the last value to the
/// stash meanwhile. The record is drained only once that value has been received too.
#[test]
fn a_lag_is_reported_while_another_thread_reads_to_the_end() {
    for many in [false, true] {
        explore(2, move || {
            let record = record(RING(1));
            let reader = subscribe_shared(&record);
            (1..=2).for_each(|value| assert!(produce(&record, value)));
            record.close();
            let other = thread::spawn({
                let reader = Arc::clone(&reader);
                move || {
                    let mut values = Vec::new();
                    let read = |values: &mut Vec<_>| match many {
                        true => reader.try_many(values, 2).map(|_| ()),
                        false => reader.try_value().map(|value| values.push(value)),
                    };
                    while read(&mut values) != Err(TryRecvError::Closed) {}
                    values.len()
                }
            });
            let mine = matches!(reader.try_event(), Ok(Event::Value(_)));
            assert_eq!(usize::from(mine) + other.join().unwrap(), 1, "the second value");
        });
    }
}

/// A thread receives a lag, which moves the second value to the stash, and a third one follows. No
/// thread receives the third value before the second one.
#[test]
fn a_lag_is_reported_while_another_thread_receives_two_values() {
    for (cfg, many) in [(RING(1), false), (RING(1), true), (MAILBOX, false)] {
        explore(2, move || {
            let record = record(cfg);
            let reader = subscribe_shared(&record);
            (1..=2).for_each(|value| assert!(produce(&record, value)));
            let other = thread::spawn({
                let (record, reader) = (Arc::clone(&record), Arc::clone(&reader));
                move || {
                    let first = reader.try_event();
                    assert!(produce(&record, 3));
                    first.is_ok()
                }
            });
            let mut values = Vec::new();
            for _ in 0..2 {
                match many {
                    true => drop(reader.try_many(&mut values, 2)),
                    false => values.extend(reader.try_value()),
                }
            }
            assert!(values.is_sorted_by_key(|value| **value), "{values:?}");
            assert!(other.join().unwrap() || !values.is_empty());
        });
    }
}

/// A thread has found neither a value nor a stashed one, and has not registered yet. Two values
/// arrive, and another thread receives the lag: it wakes nobody, so the first thread must look at
/// the stash once it has registered. One preemption is all that race needs; two did not finish.
#[test]
fn a_lag_is_reported_before_another_thread_registers() {
    explore_within(1, || {
        let record = record(RING(1));
        let reader = subscribe_shared(&record);
        let other = thread::spawn({
            let reader = Arc::clone(&reader);
            move || {
                (1..=2).for_each(|value| assert!(produce(&record, value)));
                if !matches!(reader.try_event(), Ok(Event::Lagged(_))) {
                    // The sleeping thread has a value, or needs one more.
                    assert!(produce(&record, 3));
                }
            }
        });
        // Loom begins here: the one preemption interrupts this thread.
        assert!(read_waiting_shared(&reader).is_ok());
        other.join().unwrap();
    });
}

/// Two values have woken two threads, which cancel. A third one sleeps, and the value behind the
/// lag remains for it.
#[test]
fn a_lag_is_reported_while_the_woken_threads_cancel() {
    model(|| {
        let record = record(RING(1));
        let reader = subscribe_shared(&record);
        let mut deaf = Context::from_waker(Waker::noop());
        let mut quitters = [WaitTicket::default(), WaitTicket::default()];
        // First in the FIFO: the two values wake these two.
        for quitter in &mut quitters {
            assert!(reader.poll_value(quitter, &mut deaf).is_pending());
        }
        let woken = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut sleeper = WaitTicket::default();
        assert!(reader.poll_value(&mut sleeper, &mut Context::from_waker(&waker)).is_pending());
        (1..=2).for_each(|value| assert!(produce(&record, value)));
        assert_eq!(reader.try_event().map(|event| matches!(event, Event::Lagged(1))), Ok(true));
        // Each passes its wake-up on, as long as a value is readable.
        quitters.iter_mut().for_each(|quitter| reader.cancel_wait(quitter));
        assert!(woken.0.load(Relaxed), "a value is left for it");
        reader.cancel_wait(&mut sleeper);
    });
}

/// Two more values would overwrite the one behind the lag if it stayed in its slot. The stash keeps
/// it.
#[test]
fn a_reported_lag_is_followed_by_its_value_while_a_writer_writes() {
    for cfg in [RING(1), RING(2), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            (1..=3).for_each(|value| assert!(produce(&record, value)));
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || (4..=5).for_each(|value| assert!(produce(&record, value)))
            });
            // The number of lost values depends on the writer, but values are numbered: the one
            // behind the lag shows whether the number was right.
            let Ok(Event::Lagged(missed)) = reader.try_event() else { panic!("it has lost some") };
            let Ok(Event::Value(value)) = reader.try_event() else { panic!("a value follows") };
            assert_eq!(*value, missed + 1);
            writer.join().unwrap();
        });
    }
}

/// The unlock of the head, which the sleeping reader revalidates, follows all values of the batch.
#[test]
fn a_batch_arrives_while_its_reader_falls_asleep() {
    model(|| {
        let record = record(QUEUE(2));
        let mut reader = subscribe(&record);
        let sleeper = thread::spawn(move || read_waiting(&mut reader));
        let mut batch: arrayvec::ArrayVec<_, 2> = [1, 2].into_iter().map(Value::new).collect();
        assert_eq!(record.try_produce_batch(&mut batch), Ok(()));
        assert!(batch.is_empty());
        assert_eq!(sleeper.join().unwrap(), Ok(1));
    });
}

/// Several reads under one lock of the cursor make room and wake the writer once.
#[test]
fn a_batch_is_read_while_a_writer_falls_asleep() {
    model(|| {
        let record = record(QUEUE(2));
        let mut reader = subscribe(&record);
        assert!(produce(&record, 1) && produce(&record, 2));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 3)
        });
        let mut values = Vec::new();
        assert!(reader.try_many(&mut values, 2).is_ok());
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

/// The writer revalidates the cursor of each reader before it sleeps. Only the second read makes
/// room.
#[test]
fn two_readers_make_room_while_a_writer_falls_asleep() {
    model(|| {
        let record = record(QUEUE(1));
        let mut readers = [(); 2].map(|()| subscribe(&record));
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        for reader in &mut readers {
            assert_eq!(reader.try_value().map(|value| *value), Ok(1));
        }
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

/// The onlooker has locked the reader's cursor, which the writer revalidates before it sleeps: the
/// writer must retry, and not sleep on a position that may change.
#[test]
fn latest_is_called_while_a_writer_falls_asleep() {
    model(|| {
        let record = record(QUEUE(1));
        let mut reader = subscribe(&record);
        assert!(produce(&record, 1));
        let sleeper = thread::spawn({
            let record = Arc::clone(&record);
            move || produce_waiting(&record, 2)
        });
        assert_eq!(record.latest().map(|value| *value), Some(1));
        assert_eq!(reader.try_value().map(|value| *value), Ok(1));
        assert_eq!(sleeper.join().unwrap(), Ok(()));
    });
}

/// A new reader has one position from the start: no value between the first it receives and the
/// newest is missing.
#[test]
fn a_reader_subscribes_while_a_value_arrives() {
    for cfg in [RING(2), QUEUE(2), LATEST] {
        model(move || {
            let record = record(cfg);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || (1..=2).for_each(|value| assert!(produce(&record, value)))
            });
            let mut reader = subscribe(&record);
            writer.join().unwrap();
            let seen = drain(&mut reader);
            // Subscribed after both values, between them, or before them.
            assert!([&[][..], &[2], &[1, 2]].contains(&&seen[..]), "{seen:?}");
            assert_eq!(metrics(&record).produced, 2);
        });
    }
}

/// A reader may receive a value before its writer has incremented the head. `latest` then returns
/// that value or a newer one.
#[test]
fn latest_is_called_right_after_a_value_was_received() {
    for cfg in [RING(2), QUEUE(2), LATEST] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || (1..=2).for_each(|value| assert!(produce(&record, value)))
            });
            if let Ok(had) = reader.try_value() {
                match record.latest() {
                    Some(newest) => assert!(*newest >= *had),
                    None => assert_eq!(cfg, QUEUE(2), "a queue alone lets go of what was had"),
                }
            }
            writer.join().unwrap();
        });
    }
}

/// As above, for the start of a new reader: a value that another reader has received is not new.
#[test]
fn a_reader_subscribes_right_after_another_received_a_value() {
    for cfg in [RING(2), QUEUE(2)] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || assert!(produce(&record, 1))
            });
            // The writer may not have incremented the head yet.
            if reader.try_value().is_ok() {
                assert!(
                    subscribe(&record).try_value().is_err(),
                    "the value precedes the subscription"
                );
            }
            writer.join().unwrap();
        });
    }
}

/// Both readers may clone the value at the same time. Exactly one of them takes the original out of
/// the cell, which loom's leak check proves.
#[test]
fn two_readers_want_the_last_of_one_value() {
    model(|| {
        let record = record(QUEUE(1));
        let (mut one, mut other) = (subscribe(&record), subscribe(&record));
        assert!(produce(&record, 1));
        let other = thread::spawn(move || other.try_value().map(|value| *value));
        assert_eq!(drain(&mut one), [1]);
        assert_eq!(other.join().unwrap(), Ok(1));
        assert!(produce(&record, 2), "both have released it");
    });
}

/// The last reader of a value may be the one that leaves.
#[test]
fn a_reader_leaves_while_another_takes() {
    model(|| {
        let record = record(QUEUE(1));
        let (mut one, other) = (subscribe(&record), subscribe(&record));
        assert!(produce(&record, 1));
        let leaver = thread::spawn(move || drop(other));
        assert_eq!(drain(&mut one), [1]);
        leaver.join().unwrap();
        assert!(produce(&record, 2), "the last reader has released it");
        assert_eq!(drain(&mut one), [2]);
    });
}

/// In a queue the value is counted for the leaving reader, or accepted without readers. In both
/// cases its cell is free afterwards.
#[test]
fn a_reader_leaves_while_a_value_arrives() {
    for cfg in [RING(1), QUEUE(1), MAILBOX] {
        model(move || {
            let record = record(cfg);
            let reader = subscribe(&record);
            let leaver = thread::spawn(move || drop(reader));
            produce(&record, 1);
            leaver.join().unwrap();
            assert!(produce(&record, 2), "no reader is left to wait for");
        });
    }
}

/// The onlooker has the cursor locked while it clones, so the reader that leaves waits before it
/// takes the value away.
#[test]
fn latest_is_called_while_the_only_reader_leaves() {
    model(|| {
        let record = record(QUEUE(1));
        let reader = subscribe(&record);
        let onlooker = thread::spawn({
            let record = Arc::clone(&record);
            move || {
                assert!(produce(&record, 1));
                record.latest().map(|value| *value)
            }
        });
        drop(reader);
        assert!([None, Some(1)].contains(&onlooker.join().unwrap()));
    });
}

/// The number of readers that a new value starts with is that of the readers under the head's lock.
#[test]
fn a_reader_subscribes_while_another_leaves() {
    model(|| {
        let record = record(QUEUE(1));
        let reader = subscribe(&record);
        let leaver = thread::spawn(move || drop(reader));
        // One cell: the second value fits only if no reader wants the first any more.
        let accepted = [1, 2].map(|value| produce(&record, value));
        let mut next = subscribe(&record);
        let third = produce(&record, 3);
        leaver.join().unwrap();
        assert!(accepted[0], "there was room for one");
        // The new reader receives the third value alone, if it was accepted.
        assert_eq!(drain(&mut next), Vec::from_iter(third.then_some(3)));
    });
}

/// The writer reuses the only cell once it has seen the cursor past it, with the value moved out.
#[test]
fn a_slot_is_written_again_after_its_last_reader() {
    model(|| {
        let record = record(QUEUE(1));
        let mut reader = subscribe(&record);
        let writer = thread::spawn({
            let record = Arc::clone(&record);
            move || [1, 2].map(|value| produce(&record, value))
        });
        let mut seen = Vec::from_iter(reader.try_value().ok().map(|value| *value));
        let accepted = writer.join().unwrap();
        // Every value that was accepted is received, and no other.
        seen.extend(core::iter::from_fn(|| reader.try_value().ok()).map(|value| *value));
        assert_eq!(seen.len(), accepted.iter().filter(|accepted| **accepted).count());
    });
}

/// The lock bit of the cursor gives the value to one of the two threads.
#[test]
fn two_threads_share_a_subscription() {
    for cfg in [RING(2), QUEUE(2), MAILBOX] {
        model(move || {
            let record = record(cfg);
            let reader = subscribe_shared(&record);
            assert!(produce(&record, 1));
            let other = thread::spawn({
                let reader = Arc::clone(&reader);
                move || reader.try_value().is_ok()
            });
            let mine = reader.try_value().is_ok();
            assert!(mine != other.join().unwrap(), "each value is received by one of them");
        });
    }
}

/// Two values may wake one thread once. The thread that received the first value wakes the other
/// for the second.
#[test]
fn a_value_remains_while_another_thread_falls_asleep_for_it() {
    for cfg in [RING(2), QUEUE(2)] {
        // With three preemptions it takes an hour.
        explore(2, move || {
            let record = record(cfg);
            let reader = subscribe_shared(&record);
            let sleeper = thread::spawn({
                let reader = Arc::clone(&reader);
                move || read_waiting_shared(&reader)
            });
            assert!(produce(&record, 1) && produce(&record, 2));
            // The first of the two receives the first value.
            let mine = reader.try_value().map(|value| *value);
            let theirs = sleeper.join().unwrap();
            assert!([Ok(1), Ok(2)].contains(&theirs), "{theirs:?}");
            assert_ne!(mine.ok(), theirs.ok());
        });
    }
}

/// An onlooker that is woken for a value it does not take passes the wake-up on when it cancels its
/// wait.
#[test]
fn a_waiter_cancels_while_it_is_woken_for_a_value() {
    for cfg in [RING(1), QUEUE(1), MAILBOX] {
        model(move || {
            let record = record(cfg);
            let reader = subscribe_shared(&record);
            let woken = Arc::new(Flag::default());
            let (mut onlooker, mut taker) = (WaitTicket::default(), WaitTicket::default());
            // The onlooker's waker wakes no task, so a wake-up that stays with it is lost.
            let mut deaf = Context::from_waker(Waker::noop());
            assert!(reader.poll_ready(&mut onlooker, &mut deaf).is_pending());
            let waker = Waker::from(Arc::clone(&woken));
            let mut cx = Context::from_waker(&waker);
            assert!(reader.poll_value(&mut taker, &mut cx).is_pending());
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || produce(&record, 1)
            });
            reader.cancel_wait(&mut onlooker);
            assert!(writer.join().unwrap());
            assert!(woken.0.load(Relaxed), "the taker is woken for the value");
            reader.cancel_wait(&mut taker);
        });
    }
}

/// A reader polls with one waker and then with another, as a task does that moves. The last waker is woken.
#[test]
fn a_waiter_changes_its_waker_while_a_value_arrives() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        explore(2, move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            assert!(reader.poll_value(&mut Context::from_waker(Waker::noop())).is_pending());
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || produce(&record, 1)
            });
            let woken = Arc::new(Flag::default());
            let waker = Waker::from(Arc::clone(&woken));
            let pending = reader.poll_value(&mut Context::from_waker(&waker)).is_pending();
            assert!(writer.join().unwrap());
            assert!(!pending || woken.0.load(Relaxed), "the waker of the last poll is woken");
        });
    }
}

/// A waker that records its wake-up. No thread waits for it, so it needs no type of loom.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// `latest` clones under a claim or a locked cursor, so the value cannot leave meanwhile.
#[test]
fn latest_is_called_while_the_value_is_taken() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut reader = subscribe(&record);
            assert!(produce(&record, 1));
            let onlooker = thread::spawn({
                let record = Arc::clone(&record);
                move || record.latest().map(|value| *value)
            });
            assert_eq!(drain(&mut reader), [1]);
            assert!(produce(&record, 2));
            assert!([None, Some(1), Some(2)].contains(&onlooker.join().unwrap()));
        });
    }
}

/// A skip changes several fields of the cursor. A snapshot sees all of them changed, or none.
#[test]
fn metrics_are_taken_while_a_reader_skips() {
    // With three preemptions it takes a quarter of an hour.
    explore(2, || {
        let record = record(RING(1));
        let mut reader = subscribe(&record);
        (1..=3).for_each(|value| assert!(produce(&record, value)));
        let onlooker = thread::spawn({
            let record = Arc::clone(&record);
            move || metrics(&record).readers.remove(0)
        });
        assert_eq!(drain(&mut reader), [3]);
        let seen = onlooker.join().unwrap();
        // Holds before, during and after the read.
        assert_eq!(seen.delivered + seen.lagged + seen.pending, 3, "{seen:?}");
    });
}

/// The receipt of a stashed value changes two fields of the cursor at one position. A snapshot sees
/// both changed, or neither.
#[test]
fn metrics_are_taken_while_a_stashed_value_is_received() {
    model(|| {
        let record = record(RING(1));
        let mut reader = subscribe(&record);
        (1..=2).for_each(|value| assert!(produce(&record, value)));
        assert!(matches!(reader.try_event(), Ok(Event::Lagged(1))));
        let onlooker = thread::spawn({
            let record = Arc::clone(&record);
            move || {
                let snapshot = record.coordinator().subscribers(|subscribers| {
                    subscribers.cursors().next().map(|cursor| cursor.snapshot())
                });
                snapshot.expect("the reader has a cursor")
            }
        });
        assert!(matches!(reader.try_event(), Ok(Event::Value(_))));
        let seen = onlooker.join().unwrap();
        // The value is in the stash, or in progress.
        assert_eq!(seen.stashed + seen.in_progress, 1, "{seen:?}");
        assert_eq!(seen.stashed + seen.delivered, 1, "{seen:?}");
    });
}

/// A stashed value is received, and the next lag stashes another one. A snapshot in between must not
/// take the second value for the first. Only the cursor is modelled: a record has too many steps.
#[test]
fn metrics_are_taken_while_a_second_value_is_stashed() {
    explore(2, || {
        let cursor = Arc::new(Cursor::new("reader".into(), true, 0));
        let stash = |cursor: &Cursor| {
            let mut guard = cursor.lock();
            guard.advance(1);
            guard.stash(0);
        };
        stash(&cursor);
        let onlooker = thread::spawn({
            let cursor = Arc::clone(&cursor);
            move || cursor.snapshot()
        });
        cursor.lock().unstash();
        stash(&cursor);
        let seen = onlooker.join().unwrap();
        // The first value is in the stash or delivered; the second one may be in the stash.
        assert_eq!(seen.delivered + seen.stashed, seen.next, "{seen:?}");
        assert!(seen.stashed + seen.in_progress <= 1, "{seen:?}");
    });
}

/// A reader that received its value keeps its place in the list without a lock, but only if it was
/// notified: otherwise the list still holds its waker, and a later value would wake it in vain.
#[test]
fn a_reader_that_received_its_value_waits_no_more() {
    for cfg in [RING(1), QUEUE(1), LATEST, MAILBOX] {
        model(move || {
            let record = record(cfg);
            let mut readers = [(); 2].map(|()| subscribe(&record));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(readers[1].poll_value(&mut cx).is_pending());
            let writer = thread::spawn({
                let record = Arc::clone(&record);
                move || assert!(produce(&record, 1))
            });
            for reader in &mut readers {
                let received = reader.poll_value(&mut cx).is_ready();
                assert!(!(received && reader.is_in_list()), "its wait is over");
            }
            writer.join().unwrap();
        });
    }
}

/// One command wakes one taker. If that is the one that cancels, it passes the wake-up on.
#[test]
fn a_taker_cancels_its_wait_while_another_falls_asleep() {
    model(|| {
        let record = record(MAILBOX);
        let (mut quitter, mut sleeper) = (subscribe(&record), subscribe(&record));
        let sleeper = thread::spawn(move || read_waiting(&mut sleeper));
        let mut cx = Context::from_waker(Waker::noop());
        // First in the FIFO, unless the other taker was faster.
        assert!(quitter.poll_value(&mut cx).is_pending());
        assert!(produce(&record, 1));
        quitter.cancel_wait();
        assert_eq!(sleeper.join().unwrap(), Ok(1));
    });
}
