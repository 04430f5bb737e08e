//! The graphs that the cases are made of.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::pending;
use core::time::Duration;

use aimdb_core::health::StageHealth;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Consumer, Producer, Registrar, RuntimeContext};

use crate::host::{BoxStage, Host};
use crate::recorder::Recorder;

/// A deadline that a busy machine keeps. A case that succeeds does not wait for it.
pub(super) const AMPLE: Duration = Duration::from_secs(60);

pub(super) const fn ring(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcRing { capacity }
}

pub(super) const fn queue(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity }
}

/// Builds the graph that `declare` registers.
pub(super) fn build<R: Host>(
    runtime: &Arc<R>,
    declare: impl FnOnce(&mut AimDbBuilder<R>),
) -> AimDb<R> {
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(runtime));
    declare(&mut builder);
    builder.build().expect("the case's graph is valid")
}

/// Produces `values` through a producer outside of the graph.
pub(super) fn fill<R: Host>(db: &AimDb<R>, key: &str, values: impl IntoIterator<Item = u64>) {
    let producer = db.producer::<u64>(key).expect("the graph has the record");
    for value in values {
        assert_eq!(producer.try_produce(value), Ok(()), "the record has room for {value}");
    }
}

/// Starts the database and shuts it down with ample time: every accepted value has been processed.
pub(super) async fn run_through<R: Host>(db: &AimDb<R>) {
    db.start();
    let report = db.shutdown(AMPLE).await;
    assert!(report.is_clean(), "{report}");
}

/// Waits until `condition` holds.
pub(super) async fn until<R: Host>(runtime: &R, condition: impl Fn() -> bool) {
    let deadline = runtime.now() + AMPLE;
    while !condition() {
        assert!(runtime.now() < deadline, "the condition does not hold within {AMPLE:?}");
        runtime.sleep_until(runtime.now() + Duration::from_millis(1)).await;
    }
}

/// The health of one stage.
pub(super) fn stage<R: Host>(db: &AimDb<R>, record: &str, stage: &str) -> StageHealth {
    let health = db.health();
    health
        .stage(record, stage)
        .unwrap_or_else(|| panic!("no {stage} of {record}: {health}"))
        .clone()
}

/// A tap that records every value.
pub(super) fn tap_into<R: Host>(reg: &mut Registrar<'_, u64, R>, seen: &Recorder<u64>) {
    let seen = seen.clone();
    reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
        Box::pin(record_all(values, seen))
    });
}

pub(super) async fn record_all<R: Host>(values: Consumer<u64, R>, seen: Recorder<u64>) {
    let mut reader = values.subscribe().expect("a tap may read");
    while let Ok(value) = reader.recv().await {
        seen.push(value);
    }
}

/// A tap that takes `count` values and then stays pending. It keeps its reader.
pub(super) fn tap_and_hang<R: Host>(
    reg: &mut Registrar<'_, u64, R>,
    count: usize,
    seen: &Recorder<u64>,
) {
    let seen = seen.clone();
    reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
        Box::pin(async move {
            let mut reader = values.subscribe().expect("a tap may read");
            for _ in 0..count {
                seen.push(reader.recv().await.expect("the record is open"));
            }
            pending::<()>().await;
        })
    });
}

/// A source that produces `values` and returns.
pub(super) fn source_of<R: Host>(reg: &mut Registrar<'_, u64, R>, values: core::ops::Range<u64>) {
    reg.source(move |_: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
        Box::pin(async move {
            for value in values {
                record.produce(value).await.expect("the record is open");
            }
        })
    });
}

pub(super) fn numbers(range: core::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}
