//! Misuse of the sync API, and the errors that report it.

mod common;

use std::num::NonZeroUsize;
use std::time::Duration;

use aimdb_core::{BufferCfg, DbError};
use aimdb_sync::{
    Attach, AttachOptions, DetachError, GetError, OpenError, SetError, SyncConsumer, SyncHandle,
    SyncProducer,
};
use common::*;

#[test]
fn handles_are_send_and_sync() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<SyncHandle>();
    shared::<SyncProducer<u8>>();
    shared::<SyncConsumer<u8>>();
    shared::<SetError<u8>>();
    shared::<GetError>();
    shared::<DetachError>();
}

#[test]
fn the_error_for_an_unknown_key_names_the_known_keys() {
    let handle = record(RING);
    let refused = [
        handle.producer::<u64>("typo").unwrap_err(),
        handle.consumer::<u64>("typo").unwrap_err(),
        handle.producer_with_capacity::<u64>("typo", 1).unwrap_err(),
        handle.consumer_with_capacity::<u64>("typo", 1).unwrap_err(),
        handle.producer_with_capacity::<u64>("typo", 0).unwrap_err(),
    ];
    for refused in refused {
        assert!(matches!(refused, OpenError::Db(DbError::UnknownKey { .. })), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("`typo`") && text.contains("`r`"), "{text}");
    }
}

#[test]
fn the_error_for_a_wrong_type_names_the_right_one() {
    let handle = record(RING);
    let refused = [
        handle.producer::<String>("r").unwrap_err(),
        handle.consumer::<String>("r").unwrap_err(),
        handle.producer_with_capacity::<String>("r", 1).unwrap_err(),
        handle.consumer_with_capacity::<String>("r", 1).unwrap_err(),
    ];
    for refused in refused {
        assert!(matches!(refused, OpenError::Db(DbError::WrongType { .. })), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("u64") && text.contains("String") && text.contains("`r`"), "{text}");
    }
}

#[test]
fn attach_returns_every_finding_and_leaves_nothing_running() {
    let mut builder = builder();
    builder.configure::<u64>("zero", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 0 });
    });
    builder.configure::<u64>("bare", |reg| {
        reg.source(|_ctx, _producer| async {});
    });
    builder.configure::<u64>("twice", |reg| {
        reg.buffer(RING).buffer(QUEUE);
    });
    let DbError::Build(findings) = builder.attach().unwrap_err() else {
        panic!("expected findings")
    };
    for key in ["zero", "bare", "twice"] {
        assert!(findings.iter().any(|finding| finding.record == key), "{key} in {findings}");
    }
}

#[test]
fn an_empty_graph_can_be_attached_and_detached() {
    let handle = builder().attach().unwrap();
    assert!(handle.producer::<u64>("r").unwrap_err().to_string().contains("no records"));
    assert!(handle.detach().unwrap().is_clean());
}

#[test]
fn the_longest_timeout_waits_and_does_not_overflow() {
    watched(|| {
        let handle = record(QUEUE);
        let direct = handle.consumer::<u64>("r").unwrap();
        let queued = handle.consumer_with_capacity::<u64>("r", 1).unwrap();
        let producer = handle.producer::<u64>("r").unwrap();
        let bridge = handle.producer_with_capacity::<u64>("r", 1).unwrap();
        std::thread::scope(|scope| {
            let direct = scope.spawn(|| direct.get_with_timeout(Duration::MAX));
            let queued = scope.spawn(|| queued.get_with_timeout(Duration::MAX));
            std::thread::sleep(A_WHILE);
            producer.set_with_timeout(1, Duration::MAX).unwrap();
            assert_eq!((direct.join().unwrap(), queued.join().unwrap()), (Ok(1), Ok(1)));
        });
        std::thread::scope(|scope| {
            let fill: Vec<_> = [&producer, &bridge]
                .map(|producer| {
                    scope.spawn(|| {
                        (0..20)
                            .map(|n| producer.set_with_timeout(n, Duration::MAX))
                            .all(|o| o.is_ok())
                    })
                })
                .into_iter()
                .collect();
            for _ in 0..40 {
                direct.get().unwrap();
                queued.get().unwrap();
            }
            assert!(fill.into_iter().all(|fill| fill.join().unwrap()));
        });
    });
}

#[test]
fn a_shutdown_accepts_the_longest_deadline() {
    watched(|| {
        let handle = record(QUEUE);
        assert!(handle.detach_with_timeout(Duration::MAX).unwrap().is_clean());
        let handle = record(QUEUE);
        assert!(handle.shutdown(Duration::MAX).unwrap().is_clean());
        let options = AttachOptions::new().drop_deadline(Duration::MAX);
        drop(builder().attach_with(options).unwrap());
    });
}

#[test]
fn a_shutdown_accepts_a_deadline_of_zero() {
    watched(|| {
        let handle = record(QUEUE);
        let consumer = handle.consumer::<u64>("r").unwrap();
        handle.producer::<u64>("r").unwrap().set(1).unwrap();
        handle.detach_with_timeout(Duration::ZERO).unwrap();
        assert_eq!((consumer.get(), consumer.get()), (Ok(1), Err(GetError::Closed)));
    });
}

#[test]
fn an_invalid_thread_name_is_refused() {
    watched(|| {
        let options = AttachOptions::new().thread_name("na\0me");
        let refused = builder().attach_with(options).unwrap_err();
        assert!(matches!(refused, DbError::Runtime { .. }), "{refused}");
    });
}

#[test]
fn the_runtime_thread_has_the_name_it_was_given() {
    watched(|| {
        for (options, expected) in [
            (AttachOptions::new(), "aimdb-runtime"),
            (AttachOptions::new().thread_name("plant"), "plant"),
            (AttachOptions::new().thread_name("many").workers(NonZeroUsize::MIN), "many"),
        ] {
            let (sender, name) = std::sync::mpsc::channel();
            let mut builder = builder();
            builder.configure::<u64>("r", |reg| {
                reg.buffer(QUEUE).source(move |_ctx, _producer| async move {
                    sender.send(std::thread::current().name().map(String::from)).unwrap();
                });
            });
            let handle = builder.attach_with(options).unwrap();
            assert_eq!(name.recv().unwrap().as_deref(), Some(expected));
            handle.detach().unwrap();
        }
    });
}

#[test]
fn errors_print_the_reason_and_never_the_value() {
    let handle = record(QUEUE);
    let _stalled = handle.consumer::<u64>("r").unwrap();
    let producer = handle.producer::<u64>("r").unwrap();
    producer.set_many(0..4).unwrap();
    let full = producer.try_set(123_456).unwrap_err();
    assert!(full.to_string().contains("no room"), "{full}");
    assert!(!format!("{full} {full:?}").contains("123456"));
    assert_eq!(full.into_inner(), 123_456);
}
