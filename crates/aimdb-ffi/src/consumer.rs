//! Reading records.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Arc, OnceLock};

use aimdb_sync::{CancelToken, GetError, SyncConsumer, WaitLimit, Waitable, wait_any};
use smallvec::SmallVec;

use crate::arguments::{AIMDB_FOREVER, Wait, find, free, given, hand_out, limit, no_handle};
use crate::database::{aimdb_db, record};
use crate::descriptor::Descriptor;
use crate::kind::{Asked, Kind};
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, answer, guarded};
use crate::table::Table;
use crate::value::{Plain, Text};

/// Reads a record, with a position of its own. From `aimdb_consumer_new`, freed with `aimdb_consumer_free`. Threads that
/// share a consumer divide the values among them: each goes to one of them.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_consumer {
    _c_never_looks_inside: [u8; 0],
}

static CONSUMERS: Table<Consumer> = Table::new(4);

struct Consumer {
    key: Box<str>,
    kind: Kind,
    inner: Arc<AnyConsumer>,
    cancel: CancelToken,
    descriptor: OnceLock<Descriptor>,
}

/// A consumer without its type.
pub(crate) enum AnyConsumer {
    Plain(Box<dyn PlainConsumer>),
    Text(SyncConsumer<Text>),
}

impl AnyConsumer {
    pub(crate) fn waitable(&self) -> &dyn Waitable {
        match self {
            Self::Plain(inner) => inner.waitable(),
            Self::Text(inner) => inner,
        }
    }
}

/// A consumer of values that are so many bytes.
///
/// # Safety
///
/// Of every method: `size` bytes can be written at `to`, and are of the record's type.
pub(crate) trait PlainConsumer: Send + Sync {
    /// `AIMDB_OK`, `AIMDB_EMPTY`, `AIMDB_CLOSED`, `AIMDB_PANIC`.
    unsafe fn try_get(&self, to: *mut u8, size: usize) -> aimdb_status;
    unsafe fn get(&self, to: *mut u8, size: usize, limit: WaitLimit<'_>) -> Result<(), GetError>;
    unsafe fn latest(&self, to: *mut u8, size: usize) -> Option<()>;
    fn lagged(&self) -> u64;
    fn waitable(&self) -> &dyn Waitable;
}

impl<T: Plain> PlainConsumer for SyncConsumer<T> {
    unsafe fn try_get(&self, to: *mut u8, size: usize) -> aimdb_status {
        guarded(|| match self.try_get() {
            Ok(value) => {
                // SAFETY: as the caller says.
                unsafe { value.write(to, size) };
                AIMDB_OK
            }
            Err(GetError::Closed) => AIMDB_CLOSED,
            Err(_) => AIMDB_EMPTY,
        })
    }

    unsafe fn get(&self, to: *mut u8, size: usize, limit: WaitLimit<'_>) -> Result<(), GetError> {
        // SAFETY: as the caller says.
        self.get_within(limit).map(|value| unsafe { value.write(to, size) })
    }

    unsafe fn latest(&self, to: *mut u8, size: usize) -> Option<()> {
        // SAFETY: as the caller says.
        self.latest().map(|value| unsafe { value.write(to, size) })
    }

    fn lagged(&self) -> u64 {
        self.lagged()
    }

    fn waitable(&self) -> &dyn Waitable {
        self
    }
}

impl Consumer {
    fn plain(&self) -> Result<&dyn PlainConsumer, Failure> {
        match &*self.inner {
            AnyConsumer::Plain(inner) => Ok(&**inner),
            AnyConsumer::Text(_) => Err(self.kind.is_json(&self.key)),
        }
    }

    fn text(&self) -> Result<&SyncConsumer<Text>, Failure> {
        let AnyConsumer::Text(inner) = &*self.inner else {
            return Err(self.kind.is_not_json(&self.key));
        };
        Ok(inner)
    }

    /// # Safety
    ///
    /// A value of the record's type can be written at `to`.
    unsafe fn get(&self, to: *mut u8, wait: Wait) -> Outcome {
        let (inner, size) = (self.plain()?, self.kind.form.size());
        let outcome = match wait {
            // SAFETY: as the caller says.
            Wait::Try => match unsafe { inner.try_get(to, size) } {
                AIMDB_OK => Ok(()),
                status => Err(status.into()),
            },
            Wait::For(us) => {
                // SAFETY: as the caller says.
                let got = unsafe { inner.get(to, size, limit(us).or_cancelled(&self.cancel)) };
                got.map_err(Failure::from)
            }
        };
        self.told(outcome)
    }

