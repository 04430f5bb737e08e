//! The answers of the paths.

use std::time::Duration;

use aimdb_core::{BufferCfg, CodecError, Encode, Json, Postcard};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn every_path_of_the_description_answers_and_its_types_are_those_that_are_described() {
    let fixture = start(three, |console| console).await;
    fixture.produce(0..3);
    let document = fixture.get("/api/openapi.json").await.json();
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path.replace("{key}", "count");
            let media_type = operation["responses"]["200"]["content"].as_object().unwrap();
            let media_type = media_type.keys().next().unwrap();
            tried += 1;
            if media_type == "text/event-stream" {
                fixture.stream(&path, "").await;
                continue;
            }
            let answer = fixture.owner(&method.to_uppercase(), &path, b"").await;
            assert!(!matches!(answer.status, 404 | 405), "{method} {path}: {answer:?}");
            if media_type == "application/json" {
                answer.json();
            }
            if answer.status == 200 && media_type != "application/octet-stream" {
                let head = answer.head.to_ascii_lowercase();
                assert!(head.contains(&format!("content-type: {media_type}")), "{path}: {head}");
            }
        }
    }
    assert_eq!(tried, 15, "{document}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn a_record_shows_its_value_its_schema_and_its_counters() {
    let fixture = start(three, |console| console).await;
    let empty = fixture.get("/api/v1/records/count").await.json();
    assert_eq!((&empty["latest"], &empty["metrics"]["produced"]), (&json!(null), &json!(0)));
    fixture.produce(0..3);
    let count = fixture.get("/api/v1/records/count").await.json();
    assert_eq!(count["latest"]["seq"], 3);
    assert_eq!(count["latest"]["value"], 2);
    assert_eq!(count["metrics"]["produced"], 3);
    assert_eq!(count["encoding"], "application/json");
    assert_eq!(fixture.get("/api/v1/records/count/value").await.text(), "2");
    // A `/` in a key.
    let limits = fixture.get("/api/v1/records/config%2Flimits").await.json();
    assert_eq!(limits["schema"]["properties"]["low"]["type"], "number");
    assert_eq!(fixture.get("/api/v1/records/config%2Flimits/value").await.status, 204);
    // A record that is not exposed is listed, with its counters.
    let hidden = fixture.get("/api/v1/records/hidden").await.json();
    assert_eq!((&hidden["encoding"], hidden.get("latest")), (&json!(null), None));
    assert_eq!(hidden["metrics"]["produced"], 0);
    assert_eq!(fixture.get("/api/v1/records/hidden/value").await.status, 409);
    let keys: Vec<_> = fixture
        .get("/api/v1/records")
        .await
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(keys, ["count", "config/limits", "hidden"]);
    fixture.shut_down().await;
}

