//! What every way of writing and reading a record promises, buffer by buffer.
//!
//! A *door* is such a way: async handles, blocking handles, handles of another language. It implements [`Door`],
//! [`OpenRecord`] and [`RecordReader`], and then
//!
//! ```
//! # use std::sync::Arc;
//! # use aimdb_testing::{TestRuntime, buffers::{HandleDoor, run_all}};
//! mod my_door {
//! #   use super::*;
//!     aimdb_testing::buffer_conformance!(HandleDoor(Arc::new(TestRuntime::new())));
//! }
//!
//! // … or, where there is no test harness:
//! run_all(&HandleDoor(Arc::new(TestRuntime::new())), &mut |case| println!("{case}"));
//! ```
//!
//! The cases run on one thread and never wait: where an operation would, it is given up, and [`Poll::Pending`] says so.

use alloc::vec::Vec;
use core::task::Poll;

use aimdb_core::metrics::RecordMetrics;
use aimdb_core::{
    BufferCfg, Closed, Event, ProduceError, ProduceManyError, Record, SubscribeError,
    TryProduceError, TryRecvError,
};

mod every;
mod handles;
mod latest;
mod mailbox;
mod metrics;
#[cfg(feature = "std")]
mod panics;
mod queue;
mod ring;

pub use every::*;
pub use handles::{HandleDoor, OpenHandle};
pub use latest::*;
pub use mailbox::*;
pub use metrics::*;
#[cfg(feature = "std")]
pub use panics::*;
pub use queue::*;
pub use ring::*;

/// Whether several takers may divide a mailbox's commands among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takers {
    /// One at a time.
    One,
    /// As many as there are: the record was declared `shared`.
    Many,
}

/// A way to write and read records.
pub trait Door {
    /// A record with nothing in it and nobody at it.
    type Open<T: Record>: OpenRecord<T>;

    /// Opens a new record.
    fn open<T: Record>(&self, cfg: BufferCfg, takers: Takers) -> Self::Open<T>;
}

/// A record that can be written, read and closed.
pub trait OpenRecord<T: Record> {
    /// What reads it.
    type Reader: RecordReader<T>;

    /// Accepts a value if that can be done now.
    ///
    /// # Errors
    ///
    /// [`TryProduceError`] with the value.
    fn try_produce(&self, value: T) -> Result<(), TryProduceError<T>>;

    /// Begins to produce; runs `during` when the value has been accepted or refused, or the writer waits; and says what
    /// became of it. A writer that waits still, or was not woken, gives up: `Pending`.
    fn produce_during(&self, value: T, during: impl FnOnce()) -> Poll<Result<(), ProduceError<T>>>;

    /// Produces, or gives up rather than wait.
    fn produce(&self, value: T) -> Poll<Result<(), ProduceError<T>>> {
        self.produce_during(value, || ())
    }

    /// Produces all values in order. At the first for which it would wait it gives up the rest.
    fn produce_many(&self, values: Vec<T>) -> Poll<Result<usize, ProduceManyError>>;

    /// A new reader.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]
    fn subscribe(&self) -> Result<Self::Reader, SubscribeError>;

    /// The newest value held, not consumed.
    fn latest(&self) -> Option<T>;

    /// Closes the record.
    fn close(&self);

    /// What was counted, if the door shows it.
    fn metrics(&self) -> Option<RecordMetrics>;
}

/// A reader of a record.
pub trait RecordReader<T> {
    /// The next value if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]
    fn try_recv(&mut self) -> Result<T, TryRecvError>;

    /// Begins to receive; runs `during` when there is a value or the reader waits; and says what came of it. A reader
    /// that waits still, or was not woken, gives up: `Pending`.
    fn recv_during(&mut self, during: impl FnOnce()) -> Poll<Result<T, Closed>>;

    /// Receives, or gives up rather than wait.
    fn recv(&mut self) -> Poll<Result<T, Closed>> {
        self.recv_during(|| ())
    }

    /// The next event, or gives up rather than wait.
    fn next_event(&mut self) -> Poll<Result<Event<T>, Closed>>;

    /// Appends up to `limit` values to `into`, or gives up rather than wait for the first.
    fn recv_many(&mut self, into: &mut Vec<T>, limit: usize) -> Poll<Result<usize, Closed>>;

    /// How many values were lost to this reader.
    fn lagged(&self) -> u64;

    /// How many wait for it, if the door shows that.
    fn pending(&self) -> Option<u64>;

    /// The newest value held, not consumed.
    fn latest(&self) -> Option<T>;
}

