//! Bursts of values into a ring: a reader loses the oldest ones, exactly counted, and nothing else.
#![cfg(not(aimdb_loom))]

mod common;

use aimdb_core::{BufferCfg, Event, Producer};
use aimdb_testing::{Recorder, TestRuntime};
use common::{builder, ms};

const CAPACITY: u32 = 16;
const BURST: u32 = 10 * CAPACITY;
const PACED: u32 = 100;
const LOST: u32 = BURST - CAPACITY;

fn ring() -> BufferCfg {
    BufferCfg::SpmcRing { capacity: CAPACITY as usize }
}

/// Writes all values without an `await`: no reader runs in between.
fn burst(numbers: &Producer<u32, TestRuntime>, values: std::ops::Range<u32>) {
    values.for_each(|n| numbers.try_produce(n).expect("a ring is never full"));
}

#[test]
fn a_tap_survives_a_burst_and_handles_all_that_follows() {
    let (seen, lagged) = (Recorder::new(), Recorder::new());
    let (values, lags) = (seen.clone(), lagged.clone());
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(ring())
            .source(|ctx, numbers| async move {
                burst(&numbers, 0..BURST);
                for n in BURST..BURST + PACED {
                    ctx.time().sleep(ms(10)).await;
                    numbers.produce(n).await.unwrap();
                }
            })
            .tap(|_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(n) = reader.recv().await {
                    values.push(n);
                    lags.push(reader.lagged());
                }
            });
    });
    runtime.block_on(builder.run()).unwrap();
    assert_eq!(seen.values(), Vec::from_iter(LOST..BURST + PACED));
    assert_eq!(lagged.values().last(), Some(&u64::from(LOST)));
}

#[test]
fn next_event_reports_each_lag_at_its_position() {
    let seen = Recorder::new();
    let events = seen.clone();
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(ring())
            .source(|ctx, numbers| async move {
                burst(&numbers, 0..BURST);
                ctx.time().sleep(ms(10)).await;
                numbers.produce(BURST).await.unwrap();
                ctx.time().sleep(ms(10)).await;
                burst(&numbers, BURST + 1..2 * BURST);
            })
            .tap(|_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(event) = reader.next_event().await {
                    events.push(event);
                }
            });
    });
    runtime.block_on(builder.run()).unwrap();
    let mut expected = vec![Event::Lagged(u64::from(LOST))];
    expected.extend((LOST..=BURST).map(Event::Value));
    expected.push(Event::Lagged(u64::from(BURST - 1 - CAPACITY)));
    expected.extend((2 * BURST - CAPACITY..2 * BURST).map(Event::Value));
    assert_eq!(seen.values(), expected);
}

#[test]
fn lag_is_counted_for_each_reader_separately() {
    let (runtime, mut builder) = builder();
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
    runtime.block_on(async {
        assert_eq!(early.recv().await, Ok(LOST));
        assert_eq!(late.next_event().await, Ok(Event::Lagged(u64::from(LOST - CAPACITY))));
        assert_eq!(late.next_event().await, Ok(Event::Value(LOST)));
    });
}
