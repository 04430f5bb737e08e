//! AimDB and OpenTelemetry, in two parts that a program can copy:
//!
//! | module | what it does |
//! |---|---|
//! | [`metrics`] | a service that exports the accounts of all readers and links by OTLP: the table of `aimdb losses` |
//! | [`traces`] | a W3C trace context that a value carries through MQTT 5 into another database |
//!
//! [`plant`] and [`control_room`] are two databases with a broker between them.
//!
//! ```text
//!   plant                                        control room
//!   source ─▶ boiler.reading ─▶ MQTT ─▶ broker ─▶ boiler.reading ─▶ tap
//!     │ span `measure`, if sampled                                   │ span `handle`, its child
//!     └─ traceparent in the value ─▶ user property ─▶ in the value ──┘
//! ```

use std::time::Duration;

use aimdb::link::with_properties;
use aimdb::mqtt::topic;
use aimdb::prelude::*;
use aimdb::{CodecError, Decode, Incoming, QoS, decode_with};
use opentelemetry::trace::{Span as _, Tracer as _};
use opentelemetry_sdk::trace::SdkTracer;
use serde::{Deserialize, Serialize};

pub mod metrics;
pub mod traces;

/// A measured temperature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    /// In degrees Celsius.
    pub celsius: f32,
    /// The trace that the reading belongs to, if it was sampled: no part of the payload.
    #[serde(skip)]
    pub trace: Option<traces::TraceParent>,
}

/// A database that measures, and publishes what it measured.
///
/// # Errors
///
/// The findings of the graph.
pub fn plant(port: u16, tracer: SdkTracer, readings: u64) -> DbResult<AimDbBuilder<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(format!("mqtt://127.0.0.1:{port}")));
    builder.configure::<Reading>("boiler.reading", |reg| {
        reg.buffer(BufferCfg::queue(64));
        reg.source(move |ctx, boiler| async move {
            for n in 0..readings {
                // The sampler decides here; a reading that is not sampled carries nothing.
                let mut span = tracer.start("measure");
                let trace = traces::TraceParent::of(span.span_context());
                let celsius = 80.0 + (n % 20) as f32;
                if boiler.produce(Reading { celsius, trace }).await.is_err() {
                    return;
                }
                span.end();
                ctx.time().sleep(Duration::from_millis(10)).await;
            }
        });
        let target = topic("boiler/reading").qos(QoS::AtLeastOnce);
        reg.link_to(
            with_properties(target, |reading: &Reading| traces::properties(reading.trace.as_ref())),
            Json,
        );
    });
    Ok(builder)
}

/// A database that receives readings and handles them.
///
/// # Errors
///
/// The findings of the graph.
pub fn control_room(port: u16, tracer: SdkTracer) -> DbResult<AimDbBuilder<TokioAdapter>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(MqttConnector::new(format!("mqtt://127.0.0.1:{port}")));
    builder.configure::<Reading>("boiler.reading", |reg| {
        let codec = decode_with(|message: &Incoming<'_>| {
            let mut reading: Reading = Json.decode(message)?;
            reading.trace = traces::TraceParent::in_properties(message.properties.user);
            Ok::<_, CodecError>(reading)
        });
        reg.buffer(BufferCfg::queue(64)).link_from("mqtt://boiler/reading?qos=1", codec).for_each(
            move |_ctx, reading| {
                if let Some(trace) = &reading.trace {
                    let mut span = tracer.start_with_context("handle", &trace.as_parent());
                    span.end();
                }
            },
        );
    });
    Ok(builder)
}
