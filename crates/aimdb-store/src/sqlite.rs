//! A storage in a SQLite file, which others can read while it is written: `sqlite3 -readonly plant.db`.
//!
//! ```sql
//! record (id, key, type, codec, last_seq)   one row for each record: its key, the form of its last rows, and their last number
//! newest (record, at, type, codec, value)   the newest value of a record that is restored, and its form
//! history(record, seq, at, missed, value)   values and gaps in the order of `seq`; `at` is nanoseconds since 1970
//! ```
//!
//! A value is text if its codec is JSON, so that `json_extract(value, '$.celsius')` works, and a blob otherwise. A gap has no
//! value, and the number of values that are missing there.

use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row as SqlRow, Transaction, params,
};

use crate::backend::{Backend, Newest, RecordId, Row, Write};
use crate::durability::Durability;
use crate::error::{Form, StoreError};
use crate::keep::Keep;

/// `AIMD`, the program that made the file.
const APPLICATION: i32 = 0x4149_4d44;

/// The version of the tables.
const VERSION: u32 = 1;

const TABLES: &str = "
    CREATE TABLE record(
        id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, type TEXT NOT NULL, codec TEXT NOT NULL,
        last_seq INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE newest(
        record INTEGER PRIMARY KEY, at INTEGER NOT NULL, type TEXT NOT NULL, codec TEXT NOT NULL, value NOT NULL
    );
    CREATE TABLE history(
        record INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, missed INTEGER NOT NULL, value,
        PRIMARY KEY(record, seq)
    ) WITHOUT ROWID;
    CREATE INDEX history_at ON history(record, at);
";

/// A file, which no other store has open.
pub(crate) struct Sqlite {
    connection: Connection,
    path: PathBuf,
    /// Whether the values of a record are text.
    texts: HashMap<RecordId, bool>,
    /// The bytes of the values of each record whose history is limited by them.
    sizes: HashMap<RecordId, u64>,
    /// Locked as long as the store lives. A lock of the file itself would end with each connection to it.
    _lock: File,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let open = |reason: &dyn std::fmt::Display| StoreError::Open {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        if path.is_dir() {
            return Err(open(&"it is a directory"));
        }
        let name = path.to_string_lossy();
        if name.is_empty() || name == ":memory:" {
            return Err(open(&"it names no file; `Store::in_memory()` is a store without one"));
        }
        // A link and its file are one store.
        let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let lock = lock(&file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection =
            Connection::open_with_flags(&file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(|error| open(&error))?;
        let not_ours = |found: String| StoreError::NotOurs { path: path.to_owned(), found };
        let unusable = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => not_ours("it is no SQLite database".to_owned()),
            _ => open(&error),
        };
        let number = |name: &str| {
            connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
        };
        let application = number("application_id").map_err(unusable)?;
        let version = number("user_version").map_err(unusable)?;
        let tables = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            .map_err(unusable)?;
        match (application, tables) {
            (0, 0) => {
                let begin = format!(
                    "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {TABLES} COMMIT"
                );
                connection.execute_batch(&begin).map_err(unusable)?;
            }
            (application, _) if application == i64::from(APPLICATION) => {
                if version > i64::from(VERSION) {
                    let version = u32::try_from(version).unwrap_or(u32::MAX);
                    return Err(StoreError::Newer { path: path.to_owned(), version });
                }
            }
            _ => return Err(not_ours("it is a database of another program".to_owned())),
        }
        let synchronous = match durability {
            Durability::Kill => "NORMAL",
            Durability::PowerCut => "FULL",
        };
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}"
            ))
            .map_err(unusable)?;
        connection.set_prepared_statement_cache_capacity(32);
        let (path, texts, sizes) = (path.to_owned(), HashMap::new(), HashMap::new());
        Ok(Self { connection, path, texts, sizes, _lock: lock })
    }

    fn query(
        &mut self,
        sql: &str,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(StoreError::storage)?;
        let rows = statement.query_map(parameters, row).map_err(StoreError::storage)?;
        rows.collect::<Result<_, _>>().map_err(StoreError::storage)
    }
}

/// Locks `PATH-lock`.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let open = |error: std::io::Error| StoreError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let file = File::options().create(true).truncate(false).write(true).open(name).map_err(open)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(open(error)),
    }
}

