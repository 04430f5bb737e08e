//! The promises of every way to write and read a record, for each kind of buffer.
//!
//! The async API, the sync API and the handles of another language are such ways. Each implements [`RecordApi`],
//! [`OpenRecord`] and [`RecordReader`] and runs the suite:
//!
//! ```
//! # use std::sync::Arc;
//! # use aimdb_testing::{TestRuntime, buffers::{AsyncApi, run_all}};
//! mod my_api {
//! #   use super::*;
//!     aimdb_testing::buffer_conformance!(AsyncApi(Arc::new(TestRuntime::new())));
//! }
//!
//! // Without a test harness:
//! run_all(&AsyncApi(Arc::new(TestRuntime::new())), &mut |case| println!("{case}"));
//! ```
//!
//! The cases run on one thread and never wait: an operation that would wait is cancelled and returns
//! [`Poll::Pending`](core::task::Poll::Pending).

mod api;
mod async_api;
mod every_kind;
mod latest;
mod mailbox;
mod metrics;
#[cfg(feature = "std")]
mod panics;
mod queue;
mod ring;

pub use api::{OpenRecord, RecordApi, RecordReader, Takers};
pub use async_api::{AsyncApi, AsyncRecord};
pub use every_kind::*;
pub use latest::*;
pub use mailbox::*;
pub use metrics::*;
#[cfg(feature = "std")]
pub use panics::*;
pub use queue::*;
pub use ring::*;

/// Calls a macro with the names of all cases. An implementation detail of [`buffer_conformance!`].
///
/// [`buffer_conformance!`]: crate::buffer_conformance
#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head
            a_ring_keeps_the_last_capacity_values_exactly
            a_ring_filled_to_its_capacity_loses_nothing
            a_ring_of_one_keeps_the_newest
            a_ring_never_blocks_its_writer
            a_late_ring_reader_sees_values_from_its_subscription_on
            each_ring_reader_sees_every_value_and_has_its_own_lag
            a_ring_reader_receives_each_lag_in_order
            ring_lag_is_counted_before_the_reader_reads_on
            recv_on_a_ring_skips_lost_values_to_the_oldest_held
            a_ring_clones_for_each_reader_and_drops_what_it_overwrites

            a_queue_loses_no_value_and_reports_no_lag
            each_queue_reader_sees_every_value
            a_full_queue_returns_the_value
            a_queue_of_one_alternates
            only_the_slowest_queue_reader_makes_room
            a_read_wakes_a_waiting_writer
            a_queue_reader_that_is_dropped_makes_room_at_once
            a_late_queue_reader_sees_values_from_its_subscription_on
            a_queue_without_readers_discards_values
            produce_many_fills_a_queue_exactly_and_waits
            the_last_queue_reader_receives_the_value_without_a_clone
            a_cancelled_produce_leaves_no_value_and_no_waiter

            a_latest_reader_skips_to_the_newest
            a_latest_reader_receives_the_lag_before_the_value
            a_late_latest_reader_sees_the_current_value_at_once
            a_latest_reader_sees_each_value_once
            each_latest_reader_has_its_own_cursor
            a_latest_record_starts_without_a_value
            a_latest_record_never_blocks_its_writer

            a_mailbox_keeps_the_newest_command
            a_command_is_taken_once
            a_late_taker_takes_what_is_pending
            shared_takers_divide_the_commands
            a_mailbox_that_is_not_shared_has_one_taker
            the_taker_of_a_command_counts_those_it_replaced
            a_command_is_moved_not_cloned

            latest_never_consumes
            a_waiting_reader_is_woken_by_a_value
            a_reported_lag_is_followed_by_a_value
            the_value_behind_a_reported_lag_is_received_by_every_call
            closing_wakes_a_waiting_reader_and_a_waiting_writer
            a_cancelled_receive_loses_nothing
            recv_many_takes_up_to_its_limit
            recv_many_with_limit_zero_returns_at_once
            produce_many_of_nothing_accepts_nothing
            a_closed_record_returns_every_value
            values_accepted_before_the_close_are_still_read
            a_closed_record_refuses_new_readers
            closing_twice_is_closing_once
            no_value_is_leaked_or_dropped_twice

            metrics_count_what_a_ring_loses_unread
            metrics_count_what_a_queue_holds
            metrics_count_what_a_latest_record_replaces_unread
            metrics_count_what_a_mailbox_replaces
            metrics_name_the_reader_that_blocks_a_writer
            metrics_omit_a_writer_that_is_no_longer_blocked
            taking_metrics_consumes_nothing
        }
    };
}

/// The cases in which user code panics. They need `std`, which catches panics.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_panic_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head
            a_clone_that_panics_leaves_the_value_where_it_was
            recv_many_keeps_the_values_taken_before_a_clone_panicked
            recv_many_makes_room_for_the_values_taken_before_a_clone_panicked
            a_writer_keeps_waiting_through_a_clone_that_panics
            a_value_is_accepted_though_the_drop_of_another_panics
            a_queue_reader_unsubscribes_though_the_drop_of_an_unread_value_panics
        }
    };
}

#[cfg(not(feature = "std"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_panic_cases {
    ($with:ident! $head:tt) => {};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __run_buffer_cases {
    (($api:ident, $report:ident) $($case:ident)*) => {$(
        $report(stringify!($case));
        $case($api);
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_tests {
    (($api:expr, $around:expr) $($case:ident)*) => {$(
        #[test]
        fn $case() {
            ($around)(|| $crate::buffers::$case(&$api));
        }
    )*};
}

/// Expands to one `#[test]` for each case of the [buffer suite](crate::buffers).
///
/// `buffer_conformance!(api)` evaluates `api`, a [`RecordApi`](crate::buffers::RecordApi), once for each case. In
/// `buffer_conformance!(api, around = f)`, `f(case)` calls `case` in the environment that the API needs, such as a
/// runtime.
#[macro_export]
macro_rules! buffer_conformance {
    ($api:expr) => {
        $crate::buffer_conformance!($api, around = |case: fn()| case());
    };
    ($api:expr, around = $around:expr) => {
        $crate::__buffer_cases! { __buffer_tests! ($api, $around) }
        $crate::__buffer_panic_cases! { __buffer_tests! ($api, $around) }
    };
}

/// Runs every case on `api`, for firmware and other places without a test harness.
///
/// Calls `report` with the name of each case before the case runs.
///
/// # Panics
///
/// If a case fails.
pub fn run_all(api: &impl RecordApi, report: &mut dyn FnMut(&'static str)) {
    crate::__buffer_cases! { __run_buffer_cases! (api, report) }
    crate::__buffer_panic_cases! { __run_buffer_cases! (api, report) }
}
