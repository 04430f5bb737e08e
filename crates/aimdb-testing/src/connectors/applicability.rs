//! The cases that do not apply to a connector, by its promises.

use super::subject::{Promises, Subject};

/// The cases that do not apply to a connector with these promises, each with the reason.
///
/// ```
/// use aimdb_testing::connectors::{Delivery, Promises, not_applicable};
///
/// let promises = Promises::new(Delivery::ExactlyOnce, 64).detects_doubles().has_sessions().holds_back();
/// let left_out: Vec<_> = not_applicable(&promises).into_iter().map(|(case, _)| case).collect();
/// assert_eq!(
///     left_out,
///     [
///         "each_value_arrives_or_is_counted_over_twenty_breaks",
///         "a_full_record_counts_what_it_drops",
///         "a_repeated_message_arrives_at_most_twice",
///     ]
/// );
/// ```
#[must_use]
pub fn not_applicable(promises: &Promises) -> Vec<(&'static str, &'static str)> {
    let acknowledges = promises.acknowledges();
    let Promises { detects_doubles, has_sessions, holds_back, .. } = *promises;
    let cases = [
        (
            acknowledges,
            "every_value_arrives_over_twenty_breaks",
            "without acknowledgements a broken connection may lose values",
        ),
        (
            !acknowledges,
            "each_value_arrives_or_is_counted_over_twenty_breaks",
            "with acknowledgements every value arrives",
        ),
        (
            acknowledges && has_sessions,
            "every_message_reaches_its_record_over_twenty_breaks",
            "the peer sends nothing again",
        ),
        (
            acknowledges,
            "a_message_without_room_at_a_shutdown_is_not_acknowledged",
            "nothing is acknowledged",
        ),
        (
            acknowledges && has_sessions,
            "an_unacknowledged_message_is_received_after_a_break",
            "the peer sends nothing again",
        ),
        (holds_back, "a_full_record_loses_no_message", "a message for a full record is dropped"),
        (!holds_back, "a_full_record_counts_what_it_drops", "a message for a full record waits"),
        (
            acknowledges,
            "nothing_is_acknowledged_before_the_record_has_it",
            "nothing is acknowledged",
        ),
        (detects_doubles, "a_repeated_message_arrives_once", "messages have no numbers"),
        (
            !detects_doubles,
            "a_repeated_message_arrives_at_most_twice",
            "a repeated message arrives once",
        ),
    ];
    cases.into_iter().filter(|(applies, ..)| !applies).map(|(_, case, why)| (case, why)).collect()
}

/// Asserts that `listed` are the cases that do not apply to the subject.
///
/// # Panics
///
/// If a listed case applies, or one that does not apply is not listed.
pub fn assert_not_applicable<S: Subject>(listed: &[&str]) {
    let mut listed = listed.to_vec();
    listed.sort_unstable();
    let cases = not_applicable(&S::PROMISES);
    let mut expected: Vec<_> = cases.iter().map(|(case, _)| *case).collect();
    expected.sort_unstable();
    assert_eq!(
        listed, expected,
        "left: the cases listed as not applicable; right: those that do not apply: {cases:#?}"
    );
}
