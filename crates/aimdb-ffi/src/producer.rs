//! Producers: writing records.

use std::ffi::{c_char, c_void};

use aimdb_sync::CancelToken;

use crate::arguments::{
    AIMDB_FOREVER, Wait, non_null, remove_handle, resolve_handle, str_arg, wait_limit, write_handle,
};
use crate::database::{aimdb_db, find_record};
use crate::erased::AnyProducer;
use crate::record_type::{ExpectedType, RecordType};
use crate::status::{Outcome, aimdb_status, aimdb_status::*, ffi_call};
use crate::table::Table;
use crate::value::JsonString;

/// Writes a record.
///
/// `aimdb_producer_new` makes it, `aimdb_producer_free` frees it.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_producer {
    _opaque: [u8; 0],
}

static PRODUCERS: Table<Producer> = Table::new(3);

struct Producer {
    key: Box<str>,
    record_type: RecordType,
    inner: AnyProducer,
    cancel: CancelToken,
}

impl Producer {
    /// # Safety
    ///
    /// `value` is a value of the record's type.
    unsafe fn set(&self, value: *const u8, wait: Wait) -> Outcome {
        let AnyProducer::Bytes(inner) = &self.inner else {
            return Err(self.record_type.refuse_bytes_call(&self.key));
        };
        let size = self.record_type.layout.size();
        match wait {
            // SAFETY: guaranteed by the caller.
            Wait::Try => match unsafe { inner.try_set(value, size) } {
                AIMDB_OK => Ok(()),
                status => Err(status.into()),
            },
            Wait::For(us) => {
                let limit = wait_limit(us).or_cancelled(&self.cancel);
                // SAFETY: guaranteed by the caller.
                Ok(unsafe { inner.set(value, size, limit) }?)
            }
        }
    }

    /// # Safety
    ///
    /// `values` are `count` values of the record's type; `accepted` can be written or is NULL.
    unsafe fn set_many(
        &self,
        values: *const u8,
        count: usize,
        timeout_us: u64,
        accepted: *mut usize,
    ) -> Outcome {
        let AnyProducer::Bytes(inner) = &self.inner else {
            return Err(self.record_type.refuse_bytes_call(&self.key));
        };
        if count == 0 {
            return Ok(());
        }
        let size = self.record_type.layout.size();
        let limit = wait_limit(timeout_us).or_cancelled(&self.cancel);
        // SAFETY: guaranteed by the caller.
        let outcome = unsafe { inner.set_many(values, size, count, limit) };
        let (written, outcome) = match outcome {
            Ok(written) => (written, Ok(())),
            Err(error) => (error.accepted, Err(error.reason.into())),
        };
        if !accepted.is_null() {
            // SAFETY: guaranteed by the caller.
            unsafe { accepted.write(written) };
        }
        outcome
    }

    fn set_json(&self, json: &str, wait: Wait) -> Outcome {
        let AnyProducer::Json(inner) = &self.inner else {
            return Err(self.record_type.refuse_json_call(&self.key));
        };
        let value = JsonString::new(json).map_err(|failure| failure.in_record(&self.key))?;
        match wait {
            Wait::Try => Ok(inner.try_set(value)?),
            Wait::For(us) => {
                Ok(inner.set_within(value, wait_limit(us).or_cancelled(&self.cancel))?)
            }
        }
    }
}

/// Makes a producer of the record `key`.
///
/// `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record.
///
/// Ownership: the caller frees it with `aimdb_producer_free`. It may outlive the database: it then returns `AIMDB_CLOSED`.
/// Thread safety: any thread; any number of threads may use the handle at once.
///
/// # Safety
///
/// `key` is NULL or a string; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_new(
    db: *const aimdb_db,
    key: *const c_char,
    out: *mut *mut aimdb_producer,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { open(db, key, None, out) }
}

/// Makes a producer with a queue of `capacity` values between the caller and the record.
///
/// A burst waits in the queue, and a full queue holds back the callers of this handle only. A written value may become visible
/// later. `aimdb_detach` drains the values that the queue has accepted. `AIMDB_BAD_ARGUMENT` if `capacity` is 0. Otherwise as
/// `aimdb_producer_new`.
///
/// Ownership and thread safety: as for `aimdb_producer_new`.
///
/// # Safety
///
/// As for `aimdb_producer_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_with_capacity(
    db: *const aimdb_db,
    key: *const c_char,
    capacity: usize,
    out: *mut *mut aimdb_producer,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { open(db, key, Some(capacity), out) }
}

