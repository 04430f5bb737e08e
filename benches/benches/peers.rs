//! Run in `benches/`: `cargo bench --bench peers`.
//!
//! AimDB next to its alternatives. `AIMDB_BENCH_QUICK=1` for a quick look, `-- fan_out` for the cases with
//! `fan_out` in their name, `-- --report` to write `docs/benchmarks/`.

fn main() {
    if !benches::cases::versus::scale::child() {
        benches::compare(benches::cases::versus::GROUPS);
    }
}
