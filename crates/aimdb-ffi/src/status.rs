//! The status of a call, and the error message of a thread.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aimdb_core::{DbError, SubscribeError};
use aimdb_sync::{DetachError, GetError, OpenError, SetError};

/// The result of a call.
///
/// A call that returns another status than `AIMDB_OK` had no effect, unless its documentation says otherwise. A later
/// version may add numbers: treat one that you do not know as an error.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum aimdb_status {
    /// Success.
    AIMDB_OK = 0,
    /// No new value to read now.
    AIMDB_EMPTY = 1,
    /// No room now.
    AIMDB_FULL = 2,
    /// The time limit has passed.
    AIMDB_TIMEOUT = 3,
    /// The database has been detached or shut down. A consumer returns it only once its record is drained.
    AIMDB_CLOSED = 4,
    /// `aimdb_consumer_cancel` or `aimdb_producer_cancel` ended the wait.
    AIMDB_CANCELLED = 5,
    /// A pointer is NULL that must not be.
    AIMDB_NULL = 6,
    /// The handle is no handle, has been freed, or is a handle of another type.
    AIMDB_BAD_HANDLE = 7,
    /// An argument is out of range.
    AIMDB_BAD_ARGUMENT = 8,
    /// A string is not UTF-8.
    AIMDB_NOT_UTF8 = 9,
    /// A string is not JSON.
    AIMDB_NOT_JSON = 10,
    /// The record's values have another size.
    AIMDB_WRONG_SIZE = 11,
    /// The record holds another type.
    AIMDB_WRONG_TYPE = 12,
    /// No record has this key.
    AIMDB_NO_SUCH_RECORD = 13,
    /// The graph is not valid; `aimdb_last_error` has all findings.
    AIMDB_BAD_GRAPH = 14,
    /// The record cannot have another reader, or a resource that exists once is in use already.
    AIMDB_TAKEN = 15,
    /// The call would wait for itself, because a callback of the same database makes it.
    AIMDB_WOULD_DEADLOCK = 16,
    /// Stages kept the runtime busy past the deadline and could not be aborted; the runtime thread still runs them.
    AIMDB_UNRESPONSIVE = 17,
    /// The operating system refused an operation.
    AIMDB_SYSTEM = 18,
    /// A bug in AimDB or in a codec: code panicked. `aimdb_last_error` has the panic's message.
    AIMDB_PANIC = 19,
    /// This build of the library, or this operating system, does not support the operation.
    AIMDB_UNSUPPORTED = 20,
}

use aimdb_status::*;

/// The description of every status, in the order of the numbers.
const DESCRIPTIONS: [(aimdb_status, &CStr); 21] = [
    (AIMDB_OK, c"done"),
    (AIMDB_EMPTY, c"nothing new to read"),
    (AIMDB_FULL, c"there is no room now"),
    (AIMDB_TIMEOUT, c"the time limit has passed"),
    (AIMDB_CLOSED, c"the database has been detached or shut down"),
    (AIMDB_CANCELLED, c"the wait was cancelled"),
    (AIMDB_NULL, c"a pointer is NULL that must not be"),
    (AIMDB_BAD_HANDLE, c"this is no handle, has been freed, or is a handle of another type"),
    (AIMDB_BAD_ARGUMENT, c"an argument is out of range"),
    (AIMDB_NOT_UTF8, c"a string is not UTF-8"),
    (AIMDB_NOT_JSON, c"a string is not JSON"),
    (AIMDB_WRONG_SIZE, c"the record's values have another size"),
    (AIMDB_WRONG_TYPE, c"the record holds another type"),
    (AIMDB_NO_SUCH_RECORD, c"no record has this key"),
    (AIMDB_BAD_GRAPH, c"the graph is not valid"),
    (AIMDB_TAKEN, c"the record cannot have another reader, or the resource is in use already"),
    (AIMDB_WOULD_DEADLOCK, c"the call would wait for itself"),
    (
        AIMDB_UNRESPONSIVE,
        c"stages kept the runtime busy past the deadline and could not be aborted",
    ),
    (AIMDB_SYSTEM, c"the operating system refused an operation"),
    (AIMDB_PANIC, c"a bug: code panicked"),
    (
        AIMDB_UNSUPPORTED,
        c"this build of the library, or this operating system, does not support the operation",
    ),
];

impl aimdb_status {
    const fn description(self) -> &'static CStr {
        DESCRIPTIONS[self as usize].1
    }
}

/// Returns the version of the library, for instance `0.1.0`. The string is static.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Returns the description of a status. The string is static. A number that is no status has a description that says so.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_status_text(status: i32) -> *const c_char {
    let known = DESCRIPTIONS.iter().find(|(known, _)| *known as i32 == status);
    known.map_or(c"no status of AimDB", |(_, description)| *description).as_ptr()
}

