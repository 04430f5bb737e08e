//! One database behind both APIs: blocking handles of an async program, and async handles of a blocking one.

use std::thread;
use std::time::Duration;

use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Start};
use aimdb_sync::{Attach, AttachOptions, BlockingHandles, GetError, SetError};
use aimdb_tokio_adapter::TokioAdapter;

fn database() -> AimDb<TokioAdapter> {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u64>("question", |reg| {
        reg.buffer(BufferCfg::queue(1)).written_from_outside();
    });
    builder.configure::<u64>("answer", |reg| {
        reg.buffer(BufferCfg::queue(1))
            .transform(aimdb_core::input::<u64>("question"), |question| question + 1);
    });
    builder.configure::<u64>("history", |reg| {
        reg.buffer(BufferCfg::ring(4)).written_from_outside();
    });
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_thread_asks_an_async_database_through_blocking_handles() {
    let db = database();
    db.start();
    let question = db.blocking_producer::<u64>("question").unwrap();
    let answer = db.blocking_consumer::<u64>("answer").unwrap();
    let asker = thread::spawn(move || {
        (0..100).for_each(|number| {
            question.set(number).unwrap();
            assert_eq!(answer.get().unwrap(), number + 1);
        });
        // The record closes at the shutdown.
        answer.get()
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    while db.metrics().record("answer").unwrap().produced < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    db.shutdown(Duration::from_secs(10)).await;
    assert_eq!(asker.join().unwrap(), Err(GetError::Closed));
}

#[tokio::test(flavor = "current_thread")]
async fn a_wait_that_would_block_the_only_thread_of_the_runtime_is_an_error() {
    let db = database();
    db.start();
    let question = db.blocking_producer::<u64>("question").unwrap();
    let answer = db.blocking_consumer::<u64>("answer").unwrap();
    assert_eq!(answer.get(), Err(GetError::WouldDeadlock));
    question.set(1).unwrap();
    assert_eq!(question.set(2), Err(SetError::WouldDeadlock(2)));
    tokio::task::yield_now().await;
    assert_eq!(answer.try_get().unwrap(), 2);
}

#[test]
fn a_blocking_consumer_begins_where_it_is_asked_to() {
    let db = tokio::runtime::Runtime::new().unwrap().block_on(async { database() });
    let history = db.blocking_producer::<u64>("history").unwrap();
    history.set_many(0..6).unwrap();
    let mut oldest = db.blocking_consumer_from::<u64>("history", Start::Oldest).unwrap();
    assert_eq!((oldest.try_get(), oldest.lagged()), (Ok(2), 0));
    oldest = db.blocking_consumer_from::<u64>("history", Start::last(1)).unwrap();
    assert_eq!(oldest.try_get(), Ok(5));
}

#[test]
fn the_database_behind_a_handle_serves_the_async_api_too() {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u64>("count", |reg| {
        reg.buffer(BufferCfg::queue(4)).source(|_ctx, count| async move {
            for number in 0..4 {
                count.produce(number).await.ok();
            }
        });
    });
    let handle = builder.attach_with(AttachOptions::new().paused()).unwrap();
    // Nothing runs before `start`, so this reader misses nothing.
    let mut reader = handle.database().consumer::<u64>("count").unwrap().subscribe().unwrap();
    let consumer = handle.consumer::<u64>("count").unwrap();
    handle.start();
    let sum = thread::spawn(move || {
        let mut sum = 0;
        futures_executor(async {
            while let Ok(number) = reader.recv().await {
                sum += number
            }
        });
        sum
    });
    assert_eq!((0..4).map(|_| consumer.get().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    handle.detach().unwrap();
    assert_eq!(sum.join().unwrap(), 6);
}

/// Runs a future on the calling thread, without a runtime.
fn futures_executor(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}
