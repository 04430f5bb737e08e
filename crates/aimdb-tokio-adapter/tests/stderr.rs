//! Warnings without a `tracing` subscriber. Each case runs in a process of its own, because its stderr and its subscriber
//! belong to the process.

use std::env;
use std::process::Command;

use aimdb_core::{AimDbBuilder, BufferCfg};
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
