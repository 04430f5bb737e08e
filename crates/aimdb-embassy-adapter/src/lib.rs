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
//! Anything that lives long enough. A stage runs on the executor it was spawned on and nowhere else, so it need not be
//! `Send`: peripherals, `Rc`, `RefCell` borrows across an `.await` are fine. In return [`EmbassyAdapter`] spawns only
//! where its executor runs; elsewhere the build ends with a finding. How it knows:
//!
//! | feature | told apart |
//! |---|---|
//! | `std` | threads |
//! | `cortex-m` | the thread executor and each interrupt executor |
//! | neither | nothing: use it in firmware with one executor only |
//!
//! A chip's several cores are not told apart. Build a database on the core whose executor the spawner belongs to.
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
use alloc::vec::Vec;
use embassy_executor::Spawner;
use embassy_executor::raw::TaskStorage;
use embassy_time::{TICK_HZ, Timer};

mod home;
pub mod sink;
#[cfg(feature = "testing")]
pub mod testing;
mod ticks;

use home::Home;
pub use sink::Sink;

/// An Embassy executor as the engine sees it.
#[derive(Clone, Copy)]
pub struct EmbassyAdapter {
    home: Home,
    sink: Sink,
}

impl EmbassyAdapter {
    /// The executor that `spawner` belongs to, with log lines going to `sink`.
    #[must_use]
    pub fn new(spawner: Spawner, sink: Sink) -> Self {
        Self { home: Home::of(spawner), sink }
    }
}

impl fmt::Debug for EmbassyAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbassyAdapter").finish_non_exhaustive()
    }
}

impl Runtime for EmbassyAdapter {
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

impl<F: Future<Output = ()> + 'static> Spawn<F> for EmbassyAdapter {
    fn spawn(&self, stage: Stage<Self, F>) -> Result<(), SpawnError> {
        let spawner = self.home.spawner().ok_or(NOT_HERE)?;
        let storage = allocate().ok_or(NO_MEMORY)?;
        let token = storage.spawn(|| stage).map_err(|_| NO_MEMORY)?;
        spawner.spawn(token);
        Ok(())
    }
}

const NOT_HERE: SpawnError = SpawnError {
    reason: "this is not where the spawner's executor runs, and a stage may hold what must not leave it",
    remedy: "build the database in a task of that executor",
};
const NO_MEMORY: SpawnError = SpawnError {
    reason: "there is no memory for its task",
    remedy: "give the allocator more memory, or the graph fewer stages",
};

/// Room for a task, for ever.
fn allocate<F: Future + 'static>() -> Option<&'static TaskStorage<F>> {
    let mut room = Vec::new();
    room.try_reserve_exact(1).ok()?;
    room.push(TaskStorage::new());
    room.leak().first()
}
