//! A program of the guide: docs/guide/src.
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use aimdb::events::DbEventKind;
use aimdb::link::{LinkRequest, Links};
use aimdb::prelude::*;
use aimdb::{Connector, Finding};

/// A connector with one link, which fails once, at its second message.
struct Radio {
    /// Shared by the attempts.
    has_failed: Arc<AtomicBool>,
}

impl<R: SendRuntime> Connector<R> for Radio {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "radio"
    }

    fn describe(&self) -> String {
        "a radio".into()
    }

    fn check(&self, _links: &[LinkRequest<'_>]) -> Vec<Finding> {
        Vec::new() // the program `connector` shows a real check
    }

    fn run(self, mut links: Links, ctx: RuntimeContext<R>) -> Self::Run {
        Box::pin(async move {
            let Some(mut link) = links.outbound.pop() else { return };
            let mut payload = Vec::new();
            link.status().set_connected();
            while link.next(&mut payload).await.is_ok() {
                link.status().set_in_flight(1);
                if payload == b"2" && !self.has_failed.swap(true, Relaxed) {
                    return ctx.fail("the radio does not answer");
                }
                println!("sent {}", String::from_utf8_lossy(&payload));
                link.status().count_sent();
                link.status().set_in_flight(0);
            }
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    TokioAdapter::silence(); // this program prints its events itself
    let has_failed = Arc::new(AtomicBool::new(false));
    let policy = Restart::on_failure().limit(5);
    builder.connector_with(policy, move || Radio { has_failed: Arc::clone(&has_failed) });
    builder.configure::<u32>("number", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside().link_to("radio://number", Json);
    });
    builder.on_event(|event| match &event.kind {
        DbEventKind::StageRestarts { .. } | DbEventKind::LinkUp { .. } => println!("{event}"),
        _ => {}
    });
    let db = builder.build()?;
    let numbers = db.producer::<u32>("number")?;
    for number in 1..=4 {
        numbers.produce(number).await?;
    }
    db.start();
    let report = db.shutdown(Duration::from_secs(10)).await;
    let link = &db.metrics().links[0];
    println!(
        "{} sent, {} dropped, {} undelivered",
        link.sent,
        link.dropped(),
        report.total_undelivered()
    );
    Ok(())
}
