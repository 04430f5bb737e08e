//! Arguments of C calls: checks, conversions, and handles.

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use aimdb_sync::WaitLimit;

use crate::status::{Failure, Outcome, aimdb_status::*};
use crate::table::Table;

/// No limit in time, for every `timeout_us`.
pub const AIMDB_FOREVER: u64 = u64::MAX;

/// Reads a string argument, which is borrowed for the duration of the call.
///
/// # Safety
///
/// `string` is NULL, or a string that ends with a NUL and does not change during the call.
pub(crate) unsafe fn str_arg<'c>(string: *const c_char, name: &str) -> Result<&'c str, Failure> {
    if string.is_null() {
        return Err(null_argument(name));
    }
    // SAFETY: guaranteed by the caller.
    let bytes = unsafe { CStr::from_ptr(string) };
    bytes.to_str().map_err(|error| {
        let shown = bytes.to_string_lossy();
        Failure::new(AIMDB_NOT_UTF8, format_args!("`{name}` is not UTF-8: \"{shown}\": {error}"))
    })
}

/// Reads a string argument that may be NULL.
///
/// # Safety
///
/// As for [`str_arg`].
pub(crate) unsafe fn optional_str_arg<'c>(
    string: *const c_char,
    name: &str,
) -> Result<Option<&'c str>, Failure> {
    // SAFETY: guaranteed by the caller.
    if string.is_null() { Ok(None) } else { unsafe { str_arg(string, name) }.map(Some) }
}

pub(crate) fn null_argument(name: &str) -> Failure {
    Failure::new(AIMDB_NULL, format_args!("`{name}` is NULL"))
}

/// Refuses a NULL pointer.
#[inline]
pub(crate) fn non_null<T>(pointer: *const T, name: &str) -> Outcome {
    if pointer.is_null() { Err(null_argument(name)) } else { Ok(()) }
}

/// How long a call waits.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// Not at all.
    Try,
    /// At most this many microseconds, or [`AIMDB_FOREVER`].
    For(u64),
}

#[inline]
pub(crate) fn wait_limit(timeout_us: u64) -> WaitLimit<'static> {
    match timeout_us {
        AIMDB_FOREVER => WaitLimit::none(),
        timeout => WaitLimit::after(Duration::from_micros(timeout)),
    }
}

/// Looks a handle up.
///
/// # Safety
///
/// The handle must not be freed while the reference is in use.
#[inline]
pub(crate) unsafe fn resolve_handle<T, H>(
    table: &'static Table<T>,
    handle: *const H,
    name: &str,
) -> Result<&'static T, Failure> {
    // SAFETY: guaranteed by the caller.
    match unsafe { table.get(handle.addr()) } {
        Some(value) => Ok(value),
        None => Err(bad_handle(handle, name)),
    }
}

#[cold]
pub(crate) fn bad_handle<H>(handle: *const H, name: &str) -> Failure {
    if handle.is_null() {
        return null_argument(name);
    }
    let why = "is no handle, has been freed, or is a handle of another type";
    Failure::new(AIMDB_BAD_HANDLE, format_args!("`{name}` ({handle:?}) {why}"))
}

/// Makes a handle for `value` and writes it to `out`.
///
/// # Safety
///
/// `out` can be written.
pub(crate) unsafe fn write_handle<T, H>(table: &Table<T>, value: T, out: *mut *mut H) -> Outcome {
    let full = || Failure::new(AIMDB_SYSTEM, "the table of handles of this type is full");
    let handle = table.insert(value).ok_or_else(full)?;
    // SAFETY: guaranteed by the caller.
    unsafe { out.write(ptr::without_provenance_mut(handle)) };
    Ok(())
}

/// Frees a handle and returns its value.
///
/// # Safety
///
/// No reference that [`resolve_handle`] returned for the handle may be in use.
pub(crate) unsafe fn remove_handle<T, H>(
    table: &Table<T>,
    handle: *mut H,
    name: &str,
) -> Result<T, Failure> {
    // SAFETY: guaranteed by the caller.
    unsafe { table.remove(handle.addr()) }.ok_or_else(|| bad_handle(handle, name))
}

/// Writes a string to `out` that C owns and frees with `aimdb_string_free`. A NUL inside becomes U+FFFD.
///
/// # Safety
///
/// `out` can be written.
pub(crate) unsafe fn write_string(string: impl Into<String>, out: *mut *mut c_char) {
    let string = string.into().replace('\0', "\u{fffd}");
    // SAFETY: guaranteed by the caller.
    unsafe { out.write(CString::new(string).unwrap_or_default().into_raw()) };
}

/// Frees a string that a function of this library returned; does nothing with NULL.
///
/// Ownership: takes the string. The library cannot detect a string that it did not return or that is freed already: the
/// behaviour is undefined.
/// Thread safety: any thread.
///
/// # Safety
///
/// `string` is NULL, or a string from this library that has not been freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: guaranteed by the caller: the pointer is from `CString::into_raw`.
        drop(unsafe { CString::from_raw(string) });
    }
}
