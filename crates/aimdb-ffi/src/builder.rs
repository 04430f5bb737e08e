//! Builders: the graph before it runs.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aimdb_core::{AimDbBuilder, BufferCfg};
use aimdb_sync::{Attach, AttachOptions};
use aimdb_tokio_adapter::TokioAdapter;

use crate::arguments::{
    non_null, null_argument, optional_str_arg, remove_handle, resolve_handle, str_arg, write_handle,
};
use crate::database::{DATABASES, Database, aimdb_db};
use crate::record_type::{AddLink, Builder, RecordType};
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, ffi_call};
use crate::table::Table;
use crate::tap::{Callback, aimdb_tap_fn};
use crate::user_data::{UserData, aimdb_free_fn};
use crate::value::Exported;

/// A graph that is being declared.
///
/// `aimdb_builder_new` makes it; `aimdb_attach` or `aimdb_builder_free` takes it.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_builder {
    _opaque: [u8; 0],
}

/// The kind of a record's buffer: `AIMDB_RING`, `AIMDB_QUEUE`, `AIMDB_LATEST` or `AIMDB_MAILBOX`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_buffer_kind = u32;

/// Keeps the last `capacity` values. A slow reader loses the oldest ones, and its lag counts them.
pub const AIMDB_RING: aimdb_buffer_kind = 0;
/// Keeps each value until every reader has taken it. A queue of `capacity` values that is full makes its writers wait.
pub const AIMDB_QUEUE: aimdb_buffer_kind = 1;
/// Keeps the current value; readers skip to the newest. It has no capacity: pass 0.
pub const AIMDB_LATEST: aimdb_buffer_kind = 2;
/// Keeps one pending command; the newest replaces it, and one taker takes it. It has no capacity: pass 0.
pub const AIMDB_MAILBOX: aimdb_buffer_kind = 3;

/// The default of `aimdb_options.drop_deadline_us`.
const DROP_DEADLINE: Duration = Duration::from_secs(2);

/// The limit is above the core count of any machine. Tokio does not recover if the system refuses one of its threads, which
/// a far larger number may cause.
const MAX_WORKERS: u32 = 1024;

/// How a database runs. A struct of zeros is the default, and so is a NULL pointer.
///
/// The struct may get further fields before version 1.0. Initialise it with `= {0}` and assign the fields, so that a later
/// field has its default, and compile with the header of the library that is linked.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct aimdb_options {
    /// Worker threads for the stages of the graph, at most 1,024; 0 runs the stages on the runtime thread itself.
    pub workers: u32,
    /// How long `aimdb_db_free` may take to drain, in microseconds; 0 for the default, 2 s.
    pub drop_deadline_us: u64,
    /// The name of the runtime thread; NULL for the default, `aimdb-runtime`.
    pub thread_name: *const c_char,
}

static BUILDERS: Table<Mutex<BuilderState>> = Table::new(1);

/// A call on the engine's builder. That builder must stay on one thread, so calls are deferred until `aimdb_attach`.
type DeferredCall = Box<dyn FnOnce(&mut Builder) + Send>;

struct BuilderState {
    calls: Vec<DeferredCall>,
    records: BTreeMap<String, RecordType>,
    /// The id of the database that the builder will become. Callbacks know their database by it.
    database_id: u64,
}

impl BuilderState {
    fn new() -> Self {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        // `Relaxed`: only uniqueness matters. Ids begin at 1, because 0 means no database.
        let database_id = LAST_ID.fetch_add(1, Relaxed) + 1;
        Self { calls: Vec::new(), records: BTreeMap::new(), database_id }
    }

    fn defer(&mut self, call: impl FnOnce(&mut Builder) + Send + 'static) {
        self.calls.push(Box::new(call));
    }

    fn configure(&mut self, key: &str, record_type: RecordType, cfg: BufferCfg) -> Outcome {
        if let Some(known) = self.records.get(key).filter(|known| !known.is_same_as(&record_type)) {
            let problem = format!(
                "record `{key}` was declared with {known}, and now with {record_type}; use another key"
            );
            return Err(Failure::new(AIMDB_WRONG_TYPE, problem));
        }
        let key = String::from(key);
        self.records.insert(key.clone(), record_type);
        self.defer(move |builder| {
            (record_type.configure)(builder, &key, cfg, &record_type);
        });
        Ok(())
    }

