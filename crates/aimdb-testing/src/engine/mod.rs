//! The engine's promises on every runtime: start, stages, restarts, shutdown.
//!
//! ```
//! mod on_my_runtime {
//!     use std::{future::Future, sync::Arc};
//!     use aimdb_testing::TestRuntime;
//!
//!     fn run<F: Future<Output = ()>>(case: impl FnOnce(Arc<TestRuntime>) -> F) {
//!         let runtime = Arc::new(TestRuntime::new());
//!         runtime.block_on(case(Arc::clone(&runtime)));
//!     }
//!
//!     aimdb_testing::engine_conformance!(run);
//! }
//! ```
//!
//! Most cases fill a record between `build` and `start`: every reader is subscribed and no stage runs. So their numbers
//! are the same on one thread and on many.

use aimdb_core::Arc;

use crate::host::Host;

mod between;
mod failures;
mod fairness;
mod restart;
mod shutdown;
mod start;
mod support;
mod taps;
mod transforms;

pub use between::*;
pub use failures::*;
pub use fairness::*;
pub use restart::*;
pub use shutdown::*;
pub use start::*;
pub use taps::*;
pub use transforms::*;

#[doc(hidden)]
#[macro_export]
macro_rules! __engine_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head engine
            nothing_is_lost_at_the_start
            stages_wait_for_the_start
            a_tap_survives_a_burst_with_exact_lag
            a_burst_from_a_source_is_received_or_counted
            every_tap_of_a_queue_receives_every_value
            shared_taps_divide_a_mailbox
            a_transform_produces_one_value_for_each_input_in_order
            filter_map_produces_nothing_for_none
            scan_keeps_its_state_from_value_to_value
            a_join_combines_the_latest_of_each_input
            chained_transforms_forward_every_value
            a_processor_answers_into_two_records_until_its_input_is_drained
            an_initial_value_reaches_every_reader_before_the_others
            a_late_reader_begins_where_it_is_asked_to
            a_stage_that_returns_an_error_has_failed
            a_restarted_processor_keeps_its_position
            an_error_of_for_each_costs_its_value_by_policy
            an_outer_join_runs_at_every_change
            a_source_that_never_waits_starves_no_other_stage
            an_endless_batch_starves_no_other_stage
            run_ends_when_the_last_source_has_returned
            a_stage_may_request_the_shutdown
            a_restarted_tap_keeps_its_cursor
            a_restarted_stage_that_returns_has_finished
            restarts_stop_at_their_limit
            a_stage_that_reports_a_failure_has_failed
            one_failure_leaves_the_others_running
            stop_on_failure_shuts_the_database_down
            a_failed_tap_blocks_no_writer
            health_names_the_tap_that_blocks_a_writer
            shutdown_drains_accepted_values
            shutdown_reports_undelivered_values_exactly
            shutdown_before_the_start_reports_accepted_values_as_undelivered
            a_second_shutdown_returns_the_same_report
            a_producer_receives_its_value_back_after_shutdown
            dropping_the_database_closes_its_records
        }
    };
}

/// The cases in which user code panics. They need `std`, which catches panics.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __panic_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head engine
            a_panicking_stage_stops_no_other_and_health_names_it
            a_panicking_transform_fails_alone
            a_panicking_tap_is_restarted_at_its_cursor
        }
    };
}

#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __panic_cases {
    ($with:ident! $head:tt) => {};
}

/// Expands to one `#[test]` for each case of the [engine suite](crate::engine).
///
/// `run(case)` calls `case` with the runtime and drives the future that `case` returns.
#[macro_export]
macro_rules! engine_conformance {
    ($run:path) => {
        $crate::__engine_cases! { __async_tests! ($run) }
        $crate::__panic_cases! { __async_tests! ($run) }
    };
}

/// Runs every case on `runtime`, for firmware and other places without a test harness.
///
/// Calls `report` with the name of each case before the case runs.
///
/// # Panics
///
/// If a case fails.
pub async fn run_all<R: Host>(runtime: Arc<R>, report: &mut dyn FnMut(&'static str)) {
    crate::__engine_cases! { __await_cases! (runtime, report) }
    crate::__panic_cases! { __await_cases! (runtime, report) }
}
