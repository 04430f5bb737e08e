//! Threads that may make blocking calls: plain threads, workers of any runtime, and the database's own runtime thread.

mod common;

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use aimdb_core::Event;
use aimdb_sync::{Attach, AttachOptions, DetachError, GetError, SetError, SyncHandle};
use common::*;

/// Makes every call of the sync API on the calling thread, from attach to detach.
fn whole_life() {
    for options in [AttachOptions::new(), AttachOptions::new().workers(NonZeroUsize::MIN)] {
        let mut builder = builder();
        builder.configure::<u64>("r", |reg| {
            reg.buffer(QUEUE).tap(|_ctx, consumer| async move {
                let mut reader = consumer.subscribe().unwrap();
                while reader.recv().await.is_ok() {}
            });
        });
        let handle = builder.attach_with(options).unwrap();
        let producer = handle.producer::<u64>("r").unwrap();
        let bridge = handle.producer_with_capacity::<u64>("r", 2).unwrap();
        let consumer = handle.consumer::<u64>("r").unwrap();
        let queued = handle.consumer_with_capacity::<u64>("r", 2).unwrap();
        assert_eq!(consumer.get_with_timeout(Duration::from_millis(1)), Err(GetError::Timeout));
        assert_eq!(queued.get_with_timeout(Duration::from_millis(1)), Err(GetError::Timeout));
        producer.set(1).unwrap();
        bridge.set(2).unwrap();
        producer.set_with_timeout(3, LONG).unwrap();
        let mut got = [(); 3].map(|()| consumer.get().unwrap());
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3]);
        (0..3).for_each(|_| _ = queued.get().unwrap());
        bridge.set_many(0..3).unwrap();
        let mut many = Vec::new();
        while many.len() < 3 {
            consumer.get_many(&mut many, 3).unwrap();
        }
        assert_eq!(many, [0, 1, 2]);
        assert_eq!(queued.next_event(), Ok(Event::Value(0)));
        assert_eq!((queued.get(), queued.get()), (Ok(1), Ok(2)));
        producer.set_many(0..4).unwrap();
        assert_eq!(
            producer.set_with_timeout(4, Duration::from_millis(1)),
            Err(SetError::Timeout(4))
        );
        (0..2).for_each(|_| _ = bridge.try_set(9));
        handle.detach_with_timeout(Duration::from_millis(100)).unwrap();
        assert!(consumer.iter().count() >= 4);
        assert!(queued.iter().count() >= 4);
    }
    // A graph with findings: its runtime must be dropped on this thread.
    let mut builder = builder();
    builder.configure::<u64>("bare", |reg| {
        reg.source(|_ctx, _producer| async {});
    });
    assert!(builder.attach().is_err());
    // A handle that is dropped without a detach.
    drop(record(QUEUE));
}

#[test]
fn everything_works_in_a_plain_thread() {
    watched(whole_life);
}

#[test]
fn everything_works_inside_a_worker_of_a_multi_thread_runtime() {
    watched(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async { tokio::spawn(async { whole_life() }).await.unwrap() });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_inside_a_multi_thread_test() {
    whole_life();
}

#[tokio::test(flavor = "current_thread")]
async fn everything_works_inside_a_current_thread_test() {
    whole_life();
}

#[tokio::test]
async fn everything_works_inside_spawn_blocking() {
    tokio::task::spawn_blocking(whole_life).await.unwrap();
}

/// Runs `body` in a tap on `in`, with the blocking handle of the tap's own database, and returns its outcome.
fn from_a_stage<O: Send + 'static>(
    options: AttachOptions,
    body: impl FnOnce(&SyncHandle) -> O + Send + 'static,
) -> O {
    let slot: Arc<OnceLock<SyncHandle>> = Arc::default();
    let (inside, (sender, outcomes)) = (Arc::clone(&slot), mpsc::channel());
    let mut builder = builder();
    builder.configure::<u64>("in", |reg| {
        reg.buffer(QUEUE).tap(move |_ctx, consumer| async move {
            let mut reader = consumer.subscribe().unwrap();
            reader.recv().await.unwrap();
            sender.send(body(inside.get().unwrap())).unwrap();
            drop(inside);
        });
    });
    builder.configure::<u64>("r", |reg| {
        reg.buffer(QUEUE);
    });
    slot.set(builder.attach_with(options).unwrap()).unwrap();
    let handle = slot.get().unwrap();
    handle.producer::<u64>("in").unwrap().set(1).unwrap();
    let outcome = outcomes.recv().unwrap();
    handle.detach().unwrap();
    outcome
}

