//! Transforms and joins.

use aimdb_core::Arc;
use alloc::vec::Vec;

use aimdb_core::{Registrar, input};

use super::support::{build, fill, numbers, queue, run_through, tap_into};
use crate::host::{FilterFn, Host, JoinFn, MapFn, ScanFn};
use crate::recorder::Recorder;

/// Runs the values `input` through the stage that `derive` registers. Returns the values produced by the stage.
async fn derived<R: Host>(
    runtime: &Arc<R>,
    input: core::ops::Range<u64>,
    derive: impl FnOnce(&mut Registrar<'_, u64, R>),
) -> Vec<u64> {
    let seen = Recorder::new();
    let db = build(runtime, |builder| {
        // The output is configured before its input: the order of `configure` calls does not matter.
        builder.configure::<u64>("out", |reg| {
            reg.buffer(queue(2));
            derive(reg);
            tap_into(reg, &seen);
        });
        builder.configure::<u64>("in", |reg| {
            reg.buffer(queue(64));
        });
    });
    fill(&db, "in", input);
    run_through(&db).await;
    seen.values()
}

/// The output is a queue of two, so the transform waits for its readers.
pub async fn a_transform_produces_one_value_for_each_input_in_order<R: Host>(runtime: Arc<R>) {
    let double: MapFn = |value| value * 2;
    let out = derived(&runtime, 0..40, |reg| {
        reg.transform(input::<u64>("in"), double);
    });
    assert_eq!(out.await, (0..40).map(|value| value * 2).collect::<Vec<_>>());
}

/// A `filter_map` produces the value inside of each `Some`.
pub async fn filter_map_produces_nothing_for_none<R: Host>(runtime: Arc<R>) {
    let odd_squares: FilterFn = |value| (value % 2 == 1).then_some(value * value);
    let out = derived(&runtime, 0..10, |reg| {
        reg.filter_map(input::<u64>("in"), odd_squares);
    });
    assert_eq!(out.await, [1, 9, 25, 49, 81]);
}

/// A `scan` produces the sum so far, at every second value.
pub async fn scan_keeps_its_state_from_value_to_value<R: Host>(runtime: Arc<R>) {
    let sum: ScanFn = |sum, value| {
        *sum += value;
        (value % 2 == 0).then_some(*sum)
    };
    let out = derived(&runtime, 1..9, |reg| {
        reg.scan(input::<u64>("in"), 100, sum);
    });
    assert_eq!(out.await, [103, 110, 121, 136]);
}

/// A join produces nothing until each input has a value. From then on it produces one value for each input value, and
/// takes from its inputs in turn.
pub async fn a_join_combines_the_latest_of_each_input<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let sum: JoinFn = |(tens, ones)| tens + ones;
    let db = build(&runtime, |builder| {
        for key in ["tens", "ones"] {
            builder.configure::<u64>(key, |reg| {
                reg.buffer(queue(8));
            });
        }
        builder.configure::<u64>("sum", |reg| {
            reg.buffer(queue(8)).join((input::<u64>("tens"), input::<u64>("ones")), sum);
            tap_into(reg, &seen);
        });
    });
    fill(&db, "tens", [10, 20]);
    fill(&db, "ones", [1, 2, 3, 4]);
    run_through(&db).await;
    assert_eq!(seen.values(), [11, 21, 22, 23, 24]);
}

/// A shutdown drains records upstream first: each value that entered the first of three transforms leaves the last.
pub async fn chained_transforms_forward_every_value<R: Host>(runtime: Arc<R>) {
    let seen = Recorder::new();
    let add_one: MapFn = |value| value + 1;
    let db = build(&runtime, |builder| {
        for (from, to) in [("2", "3"), ("0", "1"), ("1", "2")] {
            builder.configure::<u64>(to, |reg| {
                reg.buffer(queue(1)).transform(input::<u64>(from), add_one);
            });
        }
        builder.configure::<u64>("0", |reg| {
            reg.buffer(queue(50));
        });
        builder.configure::<u64>("3", |reg| tap_into(reg, &seen));
    });
    fill(&db, "0", 0..50);
    run_through(&db).await;
    assert_eq!(seen.values(), numbers(3..53));
}