#[tokio::test]
async fn graph_health_metrics_losses_and_events_are_those_of_the_database() {
    let fixture = start(
        |builder| {
            three(builder);
            builder.configure::<u64>("failing", |reg| {
                reg.buffer(BufferCfg::ring(4)).read_from_outside().source(|ctx, _| async move {
                    ctx.fail("the sensor is on fire");
                });
            });
        },
        |console| console,
    )
    .await;
    let reader = fixture.db.consumer::<u64>("count").unwrap().named("slow").subscribe().unwrap();
    fixture.produce(0..100);
    eventually("the source fails", || !fixture.db.health().is_healthy()).await;
    let health = fixture.get("/api/v1/health").await;
    assert_eq!((health.status, &health.json()["healthy"]), (503, &json!(false)));
    assert!(health.text().contains("the sensor is on fire"), "{}", health.text());
    let graph = fixture.get("/api/v1/graph").await.json();
    assert_eq!(graph["records"][0]["key"], "count");
    for (format, start) in
        [("mermaid", "flowchart LR"), ("dot", "digraph aimdb"), ("text", "service console")]
    {
        let text = fixture.get(&format!("/api/v1/graph?format={format}")).await.text();
        assert!(text.starts_with(start), "{text}");
    }
    assert_eq!(fixture.get("/api/v1/graph?format=png").await.status, 400);
    let losses = fixture.get("/api/v1/losses").await.json();
    assert_eq!(losses["total"], json!({ "lagged": 36 }));
    assert_eq!(losses["accounts"][0]["party"], json!({ "kind": "reader", "name": "slow" }));
    assert_eq!(losses["accounts"][0]["lost"], json!({ "lagged": 36 }));
    let metrics = fixture.get("/api/v1/metrics").await.json();
    assert_eq!(metrics["records"][0]["readers"][0]["lagged"], 36);
    let events = fixture.get("/api/v1/events").await.text();
    assert!(events.contains("stage `failing/source` failed: the sensor is on fire"), "{events}");
    let info = fixture.get("/api/v1/info").await.json();
    assert_eq!((&info["name"], &info["pid"]), (&json!("test"), &json!(std::process::id())));
    drop(reader);
    let report = fixture.db.shutdown(Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn prometheus_finds_the_same_figures_and_one_sample_for_each_series() {
    let fixture = start(three, |console| console).await;
    let consumer = fixture.db.consumer::<u64>("count").unwrap().named("page \"1\"");
    let readers = [consumer.subscribe().unwrap(), consumer.subscribe().unwrap()];
    fixture.produce(0..100);
    let answer = fixture.get("/metrics").await;
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("aimdb_record_produced_total{record=\"count\"} 100\n"), "{text}");
    // The readers of a record are one party, whose counters never fall; those of one name are one series.
    let lost = "aimdb_account_lost_total{record=\"count\",kind=\"readers\",link=\"\",cause=\"lagged\"} 72\n";
    assert!(text.contains(lost), "{text}");
    let pending = "aimdb_reader_pending{record=\"count\",reader=\"page \\\"1\\\"\"} 128.0\n";
    assert!(text.contains(pending), "{text}");
    assert!(text.contains("# UNIT aimdb_record_age_seconds seconds\n"), "{text}");
    let mut series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(series, _)| series)
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "{text}");
    drop(readers);
    let after = fixture.get("/metrics").await.text();
    assert!(after.contains(lost), "readers that leave take nothing away: {after}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn bytes_of_other_encodings_are_shown_as_digits_and_set_as_they_are() {
    let fixture = start(
        |builder| {
            builder.configure::<(u8, u16)>("packed", |reg| {
                reg.buffer(BufferCfg::latest()).expose(Postcard).settable();
            });
        },
        open,
    )
    .await;
    assert_eq!(
        fixture.request("PUT", "/api/v1/records/packed", "", &[7, 0xac, 0x02]).await.status,
        204
    );
    let shown = fixture.get("/api/v1/records/packed").await.json();
    assert_eq!(shown["latest"]["hex"], "07ac02");
    assert_eq!(fixture.get("/api/v1/records/packed/value").await.body, [7, 0xac, 0x02]);
    fixture.shut_down().await;
}

/// Panics at 13.
#[derive(Clone)]
struct Superstitious;

impl Encode<u64> for Superstitious {
    fn encode(&mut self, value: &u64, out: &mut Vec<u8>) -> Result<(), CodecError> {
        assert_ne!(*value, 13, "thirteen");
        Json.encode(value, out)
    }
}

#[tokio::test]
async fn a_codec_that_panics_costs_one_answer() {
    let fixture = start(
        |builder| {
            builder.configure::<u64>("count", |reg| {
                reg.buffer(BufferCfg::latest()).written_from_outside().expose(Superstitious);
            });
        },
        |console| console,
    )
    .await;
    fixture.produce(13..14);
    let answer = fixture.get("/api/v1/records/count/value").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("thirteen"), "{}", answer.text());
    fixture.produce(14..15);
    assert_eq!(fixture.get("/api/v1/records/count/value").await.status, 200);
    fixture.shut_down().await;
}
