//! C functions as taps.
//!
//! A callback may block, and may call this library, also to wait for other records. So each has a thread of its own, and
//! the stage that the engine knows waits for that thread:
//!
//! ```text
//! [buffer] ─▶ reader ─▶ thread of the tap ─▶ callback        stage: waits for the thread's end
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

use crate::arguments::text;
use crate::kind::Form;
use crate::status::{Failure, aimdb_status, aimdb_status::*, answer};
use crate::value::Content;

/// Gets each value of a record, on a thread of its own. `value` points to `size` bytes, which are the callback's to read until
/// it returns, and how they are aligned depends on what the record was declared with:
///
/// - `aimdb_configure_bytes`: to 8 bytes, whatever their size, on every system.
/// - a function of an exported type (`export_record!`): as that struct is, which can be less than 8; the generated header's
///   `static_assert` has the number.
/// - `aimdb_configure_json`: not at all. They are a text, with a NUL behind it that `size` does not count.
///
/// `missed` is how many values were lost since the one before. The callback may block, and may call every function of this
/// library; detaching its own database is `AIMDB_WOULD_DEADLOCK`.
///
/// It returns 0 to go on. Everything else ends the tap, which has then failed with that number, and with the reason given to
/// `aimdb_tap_failed` (`aimdb_health_json`).
/// Nothing may be thrown or jump out of it.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_tap_fn = Option<
    unsafe extern "C" fn(user: *mut c_void, value: *const c_void, size: usize, missed: u64) -> i32,
>;

/// Frees the `user` of a callback. It is called once: when the callback will not be called any more, on whichever thread. It
/// should be quick, and nothing may be thrown or jump out of it.
#[allow(non_camel_case_types, reason = "the name is C's")]
pub type aimdb_drop_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// What C calls its own data, with what frees it.
pub(crate) struct User {
    data: *mut c_void,
    free: aimdb_drop_fn,
}

// SAFETY: whoever gave it promised that it may be used on another thread.
unsafe impl Send for User {}
// SAFETY: and by several at once, where it is used so: for the log only.
unsafe impl Sync for User {}

impl User {
    pub(crate) fn new(data: *mut c_void, free: aimdb_drop_fn) -> Self {
        Self { data, free }
    }

    pub(crate) fn data(&self) -> *mut c_void {
        self.data
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the function is C's own, for this.
            unsafe { free(self.data) };
        }
    }
}

/// A tap's function and its data.
pub(crate) struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *const c_void, usize, u64) -> i32,
    user: User,
    /// The database it is a tap of.
    database: u64,
}

impl Callback {
    pub(crate) fn new(
        function: unsafe extern "C" fn(*mut c_void, *const c_void, usize, u64) -> i32,
        user: User,
        database: u64,
    ) -> Self {
        Self { function, user, database }
    }

    fn call<T: Content>(&self, value: &T, form: Form, missed: u64) -> i32 {
        let lent = value.lend(form.size());
        // SAFETY: the function is C's own, for this; the value outlives the call.
        unsafe { (self.function)(self.user.data(), lent.as_ptr().cast(), lent.len(), missed) }
    }
}

thread_local! {
    /// The database whose tap this thread is; 0 for none.
    static TAP_OF: Cell<u64> = const { Cell::new(0) };
}

thread_local! {
    /// Why the callback on this thread is about to fail.
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

/// Says why the callback that this call stands in is about to return something else than 0: the text goes into the log and
/// `aimdb_health_json`. `AIMDB_BAD_ARGUMENT` outside of a callback.
///
/// Ownership: the text is copied.
/// Thread safety: the callback's own thread.
///
/// # Safety
///
/// `reason` is NULL, or a text that ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aimdb_tap_failed(reason: *const c_char) -> aimdb_status {
    answer(|| {
        if TAP_OF.get() == 0 {
            let problem = "`aimdb_tap_failed` was called outside of a tap's callback";
            return Err(Failure::new(AIMDB_BAD_ARGUMENT, problem));
        }
        // SAFETY: as the caller says.
        REASON.set(Some(unsafe { text(reason, "reason")? }.into()));
        Ok(())
    })
}

/// Whether this call stands in a callback of `database`.
pub(crate) fn is_tap_of(database: u64) -> bool {
    TAP_OF.get() == database
}

/// How a tap's thread ended.
enum End {
    Read,
    Failed(i32, Option<String>),
}

/// The stage of a tap.
pub(crate) async fn run<T: Content>(
    context: RuntimeContext<TokioAdapter>,
    consumer: Consumer<T, TokioAdapter>,
    callback: Callback,
    form: Form,
) {
    let reader = match consumer.subscribe() {
        Ok(reader) => reader,
        Err(refusal) => return context.fail(refusal),
    };
    let cut_off = CutOff::default();
    let (end, ended) = oneshot::channel();
    let is_over = Arc::clone(&cut_off.0);
    let runtime = Handle::current();
    let thread = thread::Builder::new().name(format!("aimdb-{}", context.stage()));
    let started = thread.spawn(move || {
        TAP_OF.set(callback.database);
        let how = call_for_each(&runtime, reader, &callback, form, &is_over);
        // The user's data is freed before the stage has ended, and with it, perhaps, the detach.
        drop(callback);
        let _nobody_waits = end.send(how);
    });
    if let Err(refused) = started {
        return context.fail(format_args!("a thread for its callback cannot be had: {refused}"));
    }
    match ended.await {
        Ok(End::Read) => {}
        Ok(End::Failed(code, None)) => context.fail(format_args!("its callback returned {code}")),
        Ok(End::Failed(code, Some(reason))) => {
            context.fail(format_args!("its callback returned {code}: {reason}"));
        }
        Err(_) => context.fail("its thread panicked"),
    }
}

fn call_for_each<T: Content>(
    runtime: &Handle,
    mut reader: Reader<T>,
    callback: &Callback,
    form: Form,
    is_over: &AtomicBool,
) -> End {
    let mut missed = 0;
    while let Ok(event) = runtime.block_on(reader.next_event()) {
        match event {
            Event::Lagged(count) => missed += count,
            Event::Value(value) if !is_over.load(Acquire) => {
                match callback.call(&value, form, missed) {
                    0 => missed = 0,
                    code => return End::Failed(code, REASON.take()),
                }
            }
            Event::Value(_) => break,
        }
    }
    End::Read
}

/// Dropped with the stage: when a shutdown has cut it off, no further value is for it.
#[derive(Default)]
struct CutOff(Arc<AtomicBool>);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}
