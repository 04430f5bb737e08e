//! Consumers: reading records.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, OnceLock};

use aimdb_sync::{CancelToken, SyncConsumer, Waitable, wait_any};
use smallvec::SmallVec;

use crate::arguments::{
    AIMDB_FOREVER, Wait, bad_handle, non_null, remove_handle, resolve_handle, wait_limit,
    write_handle,
};
use crate::database::{aimdb_db, find_record};
use crate::descriptor::Descriptor;
use crate::erased::{AnyConsumer, BytesConsumer};
use crate::record_type::{ExpectedType, RecordType};
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, ffi_call};
use crate::table::Table;
use crate::value::JsonString;

/// Reads a record, with a position of its own.
///
/// `aimdb_consumer_new` makes it, `aimdb_consumer_free` frees it. Threads that share a consumer divide its values: each value
/// is taken by one of them.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_consumer {
    _opaque: [u8; 0],
}

static CONSUMERS: Table<Consumer> = Table::new(4);

struct Consumer {
    key: Box<str>,
    record_type: RecordType,
    inner: Arc<AnyConsumer>,
    cancel: CancelToken,
    descriptor: OnceLock<Descriptor>,
}

impl Consumer {
    fn bytes_consumer(&self) -> Result<&dyn BytesConsumer, Failure> {
        match &*self.inner {
            AnyConsumer::Bytes(inner) => Ok(&**inner),
            AnyConsumer::Json(_) => Err(self.record_type.refuse_bytes_call(&self.key)),
        }
    }

    fn json_consumer(&self) -> Result<&SyncConsumer<JsonString>, Failure> {
        match &*self.inner {
            AnyConsumer::Json(inner) => Ok(inner),
            AnyConsumer::Bytes(_) => Err(self.record_type.refuse_json_call(&self.key)),
        }
    }

    /// # Safety
    ///
    /// A value of the record's type can be written at `to`.
    unsafe fn get(&self, to: *mut u8, wait: Wait) -> Outcome {
        let (inner, size) = (self.bytes_consumer()?, self.record_type.layout.size());
        let outcome = match wait {
            // SAFETY: guaranteed by the caller.
            Wait::Try => match unsafe { inner.try_get(to, size) } {
                AIMDB_OK => Ok(()),
                status => Err(status.into()),
            },
            Wait::For(us) => {
                // SAFETY: guaranteed by the caller.
                let got = unsafe { inner.get(to, size, wait_limit(us).or_cancelled(&self.cancel)) };
                got.map_err(Failure::from)
            }
        };
        self.rearm_if_empty(outcome)
    }

    /// # Safety
    ///
    /// `max` values of the record's type can be written at `to`; `count` can be written.
    unsafe fn get_many(
        &self,
        to: *mut u8,
        max: usize,
        timeout_us: u64,
        count: *mut usize,
    ) -> Outcome {
        let (inner, size) = (self.bytes_consumer()?, self.record_type.layout.size());
        if max == 0 {
            return Ok(());
        }
        // SAFETY: guaranteed by the caller, for the first value.
        unsafe { self.get(to, Wait::For(timeout_us))? };
        // SAFETY: guaranteed by the caller, for the values after it.
        let more =
            (1..max).take_while(|at| unsafe { inner.try_get(to.add(at * size), size) } == AIMDB_OK);
        // SAFETY: the caller has checked that `count` is not NULL.
        unsafe { count.write(1 + more.count()) };
        Ok(())
    }

    fn get_json(&self, wait: Wait) -> Result<JsonString, Failure> {
        let inner = self.json_consumer()?;
        let outcome = match wait {
            Wait::Try => inner.try_get(),
            Wait::For(us) => inner.get_within(wait_limit(us).or_cancelled(&self.cancel)),
        };
        self.rearm_if_empty(outcome.map_err(Failure::from))
    }

