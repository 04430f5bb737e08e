//! Run in `benches/`: `cargo bench --bench mqtt`.
//!
//! MQTT through the engine next to the bare client, on a Mosquitto that the benchmark starts. `AIMDB_BENCH_QUICK=1` for a
//! quick look, `-- out` for the cases with `out` in their name.

fn main() {
    if benches::cases::broker_is_there() {
        benches::run(benches::cases::MQTT);
    }
}
