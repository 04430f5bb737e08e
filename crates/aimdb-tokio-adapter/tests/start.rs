//! A program whose sources return delivers every value they produced, in each of a thousand runs, and then ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, Consumer, Producer, RuntimeContext, input};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::{Builder, Runtime};

const VALUES: u32 = 20;
const RUNS: usize = 1_000;

type Seen = Arc<Mutex<Vec<u32>>>;

async fn count(_ctx: RuntimeContext<TokioAdapter>, numbers: Producer<u32, TokioAdapter>) {
    for n in 0..VALUES {
        numbers.produce(n).await.expect("a record stays open while its source runs");
    }
}

async fn collect(numbers: Consumer<u32, TokioAdapter>, seen: Seen) {
    let mut reader = numbers.subscribe().expect("a tap may read");
    while let Ok(n) = reader.recv().await {
        seen.lock().unwrap().push(n);
    }
}

fn builder() -> AimDbBuilder<TokioAdapter> {
    AimDbBuilder::new().runtime(Arc::new(TokioAdapter::new().unwrap()))
}

async fn run_to_end(builder: AimDbBuilder<TokioAdapter>) {
    let ended = tokio::time::timeout(Duration::from_secs(60), builder.run()).await;
    ended.expect("run() returns after the sources").expect("no stage fails");
}

/// source → record → tap
async fn direct(buffer: BufferCfg) -> Vec<u32> {
    let seen = Seen::default();
    let mut builder = builder();
    let list = Arc::clone(&seen);
    builder.configure::<u32>("numbers", |reg| {
        reg.source(count).tap(move |_, numbers| collect(numbers, list)).buffer(buffer);
    });
    run_to_end(builder).await;
    Arc::into_inner(seen).expect("every stage is dropped").into_inner().unwrap()
}

/// source → record → transform → record → tap. The output is configured before the input.
async fn transformed(buffer: BufferCfg) -> Vec<u32> {
    let seen = Seen::default();
    let mut builder = builder();
    let list = Arc::clone(&seen);
    builder.configure::<u32>("doubled", |reg| {
        reg.buffer(buffer)
            .transform(input::<u32>("numbers"), |n| n * 2)
            .tap(move |_, numbers| collect(numbers, list));
    });
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(buffer).source(count);
    });
    run_to_end(builder).await;
    Arc::into_inner(seen).expect("every stage is dropped").into_inner().unwrap()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn assert_each_run(expected: &[u32], program: impl AsyncFn() -> Vec<u32>) {
    for runtime in [one_thread(), two_threads()] {
        runtime.block_on(async {
            for run in 0..RUNS {
                assert_eq!(program().await, expected, "in run {run}");
            }
        });
    }
}

fn all() -> Vec<u32> {
    (0..VALUES).collect()
}

fn all_doubled() -> Vec<u32> {
    (0..VALUES).map(|n| n * 2).collect()
}

const RING: BufferCfg = BufferCfg::SpmcRing { capacity: VALUES as usize };
const QUEUE: BufferCfg = BufferCfg::SpmcQueue { capacity: 1 };

#[test]
fn a_ring_that_is_large_enough_delivers_every_value() {
    assert_each_run(&all(), || direct(RING));
}

#[test]
fn a_queue_of_one_delivers_every_value() {
    assert_each_run(&all(), || direct(QUEUE));
}

#[test]
fn a_transform_between_rings_delivers_every_value() {
    assert_each_run(&all_doubled(), || transformed(RING));
}

#[test]
fn a_transform_between_queues_of_one_delivers_every_value() {
    assert_each_run(&all_doubled(), || transformed(QUEUE));
}

#[test]
fn latest_and_mailbox_deliver_the_last_value() {
    for buffer in [BufferCfg::SingleLatest, BufferCfg::Mailbox] {
        for runtime in [one_thread(), two_threads()] {
            for _ in 0..RUNS {
                let seen = runtime.block_on(direct(buffer));
                assert_eq!(seen.last(), Some(&(VALUES - 1)));
                assert!(seen.is_sorted(), "in order: {seen:?}");
            }
        }
    }
}

#[test]
fn run_waits_for_every_source() {
    let program = async || {
        let seen = Seen::default();
        let mut builder = builder();
        for key in ["left", "right"] {
            let list = Arc::clone(&seen);
            builder.configure::<u32>(key, |reg| {
                reg.buffer(QUEUE).source(count).tap(move |_, numbers| collect(numbers, list));
            });
        }
        run_to_end(builder).await;
        let mut seen = Arc::into_inner(seen).unwrap().into_inner().unwrap();
        seen.sort_unstable();
        seen
    };
    let twice: Vec<u32> = (0..VALUES).flat_map(|n| [n, n]).collect();
    assert_each_run(&twice, program);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_pauses_keeps_the_program_running() {
    let seen = Seen::default();
    let mut builder = builder();
    let list = Arc::clone(&seen);
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(RING)
            .source(|ctx, numbers| async move {
                for n in 0..VALUES {
                    ctx.time().sleep(Duration::from_secs(3600)).await;
                    numbers.produce(n).await.unwrap();
                }
            })
            .tap(move |_, numbers| collect(numbers, list));
    });
    builder.run().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), all());
}
