//! Writing records.

use std::ffi::{c_char, c_void};

use aimdb_sync::{CancelToken, SetError, SetManyError, SyncProducer, WaitLimit};

use crate::arguments::{AIMDB_FOREVER, Wait, find, free, given, hand_out, limit, text};
use crate::database::{aimdb_db, record};
use crate::kind::{Asked, Kind};
use crate::status::{Outcome, aimdb_status, aimdb_status::*, answer, guarded};
use crate::table::Table;
use crate::value::{Plain, Text};

/// Writes a record. From `aimdb_producer_new`, freed with `aimdb_producer_free`.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_producer {
    _c_never_looks_inside: [u8; 0],
}

static PRODUCERS: Table<Producer> = Table::new(3);

struct Producer {
    key: Box<str>,
    kind: Kind,
    inner: AnyProducer,
    cancel: CancelToken,
}

/// A producer without its type.
pub(crate) enum AnyProducer {
    Plain(Box<dyn PlainProducer>),
    Text(SyncProducer<Text>),
}

/// A producer of values that are so many bytes.
///
/// # Safety
///
/// Of every method: `size` bytes can be read at `value` (`count` times `size` at `values`), and are of the record's type.
pub(crate) trait PlainProducer: Send + Sync {
    /// `AIMDB_OK`, `AIMDB_FULL`, `AIMDB_CLOSED`, `AIMDB_PANIC`.
    unsafe fn try_set(&self, value: *const u8, size: usize) -> aimdb_status;
    unsafe fn set(
        &self,
        value: *const u8,
        size: usize,
        limit: WaitLimit<'_>,
    ) -> Result<(), SetError<()>>;
    unsafe fn set_many(
        &self,
        values: *const u8,
        size: usize,
        count: usize,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError>;
}

impl<T: Plain> PlainProducer for SyncProducer<T> {
    unsafe fn try_set(&self, value: *const u8, size: usize) -> aimdb_status {
        // SAFETY: as the caller says.
        guarded(|| match self.try_set(unsafe { T::read(value, size) }) {
            Ok(()) => AIMDB_OK,
            Err(SetError::Closed(_)) => AIMDB_CLOSED,
            Err(_) => AIMDB_FULL,
        })
    }

    unsafe fn set(
        &self,
        value: *const u8,
        size: usize,
        limit: WaitLimit<'_>,
    ) -> Result<(), SetError<()>> {
        // SAFETY: as the caller says.
        self.set_within(unsafe { T::read(value, size) }, limit).map_err(|refused| refused.map(drop))
    }