#[test]
fn on_the_runtime_thread_a_call_that_would_wait_is_refused() {
    watched(|| {
        from_a_stage(AttachOptions::new(), |handle| {
            let (direct, queued) = (
                handle.consumer::<u64>("r").unwrap(),
                handle.consumer_with_capacity::<u64>("r", 2).unwrap(),
            );
            for consumer in [&direct, &queued] {
                assert_eq!(consumer.try_get(), Err(GetError::Empty));
                assert_eq!(consumer.get(), Err(GetError::WouldDeadlock));
                assert_eq!(consumer.get_with_timeout(LONG), Err(GetError::WouldDeadlock));
                assert_eq!(consumer.next_event(), Err(GetError::WouldDeadlock));
                assert_eq!(consumer.get_many(&mut Vec::new(), 3), Err(GetError::WouldDeadlock));
                assert_eq!(consumer.iter().next(), None);
            }
            let mut observer = handle.observe::<u64>("r", "bench").unwrap();
            assert_eq!(observer.try_see().unwrap_err(), GetError::Empty);
            assert_eq!(observer.see().unwrap_err(), GetError::WouldDeadlock);
            assert_eq!(observer.see_with_timeout(Duration::ZERO).unwrap_err(), GetError::Timeout);
            let producer = handle.producer::<u64>("r").unwrap();
            for n in 0..4 {
                assert_eq!(producer.set(n), Ok(()), "a call that need not wait succeeds");
            }
            assert_eq!(producer.try_set(4), Err(SetError::Full(4)));
            assert_eq!(producer.set(4), Err(SetError::WouldDeadlock(4)));
            assert_eq!(producer.set_with_timeout(4, LONG), Err(SetError::WouldDeadlock(4)));
            assert_eq!(producer.set_many([4, 5]).unwrap_err().accepted, 0);
            assert_eq!(direct.get(), Ok(0));
            let bridge = handle.producer_with_capacity::<u64>("r", 2).unwrap();
            assert_eq!(bridge.set_many([1, 2, 3]).unwrap_err().accepted, 2);
            assert_eq!(bridge.set(3), Err(SetError::WouldDeadlock(3)));
            assert_eq!(handle.detach().unwrap_err(), DetachError::WouldDeadlock);
            assert_eq!(handle.shutdown(LONG).unwrap_err(), DetachError::WouldDeadlock);
        });
    });
}

#[test]
fn with_workers_a_stage_may_wait() {
    watched(|| {
        let workers = AttachOptions::new().workers(NonZeroUsize::new(2).unwrap());
        from_a_stage(workers, |handle| {
            let consumer = handle.consumer::<u64>("r").unwrap();
            let queued = handle.consumer_with_capacity::<u64>("r", 2).unwrap();
            let bridge = handle.producer_with_capacity::<u64>("r", 2).unwrap();
            let writer = thread::spawn(move || {
                thread::sleep(A_WHILE);
                bridge.set_many(0..20).unwrap();
            });
            for n in 0..20 {
                assert_eq!(consumer.get(), Ok(n));
                assert_eq!(queued.get(), Ok(n));
            }
            writer.join().unwrap();
        });
    });
}

#[test]
fn a_wait_inside_a_wait_works() {
    watched(|| {
        let handle = record(QUEUE);
        let consumer = handle.consumer::<u64>("r").unwrap();
        let mut other = builder();
        other.configure::<u64>("copy", |reg| {
            reg.buffer(QUEUE);
        });
        let other = other.attach().unwrap();
        let copy = other.consumer::<u64>("copy").unwrap();
        let to = other.producer::<u64>("copy").unwrap();
        // `set_many` waits for room; its iterator waits for values.
        let piped = thread::spawn(move || to.set_many(&consumer));
        let producer = handle.producer::<u64>("r").unwrap();
        let writer = thread::spawn(move || producer.set_many(0..200).unwrap());
        for n in 0..192 {
            assert_eq!(copy.get(), Ok(n));
        }
        writer.join().unwrap();
        handle.detach().unwrap();
        for n in 192..200 {
            assert_eq!(copy.get(), Ok(n));
        }
        assert_eq!(piped.join().unwrap(), Ok(200));
    });
}

#[test]
fn waits_in_thread_local_destructors_work() {
    struct Last(std::cell::RefCell<Option<Box<dyn FnOnce()>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            if let Some(last) = self.0.take() {
                last();
            }
        }
    }
    thread_local!(static LAST: Last = const { Last(std::cell::RefCell::new(None)) });
    watched(|| {
        let handle = record(QUEUE);
        let producer = handle.producer::<u64>("r").unwrap();
        let consumer = Arc::new(handle.consumer::<u64>("r").unwrap());
        let (sender, outcomes) = mpsc::channel();
        thread::spawn(move || {
            LAST.with(|last| {
                let consumer = Arc::clone(&consumer);
                *last.0.borrow_mut() = Some(Box::new(move || sender.send(consumer.get()).unwrap()));
            });
            assert_eq!(consumer.get_with_timeout(Duration::from_millis(1)), Err(GetError::Timeout));
        });
        thread::sleep(A_WHILE);
        producer.set(1).unwrap();
        assert_eq!(outcomes.recv().unwrap(), Ok(1));
    });
}
