//! A burst costs a ring's reader its oldest values, exactly counted, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Event, Producer};
use aimdb_tokio_adapter::TokioAdapter;

const CAPACITY: u32 = 16;
const BURST: u32 = 10 * CAPACITY;
const PACED: u32 = 100;
const LOST: u32 = BURST - CAPACITY;

type Shared<T> = Arc<Mutex<T>>;

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

fn ring() -> BufferCfg {
    BufferCfg::SpmcRing { capacity: CAPACITY as usize }
}

/// All at once, without an await that would let a reader in.
fn burst(numbers: &Producer<u32, TokioAdapter>, values: std::ops::Range<u32>) {
    values.for_each(|n| numbers.try_produce(n).expect("a ring always takes"));
}

#[tokio::test(start_paused = true)]
async fn a_tap_survives_a_burst_and_handles_all_that_follows() {
    let seen = Shared::<(Vec<u32>, u64)>::default();
    let out = Arc::clone(&seen);
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(ring())
            .source(|ctx, numbers| async move {
                burst(&numbers, 0..BURST);
                for n in BURST..BURST + PACED {
                    ctx.time().sleep(Duration::from_millis(10)).await;
                    numbers.produce(n).await.unwrap();
                }
            })
            .tap(|_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(n) = reader.recv().await {
                    let mut out = out.lock().unwrap();
                    out.0.push(n);
                    out.1 = reader.lagged();
                }
            });
    });
    builder.run().await.unwrap();
    let (values, lagged) = &*seen.lock().unwrap();
    assert_eq!(*values, Vec::from_iter(LOST..BURST + PACED));
    assert_eq!(*lagged, u64::from(LOST));
}

#[tokio::test(start_paused = true)]
async fn next_event_tells_of_each_gap_exactly_where_it_is() {
    let seen = Shared::<Vec<Event<u32>>>::default();
    let out = Arc::clone(&seen);
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(ring())
            .source(|ctx, numbers| async move {
                burst(&numbers, 0..BURST);
                ctx.time().sleep(Duration::from_millis(10)).await;
                numbers.produce(BURST).await.unwrap();
                ctx.time().sleep(Duration::from_millis(10)).await;
                burst(&numbers, BURST + 1..2 * BURST);
            })
            .tap(|_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(event) = reader.next_event().await {
                    out.lock().unwrap().push(event);
                }
            });
    });
    builder.run().await.unwrap();
    let mut expected = vec![Event::Lagged(u64::from(LOST))];
    expected.extend((LOST..=BURST).map(Event::Value));
    expected.push(Event::Lagged(u64::from(BURST - 1 - CAPACITY)));
    expected.extend((2 * BURST - CAPACITY..2 * BURST).map(Event::Value));
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn lag_is_counted_for_each_reader_apart() {
    let mut builder = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(ring());
    });
    let db = builder.build().unwrap();
    let producer = db.producer::<u32>("numbers").unwrap();
    let consumer = db.consumer::<u32>("numbers").unwrap();
    let (mut early, mut late) = (consumer.subscribe().unwrap(), {
        burst(&producer, 0..CAPACITY);
        consumer.subscribe().unwrap()
    });
    burst(&producer, CAPACITY..BURST);
    assert_eq!(early.lagged(), u64::from(LOST));
    assert_eq!(late.lagged(), u64::from(LOST - CAPACITY));
    assert_eq!(early.recv().await, Ok(LOST));
    assert_eq!(late.next_event().await, Ok(Event::Lagged(u64::from(LOST - CAPACITY))));
    assert_eq!(late.next_event().await, Ok(Event::Value(LOST)));
}

#[test]
fn with_threads_every_value_is_either_handled_or_counted() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        for _ in 0..200 {
            let seen = Shared::<(Vec<u32>, u64)>::default();
            let out = Arc::clone(&seen);
            let mut builder = builder();
            builder.configure::<u32>("numbers", |reg| {
                reg.buffer(ring()).source(|_, numbers| async move {
                    for n in 0..1_000 {
                        numbers.produce(n).await.unwrap();
                    }
                });
                reg.tap(|_, numbers| async move {
                    let mut reader = numbers.subscribe().unwrap();
                    while let Ok(n) = reader.recv().await {
                        out.lock().unwrap().0.push(n);
                    }
                    out.lock().unwrap().1 = reader.lagged();
                });
            });
            builder.run().await.unwrap();
            let (values, lagged) = &*seen.lock().unwrap();
            assert_eq!(values.len() as u64 + lagged, 1_000);
            assert!(values.is_sorted_by(|a, b| a < b), "in order, none twice");
        }
    });
}
