//! Stages that fail: their health, the other stages, and the report.
#![cfg(not(aimdb_loom))]

mod common;

use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{BufferCfg, Restart};
use common::builder;

#[test]
fn a_stage_without_a_policy_is_not_restarted_and_the_others_keep_running() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 })
            .source(|_, numbers| async move {
                for n in 0..10 {
                    numbers.produce(n).await.unwrap();
                }
                std::future::pending::<()>().await
            })
            .tap(|_, numbers| async move {
                let _first = numbers.subscribe().unwrap().recv().await;
                panic!("on purpose {}", 1);
            })
            .tap(|_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(n) = reader.recv().await {
                    assert!(n < 10);
                }
            });
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(1));
    let health = db.health();
    let failed = health.stage("numbers", "tap").unwrap();
    assert_eq!((failed.state, failed.restarts), (StageState::Failed, 0));
    assert_eq!(failed.cause.as_deref(), Some("panicked: on purpose 1"));
    assert!(!health.is_healthy());
    assert_eq!(health.failures().len(), 1);
    let other = db.metrics().record("numbers").unwrap().readers[0].clone();
    assert_eq!((other.name.as_str(), other.delivered), ("tap#2", 10));
}

#[test]
fn a_tap_that_recovered_from_a_failure_finishes_in_order() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 8 })
            .source(|_, numbers| async move {
                for n in 0..5 {
                    numbers.produce(n).await.unwrap();
                }
                std::future::pending::<()>().await
            })
            .tap_with(Restart::on_failure(), |_, numbers| async move {
                let mut reader = numbers.subscribe().unwrap();
                while let Ok(n) = reader.recv().await {
                    assert_ne!(n, 1, "on purpose");
                }
            });
    });
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(1));
    let report = runtime.block_on(db.shutdown(Duration::from_secs(10)));
    assert!(report.is_clean(), "{report}");
    assert!(report.failures.is_empty(), "{report}");
    let health = db.health();
    let tap = health.stage("numbers", "tap").unwrap();
    assert_eq!((tap.state, tap.restarts), (StageState::Finished, 1));
    assert!(
        tap.cause.as_deref().unwrap().contains("on purpose"),
        "the cause of the failure stays visible"
    );
}

#[test]
fn a_stage_that_keeps_failing_is_given_up_after_its_limit() {
    let (runtime, mut builder) = builder();
    builder.configure::<u32>("numbers", |reg| {
        reg.buffer(BufferCfg::SingleLatest)
            .source_with(Restart::on_failure().limit(3), |ctx, _| async move {
                ctx.fail("the sensor does not answer")
            });
    });
    let error = runtime.block_on(builder.run()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database stopped because of failed stages\n  `source` of `numbers`: the sensor does not answer (given \
         up after 3 restarts)"
    );
}
