//! Databases: a graph that runs.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimdb_core::{ShutdownReport, StageId};
use aimdb_sync::{DetachError, SyncHandle};
use serde::Serialize;

use crate::arguments::{bad_handle, non_null, remove_handle, str_arg, write_string};
use crate::record_type::RecordType;
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, ffi_call};
use crate::table::Table;
use crate::tap;

/// A running database.
///
/// `aimdb_attach` makes it, `aimdb_db_free` frees it.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_db {
    _opaque: [u8; 0],
}

/// Resolves a database and one of its records.
///
/// # Safety
///
/// `key` is NULL or a string.
pub(crate) unsafe fn find_record<'c>(
    db: *const aimdb_db,
    key: *const c_char,
) -> Result<(Arc<Database>, &'c str, RecordType), Failure> {
    // SAFETY: guaranteed by the caller.
    let (db, key) = (resolve_database(db)?, unsafe { str_arg(key, "key")? });
    let record_type = db.record_type(key)?;
    Ok((db, key, record_type))
}

/// The result of a shutdown, in numbers; `aimdb_report_json` has the names.
///
/// The struct may get further fields before version 1.0: compile with the header of the library that is linked.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct aimdb_report {
    /// Every accepted value was delivered, and every stage ended by itself.
    pub clean: bool,
    /// How long the shutdown took, in microseconds.
    pub elapsed_us: u64,
    /// Values that taps, transforms and outbound links took after the shutdown began.
    pub drained: u64,
    /// Values that were accepted and not delivered.
    pub undelivered: u64,
    /// Stages that were aborted at the deadline.
    pub aborted: usize,
    /// Stages that could not be aborted.
    pub unresponsive: usize,
    /// Stages that failed.
    pub failures: usize,
}

/// Each call clones the `Arc`, because a callback may be in a call while the handle is freed.
pub(crate) static DATABASES: Table<Arc<Database>> = Table::new(2);

fn resolve_database(db: *const aimdb_db) -> Result<Arc<Database>, Failure> {
    DATABASES.get_cloned(db.addr()).ok_or_else(|| bad_handle(db, "db"))
}

/// The state behind a handle of a database.
pub(crate) struct Database {
    pub(crate) handle: SyncHandle,
    records: BTreeMap<String, RecordType>,
    /// Callbacks know their database by this id.
    id: u64,
    /// The deadline of the shutdown that `aimdb_db_free` begins.
    drop_deadline: Duration,
    report: Mutex<Option<ShutdownReport>>,
}

impl Database {
    pub(crate) fn new(
        handle: SyncHandle,
        records: BTreeMap<String, RecordType>,
        id: u64,
        drop_deadline: Duration,
    ) -> Self {
        Self { handle, records, id, drop_deadline, report: Mutex::new(None) }
    }

    fn record_type(&self, key: &str) -> Result<RecordType, Failure> {
        self.records.get(key).copied().ok_or_else(|| {
            let known: Vec<_> = self.records.keys().map(String::as_str).collect();
            let problem =
                format!("there is no record `{key}`; the records are `{}`", known.join("`, `"));
            Failure::new(AIMDB_NO_SUCH_RECORD, problem)
        })
    }

    /// Refuses a call that a callback of this database makes: the shutdown would wait for the callback, and the callback for
    /// the shutdown.
    fn refuse_in_own_callback(&self, function: &str) -> Outcome {
        if !tap::is_in_callback_of(self.id) {
            return Ok(());
        }
        let problem = format!(
            "`{function}` was called in a callback of this database and would wait for that callback; call \
             `aimdb_request_shutdown` there, and detach on another thread"
        );
        Err(Failure::new(AIMDB_WOULD_DEADLOCK, problem))
    }

    /// Stores the report of a shutdown for `aimdb_report_json`, and writes it to `out`.
    ///
    /// # Safety
    ///
    /// `out` is NULL or can be written.
    unsafe fn store_report(
        &self,
        outcome: Result<ShutdownReport, DetachError>,
        out: *mut aimdb_report,
    ) -> Outcome {
        let report = match &outcome {
            Ok(report) => Some(report.clone()),
            Err(DetachError::Unresponsive { report, .. }) => Some(report.as_ref().clone()),
            Err(_) => None,
        };
        if let Some(report) = report {
            if !out.is_null() {
                // SAFETY: guaranteed by the caller.
                unsafe { out.write(to_c_report(&report)) };
            }
            *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        }
        let report = outcome?;
        if report.unresponsive.is_empty() {
            return Ok(());
        }
        let problem =
            format!("stages are busy and cannot be aborted: {}", listed(&report.unresponsive));
        Err(Failure::new(AIMDB_UNRESPONSIVE, problem))
    }
}

fn to_c_report(report: &ShutdownReport) -> aimdb_report {
    aimdb_report {
        clean: report.is_clean(),
        elapsed_us: u64::try_from(report.elapsed.as_micros()).unwrap_or(u64::MAX),
        drained: report.drained,
        undelivered: report.total_undelivered(),
        aborted: report.aborted.len(),
        unresponsive: report.unresponsive.len(),
        failures: report.failures.len(),
    }
}

/// Begins a shutdown and does not wait for it, so that a callback can call it. `aimdb_detach` returns the report.
///
/// Thread safety: any thread, callbacks included.
///
/// # Safety
///
/// `db` is a handle, or was one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_request_shutdown(db: *const aimdb_db) -> aimdb_status {
    ffi_call(|| {
        resolve_database(db)?.handle.request_shutdown();
        Ok(())
    })
}

