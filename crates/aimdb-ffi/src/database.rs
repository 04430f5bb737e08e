//! The running database.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aimdb_core::{ShutdownReport, StageId};
use aimdb_sync::{DetachError, SyncHandle};
use serde::Serialize;

use crate::arguments::{free, give_text, given, no_handle, text};
use crate::kind::Kind;
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, answer};
use crate::table::Table;
use crate::tap;

/// A running database. From `aimdb_attach`, freed with `aimdb_db_free`.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_db {
    _c_never_looks_inside: [u8; 0],
}

/// A database, and one of its records by its key.
///
/// # Safety
///
/// `key` is NULL or a text.
pub(crate) unsafe fn record<'c>(
    db: *const aimdb_db,
    key: *const c_char,
) -> Result<(Arc<Database>, &'c str, Kind), Failure> {
    // SAFETY: as the caller says.
    let (db, key) = (database(db)?, unsafe { text(key, "key")? });
    let kind = db.kind(key)?;
    Ok((db, key, kind))
}

/// What a shutdown did.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct aimdb_report {
    /// Everything accepted was dealt with, and every stage ended by itself.
    pub clean: bool,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
    /// Values that taps, transforms and outbound links took after the shutdown began.
    pub drained: u64,
    /// Values that were accepted and not dealt with.
    pub undelivered: u64,
    /// Stages that were cut off at the deadline.
    pub aborted: usize,
    /// Stages that could not even be cut off.
    pub unresponsive: usize,
    /// Stages that had failed.
    pub failures: usize,
}

/// Lent to each call: a callback may be in one while the handle is freed.
pub(crate) static DATABASES: Table<Arc<Database>> = Table::new(2);

pub(crate) fn database(db: *const aimdb_db) -> Result<Arc<Database>, Failure> {
    DATABASES.lend(db.addr()).ok_or_else(|| no_handle(db, "db"))
}

pub(crate) struct Database {
    pub(crate) handle: SyncHandle,
    records: BTreeMap<String, Kind>,
    number: u64,
    /// What `aimdb_db_free` gives a shutdown.
    drop_deadline: Duration,
    report: Mutex<Option<ShutdownReport>>,
}

impl Database {
    pub(crate) fn new(
        handle: SyncHandle,
        records: BTreeMap<String, Kind>,
        number: u64,
        drop_deadline: Duration,
    ) -> Self {
        Self { handle, records, number, drop_deadline, report: Mutex::new(None) }
    }

    pub(crate) fn kind(&self, key: &str) -> Result<Kind, Failure> {
        self.records.get(key).copied().ok_or_else(|| {
            let known: Vec<_> = self.records.keys().map(String::as_str).collect();
            let problem = format!("no record `{key}`; there are: `{}`", known.join("`, `"));
            Failure::new(AIMDB_NO_SUCH_RECORD, problem)
        })
    }

    /// A tap would wait for itself.
    fn refuse_in_a_tap(&self, what: &str) -> Outcome {
        if !tap::is_tap_of(self.number) {
            return Ok(());
        }
        let problem = format!(
            "`{what}` was called in a callback of this database, which it would wait for; there use \
             `aimdb_request_shutdown`, and detach on another thread"
        );
        Err(Failure::new(AIMDB_WOULD_DEADLOCK, problem))
    }

