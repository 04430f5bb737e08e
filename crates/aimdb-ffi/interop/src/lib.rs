//! C programs against `aimdb-ffi`, with one Rust function for each program. A program returns 0, or the line number of the
//! failed check, which it also prints.

use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

mod records;

pub use records::*;

macro_rules! programs {
    ($($(#[doc = $doc:literal])* $program:ident($($arg:ident: $Arg:ty),*) = $symbol:literal;)+) => {
        mod c {
            use super::*;
            unsafe extern "C" {
                $(#[link_name = $symbol] pub(super) safe fn $program($($arg: $Arg),*) -> c_int;)+
            }
        }
        $($(#[doc = $doc])* #[must_use] pub fn $program($($arg: $Arg),*) -> c_int {
            c::$program($($arg),*)
        })+
    };
}

programs! {
    /// Four writers, and four threads that share one consumer: each value is taken once.
    eight_threads_on_a_queue(each: u32) = "eight_threads_on_a_queue";
    /// Eight threads in `aimdb_get` of one consumer while the database is detached.
    detach_while_eight_threads_are_blocked() = "detach_while_eight_threads_are_blocked";
    /// A writer in `aimdb_set` of a full queue while the database is detached.
    detach_while_a_writer_is_blocked() = "detach_while_a_writer_is_blocked";
    /// Eight threads blocked with one consumer are cancelled and resumed.
    cancel_eight_threads() = "cancel_eight_threads";
    /// Batches into a queue and out of it, from several threads.
    batches_from_threads() = "batches_from_threads";
    /// Eight threads make and free handles at once.
    handles_from_threads() = "handles_from_threads";

    /// A tap sees every value, and its data is freed once.
    a_tap_sees_every_value() = "a_tap_sees_every_value";
    /// The values that a tap receives have the documented alignment, for each type of record.
    a_tap_gets_values_aligned_as_promised() = "a_tap_gets_values_aligned_as_promised";
    /// A tap that blocks delays no other stage.
    a_tap_that_blocks_delays_no_other_stage() = "a_tap_that_blocks_delays_no_other_stage";
    /// A tap writes and reads other records, and waits for them.
    a_tap_calls_the_library() = "a_tap_calls_the_library";
    /// A tap that detaches its own database receives `AIMDB_WOULD_DEADLOCK`.
    a_tap_cannot_detach_its_own_database() = "a_tap_cannot_detach_its_own_database";
    /// A tap that is running while the database is detached.
    a_tap_runs_while_detach_is_under_way() = "a_tap_runs_while_detach_is_under_way";
    /// A tap that blocks past the deadline is aborted; its data is freed when its last call returns.
    a_tap_that_blocks_is_aborted_at_the_deadline() = "a_tap_that_blocks_is_aborted_at_the_deadline";
    /// The health names a tap that failed.
    a_tap_that_fails() = "a_tap_that_fails";
    /// The data of a tap that never runs is freed too.
    data_of_taps_that_never_run_is_freed() = "data_of_taps_that_never_run_is_freed";
    /// A database is freed while its taps use the handle; some of them are aborted.
    a_database_is_freed_while_its_taps_use_it() = "a_database_is_freed_while_its_taps_use_it";
    /// A log callback that logs is replaced while it runs.
    a_log_callback_that_logs_is_replaced_meanwhile() = "a_log_callback_that_logs_is_replaced_meanwhile";
    /// The log reaches its callback.
    the_log_reaches_its_callback() = "the_log_reaches_its_callback";

    /// A database is detached with a shorter deadline than the shutdown that was requested before; 1: once that has begun.
    detach_with_a_shorter_deadline_than_the_shutdown(has_begun: u32) = "detach_with_a_shorter_deadline_than_the_shutdown";
    /// A tap requests a shutdown with a deadline of `deadline_us` (0: the default), and then works for `work_us`.
    a_tap_works_past_the_deadline_of_the_shutdown_it_requested(deadline_us: u64, work_us: u64) = "a_tap_works_past_the_deadline_of_the_shutdown_it_requested";

    /// NULL for every pointer parameter.
    null_everywhere() = "null_everywhere";
    /// Handles that are freed, made up, or of another type.
    bad_handles() = "bad_handles";
    /// Sizes, types, keys and capacities that are wrong.
    wrong_arguments() = "wrong_arguments";
    /// Strings that are not UTF-8, or not JSON.
    bad_texts() = "bad_texts";
    /// A call that fails in an exit handler.
    errors_at_exit() = "errors_at_exit";
    /// Records of every size, beyond the limit of the values that the buffer stores itself.
    values_of_every_size() = "values_of_every_size";

    /// A descriptor is readable while there is a value to read.
    a_descriptor_is_readable_while_there_is_a_value() = "a_descriptor_is_readable_while_there_is_a_value";
    /// An event loop and a blocked thread share a consumer: together they miss no value.
    a_descriptor_and_a_blocked_thread_miss_no_value() = "a_descriptor_and_a_blocked_thread_miss_no_value";
    /// A descriptor is armed while the task of the consumer's queue ends.
    a_descriptor_is_armed_while_the_database_is_detached() = "a_descriptor_is_armed_while_the_database_is_detached";
    /// Waiting for any of several consumers.
    wait_for_any() = "wait_for_any";
    /// Timeouts: zero, short, and longer than any clock.
    timeouts() = "timeouts";
    /// Latest, lag, health, metrics, the graph and the report.
    metrics_health_graph_and_report() = "metrics_health_graph_and_report";

    /// Structs by value through typed functions.
    structs_by_value() = "structs_by_value";

    /// Observers of each kind of record hold no writer back, take nothing, and count what they miss.
    observers_take_nothing() = "observers_take_nothing";
    /// A wait of an observer is cancelled by another thread.
    an_observer_is_cancelled() = "an_observer_is_cancelled";
    /// JSON of JSON records and exported structs, by key and by observer; other records refuse.
    records_as_json() = "records_as_json";

    /// `rounds` times `aimdb_set` and `aimdb_try_get` of 32 bytes.
    set_and_get(rounds: u32) = "set_and_get";
    /// The same through the typed functions.
    set_and_get_typed(rounds: u32) = "set_and_get_typed";

    /// Two threads increment a counter without a lock; ThreadSanitizer reports it.
    race_for_the_sanitizer() = "race_for_the_sanitizer";
    /// Reads a string after it was freed; AddressSanitizer reports it.
    use_after_free_for_the_sanitizer() = "use_after_free_for_the_sanitizer";
}

/// Sets the deadline of a requested shutdown, for which C has no option.
///
/// # Safety
///
/// The builder is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interop_shutdown_deadline(
    builder: *const aimdb_ffi::aimdb_builder,
    deadline_us: u64,
) -> aimdb_ffi::aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { aimdb_ffi::calls::shutdown_deadline(builder, Duration::from_micros(deadline_us)) }
}

/// Links a record of each layout to the broker at `url`, and another record back from it.
#[must_use]
pub fn links_to_a_broker(url: &CStr) -> c_int {
    unsafe extern "C" {
        #[link_name = "links_to_a_broker"]
        fn run(url: *const c_char) -> c_int;
    }
    // SAFETY: the string ends with a NUL, and the program only reads it.
    unsafe { run(url.as_ptr()) }
}

/// Sends values for `for_us` microseconds to the broker at `url`, which breaks its connections. SIGPIPE has its default
/// disposition from then on, in the whole process.
#[must_use]
pub fn values_for_a_broker_that_goes_away(url: &CStr, for_us: u64) -> c_int {
    unsafe extern "C" {
        #[link_name = "values_for_a_broker_that_goes_away"]
        fn run(url: *const c_char, for_us: u64) -> c_int;
    }
    // SAFETY: the string ends with a NUL, and the program only reads it.
    unsafe { run(url.as_ptr(), for_us) }
}
