//! Declaring a graph.

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

use crate::arguments::{find, free, given, hand_out, null, optional_text, text};
use crate::database::{DATABASES, Database, aimdb_db};
use crate::kind::{self, AddLink, Kind};
use crate::status::{Failure, Outcome, aimdb_status, aimdb_status::*, answer};
use crate::table::Table;
use crate::tap::{Callback, User, aimdb_drop_fn, aimdb_tap_fn};
use crate::value::Exported;

/// A graph that is being declared. From `aimdb_builder_new`; `aimdb_attach` or `aimdb_builder_free` takes it.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Debug)]
pub struct aimdb_builder {
    _c_never_looks_inside: [u8; 0],
}

/// The kind of a record's buffer: one of `AIMDB_RING`, `AIMDB_QUEUE`, `AIMDB_LATEST`, `AIMDB_MAILBOX`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_buffer = u32;

/// Keeps the last `capacity` values; a slow reader loses the oldest, and they are counted.
pub const AIMDB_RING: aimdb_buffer = 0;
/// Keeps every value until every reader has it; a full queue of `capacity` values holds its writers back.
pub const AIMDB_QUEUE: aimdb_buffer = 1;
/// Keeps the current value; readers skip to the newest. It has no capacity: pass 0.
pub const AIMDB_LATEST: aimdb_buffer = 2;
/// Keeps one pending command; the newest wins and is taken once. It has no capacity: pass 0.
pub const AIMDB_MAILBOX: aimdb_buffer = 3;

/// What dropping a database may take unless set.
const DROP_DEADLINE: Duration = Duration::from_secs(2);

/// More threads than any machine has cores; of many more the system may refuse one, and Tokio does not come back from that.
const MOST_WORKERS: u32 = 1024;

/// How the database runs. All zero is the default, as is NULL in its place.
#[allow(non_camel_case_types, reason = "the name is C's")]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct aimdb_options {
    /// Worker threads for the stages of the graph, 1,024 at most; 0 runs them on the runtime thread itself.
    pub workers: u32,
    /// How long `aimdb_db_free` may take to drain, in microseconds; 0 for the default, 2 s.
    pub drop_deadline_us: u64,
    /// The runtime thread's name; NULL for the default, `aimdb-runtime`.
    pub thread_name: *const c_char,
}

static BUILDERS: Table<Mutex<Declared>> = Table::new(1);

/// A call to the engine's own builder. That one stays on one thread, so what C declares is kept until it is attached.
type Step = Box<dyn FnOnce(&mut kind::Builder) + Send>;

struct Declared {
    steps: Vec<Step>,
    records: BTreeMap<String, Kind>,
    /// The number its database will have.
    number: u64,
}

impl Declared {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self { steps: Vec::new(), records: BTreeMap::new(), number: LAST.fetch_add(1, Relaxed) + 1 }
    }

    fn step(&mut self, step: impl FnOnce(&mut kind::Builder) + Send + 'static) {
        self.steps.push(Box::new(step));
    }

    fn configure(&mut self, key: &str, kind: Kind, cfg: BufferCfg) -> Outcome {
        if let Some(known) = self.records.get(key).filter(|known| !known.is(&kind)) {
            let problem = format!(
                "record `{key}` was declared with {known}, and now with {kind}; use another key"
            );
            return Err(Failure::new(AIMDB_WRONG_TYPE, problem));
        }
        let key = String::from(key);
        self.records.insert(key.clone(), kind);
        self.step(move |builder| (kind.configure)(builder, &key, cfg, kind.name()));
        Ok(())
    }

    fn kind(&self, key: &str) -> Result<Kind, Failure> {
        self.records.get(key).copied().ok_or_else(|| {
            let problem = format!("no record `{key}` has been declared; call `aimdb_configure_bytes` or its like first");
            Failure::new(AIMDB_NO_SUCH_RECORD, problem)
        })
    }
}

/// # Safety
///
/// The handle is not freed meanwhile.
unsafe fn declared(
    builder: *const aimdb_builder,
) -> Result<MutexGuard<'static, Declared>, Failure> {
    // SAFETY: as the caller says.
    let declared = unsafe { find(&BUILDERS, builder, "builder")? };
    Ok(declared.lock().unwrap_or_else(PoisonError::into_inner))
}

fn buffer(kind: aimdb_buffer, capacity: usize) -> Result<BufferCfg, Failure> {
    match kind {
        // Capacity 0 is a finding of the graph.
        AIMDB_RING => Ok(BufferCfg::SpmcRing { capacity }),
        AIMDB_QUEUE => Ok(BufferCfg::SpmcQueue { capacity }),
        AIMDB_LATEST => Ok(BufferCfg::SingleLatest),
        AIMDB_MAILBOX => Ok(BufferCfg::Mailbox),
        other => Err(Failure::new(
            AIMDB_BAD_ARGUMENT,
            format_args!(
                "there is no kind of buffer with number {other}; use AIMDB_RING, AIMDB_QUEUE, AIMDB_LATEST or AIMDB_MAILBOX"
            ),
        )),
    }
}