    unsafe fn set_many(
        &self,
        values: *const u8,
        size: usize,
        count: usize,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError> {
        // SAFETY: as the caller says.
        let values = (0..count).map(|at| unsafe { T::read(values.add(at * size), size) });
        self.set_many_within(values, limit)
    }
}

impl Producer {
    /// # Safety
    ///
    /// `value` is a value of the record's type.
    unsafe fn set(&self, value: *const u8, wait: Wait) -> Outcome {
        let AnyProducer::Plain(inner) = &self.inner else {
            return Err(self.kind.is_json(&self.key));
        };
        let size = self.kind.form.size();
        match wait {
            // SAFETY: as the caller says.
            Wait::Try => match unsafe { inner.try_set(value, size) } {
                AIMDB_OK => Ok(()),
                status => Err(status.into()),
            },
            Wait::For(us) => {
                let limit = limit(us).or_cancelled(&self.cancel);
                // SAFETY: as the caller says.
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
        let AnyProducer::Plain(inner) = &self.inner else {
            return Err(self.kind.is_json(&self.key));
        };
        if count == 0 {
            return Ok(());
        }
        let limit = limit(timeout_us).or_cancelled(&self.cancel);
        // SAFETY: as the caller says.
        let outcome = unsafe { inner.set_many(values, self.kind.form.size(), count, limit) };
        let (all, outcome) = match outcome {
            Ok(all) => (all, Ok(())),
            Err(error) => (error.accepted, Err(error.reason.into())),
        };
        if !accepted.is_null() {
            // SAFETY: as the caller says.
            unsafe { accepted.write(all) };
        }
        outcome
    }

    fn set_text(&self, json: &str, wait: Wait) -> Outcome {
        let AnyProducer::Text(inner) = &self.inner else {
            return Err(self.kind.is_not_json(&self.key));
        };
        let value = Text::new(json).map_err(|error| error.of(&self.key))?;
        match wait {
            Wait::Try => Ok(inner.try_set(value)?),
            Wait::For(us) => Ok(inner.set_within(value, limit(us).or_cancelled(&self.cancel))?),
        }
    }
}

/// Makes a handle that writes the record `key`. `*out` is written on `AIMDB_OK` only.
///
/// Ownership: the caller frees it with `aimdb_producer_free`. It may outlive the database, and then answers
/// `AIMDB_CLOSED`.
/// Thread safety: any thread; the handle may be used by any number of threads at once.
///
/// # Safety
///
/// `key` is NULL or a text; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_new(
    db: *const aimdb_db,
    key: *const c_char,
    out: *mut *mut aimdb_producer,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { open(db, key, None, out) }
}

/// `aimdb_producer_new` with a queue of `capacity` values between the caller and the record: a burst waits there, and a full
/// queue holds back this handle's callers only. A value that was set may be seen later. What the queue has accepted is
/// drained by `aimdb_detach`. `AIMDB_BAD_ARGUMENT` if `capacity` is 0.
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
    // SAFETY: as the caller says.
    unsafe { open(db, key, Some(capacity), out) }
}

/// # Safety
///
/// `key` is NULL or a text; `out` is NULL or can be written.
unsafe fn open(
    db: *const aimdb_db,
    key: *const c_char,
    queue: Option<usize>,
    out: *mut *mut aimdb_producer,
) -> aimdb_status {
    answer(|| {
        given(out, "out")?;
        // SAFETY: as the caller says.
        let (db, key, kind) = unsafe { record(db, key)? };
        let inner = (kind.producer)(&db.handle, key, queue)?;
        let producer = Producer { key: key.into(), kind, inner, cancel: CancelToken::new() };
        // SAFETY: checked above.
        unsafe { hand_out(&PRODUCERS, producer, out) }
    })
}

/// Frees a producer. Freeing it twice is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with it: that cannot be found out and is undefined. End blocked calls
/// with `aimdb_producer_cancel` and join their threads first.
///
/// # Safety
///
/// No other thread is in a call with `producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_free(producer: *mut aimdb_producer) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says.
        unsafe { free(&PRODUCERS, producer, "producer") }.map(drop)
    })
}

/// The code behind the functions that set a value.
///
/// First the short way, when all is as it should be and there is room: no message to make, nothing to wait for.
///
/// # Safety
///
/// `producer` is not freed meanwhile; `value` is NULL, or what is `asked` for can be read there.
#[doc(hidden)]
#[inline(always)]
pub unsafe fn set(
    producer: *const aimdb_producer,
    value: *const c_void,
    asked: Asked,
    wait: Wait,
) -> aimdb_status {
    // SAFETY: as the caller says.
    let found = unsafe { PRODUCERS.get(producer.addr()) };
    if let Some(Producer { kind, inner: AnyProducer::Plain(inner), .. }) = found
        && asked.fits(kind)
        && !value.is_null()
    {
        // SAFETY: as the caller says; it is of the record's type.
        let status = unsafe { inner.try_set(value.cast(), kind.form.size()) };
        if matches!(status, AIMDB_OK | AIMDB_PANIC) {
            return status;
        }
    }
    // SAFETY: as the caller says.
    unsafe { set_the_long_way(producer, value, asked, wait) }
}

/// # Safety
///
/// As for [`set`].
#[cold]
unsafe fn set_the_long_way(
    producer: *const aimdb_producer,
    value: *const c_void,
    asked: Asked,
    wait: Wait,
) -> aimdb_status {
    answer(|| {
        given(value, "value")?;
        // SAFETY: the caller does not free it meanwhile.
        let producer = unsafe { find(&PRODUCERS, producer, "producer")? };
        asked.check(&producer.kind, &producer.key)?;
        // SAFETY: it is of the record's type.
        unsafe { producer.set(value.cast(), wait) }
    })
}