    fn record_type(&self, key: &str) -> Result<RecordType, Failure> {
        self.records.get(key).copied().ok_or_else(|| {
            let problem = format!(
                "no record `{key}` has been declared; call `aimdb_configure_bytes`, `aimdb_configure_json` or the \
                 `_configure` function of an exported type first"
            );
            Failure::new(AIMDB_NO_SUCH_RECORD, problem)
        })
    }
}

/// Resolves and locks a builder.
///
/// # Safety
///
/// The handle is not freed while the guard is in use.
unsafe fn lock_builder(
    builder: *const aimdb_builder,
) -> Result<MutexGuard<'static, BuilderState>, Failure> {
    // SAFETY: guaranteed by the caller.
    let state = unsafe { resolve_handle(&BUILDERS, builder, "builder")? };
    Ok(state.lock().unwrap_or_else(PoisonError::into_inner))
}

fn buffer_cfg(kind: aimdb_buffer_kind, capacity: usize) -> Result<BufferCfg, Failure> {
    match kind {
        // Capacity 0 is reported by the graph check, as a finding.
        AIMDB_RING => Ok(BufferCfg::SpmcRing { capacity }),
        AIMDB_QUEUE => Ok(BufferCfg::SpmcQueue { capacity }),
        AIMDB_LATEST => Ok(BufferCfg::SingleLatest),
        AIMDB_MAILBOX => Ok(BufferCfg::Mailbox),
        other => Err(Failure::new(
            AIMDB_BAD_ARGUMENT,
            format_args!(
                "there is no buffer kind with number {other}; use AIMDB_RING, AIMDB_QUEUE, AIMDB_LATEST or AIMDB_MAILBOX"
            ),
        )),
    }
}

/// Makes a builder, which declares a graph.
///
/// Ownership: `aimdb_attach` takes the builder, or the caller frees it with `aimdb_builder_free`.
/// Thread safety: any thread; several threads may use one builder at once.
///
/// # Safety
///
/// `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_builder_new(out: *mut *mut aimdb_builder) -> aimdb_status {
    ffi_call(|| {
        non_null(out, "out")?;
        // SAFETY: checked above.
        unsafe { write_handle(&BUILDERS, Mutex::new(BuilderState::new()), out) }
    })
}

/// Frees a builder that was not attached, and the data of its callbacks.
///
/// To free it twice, or after `aimdb_attach`, is `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with the builder.
///
/// # Safety
///
/// No other thread is in a call with `builder`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_builder_free(builder: *mut aimdb_builder) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { remove_handle(&BUILDERS, builder, "builder") }.map(drop)
    })
}

/// Declares a record whose values are `size` bytes: any C type that can be copied byte by byte.
///
/// Up to 1,024 bytes are stored in the buffer itself; a larger value is one allocation. `capacity` is for rings and queues.
/// `AIMDB_WRONG_TYPE` if the record was declared with another type. `AIMDB_BAD_ARGUMENT` if `size` is 0, or if there is no such
/// buffer kind.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_configure_bytes(
    builder: *const aimdb_builder,
    key: *const c_char,
    size: usize,
    kind: aimdb_buffer_kind,
    capacity: usize,
) -> aimdb_status {
    let bytes = |key: &str| {
        RecordType::bytes(size).ok_or_else(|| {
            let problem = format!(
                "record `{key}` would have values of {size} bytes; use 1 to {}",
                isize::MAX
            );
            Failure::new(AIMDB_BAD_ARGUMENT, problem)
        })
    };
    // SAFETY: guaranteed by the caller.
    unsafe { configure_record(builder, key, bytes, kind, capacity) }
}

/// Declares a record whose values are JSON strings, each of which is checked when it is written.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_configure_json(
    builder: *const aimdb_builder,
    key: *const c_char,
    kind: aimdb_buffer_kind,
    capacity: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { configure_record(builder, key, |_| Ok(RecordType::json()), kind, capacity) }
}

/// Declares a record of an exported type.
///
/// # Safety
///
/// `key` is NULL or a string.
#[doc(hidden)]
pub unsafe fn configure<T: Exported>(
    builder: *const aimdb_builder,
    key: *const c_char,
    kind: aimdb_buffer_kind,
    capacity: usize,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { configure_record(builder, key, |_| Ok(RecordType::exported::<T>()), kind, capacity) }
}

