//! The engine's log, handed to C.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::status::{Failure, aimdb_status, aimdb_status::*, answer};
use crate::tap::{User, aimdb_drop_fn};

/// How grave a line of the log is, from `AIMDB_LOG_ERROR` to `AIMDB_LOG_TRACE`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_log_level = u32;

/// Something failed.
pub const AIMDB_LOG_ERROR: aimdb_log_level = 1;
/// Something to look after: a value dropped, a connection lost.
pub const AIMDB_LOG_WARN: aimdb_log_level = 2;
/// Something worth knowing: a connection made.
pub const AIMDB_LOG_INFO: aimdb_log_level = 3;
/// For who looks for a fault.
pub const AIMDB_LOG_DEBUG: aimdb_log_level = 4;
/// Everything.
pub const AIMDB_LOG_TRACE: aimdb_log_level = 5;

/// Gets a line of the log: a text that ends with a NUL, the callback's to read until it returns. It may be called by
/// several threads at once and should be quick: the engine waits for it. It may call this library; what that logs on the same
/// thread is left out. Nothing may be thrown or jump out of it.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: aimdb_log_level, message: *const c_char)>;

struct Hook {
    function: unsafe extern "C" fn(*mut c_void, aimdb_log_level, *const c_char),
    user: User,
    finest: aimdb_log_level,
}

/// Lent to each line, so that no lock is held while C runs.
static HOOK: RwLock<Option<Arc<Hook>>> = RwLock::new(None);

fn hook() -> Option<Arc<Hook>> {
    HOOK.read().unwrap_or_else(PoisonError::into_inner).clone()
}

thread_local! {
    /// This thread is in the hook: what it logs there would come back to it.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Has `function` called with every line of the log up to `finest`, in the whole process, in place of the one before; NULL
/// for none. `AIMDB_TAKEN` if a Rust part of the program has chosen a `tracing` subscriber of its own.
///
/// Ownership: `user` is the library's until it calls `free` (unless that is NULL) with it: once, when the hook has been
/// replaced or was refused and its last call has returned, on whichever thread.
/// Thread safety: any thread.
///
/// # Safety
///
/// `function` and `free` may be called on other threads with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_set_log(
    function: aimdb_log_fn,
    finest: aimdb_log_level,
    user: *mut c_void,
    free: aimdb_drop_fn,
) -> aimdb_status {
    let user = User::new(user, free);
    answer(|| {
        if function.is_some() && !(AIMDB_LOG_ERROR..=AIMDB_LOG_TRACE).contains(&finest) {
            let problem = format!("there is no log level with number {finest}");
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        if function.is_some() && !is_listening() {
            let problem = "the program has a `tracing` subscriber already, which gets the log";
            return Err(Failure::new(AIMDB_TAKEN, problem));
        }
        let hook = function.map(|function| Arc::new(Hook { function, user, finest }));
        let before = {
            let mut place = HOOK.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, hook)
        };
        drop(before);
        Ok(())
    })
}

/// Whether the log comes here, which is made so once.
fn is_listening() -> bool {
    static LISTENING: OnceLock<bool> = OnceLock::new();
    *LISTENING.get_or_init(|| {
        tracing::subscriber::set_global_default(Registry::default().with(ToHook)).is_ok()
    })
}

struct ToHook;

impl<S: Subscriber> Layer<S> for ToHook {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The hook changes.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !IN_HOOK.get() && hook().is_some_and(|hook| level(metadata) <= hook.finest)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(hook) = hook() else { return };
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = CString::new(line.0.replace('\0', "\u{fffd}")).unwrap_or_default();
        IN_HOOK.set(true);
        // SAFETY: the function is C's own, for this.
        unsafe { (hook.function)(hook.user.data(), level(event.metadata()), line.as_ptr()) };
        IN_HOOK.set(false);
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

/// The message, and what else an event has.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _never = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