    /// Arms the descriptor, if the consumer has one, after a read without a value, so that the next value signals it.
    fn rearm_if_empty<O>(&self, outcome: Result<O, Failure>) -> Result<O, Failure> {
        if outcome.is_err()
            && let Some(descriptor) = self.descriptor.get()
        {
            descriptor.arm();
        }
        outcome
    }
}

/// Makes a consumer of the record `key`, which reads from now on (a latest record: from its current value on).
///
/// `*out` is written on `AIMDB_OK` only. `AIMDB_NO_SUCH_RECORD` if there is no such record. `AIMDB_TAKEN` if the record is a
/// mailbox that has a taker, and `aimdb_shared` was not called for it.
///
/// Ownership: the caller frees it with `aimdb_consumer_free`. It may outlive the database: it then returns the values that are
/// left, and after them `AIMDB_CLOSED`.
/// Thread safety: any thread; any number of threads may use the handle at once.
///
/// # Safety
///
/// `key` is NULL or a string; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_new(
    db: *const aimdb_db,
    key: *const c_char,
    out: *mut *mut aimdb_consumer,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { open(db, key, None, out) }
}

/// Makes a consumer with a queue of `capacity` values between the record and the caller.
///
/// The queue holds `capacity` values in addition to the record's buffer. For a latest record and a mailbox it holds one value,
/// whatever the capacity. `AIMDB_BAD_ARGUMENT` if `capacity` is 0, or more than the memory allows. A task on the runtime fills
/// the queue: after `AIMDB_UNRESPONSIVE` that task may deliver `AIMDB_CLOSED` late. Otherwise as `aimdb_consumer_new`.
///
/// Ownership and thread safety: as for `aimdb_consumer_new`.
///
/// # Safety
///
/// As for `aimdb_consumer_new`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_with_capacity(
    db: *const aimdb_db,
    key: *const c_char,
    capacity: usize,
    out: *mut *mut aimdb_consumer,
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
    out: *mut *mut aimdb_consumer,
) -> aimdb_status {
    ffi_call(|| {
        non_null(out, "out")?;
        // SAFETY: guaranteed by the caller.
        let (db, key, record_type) = unsafe { find_record(db, key)? };
        let consumer = Consumer {
            key: key.into(),
            record_type,
            inner: Arc::new((record_type.open_consumer)(&db.handle, key, queue)?),
            cancel: CancelToken::new(),
            descriptor: OnceLock::new(),
        };
        // SAFETY: checked above.
        unsafe { write_handle(&CONSUMERS, consumer, out) }
    })
}

/// Frees a consumer: its unread values no longer hold a writer back, and its descriptor is closed.
///
/// To free it twice is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with the consumer. The library cannot detect that, and the behaviour is
/// undefined. End blocked calls with `aimdb_consumer_cancel` and join their threads first.
///
/// # Safety
///
/// No other thread is in a call with `consumer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_free(consumer: *mut aimdb_consumer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { remove_handle(&CONSUMERS, consumer, "consumer") }.map(drop)
    })
}

/// Takes a value of the expected type.
///
/// The fast path covers a valid call for which a value is ready: it makes no message and does not wait.
///
/// # Safety
///
/// `consumer` is not freed during the call; `value` is NULL, or has room for one value of the `expected` type.
#[doc(hidden)]
#[inline(always)]
pub unsafe fn get(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    expected: ExpectedType,
    wait: Wait,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    if let Some(Consumer { record_type, inner, .. }) = unsafe { CONSUMERS.get(consumer.addr()) }
        && let AnyConsumer::Bytes(inner) = &**inner
        && expected.matches(record_type)
        && !value.is_null()
    {
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        let status = unsafe { inner.try_get(value.cast(), record_type.layout.size()) };
        if matches!(status, AIMDB_OK | AIMDB_PANIC) {
            return status;
        }
    }
    // SAFETY: guaranteed by the caller.
    unsafe { get_slow(consumer, value, expected, wait) }
}