    /// Remembers how a shutdown ended, and tells the caller.
    ///
    /// # Safety
    ///
    /// `out` is NULL or can be written.
    unsafe fn ended(
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
                // SAFETY: as the caller says.
                unsafe { out.write(for_c(&report)) };
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

fn for_c(report: &ShutdownReport) -> aimdb_report {
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

/// Asks for a shutdown and does not wait for it: what a callback can do. `aimdb_detach` gives the report.
///
/// Thread safety: any thread, callbacks too.
///
/// # Safety
///
/// `db` is a handle, or was one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_request_shutdown(db: *const aimdb_db) -> aimdb_status {
    answer(|| {
        database(db)?.handle.request_shutdown();
        Ok(())
    })
}

/// Shuts down in order: everything accepted flows through, every blocked call is woken with `AIMDB_CLOSED`, and the
/// runtime thread ends. What is not done within `deadline_us` microseconds is cut off and reported: `AIMDB_OK` with a
/// report that is not clean. `AIMDB_UNRESPONSIVE` if stages cannot even be cut off; the runtime thread is then left to them.
///
/// A second call, from whichever thread, waits for the first and gives the same answer. `report` may be NULL; else it is all
/// zero where there is nothing to report. With `AIMDB_FOREVER` it waits for callbacks as long as they take: two databases whose
/// callbacks detach one another then wait for ever.
///
/// Afterwards no callback runs any more, unless the report says that taps were cut off: one of those may still be in its
/// last call, and then gets no further value.
///
/// Thread safety: any thread but a callback of this database: `AIMDB_WOULD_DEADLOCK`.
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
    answer(|| {
        let db = database(db)?;
        db.refuse_in_a_tap("aimdb_detach")?;
        if !report.is_null() {
            // SAFETY: as the caller says.
            unsafe { report.write(aimdb_report::default()) };
        }
        let outcome = db.handle.detach_with_timeout(Duration::from_micros(deadline_us));
        // SAFETY: as the caller says.
        unsafe { db.ended(outcome, report) }
    })
}

/// Frees the handle, after detaching the database if that has not been done, with the deadline of
/// `aimdb_options.drop_deadline_us`. Who wants to know what was left, and whether a callback was cut off, detaches first.
/// Freeing it twice is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: any thread, also while others, and callbacks, are in a call with it; but not in a callback of this database:
/// `AIMDB_WOULD_DEADLOCK`, and the handle is still good.
///
/// # Safety
///
/// `db` is a handle, or was one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_db_free(db: *mut aimdb_db) -> aimdb_status {
    answer(|| {
        let lent = database(db)?;
        lent.refuse_in_a_tap("aimdb_db_free")?;
        // Before the handle is gone: callbacks that use it are heard out.
        let _outcome = lent.handle.detach_with_timeout(lent.drop_deadline);
        // SAFETY: nobody has a reference; they are lent out as `Arc`s.
        unsafe { free(&DATABASES, db, "db") }.map(drop)
    })
}

/// Whether every stage and link is well and no shutdown has begun.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `healthy` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_is_healthy(db: *const aimdb_db, healthy: *mut bool) -> aimdb_status {
    answer(|| {
        given(healthy, "healthy")?;
        let handle = &database(db)?.handle;
        let is_healthy = !handle.is_closed() && handle.health().is_healthy();
        // SAFETY: checked above.
        unsafe { healthy.write(is_healthy) };
        Ok(())
    })
}

/// How every stage, link and blocked writer is now, as JSON.
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
    // SAFETY: as the caller says.
    unsafe { tell(db, json, |db| in_json(&db.handle.health())) }
}

/// What was counted so far, record by record and reader by reader, as JSON.
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
    // SAFETY: as the caller says.
    unsafe { tell(db, json, |db| in_json(&db.handle.metrics())) }
}

/// The graph, as JSON.
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
    // SAFETY: as the caller says.
    unsafe { tell(db, json, |db| in_json(db.handle.graph())) }
}

/// The graph, as a text for people.
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
    // SAFETY: as the caller says.
    unsafe { tell(db, text, |db| Ok(db.handle.graph().to_string())) }
}

/// The whole report of the last `aimdb_detach`, as JSON: what was left, stage by stage, and why stages failed. `AIMDB_EMPTY`
/// before there is one.
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
        in_json(report.as_ref().ok_or(AIMDB_EMPTY)?)
    };
    // SAFETY: as the caller says.
    unsafe { tell(db, json, report) }
}

/// # Safety
///
/// `out` is NULL or can be written.
unsafe fn tell(
    db: *const aimdb_db,
    out: *mut *mut c_char,
    what: impl FnOnce(&Database) -> Result<String, Failure>,
) -> aimdb_status {
    answer(|| {
        given(out, "the place for the text")?;
        let text = what(&*database(db)?)?;
        // SAFETY: checked above.
        unsafe { give_text(text, out) };
        Ok(())
    })
}

fn in_json(what: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(what).map_err(|error| Failure::new(AIMDB_SYSTEM, error))
}

fn listed(stages: &[StageId]) -> String {
    let stages: Vec<_> = stages.iter().map(ToString::to_string).collect();
    stages.join(", ")
}
