//! The items that a reader receives.

/// A value, or the number of values lost before it.
///
/// [`Reader::next_event`]: crate::handle::Reader::next_event
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The next value.
    Value(T),
    /// This many values were overwritten before this reader received them. The next event is the oldest value still held.
    Lagged(u64),
}
