//! C programs against `aimdb-ffi`, with one Rust function for each. A program returns 0, or the line of the check that
//! failed, which it has also printed.

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
    /// Four writers and four readers of one consumer: every value comes out once.
    eight_threads_on_a_queue(each: u32) = "eight_threads_on_a_queue";
    /// Eight threads in `aimdb_get` of one consumer while the database is detached.
    detach_while_eight_threads_are_blocked() = "detach_while_eight_threads_are_blocked";
    /// A writer in `aimdb_set` of a full queue while the database is detached.
    detach_while_a_writer_is_blocked() = "detach_while_a_writer_is_blocked";
    /// Eight threads blocked with one consumer are cancelled and resumed.
    cancel_eight_threads() = "cancel_eight_threads";
    /// Batches into a queue and out of it, from several threads.
    batches_from_threads() = "batches_from_threads";
    /// Handles made and freed by eight threads at once.
    handles_from_threads() = "handles_from_threads";

    /// A tap sees every value, and its data is freed once.
    a_tap_sees_every_value() = "a_tap_sees_every_value";
    /// A tap gets the values of each kind of record as they are promised to be aligned.
    a_tap_gets_values_aligned_as_promised() = "a_tap_gets_values_aligned_as_promised";
    /// A tap that blocks holds nobody else up.
    a_tap_that_blocks() = "a_tap_that_blocks";
    /// A tap writes and reads other records, and waits for them.
    a_tap_calls_back() = "a_tap_calls_back";
    /// A tap that would detach its own database is told.
    a_tap_cannot_detach_its_own_database() = "a_tap_cannot_detach_its_own_database";
    /// A tap that is running while the database is detached.
    a_tap_runs_while_detach_is_under_way() = "a_tap_runs_while_detach_is_under_way";
    /// A tap that never returns is cut off, and its data freed when it does.
    a_tap_that_is_cut_off() = "a_tap_that_is_cut_off";
    /// A tap that fails shows in the health.
    a_tap_that_fails() = "a_tap_that_fails";
    /// The data of taps that never come to run is freed too.
    data_of_taps_that_never_run_is_freed() = "data_of_taps_that_never_run_is_freed";
    /// A database is freed while its taps use the handle, some of them cut off.
    a_database_is_freed_while_its_taps_use_it() = "a_database_is_freed_while_its_taps_use_it";
    /// A hook of the log that logs, and is replaced meanwhile.
    a_hook_that_makes_the_log_longer_while_it_is_replaced() = "a_hook_that_makes_the_log_longer_while_it_is_replaced";
    /// The log reaches its hook.
    the_log_reaches_its_hook() = "the_log_reaches_its_hook";

    /// A database is detached with a shorter deadline than the shutdown that was asked for before; 1: once that has begun.
    detach_in_less_time_than_the_shutdown_has(has_begun: u32) = "detach_in_less_time_than_the_shutdown_has";
    /// A tap that asks for the shutdown, which has so many microseconds (0: the default), works on for so many.
    a_tap_works_past_the_deadline_of_the_shutdown_it_asked_for(deadline_us: u64, work_us: u64) = "a_tap_works_past_the_deadline_of_the_shutdown_it_asked_for";

    /// NULL wherever it can be.
    null_everywhere() = "null_everywhere";
    /// Handles that are freed, made up, or of another kind.
    bad_handles() = "bad_handles";
    /// Sizes, types, keys and capacities that are wrong.
    wrong_arguments() = "wrong_arguments";
    /// Texts that are not UTF-8, or not JSON.
    bad_texts() = "bad_texts";
    /// A call that fails in an exit handler.
    errors_at_exit() = "errors_at_exit";
    /// Records of every size up to beyond what lives in the buffer.
    values_of_every_size() = "values_of_every_size";

    /// A descriptor follows what there is to read.
    a_descriptor_follows_what_there_is() = "a_descriptor_follows_what_there_is";
    /// A descriptor beside a blocked thread: neither misses a value.
    a_descriptor_beside_a_blocked_thread() = "a_descriptor_beside_a_blocked_thread";
    /// A descriptor is armed while the record's queue loses its task.
    a_descriptor_is_armed_while_the_database_is_detached() = "a_descriptor_is_armed_while_the_database_is_detached";
    /// Waiting for any of several consumers.
    wait_for_any() = "wait_for_any";
    /// Timeouts, zero and for ever.
    timeouts() = "timeouts";
    /// Latest, lag, health, metrics, the graph and the report.
    what_there_is_to_know() = "what_there_is_to_know";

    /// Structs by value through typed functions.
    structs_by_value() = "structs_by_value";

    /// `rounds` times `aimdb_set` and `aimdb_try_get` of 32 bytes.
    set_and_get(rounds: u32) = "set_and_get";
    /// The same through the typed functions.
    set_and_get_typed(rounds: u32) = "set_and_get_typed";

    /// Two threads that count without a lock; for ThreadSanitizer to find.
    race_made_for_the_sanitizer() = "race_made_for_the_sanitizer";
    /// Looks at a text that has been freed; for AddressSanitizer to find.
    use_after_free_made_for_the_sanitizer() = "use_after_free_made_for_the_sanitizer";
}

/// For the C programs, which have no option for it: how long a shutdown may take that was asked for.
///
/// # Safety
///
/// The builder is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn interop_shutdown_deadline(
    builder: *const aimdb_ffi::aimdb_builder,
    deadline_us: u64,
) -> aimdb_ffi::aimdb_status {
    // SAFETY: as the caller says.
    unsafe { aimdb_ffi::calls::shutdown_deadline(builder, Duration::from_micros(deadline_us)) }
}

/// Records of every form, linked to the broker at `url` and back.
#[must_use]
pub fn links_to_a_broker(url: &CStr) -> c_int {
    unsafe extern "C" {
        #[link_name = "links_to_a_broker"]
        fn run(url: *const c_char) -> c_int;
    }
    // SAFETY: a text that ends with a NUL, which the program only reads.
    unsafe { run(url.as_ptr()) }
}
