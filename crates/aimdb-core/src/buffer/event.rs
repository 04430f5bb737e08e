//! The items that a reader receives.
//!
//! [`Reader::recv`](crate::handle::reader::Reader::recv) returns values only.
//! [`Reader::next_event`](crate::handle::reader::Reader::next_event) returns events, so that a
//! reader learns of a gap at the place where it is.

/// A value, or the number of values lost before it.
///
/// The events of one reader are in the order of the record. If a reader receives nothing but
/// events, the numbers of its [`Lagged`](Self::Lagged) events add up to
/// [`Reader::lagged`](crate::Reader::lagged) once it has read everything. A queue loses no values,
/// so its readers receive values only.
///
/// ```
/// use aimdb_core::Event;
///
/// /// The sum of the readings received, and the number of readings lost.
/// fn summarize(events: &[Event<f32>]) -> (f32, u64) {
///     events.iter().fold((0.0, 0), |(sum, lost), event| match event {
///         Event::Value(reading) => (sum + reading, lost),
///         Event::Lagged(missed) => (sum, lost + missed),
///     })
/// }
///
/// let events = [Event::Value(20.0), Event::Lagged(3), Event::Value(22.0)];
/// assert_eq!(summarize(&events), (42.0, 3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The next value.
    Value(T),
    /// This many values, at least one, were overwritten before this reader received them. The next
    /// event is a value: the oldest one that was held when the lag was found. On a mailbox: this
    /// many commands were replaced by the one that follows.
    Lagged(u64),
}
