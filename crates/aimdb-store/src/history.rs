//! Looking at what was stored.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aimdb_core::{Decode, Incoming, UnixTime};

use crate::backend::{RecordId, Row, unix_time};
use crate::error::{Form, StoreError};
use crate::writer::Writer;

/// An entry of a history.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Entry<T> {
    /// A value.
    Value {
        /// Its number among the entries of the record, over all processes: the order of the history.
        seq: i64,
        /// When it was stored, by the calendar's clock, which may have jumped.
        at: UnixTime,
        /// The value.
        value: T,
    },
    /// A value that the codec does not decode: of an older form, or one like NaN in JSON, which does not come back.
    Unreadable {
        /// The number of the entry.
        seq: i64,
        /// When it was stored.
        at: UnixTime,
        /// The codec's reason.
        reason: String,
    },
    /// Values that were not stored, because the store was behind.
    Gap {
        /// The number of the entry.
        seq: i64,
        /// When it was noticed.
        at: UnixTime,
        /// The number of values.
        missed: u64,
    },
}

impl<T> Entry<T> {
    /// The value; `None` for a gap.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value { value, .. } => Some(value),
            Self::Gap { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// The number of the entry.
    #[must_use]
    pub fn seq(&self) -> i64 {
        match self {
            Self::Value { seq, .. } | Self::Gap { seq, .. } | Self::Unreadable { seq, .. } => *seq,
        }
    }

    /// The time of the entry.
    #[must_use]
    pub fn at(&self) -> UnixTime {
        match self {
            Self::Value { at, .. } | Self::Gap { at, .. } | Self::Unreadable { at, .. } => *at,
        }
    }
}

/// The history of one record. [`Store::history`](crate::Store::history) returns it.
///
/// Each query is a look at the storage after everything that was given to the store before, and blocks the calling thread for it:
/// a task asks in `spawn_blocking`.
///
/// ```
/// use aimdb_core::Json;
/// use aimdb_store::{Store, StoreError};
///
/// fn print_last(store: &Store) -> Result<(), StoreError> {
///     let Some(history) = store.history::<f32, _>("boiler.temperature", Json)? else { return Ok(()) };
///     for entry in history.last(10)? {
///         println!("#{}: {:?}", entry.seq(), entry.value());
///     }
///     Ok(())
/// }
/// # print_last(&Store::in_memory()).unwrap();
/// ```
pub struct History<T, C> {
    writer: Arc<Writer>,
    key: String,
    record: RecordId,
    form: Form,
    codec: C,
    value: PhantomData<fn() -> T>,
}

impl<T, C: Decode<T> + Clone> History<T, C> {
    pub(crate) fn new(
        writer: Arc<Writer>,
        key: String,
        record: RecordId,
        form: Form,
        codec: C,
    ) -> Self {
        Self { writer, key, record, form, codec, value: PhantomData }
    }

    /// The last `count` entries, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Storage`], also while the storage refuses writes, and [`StoreError::Ended`].
    pub fn last(&self, count: usize) -> Result<Vec<Entry<T>>, StoreError> {
        let record = self.record;
        let rows =
            self.writer.ask(move |backend| backend.rows(record, 1..=i64::MAX, count, true))?;
        Ok(self.decoded(rows))
    }

    /// The first `count` entries behind number `seq`, in order: pages of a long history.
    ///
    /// # Errors
    ///
    /// Those of [`last`](Self::last).
    pub fn after(&self, seq: i64, count: usize) -> Result<Vec<Entry<T>>, StoreError> {
        let (record, seqs) = (self.record, seq.saturating_add(1)..=i64::MAX);
        let rows = self.writer.ask(move |backend| backend.rows(record, seqs, count, false))?;
        Ok(self.decoded(rows))
    }

    /// The entries whose time is in the range, in the order in which they were stored, at most `count`.
    ///
    /// # Errors
    ///
    /// Those of [`last`](Self::last).
    pub fn range(
        &self,
        times: RangeInclusive<UnixTime>,
        count: usize,
    ) -> Result<Vec<Entry<T>>, StoreError> {
        let nanos = |time: &UnixTime| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let (record, times) = (self.record, nanos(times.start())..=nanos(times.end()));
        let rows = self.writer.ask(move |backend| backend.between(record, times, count))?;
        Ok(self.decoded(rows))
    }

    fn decoded(&self, rows: Vec<Row>) -> Vec<Entry<T>> {
        let decode = |Row { seq, at, value, missed }| {
            let at = unix_time(at);
            let Some(bytes) = value else { return Entry::Gap { seq, at, missed } };
            match self.codec.clone().decode(&Incoming::new(&self.key, &bytes)) {
                Ok(value) => Entry::Value { seq, at, value },
                Err(error) => Entry::Unreadable { seq, at, reason: error.to_string() },
            }
        };
        rows.into_iter().map(decode).collect()
    }
}

impl<T, C> fmt::Debug for History<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("key", &self.key)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
