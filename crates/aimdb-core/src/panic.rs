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

/// A panic that was caught, to be resumed later.
#[cfg(feature = "std")]
pub(crate) struct Caught(alloc::boxed::Box<dyn core::any::Any + Send>);

#[cfg(feature = "std")]
impl Caught {
    /// Runs `work` and catches its panic. The caller must be able to continue whatever `work` left behind.
    pub(crate) fn by(work: impl FnOnce()) -> Result<(), Self> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(Self)
    }

    /// Continues the panic. Without effect while another one unwinds, because two would end the process.
    pub(crate) fn resume(self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(self.0);
        }
    }
}

/// Without `std` there is nothing to catch.
#[cfg(not(feature = "std"))]
pub(crate) enum Caught {}

#[cfg(not(feature = "std"))]
impl Caught {
    pub(crate) fn by(work: impl FnOnce()) -> Result<(), Self> {
        work();
        Ok(())
    }

    pub(crate) fn resume(self) {}
}
