//! Looking at records without being one of their readers: observers, and the newest value of any record as JSON.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, TryLockError};

use aimdb_sync::{CancelToken, WaitLimit};

use crate::arguments::{
    non_null, remove_handle, resolve_handle, str_arg, wait_limit, write_handle, write_string,
};
use crate::database::{aimdb_db, find_record};
use crate::erased::{AnyObserver, Seen};
use crate::record_type::{ExpectedType, RecordType};
use crate::status::{Failure, aimdb_status, aimdb_status::*, ffi_call};
use crate::table::Table;
use crate::value::JSON;

/// Looks at a record, and changes nothing: no writer waits for it, it takes no command, and consumers get what they would
/// without it.
///
/// `aimdb_observe` makes it, `aimdb_observer_free` frees it.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_observer {
    _opaque: [u8; 0],
}

/// Which value an observer has seen.
///
/// The struct may get further fields before version 1.0: compile with the header of the library that is linked.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct aimdb_seen {
    /// The number of the value among those that the record accepted, from one.
    pub number: u64,
    /// Values between this one and the one before that this observer did not see, or since it came.
    pub missed: u64,
}

static OBSERVERS: Table<Observer> = Table::new(5);

struct Observer {
    key: Box<str>,
    record_type: RecordType,
    /// One thread at a time looks through an observer.
    inner: Mutex<Box<dyn AnyObserver>>,
    cancel: CancelToken,
}

impl Observer {
    /// Calls `look` with the observer, the size of its values, and the limit of the wait.
    fn with<O>(
        &self,
        timeout_us: u64,
        look: impl FnOnce(&mut dyn AnyObserver, usize, WaitLimit<'_>) -> Result<O, Failure>,
    ) -> Result<O, Failure> {
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            // The code of a value has panicked; the observer itself is as before.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let problem = format!(
                    "another thread looks at record `{}` through this observer; make one for each thread",
                    self.key
                );
                return Err(Failure::new(AIMDB_TAKEN, problem));
            }
        };
        let limit = wait_limit(timeout_us).or_cancelled(&self.cancel);
        look(&mut **inner, self.record_type.layout.size(), limit)
    }
}

/// Writes what was seen, if the caller wants to know.
///
/// # Safety
///
/// `to` is NULL or can be written.
unsafe fn write_seen((number, missed): Seen, to: *mut aimdb_seen) {
    if !to.is_null() {
        // SAFETY: guaranteed by the caller.
        unsafe { to.write(aimdb_seen { number, missed }) };
    }
}

/// The text of a payload of JSON.
fn json_of(payload: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(payload).map_err(|error| Failure::new(AIMDB_NOT_UTF8, error))
}

/// Writes the newest value that the record `key` holds, as JSON, without consuming it.
///
/// The record is a JSON record, or one of a struct that was exported with JSON; otherwise `AIMDB_WRONG_TYPE`.
/// `AIMDB_EMPTY` if there was no value yet, and on a queue or a mailbox also when everything has been taken, unless the record
/// is observed. `AIMDB_NO_SUCH_RECORD` if there is no such record, and `AIMDB_UNSUPPORTED` if the value has no JSON.
///
/// Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a string; `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_record_json(
    db: *const aimdb_db,
    key: *const c_char,
    json: *mut *mut c_char,
) -> aimdb_status {
    ffi_call(|| {
        non_null(json, "json")?;
        // SAFETY: guaranteed by the caller.
        let (db, key, record_type) = unsafe { find_record(db, key)? };
        let record = db.handle.database().record(key)?;
        if record.encoding() != Some(JSON) {
            return Err(record_type.refuse_json_call(key));
        }
        let mut payload = Vec::new();
        record
            .latest(&mut payload)
            .map_err(|error| Failure::new(AIMDB_UNSUPPORTED, error))?
            .ok_or(AIMDB_EMPTY)?;
        // SAFETY: checked above.
        unsafe { write_string(json_of(payload)?, json) };
        Ok(())
    })
}

