//! The accounts of a database by OTLP.

use std::time::Duration;

use aimdb::account::Party;
use aimdb::metrics::Metrics;
use aimdb::service::Service;
use aimdb::{BoxError, RuntimeContext, TokioAdapter, WeakAimDb};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider, ObservableCounter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};

/// A service that exports counters to an OTLP collector: what each record accepted, and where each value went.
///
/// | instrument | attributes |
/// |---|---|
/// | `aimdb.record.produced` | `record` |
/// | `aimdb.delivered` | `record`, `party` |
/// | `aimdb.lost` | `record`, `party`, `cause` |
#[derive(Debug)]
pub struct OtlpMetrics {
    name: &'static str,
    endpoint: String,
    interval: Duration,
}

impl OtlpMetrics {
    /// Exports as the service `name` to the collector at `endpoint`, `http://127.0.0.1:4318` for instance.
    #[must_use]
    pub fn new(name: &'static str, endpoint: impl Into<String>, interval: Duration) -> Self {
        Self { name, endpoint: endpoint.into(), interval }
    }

    fn provider(&self) -> Result<SdkMeterProvider, BoxError> {
        use opentelemetry_otlp::{MetricExporter, WithExportConfig};
        let exporter = MetricExporter::builder()
            .with_http()
            .with_endpoint(format!("{}/v1/metrics", self.endpoint))
            .build()?;
        let reader = PeriodicReader::builder(exporter).with_interval(self.interval).build();
        let resource = Resource::builder().with_service_name(self.name).build();
        Ok(SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build())
    }
}

impl Service<TokioAdapter> for OtlpMetrics {
    type Run = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn name(&self) -> &str {
        "otlp"
    }

    fn describe(&self) -> String {
        self.endpoint.clone()
    }

    fn run(self, db: WeakAimDb<TokioAdapter>, ctx: RuntimeContext<TokioAdapter>) -> Self::Run {
        Box::pin(async move {
            let provider = self.provider()?;
            instruments(&provider.meter("aimdb"), &db);
            ctx.stopping().await;
            // The last figures, of the drained database. The exporter blocks its thread.
            tokio::task::spawn_blocking(move || provider.shutdown()).await??;
            Ok(())
        })
    }
}

/// Makes the instruments, each of which looks at the database when the exporter asks.
fn instruments(meter: &Meter, db: &WeakAimDb<TokioAdapter>) -> [ObservableCounter<u64>; 3] {
    type Look = fn(&Metrics, &mut dyn FnMut(u64, &[KeyValue]));
    let counter = |name: &'static str, unit: &'static str, look: Look| {
        let db = db.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_callback(move |observer| {
                // After the end of the database there is nothing to report.
                if let Some(db) = db.upgrade() {
                    look(&db.metrics(), &mut |value, attributes| {
                        observer.observe(value, attributes)
                    });
                }
            })
            .build()
    };
    [
        counter("aimdb.record.produced", "{value}", |metrics, observe| {
            for record in &metrics.records {
                observe(record.produced, &[KeyValue::new("record", record.key.clone())]);
            }
        }),
        counter("aimdb.delivered", "{value}", |metrics, observe| {
            for account in metrics.accounts() {
                observe(account.delivered, &of(&account.record, &account.party));
            }
        }),
        counter("aimdb.lost", "{value}", |metrics, observe| {
            for account in metrics.accounts() {
                for (cause, count) in account.lost.iter() {
                    let mut attributes = of(&account.record, &account.party);
                    attributes.push(KeyValue::new("cause", cause.name()));
                    observe(count, &attributes);
                }
            }
        }),
    ]
}

fn of(record: &str, party: &Party) -> Vec<KeyValue> {
    let party = match party {
        Party::Reader { name } => name.clone(),
        Party::Link { stage, .. } => stage.clone(),
        Party::DepartedReaders => "readers that left".to_owned(),
        _ => "nobody".to_owned(),
    };
    vec![KeyValue::new("record", record.to_owned()), KeyValue::new("party", party)]
}
