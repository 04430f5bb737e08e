//! Where panics of user code are caught: at the edge of a stage, and around a codec.
//!
//! Without `std` a panic ends the program (or resets the board), so there is nothing to catch.

use alloc::string::String;

/// Runs `work`; a panic becomes its message.
#[cfg(feature = "std")]
pub(crate) fn catch<O>(work: impl FnOnce() -> O) -> Result<O, String> {
    // What `work` borrows is either dropped right after a panic (a stage's future) or made of plain data that user
    // code cannot leave half-changed (a link's payload buffer).
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or(payload.downcast_ref::<String>().map(String::as_str));
        alloc::format!("panicked: {}", text.unwrap_or("with a payload that is not text"))
    })
}

#[cfg(not(feature = "std"))]
pub(crate) fn catch<O>(work: impl FnOnce() -> O) -> Result<O, String> {
    Ok(work())
}