/// Observes the record `key` from now on, under a `name` that is shown where the record's observers are.
///
/// While a record has observers, its writers copy each value once. The record keeps the last 64 copies: a caller that looks
/// less often misses values, which are counted.
///
/// `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record, and `AIMDB_CLOSED` if the database
/// has ended.
///
/// Ownership: the caller frees it with `aimdb_observer_free`. It may outlive the database: it then shows the values that are
/// left, and after them returns `AIMDB_CLOSED`.
/// Thread safety: any thread; one thread at a time may look through the handle, and another one gets `AIMDB_TAKEN`.
///
/// # Safety
///
/// `key` and `name` are NULL or strings; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_observe(
    db: *const aimdb_db,
    key: *const c_char,
    name: *const c_char,
    out: *mut *mut aimdb_observer,
) -> aimdb_status {
    ffi_call(|| {
        non_null(out, "out")?;
        // SAFETY: guaranteed by the caller.
        let ((db, key, record_type), name) =
            unsafe { (find_record(db, key)?, str_arg(name, "name")?) };
        let inner = Mutex::new((record_type.observe)(&db.handle, key, name)?);
        let (key, cancel) = (key.into(), CancelToken::new());
        let observer = Observer { key, record_type, inner, cancel };
        // SAFETY: checked above.
        unsafe { write_handle(&OBSERVERS, observer, out) }
    })
}

/// Copies the next value to `value`, and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
///
/// `size` is the size of the record's values; another one is `AIMDB_WRONG_SIZE`. `*seen` says which value it is; `seen` may be
/// NULL. Both are written on `AIMDB_OK` only. `AIMDB_CANCELLED` after `aimdb_observer_cancel`. `AIMDB_CLOSED` when the database has ended and everything has been seen, `AIMDB_WRONG_TYPE` for a JSON record.
///
/// Thread safety: one thread at a time; another one gets `AIMDB_TAKEN`.
///
/// # Safety
///
/// `value` is NULL, or `size` bytes can be written there; `seen` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_see(
    observer: *const aimdb_observer,
    value: *mut c_void,
    size: usize,
    timeout_us: u64,
    seen: *mut aimdb_seen,
) -> aimdb_status {
    ffi_call(|| {
        non_null(value, "value")?;
        // SAFETY: guaranteed by the caller.
        let observer = unsafe { resolve_handle(&OBSERVERS, observer, "observer")? };
        ExpectedType::Size(size).check(&observer.record_type, &observer.key)?;
        observer.with(timeout_us, |inner, size, limit| {
            // SAFETY: `size` bytes can be written, as checked above; the value has as many, some of which may be padding.
            let mut take = |from: *const u8, count: usize| unsafe {
                value.cast::<u8>().copy_from_nonoverlapping(from, count.min(size));
            };
            let which = inner.see(size, limit, &mut take)?;
            // SAFETY: guaranteed by the caller.
            unsafe { write_seen(which, seen) };
            Ok(())
        })
    })
}

/// Writes the next value as JSON, and waits for it as `aimdb_see` does.
///
/// The record is a JSON record, or one of a struct that was exported with JSON; otherwise `AIMDB_WRONG_TYPE`. A value that has
/// no JSON is `AIMDB_UNSUPPORTED`, and counts as seen. The other results are those of `aimdb_see`.
///
/// Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
/// Thread safety: one thread at a time; another one gets `AIMDB_TAKEN`.
///
/// # Safety
///
/// `json` is NULL or can be written; `seen` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_see_json(
    observer: *const aimdb_observer,
    json: *mut *mut c_char,
    timeout_us: u64,
    seen: *mut aimdb_seen,
) -> aimdb_status {
    ffi_call(|| {
        non_null(json, "json")?;
        // SAFETY: guaranteed by the caller.
        let observer = unsafe { resolve_handle(&OBSERVERS, observer, "observer")? };
        if observer.record_type.media_type != Some(JSON) {
            return Err(observer.record_type.refuse_json_call(&observer.key));
        }
        observer.with(timeout_us, |inner, size, limit| {
            let mut payload = Vec::new();
            let which = inner.see_payload(size, limit, &mut payload)?;
            // SAFETY: checked above, and guaranteed by the caller.
            unsafe {
                write_string(json_of(payload)?, json);
                write_seen(which, seen);
            }
            Ok(())
        })
    })
}

/// Ends the wait of the call with this observer, which returns `AIMDB_CANCELLED`, now and until `aimdb_observer_resume`. A call
/// that need not wait succeeds all the same.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `observer` is a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_observer_cancel(observer: *const aimdb_observer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { resolve_handle(&OBSERVERS, observer, "observer")? }.cancel.cancel();
        Ok(())
    })
}

/// Lets calls with this observer wait again.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `observer` is a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_observer_resume(observer: *const aimdb_observer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { resolve_handle(&OBSERVERS, observer, "observer")? }.cancel.reset();
        Ok(())
    })
}

/// Frees the handle. The last observer of a record ends the copies of its writers.
///
/// Thread safety: any thread, while no thread is in a call with the handle.
///
/// # Safety
///
/// `observer` is a handle, or was one, that no thread uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_observer_free(observer: *mut aimdb_observer) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    ffi_call(|| unsafe { remove_handle(&OBSERVERS, observer, "observer") }.map(drop))
}
