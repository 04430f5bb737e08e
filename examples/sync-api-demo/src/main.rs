//! Run with `cargo run -p sync-api-demo`.
//!
//! The sync API as a tutorial. The program has no `async fn main` and does not name Tokio: plain threads write and read the
//! records of a workshop, one of each buffer kind. The engine is the one of the async API.
//!
//! 1. [`build`] declares the graph, as for `run()`, and attaches the database.
//! 2. [`readings`]: several producers, three ways of reading, a ring.
//! 3. [`orders`]: a queue holds a fast writer back and loses no value.
//! 4. [`setpoint`]: a latest record shows the newest value, a mailbox delivers each command to one taker.
//! 5. [`burst`]: a queued bridge, where a burst waits in its own queue.
//! 6. [`main`] detaches: the database drains the accepted values and returns a report.
//!
//! `examples/ffi/c` and `examples/ffi/cpp` are the same program in C and in C++ and print the same lines: `examples/ffi/run`
//! compares them. Only the graph, on standard error, names the types as each language does.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A demo prints.

use std::error::Error;
use std::thread;

use aimdb::GetError;
use aimdb::prelude::*;

/// A measured temperature.
#[derive(Clone, Debug)]
struct Reading {
    sensor: usize,
    celsius: f32,
}

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let handle = build()?;
    eprintln!("{}", handle.graph());

    readings(&handle)?;
    orders(&handle)?;
    setpoint(&handle)?;
    burst(&handle)?;

    // Accepted values flow through to the taps, blocked calls return `Closed`, and the runtime thread is joined.
    let report = handle.detach()?;
    println!("6. detached: {} left, clean: {}", report.total_undelivered(), report.is_clean());
    Ok(())
}

/// Declares the graph. `attach()` checks all of it and starts it on a thread of its own.
fn build() -> DbResult<SyncHandle> {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<Reading>("workshop.reading", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 64 });
    });
    builder.configure::<u32>("workshop.order", |reg| {
        // A tap is async code, also behind the sync API.
        reg.buffer(BufferCfg::SpmcQueue { capacity: 4 }).tap(|_ctx, orders| async move {
            let mut reader = orders.subscribe().unwrap();
            let mut total = 0;
            while reader.recv().await.is_ok() {
                total += 1;
            }
            println!("   (the tap has seen {total} orders)");
        });
    });
    builder.configure::<f32>("workshop.setpoint", |reg| {
        reg.buffer(BufferCfg::SingleLatest);
    });
    builder.configure::<&'static str>("workshop.command", |reg| {
        reg.buffer(BufferCfg::Mailbox);
    });
    builder.attach()
}

/// Three threads write a ring. One reader waits without limit, one does not wait, one waits with a timeout.
fn readings(handle: &SyncHandle) -> Outcome {
    let waiting = handle.consumer::<Reading>("workshop.reading")?;
    let polling = handle.consumer::<Reading>("workshop.reading")?;
    let timed = handle.consumer::<Reading>("workshop.reading")?;

    println!("1. before anything was written, try_get says: {}", polling.try_get().unwrap_err());

    let producer = handle.producer::<Reading>("workshop.reading")?;
    thread::scope(|scope| {
        for sensor in 0..3 {
            let producer = producer.clone();
            scope.spawn(move || {
                for step in 0..5 {
                    let celsius = 20.0 + sensor as f32 + step as f32 / 10.0;
                    producer.set(Reading { sensor, celsius }).expect("the database is attached");
                }
            });
        }
    });

    // Each consumer has a cursor of its own and sees all fifteen readings.
    let first = waiting.get()?;
    let warmest = first
        .celsius
        .max(waiting.iter().take(14).map(|reading| reading.celsius).fold(0.0, f32::max));
    println!("2. get: 15 readings, the warmest {warmest:.1} °C");

    let mut of_sensor_0 = 0;
    while let Ok(reading) = polling.try_get() {
        of_sensor_0 += usize::from(reading.sensor == 0);
    }
    println!("   try_get: {of_sensor_0} of them from sensor 0");

    let mut count = 0;
    let end = loop {
        match timed.get_with_timeout(Duration::from_millis(50)) {
            Ok(_) => count += 1,
            Err(end) => break end,
        }
    };
    println!("   with a timeout: {count} readings, then time is up");
    assert_eq!(end, GetError::Timeout);
    Ok(())
}

/// A queue of four, two threads that share one consumer, and a writer that has to wait for them.
fn orders(handle: &SyncHandle) -> Outcome {
    let producer = handle.producer::<u32>("workshop.order")?;
    let consumer = handle.consumer::<u32>("workshop.order")?;

    let taken: u32 = thread::scope(|scope| {
        // Threads that share a consumer divide the values: one thread takes each order.
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope
                    .spawn(|| consumer.iter().take_while(|order| *order != u32::MAX).count() as u32)
            })
            .collect();
        for order in 0..100 {
            producer.set(order).expect("the database is attached");
        }
        for _ in 0..2 {
            producer.set(u32::MAX).expect("the database is attached");
        }
        workers.into_iter().map(|worker| worker.join().expect("a worker counts")).sum()
    });
    println!("3. queue: 100 orders through a queue of 4, taken: {taken}");
    Ok(())
}

/// A latest record and a mailbox keep one value: the newest.
fn setpoint(handle: &SyncHandle) -> Outcome {
    let setpoint = handle.producer::<f32>("workshop.setpoint")?;
    let display = handle.consumer::<f32>("workshop.setpoint")?;
    for celsius in [19.0, 20.0, 21.0] {
        setpoint.set(celsius)?;
    }
    println!("4. latest: shows {:.1} °C, {} older ones skipped", display.get()?, display.lagged());

    let commands = handle.producer::<&'static str>("workshop.command")?;
    let motor = handle.consumer::<&'static str>("workshop.command")?;
    commands.set("start")?;
    commands.set("stop")?;
    println!(
        "   mailbox: the motor gets \"{}\", and then: {}",
        motor.get()?,
        motor.try_get().unwrap_err()
    );
    Ok(())
}

/// A queued producer accepts a burst into its own queue, and a task forwards the burst into the record meanwhile.
fn burst(handle: &SyncHandle) -> Outcome {
    let queued = handle.producer_with_capacity::<u32>("workshop.order", 1_000)?;
    for order in 0..500 {
        // The queue has room, so the caller does not depend on the record's own four slots.
        queued.try_set(order)?;
    }
    println!("5. queued bridge: a burst of 500 orders accepted at once");
    Ok(())
}