/// # Safety
///
/// `key` is NULL or a string; `out` is NULL or can be written.
unsafe fn open(
    db: *const aimdb_db,
    key: *const c_char,
    queue: Option<usize>,
    out: *mut *mut aimdb_producer,
) -> aimdb_status {
    ffi_call(|| {
        non_null(out, "out")?;
        // SAFETY: guaranteed by the caller.
        let (db, key, record_type) = unsafe { find_record(db, key)? };
        let inner = (record_type.open_producer)(&db.handle, key, queue)?;
        let cancel = CancelToken::new();
        let producer = Producer { key: key.into(), record_type, inner, cancel };
        // SAFETY: checked above.
        unsafe { write_handle(&PRODUCERS, producer, out) }
    })
}

/// Frees a producer.
///
/// To free it twice is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with the producer. The library cannot detect that, and the behaviour is
/// undefined. End blocked calls with `aimdb_producer_cancel` and join their threads first.
///
/// # Safety
///
/// No other thread is in a call with `producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_free(producer: *mut aimdb_producer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { remove_handle(&PRODUCERS, producer, "producer") }.map(drop)
    })
}

/// Writes a value of the expected type.
///
/// The fast path covers a valid call for which there is room: it makes no message and does not wait.
///
/// # Safety
///
/// `producer` is not freed during the call; `value` is NULL, or one value of the `expected` type can be read
/// there.
#[doc(hidden)]
#[inline(always)]
pub unsafe fn set(
    producer: *const aimdb_producer,
    value: *const c_void,
    expected: ExpectedType,
    wait: Wait,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    let found = unsafe { PRODUCERS.get(producer.addr()) };
    if let Some(Producer { record_type, inner: AnyProducer::Bytes(inner), .. }) = found
        && expected.matches(record_type)
        && !value.is_null()
    {
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        let status = unsafe { inner.try_set(value.cast(), record_type.layout.size()) };
        if matches!(status, AIMDB_OK | AIMDB_PANIC) {
            return status;
        }
    }
    // SAFETY: guaranteed by the caller.
    unsafe { set_slow(producer, value, expected, wait) }
}

/// # Safety
///
/// As for [`set`].
#[cold]
unsafe fn set_slow(
    producer: *const aimdb_producer,
    value: *const c_void,
    expected: ExpectedType,
    wait: Wait,
) -> aimdb_status {
    ffi_call(|| {
        non_null(value, "value")?;
        // SAFETY: the caller does not free the handle during the call.
        let producer = unsafe { resolve_handle(&PRODUCERS, producer, "producer")? };
        expected.check(&producer.record_type, &producer.key)?;
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        unsafe { producer.set(value.cast(), wait) }
    })
}

/// Writes several values of the expected type.
///
/// # Safety
///
/// `producer` is not freed during the call; `values` is NULL, or `count` values of the `expected` type can
/// be read there; `accepted` is NULL or can be written.
#[doc(hidden)]
pub unsafe fn set_many(
    producer: *const aimdb_producer,
    values: *const c_void,
    expected: ExpectedType,
    count: usize,
    timeout_us: u64,
    accepted: *mut usize,
) -> aimdb_status {
    ffi_call(|| {
        if !accepted.is_null() {
            // SAFETY: guaranteed by the caller.
            unsafe { accepted.write(0) };
        }
        if count > 0 {
            non_null(values, "values")?;
        }
        // SAFETY: the caller does not free the handle during the call.
        let producer = unsafe { resolve_handle(&PRODUCERS, producer, "producer")? };
        expected.check(&producer.record_type, &producer.key)?;
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        unsafe { producer.set_many(values.cast(), count, timeout_us, accepted) }
    })
}

/// Writes the value of `size` bytes at `value`, and waits for room on a full queue.
///
/// Every other buffer takes a value at once. On `AIMDB_CLOSED` and `AIMDB_CANCELLED` the value was not written.
/// `AIMDB_WRONG_SIZE` if `size` is not the size of the record's values.
///
/// Ownership: the value is copied. It may have any alignment.
/// Thread safety: any thread.
///
/// # Safety
///
/// `value` is NULL, or `size` bytes can be read there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set(
    producer: *const aimdb_producer,
    value: *const c_void,
    size: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set(producer, value, ExpectedType::Size(size), Wait::For(AIMDB_FOREVER)) }
}

