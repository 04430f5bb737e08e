//! Accounts of where values went: each cause of a loss is provoked, and what entered is delivered, held or lost.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::account::{Account, Party};
use aimdb_core::link::only_if;
use aimdb_core::loss::Loss;
use aimdb_core::{AimDb, AimDbBuilder, BufferCfg, Consumer, Incoming, decode_with, encode_with};
use aimdb_testing::{MemoryPeer, TestRuntime};

type Db = AimDb<TestRuntime>;

fn build(configure: impl FnOnce(&mut AimDbBuilder<TestRuntime>)) -> (Arc<TestRuntime>, Db) {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    configure(&mut builder);
    let db = builder.build().unwrap();
    db.start();
    runtime.advance(Duration::from_secs(1));
    (runtime, db)
}

fn one(buffer: BufferCfg) -> (Arc<TestRuntime>, Db) {
    build(|builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(buffer).written_from_outside().read_from_outside();
        });
    })
}

fn produce(db: &Db, values: std::ops::Range<u64>) {
    let producer = db.producer::<u64>("record").unwrap();
    values.for_each(|value| producer.try_produce(value).unwrap());
}

fn consumer(db: &Db) -> Consumer<u64, TestRuntime> {
    db.consumer("record").unwrap()
}

/// The accounts of the database, all of which are balanced.
fn accounts(db: &Db) -> Vec<Account> {
    let accounts = db.metrics().accounts();
    accounts.iter().for_each(|account| assert!(account.is_balanced(), "{account}"));
    accounts
}

fn texts(db: &Db) -> Vec<String> {
    accounts(db).iter().map(Account::to_string).collect()
}

#[test]
fn values_that_nobody_reads_are_held_or_overwritten() {
    for (buffer, expected) in [
        (BufferCfg::ring(4), "record: 10 entered, 0 delivered, 4 held, lost: 6 overwritten"),
        (BufferCfg::SingleLatest, "record: 10 entered, 0 delivered, 1 held, lost: 9 overwritten"),
        (BufferCfg::queue(4), "record: 10 entered, 0 delivered, 0 held, lost: 10 overwritten"),
        (BufferCfg::Mailbox, "record: 10 entered, 0 delivered, 1 held, lost: 9 overwritten"),
    ] {
        let (_runtime, db) = one(buffer);
        produce(&db, 0..10);
        assert_eq!(texts(&db), [expected], "{buffer}");
    }
}

#[test]
fn a_reader_that_is_late_has_lost_what_was_overwritten() {
    for (buffer, expected) in [
        (BufferCfg::ring(4), "record → late: 10 entered, 1 delivered, 3 held, lost: 6 lagged"),
        (BufferCfg::SingleLatest, "record → late: 10 entered, 1 delivered, 0 held, lost: 9 lagged"),
        (BufferCfg::Mailbox, "record: 10 entered, 1 delivered, 0 held, lost: 9 overwritten"),
    ] {
        let (_runtime, db) = one(buffer);
        let mut late = consumer(&db).named("late").subscribe().unwrap();
        produce(&db, 0..10);
        late.try_recv().unwrap();
        assert_eq!(texts(&db), [expected], "{buffer}");
    }
}

#[test]
fn a_reader_that_joins_late_was_to_have_only_the_values_from_then_on() {
    let (_runtime, db) = one(BufferCfg::ring(4));
    produce(&db, 0..10);
    let mut reader = consumer(&db).named("page").subscribe().unwrap();
    produce(&db, 10..13);
    while reader.try_recv().is_ok() {}
    let expected = format!("record → page: {0} entered, {0} delivered, 0 held, lost: none", 3);
    assert_eq!(texts(&db), [expected]);
}

#[test]
fn a_reader_that_leaves_loses_what_it_had_not_read_and_the_others_keep_it() {
    for buffer in [BufferCfg::ring(8), BufferCfg::queue(8)] {
        let (_runtime, db) = one(buffer);
        let stays = consumer(&db).named("stays").subscribe().unwrap();
        let mut leaves = consumer(&db).named("leaves").subscribe().unwrap();
        produce(&db, 0..5);
        leaves.try_recv().unwrap();
        drop(leaves);
        let expected = [
            "record → stays: 5 entered, 0 delivered, 5 held, lost: none",
            "record → readers that left: 5 entered, 1 delivered, 0 held, lost: 4 reader_left",
        ];
        assert_eq!(texts(&db), expected, "{buffer}");
        drop(stays);
    }
}

#[test]
fn values_that_a_shutdown_leaves_are_lost_by_it_and_are_those_of_its_report() {
    let (runtime, db) = build(|builder| {
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::queue(8)).written_from_outside();
            reg.tap(|ctx, values| async move {
                let mut reader = values.subscribe().unwrap();
                while reader.recv().await.is_ok() {
                    ctx.time().sleep(Duration::from_secs(1)).await;
                }
            });
        });
    });
    produce(&db, 0..8);
    let report = runtime.block_on(db.shutdown(Duration::from_millis(2500)));
    let [left] = &report.undelivered[..] else { panic!("{report}") };
    let [account] = &accounts(&db)[..] else { panic!("{:?}", texts(&db)) };
    assert_eq!((account.entered, account.held), (8, 0), "{account}");
    assert_eq!(account.lost.of(Loss::Shutdown), left.unread, "{account}\n{report}");
    assert_eq!(account.lost.total(), left.unread, "{account}");
    assert!(left.unread > 0, "{report}");
}

#[test]
fn links_account_for_filters_and_codecs_in_both_directions() {
    let peer = MemoryPeer::new();
    let (runtime, db) = build(|builder| {
        builder.connector(peer.connector());
        builder.configure::<u64>("record", |reg| {
            reg.buffer(BufferCfg::queue(32)).written_from_outside();
            let encode = |value: &u64, payload: &mut Vec<u8>| {
                payload.extend(value.to_string().as_bytes());
                if *value == 4 { Err("four") } else { Ok(()) }
            };
            let some = only_if("memory://out", |value: &u64| *value != 7);
            reg.link_to(some, encode_with(encode));
        });
        builder.configure::<u64>("back", |reg| {
            reg.buffer(BufferCfg::queue(32)).read_from_outside();
            let decode = |message: &Incoming<'_>| {
                let text = std::str::from_utf8(message.payload).unwrap();
                text.parse::<u64>().map_err(|error| error.to_string())
            };
            reg.link_from("memory://in", decode_with(decode));
        });
    });
    let mut back = db.consumer::<u64>("back").unwrap().named("back").subscribe().unwrap();
    produce(&db, 0..10);
    for payload in ["1", "x", "3"] {
        peer.publish("in", payload);
    }
    runtime.advance(Duration::from_secs(1));
    while back.try_recv().is_ok() {}
    let all = accounts(&db);
    let link = |text: &str| {
        let is = |account: &&Account| match &account.party {
            Party::Link { address, .. } => address == text,
            _ => false,
        };
        all.iter().find(is).unwrap().to_string()
    };
    assert_eq!(
        link("memory://out"),
        "record → memory://out: 10 entered, 8 delivered, 0 held, 1 filtered, lost: 1 encode_error"
    );
    assert_eq!(
        link("memory://in"),
        "back ← memory://in: 3 entered, 2 delivered, 0 held, lost: 1 decode_error"
    );
    assert_eq!(db.metrics().losses().to_string(), "1 decode_error, 1 encode_error");
}
