//! Run in `benches/`: `cargo bench --bench peers`.
//!
//! AimDB next to what a user would otherwise pick. `AIMDB_BENCH_QUICK=1` for a quick look, `-- fan_out` for the cases with
//! `fan_out` in their name, `-- --report` to write `docs/benchmarks/` from what was found.

fn main() {
    if !benches::cases::versus::scale::child() {
        benches::compare(benches::cases::versus::GROUPS);
    }
}
