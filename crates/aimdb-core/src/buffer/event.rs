//! What a reader receives.

/// What [`Reader::next_event`] and [`Subscription`] yield.
///
/// [`Reader::next_event`]: crate::handle::Reader::next_event
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// The next value.
    Value(T),
    /// This many values were overwritten before this reader came to them; the next event is the oldest that is left.
    Lagged(u64),
}
