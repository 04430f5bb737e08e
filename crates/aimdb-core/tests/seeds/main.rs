//! Whole graphs under schedules that a seed chooses: the engine suite, and scenarios whose values add up exactly.
//!
//! ```sh
//! AIMDB_SEEDS=10000 cargo test -p aimdb-core --test seeds --release  # the first 10,000 seeds; 100 unless set
//! AIMDB_SEED=4711 cargo test -p aimdb-core --test seeds a_join       # one seed, of the cases with this name
//! ```
//!
//! A failure prints its seed, its case and the command that repeats it. In a scenario the seed also chooses the graph:
//! the number of stages and values, the capacities, and the failures.
#![cfg(not(aimdb_loom))]

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use aimdb_testing::TestRuntime;
use fastrand::Rng;

mod deadlines;
mod links;
mod regressions;
mod shutdowns;
mod support;
mod values;

mod engine {
    aimdb_testing::engine_conformance!(super::run);
}

mod scenarios {
    macro_rules! under_seeds {
        ($($group:ident: $($scenario:ident)*;)*) => {$($(
            #[test]
            fn $scenario() {
                super::run_scenario(super::$group::$scenario);
            }
        )*)*};
    }

    under_seeds! {
        values:
            a_graph_drains_upstream_first
            overwritten_values_are_counted
            a_join_produces_a_value_for_each_input_once_all_inputs_have_one
            shared_takers_take_or_count_every_command
            restarted_stages_lose_only_the_values_in_progress
            cancelled_futures_lose_nothing;
        links:
            links_deliver_every_value_over_a_failing_connection
            a_shutdown_reports_the_values_that_links_did_not_deliver
            a_connector_that_fails_at_its_start_leaves_the_rest_running
            outbound_links_of_overwriting_records_count_lost_values;
        deadlines:
            a_deadline_aborts_stages_and_counts_their_values
            a_deadline_counts_the_commands_of_shared_takers
            a_deadline_counts_the_values_of_chained_stages
            a_deadline_counts_the_inputs_of_a_join;
        shutdowns:
            a_stage_that_requests_the_shutdown_loses_no_value
            stop_on_failure_loses_no_accepted_value
            writers_outside_of_the_graph_lose_no_accepted_value
            a_start_during_a_shutdown_loses_no_value
            all_callers_of_a_shutdown_receive_one_report
            a_dropped_database_ends_every_stage;
    }
}

/// Runs a case of the engine suite under each seed.
fn run<F: Future<Output = ()>>(case: impl Fn(Arc<TestRuntime>) -> F) {
    under_each_seed(std::any::type_name_of_val(&case), |_, runtime| case(runtime));
}

/// Runs a scenario under each seed. The seed also chooses its parts.
fn run_scenario<F: Future<Output = ()>>(scenario: impl Fn(Arc<TestRuntime>, Rng) -> F) {
    under_each_seed(std::any::type_name_of_val(&scenario), |seed, runtime| {
        scenario(runtime, Rng::with_seed(!seed))
    });
}

fn under_each_seed<F: Future<Output = ()>>(case: &str, make: impl Fn(u64, Arc<TestRuntime>) -> F) {
    let path = case.split('<').next().unwrap_or(case);
    let name = path.rsplit("::").next().unwrap_or(path);
    keep_panics_quiet();
    for seed in seeds() {
        if let Err(panic) = try_seed(seed, |runtime| make(seed, runtime)) {
            panic!(
                "`{name}` fails with the seed {seed}: {panic}\n\
                 repeat: AIMDB_SEED={seed} cargo test -p aimdb-core --test seeds {name}"
            );
        }
    }
}

/// The seed in `AIMDB_SEED`, or the first `AIMDB_SEEDS` seeds.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
    };
    match number("AIMDB_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AIMDB_SEEDS").unwrap_or(100),
    }
}

/// One run. After it no task runs and nothing holds the runtime.
fn try_seed<F: Future<Output = ()>>(
    seed: u64,
    make: impl FnOnce(Arc<TestRuntime>) -> F,
) -> Result<(), String> {
    let runtime = Arc::new(TestRuntime::seeded(seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(make(Arc::clone(&runtime)));
        runtime.run_until_idle();
        assert_eq!(runtime.tasks(), 0, "tasks of dropped databases still run");
    }));
    runtime.drop_tasks();
    outcome.map_err(|_| LAST_PANIC.take())?;
    match Arc::strong_count(&runtime) {
        1 => Ok(()),
        more => Err(format!("{} references to the runtime are left", more - 1)),
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Silences the panics of stages, which happen thousands of times on purpose. A panic is printed only if it ends a
/// test.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.location().is_some_and(|at| at.file().ends_with("seeds/main.rs"))
                && info.payload_as_str().is_some_and(|text| text.contains("repeat: AIMDB_SEED="))
            {
                default_hook(info);
            } else {
                LAST_PANIC.set(info.to_string());
            }
        }));
    });
}
