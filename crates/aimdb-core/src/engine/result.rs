//! The result of a stage's future.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::error::Error;

use crate::buffer::error::Closed;
use crate::error::SubscribeError;

/// Any error, for a stage that uses `?` on errors of several types.
///
/// ```
/// use aimdb_core::{BoxError, Producer, Runtime, RuntimeContext};
///
/// async fn replay<R: Runtime>(_: RuntimeContext<R>, celsius: Producer<f32, R>) -> Result<(), BoxError> {
///     celsius.produce("21.5".parse()?).await?;
///     Ok(())
/// }
/// ```
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What the future of a source, a tap or a processor returns: `()`, or a `Result` whose error is the stage's failure.
///
/// The error is anything that becomes a [`BoxError`]: an error type, a `String`, such a box, or the
/// error of a crate for applications. An error that says that a record is closed ([`Closed`], or an error with it as a
/// source, as those of `produce` and `subscribe`) is no failure: the database shuts down, and the stage has finished. [`Health`](crate::health::Health) shows the error followed by its sources, each
/// after a colon.
///
/// ```
/// use aimdb_core::{Producer, Runtime, RuntimeContext};
/// use std::num::ParseFloatError;
///
/// async fn replay<R: Runtime>(_: RuntimeContext<R>, celsius: Producer<f32, R>) -> Result<(), ParseFloatError> {
///     for line in ["21.0", "21.5"] {
///         celsius.produce(line.parse()?).await.ok();
///     }
///     Ok(())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a stage returns `()` or `Result<(), E>`, but this one returns `{Self}`",
    label = "the result of this stage",
    note = "`E` is an error that is `Send + Sync`, a `String`, or `BoxError`; end a stage that has no \
            result to report with a semicolon, or with `Ok(())`"
)]
pub trait StageResult {
    /// The failure of the stage, as its health shows it.
    ///
    /// # Errors
    ///
    /// The error and its sources, joined by `: `.
    fn into_outcome(self) -> Result<(), String>;
}

impl StageResult for () {
    fn into_outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Into<BoxError>> StageResult for Result<(), E> {
    fn into_outcome(self) -> Result<(), String> {
        let Err(error) = self else { return Ok(()) };
        let error: BoxError = error.into();
        if says_closed(&*error) { Ok(()) } else { Err(with_sources(&*error)) }
    }
}

/// Whether the error, or one of its sources, says that a record is closed.
fn says_closed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let subscribe = error.downcast_ref::<SubscribeError>();
        if error.is::<Closed>() || matches!(subscribe, Some(SubscribeError::Closed { .. })) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The type `!`, which has no name of its own yet: a stage that ends in an endless loop returns it.
impl StageResult for <fn() -> ! as Returns>::Output {
    fn into_outcome(self) -> Result<(), String> {
        self
    }
}

/// Names the type that a function pointer returns.
#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<O> Returns for fn() -> O {
    type Output = O;
}

/// The error and its sources, in one line. A source that only repeats what stands before it is left out: some errors
/// print their source themselves.
fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        source = cause.source();
    }
    text
}
