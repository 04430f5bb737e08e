//! AimDB next to Tokio's channels on the same work.
//!
//! `cargo bench -p benches` prints one table for each case (about a minute); `AIMDB_BENCH_QUICK=1` takes seconds.
//!
//! Read from the bottom up: [`kit`] measures, [`peers`] gives every contestant the same two faces, [`cases`] are the
//! comparisons. Nothing here asserts a time: a machine is what it is, and only ratios of paired runs mean anything.
#![forbid(unsafe_code)]

pub mod cases;
pub mod kit;
pub mod machine;
pub mod peers;

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
