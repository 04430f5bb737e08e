//! Producers, consumers and observers without their value type, so that one table holds them all.

use aimdb_sync::{
    GetError, SetError, SetManyError, SyncConsumer, SyncObserver, SyncProducer, WaitLimit, Waitable,
};

use crate::status::{Failure, aimdb_status, aimdb_status::*, catch_panic};
use crate::value::{FixedBytes, JsonString, RecordValue};

/// A producer of any record that C can use.
pub(crate) enum AnyProducer {
    Bytes(Box<dyn BytesProducer>),
    Json(SyncProducer<JsonString>),
}

/// A producer of fixed-size byte values.
///
/// # Safety
///
/// Of every method: `size` bytes can be read at `value` (`count` times `size` at `values`), and are of the record's type.
pub(crate) trait BytesProducer: Send + Sync {
    /// Returns `AIMDB_OK`, `AIMDB_FULL`, `AIMDB_CLOSED` or `AIMDB_PANIC`.
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

impl<T: FixedBytes> BytesProducer for SyncProducer<T> {
    unsafe fn try_set(&self, value: *const u8, size: usize) -> aimdb_status {
        // SAFETY: guaranteed by the caller.
        catch_panic(|| match self.try_set(unsafe { T::read(value, size) }) {
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
        // SAFETY: guaranteed by the caller.
        self.set_within(unsafe { T::read(value, size) }, limit).map_err(|refused| refused.map(drop))
    }

    unsafe fn set_many(
        &self,
        values: *const u8,
        size: usize,
        count: usize,
        limit: WaitLimit<'_>,
    ) -> Result<usize, SetManyError> {
        // SAFETY: guaranteed by the caller.
        let values = (0..count).map(|at| unsafe { T::read(values.add(at * size), size) });
        self.set_many_within(values, limit)
    }
}

/// A consumer of any record that C can use.
pub(crate) enum AnyConsumer {
    Bytes(Box<dyn BytesConsumer>),
    Json(SyncConsumer<JsonString>),
}

impl AnyConsumer {
    pub(crate) fn waitable(&self) -> &dyn Waitable {
        match self {
            Self::Bytes(inner) => inner.waitable(),
            Self::Json(inner) => inner,
        }
    }
}

/// A consumer of fixed-size byte values.
///
/// # Safety
///
/// Of every method: `size` bytes can be written at `to`, and are of the record's type.
pub(crate) trait BytesConsumer: Send + Sync {
    /// Returns `AIMDB_OK`, `AIMDB_EMPTY`, `AIMDB_CLOSED` or `AIMDB_PANIC`.
    unsafe fn try_get(&self, to: *mut u8, size: usize) -> aimdb_status;
    unsafe fn get(&self, to: *mut u8, size: usize, limit: WaitLimit<'_>) -> Result<(), GetError>;
    unsafe fn latest(&self, to: *mut u8, size: usize) -> Option<()>;
    fn lagged(&self) -> u64;
    fn waitable(&self) -> &dyn Waitable;
}

impl<T: FixedBytes> BytesConsumer for SyncConsumer<T> {
    unsafe fn try_get(&self, to: *mut u8, size: usize) -> aimdb_status {
        catch_panic(|| match self.try_get() {
            Ok(value) => {
                // SAFETY: guaranteed by the caller.
                unsafe { value.write(to, size) };
                AIMDB_OK
            }
            Err(GetError::Closed) => AIMDB_CLOSED,
            Err(_) => AIMDB_EMPTY,
        })
    }

    unsafe fn get(&self, to: *mut u8, size: usize, limit: WaitLimit<'_>) -> Result<(), GetError> {
        // SAFETY: guaranteed by the caller.
        self.get_within(limit).map(|value| unsafe { value.write(to, size) })
    }

    unsafe fn latest(&self, to: *mut u8, size: usize) -> Option<()> {
        // SAFETY: guaranteed by the caller.
        self.latest().map(|value| unsafe { value.write(to, size) })
    }

    fn lagged(&self) -> u64 {
        self.lagged()
    }

    fn waitable(&self) -> &dyn Waitable {
        self
    }
}

/// The number of a value, and how many the observer missed before it.
pub(crate) type Seen = (u64, u64);

/// An observer of any record that C can use.
pub(crate) trait AnyObserver: Send {
    /// Passes the bytes of the next value to `take`.
    fn see(
        &mut self,
        size: usize,
        limit: WaitLimit<'_>,
        take: &mut dyn FnMut(*const u8, usize),
    ) -> Result<Seen, GetError>;

    /// Appends the payload of the next value to `out`.
    fn see_payload(
        &mut self,
        size: usize,
        limit: WaitLimit<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Seen, Failure>;
}

impl<T: RecordValue> AnyObserver for SyncObserver<T> {
    fn see(
        &mut self,
        size: usize,
        limit: WaitLimit<'_>,
        take: &mut dyn FnMut(*const u8, usize),
    ) -> Result<Seen, GetError> {
        let seen = self.see_within(limit)?;
        let bytes = seen.value.as_bytes(size);
        take(bytes.as_ptr().cast(), bytes.len());
        Ok((seen.seq, seen.missed))
    }

    fn see_payload(
        &mut self,
        size: usize,
        limit: WaitLimit<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Seen, Failure> {
        let seen = self.see_within(limit)?;
        seen.value.encode(size, out).map_err(|error| Failure::new(AIMDB_UNSUPPORTED, error))?;
        Ok((seen.seq, seen.missed))
    }
}
