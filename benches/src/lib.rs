//! AimDB next to Tokio's channels, and to a bare MQTT client, on the same work.
//!
//! `cargo bench -p benches` prints one table for each case (about a minute); `AIMDB_BENCH_QUICK=1` takes seconds.
//!
//! Read from the bottom up: [`kit`] measures, [`peers`] gives every contestant the same two faces, [`cases`] are the
//! comparisons. Nothing here asserts a time: a machine is what it is, and only ratios of paired runs mean anything.
#![forbid(unsafe_code)]

pub mod broker;
pub mod cases;
pub mod kit;
pub mod machine;
pub mod peers;

/// Runs those cases that the command line asks for, and prints their tables.
#[expect(clippy::print_stdout, reason = "tables are what it is for")]
pub fn run(cases: &[cases::NamedCase]) {
    let scale = kit::Scale::asked_for();
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    println!("{}", machine::line());
    println!(
        "{} paired rounds; ratio = time over the baseline's, below 1 is faster\n",
        scale.rounds()
    );
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{}", case(scale));
        }
    }
}

/// What every contestant carries: 32 bytes, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Value(pub [u64; 4]);

impl Value {
    /// A value with `n` in it.
    #[must_use]
    pub const fn new(n: u64) -> Self {
        Self([n, n, n, 0])
    }

    /// The last of a stream, marked as such: a lossy buffer always keeps the newest value, so that its readers see
    /// the end whatever they have lost.
    #[must_use]
    pub const fn last() -> Self {
        Self([0, 0, 0, 1])
    }

    /// Whether it is the last of its stream.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.0[3] == 1
    }
}

/// `count` values, the last of them marked.
pub fn stream(count: u64) -> impl Iterator<Item = Value> + Send {
    (1..count).map(Value::new).chain([Value::last()])
}
