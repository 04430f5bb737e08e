//! The W3C trace context of a value.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

/// The name of the property, as the specification has it.
const TRACEPARENT: &str = "traceparent";

/// The trace context of a sampled value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// The context of a span; `None` if it is not sampled.
    #[must_use]
    pub fn of(span: &SpanContext) -> Option<Self> {
        if !span.is_sampled() {
            return None;
        }
        let mut carrier = HashMap::new();
        let context = Context::new().with_remote_span_context(span.clone());
        TraceContextPropagator::new().inject_context(&context, &mut carrier);
        carrier.remove(TRACEPARENT).map(Self)
    }

    /// The context among the user properties of a message.
    #[must_use]
    pub fn in_properties(user: &[(String, String)]) -> Option<Self> {
        user.iter().find(|(name, _)| name == TRACEPARENT).map(|(_, value)| Self(value.clone()))
    }

    /// The context for a child span. One that is malformed has no parent.
    #[must_use]
    pub fn as_parent(&self) -> Context {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), self.0.clone())]);
        TraceContextPropagator::new().extract(&carrier)
    }
}

/// The properties of a message that carry the context.
#[must_use]
pub fn properties(trace: Option<&TraceParent>) -> Vec<(String, String)> {
    trace.iter().map(|trace| (TRACEPARENT.to_owned(), trace.0.clone())).collect()
}

/// Spans of the service `name`, of which `share` are sampled, exported to an OTLP collector at `endpoint`.
///
/// # Errors
///
/// If the exporter cannot be made, for instance because the endpoint is no URL.
pub fn provider(
    name: &'static str,
    endpoint: &str,
    share: f64,
) -> Result<SdkTracerProvider, Box<dyn std::error::Error + Send + Sync>> {
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder().with_service_name(name).build())
        .build())
}
