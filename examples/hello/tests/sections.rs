//! The README's shorter programs, each as it is there, with what it needs around it. `readme.rs` compares them.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use aimdb::prelude::*;
use aimdb_testing::{MemoryPeer, TestRuntime};

type Outcome = Result<(), Box<dyn Error>>;
type Builder = AimDbBuilder<TokioAdapter>;

fn builder_with_a_record() -> Builder {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 10 });
    });
    builder
}

#[tokio::test]
async fn the_async_api_writes_and_runs_until_a_shutdown_is_requested() -> Outcome {
    let mut builder = builder_with_a_record();
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.tap(|ctx, temp| async move {
            let mut reader = temp.subscribe().unwrap();
            let celsius = reader.recv().await;
            ctx.shutdown();
            assert_eq!(celsius, Ok(21.5));
        });
    });
    let db = builder.build()?;
    let celsius = db.producer::<f32>("temp.celsius")?;
    celsius.produce(21.5).await?;
    db.run().await?; // until a stage or another clone of `db` requests a shutdown
    assert!(db.health().is_healthy());
    Ok(())
}

#[test]
fn the_sync_api_writes_and_detaches() -> Outcome {
    let builder = builder_with_a_record();
    let handle = builder.attach()?;
    let celsius = handle.producer::<f32>("temp.celsius")?;
    celsius.set(21.5)?;
    handle.detach()?;
    Ok(())
}

/// Two readings, then a sensor that does not answer.
fn read_sensor() -> Option<f32> {
    static READS: AtomicU32 = AtomicU32::new(0);
    let read = READS.fetch_add(1, Relaxed) % 3;
    (read < 2).then_some(20.0 + read as f32)
}

#[test]
fn a_failed_source_starts_again_until_its_limit() -> Outcome {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
        let policy = Restart::on_failure()
            .backoff(Duration::from_millis(100), Duration::from_secs(10))
            .limit(5);
        reg.source_with(policy, |ctx, sensor| async move {
            while let Some(celsius) = read_sensor() {
                sensor.produce(celsius).await.ok();
            }
            ctx.fail("the sensor does not answer"); // the next attempt starts after the pause
        });
    });
    let db = builder.build()?;
    db.start();
    runtime.advance(Duration::from_secs(60));
    assert_eq!(db.metrics().record("temp.celsius").unwrap().produced, 12);
    let health = db.health();
    let source = health.stage("temp.celsius", "source").unwrap();
    assert_eq!(source.restarts, 5);
    assert_eq!(
        source.cause.as_deref(),
        Some("the sensor does not answer (given up after 5 restarts)")
    );
    Ok(())
}

#[test]
fn a_payload_that_does_not_decode_is_a_dead_letter() -> Outcome {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    let peer = MemoryPeer::new();
    peer.publish("temp", *b"warm");
    builder.connector(peer.connector());
    builder.configure::<f32>("temp.celsius", |reg| {
        reg.buffer(BufferCfg::SingleLatest).link_from("memory://temp", Json);
    });
    let letters = Arc::new(Mutex::new(Vec::new()));
    let letters_of_hook = Arc::clone(&letters);
    builder.on_dead_letter(move |letter| {
        let mut letters = letters_of_hook.lock().unwrap();
        letters.push(format!("{} on {}", letter.record, letter.message.topic));
    });
    let db = builder.build()?;
    db.start();
    runtime.advance(Duration::from_secs(1));
    assert_eq!(*letters.lock().unwrap(), ["temp.celsius on temp"]);
    assert_eq!(db.metrics().link("temp.celsius", "memory://temp").unwrap().decode_errors(), 1);
    Ok(())
}

#[test]
fn a_hook_prints_dead_letters_and_a_program_prints_health_and_metrics() -> Outcome {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.on_dead_letter(|letter| {
        eprintln!("{} of {}: {}", letter.message.topic, letter.record, letter.reason);
    });
    builder.on_event(|event| eprintln!("{event}")); // failures, restarts, links, blocked writers; or the stream `db.events()`
    let db = builder.build()?;
    db.start(); // before, every stage and link counts as not running
    let health = db.health();
    if !health.is_healthy() {
        eprintln!("{health}"); // stages with state, cause and restarts; blocked writers; links
    }
    println!("{}", db.metrics()); // records with their readers; links
    assert!(health.is_healthy());
    Ok(())
}

#[test]
fn an_hour_of_virtual_time_takes_no_time() -> Outcome {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("uptime.seconds", |reg| {
        reg.buffer(BufferCfg::SingleLatest).source(|ctx, uptime| async move {
            for second in 0.. {
                uptime.produce(second).await.ok();
                ctx.time().sleep(ctx.time().secs(1)).await;
            }
        });
    });
    let db = builder.build()?;
    db.start();
    runtime.advance(Duration::from_secs(3600));
    assert_eq!(db.consumer::<u64>("uptime.seconds")?.latest(), Some(3600));
    Ok(())
}
