//! Many records with one tap each: the cost to build them, to keep them and to shut them down. Each size runs in a
//! process of its own, so that no size reuses memory of an earlier one.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_tokio_adapter::TokioAdapter;

use crate::cases::wake::runtime;
use crate::kit::Scale;
use crate::payload::{Payload, Value};
use crate::table::{Bar, Table};

/// The environment variable that makes a process measure one size. `main` calls [`child`] first.
const SIZE: &str = "AIMDB_BENCH_RECORDS";
/// The environment variable with the length of the idle measurement, in milliseconds.
const IDLE: &str = "AIMDB_BENCH_IDLE";
const BUFFER: BufferCfg = BufferCfg::SpmcRing { capacity: 16 };
/// The pause between the last value and the idle measurement.
const SETTLE: Duration = Duration::from_millis(100);
/// The unit of the kernel's processor times: 10 ms on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The measurements of one size. The child prints them as one line of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measurement {
    records: u64,
    build_micros: u64,
    bytes: u64,
    through_micros: u64,
    idle_micros: u64,
    shutdown_micros: u64,
}

/// The line has the fields in this order.
impl Measurement {
    fn to_line(self) -> String {
        let Self { records, build_micros, bytes, through_micros, idle_micros, shutdown_micros } =
            self;
        format!("{records} {build_micros} {bytes} {through_micros} {idle_micros} {shutdown_micros}")
    }

    fn from_line(line: &str) -> Option<Self> {
        let numbers: Vec<_> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [records, build_micros, bytes, through_micros, idle_micros, shutdown_micros] =
            numbers.try_into().ok()?;
        Some(Self { records, build_micros, bytes, through_micros, idle_micros, shutdown_micros })
    }

    fn cells(self) -> Vec<String> {
        let millis = |micros: u64| format!("{:.1} ms", micros as f64 / 1e3);
        vec![
            millis(self.build_micros),
            self.bytes_each().to_string(),
            millis(self.through_micros),
            millis(self.idle_micros),
            millis(self.shutdown_micros),
        ]
    }

    fn bytes_each(self) -> u64 {
        self.bytes / self.records
    }

    fn bar(self) -> Bar {
        let each = self.build_micros as f64 / self.records as f64;
        Bar {
            name: format!("{} records", self.records),
            length: each,
            text: format!("{each:.2} µs · {} B", self.bytes_each()),
            ratio: None,
            reference: false,
        }
    }
}

/// Measures one size and prints the result if the environment asks for it; returns whether it did.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
#[must_use]
pub fn child() -> bool {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let Some(records) = number(SIZE) else { return false };
    let idle = Duration::from_millis(number(IDLE).unwrap_or(0));
    println!("{}", measure(records, idle).to_line());
    true
}

pub(super) fn records(scale: Scale) -> Table {
    let found: Vec<_> = match scale {
        Scale::Full => [1_000, 10_000, 100_000].map(|n| measure_in_child(n, "2000")).into(),
        Scale::Quick => [1_000, 10_000].map(|n| measure_in_child(n, "500")).into(),
        // The program of a unit test has another `main`, so it cannot be the child.
        Scale::Smoke => vec![measure(100, Duration::ZERO)],
    };
    Table {
        name: "",
        title: "records with a tap each: build time per record, memory per record".into(),
        columns: vec!["build and start", "B/record", "value through each", "idle CPU", "shutdown"],
        rows: found.iter().map(|one| (one.records.to_string(), one.cells())).collect(),
        bars: found.into_iter().map(Measurement::bar).collect(),
    }
}

fn measure_in_child(records: u64, idle: &str) -> Measurement {
    let program = std::env::current_exe().expect("it runs");
    let output = Command::new(program)
        .env(SIZE, records.to_string())
        .env(IDLE, idle)
        .output()
        .expect("it runs once more");
    let line = String::from_utf8_lossy(&output.stdout);
    Measurement::from_line(&line).unwrap_or_else(|| panic!("{records} records: {output:?}"))
}

fn measure(records: u64, idle: Duration) -> Measurement {
    let keys: Vec<_> = (0..records).map(|n| format!("plant.line{}.sensor{n}", n % 16)).collect();
    let counted = Arc::new(AtomicU64::new(0));
    let ready = Arc::new(AtomicU64::new(0));
    let runtime = runtime(2);
    runtime.block_on(async {
        let before = resident();
        let start = Instant::now();
        let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
        for key in &keys {
            let (counted, ready) = (Arc::clone(&counted), Arc::clone(&ready));
            builder.configure::<Value>(key.as_str(), |reg| {
                reg.buffer(BUFFER).written_from_outside().tap(move |_ctx, record| async move {
                    let mut reader = record.subscribe().expect("open");
                    ready.fetch_add(1, Ordering::Relaxed);
                    while reader.recv().await.is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
        }
        let db = builder.build().expect("a buffer and a tap for each");
        db.start();
        until(&ready, records).await;
        let build = start.elapsed();
        let bytes = resident().saturating_sub(before);
        let producer = |key: &String| db.producer::<Value>(key.as_str()).expect("configured");
        let producers: Vec<_> = keys.iter().map(producer).collect();
        let start = Instant::now();
        for (n, producer) in (0..).zip(&producers) {
            producer.try_produce(Value::new(n)).expect("open");
        }
        until(&counted, records).await;
        let through = start.elapsed();
        drop(producers);
        thread::sleep(SETTLE.min(idle));
        let used = processor_time();
        thread::sleep(idle);
        let idle = processor_time() - used;
        let start = Instant::now();
        db.shutdown(Duration::from_secs(60)).await;
        Measurement {
            records,
            build_micros: build.as_micros() as u64,
            bytes,
            through_micros: through.as_micros() as u64,
            idle_micros: idle.as_micros() as u64,
            shutdown_micros: start.elapsed().as_micros() as u64,
        }
    })
}

async fn until(count: &AtomicU64, goal: u64) {
    while count.load(Ordering::Relaxed) < goal {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The processor time of this process, user and kernel mode.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name is in parentheses and may contain any character; the fields follow it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_reads_the_line_that_the_child_prints() {
        let found = measure(10, Duration::ZERO);
        assert_eq!(Measurement::from_line(&found.to_line()), Some(found));
    }
}
