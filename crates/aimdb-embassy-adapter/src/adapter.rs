//! The adapter: tasks, clock and log of an Embassy executor.

use core::fmt;
use core::future::Future;

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::{Stage, StageResult};
use aimdb_core::{Instant, LogLevel, Runtime, SendRuntime, Spawn};
use embassy_executor::Spawner;
use embassy_time::{TICK_HZ, Timer};

use crate::sink::Sink;
#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
use crate::spawner::CheckedSpawner;
use crate::spawner::{DefaultSpawner, SendOnlySpawner, StageSpawner, UncheckedSpawner};
use crate::ticks;

/// An Embassy executor as a runtime of the engine.
///
/// The spawner `S` determines [which stages it runs](crate#what-a-stage-may-hold). The adapter is `Copy`, `Send` and `Sync`.
///
/// ```
/// use std::sync::Arc;
/// use aimdb_core::{AimDbBuilder, BufferCfg};
/// use aimdb_embassy_adapter::{EmbassyAdapter, sink};
///
/// #[embassy_executor::task]
/// async fn database(spawner: embassy_executor::Spawner) {
///     let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
///     let mut builder = AimDbBuilder::new().runtime(runtime);
///     builder.configure::<f32>("sensor.temperature", |reg| {
///         reg.buffer(BufferCfg::SingleLatest);
///     });
///     builder.run().await.expect("the graph is valid");
/// }
/// ```
#[derive(Clone, Copy)]
pub struct EmbassyAdapter<S = DefaultSpawner> {
    spawner: S,
    sink: Sink,
}

impl EmbassyAdapter {
    /// Returns an adapter for the executor of `spawner`, which writes log lines to `sink`.
    ///
    /// With the feature `std` or `cortex-m-single-core` the adapter runs any stage, and a database must be built in the thread or
    /// exception in which the adapter was created. Without either feature the adapter runs
    /// [stages that are `Send`](EmbassyAdapter::for_send_stages).
    #[must_use]
    pub fn new(spawner: Spawner, sink: Sink) -> Self {
        Self { spawner: DefaultSpawner::new(spawner), sink }
    }
}

impl EmbassyAdapter<SendOnlySpawner> {
    /// Returns an adapter for stages that are `Send`, independent of the features.
    ///
    /// The database may be built on any thread, in any interrupt and on any core; its stages run on the spawner's executor.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use aimdb_core::{AimDbBuilder, BufferCfg};
    /// # use aimdb_embassy_adapter::{EmbassyAdapter, sink};
    /// # fn database(spawner: embassy_executor::Spawner) {
    /// let runtime = Arc::new(EmbassyAdapter::for_send_stages(spawner, sink::none));
    /// let mut builder = AimDbBuilder::new().runtime(runtime);
    /// builder.configure::<u32>("counter", |reg| {
    ///     reg.buffer(BufferCfg::SingleLatest).source(|_, counter| async move {
    ///         let held = Arc::new(7);
    ///         counter.produce(*held).await.ok();
    ///     });
    /// });
    /// # }
    /// ```
    ///
    /// A stage that holds an `Rc` across an `.await` does not compile:
    ///
    /// ```compile_fail,E0277
    /// # use std::{rc::Rc, sync::Arc};
    /// # use aimdb_core::{AimDbBuilder, BufferCfg};
    /// # use aimdb_embassy_adapter::{EmbassyAdapter, sink};
    /// # fn database(spawner: embassy_executor::Spawner) {
    /// let runtime = Arc::new(EmbassyAdapter::for_send_stages(spawner, sink::none));
    /// let mut builder = AimDbBuilder::new().runtime(runtime);
    /// builder.configure::<u32>("counter", |reg| {
    ///     reg.buffer(BufferCfg::SingleLatest).source(|_, counter| async move {
    ///         let held = Rc::new(7);
    ///         counter.produce(*held).await.ok();
    ///     });
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn for_send_stages(spawner: Spawner, sink: Sink) -> Self {
        Self { spawner: SendOnlySpawner::new(spawner), sink }
    }
}

impl EmbassyAdapter<UncheckedSpawner> {
    /// Returns an adapter for stages that need not be `Send`, without a check of where the database is built.
    ///
    /// It serves chips on which the adapter cannot recognise the executor's thread, interrupt or core.
    ///
    /// # Safety
    ///
    /// Safe code can send the adapter, its copies and every `Arc` of one to another thread, interrupt or core, and build a
    /// database with them there. The caller promises that every `AimDbBuilder` with this adapter is built only where `spawner`
    /// may be used: in a task of its executor, or in code that runs on the same core and in the same interrupt or thread. That
    /// includes `run`, which builds the database when it is polled.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use aimdb_core::{AimDbBuilder, BufferCfg};
    /// # use aimdb_embassy_adapter::{EmbassyAdapter, sink};
    /// #[embassy_executor::task]
    /// async fn database(spawner: embassy_executor::Spawner) {
    ///     // SAFETY: this task builds the database, and it runs on the spawner's executor.
    ///     let adapter = unsafe { EmbassyAdapter::unchecked(spawner, sink::none) };
    ///     let mut builder = AimDbBuilder::new().runtime(Arc::new(adapter));
    ///     builder.configure::<u32>("counter", |reg| {
    ///         reg.buffer(BufferCfg::SingleLatest);
    ///     });
    ///     builder.run().await.expect("the graph is valid");
    /// }
    /// ```
    #[must_use]
    #[expect(unsafe_code, reason = "the caller's promise cannot be checked")]
    pub unsafe fn unchecked(spawner: Spawner, sink: Sink) -> Self {
        // SAFETY: only `build` spawns stages, and the caller promises where it is called.
        Self { spawner: unsafe { UncheckedSpawner::new(spawner) }, sink }
    }
}

impl<S> fmt::Debug for EmbassyAdapter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyAdapter").finish_non_exhaustive()
    }
}

impl<S: StageSpawner> Runtime for EmbassyAdapter<S> {
    type Sleep = Timer;

    fn now(&self) -> Instant {
        Instant::from_nanos(ticks::to_nanos(embassy_time::Instant::now().as_ticks(), TICK_HZ))
    }

    fn sleep_until(&self, deadline: Instant) -> Timer {
        let ticks = ticks::from_nanos(deadline.as_nanos(), TICK_HZ);
        Timer::at(embassy_time::Instant::from_ticks(ticks))
    }

    fn log(&self, level: LogLevel, origin: &str, message: fmt::Arguments<'_>) {
        (self.sink)(level, origin, message);
    }
}

impl SendRuntime for EmbassyAdapter<SendOnlySpawner> {
    fn spawn_send<F>(&self, stage: Stage<Self, F>) -> Result<(), SpawnError>
    where
        F: Future<Output: StageResult> + Send + 'static,
    {
        self.spawner.spawn(stage)
    }
}

#[cfg(any(feature = "std", feature = "cortex-m-single-core"))]
impl<F: Future<Output: StageResult> + 'static> Spawn<F> for EmbassyAdapter<CheckedSpawner> {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        self.spawner.spawn(stage)
    }
}

impl<F: Future<Output: StageResult> + 'static> Spawn<F> for EmbassyAdapter<UncheckedSpawner> {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        self.spawner.spawn(stage)
    }
}
