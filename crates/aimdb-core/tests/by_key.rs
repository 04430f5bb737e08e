//! Records by key, as bytes: without their types.
#![cfg(not(aimdb_loom))]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aimdb_core::access::AccessError;
use aimdb_core::{
    AimDbBuilder, AnyReader, AnyRecord, BufferCfg, CodecError, DbError, Encode, Event, Incoming,
    Json, Postcard, decode_with, encode_with,
};
use aimdb_testing::TestRuntime;
use common::*;

const KINDS: [BufferCfg; 4] = [RING, QUEUE, LATEST, MAILBOX];

/// A settable record of numbers, found by its key.
fn settable(cfg: BufferCfg) -> (Db, AnyRecord) {
    let (_, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        reg.buffer(cfg).shared().expose(Json).settable();
    });
    let db = builder.build().unwrap();
    let record = db.record("record").unwrap();
    (db, record)
}

/// The newest value as text, with its number.
fn latest(record: &AnyRecord) -> Option<(u64, String)> {
    let mut out = Vec::new();
    let stamp = record.latest(&mut out).unwrap()?;
    Some((stamp.seq, String::from_utf8(out).unwrap()))
}

/// What the reader has: values as text, lags as `lost N`.
fn drained(reader: &mut AnyReader) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        let mut out = Vec::new();
        match reader.try_next(&mut out).unwrap() {
            None => return events,
            Some(Event::Value(())) => events.push(String::from_utf8(out).unwrap()),
            Some(Event::Lagged(missed)) => events.push(format!("lost {missed}")),
        }
    }
}

#[test]
fn a_value_that_is_written_as_bytes_is_read_as_bytes_and_by_type() {
    for cfg in KINDS {
        let (db, record) = settable(cfg);
        let mut typed = db.consumer::<u64>("record").unwrap().subscribe().unwrap();
        assert_eq!(latest(&record), None, "{cfg}");
        for n in 1..=3 {
            record.write(n.to_string().as_bytes()).unwrap();
            assert_eq!(latest(&record), Some((n, n.to_string())), "{cfg}");
            assert_eq!(latest(&record), Some((n, n.to_string())), "{cfg}: nothing is consumed");
            assert_eq!(typed.try_recv(), Ok(n), "{cfg}");
        }
        assert_eq!(record.metrics().produced, 3, "{cfg}");
    }
}

#[test]
fn a_record_says_what_it_is() {
    let (_, mut builder) = builder();
    builder.configure::<f32>("pressure", |reg| {
        reg.buffer(RING).written_from_outside().expose(Postcard);
    });
    builder.configure::<u64>("limit", |reg| {
        reg.buffer(LATEST).expose(Json).settable();
    });
    builder.configure::<String>("hidden", |reg| {
        reg.buffer(LATEST).written_from_outside().read_from_outside();
    });
    let graph = builder.graph().to_string();
    assert!(graph.contains("  → exposed as application/postcard\n"), "{graph}");
    assert!(
        graph.contains(
            "limit  u64  latest\n  ← outside\n  → exposed as application/json, settable\n"
        ),
        "{graph}"
    );
    let plan = builder.graph().check().unwrap();
    assert!(plan.warnings().is_empty(), "{}", plan.warnings());
    let db = builder.build().unwrap();
    let about = |record: AnyRecord| {
        let settable = record.is_settable();
        (record.key().to_owned(), record.type_name(), record.buffer(), record.encoding(), settable)
    };
    let expected = [
        ("pressure".to_owned(), "f32", RING, Some("application/postcard"), false),
        ("limit".to_owned(), "u64", LATEST, Some("application/json"), true),
        ("hidden".to_owned(), "alloc::string::String", LATEST, None, false),
    ];
    assert_eq!(db.records().map(about).collect::<Vec<_>>(), expected);
    let error = db.record("limits").unwrap_err();
    assert!(matches!(error, DbError::UnknownKey { .. }));
    assert!(error.to_string().contains("`limit`"), "{error}");
}

