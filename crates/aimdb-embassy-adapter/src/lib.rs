//! Runs the AimDB engine on Embassy: every stage is an Embassy task, timers are `embassy-time`'s, log lines go to a sink
//! you choose.
//!
//! It holds no semantics: buffers, supervision and shutdown are `aimdb-core`'s, the same source as on Tokio. It stands on
//! the published `embassy-executor` and `embassy-time`, and works on the host too, on Embassy's std executor.
//!
//! ```
//! use std::sync::Arc;
//! use aimdb_core::{AimDbBuilder, BufferCfg};
//! use aimdb_embassy_adapter::{EmbassyAdapter, sink};
//! use embassy_executor::Spawner;
//!
//! #[embassy_executor::task]
//! async fn database(spawner: Spawner) {
//!     let runtime = Arc::new(EmbassyAdapter::new(spawner, sink::none));
//!     let mut builder = AimDbBuilder::new().runtime(runtime);
//!     builder.configure::<f32>("sensor.temperature", |reg| {
//!         reg.buffer(BufferCfg::SingleLatest)
//!             .source(|ctx, sensor| async move {
//!                 for celsius in [20.5, 20.75, 21.0] {
//!                     sensor.produce(celsius).await.ok();
//!                     ctx.time().sleep(ctx.time().millis(10)).await;
//!                 }
//!             })
//!             .tap(|ctx, sensor| async move {
//!                 let mut reader = sensor.subscribe().unwrap();
//!                 while let Ok(celsius) = reader.recv().await {
//!                     ctx.log().info(format_args!("{celsius} °C"));
//!                 }
//!             });
//!     });
//!     builder.run().await.expect("the graph is valid");
//! #   std::process::exit(0);
//! }
//!
//! # // A microcontroller's executor is started by `#[embassy_executor::main]`.
//! let executor: &'static mut embassy_executor::Executor =
//!     Box::leak(Box::new(embassy_executor::Executor::new()));
//! executor.run(|spawner| spawner.spawn(database(spawner).unwrap()));
//! ```
//!
//! # What a stage may hold
//!
//! A stage runs on the executor it was spawned on and nowhere else, so it need not be `Send`: peripherals, `Rc` and `RefCell`
//! borrows across an `.await` are fine. But the adapter itself is `Send`, and safe code can carry it to another thread, core or
//! interrupt and build a database there, whose stages would then be moved to the executor. The adapter must prevent that for
//! stages that are not `Send`. How [`EmbassyAdapter::new`] does depends on the features:
//!
//! | feature | stages | a database is built |
//! |---|---|---|
//! | `std` | any | on the thread of the executor; elsewhere the build ends with a finding |
//! | `cortex-m-single-core` | any | in the exception of the executor, or outside exceptions like the executor; elsewhere the build ends with a finding |
//! | neither | `Send`, checked by the compiler | anywhere |
//!
//! `cortex-m-single-core` is for firmware, and the firmware's author promises with it what the adapter cannot find out, as
//! with `critical-section-single-core` of the crate `cortex-m`: that the program runs on one core of the chip, and that no
//! operating system switches between threads. An STM32H7 runs two programs, each on a core of its own, and each of them may
//! enable the feature; a program for both cores of an RP2040 or RP2350 must not. A library must not enable it either.
//!
//! Two other constructors do not depend on the features:
//!
//! - [`EmbassyAdapter::for_send_stages`] takes `Send` stages and builds databases anywhere.
//! - [`EmbassyAdapter::unchecked`] takes any stage. It is `unsafe`: the caller promises where databases are built. It serves
//!   chips with several cores and processors other than Cortex-M whose stages hold peripherals that are not `Send`.
//!   `embassy-net`'s stack is such a thing, and so are most drivers behind a `RefCell`.
//!
//! # Memory
//!
//! A task is allocated once, when the database is built, and its memory is never given back: an Embassy task is
//! `'static`. When there is no memory for one, the build ends with a finding that names the record and the stage. After
//! start nothing is allocated.
//!
//! # Time
//!
//! Nanoseconds are made from `embassy-time`'s ticks (64 bits, whatever the width of the hardware's counter). Its rate
//! bounds what a timer can tell apart; a timer is never early. `embassy-time`'s default queue, integrated in the
//! executor, has room for every task. With one of its `generic-queue-*` features, choose a size of at least the
//! number of stages: beyond it `embassy-time` wakes tasks early and often, which costs power but nothing else.
//!
//! # Panics
//!
//! With `std` a stage's panic is caught and supervised. On a microcontroller a panic ends the program, as always there.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

use core::fmt;
use core::future::Future;

use aimdb_core::runtime::SpawnError;
use aimdb_core::stages::Stage;
use aimdb_core::{Instant, LogLevel, Runtime, Spawn};
use embassy_executor::Spawner;
use embassy_time::{TICK_HZ, Timer};

pub mod home;
pub mod sink;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod ticks;

use home::{Anywhere, Home, Promised, Spawns, Usual};
pub use sink::Sink;

/// An Embassy executor as the engine sees it. `H` says [which stages it runs](crate#what-a-stage-may-hold).
#[derive(Clone, Copy)]
pub struct EmbassyAdapter<H = Usual> {
    home: H,
    sink: Sink,
}

impl EmbassyAdapter {
    /// The executor that `spawner` belongs to, with log lines going to `sink`.
    ///
    /// With the feature `std` or `cortex-m-single-core` the adapter runs any stage, and a database is built where the adapter
    /// was made. Without either the adapter is one [for `Send` stages](EmbassyAdapter::for_send_stages).
    #[must_use]
    pub fn new(spawner: Spawner, sink: Sink) -> Self {
        Self { home: Usual::of(spawner), sink }
    }
}

impl EmbassyAdapter<Anywhere> {
    /// As [`new`](EmbassyAdapter::new), for stages that are `Send` whatever the features: the database may be built on any
    /// thread, in any interrupt and on any core, and its stages run on the spawner's executor.
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
        Self { home: Anywhere::of(spawner), sink }
    }
}

impl EmbassyAdapter<Promised> {
    /// As [`new`](EmbassyAdapter::new), for stages that need not be `Send`, without a check of where the database is built:
    /// for chips on which the adapter cannot recognise the place.
    ///
    /// # Safety
    ///
    /// The adapter, its copies and every `Arc` of one can be sent to another place, and a database can be built with them there.
    /// The caller promises that every `AimDbBuilder` with this adapter is built only where `spawner` may be used: in a task of
    /// its executor, or in code that runs on the same core and in the same interrupt or thread. That includes `run`, which
    /// builds when it is polled.
    #[must_use]
    #[expect(unsafe_code, reason = "the caller promises what cannot be checked")]
    pub unsafe fn unchecked(spawner: Spawner, sink: Sink) -> Self {
        // SAFETY: stages are spawned by `build` alone, and the caller promises where it is called.
        Self { home: unsafe { Promised::of(spawner) }, sink }
    }
}

impl<H> fmt::Debug for EmbassyAdapter<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyAdapter").finish_non_exhaustive()
    }
}

impl<H: Home> Runtime for EmbassyAdapter<H> {
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

impl<F: Future<Output = ()>, H: Spawns<F>> Spawn<F> for EmbassyAdapter<H> {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        self.home.spawn(stage)
    }
}