/// # Safety
///
/// As for [`get`].
#[cold]
unsafe fn get_slow(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    expected: ExpectedType,
    wait: Wait,
) -> aimdb_status {
    ffi_call(|| {
        non_null(value, "value")?;
        // SAFETY: the caller does not free the handle during the call.
        let consumer = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? };
        expected.check(&consumer.record_type, &consumer.key)?;
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        unsafe { consumer.get(value.cast(), wait) }
    })
}

/// Takes several values of the expected type.
///
/// # Safety
///
/// `consumer` is not freed during the call; `values` is NULL, or has room for `max` values of the `expected` type; `count` is
/// NULL or can be written.
#[doc(hidden)]
pub unsafe fn get_many(
    consumer: *const aimdb_consumer,
    values: *mut c_void,
    expected: ExpectedType,
    max: usize,
    timeout_us: u64,
    count: *mut usize,
) -> aimdb_status {
    ffi_call(|| {
        non_null(count, "count")?;
        // SAFETY: checked above.
        unsafe { count.write(0) };
        if max > 0 {
            non_null(values, "values")?;
        }
        // SAFETY: the caller does not free the handle during the call.
        let consumer = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? };
        expected.check(&consumer.record_type, &consumer.key)?;
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        unsafe { consumer.get_many(values.cast(), max, timeout_us, count) }
    })
}

/// Copies the newest value of the expected type.
///
/// # Safety
///
/// `consumer` is not freed during the call; `value` is NULL, or has room for one value of the `expected` type.
#[doc(hidden)]
pub unsafe fn latest(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    expected: ExpectedType,
) -> aimdb_status {
    ffi_call(|| {
        non_null(value, "value")?;
        // SAFETY: the caller does not free the handle during the call.
        let consumer = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? };
        expected.check(&consumer.record_type, &consumer.key)?;
        let size = consumer.record_type.layout.size();
        // SAFETY: guaranteed by the caller; the expected type is the record's type.
        let newest = unsafe { consumer.bytes_consumer()?.latest(value.cast(), size) };
        newest.ok_or_else(|| AIMDB_EMPTY.into())
    })
}

/// Takes the next value, waits for it, and writes its `size` bytes to `value`.
///
/// `aimdb_lagged` counts the values that were lost before it. `AIMDB_CLOSED` once the record is drained. `AIMDB_WRONG_SIZE` if
/// `size` is not the size of the record's values: no value is taken.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `value` is NULL, or `size` bytes can be written there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_get(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    size: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get(consumer, value, ExpectedType::Size(size), Wait::For(AIMDB_FOREVER)) }
}

/// Takes the next value without waiting: `AIMDB_EMPTY` if there is none.
///
/// Otherwise as `aimdb_get`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_try_get(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    size: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get(consumer, value, ExpectedType::Size(size), Wait::Try) }
}

/// Takes the next value and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
///
/// A timeout of 0 tries once. Otherwise as `aimdb_get`.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// As for `aimdb_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_get_timeout(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    size: usize,
    timeout_us: u64,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get(consumer, value, ExpectedType::Size(size), Wait::For(timeout_us)) }
}

/// Takes up to `max` values of `size` bytes each into the array at `values`.
///
/// The call waits for the first value at most `timeout_us` microseconds (`AIMDB_FOREVER` for no limit), and for the others not
/// at all. `*count` is the number of values taken: on `AIMDB_OK` at least 1, unless `max` is 0; otherwise 0.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `values` is NULL, or `max` times `size` bytes can be written there; `count` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_get_many(
    consumer: *const aimdb_consumer,
    values: *mut c_void,
    size: usize,
    max: usize,
    timeout_us: u64,
    count: *mut usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get_many(consumer, values, ExpectedType::Size(size), max, timeout_us, count) }
}

/// Copies the newest value of the record to `value`, without taking it.
///
/// `AIMDB_EMPTY` if no value was written yet; on a queue or a mailbox also if every value has been taken.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `value` is NULL, or `size` bytes can be written there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_latest(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    size: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { latest(consumer, value, ExpectedType::Size(size)) }
}

