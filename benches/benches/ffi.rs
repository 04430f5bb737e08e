//! Run in `benches/`: `cargo bench --bench ffi`.
//!
//! The C ABI next to the same calls in Rust. `AIMDB_BENCH_QUICK=1` for a quick look.

fn main() {
    benches::run(benches::cases::FFI);
}
