//! Run in `benches/`: `cargo bench --bench sync`.
//!
//! The sync API next to channels for threads. `AIMDB_BENCH_QUICK=1` for a quick look, `-- bridge` for the
//! cases with `bridge` in their name.

fn main() {
    benches::run(benches::cases::SYNC);
}