/// The code behind the functions that set several values.
///
/// # Safety
///
/// `producer` is not freed meanwhile; `values` is NULL, or `count` of what is `asked` for can be read there; `accepted` is
/// NULL or can be written.
#[doc(hidden)]
pub unsafe fn set_many(
    producer: *const aimdb_producer,
    values: *const c_void,
    asked: Asked,
    count: usize,
    timeout_us: u64,
    accepted: *mut usize,
) -> aimdb_status {
    answer(|| {
        if !accepted.is_null() {
            // SAFETY: as the caller says.
            unsafe { accepted.write(0) };
        }
        if count > 0 {
            given(values, "values")?;
        }
        // SAFETY: the caller does not free it meanwhile.
        let producer = unsafe { find(&PRODUCERS, producer, "producer")? };
        asked.check(&producer.kind, &producer.key)?;
        // SAFETY: they are of the record's type.
        unsafe { producer.set_many(values.cast(), count, timeout_us, accepted) }
    })
}

/// Writes the value of `size` bytes at `value`, waiting for room where there is none: on a queue. Every other buffer takes
/// it at once. `AIMDB_CLOSED`, `AIMDB_CANCELLED`: not written.
///
/// Ownership: the value is copied. Its alignment does not matter.
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
    // SAFETY: as the caller says.
    unsafe { set(producer, value, Asked::Size(size), Wait::For(AIMDB_FOREVER)) }
}

/// `aimdb_set` without waiting: `AIMDB_FULL` if there is no room now.
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
    // SAFETY: as the caller says.
    unsafe { set(producer, value, Asked::Size(size), Wait::Try) }
}

/// `aimdb_set`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
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
    // SAFETY: as the caller says.
    unsafe { set(producer, value, Asked::Size(size), Wait::For(timeout_us)) }
}

/// Writes the `count` values of `size` bytes each that stand one after the other at `values`, in order, waiting for room
/// no longer than `timeout_us` microseconds for all together (`AIMDB_FOREVER` for no limit). `*accepted`, if it is not
/// NULL, is how many were written, also when the answer is not `AIMDB_OK`: they were the first ones.
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
    // SAFETY: as the caller says.
    unsafe { set_many(producer, values, Asked::Size(size), count, timeout_us, accepted) }
}

/// # Safety
///
/// `json` is NULL or a text.
unsafe fn set_json(
    producer: *const aimdb_producer,
    json: *const c_char,
    wait: Wait,
) -> aimdb_status {
    answer(|| {
        // SAFETY: the caller does not free it meanwhile, and gives a text.
        let (producer, json) =
            unsafe { (find(&PRODUCERS, producer, "producer")?, text(json, "json")?) };
        producer.set_text(json, wait)
    })
}

/// Writes a text of JSON to a JSON record, waiting for room where there is none. `AIMDB_NOT_JSON` says where it is none.
///
/// Ownership: the text is copied.
/// Thread safety: any thread.
///
/// # Safety
///
/// `json` is NULL, or a text that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_json(
    producer: *const aimdb_producer,
    json: *const c_char,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { set_json(producer, json, Wait::For(AIMDB_FOREVER)) }
}

/// `aimdb_set_json` without waiting: `AIMDB_FULL` if there is no room now.
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
    // SAFETY: as the caller says.
    unsafe { set_json(producer, json, Wait::Try) }
}

/// `aimdb_set_json`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
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
    // SAFETY: as the caller says.
    unsafe { set_json(producer, json, Wait::For(timeout_us)) }
}

/// The size of the record's values in bytes; 0 for JSON.
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
    answer(|| {
        given(size, "size")?;
        // SAFETY: the caller does not free it meanwhile; checked above.
        unsafe { size.write(find(&PRODUCERS, producer, "producer")?.kind.form.size()) };
        Ok(())
    })
}

/// Ends the waits of all calls that are blocked with this producer, and of all that would have to wait, with
/// `AIMDB_CANCELLED`, until `aimdb_producer_resume`. Values for which there is room are written all the same.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `producer` is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_cancel(producer: *const aimdb_producer) -> aimdb_status {
    answer(|| {
        // SAFETY: the caller does not free it meanwhile.
        unsafe { find(&PRODUCERS, producer, "producer")? }.cancel.cancel();
        Ok(())
    })
}

/// Lets calls with this producer wait again.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `producer` is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_producer_resume(producer: *const aimdb_producer) -> aimdb_status {
    answer(|| {
        // SAFETY: the caller does not free it meanwhile.
        unsafe { find(&PRODUCERS, producer, "producer")? }.cancel.reset();
        Ok(())
    })
}
