//! Where a store keeps its values.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aimdb_core::{Decode, Encode, Incoming, UnixTime};

use crate::error::{Form, StoreError};
use crate::keep::Keep;

/// A record's number in a storage.
pub type RecordId = i64;

/// A stored value, or a gap.
///
/// ```
/// use aimdb_store::Row;
///
/// fn print(row: &Row) {
///     match &row.value {
///         Some(bytes) => println!("#{}: {}", row.seq, String::from_utf8_lossy(bytes)),
///         None => println!("… {} values were not stored", row.missed),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number among the values and gaps of the record, from one, over all processes. The order of the history.
    pub seq: i64,
    /// The time in nanoseconds since 1970, by the clock that the writer had. A clock may jump: the order is that of `seq`.
    pub at: i64,
    /// The encoded value; `None` for a gap.
    pub value: Option<Vec<u8>>,
    /// The number of values that are missing where there is a gap.
    pub missed: u64,
}

/// The newest value of a record that is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The form of its bytes.
    pub form: Arc<Form>,
    /// Its time in nanoseconds since 1970.
    pub at: i64,
    /// The encoded value.
    pub value: Vec<u8>,
}

impl Newest {
    /// The value, or the reason why it is none of this codec.
    pub(crate) fn decode<T, C: Encode<T> + Decode<T>>(
        &self,
        key: &str,
        codec: &mut C,
    ) -> Result<T, String> {
        // Bytes of another codec may decode by chance.
        if self.form.codec != codec.media_type() {
            return Err("another codec has encoded it".to_owned());
        }
        codec.decode(&Incoming::new(key, &self.value)).map_err(|error| error.to_string())
    }
}

/// The calendar's time of a stored one.
pub(crate) fn unix_time(at: i64) -> UnixTime {
    UnixTime::from_nanos(u64::try_from(at).unwrap_or(0))
}

/// One part of a batch, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The newest value of a record, in the place of the one before.
    Newest(RecordId, Newest),
    /// The next row of a record's history.
    Append(RecordId, Row),
    /// The oldest rows of a record's history that are not within the limits are deleted.
    Trim {
        /// The record.
        record: RecordId,
        /// The limits.
        keep: Keep,
        /// The time now, in nanoseconds since 1970.
        now: i64,
    },
}

/// A storage, used by one thread.
///
/// A store has one of its own two: [`Store::open`](crate::Store::open) and [`Store::in_memory`](crate::Store::in_memory). Another
/// one is given to [`Store::on`](crate::Store::on), for instance one that fails on purpose, in a test.
pub trait Backend: Send + 'static {
    /// Where it keeps them, for people.
    fn describe(&self) -> String;

    /// Finds or makes a record. `form` is that of the rows that are appended from now on.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn record(&mut self, key: &str, form: Option<&Form>) -> Result<RecordId, StoreError>;

    /// Finds a record, with the form of its last rows.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn find(&mut self, key: &str) -> Result<Option<(RecordId, Form)>, StoreError>;

    /// The newest value of a record.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn newest(&mut self, record: RecordId) -> Result<Option<Newest>, StoreError>;

    /// Writes a batch, whole or not at all. When it returns, the batch outlives a kill of the process.
    ///
    /// # Errors
    ///
    /// If the storage fails. Nothing of the batch is there then.
    fn write(&mut self, batch: &[Write]) -> Result<(), StoreError>;

    /// The rows of a record with these numbers, in order, at most `limit` of them from the begin, or from the end.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn rows(
        &mut self,
        record: RecordId,
        seqs: RangeInclusive<i64>,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Row>, StoreError>;

    /// The rows of a record whose time is in the range, in the order of their numbers, at most `limit`.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn between(
        &mut self,
        record: RecordId,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError>;

    /// The number of the last row that a record has ever had; 0 without one.
    ///
    /// # Errors
    ///
    /// If the storage fails.
    fn last_seq(&mut self, record: RecordId) -> Result<i64, StoreError>;
}
