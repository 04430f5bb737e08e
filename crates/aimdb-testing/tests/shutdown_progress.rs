//! A shutdown that takes long says every second what it waits for.

use std::sync::Arc;
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg, LogLevel};
use aimdb_testing::TestRuntime;

#[test]
fn a_shutdown_names_every_second_the_stages_and_the_number_of_values_that_it_waits_for() {
    let runtime = Arc::new(TestRuntime::new());
    let mut builder = AimDbBuilder::new().runtime(Arc::clone(&runtime));
    builder.configure::<u64>("frames", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside().tap(|ctx, frames| async move {
            let Ok(mut frames) = frames.subscribe() else { return };
            while frames.recv().await.is_ok() {
                ctx.time().sleep(ctx.time().millis(900)).await;
            }
        });
    });
    let db = builder.build().unwrap();
    db.start();
    let frames = db.producer::<u64>("frames").unwrap();
    (0..3).for_each(|frame| frames.try_produce(frame).unwrap());
    runtime.run_until_idle();
    // Two callers of one shutdown: each line once.
    let both = async {
        let (mut first, mut second) = (
            Box::pin(db.shutdown(Duration::from_secs(60))),
            Box::pin(db.shutdown(Duration::from_secs(60))),
        );
        let mut done = (None, None);
        std::future::poll_fn(|cx| {
            if done.0.is_none()
                && let std::task::Poll::Ready(report) = first.as_mut().poll(cx)
            {
                done.0 = Some(report);
            }
            if done.1.is_none()
                && let std::task::Poll::Ready(report) = second.as_mut().poll(cx)
            {
                done.1 = Some(report);
            }
            if done.0.is_some() && done.1.is_some() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        done.0.unwrap()
    };
    let report = runtime.block_on(both);
    assert!(report.is_clean(), "{report}");
    let lines: Vec<_> = runtime
        .log_lines()
        .into_iter()
        .filter(|line| line.level == LogLevel::Info && line.message.contains("waiting for"))
        .map(|line| line.message)
        .collect();
    assert_eq!(
        lines,
        [
            "shutting down for 1s, 2 values undelivered: waiting for tap `frames/tap`",
            "shutting down for 2s, 1 values undelivered: waiting for tap `frames/tap`",
        ]
    );
}