/// `seq, at, missed, value`.
fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let missed: i64 = row.get(2)?;
    Ok(Row {
        seq: row.get(0)?,
        at: row.get(1)?,
        missed: missed as u64,
        value: bytes(row.get_ref(3)?),
    })
}

fn bytes(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// A value as text, if it is.
fn as_sql(value: &[u8], is_text: bool) -> ToSqlOutput<'_> {
    let is_text = is_text && std::str::from_utf8(value).is_ok();
    ToSqlOutput::Borrowed(if is_text { ValueRef::Text(value) } else { ValueRef::Blob(value) })
}

impl Backend for Sqlite {
    fn describe(&self) -> String {
        format!("SQLite file `{}`", self.path.display())
    }

    fn record(&mut self, key: &str, form: Option<&Form>) -> Result<RecordId, StoreError> {
        let known = self.find(key)?;
        if let Some((id, before)) = &known
            && form.is_none_or(|form| form == before)
        {
            self.texts.insert(*id, before.is_json());
            return Ok(*id);
        }
        let form = form.cloned().unwrap_or_default();
        let upsert = "INSERT INTO record(key, type, codec) VALUES(?1, ?2, ?3)
                      ON CONFLICT(key) DO UPDATE SET type = ?2, codec = ?3 RETURNING id";
        let id = self
            .connection
            .query_row(upsert, params![key, form.type_name, form.codec], |row| row.get(0))
            .map_err(StoreError::storage)?;
        self.texts.insert(id, form.is_json());
        Ok(id)
    }

    fn find(&mut self, key: &str) -> Result<Option<(RecordId, Form)>, StoreError> {
        self.connection
            .query_row("SELECT id, type, codec FROM record WHERE key = ?", [key], |row| {
                Ok((row.get(0)?, Form { type_name: row.get(1)?, codec: row.get(2)? }))
            })
            .optional()
            .map_err(StoreError::storage)
    }

    fn newest(&mut self, record: RecordId) -> Result<Option<Newest>, StoreError> {
        let select = "SELECT at, type, codec, value FROM newest WHERE record = ?";
        self.connection
            .query_row(select, [record], |row| {
                let form = Arc::new(Form { type_name: row.get(1)?, codec: row.get(2)? });
                let value = bytes(row.get_ref(3)?).unwrap_or_default();
                Ok(Newest { form, at: row.get(0)?, value })
            })
            .optional()
            .map_err(StoreError::storage)
    }

    fn write(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        let Self { connection, texts, sizes, .. } = self;
        let is_text = |record: &RecordId| texts.get(record).copied().unwrap_or(false);
        // Taken over once the transaction is committed.
        let mut new_sizes = sizes.clone();
        let mut last_seqs = HashMap::new();
        let mut written = || {
            // The drop of a transaction that was not committed rolls it back.
            let transaction = connection.transaction()?;
            for write in batch {
                match write {
                    Write::Newest(record, Newest { form, at, value }) => {
                        let value = as_sql(value, form.is_json());
                        transaction
                            .prepare_cached(
                                "INSERT INTO newest(record, at, type, codec, value) VALUES(?1, ?2, ?3, ?4, ?5)
                                 ON CONFLICT(record) DO UPDATE SET at = ?2, type = ?3, codec = ?4, value = ?5",
                            )?
                            .execute(params![record, at, form.type_name, form.codec, value])?;
                    }
                    Write::Append(record, row) => {
                        let value =
                            row.value.as_deref().map(|value| as_sql(value, is_text(record)));
                        transaction
                            .prepare_cached(
                                "INSERT INTO history(record, seq, at, missed, value) VALUES(?, ?, ?, ?, ?)",
                            )?
                            .execute(params![record, row.seq, row.at, row.missed as i64, value])?;
                        last_seqs.insert(*record, row.seq);
                        if let Some(size) = new_sizes.get_mut(record) {
                            *size += row.value.as_ref().map_or(0, |value| value.len() as u64);
                        }
                    }
                    Write::Trim { record, keep, now } => {
                        trim(&transaction, *record, keep, *now, &mut new_sizes)?;
                    }
                }
            }
            for (record, seq) in last_seqs.drain() {
                transaction
                    .prepare_cached("UPDATE record SET last_seq = ?2 WHERE id = ?1")?
                    .execute([record, seq])?;
            }
            transaction.commit()
        };
        written().map_err(StoreError::storage)?;
        *sizes = new_sizes;
        Ok(())
    }

