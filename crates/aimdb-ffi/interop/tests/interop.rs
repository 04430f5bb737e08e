//! The C programs, each as a test: threads, callbacks, descriptors, bad input.

use std::env;
use std::sync::{PoisonError, RwLock};

use aimdb_ffi_interop as c;

/// The process has one log. Its test has it alone: a hook runs on the runtime threads of every database there is, and what
/// it does there would take time from the deadlines of the other tests.
static LOG: RwLock<()> = RwLock::new(());

macro_rules! tests {
    ($($program:ident $(($arg:expr))?;)+) => {$(
        #[test]
        fn $program() {
            let _without_a_hook = LOG.read().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(c::$program($($arg)?), 0, "the line of the check that failed");
        }
    )+};
}

/// Values of each writer: fewer where every access is checked.
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
    a_tap_that_blocks;
    a_tap_calls_back;
    a_tap_cannot_detach_its_own_database;
    a_tap_runs_while_detach_is_under_way;
    a_tap_that_is_cut_off;
    a_tap_that_fails;
    data_of_taps_that_never_run_is_freed;
    a_database_is_freed_while_its_taps_use_it;
    null_everywhere;
    bad_handles;
    wrong_arguments;
    bad_texts;
    errors_at_exit;
    values_of_every_size;
    a_descriptor_follows_what_there_is;
    a_descriptor_beside_a_blocked_thread;
    a_descriptor_is_armed_while_the_database_is_detached;
    wait_for_any;
    timeouts;
    what_there_is_to_know;
    structs_by_value;
}

/// One after the other, for the same reason.
#[test]
fn the_log_has_a_hook() {
    let _alone = LOG.write().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(c::the_log_reaches_its_hook(), 0, "the line of the check that failed");
    let line = c::a_hook_that_makes_the_log_longer_while_it_is_replaced();
    assert_eq!(line, 0, "the line of the check that failed");
}
