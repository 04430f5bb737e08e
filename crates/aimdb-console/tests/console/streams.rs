//! Streams: what they show, and what they leave alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aimdb_core::{BufferCfg, Json};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::*;

const COUNT: &str = "/api/v1/records/count/stream";

#[tokio::test]
async fn a_stream_begins_with_the_newest_value_and_shows_each_one_after_it() {
    let fixture = start(three, |console| console).await;
    fixture.produce(0..3);
    let mut events = fixture.stream(COUNT, "").await;
    let first = events.next_of("value").await;
    assert_eq!(
        (&first["record"], &first["seq"], &first["value"]),
        (&json!("count"), &json!(3), &json!(2))
    );
    assert_eq!(fixture.observers("count"), 1);
    for value in 3..10 {
        fixture.produce(value..value + 1);
        let next = events.next_of("value").await;
        assert_eq!(
            (&next["seq"], &next["value"], &next["missed"]),
            (&json!(value + 1), &json!(value), &json!(0))
        );
    }
    drop(events);
    eventually("the observer leaves", || fixture.observers("count") == 0).await;
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_caller_that_comes_back_learns_what_it_missed() {
    let fixture = start(three, |console| console).await;
    fixture.produce(0..10);
    let mut events = fixture.stream(COUNT, "Last-Event-ID: 4\r\n").await;
    let first = events.next_of("value").await;
    assert_eq!((&first["seq"], &first["missed"]), (&json!(10), &json!(5)));
    // Nothing is new for a caller that has the newest value.
    let mut events = fixture.stream(COUNT, "Last-Event-ID: 10\r\n").await;
    fixture.produce(10..11);
    let first = events.next_of("value").await;
    assert_eq!((&first["seq"], &first["missed"]), (&json!(11), &json!(0)));
    // An id that the record has not reached is from an earlier run of the program.
    for id in ["1000", "18446744073709551615"] {
        let mut events = fixture.stream(COUNT, &format!("Last-Event-ID: {id}\r\n")).await;
        assert_eq!(events.next_of("value").await["seq"], 11, "{id}");
    }
    let mut events = fixture.stream(COUNT, "Last-Event-ID: rubbish\r\n").await;
    assert_eq!(events.next_of("value").await["seq"], 11);
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_stream_shows_several_records_and_what_changes() {
    let fixture = start(
        |builder| {
            three(builder);
            builder.configure::<u64>("failing", |reg| {
                reg.buffer(BufferCfg::ring(4)).written_from_outside();
                reg.tap(|ctx, values| async move {
                    let mut values = values.subscribe().unwrap();
                    _ = values.recv().await;
                    ctx.fail("it has seen enough");
                });
            });
        },
        open,
    )
    .await;
    let mut events = fixture.stream("/api/v1/stream?key=count,config*&metrics=50", "").await;
    let all = events.next_of("metrics").await;
    assert_eq!(all["records"].as_array().unwrap().len(), 4);
    assert!(all["health"]["stages"].is_array(), "{all}");
    fixture.produce(0..2);
    for value in 0..2 {
        let next = events.next_of("value").await;
        assert_eq!((&next["record"], &next["value"]), (&json!("count"), &json!(value)));
    }
    // Only what has changed.
    let changed = loop {
        let next = events.next_of("metrics").await;
        if !next["records"].as_array().unwrap().is_empty() {
            break next;
        }
    };
    assert_eq!(changed["records"][0]["key"], "count");
    assert_eq!((changed["records"].as_array().unwrap().len(), changed.get("health")), (1, None));
    let body = br#"{"low": 1.0, "high": 2.0}"#;
    fixture.request("PUT", "/api/v1/records/config%2Flimits", "", body).await;
    assert_eq!(events.next_of("value").await["value"], json!({ "low": 1.0, "high": 2.0 }));
    fixture.db.producer::<u64>("failing").unwrap().try_produce(1).unwrap();
    let event = events.next_of("event").await;
    assert_eq!(event["text"], "stage `failing/tap` failed: it has seen enough");
    drop(events);
    let report = fixture.db.shutdown(LIMIT).await;
    assert!(report.aborted.is_empty() && report.unresponsive.is_empty(), "{report}");
}

#[tokio::test]
async fn a_stream_with_a_pause_shows_the_newest_value_only() {
    let fixture = start(three, |console| console).await;
    let mut events = fixture.stream("/api/v1/stream?key=count&every=100", "").await;
    fixture.produce(0..1000);
    let mut seen = Vec::new();
    while seen.last() != Some(&999) {
        let next = events.next_of("value").await;
        seen.push(next["value"].as_u64().unwrap());
    }
    // A burst of a thousand within one or two pauses.
    assert!(seen.len() < 10, "{seen:?}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn one_stream_more_than_the_limit_is_refused() {
    let fixture = start(three, |console| console.max_streams(2)).await;
    let first = fixture.stream(COUNT, "").await;
    let _second = fixture.stream(COUNT, "").await;
    let refused = fixture.get(COUNT).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    drop(first);
    eventually("the first one ends", || fixture.observers("count") == 1).await;
    fixture.produce(0..1);
    let mut third = fixture.stream(COUNT, "").await;
    assert_eq!(third.next_of("value").await["value"], 0);
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_ends_ten_streams_and_shows_them_the_drain() {
    let fixture = start(three, |console| console).await;
    let mut streams = Vec::new();
    for n in 0..10 {
        let path = if n % 2 == 0 { COUNT } else { "/api/v1/stream?metrics=20" };
        streams.push(fixture.stream(path, "").await);
    }
    // One of them has stopped to read, and one sends rubbish.
    streams[2].stream.write_all(b"rubbish").await.unwrap();
    fixture.produce(0..1);
    let mut one = streams.pop().unwrap();
    let reading = tokio::spawn(async move {
        let mut texts = Vec::new();
        loop {
            let (event, data) = one.next().await;
            match &*event {
                "event" => texts.push(data["text"].as_str().unwrap().to_owned()),
                "end" => return texts,
                _ => {}
            }
        }
    });
    fixture.shut_down().await;
    let texts = within(reading).await.unwrap();
    assert_eq!(texts[0], "a shutdown has begun", "{texts:?}");
}

#[tokio::test]
async fn callers_that_stop_reading_change_no_delivery_and_are_let_go() {
    for buffer in
        [BufferCfg::ring(1 << 17), BufferCfg::queue(64), BufferCfg::Mailbox, BufferCfg::latest()]
    {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let stalled = Duration::from_millis(500);
        let fixture = start(
            |builder| {
                let taken = Arc::clone(&taken);
                builder.configure::<Vec<u64>>("wide", |reg| {
                    reg.buffer(buffer).written_from_outside().expose(Json);
                    reg.tap(move |_ctx, values| async move {
                        let mut values = values.subscribe().unwrap();
                        while let Ok(value) = values.recv().await {
                            taken.lock().unwrap().push(value[0]);
                        }
                    });
                });
            },
            |console| console.timeouts(stalled, stalled, stalled),
        )
        .await;
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(fixture.stream("/api/v1/records/wide/stream", "").await);
        }
        let producer = fixture.db.producer::<Vec<u64>>("wide").unwrap();
        let values = 3000_u64;
        for n in 0..values {
            producer.produce(vec![n; 200]).await.unwrap();
        }
        // None of the callers reads. Once the buffers of their connections are full they are let go, and the writers pay
        // for none of them. That has nothing to do with the kind of buffer.
        let mut last = values;
        let fill = async {
            while matches!(buffer, BufferCfg::SpmcRing { .. }) && fixture.observers("wide") > 0 {
                producer.produce(vec![last; 20_000]).await.unwrap();
                last += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        within(fill).await;
        let values = last;
        eventually("the last one arrives", || taken.lock().unwrap().last() == Some(&(values - 1)))
            .await;
        let record = fixture.db.metrics().record("wide").unwrap().clone();
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        assert!(taken.is_sorted_by(|a, b| a < b), "{buffer}");
        if matches!(buffer, BufferCfg::SpmcRing { .. } | BufferCfg::SpmcQueue { .. }) {
            assert_eq!(taken.len() as u64, values, "{buffer}: {record}");
        }
        for account in fixture.db.metrics().accounts() {
            assert!(account.is_balanced(), "{account}");
        }
        drop(streams);
        fixture.shut_down().await;
    }
}