    fn rows(
        &mut self,
        record: RecordId,
        seqs: RangeInclusive<i64>,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Row>, StoreError> {
        let limit = limit.min(i64::MAX as usize) as i64;
        let parameters = params![record, seqs.start(), seqs.end(), limit];
        if !from_end {
            return self.query(
                "SELECT seq, at, missed, value FROM history
                 WHERE record = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
                parameters,
            );
        }
        let mut rows = self.query(
            "SELECT seq, at, missed, value FROM history
             WHERE record = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC LIMIT ?",
            parameters,
        )?;
        rows.reverse();
        Ok(rows)
    }

    fn between(
        &mut self,
        record: RecordId,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let limit = limit.min(i64::MAX as usize) as i64;
        self.query(
            "SELECT seq, at, missed, value FROM history
             WHERE record = ? AND at BETWEEN ? AND ? ORDER BY seq LIMIT ?",
            params![record, times.start(), times.end(), limit],
        )
    }

    fn last_seq(&mut self, record: RecordId) -> Result<i64, StoreError> {
        // Deleted rows count: their numbers are not given again.
        self.connection
            .prepare_cached("SELECT last_seq FROM record WHERE id = ?")
            .and_then(|mut last| last.query_row([record], |row| row.get(0)))
            .map_err(StoreError::storage)
    }
}

/// Deletes the oldest rows of a record until the rest is within the limits.
fn trim(
    transaction: &Transaction<'_>,
    record: RecordId,
    keep: &Keep,
    now: i64,
    sizes: &mut HashMap<RecordId, u64>,
) -> rusqlite::Result<()> {
    let last: i64 = transaction
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM history WHERE record = ?")?
        .query_row([record], |row| row.get(0))?;
    // The rows up to this number are deleted.
    let mut until = 0;
    if let Some(values) = keep.values {
        until = last.saturating_sub(values.min(i64::MAX as u64) as i64);
    }
    if let Some(oldest) = keep.oldest(now) {
        // By the primary key, from the oldest row on: as many rows are read as are deleted.
        let first_that_stays: Option<i64> = transaction
            .prepare_cached(
                "SELECT seq FROM history NOT INDEXED WHERE record = ? AND at >= ? ORDER BY seq LIMIT 1",
            )?
            .query_row([record, oldest], |row| row.get(0))
            .optional()?;
        until = until.max(first_that_stays.map_or(last, |seq| seq - 1));
    }
    if let Some(limit) = keep.bytes {
        let mut size = match sizes.get(&record) {
            Some(&size) => size,
            None => sum(transaction, record, i64::MAX)?,
        };
        sizes.insert(record, size);
        let mut oldest = transaction.prepare_cached(
            "SELECT seq, coalesce(octet_length(value), 0) FROM history WHERE record = ? ORDER BY seq",
        )?;
        let mut rows = oldest.query([record])?;
        while size > limit
            && let Some(row) = rows.next()?
        {
            let bytes: i64 = row.get(1)?;
            size = size.saturating_sub(bytes as u64);
            until = until.max(row.get(0)?);
        }
    }
    if until <= 0 {
        return Ok(());
    }
    if sizes.contains_key(&record) {
        let deleted = sum(transaction, record, until)?;
        sizes.entry(record).and_modify(|size| *size = size.saturating_sub(deleted));
    }
    transaction
        .prepare_cached("DELETE FROM history WHERE record = ? AND seq <= ?")?
        .execute([record, until])?;
    Ok(())
}

/// The bytes of the values of a record up to a number.
fn sum(transaction: &Transaction<'_>, record: RecordId, until: i64) -> rusqlite::Result<u64> {
    let sum =
        "SELECT coalesce(sum(octet_length(value)), 0) FROM history WHERE record = ? AND seq <= ?";
    let bytes: i64 =
        transaction.prepare_cached(sum)?.query_row([record, until], |row| row.get(0))?;
    Ok(bytes as u64)
}
