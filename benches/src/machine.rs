//! The machine and the versions that the numbers are measured on.

use std::fs;
use std::process::Command;

/// Describes the machine in one line: processor, cores, load, compiler, versions.
#[must_use]
pub fn summary() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = first_word("/proc/loadavg").unwrap_or_else(|| "?".into());
    format!(
        "{} · {cores} cores · load {load} · {} · aimdb-core {} · tokio {}",
        processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
        compiler().unwrap_or_else(|| "rustc ?".into()),
        env!("CARGO_PKG_VERSION"),
        locked_version("tokio").unwrap_or("?"),
    )
}

/// The packages of the contestants.
const PEERS: [&str; 9] = [
    "async-broadcast",
    "async-channel",
    "crossbeam-channel",
    "disruptor",
    "embassy-sync",
    "flume",
    "kanal",
    "thingbuf",
    "tokio",
];

/// Describes the machine as a Markdown table, with the version of every contestant.
#[must_use]
pub fn markdown() -> String {
    let versions =
        PEERS.map(|peer| format!("{peer} {}", locked_version(peer).unwrap_or("?"))).join(", ");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "| | |\n| --- | --- |\n| processor | {} |\n| cores | {cores} |\n| compiler | {} |\n| AimDB | {} |\n\
         | the others | {versions} |\n| load at the end | {} |\n",
        processor().unwrap_or_else(|| std::env::consts::ARCH.into()),
        compiler().unwrap_or_else(|| "rustc ?".into()),
        env!("CARGO_PKG_VERSION"),
        first_word("/proc/loadavg").unwrap_or_else(|| "?".into()),
    )
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = info.lines().find(|line| line.starts_with("model name"))?;
    model.split_once(':').map(|(_, name)| name.trim().into())
}

fn first_word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.split_whitespace().next().map(Into::into)
}

fn compiler() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok().map(|line| line.trim().into())
}

/// The version that Cargo.lock gives for `package`.
fn locked_version(package: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, entry) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    entry.split('"').next()
}
