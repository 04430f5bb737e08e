//! The comparisons, one function each. A scale in, a table out.

mod cross_thread;
mod fan_out;
mod ffi;
mod mqtt;
mod same_thread;
mod stages;
mod sync;
pub mod versus;
mod wake;

use crate::kit::Scale;
use crate::table::Table;

/// What contestants are put to, for comparisons that stand elsewhere.
pub mod work {
    pub use super::cross_thread::across;
    pub use super::same_thread::there_and_back;
    pub use super::sync::alone;
    pub use super::versus::fan_out::{going_round, waking};
    pub use super::versus::latency::{parked, spawned};
    pub use super::versus::overload::flood;
    pub use super::wake::runtime;
}

/// A comparison by its name.
pub type NamedCase = (&'static str, fn(Scale) -> Table);

/// All of them, in the order they are printed. `cargo bench -- ring` runs those with `ring` in their name.
pub const ALL: &[NamedCase] = &[
    ("same_thread::ring", same_thread::ring),
    ("same_thread::latest", same_thread::latest),
    ("same_thread::queue", same_thread::queue),
    ("same_thread::mailbox", same_thread::mailbox),
    ("cross_thread::ring", cross_thread::ring),
    ("cross_thread::queue", cross_thread::queue),
    ("cross_thread::batches", cross_thread::batches),
    ("fan_out::ring", fan_out::ring),
    ("fan_out::queue", fan_out::queue),
    ("stages::queue", stages::queue),
    ("stages::ring", stages::ring),
    ("wake::one_worker", wake::one_worker),
    ("wake::two_workers", wake::two_workers),
];

/// Those of the blocking door, with a bench target of their own.
pub const SYNC: &[NamedCase] = &[
    ("sync::there_and_back", sync::there_and_back),
    ("sync::wake", sync::wake),
    ("sync::flow", sync::flow),
    ("sync::batches", sync::batches),
    ("sync::bridges", sync::bridges),
    ("sync::bridges_wake", sync::bridges_wake),
];

/// Those of the way through C, likewise.
pub const FFI: &[NamedCase] = &[("ffi::there_and_back", ffi::there_and_back)];

/// Those of MQTT, likewise. They need a broker: ask [`broker_is_there`] first.
pub const MQTT: &[NamedCase] = &[
    ("mqtt::out_qos_0", mqtt::out_qos_0),
    ("mqtt::out_qos_1", mqtt::out_qos_1),
    ("mqtt::in_qos_0", mqtt::in_qos_0),
    ("mqtt::in_qos_1", mqtt::in_qos_1),
];

/// Whether [`MQTT`] can be measured. Says so if not.
///
/// # Panics
///
/// In CI (`CI=true`), if there is none: what is not measured there shall not pass.
#[must_use]
#[expect(clippy::print_stdout, reason = "part of what a bench prints")]
pub fn broker_is_there() -> bool {
    let there = crate::broker::installed().is_some();
    assert!(there || std::env::var("CI").as_deref() != Ok("true"), "install mosquitto");
    if !there {
        println!("MQTT was NOT MEASURED: mosquitto is not installed");
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs() {
        let mqtt = if broker_is_there() { MQTT } else { &[] };
        let versus = versus::GROUPS.iter().flat_map(|group| group.cases);
        for (name, case) in ALL.iter().chain(SYNC).chain(mqtt).chain(versus) {
            assert!(case(Scale::Smoke).to_string().lines().count() > 2, "{name}");
        }
    }
}
