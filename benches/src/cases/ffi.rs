//! The cost of the C ABI: the same calls on the same struct of 32 bytes, in Rust and in C.

use std::hint::black_box;
use std::sync::Arc;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_ffi_interop::{InteropReading, set_and_get, set_and_get_typed};
use aimdb_sync::Attach;
use aimdb_tokio_adapter::TokioAdapter;

use crate::kit::{Case, Run, Scale, time};
use crate::table::Table;

pub(super) fn write_then_read(scale: Scale) -> Table {
    let operations = scale.operations(500_000);
    let rounds = u32::try_from(operations).expect("a benchmark's scale");
    let mut builder = AimDbBuilder::new().runtime(Arc::new(TokioAdapter));
    builder.configure::<InteropReading>("reading", |reg| {
        reg.buffer(BufferCfg::SpmcRing { capacity: 64 });
    });
    let handle = builder.attach().expect("a record with a buffer");
    let producer = handle.producer::<InteropReading>("reading").expect("configured");
    let consumer = handle.consumer::<InteropReading>("reading").expect("configured");
    let in_c = |program: fn(u32) -> i32| {
        let elapsed = time(|| assert_eq!(program(rounds), 0, "the line of the check that failed"));
        Run::new(operations, elapsed)
    };
    Case::against("Rust", "same thread, set + try_get of 32 bytes: ring(64)")
        .contestant("Rust", || {
            let mut reading =
                InteropReading { number: 0, sensor: 1, flags: 2, celsius: [3.0, 4.0] };
            let elapsed = time(|| {
                for number in 0..u64::from(rounds) {
                    reading.number = number;
                    producer.set(black_box(reading)).expect("attached");
                    let got = black_box(consumer.try_get().expect("just set"));
                    assert_eq!(got.number, number);
                }
            });
            Run::new(operations, elapsed)
        })
        .contestant("C, aimdb_set + aimdb_try_get", || in_c(set_and_get))
        .contestant("C, typed functions", || in_c(set_and_get_typed))
        .run(scale)
}