/// Begins a graph.
///
/// Ownership: `aimdb_attach` takes the builder, or the caller frees it with `aimdb_builder_free`.
/// Thread safety: any thread; several may declare at once.
///
/// # Safety
///
/// `out` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_builder_new(out: *mut *mut aimdb_builder) -> aimdb_status {
    answer(|| {
        given(out, "out")?;
        // SAFETY: checked above.
        unsafe { hand_out(&BUILDERS, Mutex::new(Declared::new()), out) }
    })
}

/// Frees a builder that was not attached, and the data of its callbacks. Freeing it twice, or after `aimdb_attach`, is
/// `AIMDB_BAD_HANDLE`.
///
/// Thread safety: no other thread may be in a call with it.
///
/// # Safety
///
/// No other thread is in a call with `builder`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_builder_free(builder: *mut aimdb_builder) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says.
        unsafe { free(&BUILDERS, builder, "builder") }.map(drop)
    })
}

/// Declares a record whose values are `size` bytes: any C type that can be copied byte by byte. Up to 1,024 bytes live in
/// the buffer itself; a larger value is one allocation. `capacity` is for rings and queues.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_configure_bytes(
    builder: *const aimdb_builder,
    key: *const c_char,
    size: usize,
    kind: aimdb_buffer,
    capacity: usize,
) -> aimdb_status {
    let bytes = |key: &str| {
        Kind::bytes(size).ok_or_else(|| {
            let problem = format!(
                "record `{key}` would have values of {size} bytes; use 1 to {}",
                isize::MAX
            );
            Failure::new(AIMDB_BAD_ARGUMENT, problem)
        })
    };
    // SAFETY: as the caller says.
    unsafe { declare(builder, key, bytes, kind, capacity) }
}

/// Declares a record whose values are texts of JSON, checked as they are written.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_configure_json(
    builder: *const aimdb_builder,
    key: *const c_char,
    kind: aimdb_buffer,
    capacity: usize,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { declare(builder, key, |_| Ok(Kind::json()), kind, capacity) }
}

/// The code behind the functions that declare a record of an exported type.
///
/// # Safety
///
/// `key` is NULL or a text.
#[doc(hidden)]
pub unsafe fn configure<T: Exported>(
    builder: *const aimdb_builder,
    key: *const c_char,
    kind: aimdb_buffer,
    capacity: usize,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { declare(builder, key, |_| Ok(Kind::exported::<T>()), kind, capacity) }
}

/// How long a shutdown may take that is asked for and not waited for: for tests, which would else take the default of 10 s.
///
/// # Safety
///
/// The handle is not freed meanwhile.
#[doc(hidden)]
pub unsafe fn shutdown_deadline(builder: *const aimdb_builder, deadline: Duration) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says.
        unsafe { declared(builder)? }.step(move |builder| {
            builder.shutdown_deadline(deadline);
        });
        Ok(())
    })
}

/// # Safety
///
/// `key` is NULL or a text.
unsafe fn declare(
    builder: *const aimdb_builder,
    key: *const c_char,
    values: impl FnOnce(&str) -> Result<Kind, Failure>,
    kind: aimdb_buffer,
    capacity: usize,
) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says, who does not free the builder meanwhile.
        let (mut declared, key) = unsafe { (declared(builder)?, text(key, "key")?) };
        declared.configure(key, values(key)?, buffer(kind, capacity)?)
    })
}

/// Lets several takers divide the commands of a mailbox. Without it a second taker is refused.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` is NULL or a text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_shared(
    builder: *const aimdb_builder,
    key: *const c_char,
) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says, who does not free the builder meanwhile.
        let (mut declared, key) = unsafe { (declared(builder)?, text(key, "key")?) };
        let (kind, key) = (declared.kind(key)?, String::from(key));
        declared.step(move |builder| (kind.share)(builder, &key));
        Ok(())
    })
}

/// Has `function` called with every value of the record `key`, which must have been declared; see `aimdb_tap_fn`.
///
/// Ownership: `user` is the library's until it calls `free` (unless that is NULL) with it: once, on whichever thread, when
/// the callback will not be called any more; also if this call or `aimdb_attach` fails.
/// Thread safety: any thread. The callback is called on a thread of its own, never twice at once.
///
/// # Safety
///
/// `key` is NULL or a text; `function` and `free` may be called on other threads with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_tap(
    builder: *const aimdb_builder,
    key: *const c_char,
    function: aimdb_tap_fn,
    user: *mut c_void,
    free: aimdb_drop_fn,
) -> aimdb_status {
    let user = User::new(user, free);
    answer(|| {
        let function = function.ok_or_else(|| null("function"))?;
        // SAFETY: as the caller says, who does not free the builder meanwhile.
        let (mut declared, key) = unsafe { (declared(builder)?, text(key, "key")?) };
        let kind = declared.kind(key)?;
        let callback = Callback::new(function, user, declared.number);
        let key = String::from(key);
        declared.step(move |builder| (kind.tap)(builder, &key, callback, kind.form));
        Ok(())
    })
}