/// Writes the number of values that this consumer has lost so far to `*count`.
///
/// The count includes lost values at positions that the consumer has not reached yet. On a mailbox it is the number of commands
/// that were replaced by the ones that the consumer took.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `count` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_lagged(
    consumer: *const aimdb_consumer,
    count: *mut u64,
) -> aimdb_status {
    ffi_call(|| {
        non_null(count, "count")?;
        // SAFETY: the caller does not free the handle during the call.
        let consumer = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? };
        let lagged = match &*consumer.inner {
            AnyConsumer::Bytes(inner) => inner.lagged(),
            AnyConsumer::Json(inner) => inner.lagged(),
        };
        // SAFETY: checked above.
        unsafe { count.write(lagged) };
        Ok(())
    })
}

/// # Safety
///
/// `json` is NULL or can be written.
unsafe fn get_json(
    consumer: *const aimdb_consumer,
    json: *mut *mut c_char,
    wait: Wait,
) -> aimdb_status {
    ffi_call(|| {
        non_null(json, "json")?;
        // SAFETY: the caller does not free the handle during the call.
        let value = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? }.get_json(wait)?;
        // SAFETY: checked above.
        unsafe { json.write(value.as_c_str().to_owned().into_raw()) };
        Ok(())
    })
}

/// Takes the next JSON string of a JSON record, and waits for it.
///
/// `AIMDB_CLOSED` once the record is drained. `AIMDB_WRONG_TYPE` if the record does not hold JSON.
///
/// Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
/// Thread safety: any thread.
///
/// # Safety
///
/// `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_get_json(
    consumer: *const aimdb_consumer,
    json: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get_json(consumer, json, Wait::For(AIMDB_FOREVER)) }
}

/// Takes the next JSON string without waiting: `AIMDB_EMPTY` if there is none.
///
/// Ownership and thread safety: as for `aimdb_get_json`.
///
/// # Safety
///
/// As for `aimdb_get_json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_try_get_json(
    consumer: *const aimdb_consumer,
    json: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get_json(consumer, json, Wait::Try) }
}

/// Takes the next JSON string and waits for it at most `timeout_us` microseconds: then `AIMDB_TIMEOUT`.
///
/// A timeout of 0 tries once.
///
/// Ownership and thread safety: as for `aimdb_get_json`.
///
/// # Safety
///
/// As for `aimdb_get_json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_get_json_timeout(
    consumer: *const aimdb_consumer,
    json: *mut *mut c_char,
    timeout_us: u64,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { get_json(consumer, json, Wait::For(timeout_us)) }
}

/// Copies the newest JSON string of a JSON record, without taking it: `AIMDB_EMPTY` as for `aimdb_latest`.
///
/// Ownership and thread safety: as for `aimdb_get_json`.
///
/// # Safety
///
/// As for `aimdb_get_json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_latest_json(
    consumer: *const aimdb_consumer,
    json: *mut *mut c_char,
) -> aimdb_status {
    ffi_call(|| {
        non_null(json, "json")?;
        // SAFETY: the caller does not free the handle during the call.
        let newest =
            unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? }.json_consumer()?.latest();
        let newest = newest.ok_or(AIMDB_EMPTY)?;
        // SAFETY: checked above.
        unsafe { json.write(newest.as_c_str().to_owned().into_raw()) };
        Ok(())
    })
}

/// Writes the size of the record's values in bytes to `*size`; 0 for JSON.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `size` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_size(
    consumer: *const aimdb_consumer,
    size: *mut usize,
) -> aimdb_status {
    ffi_call(|| {
        non_null(size, "size")?;
        // SAFETY: the caller does not free the handle during the call; checked above.
        unsafe {
            size.write(resolve_handle(&CONSUMERS, consumer, "consumer")?.record_type.layout.size())
        };
        Ok(())
    })
}

