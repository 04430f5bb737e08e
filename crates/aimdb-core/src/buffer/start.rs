//! Where a new reader begins.

use core::num::NonZeroU64;

/// The first value that a new reader receives, for
/// [`Consumer::subscribe_from`](crate::Consumer::subscribe_from).
///
/// | | ring | latest | queue | mailbox |
/// |---|---|---|---|---|
/// | `Oldest` | the oldest value held | the current value | the next value | the pending command |
/// | `Last(n)` | the `n`th newest value held, or the oldest | the current value | the next value | the pending command |
/// | `Newest` | the newest value held | the current value | the next value | the pending command |
/// | `Next` | the next value | the next value | the next value | the pending command |
///
/// A queue keeps values only for the readers that it has, so a new reader cannot receive them. A
/// mailbox has one command for whichever taker is first.
///
/// The counts of the reader are exact: each value from its beginning on is delivered, lost and
/// counted, or pending. A value that writers overwrite before the reader comes to it is lost.
///
/// ```
/// use aimdb_core::{Consumer, Runtime, Start};
///
/// fn history<R: Runtime>(celsius: &Consumer<f32, R>) -> Vec<f32> {
///     let Ok(mut reader) = celsius.subscribe_from(Start::Oldest) else { return Vec::new() };
///     std::iter::from_fn(|| reader.try_recv().ok()).collect()
/// }
///
/// const TEN: Start = Start::last(10);
/// # let _ = TEN;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Start {
    /// The oldest value that the buffer holds.
    Oldest,
    /// The newest value that the buffer holds.
    Newest,
    /// The newest values that the buffer holds, up to this many.
    Last(NonZeroU64),
    /// The first value that is produced from now on.
    Next,
}

impl Start {
    /// [`Last`](Self::Last), from a number that is known when the program is compiled.
    ///
    /// # Panics
    ///
    /// If `values` is zero. In a constant that is an error of the compiler. A reader without a value
    /// of the past begins at [`Next`](Self::Next).
    #[must_use]
    pub const fn last(values: u64) -> Self {
        match NonZeroU64::new(values) {
            Some(values) => Self::Last(values),
            None => panic!("`Start::last(0)` has no value to begin at: use `Start::Next`"),
        }
    }

    /// The most values of the past that the reader receives.
    pub(super) fn values(self) -> u64 {
        match self {
            Self::Oldest => u64::MAX,
            Self::Newest => 1,
            Self::Last(values) => values.get(),
            Self::Next => 0,
        }
    }
}