    /// # Safety
    ///
    /// `max` values of the record's type can be written at `to`.
    unsafe fn get_many(
        &self,
        to: *mut u8,
        max: usize,
        timeout_us: u64,
        count: *mut usize,
    ) -> Outcome {
        let (inner, size) = (self.plain()?, self.kind.form.size());
        if max == 0 {
            return Ok(());
        }
        // SAFETY: as the caller says, for the first.
        unsafe { self.get(to, Wait::For(timeout_us))? };
        // SAFETY: and for those that follow it.
        let more =
            (1..max).take_while(|at| unsafe { inner.try_get(to.add(at * size), size) } == AIMDB_OK);
        // SAFETY: checked by the caller.
        unsafe { count.write(1 + more.count()) };
        Ok(())
    }

    fn get_text(&self, wait: Wait) -> Result<Text, Failure> {
        let inner = self.text()?;
        let outcome = match wait {
            Wait::Try => inner.try_get(),
            Wait::For(us) => inner.get_within(limit(us).or_cancelled(&self.cancel)),
        };
        self.told(outcome.map_err(Failure::from))
    }

    /// A reader that found nothing wants its descriptor to tell it when there is something.
    fn told<O>(&self, outcome: Result<O, Failure>) -> Result<O, Failure> {
        if outcome.is_err()
            && let Some(descriptor) = self.descriptor.get()
        {
            descriptor.arm();
        }
        outcome
    }
}

/// Makes a handle that reads the record `key` from now on (a latest record: from its current value on). `*out` is written
/// on `AIMDB_OK` only. `AIMDB_TAKEN`: it is a mailbox that has a taker, and `aimdb_shared` was not called for it.
///
/// Ownership: the caller frees it with `aimdb_consumer_free`. It may outlive the database: it then gives what is left, and
/// after that `AIMDB_CLOSED`.
/// Thread safety: any thread; the handle may be used by any number of threads at once.
///
/// # Safety
///
/// `key` is NULL or a text; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_new(
    db: *const aimdb_db,
    key: *const c_char,
    out: *mut *mut aimdb_consumer,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { open(db, key, None, out) }
}

/// `aimdb_consumer_new` with a queue of `capacity` values between the record and the caller, so that this many more than
/// the record's buffer holds can wait. A latest record and a mailbox keep one value, whatever the capacity.
/// `AIMDB_BAD_ARGUMENT` if `capacity` is 0, or more than there is memory for. A task on the runtime fills the queue: after
/// `AIMDB_UNRESPONSIVE` it may be late with the end.
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
    out: *mut *mut aimdb_consumer,
) -> aimdb_status {
    answer(|| {
        given(out, "out")?;
        // SAFETY: as the caller says.
        let (db, key, kind) = unsafe { record(db, key)? };
        let consumer = Consumer {
            key: key.into(),
            kind,
            inner: Arc::new((kind.consumer)(&db.handle, key, queue)?),
            cancel: CancelToken::new(),
            descriptor: OnceLock::new(),
        };
        // SAFETY: checked above.
        unsafe { hand_out(&CONSUMERS, consumer, out) }
    })
}

/// Frees a consumer: what it has not read no longer holds any writer back, and its descriptor is closed. Freeing it twice
/// is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with it: that cannot be found out and is undefined. End blocked calls
/// with `aimdb_consumer_cancel` and join their threads first.
///
/// # Safety
///
/// No other thread is in a call with `consumer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_free(consumer: *mut aimdb_consumer) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says.
        unsafe { free(&CONSUMERS, consumer, "consumer") }.map(drop)
    })
}

/// The code behind the functions that get a value.
///
/// First the short way, when all is as it should be and there is a value: no message to make, nothing to wait for.
///
/// # Safety
///
/// `consumer` is not freed meanwhile; `value` is NULL, or has room for what is `asked` for.
#[doc(hidden)]
#[inline(always)]
pub unsafe fn get(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    asked: Asked,
    wait: Wait,
) -> aimdb_status {
    // SAFETY: as the caller says.
    if let Some(Consumer { kind, inner, .. }) = unsafe { CONSUMERS.get(consumer.addr()) }
        && let AnyConsumer::Plain(inner) = &**inner
        && asked.fits(kind)
        && !value.is_null()
    {
        // SAFETY: as the caller says; it is of the record's type.
        let status = unsafe { inner.try_get(value.cast(), kind.form.size()) };
        if matches!(status, AIMDB_OK | AIMDB_PANIC) {
            return status;
        }
    }
    // SAFETY: as the caller says.
    unsafe { get_the_long_way(consumer, value, asked, wait) }
}

/// # Safety
///
/// As for [`get`].
#[cold]
unsafe fn get_the_long_way(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    asked: Asked,
    wait: Wait,
) -> aimdb_status {
    answer(|| {
        given(value, "value")?;
        // SAFETY: the caller does not free it meanwhile.
        let consumer = unsafe { find(&CONSUMERS, consumer, "consumer")? };
        asked.check(&consumer.kind, &consumer.key)?;
        // SAFETY: it is of the record's type.
        unsafe { consumer.get(value.cast(), wait) }
    })
}

