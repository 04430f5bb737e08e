//! The promises of a connector, over a peer that the cases control.
//!
//! A connector implements [`Subject`]: how to run it, its [`Peer`], its addresses and its [`Promises`]. The cases stop the
//! peer and start it again, cut connections, let it read slowly, send rubbish and send twice.
//! [`connector_conformance!`](crate::connector_conformance) makes one `#[test]` of each case. A case that does not apply to
//! the promises is named, and reported as ignored; a test of its own fails if the names are not exactly
//! [those](not_applicable).
//!
//! ```
//! use std::{future::Future, sync::Arc};
//! use aimdb_core::AimDbBuilder;
//! use aimdb_testing::connectors::{Delivery, FaultCount, Promises, Subject};
//! use aimdb_testing::{MemoryPeer, TestRuntime, connector_conformance};
//!
//! struct Memory;
//!
//! impl Subject for Memory {
//!     type Runtime = TestRuntime;
//!     type Peer = MemoryPeer;
//!
//!     const PROMISES: Promises =
//!         Promises::new(Delivery::AtLeastOnce, 1_000).has_sessions().holds_back();
//!
//!     fn run<F: Future<Output = ()> + 'static>(case: fn(Arc<TestRuntime>) -> F) {
//!         let runtime = Arc::new(TestRuntime::new());
//!         runtime.block_on(case(Arc::clone(&runtime)));
//!     }
//!
//!     fn peer() -> MemoryPeer {
//!         MemoryPeer::new()
//!     }
//!
//!     fn connect(builder: &mut AimDbBuilder<TestRuntime>, peer: &MemoryPeer) -> FaultCount {
//!         builder.connector(peer.connector());
//!         Box::new(|| 0)
//!     }
//!
//!     fn outbound(topic: &str) -> String {
//!         format!("memory://{topic}")
//!     }
//!
//!     fn inbound(topic: &str) -> String {
//!         format!("memory://{topic}")
//!     }
//! }
//!
//! connector_conformance!(memory, Memory; not applicable:
//!     each_value_arrives_or_is_counted_over_twenty_breaks
//!     a_full_record_counts_what_it_drops
//!     a_repeated_message_arrives_once
//! );
//! # // A doctest has no harness: one case, and the list.
//! # use aimdb_testing::connectors::{self, both_directions_work_at_once};
//! # Memory::run(both_directions_work_at_once::<Memory>);
//! # connectors::assert_not_applicable::<Memory>(&[
//! #     "each_value_arrives_or_is_counted_over_twenty_breaks",
//! #     "a_full_record_counts_what_it_drops",
//! #     "a_repeated_message_arrives_once",
//! # ]);
//! ```
//!
//! A connector over TCP writes the remote end of its protocol as a [`Protocol`], without a socket, and gives it to a
//! [`SocketPeer`].
//!
//! Waits have limits that a loaded machine meets. A case waits for an event where there is one; where it asserts that
//! nothing happens, it may miss a fault on a slow machine, and never fails wrongly.

mod applicability;
mod bench;
mod faults;
mod order;
mod outages;
mod peer;
mod pressure;
mod shutdown;
mod socket_peer;
mod subject;

pub use applicability::{assert_not_applicable, not_applicable};
pub use faults::*;
pub use order::*;
pub use outages::*;
pub use peer::Peer;
pub use pressure::*;
pub use shutdown::*;
pub use socket_peer::{Exchange, Protocol, SocketPeer};
pub use subject::{Delivery, FaultCount, LONGEST_BACKOFF, Promises, Subject, TOPICS};

