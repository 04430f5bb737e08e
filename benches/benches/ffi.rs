//! Run in `benches/`: `cargo bench --bench ffi`.
//!
//! What the way through C costs. `AIMDB_BENCH_QUICK=1` for a quick look.

fn main() {
    benches::run(benches::cases::FFI);
}
