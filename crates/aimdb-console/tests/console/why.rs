//! The sentences of `why` for twelve injected faults.
