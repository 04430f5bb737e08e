//! The log of the engine, passed to a C callback.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::status::{Failure, aimdb_status, aimdb_status::*, ffi_call};
use crate::user_data::{UserData, aimdb_free_fn};

/// The severity of a log line, from `AIMDB_LOG_ERROR` to `AIMDB_LOG_TRACE`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_log_level = u32;

/// An operation failed.
pub const AIMDB_LOG_ERROR: aimdb_log_level = 1;
/// A condition to look into: a value dropped, a connection lost.
pub const AIMDB_LOG_WARN: aimdb_log_level = 2;
/// A normal event: a connection made.
pub const AIMDB_LOG_INFO: aimdb_log_level = 3;
/// Details for debugging.
pub const AIMDB_LOG_DEBUG: aimdb_log_level = 4;
/// Every detail.
pub const AIMDB_LOG_TRACE: aimdb_log_level = 5;

/// Receives a line of the log.
///
/// `message` ends with a NUL; the callback may read it until it returns. Several threads may call the callback at once. It
/// should be quick, because the engine waits for it. It may call this library, but lines that such a call logs on the same
/// thread are left out. It must neither throw nor `longjmp`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_log_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: aimdb_log_level, message: *const c_char),
>;

struct LogCallback {
    function: unsafe extern "C" fn(*mut c_void, aimdb_log_level, *const c_char),
    user_data: UserData,
    max_level: aimdb_log_level,
}

/// Cloned for each line, so that no lock is held while C code runs.
static LOG_CALLBACK: RwLock<Option<Arc<LogCallback>>> = RwLock::new(None);

fn current_callback() -> Option<Arc<LogCallback>> {
    LOG_CALLBACK.read().unwrap_or_else(PoisonError::into_inner).clone()
}

thread_local! {
    /// Whether this thread is in the callback; lines it logs there would recurse.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Sets the log callback of the process: `function` is called with every line up to `max_level`.
///
/// The call replaces the previous callback; NULL sets none. `AIMDB_TAKEN` if a Rust part of the program has installed a
/// `tracing` subscriber. `AIMDB_BAD_ARGUMENT` if there is no such level.
///
/// Ownership: the library owns `user_data` until it calls `free` with it (unless `free` is NULL): once, on any thread, when
/// the callback has been replaced or refused and its last call has returned.
/// Thread safety: any thread.
///
/// # Safety
///
/// `function` and `free` may be called on other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_log(
    function: aimdb_log_fn,
    max_level: aimdb_log_level,
    user_data: *mut c_void,
    free: aimdb_free_fn,
) -> aimdb_status {
    let user_data = UserData::new(user_data, free);
    ffi_call(|| {
        if function.is_some() && !(AIMDB_LOG_ERROR..=AIMDB_LOG_TRACE).contains(&max_level) {
            let problem = format!(
                "there is no log level with number {max_level}; use AIMDB_LOG_ERROR to AIMDB_LOG_TRACE"
            );
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        if function.is_some() && !is_subscriber_installed() {
            let problem = "the program has a `tracing` subscriber already, which receives the log";
            return Err(Failure::new(AIMDB_TAKEN, problem));
        }
        let new = function.map(|function| Arc::new(LogCallback { function, user_data, max_level }));
        let previous = {
            let mut current = LOG_CALLBACK.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, new)
        };
        // After the lock is released: `free` is C code.
        drop(previous);
        Ok(())
    })
}

/// Installs the subscriber on the first call; returns whether the log reaches it.
fn is_subscriber_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        tracing::subscriber::set_global_default(Registry::default().with(CallbackLayer)).is_ok()
    })
}

struct CallbackLayer;

impl<S: Subscriber> Layer<S> for CallbackLayer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level is not constant: a later call may replace the callback.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !IN_CALLBACK.get()
            && current_callback().is_some_and(|callback| level(metadata) <= callback.max_level)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(callback) = current_callback() else { return };
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = CString::new(line.0.replace('\0', "\u{fffd}")).unwrap_or_default();
        let (pointer, level) = (callback.user_data.pointer(), level(event.metadata()));
        IN_CALLBACK.set(true);
        // SAFETY: the C caller passed this function for this pointer.
        unsafe { (callback.function)(pointer, level, line.as_ptr()) };
        IN_CALLBACK.set(false);
    }
}

fn level(metadata: &Metadata<'_>) -> aimdb_log_level {
    match *metadata.level() {
        Level::ERROR => AIMDB_LOG_ERROR,
        Level::WARN => AIMDB_LOG_WARN,
        Level::INFO => AIMDB_LOG_INFO,
        Level::DEBUG => AIMDB_LOG_DEBUG,
        Level::TRACE => AIMDB_LOG_TRACE,
    }
}

/// The message of an event, followed by its other fields.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` never fails.
        let _infallible = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
