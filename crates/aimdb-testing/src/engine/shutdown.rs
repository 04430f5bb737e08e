//! Shutdowns, and handles that outlive the database.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::pending;
use core::time::Duration;

use aimdb_core::BufferCfg::{Mailbox, SingleLatest};
use aimdb_core::health::StageState;
use aimdb_core::{
    Consumer, ProduceError, Producer, RuntimeContext, SubscribeError, TryProduceError, Undelivered,
};

use super::support::{
    AMPLE, build, fill, numbers, queue, ring, stage, tap_and_hang, tap_into, until,
};
use crate::host::{BoxStage, Host};
use crate::recorder::Recorder;

/// A stage calls `ctx.shutdown()`; `run` carries the shutdown out.
pub async fn a_stage_may_request_the_shutdown<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
            reg.source(|ctx: RuntimeContext<R>, record: Producer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    record.produce(1).await.expect("the record is open");
                    ctx.shutdown();
                    pending::<()>().await;
                })
            });
        });
    });
    db.run().await.expect("nothing fails");
    assert_eq!((seen.values(), db.is_closed()), (Vec::from([1]), true));
    assert_eq!(stage(&db, "record", "source").state, StageState::Stopped);
    assert_eq!(stage(&db, "record", "tap").state, StageState::Finished);
}

/// A shutdown waits for a slow tap.
pub async fn shutdown_drains_accepted_values<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let list = seen.clone();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(20));
            reg.tap(move |ctx: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    ctx.stopping().await;
                    let mut reader = values.subscribe().expect("build has made its reader");
                    while let Ok(value) = reader.recv().await {
                        ctx.time().sleep(Duration::from_millis(1)).await;
                        list.push(value);
                    }
                })
            });
        });
    });
    fill(&db, "record", 0..20);
    db.start();
    let report = db.shutdown(AMPLE).await;
    assert_eq!((seen.values(), report.drained, report.is_clean()), (numbers(0..20), 20, true));
    assert!(report.elapsed >= Duration::from_millis(20));
}

/// The report counts values that were still in the buffer as unread, and the value in progress as interrupted.
pub async fn shutdown_reports_undelivered_values_exactly<R: Host>(runtime: Arc<R>) {
    let (seen, hung) = (Recorder::new(), Recorder::new());
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
            tap_and_hang(reg, 2, &hung);
        });
    });
    fill(&db, "record", 0..7);
    db.start();
    until(&*runtime, || hung.len() == 2 && seen.len() == 7).await;
    let report = db.shutdown(Duration::from_millis(10)).await;
    let undelivered = Undelivered::new("record", "tap#2", 5, 1);
    assert_eq!((&report.undelivered[..], report.total_undelivered()), (&[undelivered][..], 6));
    assert_eq!((report.aborted.len(), report.drained), (1, 0));
    assert_eq!(report.aborted[0], "record/tap#2");
    assert!(report.unresponsive.is_empty() && report.failures.is_empty());
}

/// Stages that never ran process nothing. The shutdown does not wait for them.
pub async fn shutdown_before_the_start_reports_accepted_values_as_undelivered<R: Host>(
    runtime: Arc<R>,
) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &seen);
        });
    });
    fill(&db, "record", 0..5);
    let report = db.shutdown(AMPLE).await;
    assert_eq!((seen.len(), report.drained, report.total_undelivered()), (0, 0, 5));
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}

/// Each clone of the database returns the report of the one shutdown.
pub async fn a_second_shutdown_returns_the_same_report<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(8));
            tap_into(reg, &Recorder::new());
        });
    });
    fill(&db, "record", 0..5);
    db.start();
    let first = db.clone().shutdown(AMPLE).await;
    assert_eq!(db.shutdown(Duration::ZERO).await, first);
}

/// Handles outlive the database. Their calls return `Closed`.
pub async fn a_producer_receives_its_value_back_after_shutdown<R: Host>(runtime: Arc<R>) {
    for cfg in [ring(4), queue(4), SingleLatest, Mailbox] {
        let db = build(&runtime, |builder| {
            builder.configure::<u64>("record", |reg| {
                reg.buffer(cfg);
            });
        });
        let producer = db.producer::<u64>("record").expect("the graph has the record");
        let consumer = db.consumer::<u64>("record").expect("the graph has the record");
        let mut reader = consumer.subscribe().expect("the record is open");
        db.start();
        producer.produce(1).await.expect("the record is open");
        db.shutdown(AMPLE).await;
        assert_eq!(producer.produce(2).await, Err(ProduceError(2)), "{cfg}");
        assert_eq!(producer.try_produce(3), Err(TryProduceError::Closed(3)), "{cfg}");
        assert_eq!((reader.recv().await, reader.recv().await.is_err()), (Ok(1), true), "{cfg}");
        assert!(matches!(consumer.subscribe(), Err(SubscribeError::Closed { .. })), "{cfg}");
    }
}

/// Dropping the last handle to the database ends its stages and closes its records.
pub async fn dropping_the_database_closes_its_records<R: Host>(runtime: Arc<R>) {
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(queue(4));
            tap_into(reg, &Recorder::new());
        });
    });
    let producer = db.producer::<u64>("record").expect("the graph has the record");
    let mut reader = db
        .consumer::<u64>("record")
        .expect("the graph has the record")
        .subscribe()
        .expect("it is open");
    db.start();
    producer.produce(1).await.expect("the record is open");
    drop(db);
    assert_eq!(producer.produce(2).await, Err(ProduceError(2)));
    assert_eq!(reader.recv().await, Ok(1));
    assert!(reader.recv().await.is_err());
}
