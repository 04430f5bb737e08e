//! The C programs, each as a test: threads, callbacks, descriptors, bad input.

use std::env;
use std::sync::{PoisonError, RwLock};

use aimdb_ffi_interop as c;

/// The process has one log, so its test runs alone: the callback runs on the runtime threads of every database, and would delay
/// the tests that have deadlines.
static LOG: RwLock<()> = RwLock::new(());

macro_rules! tests {
    ($($program:ident $(($arg:expr))?;)+) => {$(
        #[test]
        fn $program() {
            let _no_log_callback = LOG.read().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(c::$program($($arg)?), 0, "the line of the failed check");
        }
    )+};
}

/// Values of each writer; a sanitizer's run sets fewer.
fn each() -> u32 {
    env::var("AIMDB_INTEROP_VALUES").map_or(20_000, |count| count.parse().unwrap())
}

tests! {
    eight_threads_on_a_queue(each());
    detach_while_eight_threads_are_blocked;
    detach_while_a_writer_is_blocked;
    cancel_eight_threads;
    batches_from_threads;
    handles_from_threads;
    a_tap_sees_every_value;
    a_tap_gets_values_aligned_as_promised;
    a_tap_that_blocks_delays_no_other_stage;
    a_tap_calls_the_library;
    a_tap_cannot_detach_its_own_database;
    a_tap_runs_while_detach_is_under_way;
    a_tap_that_blocks_is_aborted_at_the_deadline;
    a_tap_that_fails;
    data_of_taps_that_never_run_is_freed;
    a_database_is_freed_while_its_taps_use_it;
    null_everywhere;
    bad_handles;
    wrong_arguments;
    bad_texts;
    errors_at_exit;
    values_of_every_size;
    a_descriptor_is_readable_while_there_is_a_value;
    a_descriptor_and_a_blocked_thread_miss_no_value;
    a_descriptor_is_armed_while_the_database_is_detached;
    wait_for_any;
    timeouts;
    metrics_health_graph_and_report;
    structs_by_value;
    observers_take_nothing;
    an_observer_is_cancelled;
    records_as_json;
}

/// Both programs set the callback of the process, so they run one after the other.
#[test]
fn the_log_has_a_callback() {
    let _alone = LOG.write().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(c::the_log_reaches_its_callback(), 0, "the line of the failed check");
    let line = c::a_log_callback_that_logs_is_replaced_meanwhile();
    assert_eq!(line, 0, "the line of the failed check");
}