/// Adds a connection to the MQTT broker at `url`: `mqtt://host:port` or `mqtts://user:password@host:port`. `name` is the
/// scheme of the links that use it; NULL for `mqtt`. `AIMDB_UNSUPPORTED` if the library was built without MQTT.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `name` and `url` are NULL or texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_mqtt(
    builder: *const aimdb_builder,
    name: *const c_char,
    url: *const c_char,
) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says, who does not free the builder meanwhile.
        let (declared, name, url) =
            unsafe { (declared(builder)?, optional_text(name, "name")?, text(url, "url")?) };
        add_mqtt(declared, name, url)
    })
}

#[cfg(feature = "mqtt")]
fn add_mqtt(mut declared: MutexGuard<'_, Declared>, name: Option<&str>, url: &str) -> Outcome {
    let connector = aimdb_mqtt_connector::MqttConnector::new(url);
    let connector = match name {
        Some(name) => connector.named(name),
        None => connector,
    };
    declared.step(move |builder| {
        builder.connector(connector);
    });
    Ok(())
}

#[cfg(not(feature = "mqtt"))]
fn add_mqtt(_: MutexGuard<'_, Declared>, _: Option<&str>, _: &str) -> Outcome {
    Err(Failure::new(
        AIMDB_UNSUPPORTED,
        "this library was built without MQTT; build it with the feature `mqtt`",
    ))
}

/// Sends the values of the record `key` to `address`, for instance `mqtt://sensors/temperature?qos=1`. A JSON record and an
/// exported type with JSON send JSON; a record of bytes sends them as they are in this machine's memory.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` and `address` are NULL or texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_link_to(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { link(builder, key, address, |kind| kind.link_to) }
}

/// Fills the record `key` with what comes from `address`, for instance `mqtt://sensors/+/command?qos=1`. A payload that is
/// no value of the record is counted and dropped.
///
/// Thread safety: any thread.
///
/// # Safety
///
/// `key` and `address` are NULL or texts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_link_from(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
) -> aimdb_status {
    // SAFETY: as the caller says.
    unsafe { link(builder, key, address, |kind| kind.link_from) }
}

/// # Safety
///
/// `key` and `address` are NULL or texts.
unsafe fn link(
    builder: *const aimdb_builder,
    key: *const c_char,
    address: *const c_char,
    direction: fn(&Kind) -> AddLink,
) -> aimdb_status {
    answer(|| {
        // SAFETY: as the caller says, who does not free the builder meanwhile.
        let (mut declared, key, address) =
            unsafe { (declared(builder)?, text(key, "key")?, text(address, "address")?) };
        let kind = declared.kind(key)?;
        if !kind.has_payloads {
            let problem = format!(
                "record `{key}` holds {kind}, which has no payloads; export it with `json` in `export_record!`"
            );
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        let (add, key, address) = (direction(&kind), String::from(key), String::from(address));
        declared.step(move |builder| add(builder, &key, &address, kind.form.size()));
        Ok(())
    })
}

/// Checks the whole graph, starts it on a thread of its own, and gives a handle. `AIMDB_BAD_GRAPH`: `aimdb_last_error` has
/// everything that is wrong with it, and nothing is left running.
///
/// Ownership: takes the builder, also when it fails. The caller frees `*out` with `aimdb_db_free`; it is written on
/// `AIMDB_OK` only.
/// Thread safety: any thread; no other may be in a call with the builder.
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
    answer(|| {
        // SAFETY: as the caller says.
        let taken = unsafe { free(&BUILDERS, builder, "builder")? };
        given(out, "out")?;
        let Declared { steps, records, number } =
            taken.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut builder = AimDbBuilder::on(TokioAdapter);
        // The locations would be in this crate, not in the caller's program.
        builder.without_locations();
        steps.into_iter().for_each(|step| step(&mut builder));
        // SAFETY: as the caller says.
        let (options, drop_deadline) = unsafe { attach_options(options)? };
        let handle = builder.attach_with(options)?;
        let database = Arc::new(Database::new(handle, records, number, drop_deadline));
        // SAFETY: checked above.
        unsafe { hand_out(&DATABASES, database, out) }
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
    // SAFETY: as the caller says.
    let options = unsafe { options.read() };
    if options.workers > MOST_WORKERS {
        let problem =
            format!("{} workers are too many; use {MOST_WORKERS} at most", options.workers);
        return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
    }
    if let Some(workers) = usize::try_from(options.workers).ok().and_then(NonZeroUsize::new) {
        chosen = chosen.workers(workers);
    }
    if options.drop_deadline_us > 0 {
        drop_deadline = Duration::from_micros(options.drop_deadline_us);
    }
    // SAFETY: as the caller says.
    if let Some(name) = unsafe { optional_text(options.thread_name, "thread_name")? } {
        chosen = chosen.thread_name(name);
    }
    Ok((chosen, drop_deadline))
}
