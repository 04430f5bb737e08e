//! Run in `benches/`: `cargo bench --bench engine`.
//!
//! `AIMDB_BENCH_QUICK=1` for a quick look, `-- queue` for the cases with `queue` in their name.

fn main() {
    benches::run(benches::cases::ALL);
}