/// Calls a macro with the names of all cases. Not for use from outside; [`buffer_conformance!`] is.
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
            a_ring_never_holds_its_writer_back
            a_late_ring_reader_sees_what_comes_after_it_subscribed
            each_ring_reader_sees_every_value_and_has_its_own_lag
            a_ring_reader_is_told_of_each_gap_in_order
            ring_lag_is_visible_before_the_reader_comes_to_it
            a_ring_reader_that_is_not_told_goes_on_with_the_oldest_left
            a_ring_clones_for_each_reader_and_drops_what_it_overwrites

            a_queue_loses_nothing_and_knows_no_lag
            each_queue_reader_sees_every_value
            a_full_queue_gives_the_value_back
            a_queue_of_one_alternates
            only_the_slowest_queue_reader_makes_room
            a_waiting_writer_goes_on_when_a_value_is_read
            a_queue_reader_that_is_dropped_makes_room_at_once
            a_late_queue_reader_sees_what_comes_after_it_subscribed
            a_queue_without_readers_lets_values_go
            produce_many_fills_a_queue_exactly_and_waits
            the_last_queue_reader_is_given_the_value_itself
            a_writer_that_gives_up_leaves_nothing_behind

            a_latest_reader_skips_to_the_newest
            a_latest_reader_is_told_what_it_skipped
            a_late_latest_reader_sees_the_current_value_at_once
            a_latest_reader_sees_each_value_once
            each_latest_reader_has_its_own_place
            a_latest_record_starts_without_a_value
            a_latest_record_never_holds_its_writer_back

            a_mailbox_keeps_the_newest_command
            a_command_is_taken_once
            a_late_taker_takes_what_is_pending
            shared_takers_divide_the_commands
            a_mailbox_that_is_not_shared_has_one_taker
            whoever_takes_a_command_answers_for_those_it_replaced
            a_command_is_moved_not_cloned

            latest_never_consumes
            a_waiting_reader_is_woken_by_a_value
            a_reported_lag_is_followed_by_a_value
            the_value_behind_a_reported_lag_is_received_by_every_call
            a_waiting_reader_is_woken_by_the_end
            a_reader_that_gives_up_loses_nothing
            recv_many_takes_up_to_its_limit
            recv_many_with_limit_zero_returns_at_once
            produce_many_of_nothing_accepts_nothing
            a_closed_record_gives_every_value_back
            what_was_accepted_before_the_end_is_still_read
            a_closed_record_has_no_new_readers
            closing_twice_is_closing_once
            no_value_is_leaked_or_dropped_twice

            metrics_count_what_a_ring_loses_unread
            metrics_count_what_a_queue_holds
            metrics_count_what_a_latest_record_replaces_unread
            metrics_count_what_a_mailbox_replaces
            metrics_name_the_reader_that_holds_a_writer_back
            metrics_forget_a_writer_that_has_been_let_go
            taking_metrics_consumes_nothing
        }
    };
}

/// The cases in which user code panics, which only `std` survives.
#[cfg(feature = "std")]
#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_panic_cases {
    ($with:ident! $head:tt) => {
        $crate::$with! { $head
            a_clone_that_panics_leaves_the_value_where_it_was
            recv_many_keeps_what_it_took_before_a_clone_panicked
            recv_many_makes_room_for_what_it_took_before_a_clone_panicked
            a_writer_waits_on_through_a_clone_that_panics
            a_value_is_accepted_though_the_drop_of_another_panics
            a_queue_reader_leaves_though_the_drop_of_what_it_left_panics
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
    (($door:ident, $report:ident) $($case:ident)*) => {$(
        $report(stringify!($case));
        $case($door);
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __buffer_tests {
    (($door:expr, $around:expr) $($case:ident)*) => {$(
        #[test]
        fn $case() {
            ($around)(|| $crate::buffers::$case(&$door));
        }
    )*};
}

/// One `#[test]` for each case of the [buffer suite](crate::buffers), named after what it promises.
///
/// `buffer_conformance!(door)`, or `buffer_conformance!(door, around = f)` where `f(case)` calls `case` inside whatever
/// the door needs, such as a runtime. `door` is evaluated anew for each case.
#[macro_export]
macro_rules! buffer_conformance {
    ($door:expr) => {
        $crate::buffer_conformance!($door, around = |case: fn()| case());
    };
    ($door:expr, around = $around:expr) => {
        $crate::__buffer_cases! { __buffer_tests! ($door, $around) }
        $crate::__buffer_panic_cases! { __buffer_tests! ($door, $around) }
    };
}

/// Runs every case on `door`, after telling `report` its name. A broken promise is a panic.
pub fn run_all(door: &impl Door, report: &mut dyn FnMut(&'static str)) {
    crate::__buffer_cases! { __run_buffer_cases! (door, report) }
    crate::__buffer_panic_cases! { __run_buffer_cases! (door, report) }
}

/// One of each kind, each with room for one value at least.
const KINDS: [BufferCfg; 4] = [
    BufferCfg::SpmcRing { capacity: 4 },
    BufferCfg::SpmcQueue { capacity: 4 },
    BufferCfg::SingleLatest,
    BufferCfg::Mailbox,
];

const fn ring(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcRing { capacity }
}

const fn queue(capacity: usize) -> BufferCfg {
    BufferCfg::SpmcQueue { capacity }
}

fn open<D: Door>(door: &D, cfg: BufferCfg) -> D::Open<u64> {
    door.open(cfg, Takers::One)
}

/// Produces `values`, none of which may have to wait.
#[track_caller]
fn produce_all(record: &impl OpenRecord<u64>, values: impl IntoIterator<Item = u64>) {
    for value in values {
        assert_eq!(record.produce(value), Poll::Ready(Ok(())), "{value} must be accepted at once");
    }
}

/// Everything that can be read now.
fn read_all<T>(reader: &mut impl RecordReader<T>) -> Vec<T> {
    core::iter::from_fn(|| reader.try_recv().ok()).collect()
}

/// Every event there is now.
fn all_events(reader: &mut impl RecordReader<u64>) -> Vec<Event<u64>> {
    core::iter::from_fn(|| match reader.next_event() {
        Poll::Ready(Ok(event)) => Some(event),
        _ => None,
    })
    .collect()
}

/// Compares what the door shows of `pending`, if it does.
#[track_caller]
fn assert_pending<T>(reader: &impl RecordReader<T>, expected: u64) {
    assert_eq!(reader.pending().unwrap_or(expected), expected, "values that wait for the reader");
}