#[doc(hidden)]
#[macro_export]
macro_rules! __connector_cases {
    ($subject:tt $except:tt $faults:tt) => {
        $crate::__connector_tests! { $subject $except $faults
            values_arrive_in_order_on_each_link
            messages_fill_their_records_in_order
            both_directions_work_at_once
            equal_messages_are_separate_messages
            each_link_reports_whether_it_is_connected
            a_peer_that_starts_late_is_found
            a_queue_holds_its_writers_while_the_peer_is_down
            a_ring_overwrites_and_counts_while_the_peer_is_down
            a_latest_record_sends_its_newest_value_after_a_reconnect
            both_directions_resume_after_a_restart_of_the_peer
            every_value_arrives_over_twenty_breaks
            each_value_arrives_or_is_counted_over_twenty_breaks
            every_message_reaches_its_record_over_twenty_breaks
            an_unacknowledged_message_is_received_after_a_break
            half_a_message_costs_no_other
            a_refused_connector_pauses_between_its_attempts
            a_connection_that_ends_early_is_not_made_again_without_pause
            a_slow_peer_holds_queue_writers_back_and_loses_nothing
            a_full_record_holds_back_only_itself
            a_full_record_loses_no_message
            a_full_record_counts_what_it_drops
            nothing_is_acknowledged_before_the_record_has_it
            rubbish_costs_at_most_the_connection
            a_repeated_message_arrives_once
            a_repeated_message_arrives_at_most_twice
            an_undecodable_payload_is_a_dead_letter_and_the_link_goes_on
            a_shutdown_delivers_what_was_produced_before_it
            a_shutdown_while_the_peer_is_down_reports_the_undelivered
            a_shutdown_without_values_does_not_wait_for_the_peer
            a_shutdown_delivers_to_a_peer_that_comes_back
            a_shutdown_closes_the_records_of_inbound_links
            a_message_without_room_at_a_shutdown_is_not_acknowledged
            a_shutdown_leaves_no_task_and_no_connection
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __connector_tests {
    ($subject:tt $except:tt $faults:tt $($case:ident)*) => {
        $($crate::__connector_test! { $subject $case $except $faults })*
    };
}

/// One test: ignored if its name is in a list.
#[doc(hidden)]
#[macro_export]
macro_rules! __connector_test {
    (($subject:ty) $case:ident [] []) => {
        #[test]
        fn $case() {
            <$subject as $crate::connectors::Subject>::run($crate::connectors::$case::<$subject>);
        }
    };
    ($subject:tt $case:ident [$first:ident $($rest:ident)*] $faults:tt) => {
        $crate::__if_same_case! { $case $first
            {
                #[test]
                #[ignore = "does not apply to this connector's promises"]
                fn $case() {
                    $crate::__assert_left_out! { $subject $case }
                }
            }
            { $crate::__connector_test! { $subject $case [$($rest)*] $faults } }
        }
    };
    (($subject:ty) $case:ident [] [$first:ident $($rest:ident)*]) => {
        $crate::__if_same_case! { $case $first
            {
                #[test]
                #[ignore = "a known fault"]
                fn $case() {
                    <$subject as $crate::connectors::Subject>::run(
                        $crate::connectors::$case::<$subject>,
                    );
                }
            }
            { $crate::__connector_test! { ($subject) $case [] [$($rest)*] } }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __assert_left_out {
    (($subject:ty) $case:ident) => {
        let promises = <$subject as $crate::connectors::Subject>::PROMISES;
        let left_out = $crate::connectors::not_applicable(&promises);
        assert!(left_out.iter().any(|(case, _)| *case == stringify!($case)), "it applies");
    };
}

/// Chooses by whether two names are the same one. It knows the names that a subject may list.
#[doc(hidden)]
#[macro_export]
macro_rules! __if_same_case {
    (every_value_arrives_over_twenty_breaks every_value_arrives_over_twenty_breaks
        { $($same:tt)* } $other:tt) => { $($same)* };
    (each_value_arrives_or_is_counted_over_twenty_breaks
        each_value_arrives_or_is_counted_over_twenty_breaks
        { $($same:tt)* } $other:tt) => { $($same)* };
    (an_unacknowledged_message_is_received_after_a_break
        an_unacknowledged_message_is_received_after_a_break
        { $($same:tt)* } $other:tt) => { $($same)* };
    (every_message_reaches_its_record_over_twenty_breaks
        every_message_reaches_its_record_over_twenty_breaks
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_message_without_room_at_a_shutdown_is_not_acknowledged
        a_message_without_room_at_a_shutdown_is_not_acknowledged
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_connection_that_ends_early_is_not_made_again_without_pause
        a_connection_that_ends_early_is_not_made_again_without_pause
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_full_record_loses_no_message a_full_record_loses_no_message
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_full_record_counts_what_it_drops a_full_record_counts_what_it_drops
        { $($same:tt)* } $other:tt) => { $($same)* };
    (nothing_is_acknowledged_before_the_record_has_it
        nothing_is_acknowledged_before_the_record_has_it
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_repeated_message_arrives_once a_repeated_message_arrives_once
        { $($same:tt)* } $other:tt) => { $($same)* };
    (a_repeated_message_arrives_at_most_twice a_repeated_message_arrives_at_most_twice
        { $($same:tt)* } $other:tt) => { $($same)* };
    ($one:ident $two:ident $same:tt { $($other:tt)* }) => { $($other)* };
}

/// Expands to a module with one `#[test]` for each case of the [connector suite](crate::connectors).
///
/// The cases that do not apply to the subject's promises are listed; they are reported as ignored. The test
/// `the_cases_that_do_not_apply_are_listed` fails if the list is too short or too long. A case that applies and fails today
/// may follow, as in `; known faults: a_connection_that_ends_early_is_not_made_again_without_pause`: it is ignored as well, and
/// `cargo test -- --ignored` runs it.
///
/// The first argument names the module; the [suite's documentation](crate::connectors) has a complete example.
#[macro_export]
macro_rules! connector_conformance {
    ($name:ident, $subject:ty) => {
        $crate::connector_conformance!($name, $subject; not applicable:);
    };
    ($name:ident, $subject:ty; not applicable: $($except:ident)* $(; known faults: $($fault:ident)*)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the subject may be named by a path")]
            use super::*;

            #[test]
            fn the_cases_that_do_not_apply_are_listed() {
                $crate::connectors::assert_not_applicable::<$subject>(&[$(stringify!($except)),*]);
            }

            $crate::__connector_cases! { ($subject) [$($except)*] [$($($fault)*)?] }
        }
    };
}
