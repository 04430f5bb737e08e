//! Answers that are made at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aimdb_core::access::{AccessError, AnyRecord};
use aimdb_core::account::Account;
use aimdb_core::events::{DbEvent, DbEventKind};
use aimdb_core::health::{DbState, Health};
use aimdb_core::loss::Losses;
use aimdb_core::metrics::Metrics;
use aimdb_core::{Instant, UnixTime};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::app::{App, Db};
use crate::caller::{Caller, HIDDEN};
use crate::reply::{Refusal, as_json, empty, json, with_type};
use crate::{value, why};

type Answer = Result<Response, Refusal>;
pub(crate) type AppState = State<Arc<App>>;

pub(crate) async fn info(State(app): AppState, Extension(caller): Extension<Caller>) -> Answer {
    #[derive(Serialize)]
    struct Info<'i> {
        name: &'i str,
        version: &'static str,
        pid: u32,
        state: DbState,
        records: usize,
        grants: String,
        refused: u64,
    }
    let db = app.db()?;
    Ok(json(&Info {
        name: &app.name,
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        state: db.health().state,
        records: db.graph().records.len(),
        grants: caller.grants.to_string(),
        refused: app.refused.load(Relaxed),
    }))
}

#[derive(Deserialize)]
pub(crate) struct Format {
    format: Option<String>,
}

pub(crate) async fn graph(State(app): AppState, Query(format): Query<Format>) -> Answer {
    const TEXT: &str = "text/plain; charset=utf-8";
    let db = app.db()?;
    let graph = db.graph();
    match format.format.as_deref() {
        None | Some("json") => Ok(json(graph)),
        Some("text") => Ok(with_type(TEXT, graph.to_string())),
        Some("mermaid") => Ok(with_type(TEXT, graph.mermaid())),
        Some("dot") => Ok(with_type(TEXT, graph.dot())),
        Some(other) => {
            let help = "use `json`, `text`, `mermaid` or `dot`";
            Err(Refusal::bad(format!("there is no format `{other}`"), help))
        }
    }
}

pub(crate) async fn health(State(app): AppState, Extension(caller): Extension<Caller>) -> Answer {
    #[derive(Serialize)]
    struct Answered<'a> {
        healthy: bool,
        #[serde(flatten)]
        health: &'a aimdb_core::health::Health,
    }
    let health = health_for(&app.db()?, &caller);
    let healthy = health.is_healthy();
    let mut response = json(&Answered { healthy, health: &health });
    if !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

pub(crate) async fn metrics(State(app): AppState, Extension(caller): Extension<Caller>) -> Answer {
    Ok(json(&metrics_for(&app.db()?, &caller)))
}

/// The metrics as the caller may see them.
pub(crate) fn metrics_for(db: &Db, caller: &Caller) -> Metrics {
    let mut metrics = db.metrics();
    caller.hide_metrics(&mut metrics);
    metrics
}

/// The health as the caller may see it.
pub(crate) fn health_for(db: &Db, caller: &Caller) -> Health {
    let mut health = db.health();
    caller.hide_health(&mut health);
    health
}

pub(crate) async fn losses(State(app): AppState) -> Answer {
    #[derive(Serialize)]
    struct Answered {
        at: Instant,
        total: Losses,
        /// The meaning of each cause of `total`.
        causes: BTreeMap<&'static str, &'static str>,
        accounts: Vec<Account>,
    }
    let metrics = app.db()?.metrics();
    let (total, accounts) = (metrics.losses(), metrics.accounts());
    let causes = total.iter().map(|(cause, _)| (cause.name(), cause.text())).collect();
    Ok(json(&Answered { at: metrics.at, total, causes, accounts }))
}

pub(crate) async fn events(State(app): AppState, Extension(caller): Extension<Caller>) -> Answer {
    let entries = app.journal.entries();
    let events: Vec<Happened> =
        entries.events.iter().map(|event| Happened::of(event, &caller)).collect();
    drop(entries);
    Ok(json(&events))
}

/// An event with its text.
#[derive(Serialize)]
pub(crate) struct Happened {
    at: Instant,
    unix_at: Option<UnixTime>,
    text: String,
    kind: DbEventKind,
}

impl Happened {
    /// The event as the caller may see it: errors of links may quote values.
    pub(crate) fn of(event: &DbEvent, caller: &Caller) -> Self {
        let mut event = event.clone();
        match &mut event.kind {
            DbEventKind::LinkError { link, reason, .. }
            | DbEventKind::DeadLetter { link, reason, .. }
                if !caller.grants.may_read(link.record()) =>
            {
                *reason = HIDDEN.to_owned();
            }
            _ => {}
        }
        let text = event.to_string();
        let DbEvent { at, unix_at, kind, .. } = event;
        Self { at, unix_at, text, kind }
    }
}

#[derive(Serialize)]
struct Listed<'r> {
    key: &'r str,
    type_name: &'static str,
    buffer: aimdb_core::BufferCfg,
    encoding: Option<&'static str>,
    readable: bool,
    settable: bool,
}

fn listed<'r>(record: &'r AnyRecord, caller: &Caller) -> Listed<'r> {
    let key = record.key();
    Listed {
        key,
        type_name: record.type_name(),
        buffer: record.buffer(),
        encoding: record.encoding(),
        readable: record.encoding().is_some() && caller.grants.may_read(key),
        settable: record.is_settable() && caller.grants.may_set(key),
    }
}