/// Shuts the database down in order and waits until it has ended.
///
/// The stages drain every accepted value, every blocked call returns `AIMDB_CLOSED`, and the runtime thread ends. Stages that
/// are not done within `deadline_us` microseconds are aborted: the call then returns `AIMDB_OK` with a report that is not
/// clean. `AIMDB_UNRESPONSIVE` if stages cannot be aborted either; the runtime thread then continues to run them.
///
/// A second call, on any thread, waits for the first and returns the same result. `report` may be NULL; otherwise it is all
/// zero if there is no report. With `AIMDB_FOREVER` the call waits for callbacks without limit: two databases whose callbacks detach
/// each other then deadlock.
///
/// No callback runs after the call, unless the report counts aborted taps: the callback of an aborted tap may still be in its
/// last call, and receives no further value.
///
/// Thread safety: any thread, except in a callback of this database: `AIMDB_WOULD_DEADLOCK`.
///
/// # Safety
///
/// `report` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_detach(
    db: *const aimdb_db,
    deadline_us: u64,
    report: *mut aimdb_report,
) -> aimdb_status {
    ffi_call(|| {
        let db = resolve_database(db)?;
        db.refuse_in_own_callback("aimdb_detach")?;
        if !report.is_null() {
            // SAFETY: guaranteed by the caller.
            unsafe { report.write(aimdb_report::default()) };
        }
        let outcome = db.handle.detach_with_timeout(Duration::from_micros(deadline_us));
        // SAFETY: guaranteed by the caller.
        unsafe { db.store_report(outcome, report) }
    })
}

/// Frees the handle, and detaches the database first if that has not happened.
///
/// The detach has the deadline `aimdb_options.drop_deadline_us`. A caller that needs the report, or needs to know whether a
/// callback was aborted, calls `aimdb_detach` first. To free the handle twice is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: any thread, also while other threads and callbacks are in a call with the handle; but not in a callback of
/// this database: `AIMDB_WOULD_DEADLOCK`, and the handle stays valid.
///
/// # Safety
///
/// `db` is a handle, or was one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_db_free(db: *mut aimdb_db) -> aimdb_status {
    ffi_call(|| {
        let database = resolve_database(db)?;
        database.refuse_in_own_callback("aimdb_db_free")?;
        // Before the handle is freed, so that callbacks can use it during the shutdown.
        let _outcome = database.handle.detach_with_timeout(database.drop_deadline);
        // SAFETY: no references exist: calls hold clones of the `Arc`.
        unsafe { remove_handle(&DATABASES, db, "db") }.map(drop)
    })
}

/// Writes to `*healthy` whether every stage and link is healthy and no shutdown has begun.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `healthy` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_is_healthy(db: *const aimdb_db, healthy: *mut bool) -> aimdb_status {
    ffi_call(|| {
        non_null(healthy, "healthy")?;
        let handle = &resolve_database(db)?.handle;
        let is_healthy = !handle.is_closed() && handle.health().is_healthy();
        // SAFETY: checked above.
        unsafe { healthy.write(is_healthy) };
        Ok(())
    })
}

/// Writes the current health of every stage, link and blocked writer, as JSON.
///
/// Ownership: the caller frees `*json` with `aimdb_string_free`; it is written on `AIMDB_OK` only.
/// Thread safety: any thread.
///
/// # Safety
///
/// `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_health_json(
    db: *const aimdb_db,
    json: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { write_output(db, json, "json", |db| to_json(&db.handle.health())) }
}

/// Writes the counters of every record and reader, as JSON.
///
/// Ownership and thread safety: as for `aimdb_health_json`.
///
/// # Safety
///
/// `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_metrics_json(
    db: *const aimdb_db,
    json: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { write_output(db, json, "json", |db| to_json(&db.handle.metrics())) }
}

/// Writes the graph, as JSON.
///
/// Ownership and thread safety: as for `aimdb_health_json`.
///
/// # Safety
///
/// `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_graph_json(
    db: *const aimdb_db,
    json: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { write_output(db, json, "json", |db| to_json(db.handle.graph())) }
}

/// Writes the graph, as text for people.
///
/// Ownership and thread safety: as for `aimdb_health_json`.
///
/// # Safety
///
/// `text` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_graph_text(
    db: *const aimdb_db,
    text: *mut *mut c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { write_output(db, text, "text", |db| Ok(db.handle.graph().to_string())) }
}

/// Writes the whole report of the last `aimdb_detach`, as JSON: undelivered values by stage, and why stages failed.
///
/// `AIMDB_EMPTY` if there is no report yet.
///
/// Ownership and thread safety: as for `aimdb_health_json`.
///
/// # Safety
///
/// `json` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_report_json(
    db: *const aimdb_db,
    json: *mut *mut c_char,
) -> aimdb_status {
    let report = |db: &Database| {
        let report = db.report.lock().unwrap_or_else(PoisonError::into_inner);
        to_json(report.as_ref().ok_or(AIMDB_EMPTY)?)
    };
    // SAFETY: guaranteed by the caller.
    unsafe { write_output(db, json, "json", report) }
}

/// Writes a string about the database to the output parameter `name`.
///
/// # Safety
///
/// `out` is NULL or can be written.
unsafe fn write_output(
    db: *const aimdb_db,
    out: *mut *mut c_char,
    name: &str,
    output: impl FnOnce(&Database) -> Result<String, Failure>,
) -> aimdb_status {
    ffi_call(|| {
        non_null(out, name)?;
        let string = output(&*resolve_database(db)?)?;
        // SAFETY: checked above.
        unsafe { write_string(string, out) };
        Ok(())
    })
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(AIMDB_SYSTEM, error))
}

fn listed(stages: &[StageId]) -> String {
    let stages: Vec<_> = stages.iter().map(ToString::to_string).collect();
    stages.join(", ")
}