/// The code behind the functions that get several values.
///
/// # Safety
///
/// `consumer` is not freed meanwhile; `values` is NULL, or has room for `max` of what is `asked` for; `count` is NULL or can
/// be written.
#[doc(hidden)]
pub unsafe fn get_many(
    consumer: *const aimdb_consumer,
    values: *mut c_void,
    asked: Asked,
    max: usize,
    timeout_us: u64,
    count: *mut usize,
) -> aimdb_status {
    answer(|| {
        given(count, "count")?;
        // SAFETY: checked above.
        unsafe { count.write(0) };
        if max > 0 {
            given(values, "values")?;
        }
        // SAFETY: the caller does not free it meanwhile.
        let consumer = unsafe { find(&CONSUMERS, consumer, "consumer")? };
        asked.check(&consumer.kind, &consumer.key)?;
        // SAFETY: they are of the record's type.
        unsafe { consumer.get_many(values.cast(), max, timeout_us, count) }
    })
}

/// The code behind the functions that look at the newest value.
///
/// # Safety
///
/// `consumer` is not freed meanwhile; `value` is NULL, or has room for what is `asked` for.
#[doc(hidden)]
pub unsafe fn latest(
    consumer: *const aimdb_consumer,
    value: *mut c_void,
    asked: Asked,
) -> aimdb_status {
    answer(|| {
        given(value, "value")?;
        // SAFETY: the caller does not free it meanwhile.
        let consumer = unsafe { find(&CONSUMERS, consumer, "consumer")? };
        asked.check(&consumer.kind, &consumer.key)?;
        // SAFETY: it is of the record's type.
        let newest = unsafe { consumer.plain()?.latest(value.cast(), consumer.kind.form.size()) };
        newest.ok_or_else(|| AIMDB_EMPTY.into())
    })
}

/// Takes the next value, waiting for it, and writes its `size` bytes to `value`. Values lost on the way are counted in
/// `aimdb_lagged`. `AIMDB_CLOSED` once everything has been read.
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
    // SAFETY: as the caller says.
    unsafe { get(consumer, value, Asked::Size(size), Wait::For(AIMDB_FOREVER)) }
}

/// `aimdb_get` without waiting: `AIMDB_EMPTY` if there is nothing new.
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
    // SAFETY: as the caller says.
    unsafe { get(consumer, value, Asked::Size(size), Wait::Try) }
}

/// `aimdb_get`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
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
    // SAFETY: as the caller says.
    unsafe { get(consumer, value, Asked::Size(size), Wait::For(timeout_us)) }
}

/// Takes up to `max` values of `size` bytes each into the array at `values`, waiting for the first no longer than
/// `timeout_us` microseconds (`AIMDB_FOREVER` for no limit). `*count` is how many were taken: 0 unless the answer is
/// `AIMDB_OK`, and then at least 1, unless `max` is 0.
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
    // SAFETY: as the caller says.
    unsafe { get_many(consumer, values, Asked::Size(size), max, timeout_us, count) }
}

/// Writes the newest value that the record holds to `value`, without taking it. `AIMDB_EMPTY` if there was none yet, and
/// on a queue or a mailbox also when everything has been taken.
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
    // SAFETY: as the caller says.
    unsafe { latest(consumer, value, Asked::Size(size)) }
}

/// How many values this consumer has lost so far, those it has not come to yet included. On a mailbox: how many commands
/// were replaced by the ones it took.
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
    answer(|| {
        given(count, "count")?;
        // SAFETY: the caller does not free it meanwhile.
        let consumer = unsafe { find(&CONSUMERS, consumer, "consumer")? };
        let lagged = match &*consumer.inner {
            AnyConsumer::Plain(inner) => inner.lagged(),
            AnyConsumer::Text(inner) => inner.lagged(),
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
    answer(|| {
        given(json, "json")?;
        // SAFETY: the caller does not free it meanwhile.
        let value = unsafe { find(&CONSUMERS, consumer, "consumer")? }.get_text(wait)?;
        // SAFETY: checked above.
        unsafe { json.write(value.as_c().to_owned().into_raw()) };
        Ok(())
    })
}

/// Takes the next text of a JSON record, waiting for it.
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
    // SAFETY: as the caller says.
    unsafe { get_json(consumer, json, Wait::For(AIMDB_FOREVER)) }
}

/// `aimdb_get_json` without waiting: `AIMDB_EMPTY` if there is nothing new.
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
    // SAFETY: as the caller says.
    unsafe { get_json(consumer, json, Wait::Try) }
}