/// Writes a value without waiting: `AIMDB_FULL` if there is no room now.
///
/// Otherwise as `aimdb_set`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_set`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_try_set(
    producer: *const aimdb_producer,
    value: *const c_void,
    size: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set(producer, value, ExpectedType::Size(size), Wait::Try) }
}

/// Writes a value and waits for room at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
///
/// A timeout of 0 tries once. Otherwise as `aimdb_set`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_set`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_timeout(
    producer: *const aimdb_producer,
    value: *const c_void,
    size: usize,
    timeout_us: u64,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set(producer, value, ExpectedType::Size(size), Wait::For(timeout_us)) }
}

/// Writes the array of `count` values of `size` bytes each at `values`, in order.
///
/// The call waits for room at most `timeout_us` microseconds for all values together (`AIMDB_FOREVER` for no limit).
/// `*accepted`, unless it is NULL, is the number of values written, which are the first ones; also if the call does not return
/// `AIMDB_OK`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `values` is NULL, or `count` times `size` bytes can be read there; `accepted` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_many(
    producer: *const aimdb_producer,
    values: *const c_void,
    size: usize,
    count: usize,
    timeout_us: u64,
    accepted: *mut usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set_many(producer, values, ExpectedType::Size(size), count, timeout_us, accepted) }
}

/// # Safety
///
/// `json` is NULL, or a string that ends with a NUL.
unsafe fn set_json(
    producer: *const aimdb_producer,
    json: *const c_char,
    wait: Wait,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller, who does not free the handle during the call.
        let (producer, json) =
            unsafe { (resolve_handle(&PRODUCERS, producer, "producer")?, str_arg(json, "json")?) };
        producer.set_json(json, wait)
    })
}

/// Writes a JSON string to a JSON record, and waits for room on a full queue.
///
/// `AIMDB_NOT_JSON` if the string is not JSON: the message has the line and the column. `AIMDB_WRONG_TYPE` if the record does
/// not hold JSON.
///
/// Ownership: the string is copied.
/// Thread safety: any thread.
///
/// # Safety
///
/// `json` is NULL, or a string that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_json(
    producer: *const aimdb_producer,
    json: *const c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set_json(producer, json, Wait::For(AIMDB_FOREVER)) }
}

/// Writes a JSON string without waiting: `AIMDB_FULL` if there is no room now.
///
/// Otherwise as `aimdb_set_json`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_set_json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_try_set_json(
    producer: *const aimdb_producer,
    json: *const c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set_json(producer, json, Wait::Try) }
}

/// Writes a JSON string and waits for room at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
///
/// A timeout of 0 tries once. Otherwise as `aimdb_set_json`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_set_json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_json_timeout(
    producer: *const aimdb_producer,
    json: *const c_char,
    timeout_us: u64,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { set_json(producer, json, Wait::For(timeout_us)) }
}

/// Writes the size of the record's values in bytes to `*size`; 0 for JSON.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `size` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_size(
    producer: *const aimdb_producer,
    size: *mut usize,
) -> aimdb_status {
    ffi_call(|| {
        non_null(size, "size")?;
        // SAFETY: the caller does not free the handle during the call; checked above.
        unsafe {
            size.write(resolve_handle(&PRODUCERS, producer, "producer")?.record_type.layout.size())
        };
        Ok(())
    })
}

/// Ends the waits of all calls with this producer, now and until `aimdb_producer_resume`: they return `AIMDB_CANCELLED`.
///
/// A call for which there is room writes its value all the same.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `producer` is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_cancel(producer: *const aimdb_producer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: the caller does not free the handle during the call.
        unsafe { resolve_handle(&PRODUCERS, producer, "producer")? }.cancel.cancel();
        Ok(())
    })
}

/// Lets calls with this producer wait again.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `producer` is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_resume(producer: *const aimdb_producer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: the caller does not free the handle during the call.
        unsafe { resolve_handle(&PRODUCERS, producer, "producer")? }.cancel.reset();
        Ok(())
    })
}