#[test]
fn a_refusal_names_the_record_and_changes_nothing() {
    let (_, mut builder) = builder();
    builder.configure::<u64>("hidden", |reg| {
        reg.buffer(LATEST).written_from_outside().read_from_outside();
    });
    builder.configure::<u64>("shown", |reg| {
        reg.buffer(LATEST).written_from_outside().expose(Json);
    });
    builder.configure::<u64>("queue", |reg| {
        reg.buffer(BufferCfg::SpmcQueue { capacity: 1 }).expose(Json).settable();
    });
    builder.configure::<u64>("command", |reg| {
        reg.buffer(MAILBOX).expose(Json).settable();
    });
    let db = builder.build().unwrap();
    let record = |key: &str| db.record(key).unwrap();
    let text = |error: AccessError| {
        let text = error.to_string();
        assert!(text.contains(error.key()), "{text}");
        text.lines().next().unwrap().to_owned()
    };
    let mut out = b"kept".to_vec();
    assert_eq!(
        text(record("hidden").latest(&mut out).unwrap_err()),
        "record `hidden` is not exposed: it has no codec"
    );
    assert_eq!(text(record("shown").write(b"1").unwrap_err()), "record `shown` is not settable");
    assert_eq!(
        text(record("command").write(b"{}").unwrap_err()),
        "the bytes are no value of record `command`: invalid type: map, expected u64 at line 1 column 0"
    );
    let queue = record("queue");
    let _slow = queue.subscribe("page").unwrap();
    queue.write(b"1").unwrap();
    assert_eq!(
        text(queue.write(b"2").unwrap_err()),
        "record `queue` has no room: its slowest reader has not received the oldest value"
    );
    let _taker = record("command").subscribe("robot").unwrap();
    assert_eq!(
        text(record("command").subscribe("page").unwrap_err()),
        "record `command` is a mailbox, and `robot` takes its commands"
    );
    close(&db);
    let closed = "is closed: the database has been shut down";
    assert_eq!(text(queue.write(b"2").unwrap_err()), format!("record `queue` {closed}"));
    let refused = record("shown").subscribe("page").unwrap_err();
    assert_eq!(text(refused), format!("record `shown` {closed}"));
    assert_eq!(out, b"kept");
    assert_eq!(record("hidden").metrics().produced, 0);
}

#[test]
fn a_reader_by_key_is_a_named_reader_that_counts_its_losses() {
    for cfg in [RING, LATEST] {
        let (db, record) = settable(cfg);
        let mut reader = record.subscribe("history").unwrap();
        (1..=6).for_each(|n: u64| record.write(n.to_string().as_bytes()).unwrap());
        let metrics = db.metrics();
        assert_eq!(metrics.record("record").unwrap().readers[0].name, "history", "{cfg}");
        let events = drained(&mut reader);
        let expected: &[&str] =
            if cfg == RING { &["lost 2", "3", "4", "5", "6"] } else { &["lost 5", "6"] };
        assert_eq!(events, expected, "{cfg}");
        assert_eq!((reader.lagged(), reader.pending()), (if cfg == RING { 2 } else { 5 }, 0));
    }
}

#[test]
fn a_reader_by_key_waits_and_ends() {
    for cfg in KINDS {
        let (db, record) = settable(cfg);
        let mut reader = record.subscribe("tail").unwrap();
        let wakes = Arc::new(CountingWaker::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut out = Vec::new();
        {
            let mut next = pin!(reader.next(&mut out));
            let mut poll = || next.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(poll().is_pending(), "{cfg}");
            record.write(b"7").unwrap();
            assert_eq!(wakes.take_wakes(), 1, "{cfg}");
            assert_eq!(poll(), Poll::Ready(Ok(Event::Value(()))), "{cfg}");
        }
        assert_eq!(out, b"7", "{cfg}");
        // Dropped while it waits: the next command is another taker's.
        assert!(poll_once(reader.next(&mut out), Waker::noop()).is_pending(), "{cfg}");
        close(&db);
        let end = poll_once(reader.next(&mut out), Waker::noop());
        assert_eq!(end, Poll::Ready(Err(AccessError::Closed { key: "record".into() })), "{cfg}");
    }
}

/// A codec that refuses 3 and panics at 4.
#[derive(Clone)]
struct Moody;

impl Encode<u64> for Moody {
    fn encode(&mut self, value: &u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(b"half");
        match value {
            3 => Err(CodecError::new("three is refused")),
            4 => panic!("four"),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_codec_that_fails_or_panics_costs_one_answer() {
    let (_, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        reg.buffer(RING).written_from_outside().expose(Moody);
    });
    let db = builder.build().unwrap();
    let (record, producer) = (db.record("record").unwrap(), db.producer::<u64>("record").unwrap());
    let mut reader = record.subscribe("page").unwrap();
    let mut out = b"kept ".to_vec();
    for (value, expected) in
        [(2, Ok(())), (3, Err("three is refused")), (4, Err("panicked: four")), (5, Ok(()))]
    {
        producer.try_produce(value).unwrap();
        let before = out.clone();
        let refused = |error: AccessError| error.to_string();
        let expected = expected
            .map_err(|reason| format!("the value of record `record` has no encoding: {reason}"));
        assert_eq!(record.latest(&mut out).map(|_| ()).map_err(refused), expected);
        assert_eq!(reader.try_next(&mut out).map(|_| ()).map_err(refused), expected);
        let grown = if expected.is_ok() { 8 } else { 0 };
        assert_eq!(out.len(), before.len() + grown, "{value}: half an encoding is dropped");
    }
    assert_eq!((reader.pending(), record.encoding()), (0, Some("application/octet-stream")));
}

#[test]
fn an_exposed_record_goes_on_with_the_registrar() {
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TestRuntime::new()));
    builder.configure::<u64>("record", |reg| {
        let text = encode_with(|value: &u64, out: &mut Vec<u8>| {
            out.extend(value.to_string().bytes());
            Ok::<_, CodecError>(())
        });
        reg.expose(text).buffer(LATEST).initial(1).named("not a stage");
    });
    let findings = builder.build().unwrap_err().to_string();
    assert!(findings.contains("not a stage") && findings.contains("E21"), "{findings}");
}

#[test]
fn two_closures_are_a_codec_as_a_pair() {
    let (_, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        let text = encode_with(|value: &u64, out: &mut Vec<u8>| {
            out.extend(format!("#{value}").bytes());
            Ok::<_, CodecError>(())
        });
        let number = decode_with(|message: &Incoming<'_>| {
            std::str::from_utf8(message.payload).unwrap_or("").parse::<u64>()
        });
        reg.buffer(LATEST).expose((text, number)).settable();
    });
    let db = builder.build().unwrap();
    let record = db.record("record").unwrap();
    record.write(b"12").unwrap();
    assert_eq!(latest(&record), Some((1, "#12".into())));
    assert!(record.write(b"twelve").is_err());
}