/// `aimdb_get_json`, waiting no longer than `timeout_us` microseconds: `AIMDB_TIMEOUT`. Zero tries once.
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
    // SAFETY: as the caller says.
    unsafe { get_json(consumer, json, Wait::For(timeout_us)) }
}

/// The newest text that a JSON record holds, without taking it: `AIMDB_EMPTY` as for `aimdb_latest`.
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
    answer(|| {
        given(json, "json")?;
        // SAFETY: the caller does not free it meanwhile.
        let newest = unsafe { find(&CONSUMERS, consumer, "consumer")? }.text()?.latest();
        let newest = newest.ok_or(AIMDB_EMPTY)?;
        // SAFETY: checked above.
        unsafe { json.write(newest.as_c().to_owned().into_raw()) };
        Ok(())
    })
}

/// The size of the record's values in bytes; 0 for JSON.
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
    answer(|| {
        given(size, "size")?;
        // SAFETY: the caller does not free it meanwhile; checked above.
        unsafe { size.write(find(&CONSUMERS, consumer, "consumer")?.kind.form.size()) };
        Ok(())
    })
}

/// Waits until one of `count` consumers, of any types and databases, has something to take or has ended, no longer than
/// `timeout_us` microseconds (`AIMDB_FOREVER` for no limit). `*index` is the first such consumer's place in the array.
/// Nothing is taken yet, so another thread that shares the consumer may be first. `AIMDB_CANCELLED` if one of them is
/// cancelled.
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
    answer(|| {
        given(consumers, "consumers")?;
        given(index, "index")?;
        if count == 0 {
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, "there are no consumers to wait for"));
        }
        // SAFETY: as the caller says.
        let handles = unsafe { std::slice::from_raw_parts(consumers, count) };
        let mut found: SmallVec<[&Consumer; 16]> = SmallVec::new();
        for (at, handle) in handles.iter().enumerate() {
            // SAFETY: the caller does not free it meanwhile.
            let consumer = unsafe { CONSUMERS.get(handle.addr()) };
            found.push(consumer.ok_or_else(|| no_handle(*handle, &format!("consumers[{at}]")))?);
        }
        let waitables = found.iter().map(|consumer| consumer.inner.waitable());
        let cancels = found.iter().map(|consumer| &consumer.cancel as &dyn Waitable);
        let all: SmallVec<[&dyn Waitable; 16]> = waitables.chain(cancels).collect();
        match wait_any(&all, limit(timeout_us))? {
            first if first < count => {
                // SAFETY: checked above.
                unsafe { index.write(first) };
                Ok(())
            }
            _ => Err(AIMDB_CANCELLED.into()),
        }
    })
}

/// Ends the waits of all calls that are blocked with this consumer, and of all that would have to wait, with
/// `AIMDB_CANCELLED`, until `aimdb_consumer_resume`. What is there to read is given all the same.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `consumer` is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_cancel(consumer: *const aimdb_consumer) -> aimdb_status {
    answer(|| {
        // SAFETY: the caller does not free it meanwhile.
        unsafe { find(&CONSUMERS, consumer, "consumer")? }.cancel.cancel();
        Ok(())
    })
}

/// Lets calls with this consumer wait again.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `consumer` is not freed meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_consumer_resume(consumer: *const aimdb_consumer) -> aimdb_status {
    answer(|| {
        // SAFETY: the caller does not free it meanwhile.
        unsafe { find(&CONSUMERS, consumer, "consumer")? }.cancel.reset();
        Ok(())
    })
}

/// A file descriptor that is readable (`poll`, `select`, `epoll`, level-triggered) while there is something to take, or
/// when the record has ended. Take until `AIMDB_EMPTY`: only that makes it unreadable again. Do not read from it and do
/// not close it. The same one for every call. Unix only: elsewhere `AIMDB_UNSUPPORTED`.
///
/// Ownership: the consumer's; it is closed by `aimdb_consumer_free`.
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
    answer(|| {
        given(fd, "fd")?;
        // SAFETY: the caller does not free it meanwhile.
        let consumer = unsafe { find(&CONSUMERS, consumer, "consumer")? };
        let descriptor = match consumer.descriptor.get() {
            Some(descriptor) => descriptor,
            None => {
                let refused = |error: std::io::Error| {
                    let unsupported = error.kind() == std::io::ErrorKind::Unsupported;
                    Failure::new(if unsupported { AIMDB_UNSUPPORTED } else { AIMDB_SYSTEM }, error)
                };
                let new = Descriptor::new(Arc::clone(&consumer.inner)).map_err(refused)?;
                // Of two threads that ask first, one's is kept.
                consumer.descriptor.get_or_init(|| new)
            }
        };
        descriptor.arm();
        // SAFETY: checked above.
        unsafe { fd.write(descriptor.number()) };
        Ok(())
    })
}
