//! A program of the guide: docs/guide/src.
use std::pin::Pin;

use aimdb::link::{LinkRequest, Links, OutboundLink};
use aimdb::prelude::*;
use aimdb::{Connector, Finding, Rule};
use tokio::task::JoinSet;

/// Prints the messages of its links, as `stdout://topic`.
struct Stdout;

impl Connector<TokioAdapter> for Stdout {
    type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn name(&self) -> &str {
        "stdout"
    }

    fn describe(&self) -> String {
        "the standard output of the process".into()
    }

    /// Refuses what `run` would ignore.
    fn check(&self, links: &[LinkRequest<'_>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for link in links {
            let (record, address) = (link.record, link.address);
            if !link.direction.is_outbound() {
                let problem = format!("its link from `{address}` reads, but `stdout` only writes");
                findings.push(Finding::new(
                    Rule::LinkDirection,
                    record,
                    problem,
                    "use `.link_to(…)`",
                ));
            }
            for (option, _) in &address.options {
                let problem = format!("its link `{address}` has the option `{option}`");
                findings.push(Finding::new(Rule::BadOption, record, problem, "`stdout` has none"));
            }
        }
        findings
    }

    fn run(self, links: Links, _ctx: RuntimeContext<TokioAdapter>) -> Self::Run {
        Box::pin(async move {
            let mut tasks = JoinSet::new(); // its tasks end with this future
            for link in links.outbound {
                tasks.spawn(print(link));
            }
            while let Some(ended) = tasks.join_next().await {
                ended.expect("the task of a link does not panic");
            }
        })
    }
}

/// Prints the messages of one link until its record is closed and drained.
async fn print(mut link: OutboundLink) {
    let mut payload = Vec::new();
    link.status().set_connected();
    while let Ok(message) = link.next(&mut payload).await {
        let topic = message.topic.as_deref().unwrap_or(&link.address().topic);
        println!("{topic}: {}", String::from_utf8_lossy(&payload));
        link.status().count_sent();
    }
}

fn graph(builder: &mut AimDbBuilder<TokioAdapter>) {
    builder.connector(Stdout);
    builder.configure::<f32>("temp", |reg| {
        let buffer = BufferCfg::queue(4);
        reg.buffer(buffer).link_to("stdout://room/temp", Json).source(|_ctx, temp| async move {
            for celsius in [19.5, 21.0] {
                temp.produce(celsius).await.ok();
            }
        });
    });
}

#[tokio::main]
async fn main() -> DbResult<()> {
    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    graph(&mut builder);
    builder.run().await?;

    let mut builder = AimDbBuilder::on(TokioAdapter::new()?);
    graph(&mut builder);
    builder.configure::<u32>("command", |reg| {
        reg.buffer(BufferCfg::mailbox()).link_from("stdout://commands?qos=1", Json);
    });
    for finding in builder.graph().check().unwrap_err().iter() {
        println!("{}", finding.problem);
    }
    Ok(())
}
