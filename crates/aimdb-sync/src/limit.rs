//! How long a call may wait.

use std::time::{Duration, Instant};

use aimdb_core::wait::CancelToken;

/// Limits how long a call may wait: by a deadline, a [`CancelToken`], both, or not at all.
///
/// The limit applies to waiting alone. A call that need not wait does its work even if the deadline has passed or the
/// token is cancelled.
///
/// ```
/// use std::time::Duration;
/// use aimdb_sync::{CancelToken, WaitLimit};
///
/// let cancel = CancelToken::new();
/// let limit = WaitLimit::after(Duration::from_millis(20)).or_cancelled(&cancel);
/// # let _ = limit;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitLimit<'c> {
    deadline: Option<Instant>,
    cancel: Option<&'c CancelToken>,
}

impl<'c> WaitLimit<'c> {
    /// Waits without limit. The same as [`WaitLimit::default`].
    #[must_use]
    pub const fn none() -> Self {
        Self { deadline: None, cancel: None }
    }

    /// Waits no longer than `limit` from now.
    ///
    /// Zero tries once. A `limit` beyond the range of [`Instant`] is no limit.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(limit), cancel: None }
    }

    /// Waits until `deadline`; a deadline that has passed tries once.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), cancel: None }
    }

    /// Also ends the wait when another thread cancels `cancel`.
    #[must_use]
    pub const fn or_cancelled(self, cancel: &'c CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn cancel(&self) -> Option<&'c CancelToken> {
        self.cancel
    }

    /// Whether the limit leaves no time to wait.
    pub(crate) fn is_expired(&self) -> bool {
        self.cancel.is_some_and(CancelToken::is_cancelled)
            || self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Why a wait ended without the event it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// The deadline passed.
    Timeout,
    /// The token was cancelled.
    Cancelled,
}