/// Sets the deadline of a shutdown that `aimdb_request_shutdown` begins. It is for tests, which would otherwise take the default
/// of 10 s.
///
/// # Safety
///
/// The handle is not freed during the call.
#[doc(hidden)]
pub unsafe fn shutdown_deadline(builder: *const aimdb_builder, deadline: Duration) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        unsafe { lock_builder(builder)? }.defer(move |builder| {
            builder.shutdown_deadline(deadline);
        });
        Ok(())
    })
}

/// # Safety
///
/// `key` is NULL or a string.
unsafe fn configure_record(
    builder: *const aimdb_builder,
    key: *const c_char,
    record_type: impl FnOnce(&str) -> Result<RecordType, Failure>,
    kind: aimdb_buffer_kind,
    capacity: usize,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller, who does not free the builder during the call.
        let (mut state, key) = unsafe { (lock_builder(builder)?, str_arg(key, "key")?) };
        state.configure(key, record_type(key)?, buffer_cfg(kind, capacity)?)
    })
}

/// Lets several takers divide the commands of a mailbox. Without it a second taker is refused.
///
/// `AIMDB_NO_SUCH_RECORD` if the record has not been declared.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_shared(
    builder: *const aimdb_builder,
    key: *const c_char,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller, who does not free the builder during the call.
        let (mut state, key) = unsafe { (lock_builder(builder)?, str_arg(key, "key")?) };
        let (record_type, key) = (state.record_type(key)?, String::from(key));
        state.defer(move |builder| (record_type.share)(builder, &key));
        Ok(())
    })
}

/// Adds a tap: `function` is called with every value of the record `key`. See `aimdb_tap_fn`.
///
/// `AIMDB_NO_SUCH_RECORD` if the record has not been declared.
///
/// Ownership: the library owns `user_data` until it calls `free` with it (unless `free` is NULL): once, on any thread, after
/// the last call of the callback. That holds too if this call or `aimdb_attach` fails.
/// Thread safety: any thread. The library calls the callback on a thread of its own, never twice at once.
///
/// # Safety
///
/// `key` is NULL or a string; `function` and `free` may be called on other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_tap(
    builder: *const aimdb_builder,
    key: *const c_char,
    function: aimdb_tap_fn,
    user_data: *mut c_void,
    free: aimdb_free_fn,
) -> aimdb_status {
    let user_data = UserData::new(user_data, free);
    ffi_call(|| {
        let function = function.ok_or_else(|| null_argument("function"))?;
        // SAFETY: guaranteed by the caller, who does not free the builder during the call.
        let (mut state, key) = unsafe { (lock_builder(builder)?, str_arg(key, "key")?) };
        let record_type = state.record_type(key)?;
        let callback = Callback::new(function, user_data, state.database_id);
        let key = String::from(key);
        state.defer(move |builder| {
            (record_type.tap)(builder, &key, callback, record_type.layout);
        });
        Ok(())
    })
}

/// Adds a connection to the MQTT broker at `url`: `mqtt://host:port` or `mqtts://user:password@host:port`.
///
/// `name` is the scheme of the links that use the connection; NULL for `mqtt`. `AIMDB_UNSUPPORTED` if the library was built
/// without MQTT.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `name` and `url` are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_mqtt(
    builder: *const aimdb_builder,
    name: *const c_char,
    url: *const c_char,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller, who does not free the builder during the call.
        let (state, name, url) = unsafe {
            (lock_builder(builder)?, optional_str_arg(name, "name")?, str_arg(url, "url")?)
        };
        add_mqtt(state, name, url)
    })
}

#[cfg(feature = "mqtt")]
fn add_mqtt(mut state: MutexGuard<'_, BuilderState>, name: Option<&str>, url: &str) -> Outcome {
    let connector = aimdb_mqtt_connector::MqttConnector::new(url);
    let connector = match name {
        Some(name) => connector.named(name),
        None => connector,
    };
    state.defer(move |builder| {
        builder.connector(connector);
    });
    Ok(())
}

#[cfg(not(feature = "mqtt"))]
fn add_mqtt(_: MutexGuard<'_, BuilderState>, _: Option<&str>, _: &str) -> Outcome {
    Err(Failure::new(
        AIMDB_UNSUPPORTED,
        "this library was built without MQTT; build it with the feature `mqtt`",
    ))
}

