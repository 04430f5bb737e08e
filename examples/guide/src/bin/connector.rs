//! A program of the guide: docs/guide/src.
use std::pin::Pin;

use aimdb::link::{LinkRequest, Links};
use aimdb::prelude::*;
use aimdb::{Connector, Finding};

/// Prints the messages of its links, as `stdout://topic`.
struct Stdout;

impl<R: SendRuntime> Connector<R> for Stdout {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "stdout"
    }

    fn describe(&self) -> String {
        "the standard output of the process".into()
    }

    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        // Refuse what `run` would ignore: options, and links in the other direction.
        let _ = links;
        Vec::new()
    }

    fn run(self, links: Links, _ctx: RuntimeContext<R>) -> Self::Run {
        Box::pin(async move {
            let mut payload = Vec::new();
            for mut link in links.outbound {
                link.status().set_connected();
                while let Ok(message) = link.next(&mut payload).await {
                    let topic = message.topic.as_deref().unwrap_or(&link.address().topic);
                    println!("{topic}: {}", String::from_utf8_lossy(&payload));
                    link.status().count_sent();
                }
            }
        })
    }
}

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    builder.connector(Stdout);
    builder.configure::<f32>("temp", |reg| {
        reg.buffer(BufferCfg::queue(4)).link_to("stdout://room/temp", Json).source(
            |_ctx, temp| async move {
                for celsius in [19.5, 21.0] {
                    temp.produce(celsius).await.ok();
                }
            },
        );
    });
    builder.run().await
}
