//! C functions as taps.
//!
//! A callback may block, and it may call this library, for instance to wait for other records. Each callback therefore has a
//! thread of its own, and the stage that the engine knows waits for that thread:
//!
//! ```text
//! [buffer] ─▶ reader ─▶ thread of the tap ─▶ callback        stage: waits until the thread ends
//! ```

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread;

use aimdb_core::{Consumer, Event, Reader, RuntimeContext};
use aimdb_tokio_adapter::TokioAdapter;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::arguments::str_arg;
use crate::layout::Layout;
use crate::status::{Failure, aimdb_status, aimdb_status::*, ffi_call};
use crate::user_data::UserData;
use crate::value::RecordValue;

/// Receives each value of a record, on a thread of its own.
///
/// `value` points to `size` bytes that the callback may read until it returns. Their alignment depends on how the record
/// was declared:
///
/// - `aimdb_configure_bytes`: 8 bytes, whatever the size, on every system.
/// - a function of an exported type (`export_record!`): the alignment of that struct, which can be less than 8. The
///   `static_assert` in the generated header has the number.
/// - `aimdb_configure_json`: no alignment. The value is a string, followed by a NUL that `size` does not count.
///
/// `lagged` is how many values the tap has lost since its previous value.
///
/// The callback returns 0 to continue. Any other number ends the tap as failed, with that number, and with the message
/// that the callback passed to `aimdb_tap_set_error` (see `aimdb_health_json`).
///
/// The callback may block, and may call every function of this library, except that to detach or free its own database is
/// `AIMDB_WOULD_DEADLOCK`. It must neither throw nor `longjmp`.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_tap_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        value: *const c_void,
        size: usize,
        lagged: u64,
    ) -> i32,
>;

/// The function of a tap and its data.
pub(crate) struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *const c_void, usize, u64) -> i32,
    user_data: UserData,
    /// The id of the database that runs the tap.
    database_id: u64,
}

impl Callback {
    pub(crate) fn new(
        function: unsafe extern "C" fn(*mut c_void, *const c_void, usize, u64) -> i32,
        user_data: UserData,
        database_id: u64,
    ) -> Self {
        Self { function, user_data, database_id }
    }

    fn call<T: RecordValue>(&self, value: &T, layout: Layout, lagged: u64) -> i32 {
        let bytes = value.as_bytes(layout.size());
        let pointer = self.user_data.pointer();
        // SAFETY: the C caller passed this function for this pointer; the value outlives the call.
        unsafe { (self.function)(pointer, bytes.as_ptr().cast(), bytes.len(), lagged) }
    }
}

thread_local! {
    /// The id of the database whose tap runs on this thread; 0 for none.
    static DATABASE_OF_TAP: Cell<u64> = const { Cell::new(0) };
}

thread_local! {
    /// The message of the callback on this thread, if it is about to fail.
    static ERROR_MESSAGE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Sets the error message of a tap, from inside its callback, which is about to return a number other than 0.
///
/// The message appears in the log and in `aimdb_health_json`. `AIMDB_BAD_ARGUMENT` outside of a callback.
///
/// Ownership: the string is copied.
/// Thread safety: the thread of the callback.
///
/// # Safety
///
/// `message` is NULL, or a string that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_tap_set_error(message: *const c_char) -> aimdb_status {
    ffi_call(|| {
        if DATABASE_OF_TAP.get() == 0 {
            let problem = "`aimdb_tap_set_error` was called outside of a tap's callback";
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        // SAFETY: guaranteed by the caller.
        ERROR_MESSAGE.set(Some(unsafe { str_arg(message, "message")? }.into()));
        Ok(())
    })
}

/// Whether the current thread is in a callback of the database with this id.
pub(crate) fn is_in_callback_of(database_id: u64) -> bool {
    DATABASE_OF_TAP.get() == database_id
}

/// How the thread of a tap ended.
enum TapEnd {
    /// The record is drained, or the stage was aborted.
    Finished,
    /// The callback returned a number other than 0, perhaps after it set a message.
    Failed(i32, Option<String>),
}

/// The stage of a tap: starts the thread and waits until it ends.
pub(crate) async fn run<T: RecordValue>(
    context: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    callback: Callback,
    layout: Layout,
) {
    let reader = match consumer.subscribe() {
        Ok(reader) => reader,
        Err(refusal) => return context.fail(refusal),
    };
    let abort_on_drop = AbortOnDrop::default();
    let (sender, receiver) = oneshot::channel();
    let aborted = Arc::clone(&abort_on_drop.0);
    let runtime = Handle::current();
    let thread = thread::Builder::new().name(format!("aimdb-{}", context.stage()));
    let started = thread.spawn(move || {
        DATABASE_OF_TAP.set(callback.database_id);
        let end = call_for_each(&runtime, reader, &callback, layout, &aborted);
        // The user's data must be freed before the stage ends, because the end of the last stage may complete a detach.
        drop(callback);
        // An aborted stage has dropped the receiver.
        let _aborted = sender.send(end);
    });
    if let Err(refused) = started {
        return context.fail(format_args!("cannot start a thread for its callback: {refused}"));
    }
    match receiver.await {
        Ok(TapEnd::Finished) => {}
        Ok(TapEnd::Failed(code, None)) => {
            context.fail(format_args!("its callback returned {code}"));
        }
        Ok(TapEnd::Failed(code, Some(message))) => {
            context.fail(format_args!("its callback returned {code}: {message}"));
        }
        Err(_) => context.fail("its thread panicked"),
    }
}

fn call_for_each<T: RecordValue>(
    runtime: &Handle,
    mut reader: Reader<T>,
    callback: &Callback,
    layout: Layout,
    aborted: &AtomicBool,
) -> TapEnd {
    let mut lagged = 0;
    while let Ok(event) = runtime.block_on(reader.next_event()) {
        match event {
            Event::Lagged(count) => lagged += count,
            // The `Acquire` load pairs with the `Release` store in `AbortOnDrop::drop`.
            Event::Value(value) if !aborted.load(Acquire) => {
                match callback.call(&value, layout, lagged) {
                    0 => lagged = 0,
                    code => return TapEnd::Failed(code, ERROR_MESSAGE.take()),
                }
            }
            Event::Value(_) => break,
        }
    }
    TapEnd::Finished
}

/// Dropped with the stage: a thread that outlives an aborted stage passes no further value to its callback.
#[derive(Default)]
struct AbortOnDrop(Arc<AtomicBool>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        // Pairs with the `Acquire` load in `call_for_each`.
        self.0.store(true, Release);
    }
}