/// Sends the values of the record `key` to `address`, for instance `mqtt://sensors/temperature?qos=1`.
///
/// A JSON record, and a record of an exported type with JSON, send JSON. A record of bytes sends its values as they are in the
/// memory of this machine. `AIMDB_NO_SUCH_RECORD` if the record has not been declared; `AIMDB_BAD_ARGUMENT` if its type was
/// exported without JSON.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` and `address` are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_link_to(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { add_link(builder, key, address, |record_type| record_type.link_to) }
}

/// Fills the record `key` with the messages from `address`, for instance `mqtt://sensors/+/command?qos=1`.
///
/// The link counts and drops a payload that is not a value of the record. `AIMDB_NO_SUCH_RECORD` if the record has not been
/// declared; `AIMDB_BAD_ARGUMENT` if its type was exported without JSON.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` and `address` are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_link_from(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
) -> aimdb_status {
    // SAFETY: guaranteed by the caller.
    unsafe { add_link(builder, key, address, |record_type| record_type.link_from) }
}

/// # Safety
///
/// `key` and `address` are NULL or strings.
unsafe fn add_link(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
    direction: fn(&RecordType) -> AddLink,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller, who does not free the builder during the call.
        let (mut state, key, address) =
            unsafe { (lock_builder(builder)?, str_arg(key, "key")?, str_arg(address, "address")?) };
        let record_type = state.record_type(key)?;
        if record_type.media_type.is_none() {
            let problem = format!(
                "record `{key}` holds {record_type}, which has no payloads; export it with `json` in `export_record!`"
            );
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        let (add, key, address) =
            (direction(&record_type), String::from(key), String::from(address));
        state.defer(move |builder| add(builder, &key, &address, record_type.layout.size()));
        Ok(())
    })
}

/// Checks the whole graph, starts it on a thread of its own, and makes a handle of the database.
///
/// `AIMDB_BAD_GRAPH` if the graph is not valid: `aimdb_last_error` has all findings, and nothing keeps running.
///
/// Ownership: takes the builder, also if the call fails. The caller frees `*out` with `aimdb_db_free`; it is written on
/// `AIMDB_OK` only.
/// Thread safety: any thread; no other thread may be in a call with the builder.
///
/// # Safety
///
/// No other thread is in a call with `builder`; `options` is NULL or can be read; `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_attach(
    builder: *mut aimdb_builder,
    options: *const aimdb_options,
    out: *mut *mut aimdb_db,
) -> aimdb_status {
    ffi_call(|| {
        // SAFETY: guaranteed by the caller.
        let state = unsafe { remove_handle(&BUILDERS, builder, "builder")? };
        non_null(out, "out")?;
        let BuilderState { calls, records, database_id } =
            state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut builder = AimDbBuilder::on(TokioAdapter);
        // The locations would be in this crate, not in the caller's program.
        builder.without_locations();
        calls.into_iter().for_each(|call| call(&mut builder));
        // SAFETY: guaranteed by the caller.
        let (options, drop_deadline) = unsafe { attach_options(options)? };
        let handle = builder.attach_with(options)?;
        let database = Arc::new(Database::new(handle, records, database_id, drop_deadline));
        // SAFETY: checked above.
        unsafe { write_handle(&DATABASES, database, out) }
    })
}

/// # Safety
///
/// `options` is NULL or can be read.
unsafe fn attach_options(
    options: *const aimdb_options,
) -> Result<(AttachOptions, Duration), Failure> {
    let (mut chosen, mut drop_deadline) = (AttachOptions::new(), DROP_DEADLINE);
    if options.is_null() {
        return Ok((chosen, drop_deadline));
    }
    // SAFETY: guaranteed by the caller.
    let options = unsafe { options.read() };
    if options.workers > MAX_WORKERS {
        let problem =
            format!("{} workers are too many; use {MAX_WORKERS} at most", options.workers);
        return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
    }
    if let Some(workers) = usize::try_from(options.workers).ok().and_then(NonZeroUsize::new) {
        chosen = chosen.workers(workers);
    }
    if options.drop_deadline_us > 0 {
        drop_deadline = Duration::from_micros(options.drop_deadline_us);
    }
    // SAFETY: guaranteed by the caller.
    if let Some(name) = unsafe { optional_str_arg(options.thread_name, "thread_name")? } {
        chosen = chosen.thread_name(name);
    }
    Ok((chosen, drop_deadline))
}