pub(crate) async fn records(State(app): AppState, Extension(caller): Extension<Caller>) -> Answer {
    let records: Vec<AnyRecord> = app.db()?.records().collect();
    Ok(json(&records.iter().map(|record| listed(record, &caller)).collect::<Vec<_>>()))
}

pub(crate) async fn record(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Answer {
    let db = app.db()?;
    let record = find(&db, &key)?;
    let mut body = as_json(&listed(&record, &caller));
    let more = |body: &mut String, name: &str, member: &str| {
        body.truncate(body.len() - 1);
        body.push_str(",\"");
        body.push_str(name);
        body.push_str("\":");
        body.push_str(member);
        body.push('}');
    };
    if let Some(schema) = record.schema() {
        more(&mut body, "schema", &schema);
    }
    more(&mut body, "metrics", &as_json(&record.metrics()));
    if record.encoding().is_some() && caller.grants.may_read(&key) {
        let mut bytes = Vec::new();
        match record.latest(&mut bytes) {
            Ok(Some(stamp)) => {
                let mut latest = format!("{{\"seq\":{},\"at\":{},", stamp.seq, as_json(&stamp.at));
                value::append(&mut latest, record.encoding().unwrap_or_default(), &bytes);
                latest.push('}');
                more(&mut body, "latest", &latest);
            }
            Ok(None) => more(&mut body, "latest", "null"),
            Err(error) => more(&mut body, "error", &as_json(&error.to_string())),
        }
    }
    Ok(with_type("application/json", body))
}

pub(crate) async fn value(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Answer {
    let db = app.db()?;
    let record = find(&db, &key)?;
    may(caller.grants.may_read(&key), "read", &key)?;
    let mut bytes = Vec::new();
    match record.latest(&mut bytes)? {
        Some(_) => Ok(with_type(record.encoding().unwrap_or_default(), bytes)),
        None => Ok(empty(StatusCode::NO_CONTENT)),
    }
}

pub(crate) async fn set(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
    body: Body,
) -> Answer {
    let db = app.db()?;
    let record = find(&db, &key)?;
    // A record that is not settable is so for every caller: this refusal comes first.
    if !record.is_settable() {
        let help = "the program makes it so: `reg.expose(codec).settable()`";
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("the record `{key}` is not settable"),
            help,
        ));
    }
    may(caller.grants.may_set(&key), "set", &key)?;
    drop(db);
    let bytes = whole(body, app.limits.body_bytes, app.limits.body).await?;
    match record.write(&bytes) {
        Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(error) => Err(error.into()),
    }
}

/// The whole body of a request.
async fn whole(body: Body, limit: usize, time: Duration) -> Result<bytes::Bytes, Refusal> {
    let read = axum::body::to_bytes(body, limit);
    match tokio::time::timeout(time, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let error = format!("the body is incomplete, or has more than {limit} bytes");
            Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                error,
                "send the whole of a smaller one",
            ))
        }
        Err(_) => {
            let error = format!("the body did not come within {time:?}");
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error, "send it at once"))
        }
    }
}

pub(crate) async fn why(
    State(app): AppState,
    Extension(caller): Extension<Caller>,
    Path(key): Path<String>,
) -> Answer {
    let db = app.db()?;
    find(&db, &key)?;
    let (metrics, health) = (metrics_for(&db, &caller), health_for(&db, &caller));
    let diagnosis = why::Facts::new(db.graph(), &metrics, &health, &app.journal).explain(&key);
    Ok(json(&diagnosis))
}

pub(crate) fn find(db: &Db, key: &str) -> Result<AnyRecord, Refusal> {
    db.record(key).map_err(|error| {
        let text = error.to_string();
        let (error, help) = text.split_once("\n  help: ").unwrap_or((&text, "see /api/v1/records"));
        Refusal::not_found(error, help)
    })
}

pub(crate) fn may(granted: bool, what: &str, key: &str) -> Result<(), Refusal> {
    if granted {
        return Ok(());
    }
    let help = "the owner of the Unix socket may, unless `Console::owner_grants` says less; the program grants it to others \
                by `Console::http_grants` or `Console::token`";
    Err(Refusal::forbidden(format!("this caller may not {what} `{key}`"), help))
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        let (status, help) = match &error {
            AccessError::NotExposed { .. } => {
                (StatusCode::CONFLICT, "the program shows it: `reg.expose(Json)`")
            }
            AccessError::NotSettable { .. } => {
                (StatusCode::CONFLICT, "the program makes it so: `reg.expose(codec).settable()`")
            }
            AccessError::Decode { .. } => (
                StatusCode::BAD_REQUEST,
                "`aimdb get --all` shows the present value and, if the program has `.with_schema()`, the form of all",
            ),
            AccessError::Full { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "its readers do not keep up: try again")
            }
            AccessError::Closed { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "the database shuts down")
            }
            AccessError::Encode { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the codec of `reg.expose(…)` does not encode this value",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "give the process more memory, or observe fewer records",
            ),
        };
        // The error's own remedy is for the program's text, and so is this one.
        let text = error.to_string();
        Refusal::new(status, text.split_once("\n  help: ").map_or(&*text, |(error, _)| error), help)
    }
}
