//! Running a stage as a task.

use core::fmt;
use core::future::Future;

use crate::engine::result::StageResult;
use crate::engine::stage::Stage;
use crate::runtime::adapter::Runtime;

/// A runtime that runs every stage that is `Send`.
///
/// This is the bound for code that is generic over the runtime: one graph for Tokio, for Embassy and for tests. Closures and
/// async functions are written as for a known runtime; their futures must be `Send + 'static`.
///
/// ```
/// use aimdb_core::{AimDbBuilder, BufferCfg, Producer, RuntimeContext, SendRuntime, input};
///
/// fn graph<R: SendRuntime>(builder: &mut AimDbBuilder<R>) {
///     builder.configure::<f32>("temp.celsius", |reg| {
///         reg.buffer(BufferCfg::ring(16)).source(thermometer);
///     });
///     builder.configure::<f32>("temp.fahrenheit", |reg| {
///         reg.buffer(BufferCfg::latest())
///             .transform(input::<f32>("temp.celsius"), |celsius| celsius * 1.8 + 32.0)
///             .tap(|ctx, fahrenheit| async move {
///                 let Ok(mut reader) = fahrenheit.subscribe() else { return };
///                 while let Ok(value) = reader.recv().await {
///                     ctx.log().info(format_args!("{value} °F"));
///                 }
///             });
///     });
/// }
///
/// async fn thermometer<R: SendRuntime>(ctx: RuntimeContext<R>, celsius: Producer<f32, R>) {
///     while celsius.produce(21.5).await.is_ok() {
///         ctx.time().sleep(ctx.time().secs(1)).await;
///     }
/// }
/// ```
///
/// # Implementing
///
/// An adapter implements this trait if it can move tasks between threads, or runs tasks that could be moved. It then
/// implements [`Spawn<F>`](Spawn) for every `F: Send`. An adapter for stages that are not `Send` implements [`Spawn`]
/// itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime that runs every stage that is `Send`",
    note = "in code generic over the runtime, bound it: `R: SendRuntime`; an Embassy adapter for such code is made by \
            `EmbassyAdapter::for_send_stages`"
)]
pub trait SendRuntime: Runtime<Sleep: Send> {
    /// Starts `stage` as a task of its own. The engine supervises it from inside; the adapter only runs it.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] with the reason, when the runtime cannot take another task.
    fn spawn_send<F>(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static;
}

/// A runtime that can run the future `F` as a task.
///
/// Each method that registers a stage has this bound, so a runtime asks `Send` of a stage only if it moves tasks between
/// threads. A [`SendRuntime`] implements it for every `F: Send`; Embassy's adapter for one core implements it for every `F`.
///
/// # Implementing
///
/// An adapter whose tasks stay on one thread implements it for every `F`:
///
/// ```
/// # use aimdb_core::{Instant, LogLevel, Runtime};
/// # use std::fmt;
/// use aimdb_core::Spawn;
/// use aimdb_core::runtime::SpawnError;
/// use aimdb_core::stages::{Stage, StageResult};
/// use std::cell::RefCell;
/// use std::pin::Pin;
///
/// thread_local! {
///     static TASKS: RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>> = RefCell::default();
/// }
///
/// struct OneThread;
/// # impl Runtime for OneThread {
/// #     type Sleep = std::future::Pending<()>;
/// #     fn now(&self) -> Instant { Instant::from_nanos(0) }
/// #     fn sleep_until(&self, _: Instant) -> Self::Sleep { std::future::pending() }
/// #     fn log(&self, _: LogLevel, _: &str, _: fmt::Arguments<'_>) {}
/// # }
///
/// impl<F: Future<Output: StageResult> + 'static> Spawn<F> for OneThread {
///     fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
///         TASKS.with_borrow_mut(|tasks| tasks.push(Box::pin(stage))); // the main loop polls them
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the runtime `{Self}` cannot run this stage as a task",
    label = "this stage's future does not fit the runtime",
    note = "on Tokio a stage must be `Send + 'static`: it may hold no `Rc`, no `RefCell` borrow and no \
            non-Send guard across an `.await`, and it must own what it captures (`move`)",
    note = "in code generic over the runtime, bound it: `R: SendRuntime`"
)]
pub trait Spawn<F: Future<Output: StageResult>>: Runtime {
    /// Starts `stage` as a task of its own. The engine supervises it from inside; the adapter only runs it.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] with the reason, when the runtime cannot take another task.
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>;
}

impl<R: SendRuntime, F: Future<Output: StageResult> + Send + 'static> Spawn<F> for R {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        self.spawn_send(stage)
    }
}

/// Why a runtime refused a task, and the remedy. The build reports it as a finding with the record and the stage.
///
/// ```
/// use aimdb_core::runtime::SpawnError;
///
/// const TASKS: usize = 16;
///
/// /// The slot of the next task, for an adapter with a fixed number of tasks.
/// fn next_slot(used: usize) -> Result<usize, SpawnError> {
///     let full = SpawnError::new("all task slots are in use", "raise `TASKS`");
///     (used < TASKS).then_some(used).ok_or(full)
/// }
///
/// let refused = next_slot(16).unwrap_err();
/// assert_eq!(refused.to_string(), "all task slots are in use\n  help: raise `TASKS`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpawnError {
    /// Why the runtime refused the task.
    pub reason: &'static str,
    /// What the user can change.
    pub help: &'static str,
}

impl SpawnError {
    /// A refusal with its `reason` and the `help` to give.
    #[must_use]
    pub const fn new(reason: &'static str, help: &'static str) -> Self {
        Self { reason, help }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  help: {}", self.reason, self.help)
    }
}

impl core::error::Error for SpawnError {}