/// Waits until one of `count` consumers has a value to take or a drained record.
///
/// The consumers may be of any types and databases. The call waits at most `timeout_us` microseconds (`AIMDB_FOREVER` for no
/// limit): then `AIMDB_TIMEOUT`. `*index` is the position of the first such consumer in the array. The call takes no value, so
/// another thread that shares the consumer may take it first. `AIMDB_CANCELLED` if one of the consumers is cancelled.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `consumers` is NULL or an array of `count` handles; `index` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_wait_any(
    consumers: *const *mut aimdb_consumer,
    count: usize,
    timeout_us: u64,
    index: *mut usize,
) -> aimdb_status {
    ffi_call(|| {
        non_null(consumers, "consumers")?;
        non_null(index, "index")?;
        if count == 0 {
            return Err(Failure::new(
                AIMDB_BAD_ARGUMENT,
                "`count` is 0: there is no consumer to wait for",
            ));
        }
        // SAFETY: guaranteed by the caller.
        let handles = unsafe { std::slice::from_raw_parts(consumers, count) };
        let mut found: SmallVec<[&Consumer; 16]> = SmallVec::new();
        for (at, handle) in handles.iter().enumerate() {
            // SAFETY: the caller does not free the handle during the call.
            let consumer = unsafe { CONSUMERS.get(handle.addr()) };
            found.push(consumer.ok_or_else(|| bad_handle(*handle, &format!("consumers[{at}]")))?);
        }
        let waitables = found.iter().map(|consumer| consumer.inner.waitable());
        let cancels = found.iter().map(|consumer| &consumer.cancel as &dyn Waitable);
        let all: SmallVec<[&dyn Waitable; 16]> = waitables.chain(cancels).collect();
        match wait_any(&all, wait_limit(timeout_us))? {
            first if first < count => {
                // SAFETY: checked above.
                unsafe { index.write(first) };
                Ok(())
            }
            _ => Err(AIMDB_CANCELLED.into()),
        }
    })
}

/// Ends the waits of all calls with this consumer, now and until `aimdb_consumer_resume`: they return `AIMDB_CANCELLED`.
///
/// A call for which a value is ready takes it all the same.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `consumer` is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_cancel(consumer: *const aimdb_consumer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: the caller does not free the handle during the call.
        unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? }.cancel.cancel();
        Ok(())
    })
}

/// Lets calls with this consumer wait again.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `consumer` is not freed during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_resume(consumer: *const aimdb_consumer) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: the caller does not free the handle during the call.
        unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? }.cancel.reset();
        Ok(())
    })
}

/// Writes a file descriptor to `*fd` that is readable while there is a value to take, or when the record is drained.
///
/// It is for `poll`, `select` and `epoll`, level-triggered. Take values until `AIMDB_EMPTY`: only that makes the descriptor
/// unreadable again. Do not read from it and do not close it. Every call returns the same one. Unix only: elsewhere
/// `AIMDB_UNSUPPORTED`.
///
/// Ownership: the consumer owns it, and `aimdb_consumer_free` closes it.
/// Thread safety: any thread.
///
/// # Safety
///
/// `fd` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_fd(
    consumer: *const aimdb_consumer,
    fd: *mut c_int,
) -> aimdb_status {
    ffi_call(|| {
        non_null(fd, "fd")?;
        // SAFETY: the caller does not free the handle during the call.
        let consumer = unsafe { resolve_handle(&CONSUMERS, consumer, "consumer")? };
        let descriptor = match consumer.descriptor.get() {
            Some(descriptor) => descriptor,
            None => {
                let refused = |error: std::io::Error| {
                    let unsupported = error.kind() == std::io::ErrorKind::Unsupported;
                    Failure::new(if unsupported { AIMDB_UNSUPPORTED } else { AIMDB_SYSTEM }, error)
                };
                let new = Descriptor::new(Arc::clone(&consumer.inner)).map_err(refused)?;
                // Of two threads that make the first one at once, the descriptor of one is kept.
                consumer.descriptor.get_or_init(|| new)
            }
        };
        descriptor.arm();
        // SAFETY: checked above.
        unsafe { fd.write(descriptor.raw_fd()) };
        Ok(())
    })
}
