//! What a call answers, and the text beside it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aimdb_core::{DbError, SubscribeError};
use aimdb_sync::{DetachError, GetError, OpenError, SetError};

/// What a call answers. Everything but `AIMDB_OK` means that it did nothing, unless it says otherwise.
#[allow(non_camel_case_types, reason = "the names are C's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum aimdb_status {
    /// Done.
    AIMDB_OK = 0,
    /// Nothing new to read now.
    AIMDB_EMPTY = 1,
    /// No room now.
    AIMDB_FULL = 2,
    /// It did not happen in time.
    AIMDB_TIMEOUT = 3,
    /// The database has been detached or shut down, and for a consumer: everything has been read.
    AIMDB_CLOSED = 4,
    /// The wait was ended by `aimdb_consumer_cancel` or `aimdb_producer_cancel`.
    AIMDB_CANCELLED = 5,
    /// A pointer that must not be NULL is.
    AIMDB_NULL = 6,
    /// This is no handle, has been freed, or is a handle of another kind.
    AIMDB_BAD_HANDLE = 7,
    /// An argument has no such value.
    AIMDB_BAD_ARGUMENT = 8,
    /// A text is not UTF-8.
    AIMDB_NOT_UTF8 = 9,
    /// A text is not JSON.
    AIMDB_NOT_JSON = 10,
    /// The record's values have another size.
    AIMDB_WRONG_SIZE = 11,
    /// The record holds another type.
    AIMDB_WRONG_TYPE = 12,
    /// No record has this key.
    AIMDB_NO_SUCH_RECORD = 13,
    /// The graph is not valid; `aimdb_last_error` has all findings.
    AIMDB_BAD_GRAPH = 14,
    /// The record cannot have one more reader, or what was asked for can be had once only.
    AIMDB_TAKEN = 15,
    /// The call would wait for itself: it stands in a callback of this database.
    AIMDB_WOULD_DEADLOCK = 16,
    /// Stages kept the runtime busy past the deadline; its thread is left to them.
    AIMDB_UNRESPONSIVE = 17,
    /// The operating system refused something.
    AIMDB_SYSTEM = 18,
    /// A bug in AimDB or in a codec: code panicked. `aimdb_last_error` has its message.
    AIMDB_PANIC = 19,
    /// This build of the library, or this system, does not have it.
    AIMDB_UNSUPPORTED = 20,
}

use aimdb_status::*;

/// Every status in words, in the order of their numbers.
const TEXTS: [(aimdb_status, &CStr); 21] = [
    (AIMDB_OK, c"done"),
    (AIMDB_EMPTY, c"nothing new to read"),
    (AIMDB_FULL, c"there is no room now"),
    (AIMDB_TIMEOUT, c"it did not happen in time"),
    (AIMDB_CLOSED, c"the database has been detached or shut down"),
    (AIMDB_CANCELLED, c"the wait was cancelled"),
    (AIMDB_NULL, c"a pointer that must not be NULL is"),
    (AIMDB_BAD_HANDLE, c"this is no handle, has been freed, or is a handle of another kind"),
    (AIMDB_BAD_ARGUMENT, c"an argument has no such value"),
    (AIMDB_NOT_UTF8, c"a text is not UTF-8"),
    (AIMDB_NOT_JSON, c"a text is not JSON"),
    (AIMDB_WRONG_SIZE, c"the record's values have another size"),
    (AIMDB_WRONG_TYPE, c"the record holds another type"),
    (AIMDB_NO_SUCH_RECORD, c"no record has this key"),
    (AIMDB_BAD_GRAPH, c"the graph is not valid"),
    (AIMDB_TAKEN, c"it is taken: the record cannot have one more reader, or there is one already"),
    (AIMDB_WOULD_DEADLOCK, c"the call would wait for itself"),
    (AIMDB_UNRESPONSIVE, c"stages kept the runtime busy past the deadline"),
    (AIMDB_SYSTEM, c"the operating system refused something"),
    (AIMDB_PANIC, c"a bug: code panicked"),
    (AIMDB_UNSUPPORTED, c"this build of the library, or this system, does not have it"),
];

impl aimdb_status {
    const fn text(self) -> &'static CStr {
        TEXTS[self as usize].1
    }
}

/// The version of the library, for instance `0.1.0`. The text lives for ever.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// A status in words. The text lives for ever. A number that is no status gives a text that says so.
///
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_status_text(status: i32) -> *const c_char {
    let known = TEXTS.iter().find(|(known, _)| *known as i32 == status);
    known.map_or(c"no status of AimDB", |(_, text)| *text).as_ptr()
}

thread_local! {
    /// The last status that was not `AIMDB_OK`, and whether `MESSAGE` belongs to it.
    static LAST: Cell<(aimdb_status, bool)> = const { Cell::new((AIMDB_OK, false)) };
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// What the last call on this thread that did not answer `AIMDB_OK` had to say: which record, expected and actual, and
/// the remedy. For what is news rather than an error (`AIMDB_EMPTY` to `AIMDB_CANCELLED`) it is the status's own text. Empty
/// if there was none.
///
/// Ownership: the text is the library's; it lives until the next call on this thread that fails.
/// Thread safety: any thread; each has its own.
#[unsafe(no_mangle)]
pub extern "C" fn aimdb_last_error() -> *const c_char {
    match LAST.get() {
        (AIMDB_OK, _) => c"".as_ptr(),
        (status, false) => status.text().as_ptr(),
        // While the thread's locals go away its message may have gone before this call.
        (status, true) => MESSAGE
            .try_with(|message| message.borrow().as_ptr())
            .unwrap_or_else(|_gone| status.text().as_ptr()),
    }
}

/// A status that says it all.
#[derive(Debug)]
pub(crate) struct Failure {
    status: aimdb_status,
    /// Empty where the status says it all, so that what is no more than news costs nothing.
    message: String,
}

/// What the code behind a C function answers.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(status: aimdb_status, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    /// The same failure, of this record.
    pub(crate) fn of(self, key: &str) -> Self {
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

/// Runs the code behind a C function: no unwinding crosses the boundary, and failures leave their message.
#[inline]
pub(crate) fn answer(work: impl FnOnce() -> Outcome) -> aimdb_status {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => AIMDB_OK,
        Ok(Err(failure)) => failed(failure),
        Err(panic) => panicked(&*panic),
    }
}

/// Runs a short piece of code whose answer says it all. On `AIMDB_PANIC` the message has been left.
#[inline]
pub(crate) fn guarded(work: impl FnOnce() -> aimdb_status) -> aimdb_status {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| panicked(&*panic))
}

#[cold]
fn failed(failure: Failure) -> aimdb_status {
    let keep = |message: String| {
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        MESSAGE.try_with(|last| *last.borrow_mut() = message).is_ok()
    };
    let worded = !failure.message.is_empty() && keep(failure.message);
    LAST.set((failure.status, worded));
    failure.status
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> aimdb_status {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    failed(Failure::new(AIMDB_PANIC, text.unwrap_or("a panic without a message")))
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
                    "mailbox `{key}` has a taker already, `{taker}`; call `aimdb_shared` for it if several are meant to \
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
    fn every_status_stands_at_its_number() {
        for (number, (status, _)) in TEXTS.iter().enumerate() {
            assert_eq!(*status as usize, number);
        }
    }
}
