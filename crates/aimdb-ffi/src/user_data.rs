//! The data that C passes along with a callback.

use std::ffi::c_void;

/// Frees the `user_data` of a callback.
///
/// The library calls it once, on any thread, after the last call of the callback. It should be quick. It must neither throw
/// nor `longjmp`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// A pointer of C's for a callback, and the function that frees it when this is dropped.
pub(crate) struct UserData {
    pointer: *mut c_void,
    free: aimdb_free_fn,
}

// SAFETY: the C caller promises that the pointer may be used on another thread.
unsafe impl Send for UserData {}
// SAFETY: the C caller promises that the pointer may be used by several threads at once where the library does so: only the
// log does.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(pointer: *mut c_void, free: aimdb_free_fn) -> Self {
        Self { pointer, free }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the C caller passed this function for this pointer.
            unsafe { free(self.pointer) };
        }
    }
}
