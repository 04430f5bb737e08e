//! A collector on loopback receives the counters of both databases, and traces that go through the broker.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use embedded_broker::EmbeddedBroker;
use opentelemetry::trace::TracerProvider;
use opentelemetry_example::{control_room, metrics::OtlpMetrics, plant, traces};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

const READINGS: u64 = 40;

/// A span, with the identifiers that make a trace of it.
struct Seen {
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
}

/// The requests that the collector has received.
#[derive(Default)]
struct Received {
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    traces: Mutex<Vec<ExportTraceServiceRequest>>,
}

async fn collector() -> (String, Arc<Received>) {
    let received = Arc::new(Received::default());
    let (metrics, traces) = (Arc::clone(&received), Arc::clone(&received));
    let router = Router::new()
        .route(
            "/v1/metrics",
            post(async move |body: Bytes| {
                metrics.metrics.lock().unwrap().push(Message::decode(body).unwrap());
            }),
        )
        .route(
            "/v1/traces",
            post(async move |body: Bytes| {
                traces.traces.lock().unwrap().push(Message::decode(body).unwrap());
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, received)
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

fn service(resource: Option<&Resource>) -> String {
    text(&resource.unwrap().attributes, "service.name")
}

impl Received {
    /// The highest value of a counter, of a service and a party.
    fn counter(&self, name: &str, of_service: &str, party: &str) -> Option<u64> {
        let all = self.metrics.lock().unwrap();
        let of_service = all
            .iter()
            .flat_map(|request| &request.resource_metrics)
            .filter(|metrics| service(metrics.resource.as_ref()) == of_service);
        let metrics = of_service.flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics);
        let points = metrics.filter(|it| it.name == name).flat_map(|it| match &it.data {
            Some(metric::Data::Sum(sum)) => sum.data_points.clone(),
            _ => Vec::new(),
        });
        points
            .filter(|point| text(&point.attributes, "record") == "boiler.reading")
            .filter(|point| text(&point.attributes, "party").contains(party))
            .filter_map(|point| match point.value {
                Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).ok(),
                _ => None,
            })
            .max()
    }

    fn spans(&self, of_service: &str) -> Vec<Seen> {
        let all = self.traces.lock().unwrap();
        all.iter()
            .flat_map(|request| &request.resource_spans)
            .filter(|spans| service(spans.resource.as_ref()) == of_service)
            .flat_map(|spans| &spans.scope_spans)
            .flat_map(|spans| &spans.spans)
            .map(|it| Seen {
                name: it.name.clone(),
                trace: it.trace_id.clone(),
                id: it.span_id.clone(),
                parent: it.parent_span_id.clone(),
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_traces_of_both_databases_arrive() {
    let (endpoint, received) = collector().await;
    let broker = EmbeddedBroker::start().await.unwrap();
    // Half of the readings are sampled at one end, and those at the other.
    let spans = [("plant", 0.5), ("control-room", 0.0)]
        .map(|(name, share)| traces::provider(name, &endpoint, share).unwrap());
    let interval = Duration::from_secs(3600);
    let mut room = control_room(broker.port(), spans[1].tracer("control-room")).unwrap();
    room.service(OtlpMetrics::new("control-room", &endpoint, interval));
    let room = room.build().unwrap();
    room.start();
    let connected = async {
        while !room.metrics().links[0].connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), connected).await.unwrap();
    let mut plant = plant(broker.port(), spans[0].tracer("plant"), READINGS).unwrap();
    plant.service(OtlpMetrics::new("plant", &endpoint, interval));
    plant.run().await.unwrap();
    let handled = async {
        while room.metrics().links[0].received < READINGS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), handled).await.unwrap();
    let report = room.shutdown(Duration::from_secs(20)).await;
    assert!(report.is_clean(), "{report}");
    tokio::task::spawn_blocking(move || spans.iter().for_each(|it| it.shutdown().unwrap()))
        .await
        .unwrap();
    broker.stop().await;

    for service in ["plant", "control-room"] {
        assert_eq!(
            received.counter("aimdb.record.produced", service, ""),
            Some(READINGS),
            "{service}"
        );
    }
    assert_eq!(received.counter("aimdb.delivered", "plant", "mqtt://"), Some(READINGS));
    assert_eq!(received.counter("aimdb.lost", "plant", ""), None, "nothing was lost");
    let (measured, handled) = (received.spans("plant"), received.spans("control-room"));
    assert!(
        (1..READINGS as usize).contains(&measured.len()),
        "some are sampled: {}",
        measured.len()
    );
    assert_eq!(measured.len(), handled.len());
    for parent in &measured {
        assert_eq!(parent.name, "measure");
        let child = handled.iter().find(|span| span.parent == parent.id);
        let child = child.expect("a child in the other database");
        assert_eq!((child.name.as_str(), &child.trace), ("handle", &parent.trace));
    }
}
