//! Warnings without a `tracing` subscriber. Each case runs in a process of its own, because its stderr and its subscriber
//! belong to the process.

use std::env;
use std::process::{Command, Stdio};

use aimdb_core::{AimDbBuilder, BufferCfg, Restart, input};
use aimdb_tokio_adapter::TokioAdapter;

const CASE: &str = "AIMDB_STDERR_CASE";

/// Builds a graph with one warning. The case is the one that the parent process asks for.
#[test]
fn child() {
    let Ok(case) = env::var(CASE) else { return };
    match &case[..] {
        "silenced" => TokioAdapter::silence(),
        "subscriber" => tracing_subscriber::fmt().with_writer(std::io::stdout).init(),
        _ => {}
    }
    if case == "unread" {
        return fail_and_go_on();
    }
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u64>("unread", |reg| {
        reg.buffer(BufferCfg::ring(1)).written_from_outside();
    });
    let _db = builder.build().unwrap();
}

/// Returns the text that a process which runs the case writes to stderr.
fn stderr(case: &str) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CASE, case)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_a_subscriber_a_warning_goes_to_stderr_once() {
    let text = stderr("plain");
    assert_eq!(text.matches("aimdb Warn: unread: W02").count(), 1, "{text}");
}

#[test]
fn with_a_subscriber_or_silenced_nothing_goes_to_stderr() {
    for case in ["subscriber", "silenced"] {
        let text = stderr(case);
        assert!(!text.contains("W02"), "{case}: {text}");
    }
}

/// Runs stages that fail, which is logged, and shuts down. It panics unless the stages go on.
#[tokio::main(flavor = "current_thread")]
async fn fail_and_go_on() {
    std::panic::set_hook(Box::new(|_| {})); // it would print to stderr too
    let mut builder = AimDbBuilder::on(TokioAdapter);
    builder.configure::<u64>("divisor", |reg| {
        reg.buffer(BufferCfg::queue(8)).written_from_outside();
    });
    builder.configure::<u64>("quotient", |reg| {
        reg.buffer(BufferCfg::ring(8)).read_from_outside();
        reg.transform_with(Restart::skip_failures(), input("divisor"), |n: u64| 100 / n);
    });
    let db = builder.build().unwrap();
    let mut quotients = db.consumer::<u64>("quotient").unwrap().subscribe().unwrap();
    db.start();
    db.producer::<u64>("divisor").unwrap().produce_many([5, 0, 2]).await.unwrap();
    let report = db.shutdown(std::time::Duration::from_secs(60)).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!((quotients.recv().await, quotients.recv().await), (Ok(20), Ok(50)));
}

#[test]
fn a_stderr_that_nobody_reads_any_more_ends_no_stage() {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CASE, "unread")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
}