thread_local! {
    /// The last status other than `AIMDB_OK`, and whether `MESSAGE` belongs to it.
    static LAST_STATUS: Cell<(aimdb_status, bool)> = const { Cell::new((AIMDB_OK, false)) };
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Returns the message of the last call on this thread that did not return `AIMDB_OK`.
///
/// The message of an error names the record, the expected and the actual, and the remedy. For the statuses that are no
/// errors (`AIMDB_EMPTY` to `AIMDB_CANCELLED`) it is the description of the status. It is empty if every call has returned
/// `AIMDB_OK`.
///
/// Ownership: the library owns the string; it is valid until the next call on this thread that does not return `AIMDB_OK`.
/// Thread safety: any thread; each thread has its own message.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_last_error() -> *const c_char {
    match LAST_STATUS.get() {
        (AIMDB_OK, _) => c"".as_ptr(),
        (status, false) => status.description().as_ptr(),
        // A call from the destructor of another thread-local may find `MESSAGE` destroyed.
        (status, true) => MESSAGE
            .try_with(|message| message.borrow().as_ptr())
            .unwrap_or_else(|_destroyed| status.description().as_ptr()),
    }
}

/// A status other than `AIMDB_OK`, with its message.
#[derive(Debug)]
pub(crate) struct Failure {
    status: aimdb_status,
    /// Empty if the description of the status suffices: a status that is no error then allocates nothing.
    message: String,
}

/// The result of the code behind a C function.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(status: aimdb_status, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    /// Adds the record's key to the message.
    pub(crate) fn in_record(self, key: &str) -> Self {
        Self { message: format!("record `{key}`: {}", self.message), ..self }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<aimdb_status> for Failure {
    fn from(status: aimdb_status) -> Self {
        Self { status, message: String::new() }
    }
}

/// Runs the code behind a C function: catches panics, and records the message of a failure for `aimdb_last_error`.
#[inline]
pub(crate) fn ffi_call(body: impl FnOnce() -> Outcome) -> aimdb_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => AIMDB_OK,
        Ok(Err(failure)) => record_failure(failure),
        Err(panic) => record_panic(&*panic),
    }
}

/// Runs code that returns a status without a message. Only for `AIMDB_PANIC` it records a message.
#[inline]
pub(crate) fn catch_panic(body: impl FnOnce() -> aimdb_status) -> aimdb_status {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| record_panic(&*panic))
}

#[cold]
fn record_failure(failure: Failure) -> aimdb_status {
    let store = |message: String| {
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        MESSAGE.try_with(|last| *last.borrow_mut() = message).is_ok()
    };
    let has_message = !failure.message.is_empty() && store(failure.message);
    LAST_STATUS.set((failure.status, has_message));
    failure.status
}

#[cold]
fn record_panic(panic: &(dyn Any + Send)) -> aimdb_status {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    record_failure(Failure::new(AIMDB_PANIC, message.unwrap_or("a panic without a message")))
}

impl<T> From<SetError<T>> for Failure {
    fn from(error: SetError<T>) -> Self {
        match error {
            SetError::Full(_) => AIMDB_FULL.into(),
            SetError::Timeout(_) => AIMDB_TIMEOUT.into(),
            SetError::Closed(_) => AIMDB_CLOSED.into(),
            SetError::Cancelled(_) => AIMDB_CANCELLED.into(),
            SetError::WouldDeadlock(_) => Self::new(AIMDB_WOULD_DEADLOCK, error),
            _ => Self::new(AIMDB_SYSTEM, error),
        }
    }
}

impl From<GetError> for Failure {
    fn from(error: GetError) -> Self {
        match error {
            GetError::Empty => AIMDB_EMPTY.into(),
            GetError::Timeout => AIMDB_TIMEOUT.into(),
            GetError::Closed => AIMDB_CLOSED.into(),
            GetError::Cancelled => AIMDB_CANCELLED.into(),
            GetError::WouldDeadlock => Self::new(AIMDB_WOULD_DEADLOCK, error),
            _ => Self::new(AIMDB_SYSTEM, error),
        }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        let status = match error {
            DbError::Build(_) => AIMDB_BAD_GRAPH,
            DbError::UnknownKey { .. } => AIMDB_NO_SUCH_RECORD,
            DbError::WrongType { .. } => AIMDB_WRONG_TYPE,
            _ => AIMDB_SYSTEM,
        };
        Self::new(status, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Db(error) => error.into(),
            OpenError::Subscribe(SubscribeError::Closed { .. }) => Self::new(AIMDB_CLOSED, error),
            OpenError::Subscribe(SubscribeError::Taken { key, taker }) => Self::new(
                AIMDB_TAKEN,
                format_args!(
                    "mailbox `{key}` has a taker already, `{taker}`; call `aimdb_shared` for it to let several takers \
                     divide its commands"
                ),
            ),
            OpenError::NoMemory { .. } | OpenError::ZeroCapacity { .. } => {
                Self::new(AIMDB_BAD_ARGUMENT, error)
            }
            _ => Self::new(AIMDB_SYSTEM, error),
        }
    }
}

impl From<DetachError> for Failure {
    fn from(error: DetachError) -> Self {
        let status = match error {
            DetachError::Unresponsive { .. } => AIMDB_UNRESPONSIVE,
            DetachError::WouldDeadlock => AIMDB_WOULD_DEADLOCK,
            _ => AIMDB_SYSTEM,
        };
        Self::new(status, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_description_at_its_number() {
        for (number, (status, _)) in DESCRIPTIONS.iter().enumerate() {
            assert_eq!(*status as usize, number);
        }
    }
}