/// A value whose clone panics if it is 3.
#[derive(Debug)]
struct Fragile(u64);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert_ne!(self.0, 3, "three breaks");
        Self(self.0)
    }
}

#[test]
fn a_value_whose_clone_panics_costs_its_reader_one_answer() {
    let (_, mut builder) = builder();
    builder.configure::<Fragile>("record", |reg| {
        let text = encode_with(|value: &Fragile, out: &mut Vec<u8>| {
            out.extend(value.0.to_string().bytes());
            Ok::<_, CodecError>(())
        });
        reg.buffer(RING).written_from_outside().expose(text);
    });
    let db = builder.build().unwrap();
    let (record, producer) =
        (db.record("record").unwrap(), db.producer::<Fragile>("record").unwrap());
    let mut reader = record.subscribe("page").unwrap();
    for n in 2..=4 {
        producer.try_produce(Fragile(n)).unwrap();
        assert_eq!(record.latest(&mut Vec::new()).is_err(), n == 3);
    }
    let mut out = Vec::new();
    let answers: Vec<_> = (0..4).map(|_| reader.try_next(&mut out).map_err(|_| ())).collect();
    let value = Ok(Some(Event::Value(())));
    assert_eq!(answers, [value, Err(()), value, Ok(None)]);
    assert_eq!(out, b"24");
}

#[test]
fn a_reader_by_key_yields_to_the_other_tasks_of_its_thread() {
    let (_, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 1_000 }).expose(Json).settable();
    });
    let db = builder.build().unwrap();
    let record = db.record("record").unwrap();
    let mut reader = record.subscribe("tail").unwrap();
    (0..1_000).for_each(|_| record.write(b"1").unwrap());
    let mut received = 0;
    let polled = poll_once(
        async {
            let mut out = Vec::new();
            while reader.next(&mut out).await.is_ok() {
                received += 1;
            }
        },
        Waker::noop(),
    );
    assert!(polled.is_pending());
    assert_eq!(received, 128);
}

#[test]
fn a_record_that_is_exposed_twice_is_a_finding() {
    let (_, mut builder) = builder();
    builder.configure::<u64>("record", |reg| {
        reg.buffer(LATEST).written_from_outside().expose(Json).expose(Postcard);
    });
    let findings = builder.build().unwrap_err().to_string();
    assert!(findings.contains("E25 record `record`: it is exposed 2 times"), "{findings}");
    assert!(findings.contains("keep one `.expose(…)` call"), "{findings}");
}

#[test]
fn consumers_from_outside_have_names() {
    let (db, producer, consumer) = open::<u64>(RING);
    let page = consumer.clone().named("page");
    let (_outside, _first, _second) =
        (consumer.subscribe().unwrap(), page.subscribe().unwrap(), page.clone().subscribe());
    producer.try_produce(1).unwrap();
    let metrics = db.metrics();
    let names: Vec<_> = metrics.record("record").unwrap().readers.iter().map(|r| &r.name).collect();
    assert_eq!(names, ["outside", "page", "page"]);
}

#[cfg(feature = "schema")]
#[test]
fn a_record_shows_the_schema_of_its_type_if_it_declares_it() {
    let (_, mut builder) = builder();
    builder.configure::<Vec<u8>>("with", |reg| {
        reg.buffer(LATEST).expose(Json).with_schema().settable();
    });
    builder.configure::<u8>("without", |reg| {
        reg.buffer(LATEST).expose(Json).settable();
    });
    let db = builder.build().unwrap();
    let schema = db.record("with").unwrap().schema().unwrap();
    assert!(schema.contains(r#""type":"array""#) && schema.contains(r#""uint8""#), "{schema}");
    assert!(db.record("with").unwrap().is_settable());
    assert_eq!(db.record("without").unwrap().schema(), None);
}
