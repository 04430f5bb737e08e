//! C's arguments, checked.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use aimdb_sync::WaitLimit;

use crate::status::{Failure, Outcome, aimdb_status::*};
use crate::table::Table;

/// No limit in time, for every `timeout_us`.
pub const AIMDB_FOREVER: u64 = u64::MAX;

/// A text of C's, which lives as long as the call.
///
/// # Safety
///
/// NULL, or a text that ends with a NUL and stays as it is during the call.
pub(crate) unsafe fn text<'c>(text: *const c_char, what: &str) -> Result<&'c str, Failure> {
    if text.is_null() {
        return Err(null(what));
    }
    // SAFETY: as the caller says.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map_err(|error| {
        let shown = bytes.to_string_lossy();
        Failure::new(AIMDB_NOT_UTF8, format_args!("`{what}` is not UTF-8: \"{shown}\": {error}"))
    })
}

/// A text that may be NULL.
///
/// # Safety
///
/// As for [`text`].
pub(crate) unsafe fn optional_text<'c>(
    it: *const c_char,
    what: &str,
) -> Result<Option<&'c str>, Failure> {
    // SAFETY: as the caller says.
    if it.is_null() { Ok(None) } else { unsafe { text(it, what) }.map(Some) }
}

pub(crate) fn null(what: &str) -> Failure {
    Failure::new(AIMDB_NULL, format_args!("`{what}` is NULL"))
}

/// Refuses a pointer to nothing.
#[inline]
pub(crate) fn given<T>(pointer: *const T, what: &str) -> Outcome {
    if pointer.is_null() { Err(null(what)) } else { Ok(()) }
}

/// How long a call waits.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Not at all.
    Try,
    /// So many microseconds, or [`AIMDB_FOREVER`].
    For(u64),
}

#[inline]
pub(crate) fn limit(timeout_us: u64) -> WaitLimit<'static> {
    match timeout_us {
        AIMDB_FOREVER => WaitLimit::none(),
        timeout => WaitLimit::after(Duration::from_micros(timeout)),
    }
}

/// What a handle stands for.
///
/// # Safety
///
/// The handle must not be freed while the reference is in use.
#[inline]
pub(crate) unsafe fn find<T, H>(
    table: &'static Table<T>,
    handle: *const H,
    what: &str,
) -> Result<&'static T, Failure> {
    // SAFETY: as the caller says.
    match unsafe { table.get(handle.addr()) } {
        Some(value) => Ok(value),
        None => Err(no_handle(handle, what)),
    }
}

#[cold]
pub(crate) fn no_handle<H>(handle: *const H, what: &str) -> Failure {
    if handle.is_null() {
        return null(what);
    }
    let why = "is no handle, has been freed, or is a handle of another kind";
    Failure::new(AIMDB_BAD_HANDLE, format_args!("`{what}` ({handle:?}) {why}"))
}

/// Makes a handle and gives it to C.
///
/// # Safety
///
/// `out` can be written.
pub(crate) unsafe fn hand_out<T, H>(table: &Table<T>, value: T, out: *mut *mut H) -> Outcome {
    let full =
        || Failure::new(AIMDB_SYSTEM, "there are as many handles of this kind as there can be");
    let token = table.insert(value).ok_or_else(full)?;
    // SAFETY: as the caller says.
    unsafe { out.write(ptr::without_provenance_mut(token)) };
    Ok(())
}

/// Takes a handle back.
///
/// # Safety
///
/// Nothing that [`find`] gave for it may be in use.
pub(crate) unsafe fn free<T, H>(
    table: &Table<T>,
    handle: *mut H,
    what: &str,
) -> Result<T, Failure> {
    // SAFETY: as the caller says.
    unsafe { table.remove(handle.addr()) }.ok_or_else(|| no_handle(handle, what))
}

/// Gives a text to C, which frees it with `aimdb_string_free`.
///
/// # Safety
///
/// `out` can be written.
pub(crate) unsafe fn give_text(text: impl Into<String>, out: *mut *mut c_char) {
    let text = text.into().replace('\0', "\u{fffd}");
    // SAFETY: as the caller says.
    unsafe { out.write(CString::new(text).unwrap_or_default().into_raw()) };
}

/// Frees a text that a function of this library gave, or does nothing with NULL.
///
/// Ownership: takes the text. One that the library did not give, or that has been freed, cannot be told and is undefined.
/// Thread safety: any thread.
///
/// # Safety
///
/// NULL, or a text from this library that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: as the caller says: it came from `into_raw`.
        drop(unsafe { CString::from_raw(text) });
    }
}
