//! Run in `benches/`: `cargo bench --bench mqtt`.
//!
//! MQTT through the engine next to a client without an engine: on a broker of the benchmark that does not bound the
//! throughput, and on a Mosquitto that it starts. `AIMDB_BENCH_QUICK=1` for a quick look, `-- out` for the cases with `out`
//! in their name.

use benches::cases::{MOSQUITTO, MQTT, mosquitto_is_there};

fn main() {
    let mosquitto = if mosquitto_is_there() { MOSQUITTO } else { &[] };
    benches::run(&[MQTT, mosquitto].concat());
}
