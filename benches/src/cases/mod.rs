//! The comparisons. Each is a function from a scale to a table.

mod cross_thread;
mod fan_out;
mod ffi;
pub mod instructions;
mod mqtt;
mod observed;
mod same_thread;
mod stages;
mod sync;
pub mod versus;
mod wake;

use crate::broker::{Mosquitto, RawBroker};
use crate::kit::Scale;
use crate::table::Table;

/// The work of the contestants, for comparisons in other crates.
pub mod work {
    pub use super::cross_thread::transfer;
    pub use super::same_thread::write_then_read;
    pub use super::sync::single_reader;
    pub use super::versus::fan_out::{polled_in_turn, wake_parked_tasks};
    pub use super::versus::latency::{task_latency, thread_latency};
    pub use super::versus::overload::flood;
    pub use super::wake::runtime;
}

/// A comparison and its name.
pub type NamedCase = (&'static str, fn(Scale) -> Table);

/// The cases of `--bench engine`, in the order they are printed. `cargo bench -- ring` runs those with `ring` in their name.
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
    ("observed::ring", observed::ring),
    ("observed::latest", observed::latest),
    ("observed::queue", observed::queue),
    ("observed::mailbox", observed::mailbox),
    ("wake::one_worker", wake::one_worker),
    ("wake::two_workers", wake::two_workers),
];

/// The cases of `--bench sync`: the sync API.
pub const SYNC: &[NamedCase] = &[
    ("sync::there_and_back", sync::write_then_read),
    ("sync::wake", sync::wake),
    ("sync::flow", sync::flow),
    ("sync::batches", sync::batches),
    ("sync::bridges", sync::bridges),
    ("sync::bridges_wake", sync::bridges_wake),
];

/// The cases of `--bench ffi`: the C ABI.
pub const FFI: &[NamedCase] = &[("ffi::there_and_back", ffi::write_then_read)];

/// The cases of `--bench mqtt` on a broker that does not bound the throughput.
pub const MQTT: &[NamedCase] = &[
    ("mqtt::out_qos_0", mqtt::out_qos_0::<RawBroker>),
    ("mqtt::out_qos_1", mqtt::out_qos_1::<RawBroker>),
    ("mqtt::in_qos_0", mqtt::in_qos_0::<RawBroker>),
    ("mqtt::in_qos_1", mqtt::in_qos_1::<RawBroker>),
];

/// The cases of `--bench mqtt` on a Mosquitto: see [`mosquitto_is_there`].
pub const MOSQUITTO: &[NamedCase] = &[
    ("mosquitto::out_qos_0", mqtt::out_qos_0::<Mosquitto>),
    ("mosquitto::out_qos_1", mqtt::out_qos_1::<Mosquitto>),
    ("mosquitto::in_qos_0", mqtt::in_qos_0::<Mosquitto>),
    ("mosquitto::in_qos_1", mqtt::in_qos_1::<Mosquitto>),
];

/// Returns whether Mosquitto is installed, which [`MOSQUITTO`] needs; prints a line if not.
///
/// # Panics
///
/// In CI (`CI=true`) if Mosquitto is not installed: CI must not skip a measurement.
#[must_use]
#[expect(clippy::print_stdout, reason = "part of what a bench prints")]
pub fn mosquitto_is_there() -> bool {
    let there = crate::broker::installed().is_some();
    assert!(there || std::env::var("CI").as_deref() != Ok("true"), "install mosquitto");
    if !there {
        println!("MQTT with Mosquitto was NOT MEASURED: mosquitto is not installed");
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs() {
        let mosquitto = if mosquitto_is_there() { MOSQUITTO } else { &[] };
        let versus = versus::GROUPS.iter().flat_map(|group| group.cases);
        for (name, case) in ALL.iter().chain(SYNC).chain(MQTT).chain(mosquitto).chain(versus) {
            assert!(case(Scale::Smoke).to_string().lines().count() > 2, "{name}");
        }
    }
}
