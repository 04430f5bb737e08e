//! A storage in memory, for tests.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::backend::{Backend, Newest, RecordId, Row, Write};
use crate::error::{Form, StoreError};
use crate::keep::Keep;

/// A storage in memory, which ends with the process: that of [`Store::in_memory`](crate::Store::in_memory), and the inner one of a
/// [`Backend`] that fails on purpose.
///
/// ```
/// use aimdb_store::{Memory, Store};
///
/// let store = Store::on(Memory::default()).unwrap();
/// assert_eq!(format!("{store:?}"), "Store(\"memory\")");
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    ids: BTreeMap<String, RecordId>,
    records: Vec<Record>,
}

#[derive(Debug)]
struct Record {
    form: Form,
    newest: Option<Newest>,
    rows: BTreeMap<i64, Row>,
    last_seq: i64,
}

impl Memory {
    fn of(&mut self, record: RecordId) -> Result<&mut Record, StoreError> {
        let unknown = || StoreError::storage(format_args!("there is no record {record}"));
        usize::try_from(record).ok().and_then(|at| self.records.get_mut(at)).ok_or_else(unknown)
    }
}

impl Backend for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn record(&mut self, key: &str, form: Option<&Form>) -> Result<RecordId, StoreError> {
        if let Some(&id) = self.ids.get(key) {
            if let Some(form) = form {
                self.of(id)?.form = form.clone();
            }
            return Ok(id);
        }
        let id = self.records.len() as RecordId;
        self.ids.insert(key.to_owned(), id);
        let form = form.cloned().unwrap_or_default();
        self.records.push(Record { form, newest: None, rows: BTreeMap::new(), last_seq: 0 });
        Ok(id)
    }

    fn find(&mut self, key: &str) -> Result<Option<(RecordId, Form)>, StoreError> {
        let Some(&id) = self.ids.get(key) else { return Ok(None) };
        Ok(Some((id, self.of(id)?.form.clone())))
    }

    fn newest(&mut self, record: RecordId) -> Result<Option<Newest>, StoreError> {
        Ok(self.of(record)?.newest.clone())
    }

    fn write(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        for write in batch {
            match write {
                Write::Newest(record, newest) => self.of(*record)?.newest = Some(newest.clone()),
                Write::Append(record, row) => {
                    let record = self.of(*record)?;
                    record.last_seq = record.last_seq.max(row.seq);
                    record.rows.insert(row.seq, row.clone());
                }
                Write::Trim { record, keep, now } => trim(&mut self.of(*record)?.rows, keep, *now),
            }
        }
        Ok(())
    }

    fn rows(
        &mut self,
        record: RecordId,
        seqs: RangeInclusive<i64>,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Row>, StoreError> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.of(record)?.rows.range(seqs).map(|(_, row)| row.clone());
        if !from_end {
            return Ok(rows.take(limit).collect());
        }
        let mut last: Vec<Row> = rows.rev().take(limit).collect();
        last.reverse();
        Ok(last)
    }

    fn between(
        &mut self,
        record: RecordId,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.of(record)?.rows.values().filter(|row| times.contains(&row.at));
        Ok(rows.take(limit).cloned().collect())
    }

    fn last_seq(&mut self, record: RecordId) -> Result<i64, StoreError> {
        Ok(self.of(record)?.last_seq)
    }
}

/// Deletes the oldest rows until the rest is within the limits.
fn trim(rows: &mut BTreeMap<i64, Row>, keep: &Keep, now: i64) {
    let size = |row: &Row| row.value.as_ref().map_or(0, |value| value.len() as u64);
    let mut bytes: u64 = rows.values().map(size).sum();
    let oldest_at = keep.oldest(now);
    while let Some(oldest) = rows.first_entry() {
        let row = oldest.get();
        let is_over = keep.bytes.is_some_and(|limit| bytes > limit)
            || oldest_at.is_some_and(|limit| row.at < limit);
        if !is_over {
            break;
        }
        bytes -= size(row);
        oldest.remove();
    }
    if let Some(limit) = keep.values {
        while rows.len() as u64 > limit {
            rows.pop_first();
        }
    }
}
