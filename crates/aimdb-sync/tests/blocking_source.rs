//! Sources that block a thread of their own.

mod common;

use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use aimdb_core::health::StageState;
use aimdb_core::{AimDbBuilder, BufferCfg, Record, Restart};
use aimdb_sync::{Attach, AttachOptions, SyncHandle, SyncProducer, blocking_source};
use aimdb_tokio_adapter::TokioAdapter;
use common::*;

fn attach<T: Record, O>(
    policy: Option<Restart>,
    read: impl Fn(SyncProducer<T>) -> O + Send + Sync + 'static,
) -> SyncHandle
where
    O: aimdb_core::stages::StageResult + Send + 'static,
{
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<T>("device", |reg| {
        reg.buffer(BufferCfg::queue(2));
        match policy {
            Some(policy) => reg.source_with(policy, blocking_source(read)),
            None => reg.source(blocking_source(read)),
        };
    });
    builder.attach_with(AttachOptions::new().paused()).unwrap()
}

#[test]
fn a_blocking_source_waits_for_room_and_finishes_when_its_function_returns() {
    let handle = attach(None, |device: SyncProducer<u64>| {
        (0..100).for_each(|number| device.set(number).unwrap());
    });
    let consumer = handle.consumer::<u64>("device").unwrap();
    handle.start();
    assert!((0..100).all(|number| consumer.get().unwrap() == number));
    eventually("it has finished", || handle.health().stages[0].state == StageState::Finished);
    handle.detach().unwrap();
}

#[cfg(unix)]
#[test]
fn lines_of_a_fifo_arrive_until_its_writer_closes_it() {
    let path = std::env::temp_dir().join(format!("aimdb-fifo-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let handle = attach(None, {
        let path = path.clone();
        move |lines: SyncProducer<String>| {
            for line in BufReader::new(std::fs::File::open(&path)?).lines() {
                if lines.set(line?).is_err() {
                    break;
                }
            }
            io::Result::Ok(())
        }
    });
    let lines = handle.consumer::<String>("device").unwrap();
    handle.start();
    let mut writer = std::fs::File::options().write(true).open(&path).unwrap();
    writer.write_all(b"one\ntwo\n").unwrap();
    assert_eq!((lines.get().unwrap(), lines.get().unwrap()), ("one".into(), "two".into()));
    drop(writer);
    eventually("it has finished", || handle.health().stages[0].state == StageState::Finished);
    handle.detach().unwrap();
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_shutdown_ends_the_source_and_its_thread_learns_so_at_the_next_value() {
    let (sender, ended) = std::sync::mpsc::channel();
    let handle = attach(None, move |device: SyncProducer<u64>| {
        let accepted = (0..).take_while(|&number| {
            thread::sleep(Duration::from_millis(1));
            device.set(number).is_ok()
        });
        sender.send(accepted.count()).unwrap();
    });
    let consumer = handle.consumer::<u64>("device").unwrap();
    handle.start();
    assert_eq!(consumer.get().unwrap(), 0);
    let report = handle.detach().unwrap();
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
    let accepted = ended.recv_timeout(LONG).unwrap();
    assert_eq!(handle.metrics().record("device").unwrap().produced, accepted as u64);
}

#[test]
fn an_error_is_a_failure_and_a_panic_too_and_a_policy_begins_again() {
    let attempts = Arc::new(AtomicU32::new(0));
    let policy = Restart::on_failure().backoff(Duration::ZERO, Duration::ZERO).limit(2);
    let handle = attach(Some(policy), {
        let attempts = Arc::clone(&attempts);
        move |device: SyncProducer<u64>| match attempts.fetch_add(1, Relaxed) {
            0 => Err(io::Error::other("the bus is off")),
            1 => panic!("no sensor"),
            attempt => {
                device.set(u64::from(attempt)).unwrap();
                Ok(())
            }
        }
    });
    let consumer = handle.consumer::<u64>("device").unwrap();
    handle.start();
    assert_eq!(consumer.get().unwrap(), 2);
    eventually("it has finished", || handle.health().stages[0].state == StageState::Finished);
    let stage = handle.health().stages[0].clone();
    assert_eq!(stage.restarts, 2);
    assert_eq!(stage.cause.as_deref(), Some("panicked: no sensor"));
    handle.detach().unwrap();
}

#[test]
fn a_function_that_waits_for_a_silent_device_with_a_timeout_notices_the_shutdown() {
    let (noticed, notices) = std::sync::mpsc::channel();
    let handle = attach(None, move |device: SyncProducer<u64>| {
        while !device.is_closed() {
            thread::sleep(Duration::from_millis(5)); // a device that is asked and stays silent
        }
        noticed.send(device.try_set(1).is_err()).unwrap();
    });
    handle.start();
    assert!(notices.recv_timeout(Duration::from_millis(50)).is_err());
    handle.detach().unwrap();
    assert_eq!(notices.recv_timeout(Duration::from_secs(60)), Ok(true));
}

#[test]
fn a_producer_of_either_kind_knows_that_its_database_has_ended() {
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u64>("n", |reg| {
        reg.buffer(BufferCfg::queue(2)).written_from_outside().read_from_outside();
    });
    let handle = builder.attach().unwrap();
    let direct = handle.producer::<u64>("n").unwrap();
    let queued = handle.producer_with_capacity::<u64>("n", 4).unwrap();
    assert!(!direct.is_closed() && !queued.is_closed());
    handle.detach().unwrap();
    assert!(direct.is_closed() && queued.is_closed());
}
