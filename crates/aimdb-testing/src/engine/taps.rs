//! Values that taps receive from each kind of buffer.

use aimdb_core::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;

use aimdb_core::BufferCfg::Mailbox;
use aimdb_core::{AimDbBuilder, Consumer, Event, RuntimeContext};

use super::support::{
    AMPLE, build, fill, numbers, queue, ring, run_through, source_of, tap_into, until,
};
use crate::host::{BoxStage, Host};
use crate::recorder::Recorder;

/// A thousand values are written to a ring of sixteen. A tap receives the last sixteen. A tap that reads events
/// receives the number of lost values before them.
pub async fn a_tap_survives_a_burst_with_exact_lag<R: Host>(runtime: Arc<R>) {
    let (seen, events) = (Recorder::new(), Recorder::new());
    let list = events.clone();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(ring(16));
            tap_into(reg, &seen);
            reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
                Box::pin(async move {
                    let mut reader = values.subscribe().expect("a tap may read");
                    while let Ok(event) = reader.next_event().await {
                        list.push(event);
                    }
                })
            });
        });
    });
    fill(&db, "record", 0..1000);
    let metrics = db.metrics();
    assert_eq!(metrics.records[0].readers.iter().map(|r| r.lagged).collect::<Vec<_>>(), [984, 984]);
    run_through(&db).await;
    assert_eq!(seen.values(), numbers(984..1000));
    let expected = core::iter::once(Event::Lagged(984)).chain((984..1000).map(Event::Value));
    assert_eq!(events.values(), expected.collect::<Vec<_>>());
}

/// In each interleaving of the tasks, received and lagged values add up to what was produced. The received ones are
/// in order, and the last one produced is among them.
pub async fn a_burst_from_a_source_is_received_or_counted<R: Host>(runtime: Arc<R>) {
    let (seen, lagged) = (Recorder::new(), Recorder::new());
    let (list, lag_list) = (seen.clone(), lagged.clone());
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(ring(16));
        source_of(reg, 0..1000);
        reg.tap(move |_: RuntimeContext<R>, values: Consumer<u64, R>| -> BoxStage {
            Box::pin(async move {
                let mut reader = values.subscribe().expect("a tap may read");
                while let Ok(value) = reader.recv().await {
                    list.push(value);
                }
                lag_list.push(reader.lagged());
            })
        });
    });
    builder.run().await.expect("a source and a tap run");
    let seen = seen.values();
    assert_eq!(seen.len() as u64 + lagged.values()[0], 1000);
    assert!(seen.is_sorted_by(|a, b| a < b));
    assert_eq!(seen.last(), Some(&999));
}

/// A queue of two carries a hundred values to three taps.
pub async fn every_tap_of_a_queue_receives_every_value<R: Host>(runtime: Arc<R>) {
    let seen = [Recorder::new(), Recorder::new(), Recorder::new()];
    let mut builder = AimDbBuilder::new().runtime(runtime);
    builder.configure::<u64>("record", |reg| {
        reg.buffer(queue(2));
        seen.iter().for_each(|seen| tap_into(reg, seen));
        source_of(reg, 0..100);
    });
    builder.run().await.expect("a source and three taps run");
    assert!(seen.iter().all(|seen| seen.values() == numbers(0..100)));
}

/// Two taps share a mailbox. Each command, written after the one before it was taken, is taken by one of them.
pub async fn shared_taps_divide_a_mailbox<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let db = build(&runtime, |builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(Mailbox).shared();
            tap_into(reg, &seen);
            tap_into(reg, &seen);
        });
    });
    db.start();
    for command in 0..20 {
        fill(&db, "record", [command]);
        until(&*runtime, || seen.len() as u64 == command + 1).await;
    }
    assert_eq!(seen.values(), numbers(0..20));
    assert!(db.shutdown(AMPLE).await.is_clean());
}
